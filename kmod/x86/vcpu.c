// SPDX-License-Identifier: GPL-2.0-only
/*
 * The life of an x86 vCPU, and its side of the seams: to core/ below, to the interrupt controllers beside.
 */
#include <linux/slab.h>
#include <asm/fpu/api.h>
#include <asm/processor-flags.h>

#include "core/arch.h"
#include "core/vcpu.h"
#include "x86/cpuid.h"
#include "x86/emulate.h"
#include "x86/inject.h"
#include "x86/irqchip/up.h"
#include "x86/msr.h"
#include "x86/regs.h"
#include "x86/run.h"
#include "x86/time.h"
#include "x86/vcpu.h"
#include "x86/xswitch.h"

const struct x86_ops *x86_ops;

/* ---- hardware ---- */

int lodge_arch_init(void)
{
	int r;

	xswitch_init();
	x86_ops = &vmx_ops;
	r = x86_ops->init();
	if (r == -ENODEV) {
		x86_ops = &svm_ops;
		r = x86_ops->init();
	}
	if (r)
		goto fail;
	r = apf_init_module();
	if (!r)
		return 0;
	x86_ops->exit();
fail:
	x86_ops = NULL;
	return r;
}

void lodge_arch_exit(void)
{
	if (x86_ops) {
		apf_exit_module();
		x86_ops->exit();
	}
	x86_ops = NULL;
}

int lodge_arch_hw_enable(void)
{
	return x86_ops->hw_enable();
}

void lodge_arch_hw_disable(void)
{
	x86_ops->hw_disable();
}

/* ---- life ---- */

struct lodge_vcpu *lodge_arch_vcpu_alloc(void)
{
	struct x86_vcpu *vcpu;

	BUILD_BUG_ON(offsetof(struct x86_vcpu, core) != 0);
	vcpu = kzalloc(x86_ops->vcpu_size, GFP_KERNEL_ACCOUNT);
	return vcpu ? &vcpu->core : NULL;
}

void lodge_arch_vcpu_free(struct lodge_vcpu *core)
{
	kfree(to_x86(core));
}

int lodge_arch_vcpu_precreate(struct lodge_vm *vm, u32 id)
{
	return 0;
}

int lodge_arch_vcpu_init(struct lodge_vcpu *core)
{
	struct x86_vcpu *vcpu = to_x86(core);
	struct x86_vm *vm = x86_vcpu_vm(vcpu);
	int r;

	apf_init_vcpu(vcpu);
	vcpu->exception_payload = vm->exception_payload;
	vcpu->dr6 = DR6_FIXED_1;
	vcpu->dr7 = DR7_FIXED_1;
	vcpu->mp_state = KVM_MP_STATE_RUNNABLE;
	if (vm->irqchip.mode != IRQCHIP_NONE && !vcpu_is_bsp(vcpu))
		vcpu->mp_state = KVM_MP_STATE_UNINITIALIZED;
	if (!fpu_alloc_guest_fpstate(&vcpu->fpu))
		return -ENOMEM;
	r = emulate_init(vcpu);
	if (r)
		return r;
	r = cpuid_init_vcpu(vcpu);
	if (r)
		return r;
	r = msr_init_vcpu(vcpu);
	if (r)
		return r;
	if (vm->irqchip.mode != IRQCHIP_NONE) {
		r = lapic_create(core, &vcpu->lapic);
		if (r)
			return r;
	}
	vcpu->apic_base_user = APIC_BASE_DEFAULT | 0x800 | (vcpu_is_bsp(vcpu) ? 0x100 : 0);
	r = x86_ops->vcpu_init(vcpu);
	if (r)
		return r;
	r = time_init_vcpu(vcpu);
	if (r)
		return r;
	/* State that the hardware keeps in a form of its own is written on the CPU that has it. */
	lodge_vcpu_load(core);
	r = core->loaded ? 0 : -EIO;
	if (!r)
		vcpu_reset(vcpu, false);
	lodge_vcpu_put(core);
	return r;
}

void lodge_arch_vcpu_postcreate(struct lodge_vcpu *core)
{
	/* It may be part of interrupt destinations from now on. */
	if (to_x86(core)->lapic)
		(void)lapic_map_update(core->vm);
}

void lodge_arch_vcpu_destroy(struct lodge_vcpu *core)
{
	struct x86_vcpu *vcpu = to_x86(core);

	apf_destroy_vcpu(vcpu);
	time_destroy_vcpu(vcpu);
	lapic_destroy(vcpu->lapic);
	vcpu->lapic = NULL;
	x86_ops->vcpu_destroy(vcpu);
	msr_destroy_vcpu(vcpu);
	cpuid_destroy_vcpu(vcpu);
	emulate_destroy(vcpu);
	if (vcpu->fpu.fpstate)
		fpu_free_guest_fpstate(&vcpu->fpu);
}

void lodge_arch_vcpu_load(struct lodge_vcpu *core, int cpu)
{
	struct x86_vcpu *vcpu = to_x86(core);

	x86_ops->load(vcpu, cpu);
	time_load(vcpu, cpu);
}

void lodge_arch_vcpu_put(struct lodge_vcpu *core)
{
	struct x86_vcpu *vcpu = to_x86(core);

	time_put(vcpu);
	x86_ops->put(vcpu);
}

/* ---- reset ---- */

void vcpu_reset(struct x86_vcpu *vcpu, bool init)
{
	u64 cache_bits = init ? vcpu->cr0 & (X86_CR0_CD | X86_CR0_NW) : X86_CR0_CD | X86_CR0_NW;
	u32 eax = 1, ebx, ecx = 0, edx;

	if (vcpu->lapic)
		lapic_reset(vcpu->lapic, init);
	vcpu->exception = (struct x86_exception){ 0 };
	vcpu->irq = (struct x86_irq){ 0 };
	vcpu->user_irq_pending = false;
	vcpu->nmi_injected = false;
	vcpu->nmi_pending = 0;
	atomic_set(&vcpu->nmi_queued, 0);
	WRITE_ONCE(vcpu->pv_unhalted, false);
	vcpu->pv_eoi_msr = 0;
	vcpu->attention = 0;

	cpuid_query(vcpu, &eax, &ebx, &ecx, &edx);
	memset(vcpu->regs, 0, sizeof(vcpu->regs));
	vcpu->regs[REG_RDX] = eax ?: 0x600;
	vcpu->rip = 0xfff0;
	vcpu->rflags = X86_EFLAGS_FIXED;
	vcpu->cr0 = X86_CR0_ET | cache_bits;
	vcpu->cr2 = 0;
	vcpu->cr3 = 0;
	vcpu->cr4 = 0;
	vcpu->cr8 = 0;
	vcpu->efer = 0;
	vcpu->dirty = VCPU_DIRTY_ALL & ~VCPU_DIRTY_PDPTES;
	memset(vcpu->dr, 0, sizeof(vcpu->dr));
	vcpu->dr6 = DR6_FIXED_1;
	vcpu->dr7 = DR7_FIXED_1;
	if (!init) {
		vcpu->xcr0 = 1;
		vcpu->ia32_xss = 0;
		vcpu->pkru = 0;
	}
	x86_ops->vcpu_reset(vcpu, init);
	x86_ops->set_dr(vcpu);
	msr_reset_vcpu(vcpu, init);
	apf_reset_vcpu(vcpu);
	cpuid_update_runtime(vcpu);
	lodge_request(&vcpu->core, LODGE_REQ_EVENT);
}

void vcpu_start_at(struct x86_vcpu *vcpu, u8 vector)
{
	struct kvm_segment cs;

	x86_ops->get_segment(vcpu, SEG_CS, &cs);
	cs.selector = vector << 8;
	cs.base = vector << 12;
	x86_ops->set_segment(vcpu, SEG_CS, &cs);
	vcpu->rip = 0;
}

/* ---- what may wake it ---- */

static bool vcpu_has_event(struct x86_vcpu *vcpu)
{
	if (vcpu->exception.pending || READ_ONCE(vcpu->pv_unhalted))
		return true;
	if ((vcpu->nmi_pending || atomic_read(&vcpu->nmi_queued)) && !x86_ops->nmi_blocked(vcpu))
		return true;
	if (test_bit(LODGE_REQ_TRIPLE_FAULT, &vcpu->core.requests))
		return true;
	return inject_irq_waiting(vcpu) && inject_irq_allowed(vcpu);
}

bool lodge_arch_vcpu_runnable(struct lodge_vcpu *core)
{
	struct x86_vcpu *vcpu = to_x86(core);

	if (vcpu->mp_state == KVM_MP_STATE_RUNNABLE || lodge_vm_dead(core->vm))
		return true;
	if (vcpu->lapic && READ_ONCE(vcpu->lapic->init_sipi))
		return true;
	return vcpu->mp_state == KVM_MP_STATE_HALTED && vcpu_has_event(vcpu);
}

/* ---- what the interrupt controllers ask ---- */

struct lapic *vcpu_lapic(struct lodge_vcpu *core)
{
	return to_x86(core)->lapic;
}

struct irqchip *vm_irqchip(struct lodge_vm *vm)
{
	return &to_x86_vm(vm)->irqchip;
}

void vcpu_post_nmi(struct lodge_vcpu *core)
{
	atomic_inc(&to_x86(core)->nmi_queued);
	lodge_request(core, LODGE_REQ_NMI);
	lodge_vcpu_kick(core);
}

void vcpu_post_event(struct lodge_vcpu *core)
{
	lodge_request(core, LODGE_REQ_EVENT);
	lodge_vcpu_kick(core);
}

void vcpu_note_event(struct lodge_vcpu *core)
{
	lodge_request(core, LODGE_REQ_EVENT);
}

void vcpu_ioapic_eoi_exit(struct lodge_vcpu *core, u8 vector)
{
	to_x86(core)->ioapic_eoi_vector = vector;
	lodge_request(core, LODGE_REQ_IOAPIC_EOI);
}

bool vcpu_is_boot(struct lodge_vcpu *core)
{
	return vcpu_is_bsp(to_x86(core));
}

void vm_request_ioapic_scan(struct lodge_vm *vm)
{
	lodge_request_all(vm, LODGE_REQ_SCAN_IOAPIC, false);
}
