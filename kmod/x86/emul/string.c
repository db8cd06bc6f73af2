// SPDX-License-Identifier: GPL-2.0-only
/*
 * String instructions and port I/O.
 *
 * Every iteration of a REP instruction is complete in itself: its reads, its write, then rSI, rDI, rCX and, for comparisons, the flags.
 * So the instruction can stop after any of them: on a fault, for a device, at EMUL_REP_MAX, when an op asks for it (ctxt->stop), or to
 * single-step.  The address size rules the width of all three registers.
 *
 * INS and OUTS with REP go upwards in blocks, because a PIO exit per word of a disk sector is slow: as many elements as are left, fit
 * into pio_buf, stay within one page and within the segment.  On device memory, downwards, or where the block does not fit, one by one.
 */
#include "insn.h"

static bool rep_goes_on(const struct emul_ctxt *ctxt, bool compares)
{
	if (!compares)
		return true;
	return !!(ctxt->rflags & FL_ZF) == (ctxt->d.rep == 0xf3);
}

static int rep_loop(struct emul_ctxt *ctxt, int (*one)(struct emul_ctxt *ctxt), bool compares)
{
	unsigned int n = ctxt->d.ad_bytes, done = 0;
	u64 count;
	int r;

	if (!ctxt->d.rep)
		return one(ctxt);
	while ((count = ctxt->regs[EMUL_RCX] & emul_mask(n)) != 0) {
		if (done == EMUL_REP_MAX || (done && (ctxt->stop || ctxt->rflags & FL_TF))) {
			ctxt->repeat = true;
			return EMUL_OK;
		}
		if (done && ctxt->ops->commit)
			ctxt->ops->commit(ctxt);
		r = one(ctxt);
		if (r)
			return r;
		emul_reg_write(ctxt, EMUL_RCX, n, count - 1);
		if (!rep_goes_on(ctxt, compares))
			break;
		done++;
	}
	return EMUL_OK;
}

static u64 index_of(const struct emul_ctxt *ctxt, unsigned int nr)
{
	return ctxt->regs[nr] & emul_mask(ctxt->d.ad_bytes);
}

static void advance(struct emul_ctxt *ctxt, unsigned int nr, u64 bytes)
{
	u64 index = ctxt->regs[nr];

	emul_reg_write(ctxt, nr, ctxt->d.ad_bytes, ctxt->rflags & FL_DF ? index - bytes : index + bytes);
}

static int read_source(struct emul_ctxt *ctxt, u64 *value)
{
	*value = 0;
	return emul_mem_read(ctxt, ctxt->d.seg, index_of(ctxt, EMUL_RSI), value, ctxt->d.bytes, 0);
}

static int read_destination(struct emul_ctxt *ctxt, u64 *value)
{
	*value = 0;
	return emul_mem_read(ctxt, EMUL_ES, index_of(ctxt, EMUL_RDI), value, ctxt->d.bytes, 0);
}

static int write_destination(struct emul_ctxt *ctxt, u64 value)
{
	return emul_mem_write(ctxt, EMUL_ES, index_of(ctxt, EMUL_RDI), &value, ctxt->d.bytes);
}

static int movs_one(struct emul_ctxt *ctxt)
{
	u64 value;
	int r = read_source(ctxt, &value);

	if (!r)
		r = write_destination(ctxt, value);
	if (r)
		return r;
	advance(ctxt, EMUL_RSI, ctxt->d.bytes);
	advance(ctxt, EMUL_RDI, ctxt->d.bytes);
	return EMUL_OK;
}

static int stos_one(struct emul_ctxt *ctxt)
{
	int r = write_destination(ctxt, ctxt->regs[EMUL_RAX]);

	if (r)
		return r;
	advance(ctxt, EMUL_RDI, ctxt->d.bytes);
	return EMUL_OK;
}

static int lods_one(struct emul_ctxt *ctxt)
{
	u64 value;
	int r = read_source(ctxt, &value);

	if (r)
		return r;
	emul_reg_write(ctxt, EMUL_RAX, ctxt->d.bytes, value);
	advance(ctxt, EMUL_RSI, ctxt->d.bytes);
	return EMUL_OK;
}

static int cmps_one(struct emul_ctxt *ctxt)
{
	u64 a, b;
	int r = read_source(ctxt, &a);

	if (!r)
		r = read_destination(ctxt, &b);
	if (r)
		return r;
	emul_alu_compute(7, ctxt->d.bytes, a, b, &ctxt->rflags);
	advance(ctxt, EMUL_RSI, ctxt->d.bytes);
	advance(ctxt, EMUL_RDI, ctxt->d.bytes);
	return EMUL_OK;
}

static int scas_one(struct emul_ctxt *ctxt)
{
	u64 b;
	int r = read_destination(ctxt, &b);

	if (r)
		return r;
	emul_alu_compute(7, ctxt->d.bytes, emul_reg_read(ctxt, EMUL_RAX, ctxt->d.bytes), b, &ctxt->rflags);
	advance(ctxt, EMUL_RDI, ctxt->d.bytes);
	return EMUL_OK;
}

int emul_movs(struct emul_ctxt *ctxt)
{
	return rep_loop(ctxt, movs_one, false);
}

int emul_stos(struct emul_ctxt *ctxt)
{
	return rep_loop(ctxt, stos_one, false);
}

int emul_lods(struct emul_ctxt *ctxt)
{
	return rep_loop(ctxt, lods_one, false);
}

int emul_cmps(struct emul_ctxt *ctxt)
{
	return rep_loop(ctxt, cmps_one, true);
}

int emul_scas(struct emul_ctxt *ctxt)
{
	return rep_loop(ctxt, scas_one, true);
}

/* The TSS's permission bitmap (APM 2 §12.2.4): two bytes are read, for a port range that crosses a byte. */
static int bitmap_check(struct emul_ctxt *ctxt, u16 port, unsigned int size)
{
	struct emul_seg tr;
	u16 base = 0, bits = 0;
	u32 at;
	int r;

	ctxt->ops->get_seg(ctxt, EMUL_TR, &tr);
	if (!(tr.attr & EMUL_SEG_P) || (tr.attr & 0xd) != 9 || tr.limit < 0x67)
		return emul_gp0(ctxt);
	r = emul_sys_read(ctxt, tr.base + 0x66, &base, 2);
	if (r)
		return r;
	at = base + port / 8;
	if (at + 1 > tr.limit)
		return emul_gp0(ctxt);
	r = emul_sys_read(ctxt, tr.base + at, &bits, 2);
	if (r)
		return r;
	if (bits >> (port & 7) & ((1u << size) - 1))
		return emul_gp0(ctxt);
	return EMUL_OK;
}

static int port_check(struct emul_ctxt *ctxt, u16 port, unsigned int size)
{
	if (ctxt->mode == EMUL_REAL)
		return EMUL_OK;
	if (ctxt->mode != EMUL_VM86 && ctxt->cpl <= emul_iopl(ctxt))
		return EMUL_OK;
	return bitmap_check(ctxt, port, size);
}

/* There is no 64-bit port access. */
static unsigned int port_size(const struct emul_ctxt *ctxt)
{
	return ctxt->d.bytes == 8 ? 4 : ctxt->d.bytes;
}

/* How many elements the next block has: at least 1. */
static unsigned int block_count(const struct emul_ctxt *ctxt, unsigned int size, u64 index, u64 linear)
{
	u64 count, room;

	if (!ctxt->d.rep || ctxt->rflags & (FL_DF | FL_TF))
		return 1;
	count = ctxt->regs[EMUL_RCX] & emul_mask(ctxt->d.ad_bytes);
	room = EMUL_PIO_BATCH / size;
	if (count > room)
		count = room;
	room = (4096 - (linear & 4095)) / size;
	if (count > room)
		count = room;
	room = emul_mask(ctxt->d.ad_bytes) - index;
	if (count * size > room)
		count = room / size;
	return count ? count : 1;
}

/* Address of a block at seg:rSI or ES:rDI, and its length. */
static int block_linear(struct emul_ctxt *ctxt, unsigned int seg, unsigned int nr, unsigned int size, unsigned int flags,
			u64 *linear, unsigned int *count)
{
	u64 index = index_of(ctxt, nr), whole;
	int r = emul_linear(ctxt, seg, index, size, flags, linear);

	if (r)
		return r;
	*count = block_count(ctxt, size, index, *linear);
	if (*count > 1 && emul_linear(ctxt, seg, index, size * *count, flags, &whole) != EMUL_OK)
		*count = 1;
	r = ctxt->ops->probe(ctxt, *linear, size * *count, flags);
	if (r == EMUL_IO_NEEDED) {
		*count = 1;
		return EMUL_OK;
	}
	return r;
}

static int ins_block(struct emul_ctxt *ctxt, unsigned int *count)
{
	unsigned int size = port_size(ctxt);
	u16 port = ctxt->regs[EMUL_RDX];
	u64 linear;
	int r;

	r = block_linear(ctxt, EMUL_ES, EMUL_RDI, size, EMUL_ACC_WRITE, &linear, count);
	if (!r)
		r = ctxt->ops->pio_in(ctxt, port, size, ctxt->pio_buf, *count);
	if (!r)
		r = ctxt->ops->write(ctxt, linear, ctxt->pio_buf, size * *count, 0);
	if (r)
		return r;
	advance(ctxt, EMUL_RDI, size * *count);
	return EMUL_OK;
}

static int outs_block(struct emul_ctxt *ctxt, unsigned int *count)
{
	unsigned int size = port_size(ctxt);
	u16 port = ctxt->regs[EMUL_RDX];
	u64 linear;
	int r;

	r = block_linear(ctxt, ctxt->d.seg, EMUL_RSI, size, 0, &linear, count);
	if (!r)
		r = ctxt->ops->read(ctxt, linear, ctxt->pio_buf, size * *count, 0);
	if (!r)
		r = ctxt->ops->pio_out(ctxt, port, size, ctxt->pio_buf, *count);
	if (r)
		return r;
	advance(ctxt, EMUL_RSI, size * *count);
	return EMUL_OK;
}

/* One block per call: between blocks the caller has a chance to look at interrupts, and its I/O buffer is free again. */
static int port_string(struct emul_ctxt *ctxt, int (*block)(struct emul_ctxt *ctxt, unsigned int *count))
{
	unsigned int n = ctxt->d.ad_bytes, done = 1;
	u64 count = ctxt->regs[EMUL_RCX] & emul_mask(n);
	int r = port_check(ctxt, ctxt->regs[EMUL_RDX], port_size(ctxt));

	if (r)
		return r;
	if (ctxt->d.rep && !count)
		return EMUL_OK;
	r = block(ctxt, &done);
	if (r || !ctxt->d.rep)
		return r;
	emul_reg_write(ctxt, EMUL_RCX, n, count - done);
	ctxt->repeat = count != done;
	return EMUL_OK;
}

int emul_ins(struct emul_ctxt *ctxt)
{
	return port_string(ctxt, ins_block);
}

int emul_outs(struct emul_ctxt *ctxt)
{
	return port_string(ctxt, outs_block);
}

static int port_in(struct emul_ctxt *ctxt, u16 port)
{
	unsigned int size = port_size(ctxt);
	u64 value = 0;
	int r = port_check(ctxt, port, size);

	if (!r)
		r = ctxt->ops->pio_in(ctxt, port, size, &value, 1);
	if (r)
		return r;
	emul_reg_write(ctxt, EMUL_RAX, size, value);
	return EMUL_OK;
}

static int port_out(struct emul_ctxt *ctxt, u16 port)
{
	unsigned int size = port_size(ctxt);
	u64 value = emul_reg_read(ctxt, EMUL_RAX, size);
	int r = port_check(ctxt, port, size);

	return r ? r : ctxt->ops->pio_out(ctxt, port, size, &value, 1);
}

int emul_in_imm(struct emul_ctxt *ctxt)
{
	return port_in(ctxt, ctxt->d.imm);
}

int emul_in_dx(struct emul_ctxt *ctxt)
{
	return port_in(ctxt, ctxt->regs[EMUL_RDX]);
}

int emul_out_imm(struct emul_ctxt *ctxt)
{
	return port_out(ctxt, ctxt->d.imm);
}

int emul_out_dx(struct emul_ctxt *ctxt)
{
	return port_out(ctxt, ctxt->regs[EMUL_RDX]);
}
