/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory type range registers (SDM 3A §12.11, APM 2 §7.7), kept for the guest to read back.
 *
 * With nested paging the guest's PAT and the host's own types decide how memory is cached; the MTRRs do not enter.
 */
#ifndef LODGE_X86_MTRR_H
#define LODGE_X86_MTRR_H

#include <linux/types.h>

struct x86_vcpu;

#define MTRR_VARIABLE	8
#define MTRR_FIXED	11

struct mtrr_state {
	u64 var[2 * MTRR_VARIABLE];	/* base, mask, base, mask ... */
	u64 fixed[MTRR_FIXED];
	u64 def_type;
};

/* 0, 1 = #GP (reserved bits, unknown types). */
int mtrr_get(struct x86_vcpu *vcpu, u32 msr, u64 *val, bool host);
int mtrr_set(struct x86_vcpu *vcpu, u32 msr, u64 val, bool host);

/* Are all eight types of @pat valid? */
bool mtrr_pat_valid(u64 pat);

#endif
