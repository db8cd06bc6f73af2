#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# snapshot.sh - lodge snapshot on a guest that writes and flushes all the time:
# each snapshot holds everything that the guest had flushed before it, the
# guest goes on, and after the last one is killed its disk has all the rest.
# BOX: --smp 2 --file build/lodge --file build/guest/vmlinuz --file build/guest/test-initrd --file selftests/guest/guest.sh --file selftests/virtio/host.sh --file selftests/virtio/guest-init
# NODES: kvm? lodge
# TIMEOUT: 600
# shellcheck source=selftests/virtio/host.sh
. ./host.sh
scratch 300
lodge img create /scratch/disk.vhd 64M
truncate -s 1M /scratch/raw

start writer scribble,1 --disk /scratch/disk.vhd --disk raw:/scratch/raw
reaches 3
result $? "the guest writes" "$(tail -n 2 out)"
before=''
for s in 1 2 3; do
	before="$before $(told)"
	lodge snapshot --json writer /scratch/s$s.vhd >made 2>&1
	result $? "snapshot $s is taken" "$(cat made)"
	sed 's/^/# /' made
	now=$(told)
	reaches $((now + 4))
	result $? "the guest goes on" "$(tail -n 2 out)"
done
refused 'exists already' lodge snapshot writer /scratch/s1.vhd
result $? "a name that exists is refused" "$(cat refusal)"
refused 'no disk of this number' lodge snapshot --disk 7 writer /scratch/s9.vhd
result $? "so is a disk that is not there" "$(cat refusal)"
refused '.' lodge snapshot --disk 1 writer /scratch/s9.vhd && [ ! -e /scratch/s9.vhd ]
result $? "and one that is raw, which leaves nothing" "$(cat refusal)"
refused 'in use' lodge img resize /scratch/s2.vhd 70M
result $? "a snapshot is not written to" "$(cat refusal)"
refused 'in use' lodge img snapshot /scratch/disk.vhd /scratch/s9.vhd
result $? "the disk is still the guest's alone" "$(cat refusal)"
# shellcheck disable=SC2086
set -- $before
for s in 1 2 3; do
	holds /scratch/s$s.vhd "$1" >why
	result $? "snapshot $s holds what was flushed before it, read while the guest runs" "$(cat why)"
	lodge img check --bitmaps /scratch/s$s.vhd >checked 2>&1
	result $? "it checks clean" "$(cat checked)"
	shift
done
kill -0 $pid
result $? "the guest still runs" "$(tail -n 2 out)"
last=$(told)
kill -9 $pid
wait $pid 2>/dev/null
lodge img repair /scratch/disk.vhd >checked 2>&1
holds /scratch/disk.vhd "$last" >why
result $? "its disk holds all of it" "$(cat why checked)"
lodge img coalesce /scratch/s2.vhd >why 2>&1 && holds /scratch/disk.vhd "$last" >why
result $? "and still does after one of the snapshots was merged" "$(cat why)"
find /scratch -name '.*.tmp' | grep -q .
[ $? = 1 ]
result $? "nothing else was left" "$(ls -A /scratch)"
finish
