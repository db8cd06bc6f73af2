#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# files.sh - 'make install' puts these files there with these modes and nothing
# else, 'make uninstall' takes them all away; what depmod and modprobe make of them.
# BOX: none
# TIMEOUT: 300
n=0 failed=0
result()
{
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n - $2"
	else
		failed=1
		echo "not ok $n - $2 # $(echo "${3:-}" | tr '\n' ' ')"
	fi
}
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
kver=$(modinfo -F vermagic build/lodge.ko | cut -d' ' -f1)

tree()
{
	(cd "$1" && find . -type f -printf '%m %P\n' | LC_ALL=C sort -k 2)
}

want()
{
	LC_ALL=C sort -k 2 <<-LIST | grep .
		644 lib/modules/$kver/updates/lodge.ko
		644 lib/udev/rules.d/60-lodge.rules
		644 usr/lib/modules-load.d/lodge.conf
		755 $1/bin/lodge
		644 $1/share/doc/lodge/lodge-kvm-node.conf
		$([ ! -e build/nbdkit-vhd-plugin.so ] ||
			echo "644 $(pkg-config --variable=plugindir nbdkit | cut -c 2-)/nbdkit-vhd-plugin.so")
		$(for f in userspace/doc/*.1; do echo "644 $1/share/man/man1/${f##*/}"; done)
	LIST
}

for prefix in usr/local usr opt/lodge; do
	args=(DESTDIR="$tmp/$prefix.d" PREFIX="/$prefix")
	[ $prefix != usr/local ] || args=(DESTDIR="$tmp/$prefix.d")
	# Without DESTDIR's umask: a builder's own must not show.
	(umask 077 && make -s install "${args[@]}") >"$tmp/out" 2>&1
	result $? "make install with prefix /$prefix" "$(cat "$tmp/out")"
	diff <(want $prefix) <(tree "$tmp/$prefix.d") >"$tmp/diff"
	result $? "these files, these modes" "$(cat "$tmp/diff")"
done

d=$tmp/usr.d
"$d/usr/bin/lodge" --version >"$tmp/out" 2>&1
result $? "the installed command runs" "$(cat "$tmp/out")"
cmp -s "$d/lib/modules/$kver/updates/lodge.ko" build/lodge.ko
result $? "the installed module is the one that was built"
for page in "$d"/usr/share/man/man1/*; do
	command -v man >/dev/null || continue
	# There: a page that is another's second name says so from the pages' root.
	(cd "$d/usr/share/man" && man --warnings -E UTF-8 -l -Tutf8 -Z "man1/${page##*/}") 2>&1 >/dev/null | grep . >"$tmp/out"
	[ ! -s "$tmp/out" ]
	result $? "the page ${page##*/} formats without a warning" "$(cat "$tmp/out")"
done

# What the kernel's tools make of it.
cp /lib/modules/"$kver"/modules.{order,builtin,builtin.modinfo} "$d/lib/modules/$kver/" 2>/dev/null
depmod -b "$d" "$kver" 2>"$tmp/out"
result $? "depmod takes the module" "$(cat "$tmp/out")"
minor=$(modinfo -F alias build/lodge.ko | sed -n 's/^char-major-10-\([0-9]*\)$/\1/p' | head -n 1)
grep -q "^lodge lodge c10:$minor$" "$d/lib/modules/$kver/modules.devname"
result $? "depmod notes the static node lodge, 10:$minor" "$(cat "$d/lib/modules/$kver/modules.devname")"
modprobe -d "$d" -S "$kver" -C /dev/null --show-depends "char-major-10-$minor" >"$tmp/out" 2>&1
grep -q '/updates/lodge.ko' "$tmp/out"
result $? "modprobe finds it by that number" "$(cat "$tmp/out")"

# The recipe for kvm_node=1, as modprobe reads it.
mkdir "$tmp/conf"
cp "$d/usr/share/doc/lodge/lodge-kvm-node.conf" "$tmp/conf/"
modprobe -d "$d" -S "$kver" -C "$tmp/conf" --show-depends char-major-10-232 >"$tmp/out" 2>&1
grep -q 'lodge.ko kvm_node=1' "$tmp/out"
result $? "the recipe: 10:232 is lodge with kvm_node=1" "$(cat "$tmp/out")"
cpu=cpu:type:x86,ven0002fam0019mod0001:feature:,00C0,00C2,
modprobe -S "$kver" -C "$tmp/conf" -b -n -v --show-depends "$cpu" >"$tmp/out" 2>&1
! grep -q 'kvm-amd.ko' "$tmp/out"
result $? "the recipe: an AMD CPU's alias is not kvm_amd" "$(cat "$tmp/out")"
modprobe -S "$kver" -C /dev/null -b -n -v --show-depends "$cpu" >"$tmp/out" 2>&1
grep -q 'kvm-amd.ko' "$tmp/out"
result $? "without it that alias is kvm_amd" "$(cat "$tmp/out")"

# The sources for DKMS.
make -s install-dkms DESTDIR="$tmp/dkms" >"$tmp/out" 2>&1
result $? "make install-dkms" "$(cat "$tmp/out")"
src=$(echo "$tmp"/dkms/usr/src/lodge-*)
[ "$src" = "$tmp/dkms/usr/src/lodge-$(modinfo -F version build/lodge.ko)" ]
result $? "DKMS's version is the module's" "$src"
[ ! -e "$tmp/dkms/lib/modules" ]
result $? "and no module of ours"
diff -r "$src/kmod" kmod >"$tmp/diff" && diff -r "$src/include" include >>"$tmp/diff"
result $? "the sources are complete" "$(cat "$tmp/diff")"

for prefix in usr/local usr opt/lodge; do
	[ $prefix != usr ] || make -s install-dkms DESTDIR="$tmp/usr.d" PREFIX=/usr >/dev/null 2>&1
	rm -f "$tmp/usr.d/lib/modules/$kver"/modules.*
	make -s uninstall DESTDIR="$tmp/$prefix.d" PREFIX="/$prefix" >"$tmp/out" 2>&1 &&
		[ -z "$(tree "$tmp/$prefix.d")" ]
	result $? "make uninstall with prefix /$prefix leaves no file" "$(cat "$tmp/out"; tree "$tmp/$prefix.d")"
done
make -s uninstall DESTDIR="$tmp/empty" >"$tmp/out" 2>&1
result $? "uninstalling what is not there is no failure" "$(cat "$tmp/out")"
echo "1..$n"
exit $failed
