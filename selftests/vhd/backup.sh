#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Full and incremental backups, the map of changes, and what happens when it cannot be trusted; TAP.
# shellcheck disable=SC2016,SC2086,SC2317
# BOX: none
# usage: backup.sh "LODGE IMG COMMAND" PLUGIN (default: those in build/)
set -u
img=${1:-build/lodge img}
plugin=$(realpath "${2:-build/nbdkit-vhd-plugin.so}")
# shellcheck source=selftests/vhd/part.bash
. "$(dirname "$0")/part.bash"

if ! command -v nbdkit >/dev/null || ! command -v qemu-io >/dev/null || [ ! -e "$plugin" ]; then
	skip_all "nbdkit and qemu-io are needed, to write to a disk"
fi
cd "$dir" || exit 1
truncate -s 24M a.raw
noise a.raw 1 25165824 30
$img convert a.raw d.vhd

# The same writes to the disk and to the raw file beside it.
change() { # change OFFSET LENGTH BYTE
	nbdkit -U - "$plugin" d.vhd --run "qemu-io -f raw -c 'write -P $3 $1 $2' -c flush \"\$uri\"" >/dev/null &&
		qemu-io -f raw -c "write -P $3 $1 $2" a.raw >/dev/null && closed
}

# nbdkit closes the image when its client has gone.
closed() {
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		$img compare a.raw d.vhd && return
		sleep 0.2
	done
	return 1
}

ok "a full backup is made" json 'd["written"] > 0 and not d["by_map"]' $img backup --json d.vhd 0.vhd
ok "it has the contents" $img compare a.raw 0.vhd
ok "a map is kept from then on" test -s d.vhd.cbt
ok "nothing changed, nothing is read" json 'd["read"] == 0 and d["written"] == 0 and d["by_map"]' $img backup --json --parent 0.vhd d.vhd 1.vhd
ok "the disk changes" change 3M 100K 0x40
ok "what has changed is read and written, and no more" json '0 < d["written"] <= d["read"] < 2 << 20 and d["by_map"]' \
	$img backup --json --parent 1.vhd d.vhd 2.vhd
ok "the backup shows the whole disk" $img compare a.raw 2.vhd
ok "of another backup than the last the whole disk is read" json 'not d["by_map"] and d["read"] == 24 << 20 and d["written"] < 2 << 20' \
	$img backup --json --parent 0.vhd d.vhd 2b.vhd
ok "which shows the same" $img compare a.raw 2b.vhd
ok "... and says so" says 0 'the whole disk was read' $img backup --parent 2.vhd d.vhd 2c.vhd
ok "a snapshot takes the map along" bash -c "$img snapshot d.vhd d-old.vhd"
ok "so the next backup reads nothing" json 'd["by_map"] and d["read"] == 0' $img backup --json --parent 2c.vhd d.vhd 3.vhd
$img coalesce d.vhd
mv d-old.vhd d.vhd

# A writer that is killed: the map says nothing, and the backup is right.
$img backup --force d.vhd 4.vhd
ok "the disk is written to" change 5M 64K 0x41
killed() {
	nbdkit -f -U sock -P pid "$plugin" d.vhd &
	local p=$!
	for _ in $(seq 50); do [ -e pid ] && break; sleep 0.1; done
	# Its client is still there, else it closes the image. The read tells that the flush is over.
	stdbuf -oL qemu-io -f raw -c 'write -P 0x42 9M 128K' -c flush -c 'read 0 512' -c 'sleep 60000' 'nbd+unix:///?socket=sock' >did &
	local client=$!
	for _ in $(seq 300); do grep -q '^read' did && break; sleep 0.1; done
	grep -q '^read' did && qemu-io -f raw -c 'write -P 0x42 9M 128K' a.raw >/dev/null
	local written=$?
	kill -9 $p $client
	wait $p $client 2>/dev/null
	rm -f sock pid did
	return $written
}
ok "and by one that is killed" killed
ok "a backup reads all of it then" json 'not d["by_map"] and d["read"] == 24 << 20 and d["written"] <= 512 << 10' \
	$img backup --json --parent 4.vhd d.vhd 5.vhd
ok "and is right" $img compare a.raw 5.vhd

# A writer that knows nothing of the map, and a copy in the image's place.
ok "a stranger's change is noticed" bash -c "$img repair d.vhd && $img backup --force d.vhd 6.vhd && sleep 0.01 &&
	touch d.vhd && $img backup --json --parent 6.vhd d.vhd 7.vhd | grep -q '\"by_map\": false'"
ok "a damaged map is" bash -c "printf x | dd of=d.vhd.cbt bs=1 seek=600 conv=notrunc status=none &&
	$img backup --json --parent 7.vhd d.vhd 8.vhd | grep -q '\"by_map\": false'"
ok "a larger disk" bash -c "$img resize d.vhd 30M && $img backup --parent 8.vhd d.vhd 9.vhd && $img compare d.vhd 9.vhd"
ok "a smaller one is not incremental" says 1 'make a full backup' bash -c "$img resize --shrink d.vhd 20M && $img backup --parent 9.vhd d.vhd 10.vhd"
ok "an old backup is merged away" bash -c "$img coalesce 8.vhd && $img compare 9.vhd 9.vhd && $img check 9.vhd"
ok "a raw disk" bash -c "$img backup a.raw r0.vhd && $img backup --json --parent r0.vhd a.raw r1.vhd | grep -q '\"by_map\": true' && $img compare a.raw r1.vhd"
head -c 64 /dev/urandom >key
ok "an encrypted disk's backups are encrypted" bash -c "$img convert --target-key key a.raw e.vhd && $img backup --key key e.vhd e0.vhd &&
	$img backup --key key --parent e0.vhd e.vhd e1.vhd && $img key check --key key e1.vhd && $img compare --key key a.raw e1.vhd"
ok "a dry run says what it would read" says 0 'reading what has changed' $img backup -n --key key --parent e1.vhd e.vhd e2.vhd
ok "deleting the disk takes the map along" bash -c "$img delete --force d.vhd && [ ! -e d.vhd.cbt ]"

finish
