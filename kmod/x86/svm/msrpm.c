// SPDX-License-Identifier: GPL-2.0-only
/*
 * The MSR permission map of a vCPU: two bits (read, write) per MSR, set means exit; APM 2 §15.11.
 *
 * Three ranges of 2,000h MSRs lie one after the other, 800h bytes each; any other MSR always exits.
 */
#include <linux/gfp.h>
#include <linux/string.h>
#include <asm/msr-index.h>

#include "x86/msr.h"
#include "x86/svm/svm.h"

#define MSRPM_ORDER	1

static const u32 msrpm_base[] = { 0, 0xc0000000, 0xc0010000 };

/* Bit number of @msr's read bit, or -1. */
static int msrpm_bit(u32 msr)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(msrpm_base); i++)
		if (msr - msrpm_base[i] < 0x2000)
			return i * 0x800 * 8 + (msr - msrpm_base[i]) * 2;
	return -1;
}

void msrpm_pass(u8 *map, u32 msr, bool read, bool write)
{
	int bit = msrpm_bit(msr);

	if (bit < 0)
		return;
	map[bit / 8] &= ~(3 << (bit % 8));
	map[bit / 8] |= ((read ? 0 : 1) | (write ? 0 : 2)) << (bit % 8);
}

void svm_pass_msr(struct x86_vcpu *vcpu, u32 msr, bool read, bool write)
{
	msrpm_pass(to_svm(vcpu)->msrpm, msr, read, write);
}

/* What VMRUN, VMLOAD and VMSAVE switch anyway and has no bit that the host must judge; unless a filter wants to see it. */
static const u32 msrpm_free[] = {
	MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SYSCALL_MASK, MSR_FS_BASE, MSR_GS_BASE, MSR_KERNEL_GS_BASE,
	MSR_IA32_SYSENTER_CS, MSR_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_EIP,
};

void msrpm_update(struct svm_vcpu *svm)
{
	struct x86_vm *vm = x86_vcpu_vm(&svm->x86);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(msrpm_free); i++)
		msrpm_pass(svm->msrpm, msrpm_free[i], msr_filter_allows(vm, msrpm_free[i], false),
			   msr_filter_allows(vm, msrpm_free[i], true));
}

int msrpm_create(struct svm_vcpu *svm)
{
	svm->msrpm = (u8 *)__get_free_pages(GFP_KERNEL_ACCOUNT, MSRPM_ORDER);
	if (!svm->msrpm)
		return -ENOMEM;
	memset(svm->msrpm, 0xff, PAGE_SIZE << MSRPM_ORDER);
	return 0;
}

void msrpm_destroy(struct svm_vcpu *svm)
{
	if (svm->msrpm)
		free_pages((unsigned long)svm->msrpm, MSRPM_ORDER);
	svm->msrpm = NULL;
}
