#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# host.sh - the installed files on a host that boots: kmod's static node, udev's
# rule for it and for the real node, loading on open, systemd's loader.
# BOX: --no-module --file build/lodge.ko --file kmod/host:/root/host --file /bin/kmod:/sbin/kmod --file /bin/udevadm:/sbin/udevadm --file /lib/systemd/systemd-modules-load --file /lib/udev/rules.d/80-drivers.rules:/root/80-drivers.rules
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

rights()
{
	stat -c '%U %G %a %t:%T' "$1"
}

# As make install lays them out.
dir=/lib/modules/$(uname -r)/updates
mkdir -p "$dir" /lib/udev/rules.d /usr/lib/modules-load.d /etc/modprobe.d
cp lodge.ko "$dir/"
cp host/60-lodge.rules /lib/udev/rules.d/
cp host/lodge.conf /usr/lib/modules-load.d/
rm -f /sbin/modprobe /sbin/depmod
ln -s kmod /sbin/modprobe
ln -s kmod /sbin/depmod
ln -s udevadm /sbin/udevd
/sbin/depmod

# What kmod-static-nodes.service and systemd-tmpfiles make of modules.devname.
/sbin/kmod static-nodes --format=tmpfiles --output=nodes 2>err
grep -q '^c!* */dev/lodge 0600 - - - 10:246' nodes
result $? "kmod lists the static node" "$(cat err nodes)"
mknod -m 600 /dev/lodge c 10 246
/sbin/udevd --daemon --resolve-names=early 2>err
result $? "udevd starts" "$(cat err)"
/sbin/udevadm settle
[ "$(rights /dev/lodge)" = "root kvm 660 a:f6" ]
result $? "the static node belongs to group kvm, before the module is there" "$(rights /dev/lodge)"
! grep -q '^lodge ' /proc/modules
result $? "it is not loaded yet"

echo /sbin/modprobe >/proc/sys/kernel/modprobe
(: </dev/lodge) 2>err
result $? "opening the node works" "$(cat err)"
grep -q '^lodge ' /proc/modules
result $? "because it loaded the module"
/sbin/udevadm settle
[ "$(rights /dev/lodge)" = "root kvm 660 a:f6" ]
result $? "the node is the group's still" "$(rights /dev/lodge)"
rmmod lodge
rm -f /dev/lodge

SYSTEMD_LOG_TARGET=console ./systemd-modules-load 2>err
result $? "systemd-modules-load" "$(cat err)"
grep -q '^lodge ' /proc/modules
result $? "loads the module"
/sbin/udevadm settle
[ "$(rights /dev/lodge)" = "root kvm 660 a:f6" ]
result $? "udev gives a node without a static one to the group" "$(rights /dev/lodge)"
rmmod lodge

# The recipe for kvm_node=1; udev's own rule for kvm is in Debian's 50-udev-default.rules.
echo 'KERNEL=="kvm", GROUP="kvm", MODE="0660", OPTIONS+="static_node=kvm"' >/lib/udev/rules.d/50-udev-default.rules
cp 80-drivers.rules /lib/udev/rules.d/
cp host/lodge-kvm-node.conf /etc/modprobe.d/
/sbin/udevadm control --reload	# it has read modprobe.d when it started
SYSTEMD_LOG_TARGET=console ./systemd-modules-load 2>err
/sbin/udevadm settle
[ "$(rights /dev/kvm)" = "root kvm 660 a:e8" ]
result $? "with the recipe, /dev/kvm is the group's" "$(rights /dev/kvm 2>&1; cat err)"
/sbin/udevadm trigger --action=add --subsystem-match=cpu
/sbin/udevadm settle
! grep -q '^kvm' /proc/modules
result $? "udev's coldplug of the CPUs does not load the stock module"
rmmod lodge
rm /etc/modprobe.d/*
/sbin/udevadm control --reload
/sbin/udevadm trigger --action=add --subsystem-match=cpu
/sbin/udevadm settle
grep -q '^kvm_amd' /proc/modules
result $? "without the recipe it does"
kill "$(pidof udevd)" 2>/dev/null
echo "1..$n"
exit $failed
