#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What lodge img does to chains of images: snapshot, clone, coalesce, rebase,
# resize, repair, delete, and what map, compare, tree, copy say; TAP.
# shellcheck disable=SC2086,SC2317
# BOX: none
# usage: commands.sh "LODGE IMG COMMAND" (default: build/lodge img)
set -u
img=${1:-build/lodge img}
manual=$(realpath "$(dirname "$0")/../../userspace/doc/lodge-img.1")
# shellcheck source=selftests/vhd/part.bash
. "$(dirname "$0")/part.bash"

cd "$dir" || exit 1
truncate -s 24M a.raw
noise a.raw 1 25165824 30
cp a.raw b.raw
noise b.raw 2 25165824 20
cp b.raw c.raw
noise c.raw 3 25165824 20

# A chain with known contents: c on b on a. A child of b.raw, rebased onto
# a.vhd, holds the difference between the two.
ok "a gold image is made" $img convert a.raw a.vhd
for pair in "b a" "c b"; do
	# shellcheck disable=SC2086
	set -- $pair
	ok "$1: a child of a raw file is made" $img clone --format raw "$1.raw" "$1.vhd"
	ok "$1: and rebased onto $2.vhd, keeping its contents" $img rebase --raw-parent --parent "$2.vhd" "$1.vhd"
	ok "$1: it checks clean" $img check --bitmaps "$1.vhd"
	ok "$1: it has the same contents" $img compare "$1.raw" "$1.vhd"
done
ok "a chain of three has depth 2 in its map" json 'max(r["depth"] for r in d if r["data"]) == 2' $img map --json c.vhd
ok "the map covers the disk" json 'sum(r["length"] for r in d) == 24 << 20' $img map --json c.vhd
ok "map shows files and offsets" says 0 'a.vhd' $img map c.vhd
ok "compare finds a difference and says where" says 5 'differ at byte' $img compare b.raw c.vhd
ok "... as JSON" bash -c "$img compare --json b.raw c.vhd | python3 -c 'import json, sys; assert json.load(sys.stdin)[\"same\"] is False'"
ok "tree shows parents above children" says 0 '^  b.vhd' $img tree .
ok "tree as JSON names each parent" json \
	'{p["path"][2:]: p.get("parent", "")[2:] for p in d} == {"a.vhd": "", "b.vhd": "a.vhd", "c.vhd": "b.vhd"}' \
	$img tree --json .

# What is guarded.
ok "a parent is not resized" says 1 'stand on it' $img resize a.vhd 30M
ok "a parent is not deleted" says 1 'is the parent of' $img delete b.vhd
ok "a parent is not snapshotted" says 1 'stand on it' $img snapshot a.vhd a2.vhd
ok "an image is not made its own grandparent" says 1 'stands on' $img rebase --unsafe --parent c.vhd b.vhd
ok "an image that is in use is not deleted" python3 - "$img" <<'PY'
import fcntl, os, struct, subprocess, sys
f = os.open("c.vhd", os.O_RDWR)
fcntl.fcntl(f, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))  # F_OFD_SETLK
for words in (["delete", "c.vhd"], ["resize", "c.vhd", "30M"], ["snapshot", "c.vhd", "s.vhd"], ["coalesce", "c.vhd"]):
    p = subprocess.run(sys.argv[1].split() + words, capture_output=True, text=True)
    assert p.returncode == 1 and "in use" in p.stderr, (words, p.stderr)
assert not os.path.exists("s.vhd")
PY

# Dry runs change nothing.
sha256sum ./*.vhd >sums
ok "dry runs say what they would do" bash -c \
	"$img snapshot -n c.vhd s.vhd && $img clone -n c.vhd d.vhd && $img coalesce -n b.vhd &&
	 $img rebase -n --flatten c.vhd && $img resize -n c.vhd +1G && $img delete -n c.vhd && $img repair -n c.vhd"
ok "and do nothing" bash -c "sha256sum -c --quiet sums && [ \$(ls *.vhd | wc -l) = 3 ]"

# Snapshot: the name stays, the old contents get one.
ok "a snapshot is taken" json 'd["parent"] == "c-old.vhd"' $img snapshot --json c.vhd c-old.vhd
ok "the disk has the same contents" $img compare c.raw c.vhd
ok "the snapshot too" $img compare c.raw c-old.vhd
ok "the new disk is small" bash -c "[ \$(stat -c %s c.vhd) -lt 65536 ]"
ok "a snapshot does not replace a file" says 1 'exists already' $img snapshot c.vhd c-old.vhd
ok "nor does it leave one behind if it fails" bash -c "! $img snapshot a.vhd x.vhd && [ ! -e x.vhd ]"

# A clone of an image that holds nothing stands on what does.
ok "a clone is made" json 'd["parent"].endswith("c-old.vhd")' $img clone --json c.vhd d.vhd
ok "it has the contents" $img compare c.raw d.vhd

# Coalesce: d and c stand on c-old on b on a.
ok "an inner image is merged while others stand on it" json 'd["children"] == 1' $img coalesce -p --json b.vhd
ok "it is gone" bash -c "[ ! -e b.vhd ]"
ok "the chain above shows the same: c-old" $img compare c.raw c-old.vhd
ok "... c" $img compare c.raw c.vhd
ok "... d" $img compare c.raw d.vhd
ok "the parent holds the merged contents" $img compare b.raw a.vhd
ok "an image with two parents' children is not merged into them" says 1 'parent of' $img coalesce c.vhd
ok "a clone is deleted" $img delete d.vhd
ok "a leaf is merged" $img coalesce c.vhd
ok "its parent has the contents, and checks clean" bash -c "$img compare c.raw c-old.vhd && $img check c-old.vhd"
ok "and can be written to again" $img resize c-old.vhd 24M
ok "the last one is merged into the gold image" bash -c "$img coalesce c-old.vhd && $img compare c.raw a.vhd"
ok "which is the only one left, in order" bash -c "[ \$(ls *.vhd) = a.vhd ] && $img check --bitmaps a.vhd"

# Into a raw parent, and a larger child into a smaller parent.
cp b.raw base.raw
ok "a child of a raw file, larger" bash -c "$img clone --format raw base.raw e.vhd && $img resize e.vhd 40M"
ok "it ends in zeros" $img compare --raw-parent base.raw e.vhd
ok "it is rebased to hold other data" bash -c "$img rebase --raw-parent --parent c.raw e.vhd && $img compare --raw-parent b.raw e.vhd"
ok "a raw parent needs consent" says 1 'not permitted' $img coalesce e.vhd
cp c.raw c2.raw
ok "the child is merged into the raw file" bash -c "$img coalesce --raw-parent e.vhd && cmp <(head -c 24M c.raw) b.raw"
ok "which has grown with it" bash -c "[ \$(stat -c %s c.raw) = $((40 << 20)) ]"
mv c2.raw c.raw

# Flatten; a parent that was moved, lost, or changed.
ok "a clone of the gold image" $img clone a.vhd f.vhd
ok "flattened it stands alone" bash -c "$img rebase --flatten f.vhd && $img info --json f.vhd | grep -q vhd-dynamic"
ok "with the same contents" $img compare c.raw f.vhd
ok "it checks clean" $img check --bitmaps f.vhd
ok "qemu-img reads it so" qemu-img compare -f raw -F vpc c.raw f.vhd
ok "its parent is free again" $img resize a.vhd 24M
ok "a clone in another directory" bash -c "mkdir sub && $img clone a.vhd sub/g.vhd && $img compare c.raw sub/g.vhd"
ok "its parent is moved: an error" bash -c "mv a.vhd moved.vhd && ! $img compare c.raw sub/g.vhd"
ok "rebase --unsafe gives it the new name" bash -c \
	"$img rebase --unsafe --parent moved.vhd sub/g.vhd && $img compare c.raw sub/g.vhd"
ok "the child moves, and still finds its parent's absolute place or not at all" bash -c \
	"mv sub/g.vhd g.vhd && { $img compare c.raw g.vhd || $img rebase --unsafe --parent moved.vhd g.vhd; } && $img compare c.raw g.vhd"
ok "a parent that was released is another one for its children" bash -c \
	"$img repair --release moved.vhd && ! $img compare c.raw g.vhd"
ok "which says so" says 1 'unique id differs' $img map g.vhd

# Resize.
ok "a disk is grown without its table's reserve" bash -c "$img convert b.raw h.vhd && $img resize h.vhd 300G"
ok "it has the same contents, then zeros" $img compare b.raw h.vhd
ok "it checks clean after growing" $img check --bitmaps h.vhd
ok "qemu-img sees the new size" bash -c \
	"qemu-img info -f vpc --output json h.vhd | python3 -c 'import json, sys; assert json.load(sys.stdin)[\"virtual-size\"] == 300 << 30'"
ok "2041 GiB is too much" says 1 '2040 GiB' $img resize h.vhd 2041G
ok "shrinking needs consent" says 1 'shrink' $img resize h.vhd 12M
ok "it is shrunk" $img resize --shrink h.vhd 12M
ok "the first part is still there" cmp <(head -c 12M b.raw) <($img convert --force h.vhd h.raw && cat h.raw)
ok "and grown again: zeros behind" bash -c \
	"$img resize h.vhd +12M && head -c 12M b.raw >t.raw && truncate -s 24M t.raw && $img compare t.raw h.vhd && $img check h.vhd"
ok "a fixed image is grown" bash -c \
	"$img convert --type fixed b.raw i.vhd && $img resize i.vhd 30M && $img compare b.raw i.vhd && $img check i.vhd"
ok "a raw image is grown" bash -c "cp b.raw j.raw && $img resize j.raw +1M && [ \$(stat -c %s j.raw) = $((25 << 20)) ]"

# Repair.
ok "a lost footer is brought back" bash -c \
	"$img convert b.raw k.vhd && truncate -s -512 k.vhd && ! $img check k.vhd; $img repair k.vhd && $img compare b.raw k.vhd"
ok "a damaged copy too" bash -c \
	"printf x | dd of=k.vhd conv=notrunc status=none && ! $img check k.vhd && $img repair k.vhd && $img check k.vhd"
ok "what is no image is not repaired" exit_is 1 $img repair b.raw

# Copy.
ok "a copy of a dynamic image" bash -c "$img copy -p k.vhd l.vhd && $img compare b.raw l.vhd && $img info --json l.vhd | grep -q vhd-dynamic"
ok "a copy of a fixed image" bash -c "$img copy i.vhd m.vhd && $img info --json m.vhd | grep -q vhd-fixed"
ok "progress tells of speed" says 0 'MiB/s' $img copy --force -p k.vhd l.vhd

# The manual page.
manual_complete() {
	local c o
	for c in $($img --help | sed -n 's/^  \([a-z]*\)  .*/\1/p'); do
		grep -q "^\.BR $c " "$manual" || { echo "command $c is missing"; return 1; }
		for o in $($img "$c" --help | grep -o -- '--[a-z-]*' | sort -u); do
			grep -qF -- "${o//-/\\-}" "$manual" || { echo "$c $o is missing"; return 1; }
		done
	done
}
ok "the manual page has every command and option" manual_complete

finish
