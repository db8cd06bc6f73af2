#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# guest_end.sh - every way a guest ends has its exit code, and a command's status comes back.
# BOX: --smp 2 --file build/lodge --file build/guest/vmlinuz --file selftests/guest/guest.sh
# NODES: kvm? lodge
# TIMEOUT: 500
# shellcheck shell=dash disable=SC2016,SC2317
# shellcheck source=selftests/guest/guest.sh
. ./guest.sh

mkdir -p root/bin root/dev root/proc root/sys
cp /bin/busybox root/bin/
for a in sh cat echo kill; do ln -sf busybox root/bin/$a; done
cat >root/init <<'I'
#!/bin/busybox sh
/bin/busybox mount -t proc p /proc
echo guest is up
case $(/bin/busybox cat /proc/cmdline) in
*do=off*) /bin/busybox poweroff -f ;;
*do=reset*) /bin/busybox reboot -f ;;
*do=panic*) echo c >/proc/sysrq-trigger ;;
*do=hang*) /bin/busybox sleep 1000 ;;
esac
I
chmod 755 root/init
(cd root && find . | cpio -o -H newc 2>/dev/null) >root.cpio

# ends CODE WHAT [OPTION]...
ends()
{
	want=$1 what=$2
	shift 2
	within 100 lodge run --device "$node" -q -m 128 -k vmlinuz -i root.cpio --net none \
		--console ttyS0 "$@" </dev/null >out 2>&1
	status=$?
	[ $status = "$want" ]
	result $? "$what" "status $status: $(tail -n 3 out)"
}

ends 0 "power-off" -a 'quiet no_timer_check do=off'
ends 10 "reset, with --no-reboot" --no-reboot -a 'quiet no_timer_check do=reset'
ends 11 "panic" -a 'quiet no_timer_check do=panic'
ends 11 "panic that does not restart" -a 'quiet no_timer_check panic=0 do=panic'
ends 14 "--timeout" --timeout 15 -a 'quiet no_timer_check do=hang'
ends 12 "triple fault" --no-reboot -a 'quiet no_timer_check reboot=t do=reset'
up_twice() { [ "$(grep -c 'guest is up' out)" -ge 2 ]; }
lodge run --device "$node" -q --name again -m 128 -k vmlinuz -i root.cpio --net none \
	--console ttyS0 -a 'quiet no_timer_check do=reset' </dev/null >out 2>&1 &
wait_for 90 up_twice
result $? "a reset restarts the guest" "$(tail -n 3 out)"
lodge kill again
wait $!
[ $? = 15 ]
result $? "which lodge kill ends" "$(tail -n 3 out)"
ends 3 "not enough memory for the kernel" -m 16

# command STATUS OUT ERR WHAT COMMAND...
command_is()
{
	want=$1 wout=$2 werr=$3 what=$4
	shift 4
	within 100 lodge run --device "$node" -q -m 128 -k vmlinuz -i root.cpio --net none \
		--timeout $((90 * stretch)) -a no_timer_check -- "$@" <in >out 2>err
	status=$?
	[ $status = "$want" ] && [ "$(cat out)" = "$wout" ] && { [ -z "$werr" ] || grep -q -- "$werr" err; }
	result $? "$what" "status $status out '$(cat out)' err '$(cat err)'"
}

: >in
command_is 7 a b "output, error output and status are apart" sh -c 'echo a; echo b >&2; exit 7'
command_is 127 '' 'not found' "a command that is not there" /bin/none
echo from outside >in
command_is 137 'from outside' '' "a command's input, and death by signal" sh -c 'cat; kill -9 $$'
within 100 lodge run --device "$node" -q -m 128 -k vmlinuz -i root.cpio --net none --timeout $((10 * stretch)) \
	-a no_timer_check -- sh -c 'while :; do :; done' </dev/null >out 2>&1
[ $? = 214 ]
result $? "a command that runs into --timeout" "$(cat out)"
within 100 lodge run --device "$node" -q -m 128 -k vmlinuz -i root.cpio --net none \
	-a no_timer_check -- sh -c 'i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done' \
	</dev/null >out 2>&1
status=$?
[ $status = 0 ] && [ "$(tail -n 1 out)" = 'line 1999' ] && [ "$(grep -c . out)" = 2000 ]
result $? "no line of a long output is lost, and 0 is the status" "status $status: $(tail -n 2 out)"
finish
