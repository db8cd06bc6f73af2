/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The hypervisor as the board sees it: one virtual machine behind the KVM ABI.
 *
 * Thin: each function is one ioctl with a readable error. The object keeps its address for the
 * life of the process; kvm_create_vm() may be called again after kvm_close_vm(), which is how the
 * machine is restarted. Calls are safe from any thread while the VM is open.
 */
#ifndef BOARD_KVM_H
#define BOARD_KVM_H

#include "common/err.h"
#include "common/types.h"

struct kvm {
	int dev;		/* the device node, -1 when closed */
	int vm;			/* the VM, -1 when closed */
	u32 run_size;		/* bytes to map of a vCPU descriptor */
	bool has_ioeventfd_any;
	bool has_tsc_deadline;
	bool has_immediate_exit;
	char path[108];
};

/* Opens the node, checks the API version and the capabilities that Lodge cannot do without. */
int kvm_open(struct kvm *kvm, const char *path, struct err *e);
void kvm_close(struct kvm *kvm);

/* Creates VM and full in-kernel interrupt chips; with_pit adds the timer chip. */
int kvm_create_vm(struct kvm *kvm, bool with_pit, struct err *e);
void kvm_close_vm(struct kvm *kvm);

/* Value of KVM_CHECK_EXTENSION, 0 when absent. */
int kvm_check(struct kvm *kvm, int cap);

int kvm_set_region(struct kvm *kvm, u32 slot, u32 flags, u64 gpa, u64 size, void *hva,
		   struct err *e);

/* A write of len bytes (0: any) at addr signals fd instead of leaving to user space. */
struct kvm_doorbell {
	u64 addr;
	u64 match;	/* with has_match: only this value */
	int fd;
	u8 len;
	bool pio;
	bool has_match;
};

int kvm_doorbell_add(struct kvm *kvm, const struct kvm_doorbell *d);
int kvm_doorbell_remove(struct kvm *kvm, const struct kvm_doorbell *d);

/* Signalling fd raises gsi. 0 or -errno. */
int kvm_irqfd_add(struct kvm *kvm, int fd, u32 gsi);
int kvm_irqfd_remove(struct kvm *kvm, int fd, u32 gsi);

int kvm_irq_line(struct kvm *kvm, u32 gsi, bool level);
/* Delivers one message-signalled interrupt now. */
int kvm_signal_msi(struct kvm *kvm, u64 addr, u32 data);

#endif
