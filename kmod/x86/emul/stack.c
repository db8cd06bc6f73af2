// SPDX-License-Identifier: GPL-2.0-only
/*
 * The stack and the instructions that live on it.
 *
 * A struct emul_stack is a cursor: pushes and pops move it and access memory, RSP itself changes only at the end, so that an instruction
 * can fault or wait for a device after any push and be executed again.  The stack pointer's width is 64 in 64-bit mode, else SS.D/B's.
 */
#include "insn.h"

void emul_stack_init(struct emul_stack *stack, const struct emul_seg *ss, u64 sp, bool flat)
{
	stack->ss = *ss;
	stack->flat = flat;
	stack->width = flat ? 8 : ss->attr & EMUL_SEG_DB ? 4 : 2;
	stack->sp = sp;
}

void emul_stack_start(struct emul_ctxt *ctxt, struct emul_stack *stack)
{
	struct emul_seg ss = { 0 };
	bool flat = ctxt->mode == EMUL_LONG64;

	if (!flat)
		ctxt->ops->get_seg(ctxt, EMUL_SS, &ss);
	emul_stack_init(stack, &ss, ctxt->regs[EMUL_RSP], flat);
}

void emul_stack_drop(struct emul_stack *stack, u64 n)
{
	u64 mask = emul_mask(stack->width);

	stack->sp = (stack->sp & ~mask) | ((stack->sp + n) & mask);
}

int emul_stack_push(struct emul_ctxt *ctxt, struct emul_stack *stack, u64 value, unsigned int n)
{
	u64 linear;
	int r;

	emul_stack_drop(stack, -(u64)n);
	r = emul_linear_in(ctxt, EMUL_SS, &stack->ss, stack->sp & emul_mask(stack->width), n, EMUL_ACC_WRITE, &linear);
	return r ? r : ctxt->ops->write(ctxt, linear, &value, n, 0);
}

int emul_stack_pop(struct emul_ctxt *ctxt, struct emul_stack *stack, u64 *value, unsigned int n)
{
	u64 linear;
	int r;

	r = emul_linear_in(ctxt, EMUL_SS, &stack->ss, stack->sp & emul_mask(stack->width), n, 0, &linear);
	if (r)
		return r;
	*value = 0;
	r = ctxt->ops->read(ctxt, linear, value, n, 0);
	if (r)
		return r;
	emul_stack_drop(stack, n);
	return EMUL_OK;
}

void emul_stack_finish(struct emul_ctxt *ctxt, const struct emul_stack *stack)
{
	emul_reg_write(ctxt, EMUL_RSP, stack->width, stack->sp);
}

static int push(struct emul_ctxt *ctxt, u64 value)
{
	struct emul_stack stack;
	int r;

	emul_stack_start(ctxt, &stack);
	r = emul_stack_push(ctxt, &stack, value, ctxt->d.bytes);
	if (r)
		return r;
	emul_stack_finish(ctxt, &stack);
	return EMUL_OK;
}

static unsigned int opcode_reg(const struct emul_ctxt *ctxt)
{
	return (ctxt->d.opcode & 7) | (ctxt->d.rex & 1 ? 8 : 0);
}

int emul_push_r(struct emul_ctxt *ctxt)
{
	return push(ctxt, ctxt->regs[opcode_reg(ctxt)]);
}

int emul_pop_r(struct emul_ctxt *ctxt)
{
	struct emul_stack stack;
	u64 value;
	int r;

	emul_stack_start(ctxt, &stack);
	r = emul_stack_pop(ctxt, &stack, &value, ctxt->d.bytes);
	if (r)
		return r;
	emul_stack_finish(ctxt, &stack);
	emul_reg_write(ctxt, opcode_reg(ctxt), ctxt->d.bytes, value);
	return EMUL_OK;
}

int emul_push_rm(struct emul_ctxt *ctxt)
{
	u64 value;
	int r = emul_rm_read(ctxt, ctxt->d.bytes, &value);

	return r ? r : push(ctxt, value);
}

/* An address based on RSP is computed after the increment (SDM 2 "POP"). */
int emul_pop_rm(struct emul_ctxt *ctxt)
{
	struct emul_insn *d = &ctxt->d;
	struct emul_stack stack;
	u64 value;
	int r;

	emul_stack_start(ctxt, &stack);
	r = emul_stack_pop(ctxt, &stack, &value, d->bytes);
	if (r)
		return r;
	if (d->mem) {
		u64 ea = d->ea;

		if (d->base == EMUL_RSP)
			ea = (ea + d->bytes) & emul_mask(d->ad_bytes);
		r = emul_mem_write(ctxt, d->seg, ea, &value, d->bytes);
		if (r)
			return r;
		emul_stack_finish(ctxt, &stack);
		return EMUL_OK;
	}
	emul_stack_finish(ctxt, &stack);
	emul_reg_write(ctxt, d->rm, d->bytes, value);
	return EMUL_OK;
}

int emul_push_imm(struct emul_ctxt *ctxt)
{
	return push(ctxt, ctxt->d.imm);
}

static enum emul_sreg opcode_sreg(const struct emul_ctxt *ctxt)
{
	return ctxt->d.opcode >> 3 & 7;	/* 06 0E 16 1E 0FA0 0FA8 */
}

/* The upper half of a 32- or 64-bit slot becomes zero, as on AMD; some of Intel's leave it alone. */
int emul_push_sreg(struct emul_ctxt *ctxt)
{
	struct emul_seg seg;

	ctxt->ops->get_seg(ctxt, opcode_sreg(ctxt), &seg);
	return push(ctxt, seg.selector);
}

int emul_pop_sreg(struct emul_ctxt *ctxt)
{
	enum emul_sreg nr = opcode_sreg(ctxt);
	struct emul_stack stack;
	u64 value;
	int r;

	emul_stack_start(ctxt, &stack);
	r = emul_stack_pop(ctxt, &stack, &value, ctxt->d.bytes);
	if (r)
		return r;
	r = emul_seg_load(ctxt, nr, value);
	if (r)
		return r;
	emul_stack_finish(ctxt, &stack);
	if (nr == EMUL_SS)
		ctxt->shadow = EMUL_SHADOW_MOV_SS;
	return EMUL_OK;
}

int emul_pusha(struct emul_ctxt *ctxt)
{
	struct emul_stack stack;
	int i, r;

	emul_stack_start(ctxt, &stack);
	for (i = EMUL_RAX; i <= EMUL_RDI; i++) {
		r = emul_stack_push(ctxt, &stack, ctxt->regs[i], ctxt->d.bytes);
		if (r)
			return r;
	}
	emul_stack_finish(ctxt, &stack);
	return EMUL_OK;
}

int emul_popa(struct emul_ctxt *ctxt)
{
	struct emul_stack stack;
	u64 value[8];
	int i, r;

	emul_stack_start(ctxt, &stack);
	for (i = EMUL_RDI; i >= EMUL_RAX; i--) {
		r = emul_stack_pop(ctxt, &stack, &value[i], ctxt->d.bytes);
		if (r)
			return r;
	}
	emul_stack_finish(ctxt, &stack);
	for (i = EMUL_RAX; i <= EMUL_RDI; i++) {
		if (i != EMUL_RSP)
			emul_reg_write(ctxt, i, ctxt->d.bytes, value[i]);
	}
	return EMUL_OK;
}

/* VM and RF are pushed as zero.  Virtual-8086 mode with IOPL < 3: VME gives IF's place to VIF, only for the 16-bit form. */
int emul_pushf(struct emul_ctxt *ctxt)
{
	u64 value = ctxt->rflags & ~(FL_VM | FL_RF);

	if (ctxt->mode == EMUL_VM86 && emul_iopl(ctxt) < 3) {
		if (!(ctxt->ops->get_cr(ctxt, 4) & CR4_VME) || ctxt->d.bytes != 2)
			return emul_gp0(ctxt);
		value = (value & ~FL_IF) | FL_IOPL;
		if (ctxt->rflags & FL_VIF)
			value |= FL_IF;
	}
	return push(ctxt, value);
}

static int popf_vme(struct emul_ctxt *ctxt, const struct emul_stack *stack, u64 value)
{
	if (!(ctxt->ops->get_cr(ctxt, 4) & CR4_VME) || ctxt->d.bytes != 2)
		return emul_gp0(ctxt);
	if (value & FL_TF || (value & FL_IF && ctxt->rflags & FL_VIP))
		return emul_gp0(ctxt);
	emul_set_flags(ctxt, value, FL_ARITH | FL_TF | FL_DF | FL_NT);
	ctxt->rflags &= ~FL_VIF;
	if (value & FL_IF)
		ctxt->rflags |= FL_VIF;
	emul_stack_finish(ctxt, stack);
	return EMUL_OK;
}

int emul_popf(struct emul_ctxt *ctxt)
{
	u64 value, change = FL_ARITH | FL_TF | FL_DF | FL_NT;
	struct emul_stack stack;
	int r;

	emul_stack_start(ctxt, &stack);
	if (ctxt->mode == EMUL_VM86 && emul_iopl(ctxt) < 3 &&
	    (ctxt->d.bytes != 2 || !(ctxt->ops->get_cr(ctxt, 4) & CR4_VME)))
		return emul_gp0(ctxt);
	r = emul_stack_pop(ctxt, &stack, &value, ctxt->d.bytes);
	if (r)
		return r;
	if (ctxt->mode == EMUL_VM86 && emul_iopl(ctxt) < 3)
		return popf_vme(ctxt, &stack, value);
	if (ctxt->d.bytes != 2)
		change |= FL_AC | FL_ID;
	if (ctxt->cpl <= emul_iopl(ctxt))
		change |= FL_IF;
	if (ctxt->cpl == 0)
		change |= FL_IOPL;
	emul_set_flags(ctxt, value, change);
	emul_stack_finish(ctxt, &stack);
	return EMUL_OK;
}

/*
 * ENTER copies up to 30 frame pointers from the old frame (SDM 2 "ENTER").  The frame pointers are read before anything is written: the
 * new frame may overlap the old one only in ways that a restart could not repeat.  A last check proves that the new stack top is
 * writable, as the hardware does.
 */
int emul_enter(struct emul_ctxt *ctxt)
{
	struct emul_insn *d = &ctxt->d;
	unsigned int level = d->imm2 & 31, i;
	struct emul_stack stack, probe;
	u64 display[31], frame, bp, linear;
	int r;

	emul_stack_start(ctxt, &stack);
	bp = ctxt->regs[EMUL_RBP];
	for (i = 1; i < level; i++) {
		bp -= d->bytes;
		display[i] = 0;
		r = emul_linear_in(ctxt, EMUL_SS, &stack.ss, bp & emul_mask(stack.width), d->bytes, 0, &linear);
		if (!r)
			r = ctxt->ops->read(ctxt, linear, &display[i], d->bytes, 0);
		if (r)
			return r;
	}
	r = emul_stack_push(ctxt, &stack, ctxt->regs[EMUL_RBP], d->bytes);
	frame = stack.sp;
	for (i = 1; i < level && !r; i++)
		r = emul_stack_push(ctxt, &stack, display[i], d->bytes);
	if (level && !r)
		r = emul_stack_push(ctxt, &stack, frame, d->bytes);
	if (r)
		return r;
	emul_stack_drop(&stack, -d->imm);
	probe = stack;
	r = emul_linear_in(ctxt, EMUL_SS, &probe.ss, probe.sp & emul_mask(probe.width), d->bytes, EMUL_ACC_WRITE, &linear);
	if (!r)
		r = ctxt->ops->probe(ctxt, linear, d->bytes, EMUL_ACC_WRITE);
	if (r == EMUL_FAULT || r == EMUL_UNHANDLED)
		return r;
	emul_reg_write(ctxt, EMUL_RBP, d->bytes, frame);
	emul_stack_finish(ctxt, &stack);
	return EMUL_OK;
}

int emul_leave(struct emul_ctxt *ctxt)
{
	struct emul_stack stack;
	u64 value, mask;
	int r;

	emul_stack_start(ctxt, &stack);
	mask = emul_mask(stack.width);
	stack.sp = (stack.sp & ~mask) | (ctxt->regs[EMUL_RBP] & mask);
	r = emul_stack_pop(ctxt, &stack, &value, ctxt->d.bytes);
	if (r)
		return r;
	emul_stack_finish(ctxt, &stack);
	emul_reg_write(ctxt, EMUL_RBP, ctxt->d.bytes, value);
	return EMUL_OK;
}
