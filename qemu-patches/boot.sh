#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# boot.sh - in the box: the patched emulator chooses its module, by default and by name, and says what it could not open.
# shellcheck source=selftests/guest/guest.sh
. ./guest.sh

# qemu OUTPUT MACHINE ACCEL [OPTION]...: one guest with one CPU that computes and ends.
qemu()
{
	out=$1 machine=$2 accel=$3
	shift 3
	timeout 200 qemu-lodge -L /usr/share/qemu -M "$machine" -accel "$accel" -cpu host,-xsave -m 192 -nodefaults -no-user-config \
		-display none -no-reboot -serial stdio -kernel vmlinuz -initrd test-initrd "$@" \
		-append "console=ttyS0 quiet mitigations=off no_timer_check panic=-1 run=cpus end=${end:-poweroff}" >"$out" 2>&1 </dev/null
	status=$?
	sed 's/^/# /; s/\r//' "$out" | tail -n 10
	return $status
}

# boots NAME NODE MACHINE ACCEL: it boots, and it is NODE that the process has open meanwhile.
boots()
{
	qemu out "$3" "$4" &
	pid=$!
	opened=''
	while kill -0 $pid 2>/dev/null; do
		for p in $(pidof qemu-lodge); do
			for fd in /proc/"$p"/fd/*; do
				case $(readlink "$fd") in /dev/kvm|/dev/lodge) opened=$(readlink "$fd") ;; esac
			done
		done
		sleep 0.2
	done
	wait $pid && done_well out
	result $? "$1" "$(tail -n 2 out)"
	[ "$opened" = "$2" ]
	result $? "$1: by $2" "it opened '$opened'"
}

fails()
{
	! qemu out microvm "$1" && grep -q "$2" out
	result $? "$3" "$(tail -n 2 out)"
}

[ ! -e /dev/kvm ]
result $? "there is no /dev/kvm here"
boots "the emulator for Lodge, pc" /dev/lodge pc kvm
end=reboot
boots "the emulator for Lodge, microvm" /dev/lodge microvm,pit=off,pic=off,rtc=off kvm
boots "device= by name" /dev/lodge microvm,pit=off,pic=off,rtc=off kvm,device=/dev/lodge
fails kvm,device=/dev/nosuch '/dev/nosuch: No such file' "a node that is not there is named"
fails kvm,device=/dev/null 'kvm version\|Inappropriate ioctl' "a node that does not speak KVM is refused"
fails kvm,device= 'needs the path' "no path is refused"
modprobe kvm-amd
boots "the stock module, side by side" /dev/kvm microvm,pit=off,pic=off,rtc=off kvm,device=/dev/kvm
boots "and Lodge again" /dev/lodge microvm,pit=off,pic=off,rtc=off kvm
finish
