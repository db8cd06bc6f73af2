/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What CPUID tells a guest: the hypervisor's offer, adjusted to this machine's topology.
 */
#ifndef VMM_CPUID_H
#define VMM_CPUID_H

#include <linux/kvm.h>

#include "board/kvm.h"

#define CPUID_MAX 96

struct cpuid_table {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entry[CPUID_MAX];
};

int cpuid_supported(struct kvm *kvm, struct cpuid_table *t, struct err *e);
/* Adjusts a copy of the offer for the vCPU with this APIC id. Pure. */
void cpuid_adjust(struct cpuid_table *t, u32 id, u32 cpus, bool tsc_deadline);
/* The entry, or NULL. */
struct kvm_cpuid_entry2 *cpuid_find(struct cpuid_table *t, u32 leaf, u32 index);

#endif
