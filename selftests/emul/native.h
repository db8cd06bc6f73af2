/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One instruction on the real CPU: registers, flags and vectors in, the same or a fault out.
 *
 * All is done by signals: an int3 enters a handler that loads the whole state into the interrupted context and returns into the code page,
 * which is full of int3; so the instruction under test ends in a second trap, wherever it goes, and the handler has the state after it.
 * Code and data lie below 4 GiB, so compatibility mode works in the same process (CS 0x23).  16-bit code runs in LDT
 * segments: code from NATIVE_CODE, data from NATIVE_DATA, with a flat stack.
 */
#ifndef SELFTESTS_EMUL_NATIVE_H
#define SELFTESTS_EMUL_NATIVE_H

#include <stdbool.h>
#include <stdint.h>

#define NATIVE_CODE		0x20000000ull
#define NATIVE_CODE_SIZE	0x2000
#define NATIVE_ENTRY		(NATIVE_CODE + 0x1000)
#define NATIVE_DATA		0x10000000ull
#define NATIVE_DATA_SIZE	0x2000

struct native_state {
	uint64_t regs[16];	/* in ModRM order */
	uint64_t rip, rflags;
	uint8_t vec[16][32];
	int vector;		/* -1: no fault */
	uint64_t error, cr2;
};

/* False: this host cannot (no AVX state in signal frames, no mapping at the fixed addresses). */
bool native_init(void);

/* Run n bytes at entry, in 64-, 32- or 16-bit code.  state in and out; its rip is relative to the code segment. */
void native_run(struct native_state *state, uint64_t entry, const uint8_t *code, unsigned int n, unsigned int bits);

#endif
