#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# apply.sh [-R] SOURCE [VERSION] - apply the patches for QEMU VERSION (7.2) to the source tree SOURCE, or take them
# back with -R.  All or nothing: each is tried on the state that those before it leave, and when one does not fit, exactly
# and without fuzz, the tree is left as it was found.
set -eu

die()
{
	echo "apply.sh: $*" >&2
	exit 1
}

reverse=''
[ "${1:-}" != -R ] || { reverse=-R; shift; }
[ $# -ge 1 ] || { sed -n '4,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
source=$1
patches=$(cd "$(dirname "$0")" && pwd)/${2:-7.2}
[ -r "$patches/series" ] || die "there are no patches for QEMU ${2:-7.2}"
[ -r "$source/accel/kvm/kvm-all.c" ] || die "$source is not QEMU's source: no accel/kvm/kvm-all.c"
found=$(cat "$source/VERSION" 2>/dev/null || echo unknown)
case $found in
"${2:-7.2}".*) ;;
*) die "$source is QEMU $found, and the patches are for ${2:-7.2}" ;;
esac
series=$(sed '/^#/d; /^$/d' "$patches/series")
[ -z "$reverse" ] || series=$(echo "$series" | tac)

# A copy of the touched files is where the whole series is tried first.
trial=$(mktemp -d)
trap 'rm -rf "$trial"' EXIT
for p in $series; do
	sed -n 's|^+++ b/\([^	]*\).*|\1|p' "$patches/$p"
done | sort -u | while read -r f; do
	[ -e "$source/$f" ] || die "$source has no $f"
	mkdir -p "$trial/$(dirname "$f")"
	cp "$source/$f" "$trial/$f"
done
for p in $series; do
	patch -d "$trial" -p1 -s -F0 $reverse --no-backup-if-mismatch -N <"$patches/$p" >"$trial/said" 2>&1 ||
		die "$p does not fit $source (is it ${reverse:+not }applied already?): $(head -n 3 "$trial/said" | tr '\n' ' ')"
done
rm -f "$trial/said"
cp -R "$trial/." "$source/"
for p in $series; do
	echo "${reverse:+taken back: }$p"
done
