#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# mirror.sh - lodge disk mirror under a guest that writes and flushes all the time:
# the disk goes over to another image and back to a raw file, one mirroring is
# cancelled, one is cut off by the death of the process, and whatever the guest
# had flushed is there each time, on the image where it should be and no other.
# BOX: --smp 2 --file build/lodge --file build/guest/vmlinuz --file build/guest/test-initrd --file selftests/guest/guest.sh --file selftests/virtio/host.sh --file selftests/virtio/guest-init
# NODES: kvm? lodge
# TIMEOUT: 600
# shellcheck source=selftests/virtio/host.sh
. ./host.sh
scratch 800

goes_on()
{
	now=$(told)
	reaches $((now + 4))
}

# mirroring TARGET: lodge disk mirror in the background, its process in $job, once it is at work.
mirroring()
{
	lodge disk mirror writer 0 "$1" >moved 2>&1 &
	job=$!
	at_work $job
}

# What the disk holds beyond the reach of the guest's writes.
filled()
{
	dd if="$1" bs=1048576 skip=64 count=96 2>/dev/null | md5sum
}

sum_of()
{
	md5sum <"$1"
}

is_disk()
{
	lodge disk list writer >shown && grep -q "$1" shown
}

images()
{
	(cd /scratch && find . -name '*.vhd' -o -name '*.img' -o -name '.*.tmp' | sort | tr '\n' ' ')
}

truncate -s 64M /scratch/fill.img
yes 'the disk holds this' | head -c 100663296 >>/scratch/fill.img
lodge img convert /scratch/fill.img /scratch/base.vhd && lodge img create --parent /scratch/base.vhd /scratch/disk.vhd
result $? "there is a disk of two images, with much in it"
fill=$(filled /scratch/fill.img)
rm /scratch/fill.img

start writer scribble,1 --disk /scratch/disk.vhd
reaches 3
result $? "the guest writes" "$(tail -n 2 out)"
refused 'exists already' lodge disk mirror writer 0 /scratch/base.vhd
result $? "what is there is not written over" "$(cat refusal)"
refused 'no mirroring' lodge disk mirror --cancel writer 0
result $? "there is nothing to be cancelled" "$(cat refusal)"

mirroring /scratch/first.vhd
result $? "much takes its time" "$(cat moved)"
refused 'is being mirrored' lodge snapshot writer /scratch/s.vhd
result $? "no snapshot is taken meanwhile" "$(cat refusal)"
refused 'is being mirrored' lodge disk resize writer 0 200M
result $? "nor is the disk resized" "$(cat refusal)"
refused 'nothing is being merged' lodge disk coalesce --cancel writer 0
result $? "it is no merging" "$(cat refusal)"
lodge disk mirror --cancel writer 0
result $? "it is cancelled"
wait $job
[ $? = 1 ] && grep -q 'interrupted' moved && [ "$(images)" = './base.vhd ./disk.vhd ' ]
result $? "which whoever waits is told, and nothing is left of it" "$(cat moved; images)"
is_disk disk.vhd && goes_on
result $? "the guest goes on, on its disk" "$(cat shown)"
mirroring /scratch/first.vhd
kill -INT $job
wait $job
[ $? = 1 ] && grep -q 'interrupted' moved && [ "$(images)" = './base.vhd ./disk.vhd ' ]
result $? "a signal cancels too" "$(cat moved; images)"

lodge disk mirror --json writer 0 /scratch/first.vhd >moved 2>&1
result $? "the disk is mirrored" "$(cat moved)"
last=$(told)
old=$(sum_of /scratch/disk.vhd)
sed 's/^/# /' moved
grep -q '"was": "/scratch/disk.vhd", "is": "/scratch/first.vhd"' moved && is_disk first.vhd && goes_on
result $? "it is the new image, and the guest goes on" "$(cat shown; tail -n 2 out)"
lodge img check --bitmaps /scratch/disk.vhd >checked 2>&1 && [ "$(sum_of /scratch/disk.vhd)" = "$old" ]
result $? "the old one is sound, free, and written to no more" "$(cat checked)"
lodge snapshot writer /scratch/s.vhd >made 2>&1 && goes_on
result $? "a snapshot is taken of the new one" "$(cat made)"

mirroring /scratch/second.vhd
result $? "it is to be mirrored once more" "$(cat moved)"
[ "$last" -gt "$(told)" ] || last=$(told)
kill -9 $pid
wait $pid 2>/dev/null
wait $job
[ $? = 1 ] && [ ! -e /scratch/second.vhd ]
result $? "the guest's process is killed in the midst of it, and there is no such image" "$(cat moved; images)"
rm -f /scratch/.second.vhd.*.tmp
lodge img repair /scratch/first.vhd >checked 2>&1
holds /scratch/first.vhd "$last" >why
result $? "its disk holds all that was flushed" "$(cat why checked)"
[ "$(filled /scratch/back.raw)" = "$fill" ]
result $? "and what was there before"
rm /scratch/back.raw

start writer scribble,1 --disk /scratch/first.vhd
reaches 3
result $? "the guest starts again" "$(tail -n 2 out)"
lodge disk mirror writer 0 raw:/scratch/third.img >moved 2>&1
result $? "its disk becomes a raw file" "$(cat moved)"
sed 's/^/# /' moved
is_disk third.img && goes_on
result $? "the guest goes on" "$(cat shown; tail -n 2 out)"
[ "$last" -gt "$(told)" ] || last=$(told)
kill -9 $pid
wait $pid 2>/dev/null
holds raw:/scratch/third.img "$last" >why && [ "$(filled /scratch/back.raw)" = "$fill" ]
result $? "which holds everything" "$(cat why)"
rm /scratch/back.raw
lodge img check --bitmaps /scratch/first.vhd >checked 2>&1
result $? "the image before checks clean" "$(cat checked)"
[ "$(images)" = './base.vhd ./disk.vhd ./first.vhd ./s.vhd ./third.img ' ]
result $? "nothing else was left" "$(images)"
finish
