/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest for the emulator's tests: 1 MiB of memory at address 0 with code, stack, GDT and two TSSs at fixed places, and a device.
 */
#ifndef SELFTESTS_EMUL_GUEST_H
#define SELFTESTS_EMUL_GUEST_H

#include "machine.h"

#define CODE	0x1000
#define STACK	0x8000
#define GDT	0x9000
#define TSS	0xa000
#define TSS2	0xb000
#define DATA	0x20000
#define DEVICE	0xe0000000u

/* Selectors of the GDT that start_prot() builds. */
#define CODE32	0x08
#define DATA32	0x10
#define USER32	0x18
#define UDATA	0x20
#define CODE16	0x28
#define CONFORM	0x30
#define GATE	0x38
#define TSSSEL	0x40
#define TSSSEL2	0x50
#define ABSENT	0x60
#define CODE64	0x68
#define XONLY	0x70
#define RONLY	0x78

extern struct machine m;
extern struct emul_ctxt c;
extern u8 memory[1 << 20];

/* Flat segments, or those of a CPU after reset; RIP at CODE. */
void start(enum emul_mode mode);
/* The same with a GDT and a busy TSS. */
void start_prot(enum emul_mode mode, unsigned int cpl);
/* Put bytes at RIP and execute one instruction to its end. */
int run(const char *bytes, unsigned int n);

u64 peek(u32 at, unsigned int n);
void poke(u32 at, u64 v, unsigned int n);
/* attr as struct emul_seg has it */
void descriptor(u16 selector, u32 base, u32 limit, u16 attr);
void gate(u16 selector, u16 target, u32 offset, u8 type, u8 params);

/* The string's length counts: bytes may be zero. */
#define RUN(s) run(s, sizeof(s) - 1)

#define ck_fault(s, v)	do {								\
	ck_assert_int_eq(RUN(s), EMUL_FAULT);						\
	ck_assert_int_eq(c.exception.vector, v);					\
} while (0)

#define ck_fault_error(s, v, e) do {							\
	ck_fault(s, v);									\
	ck_assert_uint_eq(c.exception.error, e);					\
} while (0)

#endif
