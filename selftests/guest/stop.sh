#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# stop.sh - a guest that spins with interrupts off, halts for ever, floods the
# host with exits, or breaks its CPU is ended at once.
# BOX: --smp 2 --file build/lodge --file selftests/guest/guest.sh --file selftests/guest/tiny.sh
# NODES: kvm? lodge
# TIMEOUT: 240
# shellcheck source=selftests/guest/guest.sh
. ./guest.sh
# shellcheck source=selftests/guest/tiny.sh
. ./tiny.sh

# Each says "!" on the serial port first, so that it is known to run.
hello='66 ba f8 03 b0 21 ee'

# shellcheck disable=SC2317
runs() { lodge log tiny 2>/dev/null | grep -q '!'; }

start()
{
	lodge run --device "$node" -q --name tiny -m 16 -k k --net none --console ttyS0 --bare-cmdline \
		-a '' </dev/null >out 2>&1 &
	pid=$!
	wait_for 10 runs
}

# at_once COMMAND...: within some seconds, for this may be an emulator.
at_once()
{
	before=$(date +%s)
	"$@" >end 2>&1 && [ $(($(date +%s) - before)) -le $((6 * stretch)) ]
}

# shellcheck disable=SC2317
wait_gone()
{
	while lodge info tiny >/dev/null 2>&1; do sleep 0.1; done
}

# ended WHAT HEX...
ended()
{
	what=$1
	shift
	# shellcheck disable=SC2086 # words are wanted
	kernel $hello "$@" >k
	start && at_once lodge kill tiny
	result $? "$what: kill ends it at once" "$(cat out end)"
	wait $pid
	[ $? = 15 ]
	result $? "$what: the exit code says so" "$(cat out)"
	start && at_once lodge stop --timeout 1 --force tiny
	result $? "$what: stop --force ends it" "$(cat out end)"
	wait $pid
	start && kill -TERM $pid && at_once wait_gone
	result $? "$what: SIGTERM ends it" "$(cat out)"
	wait $pid
}

ended "cli; jmp ." fa eb fe
ended "cli; hlt" fa f4 eb fd
ended "a flood of port writes" 66 ba 80 00 ee eb fd
ended "a flood of writes to no device" bb 00 00 00 d0 89 03 eb fc
ended "a flood of reads of the serial port" 66 ba fd 03 ec eb fd
ended "a flood of CPUID" 31 c0 0f a2 eb fa

# shellcheck disable=SC2086 # words are wanted
kernel $hello 0f 0b >k
within 30 lodge run --device "$node" -q -m 16 -k k --net none --console ttyS0 --bare-cmdline -a '' \
	</dev/null >out 2>&1
[ $? = 12 ]
result $? "a triple fault ends the guest with a code of its own" "$(cat out)"

# shellcheck disable=SC2086 # words are wanted
kernel $hello b8 00 00 00 d0 ff e0 >k
within 30 lodge run --device "$node" -q -m 16 -k k --net none --console ttyS0 --bare-cmdline -a '' \
	</dev/null >out 2>&1
[ $? = 13 ] && grep -qE 'gave up .*: vCPU 0 at 0x10:0xd0000000, .*cr0 0x31, .*idt 0\+0;' out
result $? "a jump to where there is no memory is a failure that says where the CPU was" "$(cat out)"
finish
