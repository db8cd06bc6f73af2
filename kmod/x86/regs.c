// SPDX-License-Identifier: GPL-2.0-only
/*
 * Control registers as MOV to CRn, XSETBV and WRMSR(EFER) check them, and KVM_GET/SET_REGS.
 */
#include <linux/kvm.h>
#include <asm/msr-index.h>
#include <asm/processor-flags.h>

#include "x86/cpuid.h"
#include "x86/emulate.h"
#include "x86/regs.h"
#include "x86/vcpu.h"

#define CR0_DEFINED	(X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | \
			 X86_CR0_AM | X86_CR0_NW | X86_CR0_CD | X86_CR0_PG)
#define CR4_RUNTIME	(X86_CR4_OSXSAVE | X86_CR4_PKE)	/* CPUID reports them */

static bool cs_is_long(struct x86_vcpu *vcpu)
{
	bool l, db;

	x86_ops->get_cs(vcpu, &l, &db);
	return l;
}

bool regs_cr0_valid(u64 cr0)
{
	return !(cr0 >> 32) && !((cr0 & X86_CR0_NW) && !(cr0 & X86_CR0_CD)) && !((cr0 & X86_CR0_PG) && !(cr0 & X86_CR0_PE));
}

int regs_read_pdptes(struct x86_vcpu *vcpu, u64 cr3)
{
	const u64 reserved = GENMASK_ULL(2, 1) | GENMASK_ULL(8, 5);
	u64 pdpte[4];
	int i;

	if (!x86_ops->has_feature(HW_PDPTES))
		return 0;
	if (lodge_guest_read(vcpu->core.vm, cr3 & 0xffffffe0, pdpte, sizeof(pdpte)))
		return 1;
	for (i = 0; i < 4; i++)
		if ((pdpte[i] & 1) && ((pdpte[i] & reserved) || pdpte[i] >> cpuid_maxphyaddr(vcpu)))
			return 1;
	memcpy(vcpu->pdpte, pdpte, sizeof(pdpte));
	vcpu->dirty |= VCPU_DIRTY_PDPTES;
	return 0;
}

static bool regs_pae(const struct x86_vcpu *vcpu, u64 cr0, u64 cr4)
{
	return (cr0 & X86_CR0_PG) && (cr4 & X86_CR4_PAE) && !vcpu_long_mode(vcpu);
}

int vcpu_set_cr0(struct x86_vcpu *vcpu, u64 val)
{
	bool pg = val & X86_CR0_PG, was_pg = vcpu->cr0 & X86_CR0_PG;
	const u64 reload = X86_CR0_PG | X86_CR0_CD | X86_CR0_NW;

	if (!regs_cr0_valid(val))
		return 1;
	if (pg && !was_pg && (vcpu->efer & EFER_LME)) {
		if (!(vcpu->cr4 & X86_CR4_PAE) || cs_is_long(vcpu))
			return 1;
		vcpu->efer |= EFER_LMA;
	} else if (!pg && was_pg) {
		if ((vcpu->cr4 & X86_CR4_PCIDE) || (vcpu_long_mode(vcpu) && cs_is_long(vcpu)))
			return 1;
		vcpu->efer &= ~(u64)EFER_LMA;
	}
	if (((val ^ vcpu->cr0) & reload) && regs_pae(vcpu, val, vcpu->cr4) && regs_read_pdptes(vcpu, vcpu->cr3))
		return 1;
	vcpu->cr0 = (val & CR0_DEFINED) | X86_CR0_ET;
	vcpu->dirty |= VCPU_DIRTY_CR0 | VCPU_DIRTY_EFER;
	return 0;
}

int vcpu_set_cr3(struct x86_vcpu *vcpu, u64 val)
{
	if (vcpu->cr4 & X86_CR4_PCIDE)
		val &= ~CR3_NOFLUSH;
	if (vcpu_long_mode(vcpu) && val >> cpuid_maxphyaddr(vcpu))
		return 1;
	if (regs_pae(vcpu, vcpu->cr0, vcpu->cr4) && regs_read_pdptes(vcpu, val))
		return 1;
	vcpu->cr3 = val;
	vcpu->dirty |= VCPU_DIRTY_CR3;
	return 0;
}

bool regs_cr4_valid(struct x86_vcpu *vcpu, u64 cr4)
{
	return !(cr4 & ~vcpu->cr4_guest_bits);
}

int vcpu_set_cr4(struct x86_vcpu *vcpu, u64 val)
{
	const u64 reload = X86_CR4_PAE | X86_CR4_PSE | X86_CR4_PGE | X86_CR4_SMEP;
	u64 changed = val ^ vcpu->cr4;

	if (!regs_cr4_valid(vcpu, val))
		return 1;
	if (vcpu_long_mode(vcpu) && (!(val & X86_CR4_PAE) || (changed & X86_CR4_LA57)))
		return 1;
	if ((changed & val & X86_CR4_PCIDE) && (!vcpu_long_mode(vcpu) || (vcpu->cr3 & 0xfff)))
		return 1;
	if ((changed & reload) && regs_pae(vcpu, vcpu->cr0, val) && regs_read_pdptes(vcpu, vcpu->cr3))
		return 1;
	vcpu->cr4 = val;
	vcpu->dirty |= VCPU_DIRTY_CR4;
	if (changed & CR4_RUNTIME)
		cpuid_update_runtime(vcpu);
	return 0;
}

int vcpu_set_cr8(struct x86_vcpu *vcpu, u64 val)
{
	if (val > 15)
		return 1;
	vcpu->cr8 = val;
	if (vcpu->lapic)
		lapic_set_tpr(vcpu->lapic, val << 4);
	return 0;
}

u64 vcpu_get_cr8(struct x86_vcpu *vcpu)
{
	return vcpu->lapic ? lapic_get_tpr(vcpu->lapic) >> 4 : vcpu->cr8;
}

/* EFER bits that this guest's CPUID names.  SVME is not among them: it has no SVM. */
static u64 efer_allowed(struct x86_vcpu *vcpu, bool host)
{
	u64 bits = 0;

	if (host || cpuid_has(vcpu, CPUW_80000001_EDX, 11))
		bits |= EFER_SCE;
	if (host || cpuid_has(vcpu, CPUW_80000001_EDX, 20))
		bits |= EFER_NX;
	if (host || cpuid_has(vcpu, CPUW_80000001_EDX, 29))
		bits |= EFER_LME | EFER_LMA;
	if (boot_cpu_has(X86_FEATURE_FXSR_OPT) && (host || cpuid_has(vcpu, CPUW_80000001_EDX, 25)))
		bits |= EFER_FFXSR;
	return bits;
}

int vcpu_set_efer(struct x86_vcpu *vcpu, u64 val, bool host)
{
	if (val & ~efer_allowed(vcpu, host))
		return 1;
	if (!host) {
		if (((val ^ vcpu->efer) & EFER_LME) && (vcpu->cr0 & X86_CR0_PG))
			return 1;
		val = (val & ~(u64)EFER_LMA) | (vcpu->efer & EFER_LMA);
	}
	vcpu->efer = val;
	vcpu->dirty |= VCPU_DIRTY_EFER;
	return 0;
}

/* SDM 1 §13.3 */
int vcpu_set_xcr0(struct x86_vcpu *vcpu, u64 val)
{
	const u64 avx512 = XFEATURE_MASK_OPMASK | XFEATURE_MASK_ZMM_Hi256 | XFEATURE_MASK_Hi16_ZMM;
	const u64 bnd = XFEATURE_MASK_BNDREGS | XFEATURE_MASK_BNDCSR;

	if (!(val & XFEATURE_MASK_FP) || ((val & XFEATURE_MASK_YMM) && !(val & XFEATURE_MASK_SSE)))
		return 1;
	if (val & ~(vcpu->guest_xcr0_mask | XFEATURE_MASK_FP))
		return 1;
	if ((val & bnd) && (val & bnd) != bnd)
		return 1;
	if ((val & avx512) && ((val & avx512) != avx512 || !(val & XFEATURE_MASK_YMM)))
		return 1;
	vcpu->xcr0 = val;
	cpuid_update_runtime(vcpu);
	return 0;
}

/* ---- ioctls ---- */

long regs_ioctl_get(void *obj, void *arg)
{
	struct x86_vcpu *vcpu = to_x86(obj);
	const u64 *r = vcpu->regs;

	*(struct kvm_regs *)arg = (struct kvm_regs){
		.rax = r[REG_RAX], .rbx = r[REG_RBX], .rcx = r[REG_RCX], .rdx = r[REG_RDX],
		.rsi = r[REG_RSI], .rdi = r[REG_RDI], .rsp = r[REG_RSP], .rbp = r[REG_RBP],
		.r8 = r[8], .r9 = r[9], .r10 = r[10], .r11 = r[11], .r12 = r[12], .r13 = r[13], .r14 = r[14], .r15 = r[15],
		.rip = vcpu->rip, .rflags = vcpu->rflags & ~vcpu_debug_flags(vcpu),
	};
	return 0;
}

long regs_ioctl_set(void *obj, void *arg)
{
	struct x86_vcpu *vcpu = to_x86(obj);
	const struct kvm_regs *k = arg;
	u64 *r = vcpu->regs;

	r[REG_RAX] = k->rax;
	r[REG_RBX] = k->rbx;
	r[REG_RCX] = k->rcx;
	r[REG_RDX] = k->rdx;
	r[REG_RSI] = k->rsi;
	r[REG_RDI] = k->rdi;
	r[REG_RSP] = k->rsp;
	r[REG_RBP] = k->rbp;
	r[8] = k->r8;
	r[9] = k->r9;
	r[10] = k->r10;
	r[11] = k->r11;
	r[12] = k->r12;
	r[13] = k->r13;
	r[14] = k->r14;
	r[15] = k->r15;
	vcpu->rip = k->rip;
	vcpu->rflags = k->rflags | X86_EFLAGS_FIXED | vcpu_debug_flags(vcpu);
	vcpu->exception.pending = false;
	lodge_request(&vcpu->core, LODGE_REQ_EVENT);
	return 0;
}
