/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The neutral exit: what a back end makes of a hardware exit, and who answers it.
 *
 * A back end's run() fills struct lodge_exit completely; nothing above looks at a VMCB or VMCS.  insn_len is 0 where the
 * hardware does not tell the length: vcpu_skip() then decodes the instruction.
 */
#ifndef LODGE_X86_EXIT_H
#define LODGE_X86_EXIT_H

#include <linux/types.h>

struct x86_vcpu;

enum lodge_exit_reason {
	EXIT_REENTER,		/* the back end dealt with it: enter again */
	EXIT_INTERRUPT,		/* a host interrupt: nothing to do */
	EXIT_NMI,		/* a host NMI: handled by the back end */
	EXIT_IRQ_WINDOW,
	EXIT_NMI_WINDOW,	/* the guest's IRET, or the window itself */
	EXIT_EXCEPTION,		/* u.exc */
	EXIT_CPUID,
	EXIT_HLT,
	EXIT_PAUSE,
	EXIT_INVLPG,		/* u.gva if has_gva, else decode */
	EXIT_RDTSC,
	EXIT_RDTSCP,
	EXIT_RDPMC,
	EXIT_MONITOR,
	EXIT_MWAIT,
	EXIT_WBINVD,
	EXIT_INVD,
	EXIT_XSETBV,
	EXIT_HYPERCALL,		/* VMMCALL or VMCALL */
	EXIT_IO,		/* u.io */
	EXIT_MSR_READ,
	EXIT_MSR_WRITE,
	EXIT_CR_READ,		/* u.reg: decode if !has_reg */
	EXIT_CR_WRITE,
	EXIT_DR_READ,
	EXIT_DR_WRITE,
	EXIT_TASK_SWITCH,	/* u.task */
	EXIT_STAGE2,		/* u.s2 */
	EXIT_TRIPLE_FAULT,
	EXIT_FORBIDDEN,		/* an instruction the guest does not have (SVM, VMX, ...): #UD */
	EXIT_ENTRY_FAIL,	/* u.hw_reason: KVM_EXIT_FAIL_ENTRY */
	EXIT_INIT,
	EXIT_SMI,
	EXIT_UNKNOWN,		/* u.hw_reason: KVM_EXIT_INTERNAL_ERROR */
	EXIT_REASONS
};

struct lodge_exit {
	u8 reason;		/* enum lodge_exit_reason */
	u8 insn_len;		/* 0 = unknown */
	union {
		struct { u8 vector; bool has_error; u32 error; u64 payload; } exc;	/* payload: CR2 or DR6 */
		struct { u16 port; u8 size; bool in, string, rep; u8 seg; u8 addr_size; u64 next_rip; } io;
		struct { u64 gpa; u64 gva; bool has_gva, read, write, fetch, present; bool in_walk; } s2;
		struct { u8 nr; u8 gpr; bool has_reg; } reg;
		struct { u64 gva; bool has_gva; } inv;
		struct { u16 selector; u8 kind; bool has_error, soft; u32 error; int idt_vector; } task;
		u64 hw_reason;
	} u;
};

/*
 * Answer @e for @vcpu.  1 = enter the guest again, 0 = kvm_run is filled: go to user space, -errno.
 * vm->srcu held, interrupts and preemption on, loaded.
 */
int exit_handle(struct x86_vcpu *vcpu, const struct lodge_exit *e);

/*
 * exit_handle() answered 0.  If an instruction could not be emulated, kvm_run also gets the exit that wanted it to be, and the
 * address if there is one, behind the flags and the instruction's bytes: for bug reports.
 */
void exit_tell(struct x86_vcpu *vcpu, const struct lodge_exit *e);

/* Raise @vector after all: the usual answers to a guest's mistake. 1. */
int exit_gp(struct x86_vcpu *vcpu);
int exit_ud(struct x86_vcpu *vcpu);

#endif
