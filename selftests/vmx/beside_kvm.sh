#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# beside_kvm.sh - kvm_intel and lodge.ko, of which the kernel's way out of VT-x at a crash serves one: whoever comes second
# is refused and told what to do, nobody warns.
# BOX: --bochs corei7_skylake_x --no-module --file build/lodge-cloud.ko:lodge.ko
# TIMEOUT: 120
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

modprobe kvm-intel
result $? "modprobe kvm-intel"
! insmod lodge.ko 2>err
result $? "lodge is refused beside kvm_intel"
grep -q 'busy' err
result $? "with EBUSY" "$(cat err)"
dmesg | grep lodge: | grep -q 'rmmod kvm_intel'
result $? "the kernel's log says what to do" "$(dmesg | tail -n 1)"
rmmod kvm_intel
insmod lodge.ko 2>err
result $? "lodge loads when kvm_intel is gone" "$(cat err)"
! modprobe kvm-intel 2>err
result $? "kvm_intel is refused beside lodge"
dmesg | grep lodge: | grep -q 'rmmod lodge'
result $? "and the log says what to do" "$(dmesg | tail -n 1)"
rmmod lodge
result $? "rmmod lodge"
modprobe kvm-intel
result $? "kvm_intel loads when lodge is gone"
echo "1..$n"
exit $failed
