# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=dash
# guest.sh - what the tests of whole guests share.  Sourced; not executable, so
# the driver does not take it for a test.
#
# Each of these tests starts guests with 'lodge run' on $NODE: Debian's cloud
# kernel and the tests' initrd, whose init does what run= says (see
# selftests/qemu/test-init).  Time limits are those of a common host; one that is
# slower says by how much in $STRETCH.
n=0 failed=0
stretch=${STRETCH:-1}
node=${1:-${NODE:-/dev/lodge}}

result()
{
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n - $2"
	else
		failed=1
		echo "not ok $n - $2 # $(echo "${3:-}" | tr '\r\n#' '   ' | tail -c 300)"
	fi
}

finish()
{
	echo "1..$n"
	exit $failed
}

# within SECONDS COMMAND...: COMMAND, ended after that time.
within()
{
	limit=$(($1 * stretch))
	shift
	timeout $limit "$@"
}

# wait_for SECONDS COMMAND...: until COMMAND succeeds.
wait_for()
{
	left=$(($1 * stretch * 5))
	shift
	until "$@"; do
		left=$((left - 1))
		[ $left -gt 0 ] || return 1
		sleep 0.2
	done
}

# guest OUTPUT RUN [OPTION]...: one guest that does RUN; its status is lodge's.
guest()
{
	out=$1 run=$2
	shift 2
	# MTTCG's clocks are not what a guest expects of hardware's.
	within 150 lodge run --device "$node" --quiet --no-stdin --mem 192M -k vmlinuz -i test-initrd \
		--append "quiet no_timer_check panic=-1 stretch=$stretch run=$run" "$@" >"$out" 2>&1 </dev/null
	status=$?
	sed 's/^/# /; s/\r//' "$out" | tail -n 30
	tr -d '\r' <"$out" >"$out.text"
	mv "$out.text" "$out"
	return $status
}

# The value that the guest has printed for a key.
value()
{
	sed -n "s/^.*guest: $2 //p" "$1" | tail -n 1
}

done_well()
{
	grep -q 'guest: done' "$1"
}

# A file system on which O_DIRECT works, which tmpfs has not: scratch MIB.
scratch()
{
	modprobe loop
	modprobe ext4
	truncate -s "$1M" /tmp/scratch.img
	mke2fs -F /tmp/scratch.img >/dev/null 2>&1
	mkdir -p /scratch
	mount -t ext4 -o loop /tmp/scratch.img /scratch
}
