#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# coalesce.sh - lodge disk coalesce below a guest that writes and flushes all the
# time: images of its chain are merged, one merging is cancelled, one is cut off by
# the death of the process, and whatever the guest had flushed is there each time.
# BOX: --smp 2 --file build/lodge --file build/guest/vmlinuz --file build/guest/test-initrd --file selftests/guest/guest.sh --file selftests/virtio/host.sh --file selftests/virtio/guest-init
# NODES: kvm? lodge
# TIMEOUT: 600
# shellcheck source=selftests/virtio/host.sh
. ./host.sh
scratch 600

# stands_on IMAGE PARENT
stands_on()
{
	lodge img info "/scratch/$1" >shown && grep -q "^parent:.*[ /]$2\$" shown
}

goes_on()
{
	now=$(told)
	reaches $((now + 4))
}

# merging: lodge disk coalesce in the background, its process in $job, once it is at work.
merging()
{
	lodge disk coalesce writer 0 >merged 2>&1 &
	job=$!
	at_work $job
}

# What the image in the middle holds beyond the reach of the guest's writes.
filled()
{
	dd if="$1" bs=1048576 skip=64 count=48 2>/dev/null | md5sum
}

clean()
{
	for image in "$@"; do
		lodge img check --bitmaps "/scratch/$image" || return 1
	done >checked 2>&1
}

truncate -s 64M /scratch/fill.raw
yes 'the middle holds this' | head -c 50331648 >>/scratch/fill.raw
lodge img convert /scratch/fill.raw /scratch/fill.vhd &&
	lodge img create /scratch/base.vhd 112M &&
	lodge img create --parent /scratch/fill.vhd /scratch/middle.vhd &&
	lodge img rebase --parent /scratch/base.vhd /scratch/middle.vhd &&
	lodge img create --parent /scratch/middle.vhd /scratch/disk.vhd
result $? "there is a chain with much in its middle"
fill=$(filled /scratch/fill.raw)
rm /scratch/fill.raw /scratch/fill.vhd

start writer scribble,1 --disk /scratch/disk.vhd
reaches 3
result $? "the guest writes" "$(tail -n 2 out)"
for s in 1 2; do
	lodge snapshot writer /scratch/s$s.vhd >made 2>&1 && goes_on
	result $? "snapshot $s is taken, and the guest goes on" "$(cat made)"
done
stands_on disk.vhd s2.vhd && stands_on s2.vhd s1.vhd && stands_on s1.vhd middle.vhd
result $? "the chain is as long as that" "$(cat shown)"

refused 'has no parent' lodge disk coalesce writer 0 /scratch/base.vhd
result $? "what has no parent is not merged" "$(cat refusal)"
refused 'what the guest writes to' lodge disk coalesce writer 0 /scratch/disk.vhd
result $? "nor is the disk itself" "$(cat refusal)"
lodge img create /scratch/stranger.vhd 1M
refused 'no image below' lodge disk coalesce writer 0 /scratch/stranger.vhd
result $? "nor a stranger" "$(cat refusal)"
lodge img create --parent /scratch/s1.vhd /scratch/other.vhd >made 2>&1
refused 'other.vhd' lodge disk coalesce writer 0
result $? "nor into what has another child" "$(cat made refusal)"
refused 'nothing is being merged' lodge disk coalesce --cancel writer 0
result $? "there is nothing to be cancelled" "$(cat refusal)"
rm /scratch/other.vhd /scratch/stranger.vhd

lodge disk coalesce --json writer 0 /scratch/s1.vhd >merged 2>&1
result $? "the first snapshot is merged" "$(cat merged)"
sed 's/^/# /' merged
grep -q '"merged": "/scratch/s1.vhd", "into": "/scratch/middle.vhd"' merged && [ ! -e /scratch/s1.vhd ] && stands_on s2.vhd middle.vhd && goes_on
result $? "it is gone, and the guest goes on" "$(tail -n 2 out)"
lodge disk coalesce writer 0 >merged 2>&1
result $? "so is the second, below the disk itself" "$(cat merged)"
sed 's/^/# /' merged
[ ! -e /scratch/s2.vhd ] && stands_on disk.vhd middle.vhd && goes_on
result $? "it is gone, and the guest goes on" "$(tail -n 2 out)"
clean middle.vhd
result $? "what they were merged into checks clean" "$(cat checked)"

merging
result $? "much takes its time" "$(cat merged)"
refused 'is being merged' lodge snapshot writer /scratch/s3.vhd
result $? "no snapshot is taken meanwhile" "$(cat refusal)"
refused 'is being merged' lodge disk resize writer 0 200M
result $? "nor is the disk resized" "$(cat refusal)"
lodge disk coalesce --cancel writer 0
result $? "it is cancelled"
wait $job
[ $? = 1 ] && grep -q 'interrupted' merged && [ -e /scratch/middle.vhd ]
result $? "which whoever waits is told" "$(cat merged)"
goes_on && clean base.vhd middle.vhd
result $? "the guest goes on, on a sound chain" "$(cat checked)"
merging
kill -INT $job
wait $job
[ $? = 1 ] && grep -q 'interrupted' merged && [ -e /scratch/middle.vhd ]
result $? "a signal cancels too" "$(cat merged)"
merging
result $? "it begins again" "$(cat merged)"
last=$(told)
kill -9 $pid
wait $pid 2>/dev/null
wait $job
[ $? = 1 ] && [ -e /scratch/middle.vhd ]
result $? "the guest's process is killed in the midst of it" "$(cat merged)"
lodge img repair /scratch/disk.vhd >checked 2>&1
holds /scratch/disk.vhd "$last" >why
result $? "its disk holds all that was flushed" "$(cat why checked)"
[ "$(filled /scratch/back.raw)" = "$fill" ]
result $? "and what was in the middle"
rm /scratch/back.raw

start writer scribble,1 --disk /scratch/disk.vhd
reaches 3
result $? "the guest starts again" "$(tail -n 2 out)"
lodge disk coalesce writer 0 >merged 2>&1
result $? "all is merged" "$(cat merged)"
sed 's/^/# /' merged
[ ! -e /scratch/middle.vhd ] && stands_on disk.vhd base.vhd && goes_on
result $? "the guest goes on" "$(tail -n 2 out)"
refused 'has no parent' lodge disk coalesce writer 0
result $? "there is no more to be merged" "$(cat refusal)"
[ "$last" -gt "$(told)" ] || last=$(told)
kill -9 $pid
wait $pid 2>/dev/null
lodge img repair /scratch/disk.vhd >checked 2>&1
clean base.vhd disk.vhd
result $? "both images check clean" "$(cat checked)"
holds /scratch/disk.vhd "$last" >why && [ "$(filled /scratch/back.raw)" = "$fill" ]
result $? "the disk holds everything" "$(cat why)"
rm /scratch/back.raw
[ "$(find /scratch -name '*.vhd' -o -name '.*.tmp' | sort | tr '\n' ' ')" = '/scratch/base.vhd /scratch/disk.vhd ' ]
result $? "nothing else was left" "$(ls -A /scratch)"
finish
