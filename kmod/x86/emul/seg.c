// SPDX-License-Identifier: GPL-2.0-only
/*
 * Descriptors and segment registers (APM 2 §4.7-4.12, SDM 3A §3.4, §5.6-5.8).
 *
 * Loading is split: emul_seg_prepare() makes all checks and the accessed bit's update and returns the register's new content, so that far
 * transfers can prepare several and then set them together; emul_seg_load() is both.  A descriptor is read once; its update is a
 * compare-exchange against what was read, so a guest that changes it in between gets EMUL_RETRY and never a mixture.
 */
#include "insn.h"

/* Where the descriptor of a selector lies. */
static int desc_find(struct emul_ctxt *ctxt, u16 selector, unsigned int size, u8 vector, u64 *linear)
{
	u64 base, limit, offset = selector & 0xfff8;

	if (selector & 4) {
		struct emul_seg ldt;

		ctxt->ops->get_seg(ctxt, EMUL_LDTR, &ldt);
		if (!(ldt.attr & EMUL_SEG_P))
			return emul_fault_error(ctxt, vector, emul_selector_error(selector));
		base = ldt.base;
		limit = ldt.limit;
	} else {
		struct emul_dt gdt;

		ctxt->ops->get_gdt(ctxt, &gdt);
		base = gdt.base;
		limit = gdt.limit;
	}
	if (offset + size - 1 > limit)
		return emul_fault_error(ctxt, vector, emul_selector_error(selector));
	*linear = base + offset;
	return EMUL_OK;
}

/* Read the descriptor of a selector that is not null; beyond the table: `vector` with the selector. */
int emul_desc_read(struct emul_ctxt *ctxt, u16 selector, u8 vector, struct emul_desc *desc)
{
	int r = desc_find(ctxt, selector, 8, vector, &desc->linear);

	desc->selector = selector;
	desc->lo = 0;
	desc->hi = 0;
	return r ? r : emul_sys_read(ctxt, desc->linear, &desc->lo, 8);
}

/* The second half of a 16-byte system descriptor in long mode; its type field must be zero. */
int emul_desc_read_high(struct emul_ctxt *ctxt, u8 vector, struct emul_desc *desc)
{
	u64 linear;
	int r = desc_find(ctxt, desc->selector, 16, vector, &linear);

	if (!r)
		r = emul_sys_read(ctxt, linear + 8, &desc->hi, 8);
	if (!r && desc->hi >> 40 & 0x1f)
		r = emul_fault_error(ctxt, vector, emul_selector_error(desc->selector));
	return r;
}

/* Set bits in the descriptor's low half. */
int emul_desc_update(struct emul_ctxt *ctxt, struct emul_desc *desc, u64 bits)
{
	u64 old = desc->lo, linear = desc->linear;

	if ((old & bits) == bits)
		return EMUL_OK;
	desc->lo |= bits;
	if (!emul_lma(ctxt))
		linear = (u32)linear;
	return (ctxt->ops->cmpxchg)(ctxt, linear, &old, &desc->lo, 8, EMUL_ACC_SYSTEM);
}

/* Set the accessed bit of a code or data descriptor. */
int emul_desc_touch(struct emul_ctxt *ctxt, struct emul_desc *desc)
{
	return emul_desc_update(ctxt, desc, 1ull << 40);
}

void emul_desc_seg(const struct emul_desc *desc, struct emul_seg *seg)
{
	u64 lo = desc->lo;

	seg->selector = desc->selector;
	seg->attr = (lo >> 40 & 0xff) | (lo >> 44 & 0xf00);
	seg->base = (lo >> 16 & 0xffffff) | (lo >> 32 & 0xff000000) | desc->hi << 32;
	seg->limit = (lo & 0xffff) | (lo >> 32 & 0xf0000);
	if (seg->attr & EMUL_SEG_G)
		seg->limit = seg->limit << 12 | 0xfff;
}

/* Real mode changes selector and base only; virtual-8086 mode has fixed limits and rights. */
void emul_seg_real(struct emul_ctxt *ctxt, enum emul_sreg nr, u16 selector, struct emul_seg *seg)
{
	ctxt->ops->get_seg(ctxt, nr, seg);
	seg->selector = selector;
	seg->base = (u64)selector << 4;
	if (ctxt->mode == EMUL_VM86) {
		seg->limit = 0xffff;
		seg->attr = 0xf3;
	}
}

static int null_segment(struct emul_ctxt *ctxt, enum emul_sreg nr, u16 selector, unsigned int cpl, u8 vector, struct emul_seg *seg)
{
	if (nr == EMUL_SS && (ctxt->mode != EMUL_LONG64 || cpl == 3 || (selector & 3) != cpl))
		return emul_fault_error(ctxt, vector, emul_selector_error(selector));
	memset(seg, 0, sizeof(*seg));
	seg->selector = selector;
	if (nr == EMUL_SS)
		seg->attr = cpl << EMUL_SEG_DPL_SHIFT;
	return EMUL_OK;
}

static bool stack_type_ok(const struct emul_desc *desc, u16 selector, unsigned int cpl)
{
	return (emul_desc_type(desc) & 0x1a) == 0x12 && (selector & 3) == cpl && emul_desc_dpl(desc) == cpl;
}

static bool data_type_ok(const struct emul_desc *desc, u16 selector, unsigned int cpl)
{
	unsigned int type = emul_desc_type(desc), dpl = emul_desc_dpl(desc);

	if (!(type & 0x10) || (type & 0xa) == 8)
		return false;
	if ((type & 0xc) == 0xc)
		return true;
	return dpl >= cpl && dpl >= (selector & 3u);
}

/* vector: #GP, or #TS during a task switch or stack switch. */
int emul_seg_prepare(struct emul_ctxt *ctxt, enum emul_sreg nr, u16 selector, unsigned int cpl, u8 vector, struct emul_seg *seg)
{
	struct emul_desc desc;
	bool ok;
	int r;

	if (!(selector & 0xfffc))
		return null_segment(ctxt, nr, selector, cpl, vector, seg);
	r = emul_desc_read(ctxt, selector, vector, &desc);
	if (r)
		return r;
	ok = nr == EMUL_SS ? stack_type_ok(&desc, selector, cpl) : data_type_ok(&desc, selector, cpl);
	if (!ok)
		return emul_fault_error(ctxt, vector, emul_selector_error(selector));
	if (!emul_desc_present(&desc))
		return emul_fault_error(ctxt, nr == EMUL_SS ? EMUL_EXC_SS : EMUL_EXC_NP, emul_selector_error(selector));
	r = emul_desc_touch(ctxt, &desc);
	if (r)
		return r;
	emul_desc_seg(&desc, seg);
	return EMUL_OK;
}

/* Any of ES, SS, DS, FS, GS, as MOV and POP load them. */
int emul_seg_load(struct emul_ctxt *ctxt, enum emul_sreg nr, u16 selector)
{
	struct emul_seg seg;
	int r;

	if (!emul_protected(ctxt)) {
		emul_seg_real(ctxt, nr, selector, &seg);
	} else {
		r = emul_seg_prepare(ctxt, nr, selector, ctxt->cpl, EMUL_EXC_GP, &seg);
		if (r)
			return r;
	}
	ctxt->ops->set_seg(ctxt, nr, &seg);
	return EMUL_OK;
}

/* 8E */
int emul_mov_sreg_rm(struct emul_ctxt *ctxt)
{
	unsigned int nr = ctxt->d.modrm >> 3 & 7;
	u64 value;
	int r;

	if (nr > EMUL_GS || nr == EMUL_CS)
		return emul_ud(ctxt);
	r = emul_rm_read(ctxt, 2, &value);
	if (!r)
		r = emul_seg_load(ctxt, nr, value);
	if (!r && nr == EMUL_SS)
		ctxt->shadow = EMUL_SHADOW_MOV_SS;
	return r;
}

/* A register is written with operand size, memory always as a word. */
static int store_selector(struct emul_ctxt *ctxt, enum emul_sreg nr)
{
	struct emul_seg seg;

	ctxt->ops->get_seg(ctxt, nr, &seg);
	return emul_rm_write(ctxt, ctxt->d.mem ? 2 : ctxt->d.bytes, seg.selector);
}

/* 8C */
int emul_mov_rm_sreg(struct emul_ctxt *ctxt)
{
	unsigned int nr = ctxt->d.modrm >> 3 & 7;

	if (nr > EMUL_GS)
		return emul_ud(ctxt);
	return store_selector(ctxt, nr);
}

/* LES C4, LDS C5, LSS 0FB2, LFS 0FB4, LGS 0FB5 */
int emul_load_far(struct emul_ctxt *ctxt)
{
	const struct emul_insn *d = &ctxt->d;
	enum emul_sreg nr;
	u8 pointer[10];
	u64 offset = 0;
	u16 selector;
	int r;

	switch (d->opcode) {
	case 0xc4:
		nr = EMUL_ES;
		break;
	case 0xc5:
		nr = EMUL_DS;
		break;
	case 0xb2:
		nr = EMUL_SS;
		break;
	case 0xb4:
		nr = EMUL_FS;
		break;
	default:
		nr = EMUL_GS;
		break;
	}
	r = emul_mem_read(ctxt, d->seg, d->ea, pointer, d->bytes + 2, 0);
	if (r)
		return r;
	memcpy(&offset, pointer, d->bytes);
	memcpy(&selector, pointer + d->bytes, 2);
	r = emul_seg_load(ctxt, nr, selector);
	if (r)
		return r;
	emul_reg_write(ctxt, d->reg, d->bytes, offset);
	return EMUL_OK;
}

/* UMIP keeps system addresses from user code. */
static int umip_check(struct emul_ctxt *ctxt)
{
	if (ctxt->cpl && ctxt->ops->get_cr(ctxt, 4) & CR4_UMIP)
		return emul_gp0(ctxt);
	return EMUL_OK;
}

int emul_sldt(struct emul_ctxt *ctxt)
{
	int r = umip_check(ctxt);

	return r ? r : store_selector(ctxt, EMUL_LDTR);
}

int emul_str(struct emul_ctxt *ctxt)
{
	int r = umip_check(ctxt);

	return r ? r : store_selector(ctxt, EMUL_TR);
}

/* An LDT or available TSS descriptor of the GDT, for LLDT and LTR. */
static int system_desc(struct emul_ctxt *ctxt, u16 selector, bool tss, struct emul_desc *desc)
{
	unsigned int type;
	int r;

	if (selector & 4)
		return emul_fault_error(ctxt, EMUL_EXC_GP, emul_selector_error(selector));
	r = emul_desc_read(ctxt, selector, EMUL_EXC_GP, desc);
	if (r)
		return r;
	type = emul_desc_type(desc);
	if (tss ? type != 9 && (type != 1 || emul_lma(ctxt)) : type != 2)
		return emul_fault_error(ctxt, EMUL_EXC_GP, emul_selector_error(selector));
	if (!emul_desc_present(desc))
		return emul_fault_error(ctxt, EMUL_EXC_NP, emul_selector_error(selector));
	if (!emul_lma(ctxt))
		return EMUL_OK;
	r = emul_desc_read_high(ctxt, EMUL_EXC_GP, desc);
	if (!r && !emul_canonical(ctxt, (desc->lo >> 16 & 0xffffff) | (desc->lo >> 32 & 0xff000000) | desc->hi << 32))
		r = emul_fault_error(ctxt, EMUL_EXC_GP, emul_selector_error(selector));
	return r;
}

int emul_lldt(struct emul_ctxt *ctxt)
{
	struct emul_seg seg = { 0 };
	struct emul_desc desc;
	u64 selector;
	int r = emul_rm_read(ctxt, 2, &selector);

	if (r)
		return r;
	if (selector & 0xfffc) {
		r = system_desc(ctxt, selector, false, &desc);
		if (r)
			return r;
		emul_desc_seg(&desc, &seg);
	} else {
		seg.selector = selector;
	}
	ctxt->ops->set_seg(ctxt, EMUL_LDTR, &seg);
	return EMUL_OK;
}

int emul_ltr(struct emul_ctxt *ctxt)
{
	struct emul_desc desc;
	struct emul_seg seg;
	u64 selector;
	int r = emul_rm_read(ctxt, 2, &selector);

	if (r)
		return r;
	if (!(selector & 0xfffc))
		return emul_gp0(ctxt);
	r = system_desc(ctxt, selector, true, &desc);
	if (!r)
		r = emul_desc_update(ctxt, &desc, 2ull << 40);
	if (r)
		return r;
	emul_desc_seg(&desc, &seg);
	ctxt->ops->set_seg(ctxt, EMUL_TR, &seg);
	return EMUL_OK;
}

/* LAR, LSL, VERR, VERW: a descriptor that is looked at without a fault.  *found says whether it exists. */
static int peek(struct emul_ctxt *ctxt, u16 selector, struct emul_desc *desc, bool *found)
{
	u64 linear;

	*found = false;
	if (!(selector & 0xfffc) || desc_find(ctxt, selector, 8, EMUL_EXC_GP, &linear))
		return EMUL_OK;
	*found = true;
	return emul_desc_read(ctxt, selector, EMUL_EXC_GP, desc);
}

/* Which system descriptors LAR and LSL accept, one bit per type; gates have no limit. */
static bool system_visible(struct emul_ctxt *ctxt, unsigned int type, bool lsl)
{
	unsigned int visible;

	if (emul_lma(ctxt))
		visible = lsl ? 0x0a04 : 0x1a04;
	else
		visible = lsl ? 0x0a0e : 0x1a3e;
	return visible >> type & 1;
}

static bool desc_visible(struct emul_ctxt *ctxt, const struct emul_desc *desc, bool lsl)
{
	unsigned int type = emul_desc_type(desc), dpl = emul_desc_dpl(desc);

	if (!(type & 0x10) && !system_visible(ctxt, type, lsl))
		return false;
	if ((type & 0x1c) == 0x1c)
		return true;
	return dpl >= ctxt->cpl && dpl >= (desc->selector & 3u);
}

static int query(struct emul_ctxt *ctxt, bool lsl)
{
	struct emul_desc desc;
	struct emul_seg seg;
	u64 selector;
	bool ok;
	int r = emul_rm_read(ctxt, 2, &selector);

	if (!r)
		r = peek(ctxt, selector, &desc, &ok);
	if (r)
		return r;
	ok = ok && desc_visible(ctxt, &desc, lsl);
	if (ok && !(emul_desc_type(&desc) & 0x10) && emul_lma(ctxt)) {
		r = emul_desc_read_high(ctxt, EMUL_EXC_GP, &desc);
		if (r == EMUL_FAULT && ctxt->exception.vector == EMUL_EXC_GP)
			ok = false;
		else if (r)
			return r;
	}
	ctxt->rflags &= ~FL_ZF;
	if (!ok)
		return EMUL_OK;
	emul_desc_seg(&desc, &seg);
	emul_reg_write(ctxt, ctxt->d.reg, ctxt->d.bytes, lsl ? seg.limit : desc.lo >> 32 & 0xffff00);
	ctxt->rflags |= FL_ZF;
	return EMUL_OK;
}

int emul_lar(struct emul_ctxt *ctxt)
{
	return query(ctxt, false);
}

int emul_lsl(struct emul_ctxt *ctxt)
{
	return query(ctxt, true);
}

static int verify(struct emul_ctxt *ctxt, bool write)
{
	struct emul_desc desc;
	unsigned int type;
	u64 selector;
	bool ok;
	int r = emul_rm_read(ctxt, 2, &selector);

	if (!r)
		r = peek(ctxt, selector, &desc, &ok);
	if (r)
		return r;
	if (ok) {
		type = emul_desc_type(&desc);
		if (write)
			ok = (type & 0x1a) == 0x12 && data_type_ok(&desc, selector, ctxt->cpl);
		else
			ok = data_type_ok(&desc, selector, ctxt->cpl);
	}
	ctxt->rflags &= ~FL_ZF;
	if (ok)
		ctxt->rflags |= FL_ZF;
	return EMUL_OK;
}

int emul_verr(struct emul_ctxt *ctxt)
{
	return verify(ctxt, false);
}

int emul_verw(struct emul_ctxt *ctxt)
{
	return verify(ctxt, true);
}

int emul_arpl(struct emul_ctxt *ctxt)
{
	u64 a, rpl = ctxt->regs[ctxt->d.reg] & 3;
	int r;

	if (!emul_protected(ctxt))
		return emul_ud(ctxt);
	/* Write access is checked only when there is something to write, as AMD's CPUs do. */
	r = emul_rm_read(ctxt, 2, &a);
	if (r)
		return r;
	if ((a & 3) < rpl) {
		r = emul_rm_write(ctxt, 2, (a & ~3ull) | rpl);
		if (r)
			return r;
		ctxt->rflags |= FL_ZF;
	} else {
		ctxt->rflags &= ~FL_ZF;
	}
	return EMUL_OK;
}
