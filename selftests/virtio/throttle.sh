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

paced() # paced DISK: how many of its reads are done
{
	lodge disk list --json paced | tr -d '\n' | sed 's/"disk":/\n&/g' | sed -nE "s/^\"disk\": $1,.*\"reads\": ([0-9]+),.*/\1/p"
}

both()
{
	echo $(($(paced 0) + $(paced 1)))
}

# rate: reads a second of both disks, over eight seconds.
rate()
{
	from=$(both) t0=$(cut -d. -f1 /proc/uptime)
	sleep 8
	t1=$(cut -d. -f1 /proc/uptime)
	echo $((($(both) - from) / (t1 - t0)))
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
between 6 35 "$(rate)"
result $? "limits of the command line are kept" "$(tail -n 2 out)"
lodge disk throttle paced 0 --iops 20 --iops-burst 1 --group slow && lodge disk throttle paced 1 --iops 20 --iops-burst 1 --group slow
result $? "both disks come into a group"
a=$(paced 0) b=$(paced 1)
between 4 25 "$(rate)"
result $? "which has one limit" "$(tail -n 2 out)"
a=$(($(paced 0) - a)) b=$(($(paced 1) - b))
[ $a -gt $((b / 2)) ] && [ $b -gt $((a / 2)) ]
result $? "and both get their share" "$a and $b"
lodge disk throttle paced 0 --bps 163840
between 8 48 "$(rate)"
result $? "a limit on bytes takes the place of that on requests" "$(lodge disk list paced)"
lodge disk list paced | sed 's/^/# /'
lodge disk list --json paced | tr -d '\n' | grep -q '"bps": 163840, .*"group": "slow",.*"bps": 163840,.*"group": "slow"'
result $? "lodge disk list tells" "$(lodge disk list --json paced)"
lodge disk throttle paced 0 --no-group --iops 5
lodge disk throttle paced 1
slow=$(paced 0) fast=$(paced 1)
sleep 8
slow=$(($(paced 0) - slow)) fast=$(($(paced 1) - fast))
echo "# $slow and $fast reads in eight seconds"
[ $slow -le 60 ] && [ $fast -gt $((2 * slow)) ]
result $? "one leaves the group, and the other's limits are lifted" "$slow and $fast"
refused "group's name" lodge disk throttle paced 0 --iops 5 --group a/b
result $? "a name that is none is refused" "$(cat refusal)"
kill -0 $pid
result $? "the guest still runs" "$(tail -n 2 out)"
lodge kill paced
wait $pid
finish
