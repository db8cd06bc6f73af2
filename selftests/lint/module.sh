#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# module.sh - the module builds without a word from gcc (W=1) and sparse (C=2);
# objtool finds no instrumentable code on the entry path; modinfo is complete.
#
# Debian's kernel has DEBUG_ENTRY off, so its own build of a module does not
# look for calls out of .noinstr.text: objtool --noinstr is run here.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=selftests/lint/tap.sh
. selftests/lint/tap.sh

kdir=$(headers)
if [ -z "$kdir" ] || [ ! -e Kbuild ]; then
	for t in "no warning at W=1" "sparse is silent" "objtool --noinstr is silent" "modinfo is complete"; do
		skip "$t" "no kernel headers or no Kbuild"
	done
	finish
fi

sparse=()
! command -v sparse >/dev/null || sparse=(C=2)
# A warning shows only when its file is compiled.  In a new checkout the build before the tests compiled
# everything, at W=1 too, and what it said is there to read; else everything is built once more.
complete()
{
	[ "$(cat build/module/.headers 2>/dev/null)" = "$kdir" ] && [ -e build/module/.log ] &&
		find "$PWD/build/module" -name '*.o' ! -name lodge.o -print | sort >"$tmp/objects" && [ -s "$tmp/objects" ] &&
		sed -nE 's/^  (CC|AS) \[M\] +//p' build/module/.log | sort | comm -13 - "$tmp/objects" >"$tmp/silent" &&
		[ ! -s "$tmp/silent" ]
}
tree=build/module-lint log=$tmp/said
: >"$log"
if complete; then
	tree=build/module
	cp build/module/.log "$log"
else
	rm -rf $tree
fi
if ! selftests/qemu/build-module "$kdir" $tree build/module-lint.ko 2 W=1 "${sparse[@]}" >"$tmp/log" 2>&1; then
	grep -E 'error|\*\*\*' "$tmp/log" >"$tmp/bad"
	[ -s "$tmp/bad" ] || tail -n 5 "$tmp/log" >"$tmp/bad"
	result "the module builds at W=1" "$tmp/bad"
	finish
fi
cat $tree/.log >>"$log"
# Nothing was compiled there but checked: what was said stays true.
[ $tree != build/module ] || cp "$log" build/module/.log
# gcc names the option behind each of its warnings; sparse does not.
grep -E '\[-W|WARNING: modpost|warning: objtool|: objtool:' "$log" | sort -u >"$tmp/bad"
result "no warning at W=1" "$tmp/bad"
if [ ${#sparse[@]} -gt 0 ]; then
	# Sparse speaks of our files; what it says of the kernel's headers is not ours.
	grep -E "$tree/(kmod|include)/.*: (warning|error): " "$log" | grep -v '\[-W' | sort -u >"$tmp/bad"
	result "sparse is silent" "$tmp/bad"
else
	skip "sparse is silent" "sparse is not installed"
fi

objtool=/usr/lib/linux-kbuild-6.1/tools/objtool/objtool
obj=$(find $tree -maxdepth 2 -name lodge.o | head -n 1)
if [ ! -x $objtool ]; then
	skip "objtool --noinstr is silent" "no $objtool"
elif [ -z "$obj" ]; then
	echo "Kbuild left no lodge.o" >"$tmp/bad"
	result "objtool --noinstr is silent" "$tmp/bad"
else
	cp "$obj" "$tmp/lodge.o"
	$objtool --hacks=jump_label --noinstr --link --module --dry-run --static-call \
		"$tmp/lodge.o" >"$tmp/objtool" 2>&1
	# The kernel's own functions, of which objtool cannot see here that they are noinstr there;
	# and that Kbuild's objtool has made the static-call section before.
	grep -vE 'call to (__ct_user_(enter|exit)|entry_untrain_ret|srso_alias_untrain_ret|entry_ibpb|clear_bhb_loop)\(\) leaves|already has \.static_call_sites' \
		"$tmp/objtool" >"$tmp/bad"
	result "objtool --noinstr is silent" "$tmp/bad"
fi

: >"$tmp/bad"
for field in license description author version vermagic retpoline; do
	[ -n "$(modinfo -F $field build/module-lint.ko)" ] || echo "modinfo: no $field" >>"$tmp/bad"
done
modinfo -F alias build/module-lint.ko | grep -qx 'devname:lodge' ||
	echo "modinfo: no alias devname:lodge" >>"$tmp/bad"
modinfo -F alias build/module-lint.ko | grep -qE '^char-major-10-[0-9]+$' ||
	echo "modinfo: no alias char-major-10-MINOR" >>"$tmp/bad"
modinfo -p build/module-lint.ko | grep -vE '^[a-z_0-9]+:.{8,}' | sed 's/^/parameter without description: /' >>"$tmp/bad"
result "modinfo is complete" "$tmp/bad"
finish
