#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# check.sh [--keep] - do the patches still fit, build and work?
#
# Takes the pristine source of Debian's QEMU from Debian's archive (checked by apt's signatures and by the checksums in
# 7.2/base), applies the patches, takes them back and applies them again, builds the x86_64 system emulator alone
# with --kvm-device=/dev/lodge, and boots guests with it on /dev/lodge in the box (boot.sh).  Everything goes to build/qemu-7.2; an
# emulator that is there and newer than the patches is not built again.  Nothing of the machine's apt is changed: lists
# and cache are private ones, with the deb-src lines that the machine may lack.
#
# The emulator has what a test needs and no more; README.md says how to build Debian's whole package.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/.." && pwd)
out=$top/build/qemu-7.2
emulator=$out/obj/qemu-system-x86_64

die()
{
	echo "check.sh: $*" >&2
	exit 1
}

base()
{
	awk -v k="$1" '$1 == k { print $2 }' "$here/7.2/base"
}

private_apt()
{
	local tool=$1
	shift
	"$tool" -q -o Dir::State::lists="$out/apt/lists" -o Dir::Cache="$out/apt/cache" -o APT::Sandbox::User=root \
		-o Dir::Etc::sourcelist="$out/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null "$@"
}

# Where this machine's apt gets Debian 12 from; the public archive if that cannot be told.
sources()
{
	local key=/usr/share/keyrings/debian-archive-keyring.gpg list
	list=$(apt-get indextargets --format "\$(SITE) \$(RELEASE) \$(COMPONENT) \$(CREATED_BY)" 2>/dev/null |
		awk -v k=$key '$4 == "Packages" && $3 == "main" && $2 ~ /^bookworm(-security|-updates)?$/ && !seen[$1 $2]++ {
			print "deb-src [signed-by=" k "]", $1, $2, "main" }')
	echo "${list:-deb-src [signed-by=$key] http://deb.debian.org/debian bookworm main
deb-src [signed-by=$key] http://deb.debian.org/debian-security bookworm-security main}"
}

fetch()
{
	local version known
	version=$(base version)
	mkdir -p "$out/apt/lists/partial" "$out/apt/cache/archives/partial"
	sources >"$out/apt/sources.list"
	private_apt apt-get update >"$out/apt/log" 2>&1 || { tail "$out/apt/log" >&2; die "cannot read Debian's lists of sources"; }
	known=$(private_apt apt-cache showsrc qemu | sed -n 's/^Version: //p')
	if ! grep -qxF "$version" <<<"$known"; then
		version=$(grep '^1:7\.2+dfsg' <<<"$known" | sort -V | tail -n 1 || true)
		[ -n "$version" ] || die "Debian's archive has no QEMU 7.2 any more"
		echo "check.sh: $(base version) is gone from the archive, this is about $version"
	fi
	(cd "$out" && private_apt apt-get --download-only source "qemu=$version") >"$out/apt/log" 2>&1 ||
		{ tail "$out/apt/log" >&2; die "cannot fetch the source of QEMU $version"; }
	echo "$(base orig)  $out/qemu_7.2+dfsg.orig.tar.xz" | sha256sum --check --quiet || die "this is not the tarball that 7.2/base names"
	if [ "$version" = "$(base version)" ]; then
		echo "$(base dsc)  $out/qemu_${version#1:}.dsc" | sha256sum --check --quiet || die "this is not the package that 7.2/base names"
	fi
	rm -rf "$out/source"
	dpkg-source -x "$out/qemu_${version#1:}.dsc" "$out/source" >"$out/unpack.log" 2>&1 || { tail "$out/unpack.log" >&2; die "cannot unpack"; }
}

fits()
{
	local before
	before=$(cd "$out/source" && sha256sum accel/kvm/kvm-all.c meson.build)
	"$here/apply.sh" "$out/source"
	"$here/apply.sh" "$out/source" >/dev/null 2>&1 && die "apply.sh applies the patches a second time"
	"$here/apply.sh" -R "$out/source" >/dev/null
	[ "$before" = "$(cd "$out/source" && sha256sum accel/kvm/kvm-all.c meson.build)" ] || die "apply.sh -R leaves something behind"
	"$here/apply.sh" "$out/source" >/dev/null
}

build()
{
	rm -rf "$out/obj"
	mkdir "$out/obj"
	cd "$out/obj"
	nice -n 10 ../source/configure --target-list=x86_64-softmmu --without-default-features --enable-kvm --disable-tcg \
		--enable-vhost-net --enable-vhost-kernel --enable-trace-backends=nop --kvm-device=/dev/lodge >"$out/configure.log" 2>&1 ||
		{ tail "$out/configure.log" >&2; die "configure failed"; }
	grep -E 'KVM device +: /dev/lodge' "$out/configure.log" >/dev/null || die "configure does not know --kvm-device"
	nice -n 10 ninja -j"${JOBS:-2}" qemu-system-x86_64 >"$out/build.log" 2>&1 ||
		{ grep -A20 FAILED "$out/build.log" >&2; die "the build failed; see $out/build.log"; }
	! grep -q 'warning:' "$out/build.log" || { grep warning: "$out/build.log" >&2; die "the patched source warns"; }
	strip "$emulator"
	cd "$top"
}

stamp=$(cat "$here"/7.2/* "$here/check.sh" | sha256sum | cut -c 1-16)
"$top/selftests/qemu/install-packages" build box qemu
mkdir -p "$out"
if [ "$(cat "$out/stamp" 2>/dev/null)" != "$stamp" ] || [ ! -x "$emulator" ]; then
	fetch
	fits
	build
	echo "$stamp" >"$out/stamp"
	[ "${1:-}" = --keep ] || rm -rf "$out/source" "$out/apt" "$out"/qemu_*.xz "$out/obj/libcommon.fa.p"
fi
make -s -C "$top" module
"$top/selftests/qemu/guest-image" --boot-files
firmware=()
for f in /usr/share/seabios/bios-256k.bin /usr/share/seabios/bios-microvm.bin /usr/share/qemu/{linuxboot_dma,kvmvapic}.bin; do
	firmware+=(--file "$f:/usr/share/qemu/$(basename "$f")")
done
"$top/selftests/qemu/box" --smp 2 --mem 2G --timeout 900 --file "$emulator:/usr/bin/qemu-lodge" "${firmware[@]}" \
	--file "$top/build/guest/vmlinuz" --file "$top/build/guest/test-initrd" --file "$top/selftests/guest/guest.sh" \
	--file "$here/boot.sh" -- sh boot.sh
