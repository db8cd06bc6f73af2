/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * KVM_RUN: the loop around the guest.
 */
#ifndef LODGE_X86_RUN_H
#define LODGE_X86_RUN_H

#include <linux/types.h>

struct x86_vcpu;

/* The VMM asked to be told when the guest can take an interrupt (its own PIC has one). */
bool run_wants_irq_window(struct x86_vcpu *vcpu);

/* Could a KVM_INTERRUPT be taken now? */
bool run_ready_for_irq(struct x86_vcpu *vcpu);

/* The guest executed HLT and stands behind it: 1 = go on, 0 = KVM_EXIT_HLT. */
int run_halt(struct x86_vcpu *vcpu);

/* INIT and SIPI that wait in the LAPIC take effect. */
void run_accept_init(struct x86_vcpu *vcpu);

#endif
