// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_GET/SET_MP_STATE: running, halted, or waiting to be started.
 */
#include <linux/kvm.h>

#include "x86/mp_state.h"
#include "x86/run.h"
#include "x86/vcpu.h"

long mp_state_ioctl_get(void *obj, void *arg)
{
	struct x86_vcpu *vcpu = to_x86(obj);

	run_accept_init(vcpu);
	((struct kvm_mp_state *)arg)->mp_state = vcpu->mp_state;
	/* Kicked but not yet run: what must survive a migration is that it goes on. */
	if (vcpu->mp_state == KVM_MP_STATE_HALTED && READ_ONCE(vcpu->pv_unhalted))
		((struct kvm_mp_state *)arg)->mp_state = KVM_MP_STATE_RUNNABLE;
	return 0;
}

long mp_state_ioctl_set(void *obj, void *arg)
{
	struct x86_vcpu *vcpu = to_x86(obj);
	u32 state = ((const struct kvm_mp_state *)arg)->mp_state;

	switch (state) {
	case KVM_MP_STATE_RUNNABLE:
		break;
	case KVM_MP_STATE_UNINITIALIZED:
	case KVM_MP_STATE_INIT_RECEIVED:
	case KVM_MP_STATE_HALTED:
		if (!vcpu->lapic)		/* whose model is in user space */
			return -EINVAL;
		break;
	case KVM_MP_STATE_SIPI_RECEIVED:
		if (!vcpu->lapic)
			return -EINVAL;
		state = KVM_MP_STATE_INIT_RECEIVED;
		set_bit(LAPIC_SIPI, &vcpu->lapic->init_sipi);
		break;
	default:
		return -EINVAL;
	}
	vcpu->mp_state = state;
	lodge_request(&vcpu->core, LODGE_REQ_EVENT);
	return 0;
}
