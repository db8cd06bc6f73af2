// SPDX-License-Identifier: GPL-2.0-only
/*
 * Instruction bytes to struct emul_insn, and instruction lengths (APM 3 ch. 1, SDM 2A ch. 2).
 *
 * One scanner serves both: it takes byte after byte from a source that either is a closed buffer (emul_insn_len) or fetches from the
 * guest what is missing (emul_decode).  It asks for a byte only when the instruction has one there, so an instruction that ends at a page
 * boundary never touches the next page.  The order is that of the hardware: prefixes (the last of each group counts; REX only directly
 * before the opcode), opcode through the maps, ModRM, SIB, displacement, immediates.  Groups in the opcode table are resolved as soon
 * as the ModRM byte is known, because immediates may depend on it (F6 /0).
 *
 * An instruction over 15 bytes is #GP; this is found before any #UD that later bytes might have caused.  VEX, XOP and EVEX have a
 * regular format whose length needs no table; of them only what the table marks OP_VEX can be executed.
 *
 * Near branches in 64-bit mode honour the operand-size prefix, as AMD's do; Intel ignores it there (SDM 2 "JMP").  A VT-x exit reports
 * the instruction's length, so the difference matters only to code that no compiler makes.
 */
#include "insn.h"

#define DECODE_RESULT	(-16)	/* decode_src.result says */

struct decode_src {
	struct emul_ctxt *ctxt;		/* NULL: bytes[] is all there is */
	const u8 *bytes;
	unsigned int n, pos;
	enum emul_mode mode;
	int result;
};

/* Get more bytes from the guest, no further than the end of the page that the next byte lies in. */
static int decode_fetch(struct decode_src *src)
{
	struct emul_ctxt *ctxt = src->ctxt;
	unsigned int want = EMUL_INSN_MAX - src->n, got = 0;
	u64 offset = ctxt->rip + src->n, linear;

	if (ctxt->mode == EMUL_LONG64) {
		if (!emul_canonical(ctxt, offset)) {
			src->result = emul_gp0(ctxt);
			return DECODE_RESULT;
		}
		linear = offset;
	} else {
		struct emul_seg cs;

		ctxt->ops->get_seg(ctxt, EMUL_CS, &cs);
		if (offset > cs.limit) {
			src->result = emul_gp0(ctxt);
			return DECODE_RESULT;
		}
		if (want > cs.limit - offset + 1)
			want = cs.limit - offset + 1;
		linear = (u32)(cs.base + offset);
	}
	if (want > 4096 - (linear & 4095))
		want = 4096 - (linear & 4095);
	src->result = ctxt->ops->fetch(ctxt, linear, ctxt->insn + src->n, want, &got);
	if (src->result != EMUL_OK)
		return DECODE_RESULT;
	if (!got || got > want) {
		src->result = EMUL_UNHANDLED;
		return DECODE_RESULT;
	}
	src->n += got;
	ctxt->insn_bytes = src->n;
	return 0;
}

static int decode_byte(struct decode_src *src, u8 *byte)
{
	int r;

	if (src->pos >= EMUL_INSN_MAX)
		return EMUL_LEN_LONG;
	if (src->pos >= src->n) {
		if (!src->ctxt)
			return EMUL_LEN_SHORT;
		r = decode_fetch(src);
		if (r)
			return r;
	}
	*byte = src->bytes[src->pos++];
	return 0;
}

/* Little-endian, zero-extended. */
static int decode_value(struct decode_src *src, unsigned int n, u64 *value)
{
	unsigned int i;
	u8 byte;
	int r;

	*value = 0;
	for (i = 0; i < n; i++) {
		r = decode_byte(src, &byte);
		if (r)
			return r;
		*value |= (u64)byte << (8 * i);
	}
	return 0;
}

/* Look at the byte after the one just taken. */
static int decode_peek(struct decode_src *src, u8 *byte)
{
	int r = decode_byte(src, byte);

	if (!r)
		src->pos--;
	return r;
}

/* True if byte is a legacy prefix and was noted. */
static bool decode_prefix(struct emul_insn *d, u8 byte)
{
	switch (byte) {
	case 0x26:
		d->seg_prefix = EMUL_ES;
		return true;
	case 0x2e:
		d->seg_prefix = EMUL_CS;
		return true;
	case 0x36:
		d->seg_prefix = EMUL_SS;
		return true;
	case 0x3e:
		d->seg_prefix = EMUL_DS;
		return true;
	case 0x64:
		d->seg_prefix = EMUL_FS;
		return true;
	case 0x65:
		d->seg_prefix = EMUL_GS;
		return true;
	case 0x66:
		d->opsize = true;
		return true;
	case 0x67:
		d->addrsize = true;
		return true;
	case 0xf0:
		d->lock = true;
		return true;
	case 0xf2:
	case 0xf3:
		d->rep = byte;
		return true;
	}
	return false;
}

/* Prefixes and the first opcode byte. */
static int decode_prefixes(struct decode_src *src, struct emul_insn *d)
{
	u8 byte;
	int r;

	for (;;) {
		r = decode_byte(src, &byte);
		if (r)
			return r;
		if (decode_prefix(d, byte)) {
			d->rex = 0;
		} else if (src->mode == EMUL_LONG64 && (byte & 0xf0) == 0x40) {
			d->rex = byte;
		} else {
			d->opcode = byte;
			return 0;
		}
	}
}

/* Segment overrides other than FS and GS mean nothing in 64-bit mode. */
static void decode_sizes(const struct decode_src *src, struct emul_insn *d)
{
	bool wide = src->mode == EMUL_PROT32;

	if (src->mode == EMUL_LONG64) {
		d->bytes = d->rex & 8 ? 8 : d->opsize ? 2 : 4;
		d->ad_bytes = d->addrsize ? 4 : 8;
		if (d->seg_prefix != EMUL_FS && d->seg_prefix != EMUL_GS)
			d->seg_prefix = EMUL_NO_REG;
	} else {
		d->bytes = wide != d->opsize ? 4 : 2;
		d->ad_bytes = wide != d->addrsize ? 4 : 2;
	}
}

static int decode_sib(struct decode_src *src, struct emul_insn *d)
{
	u8 sib;
	int r = decode_byte(src, &sib);

	if (r)
		return r;
	d->scale = sib >> 6;
	d->index = (sib >> 3 & 7) | (d->rex & 2 ? 8 : 0);
	if (d->index == EMUL_RSP)
		d->index = EMUL_NO_REG;
	if ((sib & 7) == 5 && d->mod == 0)
		return decode_value(src, 4, &d->disp);
	d->base = (sib & 7) | (d->rex & 1 ? 8 : 0);
	return 0;
}

static int decode_modrm16(struct decode_src *src, struct emul_insn *d)
{
	static const u8 base[8] = {
		EMUL_RBX, EMUL_RBX, EMUL_RBP, EMUL_RBP, EMUL_RSI, EMUL_RDI, EMUL_RBP, EMUL_RBX
	};
	unsigned int rm = d->modrm & 7;
	int r;

	if (rm != 6 || d->mod != 0)
		d->base = base[rm];
	if (rm < 4)
		d->index = rm & 1 ? EMUL_RDI : EMUL_RSI;
	if (d->mod == 2 || (d->mod == 0 && rm == 6))
		return decode_value(src, 2, &d->disp);
	if (d->mod == 1) {
		r = decode_value(src, 1, &d->disp);
		d->disp = emul_sext(d->disp, 1);
		return r;
	}
	return 0;
}

static int decode_modrm32(struct decode_src *src, struct emul_insn *d)
{
	unsigned int n = d->mod == 1 ? 1 : d->mod == 2 ? 4 : 0;
	int r;

	if ((d->modrm & 7) == 4) {
		r = decode_sib(src, d);
		if (r)
			return r;
		if (d->base == EMUL_NO_REG) {
			d->disp = emul_sext(d->disp, 4);	/* taken with the SIB byte */
			return 0;
		}
	} else if ((d->modrm & 7) == 5 && d->mod == 0) {
		d->rip_relative = src->mode == EMUL_LONG64;
		n = 4;
	} else {
		d->base = d->rm;
	}
	if (!n)
		return 0;
	r = decode_value(src, n, &d->disp);
	d->disp = emul_sext(d->disp, n);
	return r;
}

/* nomod: the instruction treats every mod as 3 (MOV from and to control registers). */
static int decode_modrm(struct decode_src *src, struct emul_insn *d, bool nomod)
{
	int r = decode_byte(src, &d->modrm);

	if (r)
		return r;
	d->mod = nomod ? 3 : d->modrm >> 6;
	d->reg = (d->modrm >> 3 & 7) | (d->rex & 4 ? 8 : 0);
	d->rm = (d->modrm & 7) | (d->rex & 1 ? 8 : 0);
	d->mem = d->mod != 3;
	if (!d->mem)
		return 0;
	r = d->ad_bytes == 2 ? decode_modrm16(src, d) : decode_modrm32(src, d);
	if (r)
		return r;
	d->seg = d->base == EMUL_RSP || d->base == EMUL_RBP ? EMUL_SS : EMUL_DS;
	return 0;
}

static unsigned int decode_prefix_column(const struct emul_insn *d)
{
	if (d->vex)
		return d->vex_pp;
	if (d->rep)
		return d->rep == 0xf3 ? 2 : 3;
	return d->opsize ? 1 : 0;
}

/* Follow groups to the entry that counts; their flags add up. */
static const struct emul_op *decode_group(const struct emul_insn *d, const struct emul_op *op, u32 *flags)
{
	*flags = op->flags;
	while (op->sub) {
		if (op->flags & OP_GROUP)
			op = &op->sub[d->modrm >> 3 & 7];
		else if (op->flags & OP_GROUPM)
			op = &op->sub[(d->modrm >> 3 & 7) + (d->mem ? 0 : 8)];
		else if (op->flags & OP_GROUPRM)
			op = &op->sub[d->modrm & 7];
		else
			op = &op->sub[decode_prefix_column(d)];
		*flags |= op->flags;
	}
	return op;
}

static int decode_immediate(struct decode_src *src, struct emul_insn *d, u32 flags)
{
	unsigned int n = d->bytes > 4 ? 4 : d->bytes;
	int r;

	switch (flags & OP_IMM_MASK) {
	case OP_IMM8:
		return decode_value(src, 1, &d->imm);
	case OP_IMM8S:
		r = decode_value(src, 1, &d->imm);
		d->imm = emul_sext(d->imm, 1);
		return r;
	case OP_IMM16:
		return decode_value(src, 2, &d->imm);
	case OP_IMMZ:
		r = decode_value(src, n, &d->imm);
		d->imm = emul_sext(d->imm, n);
		return r;
	case OP_IMMV:
		return decode_value(src, d->bytes, &d->imm);
	case OP_IMMENTER:
		r = decode_value(src, 2, &d->imm);
		return r ? r : decode_value(src, 1, &d->imm2);
	case OP_IMMFAR:
		r = decode_value(src, n, &d->imm);
		return r ? r : decode_value(src, 2, &d->imm2);
	case OP_IMMOFFS:
		d->mem = true;
		d->seg = EMUL_DS;
		return decode_value(src, d->ad_bytes, &d->disp);
	case OP_IMMSSE4A:
		return decode_value(src, 2, &d->imm);
	}
	return 0;
}

/* VEX C5, VEX C4 / XOP 8F, EVEX 62; d->opcode is the escape byte, its successors are next. */
static int decode_vex_prefix(struct decode_src *src, struct emul_insn *d)
{
	bool long64 = src->mode == EMUL_LONG64;
	u8 escape = d->opcode, p0, p1, p2;
	int r;

	if (d->lock || d->rep || d->opsize || d->rex)
		return EMUL_LEN_UD;
	r = decode_byte(src, &p0);
	if (r)
		return r;
	if (escape == 0xc5) {
		p1 = p0 & 0x7f;
		d->rex = 0x40 | (p0 & 0x80 ? 0 : 4);
		d->map = 1;
	} else {
		r = decode_byte(src, &p1);
		if (r)
			return r;
		d->rex = 0x40 | ((~p0 & 0xe0) >> 5) | (p1 & 0x80 ? 8 : 0);
		d->map = p0 & (escape == 0x62 ? 7 : 0x1f);
	}
	if (escape == 0x62) {
		r = decode_byte(src, &p2);
		if (r)
			return r;
		if (!(p1 & 4))
			return EMUL_LEN_UD;
	}
	d->vex = escape == 0x62 ? 3 : escape == 0x8f ? 2 : 1;
	d->vex_l = p1 >> 2 & 1;
	d->vex_v = ~(p1 >> 3) & 15;
	d->vex_pp = p1 & 3;
	if (!long64)
		d->rex &= 8;
	d->bytes = long64 && d->rex & 8 ? 8 : 4;
	return decode_byte(src, &d->opcode);
}

/* Opcodes of map 1 that no VEX or EVEX instruction has.  The CPU scans some of them with an immediate, which nobody needs to know. */
static bool vex_map1_hole(u8 opcode)
{
	static const u16 holes[16] = {	/* a bit per opcode, a word per row of the map */
		0xffff, 0xff00, 0x00ff, 0xffff, 0xf001, 0, 0, 0, 0xffff, 0xfcf0, 0xbfff, 0xffff, 0xff8b, 0, 0, 0,
	};

	return holes[opcode >> 4] >> (opcode & 15) & 1;
}

static int decode_vex(struct decode_src *src, struct emul_insn *d)
{
	static const struct emul_op unknown = { .flags = OP_MODRM };
	const struct emul_op *op = &unknown;
	u32 flags = OP_MODRM, imm = 0;
	bool short_mode;
	int r;

	r = decode_vex_prefix(src, d);
	if (r)
		return r;
	short_mode = src->mode != EMUL_LONG64;
	if (d->vex == 2) {
		if (d->map < 8 || d->map > 10)
			return EMUL_LEN_UD;
		imm = d->map == 8 ? OP_IMM8 : d->map == 10 ? OP_IMMZ : 0;
		d->bytes = 4;
	} else if (d->map == 1) {
		if (vex_map1_hole(d->opcode))
			return EMUL_LEN_UD;
		if (d->opcode == 0x77 && d->vex == 1)
			flags = 0;
		if ((d->opcode >= 0x70 && d->opcode <= 0x73) || d->opcode == 0xc2 || (d->opcode >= 0xc4 && d->opcode <= 0xc6))
			imm = OP_IMM8;
		if (d->vex == 1)
			op = &emul_optab_0f[d->opcode];
	} else if (d->map == 3) {
		imm = OP_IMM8;
	} else if (d->map == 2 && d->vex == 1) {
		op = emul_optab_0f38(d->opcode);
	} else if (d->map != 2 && !(d->vex == 3 && (d->map == 5 || d->map == 6))) {
		return EMUL_LEN_UD;
	}
	if (flags & OP_MODRM) {
		r = decode_modrm(src, d, false);
		if (r)
			return r;
	}
	op = decode_group(d, op, &flags);
	d->op = op->flags & OP_VEX ? op : &unknown;
	if (d->op->flags & OP_AVX && d->vex_v)
		return EMUL_LEN_UD;
	if (short_mode)
		d->rex = 0;
	return decode_immediate(src, d, imm);
}

/* Does the escape byte just taken start a VEX, XOP or EVEX instruction, or is it LES, LDS, POP, BOUND?  1: yes; 0: no; else an error. */
static int decode_is_vex(struct decode_src *src, const struct emul_insn *d)
{
	u8 next;
	int r;

	if (d->opcode != 0xc4 && d->opcode != 0xc5 && d->opcode != 0x62 && d->opcode != 0x8f)
		return 0;
	if (src->mode == EMUL_REAL || src->mode == EMUL_VM86)
		return 0;
	if (d->opcode != 0x8f && src->mode == EMUL_LONG64)
		return 1;
	r = decode_peek(src, &next);
	if (r)
		return r;
	if (d->opcode == 0x8f)
		return (next & 0x1f) >= 8;
	return next >= 0xc0;
}

static int decode_opcode(struct decode_src *src, struct emul_insn *d, const struct emul_op **op)
{
	int r;

	*op = &emul_optab_1byte[d->opcode];
	if (d->opcode != 0x0f)
		return 0;
	r = decode_byte(src, &d->opcode);
	if (r)
		return r;
	d->map = 1;
	*op = &emul_optab_0f[d->opcode];
	if (d->opcode != 0x38 && d->opcode != 0x3a)
		return 0;
	d->map = d->opcode == 0x38 ? 2 : 3;
	r = decode_byte(src, &d->opcode);
	if (r)
		return r;
	*op = d->map == 2 ? emul_optab_0f38(d->opcode) : emul_optab_0f3a(d->opcode);
	return 0;
}

/* Is the combination an instruction at all in this mode?  0 or EMUL_LEN_UD. */
static int decode_check(const struct decode_src *src, const struct emul_insn *d, u32 flags)
{
	bool locked_ok = (flags & OP_LOCK && d->mem) || flags & OP_LOCK_CR8;

	if (flags & OP_UD || (d->lock && !locked_ok))
		return EMUL_LEN_UD;
	if (src->mode == EMUL_LONG64 ? flags & OP_INV64 : flags & OP_ONLY64)
		return EMUL_LEN_UD;
	if (flags & OP_PM && (src->mode == EMUL_REAL || src->mode == EMUL_VM86))
		return EMUL_LEN_UD;
	if (flags & OP_MEM && !d->mem)
		return EMUL_LEN_UD;
	if (flags & OP_REG && d->mem)
		return EMUL_LEN_UD;
	return 0;
}

static int decode_legacy(struct decode_src *src, struct emul_insn *d)
{
	const struct emul_op *op;
	u32 flags;
	int r;

	r = decode_opcode(src, d, &op);
	if (r)
		return r;
	if (op->flags & OP_MODRM) {
		r = decode_modrm(src, d, op->flags & OP_NOMOD);
		if (r)
			return r;
	}
	op = decode_group(d, op, &flags);
	if (src->mode == EMUL_LONG64) {
		if (flags & OP_F64 || (flags & OP_D64 && (d->bytes == 4)))
			d->bytes = 8;
	}
	if (flags & OP_BYTE && !(d->opcode & 1))
		d->bytes = 1;
	d->op = op;
	r = decode_immediate(src, d, flags);
	return r ? r : decode_check(src, d, flags);
}

static int decode_scan(struct decode_src *src, struct emul_insn *d)
{
	int r;

	memset(d, 0, sizeof(*d));
	d->seg_prefix = EMUL_NO_REG;
	d->base = EMUL_NO_REG;
	d->index = EMUL_NO_REG;
	d->seg = EMUL_DS;
	r = decode_prefixes(src, d);
	if (r)
		return r;
	decode_sizes(src, d);
	r = decode_is_vex(src, d);
	if (r < 0)
		return r;
	r = r ? decode_vex(src, d) : decode_legacy(src, d);
	if (r)
		return r;
	if (d->seg_prefix != EMUL_NO_REG)
		d->seg = d->seg_prefix;
	d->len = src->pos;
	return 0;
}

static void decode_address(struct emul_ctxt *ctxt, struct emul_insn *d)
{
	u64 ea = d->disp;

	if (d->base != EMUL_NO_REG)
		ea += ctxt->regs[d->base];
	if (d->index != EMUL_NO_REG)
		ea += ctxt->regs[d->index] << d->scale;
	if (d->rip_relative)
		ea += d->next;
	d->ea = ea & emul_mask(d->ad_bytes);
}

int emul_decode(struct emul_ctxt *ctxt)
{
	struct emul_insn *d = &ctxt->d;
	struct decode_src src = {
		.ctxt = ctxt,
		.bytes = ctxt->insn,
		.n = ctxt->insn_bytes > EMUL_INSN_MAX ? EMUL_INSN_MAX : ctxt->insn_bytes,
		.mode = ctxt->mode,
	};
	int r = decode_scan(&src, d);

	switch (r) {
	case 0:
		break;
	case DECODE_RESULT:
		return src.result;
	case EMUL_LEN_LONG:
		return emul_gp0(ctxt);
	default:
		return emul_ud(ctxt);
	}
	d->next = ctxt->rip + d->len;
	if (ctxt->mode != EMUL_LONG64)
		d->next &= 0xffffffff;
	decode_address(ctxt, d);
	return d->op->exec ? EMUL_OK : EMUL_UNHANDLED;
}

int emul_insn_len(enum emul_mode mode, const void *bytes, unsigned int n)
{
	struct emul_insn d;
	struct decode_src src = { .bytes = bytes, .n = n, .mode = mode };
	int r = decode_scan(&src, &d);

	return r ? r : d.len;
}
