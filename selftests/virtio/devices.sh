#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# devices.sh - Debian's own drivers on our devices, with split and packed rings:
# negotiation, a multi-queue disk under load with flushes and discards, a
# read-only disk, entropy, a console under load, free pages back to the host.
# BOX: --smp 2 --file build/lodge --file build/guest/vmlinuz --file build/guest/test-initrd --file selftests/guest/guest.sh --file selftests/virtio/host.sh --file selftests/virtio/guest-init
# NODES: kvm? lodge
# TIMEOUT: 600
# shellcheck source=selftests/virtio/host.sh
. ./host.sh
scratch 300
for ring in split packed; do
	packed=0
	[ $ring = split ] || packed=1
	rm -f /scratch/*.raw
	truncate -s 64M /scratch/a.raw
	truncate -s 1M /scratch/b.raw
	set -- --ring $ring --cpus 2 --disk /scratch/a.raw --disk /scratch/b.raw,readonly=on
	vguest out everything "$@"
	result $? "$ring: drivers bind, are used, and the guest ends well" "$(tail -n 2 out)"
	for d in virtio_blk virtio_net virtio_console virtio_rng; do
		expect out $d "packed $packed event_idx 1 indirect 1" "$ring: $d agrees on the ring"
	done
	# Linux's balloon declines indirect descriptors.
	expect out virtio_balloon "packed $packed event_idx 1 indirect 0" "$ring: virtio_balloon agrees on the ring"
	expect out queues 2 "$ring: the disk has a queue for each CPU"
	expect out cache "write back" "$ring: the disk has a write cache"
	expect out readonly 1 "$ring: a read-only disk is read-only"
	expect out rng virtio_rng.0 "$ring: the guest takes entropy from the device"
	expect out entropy "65536 different" "$ring: entropy differs each time"
	expect out reporting 1 "$ring: the guest reports free pages"
	expect out mismatches 0 "$ring: two CPUs read back what they wrote and flushed"
	expect out discard 0 "$ring: a discard succeeds"
	expect out neighbour 0 "$ring: a discard leaves its neighbours alone"
	expect out write_to_readonly 1 "$ring: a write to a read-only disk fails"
	[ "$(value out flushes)" -gt 0 ]
	result $? "$ring: flushes were sent" "$(value out flushes)"
	[ "$(value out discards)" -gt 0 ]
	result $? "$ring: discards were sent" "$(value out discards)"
	seq 1 2000 | sed 's/^/flood /' >want
	grep '^flood' out | cmp -s - want
	result $? "$ring: 2,000 lines on the console arrive whole and in order" \
		"$(grep -c '^flood' out); $(grep flood out | diff want - | head -n 6)"
done

# Resident memory of the VMM while its guest frees 96 MiB.
vguest out free_pages,96 &
waiter=$!
full=0 last=0
until [ -n "$pid" ]; do
	sleep 0.1
	pid=$(pidof lodge | tr ' ' '\n' | sort -n | head -n 1)
done
while [ -r "/proc/$pid/status" ]; do
	rss=$(awk '/^VmRSS/ { print $2 }' "/proc/$pid/status")
	[ -n "$rss" ] || break
	last=$rss
	[ "$rss" -le "$full" ] || full=$rss
	sleep 0.2
done
wait $waiter
result $? "the guest frees memory" "$(tail -n 2 out)"
[ "$last" -gt 0 ] && [ $((full - last)) -gt 65536 ]
result $? "freed guest memory comes back to the host" "most $full KiB, in the end $last KiB"
finish
