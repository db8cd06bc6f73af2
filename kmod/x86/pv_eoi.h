/* SPDX-License-Identifier: GPL-2.0-only */
/* The MSR of PV EOI; the LAPIC's side is in irqchip/up.h. */
#ifndef LODGE_X86_PV_EOI_H
#define LODGE_X86_PV_EOI_H

#include <linux/types.h>

struct x86_vcpu;

/* MSR_KVM_PV_EOI_EN: 0, 1 = #GP.  vm->srcu held. */
int pv_eoi_set_msr(struct x86_vcpu *vcpu, u64 val);

#endif
