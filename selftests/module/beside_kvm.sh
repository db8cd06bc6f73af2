#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# beside_kvm.sh - the stock module and ours in one kernel, in either order:
# whoever comes second with a VM is told so, nobody warns, nobody steals.
# BOX: --no-module --file build/lodge.ko --file build/selftests/module/create_vm
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

# Its own TAP lines are not this test's.
printf '#!/bin/sh\n./create_vm "$@" >/tmp/vm.$$ 2>&1 && exit\ncat /tmp/vm.$$ >&2\nexit 1\n' >create_vm_quiet
chmod 755 create_vm_quiet
modprobe kvm-amd
insmod lodge.ko 2>err
result $? "lodge loads beside an idle kvm_amd" "$(cat err)"
./create_vm_quiet /dev/lodge
result $? "lodge runs a VM beside an idle kvm_amd"

./create_vm_quiet /dev/kvm 4 &
sleep 1
./create_vm_quiet /dev/lodge >out 2>&1
grep -q 'Device or resource busy' out
result $? "EBUSY while kvm_amd has a VM" "$(cat out)"
dmesg | grep -i lodge | grep -q kvm_amd
result $? "the kernel's log names kvm_amd" "$(dmesg | tail -n 1)"
wait
./create_vm_quiet /dev/lodge
result $? "a VM again after kvm_amd's is gone"

./create_vm_quiet /dev/lodge 4 &
sleep 1
! ./create_vm_quiet /dev/kvm >out 2>&1
result $? "kvm_amd gets no VM while lodge has one" "$(cat out)"
wait
rmmod lodge
result $? "rmmod lodge"
rmmod kvm_amd
insmod lodge.ko && modprobe kvm-amd
result $? "the other order of loading"
./create_vm_quiet /dev/kvm
result $? "kvm_amd runs a VM beside an idle lodge"
echo "1..$n"
exit $failed
