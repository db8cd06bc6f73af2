/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * CPUID: what the hardware and we can offer, and what a vCPU was told.
 */
#ifndef LODGE_X86_CPUID_H
#define LODGE_X86_CPUID_H

#include <linux/kvm.h>
#include <linux/types.h>

struct x86_vcpu;

void cpuid_init_vcpu(struct x86_vcpu *vcpu);
void cpuid_destroy_vcpu(struct x86_vcpu *vcpu);
/* The guest executes CPUID: in eax, ecx, out all four; hot: a hashed or indexed look-up, no lock. */
void cpuid_query(struct x86_vcpu *vcpu, u32 *eax, u32 *ebx, u32 *ecx, u32 *edx);
/* Bits that follow the state: OSXSAVE, OSPKE, APIC, XSAVE size, MWAIT.  Called when one of them changed. */
void cpuid_update_runtime(struct x86_vcpu *vcpu);

/* A feature bit that the guest was told: word by leaf, e.g. cpuid_has(v, CPUW_1_ECX, 21). Cached; cheap. */
enum cpuid_word { CPUW_1_ECX, CPUW_1_EDX, CPUW_7_EBX, CPUW_7_ECX, CPUW_7_EDX, CPUW_D_1_EAX, CPUW_80000001_ECX,
		  CPUW_80000001_EDX, CPUW_80000007_EDX, CPUW_80000008_EBX, CPUW_KVM_EAX, CPUW_KVM_EDX, CPUW_WORDS };
bool cpuid_has(struct x86_vcpu *vcpu, enum cpuid_word w, int bit);
u8 cpuid_maxphyaddr(struct x86_vcpu *vcpu);

#endif
