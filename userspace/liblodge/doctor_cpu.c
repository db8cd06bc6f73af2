// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The CPU: what it has, whether the firmware lets it be used, and who has it now.
 *
 * Firmware can switch virtualization off until the next reset, while CPUID still shows it: AMD in VM_CR
 * (APM 2 §15.30.1), Intel in IA32_FEATURE_CONTROL (SDM 3C §24.7). Both are MSRs, which root reads
 * through the msr driver's nodes.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "liblodge/doctor.h"

#define MSR_FEATURE_CONTROL	0x3a
#define   FEATURE_CONTROL_LOCKED 0x1
#define   FEATURE_CONTROL_VMX	0x4
#define MSR_VM_CR		0xc0010114
#define   VM_CR_SVMDIS		0x10

static bool read_msr(struct doctor *d, uint32_t msr, uint64_t *value)
{
	char path[512];
	bool ok;
	int fd;

	if (!doctor_path(d, path, sizeof(path), "/dev/cpu/0/msr"))
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ok = pread(fd, value, sizeof(*value), msr) == sizeof(*value);
	close(fd);
	return ok;
}

static void check_firmware(struct doctor *d, bool amd)
{
	uint64_t value;
	bool off;

	if (!read_msr(d, amd ? MSR_VM_CR : MSR_FEATURE_CONTROL, &value)) {
		doctor_add(d, "firmware", DOCTOR_OPTIONAL, "as root: modprobe msr, then lodge doctor again",
			   "%s cannot be read, so a lock by the firmware would not be seen",
			   amd ? "MSR VM_CR" : "MSR FEATURE_CONTROL");
		return;
	}
	if (amd)
		off = value & VM_CR_SVMDIS;
	else
		off = (value & FEATURE_CONTROL_LOCKED) && !(value & FEATURE_CONTROL_VMX);
	doctor_add(d, "firmware", off ? DOCTOR_MISSING : DOCTOR_OK,
		   "switch virtualization (SVM Mode, or Intel VT-x) on in the firmware set-up and power-cycle",
		   off ? "the firmware has switched virtualization off (%s=%#llx)" :
			 "the firmware leaves virtualization on (%s=%#llx)",
		   amd ? "VM_CR" : "FEATURE_CONTROL", (unsigned long long)value);
}

static void check_flags(struct doctor *d)
{
	bool svm = doctor_has(d, "/proc/cpuinfo", "flags", "svm");
	bool vmx = doctor_has(d, "/proc/cpuinfo", "flags", "vmx");
	bool amd = svm || doctor_has(d, "/proc/cpuinfo", "vendor_id", "AuthenticAMD");
	bool paging = doctor_has(d, "/proc/cpuinfo", "flags", svm ? "npt" : "ept") ||
		      doctor_has(d, "/proc/cpuinfo", "vmx flags", "ept");

	doctor_add(d, "cpu", svm || vmx ? DOCTOR_OK : DOCTOR_MISSING,
		   "switch virtualization (SVM or VT-x) on in the firmware set-up, or for a virtual "
		   "machine its nested virtualization",
		   "%s", svm ? "AMD-V (svm)" : vmx ? "Intel VT-x (vmx)" : "no virtualization extensions");
	if (svm || vmx || doctor_exists(d, "/dev/cpu/0/msr"))
		check_firmware(d, amd);
	if (svm || vmx)
		doctor_add(d, "nested paging", paging ? DOCTOR_OK : DOCTOR_MISSING,
			   "Lodge needs nested page tables; this CPU or its firmware does not offer them", "%s",
			   paging ? (svm ? "npt" : "ept") : (svm ? "no npt" : "no ept"));
	if (!svm && vmx && strcmp(d->device, "/dev/kvm"))
		doctor_add(d, "back end", DOCTOR_MISSING, "use --device /dev/kvm with the stock module meanwhile",
			   "this version's module runs on AMD-V only");
}

/* Whether a process has a VM of the stock module: its descriptor is a link to this name. */
static bool has_vm(struct doctor *d, const char *pid)
{
	char path[512], link[512], target[64];
	struct dirent *e;
	bool found = false;
	DIR *dir;

	snprintf(link, sizeof(link), "/proc/%s/fd", pid);
	dir = doctor_path(d, path, sizeof(path), link) ? opendir(path) : NULL;
	while (dir && !found && (e = readdir(dir))) {
		ssize_t n;

		if ((size_t)snprintf(link, sizeof(link), "%s/%s", path, e->d_name) >= sizeof(link))
			continue;
		n = readlink(link, target, sizeof(target) - 1);
		target[n < 0 ? 0 : n] = '\0';
		found = !strcmp(target, "anon_inode:kvm-vm");
	}
	if (dir)
		closedir(dir);
	return found;
}

/* Names of processes with guests of the stock module, as far as this user may see. */
static void name_holders(struct doctor *d, char *buf, size_t room)
{
	char path[512], file[300], name[32];
	struct dirent *e;
	size_t used = 0;
	DIR *dir;

	buf[0] = '\0';
	dir = doctor_path(d, path, sizeof(path), "/proc") ? opendir(path) : NULL;
	while (dir && (e = readdir(dir)) && used + 60 < room) {
		if (strspn(e->d_name, "0123456789") != strlen(e->d_name) || !has_vm(d, e->d_name))
			continue;
		snprintf(file, sizeof(file), "/proc/%s/comm", e->d_name);
		doctor_read(d, file, name, sizeof(name));
		used += snprintf(buf + used, room - used, "%s%s (%s)", used ? ", " : ": ", name, e->d_name);
	}
	if (dir)
		closedir(dir);
}

static int users_of(struct doctor *d, const char *module)
{
	char path[64], text[32];

	snprintf(path, sizeof(path), "/sys/module/%s/refcnt", module);
	return doctor_read(d, path, text, sizeof(text)) > 0 ? atoi(text) : 0;
}

static void check_holder(struct doctor *d)
{
	static const struct {
		const char *module, *name, *remedy;
	} others[] = {
		{ "kvm_amd", "the stock KVM module", "stop its guests, or modprobe -r kvm_amd kvm" },
		{ "kvm_intel", "the stock KVM module", "stop its guests, or modprobe -r kvm_intel kvm" },
		{ "vboxdrv", "VirtualBox's module", "stop its guests; rmmod vboxnetadp vboxnetflt vboxdrv" },
		{ "vmmon", "VMware's module", "stop its guests; rmmod vmmon" },
	};
	char path[64], who[100];
	size_t i;

	if (doctor_exists(d, "/proc/xen/capabilities")) {
		doctor_add(d, "other hypervisor", DOCTOR_MISSING, "boot without Xen", "this is a guest of Xen, which has the CPU");
		return;
	}
	for (i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		int users = users_of(d, others[i].module);

		snprintf(path, sizeof(path), "/sys/module/%s", others[i].module);
		if (!doctor_exists(d, path))
			continue;
		name_holders(d, who, sizeof(who));
		doctor_add(d, "other hypervisor", users ? DOCTOR_MISSING : DOCTOR_OK, others[i].remedy,
			   users ? "%s (%s) has guests and holds the CPU%s" : "%s (%s) is loaded and idle%s",
			   others[i].name, others[i].module, users ? who : "");
		return;
	}
	doctor_add(d, "other hypervisor", DOCTOR_OK, "", "no stock KVM module is loaded");
}

void doctor_cpu(struct doctor *d)
{
	check_flags(d);
	if (strcmp(d->device, "/dev/kvm"))
		check_holder(d);
}
