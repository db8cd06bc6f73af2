/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Asynchronous page faults: the guest runs something else while the host brings a page in.
 */
#ifndef LODGE_X86_APF_H
#define LODGE_X86_APF_H

#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/types.h>

#include "core/memslot.h"

struct x86_vcpu;

struct vcpu_apf {
	u64 enable_msr, int_msr;
	bool on;			/* enabled, with completion by interrupt: the only way there is */
	bool ready_pending;		/* a completion was announced and not acknowledged */
	u32 next_id;
	struct lodge_guest_cache cache;	/* struct kvm_vcpu_pv_apf_data */
	spinlock_t lock;
	struct list_head done;		/* lock */
	unsigned int count;		/* lock: in flight and done */
	u32 epoch;			/* lock: what began before the last change of enable_msr is not announced */
};

int apf_init_module(void);		/* -ENOMEM */
void apf_exit_module(void);

void apf_init_vcpu(struct x86_vcpu *vcpu);
void apf_reset_vcpu(struct x86_vcpu *vcpu);	/* RESET and INIT */
void apf_destroy_vcpu(struct x86_vcpu *vcpu);	/* nothing is in flight any more */

/* The MSRs: 0, 1 = #GP.  On the vCPU's thread, vm->srcu held. */
int apf_set_enable(struct x86_vcpu *vcpu, u64 val);
int apf_set_int(struct x86_vcpu *vcpu, u64 val);
int apf_set_ack(struct x86_vcpu *vcpu, u64 val);

/* LODGE_REQ_APF: announce the next page that is there.  On the vCPU's thread, vm->srcu held, may sleep. */
void apf_announce(struct x86_vcpu *vcpu);

#endif
