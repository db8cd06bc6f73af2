#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# load.sh - the module comes and goes: node, refusal to unload in use, and the
# same again twenty times (LOADS) with nothing left behind, each second time
# right behind the end of a VM with memory and an irqfd; and what minor= takes.
# BOX: --no-module --file build/lodge.ko --file build/selftests/module/create_vm --file build/selftests/module/take_minor.ko
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

has_minor()
{
	sed -n 's/^ *\([0-9]*\) lodge$/\1/p' /proc/misc
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
	insmod lodge.ko 2>err || bad="round $i: $(cat err)"
	[ $((i % 2)) = 0 ] || ./create_vm /dev/lodge >err || bad="round $i: $(cat err)"
	rmmod lodge 2>err || bad="round $i: $(cat err)"
	i=$((i + 1))
done
[ -z "$bad" ]
result $? "and ${LOADS:-20} times more" "$bad"

insmod lodge.ko minor=250 2>err && [ "$(has_minor)" = 250 ] 2>>err
result $? "minor=250 is taken" "$(cat err; cat /proc/misc)"
[ "$(stat -c %t:%T /dev/lodge)" = a:fa ]
result $? "and /dev/lodge has it"
rmmod lodge
insmod lodge.ko minor=255 2>err && [ "$(has_minor)" != 255 ]
result $? "minor=255 takes any" "$(cat err)"
rmmod lodge
for wrong in 242 256 -1; do
	dmesg -c >/dev/null
	! insmod lodge.ko minor=$wrong 2>err && grep -q 'Invalid parameters\|Invalid argument' err
	result $? "minor=$wrong is refused as invalid" "$(cat err)"
	dmesg | grep -q "lodge: minor=$wrong is not in 243 to 255"
	result $? "and the log says why" "$(dmesg)"
done
insmod take_minor.ko 2>err
result $? "another driver takes 251" "$(cat err)"
dmesg -c >/dev/null
! insmod lodge.ko minor=251 2>err && grep -q 'busy' err
result $? "minor=251 is refused as busy then" "$(cat err)"
dmesg | grep -q 'lodge: another driver has the device number 10:251; choose one with minor=N'
result $? "and the log says what to do" "$(dmesg)"
insmod lodge.ko minor=252 2>err && rmmod lodge 2>>err
result $? "as it says, another number goes" "$(cat err)"
rmmod take_minor
for d in /sys/kernel/debug/lodge /sys/module/lodge /sys/kernel/tracing/events/lodge; do
	[ ! -e $d ]
	result $? "$d is gone"
done
echo "1..$n"
exit $failed
