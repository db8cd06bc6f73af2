#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# balloon.sh - memory taken from a running guest and given back with `lodge
# balloon`, as the host and the guest see it.
# BOX: --smp 2 --file build/lodge --file build/guest/vmlinuz --file build/guest/test-initrd --file selftests/guest/guest.sh --file selftests/virtio/host.sh --file selftests/virtio/guest-init
# NODES: kvm? lodge
# TIMEOUT: 240
# shellcheck source=selftests/virtio/host.sh
. ./host.sh

# shellcheck disable=SC2317
logged() { lodge log fat 2>/dev/null | grep -q "$1"; }
field() { lodge info --json fat | sed -n "s/.*\"$1\": \([^, ]*\).*/\1/p"; }
# The guest's word, from after now on.
free_now()
{
	was=$(lodge log fat | grep -c 'guest: free')
	wait_for 20 newer "$was"
	lodge log fat | tr -d '\r' | sed -n 's/.*guest: free //p' | tail -n 1
}
# shellcheck disable=SC2317
newer() { [ "$(lodge log fat | grep -c 'guest: free')" -gt $(($1 + 1)) ]; }

sleep 1000 | lodge run --device "$node" --quiet --name fat --mem 256M -k vmlinuz -i virtio-initrd --net none \
	--append "quiet no_timer_check panic=-1 rdinit=/virtio-init run=hold" >out 2>&1 &
wait_for 100 logged 'guest: up'
result $? "the guest is up" "$(tail -n 2 out)"
[ "$(field balloon)" = true ] && [ "$(field memory_actual)" = $((256 << 20)) ]
result $? "it has a balloon driver and all its memory" "$(lodge info --json fat)"
before=$(free_now)
lodge balloon fat 128M >said 2>&1
result $? "lodge balloon takes half of its memory" "$(cat said)"
[ "$(field memory_target)" = $((128 << 20)) ] && [ "$(field memory_actual)" -le $((129 << 20)) ]
result $? "lodge info shows what was asked and what the guest has" "$(lodge info --json fat)"
grep -q 'it has 12[89] and is asked to make do with 128' said
result $? "and so does the command" "$(cat said)"
less=$(free_now)
[ $((before - less)) -gt 100 ]
result $? "the guest's free memory shrinks by that" "$before MiB, then $less MiB"
lodge balloon --json fat 256 >said 2>&1 && grep -q '"memory_target": 268435456' said
result $? "it is given back" "$(cat said)"
more=$(free_now)
[ $((more - less)) -gt 100 ]
result $? "the guest has it again" "$less MiB, then $more MiB"
lodge balloon --timeout 3 fat 16M >said 2>&1
status=$?
# 16 MiB are not enough for a kernel: it must survive, and the command must say how it went.
[ $status = 0 ] || { [ $status = 1 ] && grep -q 'has not got there' said; }
result $? "more than the guest can give" "status $status: $(cat said)"
lodge balloon fat 256M >said 2>&1
result $? "it survives" "$(cat said)"
lodge balloon fat 1M >said 2>&1
[ $? = 1 ] && grep -q 'from 16 MiB' said
result $? "too little is refused" "$(cat said)"
lodge balloon fat 257M >said 2>&1
[ $? = 1 ] && grep -q 'all that the guest was given' said
result $? "more than it was given is refused" "$(cat said)"
lodge kill fat
finish
