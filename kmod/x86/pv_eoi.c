// SPDX-License-Identifier: GPL-2.0-only
/*
 * PV EOI: a bit in the guest's memory that says "this interrupt needs no EOI write"; the guest clears it instead of exiting
 * (MSR_KVM_PV_EOI_EN).  The LAPIC decides when the bit may be set; this is the memory side of it.
 */
#include <linux/kvm_para.h>

#include "x86/irqchip/up.h"
#include "x86/pv_eoi.h"
#include "x86/vcpu.h"

int pv_eoi_set_msr(struct x86_vcpu *vcpu, u64 val)
{
	u64 gpa = val & ~(u64)KVM_MSR_ENABLED;

	if (gpa & 3)
		return 1;
	if ((val & KVM_MSR_ENABLED) && lodge_guest_cache_init(vcpu->core.vm, &vcpu->pv_eoi_cache, gpa, 1))
		return 1;
	vcpu->pv_eoi_msr = val;
	vcpu->attention &= ~VCPU_ATTEND_PV_EOI;
	if (vcpu->lapic && (val & KVM_MSR_ENABLED))
		vcpu->attention |= VCPU_ATTEND_PV_EOI;
	return 0;
}

bool vcpu_pv_eoi_set(struct lodge_vcpu *vcpu)
{
	u8 val = KVM_PV_EOI_ENABLED;

	/* Without its page the guest simply writes the EOI. */
	return !lodge_guest_cache_write(vcpu->vm, &to_x86(vcpu)->pv_eoi_cache, 0, &val, sizeof(val));
}

bool vcpu_pv_eoi_take(struct lodge_vcpu *vcpu)
{
	struct lodge_guest_cache *c = &to_x86(vcpu)->pv_eoi_cache;
	u8 val;

	/* Not to be read: as if the guest had not cleared it, its EOI write will come. */
	if (lodge_guest_cache_read(vcpu->vm, c, 0, &val, sizeof(val)))
		return false;
	if (!(val & KVM_PV_EOI_ENABLED))
		return true;
	val = KVM_PV_EOI_DISABLED;
	lodge_guest_cache_write(vcpu->vm, c, 0, &val, sizeof(val));
	return false;
}
