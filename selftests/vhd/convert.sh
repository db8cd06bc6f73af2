#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# lodge img convert from and to qcow2, VMDK and VHDX, by qemu-img, which judges
# what we have made; images that name other files are refused; TAP.
# shellcheck disable=SC2086,SC2317
# BOX: none
# usage: convert.sh "LODGE IMG COMMAND" (default: build/lodge img)
set -u
img=${1:-build/lodge img}
# shellcheck source=selftests/vhd/part.bash
. "$(dirname "$0")/part.bash"

command -v qemu-img >/dev/null || skip_all "qemu-img is needed"
cd "$dir" || exit 1
truncate -s 16M a.raw
noise a.raw 5 16777216 12
$img convert a.raw a.vhd
$img clone a.vhd child.vhd

for f in qcow2 vmdk vhdx; do
	ok "$f is made from a chain of VHD images" $img convert child.vhd a.$f
	ok "qemu-img finds the same in it" qemu-img compare -f raw -F $f a.raw a.$f
	ok "and it is read back into VHD" $img convert a.$f $f.vhd
	ok "with the same contents, checking clean" bash -c "$img compare a.raw $f.vhd && $img check $f.vhd"
	ok "the format may be given" bash -c "$img convert --json -O $f a.raw x && $img convert -f $f x y.raw && cmp a.raw y.raw && rm x y.raw"
done
ok "from one of them to another" bash -c "$img convert -p a.qcow2 b.vmdk && qemu-img compare -f raw -F vmdk a.raw b.vmdk"
ok "into a fixed image" bash -c "$img convert --type fixed a.vhdx f.vhd && $img compare a.raw f.vhd"
ls >before
ok "an existing target is refused" says 1 'exists already' $img convert a.raw a.qcow2
ok "a type is for VHD" says 2 'for VHD targets' $img convert --type fixed a.raw c.qcow2
ok "a file that is something else" says 1 'has failed' $img convert -f qcow2 a.raw c.vhd
ok "a file that is not there" says 1 'has failed' $img convert none.qcow2 c.vhd
ok "without qemu-img it says what is missing" says 1 'qemu-utils' env PATH=/nonexistent $img convert a.qcow2 c.vhd
qemu-img create -q -f qcow2 -b /etc/hostname -F raw evil.qcow2
ok "one that stands on another file is refused" says 1 "needs another file, '/etc/hostname'" $img convert evil.qcow2 c.vhd
qemu-img create -q -f qcow2 -o data_file=d,data_file_raw=on evil2.qcow2 1M
ok "one that keeps its data in another" says 1 'needs another file' $img convert evil2.qcow2 c.vhd
qemu-img create -q -f vmdk -o subformat=monolithicFlat evil.vmdk 1M
ok "one with extents elsewhere" says 1 'needs another file' $img convert evil.vmdk c.vhd
rm -f evil* d said
for s in 0.02 0.05 0.1 0.2; do
	ok "interrupted after $s s it leaves all or nothing" bash -c \
		"timeout -s TERM $s $img convert a.vhdx c.vhd; { [ ! -e c.vhd ] || $img compare a.raw c.vhd; } && rm -f c.vhd"
done
ok "nothing else was left by any of them" bash -c "ls -A | grep -v -x -e log -e json -e said -e before | diff <(grep -v -x -e log -e before before) -"
finish
