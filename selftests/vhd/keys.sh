#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Encrypted images through every command that reads or writes them; TAP.
# shellcheck disable=SC2016,SC2086,SC2317
# BOX: none
# usage: keys.sh "LODGE IMG COMMAND" PLUGIN (default: those in build/)
set -u
img=${1:-build/lodge img}
plugin=$(realpath "${2:-build/nbdkit-vhd-plugin.so}")
# shellcheck source=selftests/vhd/part.bash
. "$(dirname "$0")/part.bash"

cd "$dir" || exit 1
truncate -s 24M a.raw
noise a.raw 1 25165824 30
cp a.raw b.raw
noise b.raw 2 25165824 20
head -c 64 /dev/urandom >k1
head -c 32 /dev/urandom >k2
head -c 33 /dev/urandom >bad

ok "an encrypted copy is made" $img convert --target-key k1 a.raw a.vhd
ok "it reads as the source with its key" $img compare --key k1 a.raw a.vhd
ok "the key may come on a descriptor" bash -c "$img compare --key fd:7 a.raw a.vhd 7<k1"
ok "... or on standard input" bash -c "$img compare --key - a.raw a.vhd <k1"
ok "without a key it does not, and says why" says 1 'key was not given; name the file' $img compare a.raw a.vhd
ok "nor with a wrong one" says 1 'not with a key that was given' $img compare --key k2 a.raw a.vhd
ok "nor with what is no key" says 1 'is no key: a key has 32 bytes' $img compare --key bad a.raw a.vhd
ok "its clear text is not in the file" python3 -c '
raw, vhd = open("a.raw", "rb").read(), open("a.vhd", "rb").read()
sectors = {vhd[i:i + 512] for i in range(0, len(vhd), 512)}
n = 0
for i in range(0, len(raw), 512):
    s = raw[i:i + 512]
    if any(s):
        n += 1
        assert s not in sectors, i
        # At any other place too; a look at all of the file takes its time.
        assert n % 64 or s not in vhd, i
assert n > 1000, n'
ok "info, map and check need no key" bash -c "$img info --json a.vhd | grep -q '\"encrypted\": true' && $img map a.vhd && $img check --bitmaps a.vhd"
ok "the key is checked" says 0 'is the key' $img key check --key k1 a.vhd
ok "a wrong one is told" says 1 'not the key' $img key check --key k2 a.vhd
ok "what is known of the key is shown, and fits" python3 - "$img" <<'PY'
import hashlib, json, subprocess, sys
d = json.loads(subprocess.run(sys.argv[1].split() + ["key", "show", "--json", "a.vhd"], check=True, capture_output=True).stdout)
assert hashlib.sha256(bytes.fromhex(d["nonce"]) + open("k1", "rb").read()).hexdigest() == d["sha256"], d
PY

# With another program: dm-crypt's aes-xts-plain.
if ! python3 -c 'import cryptography' 2>/dev/null; then
	skip "each sector is AES-XTS of itself" "Python's cryptography is not there"
else
ok "each sector is AES-XTS of itself" python3 - <<'PY'
import struct
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
raw, vhd, key = open("a.raw", "rb").read(), open("a.vhd", "rb").read(), open("k1", "rb").read()
table = struct.unpack(">12I", vhd[1536:1536 + 48])
n = 0
for sector in range(len(raw) // 512):
    at = table[sector // 4096]
    if at == 0xffffffff:
        continue
    bit = vhd[at * 512 + sector % 4096 // 8] >> (7 - sector % 8) & 1
    where = (at + 1 + sector % 4096) * 512
    if bit:
        d = Cipher(algorithms.AES(key), modes.XTS(struct.pack("<Q8x", sector))).decryptor()
        assert d.update(vhd[where:where + 512]) == raw[sector * 512:sector * 512 + 512], sector
        n += 1
    else:
        assert not any(raw[sector * 512:sector * 512 + 512]), sector
assert n > 1000
PY
fi

# Chains.
ok "a child has its parent's key" bash -c "$img clone a.vhd b.vhd && $img key check --key k1 b.vhd"
ok "it shows its parent's data" $img compare --key k1 a.raw b.vhd
ok "a plain image cannot be flattened over it" says 1 'in clear' bash -c \
	"$img create --parent a.vhd p.vhd && python3 - p.vhd && $img rebase --key k1 --flatten p.vhd" <<'PY'
import sys
f = open("p.vhd", "r+b")
f.seek(1536)
b = f.read(1 << 18)
at = 1536 + b.index(b"tdbatmap")
f.seek(at + 29)
f.write(b"\0")
PY
ok "a child of a raw file is rebased onto it, with its own key" bash -c \
	"$img create --key k2 --raw-parent --parent b.raw c.vhd && $img rebase --raw-parent --key k2 --key k1 --parent a.vhd c.vhd"
ok "it needs both keys" bash -c "$img compare --key k1 --key k2 b.raw c.vhd && ! $img compare --key k1 b.raw c.vhd"
ok "a plain child of a plain image, for comparison" bash -c "$img convert a.raw plain.vhd && $img create --key k1 --parent plain.vhd d.vhd"
ok "an encrypted image is not merged into a plain one" says 1 'in clear' $img coalesce --key k1 d.vhd
ok "a snapshot needs no key, and has the same" bash -c "$img snapshot b.vhd b-old.vhd && $img compare --key k1 a.raw b.vhd"
$img delete c.vhd
$img delete p.vhd
ok "merging needs it" says 1 'key was not given' $img coalesce b-old.vhd
ok "with it images are merged" bash -c "$img coalesce --key k1 b-old.vhd && $img compare --key k1 a.raw b.vhd"
ok "a copy stays encrypted" bash -c "$img copy --key k1 b.vhd e.vhd && $img key check --key k1 e.vhd && $img compare --key k1 a.raw e.vhd"
ok "a copy has another key" bash -c "$img copy --key k1 --target-key k2 b.vhd f.vhd && $img compare --key k1 --key k2 b.vhd f.vhd && ! $img key check --key k1 f.vhd"
ok "a decrypted copy" bash -c "$img convert --key k1 b.vhd g.vhd && $img compare a.raw g.vhd"
ok "it is resized" bash -c "$img resize e.vhd 30M && $img compare --key k1 a.raw e.vhd && $img check e.vhd"
ok "a fixed or raw image is not encrypted" bash -c "! $img create --key k1 --type fixed h.vhd 4M && ! $img create --key k1 h.raw 4M && [ ! -e h.vhd ]"

# A key for an image that is there.
ok "an empty image gets a key" bash -c "$img create i.vhd 24M && $img key set --key k1 i.vhd && $img key check --key k1 i.vhd"
ok "its id stays" bash -c "$img create j.vhd 24M && $img info j.vhd | grep uuid >u1 && $img key set --key k1 j.vhd && $img info j.vhd | grep uuid | cmp - u1"
ok "one with data does not" says 1 'holds data already' $img key set --key k1 g.vhd
ok "nor does one that has a key" says 1 'encrypted already' $img key set --key k2 i.vhd

if command -v nbdkit >/dev/null && command -v nbdcopy >/dev/null && [ -e "$plugin" ]; then
	ok "nbdkit serves it with the key" bash -c \
		"nbdkit -U - -r $plugin e.vhd key=k1 --run 'nbdcopy \"\$uri\" back.raw' && truncate -s 30M a.raw && cmp back.raw a.raw"
	ok "and not without" says 1 'key was not given' nbdkit -U - -r "$plugin" e.vhd --run true
	ok "and writes it" bash -c "nbdkit -U - $plugin i.vhd key=k1 --run 'nbdcopy --flush b.raw \"\$uri\"' && $img compare --key k1 b.raw i.vhd"
else
	skip "nbdkit serves encrypted images" "nbdkit and libnbd-bin are not there"
fi

finish
