/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * CPUID: what the hardware and we can offer, and what a vCPU was told.
 */
#ifndef LODGE_X86_CPUID_H
#define LODGE_X86_CPUID_H

#include <linux/kvm.h>
#include <linux/types.h>

struct x86_vcpu;

int cpuid_init_vcpu(struct x86_vcpu *vcpu);
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
/* The guest was told that its processor is AMD's or Hygon's. */
bool cpuid_is_amd(struct x86_vcpu *vcpu);
/* Has the VMM said anything about CPUID? */
bool cpuid_given(struct x86_vcpu *vcpu);
/* May the guest use paravirtual feature @bit (KVM_FEATURE_*)?  Always yes unless KVM_CAP_ENFORCE_PV_FEATURE_CPUID. */
bool cpuid_pv_allowed(struct x86_vcpu *vcpu, int bit);
void cpuid_enforce_pv(struct x86_vcpu *vcpu, bool on);

/* ---- ioctls; user pointers come raw ---- */
long cpuid_ioctl_get_supported(void *obj, void *arg);	/* KVM_GET_SUPPORTED_CPUID, system */
long cpuid_ioctl_get_emulated(void *obj, void *arg);	/* KVM_GET_EMULATED_CPUID, system */
long cpuid_ioctl_set(void *obj, void *arg);		/* KVM_SET_CPUID, vCPU */
long cpuid_ioctl_set2(void *obj, void *arg);		/* KVM_SET_CPUID2, vCPU */
long cpuid_ioctl_get2(void *obj, void *arg);		/* KVM_GET_CPUID2, vCPU */

/* ---- what this host can give a guest (cpuid_host.c) ---- */
struct cpuid_host {
	u32 word[CPUW_WORDS];		/* feature bits that we offer */
	u64 xcr0;			/* state components that a guest may enable */
	struct { u32 size, offset; bool align; } xcomp[63];
};
/* Computed at the first call; process context. */
const struct cpuid_host *cpuid_host(void);
/* Bytes of the XSAVE area for the components of @mask: SDM 1 §13.4. */
u32 cpuid_xsave_size(u64 mask, bool compacted);
/* Fill @e with at most @max entries of the supported table; the number, or -E2BIG. */
int cpuid_host_table(struct kvm_cpuid_entry2 *e, unsigned int max);

#endif
