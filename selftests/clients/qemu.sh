#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# qemu.sh - Debian's unmodified QEMU as the client: its microvm and pc machines
# boot Debian's cloud kernel.  QEMU knows /dev/kvm alone, so that name leads to
# the node under test.
# BOX: --smp 2 --mem 2G --file /usr/bin/qemu-system-x86_64 --file build/guest/vmlinuz --file build/guest/test-initrd --file /usr/share/seabios/bios-256k.bin:/usr/share/qemu/bios-256k.bin --file /usr/share/seabios/bios-microvm.bin:/usr/share/qemu/bios-microvm.bin --file /usr/share/qemu/linuxboot_dma.bin:/usr/share/qemu/linuxboot_dma.bin --file /usr/share/qemu/kvmvapic.bin:/usr/share/qemu/kvmvapic.bin --file selftests/guest/guest.sh
# NODES: lodge
# TIMEOUT: 500
# shellcheck source=selftests/guest/guest.sh
. ./guest.sh
[ "$node" = /dev/kvm ] || ln -sf "$node" /dev/kvm

# qemu OUTPUT MACHINE CPUS [OPTION]...
qemu()
{
	out=$1 machine=$2 cpus=$3
	shift 3
	within 150 qemu-system-x86_64 -L /usr/share/qemu -M "$machine" -accel kvm -cpu host,-xsave \
		-smp "$cpus" -m 192 -nodefaults -no-user-config -display none -no-reboot -serial stdio \
		-kernel vmlinuz -initrd test-initrd "$@" >"$out" 2>&1 </dev/null
	status=$?
	sed 's/^/# /; s/\r//' "$out" | tail -n 20
	return $status
}

args='console=ttyS0 quiet mitigations=off no_timer_check panic=-1 run=cpus'
# Every machine with each number of CPUs: make check-clients.
for which in microvm,pit=off,pic=off,rtc=off/1 microvm/2 pc/2 q35/1; do
	machine=${which%/*} cpus=${which#*/}
	end=poweroff
	case $machine in microvm*) end=reboot ;; esac
	qemu out "$machine" "$cpus" -append "$args end=$end" && done_well out
	result $? "$machine with $cpus CPUs" "$(tail -n 2 out)"
	[ "$(value out cpus | tr -d '\r')" = "$cpus" ]
	result $? "$machine has $cpus CPUs" "$(value out cpus)"
done
finish
