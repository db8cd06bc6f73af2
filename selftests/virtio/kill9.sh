#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# kill9.sh - the VMM is killed with SIGKILL at a random moment while its guest
# writes to a dynamic VHD, again and again on the same disk: the image is never
# damaged, and what the guest had flushed is there.
# BOX: --smp 2 --file build/lodge --file build/guest/vmlinuz --file build/guest/test-initrd --file selftests/guest/guest.sh --file selftests/virtio/host.sh --file selftests/virtio/guest-init
# NODES: lodge
# TIMEOUT: 300
# shellcheck source=selftests/virtio/host.sh
. ./host.sh
scratch 300
lodge img create /scratch/disk.vhd 64M
mkdir expected

# Kills a guest that does round $1 after it has flushed once and a random time.
round()
{
	lodge run --device "$node" --quiet --no-stdin --mem 128M -k vmlinuz -i virtio-initrd --net none \
		--append "quiet no_timer_check panic=-1 rdinit=/virtio-init run=scribble,$1" --disk /scratch/disk.vhd \
		>out 2>&1 </dev/null &
	pid=$!
	wait_for 30 flushed 0 || { kill -9 $pid; return 1; }
	usleep $(($(od -An -N2 -tu2 /dev/urandom) * 30))
	kill -9 $pid
	wait $pid 2>/dev/null
	last=$(told) k=0
	while [ $k -le "$last" ]; do
		echo "round $1 write $k" >expected/$((k * 37 % 1024))
		k=$((k + 1))
	done
	# The one that was under way may be there, or not, or in part.
	rm -f expected/$(((last + 1) * 37 % 1024))
	total=$((total + last + 1))
}

# What the image has is what is expected.
verify()
{
	lodge img convert --force /scratch/disk.vhd /scratch/disk.raw || return 1
	for f in expected/*; do
		yes "$(cat "$f")" | head -c 65536 >want
		dd if=/scratch/disk.raw bs=65536 skip="${f#expected/}" count=1 2>/dev/null | cmp -s - want ||
			{ echo "place ${f#expected/} has not $(cat "$f")" >why; return 1; }
	done
}

r=1 total=0 rounds=5
: >why
while [ $r -le $rounds ]; do
	round $r || { echo "round $r: nothing was written: $(tail -n 2 out)" >why; break; }
	lodge img check /scratch/disk.vhd >checked 2>&1
	status=$?
	[ $status = 0 ] || [ $status = 4 ] || { echo "round $r: check says $status: $(cat checked)" >why; break; }
	[ $r != $rounds ] || verify || { echo "round $r: $(cat why)" >why; break; }
	r=$((r + 1))
done
[ $r -gt $rounds ]
result $? "killed $rounds times, no image damaged and nothing flushed lost" "$(cat why)"
echo "# $total writes in $rounds rounds"
[ $total -ge $((5 * rounds)) ]
result $? "it was at work each time" "$total"
lodge list --json | grep -q '^\[\]'
result $? "no guest is left" "$(lodge list)"
lodge run --device "$node" --quiet --no-stdin --mem 128M -k vmlinuz -i virtio-initrd --net none --timeout $((60 * stretch)) \
	--append "quiet no_timer_check panic=-1 rdinit=/virtio-init run=true" --disk /scratch/disk.vhd >out 2>&1 </dev/null
result $? "the disk can be used" "$(tail -n 2 out)"
lodge img check /scratch/disk.vhd >checked 2>&1
result $? "and is in order after that" "$(cat checked)"
finish
