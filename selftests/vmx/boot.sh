#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# boot.sh - Debian's cloud kernel boots on VT-x to its /init with 1 and 2 vCPUs, and every one computes.
# BOX: --bochs corei7_skylake_x --file build/lodge --file build/guest/vmlinuz --file build/guest/test-initrd --file selftests/guest/guest.sh
# TIMEOUT: 200
# shellcheck source=selftests/guest/guest.sh
. ./guest.sh
for cpus in 1 2; do
	guest out cpus --net none --cpus $cpus
	result $? "$cpus vCPUs: lodge run ends with 0" "$(tail -n 2 out)"
	[ "$(value out cpus)" = $cpus ]
	result $? "$cpus vCPUs: the guest has them all" "$(value out cpus)"
	done_well out
	result $? "$cpus vCPUs: all compute the same" "$(value out sums)"
done
finish
