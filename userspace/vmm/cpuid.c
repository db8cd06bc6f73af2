// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * CPUID for the guest.
 *
 * One package, one thread per core, APIC ids 0..n-1. Hidden: nested virtualization (no guest gets
 * it unasked), the performance counters (not virtualized for this machine), and AMD's topology
 * extensions, whose cache leaves would describe the host's sharing.
 */
#include "vmm/cpuid.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#define ECX1_VMX (1U << 5)
#define ECX1_X2APIC (1U << 21)
#define ECX1_DEADLINE (1U << 24)
#define ECX1_HYPERVISOR (1U << 31)
#define EDX1_HTT (1U << 28)
#define ECX81_CMP_LEGACY (1U << 1)
#define ECX81_SVM (1U << 2)
#define ECX81_TOPOEXT (1U << 22)
#define LEVEL_SMT 1U
#define LEVEL_CORE 2U

int cpuid_supported(struct kvm *kvm, struct cpuid_table *t, struct err *e)
{
	memset(t, 0, sizeof(*t));
	t->head.nent = CPUID_MAX;
	if (ioctl(kvm->dev, KVM_GET_SUPPORTED_CPUID, &t->head) < 0)
		return err_set(e, errno, "cannot ask %s for its CPU features: %s", kvm->path,
			       strerror(errno));
	if (t->head.nent > CPUID_MAX)
		return err_set(e, EPROTO, "%s offers too many CPUID entries", kvm->path);
	return 0;
}

struct kvm_cpuid_entry2 *cpuid_find(struct cpuid_table *t, u32 leaf, u32 index)
{
	u32 i;

	for (i = 0; i < t->head.nent; i++) {
		struct kvm_cpuid_entry2 *n = &t->entry[i];

		if (n->function != leaf)
			continue;
		if (!(n->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || n->index == index)
			return n;
	}
	return NULL;
}

static u32 bits_for(u32 count)
{
	u32 b = 0;

	while (1U << b < count)
		b++;
	return b;
}

static void drop_leaf(struct cpuid_table *t, u32 leaf)
{
	u32 i, kept = 0;

	for (i = 0; i < t->head.nent; i++)
		if (t->entry[i].function != leaf)
			t->entry[kept++] = t->entry[i];
	t->head.nent = kept;
}

static void add_level(struct cpuid_table *t, u32 index, u32 type, u32 shift, u32 count, u32 id)
{
	struct kvm_cpuid_entry2 *n;

	if (t->head.nent == CPUID_MAX)
		return;
	n = &t->entry[t->head.nent++];
	memset(n, 0, sizeof(*n));
	n->function = 0xb;
	n->index = index;
	n->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
	n->eax = shift;
	n->ebx = count;
	n->ecx = type << 8 | index;
	n->edx = id;
}

static void adjust_basic(struct cpuid_table *t, u32 id, u32 cpus, bool tsc_deadline)
{
	struct kvm_cpuid_entry2 *n = cpuid_find(t, 1, 0);

	if (!n)
		return;
	n->ebx = (n->ebx & 0x0000ffff) | id << 24 | (cpus & 0xff) << 16;
	n->ecx |= ECX1_HYPERVISOR;
	n->ecx &= ~(ECX1_VMX | ECX1_DEADLINE);
	if (tsc_deadline)
		n->ecx |= ECX1_DEADLINE;
	n->edx &= ~EDX1_HTT;
	if (cpus > 1)
		n->edx |= EDX1_HTT;
}

static void adjust_extended(struct cpuid_table *t, u32 cpus)
{
	struct kvm_cpuid_entry2 *n = cpuid_find(t, 0x80000001, 0);

	if (n) {
		n->ecx &= ~(ECX81_SVM | ECX81_TOPOEXT | ECX81_CMP_LEGACY);
		if (cpus > 1)
			n->ecx |= ECX81_CMP_LEGACY;
	}
	n = cpuid_find(t, 0x80000008, 0);
	if (n)
		n->ecx = (n->ecx & ~0xf0ffU) | (cpus - 1) | bits_for(cpus) << 12;
}

void cpuid_adjust(struct cpuid_table *t, u32 id, u32 cpus, bool tsc_deadline)
{
	struct kvm_cpuid_entry2 *n;
	u32 i;

	adjust_basic(t, id, cpus, tsc_deadline);
	adjust_extended(t, cpus);
	for (i = 0; i < t->head.nent; i++) {
		n = &t->entry[i];
		/* Intel's cache leaf: threads sharing the cache, cores in the package. */
		if (n->function == 4 && n->eax & 0x1f)
			n->eax = (n->eax & 0x3fff) | ((1U << bits_for(cpus)) - 1) << 26;
		if (n->function == 0xa)
			n->eax = n->ebx = n->ecx = n->edx = 0;
	}
	drop_leaf(t, 0x8000000a);
	drop_leaf(t, 0x8000001d);
	drop_leaf(t, 0x8000001e);
	drop_leaf(t, 0x1f);
	drop_leaf(t, 0xb);
	n = cpuid_find(t, 0, 0);
	if (n && n->eax >= 0xb) {
		add_level(t, 0, LEVEL_SMT, 0, 1, id);
		add_level(t, 1, LEVEL_CORE, bits_for(cpus), cpus, id);
	}
}
