// SPDX-License-Identifier: GPL-2.0-only
/*
 * Integer arithmetic and its flags.
 *
 * Carries and borrows come from the bits themselves: with result r of a + b the carry out of every bit position is
 * (a & b) | ((a | b) & ~r), which is right with a carry coming in as well and for all widths; the borrow of a - b is its mirror.
 * Flags that the manuals call undefined get a fixed value: AF is cleared by AND, OR, XOR and TEST; MUL and IMUL leave SF, ZF, AF, PF;
 * DIV and IDIV leave all flags.
 */
#include "insn.h"

u64 emul_result_flags(u64 result, unsigned int n)
{
	u64 flags = 0;

	result &= emul_mask(n);
	if (!result)
		flags |= FL_ZF;
	if (result >> (8 * n - 1))
		flags |= FL_SF;
	if (emul_even_parity(result))
		flags |= FL_PF;
	return flags;
}

static u64 add(unsigned int n, u64 a, u64 b, u64 carry, u64 *flags)
{
	u64 r = a + b + carry;
	u64 out = (a & b) | ((a | b) & ~r);
	unsigned int top = 8 * n - 1;

	*flags &= ~FL_ARITH;
	*flags |= emul_result_flags(r, n) | (out >> top & 1) | ((a ^ b ^ r) & FL_AF);
	if (((a ^ r) & (b ^ r)) >> top & 1)
		*flags |= FL_OF;
	return r & emul_mask(n);
}

static u64 subtract(unsigned int n, u64 a, u64 b, u64 borrow, u64 *flags)
{
	u64 r = a - b - borrow;
	u64 out = (~a & b) | ((~a | b) & r);
	unsigned int top = 8 * n - 1;

	*flags &= ~FL_ARITH;
	*flags |= emul_result_flags(r, n) | (out >> top & 1) | ((a ^ b ^ r) & FL_AF);
	if (((a ^ b) & (a ^ r)) >> top & 1)
		*flags |= FL_OF;
	return r & emul_mask(n);
}

static u64 logic(unsigned int n, u64 r, u64 *flags)
{
	*flags = (*flags & ~FL_ARITH) | emul_result_flags(r, n);
	return r & emul_mask(n);
}

/* op as opcodes and ModRM.reg number it: ADD OR ADC SBB AND SUB XOR CMP.  CMP returns the difference. */
u64 emul_alu_compute(unsigned int op, unsigned int n, u64 a, u64 b, u64 *flags)
{
	switch (op) {
	case 0:
		return add(n, a, b, 0, flags);
	case 1:
		return logic(n, a | b, flags);
	case 2:
		return add(n, a, b, *flags & FL_CF, flags);
	case 3:
		return subtract(n, a, b, *flags & FL_CF, flags);
	case 4:
		return logic(n, a & b, flags);
	case 6:
		return logic(n, a ^ b, flags);
	default:
		return subtract(n, a, b, 0, flags);
	}
}

/* r/m = r/m op b */
static int alu_rm(struct emul_ctxt *ctxt, unsigned int op, u64 b)
{
	unsigned int n = ctxt->d.bytes;
	u64 a, result, flags = ctxt->rflags;
	int r = op == 7 ? emul_rm_read(ctxt, n, &a) : emul_rm_load(ctxt, n, &a);

	if (r)
		return r;
	result = emul_alu_compute(op, n, a, b & emul_mask(n), &flags);
	if (op != 7) {
		r = emul_rm_store(ctxt, n, a, result);
		if (r)
			return r;
	}
	ctxt->rflags = flags;
	return EMUL_OK;
}

/* 00-3D: six forms of eight operations */
int emul_alu(struct emul_ctxt *ctxt)
{
	const struct emul_insn *d = &ctxt->d;
	unsigned int op = d->opcode >> 3 & 7, reg = d->reg;
	u64 a, b, result;
	int r;

	switch (d->opcode & 6) {
	case 0:
		return alu_rm(ctxt, op, emul_reg_read(ctxt, d->reg, d->bytes));
	case 2:
		r = emul_rm_read(ctxt, d->bytes, &b);
		if (r)
			return r;
		break;
	default:
		reg = EMUL_RAX;
		b = d->imm & emul_mask(d->bytes);
		break;
	}
	a = emul_reg_read(ctxt, reg, d->bytes);
	result = emul_alu_compute(op, d->bytes, a, b, &ctxt->rflags);
	if (op != 7)
		emul_reg_write(ctxt, reg, d->bytes, result);
	return EMUL_OK;
}

/* 80-83 */
int emul_alu_imm(struct emul_ctxt *ctxt)
{
	return alu_rm(ctxt, ctxt->d.modrm >> 3 & 7, ctxt->d.imm);
}

int emul_test(struct emul_ctxt *ctxt)
{
	const struct emul_insn *d = &ctxt->d;
	u64 a;
	int r = emul_rm_read(ctxt, d->bytes, &a);

	if (r)
		return r;
	logic(d->bytes, a & emul_reg_read(ctxt, d->reg, d->bytes), &ctxt->rflags);
	return EMUL_OK;
}

/* A8 A9 with the accumulator, F6 F7 with r/m (whose ModRM byte is never 0 without meaning RAX as well) */
int emul_test_imm(struct emul_ctxt *ctxt)
{
	const struct emul_insn *d = &ctxt->d;
	u64 a;
	int r;

	if (d->opcode < 0xf6) {
		a = emul_reg_read(ctxt, EMUL_RAX, d->bytes);
	} else {
		r = emul_rm_read(ctxt, d->bytes, &a);
		if (r)
			return r;
	}
	logic(d->bytes, a & d->imm, &ctxt->rflags);
	return EMUL_OK;
}

/* INC and DEC leave CF alone. */
static u64 step(unsigned int n, u64 a, bool down, u64 *flags)
{
	u64 carry = *flags & FL_CF;
	u64 result = down ? subtract(n, a, 1, 0, flags) : add(n, a, 1, 0, flags);

	*flags = (*flags & ~FL_CF) | carry;
	return result;
}

static int step_rm(struct emul_ctxt *ctxt, bool down)
{
	unsigned int n = ctxt->d.bytes;
	u64 a, result, flags = ctxt->rflags;
	int r = emul_rm_load(ctxt, n, &a);

	if (r)
		return r;
	result = step(n, a, down, &flags);
	r = emul_rm_store(ctxt, n, a, result);
	if (r)
		return r;
	ctxt->rflags = flags;
	return EMUL_OK;
}

int emul_inc(struct emul_ctxt *ctxt)
{
	return step_rm(ctxt, false);
}

int emul_dec(struct emul_ctxt *ctxt)
{
	return step_rm(ctxt, true);
}

static int step_r(struct emul_ctxt *ctxt, bool down)
{
	unsigned int nr = ctxt->d.opcode & 7, n = ctxt->d.bytes;

	emul_reg_write(ctxt, nr, n, step(n, emul_reg_read(ctxt, nr, n), down, &ctxt->rflags));
	return EMUL_OK;
}

int emul_inc_r(struct emul_ctxt *ctxt)
{
	return step_r(ctxt, false);
}

int emul_dec_r(struct emul_ctxt *ctxt)
{
	return step_r(ctxt, true);
}

int emul_neg(struct emul_ctxt *ctxt)
{
	unsigned int n = ctxt->d.bytes;
	u64 a, result, flags = ctxt->rflags;
	int r = emul_rm_load(ctxt, n, &a);

	if (r)
		return r;
	result = subtract(n, 0, a, 0, &flags);
	r = emul_rm_store(ctxt, n, a, result);
	if (r)
		return r;
	ctxt->rflags = flags;
	return EMUL_OK;
}

int emul_not(struct emul_ctxt *ctxt)
{
	unsigned int n = ctxt->d.bytes;
	u64 a;
	int r = emul_rm_load(ctxt, n, &a);

	return r ? r : emul_rm_store(ctxt, n, a, ~a & emul_mask(n));
}

struct wide {
	u64 lo, hi;
};

static struct wide multiply(u64 a, u64 b)
{
	unsigned __int128 p = (unsigned __int128)a * b;

	return (struct wide){ .lo = p, .hi = p >> 64 };
}

/* Two's complement: the signed product differs in the upper half only. */
static struct wide multiply_signed(u64 a, u64 b)
{
	struct wide p = multiply(a, b);

	if (a >> 63)
		p.hi -= b;
	if (b >> 63)
		p.hi -= a;
	return p;
}

static void mul_flags(struct emul_ctxt *ctxt, bool overflow)
{
	ctxt->rflags &= ~(FL_CF | FL_OF);
	if (overflow)
		ctxt->rflags |= FL_CF | FL_OF;
}

/* AX or rDX:rAX */
static void set_wide(struct emul_ctxt *ctxt, unsigned int n, u64 lo, u64 hi)
{
	if (n == 1) {
		emul_reg_write(ctxt, EMUL_RAX, 2, (lo & 0xff) | (hi & 0xff) << 8);
	} else {
		emul_reg_write(ctxt, EMUL_RAX, n, lo);
		emul_reg_write(ctxt, EMUL_RDX, n, hi);
	}
}

static u64 wide_high(struct wide p, unsigned int n)
{
	return n == 8 ? p.hi : p.lo >> (8 * n);
}

int emul_mul(struct emul_ctxt *ctxt)
{
	unsigned int n = ctxt->d.bytes;
	struct wide p;
	u64 a, hi;
	int r = emul_rm_read(ctxt, n, &a);

	if (r)
		return r;
	p = multiply(a, ctxt->regs[EMUL_RAX] & emul_mask(n));
	hi = wide_high(p, n) & emul_mask(n);
	set_wide(ctxt, n, p.lo, hi);
	mul_flags(ctxt, hi != 0);
	return EMUL_OK;
}

/* Does the product not fit into n bytes? */
static bool signed_overflow(struct wide p, unsigned int n)
{
	u64 low = emul_sext(p.lo, n);

	return low != p.lo || p.hi != (u64)((s64)p.lo >> 63);
}

int emul_imul(struct emul_ctxt *ctxt)
{
	unsigned int n = ctxt->d.bytes;
	struct wide p;
	u64 a;
	int r = emul_rm_read(ctxt, n, &a);

	if (r)
		return r;
	p = multiply_signed(emul_sext(a, n), emul_sext(ctxt->regs[EMUL_RAX], n));
	set_wide(ctxt, n, p.lo, wide_high(p, n));
	mul_flags(ctxt, signed_overflow(p, n));
	return EMUL_OK;
}

static int imul_to_reg(struct emul_ctxt *ctxt, bool immediate)
{
	const struct emul_insn *d = &ctxt->d;
	struct wide p;
	u64 a, b;
	int r = emul_rm_read(ctxt, d->bytes, &a);

	if (r)
		return r;
	b = immediate ? d->imm : emul_sext(ctxt->regs[d->reg], d->bytes);
	p = multiply_signed(emul_sext(a, d->bytes), b);
	emul_reg_write(ctxt, d->reg, d->bytes, p.lo);
	mul_flags(ctxt, signed_overflow(p, d->bytes));
	return EMUL_OK;
}

int emul_imul_r(struct emul_ctxt *ctxt)
{
	return imul_to_reg(ctxt, false);
}

int emul_imul_imm(struct emul_ctxt *ctxt)
{
	return imul_to_reg(ctxt, true);
}

/* hi:lo / b for hi < b: bit by bit, as the kernel has no 128-bit division. */
static u64 divide(u64 hi, u64 lo, u64 b, u64 *remainder)
{
	int i;

	for (i = 0; i < 64; i++) {
		bool carry = hi >> 63;

		hi = hi << 1 | lo >> 63;
		lo <<= 1;
		if (carry || hi >= b) {
			hi -= b;
			lo |= 1;
		}
	}
	*remainder = hi;
	return lo;
}

/* The dividend as a 128-bit value: AX or rDX:rAX, zero- or sign-extended. */
static struct wide dividend(struct emul_ctxt *ctxt, unsigned int n, bool sign)
{
	u64 a = ctxt->regs[EMUL_RAX], d = ctxt->regs[EMUL_RDX];
	struct wide w = { 0 };

	if (n == 8)
		return (struct wide){ .lo = a, .hi = d };
	if (n == 1)
		w.lo = a & 0xffff;
	else
		w.lo = (a & emul_mask(n)) | (d & emul_mask(n)) << (8 * n);
	if (sign) {
		w.lo = emul_sext(w.lo, 2 * n);
		w.hi = (u64)((s64)w.lo >> 63);
	}
	return w;
}

int emul_div(struct emul_ctxt *ctxt)
{
	unsigned int n = ctxt->d.bytes;
	u64 b, quotient, remainder;
	struct wide w;
	int r = emul_rm_read(ctxt, n, &b);

	if (r)
		return r;
	w = dividend(ctxt, n, false);
	if (w.hi >= b)
		return emul_fault(ctxt, EMUL_EXC_DE);
	quotient = divide(w.hi, w.lo, b, &remainder);
	if (quotient & ~emul_mask(n))
		return emul_fault(ctxt, EMUL_EXC_DE);
	set_wide(ctxt, n, quotient, remainder);
	return EMUL_OK;
}

static struct wide negate(struct wide w)
{
	w.hi = ~w.hi + (w.lo == 0);
	w.lo = -w.lo;
	return w;
}

int emul_idiv(struct emul_ctxt *ctxt)
{
	unsigned int n = ctxt->d.bytes;
	bool minus_a, minus_b;
	u64 b, quotient, remainder, limit;
	struct wide w;
	int r = emul_rm_read(ctxt, n, &b);

	if (r)
		return r;
	b = emul_sext(b, n);
	w = dividend(ctxt, n, true);
	minus_a = w.hi >> 63;
	minus_b = b >> 63;
	if (minus_a)
		w = negate(w);
	if (minus_b)
		b = -b;
	if (w.hi >= b)
		return emul_fault(ctxt, EMUL_EXC_DE);
	quotient = divide(w.hi, w.lo, b, &remainder);
	limit = emul_mask(n) >> 1;
	if (quotient > limit + (minus_a != minus_b))
		return emul_fault(ctxt, EMUL_EXC_DE);
	set_wide(ctxt, n, minus_a != minus_b ? -quotient : quotient, minus_a ? -remainder : remainder);
	return EMUL_OK;
}

static void set_al(struct emul_ctxt *ctxt, u8 al)
{
	ctxt->regs[EMUL_RAX] = (ctxt->regs[EMUL_RAX] & ~0xffull) | al;
	ctxt->regs_dirty |= 1u << EMUL_RAX;
}

static void set_ax(struct emul_ctxt *ctxt, u16 ax)
{
	ctxt->regs[EMUL_RAX] = (ctxt->regs[EMUL_RAX] & ~0xffffull) | ax;
	ctxt->regs_dirty |= 1u << EMUL_RAX;
}

static int ascii_adjust(struct emul_ctxt *ctxt, bool subtract_it)
{
	u16 ax = ctxt->regs[EMUL_RAX];
	bool adjust = (ax & 0xf) > 9 || ctxt->rflags & FL_AF;

	if (adjust)
		ax = subtract_it ? ax - 0x106 : ax + 0x106;
	ctxt->rflags &= ~FL_ARITH;
	if (adjust)
		ctxt->rflags |= FL_AF | FL_CF;
	ax &= 0xff0f;
	ctxt->rflags |= emul_result_flags(ax, 1);
	set_ax(ctxt, ax);
	return EMUL_OK;
}

int emul_aaa(struct emul_ctxt *ctxt)
{
	return ascii_adjust(ctxt, false);
}

int emul_aas(struct emul_ctxt *ctxt)
{
	return ascii_adjust(ctxt, true);
}

int emul_aam(struct emul_ctxt *ctxt)
{
	u8 al = ctxt->regs[EMUL_RAX], base = ctxt->d.imm;

	if (!base)
		return emul_fault(ctxt, EMUL_EXC_DE);
	set_ax(ctxt, (al / base) << 8 | al % base);
	logic(1, al % base, &ctxt->rflags);
	return EMUL_OK;
}

int emul_aad(struct emul_ctxt *ctxt)
{
	u16 ax = ctxt->regs[EMUL_RAX];
	u8 al = (ax & 0xff) + (ax >> 8) * (u8)ctxt->d.imm;

	set_ax(ctxt, al);
	logic(1, al, &ctxt->rflags);
	return EMUL_OK;
}

static int decimal_adjust(struct emul_ctxt *ctxt, bool subtract_it)
{
	u8 old = ctxt->regs[EMUL_RAX], al = old;
	bool carry = ctxt->rflags & FL_CF, half = (old & 0xf) > 9 || ctxt->rflags & FL_AF;
	bool high = old > 0x99 || carry;

	if (half)
		al += subtract_it ? -6 : 6;
	if (half && subtract_it && old < 6)
		carry = true;
	if (high)
		al += subtract_it ? -0x60 : 0x60;
	ctxt->rflags &= ~FL_ARITH;
	ctxt->rflags |= emul_result_flags(al, 1) | (half ? FL_AF : 0) | (high || (carry && subtract_it) ? FL_CF : 0);
	set_al(ctxt, al);
	return EMUL_OK;
}

int emul_daa(struct emul_ctxt *ctxt)
{
	return decimal_adjust(ctxt, false);
}

int emul_das(struct emul_ctxt *ctxt)
{
	return decimal_adjust(ctxt, true);
}

/* CMC, CLC, STC, CLD, STD */
int emul_flag(struct emul_ctxt *ctxt)
{
	switch (ctxt->d.opcode) {
	case 0xf5:
		ctxt->rflags ^= FL_CF;
		break;
	case 0xf8:
		ctxt->rflags &= ~FL_CF;
		break;
	case 0xf9:
		ctxt->rflags |= FL_CF;
		break;
	case 0xfc:
		ctxt->rflags &= ~FL_DF;
		break;
	default:
		ctxt->rflags |= FL_DF;
		break;
	}
	return EMUL_OK;
}
