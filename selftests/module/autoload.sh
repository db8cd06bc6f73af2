#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# autoload.sh - an installed module loads by itself when its node is opened,
# by the aliases that modinfo shows; what depmod makes of them is a static node.
# BOX: --no-module --file build/lodge.ko
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

dir=/lib/modules/$(uname -r)/updates/dkms
mkdir -p "$dir"
cp lodge.ko "$dir/"
depmod 2>err
result $? "depmod takes it" "$(cat err)"
minor=$(modinfo lodge.ko | sed -n 's/.*char-major-10-\([0-9]*\).*/\1/p' | head -n 1)
[ -n "$minor" ]
result $? "modinfo shows a fixed minor"
modinfo lodge.ko | grep -q 'devname:lodge'
result $? "and the node's name, for static nodes"
! grep -q '^lodge ' /proc/modules
result $? "it is not loaded yet"
echo /sbin/modprobe >/proc/sys/kernel/modprobe
mknod /tmp/lodge c 10 "$minor"
(exec 3</tmp/lodge) 2>err
result $? "opening a node of that number works" "$(cat err)"
grep -q '^lodge ' /proc/modules
result $? "because it loaded the module"
[ -c /dev/lodge ]
result $? "/dev/lodge is there"
rmmod lodge 2>err
result $? "rmmod" "$(cat err)"
echo "1..$n"
exit $failed
