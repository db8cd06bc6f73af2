/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A virtual CPU: what its file descriptor refers to, and how other threads reach it.
 *
 * A vCPU is run by whichever thread calls KVM_RUN; vcpu->mutex makes that one thread at a time.  Others ask for something
 * with a request bit and a kick: the bit is examined on the way into the guest with interrupts off, after vcpu->mode has
 * become IN_GUEST, so that either the entering CPU sees the bit or the kicker sees IN_GUEST and sends an IPI.
 */
#ifndef LODGE_CORE_VCPU_H
#define LODGE_CORE_VCPU_H

#include <linux/bitops.h>
#include <linux/kvm.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/rcuwait.h>

#include "core/dirty_ring.h"
#include "core/stats.h"
#include "core/vm.h"

enum lodge_vcpu_mode {
	LODGE_OUTSIDE_GUEST,
	LODGE_IN_GUEST,		/* interrupts off, about to enter, in, or just left */
	LODGE_EXITING,		/* IN_GUEST, and somebody has already sent the IPI */
};

/* Request bits, vcpu->requests.  Those from LODGE_REQ_ARCH on belong to the architecture. */
enum {
	LODGE_REQ_TLB_FLUSH,	/* drop every stage-2 translation cached for this vCPU */
	LODGE_REQ_VM_DEAD,	/* leave KVM_RUN with EIO */
	LODGE_REQ_UNBLOCK,	/* leave a halt */
	LODGE_REQ_DIRTY_RING,	/* the dirty ring is nearly full: do not enter the guest */
	LODGE_REQ_ARCH,
};

#define LODGE_PIO_PAGE		1	/* page offsets in the vCPU's mapping, in the order that stock KVM has */
#define LODGE_COALESCED_PAGE	2
#define LODGE_DIRTY_RING_PAGE	64	/* KVM_DIRTY_LOG_PAGE_OFFSET */

struct lodge_vcpu {
	struct lodge_vm *vm;
	u32 id;				/* KVM_CREATE_VCPU's argument = initial APIC id */
	u32 index;			/* creation order */
	int cpu;			/* host CPU that it is loaded on, or -1 */
	u8 mode;			/* enum lodge_vcpu_mode, READ_ONCE/WRITE_ONCE */
	bool loaded;			/* between load and put */
	bool blocking;			/* in lodge_vcpu_block */
	bool preempted;
	unsigned long requests;		/* atomic bit operations */
	int srcu_idx;			/* of vm->srcu, held while inside KVM_RUN outside the guest */
	struct mutex mutex;		/* vCPU ioctls */
	struct rcuwait wait;		/* a halted vCPU sleeps here */
	struct pid __rcu *pid;		/* last thread that ran it */
	struct preempt_notifier preempt_notifier;
	struct kvm_run *run;		/* one page, shared with user space: write answers, read requests once */
	void *pio_data;			/* one page, shared with user space */
	sigset_t sigset;
	bool sigset_active;		/* KVM_SET_SIGNAL_MASK */
	bool no_halt_poll;		/* the guest polls itself before it halts */
	u64 halt_poll_ns;
	struct lodge_vcpu_stats stats;
	struct lodge_dirty_ring dirty_ring;
	struct dentry *debugfs;
};

static inline void lodge_request(struct lodge_vcpu *vcpu, int req)
{
	/* What the request is about is visible before its bit. */
	smp_mb__before_atomic();
	set_bit(req, &vcpu->requests);
	/* Pairs with the entry path: the bit is set before ->mode is looked at. */
	smp_mb__after_atomic();
}

static inline bool lodge_request_take(struct lodge_vcpu *vcpu, int req)
{
	if (!test_bit(req, &vcpu->requests))
		return false;
	clear_bit(req, &vcpu->requests);
	/* Pairs with lodge_request(): what it was about is seen. */
	smp_mb__after_atomic();
	return true;
}

/* Make @vcpu notice its requests soon: wake it if it sleeps, send an IPI if it is in the guest.  Any context. */
void lodge_vcpu_kick(struct lodge_vcpu *vcpu);

/* Wake it if it is halted; true if it was.  Any context. */
bool lodge_vcpu_wake(struct lodge_vcpu *vcpu);

/*
 * Set request @req on every vCPU of @vm and kick them; with @wait, return only when none of them is in the guest with the
 * request unseen.  Process context, or atomic with interrupts on.
 */
void lodge_request_all(struct lodge_vm *vm, int req, bool wait);

/*
 * Halt until lodge_arch_vcpu_runnable() or a signal; polls first as halt_poll_ns says.
 * Called with vm->srcu held (dropped inside), preemptible.  Returns 0, or -EINTR for a signal.
 */
int lodge_vcpu_block(struct lodge_vcpu *vcpu);

/* Longest time to poll before a halted vCPU sleeps, ns (module parameter); KVM_CAP_HALT_POLL overrides it for a VM. */
extern unsigned int lodge_halt_poll_ns;

/* Module load and unload: per-CPU masks. */
int lodge_vcpu_init_module(void);
void lodge_vcpu_exit_module(void);

/* Bind to / unbind from the current host CPU; vcpu ioctls that touch live CPU state run between them. */
void lodge_vcpu_load(struct lodge_vcpu *vcpu);
void lodge_vcpu_put(struct lodge_vcpu *vcpu);

/*
 * The vCPU that the current thread works for, between load and put (also on a host CPU that lost its virtualization), or NULL.
 * Process context with preemption off.
 */
struct lodge_vcpu *lodge_running_vcpu(void);

/* KVM_CREATE_VCPU; returns the new descriptor or -errno.  Takes vm->lock. */
int lodge_vcpu_create_fd(struct lodge_vm *vm, u32 id);

/* Destroy every vCPU of a VM that nobody can reach any more. */
void lodge_vcpus_destroy(struct lodge_vm *vm);

#endif
