#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# disk_errors.sh - what a guest sees of a file system that is full under its
# disk, by policy: it is paused and goes on as if nothing had been; it is told;
# it is told nothing. Its process survives all of it.
# BOX: --smp 2 --file build/lodge --file build/guest/vmlinuz --file build/guest/test-initrd --file selftests/guest/guest.sh --file selftests/virtio/host.sh --file selftests/virtio/guest-init
# NODES: kvm? lodge
# TIMEOUT: 600
# shellcheck source=selftests/virtio/host.sh
. ./host.sh
scratch 40

fill()
{
	dd if=/dev/zero of="/scratch/filler$1" bs=65536 2>/dev/null
	dd if=/dev/zero of="/scratch/filler$1.small" bs=4096 2>/dev/null
	sync
}

# shellcheck disable=SC2317 # wait_for calls it
is_paused()
{
	state writer | grep -q '^paused'
}

lodge img create /scratch/disk.vhd 64M
truncate -s 24M /scratch/room
dd if=/dev/zero of=/scratch/room bs=1048576 count=24 2>/dev/null
fill 1
start writer scribble,1 --disk /scratch/disk.vhd,error=stop
wait_for 200 is_paused
result $? "the guest is paused when there is no space" "$(state writer; tail -n 2 out)"
state writer | sed 's/^/# /'
state writer | grep -q '^paused: disk 0 (/scratch/disk.vhd): cannot .*: No space left on device$'
result $? "lodge info says why" "$(state writer)"
lodge info --json writer | grep -q '"reason": "disk 0 '
result $? "and so in JSON"
grep -q 'guest writer is paused: disk 0 .* try: ' out
result $? "lodge run says it, and what to do" "$(tail -n 2 out)"
stuck=$(told)
lodge resume writer
result $? "it can be resumed"
wait_for 20 is_paused
result $? "and is paused again while there is still none" "$(state writer)"
[ "$(told)" = "$stuck" ]
result $? "the guest noticed nothing of it" "$(tail -n 2 out)"
rm /scratch/room
sync
lodge resume writer && reaches $((stuck + 4))
result $? "with space and lodge resume it goes on" "$(state writer; tail -n 2 out)"
grep -q 'guest: failed' out
[ $? = 1 ]
result $? "and no request of its has failed" "$(tail -n 2 out)"
lodge disk list --json writer | tr -d '\n' | grep -q '"on_error": "stop".*"errors": [1-9]'
result $? "they are counted" "$(lodge disk list writer)"
lodge disk set writer 0 --error report
result $? "the policy can be changed"
fill 2
wait_for 120 grep -q 'guest: failed' out
result $? "a guest that is to be told is told" "$(tail -n 2 out)"
wait $pid
result $? "and ends as it wants to" "$(tail -n 2 out)"
rm /scratch/filler*
# Nor was there space for the mark of a clean end.
{ lodge img repair /scratch/disk.vhd && lodge img check --bitmaps /scratch/disk.vhd; } >checked 2>&1
result $? "the image is in order" "$(cat checked)"

# The same with a raw disk in memory, and errors that are to be ignored.
mkdir -p /small
mount -t tmpfs -o size=2M small /small
truncate -s 64M /small/disk
start deaf scribble,1 --disk raw:/small/disk,error=ignore,cache=host
reaches 60
result $? "a guest that is told nothing goes on" "$(tail -n 2 out)"
lodge disk list --json deaf | tr -d '\n' | grep -q '"ignored": [1-9]'
result $? "what it was not told is counted" "$(lodge disk list deaf)"
refused "no disk of this number" lodge disk set deaf 3 --error stop
result $? "a disk that is not there is refused" "$(cat refusal)"
refused "must be report" lodge disk set deaf 0 --error shout
result $? "so is another policy" "$(cat refusal)"
lodge kill deaf
wait $pid
finish
