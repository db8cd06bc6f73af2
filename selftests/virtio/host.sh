# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=dash
# host.sh - what the box's tests of virtio devices share beside guest.sh: an
# initrd with our own init over the tests' one. Sourced; not executable.
# shellcheck source=selftests/guest/guest.sh
. ./guest.sh

kernel_args=
mkdir -p overlay
cp guest-init overlay/virtio-init
chmod 755 overlay/virtio-init
(cat test-initrd; cd overlay && find . | cpio -o -H newc 2>/dev/null) >virtio-initrd

# told: the number of the last write that a guest which scribbles says was flushed; -1 before.
told()
{
	last=$(tr -d '\r' <out | sed -n 's/.*guest: flushed \([0-9]*\)$/\1/p' | tail -n 1)
	echo "${last:--1}"
}

flushed() { [ "$(told)" -ge "$1" ]; }

# vguest OUTPUT RUN [OPTION]...: one guest; its status is lodge's. $kernel_args: more for its kernel.
vguest()
{
	out=$1 run=$2
	shift 2
	within 200 lodge run --device "$node" --quiet --no-stdin --mem 256M -k vmlinuz -i virtio-initrd \
		--append "quiet no_timer_check panic=-1 rdinit=/virtio-init $kernel_args stretch=$stretch run=$run" "$@" >"$out" 2>&1 </dev/null
	status=$?
	grep -v '^flood' "$out" | sed 's/^/# /; s/\r//' | tail -n 30
	tr -d '\r' <"$out" >"$out.text"
	mv "$out.text" "$out"
	return $status
}

# expect OUTPUT KEY VALUE NAME
expect()
{
	[ "$(value "$1" "$2")" = "$3" ]
	result $? "$4" "$2: $(value "$1" "$2"), wanted $3"
}

# holds IMAGE NUMBER: writes 0 to NUMBER are in it.
holds()
{
	lodge img convert --force "$1" /scratch/back.raw || return 1
	k=0
	while [ $k -le "$2" ]; do
		place=$((k * 37 % 1024))
		yes "round 1 write $k" | head -c 65536 >want
		dd if=/scratch/back.raw bs=65536 skip=$place count=1 2>/dev/null | cmp -s - want ||
			{ echo "place $place has not write $k of $2"; return 1; }
		k=$((k + 1))
	done
}

# start NAME RUN [OPTION]...: a guest in the background, its output in the file out, its process in $pid.
start()
{
	name=$1 run=$2
	shift 2
	lodge run --name "$name" --device "$node" --quiet --no-stdin --mem 128M --cpus 2 -k vmlinuz -i virtio-initrd --net none \
		--append "quiet no_timer_check panic=-1 rdinit=/virtio-init $kernel_args run=$run" "$@" >out 2>&1 </dev/null &
	# shellcheck disable=SC2034 # it is the tests'
	pid=$!
}

# reaches NUMBER: waits until that many were flushed.
reaches()
{
	wait_for 60 flushed "$1"
}

# asked PROCESS: it hears of SIGINT, as lodge does from just before it asks for a job on.
asked()
{
	grep -q '^SigCgt:.*[2367abef]$' "/proc/$1/status"
}

# at_work PROCESS: waits until its job must have begun.
at_work()
{
	wait_for 10 asked "$1" && sleep "$((stretch / 2)).3" && kill -0 "$1"
}

refused() # refused WORDS COMMAND...
{
	words=$1
	shift
	"$@" >refusal 2>&1
	[ $? = 1 ] && grep -q "$words" refusal
}

# state NAME: as lodge info tells it, with the reason.
state()
{
	lodge info "$1" 2>&1 | sed -n 's/^state  *//p'
}
