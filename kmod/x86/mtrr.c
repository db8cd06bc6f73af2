// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory type range registers and the types that they and the PAT may hold.
 */
#include "x86/mtrr.h"

#include <linux/bits.h>
#include <asm/msr-index.h>
#include <asm/mtrr.h>

#include "x86/cpuid.h"
#include "x86/msr.h"
#include "x86/vcpu.h"

static bool mtrr_type_valid(u8 type)
{
	return type < 7 && type != 2 && type != 3;	/* UC WC - - WT WP WB */
}

bool mtrr_pat_valid(u64 pat)
{
	int i;

	for (i = 0; i < 8; i++, pat >>= 8)
		if ((pat & 0xff) != 7 && !mtrr_type_valid(pat & 0xff))	/* 7 is UC- */
			return false;
	return true;
}

static u64 *mtrr_fixed(struct mtrr_state *m, u32 msr)
{
	switch (msr) {
	case MSR_MTRRfix64K_00000:
		return &m->fixed[0];
	case MSR_MTRRfix16K_80000:
	case MSR_MTRRfix16K_A0000:
		return &m->fixed[1 + msr - MSR_MTRRfix16K_80000];
	default:
		return &m->fixed[3 + msr - MSR_MTRRfix4K_C0000];
	}
}

int mtrr_get(struct x86_vcpu *vcpu, u32 msr, u64 *val, bool host)
{
	struct mtrr_state *m = &vcpu->msrs->mtrr;

	if (msr == MSR_MTRRcap)
		*val = MTRR_VARIABLE | BIT(8) | BIT(10);	/* fixed ranges, write-combining */
	else if (msr == MSR_MTRRdefType)
		*val = m->def_type;
	else if (msr >= MTRRphysBase_MSR(0) && msr < MTRRphysBase_MSR(MTRR_VARIABLE))
		*val = m->var[msr - MTRRphysBase_MSR(0)];
	else
		*val = *mtrr_fixed(m, msr);
	return 0;
}

int mtrr_set(struct x86_vcpu *vcpu, u32 msr, u64 val, bool host)
{
	struct mtrr_state *m = &vcpu->msrs->mtrr;
	u64 address = GENMASK_ULL(cpuid_maxphyaddr(vcpu) - 1, PAGE_SHIFT);
	int i;

	if (msr == MSR_MTRRdefType) {
		if ((val & ~0xcffull) || !mtrr_type_valid(val & 0xff))
			return 1;
		m->def_type = val;
	} else if (msr >= MTRRphysBase_MSR(0) && msr < MTRRphysBase_MSR(MTRR_VARIABLE)) {
		bool mask = msr & 1;

		/* User space may set them before it has said how wide addresses are. */
		if (host)
			address = GENMASK_ULL(51, PAGE_SHIFT);
		if (mask ? val & ~(address | BIT(11)) : (val & ~(address | 0xff)) || !mtrr_type_valid(val & 0xff))
			return 1;
		m->var[msr - MTRRphysBase_MSR(0)] = val;
	} else {
		for (i = 0; i < 8; i++)
			if (!mtrr_type_valid(val >> (8 * i)))
				return 1;
		*mtrr_fixed(m, msr) = val;
	}
	return 0;
}
