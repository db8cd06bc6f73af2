/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the emulator's own files share: the opcode table's format, operand access, stack, descriptors, and the handlers' names.
 *
 * A handler executes one instruction or family.  It gets a decoded ctxt whose common checks (mode, privilege, LOCK) are done.
 * It reads all operands, computes, writes memory, and only then registers and flags: a write may answer EMUL_IO_NEEDED or EMUL_FAULT.
 */
#ifndef LODGE_EMUL_INSN_H
#define LODGE_EMUL_INSN_H

#include "emul.h"

#define FL_CF		(1ull << 0)
#define FL_FIXED	(1ull << 1)
#define FL_PF		(1ull << 2)
#define FL_AF		(1ull << 4)
#define FL_ZF		(1ull << 6)
#define FL_SF		(1ull << 7)
#define FL_TF		(1ull << 8)
#define FL_IF		(1ull << 9)
#define FL_DF		(1ull << 10)
#define FL_OF		(1ull << 11)
#define FL_IOPL		(3ull << 12)
#define FL_NT		(1ull << 14)
#define FL_RF		(1ull << 16)
#define FL_VM		(1ull << 17)
#define FL_AC		(1ull << 18)
#define FL_VIF		(1ull << 19)
#define FL_VIP		(1ull << 20)
#define FL_ID		(1ull << 21)
#define FL_ARITH	(FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF | FL_OF)

#define CR0_PE		(1ull << 0)
#define CR0_MP		(1ull << 1)
#define CR0_EM		(1ull << 2)
#define CR0_TS		(1ull << 3)
#define CR0_AM		(1ull << 18)
#define CR4_VME		(1ull << 0)
#define CR4_PVI		(1ull << 1)
#define CR4_TSD		(1ull << 2)
#define CR4_DE		(1ull << 3)
#define CR4_PCE		(1ull << 8)
#define CR4_OSFXSR	(1ull << 9)
#define CR4_UMIP	(1ull << 11)
#define CR4_LA57	(1ull << 12)
#define CR4_FSGSBASE	(1ull << 16)
#define CR4_OSXSAVE	(1ull << 18)
#define CR4_SMAP	(1ull << 21)
#define EFER_LMA	(1ull << 10)
#define DR7_GD		(1ull << 13)

/* Opcode table flags. */
#define OP_MODRM	(1u << 0)
#define OP_BYTE		(1u << 1)	/* byte operands if the opcode is even */
#define OP_D64		(1u << 2)	/* 64-bit operands by default in 64-bit mode */
#define OP_F64		(1u << 3)	/* always 64-bit operands in 64-bit mode */
#define OP_INV64	(1u << 4)	/* #UD in 64-bit mode */
#define OP_ONLY64	(1u << 5)
#define OP_PM		(1u << 6)	/* #UD in real and virtual-8086 mode */
#define OP_PRIV		(1u << 7)	/* #GP(0) unless CPL is 0 */
#define OP_LOCK		(1u << 8)	/* LOCK is allowed with a memory operand */
#define OP_UD		(1u << 9)
#define OP_GROUP	(1u << 10)	/* sub[8]: ModRM.reg */
#define OP_GROUPM	(1u << 11)	/* sub[16]: ModRM.reg, 8 more for register forms */
#define OP_GROUPRM	(1u << 12)	/* sub[8]: ModRM.rm */
#define OP_PREFIX	(1u << 13)	/* sub[4]: no prefix, 66, F3, F2 */
#define OP_MEM		(1u << 14)	/* #UD with a register operand */
#define OP_REG		(1u << 15)	/* #UD with a memory operand */
#define OP_NOMOD	(1u << 16)	/* ModRM.mod is ignored: always a register */
#define OP_VEX		(1u << 17)	/* has a VEX form */
#define OP_LOCK_CR8	(1u << 18)	/* LOCK is allowed: AMD's alternate encoding of CR8 */
#define OP_AVX		(1u << 19)	/* VEX.vvvv must be all ones */
#define OP_AVX2		(1u << 20)	/* the 256-bit VEX form needs AVX2 */

#define OP_IMM_SHIFT	24
#define OP_IMM_MASK	(15u << OP_IMM_SHIFT)
#define OP_IMM8		(1u << OP_IMM_SHIFT)	/* zero-extended byte */
#define OP_IMM8S	(2u << OP_IMM_SHIFT)	/* sign-extended byte */
#define OP_IMM16	(3u << OP_IMM_SHIFT)
#define OP_IMMZ		(4u << OP_IMM_SHIFT)	/* byte if OP_BYTE says so, else word or doubleword, sign-extended */
#define OP_IMMV		(5u << OP_IMM_SHIFT)	/* up to 8 bytes */
#define OP_IMMENTER	(6u << OP_IMM_SHIFT)	/* word and byte */
#define OP_IMMFAR	(7u << OP_IMM_SHIFT)	/* offset and selector */
#define OP_IMMOFFS	(8u << OP_IMM_SHIFT)	/* address of address size: a memory operand */
#define OP_IMMSSE4A	(9u << OP_IMM_SHIFT)	/* two bytes: EXTRQ, INSERTQ */

struct emul_op {
	u32 flags;
	int (*exec)(struct emul_ctxt *ctxt);	/* NULL: a real instruction, not covered */
	const struct emul_op *sub;
	u8 feature;		/* enum emul_feature that the legacy encoding needs; VEX needs AVX whatever it says */
};

extern const struct emul_op emul_optab_1byte[256];
extern const struct emul_op emul_optab_0f[256];
const struct emul_op *emul_optab_0f38(u8 opcode);
const struct emul_op *emul_optab_0f3a(u8 opcode);

static inline u64 emul_mask(unsigned int bytes)
{
	return bytes >= 8 ? ~0ull : (1ull << (bytes * 8)) - 1;
}

static inline u64 emul_sext(u64 value, unsigned int bytes)
{
	unsigned int shift = 64 - bytes * 8;

	return (u64)((s64)(value << shift) >> shift);
}

/* Of the low byte. The compiler's own popcount would be a library call in the kernel. */
static inline bool emul_even_parity(u64 value)
{
	return !(0x6996 >> ((value ^ value >> 4) & 15) & 1);
}

static inline bool emul_protected(const struct emul_ctxt *ctxt)
{
	return ctxt->mode >= EMUL_PROT16;
}

static inline unsigned int emul_iopl(const struct emul_ctxt *ctxt)
{
	return (ctxt->rflags & FL_IOPL) >> 12;
}

static inline bool emul_lma(struct emul_ctxt *ctxt)
{
	return ctxt->mode == EMUL_LONG64 || ctxt->ops->get_cr(ctxt, EMUL_EFER) & EFER_LMA;
}

static inline bool emul_has(struct emul_ctxt *ctxt, enum emul_feature feature)
{
	return !ctxt->ops->has || ctxt->ops->has(ctxt, feature);
}

static inline int emul_gp0(struct emul_ctxt *ctxt)
{
	return emul_fault_error(ctxt, EMUL_EXC_GP, 0);
}

static inline int emul_ud(struct emul_ctxt *ctxt)
{
	return emul_fault(ctxt, EMUL_EXC_UD);
}

/* operand.c: registers, memory, r/m operands */
u64 emul_reg_read(const struct emul_ctxt *ctxt, unsigned int nr, unsigned int n);
void emul_reg_write(struct emul_ctxt *ctxt, unsigned int nr, unsigned int n, u64 value);
bool emul_canonical(struct emul_ctxt *ctxt, u64 address);
int emul_linear_in(struct emul_ctxt *ctxt, unsigned int nr, const struct emul_seg *seg, u64 offset, unsigned int n,
		   unsigned int flags, u64 *linear);
int emul_linear(struct emul_ctxt *ctxt, unsigned int nr, u64 offset, unsigned int n, unsigned int flags, u64 *linear);
int emul_mem_read(struct emul_ctxt *ctxt, unsigned int nr, u64 offset, void *buf, unsigned int n, unsigned int flags);
int emul_mem_write(struct emul_ctxt *ctxt, unsigned int nr, u64 offset, const void *buf, unsigned int n);
int emul_ea_read(struct emul_ctxt *ctxt, unsigned int n, u64 *value);
int emul_ea_write(struct emul_ctxt *ctxt, unsigned int n, u64 value);
int emul_rm_read(struct emul_ctxt *ctxt, unsigned int n, u64 *value);
int emul_rm_write(struct emul_ctxt *ctxt, unsigned int n, u64 value);
/* Read with intent to write; write back, with compare-exchange when LOCK is there. */
int emul_rm_load(struct emul_ctxt *ctxt, unsigned int n, u64 *value);
int emul_rm_store(struct emul_ctxt *ctxt, unsigned int n, u64 old, u64 value);
int emul_sys_read(struct emul_ctxt *ctxt, u64 linear, void *buf, unsigned int n);
int emul_sys_write(struct emul_ctxt *ctxt, u64 linear, const void *buf, unsigned int n);

/* stack.c: a stack being pushed to or popped from; RSP changes only with emul_stack_finish() */
struct emul_stack {
	struct emul_seg ss;
	u64 sp;
	u8 width;		/* 2, 4, 8: of the stack pointer */
	bool flat;		/* 64-bit mode: no segmentation */
};

void emul_stack_start(struct emul_ctxt *ctxt, struct emul_stack *stack);
void emul_stack_init(struct emul_stack *stack, const struct emul_seg *ss, u64 sp, bool flat);
int emul_stack_push(struct emul_ctxt *ctxt, struct emul_stack *stack, u64 value, unsigned int n);
int emul_stack_pop(struct emul_ctxt *ctxt, struct emul_stack *stack, u64 *value, unsigned int n);
void emul_stack_drop(struct emul_stack *stack, u64 n);
void emul_stack_finish(struct emul_ctxt *ctxt, const struct emul_stack *stack);

/* flow.c */
int emul_branch(struct emul_ctxt *ctxt, u64 target);
bool emul_condition(u64 rflags, unsigned int cc);
void emul_set_flags(struct emul_ctxt *ctxt, u64 value, u64 may_change);

/* seg.c: descriptors */
struct emul_desc {
	u64 lo, hi;		/* hi: second half of a 16-byte system descriptor */
	u64 linear;
	u16 selector;
};

int emul_desc_read(struct emul_ctxt *ctxt, u16 selector, u8 vector, struct emul_desc *desc);
int emul_desc_read_high(struct emul_ctxt *ctxt, u8 vector, struct emul_desc *desc);
int emul_desc_update(struct emul_ctxt *ctxt, struct emul_desc *desc, u64 set);
int emul_desc_touch(struct emul_ctxt *ctxt, struct emul_desc *desc);
void emul_desc_seg(const struct emul_desc *desc, struct emul_seg *seg);
int emul_seg_load(struct emul_ctxt *ctxt, enum emul_sreg nr, u16 selector);
int emul_seg_prepare(struct emul_ctxt *ctxt, enum emul_sreg nr, u16 selector, unsigned int cpl, u8 vector, struct emul_seg *seg);
void emul_seg_real(struct emul_ctxt *ctxt, enum emul_sreg nr, u16 selector, struct emul_seg *seg);

static inline unsigned int emul_desc_type(const struct emul_desc *desc)
{
	return desc->lo >> 40 & 0x1f;	/* with S */
}

static inline unsigned int emul_desc_dpl(const struct emul_desc *desc)
{
	return desc->lo >> 45 & 3;
}

static inline bool emul_desc_present(const struct emul_desc *desc)
{
	return desc->lo >> 47 & 1;
}

/* Error code of a fault about a selector. */
static inline u32 emul_selector_error(u16 selector)
{
	return selector & 0xfffc;
}

/* vec.c */
int emul_vec_check(struct emul_ctxt *ctxt, bool avx);

#define EMUL_HANDLER(name) int name(struct emul_ctxt *ctxt)

/* exec.c: data movement */
EMUL_HANDLER(emul_nop);
EMUL_HANDLER(emul_mov_rm_r);
EMUL_HANDLER(emul_mov_r_rm);
EMUL_HANDLER(emul_mov_rm_imm);
EMUL_HANDLER(emul_mov_r_imm8);
EMUL_HANDLER(emul_mov_r_imm);
EMUL_HANDLER(emul_mov_moffs);
EMUL_HANDLER(emul_movzx);
EMUL_HANDLER(emul_movsx);
EMUL_HANDLER(emul_movsxd);
EMUL_HANDLER(emul_movbe);
EMUL_HANDLER(emul_movnti);
EMUL_HANDLER(emul_lea);
EMUL_HANDLER(emul_xchg);
EMUL_HANDLER(emul_xchg_ax);
EMUL_HANDLER(emul_xadd);
EMUL_HANDLER(emul_cmpxchg);
EMUL_HANDLER(emul_cmpxchg8b);
EMUL_HANDLER(emul_bswap);
EMUL_HANDLER(emul_cbw);
EMUL_HANDLER(emul_cwd);
EMUL_HANDLER(emul_setcc);
EMUL_HANDLER(emul_cmovcc);
EMUL_HANDLER(emul_xlat);
EMUL_HANDLER(emul_lahf);
EMUL_HANDLER(emul_sahf);
EMUL_HANDLER(emul_salc);

/* arith.c */
EMUL_HANDLER(emul_alu);
EMUL_HANDLER(emul_alu_imm);
EMUL_HANDLER(emul_test);
EMUL_HANDLER(emul_test_imm);
EMUL_HANDLER(emul_inc);
EMUL_HANDLER(emul_dec);
EMUL_HANDLER(emul_inc_r);
EMUL_HANDLER(emul_dec_r);
EMUL_HANDLER(emul_neg);
EMUL_HANDLER(emul_not);
EMUL_HANDLER(emul_mul);
EMUL_HANDLER(emul_imul);
EMUL_HANDLER(emul_imul_r);
EMUL_HANDLER(emul_imul_imm);
EMUL_HANDLER(emul_div);
EMUL_HANDLER(emul_idiv);
EMUL_HANDLER(emul_aaa);
EMUL_HANDLER(emul_aas);
EMUL_HANDLER(emul_aam);
EMUL_HANDLER(emul_aad);
EMUL_HANDLER(emul_daa);
EMUL_HANDLER(emul_das);
EMUL_HANDLER(emul_flag);
u64 emul_result_flags(u64 result, unsigned int n);	/* ZF, SF and PF of a result of n bytes */
u64 emul_alu_compute(unsigned int op, unsigned int n, u64 a, u64 b, u64 *flags);

/* bits.c */
EMUL_HANDLER(emul_shift);
EMUL_HANDLER(emul_shld);
EMUL_HANDLER(emul_shrd);
EMUL_HANDLER(emul_bt_r);
EMUL_HANDLER(emul_bt_imm);
EMUL_HANDLER(emul_bsf);
EMUL_HANDLER(emul_bsr);
EMUL_HANDLER(emul_tzcnt);
EMUL_HANDLER(emul_lzcnt);
EMUL_HANDLER(emul_popcnt);
EMUL_HANDLER(emul_crc32);

/* flow.c */
EMUL_HANDLER(emul_jcc8);
EMUL_HANDLER(emul_jcc);
EMUL_HANDLER(emul_jmp_rel);
EMUL_HANDLER(emul_jmp_rm);
EMUL_HANDLER(emul_call_rel);
EMUL_HANDLER(emul_call_rm);
EMUL_HANDLER(emul_ret);
EMUL_HANDLER(emul_loop);
EMUL_HANDLER(emul_jcxz);
EMUL_HANDLER(emul_bound);

/* stack.c */
EMUL_HANDLER(emul_push_r);
EMUL_HANDLER(emul_pop_r);
EMUL_HANDLER(emul_push_rm);
EMUL_HANDLER(emul_pop_rm);
EMUL_HANDLER(emul_push_imm);
EMUL_HANDLER(emul_push_sreg);
EMUL_HANDLER(emul_pop_sreg);
EMUL_HANDLER(emul_pusha);
EMUL_HANDLER(emul_popa);
EMUL_HANDLER(emul_pushf);
EMUL_HANDLER(emul_popf);
EMUL_HANDLER(emul_enter);
EMUL_HANDLER(emul_leave);

/* string.c */
EMUL_HANDLER(emul_movs);
EMUL_HANDLER(emul_stos);
EMUL_HANDLER(emul_lods);
EMUL_HANDLER(emul_cmps);
EMUL_HANDLER(emul_scas);
EMUL_HANDLER(emul_ins);
EMUL_HANDLER(emul_outs);
EMUL_HANDLER(emul_in_imm);
EMUL_HANDLER(emul_in_dx);
EMUL_HANDLER(emul_out_imm);
EMUL_HANDLER(emul_out_dx);

/* seg.c */
EMUL_HANDLER(emul_mov_sreg_rm);
EMUL_HANDLER(emul_mov_rm_sreg);
EMUL_HANDLER(emul_load_far);
EMUL_HANDLER(emul_lldt);
EMUL_HANDLER(emul_ltr);
EMUL_HANDLER(emul_sldt);
EMUL_HANDLER(emul_str);
EMUL_HANDLER(emul_lar);
EMUL_HANDLER(emul_lsl);
EMUL_HANDLER(emul_verr);
EMUL_HANDLER(emul_verw);
EMUL_HANDLER(emul_arpl);

/* far.c */
EMUL_HANDLER(emul_jmp_far_imm);
EMUL_HANDLER(emul_jmp_far_rm);
EMUL_HANDLER(emul_call_far_imm);
EMUL_HANDLER(emul_call_far_rm);
EMUL_HANDLER(emul_ret_far);
EMUL_HANDLER(emul_iret);
EMUL_HANDLER(emul_int);
EMUL_HANDLER(emul_int3);
EMUL_HANDLER(emul_int1);
EMUL_HANDLER(emul_into);

/* sys.c */
EMUL_HANDLER(emul_mov_r_cr);
EMUL_HANDLER(emul_mov_cr_r);
EMUL_HANDLER(emul_mov_r_dr);
EMUL_HANDLER(emul_mov_dr_r);
EMUL_HANDLER(emul_clts);
EMUL_HANDLER(emul_lmsw);
EMUL_HANDLER(emul_smsw);
EMUL_HANDLER(emul_lgdt);
EMUL_HANDLER(emul_lidt);
EMUL_HANDLER(emul_sgdt);
EMUL_HANDLER(emul_sidt);
EMUL_HANDLER(emul_invlpg);
EMUL_HANDLER(emul_wbinvd);
EMUL_HANDLER(emul_hlt);
EMUL_HANDLER(emul_do_cpuid);
EMUL_HANDLER(emul_rdtsc);
EMUL_HANDLER(emul_rdtscp);
EMUL_HANDLER(emul_rdmsr);
EMUL_HANDLER(emul_wrmsr);
EMUL_HANDLER(emul_rdpmc);
EMUL_HANDLER(emul_monitor);
EMUL_HANDLER(emul_mwait);
EMUL_HANDLER(emul_xgetbv);
EMUL_HANDLER(emul_xsetbv);
EMUL_HANDLER(emul_swapgs);
EMUL_HANDLER(emul_fsgsbase);
EMUL_HANDLER(emul_cli);
EMUL_HANDLER(emul_sti);
EMUL_HANDLER(emul_ac);
EMUL_HANDLER(emul_clflush);

/* vec.c: moves of vector, MMX and x87 control registers */
EMUL_HANDLER(emul_vmov_load);
EMUL_HANDLER(emul_vmov_store);
EMUL_HANDLER(emul_vmova_load);
EMUL_HANDLER(emul_vmova_store);
EMUL_HANDLER(emul_vmov_scalar_load);
EMUL_HANDLER(emul_vmov_scalar_store);
EMUL_HANDLER(emul_vmovl_load);
EMUL_HANDLER(emul_vmovl_store);
EMUL_HANDLER(emul_vmovh_load);
EMUL_HANDLER(emul_vmovh_store);
EMUL_HANDLER(emul_vmovd_load);
EMUL_HANDLER(emul_vmovd_store);
EMUL_HANDLER(emul_vmovq_load);
EMUL_HANDLER(emul_vmovq_store);
EMUL_HANDLER(emul_mmx_load);
EMUL_HANDLER(emul_mmx_store);
EMUL_HANDLER(emul_mmx_movd_load);
EMUL_HANDLER(emul_mmx_movd_store);
EMUL_HANDLER(emul_fwait);
EMUL_HANDLER(emul_fninit);
EMUL_HANDLER(emul_fnclex);
EMUL_HANDLER(emul_fldcw);
EMUL_HANDLER(emul_fnstcw);
EMUL_HANDLER(emul_fnstsw);
EMUL_HANDLER(emul_fnstsw_ax);

#endif
