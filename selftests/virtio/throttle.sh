#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# throttle.sh - a guest's disks keep the limits of their command line, new ones
# at once, and those of their group together.
# BOX: --smp 2 --file build/lodge --file build/guest/vmlinuz --file build/guest/test-initrd --file selftests/guest/guest.sh --file selftests/virtio/host.sh --file selftests/virtio/guest-init
# NODES: kvm? lodge
# TIMEOUT: 600
# shellcheck source=selftests/virtio/host.sh
. ./host.sh
scratch 20
truncate -s 1M /scratch/a /scratch/b

seconds()
{
	cut -d. -f1 /proc/uptime
}

# look: a and b become the reads that disks 0 and 1 have done.
look()
{
	lodge disk list --json paced | tr -d '\n' | sed 's/"disk":/\n&/g' |
		sed -nE 's/^"disk": [01],.*"reads": ([0-9]+),.*/\1/p' >reads
	{ read -r a; read -r b; } <reads
}

# watch: a and b become the disks' reads in eight seconds or more, and time the seconds around them: looking takes a while on a
# slow machine, and a rate is never told too high.
watch()
{
	time=$(seconds)
	look
	a0=$a b0=$b
	sleep 8
	look
	a=$((a - a0)) b=$((b - b0)) time=$(($(seconds) - time))
	rate=$(((a + b) / time))
}

between()
{
	echo "# $3 reads a second, wanted from $1 to $2"
	[ "$3" -ge "$1" ] && [ "$3" -le "$2" ]
}

start paced pace,vda,vdb --disk raw:/scratch/a,iops=20 --disk raw:/scratch/b,iops=10,iops-burst=1
wait_for 200 grep -q 'guest: pacing' out
result $? "the guest reads" "$(tail -n 2 out)"
# A busy machine may read less, never more.
watch
between 6 35 $rate
result $? "limits of the command line are kept" "$(tail -n 2 out)"
lodge disk throttle paced 0 --iops 20 --iops-burst 1 --group slow && lodge disk throttle paced 1 --iops 20 --iops-burst 1 --group slow
result $? "both disks come into a group"
watch
between 4 25 $rate
result $? "which has one limit" "$(tail -n 2 out)"
[ $a -gt $((b / 2)) ] && [ $b -gt $((a / 2)) ]
result $? "and both get their share" "$a and $b"
lodge disk throttle paced 0 --bps 163840
watch
between 8 48 $rate
result $? "a limit on bytes takes the place of that on requests" "$(lodge disk list paced)"
lodge disk list paced | sed 's/^/# /'
lodge disk list --json paced | tr -d '\n' | grep -q '"bps": 163840, .*"group": "slow",.*"bps": 163840,.*"group": "slow"'
result $? "lodge disk list tells" "$(lodge disk list --json paced)"
lodge disk throttle paced 0 --no-group --iops 5
lodge disk throttle paced 1
watch
echo "# $a and $b reads in $time seconds"
[ $a -le $((5 * time + 20)) ] && [ $b -gt $((2 * a)) ]
result $? "one leaves the group, and the other's limits are lifted" "$a and $b"
refused "group's name" lodge disk throttle paced 0 --iops 5 --group a/b
result $? "a name that is none is refused" "$(cat refusal)"
kill -0 $pid
result $? "the guest still runs" "$(tail -n 2 out)"
lodge kill paced
wait $pid
finish
