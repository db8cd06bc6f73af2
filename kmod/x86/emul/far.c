// SPDX-License-Identifier: GPL-2.0-only
/*
 * Far control transfers: JMP, CALL, RET, IRET and INT (APM 2 §4.9-4.11, §8.7; SDM 3A §5.8, §6.12).
 *
 * All of them go through three steps.  Look: read the selectors, descriptors and everything that is popped, check privilege, type,
 * presence, limit.  Push: write what the transfer saves, on the old stack or on an inner one that the TSS names.  Switch: set CS, SS,
 * the data segments that the outer level may not keep, RSP, RIP, CPL; nothing here can fail.  So a fault leaves all registers alone.
 *
 * Pushes to an inner stack happen with the new privilege and, for a 64-bit gate, in the new mode; ctxt->cpl and ctxt->mode are changed
 * for that and put back when the transfer fails.  INT n outside real mode is handed to the caller, whose hardware delivers software
 * interrupts through the IDT by itself.
 */
#include "insn.h"

struct far_target {
	struct emul_seg cs;
	u64 rip;
	u8 cpl;
	bool conforming;
	u8 dpl;
	struct emul_desc desc;
};

static bool target_long(struct emul_ctxt *ctxt, const struct far_target *t)
{
	return t->cs.attr & EMUL_SEG_L && emul_lma(ctxt);
}

static enum emul_mode target_mode(struct emul_ctxt *ctxt, const struct far_target *t)
{
	if (target_long(ctxt, t))
		return EMUL_LONG64;
	return t->cs.attr & EMUL_SEG_DB ? EMUL_PROT32 : EMUL_PROT16;
}

/* Read a code descriptor into t; what it must allow is the caller's business. */
static int code_look(struct emul_ctxt *ctxt, u16 selector, struct far_target *t)
{
	unsigned int type;
	int r;

	if (!(selector & 0xfffc))
		return emul_gp0(ctxt);
	r = emul_desc_read(ctxt, selector, EMUL_EXC_GP, &t->desc);
	if (r)
		return r;
	type = emul_desc_type(&t->desc);
	emul_desc_seg(&t->desc, &t->cs);
	t->conforming = (type & 0x1c) == 0x1c;
	t->dpl = emul_desc_dpl(&t->desc);
	return EMUL_OK;
}

static bool is_code(const struct far_target *t)
{
	return (emul_desc_type(&t->desc) & 0x18) == 0x18;
}

/* Presence, mode bits and the target address; then CS is what it will be at privilege cpl. */
static int code_finish(struct emul_ctxt *ctxt, struct far_target *t, unsigned int cpl)
{
	u16 selector = t->desc.selector;

	if (!emul_desc_present(&t->desc))
		return emul_fault_error(ctxt, EMUL_EXC_NP, emul_selector_error(selector));
	if (target_long(ctxt, t)) {
		if (t->cs.attr & EMUL_SEG_DB)
			return emul_fault_error(ctxt, EMUL_EXC_GP, emul_selector_error(selector));
		if (!emul_canonical(ctxt, t->rip))
			return emul_gp0(ctxt);
	} else {
		t->rip &= 0xffffffff;
		if (t->rip > t->cs.limit)
			return emul_gp0(ctxt);
	}
	t->cpl = cpl;
	t->cs.selector = (selector & 0xfffc) | cpl;
	t->cs.attr |= 1;	/* accessed */
	return emul_desc_touch(ctxt, &t->desc);
}

static void code_switch(struct emul_ctxt *ctxt, const struct far_target *t)
{
	ctxt->ops->set_seg(ctxt, EMUL_CS, &t->cs);
	ctxt->mode = target_mode(ctxt, t);
	ctxt->cpl = t->cpl;
	ctxt->d.next = t->rip;
}

/* CS and the return address, for CALL. */
static int push_return(struct emul_ctxt *ctxt, struct emul_stack *stack, unsigned int n)
{
	struct emul_seg cs;
	int r;

	ctxt->ops->get_seg(ctxt, EMUL_CS, &cs);
	r = emul_stack_push(ctxt, stack, cs.selector, n);
	return r ? r : emul_stack_push(ctxt, stack, ctxt->d.next, n);
}

static int far_real(struct emul_ctxt *ctxt, u16 selector, u64 offset, bool call)
{
	struct emul_stack stack;
	struct emul_seg cs;
	int r;

	emul_seg_real(ctxt, EMUL_CS, selector, &cs);
	if (offset > cs.limit)
		return emul_gp0(ctxt);
	if (call) {
		emul_stack_start(ctxt, &stack);
		r = push_return(ctxt, &stack, ctxt->d.bytes);
		if (r)
			return r;
		emul_stack_finish(ctxt, &stack);
	}
	ctxt->ops->set_seg(ctxt, EMUL_CS, &cs);
	ctxt->d.next = offset;
	return EMUL_OK;
}

/* A transfer that stays at the same privilege. */
static int far_same(struct emul_ctxt *ctxt, struct far_target *t, bool call, unsigned int n)
{
	enum emul_mode mode = ctxt->mode;
	struct emul_stack stack;
	int r = code_finish(ctxt, t, ctxt->cpl);

	if (r)
		return r;
	if (call) {
		/* Only a call gate changes to 64-bit mode before it pushes. */
		if (n == 8)
			ctxt->mode = EMUL_LONG64;
		emul_stack_start(ctxt, &stack);
		r = push_return(ctxt, &stack, n);
		ctxt->mode = mode;
		if (r)
			return r;
		emul_stack_finish(ctxt, &stack);
	}
	code_switch(ctxt, t);
	return EMUL_OK;
}

/* SS:RSP of an inner level from the TSS. */
static int inner_stack(struct emul_ctxt *ctxt, unsigned int cpl, struct emul_seg *ss, u64 *sp)
{
	struct emul_seg tr;
	bool wide;
	u16 selector = 0;
	u32 at, ss_at, end;
	int r;

	ctxt->ops->get_seg(ctxt, EMUL_TR, &tr);
	*sp = 0;
	memset(ss, 0, sizeof(*ss));
	if (emul_lma(ctxt)) {
		at = 4 + 8 * cpl;
		if (at + 7 > tr.limit)
			return emul_fault_error(ctxt, EMUL_EXC_TS, emul_selector_error(tr.selector));
		r = emul_sys_read(ctxt, tr.base + at, sp, 8);
		if (!r && !emul_canonical(ctxt, *sp))
			r = emul_fault_error(ctxt, EMUL_EXC_SS, 0);
		ss->selector = cpl;
		ss->attr = cpl << EMUL_SEG_DPL_SHIFT;
		return r;
	}
	wide = tr.attr & 8;
	at = wide ? 4 + 8 * cpl : 2 + 4 * cpl;
	ss_at = at + (wide ? 4 : 2);
	end = ss_at + 1;
	if (end > tr.limit)
		return emul_fault_error(ctxt, EMUL_EXC_TS, emul_selector_error(tr.selector));
	r = emul_sys_read(ctxt, tr.base + at, sp, wide ? 4 : 2);
	if (!r)
		r = emul_sys_read(ctxt, tr.base + ss_at, &selector, 2);
	if (r)
		return r;
	if (!(selector & 0xfffc))
		return emul_fault_error(ctxt, EMUL_EXC_TS, 0);
	return emul_seg_prepare(ctxt, EMUL_SS, selector, cpl, EMUL_EXC_TS, ss);
}

struct inner_frame {
	u64 param[31];
	struct emul_seg old_ss;
	unsigned int nparam, n;
};

static int inner_push(struct emul_ctxt *ctxt, struct emul_stack *stack, const struct inner_frame *f)
{
	unsigned int i;
	int r;

	r = emul_stack_push(ctxt, stack, f->old_ss.selector, f->n);
	if (!r)
		r = emul_stack_push(ctxt, stack, ctxt->regs[EMUL_RSP], f->n);
	for (i = f->nparam; i && !r; i--)
		r = emul_stack_push(ctxt, stack, f->param[i - 1], f->n);
	return r ? r : push_return(ctxt, stack, f->n);
}

/* CALL through a gate to a more privileged, non-conforming segment. */
static int far_inner(struct emul_ctxt *ctxt, struct far_target *t, unsigned int nparam, unsigned int n)
{
	struct inner_frame f = { .nparam = nparam, .n = n };
	enum emul_mode old_mode = ctxt->mode;
	u8 old_cpl = ctxt->cpl;
	struct emul_stack old, stack;
	struct emul_seg ss;
	unsigned int i;
	u64 sp;
	int r;

	r = code_finish(ctxt, t, t->dpl);
	if (!r)
		r = inner_stack(ctxt, t->cpl, &ss, &sp);
	emul_stack_start(ctxt, &old);
	for (i = 0; i < nparam && !r; i++)
		r = emul_stack_pop(ctxt, &old, &f.param[i], n);
	if (r)
		return r;
	ctxt->ops->get_seg(ctxt, EMUL_SS, &f.old_ss);
	ctxt->mode = target_mode(ctxt, t);
	ctxt->cpl = t->cpl;
	emul_stack_init(&stack, &ss, sp, ctxt->mode == EMUL_LONG64);
	r = inner_push(ctxt, &stack, &f);
	if (r) {
		ctxt->mode = old_mode;
		ctxt->cpl = old_cpl;
		return r;
	}
	ctxt->ops->set_seg(ctxt, EMUL_SS, &ss);
	emul_stack_finish(ctxt, &stack);
	code_switch(ctxt, t);
	return EMUL_OK;
}

static int far_gate(struct emul_ctxt *ctxt, struct emul_desc *gate, bool call)
{
	bool lma = emul_lma(ctxt), wide = emul_desc_type(gate) == 0xc;
	unsigned int n = lma ? 8 : wide ? 4 : 2;
	struct far_target t;
	u16 selector;
	int r;

	if (!emul_desc_present(gate))
		return emul_fault_error(ctxt, EMUL_EXC_NP, emul_selector_error(gate->selector));
	r = lma ? emul_desc_read_high(ctxt, EMUL_EXC_GP, gate) : EMUL_OK;
	selector = gate->lo >> 16;
	if (!r)
		r = code_look(ctxt, selector, &t);
	if (r)
		return r;
	t.rip = (gate->lo & 0xffff) | (wide ? gate->lo >> 32 & 0xffff0000 : 0) | gate->hi << 32;
	if (!is_code(&t) || t.dpl > ctxt->cpl || (lma && !(t.cs.attr & EMUL_SEG_L)))
		return emul_fault_error(ctxt, EMUL_EXC_GP, emul_selector_error(selector));
	if (!t.conforming && t.dpl < ctxt->cpl) {
		if (!call)
			return emul_fault_error(ctxt, EMUL_EXC_GP, emul_selector_error(selector));
		return far_inner(ctxt, &t, lma ? 0 : gate->lo >> 32 & 0x1f, n);
	}
	return far_same(ctxt, &t, call, n);
}

static int far_task(struct emul_ctxt *ctxt, u16 selector, enum emul_task_reason reason)
{
	u64 rip = ctxt->rip;
	int r;

	ctxt->rip = ctxt->d.next;
	r = emul_task_switch(ctxt, selector, reason, false, 0);
	if (ctxt->task_switched)
		ctxt->d.next = ctxt->rip;
	else
		ctxt->rip = rip;
	return r;
}

static int far_system(struct emul_ctxt *ctxt, struct emul_desc *desc, bool call)
{
	unsigned int type = emul_desc_type(desc), dpl = emul_desc_dpl(desc);
	bool lma = emul_lma(ctxt), gate = type == 0xc || (type == 4 && !lma);
	bool task = !lma && (type == 1 || type == 5 || type == 9);

	if (!gate && !task)
		return emul_fault_error(ctxt, EMUL_EXC_GP, emul_selector_error(desc->selector));
	if (dpl < ctxt->cpl || dpl < (desc->selector & 3u))
		return emul_fault_error(ctxt, EMUL_EXC_GP, emul_selector_error(desc->selector));
	if (task)
		return far_task(ctxt, desc->selector, call ? EMUL_TASK_CALL : EMUL_TASK_JMP);
	return far_gate(ctxt, desc, call);
}

static int far_branch(struct emul_ctxt *ctxt, u16 selector, u64 offset, bool call)
{
	struct far_target t;
	int r;

	if (!emul_protected(ctxt))
		return far_real(ctxt, selector, offset, call);
	r = code_look(ctxt, selector, &t);
	if (r)
		return r;
	if (!(emul_desc_type(&t.desc) & 0x10))
		return far_system(ctxt, &t.desc, call);
	t.rip = offset;
	if (!is_code(&t) || (t.conforming ? t.dpl > ctxt->cpl : t.dpl != ctxt->cpl || (selector & 3) > ctxt->cpl))
		return emul_fault_error(ctxt, EMUL_EXC_GP, emul_selector_error(selector));
	return far_same(ctxt, &t, call, ctxt->d.bytes);
}

static int far_from_memory(struct emul_ctxt *ctxt, bool call)
{
	const struct emul_insn *d = &ctxt->d;
	u64 offset = 0;
	u8 pointer[10];
	u16 selector;
	int r = emul_mem_read(ctxt, d->seg, d->ea, pointer, d->bytes + 2, 0);

	if (r)
		return r;
	memcpy(&offset, pointer, d->bytes);
	memcpy(&selector, pointer + d->bytes, 2);
	return far_branch(ctxt, selector, offset, call);
}

static u64 far_offset(const struct emul_ctxt *ctxt)
{
	return ctxt->d.imm & emul_mask(ctxt->d.bytes);
}

int emul_jmp_far_imm(struct emul_ctxt *ctxt)
{
	return far_branch(ctxt, ctxt->d.imm2, far_offset(ctxt), false);
}

int emul_call_far_imm(struct emul_ctxt *ctxt)
{
	return far_branch(ctxt, ctxt->d.imm2, far_offset(ctxt), true);
}

int emul_jmp_far_rm(struct emul_ctxt *ctxt)
{
	return far_from_memory(ctxt, false);
}

int emul_call_far_rm(struct emul_ctxt *ctxt)
{
	return far_from_memory(ctxt, true);
}

/* Data segments that the less privileged level may not use become null. */
static void drop_segments(struct emul_ctxt *ctxt)
{
	static const u8 data[] = { EMUL_ES, EMUL_DS, EMUL_FS, EMUL_GS };
	struct emul_seg seg;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(data); i++) {
		ctxt->ops->get_seg(ctxt, data[i], &seg);
		if (!(seg.attr & EMUL_SEG_P) || (seg.attr & 0xc) == 0xc)
			continue;
		if ((seg.attr & EMUL_SEG_DPL) >> EMUL_SEG_DPL_SHIFT >= ctxt->cpl)
			continue;
		memset(&seg, 0, sizeof(seg));
		ctxt->ops->set_seg(ctxt, data[i], &seg);
	}
}

/* The code segment that a RET or IRET goes back to. */
static int return_look(struct emul_ctxt *ctxt, u16 selector, u64 rip, struct far_target *t)
{
	unsigned int rpl = selector & 3;
	int r = code_look(ctxt, selector, t);

	if (r)
		return r;
	t->rip = rip;
	if (!is_code(t) || rpl < ctxt->cpl || (t->conforming ? t->dpl > rpl : t->dpl != rpl))
		return emul_fault_error(ctxt, EMUL_EXC_GP, emul_selector_error(selector));
	return code_finish(ctxt, t, rpl);
}

/* Switch to an outer level's code, with SS:RSP from the inner stack; release bytes of parameters there too. */
static int return_outer(struct emul_ctxt *ctxt, const struct far_target *t, u16 ss_selector, u64 sp, u64 release)
{
	enum emul_mode mode = ctxt->mode;
	struct emul_stack stack;
	struct emul_seg ss;
	bool outer = t->cpl != ctxt->cpl;
	int r;

	ctxt->mode = target_mode(ctxt, t);
	r = emul_seg_prepare(ctxt, EMUL_SS, ss_selector, t->cpl, EMUL_EXC_GP, &ss);
	ctxt->mode = mode;
	if (r)
		return r;
	emul_stack_init(&stack, &ss, sp, target_long(ctxt, t));
	emul_stack_drop(&stack, release);
	ctxt->ops->set_seg(ctxt, EMUL_SS, &ss);
	emul_stack_finish(ctxt, &stack);
	code_switch(ctxt, t);
	if (outer)
		drop_segments(ctxt);
	return EMUL_OK;
}

/* CA with an immediate, CB without */
int emul_ret_far(struct emul_ctxt *ctxt)
{
	unsigned int n = ctxt->d.bytes;
	u64 rip, selector, ss, sp;
	struct emul_stack stack;
	struct far_target t;
	int r;

	emul_stack_start(ctxt, &stack);
	r = emul_stack_pop(ctxt, &stack, &rip, n);
	if (!r)
		r = emul_stack_pop(ctxt, &stack, &selector, n);
	if (r)
		return r;
	emul_stack_drop(&stack, ctxt->d.imm);
	if (!emul_protected(ctxt)) {
		r = far_real(ctxt, selector, rip, false);
		if (!r)
			emul_stack_finish(ctxt, &stack);
		return r;
	}
	r = return_look(ctxt, selector, rip, &t);
	if (r)
		return r;
	if (t.cpl == ctxt->cpl) {
		emul_stack_finish(ctxt, &stack);
		code_switch(ctxt, &t);
		return EMUL_OK;
	}
	r = emul_stack_pop(ctxt, &stack, &sp, n);
	if (!r)
		r = emul_stack_pop(ctxt, &stack, &ss, n);
	return r ? r : return_outer(ctxt, &t, ss, sp, ctxt->d.imm);
}

#define IRET_FLAGS (FL_ARITH | FL_TF | FL_DF | FL_NT)

/* Which flags IRET may change at a privilege level. */
static u64 iret_flags(const struct emul_ctxt *ctxt)
{
	u64 change = IRET_FLAGS;

	if (ctxt->d.bytes != 2)
		change |= FL_RF | FL_AC | FL_ID;
	if (ctxt->cpl <= emul_iopl(ctxt))
		change |= FL_IF;
	if (ctxt->cpl == 0) {
		change |= FL_IOPL;
		if (ctxt->d.bytes != 2)
			change |= FL_VIF | FL_VIP;
	}
	return change;
}

static int iret_real(struct emul_ctxt *ctxt)
{
	unsigned int n = ctxt->d.bytes;
	u64 rip, selector, flags, change = IRET_FLAGS | FL_IF;
	bool vme = ctxt->mode == EMUL_VM86 && emul_iopl(ctxt) < 3;
	struct emul_stack stack;
	int r;

	if (vme && (n != 2 || !(ctxt->ops->get_cr(ctxt, 4) & CR4_VME)))
		return emul_gp0(ctxt);
	emul_stack_start(ctxt, &stack);
	r = emul_stack_pop(ctxt, &stack, &rip, n);
	if (!r)
		r = emul_stack_pop(ctxt, &stack, &selector, n);
	if (!r)
		r = emul_stack_pop(ctxt, &stack, &flags, n);
	if (!r && vme && (flags & FL_TF || (flags & FL_IF && ctxt->rflags & FL_VIP)))
		r = emul_gp0(ctxt);
	if (!r)
		r = far_real(ctxt, selector, rip, false);
	if (r)
		return r;
	emul_stack_finish(ctxt, &stack);
	if (n != 2)
		change |= FL_RF | FL_AC | FL_ID;
	if (ctxt->mode == EMUL_REAL)
		change |= FL_IOPL;
	if (vme) {
		change &= ~FL_IF;
		ctxt->rflags = flags & FL_IF ? ctxt->rflags | FL_VIF : ctxt->rflags & ~FL_VIF;
	}
	emul_set_flags(ctxt, flags, change);
	return EMUL_OK;
}

/* Back to virtual-8086 mode: ESP, SS, ES, DS, FS, GS follow EFLAGS on the stack. */
static int iret_vm86(struct emul_ctxt *ctxt, struct emul_stack *stack, u64 rip, u64 selector, u64 flags)
{
	static const u8 order[] = { EMUL_SS, EMUL_ES, EMUL_DS, EMUL_FS, EMUL_GS };
	struct emul_seg seg;
	u64 value[5], sp;
	unsigned int i;
	int r = emul_stack_pop(ctxt, stack, &sp, 4);

	for (i = 0; i < ARRAY_SIZE(order) && !r; i++)
		r = emul_stack_pop(ctxt, stack, &value[i], 4);
	if (!r && (rip & 0xffffffff) > 0xffff)
		r = emul_gp0(ctxt);
	if (r)
		return r;
	emul_set_flags(ctxt, flags, iret_flags(ctxt) | FL_VM);
	ctxt->mode = EMUL_VM86;
	ctxt->cpl = 3;
	emul_seg_real(ctxt, EMUL_CS, selector, &seg);
	ctxt->ops->set_seg(ctxt, EMUL_CS, &seg);
	for (i = 0; i < ARRAY_SIZE(order); i++) {
		emul_seg_real(ctxt, order[i], value[i], &seg);
		ctxt->ops->set_seg(ctxt, order[i], &seg);
	}
	emul_reg_write(ctxt, EMUL_RSP, 4, sp);
	ctxt->d.next = rip & 0xffff;
	return EMUL_OK;
}

static int iret_task(struct emul_ctxt *ctxt)
{
	struct emul_seg tr;
	u16 link = 0;
	int r;

	if (emul_lma(ctxt))
		return emul_gp0(ctxt);
	ctxt->ops->get_seg(ctxt, EMUL_TR, &tr);
	r = emul_sys_read(ctxt, tr.base, &link, 2);
	return r ? r : far_task(ctxt, link, EMUL_TASK_IRET);
}

static int iret_protected(struct emul_ctxt *ctxt)
{
	unsigned int n = ctxt->d.bytes;
	u64 rip, selector, flags, ss, sp, change = iret_flags(ctxt);
	struct emul_stack stack;
	struct far_target t;
	int r;

	if (ctxt->rflags & FL_NT)
		return iret_task(ctxt);
	emul_stack_start(ctxt, &stack);
	r = emul_stack_pop(ctxt, &stack, &rip, n);
	if (!r)
		r = emul_stack_pop(ctxt, &stack, &selector, n);
	if (!r)
		r = emul_stack_pop(ctxt, &stack, &flags, n);
	if (r)
		return r;
	if (flags & FL_VM && n == 4 && !ctxt->cpl && !emul_lma(ctxt))
		return iret_vm86(ctxt, &stack, rip, selector, flags);
	r = return_look(ctxt, selector, rip, &t);
	if (r)
		return r;
	if (t.cpl == ctxt->cpl && ctxt->mode != EMUL_LONG64) {
		emul_stack_finish(ctxt, &stack);
		code_switch(ctxt, &t);
		emul_set_flags(ctxt, flags, change);
		return EMUL_OK;
	}
	r = emul_stack_pop(ctxt, &stack, &sp, n);
	if (!r)
		r = emul_stack_pop(ctxt, &stack, &ss, n);
	if (!r)
		r = return_outer(ctxt, &t, ss, sp, 0);
	if (!r)
		emul_set_flags(ctxt, flags, change);
	return r;
}

int emul_iret(struct emul_ctxt *ctxt)
{
	int r = emul_protected(ctxt) ? iret_protected(ctxt) : iret_real(ctxt);

	if (!r)
		ctxt->nmi_unblock = true;
	return r;
}

int emul_real_int(struct emul_ctxt *ctxt, u8 vector)
{
	struct emul_stack stack;
	struct emul_seg cs, target;
	struct emul_dt idt;
	u16 entry[2];
	int r;

	ctxt->ops->get_idt(ctxt, &idt);
	if (vector * 4u + 3 > idt.limit)
		return emul_gp0(ctxt);
	r = emul_sys_read(ctxt, idt.base + vector * 4u, entry, 4);
	if (r)
		return r;
	ctxt->ops->get_seg(ctxt, EMUL_CS, &cs);
	emul_stack_start(ctxt, &stack);
	r = emul_stack_push(ctxt, &stack, ctxt->rflags & ~FL_RF, 2);
	if (!r)
		r = emul_stack_push(ctxt, &stack, cs.selector, 2);
	if (!r)
		r = emul_stack_push(ctxt, &stack, ctxt->rip, 2);
	if (r)
		return r;
	emul_seg_real(ctxt, EMUL_CS, entry[1], &target);
	ctxt->ops->set_seg(ctxt, EMUL_CS, &target);
	emul_stack_finish(ctxt, &stack);
	ctxt->rflags &= ~(FL_IF | FL_TF | FL_AC | FL_RF);
	ctxt->rip = entry[0];
	return EMUL_OK;
}

static int software_interrupt(struct emul_ctxt *ctxt, u8 vector)
{
	u64 rip = ctxt->rip;
	int r;

	ctxt->rip = ctxt->d.next;
	if (ctxt->mode == EMUL_REAL) {
		r = emul_real_int(ctxt, vector);
		ctxt->d.next = ctxt->rip;
		if (r)
			ctxt->rip = rip;
		return r;
	}
	emul_fault(ctxt, vector);
	ctxt->exception.soft = true;
	return EMUL_FAULT;
}

/* In virtual-8086 mode with IOPL < 3 INT n is privileged; VME's redirection bitmap is not covered. */
int emul_int(struct emul_ctxt *ctxt)
{
	if (ctxt->mode == EMUL_VM86) {
		if (ctxt->ops->get_cr(ctxt, 4) & CR4_VME)
			return EMUL_UNHANDLED;
		if (emul_iopl(ctxt) < 3)
			return emul_gp0(ctxt);
	}
	return software_interrupt(ctxt, ctxt->d.imm);
}

int emul_int3(struct emul_ctxt *ctxt)
{
	return software_interrupt(ctxt, EMUL_EXC_BP);
}

int emul_int1(struct emul_ctxt *ctxt)
{
	return software_interrupt(ctxt, EMUL_EXC_DB);
}

int emul_into(struct emul_ctxt *ctxt)
{
	if (!(ctxt->rflags & FL_OF))
		return EMUL_OK;
	return software_interrupt(ctxt, EMUL_EXC_OF);
}
