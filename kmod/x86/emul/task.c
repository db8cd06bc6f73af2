// SPDX-License-Identifier: GPL-2.0-only
/*
 * Hardware task switches (APM 2 §12.3, SDM 3A §8.3), which SVM and VT-x leave to the hypervisor.
 *
 * The order: find and check the new TSS and read all of it; mark it busy (a compare-exchange, the only step that may have to be retried);
 * write the old task's state; link, busy bits, TR, CR3, registers.  Up to here a fault belongs to the old task.  Then the segment
 * selectors of the new task are loaded, and a fault while doing so belongs to the new one: task_switched is set and rip is the new one's.
 *
 * Both TSS formats are read into one struct.  Not covered: the debug trap of a TSS with the T bit.
 */
#include "insn.h"

struct task {
	u32 cr3, rip, flags, regs[8];
	u16 selector[6];	/* ES CS SS DS FS GS, as enum emul_sreg */
	u16 ldt;
};

#define TSS32_SIZE	0x68
#define TSS32_CR3	0x1c
#define TSS32_RIP	0x20
#define TSS32_LDT	0x60
#define TSS16_SIZE	0x2c
#define TSS16_RIP	0x0e

static int task_read(struct emul_ctxt *ctxt, const struct emul_seg *tss, bool wide, struct task *t)
{
	u8 raw[TSS32_SIZE];
	unsigned int i;
	u16 word;
	int r = emul_sys_read(ctxt, tss->base, raw, wide ? TSS32_SIZE : TSS16_SIZE);

	if (r)
		return r;
	memset(t, 0, sizeof(*t));
	if (wide) {
		memcpy(&t->cr3, raw + TSS32_CR3, 4);
		memcpy(&t->rip, raw + TSS32_RIP, 4);
		memcpy(&t->flags, raw + TSS32_RIP + 4, 4);
		memcpy(t->regs, raw + TSS32_RIP + 8, sizeof(t->regs));
		for (i = 0; i < 6; i++)
			memcpy(&t->selector[i], raw + 0x48 + 4 * i, 2);
		memcpy(&t->ldt, raw + TSS32_LDT, 2);
		return EMUL_OK;
	}
	for (i = 0; i < 10; i++) {
		memcpy(&word, raw + TSS16_RIP + 2 * i, 2);
		if (i == 0)
			t->rip = word;
		else if (i == 1)
			t->flags = word;
		else
			t->regs[i - 2] = word | 0xffff0000;
	}
	memcpy(t->selector, raw + 0x22, 8);
	memcpy(&t->ldt, raw + 0x2a, 2);
	return EMUL_OK;
}

/* The dynamic fields of the old TSS. */
static int task_save(struct emul_ctxt *ctxt, const struct emul_seg *tr, bool wide, u64 flags)
{
	u32 fields[16];
	u16 words[14];
	struct emul_seg seg;
	unsigned int i;

	fields[0] = ctxt->rip;
	fields[1] = flags;
	for (i = 0; i < 8; i++)
		fields[2 + i] = ctxt->regs[i];
	for (i = EMUL_ES; i <= EMUL_GS; i++) {
		ctxt->ops->get_seg(ctxt, i, &seg);
		fields[10 + i] = seg.selector;
	}
	if (wide)
		return emul_sys_write(ctxt, tr->base + TSS32_RIP, fields, sizeof(fields));
	for (i = 0; i < ARRAY_SIZE(words); i++)
		words[i] = fields[i];
	return emul_sys_write(ctxt, tr->base + TSS16_RIP, words, sizeof(words));
}

/* The TSS that a selector or its task gate means, with the checks of the reason. */
static int task_find(struct emul_ctxt *ctxt, u16 selector, enum emul_task_reason reason, struct emul_desc *desc)
{
	u8 vector = reason == EMUL_TASK_IRET ? EMUL_EXC_TS : EMUL_EXC_GP;
	bool checked = reason == EMUL_TASK_GATE || reason == EMUL_TASK_IRET;
	unsigned int want = reason == EMUL_TASK_IRET ? 3 : 1;
	int r;

	if (!(selector & 0xfffc))
		return emul_fault_error(ctxt, vector, 0);
	r = emul_desc_read(ctxt, selector, vector, desc);
	if (r)
		return r;
	if (!checked && (emul_desc_dpl(desc) < ctxt->cpl || emul_desc_dpl(desc) < (selector & 3u)))
		return emul_fault_error(ctxt, EMUL_EXC_GP, emul_selector_error(selector));
	if (!checked && emul_desc_type(desc) == 5) {
		if (!emul_desc_present(desc))
			return emul_fault_error(ctxt, EMUL_EXC_NP, emul_selector_error(selector));
		selector = desc->lo >> 16;
		if (!(selector & 0xfffc))
			return emul_fault_error(ctxt, vector, 0);
		r = emul_desc_read(ctxt, selector, vector, desc);
		if (r)
			return r;
	}
	if (selector & 4 || (emul_desc_type(desc) & ~8u) != want)
		return emul_fault_error(ctxt, vector, emul_selector_error(selector));
	if (!emul_desc_present(desc))
		return emul_fault_error(ctxt, EMUL_EXC_NP, emul_selector_error(selector));
	return EMUL_OK;
}

/* Clear the busy bit of the task that is left. */
static int task_release(struct emul_ctxt *ctxt, u16 selector)
{
	struct emul_desc desc;
	u64 idle;
	int r = emul_desc_read(ctxt, selector, EMUL_EXC_TS, &desc);

	if (r)
		return r;
	idle = desc.lo & ~(2ull << 40);
	return emul_sys_write(ctxt, desc.linear, &idle, 8);
}

static int task_segment(struct emul_ctxt *ctxt, enum emul_sreg nr, u16 selector)
{
	struct emul_seg seg;
	int r = emul_seg_prepare(ctxt, nr, selector, ctxt->cpl, EMUL_EXC_TS, &seg);

	if (!r)
		ctxt->ops->set_seg(ctxt, nr, &seg);
	return r;
}

static int task_ldt(struct emul_ctxt *ctxt, u16 selector)
{
	struct emul_seg seg = { .selector = selector };
	struct emul_desc desc;
	int r;

	if (selector & 0xfffc) {
		if (selector & 4)
			return emul_fault_error(ctxt, EMUL_EXC_TS, emul_selector_error(selector));
		r = emul_desc_read(ctxt, selector, EMUL_EXC_TS, &desc);
		if (r)
			return r;
		if (emul_desc_type(&desc) != 2 || !emul_desc_present(&desc))
			return emul_fault_error(ctxt, EMUL_EXC_TS, emul_selector_error(selector));
		emul_desc_seg(&desc, &seg);
	}
	ctxt->ops->set_seg(ctxt, EMUL_LDTR, &seg);
	return EMUL_OK;
}

static int task_code(struct emul_ctxt *ctxt, u16 selector)
{
	unsigned int rpl = selector & 3, type, dpl;
	struct emul_desc desc;
	struct emul_seg seg;
	int r;

	if (!(selector & 0xfffc))
		return emul_fault_error(ctxt, EMUL_EXC_TS, 0);
	r = emul_desc_read(ctxt, selector, EMUL_EXC_TS, &desc);
	if (r)
		return r;
	type = emul_desc_type(&desc);
	dpl = emul_desc_dpl(&desc);
	if ((type & 0x18) != 0x18 || (type & 4 ? dpl > rpl : dpl != rpl))
		return emul_fault_error(ctxt, EMUL_EXC_TS, emul_selector_error(selector));
	if (!emul_desc_present(&desc))
		return emul_fault_error(ctxt, EMUL_EXC_NP, emul_selector_error(selector));
	r = emul_desc_touch(ctxt, &desc);
	if (r)
		return r;
	emul_desc_seg(&desc, &seg);
	ctxt->ops->set_seg(ctxt, EMUL_CS, &seg);
	ctxt->mode = seg.attr & EMUL_SEG_DB ? EMUL_PROT32 : EMUL_PROT16;
	if (ctxt->rip > seg.limit)
		return emul_gp0(ctxt);
	return EMUL_OK;
}

/* Selectors first, unusable, so that a fault below finds no segment of the old task. */
static void task_clear_segments(struct emul_ctxt *ctxt, const struct task *t)
{
	struct emul_seg seg = { 0 };
	unsigned int i;

	for (i = EMUL_ES; i <= EMUL_GS; i++) {
		seg.selector = t->selector[i];
		ctxt->ops->set_seg(ctxt, i, &seg);
	}
	seg.selector = t->ldt;
	ctxt->ops->set_seg(ctxt, EMUL_LDTR, &seg);
}

static int task_load_segments(struct emul_ctxt *ctxt, const struct task *t)
{
	static const u8 data[] = { EMUL_SS, EMUL_ES, EMUL_DS, EMUL_FS, EMUL_GS };
	struct emul_seg seg;
	unsigned int i;
	int r = task_ldt(ctxt, t->ldt);

	if (r)
		return r;
	if (ctxt->rflags & FL_VM) {
		for (i = EMUL_ES; i <= EMUL_GS; i++) {
			emul_seg_real(ctxt, i, t->selector[i], &seg);
			ctxt->ops->set_seg(ctxt, i, &seg);
		}
		return EMUL_OK;
	}
	r = task_code(ctxt, t->selector[EMUL_CS]);
	for (i = 0; i < ARRAY_SIZE(data) && !r; i++)
		r = task_segment(ctxt, data[i], t->selector[data[i]]);
	return r;
}

static int task_push_error(struct emul_ctxt *ctxt, bool wide, u32 error)
{
	struct emul_stack stack;
	int r;

	emul_stack_start(ctxt, &stack);
	r = emul_stack_push(ctxt, &stack, error, wide ? 4 : 2);
	if (!r)
		emul_stack_finish(ctxt, &stack);
	return r;
}

/* From here on it is the new task. */
static int task_enter(struct emul_ctxt *ctxt, const struct task *t, bool wide, bool nested)
{
	unsigned int i;
	u64 cr0 = ctxt->ops->get_cr(ctxt, 0);
	int r;

	if (wide && cr0 >> 31 & 1) {
		r = ctxt->ops->set_cr(ctxt, 3, t->cr3);
		if (r)
			return r;
	}
	r = ctxt->ops->set_cr(ctxt, 0, cr0 | CR0_TS);
	if (r)
		return r;
	ctxt->task_switched = true;
	ctxt->rip = t->rip;
	ctxt->rflags = (t->flags & 0x3f7fd5ull) | FL_FIXED | (nested ? FL_NT : 0);
	for (i = 0; i < 8; i++)
		ctxt->regs[i] = t->regs[i];
	ctxt->regs_dirty = 0xff;
	if (ctxt->rflags & FL_VM) {
		ctxt->mode = EMUL_VM86;
		ctxt->cpl = 3;
	} else {
		ctxt->mode = EMUL_PROT32;
		ctxt->cpl = t->selector[EMUL_CS] & 3;
	}
	task_clear_segments(ctxt, t);
	return task_load_segments(ctxt, t);
}

int emul_task_switch(struct emul_ctxt *ctxt, u16 selector, enum emul_task_reason reason, bool has_error, u32 error)
{
	bool nested = reason == EMUL_TASK_CALL || reason == EMUL_TASK_GATE, wide, old_wide;
	struct emul_seg tr, tss;
	struct emul_desc desc;
	struct task t;
	u64 flags = ctxt->rflags;
	int r;

	if (!emul_protected(ctxt) && ctxt->mode != EMUL_VM86)
		return EMUL_UNHANDLED;
	if (emul_lma(ctxt))
		return emul_fault_error(ctxt, EMUL_EXC_GP, emul_selector_error(selector));
	r = task_find(ctxt, selector, reason, &desc);
	if (r)
		return r;
	emul_desc_seg(&desc, &tss);
	wide = tss.attr & 8;
	if (tss.limit < (wide ? TSS32_SIZE : TSS16_SIZE) - 1u)
		return emul_fault_error(ctxt, EMUL_EXC_TS, emul_selector_error(desc.selector));
	r = task_read(ctxt, &tss, wide, &t);
	if (!r)
		r = emul_desc_update(ctxt, &desc, 2ull << 40);
	if (r)
		return r;
	ctxt->ops->get_seg(ctxt, EMUL_TR, &tr);
	old_wide = tr.attr & 8;
	if (reason == EMUL_TASK_IRET)
		flags &= ~FL_NT;
	r = task_save(ctxt, &tr, old_wide, flags);
	if (!r && !nested)
		r = task_release(ctxt, tr.selector);
	if (!r && nested)
		r = emul_sys_write(ctxt, tss.base, &tr.selector, 2);
	if (r)
		return r;
	tss.attr |= 2;
	ctxt->ops->set_seg(ctxt, EMUL_TR, &tss);
	r = task_enter(ctxt, &t, wide, nested);
	if (!r && has_error)
		r = task_push_error(ctxt, wide, error);
	return r;
}
