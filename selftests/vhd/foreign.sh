#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Images as other tools leave them are read exactly, also after a write to
# them, and by libvhdi as by us; libvhdi reads ours; broken chains get their
# own errors; TAP.
# shellcheck disable=SC2086,SC2317
# BOX: none
# usage: foreign.sh "LODGE IMG COMMAND" (default: build/lodge img)
set -u
img=${1:-build/lodge img}
n=0
failed=0
here=$(realpath "$(dirname "$0")")
dir=$(mktemp -d /var/tmp/lodge-foreign-XXXXXX)
trap 'umount -q "$dir/mnt"; rm -rf "$dir"' EXIT

ok() { # ok NAME COMMAND...
	local name=$1
	shift
	n=$((n + 1))
	if "$@" >"$dir/log" 2>&1; then
		echo "ok $n - $name"
	else
		echo "not ok $n - $name # $(tail -n 1 "$dir/log")"
		failed=1
	fi
}

skip() {
	n=$((n + 1))
	echo "ok $n - $1 # SKIP $2"
}

says() { # says WORDS COMMAND...: it fails, with these words
	local words=$1
	shift
	"$@" >"$dir/said" 2>&1 && { echo "it does not fail"; return 1; }
	cat "$dir/said"
	grep -q -- "$words" "$dir/said" || { echo "it does not say '$words': $(head -n 1 "$dir/said")"; return 1; }
}

case $img in /*) ;; *) img=$PWD/$img ;; esac
cd "$dir" || exit 1
"$here/make-foreign" . || exit 1
same() { $img compare --raw-parent "$1.raw" "$1.vhd"; }

for f in ms-parent ms-child ms-bare tap-parent tap-child old-fixed vpc-fixed short; do
	ok "$f: it has the contents" same $f
	ok "$f: and the size" bash -c \
		"$img info --json $f.vhd | python3 -c 'import json, sys; assert json.load(sys.stdin)[\"size\"] == $(stat -c %s $f.raw)'"
done
ok "tap-parent: a hidden image is not written to" says 'stand on it' $img resize tap-parent.vhd 5M

# Rebasing writes into them, and onto other parents; the contents stay.
for f in ms-child ms-bare tap-child; do
	ok "$f: rebased onto another parent it reads the same" bash -c \
		"$img rebase --raw-parent --parent old-fixed.vhd $f.vhd && $img compare $f.raw $f.vhd"
	ok "$f: it checks clean then" $img check --bitmaps $f.vhd
done
ok "short: repaired it reads the same" bash -c "$img repair short.vhd && $img check short.vhd && $img compare short.raw short.vhd"

ok "a loop of parents" says 'has a loop' $img map loop-a.vhd
ok "a parent that is not there" says 'was not found' $img map orphan.vhd
ok "a parent with another id" says 'unique id differs' $img map wrong-parent.vhd
ok "an image that tapdisk's journal has disabled" says 'journal' $img map poisoned.vhd
ok "a file that was cut" says 'cut short' $img map cut.vhd
ok "its check" says 'behind the end' $img check cut.vhd
ok "tree ends in a loop" $img tree .

# libvhdi reads ours.
mkdir mnt
if ! command -v vhdimount >/dev/null || [ ! -e /dev/fuse ] || [ "$(id -u)" != 0 ]; then
	skip "libvhdi reads ours" "libvhdi-utils, /dev/fuse and root are needed"
else
	through() { # through NAME.vhd RAW NUMBER
		vhdimount "$1" mnt && cmp "mnt/vhdi$3" "$2"
		local ret=$?
		umount mnt
		return $ret
	}
	ok "libvhdi agrees on Microsoft's parent" through ms-parent.vhd ms-parent.raw 1
	$img convert old-fixed.raw d.vhd
	$img convert --type fixed old-fixed.raw f.vhd
	$img clone --format raw ms-child.raw c.vhd
	$img rebase --raw-parent --parent d.vhd c.vhd
	ok "libvhdi reads our dynamic image" through d.vhd old-fixed.raw 1
	ok "libvhdi reads our fixed image" through f.vhd old-fixed.raw 1
	ok "libvhdi reads our differencing image" through c.vhd ms-child.raw 2
	ok "vhdiinfo names its parent" bash -c "vhdiinfo c.vhd | grep -q 'Parent filename.*d.vhd'"
	$img resize d.vhd 100G 2>/dev/null
	$img copy d.vhd g.vhd
	ok "a parent is not grown under it" bash -c "[ \$(stat -c %s d.vhd) -lt 10000000 ]"
	$img resize g.vhd 300G
	ok "libvhdi reads an image that was grown" bash -c \
		"vhdimount g.vhd mnt && head -c $((4 << 20)) mnt/vhdi1 | cmp - old-fixed.raw; r=\$?; umount mnt; exit \$r"
fi

echo "1..$n"
exit $failed
