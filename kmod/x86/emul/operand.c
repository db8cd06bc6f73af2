// SPDX-License-Identifier: GPL-2.0-only
/*
 * Operands: registers by their encoding, memory through segmentation, and the r/m operand that is either.
 *
 * Segment checks follow APM 2 §4.12 and SDM 3A §5.3: limit (with expand-down), type, null segment; canonical form in 64-bit mode; then
 * alignment.  In real and virtual-8086 mode only the limit counts, and it is that of the hidden part, so "unreal" mode works.
 * An access that wraps around the end of a 4 GiB segment is refused, one of the two answers that the manuals allow.
 */
#include "insn.h"

/* Real mode has no error codes. */
int emul_fault_error(struct emul_ctxt *ctxt, u8 vector, u32 error)
{
	memset(&ctxt->exception, 0, sizeof(ctxt->exception));
	ctxt->exception.vector = vector;
	ctxt->exception.has_error = ctxt->mode != EMUL_REAL;
	ctxt->exception.error = ctxt->exception.has_error ? error : 0;
	return EMUL_FAULT;
}

int emul_fault(struct emul_ctxt *ctxt, u8 vector)
{
	memset(&ctxt->exception, 0, sizeof(ctxt->exception));
	ctxt->exception.vector = vector;
	return EMUL_FAULT;
}

int emul_page_fault(struct emul_ctxt *ctxt, u64 address, u32 error)
{
	emul_fault_error(ctxt, EMUL_EXC_PF, error);
	ctxt->exception.address = address;
	return EMUL_FAULT;
}

/* AH, CH, DH, BH take the place of SPL, BPL, SIL, DIL when there is no REX prefix. */
static bool reg_is_high(const struct emul_ctxt *ctxt, unsigned int nr, unsigned int n)
{
	return n == 1 && nr >= 4 && nr < 8 && !ctxt->d.rex;
}

u64 emul_reg_read(const struct emul_ctxt *ctxt, unsigned int nr, unsigned int n)
{
	if (reg_is_high(ctxt, nr, n))
		return ctxt->regs[nr - 4] >> 8 & 0xff;
	return ctxt->regs[nr] & emul_mask(n);
}

/* A 32-bit write clears the upper half; smaller ones merge (APM 1 §3.1.2). */
void emul_reg_write(struct emul_ctxt *ctxt, unsigned int nr, unsigned int n, u64 value)
{
	if (reg_is_high(ctxt, nr, n)) {
		nr -= 4;
		ctxt->regs[nr] = (ctxt->regs[nr] & ~0xff00ull) | (value & 0xff) << 8;
	} else if (n >= 4) {
		ctxt->regs[nr] = value & emul_mask(n);
	} else {
		ctxt->regs[nr] = (ctxt->regs[nr] & ~emul_mask(n)) | (value & emul_mask(n));
	}
	ctxt->regs_dirty |= 1u << nr;
}

bool emul_canonical(struct emul_ctxt *ctxt, u64 address)
{
	/* Most addresses are canonical in 48 bits, which needs no look at CR4. */
	if ((u64)((s64)(address << 16) >> 16) == address)
		return true;
	if (!(ctxt->ops->get_cr(ctxt, 4) & CR4_LA57))
		return false;
	return (u64)((s64)(address << 7) >> 7) == address;
}

static int segment_fault(struct emul_ctxt *ctxt, unsigned int nr)
{
	return emul_fault_error(ctxt, nr == EMUL_SS ? EMUL_EXC_SS : EMUL_EXC_GP, 0);
}

static bool segment_type_ok(const struct emul_seg *seg, bool write)
{
	if (!(seg->attr & EMUL_SEG_P))
		return false;
	if (seg->attr & 8)
		return !write && seg->attr & 2;
	return !write || seg->attr & 2;
}

static bool segment_limit_ok(const struct emul_seg *seg, u64 offset, unsigned int n)
{
	u64 last = offset + n - 1;

	if ((seg->attr & 0xc) == 4)
		return offset > seg->limit && last <= (seg->attr & EMUL_SEG_DB ? 0xffffffffull : 0xffffull);
	return last <= seg->limit;
}

static int alignment_check(struct emul_ctxt *ctxt, u64 linear, unsigned int n)
{
	if (!(ctxt->rflags & FL_AC) || ctxt->cpl != 3 || n > 8 || !(linear & (n - 1)))
		return EMUL_OK;
	if (!(ctxt->ops->get_cr(ctxt, 0) & CR0_AM))
		return EMUL_OK;
	return emul_fault_error(ctxt, EMUL_EXC_AC, 0);
}

/* seg may be NULL in 64-bit mode unless nr is FS or GS. */
int emul_linear_in(struct emul_ctxt *ctxt, unsigned int nr, const struct emul_seg *seg, u64 offset, unsigned int n,
		   unsigned int flags, u64 *linear)
{
	if (ctxt->mode == EMUL_LONG64) {
		u64 address = offset;

		if (nr == EMUL_FS || nr == EMUL_GS)
			address += seg->base;
		if (!emul_canonical(ctxt, address) || !emul_canonical(ctxt, address + n - 1))
			return segment_fault(ctxt, nr);
		*linear = address;
	} else {
		if (emul_protected(ctxt) && !segment_type_ok(seg, flags & EMUL_ACC_WRITE))
			return segment_fault(ctxt, nr);
		if (!segment_limit_ok(seg, offset, n))
			return segment_fault(ctxt, nr);
		*linear = (u32)(seg->base + offset);
	}
	return alignment_check(ctxt, *linear, n);
}

int emul_linear(struct emul_ctxt *ctxt, unsigned int nr, u64 offset, unsigned int n, unsigned int flags, u64 *linear)
{
	struct emul_seg seg;

	if (ctxt->mode == EMUL_LONG64 && nr != EMUL_FS && nr != EMUL_GS)
		return emul_linear_in(ctxt, nr, NULL, offset, n, flags, linear);
	ctxt->ops->get_seg(ctxt, nr, &seg);
	return emul_linear_in(ctxt, nr, &seg, offset, n, flags, linear);
}

int emul_mem_read(struct emul_ctxt *ctxt, unsigned int nr, u64 offset, void *buf, unsigned int n, unsigned int flags)
{
	u64 linear;
	int r = emul_linear(ctxt, nr, offset, n, flags, &linear);

	return r ? r : ctxt->ops->read(ctxt, linear, buf, n, flags);
}

int emul_mem_write(struct emul_ctxt *ctxt, unsigned int nr, u64 offset, const void *buf, unsigned int n)
{
	u64 linear;
	int r = emul_linear(ctxt, nr, offset, n, EMUL_ACC_WRITE, &linear);

	return r ? r : ctxt->ops->write(ctxt, linear, buf, n, 0);
}

/* The memory operand. All hosts are little-endian, so a u64's first n bytes are its low ones. */
static int ea_read(struct emul_ctxt *ctxt, unsigned int n, u64 *value, unsigned int flags)
{
	*value = 0;
	return emul_mem_read(ctxt, ctxt->d.seg, ctxt->d.ea, value, n, flags);
}

int emul_ea_read(struct emul_ctxt *ctxt, unsigned int n, u64 *value)
{
	return ea_read(ctxt, n, value, 0);
}

int emul_ea_write(struct emul_ctxt *ctxt, unsigned int n, u64 value)
{
	return emul_mem_write(ctxt, ctxt->d.seg, ctxt->d.ea, &value, n);
}

int emul_rm_read(struct emul_ctxt *ctxt, unsigned int n, u64 *value)
{
	if (ctxt->d.mem)
		return emul_ea_read(ctxt, n, value);
	*value = emul_reg_read(ctxt, ctxt->d.rm, n);
	return EMUL_OK;
}

int emul_rm_write(struct emul_ctxt *ctxt, unsigned int n, u64 value)
{
	if (ctxt->d.mem)
		return emul_ea_write(ctxt, n, value);
	emul_reg_write(ctxt, ctxt->d.rm, n, value);
	return EMUL_OK;
}

int emul_rm_load(struct emul_ctxt *ctxt, unsigned int n, u64 *value)
{
	if (ctxt->d.mem)
		return ea_read(ctxt, n, value, EMUL_ACC_WRITE | (ctxt->d.lock ? EMUL_ACC_LOCKED : 0));
	*value = emul_reg_read(ctxt, ctxt->d.rm, n);
	return EMUL_OK;
}

int emul_rm_store(struct emul_ctxt *ctxt, unsigned int n, u64 old, u64 value)
{
	u64 linear;
	int r;

	if (!ctxt->d.mem || !ctxt->d.lock)
		return emul_rm_write(ctxt, n, value);
	r = emul_linear(ctxt, ctxt->d.seg, ctxt->d.ea, n, EMUL_ACC_WRITE, &linear);
	return r ? r : (ctxt->ops->cmpxchg)(ctxt, linear, &old, &value, n, 0);
}

int emul_sys_read(struct emul_ctxt *ctxt, u64 linear, void *buf, unsigned int n)
{
	if (!emul_lma(ctxt))
		linear = (u32)linear;
	return ctxt->ops->read(ctxt, linear, buf, n, EMUL_ACC_SYSTEM);
}

int emul_sys_write(struct emul_ctxt *ctxt, u64 linear, const void *buf, unsigned int n)
{
	if (!emul_lma(ctxt))
		linear = (u32)linear;
	return ctxt->ops->write(ctxt, linear, buf, n, EMUL_ACC_SYSTEM);
}
