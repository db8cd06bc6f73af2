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
# shellcheck source=selftests/vhd/part.bash
. "$(dirname "$0")/part.bash"
trap 'umount -q "$dir/mnt"; rm -rf "$dir"' EXIT

cd "$dir" || exit 1
"$here/make-foreign" . || exit 1
same() { $img compare --raw-parent "$1.raw" "$1.vhd"; }

for f in ms-parent ms-child ms-bare tap-parent tap-child old-fixed vpc-fixed short; do
	ok "$f: it has the contents" same $f
	ok "$f: and the size" bash -c \
		"$img info --json $f.vhd | python3 -c 'import json, sys; assert json.load(sys.stdin)[\"size\"] == $(stat -c %s $f.raw)'"
done
ok "tap-parent: a hidden image is not written to" says 1 'stand on it' $img resize tap-parent.vhd 5M

# Rebasing writes into them, and onto other parents; the contents stay.
for f in ms-child ms-bare tap-child; do
	ok "$f: rebased onto another parent it reads the same" bash -c \
		"$img rebase --raw-parent --parent old-fixed.vhd $f.vhd && $img compare $f.raw $f.vhd"
	ok "$f: it checks clean then" $img check --bitmaps $f.vhd
done
ok "short: repaired it reads the same" bash -c "$img repair short.vhd && $img check short.vhd && $img compare short.raw short.vhd"

ok "a loop of parents" says 1 'has a loop' $img map loop-a.vhd
ok "a parent that is not there" says 1 'was not found' $img map orphan.vhd
ok "a parent with another id" says 1 'unique id differs' $img map wrong-parent.vhd
ok "an image that tapdisk's journal has disabled" says 1 'journal' $img map poisoned.vhd
ok "a file that was cut" says 1 'cut short' $img map cut.vhd
ok "its check" says 1 'behind the end' $img check cut.vhd
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

finish
