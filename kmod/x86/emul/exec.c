// SPDX-License-Identifier: GPL-2.0-only
/*
 * Executing one decoded instruction, and the instructions that move data between registers and memory.
 *
 * The frame around a handler: privilege that needs no operand, the moved-on RIP, RF (cleared by every instruction that completes, except
 * those that load it), the trap flag as it was when the instruction began, and the interrupt shadow, which only three instructions start.
 */
#include "insn.h"

void emul_reset(struct emul_ctxt *ctxt)
{
	const struct emul_ops *ops = ctxt->ops;
	void *opaque = ctxt->opaque;

	/* The port buffer is written before it is read: no need to clear it. */
	memset(ctxt, 0, offsetof(struct emul_ctxt, pio_buf));
	ctxt->ops = ops;
	ctxt->opaque = opaque;
}

/* The features that the instruction needs, as its encoding has it. */
static bool exec_has(struct emul_ctxt *ctxt)
{
	const struct emul_insn *d = &ctxt->d;

	if (d->vex)
		return emul_has(ctxt, EMUL_FEAT_AVX) && (!(d->op->flags & OP_AVX2 && d->vex_l) || emul_has(ctxt, EMUL_FEAT_AVX2));
	return !d->op->feature || emul_has(ctxt, d->op->feature);
}

int emul_execute(struct emul_ctxt *ctxt)
{
	const struct emul_op *op = ctxt->d.op;
	u64 old = ctxt->rflags;
	int r;

	ctxt->repeat = false;
	ctxt->single_step = false;
	ctxt->nmi_unblock = false;
	ctxt->task_switched = false;
	ctxt->shadow = EMUL_SHADOW_NONE;
	if (!op || !op->exec)
		return EMUL_UNHANDLED;
	if (!exec_has(ctxt))
		return emul_ud(ctxt);
	if (op->flags & OP_PRIV && ctxt->cpl)
		return emul_gp0(ctxt);
	ctxt->rflags &= ~FL_RF;
	r = op->exec(ctxt);
	if (r == EMUL_OK && !ctxt->repeat)
		ctxt->rip = ctxt->d.next;
	else
		ctxt->rflags |= old & FL_RF;
	if (r == EMUL_OK)
		ctxt->single_step = (old & FL_TF) && ctxt->shadow != EMUL_SHADOW_MOV_SS;
	return r;
}

int emul_insn(struct emul_ctxt *ctxt)
{
	int r = emul_decode(ctxt);

	return r ? r : emul_execute(ctxt);
}

int emul_nop(struct emul_ctxt *ctxt)
{
	(void)ctxt;
	return EMUL_OK;
}

int emul_mov_rm_r(struct emul_ctxt *ctxt)
{
	const struct emul_insn *d = &ctxt->d;

	return emul_rm_write(ctxt, d->bytes, emul_reg_read(ctxt, d->reg, d->bytes));
}

int emul_mov_r_rm(struct emul_ctxt *ctxt)
{
	const struct emul_insn *d = &ctxt->d;
	u64 value;
	int r = emul_rm_read(ctxt, d->bytes, &value);

	if (r)
		return r;
	emul_reg_write(ctxt, d->reg, d->bytes, value);
	return EMUL_OK;
}

int emul_mov_rm_imm(struct emul_ctxt *ctxt)
{
	return emul_rm_write(ctxt, ctxt->d.bytes, ctxt->d.imm);
}

static unsigned int opcode_reg(const struct emul_ctxt *ctxt)
{
	return (ctxt->d.opcode & 7) | (ctxt->d.rex & 1 ? 8 : 0);
}

int emul_mov_r_imm8(struct emul_ctxt *ctxt)
{
	emul_reg_write(ctxt, opcode_reg(ctxt), 1, ctxt->d.imm);
	return EMUL_OK;
}

int emul_mov_r_imm(struct emul_ctxt *ctxt)
{
	emul_reg_write(ctxt, opcode_reg(ctxt), ctxt->d.bytes, ctxt->d.imm);
	return EMUL_OK;
}

/* A0-A3 */
int emul_mov_moffs(struct emul_ctxt *ctxt)
{
	unsigned int n = ctxt->d.bytes;
	u64 value;
	int r;

	if (ctxt->d.opcode & 2)
		return emul_ea_write(ctxt, n, emul_reg_read(ctxt, EMUL_RAX, n));
	r = emul_ea_read(ctxt, n, &value);
	if (r)
		return r;
	emul_reg_write(ctxt, EMUL_RAX, n, value);
	return EMUL_OK;
}

static int mov_extend(struct emul_ctxt *ctxt, unsigned int n, bool sign)
{
	u64 value;
	int r = emul_rm_read(ctxt, n, &value);

	if (r)
		return r;
	emul_reg_write(ctxt, ctxt->d.reg, ctxt->d.bytes, sign ? emul_sext(value, n) : value);
	return EMUL_OK;
}

int emul_movzx(struct emul_ctxt *ctxt)
{
	return mov_extend(ctxt, ctxt->d.opcode & 1 ? 2 : 1, false);
}

int emul_movsx(struct emul_ctxt *ctxt)
{
	return mov_extend(ctxt, ctxt->d.opcode & 1 ? 2 : 1, true);
}

/* 63 is ARPL outside 64-bit mode; with a 16-bit operand size MOVSXD moves a word (SDM; AMD's CPUs read a doubleword). */
int emul_movsxd(struct emul_ctxt *ctxt)
{
	if (ctxt->mode != EMUL_LONG64)
		return emul_arpl(ctxt);
	return mov_extend(ctxt, ctxt->d.bytes == 2 ? 2 : 4, true);
}

static u64 byte_swap(u64 value, unsigned int n)
{
	u64 swapped = 0;
	unsigned int i;

	for (i = 0; i < n; i++)
		swapped |= (value >> (8 * i) & 0xff) << (8 * (n - 1 - i));
	return swapped;
}

int emul_movbe(struct emul_ctxt *ctxt)
{
	const struct emul_insn *d = &ctxt->d;
	u64 value;
	int r;

	if (d->opcode & 1)
		return emul_ea_write(ctxt, d->bytes, byte_swap(emul_reg_read(ctxt, d->reg, d->bytes), d->bytes));
	r = emul_ea_read(ctxt, d->bytes, &value);
	if (r)
		return r;
	emul_reg_write(ctxt, d->reg, d->bytes, byte_swap(value, d->bytes));
	return EMUL_OK;
}

/* There is no 16-bit form. */
int emul_movnti(struct emul_ctxt *ctxt)
{
	if (ctxt->d.bytes == 2)
		ctxt->d.bytes = 4;
	return emul_mov_rm_r(ctxt);
}

int emul_lea(struct emul_ctxt *ctxt)
{
	emul_reg_write(ctxt, ctxt->d.reg, ctxt->d.bytes, ctxt->d.ea);
	return EMUL_OK;
}

/* With a memory operand XCHG is locked by itself. */
int emul_xchg(struct emul_ctxt *ctxt)
{
	struct emul_insn *d = &ctxt->d;
	u64 value, old;
	int r;

	d->lock = d->mem;
	r = emul_rm_load(ctxt, d->bytes, &old);
	if (r)
		return r;
	value = emul_reg_read(ctxt, d->reg, d->bytes);
	r = emul_rm_store(ctxt, d->bytes, old, value);
	if (r)
		return r;
	emul_reg_write(ctxt, d->reg, d->bytes, old);
	return EMUL_OK;
}

/* 90-97; 90 without REX.B is NOP (which, unlike XCHG EAX, EAX, leaves the upper half alone) and PAUSE. */
int emul_xchg_ax(struct emul_ctxt *ctxt)
{
	unsigned int nr = opcode_reg(ctxt), n = ctxt->d.bytes;
	u64 value;

	if (nr == EMUL_RAX)
		return EMUL_OK;
	value = emul_reg_read(ctxt, nr, n);
	emul_reg_write(ctxt, nr, n, emul_reg_read(ctxt, EMUL_RAX, n));
	emul_reg_write(ctxt, EMUL_RAX, n, value);
	return EMUL_OK;
}

int emul_xadd(struct emul_ctxt *ctxt)
{
	const struct emul_insn *d = &ctxt->d;
	u64 old, sum, flags = ctxt->rflags;
	int r = emul_rm_load(ctxt, d->bytes, &old);

	if (r)
		return r;
	sum = emul_alu_compute(0, d->bytes, old, emul_reg_read(ctxt, d->reg, d->bytes), &flags);
	if (d->mem) {
		r = emul_rm_store(ctxt, d->bytes, old, sum);
		if (r)
			return r;
		emul_reg_write(ctxt, d->reg, d->bytes, old);
	} else {
		emul_reg_write(ctxt, d->reg, d->bytes, old);
		emul_reg_write(ctxt, d->rm, d->bytes, sum);
	}
	ctxt->rflags = flags;
	return EMUL_OK;
}

/* The destination is written in any case (SDM 2 "CMPXCHG"); the accumulator only when the comparison failed. */
int emul_cmpxchg(struct emul_ctxt *ctxt)
{
	const struct emul_insn *d = &ctxt->d;
	u64 old, flags = ctxt->rflags;
	bool equal;
	int r = emul_rm_load(ctxt, d->bytes, &old);

	if (r)
		return r;
	emul_alu_compute(7, d->bytes, emul_reg_read(ctxt, EMUL_RAX, d->bytes), old, &flags);
	equal = flags & FL_ZF;
	if (equal || d->mem) {
		r = emul_rm_store(ctxt, d->bytes, old, equal ? emul_reg_read(ctxt, d->reg, d->bytes) : old);
		if (r)
			return r;
	}
	if (!equal)
		emul_reg_write(ctxt, EMUL_RAX, d->bytes, old);
	ctxt->rflags = flags;
	return EMUL_OK;
}

/* CMPXCHG8B and CMPXCHG16B */
int emul_cmpxchg8b(struct emul_ctxt *ctxt)
{
	const struct emul_insn *d = &ctxt->d;
	unsigned int half = d->bytes == 8 ? 8 : 4;
	u8 old[16], new[16];
	u64 lo = 0, hi = 0, linear, flags = ctxt->rflags & ~FL_ZF;
	int r;

	if (half == 8 && !emul_has(ctxt, EMUL_FEAT_CX16))
		return emul_ud(ctxt);
	r = emul_linear(ctxt, d->seg, d->ea, half * 2, EMUL_ACC_WRITE, &linear);
	if (!r && half == 8 && linear & 15)
		r = emul_gp0(ctxt);
	if (!r)
		r = ctxt->ops->read(ctxt, linear, old, half * 2, EMUL_ACC_WRITE | (d->lock ? EMUL_ACC_LOCKED : 0));
	if (r)
		return r;
	memcpy(&lo, old, half);
	memcpy(&hi, old + half, half);
	memcpy(new, old, sizeof(new));
	if (lo == emul_reg_read(ctxt, EMUL_RAX, half) && hi == emul_reg_read(ctxt, EMUL_RDX, half)) {
		memcpy(new, &ctxt->regs[EMUL_RBX], half);
		memcpy(new + half, &ctxt->regs[EMUL_RCX], half);
		flags |= FL_ZF;
	}
	if (d->lock)
		r = (ctxt->ops->cmpxchg)(ctxt, linear, old, new, half * 2, 0);
	else
		r = ctxt->ops->write(ctxt, linear, new, half * 2, 0);
	if (r)
		return r;
	if (!(flags & FL_ZF)) {
		emul_reg_write(ctxt, EMUL_RAX, half, lo);
		emul_reg_write(ctxt, EMUL_RDX, half, hi);
	}
	ctxt->rflags = flags;
	return EMUL_OK;
}

/* The 16-bit form is undefined; AMD's and Intel's answer with zero. */
int emul_bswap(struct emul_ctxt *ctxt)
{
	unsigned int nr = opcode_reg(ctxt), n = ctxt->d.bytes;

	emul_reg_write(ctxt, nr, n, n == 2 ? 0 : byte_swap(ctxt->regs[nr], n));
	return EMUL_OK;
}

/* CBW, CWDE, CDQE */
int emul_cbw(struct emul_ctxt *ctxt)
{
	unsigned int n = ctxt->d.bytes;

	emul_reg_write(ctxt, EMUL_RAX, n, emul_sext(ctxt->regs[EMUL_RAX], n / 2));
	return EMUL_OK;
}

/* CWD, CDQ, CQO */
int emul_cwd(struct emul_ctxt *ctxt)
{
	unsigned int n = ctxt->d.bytes;

	emul_reg_write(ctxt, EMUL_RDX, n, ctxt->regs[EMUL_RAX] >> (8 * n - 1) & 1 ? ~0ull : 0);
	return EMUL_OK;
}

int emul_setcc(struct emul_ctxt *ctxt)
{
	return emul_rm_write(ctxt, 1, emul_condition(ctxt->rflags, ctxt->d.opcode & 15));
}

/* The operand is read, and a 32-bit destination cleared above, whatever the condition. */
int emul_cmovcc(struct emul_ctxt *ctxt)
{
	const struct emul_insn *d = &ctxt->d;
	u64 value;
	int r = emul_rm_read(ctxt, d->bytes, &value);

	if (r)
		return r;
	if (!emul_condition(ctxt->rflags, d->opcode & 15))
		value = emul_reg_read(ctxt, d->reg, d->bytes);
	emul_reg_write(ctxt, d->reg, d->bytes, value);
	return EMUL_OK;
}

int emul_xlat(struct emul_ctxt *ctxt)
{
	struct emul_insn *d = &ctxt->d;
	u64 value;
	int r;

	d->ea = (ctxt->regs[EMUL_RBX] + (ctxt->regs[EMUL_RAX] & 0xff)) & emul_mask(d->ad_bytes);
	r = emul_ea_read(ctxt, 1, &value);
	if (r)
		return r;
	emul_reg_write(ctxt, EMUL_RAX, 1, value);
	return EMUL_OK;
}

#define LAHF_FLAGS (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF)

int emul_lahf(struct emul_ctxt *ctxt)
{
	u64 ah = (ctxt->rflags & LAHF_FLAGS) | FL_FIXED;

	ctxt->regs[EMUL_RAX] = (ctxt->regs[EMUL_RAX] & ~0xff00ull) | ah << 8;
	ctxt->regs_dirty |= 1u << EMUL_RAX;
	return EMUL_OK;
}

int emul_sahf(struct emul_ctxt *ctxt)
{
	emul_set_flags(ctxt, ctxt->regs[EMUL_RAX] >> 8, LAHF_FLAGS);
	return EMUL_OK;
}

int emul_salc(struct emul_ctxt *ctxt)
{
	emul_reg_write(ctxt, EMUL_RAX, 1, ctxt->rflags & FL_CF ? 0xff : 0);
	return EMUL_OK;
}
