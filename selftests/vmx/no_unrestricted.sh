#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# no_unrestricted.sh - without unrestricted guest mode the module refuses to load, and says so.
# BOX: --bochs corei5_lynnfield_750 --no-module --file build/lodge-cloud.ko:lodge.ko
grep -q '^flags.* vmx' /proc/cpuinfo || { echo "1..0 # SKIP this CPU has no VT-x at all"; exit 0; }
if insmod lodge.ko 2>err; then
	echo "not ok 1 - insmod is refused"
else
	echo "ok 1 - insmod is refused"
fi
if dmesg | grep lodge: | grep -q "unrestricted guest"; then
	echo "ok 2 - the kernel's log names what is missing"
else
	echo "not ok 2 - the kernel's log names what is missing # $(dmesg | tail -n 1)"
fi
echo 1..2
! grep -q '^lodge ' /proc/modules
