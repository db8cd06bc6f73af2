#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# load.sh - the module comes and goes: node, refusal to unload in use, and the
# same again twenty times (LOADS) with nothing left behind.
# BOX: --no-module --file build/lodge.ko
# TIMEOUT: 900
n=0 failed=0
result()
{
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n - $2"
	else
		failed=1
		echo "not ok $n - $2 # ${3:-}"
	fi
}

insmod lodge.ko 2>err
result $? "insmod" "$(cat err)"
[ -c /dev/lodge ]
result $? "/dev/lodge is there"
[ "$(cut -d' ' -f3 /proc/modules | head -n 1)" = 0 ] && grep -q '^lodge ' /proc/modules
result $? "nobody uses it yet"
(sleep 3) </dev/lodge &
sleep 1
! rmmod lodge 2>err
result $? "rmmod is refused while the node is open"
wait
rmmod lodge 2>err
result $? "rmmod after the last close" "$(cat err)"
[ ! -e /dev/lodge ]
result $? "/dev/lodge is gone"
i=0 bad=''
while [ $i -lt "${LOADS:-20}" ] && [ -z "$bad" ]; do
	insmod lodge.ko 2>err && rmmod lodge 2>>err || bad="round $i: $(cat err)"
	i=$((i + 1))
done
[ -z "$bad" ]
result $? "and ${LOADS:-20} times more" "$bad"
for d in /sys/kernel/debug/lodge /sys/module/lodge /sys/kernel/tracing/events/lodge; do
	[ ! -e $d ]
	result $? "$d is gone"
done
echo "1..$n"
exit $failed
