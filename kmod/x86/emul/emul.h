/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The instruction emulator: one guest instruction, decoded from its bytes and executed on state behind an ops table.
 *
 * Pure: no VM, no lock, no clock, no allocation.  It is used where the hardware gives up an instruction half way: an access to device
 * memory, string I/O, an intercepted instruction on a CPU without decode assists, a hardware task switch.  It touches the world only
 * through struct emul_ops; bytes, memory and state are the guest's and hostile.
 *
 * One instruction, the caller's side:
 *
 *	memset(ctxt, 0, sizeof(*ctxt));	(or emul_reset() on one that is kept)
 *	fill ops, opaque, regs[], rip, rflags, mode, cpl; optionally insn[] and insn_bytes (what decode assists supplied)
 *	r = emul_insn(ctxt);
 *
 *	EMUL_OK		done.  Take regs[] (those in regs_dirty), rip, rflags, cpl, shadow, nmi_unblock; inject #DB when single_step is set.
 *			With `repeat` set a REP instruction is unfinished: rip still points at it and everything else is consistent.
 *			Enter the guest (it goes on natively or exits again) or emulate again; pending interrupts may be taken between.
 *	EMUL_FAULT	inject ctxt->exception at the unchanged rip.  regs[] must be taken all the same (earlier REP iterations are done);
 *			rflags too, they change for these iterations only.
 *	EMUL_IO_NEEDED	an op could not finish without user space (see below).  Take regs[] and rflags, as for a fault.  Get the data,
 *			then emulate again, from the start, with a freshly filled ctxt.
 *	EMUL_RETRY	a locked compare-exchange lost a race, or an op said so.  Nothing was changed: enter the guest or emulate again.
 *	EMUL_UNHANDLED	a real instruction that is not in our table, or an op that cannot do it.  Nothing was changed.
 *
 * The I/O contract.  The emulator is deterministic: with the same ctxt and the same answers of the ops it makes the same calls in the
 * same order.  An instruction is a sequence of iterations (one, but for REP).  In an iteration all reads (read, pio_in) come before the
 * first write (write, cmpxchg, pio_out, set_*), except for hardware task switches, whose TSS writes come early but are idempotent.
 *  - read() or pio_in() that needs user space: record the access, answer EMUL_IO_NEEDED.  When the data is there, put it into a cache
 *    and emulate again; read() of the same linear address (the caller may key by physical address or by ordinal number) answers from
 *    the cache.  An access may need several rounds (fragments): answer EMUL_IO_NEEDED until it is complete.
 *  - write() and pio_out() that need user space: preferably note the data, answer EMUL_OK and perform them after emul_insn() has
 *    returned.  One iteration writes at most EMUL_WRITE_MAX bytes to devices in at most EMUL_WRITES_MAX calls; the op commit() tells where
 *    an iteration ends; a caller with room for only one iteration sets ctxt->stop in it.  Answering EMUL_IO_NEEDED and letting the
 *    repeated call through is correct also: nothing of the iteration is in regs[] before its last write has answered EMUL_OK.
 *  - commit() is called after every iteration but the last of a REP instruction: the read cache has been consumed and must be dropped.
 *    Return EMUL_OK of emul_insn() drops it too; EMUL_FAULT as well.
 *  - read() and write() get accesses that cross pages.  They must translate and check all of the access before they change anything.
 *  - A read with EMUL_ACC_WRITE in its flags precedes a write to the same place: check for write permission already there.
 *  - String port input asks probe() for its destination before it takes data from the port.
 *
 * REP: at most EMUL_REP_MAX iterations per call, then EMUL_OK with `repeat` set.  String I/O is done in blocks of up to EMUL_PIO_BATCH
 * bytes that do not cross a page.
 */
#ifndef LODGE_EMUL_H
#define LODGE_EMUL_H

#include "emul_env.h"

#define EMUL_INSN_MAX	15	/* bytes of an instruction, APM 3 §1.1 */
#define EMUL_PIO_BATCH	1024
#define EMUL_REP_MAX	1024
#define EMUL_WRITE_MAX	512	/* FXSAVE is not covered; ENTER with 31 levels of 8 bytes is the longest */
#define EMUL_WRITES_MAX	34

enum emul_result {
	EMUL_OK = 0,
	EMUL_FAULT,
	EMUL_IO_NEEDED,
	EMUL_RETRY,
	EMUL_UNHANDLED,
};

enum emul_mode {
	EMUL_REAL,	/* CR0.PE clear */
	EMUL_VM86,	/* RFLAGS.VM */
	EMUL_PROT16,	/* CS.D clear, also compatibility mode */
	EMUL_PROT32,	/* CS.D set, also compatibility mode */
	EMUL_LONG64,	/* EFER.LMA and CS.L */
};

/* Register numbers as ModRM and REX encode them. */
enum emul_gpr {
	EMUL_RAX, EMUL_RCX, EMUL_RDX, EMUL_RBX, EMUL_RSP, EMUL_RBP, EMUL_RSI, EMUL_RDI,
	EMUL_R8, EMUL_R9, EMUL_R10, EMUL_R11, EMUL_R12, EMUL_R13, EMUL_R14, EMUL_R15,
};

/* The first six as Sreg fields encode them. */
enum emul_sreg {
	EMUL_ES, EMUL_CS, EMUL_SS, EMUL_DS, EMUL_FS, EMUL_GS, EMUL_TR, EMUL_LDTR,
	EMUL_NR_SREG
};

/* Numbers for get_cr and set_cr beside 0, 2, 3, 4 and 8. get_cr(EMUL_EFER) and get_cr(EMUL_XCR0) must be cheap and right; never set. */
#define EMUL_EFER	16
#define EMUL_XCR0	17

#define EMUL_EXC_DE	0
#define EMUL_EXC_DB	1
#define EMUL_EXC_BP	3
#define EMUL_EXC_OF	4
#define EMUL_EXC_BR	5
#define EMUL_EXC_UD	6
#define EMUL_EXC_NM	7
#define EMUL_EXC_TS	10
#define EMUL_EXC_NP	11
#define EMUL_EXC_SS	12
#define EMUL_EXC_GP	13
#define EMUL_EXC_PF	14
#define EMUL_EXC_MF	16
#define EMUL_EXC_AC	17
#define EMUL_EXC_XF	19

struct emul_exception {
	u8 vector;
	bool has_error;
	bool soft;		/* INT n, INT3, INTO: rip has moved past the instruction, deliver as a software interrupt */
	u32 error;
	u64 address;		/* CR2 of a #PF; DR6 bits of a #DB */
};

/*
 * A segment register with its hidden part.  attr is the VMCB's packing: descriptor bits 40-47 in bits 0-7 (type, S, DPL, P), bits 52-55
 * in bits 8-11 (AVL, L, D/B, G).  P clear stands for an unusable (null) segment.  limit is in bytes.
 */
struct emul_seg {
	u16 selector;
	u16 attr;
	u32 limit;
	u64 base;
};

#define EMUL_SEG_TYPE		0x00f
#define EMUL_SEG_S		0x010
#define EMUL_SEG_DPL_SHIFT	5
#define EMUL_SEG_DPL		0x060
#define EMUL_SEG_P		0x080
#define EMUL_SEG_AVL		0x100
#define EMUL_SEG_L		0x200
#define EMUL_SEG_DB		0x400
#define EMUL_SEG_G		0x800

struct emul_dt {
	u64 base;
	u16 limit;
};

struct emul_vec {
	u64 q[4];
};

#define EMUL_ACC_WRITE	1	/* read: a write to the same place follows */
#define EMUL_ACC_SYSTEM	2	/* implicit supervisor access whatever the CPL: descriptor tables, TSS */
#define EMUL_ACC_FETCH	4
#define EMUL_ACC_LOCKED	8	/* read: the old value of a locked operation */

enum emul_fpu {
	EMUL_FPU_GET_CW, EMUL_FPU_GET_SW, EMUL_FPU_SET_CW, EMUL_FPU_INIT, EMUL_FPU_CLEAR_EXC,
};

enum emul_shadow {
	EMUL_SHADOW_NONE, EMUL_SHADOW_STI, EMUL_SHADOW_MOV_SS,
};

enum emul_task_reason {
	EMUL_TASK_CALL, EMUL_TASK_IRET, EMUL_TASK_JMP, EMUL_TASK_GATE,	/* the numbers of VMX exit qualifications */
};

/* What a guest may lack: its CPUID decides, not the CPU that it happens to run on. */
enum emul_feature {
	EMUL_FEAT_NONE,
	EMUL_FEAT_CX8, EMUL_FEAT_CX16, EMUL_FEAT_CMOV, EMUL_FEAT_MMX, EMUL_FEAT_SSE, EMUL_FEAT_SSE2, EMUL_FEAT_SSE3, EMUL_FEAT_SSE41,
	EMUL_FEAT_SSE42, EMUL_FEAT_MOVBE, EMUL_FEAT_POPCNT, EMUL_FEAT_LZCNT, EMUL_FEAT_BMI1, EMUL_FEAT_AVX, EMUL_FEAT_AVX2,
	EMUL_FEAT_CLFLUSH, EMUL_FEAT_CLFLUSHOPT, EMUL_FEAT_CLWB, EMUL_FEAT_RDTSCP, EMUL_FEAT_SMAP,
	EMUL_NR_FEAT
};

struct emul_ctxt;

/*
 * Ops answer an enum emul_result unless they return a value.  One that answers EMUL_FAULT has filled ctxt->exception (emul_fault() does).
 * Addresses are linear.  Ops that may be absent (NULL) say so.  get_* of registers cannot fail.
 */
struct emul_ops {
	/* Instruction bytes.  May deliver fewer than n: *got, at least 1 on EMUL_OK. */
	int (*fetch)(struct emul_ctxt *ctxt, u64 linear, void *buf, unsigned int n, unsigned int *got);
	int (*read)(struct emul_ctxt *ctxt, u64 linear, void *buf, unsigned int n, unsigned int flags);
	int (*write)(struct emul_ctxt *ctxt, u64 linear, const void *buf, unsigned int n, unsigned int flags);
	/* Atomically: if memory holds old, store new; else EMUL_RETRY.  n is 1, 2, 4, 8 or 16.  On device memory an ordinary write. */
	int (*cmpxchg)(struct emul_ctxt *ctxt, u64 linear, const void *old, const void *new, unsigned int n, unsigned int flags);
	/* Would this access (flags: EMUL_ACC_WRITE or 0) succeed?  EMUL_OK: yes, in memory.  EMUL_IO_NEEDED: yes, on a device.  Changes nothing. */
	int (*probe)(struct emul_ctxt *ctxt, u64 linear, unsigned int n, unsigned int flags);
	/* May be absent: end of a REP iteration that is not the last one. */
	void (*commit)(struct emul_ctxt *ctxt);

	/* count elements of size 1, 2 or 4; permission has been checked. */
	int (*pio_in)(struct emul_ctxt *ctxt, u16 port, unsigned int size, void *buf, unsigned int count);
	int (*pio_out)(struct emul_ctxt *ctxt, u16 port, unsigned int size, const void *buf, unsigned int count);

	void (*get_seg)(struct emul_ctxt *ctxt, enum emul_sreg nr, struct emul_seg *seg);
	void (*set_seg)(struct emul_ctxt *ctxt, enum emul_sreg nr, const struct emul_seg *seg);
	void (*get_gdt)(struct emul_ctxt *ctxt, struct emul_dt *dt);
	void (*get_idt)(struct emul_ctxt *ctxt, struct emul_dt *dt);
	void (*set_gdt)(struct emul_ctxt *ctxt, const struct emul_dt *dt);
	void (*set_idt)(struct emul_ctxt *ctxt, const struct emul_dt *dt);

	/* Encodings, CPL and DR7.GD are checked here; set_* check the value against the vCPU's features, and answer EMUL_FAULT with #GP(0). */
	u64 (*get_cr)(struct emul_ctxt *ctxt, unsigned int nr);
	int (*set_cr)(struct emul_ctxt *ctxt, unsigned int nr, u64 value);
	u64 (*get_dr)(struct emul_ctxt *ctxt, unsigned int nr);
	int (*set_dr)(struct emul_ctxt *ctxt, unsigned int nr, u64 value);
	int (*get_msr)(struct emul_ctxt *ctxt, u32 index, u64 *value);	/* also serves RDTSC and RDTSCP */
	int (*set_msr)(struct emul_ctxt *ctxt, u32 index, u64 value);
	int (*set_xcr0)(struct emul_ctxt *ctxt, u64 value);		/* may be absent: XSETBV is unhandled */
	int (*rdpmc)(struct emul_ctxt *ctxt, u32 index, u64 *value);	/* may be absent: #GP */

	/* May be absent: the guest has everything.  An instruction that it has not got is #UD, LZCNT and TZCNT are BSR and BSF then. */
	bool (*has)(struct emul_ctxt *ctxt, enum emul_feature feature);
	void (*cpuid)(struct emul_ctxt *ctxt, u32 regs[4]);	/* in: [0] EAX, [2] ECX (order EAX EBX ECX EDX) */
	int (*hlt)(struct emul_ctxt *ctxt);			/* rip is moved on by the emulator */
	int (*wbinvd)(struct emul_ctxt *ctxt);			/* may be absent: nothing to do */
	int (*invlpg)(struct emul_ctxt *ctxt, u64 linear);

	/* All may be absent: such instructions are then unhandled.  set_vec: n is 16 (the rest stays) or 32 (bits above are zeroed). */
	void (*get_vec)(struct emul_ctxt *ctxt, unsigned int nr, struct emul_vec *vec);
	void (*set_vec)(struct emul_ctxt *ctxt, unsigned int nr, const struct emul_vec *vec, unsigned int n);
	void (*get_mmx)(struct emul_ctxt *ctxt, unsigned int nr, u64 *value);
	void (*set_mmx)(struct emul_ctxt *ctxt, unsigned int nr, u64 value);
	int (*fpu)(struct emul_ctxt *ctxt, enum emul_fpu what, u16 *word);
};

/* The decoded instruction: filled by emul_decode(), of interest to the emulator's own files. */
struct emul_insn {
	const struct emul_op *op;
	u64 next;		/* rip of the following instruction */
	u64 imm;		/* sign-extended as the instruction wants it */
	u64 imm2;		/* far pointer selector, ENTER's level */
	u64 disp;
	u64 ea;			/* offset of the memory operand within seg */
	u8 len;
	u8 map;			/* 0 one-byte, 1 0F, 2 0F38, 3 0F3A, 8-10 XOP */
	u8 opcode;
	u8 modrm;
	u8 mod, reg, rm;	/* REX and VEX extensions included; reg without them is modrm >> 3 & 7 */
	u8 base, index, scale;	/* of the memory operand; EMUL_NO_REG if absent */
	u8 rex;			/* 0 if absent */
	u8 rep;			/* 0, 0xf2 or 0xf3: the last one of the prefixes */
	u8 vex;			/* 0, 1 VEX, 2 XOP, 3 EVEX */
	u8 vex_l, vex_v, vex_pp;
	u8 bytes;		/* 1, 2, 4, 8: effective operand size */
	u8 ad_bytes;		/* 2, 4, 8: effective address size */
	u8 seg;			/* enum emul_sreg of the memory operand, overrides applied */
	u8 seg_prefix;		/* the override itself or EMUL_NO_REG */
	bool mem;		/* r/m is a memory operand */
	bool rip_relative;
	bool lock, opsize, addrsize;
};

#define EMUL_NO_REG	0xff

struct emul_ctxt {
	const struct emul_ops *ops;
	void *opaque;

	/* In and out. */
	u64 regs[16];
	u64 rip;
	u64 rflags;
	enum emul_mode mode;	/* in only: a far transfer or a CR0 write changes it, so fill it anew for every instruction */
	u8 cpl;

	/* In: bytes at rip that are known already; emul_decode() fetches what is missing. */
	u8 insn_bytes;
	u8 insn[EMUL_INSN_MAX + 1];

	/* In: may be set at any time by an op: end the REP instruction after this iteration. */
	bool stop;

	/* Out. */
	u16 regs_dirty;		/* bit n: regs[n] was written */
	bool repeat;
	bool single_step;	/* RFLAGS.TF was set: #DB (DR6.BS) is due after this instruction or iteration */
	bool nmi_unblock;	/* IRET was executed */
	bool task_switched;
	enum emul_shadow shadow;	/* what this instruction starts; EMUL_SHADOW_NONE ends any older one, unless repeat is set */
	struct emul_exception exception;

	struct emul_insn d;
	u8 pio_buf[EMUL_PIO_BATCH];
};

/* Clears all but ops and opaque. */
void emul_reset(struct emul_ctxt *ctxt);

/*
 * Decode the instruction at rip.  EMUL_OK: d is filled, d.len is the length; EMUL_FAULT: #UD, #GP (longer than 15 bytes), #PF of the
 * fetch; EMUL_UNHANDLED: length known (d.len), but no way to execute it.
 */
int emul_decode(struct emul_ctxt *ctxt);

/* Execute what emul_decode() decoded. */
int emul_execute(struct emul_ctxt *ctxt);

/* Both. */
int emul_insn(struct emul_ctxt *ctxt);

/*
 * Length of the instruction at the start of bytes, 1-15, whether or not it can be emulated: for exits without a saved next RIP.
 * EMUL_LEN_*: more than n bytes needed; not an instruction; over 15 bytes.
 */
#define EMUL_LEN_SHORT	(-1)
#define EMUL_LEN_UD	(-2)
#define EMUL_LEN_LONG	(-3)
int emul_insn_len(enum emul_mode mode, const void *bytes, unsigned int n);

/*
 * Hardware task switch to the TSS or task gate `selector` (APM 2 §12.3).  EMUL_TASK_GATE: the selector is that of the IDT's task gate's
 * TSS, and error, if has_error, is pushed on the new stack.  ctxt->rip must already be the one to save.  Needs no decoding.
 */
int emul_task_switch(struct emul_ctxt *ctxt, u16 selector, enum emul_task_reason reason, bool has_error, u32 error);

/* Deliver an interrupt through the real-mode vector table: pushes FLAGS, CS, IP.  ctxt->rip is the one to save. */
int emul_real_int(struct emul_ctxt *ctxt, u8 vector);

/* Fill ctxt->exception; return EMUL_FAULT. For ops too. */
int emul_fault(struct emul_ctxt *ctxt, u8 vector);
int emul_fault_error(struct emul_ctxt *ctxt, u8 vector, u32 error);
int emul_page_fault(struct emul_ctxt *ctxt, u64 address, u32 error);

#endif
