#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# layers.sh - who may include whom.
#
# The module's directories have ranks; a file may include its own directory's
# headers and those of a lower rank:
#
#   0 include/uapi, compat  1 pure cores  2 core  3 x86/mmu, x86/irqchip
#   4 x86  5 x86/svm, x86/vmx, mem  6 main.c
#
# so neither of two siblings ever sees the other.  core/arch.h and core/ext.h
# are the seams through which the lower layers call the upper ones.  User
# space has a table instead of ranks: each directory and what it may see.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=selftests/lint/tap.sh
. selftests/lint/tap.sh

# FILE LINE HEADER, the header as a path from the top of the tree; '?' if it is
# nowhere.
includes()
{
	files "$1" | grep -E '\.[chS]$' | while read -r f; do
		grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]+"' "$f" |
		sed -E 's/^([0-9]+):.*"([^"]+)".*/\1 \2/' | while read -r line inc; do
			hit='?'
			for dir in "$(dirname "$f")" "$1" include; do
				[ -e "$dir/$inc" ] || continue
				hit=$(realpath -m --relative-to=. "$dir/$inc")
				break
			done
			echo "$f $line $hit $inc"
		done
	done
}

includes kmod >"$tmp/kmod"
awk '
function dir(f) { sub(/\/[^\/]*$/, "", f); return f }
function rank(f,  d) {
	d = dir(f)
	if (f ~ /^include\/uapi\// || d == "kmod/compat") return 0
	if (d == "kmod/x86/emul") return 1
	if (d == "kmod/core") return 2
	if (d == "kmod/x86/mmu" || d == "kmod/x86/irqchip") return 3
	if (d == "kmod/x86") return 4
	if (d ~ /^kmod\/(x86\/svm|x86\/vmx|mem|selftest|guest)$/) return 5
	if (d == "kmod") return 6
	return -1
}
$3 == "?" { next }	# generated, or missing: the compiler will say so
{
	from = rank($1); to = rank($3)
	if (from < 0) print $1 ": lies in no known layer"
	else if (to < 0) print $1 ":" $2 ": includes " $3 ", which lies in no known layer"
	else if (dir($1) != dir($3) && to >= from && !(from == 0 && to == 0))
		print $1 ":" $2 ": layer " from " includes " $3 " of layer " to
}' "$tmp/kmod" >"$tmp/bad"
result "the module's layers hold" "$tmp/bad"

# A pure core is handed what it works on: no VM, no lock, no clock.
files kmod/x86/emul | grep -E '\.[ch]$' | while read -r f; do
	grep -nHE '#[[:space:]]*include[[:space:]]+<linux/(kvm_host|mutex|spinlock|rcupdate|srcu|slab|mm|ktime|hrtimer|sched)' "$f"
	grep -nHE '\b(struct lodge_(vm|vcpu)|spin_lock|mutex_lock|ktime_get|kmalloc|kzalloc)\b' "$f"
done >"$tmp/bad"
result "pure files know no VM, lock or clock" "$tmp/bad"

# Kernel-version tests live in one place.
files kmod | grep -E '\.[chS]$' | grep -v '^kmod/compat/' |
	xargs -r grep -nHE 'LINUX_VERSION_CODE|KERNEL_VERSION\(' >"$tmp/bad"
result "kernel versions are tested in compat/ alone" "$tmp/bad"

includes userspace >"$tmp/user"
awk '
BEGIN {
	may["common"] = ""
	may["board"] = "common"
	may["vhd"] = "common"
	may["net"] = "common"
	may["repl"] = "common"
	may["guest"] = "common vmm"
	may["block"] = "common vhd"
	may["dev"] = "common board"
	may["virtio"] = "common board block net"
	may["vmm"] = "common board dev virtio block vhd net repl"
	may["liblodge"] = "common"
	may["cli"] = "common"
	may["nbdkit"] = "vhd"
}
$3 == "?" || $3 ~ /^include\/(lodge|uapi)\// { next }
{
	split($1, a, "/"); split($3, b, "/")
	if (!(a[2] in may)) print $1 ": lies in no known directory"
	else if (a[2] != b[2] && index(" " may[a[2]] " ", " " b[2] " ") == 0)
		print $1 ":" $2 ": " a[2] " may not include " $3
}' "$tmp/user" >"$tmp/bad"
result "user space's layers hold" "$tmp/bad"

awk '$3 == "?" && $1 ~ /^userspace/ && !system("test -e build/userspace/gen/" $4) { next }
	$3 == "?" && $4 !~ /(offsets|gen|dsdt|guest_init)/ { print $1 ":" $2 ": there is no " $4 }' \
	"$tmp/kmod" "$tmp/user" >"$tmp/bad"
result "every included file of ours exists" "$tmp/bad"
finish
