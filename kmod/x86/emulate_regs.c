// SPDX-License-Identifier: GPL-2.0-only
/*
 * The emulator's registers on a vCPU: segments, tables, control and debug registers, MSRs, FPU.
 */
#include <asm/msr-index.h>

#include "x86/cpuid.h"
#include "x86/emulate_glue.h"
#include "x86/fpu.h"
#include "x86/msr.h"
#include "x86/regs.h"
#include "x86/run.h"

static struct x86_vcpu *ctxt_vcpu(struct emul_ctxt *c)
{
	return c->opaque;
}

/* The emulator's segment numbers are those of instructions; its TR comes before LDTR. */
static int ctxt_seg(enum emul_sreg nr)
{
	return nr == EMUL_TR ? SEG_TR : nr == EMUL_LDTR ? SEG_LDTR : (int)nr;
}

static void emulate_get_seg(struct emul_ctxt *c, enum emul_sreg nr, struct emul_seg *seg)
{
	struct kvm_segment s;

	x86_ops->get_segment(ctxt_vcpu(c), ctxt_seg(nr), &s);
	seg->selector = s.selector;
	seg->base = s.base;
	seg->limit = s.limit;
	seg->attr = (s.type & 15) | (s.s & 1) << 4 | (s.dpl & 3) << 5 | (s.present && !s.unusable) << 7 | (s.avl & 1) << 8 |
		    (s.l & 1) << 9 | (s.db & 1) << 10 | (s.g & 1) << 11;
}

static void emulate_set_seg(struct emul_ctxt *c, enum emul_sreg nr, const struct emul_seg *seg)
{
	struct kvm_segment s = {
		.base = seg->base,
		.limit = seg->limit,
		.selector = seg->selector,
		.type = seg->attr & 15,
		.s = seg->attr >> 4 & 1,
		.dpl = seg->attr >> 5 & 3,
		.present = seg->attr >> 7 & 1,
		.avl = seg->attr >> 8 & 1,
		.l = seg->attr >> 9 & 1,
		.db = seg->attr >> 10 & 1,
		.g = seg->attr >> 11 & 1,
		.unusable = !(seg->attr & EMUL_SEG_P),
	};

	x86_ops->set_segment(ctxt_vcpu(c), ctxt_seg(nr), &s);
}

static void get_dt(struct emul_ctxt *c, bool idt, struct emul_dt *dt)
{
	struct kvm_dtable t;

	x86_ops->get_table(ctxt_vcpu(c), idt, &t);
	dt->base = t.base;
	dt->limit = t.limit;
}

static void set_dt(struct emul_ctxt *c, bool idt, const struct emul_dt *dt)
{
	struct kvm_dtable t = { .base = dt->base, .limit = dt->limit };

	x86_ops->set_table(ctxt_vcpu(c), idt, &t);
}

static void emulate_get_gdt(struct emul_ctxt *c, struct emul_dt *dt)
{
	get_dt(c, false, dt);
}

static void emulate_get_idt(struct emul_ctxt *c, struct emul_dt *dt)
{
	get_dt(c, true, dt);
}

static void emulate_set_gdt(struct emul_ctxt *c, const struct emul_dt *dt)
{
	set_dt(c, false, dt);
}

static void emulate_set_idt(struct emul_ctxt *c, const struct emul_dt *dt)
{
	set_dt(c, true, dt);
}

static u64 emulate_get_cr(struct emul_ctxt *c, unsigned int nr)
{
	struct x86_vcpu *vcpu = ctxt_vcpu(c);

	switch (nr) {
	case 0:
		return vcpu->cr0;
	case 2:
		return vcpu->cr2;
	case 3:
		return vcpu->cr3;
	case 4:
		return vcpu->cr4;
	case 8:
		return vcpu_get_cr8(vcpu);
	case EMUL_EFER:
		return vcpu->efer;
	case EMUL_XCR0:
		return vcpu->xcr0;
	default:
		return 0;
	}
}

static int ctxt_gp(struct emul_ctxt *c, int r)
{
	return r ? emul_fault_error(c, EMUL_EXC_GP, 0) : EMUL_OK;
}

static int emulate_set_cr(struct emul_ctxt *c, unsigned int nr, u64 value)
{
	struct x86_vcpu *vcpu = ctxt_vcpu(c);

	switch (nr) {
	case 0:
		return ctxt_gp(c, vcpu_set_cr0(vcpu, value));
	case 2:
		vcpu->cr2 = value;
		vcpu->dirty |= VCPU_DIRTY_CR2;
		return EMUL_OK;
	case 3:
		return ctxt_gp(c, vcpu_set_cr3(vcpu, value));
	case 4:
		return ctxt_gp(c, vcpu_set_cr4(vcpu, value));
	case 8:
		return ctxt_gp(c, vcpu_set_cr8(vcpu, value));
	default:
		return EMUL_UNHANDLED;
	}
}

static u64 emulate_get_dr(struct emul_ctxt *c, unsigned int nr)
{
	u64 val = 0;

	vcpu_get_dr(ctxt_vcpu(c), nr, &val);
	return val;
}

static int emulate_set_dr(struct emul_ctxt *c, unsigned int nr, u64 value)
{
	int r = vcpu_set_dr(ctxt_vcpu(c), nr, value);

	return r == 2 ? emul_fault(c, EMUL_EXC_UD) : ctxt_gp(c, r);
}

static int emulate_get_msr(struct emul_ctxt *c, u32 index, u64 *value)
{
	return ctxt_gp(c, msr_read(ctxt_vcpu(c), index, value, false));
}

static int emulate_set_msr(struct emul_ctxt *c, u32 index, u64 value)
{
	return ctxt_gp(c, msr_write(ctxt_vcpu(c), index, value, false));
}

static int emulate_set_xcr0(struct emul_ctxt *c, u64 value)
{
	return ctxt_gp(c, vcpu_set_xcr0(ctxt_vcpu(c), value));
}

static bool emulate_has(struct emul_ctxt *c, enum emul_feature feature)
{
	static const struct { u8 word, bit; } at[EMUL_NR_FEAT] = {
		[EMUL_FEAT_CX8]		= { CPUW_1_EDX, 8 },
		[EMUL_FEAT_CX16]	= { CPUW_1_ECX, 13 },
		[EMUL_FEAT_CMOV]	= { CPUW_1_EDX, 15 },
		[EMUL_FEAT_MMX]		= { CPUW_1_EDX, 23 },
		[EMUL_FEAT_SSE]		= { CPUW_1_EDX, 25 },
		[EMUL_FEAT_SSE2]	= { CPUW_1_EDX, 26 },
		[EMUL_FEAT_SSE3]	= { CPUW_1_ECX, 0 },
		[EMUL_FEAT_SSE41]	= { CPUW_1_ECX, 19 },
		[EMUL_FEAT_SSE42]	= { CPUW_1_ECX, 20 },
		[EMUL_FEAT_MOVBE]	= { CPUW_1_ECX, 22 },
		[EMUL_FEAT_POPCNT]	= { CPUW_1_ECX, 23 },
		[EMUL_FEAT_LZCNT]	= { CPUW_80000001_ECX, 5 },
		[EMUL_FEAT_BMI1]	= { CPUW_7_EBX, 3 },
		[EMUL_FEAT_AVX]		= { CPUW_1_ECX, 28 },
		[EMUL_FEAT_AVX2]	= { CPUW_7_EBX, 5 },
		[EMUL_FEAT_CLFLUSH]	= { CPUW_1_EDX, 19 },
		[EMUL_FEAT_CLFLUSHOPT]	= { CPUW_7_EBX, 23 },
		[EMUL_FEAT_CLWB]	= { CPUW_7_EBX, 24 },
		[EMUL_FEAT_RDTSCP]	= { CPUW_80000001_EDX, 27 },
		[EMUL_FEAT_SMAP]	= { CPUW_7_EBX, 20 },
	};
	struct x86_vcpu *vcpu = ctxt_vcpu(c);

	/* A VMM that gives no CPUID at all takes the CPU as it is. */
	return !cpuid_given(vcpu) || cpuid_has(vcpu, at[feature].word, at[feature].bit);
}

static void emulate_cpuid(struct emul_ctxt *c, u32 regs[4])
{
	cpuid_query(ctxt_vcpu(c), &regs[0], &regs[1], &regs[2], &regs[3]);
}

static int emulate_hlt(struct emul_ctxt *c)
{
	/* The exit handler halts; reached only for an HLT with unusual prefixes. */
	run_halt(ctxt_vcpu(c));
	return EMUL_OK;
}

static int emulate_invlpg(struct emul_ctxt *c, u64 linear)
{
	x86_ops->flush_gva(ctxt_vcpu(c), linear);
	return EMUL_OK;
}

static void emulate_get_vec(struct emul_ctxt *c, unsigned int nr, struct emul_vec *vec)
{
	fpu_get_vec(nr & 15, vec->q);
}

static void emulate_set_vec(struct emul_ctxt *c, unsigned int nr, const struct emul_vec *vec, unsigned int n)
{
	fpu_set_vec(nr & 15, vec->q, n);
}

static void emulate_get_mmx(struct emul_ctxt *c, unsigned int nr, u64 *value)
{
	fpu_get_mmx(nr, value);
}

static void emulate_set_mmx(struct emul_ctxt *c, unsigned int nr, u64 value)
{
	fpu_set_mmx(nr, value);
}

static int emulate_fpu(struct emul_ctxt *c, enum emul_fpu what, u16 *word)
{
	switch (what) {
	case EMUL_FPU_GET_CW:
		fpu_get_cw(word);
		break;
	case EMUL_FPU_GET_SW:
		fpu_get_sw(word);
		break;
	case EMUL_FPU_SET_CW:
		fpu_set_cw(*word);
		break;
	case EMUL_FPU_INIT:
		fpu_reinit();
		break;
	case EMUL_FPU_CLEAR_EXC:
		fpu_clear_exceptions();
		break;
	default:
		return EMUL_UNHANDLED;
	}
	return EMUL_OK;
}

const struct emul_ops emulate_ops = {
	.fetch		= emulate_fetch,
	.read		= emulate_read,
	.write		= emulate_write,
	.cmpxchg	= emulate_cmpxchg,
	.probe		= emulate_probe,
	.commit		= emulate_commit,
	.pio_in		= emulate_pio_in,
	.pio_out	= emulate_pio_out,
	.get_seg	= emulate_get_seg,
	.set_seg	= emulate_set_seg,
	.get_gdt	= emulate_get_gdt,
	.get_idt	= emulate_get_idt,
	.set_gdt	= emulate_set_gdt,
	.set_idt	= emulate_set_idt,
	.get_cr		= emulate_get_cr,
	.set_cr		= emulate_set_cr,
	.get_dr		= emulate_get_dr,
	.set_dr		= emulate_set_dr,
	.get_msr	= emulate_get_msr,
	.set_msr	= emulate_set_msr,
	.set_xcr0	= emulate_set_xcr0,
	.has		= emulate_has,
	.cpuid		= emulate_cpuid,
	.hlt		= emulate_hlt,
	.invlpg		= emulate_invlpg,
	.get_vec	= emulate_get_vec,
	.set_vec	= emulate_set_vec,
	.get_mmx	= emulate_get_mmx,
	.set_mmx	= emulate_set_mmx,
	.fpu		= emulate_fpu,
};
