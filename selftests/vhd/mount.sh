#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A disk as a raw file in a directory, and nothing left behind; TAP.
# shellcheck disable=SC2016,SC2086,SC2317
# BOX: none
# usage: mount.sh "LODGE IMG COMMAND" (default: build/lodge img)
set -u
img=${1:-build/lodge img}
# shellcheck source=selftests/vhd/part.bash
. "$(dirname "$0")/part.bash"

if ! command -v nbdfuse >/dev/null || ! command -v nbdkit >/dev/null; then
	skip_all "nbdkit and nbdfuse (libnbd-bin) are needed"
fi
if [ ! -w /dev/fuse ] || [ "$(id -u)" != 0 ]; then
	skip_all "FUSE and root are needed"
fi
cd "$dir" || exit 1
mkdir m probe
nbdfuse -r probe/x [ nbdkit --exit-with-parent null 4096 ] 2>/dev/null &
for _ in $(seq 100); do
	[ -e probe/x ] || ! kill -0 $! 2>/dev/null || sleep 0.1
done
umount probe 2>/dev/null || skip_all "this host does not let FUSE mount"
wait
truncate -s 24M a.raw
noise a.raw 1 25165824 30
$img convert a.raw d.vhd

none_left() { # no process of ours, and no mount
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		! pgrep -f "$dir" >/dev/null && ! grep -q "$dir" /proc/mounts && return
		sleep 0.2
	done
	pgrep -af "$dir"
	grep "$dir" /proc/mounts
	return 1
}

ok "a disk is mounted, and told where" says 0 '^m/disk.raw$' $img mount d.vhd m
ok "it shows what a guest would see" cmp m/disk.raw a.raw
ok "read-only" bash -c '! dd if=/dev/zero of=m/disk.raw bs=512 count=1 conv=notrunc 2>/dev/null'
ok "the image is locked" says 1 'in use' $img resize d.vhd 30M
ok "the directory is taken" says 1 'not empty' $img mount d.vhd m
ok "it is unmounted" $img umount m
ok "the image is free at once" $img resize d.vhd 24M
ok "nothing is left" none_left
ok "what is not mounted is not unmounted" says 1 'no disk is mounted' $img umount m
ok "one to write to" $img mount --write d.vhd m
ok "is written to" bash -c 'dd if=/dev/urandom of=m/disk.raw bs=64K seek=3 count=20 conv=notrunc,fsync 2>/dev/null && cp m/disk.raw b.raw'
ok "one in use is not unmounted" bash -c "exec 7<m/disk.raw; ! $img umount m"
ok "and remains" cmp m/disk.raw b.raw
ok "it is unmounted" $img umount m
ok "the image has what was written, and is in order" bash -c "! cmp -s a.raw b.raw && $img compare b.raw d.vhd && $img check d.vhd"
head -c 64 /dev/urandom >key
$img convert --target-key key a.raw e.vhd
ok "an encrypted one" bash -c "$img mount --key key e.vhd m && cmp m/disk.raw a.raw && $img umount m"
ok "without its key it is not mounted" says 1 'key was not given' $img mount e.vhd m
ok "one that is not there neither" says 1 'cannot find' $img mount f.vhd m
ok "nor where there is no directory" says 1 'cannot find' $img mount d.vhd n
ok "without nbdfuse it says what is missing" says 1 'libnbd-bin' env PATH=/nowhere $img mount d.vhd m
ok "nothing is left" none_left

finish
