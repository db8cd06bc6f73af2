// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shifts, rotates, double shifts, bit tests, bit scans and CRC32.
 *
 * Counts are masked to 5 bits (6 for 64-bit operands) before anything else; a masked count of zero changes no flag.  Undefined results
 * and flags get a fixed value: OF for counts other than 1 follows the formula for 1, AF stays clear after shifts, a double shift of a word
 * by more than 16 yields the bits of dst:src:dst, BSF and BSR of zero leave the destination alone (as AMD documents).
 */
#include "insn.h"

static u64 flag_if(u64 flag, u64 condition)
{
	return condition & 1 ? flag : 0;
}

static u64 rotate(unsigned int op, unsigned int n, u64 a, unsigned int count, u64 *flags)
{
	unsigned int width = 8 * n, top = width - 1, left;
	u64 r;

	count %= width;
	left = op & 1 ? (width - count) % width : count;
	r = left ? (a << left | a >> (width - left)) & emul_mask(n) : a;
	*flags &= ~(FL_CF | FL_OF);
	if (op & 1)
		*flags |= flag_if(FL_CF, r >> top) | flag_if(FL_OF, r >> top ^ r >> (top - 1));
	else
		*flags |= flag_if(FL_CF, r) | flag_if(FL_OF, r >> top ^ r);
	return r;
}

/* Through the carry, one bit at a time: at most 64 rounds. */
static u64 rotate_carry(unsigned int op, unsigned int n, u64 a, unsigned int count, u64 *flags)
{
	unsigned int top = 8 * n - 1;
	u64 carry = *flags & FL_CF, out;

	for (count %= 8 * n + 1; count; count--) {
		if (op & 1) {
			out = a & 1;
			a = a >> 1 | carry << top;
		} else {
			out = a >> top & 1;
			a = (a << 1 | carry) & emul_mask(n);
		}
		carry = out;
	}
	*flags = (*flags & ~(FL_CF | FL_OF)) | carry;
	*flags |= flag_if(FL_OF, op & 1 ? a >> top ^ a >> (top - 1) : a >> top ^ carry);
	return a;
}

static u64 shift(unsigned int op, unsigned int n, u64 a, unsigned int count, u64 *flags)
{
	unsigned int top = 8 * n - 1;
	u64 r, carry, overflow;

	switch (op) {
	case 5:
		r = a >> (count - 1);
		carry = r;
		r >>= 1;
		overflow = a >> top;
		break;
	case 7:
		r = (u64)((s64)emul_sext(a, n) >> (count - 1));
		carry = r;
		r = (u64)((s64)r >> 1);
		overflow = 0;
		break;
	default:
		r = a << (count - 1);
		carry = r >> top;
		r <<= 1;
		overflow = r >> top ^ carry;
		break;
	}
	r &= emul_mask(n);
	*flags &= ~FL_ARITH;
	*flags |= emul_result_flags(r, n) | flag_if(FL_CF, carry) | flag_if(FL_OF, overflow);
	return r;
}

/* C0 C1 by an immediate, D0 D1 by one, D2 D3 by CL; ROL ROR RCL RCR SHL SHR SAL SAR */
int emul_shift(struct emul_ctxt *ctxt)
{
	const struct emul_insn *d = &ctxt->d;
	unsigned int op = d->modrm >> 3 & 7, n = d->bytes, count;
	u64 a, result, flags = ctxt->rflags;
	int r;

	count = d->opcode < 0xd0 ? d->imm : d->opcode < 0xd2 ? 1 : ctxt->regs[EMUL_RCX];
	count &= n == 8 ? 63 : 31;
	r = emul_rm_load(ctxt, n, &a);
	if (r)
		return r;
	result = a;
	if (count) {
		if (op < 2)
			result = rotate(op, n, a, count, &flags);
		else if (op < 4)
			result = rotate_carry(op, n, a, count, &flags);
		else
			result = shift(op, n, a, count, &flags);
	}
	r = emul_rm_store(ctxt, n, a, result);
	if (r)
		return r;
	ctxt->rflags = flags;
	return EMUL_OK;
}

static u64 shift_left2(unsigned int n, u64 a, u64 b, unsigned int count, u64 *carry)
{
	unsigned int width = 8 * n;

	if (count > width) {	/* word operands only */
		*carry = b >> (2 * width - count) & 1;
		return (b << (count - width) | a >> (2 * width - count)) & emul_mask(n);
	}
	*carry = a >> (width - count) & 1;
	if (count == width)
		return b;
	return (a << count | b >> (width - count)) & emul_mask(n);
}

static u64 shift_right2(unsigned int n, u64 a, u64 b, unsigned int count, u64 *carry)
{
	unsigned int width = 8 * n;

	if (count > width) {
		*carry = b >> (count - width - 1) & 1;
		return (b >> (count - width) | a << (2 * width - count)) & emul_mask(n);
	}
	*carry = a >> (count - 1) & 1;
	if (count == width)
		return b;
	return (a >> count | b << (width - count)) & emul_mask(n);
}

static int double_shift(struct emul_ctxt *ctxt, bool left)
{
	const struct emul_insn *d = &ctxt->d;
	unsigned int n = d->bytes, count;
	u64 a, b, result, carry, flags = ctxt->rflags;
	int r = emul_rm_load(ctxt, n, &a);

	if (r)
		return r;
	count = (d->opcode & 1 ? ctxt->regs[EMUL_RCX] : d->imm) & (n == 8 ? 63 : 31);
	result = a;
	if (count) {
		b = emul_reg_read(ctxt, d->reg, n);
		result = left ? shift_left2(n, a, b, count, &carry) : shift_right2(n, a, b, count, &carry);
		flags &= ~FL_ARITH;
		flags |= emul_result_flags(result, n) | carry | flag_if(FL_OF, (a ^ result) >> (8 * n - 1));
	}
	r = emul_rm_store(ctxt, n, a, result);
	if (r)
		return r;
	ctxt->rflags = flags;
	return EMUL_OK;
}

int emul_shld(struct emul_ctxt *ctxt)
{
	return double_shift(ctxt, true);
}

int emul_shrd(struct emul_ctxt *ctxt)
{
	return double_shift(ctxt, false);
}

/* what: 0 BT, 1 BTS, 2 BTR, 3 BTC */
static int bit_test(struct emul_ctxt *ctxt, unsigned int what, u64 bit)
{
	unsigned int n = ctxt->d.bytes;
	u64 a, mask = 1ull << (bit & (8 * n - 1)), result, flags;
	int r = what ? emul_rm_load(ctxt, n, &a) : emul_rm_read(ctxt, n, &a);

	if (r)
		return r;
	flags = (ctxt->rflags & ~FL_CF) | (a & mask ? FL_CF : 0);
	if (what) {
		result = what == 1 ? a | mask : what == 2 ? a & ~mask : a ^ mask;
		r = emul_rm_store(ctxt, n, a, result);
		if (r)
			return r;
	}
	ctxt->rflags = flags;
	return EMUL_OK;
}

/* With a register's bit offset the memory operand is an array of any length: the address moves by whole operands. */
int emul_bt_r(struct emul_ctxt *ctxt)
{
	struct emul_insn *d = &ctxt->d;
	u64 bit = emul_sext(ctxt->regs[d->reg], d->bytes);

	if (d->mem) {
		s64 units = (s64)bit >> (d->bytes == 8 ? 6 : d->bytes == 4 ? 5 : 4);

		d->ea = (d->ea + (u64)units * d->bytes) & emul_mask(d->ad_bytes);
	}
	return bit_test(ctxt, d->opcode >> 3 & 3, bit);
}

int emul_bt_imm(struct emul_ctxt *ctxt)
{
	return bit_test(ctxt, ctxt->d.modrm >> 3 & 3, ctxt->d.imm);
}

static int bit_scan(struct emul_ctxt *ctxt, bool reverse)
{
	const struct emul_insn *d = &ctxt->d;
	u64 a;
	int r = emul_rm_read(ctxt, d->bytes, &a);

	if (r)
		return r;
	ctxt->rflags &= ~FL_ZF;
	if (!a) {
		ctxt->rflags |= FL_ZF;
		return EMUL_OK;
	}
	emul_reg_write(ctxt, d->reg, d->bytes, reverse ? 63 - __builtin_clzll(a) : __builtin_ctzll(a));
	return EMUL_OK;
}

int emul_bsf(struct emul_ctxt *ctxt)
{
	return bit_scan(ctxt, false);
}

int emul_bsr(struct emul_ctxt *ctxt)
{
	return bit_scan(ctxt, true);
}

static int zero_count(struct emul_ctxt *ctxt, bool leading)
{
	const struct emul_insn *d = &ctxt->d;
	unsigned int width = 8 * d->bytes;
	u64 a, count;
	int r = emul_rm_read(ctxt, d->bytes, &a);

	if (r)
		return r;
	if (!a)
		count = width;
	else if (leading)
		count = __builtin_clzll(a) - (64 - width);
	else
		count = __builtin_ctzll(a);
	ctxt->rflags &= ~(FL_CF | FL_ZF);
	ctxt->rflags |= (a ? 0 : FL_CF) | (count ? 0 : FL_ZF);
	emul_reg_write(ctxt, d->reg, d->bytes, count);
	return EMUL_OK;
}

/* A CPU that has them not ignores the prefix (APM 3 "LZCNT", "TZCNT"). */
int emul_tzcnt(struct emul_ctxt *ctxt)
{
	return emul_has(ctxt, EMUL_FEAT_BMI1) ? zero_count(ctxt, false) : bit_scan(ctxt, false);
}

int emul_lzcnt(struct emul_ctxt *ctxt)
{
	return emul_has(ctxt, EMUL_FEAT_LZCNT) ? zero_count(ctxt, true) : bit_scan(ctxt, true);
}

int emul_popcnt(struct emul_ctxt *ctxt)
{
	const struct emul_insn *d = &ctxt->d;
	u64 a, count = 0;
	int r = emul_rm_read(ctxt, d->bytes, &a);

	if (r)
		return r;
	ctxt->rflags &= ~FL_ARITH;
	if (!a)
		ctxt->rflags |= FL_ZF;
	for (; a; a &= a - 1)
		count++;
	emul_reg_write(ctxt, d->reg, d->bytes, count);
	return EMUL_OK;
}

/* CRC32C: the polynomial 11EDC6F41h, bits reflected (SDM 2A "CRC32").  The destination has 32 bits, 64 with REX.W. */
int emul_crc32(struct emul_ctxt *ctxt)
{
	const struct emul_insn *d = &ctxt->d;
	unsigned int i;
	u32 crc;
	u64 a;
	int r = emul_rm_read(ctxt, d->bytes, &a);

	if (r)
		return r;
	crc = emul_reg_read(ctxt, d->reg, 4);
	for (i = 0; i < 8 * d->bytes; i++, a >>= 1)
		crc = (crc >> 1) ^ ((crc ^ a) & 1 ? 0x82f63b78 : 0);
	emul_reg_write(ctxt, d->reg, d->rex & 8 ? 8 : 4, crc);
	return EMUL_OK;
}
