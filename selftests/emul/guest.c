// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A guest for the emulator's tests: memory, descriptors and a start state per mode.
 */
#include <string.h>

#include "guest.h"

struct machine m;
struct emul_ctxt c;
u8 memory[1 << 20];

void start(enum emul_mode mode)
{
	machine_init(&m, mode);
	memset(memory, 0, sizeof(memory));
	m.window[0] = (struct machine_window){ 0, sizeof(memory), memory, false, false };
	m.device_base = DEVICE;
	m.device_size = 0x1000;
	machine_start(&m, &c, mode);
	c.rip = CODE;
	c.regs[EMUL_RSP] = STACK;
}

int run(const char *bytes, unsigned int n)
{
	memcpy(memory + c.rip + (c.mode == EMUL_LONG64 ? 0 : m.seg[EMUL_CS].base), bytes, n);
	return machine_run(&m, &c, NULL);
}

u64 peek(u32 at, unsigned int n)
{
	u64 v = 0;

	memcpy(&v, memory + at, n);
	return v;
}

void poke(u32 at, u64 v, unsigned int n)
{
	memcpy(memory + at, &v, n);
}

/* attr as struct emul_seg has it */
void descriptor(u16 selector, u32 base, u32 limit, u16 attr)
{
	u64 d = (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)(attr & 0xff) << 40 | (u64)(limit >> 16 & 15) << 48 |
		(u64)(attr & 0xf00) << 44 | (u64)(base >> 24) << 56;

	poke(GDT + (selector & ~7), d, 8);
}

void gate(u16 selector, u16 target, u32 offset, u8 type, u8 params)
{
	poke(GDT + (selector & ~7), (offset & 0xffff) | (u64)target << 16 | (u64)params << 32 | (u64)type << 40 | (u64)(offset >> 16) << 48, 8);
}

void start_prot(enum emul_mode mode, unsigned int cpl)
{
	start(mode);
	m.gdt = (struct emul_dt){ GDT, 0xff };
	descriptor(CODE32, 0, 0xfffff, 0x9a | EMUL_SEG_DB | EMUL_SEG_G);
	descriptor(DATA32, 0, 0xfffff, 0x92 | EMUL_SEG_DB | EMUL_SEG_G);
	descriptor(USER32, 0, 0xfffff, 0xfa | EMUL_SEG_DB | EMUL_SEG_G);
	descriptor(UDATA, 0, 0xfffff, 0xf2 | EMUL_SEG_DB | EMUL_SEG_G);
	descriptor(CODE16, 0, 0xffff, 0x9a);
	descriptor(CONFORM, 0, 0xfffff, 0x9e | EMUL_SEG_DB | EMUL_SEG_G);
	descriptor(TSSSEL, TSS, 0x67, 0x89);
	descriptor(TSSSEL2, TSS2, 0x67, 0x89);
	descriptor(ABSENT, 0, 0xfffff, 0x12 | EMUL_SEG_DB | EMUL_SEG_G);
	descriptor(CODE64, 0, 0xfffff, 0x9a | EMUL_SEG_L | EMUL_SEG_G);
	descriptor(XONLY, 0, 0xfffff, 0x98 | EMUL_SEG_DB | EMUL_SEG_G);
	descriptor(RONLY, 0, 0xfffff, 0x90 | EMUL_SEG_DB | EMUL_SEG_G);
	m.seg[EMUL_TR] = (struct emul_seg){ TSSSEL, 0x8b, 0x67, TSS };
	poke(TSS + 0x66, 0xffff, 2);	/* no port bitmap */
	c.cpl = cpl;
	if (cpl == 3) {
		m.seg[EMUL_CS].selector = USER32 | 3;
		m.seg[EMUL_CS].attr |= 0x60;
		m.seg[EMUL_SS].selector = m.seg[EMUL_DS].selector = UDATA | 3;
		m.seg[EMUL_SS].attr |= 0x60;
		m.seg[EMUL_DS].attr |= 0x60;
		m.seg[EMUL_ES].attr |= 0x60;
	}
}
