/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Events on their way into the guest, with the architecture's priorities (SDM 3A table 6-2, APM 2 §8.5).
 */
#ifndef LODGE_X86_INJECT_H
#define LODGE_X86_INJECT_H

#include <linux/types.h>

struct x86_vcpu;

/* Queue an exception; merges with one that is pending or was being delivered as the double-fault rules say (SDM table 6-5). */
void inject_exception(struct x86_vcpu *vcpu, u8 vector);
void inject_exception_error(struct x86_vcpu *vcpu, u8 vector, u32 error);
void inject_page_fault(struct x86_vcpu *vcpu, u32 error, u64 cr2);
void inject_db(struct x86_vcpu *vcpu, u64 dr6_bits);

/* The pending exception's payload goes to CR2 or DR6 now: user space is about to read them. */
void inject_payload(struct x86_vcpu *vcpu);

/*
 * Before an entry: put the most urgent event into the hardware, ask for windows for the others.  Returns 0, or -EBUSY when
 * the entry must be called off.  Interrupts on or off.
 */
int inject_events(struct x86_vcpu *vcpu);

/* Could a maskable interrupt be taken now (IF, shadow, no event in delivery)? */
bool inject_irq_allowed(struct x86_vcpu *vcpu);

/* Is an interrupt waiting that could be delivered (LAPIC, PIC or KVM_INTERRUPT)?  */
bool inject_irq_waiting(struct x86_vcpu *vcpu);

#endif
