#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# nbdkit serves chains of images with our plugin, to libnbd and to QEMU; TAP.
# shellcheck disable=SC2016,SC2086,SC2317
# BOX: none
# usage: nbdkit.sh "LODGE IMG COMMAND" PLUGIN (default: those in build/)
set -u
img=${1:-build/lodge img}
plugin=$(realpath "${2:-build/nbdkit-vhd-plugin.so}")
# shellcheck source=selftests/vhd/part.bash
. "$(dirname "$0")/part.bash"

if ! command -v nbdkit >/dev/null || ! command -v nbdcopy >/dev/null || [ ! -e "$plugin" ]; then
	skip_all "nbdkit, nbdkit-plugin-dev (when building) and libnbd-bin are needed"
fi
cd "$dir" || exit 1

serve() { # serve COMMAND WORD...: nbdkit with these words, and the command as its client
	local run=$1
	shift
	nbdkit -U - "$plugin" "$@" --run "$run"
}

head -c 20M /dev/urandom >a.raw
truncate -s 32M a.raw
cp a.raw b.raw
dd if=/dev/urandom of=b.raw bs=64K count=9 seek=111 conv=notrunc status=none
$img convert a.raw a.vhd
$img clone --format raw b.raw b.vhd
$img rebase --raw-parent --parent a.vhd b.vhd

ok "the size is the disk's" serve '[ "$(nbdinfo --size "$uri")" = 33554432 ]' b.vhd
ok "a chain is read exactly, on several connections" serve 'nbdcopy --connections=4 "$uri" back.raw && cmp back.raw b.raw' -r b.vhd
ok "holes are told of" serve 'nbdinfo --map "$uri" | grep -q "hole,zero"' -r b.vhd
ok "QEMU sees the same" serve 'qemu-img compare -f raw -F raw "$uri" b.raw' -r b.vhd
ok "a new image is filled" bash -c "$img create c.vhd 32M && $(declare -f serve); plugin=$plugin; serve 'nbdcopy --flush a.raw \"\$uri\"' c.vhd"
# nbdkit is killed when its client is done, perhaps before it has closed the image: that is no damage.
ok "it has the contents, no damage, and its zeros take no space" bash -c \
	"$img compare a.raw c.vhd && { $img check c.vhd || [ \$? = 4 ]; } && $img repair c.vhd && [ \$(stat -c %s c.vhd) -lt 26000000 ]"
ok "pieces of sectors are written and read" serve \
	'for i in 1 2 3 4 5; do
		qemu-io -f raw -c "write -P 0x5$i $((i * 70001)) $((i * 1003))" -c "write -z $((i * 900001)) 777" "$uri" || exit 1
	 done' c.vhd
ok "the same on a raw file" bash -c \
	'for i in 1 2 3 4 5; do
		qemu-io -f raw -c "write -P 0x5$i $((i * 70001)) $((i * 1003))" -c "write -z $((i * 900001)) 777" a.raw || exit 1
	 done'
ok "they agree" $img compare a.raw c.vhd
ok "a discard frees whole blocks" bash -c "$(declare -f serve); plugin=$plugin
	serve 'qemu-io -f raw -d unmap -c \"discard 0 8M\" -c flush \"\$uri\"' c.vhd && $img map --json c.vhd |
	python3 -c 'import json, sys; d = json.load(sys.stdin); assert d[0][\"length\"] >= 8 << 20 and not d[0][\"data\"], d[0]'"
ok "a parent is served read-only alone" says 1 'stand on it' serve 'nbdinfo "$uri"' a.vhd
ok "... and that it is" serve 'nbdcopy "$uri" back.raw && qemu-img compare -f raw -F raw back.raw "$uri"' -r a.vhd
ok "a raw file needs no format" serve 'nbdcopy "$uri" back.raw && cmp back.raw b.raw' -r b.raw
mv a.vhd gone.vhd
ok "without its parent a chain is not served" says 1 'was not found' serve true b.vhd

finish
