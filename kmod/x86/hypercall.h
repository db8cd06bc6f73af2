/* SPDX-License-Identifier: GPL-2.0-only */
/* KVM hypercalls (Documentation/virt/kvm/x86/hypercalls.rst): number in RAX, arguments in RBX, RCX, RDX, RSI, answer in RAX. */
#ifndef LODGE_X86_HYPERCALL_H
#define LODGE_X86_HYPERCALL_H

struct x86_vcpu;

/* Answers and leaves the skipping of the instruction to the caller; 1, or 0 for a user-space exit. */
int hypercall(struct x86_vcpu *vcpu);

#endif
