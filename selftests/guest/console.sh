#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# console.sh - a guest's kernel speaks on two consoles, and its log is shown once:
# before the virtio driver is there, and after, and through a restart.
# BOX: --smp 2 --file build/lodge --file build/guest/vmlinuz --file build/guest/test-initrd --file selftests/guest/guest.sh
# NODES: lodge
# TIMEOUT: 180
# shellcheck source=selftests/guest/guest.sh
. ./guest.sh

# Kernel messages of one boot, and those that come more than once.
messages() { grep -a '^\[ *[0-9]*\.[0-9]\{6\}\]' out; }

guest out cpus,1 --net none --append 'no_timer_check panic=-1 loglevel=7 run=cpus,1'
result $? "lodge run ends with 0" "$(tail -n 2 out)"
[ "$(messages | wc -l)" -gt 100 ]
result $? "the kernel's messages are shown" "$(messages | wc -l)"
[ -z "$(messages | sort | uniq -d)" ]
result $? "none of them twice" "$(messages | sort | uniq -d | head -n 3)"
grep -q '\[    0.000000\] Linux version' out
result $? "from the first one on" "$(head -n 2 out)"
messages | tail -n 1 | grep -q 'reboot: Power down'
result $? "to the last" "$(messages | tail -n 2)"
[ "$(grep -c 'guest: done' out)" = 1 ]
result $? "what programs print is shown, once" "$(grep guest: out | tail -n 2)"
finish
