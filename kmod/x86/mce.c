// SPDX-License-Identifier: GPL-2.0-only
/*
 * Machine check banks.  The host's own machine checks never show here by themselves: a poisoned page reaches the VMM as SIGBUS,
 * and the VMM decides what the guest is told.
 */
#include "x86/mce.h"

#include <linux/kvm.h>
#include <asm/mce.h>
#include <asm/msr-index.h>
#include <asm/processor.h>
#include <asm/processor-flags.h>
#include <asm/traps.h>

#include "x86/inject.h"
#include "x86/msr.h"
#include "x86/vcpu.h"

enum { BANK_CTL, BANK_STATUS, BANK_ADDR, BANK_MISC };

void mce_init(struct x86_vcpu *vcpu)
{
	vcpu->msrs->mce.cap = MCE_BANKS;
}

static unsigned int mce_nr_banks(const struct mce_state *m)
{
	return m->cap & 0xff;
}

int mce_get(struct x86_vcpu *vcpu, u32 msr, u64 *val, bool host)
{
	struct mce_state *m = &vcpu->msrs->mce;
	u32 off = msr - MSR_IA32_MC0_CTL;

	switch (msr) {
	case MSR_IA32_P5_MC_ADDR:
	case MSR_IA32_P5_MC_TYPE:
		*val = 0;
		return 0;
	case MSR_IA32_MCG_CAP:
		*val = m->cap;
		return 0;
	case MSR_IA32_MCG_STATUS:
		*val = m->status;
		return 0;
	case MSR_IA32_MCG_CTL:
		if (!(m->cap & MCG_CTL_P) && !host)
			return 1;
		*val = m->ctl;
		return 0;
	default:
		if (off / 4 >= mce_nr_banks(m))
			return 1;
		*val = m->bank[off / 4][off % 4];
		return 0;
	}
}

int mce_set(struct x86_vcpu *vcpu, u32 msr, u64 val, bool host)
{
	struct mce_state *m = &vcpu->msrs->mce;
	u32 off = msr - MSR_IA32_MC0_CTL;

	switch (msr) {
	case MSR_IA32_MCG_CAP:
		return 1;
	case MSR_IA32_MCG_STATUS:
		m->status = val;
		return 0;
	case MSR_IA32_MCG_CTL:
		if (!(m->cap & MCG_CTL_P) && (val || !host))
			return 1;
		if (val != 0 && val != ~0ull)
			return 1;
		m->ctl = val;
		return 0;
	}
	if (off / 4 >= mce_nr_banks(m))
		return 1;
	/* Linux clears bit 10 of bank 4 on old K8s, and bit 0 on some processors: besides these all or nothing. */
	if (off % 4 == BANK_CTL && val && (val | (1 << 10) | 1) != ~0ull)
		return 1;
	/* A guest may only clear a status, unless HWCR.McStatusWrEn is set (APM 2 §9.3.2.1). */
	if (!host && off % 4 == BANK_STATUS && val && !(vcpu->msrs->hwcr & BIT(18)))
		return 1;
	m->bank[off / 4][off % 4] = val;
	return 0;
}

long mce_ioctl_supported(void *obj, void *arg)
{
	*(u64 *)arg = MCE_CAP_SUPPORTED;
	return 0;
}

long mce_ioctl_setup(void *obj, void *arg)
{
	struct mce_state *m = &to_x86(obj)->msrs->mce;
	u64 cap = *(u64 *)arg;
	unsigned int banks = cap & 0xff, i;

	if (!banks || banks > MCE_BANKS || (cap & ~(MCE_CAP_SUPPORTED | 0xff)))
		return -EINVAL;
	/* AMD's processors have the count and MCG_CTL_P, the rest is reserved (APM 2 §9.3.1.1). */
	m->cap = boot_cpu_data.x86_vendor == X86_VENDOR_INTEL ? cap : cap & 0x1ff;
	if (cap & MCG_CTL_P)
		m->ctl = ~0ull;
	for (i = 0; i < banks; i++)
		m->bank[i][BANK_CTL] = ~0ull;
	return 0;
}

long mce_ioctl_set(void *obj, void *arg)
{
	struct x86_vcpu *vcpu = to_x86(obj);
	struct mce_state *m = &vcpu->msrs->mce;
	const struct kvm_x86_mce *e = arg;
	u64 *bank;

	if (e->bank >= mce_nr_banks(m) || !(e->status & MCI_STATUS_VAL))
		return -EINVAL;
	bank = m->bank[e->bank];
	/* Reporting is switched off: as if nothing had happened. */
	if ((e->status & MCI_STATUS_UC) && (m->cap & MCG_CTL_P) && m->ctl != ~0ull)
		return 0;
	if ((e->status & MCI_STATUS_UC) && bank[BANK_CTL] != ~0ull)
		return 0;
	if (e->status & MCI_STATUS_UC) {
		/* A second one before the first is dealt with, or nobody to deal with it: the processor shuts down. */
		if ((m->status & MCG_STATUS_MCIP) || !(vcpu->cr4 & X86_CR4_MCE)) {
			lodge_request(&vcpu->core, LODGE_REQ_TRIPLE_FAULT);
			return 0;
		}
		m->status = e->mcg_status;
		bank[BANK_STATUS] = e->status | (bank[BANK_STATUS] & MCI_STATUS_VAL ? MCI_STATUS_OVER : 0);
		bank[BANK_ADDR] = e->addr;
		bank[BANK_MISC] = e->misc;
		inject_exception(vcpu, X86_TRAP_MC);
	} else if (!(bank[BANK_STATUS] & MCI_STATUS_VAL) || !(bank[BANK_STATUS] & MCI_STATUS_UC)) {
		bank[BANK_STATUS] = e->status | (bank[BANK_STATUS] & MCI_STATUS_VAL ? MCI_STATUS_OVER : 0);
		bank[BANK_ADDR] = e->addr;
		bank[BANK_MISC] = e->misc;
	} else {
		bank[BANK_STATUS] |= MCI_STATUS_OVER;
	}
	return 0;
}
