#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# kvm_node.sh - kvm_node=1: /dev/kvm is ours while the stock module is absent;
# who comes second is refused and told so; the shipped modprobe.d recipe.
# BOX: --no-module --file build/lodge.ko --file build/selftests/module/create_vm --file kmod/host/lodge-kvm-node.conf
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

vm()
{
	./create_vm "$@" >/tmp/vm.out 2>&1
}

number()
{
	stat -c '%t:%T' "$1"
}

insmod lodge.ko && [ ! -e /dev/kvm ]
result $? "off by default"
rmmod lodge

insmod lodge.ko kvm_node=1 2>err
result $? "insmod with kvm_node=1" "$(cat err)"
[ "$(number /dev/kvm)" = a:e8 ]
result $? "/dev/kvm is the node 10:232" "$(number /dev/kvm)"
[ "$(number /dev/lodge)" = a:f6 ]
result $? "/dev/lodge is there as well" "$(number /dev/lodge)"
vm /dev/kvm
result $? "a VM on /dev/kvm" "$(cat /tmp/vm.out)"
(sleep 3) </dev/kvm &
sleep 1
! rmmod lodge 2>err
result $? "rmmod is refused while /dev/kvm is open"
wait

# The stock module comes second.
modprobe kvm-amd 2>err
[ ! -e /sys/module/kvm_amd ]
result $? "kvm_amd does not load then" "$(cat err)"
grep -qiE 'busy|exists' err
result $? "and says that something is busy" "$(cat err)"
vm /dev/kvm
result $? "/dev/kvm still works" "$(cat /tmp/vm.out)"
vm /dev/kvm 5 &
sleep 1
! modprobe kvm-amd 2>err
result $? "kvm_amd does not load while a VM runs" "$(cat err)"
wait $!
result $? "and the VM does not notice" "$(cat /tmp/vm.out)"
i=0
while [ $i -lt 5 ]; do
	modprobe kvm-amd 2>/dev/null
	rmmod kvm 2>/dev/null
	i=$((i + 1))
done
[ ! -e /sys/module/kvm_amd ]
result $? "nor at any other try"
rmmod lodge 2>err
result $? "rmmod" "$(cat err)"
[ ! -e /dev/kvm ]
result $? "/dev/kvm is gone"

# The stock module comes first.
modprobe kvm-amd 2>err && vm /dev/kvm
result $? "kvm_amd loads and runs a VM when lodge is gone" "$(cat err /tmp/vm.out)"
! insmod lodge.ko kvm_node=1 2>err
result $? "insmod is refused while kvm_amd has /dev/kvm"
dmesg | grep 'lodge: kvm_node=1' | grep -q 'modprobe -r kvm_amd'
result $? "the kernel's log says what to do" "$(dmesg | tail -n 1)"
[ ! -e /dev/lodge ]
result $? "no half is left behind"
vm /dev/kvm
result $? "kvm_amd still works" "$(cat /tmp/vm.out)"
insmod lodge.ko && vm /dev/lodge
result $? "without kvm_node=1 both are there" "$(cat /tmp/vm.out)"
rmmod lodge
rmmod kvm_amd
rmmod kvm

# The recipe, as modprobe reads it: opening /dev/kvm loads lodge, and the CPU's alias loads nothing.
dir=/lib/modules/$(uname -r)/updates
mkdir -p "$dir" /etc/modprobe.d
cp lodge.ko "$dir/"
depmod
cp lodge-kvm-node.conf /etc/modprobe.d/
printf '#!/bin/sh\necho "$@" >>/tmp/asked\nexec modprobe "$@"\n' >/bin/ask
chmod 755 /bin/ask
echo /bin/ask >/proc/sys/kernel/modprobe
mknod /tmp/kvm c 10 232
(: </tmp/kvm) 2>err
result $? "opening the node 10:232 loads what the recipe names" "$(cat err; cat /tmp/asked)"
grep -q '^lodge ' /proc/modules && [ -c /dev/kvm ] && ! grep -q '^kvm' /proc/modules
result $? "which is lodge with kvm_node=1" "$(cut -d' ' -f1 /proc/modules | tr '\n' ' ')"
grep -q amd /lib/modules/"$(uname -r)"/modules.alias && modprobe "$(cat /sys/devices/system/cpu/modalias)" 2>/dev/null
! grep -q '^kvm' /proc/modules
result $? "the CPU's alias does not load kvm_amd any more" "$(cut -d' ' -f1 /proc/modules | tr '\n' ' ')"
vm /tmp/kvm
result $? "a VM there" "$(cat /tmp/vm.out)"
rmmod lodge 2>err
result $? "rmmod once more" "$(cat err)"
echo "1..$n"
exit $failed
