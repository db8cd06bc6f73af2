#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# no_svm.sh - on a host without SVM the installed files are no trouble: the boot's
# loader of modules does not fail, and opening the static node says that there is none.
# BOX: --no-module --cpu EPYC,-svm --file build/lodge.ko --file kmod/host:/root/host --file /bin/kmod:/sbin/kmod --file /lib/systemd/systemd-modules-load
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

dir=/lib/modules/$(uname -r)/updates
mkdir -p "$dir" /usr/lib/modules-load.d
cp lodge.ko "$dir/"
cp host/lodge.conf /usr/lib/modules-load.d/
rm -f /sbin/modprobe /sbin/depmod
ln -s kmod /sbin/modprobe
ln -s kmod /sbin/depmod
/sbin/depmod
SYSTEMD_LOG_TARGET=console ./systemd-modules-load 2>err
result $? "systemd-modules-load does not fail" "$(cat err)"
grep -q lodge err
result $? "and says what it did not load" "$(cat err)"
dmesg -c | grep lodge | grep -qi svm
result $? "it did try: the kernel's log says what is missing"
echo /sbin/modprobe >/proc/sys/kernel/modprobe
mknod /dev/lodge c 10 246
! (: </dev/lodge) 2>err
result $? "opening the static node fails"
grep -qi 'no such device' err
result $? "with ENODEV or ENXIO" "$(cat err)"
dmesg | grep lodge | grep -qi svm
result $? "and the reason in the kernel's log"
echo "1..$n"
exit $failed
