#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# no_svm.sh - without SVM the module refuses to load, and says why.
# BOX: --no-module --file build/lodge.ko --cpu EPYC,-svm
if insmod lodge.ko 2>err; then
	echo "not ok 1 - insmod is refused"
else
	echo "ok 1 - insmod is refused"
fi
if dmesg | grep -i lodge | grep -qi svm; then
	echo "ok 2 - the kernel's log names what is missing"
else
	echo "not ok 2 - the kernel's log names what is missing # $(dmesg | tail -n 1)"
fi
echo 1..2
! grep -q '^lodge ' /proc/modules
