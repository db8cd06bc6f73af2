/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Registers that software sets: control registers with their architectural checks, and the ioctls that read and write them.
 */
#ifndef LODGE_X86_REGS_H
#define LODGE_X86_REGS_H

#include <linux/types.h>

struct x86_vcpu;

/* As if the guest had executed MOV to CRn, XSETBV, WRMSR(EFER): 0, or 1 = #GP(0).  SDM 3A §2.5, APM 2 ch. 3. */
int vcpu_set_cr0(struct x86_vcpu *vcpu, u64 val);
int vcpu_set_cr3(struct x86_vcpu *vcpu, u64 val);
int vcpu_set_cr4(struct x86_vcpu *vcpu, u64 val);
int vcpu_set_cr8(struct x86_vcpu *vcpu, u64 val);
int vcpu_set_efer(struct x86_vcpu *vcpu, u64 val, bool host);
int vcpu_set_xcr0(struct x86_vcpu *vcpu, u64 val);
u64 vcpu_get_cr8(struct x86_vcpu *vcpu);

/*
 * Read PAE's four top entries from @cr3 for a back end that has them as registers (HW_PDPTES), as loading CR3 does: 0, or 1 = #GP:
 * reserved bits are set.  vm->srcu held, may sleep.  SDM 3A §4.4.1.
 */
int regs_read_pdptes(struct x86_vcpu *vcpu, u64 cr3);

/* MOV DRn: 0, 1 = #GP, 2 = #UD.  DR4/5 aliases, CR4.DE, GD. */
int vcpu_get_dr(struct x86_vcpu *vcpu, int dr, u64 *val);
int vcpu_set_dr(struct x86_vcpu *vcpu, int dr, u64 val);

/* DR6 and DR7 with nothing set: reserved bits that read as one. */
#define DR6_FIXED_1	0xffff0ff0ull
#define DR7_FIXED_1	0x400ull

/* RFLAGS bits that a debugger has put there; the guest and KVM_GET_REGS do not see them. */
u64 vcpu_debug_flags(struct x86_vcpu *vcpu);

/* Would the guest's MOV be accepted, apart from what depends on the mode? */
bool regs_cr0_valid(u64 cr0);
bool regs_cr4_valid(struct x86_vcpu *vcpu, u64 cr4);

/* vCPU ioctls; obj is the struct lodge_vcpu. */
long regs_ioctl_get(void *obj, void *arg);		/* struct kvm_regs * */
long regs_ioctl_set(void *obj, void *arg);
long sregs_ioctl_get(void *obj, void *arg);		/* struct kvm_sregs *; x86/sregs.c */
long sregs_ioctl_set(void *obj, void *arg);
long sregs_ioctl_get2(void *obj, void *arg);		/* struct kvm_sregs2 * */
long sregs_ioctl_set2(void *obj, void *arg);
long sregs_ioctl_translate(void *obj, void *arg);	/* struct kvm_translation * */

static inline bool vcpu_if_flag(const u64 rflags)
{
	return rflags & (1 << 9);
}

#endif
