#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Images made by qemu-img are read exactly, ours are read by qemu-img; TAP.
# shellcheck disable=SC2086,SC2317
# BOX: none
# usage: interop.sh "LODGE IMG COMMAND" (default: build/lodge img)
set -u
img=${1:-build/lodge img}
# shellcheck source=selftests/vhd/part.bash
. "$(dirname "$0")/part.bash"

if ! command -v qemu-img >/dev/null || ! command -v python3 >/dev/null; then
	skip_all "qemu-img and python3 are needed"
fi

python3 - "$dir/r.raw" <<'PY'
import random, sys
r = random.Random(7)
with open(sys.argv[1], "wb") as f:
    f.truncate(48 << 20)
    for i in range(60):
        f.seek(r.randrange((48 << 20) // 512 - 400) * 512)
        f.write(r.randbytes(512 * r.randrange(1, 400)))
    f.seek((48 << 20) - 512)
    f.write(r.randbytes(512))
PY

same() { # same RAW OTHER: equal once cut to the shorter one, and the rest is zero
	python3 - "$1" "$2" <<'PY'
import sys
a, b = (open(p, "rb").read() for p in sys.argv[1:3])
n = min(len(a), len(b))
assert a[:n] == b[:n], "contents differ"
assert not any(a[n:]) and not any(b[n:]), "a tail is not zero"
PY
}

for type in fixed dynamic; do
	for force in off on; do
		q=$dir/q-$type-$force.vhd
		ok "qemu-img makes $type force_size=$force" \
			qemu-img convert -f raw -O vpc -o "subformat=$type,force_size=$force" "$dir/r.raw" "$q"
		ok "it checks clean ($type, $force)" $img check "$q"
		ok "it converts to raw ($type, $force)" $img convert "$q" "$dir/back-$type-$force.raw"
		ok "it has the same bytes ($type, $force)" same "$dir/r.raw" "$dir/back-$type-$force.raw"
		ok "it has the same size as for qemu-img ($type, $force)" bash -c \
			"[ \$(stat -c %s '$dir/back-$type-$force.raw') = \$(qemu-img info -f vpc --output json '$q' | python3 -c 'import json,sys; print(json.load(sys.stdin)[\"virtual-size\"])') ]"
	done
	o=$dir/o-$type.vhd
	ok "we make $type" $img convert --type "$type" "$dir/r.raw" "$o"
	ok "ours checks clean ($type)" $img check "$o"
	ok "qemu-img reads ours exactly ($type)" qemu-img compare -f raw -F vpc "$dir/r.raw" "$o"
	ok "and sees the same size ($type)" bash -c \
		"[ \$(stat -c %s '$dir/r.raw') = \$(qemu-img info -f vpc --output json '$o' | python3 -c 'import json,sys; print(json.load(sys.stdin)[\"virtual-size\"])') ]"
	ok "and back to raw ($type)" $img convert "$o" "$dir/o-$type.raw"
	ok "byte for byte ($type)" cmp "$dir/r.raw" "$dir/o-$type.raw"
done

if command -v qemu-io >/dev/null; then
	ok "qemu-io writes into our image" qemu-io -f vpc -c 'write -P 0x5a 10M 3M' "$dir/o-dynamic.vhd"
	ok "which checks clean afterwards" $img check "$dir/o-dynamic.vhd"
	ok "the same write to the raw file" qemu-io -f raw -c 'write -P 0x5a 10M 3M' "$dir/r.raw"
	ok "we read what it wrote" $img convert --force "$dir/o-dynamic.vhd" "$dir/o-dynamic.raw"
	ok "exactly" cmp "$dir/r.raw" "$dir/o-dynamic.raw"
fi

ok "zeros take no space" bash -c \
	"truncate -s 1G '$dir/z.raw' && $img convert '$dir/z.raw' '$dir/z.vhd' && [ \$(stat -c %s '$dir/z.vhd') -lt 100000 ]"
ok "2040 GiB is accepted" $img create "$dir/big.vhd" 2040G
ok "more is refused" exit_is 1 $img create "$dir/big2.vhd" 2041G
ok "and nothing is left" bash -c "! ls -A '$dir' | grep -q big2"
ok "an existing file is not replaced" exit_is 1 $img create "$dir/big.vhd" 1G
ok "a converted name without .vhd is raw" bash -c \
	"cp '$dir/o-dynamic.vhd' '$dir/guest.img' && $img info --json '$dir/guest.img' | grep -q '\"raw\"'"
ok "a failed conversion leaves nothing" bash -c \
	"head -c 5000 '$dir/o-dynamic.vhd' >'$dir/cut.vhd'; ! $img convert '$dir/cut.vhd' '$dir/never.raw' && ! ls -A '$dir' | grep -q never"

# A parent, a child, and what the child shows.
ok "a child is made" $img create --parent "$dir/o-fixed.vhd" "$dir/child.vhd"
ok "it checks clean" $img check "$dir/child.vhd"
ok "it reads as its parent" bash -c \
	"$img convert '$dir/child.vhd' '$dir/child.raw' && cmp '$dir/child.raw' '$dir/o-fixed.raw'"
ok "without its parent it cannot be read" bash -c \
	"mv '$dir/o-fixed.vhd' '$dir/gone.vhd'; ! $img convert '$dir/child.vhd' '$dir/child2.raw'"
ok "nor with another one in its place" bash -c \
	"$img create '$dir/o-fixed.vhd' 48M && ! $img convert '$dir/child.vhd' '$dir/child2.raw'"
ok "which check reports as damage" exit_is 3 $img check "$dir/child.vhd"

finish
