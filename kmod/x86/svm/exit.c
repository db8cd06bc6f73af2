// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the hardware says of an exit, in the neutral words of x86/exit.h.
 */
#include <asm/processor-flags.h>

#include "x86/fetch.h"
#include "x86/svm/svm.h"

struct svm_plain {
	u8 reason;		/* enum lodge_exit_reason; 0 is EXIT_REENTER and means: not plain */
	u8 len;			/* of the instruction without prefixes */
	u32 bytes;		/* what it looks like then, low byte first */
};

/* Exits that say nothing more than which instruction it was. */
static const struct svm_plain svm_plain[] = {
	[SVM_EXIT_INTR]		= { EXIT_INTERRUPT },
	[SVM_EXIT_NMI]		= { EXIT_NMI },
	[SVM_EXIT_SMI]		= { EXIT_SMI },
	[SVM_EXIT_INIT]		= { EXIT_INIT },
	[SVM_EXIT_RDTSC]	= { EXIT_RDTSC, 2, 0x310f },
	[SVM_EXIT_RDPMC]	= { EXIT_RDPMC, 2, 0x330f },
	[SVM_EXIT_CPUID]	= { EXIT_CPUID, 2, 0xa20f },
	[SVM_EXIT_RSM]		= { EXIT_FORBIDDEN },
	[SVM_EXIT_INVD]		= { EXIT_INVD, 2, 0x080f },
	[SVM_EXIT_PAUSE]	= { EXIT_PAUSE, 2, 0x90f3 },
	[SVM_EXIT_HLT]		= { EXIT_HLT, 1, 0xf4 },
	[SVM_EXIT_INVLPGA]	= { EXIT_FORBIDDEN },
	[SVM_EXIT_SHUTDOWN]	= { EXIT_TRIPLE_FAULT },
	[SVM_EXIT_VMRUN]	= { EXIT_FORBIDDEN },
	[SVM_EXIT_VMMCALL]	= { EXIT_HYPERCALL, 3, 0xd9010f },
	[SVM_EXIT_VMLOAD]	= { EXIT_FORBIDDEN },
	[SVM_EXIT_VMSAVE]	= { EXIT_FORBIDDEN },
	[SVM_EXIT_STGI]		= { EXIT_FORBIDDEN },
	[SVM_EXIT_CLGI]		= { EXIT_FORBIDDEN },
	[SVM_EXIT_SKINIT]	= { EXIT_FORBIDDEN },
	[SVM_EXIT_RDTSCP]	= { EXIT_RDTSCP, 3, 0xf9010f },
	[SVM_EXIT_WBINVD]	= { EXIT_WBINVD, 2, 0x090f },
	[SVM_EXIT_MONITOR]	= { EXIT_MONITOR, 3, 0xc8010f },
	[SVM_EXIT_MWAIT]	= { EXIT_MWAIT, 3, 0xc9010f },
	[SVM_EXIT_MWAIT_ARMED]	= { EXIT_MWAIT, 3, 0xc9010f },
	[SVM_EXIT_XSETBV]	= { EXIT_XSETBV, 3, 0xd1010f },
	[SVM_EXIT_RDPRU]	= { EXIT_FORBIDDEN },
};

/* Length from NRIP save, or from the bytes where they are the plain form of the instruction; else 0. */
static u8 svm_len(struct svm_vcpu *svm, u8 len, u32 bytes)
{
	u64 next = svm->vmcb->control.next_rip - svm->x86.rip;

	if (svm_caps.nrip && next >= 1 && next <= 15)
		return next;
	return len && fetch_matches(&svm->x86, bytes, len) ? len : 0;
}

static void svm_decode_io(struct svm_vcpu *svm, struct lodge_exit *e)
{
	u32 info = svm->vmcb->control.exit_info1;

	e->reason = EXIT_IO;
	e->u.io.port = info >> 16;
	e->u.io.in = info & SVM_IOIO_IN;
	e->u.io.string = info & SVM_IOIO_STRING;
	e->u.io.rep = info & SVM_IOIO_REP;
	e->u.io.size = (info & SVM_IOIO_SIZE) >> SVM_IOIO_SIZE_SHIFT;
	e->u.io.addr_size = 2 * (info >> SVM_IOIO_ADDR_SHIFT & 7);
	e->u.io.seg = info >> SVM_IOIO_SEG_SHIFT & 7;
	e->u.io.next_rip = svm->vmcb->control.exit_info2;
}

static void svm_decode_npf(struct svm_vcpu *svm, struct lodge_exit *e)
{
	u64 info = svm->vmcb->control.exit_info1;

	e->reason = EXIT_STAGE2;
	e->u.s2.gpa = svm->vmcb->control.exit_info2;
	e->u.s2.has_gva = false;
	e->u.s2.write = info & SVM_NPF_WRITE;
	e->u.s2.fetch = info & SVM_NPF_FETCH;
	e->u.s2.read = !e->u.s2.write && !e->u.s2.fetch;
	e->u.s2.present = info & SVM_NPF_PRESENT;
	e->u.s2.in_walk = info & SVM_NPF_WALK;
}

static void svm_decode_task(struct svm_vcpu *svm, struct lodge_exit *e)
{
	u64 how = svm->vmcb->control.exit_info2, event = svm->vmcb->control.exit_int_info;

	e->reason = EXIT_TASK_SWITCH;
	e->u.task.selector = svm->vmcb->control.exit_info1;
	e->u.task.has_error = how & SVM_TASK_HAS_ERROR;
	e->u.task.error = how;
	e->u.task.idt_vector = -1;
	e->u.task.soft = false;
	if (how & SVM_TASK_IRET) {
		e->u.task.kind = 1;
	} else if (how & SVM_TASK_JMP) {
		e->u.task.kind = 2;
	} else if (event & SVM_EVENT_VALID) {
		e->u.task.kind = 3;
		e->u.task.idt_vector = event & SVM_EVENT_VECTOR;
		e->u.task.soft = (event & SVM_EVENT_TYPE) == SVM_EVENT_SOFT ||
				 ((event & SVM_EVENT_TYPE) == SVM_EVENT_EXCEPTION &&
				  (e->u.task.idt_vector == 3 || e->u.task.idt_vector == 4));
		/* The switch delivers the event: it must not be delivered again. */
		svm->x86.exception.injected = false;
		svm->x86.irq.injected = false;
		if (svm->x86.nmi_injected)
			svm_set_nmi_mask(&svm->x86, true);
		svm->x86.nmi_injected = false;
	} else {
		e->u.task.kind = 0;
	}
}

/* An intercepted exception. */
static void svm_decode_exception(struct svm_vcpu *svm, struct lodge_exit *e, u8 vector)
{
	if (vector == 18) {
		/* The machine check is the host's, and the intercept keeps the CPU from telling it. */
		asm volatile("int $18" : : : "memory");
		e->reason = EXIT_INTERRUPT;
		return;
	}
	if (vector == 1 && svm_db_was_ours(svm)) {
		e->reason = EXIT_NMI_WINDOW;
		return;
	}
	e->reason = EXIT_EXCEPTION;
	e->u.exc.vector = vector;
	e->u.exc.has_error = vector == 17;
	e->u.exc.error = svm->vmcb->control.exit_info1;
	/* #DB: DR6 is written before the intercept, APM 2 §15.12.2. */
	e->u.exc.payload = vector == 1 ? svm->vmcb->save.dr6 : svm->vmcb->control.exit_info2;
}

static void svm_decode_register(struct svm_vcpu *svm, struct lodge_exit *e, u32 code)
{
	e->reason = code < SVM_EXIT_CR_WRITE ? EXIT_CR_READ : code < SVM_EXIT_DR_READ ? EXIT_CR_WRITE :
		    code < SVM_EXIT_DR_WRITE ? EXIT_DR_READ : EXIT_DR_WRITE;
	e->u.reg.nr = code & 15;
	e->u.reg.has_reg = false;
}

void svm_decode_exit(struct svm_vcpu *svm, struct lodge_exit *e)
{
	u64 code = svm->vmcb->control.exit_code;

	e->insn_len = 0;
	if (code == SVM_EXIT_IOIO) {
		svm_decode_io(svm, e);
	} else if (code == SVM_EXIT_NPF) {
		svm_decode_npf(svm, e);
	} else if (code == SVM_EXIT_MSR) {
		bool write = svm->vmcb->control.exit_info1;

		e->reason = write ? EXIT_MSR_WRITE : EXIT_MSR_READ;
		e->insn_len = svm_len(svm, 2, write ? 0x300f : 0x320f);
	} else if (code < ARRAY_SIZE(svm_plain) && svm_plain[code].reason) {
		e->reason = svm_plain[code].reason;
		if (svm_plain[code].len)
			e->insn_len = svm_len(svm, svm_plain[code].len, svm_plain[code].bytes);
	} else if (code == SVM_EXIT_VINTR) {
		svm_irq_window_close(svm);
		e->reason = EXIT_IRQ_WINDOW;
	} else if (code == SVM_EXIT_IRET) {
		svm_iret_seen(svm);
		e->reason = EXIT_NMI_WINDOW;
	} else if (code < SVM_EXIT_EXCEPTION) {
		svm_decode_register(svm, e, code);
	} else if (code < SVM_EXIT_EXCEPTION + 32) {
		svm_decode_exception(svm, e, code - SVM_EXIT_EXCEPTION);
	} else if (code == SVM_EXIT_TASK_SWITCH) {
		svm_decode_task(svm, e);
	} else {
		e->reason = EXIT_UNKNOWN;
		e->u.hw_reason = code;
		if (!svm_refused(svm))
			return;
		/*
		 * Hardware leaves the VMCB alone then; QEMU's emulator stores registers that it had not loaded: without
		 * V_INTR_MASKING the next entry's guest would decide about the host's interrupts.
		 */
		e->reason = EXIT_ENTRY_FAIL;
		svm->vmcb->control.int_ctl |= SVM_V_INTR_MASKING;
		svm->x86.dirty = VCPU_DIRTY_ALL;
	}
}
