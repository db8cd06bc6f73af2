// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The emulator on arbitrary bytes, registers, descriptors and failing ops.
 *
 * LINK: kmod/x86/emul/[a-z]*.c selftests/emul/machine.c
 *
 * Beside the sanitizers' checks: a length is 1 to 15 and the same from emul_insn_len() and emul_decode(); a failed instruction leaves RIP
 * where it was, and, unless it repeats or switches tasks, the registers too; the decoder never asks for a 16th byte.
 */
#include <stdlib.h>
#include <string.h>

#include "../emul/machine.h"

#define MEMORY	0x8000

static struct machine m;
static struct emul_ctxt c;
static u8 memory[MEMORY];

static const u8 *input;
static size_t left;

static u64 take(unsigned int n)
{
	u64 v = 0;

	if (n > left)
		n = left;
	memcpy(&v, input, n);
	input += n;
	left -= n;
	return v;
}

/* Mostly an address in memory, so that instructions get somewhere. */
static u64 take_value(void)
{
	u8 kind = take(1);

	if (kind < 0xa0)
		return take(2) % MEMORY;
	if (kind < 0xc0)
		return 0xe0000000 + (kind & 15);
	return take(8);
}

static void take_segment(struct emul_seg *seg)
{
	u8 kind = take(1);

	if (kind < 0xc0)
		return;
	seg->selector = take(2);
	seg->attr = take(2) & 0xfff;
	seg->limit = take(4);
	seg->base = take(2);
}

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void check_length(enum emul_mode mode)
{
	int len = emul_insn_len(mode, c.insn, EMUL_INSN_MAX);
	int r;

	check(len == EMUL_LEN_UD || len == EMUL_LEN_LONG || len == EMUL_LEN_SHORT || (len >= 1 && len <= EMUL_INSN_MAX));
	check(len != EMUL_LEN_SHORT);
	c.insn_bytes = EMUL_INSN_MAX;
	r = emul_decode(&c);
	if (len > 0)
		check((r == EMUL_OK || r == EMUL_UNHANDLED) && c.d.len == len);
	else
		check(r == EMUL_FAULT);
}

static void prepare(enum emul_mode mode)
{
	unsigned int i;

	machine_init(&m, mode);
	m.window[0] = (struct machine_window){ 0, MEMORY, memory, false, false };
	m.device_base = 0xe0000000;
	m.device_size = 0x1000;
	machine_start(&m, &c, mode);
	for (i = 0; i < 16; i++)
		c.regs[i] = take_value();
	for (i = 0; i < EMUL_NR_SREG; i++)
		take_segment(&m.seg[i]);
	m.gdt.base = take(2) % MEMORY;
	m.gdt.limit = take(2);
	m.idt.limit = take(2);
	m.cr[4] ^= take(4);
	m.cr[0] ^= take(1) & 0xe;
	c.rflags = (take(4) & 0x3f7fd5) | 2;
	if (mode != EMUL_VM86)
		c.rflags &= ~0x20000ull;
	else
		c.rflags |= 0x20000;
	if (mode >= EMUL_PROT16)
		c.cpl = take(1) & 3;
	if (mode >= EMUL_PROT16 && mode != EMUL_LONG64 && take(1) > 0xe0)
		m.efer = 0x500;
	m.late = take(1) & 1;
	if (take(1) & 1)
		m.fault_seed = take(4) | 1;
	if (take(1) & 1)
		m.lacks = take(4);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct emul_ctxt old;
	enum emul_mode mode;
	unsigned int i;
	int r;

	input = data;
	left = size;
	mode = take(1) % 5;
	prepare(mode);
	for (i = 0; i < EMUL_INSN_MAX; i++)
		c.insn[i] = take(1);
	check_length(mode);
	memset(memory, 0, sizeof(memory));
	for (i = 0; left; i += 8) {
		u64 v = take(8);

		memcpy(memory + i % (MEMORY - 8), &v, 8);
	}
	c.rip = 0x100;
	for (i = 0; i < 8; i++) {
		c.insn_bytes = EMUL_INSN_MAX;
		old = c;
		r = emul_insn(&c);
		check(r >= EMUL_OK && r <= EMUL_UNHANDLED);
		if (r == EMUL_IO_NEEDED && m.pending) {
			m.cache[0] = m.want;
			m.cached = 1;
			m.port_ready = true;
			m.pending = false;
		}
		if (r != EMUL_OK && !c.task_switched && !(r == EMUL_FAULT && c.exception.soft))
			check(c.rip == old.rip);
		if (r != EMUL_OK && !c.task_switched && !c.d.rep)
			check(!memcmp(c.regs, old.regs, sizeof(c.regs)));
		if (r != EMUL_OK)
			continue;
		check(!c.repeat || c.rip == old.rip);
		c.rip = 0x100;
	}
	return 0;
}
