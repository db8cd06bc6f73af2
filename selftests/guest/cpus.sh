#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# cpus.sh - Debian's kernel boots with 1, 2 and 4 vCPUs, and every one computes.
# BOX: --smp 2 --file build/lodge --file build/guest/vmlinuz --file build/guest/test-initrd --file selftests/guest/guest.sh
# NODES: kvm lodge
# TIMEOUT: 400
# shellcheck source=selftests/guest/guest.sh
. ./guest.sh
for cpus in 1 2 4; do
	guest out cpus --net none --cpus $cpus
	result $? "$cpus vCPUs: lodge run ends with 0" "$(tail -n 2 out)"
	[ "$(value out cpus)" = $cpus ]
	result $? "$cpus vCPUs: the guest has them all" "$(value out cpus)"
	done_well out
	result $? "$cpus vCPUs: all compute the same" "$(value out sums)"
done
guest out cpus --net none --cpus 2 --no-reboot --append "quiet no_timer_check panic=-1 run=cpus end=reboot"
[ $? = 10 ]
result $? "a reset ends lodge run --no-reboot with 10" "$(tail -n 2 out)"
finish
