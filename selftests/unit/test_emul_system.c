// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The emulator's system instructions, segment loads, far transfers and task switches.
 *
 * LINK: kmod/x86/emul/[a-z]*.c selftests/emul/machine.c selftests/emul/guest.c
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../emul/guest.h"

/* ---- system instructions ---- */

START_TEST(mov_cr_and_the_alternate_cr8)
{
	start(EMUL_LONG64);
	c.regs[EMUL_RCX] = 5;
	ck_assert_int_eq(RUN("\x44\x0f\x22\xc1"), EMUL_OK);
	ck_assert_uint_eq(m.cr[8], 5);
	ck_assert_int_eq(RUN("\xf0\x0f\x20\xc2"), EMUL_OK);
	ck_assert_uint_eq(c.regs[EMUL_RDX], 5);
	c.rip = CODE;
	ck_fault("\xf0\x0f\x20\xd2", EMUL_EXC_UD);
	/* ModRM.mod is ignored */
	ck_assert_int_eq(RUN("\x0f\x20\x02"), EMUL_OK);
	ck_assert_uint_eq(c.regs[EMUL_RDX], m.cr[0]);
}
END_TEST

START_TEST(dr7_gd_and_cr4_de)
{
	start(EMUL_LONG64);
	m.dr[6] = 0xffff0ff0;
	ck_assert_int_eq(RUN("\x0f\x21\xe0"), EMUL_OK);
	ck_assert_uint_eq(c.regs[0], 0xffff0ff0);
	c.rip = CODE;
	m.dr[7] = 1 << 13;
	ck_fault("\x0f\x21\xc0", EMUL_EXC_DB);
	m.cr[4] |= 8;
	ck_fault("\x0f\x21\xe0", EMUL_EXC_UD);
}
END_TEST

START_TEST(lgdt_takes_24_bits_with_word_operands)
{
	start(EMUL_REAL);
	poke(DATA & 0xfff, 0x1234, 2);
	poke((DATA & 0xfff) + 2, 0x89abcdef, 4);
	ck_assert_int_eq(RUN("\x0f\x01\x16\x00\x00"), EMUL_OK);
	ck_assert_uint_eq(m.gdt.base, 0xabcdef);
	ck_assert_int_eq(RUN("\x66\x0f\x01\x16\x00\x00"), EMUL_OK);
	ck_assert_uint_eq(m.gdt.base, 0x89abcdef);
	ck_assert_uint_eq(m.gdt.limit, 0x1234);
}
END_TEST

START_TEST(sgdt_round_trip_in_64_bit_mode)
{
	start(EMUL_LONG64);
	m.gdt = (struct emul_dt){ 0xffff800012345678, 0x7f };
	c.regs[EMUL_RBX] = DATA;
	ck_assert_int_eq(RUN("\x0f\x01\x03"), EMUL_OK);
	ck_assert_int_eq(RUN("\x0f\x01\x1b"), EMUL_OK);
	ck_assert_uint_eq(m.idt.base, 0xffff800012345678);
	ck_assert_uint_eq(m.idt.limit, 0x7f);
	poke(DATA + 2, 0x800000000000, 8);
	ck_fault("\x0f\x01\x1b", EMUL_EXC_GP);
}
END_TEST

START_TEST(lmsw_cannot_clear_pe)
{
	start(EMUL_PROT32);
	m.cr[0] = 0x11;
	c.regs[0] = 8;
	ck_assert_int_eq(RUN("\x0f\x01\xf0"), EMUL_OK);
	ck_assert_uint_eq(m.cr[0], 0x19);
}
END_TEST

START_TEST(umip_hides_the_tables_from_user_code)
{
	start_prot(EMUL_LONG64, 3);
	c.regs[EMUL_RBX] = DATA;
	ck_assert_int_eq(RUN("\x0f\x01\x03"), EMUL_OK);
	m.cr[4] |= 1 << 11;
	ck_fault("\x0f\x01\x03", EMUL_EXC_GP);
	ck_fault("\x0f\x01\xe0", EMUL_EXC_GP);
	ck_fault("\x0f\x00\xc8", EMUL_EXC_GP);
}
END_TEST

START_TEST(msr_cpuid_tsc_hlt)
{
	start(EMUL_LONG64);
	m.msr_tsc = 0x1122334455667788;
	ck_assert_int_eq(RUN("\x0f\x31"), EMUL_OK);
	ck_assert_uint_eq(c.regs[EMUL_RAX], 0x55667788);
	ck_assert_uint_eq(c.regs[EMUL_RDX], 0x11223344);
	c.regs[EMUL_RCX] = 0x10a;
	ck_assert_int_eq(RUN("\x0f\x30"), EMUL_OK);
	ck_assert_uint_eq(m.msr_other, 0x1122334455667788);
	c.regs[EMUL_RAX] = 7;
	c.regs[EMUL_RCX] = 3;
	ck_assert_int_eq(RUN("\x0f\xa2"), EMUL_OK);
	ck_assert_uint_eq(c.regs[EMUL_RBX], 8);
	ck_assert_uint_eq(c.regs[EMUL_RDX], 5);
	ck_assert_int_eq(RUN("\xf4"), EMUL_OK);
	ck_assert_uint_eq(m.hlts, 1);
	ck_assert_uint_eq(c.rip, CODE + 7);
	c.regs[EMUL_RCX] = 0xdead;
	ck_fault("\x0f\x32", EMUL_EXC_GP);
}
END_TEST

START_TEST(sti_and_mov_ss_start_a_shadow)
{
	start(EMUL_REAL);
	ck_assert_int_eq(RUN("\xfb"), EMUL_OK);
	ck_assert_int_eq(c.shadow, EMUL_SHADOW_STI);
	ck_assert_int_eq(RUN("\xfb"), EMUL_OK);
	ck_assert_int_eq(c.shadow, EMUL_SHADOW_NONE);
	c.rflags |= 0x100;
	ck_assert_int_eq(RUN("\x8e\xd0"), EMUL_OK);
	ck_assert_int_eq(c.shadow, EMUL_SHADOW_MOV_SS);
	ck_assert(!c.single_step);
	ck_assert_int_eq(RUN("\x90"), EMUL_OK);
	ck_assert(c.single_step);
}
END_TEST

START_TEST(port_bitmap)
{
	start_prot(EMUL_PROT32, 3);
	m.seg[EMUL_TR].limit = 0x1fff;
	poke(TSS + 0x66, 0x68, 2);
	memset(memory + TSS + 0x68, 0xff, 0x100);
	poke(TSS + 0x68 + 0x3f8 / 8, 0xf0, 1);
	c.regs[EMUL_RDX] = 0x3f8;
	ck_assert_int_eq(RUN("\xed"), EMUL_OK);
	c.regs[EMUL_RDX] = 0x3f9;
	c.rip = CODE;
	ck_fault_error("\xed", EMUL_EXC_GP, 0);
	ck_assert_int_eq(RUN("\xec"), EMUL_OK);
	c.rip = CODE;
	m.seg[EMUL_TR].limit = 0x68;
	ck_fault_error("\xec", EMUL_EXC_GP, 0);
	c.rflags |= 3 << 12;
	ck_assert_int_eq(RUN("\xec"), EMUL_OK);
}
END_TEST

/* ---- segments and far transfers ---- */

START_TEST(real_mode_far_call_and_return)
{
	start(EMUL_REAL);
	ck_assert_int_eq(RUN("\x9a\x34\x12\x00\x10"), EMUL_OK);
	ck_assert_uint_eq(m.seg[EMUL_CS].selector, 0x1000);
	ck_assert_uint_eq(m.seg[EMUL_CS].base, 0x10000);
	ck_assert_uint_eq(c.rip, 0x1234);
	ck_assert_uint_eq(peek(STACK - 4, 4), CODE + 5);
	ck_assert_int_eq(RUN("\xcb"), EMUL_OK);
	ck_assert_uint_eq(c.rip, CODE + 5);
	ck_assert_uint_eq(m.seg[EMUL_CS].base, 0);
	ck_assert_uint_eq(c.regs[EMUL_RSP], STACK);
}
END_TEST

START_TEST(real_mode_int_and_iret)
{
	start(EMUL_REAL);
	m.idt = (struct emul_dt){ 0, 0x3ff };
	poke(0x10 * 4, 0x20001234, 4);
	c.rflags = 0x246;
	ck_assert_int_eq(RUN("\xcd\x10"), EMUL_OK);
	ck_assert_uint_eq(c.rip, 0x1234);
	ck_assert_uint_eq(m.seg[EMUL_CS].base, 0x20000);
	ck_assert_uint_eq(c.rflags, 0x46);
	ck_assert_uint_eq(peek(STACK - 6, 6), 0x024600001002);
	ck_assert_int_eq(RUN("\xcf"), EMUL_OK);
	ck_assert_uint_eq(c.rip, CODE + 2);
	ck_assert_uint_eq(c.rflags, 0x246);
	ck_assert(c.nmi_unblock);
	m.idt.limit = 0x42;
	ck_fault("\xcd\x10", EMUL_EXC_GP);
}
END_TEST

START_TEST(protected_int_is_handed_to_the_caller)
{
	start_prot(EMUL_PROT32, 3);
	ck_fault("\xcd\x80", 0x80);
	ck_assert(c.exception.soft);
	ck_assert_uint_eq(c.rip, CODE + 2);
}
END_TEST

START_TEST(real_to_protected_mode_far_jump)
{
	start_prot(EMUL_PROT16, 0);
	m.seg[EMUL_CS].selector = 0xf000;
	ck_assert_int_eq(RUN("\x66\xea\x00\x20\x00\x00\x08\x00"), EMUL_OK);
	ck_assert_uint_eq(c.rip, 0x2000);
	ck_assert_uint_eq(m.seg[EMUL_CS].selector, CODE32);
	ck_assert_uint_eq(m.seg[EMUL_CS].limit, 0xffffffff);
	ck_assert_uint_eq(m.seg[EMUL_CS].attr, 0x9b | EMUL_SEG_DB | EMUL_SEG_G);
	ck_assert_int_eq(c.mode, EMUL_PROT32);
	ck_assert(peek(GDT + CODE32 + 5, 1) & 1);
}
END_TEST

static const struct { u16 selector; u8 cpl; int vector; u16 error; } jumps[] = {
	{ 0, 0, EMUL_EXC_GP, 0 }, { 3, 0, EMUL_EXC_GP, 0 }, { 0x100, 0, EMUL_EXC_GP, 0x100 }, { DATA32, 0, EMUL_EXC_GP, DATA32 },
	{ USER32 | 3, 0, EMUL_EXC_GP, USER32 }, { CODE32, 3, EMUL_EXC_GP, CODE32 }, { 0xc, 0, EMUL_EXC_GP, 0xc }, { TSSSEL, 3, EMUL_EXC_GP, TSSSEL },
	{ CODE32 | 1, 0, EMUL_EXC_GP, CODE32 },
};

START_TEST(far_jump_refuses)
{
	u8 code[7] = { 0xea, 0, 0x20, 0, 0, jumps[_i].selector, jumps[_i].selector >> 8 };

	start_prot(EMUL_PROT32, jumps[_i].cpl);
	ck_assert_int_eq(run((char *)code, 7), EMUL_FAULT);
	ck_assert_int_eq(c.exception.vector, jumps[_i].vector);
	ck_assert_uint_eq(c.exception.error, jumps[_i].error);
	ck_assert_uint_eq(c.rip, CODE);
}
END_TEST

START_TEST(far_jump_to_absent_code_is_np)
{
	start_prot(EMUL_PROT32, 0);
	descriptor(CODE16, 0, 0xffff, 0x1a);
	ck_fault_error("\xea\x00\x20\x00\x00\x28\x00", EMUL_EXC_NP, CODE16);
}
END_TEST

START_TEST(far_jump_checks_the_limit)
{
	start_prot(EMUL_PROT32, 0);
	ck_fault_error("\xea\x00\x00\x01\x00\x28\x00", EMUL_EXC_GP, 0);
}
END_TEST

START_TEST(conforming_code_keeps_the_privilege)
{
	start_prot(EMUL_PROT32, 3);
	ck_assert_int_eq(RUN("\xea\x00\x20\x00\x00\x30\x00"), EMUL_OK);
	ck_assert_uint_eq(m.seg[EMUL_CS].selector, CONFORM | 3);
	ck_assert_uint_eq(c.cpl, 3);
}
END_TEST

START_TEST(call_gate_switches_the_stack_and_ret_switches_back)
{
	start_prot(EMUL_PROT32, 3);
	gate(GATE, CODE32, 0x3000, 0xec, 2);
	poke(TSS + 4, 0x7000, 4);
	poke(TSS + 8, DATA32, 2);
	poke(STACK, 0x1111, 4);
	poke(STACK + 4, 0x2222, 4);
	m.seg[EMUL_ES].attr = 0x93 | EMUL_SEG_DB | EMUL_SEG_G;	/* DPL 0: must go on the way out */
	ck_assert_int_eq(RUN("\x9a\x00\x00\x00\x00\x38\x00"), EMUL_OK);
	ck_assert_uint_eq(c.cpl, 0);
	ck_assert_uint_eq(c.rip, 0x3000);
	ck_assert_uint_eq(c.regs[EMUL_RSP], 0x7000 - 24);
	ck_assert_uint_eq(m.seg[EMUL_SS].selector, DATA32);
	ck_assert_uint_eq(peek(0x7000 - 24, 8), (u64)(USER32 | 3) << 32 | (CODE + 7));
	ck_assert_uint_eq(peek(0x7000 - 16, 8), 0x0000222200001111);
	ck_assert_uint_eq(peek(0x7000 - 8, 8), (u64)(UDATA | 3) << 32 | STACK);
	ck_assert_int_eq(RUN("\xca\x08\x00"), EMUL_OK);
	ck_assert_uint_eq(c.cpl, 3);
	ck_assert_uint_eq(c.rip, CODE + 7);
	ck_assert_uint_eq(c.regs[EMUL_RSP], STACK + 8);
	ck_assert_uint_eq(m.seg[EMUL_SS].selector, UDATA | 3);
	ck_assert_uint_eq(m.seg[EMUL_ES].attr, 0);
	ck_assert_uint_ne(m.seg[EMUL_DS].attr, 0);
}
END_TEST

START_TEST(call_gate_failures_leave_everything_alone)
{
	start_prot(EMUL_PROT32, 3);
	gate(GATE, CODE32, 0x3000, 0x8c, 0);
	ck_fault_error("\x9a\x00\x00\x00\x00\x38\x00", EMUL_EXC_GP, GATE);
	gate(GATE, CODE32, 0x3000, 0x6c, 0);
	ck_fault_error("\x9a\x00\x00\x00\x00\x38\x00", EMUL_EXC_NP, GATE);
	gate(GATE, CODE32, 0x3000, 0xec, 0);
	ck_fault_error("\x9a\x00\x00\x00\x00\x38\x00", EMUL_EXC_TS, 0);
	poke(TSS + 8, UDATA, 2);
	ck_fault_error("\x9a\x00\x00\x00\x00\x38\x00", EMUL_EXC_TS, UDATA);
	poke(TSS + 8, DATA32, 2);
	poke(TSS + 4, 0x200000, 4);
	ck_fault("\x9a\x00\x00\x00\x00\x38\x00", EMUL_EXC_PF);
	ck_assert_uint_eq(c.cpl, 3);
	ck_assert_int_eq(c.mode, EMUL_PROT32);
	ck_assert_uint_eq(c.regs[EMUL_RSP], STACK);
	ck_assert_uint_eq(m.seg[EMUL_SS].selector, UDATA | 3);
}
END_TEST

START_TEST(iret_to_user_mode)
{
	start_prot(EMUL_PROT32, 0);
	poke(STACK, 0x2000, 4);
	poke(STACK + 4, USER32 | 3, 4);
	poke(STACK + 8, 0x3202, 4);
	poke(STACK + 12, 0x6000, 4);
	poke(STACK + 16, UDATA | 3, 4);
	ck_assert_int_eq(RUN("\xcf"), EMUL_OK);
	ck_assert_uint_eq(c.cpl, 3);
	ck_assert_uint_eq(c.rip, 0x2000);
	ck_assert_uint_eq(c.regs[EMUL_RSP], 0x6000);
	ck_assert_uint_eq(c.rflags, 0x3202);
	ck_assert_uint_eq(m.seg[EMUL_DS].attr, 0);
}
END_TEST

START_TEST(user_iret_cannot_change_iopl_and_if)
{
	start_prot(EMUL_PROT32, 3);
	poke(STACK, 0x2000, 4);
	poke(STACK + 4, USER32 | 3, 4);
	poke(STACK + 8, 0x3202, 4);
	ck_assert_int_eq(RUN("\xcf"), EMUL_OK);
	ck_assert_uint_eq(c.rflags, 2);
	ck_assert_uint_eq(c.regs[EMUL_RSP], STACK + 12);
}
END_TEST

START_TEST(iret_to_vm86)
{
	static const u32 frame[] = { 0x100, 0x1000, 0x23202, 0xfffe, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000 };

	start_prot(EMUL_PROT32, 0);
	memcpy(memory + STACK, frame, sizeof(frame));
	ck_assert_int_eq(RUN("\xcf"), EMUL_OK);
	ck_assert_int_eq(c.mode, EMUL_VM86);
	ck_assert_uint_eq(c.cpl, 3);
	ck_assert_uint_eq(c.rip, 0x100);
	ck_assert_uint_eq(m.seg[EMUL_SS].base, 0x20000);
	ck_assert_uint_eq(m.seg[EMUL_GS].base, 0x60000);
	ck_assert_uint_eq(m.seg[EMUL_CS].attr, 0xf3);
	ck_assert_uint_eq(c.rflags, 0x23202);
}
END_TEST

START_TEST(iretq_always_pops_the_stack_pointer)
{
	static const u64 frame[] = { 0x2000, CODE64, 0x202, 0x6008, 0 };

	start_prot(EMUL_LONG64, 0);
	memcpy(memory + STACK, frame, sizeof(frame));
	ck_assert_int_eq(RUN("\x48\xcf"), EMUL_OK);
	ck_assert_uint_eq(c.regs[EMUL_RSP], 0x6008);
	ck_assert_uint_eq(m.seg[EMUL_SS].attr & EMUL_SEG_P, 0);
	c.rflags |= 1 << 14;
	ck_fault_error("\x48\xcf", EMUL_EXC_GP, 0);
}
END_TEST

START_TEST(long_mode_far_jump_to_compatibility_mode)
{
	start_prot(EMUL_LONG64, 0);
	poke(DATA, 0x2000, 4);
	poke(DATA + 4, CODE32, 2);
	c.regs[EMUL_RBX] = DATA;
	ck_assert_int_eq(RUN("\xff\x2b"), EMUL_OK);
	ck_assert_int_eq(c.mode, EMUL_PROT32);
	poke(DATA + 4, TSSSEL, 2);
	start_prot(EMUL_LONG64, 0);
	poke(DATA + 4, TSSSEL, 2);
	c.regs[EMUL_RBX] = DATA;
	ck_fault_error("\xff\x2b", EMUL_EXC_GP, TSSSEL);
}
END_TEST

static const struct { u8 reg; u16 selector; u8 cpl; int vector; u16 error; } loads[] = {
	{ EMUL_DS, DATA32, 0, -1, 0 }, { EMUL_DS, 0, 0, -1, 0 }, { EMUL_DS, CODE32, 0, -1, 0 }, { EMUL_DS, XONLY, 0, EMUL_EXC_GP, XONLY },
	{ EMUL_DS, DATA32, 3, EMUL_EXC_GP, DATA32 }, { EMUL_DS, UDATA | 3, 3, -1, 0 }, { EMUL_DS, CONFORM, 3, -1, 0 }, { EMUL_ES, ABSENT, 0, EMUL_EXC_NP, ABSENT },
	{ EMUL_SS, 0, 0, EMUL_EXC_GP, 0 }, { EMUL_SS, DATA32, 0, -1, 0 }, { EMUL_SS, DATA32 | 3, 0, EMUL_EXC_GP, DATA32 }, { EMUL_SS, RONLY, 0, EMUL_EXC_GP, RONLY },
	{ EMUL_SS, ABSENT, 0, EMUL_EXC_SS, ABSENT }, { EMUL_SS, UDATA | 3, 0, EMUL_EXC_GP, UDATA }, { EMUL_FS, TSSSEL, 0, EMUL_EXC_GP, TSSSEL },
	{ EMUL_DS, 0x1000, 0, EMUL_EXC_GP, 0x1000 }, { EMUL_DS, DATA32 | 4, 0, EMUL_EXC_GP, DATA32 | 4 },
};

START_TEST(segment_load)
{
	u8 code[2] = { 0x8e, 0xc0 | loads[_i].reg << 3 };
	int r;

	start_prot(EMUL_PROT32, loads[_i].cpl);
	c.regs[0] = loads[_i].selector;
	r = run((char *)code, 2);
	if (loads[_i].vector < 0) {
		ck_assert_int_eq(r, EMUL_OK);
		ck_assert_uint_eq(m.seg[loads[_i].reg].selector, loads[_i].selector);
		return;
	}
	ck_assert_int_eq(r, EMUL_FAULT);
	ck_assert_int_eq(c.exception.vector, loads[_i].vector);
	ck_assert_uint_eq(c.exception.error, loads[_i].error);
}
END_TEST

START_TEST(real_mode_segment_load_keeps_the_limit)
{
	start(EMUL_REAL);
	m.seg[EMUL_DS].limit = 0xffffffff;
	c.regs[0] = 0x1234;
	ck_assert_int_eq(RUN("\x8e\xd8"), EMUL_OK);
	ck_assert_uint_eq(m.seg[EMUL_DS].base, 0x12340);
	ck_assert_uint_eq(m.seg[EMUL_DS].limit, 0xffffffff);
}
END_TEST

START_TEST(ltr_marks_busy_once)
{
	start_prot(EMUL_PROT32, 0);
	c.regs[0] = TSSSEL2;
	ck_assert_int_eq(RUN("\x0f\x00\xd8"), EMUL_OK);
	ck_assert_uint_eq(peek(GDT + TSSSEL2 + 5, 1), 0x8b);
	ck_assert_uint_eq(m.seg[EMUL_TR].base, TSS2);
	c.rip = CODE;
	ck_fault_error("\x0f\x00\xd8", EMUL_EXC_GP, TSSSEL2);
}
END_TEST

START_TEST(lar_lsl_verr_verw)
{
	start_prot(EMUL_PROT32, 3);
	c.regs[EMUL_RBX] = UDATA | 3;
	ck_assert_int_eq(RUN("\x0f\x02\xc3"), EMUL_OK);
	ck_assert(c.rflags & 0x40);
	ck_assert_uint_eq(c.regs[0], 0xcff200);
	ck_assert_int_eq(RUN("\x0f\x03\xc3"), EMUL_OK);
	ck_assert_uint_eq(c.regs[0], 0xffffffff);
	ck_assert_int_eq(RUN("\x0f\x00\xeb"), EMUL_OK);
	ck_assert(c.rflags & 0x40);
	c.regs[EMUL_RBX] = DATA32;
	ck_assert_int_eq(RUN("\x0f\x00\xe3"), EMUL_OK);
	ck_assert(!(c.rflags & 0x40));
}
END_TEST

static void make_task(void)
{
	static const u32 image[] = { 0x4000, 0x202, 0xa0, 0xa1, 0xa2, 0xa3, 0x6000, 0xa5, 0xa6, 0xa7, DATA32, CODE32, DATA32, DATA32, 0, 0 };

	poke(TSS2 + 0x1c, 0x123000, 4);
	memcpy(memory + TSS2 + 0x20, image, sizeof(image));
	descriptor(TSSSEL, TSS, 0x67, 0x8b);
}

START_TEST(task_switch_by_call_and_back_by_iret)
{
	start_prot(EMUL_PROT32, 0);
	make_task();
	m.cr[0] |= 1u << 31;
	c.regs[EMUL_RCX] = 0x77;
	m.seg[EMUL_FS].attr = 0;
	m.seg[EMUL_FS].selector = 0;
	m.seg[EMUL_GS] = m.seg[EMUL_FS];
	ck_assert_int_eq(RUN("\x9a\x00\x00\x00\x00\x50\x00"), EMUL_OK);
	ck_assert(c.task_switched);
	ck_assert_uint_eq(c.rip, 0x4000);
	ck_assert_uint_eq(c.regs[EMUL_RCX], 0xa1);
	ck_assert_uint_eq(c.rflags, 0x4202);
	ck_assert_uint_eq(m.cr[3], 0x123000);
	ck_assert(m.cr[0] & 8);
	ck_assert_uint_eq(peek(TSS2, 2), TSSSEL);
	ck_assert_uint_eq(peek(TSS + 0x20, 4), CODE + 7);
	ck_assert_uint_eq(peek(TSS + 0x2c, 4), 0x77);
	ck_assert_uint_eq(peek(GDT + TSSSEL + 5, 1), 0x8b);
	ck_assert_uint_eq(peek(GDT + TSSSEL2 + 5, 1), 0x8b);
	ck_assert_uint_eq(m.seg[EMUL_TR].selector, TSSSEL2);
	ck_assert_int_eq(RUN("\xcf"), EMUL_OK);
	ck_assert_uint_eq(c.rip, CODE + 7);
	ck_assert_uint_eq(c.regs[EMUL_RCX], 0x77);
	ck_assert_uint_eq(peek(GDT + TSSSEL2 + 5, 1), 0x89);
	ck_assert_uint_eq(m.seg[EMUL_TR].selector, TSSSEL);
}
END_TEST

START_TEST(task_gate_pushes_the_error_code)
{
	start_prot(EMUL_PROT32, 0);
	make_task();
	ck_assert_int_eq(emul_task_switch(&c, TSSSEL2, EMUL_TASK_GATE, true, 0x1234), EMUL_OK);
	ck_assert_uint_eq(c.regs[EMUL_RSP], 0x5ffc);
	ck_assert_uint_eq(peek(0x5ffc, 4), 0x1234);
}
END_TEST

START_TEST(bad_segments_of_a_new_task_fault_in_it)
{
	start_prot(EMUL_PROT32, 0);
	make_task();
	poke(TSS2 + 0x50, CODE32, 4);
	ck_assert_int_eq(RUN("\xea\x00\x00\x00\x00\x50\x00"), EMUL_FAULT);
	ck_assert_int_eq(c.exception.vector, EMUL_EXC_TS);
	ck_assert_uint_eq(c.exception.error, CODE32);
	ck_assert(c.task_switched);
	ck_assert_uint_eq(c.rip, 0x4000);
}
END_TEST

START_TEST(task_switch_to_a_busy_task_is_gp)
{
	start_prot(EMUL_PROT32, 0);
	make_task();
	descriptor(TSSSEL2, TSS2, 0x67, 0x8b);
	ck_fault_error("\xea\x00\x00\x00\x00\x50\x00", EMUL_EXC_GP, TSSSEL2);
	descriptor(TSSSEL2, TSS2, 0x66, 0x89);
	ck_fault_error("\xea\x00\x00\x00\x00\x50\x00", EMUL_EXC_TS, TSSSEL2);
	ck_assert(!c.task_switched);
	ck_assert_uint_eq(c.rip, CODE);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("emul_system");
	TCase *tc;

	tc = tcase_create("system");
	tcase_add_test(tc, mov_cr_and_the_alternate_cr8);
	tcase_add_test(tc, dr7_gd_and_cr4_de);
	tcase_add_test(tc, lgdt_takes_24_bits_with_word_operands);
	tcase_add_test(tc, sgdt_round_trip_in_64_bit_mode);
	tcase_add_test(tc, lmsw_cannot_clear_pe);
	tcase_add_test(tc, umip_hides_the_tables_from_user_code);
	tcase_add_test(tc, msr_cpuid_tsc_hlt);
	tcase_add_test(tc, sti_and_mov_ss_start_a_shadow);
	tcase_add_test(tc, port_bitmap);
	suite_add_tcase(s, tc);
	tc = tcase_create("far");
	tcase_add_test(tc, real_mode_far_call_and_return);
	tcase_add_test(tc, real_mode_int_and_iret);
	tcase_add_test(tc, protected_int_is_handed_to_the_caller);
	tcase_add_test(tc, real_to_protected_mode_far_jump);
	tcase_add_loop_test(tc, far_jump_refuses, 0, ARRAY_SIZE(jumps));
	tcase_add_test(tc, far_jump_to_absent_code_is_np);
	tcase_add_test(tc, far_jump_checks_the_limit);
	tcase_add_test(tc, conforming_code_keeps_the_privilege);
	tcase_add_test(tc, call_gate_switches_the_stack_and_ret_switches_back);
	tcase_add_test(tc, call_gate_failures_leave_everything_alone);
	tcase_add_test(tc, iret_to_user_mode);
	tcase_add_test(tc, user_iret_cannot_change_iopl_and_if);
	tcase_add_test(tc, iret_to_vm86);
	tcase_add_test(tc, iretq_always_pops_the_stack_pointer);
	tcase_add_test(tc, long_mode_far_jump_to_compatibility_mode);
	tcase_add_loop_test(tc, segment_load, 0, ARRAY_SIZE(loads));
	tcase_add_test(tc, real_mode_segment_load_keeps_the_limit);
	tcase_add_test(tc, ltr_marks_busy_once);
	tcase_add_test(tc, lar_lsl_verr_verw);
	tcase_add_test(tc, task_switch_by_call_and_back_by_iret);
	tcase_add_test(tc, task_gate_pushes_the_error_code);
	tcase_add_test(tc, bad_segments_of_a_new_task_fault_in_it);
	tcase_add_test(tc, task_switch_to_a_busy_task_is_gp);
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
