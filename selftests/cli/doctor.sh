#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# doctor.sh - what `lodge doctor` finds on hosts that are trees of files: each
# has one trouble more or less than a good host, and the finding names it.
# BOX: none
lodge=build/lodge
n=0 failed=0
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
release=6.1.0-99-amd64
h=$tmp/host

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

put()
{
	mkdir -p "$(dirname "$h/$1")"
	printf '%s\n' "${2:-}" >"$h/$1"
}

# msr NUMBER VALUE
msr()
{
	mkdir -p "$h/dev/cpu/0"
	printf "%s" "$(printf '%016x' "$2")" | sed 's/../&\n/g' | tac | tr -d '\n' |
		perl -e 'print pack("H*", <STDIN>)' | dd of="$h/dev/cpu/0/msr" bs=1 seek=$(($1)) conv=notrunc 2>/dev/null
}

# An AMD host with Debian's kernel, the module loaded, nothing in the way.
good()
{
	rm -rf "$h"
	put proc/cpuinfo "vendor_id	: AuthenticAMD
flags		: fpu vme svm sse4a npt lbrv"
	put proc/sys/kernel/osrelease $release
	put sys/module/lodge/version 0.1.0
	put sys/module/lodge/parameters/kvm_node N
	put sys/kernel/security/lockdown '[none] integrity confidentiality'
	put sys/class/iommu/ivhd0
	put sys/kernel/iommu_groups/0
	put sys/kernel/iommu_groups/1
	msr 0xc0010114 0x8
	ln -s /dev/null "$h/dev/lodge"
}

libvirt()
{
	put etc/libvirt/qemu.conf '# Master configuration
#cgroup_device_acl = [
#    "/dev/null", "/dev/full", "/dev/zero",
#    "/dev/random", "/dev/urandom",
#    "/dev/ptmx", "/dev/kvm"
#]'
	put sys/module/apparmor/parameters/enabled Y
	put etc/apparmor.d/abstractions/libvirt-qemu '  /dev/net/tun rw,
  /dev/kvm rw,'
}

# finds NAME VERDICT TEXT WHAT: in the JSON, one finding of that name has verdict and text (found or remedy).
finds()
{
	$lodge doctor --root "$h" --json >"$tmp/json" 2>"$tmp/err"
	python3 - "$1" "$2" "$3" "$tmp/json" >"$tmp/why" 2>&1 <<-'PYTHON'
		import json, sys
		name, verdict, text, path = sys.argv[1:]
		hits = [c for c in json.load(open(path)) if c["name"] == name]
		assert len(hits) == 1, f"{len(hits)} findings {name}"
		c = hits[0]
		assert c["verdict"] == verdict and text in c["found"] + " | " + c["remedy"], c
		assert verdict == "ok" or c["remedy"], f"no remedy: {c}"
	PYTHON
	result $? "$4" "$(tail -n 1 "$tmp/why"; cat "$tmp/err")"
}

# lacks NAME WHAT: no finding of that name.
lacks()
{
	$lodge doctor --root "$h" --json | grep -q "\"name\": \"$1\""
	[ $? = 1 ]
	result $? "$2"
}

good
finds cpu ok svm "a CPU with SVM"
finds firmware ok VM_CR=0x8 "firmware that leaves it on"
finds 'nested paging' ok npt "nested paging"
finds kernel ok $release "Debian's kernel"
finds module ok 0.1.0 "the module is loaded"
finds 'other hypervisor' ok 'no stock' "nobody else"
finds 'secure boot' ok 'lockdown none' "no lockdown"
finds iommu ok '2 device groups' "an IOMMU"
finds device missing 'does not speak the KVM ABI' "a node that is something else"
lacks 'libvirt devices' "no word of libvirt where there is none"
lacks apparmor "nor of AppArmor"

put proc/cpuinfo 'flags : fpu vmx ept sse2'
finds 'back end' missing AMD-V "an Intel host"
put proc/cpuinfo 'flags : fpu sse2'
finds cpu missing firmware "a CPU without virtualization"
good
put proc/cpuinfo 'flags : fpu svm sse2'
finds 'nested paging' missing npt "no nested paging"
good
msr 0xc0010114 0x18
finds firmware missing 'switched virtualization off' "SVM locked off by the firmware"
rm "$h/dev/cpu/0/msr"
finds firmware optional 'modprobe msr' "no msr driver"
put proc/cpuinfo 'flags : fpu vmx ept sse2'
msr 0x3a 0x1
finds firmware missing FEATURE_CONTROL=0x1 "VT-x locked off by the firmware"
msr 0x3a 0x5
finds firmware ok FEATURE_CONTROL=0x5 "VT-x locked on"

good
put sys/module/kvm_amd/refcnt 0
finds 'other hypervisor' ok idle "an idle stock module"
put sys/module/kvm_amd/refcnt 2
mkdir -p "$h/proc/4711/fd"
put proc/4711/comm qemu-system-x86
ln -s anon_inode:kvm-vm "$h/proc/4711/fd/9"
finds 'other hypervisor' missing 'qemu-system-x86 (4711)' "the stock module's guest is named"
finds 'other hypervisor' missing 'modprobe -r kvm_amd' "with the remedy"
good
put sys/module/vboxdrv/refcnt 1
finds 'other hypervisor' missing VirtualBox "VirtualBox"
good
put proc/xen/capabilities
finds 'other hypervisor' missing Xen "Xen"

good
put proc/sys/kernel/osrelease 6.12.1-amd64
finds kernel missing linux-image-amd64 "another kernel"
good
rm -r "$h/sys/module/lodge"
finds module missing 'make install' "not installed"
put lib/modules/$release/updates/lodge.ko
finds module missing 'modprobe lodge' "installed and not loaded"

put sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c
printf '\6\0\0\0\1' >"$h/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
finds 'secure boot' ok 'Secure Boot on, lockdown none' "Secure Boot without lockdown"
put sys/kernel/security/lockdown 'none [integrity] confidentiality'
finds 'secure boot' missing 'the module has none' "lockdown and no signature"
printf 'x~Module signature appended~\n' >"$h/lib/modules/$release/updates/lodge.ko"
finds 'secure boot' optional mokutil "lockdown and a signature"
rm "$h/lib/modules/$release/updates/lodge.ko"
finds 'secure boot' optional install-dkms "lockdown and no module yet"
put sys/kernel/security/lockdown '[none] integrity confidentiality'
put sys/module/module/parameters/sig_enforce Y
put lib/modules/$release/updates/dkms/lodge.ko
finds 'secure boot' missing 'the module has none' "module.sig_enforce and no signature"
put sys/module/lodge/version 0.1.0
finds 'secure boot' ok 'was let in' "loaded in spite of it"
good
rm -r "$h/sys/class/iommu"
finds iommu optional AMD-Vi "no IOMMU"

good
finds /dev/kvm optional 'nobody has it' "nobody has /dev/kvm"
put sys/module/kvm_amd/refcnt 0
finds /dev/kvm optional "stock module's" "the stock module has /dev/kvm"
put etc/modprobe.d/lodge.conf 'options lodge kvm_node=1'
finds /dev/kvm missing 'kvm_amd is loaded' "kvm_node=1 is wanted, the stock module was first"
rm -r "$h/sys/module/kvm_amd"
finds /dev/kvm missing 'without it' "kvm_node=1 is wanted, lodge was loaded before"
put sys/module/lodge/parameters/kvm_node Y
finds /dev/kvm optional blacklist "kvm_node=1, and the stock module may come first next time"
cp kmod/host/lodge-kvm-node.conf "$h/etc/modprobe.d/lodge.conf"
finds /dev/kvm ok kvm_node=1 "the shipped recipe"
put etc/modprobe.d/lodge.conf '# options lodge kvm_node=1'
put sys/module/lodge/parameters/kvm_node N
finds /dev/kvm optional 'nobody has it' "a comment is no option"

good
libvirt
finds 'libvirt devices' optional /dev/lodge "libvirt's own list lacks /dev/lodge"
finds apparmor optional 'local/abstractions' "so does its AppArmor profile"
put sys/module/lodge/parameters/kvm_node Y
finds 'libvirt devices' ok /dev/kvm "with kvm_node=1 libvirt's list is enough"
finds apparmor ok /dev/kvm "and its profile"
put etc/libvirt/qemu.conf 'cgroup_device_acl = [
    "/dev/null", "/dev/zero",
    "/dev/lodge"
]'
finds 'libvirt devices' optional /dev/kvm "an administrator's list without /dev/kvm"
put sys/module/lodge/parameters/kvm_node N
finds 'libvirt devices' ok /dev/lodge "an administrator's list with /dev/lodge"
put etc/libvirt/qemu.conf 'cgroup_device_acl = [ "/dev/null", "/dev/lodge" ]'
finds 'libvirt devices' ok /dev/lodge "the same on one line"
put etc/apparmor.d/local/abstractions/libvirt-qemu '/dev/lodge rw,'
finds apparmor ok /dev/lodge "an administrator's rule"
put sys/module/apparmor/parameters/enabled N
lacks apparmor "AppArmor is off"

good
$lodge doctor --root "$h" >"$tmp/text"
[ $? = 1 ]
result $? "exit code 1 with something missing"
grep -q '^MISSING   device' "$tmp/text" && grep -A 1 '^MISSING   device' "$tmp/text" | grep -q 'try: '
result $? "the text names it and the remedy"
$lodge doctor --root >/dev/null 2>&1
[ $? = 2 ]
result $? "exit code 2 for a wrong option"
rm -rf "$h"
mkdir "$h"
$lodge doctor --root "$h" --json >"$tmp/json"
[ $? = 1 ] && python3 -c 'import json, sys; json.load(sys.stdin)' <"$tmp/json"
result $? "an empty tree is no crash"
mkdir -p "$h/proc" "$h/etc/libvirt" "$h/sys/module/kvm_amd"
head -c 100000 /dev/urandom >"$h/proc/cpuinfo"
head -c 100000 /dev/urandom >"$h/etc/libvirt/qemu.conf"
head -c 100000 /dev/urandom >"$h/sys/module/kvm_amd/refcnt"
$lodge doctor --root "$h" >/dev/null
[ $? = 1 ]
result $? "nor is noise"
echo "1..$n"
exit $failed
