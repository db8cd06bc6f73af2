#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# many.sh - six disks of all kinds and three cards on one guest, in their order;
# zeroes written by one request; and the same with more devices than interrupt
# pins, which they then share.
# BOX: --smp 2 --file build/lodge --file build/guest/vmlinuz --file build/guest/test-initrd --file selftests/guest/guest.sh --file selftests/virtio/host.sh --file selftests/virtio/guest-init --file /usr/sbin/blkdiscard
# NODES: lodge
# TIMEOUT: 300
# shellcheck source=selftests/virtio/host.sh
. ./host.sh
scratch 300
modprobe tun

# util-linux's blkdiscard, which busybox's cannot stand in for, with its libraries.
mkdir -p overlay/bin
cp blkdiscard overlay/bin/blkdiscard-full
/lib64/ld-linux-x86-64.so.2 --list ./blkdiscard | grep -o '/[^ ]*' | while read -r lib; do
	mkdir -p "overlay${lib%/*}"
	cp -L "$lib" "overlay$lib"
done
(cat test-initrd; cd overlay && find . | cpio -o -H newc 2>/dev/null) >virtio-initrd

# tag FILE: what the guest has written at its beginning.
tag()
{
	dd if="$1" bs=512 count=1 2>/dev/null | tr -d '\0'
}

# all NAME: one guest, and what came of it.
all()
{
	rm -f /scratch/*
	dd if=/dev/urandom of=/scratch/a.raw bs=1048576 count=4 2>/dev/null
	lodge img create /scratch/b.vhd 8M
	lodge img create --type fixed /scratch/c.vhd 12M
	truncate -s 16M /scratch/d.raw
	truncate -s 20M /scratch/e.img
	lodge img create /scratch/f.vhd 24M
	vguest out many --disk /scratch/a.raw --disk /scratch/b.vhd --disk /scratch/c.vhd \
		--disk /scratch/d.raw,readonly=on --disk raw:/scratch/e.img,cache=host --disk /scratch/f.vhd,discard=off \
		--net tap,ifname=lt0,mac=52:54:00:00:00:01 --net user,mac=52:54:00:00:00:02 --net tap,ifname=lt1,mac=52:54:00:00:00:03
	result $? "$1: the guest runs and powers off" "$(tail -n 2 out)"
	sizes=$(for d in a b c d e f; do value out vd$d; done | tr '\n' ' ')
	[ "$sizes" = '4194304 8388608 12582912 16777216 20971520 25165824 ' ]
	result $? "$1: six disks, in order, of the right sizes" "$sizes"
	[ "$(value out eth0) $(value out eth1) $(value out eth2)" = '52:54:00:00:00:01 52:54:00:00:00:02 52:54:00:00:00:03' ]
	result $? "$1: three cards, in order, with their addresses" "$(value out eth0) $(value out eth1) $(value out eth2)"
	for f in b c f; do lodge img convert --force /scratch/$f.vhd /scratch/$f.raw; done
	[ "$(for f in a.raw b.raw c.raw e.img f.raw; do tag /scratch/$f; done)" = \
		"$(for d in a b c e f; do echo "this is vd$d"; done)" ]
	result $? "$1: each image has what was written to its disk" "$(for f in a.raw b.raw c.raw e.img f.raw; do tag /scratch/$f; done)"
	[ -z "$(tag /scratch/d.raw)" ]
	result $? "$1: the read-only one has nothing" "$(tag /scratch/d.raw)"
}

all "MSI-X"
[ "$(value out zeroable)" -ge 1048576 ]
result $? "the disk takes a request to write zeroes" "$(value out zeroable)"
expect out zeroing 0 "which succeeds"
[ "$(value out requests)" -le 2 ]
result $? "is one request" "$(value out requests)"
[ "$(value out before)" -gt 1000000 ] && [ "$(value out after)" = 0 ] && [ "$(value out next)" -gt 400 ]
result $? "and makes zeroes where it should and nowhere else" "$(value out before) $(value out after) $(value out next)"
kernel_args=pci=nomsi
all "shared pins"
finish
