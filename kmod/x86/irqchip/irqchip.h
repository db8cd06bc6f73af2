/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A VM's interrupt controllers as one: which model it has, and where PIC, IOAPIC and PIT hang.
 *
 * Full: PIC, IOAPIC and LAPICs in the kernel (PIT on request).  Split: LAPICs here, the rest in the VMM.  None: all there.
 */
#ifndef LODGE_X86_IRQCHIP_IRQCHIP_H
#define LODGE_X86_IRQCHIP_IRQCHIP_H

#include <linux/kvm.h>
#include <linux/mutex.h>
#include <linux/types.h>

struct ioapic;
struct lapic_map;
struct lodge_vcpu;
struct lodge_vm;
struct pic;
struct pit;

enum irqchip_mode { IRQCHIP_NONE, IRQCHIP_SPLIT, IRQCHIP_FULL };

struct irqchip {
	enum irqchip_mode mode;		/* [L], smp_store_release once */
	struct pic *pic;		/* full */
	struct ioapic *ioapic;		/* full */
	struct pit *pit;		/* KVM_CREATE_PIT* */
	u8 split_pins;			/* split: IOAPIC pins reserved by KVM_CAP_SPLIT_IRQCHIP */
	bool x2apic_32bit;		/* KVM_X2APIC_API_USE_32BIT_IDS */
	bool x2apic_no_broadcast;	/* KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK */
	bool lint0_masked;		/* KVM_X86_QUIRK_LINT0_REENABLED is off: LINT0 comes out of reset as the manual says */
	bool mmio_hole_filled;		/* KVM_X86_QUIRK_LAPIC_MMIO_HOLE is off: in x2APIC mode its page belongs to others */
	struct lapic_map __rcu *map;
	struct mutex map_lock;
};

int irqchip_init(struct lodge_vm *vm);
void irqchip_destroy(struct lodge_vm *vm);		/* accepts half-built; before the vCPUs go: timers, devices */
void irqchip_free(struct lodge_vm *vm);			/* after the vCPUs went */
int irqchip_create_full(struct lodge_vm *vm);		/* KVM_CREATE_IRQCHIP; [L]; -EEXIST, -EINVAL after vCPUs */
int irqchip_create_split(struct lodge_vm *vm, u32 pins);	/* KVM_CAP_SPLIT_IRQCHIP; [L] */
int irqchip_create_pit(struct lodge_vm *vm, const struct kvm_pit_config *c);	/* [L]; -EEXIST, -ENOMEM */

/* The PIC wants INTR: vector for the vCPU to take, or -1.  Only the boot CPU's LINT0 is wired. */
bool irqchip_pic_pending(struct lodge_vcpu *vcpu);
int irqchip_pic_take(struct lodge_vcpu *vcpu);		/* INTA cycle: the vector */

/* KVM_GET/SET_IRQCHIP, KVM_GET/SET_PIT(2), KVM_REINJECT_CONTROL: 0, -ENXIO without the device, -EINVAL. */
int irqchip_get(struct lodge_vm *vm, struct kvm_irqchip *chip);
int irqchip_set(struct lodge_vm *vm, const struct kvm_irqchip *chip);
int irqchip_get_pit2(struct lodge_vm *vm, struct kvm_pit_state2 *s);
int irqchip_set_pit2(struct lodge_vm *vm, const struct kvm_pit_state2 *s);
int irqchip_reinject(struct lodge_vm *vm, const struct kvm_reinject_control *c);

/* The EOI of @vector reached the IOAPIC (broadcast of a level-triggered interrupt's EOI). */
void irqchip_eoi(struct lodge_vcpu *vcpu, u8 vector);
/* Build @vcpu's set of vectors whose EOI leaves the LAPIC; on its thread, after LODGE_REQ_SCAN_IOAPIC. */
void irqchip_scan(struct lodge_vcpu *vcpu);

#endif
