/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The emulator at work on a vCPU: fetches, executes, completes device accesses through the VMM.
 */
#ifndef LODGE_X86_EMULATE_H
#define LODGE_X86_EMULATE_H

#include <linux/types.h>

struct x86_vcpu;

int emulate_init(struct x86_vcpu *vcpu);
void emulate_destroy(struct x86_vcpu *vcpu);

/* Emulate the instruction at RIP.  1 = go on, 0 = user-space exit (MMIO, PIO, INTERNAL_ERROR), -errno. */
int emulate_insn(struct x86_vcpu *vcpu);

/*
 * A hardware task switch, @kind as enum emul_task_reason; @skip: the RIP to save is that of the next instruction.  Same answers.
 */
int emulate_task_switch(struct x86_vcpu *vcpu, u16 selector, u8 kind, bool skip, bool has_error, u32 error);

/* A plain IN/OUT that the hardware decoded (no string): same answers. */
int emulate_pio(struct x86_vcpu *vcpu, u16 port, int size, bool in, u64 next_rip);

/* Step over the instruction at RIP whose length is @len, or 0: find it out.  1, or as emulate_insn when it faults. */
int vcpu_skip(struct x86_vcpu *vcpu, u8 len);

#endif
