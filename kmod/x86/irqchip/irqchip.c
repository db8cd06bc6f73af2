// SPDX-License-Identifier: GPL-2.0-only
/*
 * A VM's interrupt controllers, put together: creation, routing to pins, EOIs on their way back, and the ioctls' state.
 */
#include <linux/slab.h>
#include <linux/srcu.h>

#include "core/arch.h"
#include "core/irqroute.h"
#include "core/vcpu.h"
#include "core/vm.h"
#include "x86/irqchip/chips.h"
#include "x86/irqchip/irqchip.h"
#include "x86/irqchip/lapic.h"
#include "x86/irqchip/up.h"

int irqchip_init(struct lodge_vm *vm)
{
	mutex_init(&vm_irqchip(vm)->map_lock);
	return 0;
}

void irqchip_destroy(struct lodge_vm *vm)
{
	struct irqchip *chip = vm_irqchip(vm);

	pit_destroy(vm, chip->pit);
	chip->pit = NULL;
}

void irqchip_free(struct lodge_vm *vm)
{
	struct irqchip *chip = vm_irqchip(vm);

	ioapic_destroy(vm, chip->ioapic);
	pic_destroy(vm, chip->pic);
	chip->ioapic = NULL;
	chip->pic = NULL;
	kvfree(rcu_dereference_protected(chip->map, true));	/* nobody is left who could deliver */
	RCU_INIT_POINTER(chip->map, NULL);
}

int irqchip_create_full(struct lodge_vm *vm)
{
	struct irqchip *chip = vm_irqchip(vm);
	int err;

	lockdep_assert_held(&vm->lock);
	if (chip->mode != IRQCHIP_NONE)
		return -EEXIST;
	if (vm->created_vcpus)
		return -EINVAL;
	err = pic_create(vm, &chip->pic);
	if (err)
		return err;
	err = ioapic_create(vm, &chip->ioapic);
	if (err)
		goto fail;
	err = lodge_irq_routing_default(vm, true);
	if (err)
		goto fail;
	/* Last, for nothing can take it back: who sees the mode uses the chips. */
	smp_store_release(&chip->mode, IRQCHIP_FULL);
	return 0;

fail:
	ioapic_destroy(vm, chip->ioapic);
	pic_destroy(vm, chip->pic);
	chip->ioapic = NULL;
	chip->pic = NULL;
	return err;
}

int irqchip_create_split(struct lodge_vm *vm, u32 pins)
{
	struct irqchip *chip = vm_irqchip(vm);
	int err;

	lockdep_assert_held(&vm->lock);
	if (chip->mode != IRQCHIP_NONE)
		return -EEXIST;
	if (vm->created_vcpus || pins > LODGE_IRQCHIP_PINS)
		return -EINVAL;
	err = lodge_irq_routing_default(vm, false);
	if (err)
		return err;
	chip->split_pins = pins;
	smp_store_release(&chip->mode, IRQCHIP_SPLIT);	/* split_pins before the mode */
	return 0;
}

int irqchip_create_pit(struct lodge_vm *vm, const struct kvm_pit_config *c)
{
	struct irqchip *chip = vm_irqchip(vm);

	lockdep_assert_held(&vm->lock);
	if (chip->pit)
		return -EEXIST;
	/* kvmtool makes the PIT before the chips; until they are there, its interrupt has no route. */
	return pit_create(vm, c->flags, &chip->pit);
}

bool lodge_arch_irqchip_in_kernel(struct lodge_vm *vm)
{
	/* Pairs with the release in irqchip_create_*: who sees the mode sees the chips. */
	return smp_load_acquire(&vm_irqchip(vm)->mode) != IRQCHIP_NONE;
}

static int pic_route_set(struct lodge_vm *vm, const struct lodge_irq_route *e, int source, int level)
{
	return pic_set(vm_irqchip(vm)->pic, e->irqchip.pin, source, level);
}

static int ioapic_route_set(struct lodge_vm *vm, const struct lodge_irq_route *e, int source, int level)
{
	return ioapic_set(vm_irqchip(vm)->ioapic, e->irqchip.pin, source, level);
}

int lodge_arch_route_set(struct lodge_vm *vm, struct lodge_irq_route *e, const struct kvm_irq_routing_entry *ue)
{
	struct irqchip *chip = vm_irqchip(vm);
	u32 pin = ue->u.irqchip.pin;

	if (ue->type == KVM_IRQ_ROUTING_MSI)
		return msi_route_check(vm, e, ue);
	if (ue->type != KVM_IRQ_ROUTING_IRQCHIP || !chip->ioapic)
		return -EINVAL;
	e->irqchip.chip = ue->u.irqchip.irqchip;
	switch (ue->u.irqchip.irqchip) {
	case KVM_IRQCHIP_PIC_SLAVE:
		e->set = pic_route_set;
		e->irqchip.pin = pin + 8;
		return pin < 8 ? 0 : -EINVAL;
	case KVM_IRQCHIP_PIC_MASTER:
		e->set = pic_route_set;
		e->irqchip.pin = pin;
		return pin < 8 ? 0 : -EINVAL;
	case KVM_IRQCHIP_IOAPIC:
		e->set = ioapic_route_set;
		e->irqchip.pin = pin;
		return pin < KVM_IOAPIC_NUM_PINS ? 0 : -EINVAL;
	}
	return -EINVAL;
}

void lodge_arch_routes_changed(struct lodge_vm *vm)
{
	vm_request_ioapic_scan(vm);
}

bool irqchip_pic_pending(struct lodge_vcpu *vcpu)
{
	struct irqchip *chip = vm_irqchip(vcpu->vm);

	return chip->pic && pic_pending(chip->pic) && lapic_accepts_extint(vcpu_lapic(vcpu));
}

int irqchip_pic_take(struct lodge_vcpu *vcpu)
{
	return pic_take(vm_irqchip(vcpu->vm)->pic);
}

void irqchip_eoi(struct lodge_vcpu *vcpu, u8 vector)
{
	struct irqchip *chip = vm_irqchip(vcpu->vm);

	if (chip->mode == IRQCHIP_FULL)
		ioapic_eoi(chip->ioapic, vector);
	else if (test_bit(vector, vcpu_lapic(vcpu)->eoi_exit))
		vcpu_ioapic_eoi_exit(vcpu, vector);
}

void irqchip_scan(struct lodge_vcpu *vcpu)
{
	struct irqchip *chip = vm_irqchip(vcpu->vm);
	struct lapic *l = vcpu_lapic(vcpu);
	DECLARE_BITMAP(vectors, 256) = {};
	struct lodge_irq_table *table;
	u32 i, end;
	int idx;

	if (!l)
		return;
	if (chip->mode == IRQCHIP_FULL) {
		ioapic_scan(chip->ioapic, l, vectors);
	} else {
		idx = srcu_read_lock(&vcpu->vm->irq_srcu);
		table = srcu_dereference(vcpu->vm->irq_table, &vcpu->vm->irq_srcu);
		end = table ? table->first[min_t(u32, chip->split_pins, table->nr_gsi)] : 0;
		for (i = 0; i < end; i++)
			if (msi_route_wants_eoi(l, &table->route[i]))
				__set_bit(table->route[i].msi.data & 0xff, vectors);
		srcu_read_unlock(&vcpu->vm->irq_srcu, idx);
	}
	bitmap_copy(l->eoi_exit, vectors, 256);
}

int irqchip_get(struct lodge_vm *vm, struct kvm_irqchip *chip)
{
	struct irqchip *c = vm_irqchip(vm);

	if (c->mode != IRQCHIP_FULL)
		return -ENXIO;
	memset(&chip->chip, 0, sizeof(chip->chip));
	switch (chip->chip_id) {
	case KVM_IRQCHIP_PIC_MASTER:
	case KVM_IRQCHIP_PIC_SLAVE:
		pic_get_state(c->pic, chip->chip_id == KVM_IRQCHIP_PIC_SLAVE, &chip->chip.pic);
		return 0;
	case KVM_IRQCHIP_IOAPIC:
		ioapic_get_state(c->ioapic, &chip->chip.ioapic);
		return 0;
	}
	return -EINVAL;
}

int irqchip_set(struct lodge_vm *vm, const struct kvm_irqchip *chip)
{
	struct irqchip *c = vm_irqchip(vm);

	if (c->mode != IRQCHIP_FULL)
		return -ENXIO;
	switch (chip->chip_id) {
	case KVM_IRQCHIP_PIC_MASTER:
	case KVM_IRQCHIP_PIC_SLAVE:
		pic_set_state(c->pic, chip->chip_id == KVM_IRQCHIP_PIC_SLAVE, &chip->chip.pic);
		return 0;
	case KVM_IRQCHIP_IOAPIC:
		ioapic_set_state(c->ioapic, &chip->chip.ioapic);
		return 0;
	}
	return -EINVAL;
}

int irqchip_get_pit2(struct lodge_vm *vm, struct kvm_pit_state2 *s)
{
	struct irqchip *c = vm_irqchip(vm);

	if (!c->pit)
		return -ENXIO;
	pit_get_state(c->pit, s);
	return 0;
}

int irqchip_set_pit2(struct lodge_vm *vm, const struct kvm_pit_state2 *s)
{
	struct irqchip *c = vm_irqchip(vm);

	return c->pit ? pit_set_state(c->pit, s) : -ENXIO;
}

int irqchip_reinject(struct lodge_vm *vm, const struct kvm_reinject_control *c)
{
	struct irqchip *chip = vm_irqchip(vm);

	if (!chip->pit)
		return -ENXIO;
	pit_set_reinject(chip->pit, c->pit_reinject);
	return 0;
}
