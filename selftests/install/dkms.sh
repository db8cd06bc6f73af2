#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# dkms.sh - Debian's DKMS builds and installs the module for a supported kernel
# and leaves another one alone without a failure.  In trees of its own: nothing
# of this machine's DKMS is touched.
# BOX: none
# TIMEOUT: 600
if ! command -v dkms >/dev/null; then
	echo "1..0 # SKIP dkms is not installed"
	exit 0
fi
if [ "$(id -u)" != 0 ]; then
	echo "1..0 # SKIP needs root, as DKMS does"
	exit 0
fi
n=0 failed=0
result()
{
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n - $2"
	else
		failed=1
		echo "not ok $n - $2 # $(echo "${3:-}" | tr '\n' ' ')"
	fi
}
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
kver=$(modinfo -F vermagic build/lodge.ko | cut -d' ' -f1)
version=$(modinfo -F version build/lodge.ko)
other=6.5.0-1-amd64

make -s install-dkms DESTDIR="$tmp" >"$tmp/out" 2>&1 || { cat "$tmp/out"; exit 1; }
mkdir -p "$tmp/tree" "$tmp/inst/$kver" "$tmp/inst/$other" "$tmp/headers/include"

dk()
{
	nice dkms --dkmstree "$tmp/tree" --sourcetree "$tmp/usr/src" --installtree "$tmp/inst" "$@" >"$tmp/out" 2>&1
}

dk add "lodge/$version"
result $? "dkms add" "$(cat "$tmp/out")"
dk autoinstall -k $other
result $? "an unsupported kernel is no failure before a build" "$(cat "$tmp/out")"
dk install "lodge/$version" -k "$kver"
result $? "dkms install" "$(tail -n 5 "$tmp/out"; grep -i error "$tmp/tree/lodge/$version/build/make.log" 2>/dev/null | head -n 3)"
ko=$(find "$tmp/inst" -name 'lodge.ko*')
[ -n "$ko" ] && [ "$(modinfo -F vermagic "$ko" | cut -d' ' -f1)" = "$kver" ]
result $? "a module for $kver is installed" "$(cat "$tmp/out")"
[ "$(modinfo -F srcversion "$ko")" = "$(modinfo -F srcversion build/lodge.ko)" ]
result $? "from the same sources as make's"
dk autoinstall -k $other
result $? "an unsupported kernel is no failure after a build" "$(cat "$tmp/out")"
dk install "lodge/$version" -k $other --kernelsourcedir "$tmp/headers"
[ $? = 77 ]
result $? "asked for by name it is refused as excluded" "$(cat "$tmp/out")"
[ -z "$(find "$tmp/inst/$other" -type f)" ]
result $? "nothing is installed for it"
dk remove "lodge/$version" --all
result $? "dkms remove" "$(cat "$tmp/out")"
[ -z "$(find "$tmp/inst" -name 'lodge.ko*')" ]
result $? "the module is gone"
echo "1..$n"
exit $failed
