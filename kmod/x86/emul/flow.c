// SPDX-License-Identifier: GPL-2.0-only
/*
 * Near branches: the target is checked before anything is pushed or counted, so that a fault points at the branch.
 */
#include "insn.h"

/* Make target the next RIP.  It must lie in the code segment, or be canonical. */
int emul_branch(struct emul_ctxt *ctxt, u64 target)
{
	struct emul_seg cs;

	if (ctxt->mode == EMUL_LONG64) {
		if (!emul_canonical(ctxt, target))
			return emul_gp0(ctxt);
	} else {
		target &= 0xffffffff;
		ctxt->ops->get_seg(ctxt, EMUL_CS, &cs);
		if (target > cs.limit)
			return emul_gp0(ctxt);
	}
	ctxt->d.next = target;
	return EMUL_OK;
}

/* Bits of may_change come from value; the fixed bits stay right. */
void emul_set_flags(struct emul_ctxt *ctxt, u64 value, u64 may_change)
{
	ctxt->rflags = (ctxt->rflags & ~may_change) | (value & may_change) | FL_FIXED;
}

bool emul_condition(u64 rflags, unsigned int cc)
{
	bool sf = rflags & FL_SF, of = rflags & FL_OF, zf = rflags & FL_ZF, result;

	switch (cc >> 1) {
	case 0:
		result = of;
		break;
	case 1:
		result = rflags & FL_CF;
		break;
	case 2:
		result = zf;
		break;
	case 3:
		result = rflags & (FL_CF | FL_ZF);
		break;
	case 4:
		result = sf;
		break;
	case 5:
		result = rflags & FL_PF;
		break;
	case 6:
		result = sf != of;
		break;
	default:
		result = zf || sf != of;
		break;
	}
	return result != (cc & 1);
}

static u64 relative(const struct emul_ctxt *ctxt)
{
	return (ctxt->d.next + ctxt->d.imm) & emul_mask(ctxt->d.bytes);
}

int emul_jcc8(struct emul_ctxt *ctxt)
{
	if (!emul_condition(ctxt->rflags, ctxt->d.opcode & 15))
		return EMUL_OK;
	return emul_branch(ctxt, relative(ctxt));
}

int emul_jcc(struct emul_ctxt *ctxt)
{
	return emul_jcc8(ctxt);
}

int emul_jmp_rel(struct emul_ctxt *ctxt)
{
	return emul_branch(ctxt, relative(ctxt));
}

int emul_jmp_rm(struct emul_ctxt *ctxt)
{
	u64 target;
	int r = emul_rm_read(ctxt, ctxt->d.bytes, &target);

	return r ? r : emul_branch(ctxt, target);
}

static int call(struct emul_ctxt *ctxt, u64 target)
{
	u64 back = ctxt->d.next, linear;
	struct emul_stack stack, below;
	int r;

	/* A bad stack address comes before a bad target; neither may leave a pushed address behind. */
	emul_stack_start(ctxt, &stack);
	below = stack;
	emul_stack_drop(&below, -(u64)ctxt->d.bytes);
	r = emul_linear_in(ctxt, EMUL_SS, &below.ss, below.sp & emul_mask(below.width), ctxt->d.bytes, EMUL_ACC_WRITE, &linear);
	if (!r)
		r = emul_branch(ctxt, target);
	if (r)
		return r;
	r = emul_stack_push(ctxt, &stack, back, ctxt->d.bytes);
	if (r)
		return r;
	emul_stack_finish(ctxt, &stack);
	return EMUL_OK;
}

int emul_call_rel(struct emul_ctxt *ctxt)
{
	return call(ctxt, relative(ctxt));
}

int emul_call_rm(struct emul_ctxt *ctxt)
{
	u64 target;
	int r = emul_rm_read(ctxt, ctxt->d.bytes, &target);

	return r ? r : call(ctxt, target);
}

/* C2 with an immediate, C3 without (imm is 0) */
int emul_ret(struct emul_ctxt *ctxt)
{
	struct emul_stack stack;
	u64 target;
	int r;

	emul_stack_start(ctxt, &stack);
	r = emul_stack_pop(ctxt, &stack, &target, ctxt->d.bytes);
	if (!r)
		r = emul_branch(ctxt, target);
	if (r)
		return r;
	emul_stack_drop(&stack, ctxt->d.imm);
	emul_stack_finish(ctxt, &stack);
	return EMUL_OK;
}

/* LOOPNE, LOOPE, LOOP: the counter has address size. */
int emul_loop(struct emul_ctxt *ctxt)
{
	const struct emul_insn *d = &ctxt->d;
	u64 count = (ctxt->regs[EMUL_RCX] - 1) & emul_mask(d->ad_bytes);
	bool taken = count != 0;
	int r;

	if (d->opcode != 0xe2)
		taken = taken && (!!(ctxt->rflags & FL_ZF) == (d->opcode & 1));
	if (taken) {
		r = emul_branch(ctxt, relative(ctxt));
		if (r)
			return r;
	}
	emul_reg_write(ctxt, EMUL_RCX, d->ad_bytes, count);
	return EMUL_OK;
}

int emul_jcxz(struct emul_ctxt *ctxt)
{
	if (ctxt->regs[EMUL_RCX] & emul_mask(ctxt->d.ad_bytes))
		return EMUL_OK;
	return emul_branch(ctxt, relative(ctxt));
}

int emul_bound(struct emul_ctxt *ctxt)
{
	const struct emul_insn *d = &ctxt->d;
	u64 pair[2] = { 0 };
	s64 index, lower, upper;
	u8 bounds[8];
	int r = emul_mem_read(ctxt, d->seg, d->ea, bounds, 2 * d->bytes, 0);

	if (r)
		return r;
	memcpy(&pair[0], bounds, d->bytes);
	memcpy(&pair[1], bounds + d->bytes, d->bytes);
	index = (s64)emul_sext(ctxt->regs[d->reg], d->bytes);
	lower = (s64)emul_sext(pair[0], d->bytes);
	upper = (s64)emul_sext(pair[1], d->bytes);
	if (index < lower || index > upper)
		return emul_fault(ctxt, EMUL_EXC_BR);
	return EMUL_OK;
}
