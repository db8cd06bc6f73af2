/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The virtual machine control block, as APM 2 appendix B lays it out: one page, first what the hypervisor controls, at 400h
 * the guest state that VMRUN and #VMEXIT (or VMLOAD and VMSAVE) move.
 */
#ifndef LODGE_SVM_VMCB_H
#define LODGE_SVM_VMCB_H

#include <linux/build_bug.h>
#include <linux/stddef.h>
#include <linux/types.h>

/* Intercepts: word (a 32-bit field from offset 0) and bit, numbered through. */
enum svm_intercept {
	ICPT_CR_READ = 0,		/* + register number */
	ICPT_CR_WRITE = 16,
	ICPT_DR_READ = 32,
	ICPT_DR_WRITE = 48,
	ICPT_EXCEPTION = 64,		/* + vector */
	ICPT_INTR = 96, ICPT_NMI, ICPT_SMI, ICPT_INIT, ICPT_VINTR,
	ICPT_RDTSC = 96 + 14, ICPT_RDPMC,
	ICPT_CPUID = 96 + 18, ICPT_RSM, ICPT_IRET, ICPT_INTN, ICPT_INVD, ICPT_PAUSE, ICPT_HLT, ICPT_INVLPG, ICPT_INVLPGA,
	ICPT_IOIO, ICPT_MSR, ICPT_TASK_SWITCH, ICPT_FERR, ICPT_SHUTDOWN,
	ICPT_VMRUN = 128, ICPT_VMMCALL, ICPT_VMLOAD, ICPT_VMSAVE, ICPT_STGI, ICPT_CLGI, ICPT_SKINIT, ICPT_RDTSCP, ICPT_ICEBP,
	ICPT_WBINVD, ICPT_MONITOR, ICPT_MWAIT, ICPT_MWAIT_ARMED, ICPT_XSETBV, ICPT_RDPRU,
};

/* Exit codes, APM 2 appendix C. */
enum svm_exit_code {
	SVM_EXIT_CR_READ = 0x00, SVM_EXIT_CR_WRITE = 0x10, SVM_EXIT_DR_READ = 0x20, SVM_EXIT_DR_WRITE = 0x30,
	SVM_EXIT_EXCEPTION = 0x40,
	SVM_EXIT_INTR = 0x60, SVM_EXIT_NMI, SVM_EXIT_SMI, SVM_EXIT_INIT, SVM_EXIT_VINTR,
	SVM_EXIT_RDTSC = 0x6e, SVM_EXIT_RDPMC,
	SVM_EXIT_CPUID = 0x72, SVM_EXIT_RSM, SVM_EXIT_IRET, SVM_EXIT_INTN, SVM_EXIT_INVD, SVM_EXIT_PAUSE, SVM_EXIT_HLT,
	SVM_EXIT_INVLPG, SVM_EXIT_INVLPGA, SVM_EXIT_IOIO, SVM_EXIT_MSR, SVM_EXIT_TASK_SWITCH, SVM_EXIT_FERR, SVM_EXIT_SHUTDOWN,
	SVM_EXIT_VMRUN, SVM_EXIT_VMMCALL, SVM_EXIT_VMLOAD, SVM_EXIT_VMSAVE, SVM_EXIT_STGI, SVM_EXIT_CLGI, SVM_EXIT_SKINIT,
	SVM_EXIT_RDTSCP, SVM_EXIT_ICEBP, SVM_EXIT_WBINVD, SVM_EXIT_MONITOR, SVM_EXIT_MWAIT, SVM_EXIT_MWAIT_ARMED,
	SVM_EXIT_XSETBV, SVM_EXIT_RDPRU,
	SVM_EXIT_NPF = 0x400,
};

#define SVM_EXIT_INVALID	(~0ull)

/* EVENTINJ and EXITINTINFO, APM 2 §15.20. */
#define SVM_EVENT_VECTOR	0xffull
#define SVM_EVENT_INTR		(0ull << 8)
#define SVM_EVENT_NMI		(2ull << 8)
#define SVM_EVENT_EXCEPTION	(3ull << 8)
#define SVM_EVENT_SOFT		(4ull << 8)
#define SVM_EVENT_TYPE		(7ull << 8)
#define SVM_EVENT_HAS_ERROR	(1ull << 11)
#define SVM_EVENT_VALID		(1ull << 31)

/* int_ctl, APM 2 §15.21. */
#define SVM_V_TPR		0x0fu
#define SVM_V_IRQ		(1u << 8)
#define SVM_V_PRIO_SHIFT	16
#define SVM_V_PRIO		(0xfu << SVM_V_PRIO_SHIFT)
#define SVM_V_IGN_TPR		(1u << 20)
#define SVM_V_INTR_MASKING	(1u << 24)

#define SVM_INT_STATE_SHADOW	1u

#define SVM_NP_ENABLE		1ull

/* IOIO: EXITINFO1, APM 2 §15.10.2. */
#define SVM_IOIO_IN		(1u << 0)
#define SVM_IOIO_STRING		(1u << 2)
#define SVM_IOIO_REP		(1u << 3)
#define SVM_IOIO_SIZE_SHIFT	4	/* one of three bits: 1, 2, 4 bytes */
#define SVM_IOIO_SIZE		(7u << SVM_IOIO_SIZE_SHIFT)
#define SVM_IOIO_ADDR_SHIFT	7	/* one of three bits: 16, 32, 64 */
#define SVM_IOIO_SEG_SHIFT	10

/* NPF: EXITINFO1, APM 2 §15.25.6. */
#define SVM_NPF_PRESENT		(1ull << 0)
#define SVM_NPF_WRITE		(1ull << 1)
#define SVM_NPF_FETCH		(1ull << 4)
#define SVM_NPF_WALK		(1ull << 33)	/* while walking the guest's own tables */

/* Task switch: EXITINFO2, APM 2 §15.14.1. */
#define SVM_TASK_IRET		(1ull << 36)
#define SVM_TASK_JMP		(1ull << 38)
#define SVM_TASK_HAS_ERROR	(1ull << 44)

struct vmcb_seg {
	u16 selector;
	u16 attr;		/* descriptor bits 40-47 and 52-55 */
	u32 limit;
	u64 base;
} __packed;

struct vmcb_control {
	u32 intercept[6];	/* 000 */
	u32 reserved_018[9];
	u16 pause_threshold;	/* 03c */
	u16 pause_count;
	u64 iopm_pa;		/* 040 */
	u64 msrpm_pa;
	u64 tsc_offset;
	u32 asid;		/* 058 */
	u8 tlb_control;
	u8 reserved_05d[3];
	u32 int_ctl;		/* 060 */
	u32 int_vector;
	u32 int_state;		/* 068 */
	u32 reserved_06c;
	u64 exit_code;		/* 070 */
	u64 exit_info1;
	u64 exit_info2;
	u64 exit_int_info;
	u64 np_control;		/* 090 */
	u64 avic_bar;
	u64 ghcb;
	u64 event_inj;		/* 0a8 */
	u64 n_cr3;
	u64 virt_ext;
	u32 clean;		/* 0c0 */
	u32 reserved_0c4;
	u64 next_rip;		/* 0c8 */
	u8 insn_len;
	u8 insn[15];
	u8 reserved_0e0[0x400 - 0xe0];
} __packed;

struct vmcb_save {
	struct vmcb_seg es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;	/* 400 */
	u8 reserved_4a0[0x2b];
	u8 cpl;			/* 4cb */
	u32 reserved_4cc;
	u64 efer;		/* 4d0 */
	u8 reserved_4d8[0x70];
	u64 cr4;		/* 548 */
	u64 cr3;
	u64 cr0;
	u64 dr7;
	u64 dr6;
	u64 rflags;		/* 570 */
	u64 rip;
	u8 reserved_580[0x58];
	u64 rsp;		/* 5d8 */
	u8 reserved_5e0[0x18];
	u64 rax;		/* 5f8 */
	u64 star;		/* 600 */
	u64 lstar;
	u64 cstar;
	u64 sfmask;
	u64 kernel_gs_base;	/* 620 */
	u64 sysenter_cs;
	u64 sysenter_esp;
	u64 sysenter_eip;
	u64 cr2;		/* 640 */
	u8 reserved_648[0x20];
	u64 g_pat;		/* 668 */
	u64 dbgctl;
	u64 br_from;
	u64 br_to;
	u64 last_exc_from;
	u64 last_exc_to;
	u8 reserved_698[0x1000 - 0x698];
} __packed;

struct vmcb {
	struct vmcb_control control;
	struct vmcb_save save;
} __packed __aligned(4096);

static_assert(offsetof(struct vmcb_control, pause_threshold) == 0x3c);
static_assert(offsetof(struct vmcb_control, iopm_pa) == 0x40);
static_assert(offsetof(struct vmcb_control, asid) == 0x58);
static_assert(offsetof(struct vmcb_control, int_ctl) == 0x60);
static_assert(offsetof(struct vmcb_control, exit_code) == 0x70);
static_assert(offsetof(struct vmcb_control, np_control) == 0x90);
static_assert(offsetof(struct vmcb_control, event_inj) == 0xa8);
static_assert(offsetof(struct vmcb_control, n_cr3) == 0xb0);
static_assert(offsetof(struct vmcb_control, next_rip) == 0xc8);
static_assert(offsetof(struct vmcb, save) == 0x400);
static_assert(offsetof(struct vmcb, save.tr) == 0x490);
static_assert(offsetof(struct vmcb, save.cpl) == 0x4cb);
static_assert(offsetof(struct vmcb, save.efer) == 0x4d0);
static_assert(offsetof(struct vmcb, save.cr4) == 0x548);
static_assert(offsetof(struct vmcb, save.rflags) == 0x570);
static_assert(offsetof(struct vmcb, save.rsp) == 0x5d8);
static_assert(offsetof(struct vmcb, save.rax) == 0x5f8);
static_assert(offsetof(struct vmcb, save.kernel_gs_base) == 0x620);
static_assert(offsetof(struct vmcb, save.cr2) == 0x640);
static_assert(offsetof(struct vmcb, save.g_pat) == 0x668);
static_assert(sizeof(struct vmcb) == 4096);

static inline void vmcb_set_intercept(struct vmcb *v, unsigned int n)
{
	v->control.intercept[n / 32] |= 1u << (n % 32);
}

static inline void vmcb_clear_intercept(struct vmcb *v, unsigned int n)
{
	v->control.intercept[n / 32] &= ~(1u << (n % 32));
}

static inline bool vmcb_has_intercept(const struct vmcb *v, unsigned int n)
{
	return v->control.intercept[n / 32] & (1u << (n % 32));
}

#endif
