// SPDX-License-Identifier: GPL-2.0-only
/*
 * Debug registers: MOV DRn as the guest executes it, KVM_GET/SET_DEBUGREGS, and the debugger outside (KVM_SET_GUEST_DEBUG).
 *
 * Guest accesses to debug registers always exit, so dr[], dr6 and dr7 here are the truth but for what a #DB in the guest adds
 * to DR6.  A debugger's breakpoints take the hardware over; the guest then reads back what it wrote, and its own do not hit.
 */
#include <linux/kvm.h>
#include <asm/processor-flags.h>

#include "x86/debugreg.h"
#include "x86/emulate.h"
#include "x86/fetch.h"
#include "x86/inject.h"
#include "x86/regs.h"
#include "x86/vcpu.h"

#define DR6_KEPT	0x0000e00full	/* B0-B3, BD, BS, BT */
#define DR7_KEPT	0xffff2bffull	/* reserved: 10 (one), 12, 14, 15; 11 is RTM */

int vcpu_get_dr(struct x86_vcpu *vcpu, int dr, u64 *val)
{
	x86_ops->get_dr(vcpu);
	switch (dr) {
	case 0 ... 3:
		*val = vcpu->dr[dr];
		return 0;
	case 4:
	case 5:
		if (vcpu->cr4 & X86_CR4_DE)
			return 2;
		*val = dr == 4 ? vcpu->dr6 : vcpu->dr7;
		return 0;
	case 6:
		*val = vcpu->dr6;
		return 0;
	case 7:
		*val = vcpu->dr7;
		return 0;
	default:
		return 2;
	}
}

int vcpu_set_dr(struct x86_vcpu *vcpu, int dr, u64 val)
{
	x86_ops->get_dr(vcpu);
	switch (dr) {
	case 0 ... 3:
		vcpu->dr[dr] = val;
		return 0;
	case 4:
	case 5:
		if (vcpu->cr4 & X86_CR4_DE)
			return 2;
		dr += 2;
		break;
	case 6:
	case 7:
		break;
	default:
		return 2;
	}
	if (val >> 32)
		return 1;
	if (dr == 6)
		vcpu->dr6 = (val & DR6_KEPT) | DR6_FIXED_1;
	else
		vcpu->dr7 = (val & DR7_KEPT & ~0x800ull) | DR7_FIXED_1;
	x86_ops->set_dr(vcpu);
	return 0;
}

/* TF and RF that a debugger has put into RFLAGS: the guest and KVM_GET_REGS do not see them. */
u64 vcpu_debug_flags(struct x86_vcpu *vcpu)
{
	return vcpu->debug_control & KVM_GUESTDBG_SINGLESTEP ? X86_EFLAGS_TF : 0;
}

/* ---- ioctls ---- */

long debugreg_ioctl_get(void *obj, void *arg)
{
	struct x86_vcpu *vcpu = to_x86(obj);
	struct kvm_debugregs *k = arg;

	memset(k, 0, sizeof(*k));
	x86_ops->get_dr(vcpu);
	memcpy(k->db, vcpu->dr, sizeof(k->db));
	k->dr6 = vcpu->dr6;
	k->dr7 = vcpu->dr7;
	return 0;
}

long debugreg_ioctl_set(void *obj, void *arg)
{
	struct x86_vcpu *vcpu = to_x86(obj);
	const struct kvm_debugregs *k = arg;

	if (k->flags || k->dr6 >> 32 || k->dr7 >> 32)
		return -EINVAL;
	memcpy(vcpu->dr, k->db, sizeof(vcpu->dr));
	vcpu->dr6 = (k->dr6 & DR6_KEPT) | DR6_FIXED_1;
	vcpu->dr7 = (k->dr7 & DR7_KEPT & ~0x800ull) | DR7_FIXED_1;
	x86_ops->set_dr(vcpu);
	return 0;
}

long debugreg_ioctl_guest_debug(void *obj, void *arg)
{
	struct x86_vcpu *vcpu = to_x86(obj);
	const struct kvm_guest_debug *d = arg;
	const u32 known = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_USE_SW_BP | KVM_GUESTDBG_USE_HW_BP |
			  KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP | KVM_GUESTDBG_BLOCKIRQ;
	u64 flags = vcpu->rflags & ~vcpu_debug_flags(vcpu);
	u32 control = d->control;

	if (control & ~known)
		return -EINVAL;
	if (control & (KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP)) {
		if (vcpu->exception.pending)
			return -EBUSY;
		if (control & KVM_GUESTDBG_INJECT_DB) {
			inject_exception(vcpu, 1);
		} else {
			/* INT3 is a trap: what goes onto the stack is the next instruction's address. */
			vcpu->rip++;
			inject_exception(vcpu, 3);
		}
	}
	x86_ops->get_dr(vcpu);
	vcpu->debug_control = control & KVM_GUESTDBG_ENABLE ?
			      control & ~(KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP) : 0;
	if (vcpu->debug_control & KVM_GUESTDBG_USE_HW_BP) {
		memcpy(vcpu->debug_dr, d->arch.debugreg, sizeof(vcpu->debug_dr));
		vcpu->debug_dr7 = (d->arch.debugreg[7] & DR7_KEPT & ~0x2800ull) | DR7_FIXED_1;
	}
	vcpu->singlestep_rip = fetch_linear_rip(vcpu);
	vcpu->rflags = flags | vcpu_debug_flags(vcpu);
	x86_ops->set_dr(vcpu);
	return 0;
}
