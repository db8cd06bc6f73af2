#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# host_end.sh - the host ends while guests run: kexec, panic with and without a
# crash kernel, reboot.  The machine must get to where it goes, without a word
# of complaint, and the next kernel must find SVM switched off on every CPU, so
# that it can have guests of its own.
# BOX: own
# TIMEOUT: 600
# shellcheck disable=SC2016 # what stands in single quotes is for the box's shell
cd "$(dirname "$0")/../.." || exit
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

# What make check-debug boots; words, without blanks in them.
read -ra kernel <<<"${BOX_KERNEL:-}"
if [ ${#kernel[@]} -gt 0 ]; then
	image=${kernel[1]}
else
	image=$(find /boot -name 'vmlinuz-6.1.0-*-amd64' | grep -Ev 'cloud|rt-amd64' | sort -V | tail -n 1)
fi
tmp=$(mktemp -d) || exit
trap 'rm -rf "$tmp"' EXIT
gcc -O2 -Wall -static -pthread -o "$tmp/host-end" selftests/qemu/host-end.c || exit

# What the next kernel does when it is there.
cat >"$tmp/next" <<'NEXT'
cd /root
modprobe msr 2>/dev/null
./host-end svme && echo "@ok the next kernel finds SVM off" || echo "@no the next kernel finds SVM off"
insmod /box/lodge.ko && ./host-end one /dev/lodge && rmmod lodge &&
	echo "@ok lodge runs a guest there" || echo "@no lodge runs a guest there"
modprobe kvm-amd && ./host-end one /dev/kvm &&
	echo "@ok kvm_amd runs a guest there" || echo "@no kvm_amd runs a guest there"
dmesg | grep -E 'WARNING:|BUG:|Oops|Call Trace' | sed 's/^/# /'
NEXT

# The box's own root again, with other things to do, and without what they do not need: the boot loader's part in a
# kexec, which adds up a checksum, is slow here.
cat >"$tmp/prepare" <<'PREPARE'
modprobe msr 2>/dev/null
mkdir -p /tmp/over/box
cp next /tmp/over/box/command
sed 's/box_what=[a-z]*/box_what=none/' /box/env >/tmp/over/box/env
(cd / && find . -xdev ! -path ./root/vmlinuz ! -path './lib/modules/*/kernel/fs/*' ! -path './lib/modules/*/kernel/net/*' \
	! -path './lib/modules/*/kernel/drivers/[!c]*' | cpio -o -H newc 2>/dev/null) >/tmp/initrd
(cd /tmp/over && find . | cpio -o -H newc 2>/dev/null) >>/tmp/initrd
args=$(sed 's/crashkernel=[^ ]*//' /proc/cmdline)
PREPARE

# box NAME LINES [OPTION]...: run it; the status in $rc, its output in $tmp/out.
box()
{
	local name=$1 lines=$2
	shift 2
	{
		cat "$tmp/prepare"
		printf '%s\n' "$lines"
	} >"$tmp/first"
	selftests/qemu/box --smp 2 --mem 2G --timeout $((280 * ${STRETCH:-1})) --name "$name" "${kernel[@]}" "$@" \
		--file "$image:vmlinuz" --file "$tmp/host-end" --file "$tmp/next" --file "$tmp/first" \
		-- sh first >"$tmp/out" 2>"$tmp/err"
	rc=$?
}

# The lines of the next kernel, and that there were three.
next_results()
{
	local line good=0
	while read -r mark line; do
		case $mark in
		@ok) result 0 "$1: $line"; good=$((good + 1)) ;;
		@no) result 1 "$1: $line" "$(grep -a '^#' "$tmp/out" | tr '\n' ' ')" ;;
		esac
	done < <(tr -d '\r' <"$tmp/out")
	[ $good = 3 ] || result 1 "$1: the next kernel did all it had to" "status $rc: $(tail -n 3 "$tmp/out" "$tmp/err" | tr '\n' ' ')"
}

box host-kexec './host-end load vmlinuz /tmp/initrd "$args" && ./host-end spin /dev/lodge && ./host-end svme
./host-end kexec'
grep -q 'set on 2 of 2\|set on 0 of 0' "$tmp/out"
result $? "SVM is on while guests run" "$(grep -a SVME "$tmp/out")"
next_results "kexec with guests running"
[ $rc = 0 ]
result $? "kexec with guests running: no kernel complains" "status $rc: $(grep -a 'log has' -A 3 "$tmp/err" | tr '\n' ' ')"

box host-crash './host-end load-crash vmlinuz /tmp/initrd "$args nr_cpus=1 reset_devices" && ./host-end spin /dev/lodge
echo c >/proc/sysrq-trigger' --allow-warn --append crashkernel=384M
next_results "panic with guests running, a crash kernel loaded"

box host-panic './host-end spin /dev/lodge && echo c >/proc/sysrq-trigger' --allow-warn
[ $rc = 126 ] && grep -qa 'Kernel panic' build/box/host-panic.log
result $? "panic with guests running, no crash kernel: the machine restarts" "status $rc: $(tail -n 2 "$tmp/err" | tr '\n' ' ')"

box host-reboot './host-end spin /dev/lodge && reboot -f'
[ $rc = 126 ] && grep -q 'panicked or reset' "$tmp/err" && ! grep -q "log has" "$tmp/err"
result $? "reboot with guests running: the machine restarts, no kernel complains" \
	"status $rc: $(head -n 4 "$tmp/err" | tr '\n' ' ')"

echo "1..$n"
exit $failed
