/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * MSRs: one table of {msr, get, set}; guest accesses, KVM_GET/SET_MSRS, index lists and filters all go through it.
 */
#ifndef LODGE_X86_MSR_H
#define LODGE_X86_MSR_H

#include <linux/types.h>

struct x86_vcpu;

int msr_init_vcpu(struct x86_vcpu *vcpu);
void msr_destroy_vcpu(struct x86_vcpu *vcpu);
void msr_reset_vcpu(struct x86_vcpu *vcpu, bool init);

/* 0, or 1 = #GP.  @host: from an ioctl, wider rights.  May sleep unless the MSR is one of the run-loop short cuts. */
int msr_read(struct x86_vcpu *vcpu, u32 msr, u64 *val, bool host);
int msr_write(struct x86_vcpu *vcpu, u32 msr, u64 val, bool host);

/* The guest's RDMSR/WRMSR exits, with filters and user-space MSR exits: as exit_handle. */
int msr_exit_read(struct x86_vcpu *vcpu, u8 insn_len);
int msr_exit_write(struct x86_vcpu *vcpu, u8 insn_len);

#endif
