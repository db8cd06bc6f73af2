// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The emulator's decoding, faults, device accesses and restarts, in all modes.
 *
 * LINK: kmod/x86/emul/[a-z]*.c selftests/emul/machine.c selftests/emul/guest.c
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../emul/guest.h"

/* ---- lengths ---- */

#define R EMUL_REAL
#define P2 EMUL_PROT16
#define P EMUL_PROT32
#define L EMUL_LONG64

static const struct { enum emul_mode mode; const char *bytes; int n; int len; } lengths[] = {
#define E(mode, s, len) { mode, s, sizeof(s) - 1, len }
	E(R, "\x90", 1), E(P, "\x90", 1), E(L, "\x90", 1),
	E(R, "\xb8\x01\x02\x03\x04", 3), E(P, "\xb8\x01\x02\x03\x04", 5), E(L, "\xb8\x01\x02\x03\x04", 5),
	E(R, "\x66\xb8\x01\x02\x03\x04", 6), E(P, "\x66\xb8\x01\x02\x03\x04", 4), E(P2, "\x66\xb8\x01\x02\x03\x04", 6),
	E(L, "\x48\xb8\x01\x02\x03\x04\x05\x06\x07\x08", 10), E(L, "\x66\x48\xb8\x01\x02\x03\x04\x05\x06\x07\x08", 11),
	/* a REX before a legacy prefix is lost */
	E(L, "\x48\x66\xb8\x01\x02\x03\x04", 5), E(L, "\x48\x2e\xb8\x01\x02\x03\x04", 7), E(L, "\x48\x41\xb8\x01\x02\x03\x04", 7),
	E(P, "\x40", 1), E(L, "\x40\x90", 2),
	/* addresses */
	E(R, "\x8b\x06\x01\x02", 4), E(R, "\x8b\x46\x01", 3), E(R, "\x8b\x86\x01\x02", 4), E(R, "\x8b\x04", 2), E(R, "\x67\x8b\x04\x24", 4),
	E(P, "\x8b\x05\x01\x02\x03\x04", 6), E(P, "\x8b\x04\x25\x01\x02\x03\x04", 7), E(P, "\x8b\x44\x24\x01", 4), E(P, "\x67\x8b\x06\x01\x02", 5),
	E(P, "\x8b\x84\x24\x01\x02\x03\x04", 7), E(P, "\x8b\x04\x24", 3), E(P, "\x8b\x44\x25\x01", 4), E(P, "\x8b\x84\x25\x01\x02\x03\x04", 7),
	E(L, "\x8b\x05\x01\x02\x03\x04", 6), E(L, "\x67\x8b\x05\x01\x02\x03\x04", 7), E(L, "\x41\x8b\x45\x00", 4), E(L, "\x43\x8b\x04\x25\x01\x02\x03\x04", 8),
	E(L, "\x49\xc7\x84\x24\x01\x02\x03\x04\x05\x06\x07\x08", 12), E(L, "\x66\x41\xc7\x84\x24\x01\x02\x03\x04\x05\x06", 11),
	E(P, "\xa1\x01\x02\x03\x04", 5), E(R, "\xa1\x01\x02", 3), E(L, "\xa1\x01\x02\x03\x04\x05\x06\x07\x08", 9), E(L, "\x67\xa1\x01\x02\x03\x04", 6),
	/* groups with and without an immediate */
	E(P, "\xf6\x00\x01", 3), E(P, "\xf6\x10", 2), E(P, "\xf7\x00\x01\x02\x03\x04", 6), E(P, "\xf7\x18", 2), E(R, "\xf7\x00\x01\x02", 4),
	/* what exits without a saved next RIP */
	E(L, "\x0f\xa2", 2), E(L, "\x66\x0f\xa2", 3), E(L, "\xf3\xf2\x2e\x0f\xa2", 5), E(L, "\x48\x0f\xa2", 3), E(R, "\x0f\xa2", 2), E(L, "\xf4", 1),
	E(L, "\x66\xf4", 2), E(P, "\x0f\x32", 2), E(P, "\x0f\x30", 2), E(P, "\x0f\x31", 2), E(P, "\x0f\x33", 2), E(P, "\x0f\x09", 2), E(P, "\x0f\x08", 2),
	E(L, "\x0f\x01\xd9", 3), E(L, "\x0f\x01\xc1", 3), E(L, "\x0f\x01\xc8", 3), E(L, "\x0f\x01\xc9", 3), E(L, "\x0f\x01\xd1", 3), E(L, "\x0f\x01\xf9", 3),
	E(L, "\x0f\x20\xc0", 3), E(L, "\x44\x0f\x22\xc0", 4), E(P, "\xf0\x0f\x20\xc0", 4), E(L, "\x0f\x23\x05", 3), E(L, "\x0f\x01\x38", 3), E(L, "\x0f\x01\x15\x01\x02\x03\x04", 7),
	E(P, "\xcd\x80", 2), E(P, "\xcc", 1), E(P, "\xf1", 1), E(P, "\xce", 1), E(L, "\x48\xcf", 2), E(L, "\x0f\xc7\xf0", 3), E(L, "\xf3\x90", 2), E(L, "\x0f\x01\xdd", 3),
	E(P, "\xe4\x01", 2), E(P, "\xec", 1), E(P, "\x66\xef", 2), E(P, "\xf3\x6c", 2), E(P, "\xf3\x66\x67\x6f", 4),
	/* branches */
	E(P, "\xe8\x01\x02\x03\x04", 5), E(R, "\xe8\x01\x02", 3), E(P, "\x66\xe8\x01\x02", 4), E(L, "\xe8\x01\x02\x03\x04", 5), E(L, "\x66\xe8\x01\x02", 4),
	E(P, "\x0f\x84\x01\x02\x03\x04", 6), E(R, "\x0f\x84\x01\x02", 4), E(P, "\xea\x01\x02\x03\x04\x05\x06", 7), E(R, "\xea\x01\x02\x03\x04", 5),
	E(R, "\x66\xea\x01\x02\x03\x04\x05\x06", 8), E(P, "\xc8\x01\x02\x03", 4), E(P, "\xc2\x01\x02", 3), E(P, "\xca\x01\x02", 3),
	/* vectors, x87, three-byte maps */
	E(L, "\x0f\x10\x00", 3), E(L, "\x0f\xc2\xc0\x01", 4), E(L, "\x66\x0f\x70\xc0\x01", 5), E(L, "\x0f\x38\x00\xc0", 4), E(L, "\x66\x0f\x3a\x0f\xc0\x01", 6),
	E(L, "\x0f\x77", 2), E(L, "\xd9\x7d\x01", 3), E(L, "\xdb\xe3", 2), E(L, "\x9b", 1), E(L, "\x0f\x0f\xc0\x9e", 4),
	E(L, "\xc5\xf8\x77", 3), E(L, "\xc5\xf8\x10\x00", 4), E(L, "\xc5\xf9\x70\xc0\x01", 5), E(L, "\xc4\xe2\x79\x18\x00", 5), E(L, "\xc4\xe3\x79\x04\xc0\x01", 6),
	E(L, "\xc4\xe1\x78\x10\x05\x01\x02\x03\x04", 9), E(P, "\xc5\xf8\x10\x00", 4), E(P, "\xc5\x00", 2), E(P, "\xc4\x00", 2), E(R, "\xc4\x00", 2),
	E(L, "\x62\xf1\x7c\x48\x10\x00", 6), E(L, "\x62\xf1\x7c\x48\x10\x40\x01", 7), E(L, "\x62\xf3\x7d\x48\x03\xc0\x01", 7), E(L, "\x62\xf1\x7c\x48\x10\x80\x01\x02\x03\x04", 10),
	E(P, "\x62\x00", 2), E(L, "\x8f\xe9\x78\x01\xc8", 5), E(L, "\x8f\xe8\x78\xc0\xc8\x01", 6), E(L, "\x8f\xea\x78\x10\xc8\x01\x02\x03\x04", 9), E(L, "\x8f\xc0", 2),
	/* 15 bytes are an instruction, 16 are not */
	E(L, "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x90", 15), E(P, "\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x0f\xa2", 15),
	E(L, "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x90", EMUL_LEN_LONG),
	E(P, "\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x0f\xa2", EMUL_LEN_LONG),
	E(L, "\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x48\xc7\xc0\x01\x02\x03\x04", EMUL_LEN_LONG),
	/* not instructions */
	E(P, "\x0f\x0b", EMUL_LEN_UD), E(L, "\x06", EMUL_LEN_UD), E(L, "\x60", EMUL_LEN_UD), E(L, "\xea\x01\x02\x03\x04\x05\x06", EMUL_LEN_UD),
	E(L, "\xf0\x90", EMUL_LEN_UD), E(L, "\xf0\x89\x00", EMUL_LEN_UD), E(L, "\xf0\x01\xc0", EMUL_LEN_UD), E(L, "\xf0\x39\x00", EMUL_LEN_UD),
	E(L, "\x8d\xc0", EMUL_LEN_UD), E(L, "\xfe\x10", EMUL_LEN_UD), E(L, "\xff\x38", EMUL_LEN_UD), E(L, "\x0f\x04", EMUL_LEN_UD),
	E(L, "\x66\xc5\xf8\x77", EMUL_LEN_UD), E(L, "\x48\xc5\xf8\x77", EMUL_LEN_UD), E(R, "\x0f\x00\xc0", EMUL_LEN_UD), E(R, "\xc4\xc0", EMUL_LEN_UD),
	/* truncated */
	E(L, "", EMUL_LEN_SHORT), E(L, "\x66", EMUL_LEN_SHORT), E(L, "\x0f", EMUL_LEN_SHORT), E(L, "\x8b", EMUL_LEN_SHORT), E(L, "\x8b\x04", EMUL_LEN_SHORT),
	E(P, "\xb8\x01\x02\x03", EMUL_LEN_SHORT), E(L, "\xc5", EMUL_LEN_SHORT), E(P, "\xc4", EMUL_LEN_SHORT),
};

START_TEST(length_is_that_of_the_manual)
{
	int len = emul_insn_len(lengths[_i].mode, lengths[_i].bytes, lengths[_i].n);

	ck_assert_msg(len == lengths[_i].len, "entry %d: %d, should be %d", _i, len, lengths[_i].len);
}
END_TEST

START_TEST(fetch_stops_at_the_page_when_the_instruction_does)
{
	start(EMUL_LONG64);
	m.window[0].size = 0x2000;
	c.rip = 0x1ffe;
	ck_assert_int_eq(RUN("\x0f\xa2"), EMUL_OK);
	ck_assert_uint_eq(c.rip, 0x2000);
}
END_TEST

START_TEST(fetch_faults_on_the_second_page_only_when_it_is_needed)
{
	start(EMUL_LONG64);
	m.window[0].size = 0x2000;
	c.rip = 0x1fff;
	ck_fault("\x0f", EMUL_EXC_PF);
	ck_assert_uint_eq(c.exception.address, 0x2000);
	ck_assert(c.exception.error & 16);
	ck_assert_uint_eq(c.rip, 0x1fff);
}
END_TEST

START_TEST(fetch_crosses_pages)
{
	start(EMUL_LONG64);
	c.rip = 0x1ffd;
	ck_assert_int_eq(RUN("\x48\xc7\xc0\x01\x02\x03\x04"), EMUL_OK);
	ck_assert_uint_eq(c.regs[0], 0x04030201);
}
END_TEST

START_TEST(fetch_over_the_code_limit_is_gp)
{
	start(EMUL_PROT32);
	m.seg[EMUL_CS].limit = CODE + 1;
	ck_fault_error("\xb8\x01\x02\x03\x04", EMUL_EXC_GP, 0);
}
END_TEST

START_TEST(sixteen_bytes_are_gp)
{
	start(EMUL_LONG64);
	ck_fault_error("\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x90", EMUL_EXC_GP, 0);
}
END_TEST

/* ---- faults ---- */

static const struct { enum emul_mode mode; unsigned int cpl; const char *bytes; int n; int vector; } faults[] = {
#define F(mode, cpl, s, v) { mode, cpl, s, sizeof(s) - 1, v }
	F(P, 3, "\xf4", EMUL_EXC_GP), F(L, 3, "\x0f\x20\xc0", EMUL_EXC_GP), F(L, 3, "\x0f\x22\xc0", EMUL_EXC_GP), F(L, 3, "\x0f\x32", EMUL_EXC_GP),
	F(L, 3, "\x0f\x30", EMUL_EXC_GP), F(L, 3, "\x0f\x06", EMUL_EXC_GP), F(L, 3, "\x0f\x01\x10", EMUL_EXC_GP), F(L, 3, "\x0f\x01\x18", EMUL_EXC_GP),
	F(L, 3, "\x0f\x01\xf0", EMUL_EXC_GP), F(L, 3, "\x0f\x01\x38", EMUL_EXC_GP), F(L, 3, "\x0f\x09", EMUL_EXC_GP), F(L, 3, "\x0f\x00\xd0", EMUL_EXC_GP),
	F(L, 3, "\x0f\x00\xd8", EMUL_EXC_GP), F(P, 3, "\xfa", EMUL_EXC_GP), F(P, 3, "\xfb", EMUL_EXC_GP), F(L, 3, "\x0f\x21\xc0", EMUL_EXC_GP),
	F(L, 0, "\x0f\x20\xc8", EMUL_EXC_UD), F(L, 0, "\x0f\x22\xe8", EMUL_EXC_UD), F(L, 0, "\x0f\x33", EMUL_EXC_GP), F(P, 0, "\x8e\xc8", EMUL_EXC_UD),
	F(P, 0, "\x8e\xf0", EMUL_EXC_UD), F(L, 0, "\xf0\x90", EMUL_EXC_UD), F(L, 0, "\x0f\x0b", EMUL_EXC_UD), F(P, 0, "\x0f\xff\xc0", EMUL_EXC_UD),
	F(EMUL_VM86, 3, "\xf4", EMUL_EXC_GP), F(EMUL_VM86, 3, "\xcd\x10", EMUL_EXC_GP), F(EMUL_VM86, 3, "\x9c", EMUL_EXC_GP), F(EMUL_VM86, 3, "\xcf", EMUL_EXC_GP),
	F(R, 0, "\x0f\x00\xd0", EMUL_EXC_UD), F(R, 0, "\x63\xc0", EMUL_EXC_UD), F(P, 3, "\xe4\x10", EMUL_EXC_GP), F(P, 3, "\x6c", EMUL_EXC_GP),
	F(P, 0, "\xf6\xf1", EMUL_EXC_DE), F(P, 0, "\xf6\xf9", EMUL_EXC_DE), F(P, 0, "\xd4\x00", EMUL_EXC_DE), F(L, 0, "\x0f\xae\xc8", EMUL_EXC_UD),
	F(L, 3, "\x0f\x01\xf8", EMUL_EXC_GP), F(P, 0, "\x0f\x01\xf8", EMUL_EXC_UD), F(L, 0, "\x0f\xae\xc0", EMUL_EXC_UD), F(L, 0, "\xf3\x0f\xae\xc0", EMUL_EXC_UD),
};

START_TEST(instruction_faults)
{
	start_prot(faults[_i].mode, faults[_i].cpl);
	ck_assert_int_eq(run(faults[_i].bytes, faults[_i].n), EMUL_FAULT);
	ck_assert_msg(c.exception.vector == faults[_i].vector, "entry %d: vector %d", _i, c.exception.vector);
	ck_assert_uint_eq(c.rip, CODE);
}
END_TEST

START_TEST(limit_is_gp_or_ss)
{
	start(EMUL_PROT32);
	m.seg[EMUL_DS].limit = m.seg[EMUL_SS].limit = 0xfff;
	c.regs[EMUL_RBX] = 0xffd;
	ck_fault_error("\x8b\x03", EMUL_EXC_GP, 0);
	c.regs[EMUL_RBP] = 0xffd;
	ck_fault_error("\x8b\x45\x00", EMUL_EXC_SS, 0);
	c.regs[EMUL_RBX] = 0xffc;
	ck_assert_int_eq(RUN("\x8b\x03"), EMUL_OK);
}
END_TEST

START_TEST(expand_down_segments_are_valid_above_the_limit)
{
	start(EMUL_PROT32);
	m.seg[EMUL_DS].attr = 0x97 | EMUL_SEG_DB;
	m.seg[EMUL_DS].limit = 0xfff;
	c.regs[EMUL_RBX] = 0xfff;
	ck_fault_error("\x8b\x03", EMUL_EXC_GP, 0);
	c.regs[EMUL_RBX] = 0x1000;
	ck_assert_int_eq(RUN("\x8b\x03"), EMUL_OK);
	m.seg[EMUL_DS].attr = 0x97;
	c.regs[EMUL_RBX] = 0xfffd;
	ck_fault_error("\x8b\x03", EMUL_EXC_GP, 0);
}
END_TEST

START_TEST(segment_types_are_checked)
{
	start(EMUL_PROT32);
	c.regs[EMUL_RBX] = DATA;
	m.seg[EMUL_DS].attr = 0x91;
	ck_fault("\x89\x03", EMUL_EXC_GP);
	ck_assert_int_eq(RUN("\x8b\x03"), EMUL_OK);
	ck_fault("\x2e\x89\x03", EMUL_EXC_GP);
	m.seg[EMUL_CS].attr = 0x99 | EMUL_SEG_DB;
	ck_fault("\x2e\x8b\x03", EMUL_EXC_GP);
	m.seg[EMUL_DS].attr = 0;
	ck_fault("\x8b\x03", EMUL_EXC_GP);
}
END_TEST

START_TEST(real_mode_word_at_ffff_faults_without_error_code)
{
	start(EMUL_REAL);
	c.regs[EMUL_RBX] = 0xffff;
	ck_fault("\x8b\x07", EMUL_EXC_GP);
	ck_assert(!c.exception.has_error);
}
END_TEST

START_TEST(non_canonical_is_gp_or_ss)
{
	start(EMUL_LONG64);
	c.regs[EMUL_RBX] = 0x800000000000;
	ck_fault_error("\x8b\x03", EMUL_EXC_GP, 0);
	c.regs[EMUL_RBX] = 0x7ffffffffffd;
	ck_fault_error("\x8b\x03", EMUL_EXC_GP, 0);
	c.regs[EMUL_RBP] = 0x800000000000;
	ck_fault_error("\x8b\x45\x00", EMUL_EXC_SS, 0);
	c.regs[EMUL_RSP] = 0x8000000000000000;
	ck_fault_error("\x50", EMUL_EXC_SS, 0);
	m.cr[4] |= 1 << 12;
	c.regs[EMUL_RBX] = 0x800000000000;
	ck_fault("\x8b\x03", EMUL_EXC_PF);
}
END_TEST

START_TEST(alignment_check_needs_am_ac_and_cpl3)
{
	start_prot(EMUL_PROT32, 3);
	c.regs[EMUL_RBX] = DATA + 1;
	c.rflags |= 1 << 18;
	ck_assert_int_eq(RUN("\x8b\x03"), EMUL_OK);
	m.cr[0] |= 1 << 18;
	c.rip = CODE;
	ck_fault_error("\x8b\x03", EMUL_EXC_AC, 0);
	c.cpl = 0;
	ck_assert_int_eq(RUN("\x8b\x03"), EMUL_OK);
}
END_TEST

START_TEST(fpu_availability)
{
	start(EMUL_LONG64);
	c.regs[EMUL_RBX] = DATA;
	m.cr[0] |= 8;
	ck_fault("\x0f\x10\x03", EMUL_EXC_NM);
	ck_fault("\xdb\xe3", EMUL_EXC_NM);
	m.cr[4] = 0;
	ck_fault("\x0f\x10\x03", EMUL_EXC_UD);
	m.cr[0] &= ~8ull;
	ck_fault("\xc5\xf8\x10\x03", EMUL_EXC_UD);
	m.cr[4] = 1 << 18;
	m.xcr0 = 3;
	ck_fault("\xc5\xf8\x10\x03", EMUL_EXC_UD);
	m.xcr0 = 7;
	ck_assert_int_eq(RUN("\xc5\xf8\x10\x03"), EMUL_OK);
}
END_TEST

START_TEST(unaligned_movaps_is_gp)
{
	start(EMUL_LONG64);
	c.regs[EMUL_RBX] = DATA + 8;
	ck_fault_error("\x0f\x28\x03", EMUL_EXC_GP, 0);
	ck_assert_int_eq(RUN("\x0f\x10\x03"), EMUL_OK);
}
END_TEST

/* ---- devices, restarts ---- */

static u64 device_value(u64 address)
{
	return address * 0x9e3779b97f4a7c15ull;
}

START_TEST(mmio_read_completes_after_one_round)
{
	unsigned int attempts;

	start(EMUL_LONG64);
	m.late = true;
	c.regs[EMUL_RBX] = DEVICE;
	memcpy(memory + CODE, "\x48\x8b\x03", 3);
	ck_assert_int_eq(machine_run(&m, &c, &attempts), EMUL_OK);
	ck_assert_uint_eq(attempts, 2);
	ck_assert_uint_eq(c.regs[0], device_value(DEVICE));
}
END_TEST

START_TEST(mmio_read_modify_write)
{
	start(EMUL_LONG64);
	m.late = true;
	c.regs[EMUL_RBX] = DEVICE;
	ck_assert_int_eq(RUN("\xf0\x83\x0b\x01"), EMUL_OK);
	ck_assert_uint_eq(m.writes, 1);
	ck_assert_uint_eq(m.write_log[0].data, (u32)device_value(DEVICE) | 1);
}
END_TEST

START_TEST(rep_movs_from_a_device_reads_every_word_once)
{
	unsigned int attempts, i;

	start(EMUL_LONG64);
	m.late = true;
	c.regs[EMUL_RSI] = DEVICE;
	c.regs[EMUL_RDI] = DATA;
	c.regs[EMUL_RCX] = 8;
	memcpy(memory + CODE, "\xf3\xa5", 2);
	ck_assert_int_eq(machine_run(&m, &c, &attempts), EMUL_OK);
	ck_assert_uint_eq(attempts, 9);
	ck_assert_uint_eq(m.commits, 7);
	ck_assert_uint_eq(c.regs[EMUL_RCX], 0);
	ck_assert_uint_eq(c.rip, CODE + 2);
	for (i = 0; i < 8; i++)
		ck_assert_uint_eq(peek(DATA + 4 * i, 4), (u32)device_value(DEVICE + 4 * i));
}
END_TEST

START_TEST(rep_movs_to_a_device_keeps_the_order)
{
	unsigned int i;

	start(EMUL_LONG64);
	c.regs[EMUL_RSI] = DATA;
	c.regs[EMUL_RDI] = DEVICE;
	c.regs[EMUL_RCX] = 100;
	for (i = 0; i < 100; i++)
		poke(DATA + i, i, 1);
	ck_assert_int_eq(RUN("\xf3\xa4"), EMUL_OK);
	ck_assert_uint_eq(m.writes, 100);
	for (i = 0; i < 100; i++) {
		ck_assert_uint_eq(m.write_log[i].address, DEVICE + i);
		ck_assert_uint_eq(m.write_log[i].data, i);
	}
}
END_TEST

START_TEST(rep_faults_with_the_earlier_iterations_done)
{
	start(EMUL_LONG64);
	c.regs[EMUL_RDI] = sizeof(memory) - 16;
	c.regs[EMUL_RCX] = 100;
	c.regs[EMUL_RAX] = 0x55;
	ck_fault("\xf3\xaa", EMUL_EXC_PF);
	ck_assert_uint_eq(c.regs[EMUL_RCX], 84);
	ck_assert_uint_eq(c.regs[EMUL_RDI], sizeof(memory));
	ck_assert_uint_eq(c.exception.address, sizeof(memory));
	ck_assert_uint_eq(c.rip, CODE);
}
END_TEST

START_TEST(rep_is_cut_at_the_limit)
{
	start(EMUL_LONG64);
	c.regs[EMUL_RDI] = DATA;
	c.regs[EMUL_RCX] = 3 * EMUL_REP_MAX / 2;
	memcpy(memory + CODE, "\xf3\xaa", 2);
	ck_assert_int_eq(emul_insn(&c), EMUL_OK);
	ck_assert(c.repeat);
	ck_assert_uint_eq(c.rip, CODE);
	ck_assert_uint_eq(c.regs[EMUL_RCX], EMUL_REP_MAX / 2);
	ck_assert_int_eq(emul_insn(&c), EMUL_OK);
	ck_assert(!c.repeat);
	ck_assert_uint_eq(c.rip, CODE + 2);
}
END_TEST

START_TEST(rep_single_steps)
{
	start(EMUL_LONG64);
	c.regs[EMUL_RDI] = DATA;
	c.regs[EMUL_RCX] = 2;
	c.rflags |= 0x100;
	memcpy(memory + CODE, "\xf3\xaa", 2);
	ck_assert_int_eq(emul_insn(&c), EMUL_OK);
	ck_assert(c.repeat && c.single_step);
	ck_assert_uint_eq(c.regs[EMUL_RCX], 1);
}
END_TEST

START_TEST(string_addresses_wrap_in_16_bits)
{
	start(EMUL_REAL);
	c.regs[EMUL_RDI] = 0xabcdffff;
	c.regs[EMUL_RCX] = 0xabcd0002;
	c.regs[EMUL_RAX] = 0x5a;
	ck_assert_int_eq(RUN("\xf3\xaa"), EMUL_OK);
	ck_assert_uint_eq(c.regs[EMUL_RDI], 0xabcd0001);
	ck_assert_uint_eq(c.regs[EMUL_RCX], 0xabcd0000);
	ck_assert_uint_eq(memory[0xffff], 0x5a);
	ck_assert_uint_eq(memory[0], 0x5a);
}
END_TEST

START_TEST(rep_insw_goes_in_blocks)
{
	unsigned int attempts, i;

	start(EMUL_PROT32);
	m.late = true;
	c.regs[EMUL_RDX] = 0x1f0;
	c.regs[EMUL_RDI] = DATA + 4096 - 512;
	c.regs[EMUL_RCX] = 1024;
	memcpy(memory + CODE, "\xf3\x66\x6d", 3);
	ck_assert_int_eq(machine_run(&m, &c, &attempts), EMUL_OK);
	/* 256 words to the page's end, then 512, then 256: each block waits once */
	ck_assert_uint_eq(attempts, 6);
	ck_assert_uint_eq(c.regs[EMUL_RDI], DATA + 4096 - 512 + 2048);
	ck_assert_uint_eq(c.regs[EMUL_RCX], 0);
	for (i = 0; i < 512; i++)
		ck_assert_uint_eq(memory[DATA + 4096 - 512 + i], (u8)(0x1f0 * 3 + i));
}
END_TEST

START_TEST(ins_checks_its_destination_before_the_port_is_read)
{
	start(EMUL_PROT32);
	m.late = true;
	c.regs[EMUL_RDI] = sizeof(memory);
	c.regs[EMUL_RCX] = 4;
	ck_fault("\xf3\x6c", EMUL_EXC_PF);
	ck_assert(!m.pending);
}
END_TEST

START_TEST(rep_outsb_from_memory_and_from_a_device)
{
	start(EMUL_PROT32);
	c.regs[EMUL_RDX] = 0x3f8;
	c.regs[EMUL_RSI] = DATA;
	c.regs[EMUL_RCX] = 5;
	memcpy(memory + DATA, "lodge", 5);
	ck_assert_int_eq(RUN("\xf3\x6e"), EMUL_OK);
	ck_assert_uint_eq(m.port_writes, 5);
	ck_assert_uint_eq(m.port_log[4].data, 'e');
	m.late = true;
	c.regs[EMUL_RSI] = DEVICE;
	c.regs[EMUL_RCX] = 3;
	ck_assert_int_eq(RUN("\xf3\x6e"), EMUL_OK);
	ck_assert_uint_eq(m.port_writes, 8);
	ck_assert_uint_eq(m.port_log[7].data, device_value(DEVICE + 2) & 0xff);
}
END_TEST

/* Another CPU changes the word between the read and the compare-exchange. */
static int racing_read(struct emul_ctxt *ctxt, u64 linear, void *buf, unsigned int n, unsigned int flags)
{
	int r = machine_ops.read(ctxt, linear, buf, n, flags);

	if (flags & EMUL_ACC_LOCKED)
		memory[DATA] ^= 1;
	return r;
}

START_TEST(locked_operation_that_loses_the_race_is_retried)
{
	struct emul_ops ops = machine_ops;

	start(EMUL_LONG64);
	ops.read = racing_read;
	c.ops = &ops;
	c.regs[EMUL_RBX] = DATA;
	c.regs[EMUL_RAX] = 5;
	ck_assert_int_eq(RUN("\xf0\x0f\xc1\x03"), EMUL_RETRY);
	ck_assert_uint_eq(c.rip, CODE);
	ck_assert_uint_eq(c.regs[EMUL_RAX], 5);
	ck_assert_int_eq(RUN("\x0f\xc1\x03"), EMUL_OK);
}
END_TEST

START_TEST(push_from_a_device_changes_nothing_before_it_is_complete)
{
	start(EMUL_LONG64);
	m.late = true;
	c.regs[EMUL_RBX] = DEVICE;
	memcpy(memory + CODE, "\xff\x33", 2);
	ck_assert_int_eq(emul_insn(&c), EMUL_IO_NEEDED);
	ck_assert_uint_eq(c.regs[EMUL_RSP], STACK);
	ck_assert_uint_eq(peek(STACK - 8, 8), 0);
	ck_assert_uint_eq(c.rip, CODE);
	ck_assert_int_eq(c.regs_dirty, 0);
}
END_TEST

START_TEST(vector_moves_reach_devices)
{
	start(EMUL_LONG64);
	m.late = true;
	c.regs[EMUL_RBX] = DEVICE;
	ck_assert_int_eq(RUN("\x0f\x28\x0b"), EMUL_OK);
	ck_assert_uint_eq(m.vec[1].q[1], device_value(DEVICE + 8));
	ck_assert_int_eq(RUN("\xc5\xfc\x29\x0b"), EMUL_OK);
	ck_assert_uint_eq(m.write_log[0].n, 32);
	ck_assert_int_eq(RUN("\x0f\x6f\x03"), EMUL_OK);
	ck_assert_uint_eq(m.mmx[0], device_value(DEVICE));
	ck_assert_int_eq(RUN("\xd9\x3b"), EMUL_OK);
	ck_assert_uint_eq(m.write_log[1].data, 0x37f);
}
END_TEST

START_TEST(uncovered_instruction_is_unhandled_not_ud)
{
	start(EMUL_LONG64);
	ck_assert_int_eq(RUN("\x0f\x05"), EMUL_UNHANDLED);
	ck_assert_int_eq(RUN("\x66\x0f\x58\xc1"), EMUL_UNHANDLED);
	ck_assert_uint_eq(c.d.len, 4);
	ck_assert_uint_eq(c.rip, CODE);
}
END_TEST

START_TEST(sixteen_bit_addressing)
{
	start(EMUL_REAL);
	m.seg[EMUL_SS].base = 0x10000;
	c.regs[EMUL_RBP] = 0xfff0;
	c.regs[EMUL_RSI] = 0x0020;
	poke(0x10000 + 0x10, 0x1234, 2);
	ck_assert_int_eq(RUN("\x8b\x02"), EMUL_OK);	/* mov ax, [bp+si]: wraps, in SS */
	ck_assert_uint_eq(c.regs[0], 0x1234);
	m.seg[EMUL_DS].limit = 0xffffffff;
	c.regs[EMUL_RBX] = 0x20000;
	poke(0x20000, 0x5678, 2);
	ck_assert_int_eq(RUN("\x67\x8b\x03"), EMUL_OK);	/* unreal mode */
	ck_assert_uint_eq(c.regs[0], 0x5678);
}
END_TEST

START_TEST(pushes_use_the_stack_segments_width)
{
	start(EMUL_PROT32);
	m.seg[EMUL_SS].attr = 0x93;
	c.regs[EMUL_RSP] = 0x12340002;
	m.seg[EMUL_SS].limit = 0xffff;
	ck_fault_error("\x50", EMUL_EXC_SS, 0);
	ck_assert_uint_eq(c.regs[EMUL_RSP], 0x12340002);
	ck_assert_int_eq(RUN("\x66\x50"), EMUL_OK);
	ck_assert_uint_eq(c.regs[EMUL_RSP], 0x12340000);
}
END_TEST

static const struct { u8 feature; const char *bytes; u8 n; } features[] = {
#define FEATURE(name, s) { EMUL_FEAT_##name, s, sizeof(s) - 1 }
	FEATURE(CX8, "\x0f\xc7\x0b"), FEATURE(CX16, "\x48\x0f\xc7\x0b"), FEATURE(CMOV, "\x0f\x40\x03"), FEATURE(MMX, "\x0f\x6f\x03"),
	FEATURE(MMX, "\x0f\x7f\x03"), FEATURE(MMX, "\x0f\x6e\x03"), FEATURE(MMX, "\x0f\x7e\x03"), FEATURE(SSE, "\x0f\xe7\x03"),
	FEATURE(SSE, "\x0f\x10\x03"), FEATURE(SSE, "\xf3\x0f\x11\x03"), FEATURE(SSE, "\x0f\x28\x03"), FEATURE(SSE, "\x0f\x2b\x03"),
	FEATURE(SSE2, "\x66\x0f\x10\x03"), FEATURE(SSE2, "\xf2\x0f\x10\x03"), FEATURE(SSE2, "\x66\x0f\x6f\x03"),
	FEATURE(SSE2, "\xf3\x0f\x7f\x03"), FEATURE(SSE2, "\x66\x0f\xe7\x03"), FEATURE(SSE2, "\x66\x0f\xd6\x03"),
	FEATURE(SSE2, "\x0f\xc3\x03"), FEATURE(SSE3, "\xf2\x0f\xf0\x03"), FEATURE(SSE41, "\x66\x0f\x38\x2a\x03"),
	FEATURE(SSE42, "\xf2\x0f\x38\xf0\x03"), FEATURE(SSE42, "\xf2\x0f\x38\xf1\x03"), FEATURE(MOVBE, "\x0f\x38\xf0\x03"),
	FEATURE(MOVBE, "\x66\x0f\x38\xf1\x03"), FEATURE(POPCNT, "\xf3\x0f\xb8\x03"), FEATURE(AVX, "\xc5\xf8\x10\x03"),
	FEATURE(AVX, "\xc5\xfd\x6f\x03"), FEATURE(AVX2, "\xc4\xe2\x7d\x2a\x03"), FEATURE(AVX, "\xc4\xe2\x79\x2a\x03"),
	FEATURE(CLFLUSH, "\x0f\xae\x3b"), FEATURE(CLFLUSHOPT, "\x66\x0f\xae\x3b"), FEATURE(CLWB, "\x66\x0f\xae\x33"),
	FEATURE(RDTSCP, "\x0f\x01\xf9"), FEATURE(SMAP, "\x0f\x01\xca"),
};

START_TEST(a_feature_that_the_guest_lacks_is_ud)
{
	start(EMUL_LONG64);
	c.regs[EMUL_RBX] = DATA;
	ck_assert_int_eq(run(features[_i].bytes, features[_i].n), EMUL_OK);
	start(EMUL_LONG64);
	c.regs[EMUL_RBX] = DATA;
	m.lacks = 1ull << features[_i].feature;
	ck_assert_int_eq(run(features[_i].bytes, features[_i].n), EMUL_FAULT);
	ck_assert_int_eq(c.exception.vector, EMUL_EXC_UD);
	start(EMUL_LONG64);
	c.regs[EMUL_RBX] = DATA;
	m.lacks = ~(1ull << features[_i].feature | 1ull << EMUL_FEAT_AVX | 1ull << EMUL_FEAT_CX8);
	ck_assert_int_eq(run(features[_i].bytes, features[_i].n), EMUL_OK);
}
END_TEST

/* CPUs without LZCNT and BMI1 ignore the prefix. */
START_TEST(lzcnt_and_tzcnt_fall_back_to_bsr_and_bsf)
{
	start(EMUL_LONG64);
	c.regs[EMUL_RCX] = 0x1000;
	ck_assert_int_eq(RUN("\xf3\x0f\xbd\xc1"), EMUL_OK);
	ck_assert_uint_eq(c.regs[EMUL_RAX], 19);
	m.lacks = 1ull << EMUL_FEAT_LZCNT | 1ull << EMUL_FEAT_BMI1;
	ck_assert_int_eq(RUN("\xf3\x0f\xbd\xc1"), EMUL_OK);
	ck_assert_uint_eq(c.regs[EMUL_RAX], 12);
	c.regs[EMUL_RCX] = 0;
	c.regs[EMUL_RAX] = 77;
	ck_assert_int_eq(RUN("\xf3\x0f\xbc\xc1"), EMUL_OK);
	ck_assert_uint_eq(c.regs[EMUL_RAX], 77);
	m.lacks = 0;
	ck_assert_int_eq(RUN("\xf3\x0f\xbc\xc1"), EMUL_OK);
	ck_assert_uint_eq(c.regs[EMUL_RAX], 32);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("emul");
	TCase *tc;

	tc = tcase_create("decode");
	tcase_add_loop_test(tc, length_is_that_of_the_manual, 0, ARRAY_SIZE(lengths));
	tcase_add_test(tc, fetch_stops_at_the_page_when_the_instruction_does);
	tcase_add_test(tc, fetch_faults_on_the_second_page_only_when_it_is_needed);
	tcase_add_test(tc, fetch_crosses_pages);
	tcase_add_test(tc, fetch_over_the_code_limit_is_gp);
	tcase_add_test(tc, sixteen_bytes_are_gp);
	suite_add_tcase(s, tc);
	tc = tcase_create("faults");
	tcase_add_loop_test(tc, instruction_faults, 0, ARRAY_SIZE(faults));
	tcase_add_test(tc, limit_is_gp_or_ss);
	tcase_add_test(tc, expand_down_segments_are_valid_above_the_limit);
	tcase_add_test(tc, segment_types_are_checked);
	tcase_add_test(tc, real_mode_word_at_ffff_faults_without_error_code);
	tcase_add_test(tc, non_canonical_is_gp_or_ss);
	tcase_add_test(tc, alignment_check_needs_am_ac_and_cpl3);
	tcase_add_test(tc, fpu_availability);
	tcase_add_test(tc, unaligned_movaps_is_gp);
	tcase_add_test(tc, sixteen_bit_addressing);
	tcase_add_test(tc, pushes_use_the_stack_segments_width);
	tcase_add_loop_test(tc, a_feature_that_the_guest_lacks_is_ud, 0, ARRAY_SIZE(features));
	tcase_add_test(tc, lzcnt_and_tzcnt_fall_back_to_bsr_and_bsf);
	tcase_add_test(tc, uncovered_instruction_is_unhandled_not_ud);
	suite_add_tcase(s, tc);
	tc = tcase_create("devices");
	tcase_add_test(tc, mmio_read_completes_after_one_round);
	tcase_add_test(tc, mmio_read_modify_write);
	tcase_add_test(tc, rep_movs_from_a_device_reads_every_word_once);
	tcase_add_test(tc, rep_movs_to_a_device_keeps_the_order);
	tcase_add_test(tc, rep_faults_with_the_earlier_iterations_done);
	tcase_add_test(tc, rep_is_cut_at_the_limit);
	tcase_add_test(tc, rep_single_steps);
	tcase_add_test(tc, string_addresses_wrap_in_16_bits);
	tcase_add_test(tc, rep_insw_goes_in_blocks);
	tcase_add_test(tc, ins_checks_its_destination_before_the_port_is_read);
	tcase_add_test(tc, rep_outsb_from_memory_and_from_a_device);
	tcase_add_test(tc, locked_operation_that_loses_the_race_is_retried);
	tcase_add_test(tc, push_from_a_device_changes_nothing_before_it_is_complete);
	tcase_add_test(tc, vector_moves_reach_devices);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	SRunner *runner = srunner_create(suite());
	int failed;

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
