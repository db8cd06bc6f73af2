#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# guest_control.sh - a running guest seen and steered from outside.
# BOX: --smp 2 --file build/lodge --file build/guest/vmlinuz --file selftests/guest/guest.sh
# NODES: kvm? lodge
# TIMEOUT: 400
# shellcheck shell=dash disable=SC2016,SC2317
# shellcheck source=selftests/guest/guest.sh
. ./guest.sh

logged() { lodge log one 2>/dev/null | grep -q "$1"; }
gone() { ! lodge info one >/dev/null 2>&1; }

# A root of busybox alone, with a shell on the console.
mkdir -p root/bin root/dev root/proc root/sys
cp /bin/busybox root/bin/
cat >root/init <<'I'
#!/bin/busybox sh
/bin/busybox mount -t proc p /proc
/bin/busybox mount -t devtmpfs d /dev
echo guest is up
case $(/bin/busybox cat /proc/cmdline) in
*do=spin*) while :; do :; done ;;
esac
exec /bin/busybox sh </dev/console >/dev/console 2>&1
I
chmod 755 root/init
(cd root && find . | cpio -o -H newc 2>/dev/null) >root.cpio

start()
{
	lodge run --device "$node" -q --name one -m 128 -k vmlinuz -i root.cpio --net none \
		--console ttyS0 --disk disk.raw -a "quiet no_timer_check do=$1" </dev/null >run.out 2>&1 &
	pid=$!
}
truncate -s 1M disk.raw

start shell
wait_for 60 logged 'guest is up'
result $? "the log holds what the guest has printed" "$(cat run.out)"
cat /proc/$pid/task/*/status | awk '/^Name/ { name = $2 } /^Seccomp:/ { print name, $2 }' >filters
! grep -v ' 2$' filters && [ "$(wc -l <filters)" -ge 4 ]
result $? "every thread has a filter of system calls" "$(tr '\n' ';' <filters)"
lodge list --names | grep -qx one
result $? "list shows it"
lodge info --json one | grep -q '"state": "running"'
result $? "info says that it runs"
(echo 'echo answer $((6 * 7))'; sleep $((5 * stretch))) | within 10 lodge console one >console.out 2>&1
grep -q 'guest is up' console.out
result $? "the console shows what was printed before"  "$(cat console.out)"
grep -q 'answer 42' console.out
result $? "the console carries input and output" "$(cat console.out)"
within 20 lodge run --device "$node" -q --name one -m 128 -k vmlinuz >second.out 2>&1 </dev/null
[ $? = 3 ] && grep -q 'runs already' second.out
result $? "a second guest of that name is refused" "$(cat second.out)"
lodge pause one && lodge info one | grep -q 'state *paused'
result $? "pause"
lodge resume one && lodge info one | grep -q 'state *running'
result $? "resume"
lodge balloon --timeout 1 one 64M >balloon.out 2>&1
[ $? = 1 ] && grep -q 'no balloon driver' balloon.out
result $? "balloon says when the guest has no driver for it" "$(cat balloon.out)"
lodge balloon one 64Q >balloon.out 2>&1
[ $? = 2 ] && grep -q 'no size' balloon.out
result $? "balloon refuses what is no size" "$(cat balloon.out)"
lodge stop --timeout 1 one >stop.out 2>&1
[ $? = 1 ] && grep -q 'still runs' stop.out
result $? "stop says when the guest does not heed the button" "$(cat stop.out)"
lodge stop --timeout 1 --force one
result $? "stop --force ends it"
wait $pid
[ $? = 15 ]
result $? "its exit code says that it was ended from outside"
lodge list --json | grep -q '^\[\]'
result $? "nothing is left in the list"

start spin
wait_for 60 logged 'guest is up'
kill -9 $pid
wait $pid 2>/dev/null
lodge list --json | grep -q '^\[\]'
result $? "a guest whose process was killed is not listed"
start spin
wait_for 60 logged 'guest is up'
result $? "its name can be taken again" "$(cat run.out)"
before=$(date +%s)
lodge kill one
result $? "a guest that spins is killed"
[ $(($(date +%s) - before)) -le $((15 * stretch)) ]
result $? "at once"
wait $pid
wait_for 5 gone
result $? "and gone"
finish
