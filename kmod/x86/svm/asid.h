/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Address space identifiers: which tag a guest's translations have in a CPU's TLB (APM 2 §15.15, §15.16).
 *
 * Each CPU hands out 1, 2, ... (0 is the host's) to the vCPUs that it runs.  When they are used up it begins a new generation: the
 * next guest flushes the whole TLB, and identifiers of earlier generations are void.  An identifier is good on one CPU only.
 * A vCPU that must forget its translations where one identifier cannot be flushed takes a new one.
 *
 * Pure, so that user space can run it beside a model of the TLB.  Callers have interrupts off on the CPU of @c.
 */
#ifndef LODGE_SVM_ASID_H
#define LODGE_SVM_ASID_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdbool.h>
#include <stdint.h>
typedef uint32_t u32;
typedef uint64_t u64;
#endif

enum { ASID_FLUSH_NOTHING = 0, ASID_FLUSH_ALL = 1, ASID_FLUSH_ONE = 3 };	/* as TLB_CONTROL of the VMCB has them */

struct asid_cpu {
	u64 generation;
	u32 next;
	u32 end;			/* CPUID 8000000A EBX: identifiers are below */
};

struct asid_vcpu {
	u64 generation;			/* 0: none; valid on @cpu only */
	int cpu;
	u32 asid;
	bool flush;			/* drop this guest's translations at the next entry */
};

/* Identifiers from before are void: the CPU's first guest begins a generation, with a flush. */
static inline void asid_cpu_init(struct asid_cpu *c, u32 end)
{
	c->generation++;
	c->next = c->end = end;
}

/* @v is about to enter on CPU @cpu, that of @c.  Leaves its identifier in @v->asid; what has to be flushed. */
static inline __attribute__((always_inline)) u32 asid_prepare(struct asid_vcpu *v, struct asid_cpu *c, int cpu, bool flush_by_asid)
{
	bool flush = v->flush;
	u32 what = ASID_FLUSH_NOTHING;

	v->flush = false;
	if (__builtin_expect(v->generation == c->generation && v->cpu == cpu, 1)) {
		if (__builtin_expect(!flush, 1))
			return what;
		if (flush_by_asid)
			return ASID_FLUSH_ONE;
	}
	if (c->next >= c->end) {
		c->generation++;
		c->next = 1;
		what = ASID_FLUSH_ALL;
	}
	v->asid = c->next++;
	v->generation = c->generation;
	v->cpu = cpu;
	return what;
}

#endif
