#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# headers.sh - every header compiles alone, and twice in one file: user
# space's with its Makefile's warnings, the module's with the flags that Kbuild
# used for main.c.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=selftests/lint/tap.sh
. selftests/lint/tap.sh
top=$PWD

files userspace include/lodge include/uapi | grep '\.h$' | while read -r h; do
	printf '#include "%s"\n#include "%s"\n' "$top/$h" "$top/$h" >"$tmp/one.c"
	gcc -fsyntax-only -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -I include \
		-I userspace -I build/userspace/gen "$tmp/one.c" 2>&1 | grep -E 'error|warning' |
		head -n 1 | sed "s|$top/||; s|^|$h: |"
done >"$tmp/bad"
result "user-space headers compile alone" "$tmp/bad"

kdir=$(headers)
# shellcheck disable=SC2038 # our files have tame names
cmd=$(find build/module/kmod -name '.*.o.cmd' ! -name '.lodge*' 2>/dev/null |
	xargs -r grep -lE '^cmd_.*gcc.* -DKBUILD_MODNAME' | head -n 1)
if [ -z "$kdir" ] || [ -z "$cmd" ]; then
	skip "module headers compile alone" "the module has not been built"
	finish
fi
# "cmd_X := gcc ... -c -o X.o X.c ; objtool ..." without what belongs to X.
flags=$(grep -m 1 '^cmd_' "$cmd" | sed -E 's/^[^=]*:= *//; s/ *; .*//; s/ -c -o [^ ]+ [^ ]+ *$//;
	s/-Wp,-MMD,[^ ]+//; s/^[^ ]+//; s/\\#/#/g')
files kmod include/uapi | grep '\.h$' | while read -r h; do
	case $h in
	kmod/guest/*) continue ;;
	esac
	printf '#include "%s"\n#include "%s"\n' "$top/$h" "$top/$h" >"$tmp/one.c"
	(cd "$kdir" && eval "gcc $flags -fsyntax-only -Wno-unused-function -I $top/$(dirname "$h") $tmp/one.c") 2>&1 |
		grep -E 'error|warning' | head -n 1 | sed "s|$top/||; s|^|$h: |"
done >"$tmp/bad"
result "module headers compile alone" "$tmp/bad"
finish
