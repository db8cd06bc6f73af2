#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# share.sh - lodge run --share: guests on clones of one image read its blocks into memory that they share, so the second reads
# hardly anything from the disk. What came from no disk is found by its content. Each sees its own disk whatever the others
# write, and a guest that is killed harms nobody.
# BOX: --smp 2 --file build/lodge --file build/guest/vmlinuz --file build/guest/test-initrd --file selftests/guest/guest.sh --file selftests/virtio/host.sh --file selftests/virtio/guest-init
# NODES: lodge
# TIMEOUT: 800
# shellcheck source=selftests/virtio/host.sh
. ./host.sh
scratch 120
MIB=12
dd if=/dev/urandom of=/scratch/gold.raw bs=1048576 count=$MIB 2>/dev/null
lodge img convert /scratch/gold.raw /scratch/gold.vhd
gold=$(md5sum </scratch/gold.raw)
for g in one two three; do
	lodge img clone /scratch/gold.vhd /scratch/$g.vhd
done

start() # start NAME OPTION...
{
	name=$1
	shift
	lodge run --name "$name" --device "$node" --quiet --no-stdin --mem 96M -k vmlinuz -i virtio-initrd --net none \
		--append "quiet no_timer_check panic=-1 rdinit=/virtio-init run=cached,$name" --disk "/scratch/$name.vhd" "$@" \
		>>"out.$name" 2>&1 </dev/null &
	pid=$!
}

said() # said NAME KEY: the newest
{
	tr -d '\r' <"out.$1" | sed -n "s/^.*guest: $2 //p" | tail -n 1
}

comes() # comes NAME KEY: it has been said
{
	tries=2500
	until [ -n "$(said "$1" "$2")" ]; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || return 1
		sleep 0.1
	done
}

number() # number NAME KEY: of what sharing did for the guest, in lodge mem
{
	lodge mem --json "$1" | tr ',{}' '\n' | sed -n "s/^ *\"$2\": //p" | head -n 1
}

at_least() # at_least TEXT NUMBER LEAST
{
	[ "${2:-0}" -ge "$3" ]
	result $? "$1" "${2:-nothing}, wanted $3"
}

start one --share user --share-scan 25
first=$pid
comes one read
[ "$(said one read)" = "$gold" ]
result $? "the first guest reads the image" "$(tail -n 2 out.one)"
at_least "most of what it read the group has now" "$(number one shared)" $(((MIB - 3) * 1048576 * 8 / 10))

start two --share user --share-scan 25
comes two read
[ "$(said two read)" = "$gold" ]
result $? "the second guest reads the image" "$(tail -n 2 out.two)"
# What the first one has overwritten since, 3 MiB, or dropped from its cache, nobody holds any more.
at_least "and needed no read for what the first one has" "$(number two unread)" $(((MIB - 3) * 1048576 * 8 / 10))

comes one wrote && comes two wrote && comes one again && comes two again
result $? "both write" "$(tail -n 1 out.one) $(tail -n 1 out.two)"
at_least "and still share the rest" "$(number two saved)" $((MIB * 1048576 / 4))
# Their kernels and programs, which came from no disk.
# shellcheck disable=SC2317 # wait_for calls it
found() { [ $(($(number one scanned) + $(number two scanned))) -ge 500 ]; }
wait_for 120 found
result $? "equal pages are found by their content" "$(number one scanned) and $(number two scanned)"
lodge mem | sed 's/^/# /'
start three
comes three read
[ "$(said three read)" = "$gold" ] && [ -z "$(number three saved)" ]
result $? "a guest that does not share reads the same, and nothing of it is shared" "$(tail -n 2 out.three)"

on_disk() # on_disk NAME: what the guest had is what its disk has
{
	lodge img convert --force "/scratch/$1.vhd" /scratch/back.raw && sum=$(md5sum </scratch/back.raw)
	[ -n "$sum" ] && [ "$(said "$1" again)" = "$sum" ] && [ "$sum" != "$gold" ]
	result $? "guest $1 had what its disk has" "$(said "$1" again), the disk $sum"
}

kill -9 "$first"
wait "$first" 2>/dev/null
sleep 1
before=$(said two again)
: >out.two
comes two again
[ "$(said two again)" = "$before" ]
result $? "a guest that is killed takes nothing from the other" "$(said two again), before $before"
lodge kill two
lodge kill three
wait
on_disk one
on_disk two
finish
