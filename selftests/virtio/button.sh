#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# button.sh - `lodge stop`: the power button reaches programs in the guest, which
# shuts itself down, and the exit codes say so.
# BOX: --smp 2 --file build/lodge --file build/guest/vmlinuz --file build/guest/test-initrd --file selftests/guest/guest.sh --file selftests/virtio/host.sh --file selftests/virtio/guest-init
# NODES: kvm? lodge
# TIMEOUT: 180
# shellcheck source=selftests/virtio/host.sh
. ./host.sh

# shellcheck disable=SC2317
waiting() { lodge log pc 2>/dev/null | grep -q 'guest: waiting on'; }

lodge run --device "$node" --quiet --no-stdin --name pc --mem 128M -k vmlinuz -i virtio-initrd --net none \
	--append "quiet no_timer_check panic=-1 rdinit=/virtio-init run=button" >out 2>&1 </dev/null &
pid=$!
wait_for 60 waiting
lodge stop --timeout $((60 * stretch)) pc >said 2>&1
result $? "lodge stop returns when the guest has shut down" "$(cat said out)"
wait $pid
result $? "lodge run's exit code is that of a power-off" "$(tail -n 2 out)"
tr -d '\r' <out >text
grep -q 'guest: type *1 code *116$' text
result $? "the guest saw KEY_POWER go down" "$(grep guest: text | tail -n 2)"
grep -q 'guest: done' text
result $? "and ended in order" "$(grep guest: text | tail -n 2)"
lodge stop pc >said 2>&1
[ $? = 1 ] && grep -q 'no guest named pc' said
result $? "a second stop finds no guest" "$(cat said)"
finish
