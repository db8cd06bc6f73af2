#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# disk.sh - what a guest writes with four writers at once is in the image, in
# each format, and on a block device, and the next guest reads the same.
# BOX: --smp 2 --file build/lodge --file build/guest/vmlinuz --file build/guest/test-initrd --file selftests/guest/guest.sh
# NODES: kvm? lodge
# TIMEOUT: 500
# shellcheck source=selftests/guest/guest.sh
. ./guest.sh
scratch 400
mib=8
want=''
for kind in raw fixed dynamic device; do
	case $kind in
	raw) disk=/scratch/disk.raw; truncate -s 64M $disk ;;
	device)
		truncate -s 64M /tmp/device.img
		disk=$(losetup -f)
		losetup "$disk" /tmp/device.img
		;;
	*) disk=/scratch/$kind.vhd; lodge img create --type $kind "$disk" 64M >err 2>&1 ;;
	esac
	result $? "$kind: the image is made" "$(cat err 2>/dev/null)"
	guest out disk,vda,$mib --cpus 2 --net none --disk "$disk" && done_well out
	result $? "$kind: the guest reads what it has written" "$(tail -n 2 out)"
	sum=$(value out sha256)
	want=${want:-$sum}
	[ -n "$sum" ] && [ "$sum" = "$want" ]
	result $? "$kind: every format holds the same data" "$sum"
	guest out look,vda,$mib --net none --disk "$disk,readonly=on" && [ "$(value out sha256)" = "$sum" ]
	result $? "$kind: another guest reads the same" "$(tail -n 2 out)"
	if [ $kind = raw ] || [ $kind = device ]; then
		[ "$(head -c $((mib * 1048576)) "$disk" | sha256sum | cut -d' ' -f1)" = "$sum" ]
		result $? "$kind: so does the host"
	else
		lodge img check "$disk" >err 2>&1
		result $? "$kind: lodge img check finds nothing wrong" "$(cat err)"
		lodge img convert "$disk" /scratch/back.raw >err 2>&1 &&
			[ "$(head -c $((mib * 1048576)) /scratch/back.raw | sha256sum | cut -d' ' -f1)" = "$sum" ]
		result $? "$kind: converted to raw it is the same" "$(cat err)"
		rm -f /scratch/back.raw
	fi
done
finish
