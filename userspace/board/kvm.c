// SPDX-License-Identifier: GPL-2.0-or-later
/* One virtual machine behind the KVM ABI: thin calls with readable errors. */
#include "board/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define TSS_ADDR 0xfffbd000UL
#define IDENTITY_MAP_ADDR 0xfffbc000UL

static const struct {
	int cap;
	const char *name;
} required_caps[] = {
	{ KVM_CAP_USER_MEMORY, "USER_MEMORY" },
	{ KVM_CAP_IRQCHIP, "IRQCHIP" },
	{ KVM_CAP_SET_TSS_ADDR, "SET_TSS_ADDR" },
	{ KVM_CAP_EXT_CPUID, "EXT_CPUID" },
	{ KVM_CAP_IRQFD, "IRQFD" },
	{ KVM_CAP_IOEVENTFD, "IOEVENTFD" },
	{ KVM_CAP_SIGNAL_MSI, "SIGNAL_MSI" },
	{ KVM_CAP_IRQ_ROUTING, "IRQ_ROUTING" },
	{ KVM_CAP_IMMEDIATE_EXIT, "IMMEDIATE_EXIT" },
};

static int open_error(const char *path, int code, struct err *e)
{
	const char *hint = "check the path given with --device";

	if (code == ENOENT || code == ENXIO || code == ENODEV)
		hint = "modprobe lodge; `lodge doctor` explains what is missing";
	else if (code == EACCES || code == EPERM)
		hint = "add yourself to the group kvm (adduser USER kvm) and log in again";
	return err_set(e, code, "cannot open the hypervisor: %s: %s; try: %s", path,
		       strerror(code), hint);
}

int kvm_open(struct kvm *kvm, const char *path, struct err *e)
{
	unsigned int i;
	int r;

	memset(kvm, 0, sizeof(*kvm));
	kvm->vm = -1;
	snprintf(kvm->path, sizeof(kvm->path), "%s", path);
	kvm->dev = open(path, O_RDWR | O_CLOEXEC);
	if (kvm->dev < 0)
		return open_error(path, errno, e);
	r = ioctl(kvm->dev, KVM_GET_API_VERSION, 0);
	if (r != KVM_API_VERSION) {
		kvm_close(kvm);
		return err_set(e, ENODEV,
			       "%s is no hypervisor: it does not answer with KVM API version %d; "
			       "try: --device /dev/lodge",
			       path, KVM_API_VERSION);
	}
	for (i = 0; i < sizeof(required_caps) / sizeof(required_caps[0]); i++) {
		if (kvm_check(kvm, required_caps[i].cap) > 0)
			continue;
		kvm_close(kvm);
		return err_set(e, ENOTSUP,
			       "the hypervisor behind %s lacks %s; try: a newer module", path,
			       required_caps[i].name);
	}
	r = ioctl(kvm->dev, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (r < 4096 || r > 1 << 20) {
		kvm_close(kvm);
		return err_set(e, EPROTO, "%s: unusable vCPU mapping size %d", path, r);
	}
	kvm->run_size = r;
	kvm->has_ioeventfd_any = kvm_check(kvm, KVM_CAP_IOEVENTFD_ANY_LENGTH) > 0;
	kvm->has_tsc_deadline = kvm_check(kvm, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
	kvm->has_immediate_exit = true;
	return 0;
}

void kvm_close(struct kvm *kvm)
{
	kvm_close_vm(kvm);
	if (kvm->dev >= 0)
		close(kvm->dev);
	kvm->dev = -1;
}

int kvm_create_vm(struct kvm *kvm, bool with_pit, struct err *e)
{
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	__u64 identity = IDENTITY_MAP_ADDR;
	const char *what = "create a virtual machine";

	do {
		kvm->vm = ioctl(kvm->dev, KVM_CREATE_VM, 0UL);
	} while (kvm->vm < 0 && errno == EINTR);
	if (kvm->vm < 0 && errno == EBUSY)
		return err_set(e, EBUSY,
			       "cannot start a guest on %s: another hypervisor holds this CPU's "
			       "virtualization; try: stop its guests and `modprobe -r kvm_amd "
			       "kvm_intel`",
			       kvm->path);
	if (kvm->vm < 0)
		goto fail;
	what = "place the task state segment";
	if (ioctl(kvm->vm, KVM_SET_TSS_ADDR, TSS_ADDR) < 0)
		goto fail;
	what = "place the identity map";
	if (kvm_check(kvm, KVM_CAP_SET_IDENTITY_MAP_ADDR) > 0 &&
	    ioctl(kvm->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0)
		goto fail;
	what = "create the interrupt chips";
	if (ioctl(kvm->vm, KVM_CREATE_IRQCHIP, 0UL) < 0)
		goto fail;
	what = "create the timer chip";
	if (with_pit && ioctl(kvm->vm, KVM_CREATE_PIT2, &pit) < 0)
		goto fail;
	return 0;
fail:
	err_set(e, errno, "cannot %s on %s: %s", what, kvm->path, strerror(errno));
	kvm_close_vm(kvm);
	return e ? -e->code : -EIO;
}

void kvm_close_vm(struct kvm *kvm)
{
	if (kvm->vm >= 0)
		close(kvm->vm);
	kvm->vm = -1;
}

int kvm_check(struct kvm *kvm, int cap)
{
	int r = ioctl(kvm->dev, KVM_CHECK_EXTENSION, (unsigned long)cap);

	return r < 0 ? 0 : r;
}

int kvm_set_region(struct kvm *kvm, u32 slot, u32 flags, u64 gpa, u64 size, void *hva,
		   struct err *e)
{
	struct kvm_userspace_memory_region r = {
		.slot = slot,
		.flags = flags,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (unsigned long)hva,
	};

	if (ioctl(kvm->vm, KVM_SET_USER_MEMORY_REGION, &r) < 0)
		return err_set(e, errno,
			       "cannot give the guest memory: %llu MiB at %#llx on %s: %s",
			       (unsigned long long)(size / MIB), (unsigned long long)gpa,
			       kvm->path, strerror(errno));
	return 0;
}

static int doorbell_ioctl(struct kvm *kvm, const struct kvm_doorbell *d, u32 flags)
{
	struct kvm_ioeventfd io = {
		.addr = d->addr,
		.len = d->len,
		.fd = d->fd,
		.flags = flags,
	};

	if (d->pio)
		io.flags |= KVM_IOEVENTFD_FLAG_PIO;
	if (d->has_match) {
		io.flags |= KVM_IOEVENTFD_FLAG_DATAMATCH;
		io.datamatch = d->match;
	}
	if (!d->len && !kvm->has_ioeventfd_any)
		return -EINVAL;
	return ioctl(kvm->vm, KVM_IOEVENTFD, &io) < 0 ? -errno : 0;
}

int kvm_doorbell_add(struct kvm *kvm, const struct kvm_doorbell *d)
{
	return doorbell_ioctl(kvm, d, 0);
}

int kvm_doorbell_remove(struct kvm *kvm, const struct kvm_doorbell *d)
{
	return doorbell_ioctl(kvm, d, KVM_IOEVENTFD_FLAG_DEASSIGN);
}

int kvm_irqfd_add(struct kvm *kvm, int fd, u32 gsi)
{
	struct kvm_irqfd irq = { .fd = fd, .gsi = gsi };

	return ioctl(kvm->vm, KVM_IRQFD, &irq) < 0 ? -errno : 0;
}

int kvm_irqfd_remove(struct kvm *kvm, int fd, u32 gsi)
{
	struct kvm_irqfd irq = { .fd = fd, .gsi = gsi, .flags = KVM_IRQFD_FLAG_DEASSIGN };

	return ioctl(kvm->vm, KVM_IRQFD, &irq) < 0 ? -errno : 0;
}

int kvm_irq_line(struct kvm *kvm, u32 gsi, bool level)
{
	struct kvm_irq_level l = { .irq = gsi, .level = level };

	return ioctl(kvm->vm, KVM_IRQ_LINE, &l) < 0 ? -errno : 0;
}

int kvm_signal_msi(struct kvm *kvm, u64 addr, u32 data)
{
	struct kvm_msi msi = {
		.address_lo = addr,
		.address_hi = addr >> 32,
		.data = data,
	};

	return ioctl(kvm->vm, KVM_SIGNAL_MSI, &msi) < 0 ? -errno : 0;
}
