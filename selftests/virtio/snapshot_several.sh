#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# snapshot_several.sh - lodge snapshot of two disks at one moment, of a guest
# that writes records to them in turn: what the snapshots hold together is what
# was written first. When it fails for one disk, nothing has happened to either.
# BOX: --smp 2 --file build/lodge --file build/guest/vmlinuz --file build/guest/test-initrd --file selftests/guest/guest.sh --file selftests/virtio/host.sh --file selftests/virtio/guest-init
# NODES: kvm? lodge
# TIMEOUT: 600
# shellcheck source=selftests/virtio/host.sh
. ./host.sh
scratch 200
truncate -s 1M /tmp/raw

# records IMAGE IMAGE: their numbers, in order.
records()
{
	for i in "$@"; do
		lodge img convert --force "$i" /scratch/back.raw || return 1
		tr -d '\0' </scratch/back.raw
	done | sed 's/^record //' | sort -n
}

# one_moment LAST IMAGE IMAGE: they hold all records up to LAST at least, and none without all before it.
one_moment()
{
	upto=$1
	shift
	records "$@" >numbers && awk -v upto="$upto" '$1 != NR - 1 { print "no record " NR - 1 " before " $1; bad = 1; exit }
		END { if (!bad && NR <= upto) { print NR " records, " upto " was flushed"; bad = 1 } exit bad }' numbers
}

files() { ls -A /scratch; ls /tmp/*.vhd 2>/dev/null; }

unchanged()
{
	files >files.now
	cmp -s files.before files.now && [ "$(stat -c %i,%h /scratch/a.vhd /scratch/b.vhd)" = "$was" ]
}

lodge img create /scratch/a.vhd 16M
lodge img create /scratch/b.vhd 16M
start pair alternate --disk /scratch/a.vhd --disk /scratch/b.vhd --disk raw:/tmp/raw,readonly=on
reaches 6
result $? "the guest writes" "$(tail -n 2 out)"

last=$(told)
lodge snapshot --json pair --disk 0=/scratch/a-1.vhd --disk 1=/scratch/b-1.vhd >made 2>&1
result $? "two disks are kept" "$(cat made)"
sed 's/^/# /' made
grep -q '"number": 1, "disk": "/scratch/b.vhd", "snapshot": "/scratch/b-1.vhd"}\], "pause_us": [0-9]' made
result $? "and told of as JSON, with one pause" "$(cat made)"
reaches $((last + 4))
result $? "the guest goes on" "$(tail -n 2 out)"
one_moment "$last" /scratch/a-1.vhd /scratch/b-1.vhd >why
result $? "the two are of one moment" "$(cat why)"
one_moment 0 /scratch/a-1.vhd /scratch/b.vhd >why
[ $? = 1 ] && grep -q 'no record' why
result $? "which one of them and a later other are not" "$(cat why)"

last=$(told)
lodge snapshot pair --all monday >made 2>&1 && grep -q 'the disks stood still together for [0-9.]* ms' made
result $? "all disks are kept, but for the one that is only read" "$(cat made)"
one_moment "$last" /scratch/a-monday.vhd /scratch/b-monday.vhd >why
result $? "at one moment" "$(cat why)"

was=$(stat -c %i,%h /scratch/a.vhd /scratch/b.vhd)
files >files.before
refused "'/scratch/b-1.vhd' exists already" lodge snapshot pair --disk 0=/scratch/a-2.vhd --disk 1=/scratch/b-1.vhd && unchanged
result $? "a second name that is taken: nothing has happened to either" "$(cat refusal files.now)"
refused 'on the disk.s file system' lodge snapshot pair --disk 0=/scratch/a-2.vhd --disk 1=/tmp/b-2.vhd && unchanged
result $? "so with one on another file system" "$(cat refusal files.now)"
refused 'read-only\|raw' lodge snapshot pair --disk 0=/scratch/a-2.vhd --disk 2=/tmp/c-2.vhd && unchanged
result $? "so with a disk that has no snapshots" "$(cat refusal files.now)"
refused 'no disk of this number' lodge snapshot pair --disk 0=/scratch/a-2.vhd --disk 7=/scratch/b-2.vhd && unchanged
result $? "and with one that is not there" "$(cat refusal files.now)"
refused 'two disks' lodge snapshot pair --disk 0=/scratch/a-2.vhd --disk 1=/scratch/a-2.vhd && unchanged
result $? "and with one name for both" "$(cat refusal files.now)"
ln /scratch/b.vhd /scratch/b-2.vhd
refused "'/scratch/b-2.vhd' is a second name of disk 1" lodge snapshot pair --disk 0=/scratch/a-1.vhd --disk 1=/scratch/b-2.vhd
result $? "what a command that was killed has left is told of" "$(cat refusal)"
last=$(told)
lodge snapshot pair --disk 0=/scratch/a-2.vhd --disk 1=/scratch/b-2.vhd >made 2>&1 &&
	one_moment "$last" /scratch/a-2.vhd /scratch/b-2.vhd >why
result $? "and the same command goes on with it" "$(cat made why)"
now=$(told)
reaches $((now + 4))
result $? "the guest goes on after all of that" "$(tail -n 2 out)"

last=$(told)
kill -9 $pid
wait $pid 2>/dev/null
for d in a b; do
	lodge img repair /scratch/$d.vhd
done >checked 2>&1
one_moment "$last" /scratch/a.vhd /scratch/b.vhd >why
result $? "the disks have all of it" "$(cat why checked)"
for i in a-1 b-1 a-2 b-2 a-monday b-monday; do
	lodge img check --bitmaps /scratch/$i.vhd || break
done >checked 2>&1
result $? "the snapshots check clean" "$(cat checked)"
! find /scratch -name '.*.tmp' | grep -q .
result $? "nothing else was left" "$(ls -A /scratch)"
finish
