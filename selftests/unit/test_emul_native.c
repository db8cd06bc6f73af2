// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The emulator against the real CPU: thousands of random encodings, registers, flags and memory per instruction form.
 *
 * LINK: kmod/x86/emul/[a-z]*.c selftests/emul/machine.c selftests/emul/native.c
 *
 * A form says what may vary: prefixes, REX, ModRM with every addressing mode, immediate.  The generator picks registers so that the memory
 * operand falls into the data page; then the instruction runs natively, the memory is put back, the emulator runs it, and registers, RIP,
 * defined flags, memory, vectors, or the fault with its vector and address, must be equal.  Undefined flags are masked per form.
 * Seed: EMUL_SEED, iterations per form: EMUL_ROUNDS; both are printed when a form fails.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "../emul/machine.h"
#include "../emul/native.h"

#define CF 0x001
#define PF 0x004
#define AF 0x010
#define ZF 0x040
#define SF 0x080
#define DF 0x400
#define OF 0x800
#define ALL (CF | PF | AF | ZF | SF | OF)

#define F_MODRM		(1u << 0)
#define F_MEM		(1u << 1)	/* memory operand only */
#define F_REG		(1u << 2)	/* register operand only */
#define F_66		(1u << 3)	/* may have an operand-size prefix */
#define F_W		(1u << 4)	/* may have REX.W */
#define F_IMM8		(1u << 5)
#define F_IMMZ		(1u << 6)
#define F_IMMV		(1u << 7)
#define F_LOCK		(1u << 8)	/* may have LOCK, with a memory operand */
#define F_REP		(1u << 9)	/* may have REP or REPNE */
#define F_NO64		(1u << 10)
#define F_ONLY64	(1u << 11)
#define F_PLUSR		(1u << 12)	/* register in the opcode */
#define F_VEX		(1u << 13)
#define F_NOREX		(1u << 14)
#define F_IMM16		(1u << 15)

enum setup { S_NONE, S_STRING, S_BT, S_BRANCH, S_JCXZ, S_TARGET, S_RET, S_XLAT, S_POPF, S_ENTER, S_LEAVE, S_POPM, S_DIV, S_CMPXCHG8, S_BOUND };

struct form {
	const char *name;
	u8 op[4];
	u8 nop;
	u8 pfx;			/* mandatory prefix */
	int digit;		/* ModRM.reg, -1: any */
	u32 flags;
	u64 undefined;
	enum setup setup;
	u8 last;		/* not 0: the last opcode byte is picked from op..last */
};

#define RM (F_MODRM | F_66 | F_W)
#define RMB F_MODRM

static const struct form forms[] = {
	/* ALU: every row of the map, 6 forms */
#define ALU(n, o, l, u)											\
	{ n " rm8,r8", { o }, 1, 0, -1, RMB | l, u, 0, 0 }, { n " rm,r", { o + 1 }, 1, 0, -1, RM | l, u, 0, 0 },		\
	{ n " r8,rm8", { o + 2 }, 1, 0, -1, RMB, u, 0, 0 }, { n " r,rm", { o + 3 }, 1, 0, -1, RM, u, 0, 0 },		\
	{ n " al,i8", { o + 4 }, 1, 0, -1, F_IMM8, u, 0, 0 }, { n " ax,iz", { o + 5 }, 1, 0, -1, F_66 | F_W | F_IMMZ, u, 0, 0 }
	ALU("add", 0x00, F_LOCK, 0), ALU("or", 0x08, F_LOCK, AF), ALU("adc", 0x10, F_LOCK, 0), ALU("sbb", 0x18, F_LOCK, 0),
	ALU("and", 0x20, F_LOCK, AF), ALU("sub", 0x28, F_LOCK, 0), ALU("xor", 0x30, F_LOCK, AF), ALU("cmp", 0x38, 0, 0),
#define ALUI(n, d, l, u)										\
	{ n " rm8,i8", { 0x80 }, 1, 0, d, RMB | F_IMM8 | l, u, 0, 0 }, { n " rm,iz", { 0x81 }, 1, 0, d, RM | F_IMMZ | l, u, 0, 0 },	\
	{ n " rm8,i8 (82)", { 0x82 }, 1, 0, d, RMB | F_IMM8 | l | F_NO64, u, 0, 0 },			\
	{ n " rm,i8", { 0x83 }, 1, 0, d, RM | F_IMM8 | l, u, 0, 0 }
	ALUI("add", 0, F_LOCK, 0), ALUI("or", 1, F_LOCK, AF), ALUI("adc", 2, F_LOCK, 0), ALUI("sbb", 3, F_LOCK, 0),
	ALUI("and", 4, F_LOCK, AF), ALUI("sub", 5, F_LOCK, 0), ALUI("xor", 6, F_LOCK, AF), ALUI("cmp", 7, 0, 0),
	{ "inc r", { 0x40 }, 1, 0, -1, F_66 | F_NO64, 0, 0, 0x47 }, { "dec r", { 0x48 }, 1, 0, -1, F_66 | F_NO64, 0, 0, 0x4f },
	{ "inc rm8", { 0xfe }, 1, 0, 0, RMB | F_LOCK, 0, 0, 0 }, { "dec rm8", { 0xfe }, 1, 0, 1, RMB | F_LOCK, 0, 0, 0 },
	{ "inc rm", { 0xff }, 1, 0, 0, RM | F_LOCK, 0, 0, 0 }, { "dec rm", { 0xff }, 1, 0, 1, RM | F_LOCK, 0, 0, 0 },
	{ "test rm8,i8", { 0xf6 }, 1, 0, 0, RMB | F_IMM8, AF, 0, 0 }, { "test rm,iz", { 0xf7 }, 1, 0, 0, RM | F_IMMZ, AF, 0, 0 },
	{ "test rm8,i8 /1", { 0xf6 }, 1, 0, 1, RMB | F_IMM8, AF, 0, 0 },
	{ "not rm8", { 0xf6 }, 1, 0, 2, RMB | F_LOCK, 0, 0, 0 }, { "not rm", { 0xf7 }, 1, 0, 2, RM | F_LOCK, 0, 0, 0 },
	{ "neg rm8", { 0xf6 }, 1, 0, 3, RMB | F_LOCK, 0, 0, 0 }, { "neg rm", { 0xf7 }, 1, 0, 3, RM | F_LOCK, 0, 0, 0 },
	{ "mul rm8", { 0xf6 }, 1, 0, 4, RMB, SF | ZF | AF | PF, 0, 0 }, { "mul rm", { 0xf7 }, 1, 0, 4, RM, SF | ZF | AF | PF, 0, 0 },
	{ "imul rm8", { 0xf6 }, 1, 0, 5, RMB, SF | ZF | AF | PF, 0, 0 }, { "imul rm", { 0xf7 }, 1, 0, 5, RM, SF | ZF | AF | PF, 0, 0 },
	{ "div rm8", { 0xf6 }, 1, 0, 6, RMB, ALL, S_DIV, 0 }, { "div rm", { 0xf7 }, 1, 0, 6, RM, ALL, S_DIV, 0 },
	{ "idiv rm8", { 0xf6 }, 1, 0, 7, RMB, ALL, S_DIV, 0 }, { "idiv rm", { 0xf7 }, 1, 0, 7, RM, ALL, S_DIV, 0 },
	{ "imul r,rm", { 0x0f, 0xaf }, 2, 0, -1, RM, SF | ZF | AF | PF, 0, 0 },
	{ "imul r,rm,iz", { 0x69 }, 1, 0, -1, RM | F_IMMZ, SF | ZF | AF | PF, 0, 0 },
	{ "imul r,rm,i8", { 0x6b }, 1, 0, -1, RM | F_IMM8, SF | ZF | AF | PF, 0, 0 },
	{ "test rm8,r8", { 0x84 }, 1, 0, -1, RMB, AF, 0, 0 }, { "test rm,r", { 0x85 }, 1, 0, -1, RM, AF, 0, 0 },
	{ "test al,i8", { 0xa8 }, 1, 0, -1, F_IMM8, AF, 0, 0 }, { "test ax,iz", { 0xa9 }, 1, 0, -1, F_66 | F_W | F_IMMZ, AF, 0, 0 },
	{ "xchg rm8,r8", { 0x86 }, 1, 0, -1, RMB | F_LOCK, 0, 0, 0 }, { "xchg rm,r", { 0x87 }, 1, 0, -1, RM | F_LOCK, 0, 0, 0 },
	{ "xchg ax,r", { 0x90 }, 1, 0, -1, F_66 | F_W | F_PLUSR, 0, 0, 0x97 },
	{ "xadd rm8,r8", { 0x0f, 0xc0 }, 2, 0, -1, RMB | F_LOCK, 0, 0, 0 }, { "xadd rm,r", { 0x0f, 0xc1 }, 2, 0, -1, RM | F_LOCK, 0, 0, 0 },
	{ "cmpxchg rm8,r8", { 0x0f, 0xb0 }, 2, 0, -1, RMB | F_LOCK, 0, 0, 0 }, { "cmpxchg rm,r", { 0x0f, 0xb1 }, 2, 0, -1, RM | F_LOCK, 0, 0, 0 },
	{ "cmpxchg8b", { 0x0f, 0xc7 }, 2, 0, 1, F_MODRM | F_MEM | F_W | F_LOCK, 0, S_CMPXCHG8, 0 },
	/* moves */
	{ "mov rm8,r8", { 0x88 }, 1, 0, -1, RMB, 0, 0, 0 }, { "mov rm,r", { 0x89 }, 1, 0, -1, RM, 0, 0, 0 },
	{ "mov r8,rm8", { 0x8a }, 1, 0, -1, RMB, 0, 0, 0 }, { "mov r,rm", { 0x8b }, 1, 0, -1, RM, 0, 0, 0 },
	{ "mov rm8,i8", { 0xc6 }, 1, 0, 0, RMB | F_IMM8, 0, 0, 0 }, { "mov rm,iz", { 0xc7 }, 1, 0, 0, RM | F_IMMZ, 0, 0, 0 },
	{ "mov r8,i8", { 0xb0 }, 1, 0, -1, F_IMM8 | F_PLUSR, 0, 0, 0xb7 }, { "mov r,iv", { 0xb8 }, 1, 0, -1, F_66 | F_W | F_IMMV | F_PLUSR, 0, 0, 0xbf },
	{ "movzx r,rm8", { 0x0f, 0xb6 }, 2, 0, -1, RM, 0, 0, 0 }, { "movzx r,rm16", { 0x0f, 0xb7 }, 2, 0, -1, RM, 0, 0, 0 },
	{ "movsx r,rm8", { 0x0f, 0xbe }, 2, 0, -1, RM, 0, 0, 0 }, { "movsx r,rm16", { 0x0f, 0xbf }, 2, 0, -1, RM, 0, 0, 0 },
	{ "movsxd", { 0x63 }, 1, 0, -1, F_MODRM | F_W | F_ONLY64, 0, 0, 0 }, { "arpl", { 0x63 }, 1, 0, -1, F_MODRM | F_NO64, 0, 0, 0 },
	{ "movbe r,m", { 0x0f, 0x38, 0xf0 }, 3, 0, -1, RM | F_MEM, 0, 0, 0 }, { "movbe m,r", { 0x0f, 0x38, 0xf1 }, 3, 0, -1, RM | F_MEM, 0, 0, 0 },
	{ "movnti", { 0x0f, 0xc3 }, 2, 0, -1, F_MODRM | F_W | F_MEM, 0, 0, 0 },
	{ "lea", { 0x8d }, 1, 0, -1, RM | F_MEM, 0, 0, 0 },
	{ "bswap", { 0x0f, 0xc8 }, 2, 0, -1, F_W | F_PLUSR, 0, 0, 0xcf },
	{ "cbw", { 0x98 }, 1, 0, -1, F_66 | F_W, 0, 0, 0 }, { "cwd", { 0x99 }, 1, 0, -1, F_66 | F_W, 0, 0, 0 },
	{ "setcc", { 0x0f, 0x90 }, 2, 0, -1, RMB, 0, 0, 0x9f }, { "cmovcc", { 0x0f, 0x40 }, 2, 0, -1, RM, 0, 0, 0x4f },
	{ "xlat", { 0xd7 }, 1, 0, -1, F_W, 0, S_XLAT, 0 },
	{ "lahf", { 0x9f }, 1, 0, -1, 0, 0, 0, 0 }, { "sahf", { 0x9e }, 1, 0, -1, 0, 0, 0, 0 },
	{ "salc", { 0xd6 }, 1, 0, -1, F_NO64, 0, 0, 0 },
	{ "cmc", { 0xf5 }, 1, 0, -1, 0, 0, 0, 0 }, { "clc stc", { 0xf8 }, 1, 0, -1, 0, 0, 0, 0xf9 }, { "cld std", { 0xfc }, 1, 0, -1, 0, 0, 0, 0xfd },
	{ "nop rm", { 0x0f, 0x1f }, 2, 0, 0, RM, 0, 0, 0 }, { "prefetch", { 0x0f, 0x18 }, 2, 0, 1, F_MODRM | F_MEM, 0, 0, 0 },
	{ "lfence", { 0x0f, 0xae, 0xe8 }, 3, 0, -1, F_NOREX, 0, 0, 0 }, { "clflush", { 0x0f, 0xae }, 2, 0, 7, F_MODRM | F_MEM, 0, 0, 0 },
	/* decimal */
	{ "aaa", { 0x37 }, 1, 0, -1, F_NO64, OF | SF | ZF | PF, 0, 0 }, { "aas", { 0x3f }, 1, 0, -1, F_NO64, OF | SF | ZF | PF, 0, 0 },
	{ "daa", { 0x27 }, 1, 0, -1, F_NO64, OF, 0, 0 }, { "das", { 0x2f }, 1, 0, -1, F_NO64, OF, 0, 0 },
	{ "aam", { 0xd4 }, 1, 0, -1, F_NO64 | F_IMM8, OF | AF | CF, 0, 0 }, { "aad", { 0xd5 }, 1, 0, -1, F_NO64 | F_IMM8, OF | AF | CF, 0, 0 },
	{ "bound", { 0x62 }, 1, 0, -1, F_MODRM | F_66 | F_NO64 | F_MEM, 0, S_BOUND, 0 },
	/* shifts: undefined flags depend on the count, see undefined_flags() */
#define SH(n, d)											\
	{ n " rm8,i8", { 0xc0 }, 1, 0, d, RMB | F_IMM8, 0, 0, 0 }, { n " rm,i8", { 0xc1 }, 1, 0, d, RM | F_IMM8, 0, 0, 0 },		\
	{ n " rm8,1", { 0xd0 }, 1, 0, d, RMB, 0, 0, 0 }, { n " rm,1", { 0xd1 }, 1, 0, d, RM, 0, 0, 0 },			\
	{ n " rm8,cl", { 0xd2 }, 1, 0, d, RMB, 0, 0, 0 }, { n " rm,cl", { 0xd3 }, 1, 0, d, RM, 0, 0, 0 }
	SH("rol", 0), SH("ror", 1), SH("rcl", 2), SH("rcr", 3), SH("shl", 4), SH("shr", 5), SH("sal", 6), SH("sar", 7),
	{ "shld i8", { 0x0f, 0xa4 }, 2, 0, -1, RM | F_IMM8, 0, 0, 0 }, { "shld cl", { 0x0f, 0xa5 }, 2, 0, -1, RM, 0, 0, 0 },
	{ "shrd i8", { 0x0f, 0xac }, 2, 0, -1, RM | F_IMM8, 0, 0, 0 }, { "shrd cl", { 0x0f, 0xad }, 2, 0, -1, RM, 0, 0, 0 },
	/* bits */
#define BTU (OF | SF | AF | PF)
	{ "bt", { 0x0f, 0xa3 }, 2, 0, -1, RM, BTU, S_BT, 0 }, { "bts", { 0x0f, 0xab }, 2, 0, -1, RM | F_LOCK, BTU, S_BT, 0 },
	{ "btr", { 0x0f, 0xb3 }, 2, 0, -1, RM | F_LOCK, BTU, S_BT, 0 }, { "btc", { 0x0f, 0xbb }, 2, 0, -1, RM | F_LOCK, BTU, S_BT, 0 },
	{ "bt i8", { 0x0f, 0xba }, 2, 0, 4, RM | F_IMM8, BTU, 0, 0 }, { "bts i8", { 0x0f, 0xba }, 2, 0, 5, RM | F_IMM8 | F_LOCK, BTU, 0, 0 },
	{ "btr i8", { 0x0f, 0xba }, 2, 0, 6, RM | F_IMM8 | F_LOCK, BTU, 0, 0 }, { "btc i8", { 0x0f, 0xba }, 2, 0, 7, RM | F_IMM8 | F_LOCK, BTU, 0, 0 },
	{ "bsf", { 0x0f, 0xbc }, 2, 0, -1, RM, CF | OF | SF | AF | PF, 0, 0 }, { "bsr", { 0x0f, 0xbd }, 2, 0, -1, RM, CF | OF | SF | AF | PF, 0, 0 },
	{ "tzcnt", { 0x0f, 0xbc }, 2, 0xf3, -1, RM, OF | SF | AF | PF, 0, 0 }, { "lzcnt", { 0x0f, 0xbd }, 2, 0xf3, -1, RM, OF | SF | AF | PF, 0, 0 },
	{ "popcnt", { 0x0f, 0xb8 }, 2, 0xf3, -1, RM, 0, 0, 0 },
	{ "crc32 r,rm8", { 0x0f, 0x38, 0xf0 }, 3, 0xf2, -1, RM, 0, 0, 0 }, { "crc32 r,rm", { 0x0f, 0x38, 0xf1 }, 3, 0xf2, -1, RM, 0, 0, 0 },
	/* stack */
	{ "push r", { 0x50 }, 1, 0, -1, F_66 | F_PLUSR | F_W, 0, 0, 0x57 }, { "pop r", { 0x58 }, 1, 0, -1, F_66 | F_PLUSR | F_W, 0, 0, 0x5f },
	{ "push rm", { 0xff }, 1, 0, 6, RM, 0, 0, 0 }, { "pop rm", { 0x8f }, 1, 0, 0, RM, 0, S_POPM, 0 },
	{ "push iz", { 0x68 }, 1, 0, -1, F_66 | F_IMMZ, 0, 0, 0 }, { "push i8", { 0x6a }, 1, 0, -1, F_66 | F_IMM8, 0, 0, 0 },
	{ "push fs", { 0x0f, 0xa0 }, 2, 0, -1, F_66, 0, 0, 0 }, { "push gs", { 0x0f, 0xa8 }, 2, 0, -1, F_66, 0, 0, 0 },
	{ "pusha", { 0x60 }, 1, 0, -1, F_66 | F_NO64, 0, 0, 0 }, { "popa", { 0x61 }, 1, 0, -1, F_66 | F_NO64, 0, 0, 0 },
	{ "pushf", { 0x9c }, 1, 0, -1, F_66, 0, 0, 0 }, { "popf", { 0x9d }, 1, 0, -1, F_66, 0, S_POPF, 0 },
	{ "enter", { 0xc8 }, 1, 0, -1, F_66 | F_IMM16 | F_IMM8, 0, S_ENTER, 0 }, { "leave", { 0xc9 }, 1, 0, -1, F_66, 0, S_LEAVE, 0 },
	/* flow */
	{ "jcc8", { 0x70 }, 1, 0, -1, F_IMM8, 0, 0, 0x7f }, { "jcc", { 0x0f, 0x80 }, 2, 0, -1, F_IMMZ, 0, S_BRANCH, 0x8f },
	{ "jmp8", { 0xeb }, 1, 0, -1, F_IMM8, 0, 0, 0 }, { "jmp", { 0xe9 }, 1, 0, -1, F_IMMZ, 0, S_BRANCH, 0 },
	{ "call", { 0xe8 }, 1, 0, -1, F_IMMZ, 0, S_BRANCH, 0 },
	{ "jmp rm", { 0xff }, 1, 0, 4, F_MODRM, 0, S_TARGET, 0 }, { "call rm", { 0xff }, 1, 0, 2, F_MODRM, 0, S_TARGET, 0 },
	{ "ret", { 0xc3 }, 1, 0, -1, 0, 0, S_RET, 0 }, { "ret i16", { 0xc2 }, 1, 0, -1, F_IMM16, 0, S_RET, 0 },
	{ "loop", { 0xe0 }, 1, 0, -1, F_IMM8, 0, S_JCXZ, 0xe3 },
	/* strings */
	{ "movs8", { 0xa4 }, 1, 0, -1, F_REP, 0, S_STRING, 0 }, { "movs", { 0xa5 }, 1, 0, -1, F_66 | F_W | F_REP, 0, S_STRING, 0 },
	{ "cmps8", { 0xa6 }, 1, 0, -1, F_REP, 0, S_STRING, 0 }, { "cmps", { 0xa7 }, 1, 0, -1, F_66 | F_W | F_REP, 0, S_STRING, 0 },
	{ "stos8", { 0xaa }, 1, 0, -1, F_REP, 0, S_STRING, 0 }, { "stos", { 0xab }, 1, 0, -1, F_66 | F_W | F_REP, 0, S_STRING, 0 },
	{ "lods8", { 0xac }, 1, 0, -1, F_REP, 0, S_STRING, 0 }, { "lods", { 0xad }, 1, 0, -1, F_66 | F_W | F_REP, 0, S_STRING, 0 },
	{ "scas8", { 0xae }, 1, 0, -1, F_REP, 0, S_STRING, 0 }, { "scas", { 0xaf }, 1, 0, -1, F_66 | F_W | F_REP, 0, S_STRING, 0 },
	/* vectors */
#define SSE(n, o, p, f) { n, { 0x0f, o }, 2, p, -1, F_MODRM | f, 0, 0, 0 }
	SSE("movups load", 0x10, 0, 0), SSE("movups store", 0x11, 0, 0), SSE("movupd load", 0x10, 0x66, 0), SSE("movupd store", 0x11, 0x66, 0),
	SSE("movss load", 0x10, 0xf3, 0), SSE("movss store", 0x11, 0xf3, 0), SSE("movsd load", 0x10, 0xf2, 0), SSE("movsd store", 0x11, 0xf2, 0),
	SSE("movaps load", 0x28, 0, 0), SSE("movaps store", 0x29, 0, 0), SSE("movapd load", 0x28, 0x66, 0), SSE("movntps", 0x2b, 0, F_MEM),
	SSE("movntpd", 0x2b, 0x66, F_MEM),
	SSE("movlps load", 0x12, 0, 0), SSE("movlps store", 0x13, 0, F_MEM), SSE("movlpd load", 0x12, 0x66, F_MEM), SSE("movhps load", 0x16, 0, 0),
	SSE("movhps store", 0x17, 0, F_MEM), SSE("movhpd load", 0x16, 0x66, F_MEM),
	SSE("movdqa load", 0x6f, 0x66, 0), SSE("movdqa store", 0x7f, 0x66, 0), SSE("movdqu load", 0x6f, 0xf3, 0), SSE("movdqu store", 0x7f, 0xf3, 0),
	SSE("movd load", 0x6e, 0x66, F_W), SSE("movd store", 0x7e, 0x66, F_W), SSE("movq load", 0x7e, 0xf3, 0), SSE("movq store", 0xd6, 0x66, 0),
	SSE("movntdq", 0xe7, 0x66, F_MEM), SSE("lddqu", 0xf0, 0xf2, F_MEM),
	{ "movntdqa", { 0x0f, 0x38, 0x2a }, 3, 0x66, -1, F_MODRM | F_MEM, 0, 0, 0 },
#define VEX(n, m, o, p, f) { n, { m, o }, 2, p, -1, F_MODRM | F_VEX | f, 0, 0, 0 }
	VEX("vmovups load", 1, 0x10, 0, 0), VEX("vmovups store", 1, 0x11, 0, 0), VEX("vmovss load", 1, 0x10, 0xf3, 0), VEX("vmovsd store", 1, 0x11, 0xf2, 0),
	VEX("vmovaps load", 1, 0x28, 0, 0), VEX("vmovaps store", 1, 0x29, 0, 0), VEX("vmovntps", 1, 0x2b, 0, F_MEM),
	VEX("vmovlps load", 1, 0x12, 0, 0), VEX("vmovhps load", 1, 0x16, 0, 0), VEX("vmovlps store", 1, 0x13, 0, F_MEM),
	VEX("vmovdqa load", 1, 0x6f, 0x66, 0), VEX("vmovdqa store", 1, 0x7f, 0x66, 0), VEX("vmovdqu load", 1, 0x6f, 0xf3, 0),
	VEX("vmovdqu store", 1, 0x7f, 0xf3, 0), VEX("vmovd load", 1, 0x6e, 0x66, F_W), VEX("vmovd store", 1, 0x7e, 0x66, F_W),
	VEX("vmovq load", 1, 0x7e, 0xf3, 0), VEX("vmovq store", 1, 0xd6, 0x66, 0), VEX("vmovntdq", 1, 0xe7, 0x66, F_MEM),
	VEX("vlddqu", 1, 0xf0, 0xf2, F_MEM), VEX("vmovntdqa", 2, 0x2a, 0x66, F_MEM),
};

static u64 rng;
static struct machine machine;
static u8 before[NATIVE_DATA_SIZE], native_after[NATIVE_DATA_SIZE], emul_after[NATIVE_DATA_SIZE];

static u64 rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static u64 value(void)
{
	static const u64 nice[] = { 0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff,
		0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff };
	u64 v = rnd();

	switch (rnd() & 7) {
	case 0:
	case 1:
		return nice[v % ARRAY_SIZE(nice)];
	case 2:
		return v & 0xff;
	case 3:
		return v & 0xffffffff;
	}
	return v;
}

struct test {
	const struct form *form;
	enum emul_mode mode;
	bool compat, small;	/* not 64-bit; 16-bit */
	u8 code[32];
	unsigned int n;
	struct native_state in;
	u8 rex, opcode;
	bool opsize, addrsize, mem;
	unsigned int opreg, rm;
	u64 imm;
	bool has_rep;
};

static void emit(struct test *t, u64 v, unsigned int n)
{
	for (; n; n--, v >>= 8)
		t->code[t->n++] = v;
}

static void set_reg(struct test *t, unsigned int nr, u64 v)
{
	t->in.regs[nr] = t->compat ? v & 0xffffffff : v;
}

/* An offset in the data segment, whose base is NATIVE_DATA in 16-bit code and else 0. */
static u64 data_address(const struct test *t)
{
	u64 a = NATIVE_DATA + 0x800 + rnd() % 0x1000;

	if (rnd() & 1)
		a &= ~31ull;
	/* Now and then over the end of the page: a fault. */
	a = rnd() % 64 ? a : NATIVE_DATA + NATIVE_DATA_SIZE - rnd() % 32;
	return t->small ? a - NATIVE_DATA : a;
}

/* In 32-bit code 16-bit addresses are never mapped: only the decoding and the fault's address count there. */
static void emit_address16(struct test *t, unsigned int mod, unsigned int rm, u64 target)
{
	static const u8 base[8] = { EMUL_RBX, EMUL_RBX, EMUL_RBP, EMUL_RBP, EMUL_RSI, EMUL_RDI, EMUL_RBP, EMUL_RBX };
	u64 disp = mod == 1 ? (u64)(s64)(s8)rnd() : mod == 2 ? rnd() : 0, reg = t->in.regs[base[rm]];

	if (mod == 0 && rm == 6) {
		emit(t, target, 2);
		return;
	}
	if (rm < 4)
		target -= t->in.regs[rm & 1 ? EMUL_RDI : EMUL_RSI];
	set_reg(t, base[rm], (reg & ~0xffffull) | ((target - disp) & 0xffff));
	if (mod)
		emit(t, disp, mod);
}

/* ModRM, SIB, displacement; registers so that the address is right.  imm: bytes that follow, for RIP-relative. */
static void emit_modrm(struct test *t, unsigned int reg, unsigned int imm)
{
	const struct form *f = t->form;
	unsigned int mod = rnd() & 3, rm = rnd() & 7, base, index, scale;
	u64 target = data_address(t), disp;
	u8 rex_b = t->rex & 1 ? 8 : 0, rex_x = t->rex & 2 ? 8 : 0;

	if (f->flags & F_REG)
		mod = 3;
	while (f->flags & F_MEM && mod == 3)
		mod = rnd() & 3;
	t->mem = mod != 3;
	t->rm = rm | rex_b;
	emit(t, mod << 6 | (reg & 7) << 3 | rm, 1);
	if (mod == 3)
		return;
	if (t->small != t->addrsize && t->compat) {
		emit_address16(t, mod, rm, target);
		return;
	}
	disp = mod == 1 ? (u64)(s64)(s8)rnd() : mod == 2 ? (u64)(s64)(s32)rnd() : 0;
	if (rm == 4) {
		scale = rnd() & 3;
		index = rnd() & 7;
		base = rnd() & 7;
		emit(t, scale << 6 | index << 3 | base, 1);
		index |= rex_x;
		if (base == 5 && mod == 0) {
			disp = index == 4 ? target : rnd();
			if (index != 4) {
				disp = (target - ((u64)(rnd() & 0xff) << scale)) & 0xffffffff;
				set_reg(t, index, (target - disp) >> scale);
			}
			emit(t, disp, 4);
			return;
		}
		base |= rex_b;
		if (index == 4)
			set_reg(t, base, target - disp);
		else if (index == base)
			set_reg(t, base, (target - disp) / (1 + (1u << scale)));
		else
			set_reg(t, base, target - disp - (t->in.regs[index] << scale));
	} else if (rm == 5 && mod == 0) {
		if (t->compat)
			emit(t, target, 4);
		else
			emit(t, target - (NATIVE_ENTRY + t->n + 4 + imm), 4);
		return;
	} else {
		set_reg(t, rm | rex_b, target - disp);
	}
	if (mod == 1)
		emit(t, disp, 1);
	else if (mod == 2)
		emit(t, disp, 4);
}

static unsigned int operand_bytes(const struct test *t)
{
	return t->rex & 8 ? 8 : t->opsize != t->small ? 2 : 4;
}

static void emit_vex(struct test *t)
{
	const struct form *f = t->form;
	unsigned int pp = f->pfx == 0x66 ? 1 : f->pfx == 0xf3 ? 2 : f->pfx == 0xf2 ? 3 : 0;
	unsigned int l = rnd() & 1, v = rnd() % 4 ? 0 : rnd() & 15;
	unsigned int r = t->rex & 4 ? 0 : 0x80, x = t->rex & 2 ? 0 : 0x40, b = t->rex & 1 ? 0 : 0x20;

	if (t->compat)
		r = 0x80, x = 0x40, b = 0x20, t->rex = 0;
	if (f->op[0] == 1 && x && b && !(t->rex & 8) && rnd() & 1) {
		emit(t, 0xc5, 1);
		emit(t, r | (~v & 15) << 3 | l << 2 | pp, 1);
	} else {
		emit(t, 0xc4, 1);
		emit(t, r | x | b | f->op[0], 1);
		emit(t, (t->rex & 8 ? 0x80 : 0) | (~v & 15) << 3 | l << 2 | pp, 1);
	}
	emit(t, f->op[1], 1);
	t->opcode = f->op[1];
}

static void emit_prefixes(struct test *t)
{
	const struct form *f = t->form;
	static const u8 seg[] = { 0x26, 0x2e, 0x36, 0x3e };

	if (rnd() % 8 == 0)
		emit(t, seg[rnd() & 3], 1);
	t->addrsize = rnd() % 8 == 0;
	if (t->addrsize)
		emit(t, 0x67, 1);
	if (f->flags & F_66 && rnd() % 4 == 0)
		t->opsize = true;
	if (t->opsize)
		emit(t, 0x66, 1);
	if (f->flags & F_REP && rnd() & 1) {
		t->has_rep = true;
		emit(t, rnd() & 1 ? 0xf3 : 0xf2, 1);
	}
	if (!t->compat && !(f->flags & F_NOREX) && rnd() & 1)
		t->rex = 0x40 | (rnd() & (f->flags & F_W ? 15 : 7));
}

static void emit_opcode(struct test *t)
{
	const struct form *f = t->form;
	unsigned int i;

	if (f->pfx)
		emit(t, f->pfx, 1);
	if (t->rex)
		emit(t, t->rex, 1);
	for (i = 0; i < f->nop; i++)
		emit(t, f->op[i], 1);
	if (f->last)
		t->code[t->n - 1] += rnd() % (f->last - f->op[f->nop - 1] + 1);
	t->opcode = t->code[t->n - 1];
}

static unsigned int immediate_bytes(const struct test *t)
{
	u32 flags = t->form->flags;
	unsigned int n = 0, word = t->opsize != t->small && !(t->rex & 8) ? 2 : 4;

	if (flags & F_IMM16)
		n += 2;
	if (flags & F_IMM8)
		n += 1;
	if (flags & F_IMMZ)
		n += word;
	if (flags & F_IMMV)
		n += t->rex & 8 ? 8 : word;
	return n;
}

/* What the instruction needs of registers and memory beside its r/m operand. */
static void prepare_early(struct test *t)
{
	struct native_state *s = &t->in;

	switch (t->form->setup) {
	case S_STRING:
		s->regs[EMUL_RSI] = data_address(t);
		s->regs[EMUL_RDI] = data_address(t);
		s->regs[EMUL_RCX] = rnd() % 24;
		break;
	case S_XLAT:
		s->regs[EMUL_RBX] = data_address(t) - 255;
		break;
	case S_JCXZ:
		s->regs[EMUL_RCX] = rnd() % 3;
		break;
	default:
		break;
	}
}

static u8 *data_at(u64 address)
{
	return (u8 *)(uintptr_t)address;
}

/* Where the memory operand is, found by a decode in the emulator's own terms only to place data there. */
static void put_at_operand(struct test *t, const void *data, unsigned int n)
{
	static struct emul_ctxt ctxt;
	u64 ea;

	machine_start(&machine, &ctxt, t->mode);
	memcpy(ctxt.regs, t->in.regs, sizeof(ctxt.regs));
	ctxt.rip = NATIVE_ENTRY;
	memcpy(ctxt.insn, t->code, EMUL_INSN_MAX);
	ctxt.insn_bytes = EMUL_INSN_MAX;
	if (emul_decode(&ctxt) != EMUL_OK || !ctxt.d.mem)
		return;
	ea = ctxt.d.ea + (t->small && ctxt.d.seg == EMUL_DS ? NATIVE_DATA : 0);
	if (ea >= NATIVE_DATA && ea + n <= NATIVE_DATA + NATIVE_DATA_SIZE)
		memcpy(data_at(ea), data, n);
}

static void prepare_target(struct test *t)
{
	u64 target = (t->small ? 0 : NATIVE_CODE) + rnd() % NATIVE_CODE_SIZE;

	if (!t->compat && rnd() % 16 == 0)
		target = 0x8000000000000000ull | rnd();
	if (t->mem)
		put_at_operand(t, &target, 8);
	else
		set_reg(t, t->rm, target);
}

static void prepare_late(struct test *t)
{
	struct native_state *s = &t->in;
	unsigned int i;
	u64 v;

	switch (t->form->setup) {
	case S_TARGET:
		prepare_target(t);
		break;
	case S_RET:
		v = (t->small ? 0 : NATIVE_CODE) + rnd() % NATIVE_CODE_SIZE;
		memcpy(data_at(s->regs[EMUL_RSP]), &v, t->compat ? 4 : 8);
		break;
	case S_POPF:
		/* TF and AC would hit the signal handlers, NT and ID stay set in the host. */
		v = rnd() & 0x0cd5;
		memcpy(data_at(s->regs[EMUL_RSP]), &v, 8);
		break;
	case S_LEAVE:
		s->regs[EMUL_RBP] = NATIVE_DATA + 0x1000 + rnd() % 0x800;
		break;
	case S_ENTER:
		s->regs[EMUL_RBP] = NATIVE_DATA + 0x1800;
		s->regs[EMUL_RSP] = NATIVE_DATA + 0x1000;
		break;
	case S_CMPXCHG8:
		if (rnd() & 1) {
			u64 pair[2] = { s->regs[EMUL_RAX], s->regs[EMUL_RDX] };
			u32 half[2] = { pair[0], pair[1] };

			put_at_operand(t, t->rex & 8 ? (void *)pair : (void *)half, t->rex & 8 ? 16 : 8);
		}
		break;
	case S_DIV:
		/* Most random divisions overflow: make half of them not. */
		if (rnd() & 1)
			s->regs[EMUL_RDX] = rnd() & 1 ? 0 : rnd() & 0x7f;
		break;
	case S_BOUND:
		for (i = 0; i < 2; i++) {
			s32 pair[2] = { -1000, 1000 };

			put_at_operand(t, pair, 8);
			set_reg(t, t->opreg, rnd() % 2500);
		}
		break;
	default:
		break;
	}
}

static void emit_immediate(struct test *t)
{
	unsigned int n = immediate_bytes(t);

	t->imm = value();
	if (t->form->setup == S_BRANCH)
		t->imm = (rnd() & 0x7ff) - 0x400;
	if (t->form->setup == S_ENTER) {
		emit(t, rnd() & 0xff, 2);
		emit(t, rnd() % 3 ? 0 : rnd(), 1);
		return;
	}
	if (t->form->setup == S_RET)
		t->imm &= 0xff;
	emit(t, t->imm, n);
}

static void generate(struct test *t, const struct form *f, enum emul_mode mode)
{
	bool compat = mode != EMUL_LONG64;
	unsigned int i;

	memset(t, 0, sizeof(*t));
	t->form = f;
	t->mode = mode;
	t->compat = compat;
	t->small = mode == EMUL_PROT16;
	for (i = 0; i < 16; i++)
		set_reg(t, i, value());
	for (i = 0; i < sizeof(t->in.vec); i++)
		t->in.vec[i / 32][i % 32] = rnd();
	t->in.regs[EMUL_RSP] = NATIVE_DATA + 0x1000 + (rnd() & 0x78);
	t->in.rflags = 0x202 | (rnd() & (ALL | DF));
	emit_prefixes(t);
	prepare_early(t);
	if (f->flags & F_VEX) {
		t->n = 0;
		t->addrsize = false;
		if (!compat)
			t->rex = 0x40 | (rnd() & (f->flags & F_W ? 15 : 7));
		emit_vex(t);
	} else {
		if (f->flags & F_LOCK && f->flags & F_MODRM && rnd() % 8 == 0)
			emit(t, 0xf0, 1);
		emit_opcode(t);
	}
	t->opreg = f->digit >= 0 ? (unsigned int)f->digit : rnd() & 7;
	if (f->flags & F_MODRM)
		emit_modrm(t, t->opreg, immediate_bytes(t));
	if (f->digit < 0)
		t->opreg |= t->rex & 4 ? 8 : 0;
	emit_immediate(t);
	for (i = 0; i < 48; i++) {
		u64 v = value();

		memcpy(data_at(NATIVE_DATA + (rnd() % (NATIVE_DATA_SIZE / 8)) * 8), &v, 8);
	}
	prepare_late(t);
}

/* Flags that the manuals leave undefined for this count. */
static u64 undefined_flags(const struct test *t, bool *skip)
{
	const struct form *f = t->form;
	bool shift = f->nop == 1 && (f->op[0] == 0xc0 || f->op[0] == 0xc1 || (f->op[0] >= 0xd0 && f->op[0] <= 0xd3)) && f->flags & F_MODRM;
	bool wide = f->nop == 2 && f->op[0] == 0x0f && (f->op[1] & 0xf6) == 0xa4;
	unsigned int bytes = f->op[f->nop - 1] & 1 || wide ? operand_bytes(t) : 1, count;

	if (!shift && !wide)
		return f->undefined;
	if (shift)
		count = f->op[0] < 0xd0 ? t->imm : f->op[0] < 0xd2 ? 1 : t->in.regs[EMUL_RCX];
	else
		count = f->op[1] & 1 ? t->in.regs[EMUL_RCX] : t->imm;
	count &= bytes == 8 ? 63 : 31;
	if (!count)
		return 0;
	if (wide && count > 8 * bytes)
		*skip = true;
	return (count != 1 ? OF : 0) | (f->digit < 0 || f->digit >= 4 ? AF : 0) |
	       (f->digit >= 4 && f->digit != 7 && count >= 8 * bytes ? CF : 0);
}

static void describe(const struct test *t, const char *what, char *text, size_t size)
{
	size_t at = snprintf(text, size, "%s%s: %s; code", t->form->name, t->small ? " (16-bit)" : t->compat ? " (32-bit)" : "", what);
	unsigned int i;

	for (i = 0; i < t->n && at < size; i++)
		at += snprintf(text + at, size - at, " %02x", t->code[i]);
}

/* CMPS reads two operands; which of them is read first, and faults first, is up to the CPU. */
static bool either_first(const struct test *t)
{
	return t->form->nop == 1 && (t->form->op[0] & 0xfe) == 0xa6;
}

static bool differs(const struct test *t, const struct native_state *n, const struct emul_ctxt *c, int r, char *text, size_t size)
{
	char what[200] = "";
	bool skip = false;
	u64 undefined = undefined_flags(t, &skip);
	unsigned int i, nregs = t->compat ? 8 : 16;

	if (skip)
		return false;
	if (r == EMUL_FAULT ? c->exception.vector != n->vector : r != EMUL_OK || n->vector != -1)
		snprintf(what, sizeof(what), "native vector %d error %llx cr2 %llx, emulator %d vector %d", n->vector,
			 (u64)n->error, (u64)n->cr2, r, c->exception.vector);
	else if (r == EMUL_FAULT && n->vector == 14 &&
		 ((n->cr2 != c->exception.address && !either_first(t)) || (n->error & 2) != (c->exception.error & 2)))
		snprintf(what, sizeof(what), "native #PF at %llx error %llx, emulator %llx %x", (u64)n->cr2, (u64)n->error,
			 c->exception.address, c->exception.error);
	else if (r == EMUL_OK && n->rip != c->rip)
		snprintf(what, sizeof(what), "native rip %llx, emulator %llx", (u64)n->rip, c->rip);
	else if ((n->rflags ^ c->rflags) & ~undefined & ~0x10000ull)
		snprintf(what, sizeof(what), "native flags %llx, emulator %llx, before %llx", (u64)n->rflags, c->rflags,
			 (u64)t->in.rflags);
	for (i = 0; i < nregs && !what[0]; i++) {
		if (n->regs[i] != c->regs[i])
			snprintf(what, sizeof(what), "reg %u native %llx, emulator %llx, before %llx", i, (u64)n->regs[i],
				 c->regs[i], (u64)t->in.regs[i]);
	}
	for (i = 0; memcmp(native_after, emul_after, NATIVE_DATA_SIZE) && i < NATIVE_DATA_SIZE && !what[0]; i++) {
		if (native_after[i] != emul_after[i])
			snprintf(what, sizeof(what), "memory +%x native %02x, emulator %02x", i, native_after[i],
				 emul_after[i]);
	}
	for (i = 0; i < nregs && !what[0]; i++) {
		if (memcmp(n->vec[i], &machine.vec[i], 32))
			snprintf(what, sizeof(what), "vector register %u", i);
	}
	if (!what[0])
		return false;
	describe(t, what, text, size);
	return true;
}

static void load_segments(const struct test *t)
{
	static const struct emul_seg flat = { 0x2b, 0xf3 | EMUL_SEG_DB | EMUL_SEG_G, 0xffffffff, 0 };
	struct emul_seg *seg = machine.seg;

	seg[EMUL_ES] = seg[EMUL_SS] = seg[EMUL_DS] = seg[EMUL_FS] = seg[EMUL_GS] = flat;
	seg[EMUL_CS] = (struct emul_seg){ 0x33, 0xfb | EMUL_SEG_L | EMUL_SEG_G, 0xffffffff, 0 };
	if (t->mode == EMUL_PROT32)
		seg[EMUL_CS] = (struct emul_seg){ 0x23, 0xfb | EMUL_SEG_DB | EMUL_SEG_G, 0xffffffff, 0 };
	if (!t->small)
		return;
	seg[EMUL_CS] = (struct emul_seg){ 0x07, 0xfb, NATIVE_CODE_SIZE - 1, NATIVE_CODE };
	seg[EMUL_DS] = seg[EMUL_ES] = (struct emul_seg){ 0x0f, 0xf3, 0xffff, NATIVE_DATA };
}

static void load_machine(const struct test *t, struct emul_ctxt *c)
{
	enum emul_mode mode = t->mode;
	unsigned short fs, gs;
	unsigned int i;

	machine_start(&machine, c, mode);
	load_segments(t);
	__asm__("mov %%fs, %0; mov %%gs, %1" : "=r"(fs), "=r"(gs));
	machine.seg[EMUL_FS].selector = fs;
	machine.seg[EMUL_GS].selector = gs;
	for (i = 0; i < 16; i++)
		memcpy(&machine.vec[i], t->in.vec[i], 32);
	memcpy(c->regs, t->in.regs, sizeof(c->regs));
	c->rip = NATIVE_ENTRY - (t->small ? NATIVE_CODE : 0);
	c->rflags = t->in.rflags;
	c->cpl = 3;
	memcpy(data_at(NATIVE_ENTRY), t->code, t->n);
}

static bool near(u64 address, u64 base, u64 size)
{
	return address >= base - 0x10000 && address < base + size + 0x10000;
}

/*
 * Is the outcome one that the process allows to be tried?  Not if the access goes to memory that may be somebody else's (the sanitizer has
 * its tables in low memory), or to the code page, nor if a branch leaves it or leads into the instruction itself.
 */
static bool safe(const struct test *t, const struct emul_ctxt *c, int r)
{
	u64 a = c->exception.address, rip = c->rip + (t->small ? NATIVE_CODE : 0);

	if (r == EMUL_OK && (rip < NATIVE_CODE || rip >= NATIVE_CODE + NATIVE_CODE_SIZE))
		return false;
	if (r == EMUL_OK)
		return rip == NATIVE_ENTRY + t->n || rip < NATIVE_ENTRY - 15 || rip >= NATIVE_ENTRY + t->n;
	return r != EMUL_FAULT || c->exception.vector != EMUL_EXC_PF || a < 0x10000 || near(a, NATIVE_DATA, NATIVE_DATA_SIZE);
}

/* 0 equal, 1 different, -1 not tried */
static int one(const struct form *f, enum emul_mode mode, char *text, size_t size)
{
	static struct emul_ctxt ctxt;
	struct native_state n;
	struct test t;
	int r;

	generate(&t, f, mode);
	memcpy(before, data_at(NATIVE_DATA), sizeof(before));
	load_machine(&t, &ctxt);
	r = machine_run(&machine, &ctxt, NULL);
	memset(data_at(NATIVE_ENTRY), 0xcc, t.n);
	memcpy(emul_after, data_at(NATIVE_DATA), sizeof(before));
	memcpy(data_at(NATIVE_DATA), before, sizeof(before));
	if (!safe(&t, &ctxt, r))
		return -1;
	n = t.in;
	native_run(&n, NATIVE_ENTRY, t.code, t.n, mode == EMUL_LONG64 ? 64 : mode == EMUL_PROT32 ? 32 : 16);
	memcpy(native_after, data_at(NATIVE_DATA), sizeof(before));
	return differs(&t, &n, &ctxt, r, text, size);
}

static u64 seed_of(int form)
{
	const char *s = getenv("EMUL_SEED");
	u64 seed = s ? strtoull(s, NULL, 0) : 0x1234567;

	return (seed + form) * 0x9e3779b97f4a7c15ull | 1;
}

static void setup(void)
{
	if (machine.window[0].size)
		return;
	ck_assert_msg(native_init(), "no AVX2, no LDT, or the fixed addresses are taken");
	machine_init(&machine, EMUL_LONG64);
	machine.window[0] = (struct machine_window){ NATIVE_DATA, NATIVE_DATA_SIZE, data_at(NATIVE_DATA), false, false };
	machine.window[1] = (struct machine_window){ NATIVE_CODE, NATIVE_CODE_SIZE, data_at(NATIVE_CODE), true, false };
}

START_TEST(equals_the_real_cpu)
{
	const struct form *f = &forms[_i];
	const char *s = getenv("EMUL_ROUNDS");
	unsigned int rounds = s ? strtoul(s, NULL, 0) : 2000, i, bad = 0, tried = 0;
	int r;
	char text[400], first[400] = "";

	setup();
	rng = seed_of(_i);
	for (i = 0; i < rounds; i++) {
		static const enum emul_mode modes[] = { EMUL_LONG64, EMUL_PROT32, EMUL_LONG64, EMUL_PROT16 };
		enum emul_mode mode = modes[i & 3];

		if (f->flags & F_NO64)
			mode = i & 1 ? EMUL_PROT32 : EMUL_PROT16;
		if (f->flags & F_ONLY64)
			mode = EMUL_LONG64;
		r = one(f, mode, text, sizeof(text));
		tried += r >= 0;
		if (r == 1 && !bad++)
			memcpy(first, text, sizeof(first));
	}
	ck_assert_msg(tried > rounds / 4, "%s: only %u of %u could be tried", f->name, tried, rounds);
	ck_assert_msg(!bad, "%u of %u differ (EMUL_SEED=%s); first: %s", bad, rounds, getenv("EMUL_SEED") ? getenv("EMUL_SEED") : "default",
		      first);
}
END_TEST

/* ---- lengths: an instruction that ends before an unmapped page must not need it; one that is cut short must ---- */

static const u8 length_prefixes[] = { 0x66, 0x66, 0x67, 0xf2, 0xf3, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0xf0 };

static void random_instruction(u8 *bytes, bool long64)
{
	unsigned int n = rnd() % 3 ? rnd() % 3 : rnd() % 13, i;

	for (i = 0; i < 32; i++)
		bytes[i] = rnd();
	for (i = 0; i < n; i++)
		bytes[i] = length_prefixes[rnd() % ARRAY_SIZE(length_prefixes)];
	if (long64 && rnd() & 1)
		bytes[i++] = 0x40 | (rnd() & 15);
	switch (rnd() & 7) {
	case 0:
	case 1:
	case 2:
		bytes[i++] = 0x0f;
		break;
	case 3:
		bytes[i++] = 0x0f;
		bytes[i++] = rnd() & 1 ? 0x38 : 0x3a;
		break;
	case 4:
		i = n ? rnd() & 1 : 0;
		bytes[i++] = rnd() & 1 ? 0xc4 : 0xc5;
		if (bytes[i - 1] == 0xc4)
			bytes[i] = (bytes[i] & 0xe0) | (1 + rnd() % 3);
		break;
	case 5:
		i = 0;
		bytes[i++] = 0x62;
		bytes[i] = (bytes[i] & 0xf8) | (1 + rnd() % 3);
		bytes[i + 1] |= 4;
		break;
	}
}

static bool in_list(u8 byte, const u8 *list, unsigned int n)
{
	while (n)
		if (list[--n] == byte)
			return true;
	return false;
}

/*
 * May it be executed in this process?  Not system calls, what loads FS, MXCSR or other state that the C library lives on, nor what could
 * reach mapped memory: all registers hold an address that is not canonical, so only absolute and 32-bit addresses can; no relative jumps,
 * which may lead to themselves.  0F 78 is VMREAD on one vendor's CPUs and has immediates on the other's.
 */
static bool harmless(const struct emul_insn *d)
{
	static const u8 one[] = { 0x8e, 0xcc, 0xcd, 0xce, 0xf1, 0xa0, 0xa1, 0xa2, 0xa3, 0xc6, 0xc7, 0xe0, 0xe1, 0xe2, 0xe3, 0xe9, 0xeb };
	static const u8 two[] = { 0x00, 0x01, 0x05, 0x34, 0x78, 0xa1, 0xa9, 0xae, 0xb2, 0xb4, 0xb5 };

	if (d->addrsize || (d->mem && (d->base == EMUL_NO_REG || d->rip_relative)))
		return false;
	if ((d->opcode & 0xf0) == (d->map ? 0x80 : 0x70))
		return false;
	if (d->map == 0)
		return !in_list(d->opcode, one, sizeof(one));
	return d->map != 1 || !in_list(d->opcode, two, sizeof(two));
}

static void length_run(struct native_state *s, const u8 *bytes, unsigned int n, bool long64, u64 entry)
{
	unsigned int i;

	memset(s, 0, sizeof(*s));
	for (i = 0; i < 16; i++)
		s->regs[i] = long64 ? 0x4000000000000000 : 0;
	s->rflags = 0x202;
	native_run(s, entry, bytes, n, long64 ? 64 : 32);
}

/* The instruction at entry could not be fetched completely. */
static bool needs_more(const struct native_state *s, u64 entry)
{
	return s->vector == 14 && s->rip == entry && s->error & 16 && s->cr2 == NATIVE_CODE + NATIVE_CODE_SIZE;
}

static void describe_bytes(const u8 *bytes, char *text)
{
	unsigned int i;

	for (i = 0; i < 15; i++)
		sprintf(text + 3 * i, "%02x ", bytes[i]);
}

/* 0 fine, else what is wrong */
static const char *length_one(const u8 *bytes, bool long64, unsigned int *seen)
{
	const u64 end = NATIVE_CODE + NATIVE_CODE_SIZE;
	static struct emul_ctxt ctxt;
	enum emul_mode mode = long64 ? EMUL_LONG64 : EMUL_PROT32;
	int len = emul_insn_len(mode, bytes, EMUL_INSN_MAX);
	struct native_state s;

	if (len < 0) {
		if (len == EMUL_LEN_UD) {
			length_run(&s, bytes, EMUL_INSN_MAX, long64, NATIVE_ENTRY);
			if (s.vector != 6 && s.rip != NATIVE_ENTRY)
				return "executed, but said to be no instruction";
		}
		return NULL;
	}
	if (len > 1) {
		length_run(&s, bytes, len - 1, long64, end - (len - 1));
		if (!needs_more(&s, end - (len - 1)) && s.vector != 6)
			return "shorter than computed";
		*seen += s.vector != 6;
	}
	machine_start(&machine, &ctxt, mode);
	memcpy(ctxt.insn, bytes, EMUL_INSN_MAX);
	ctxt.insn_bytes = EMUL_INSN_MAX;
	emul_decode(&ctxt);
	if (!long64 || !harmless(&ctxt.d))
		return NULL;
	length_run(&s, bytes, len, long64, end - len);
	if (needs_more(&s, end - len))
		return "longer than computed";
	return NULL;
}

START_TEST(length_equals_that_of_the_real_cpu)
{
	unsigned int i, seen = 0, bad = 0, rounds = 50000;
	char text[64] = "";
	const char *what, *first = "";
	u8 bytes[32];

	setup();
	rng = seed_of(9999);
	for (i = 0; i < rounds; i++) {
		random_instruction(bytes, i & 1);
		what = length_one(bytes, i & 1, &seen);
		if (what && !bad++) {
			describe_bytes(bytes, text);
			first = what;
		}
		if (what && getenv("EMUL_VERBOSE")) {
			describe_bytes(bytes, text);
			printf("%s: %s (%u)\n", what, text, emul_insn_len(i & 1 ? EMUL_LONG64 : EMUL_PROT32, bytes, 15));
		}
	}
	ck_assert_msg(seen > rounds / 4, "only %u of %u instructions were measured", seen, rounds);
	ck_assert_msg(!bad, "%u of %u; first: %s: %s", bad, rounds, text, first);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("emul_native");
	TCase *tc = tcase_create("forms");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, equals_the_real_cpu, 0, ARRAY_SIZE(forms));
	tcase_add_test(tc, length_equals_that_of_the_real_cpu);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
