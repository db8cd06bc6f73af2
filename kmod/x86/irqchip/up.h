/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the interrupt controllers ask of the vCPU code above them (x86/ defines these).
 */
#ifndef LODGE_X86_IRQCHIP_UP_H
#define LODGE_X86_IRQCHIP_UP_H

#include <linux/types.h>

struct irqchip;
struct lapic;
struct lodge_vcpu;
struct lodge_vm;

struct lapic *vcpu_lapic(struct lodge_vcpu *vcpu);	/* NULL without in-kernel LAPICs */
struct irqchip *vm_irqchip(struct lodge_vm *vm);	/* always there; its mode may be none */

/* Any context.  Queue an NMI; ask for event evaluation and kick. */
void vcpu_post_nmi(struct lodge_vcpu *vcpu);
/* Any context.  Something changed in what the LAPIC or the PIC wants delivered: evaluate before the next entry, and kick. */
void vcpu_post_event(struct lodge_vcpu *vcpu);
/* On the vCPU's own thread: evaluate before the next entry, no kick. */
void vcpu_note_event(struct lodge_vcpu *vcpu);

/* The VM starts on this vCPU (KVM_SET_BOOT_CPU_ID). */
bool vcpu_is_boot(struct lodge_vcpu *vcpu);

/* The guest's TSC now (or at host TSC @host), and its rate in kHz. */
u64 vcpu_guest_tsc(struct lodge_vcpu *vcpu, u64 host);
u32 vcpu_guest_tsc_khz(struct lodge_vcpu *vcpu);

/* The guest's CPUID says so: x2APIC, TSC-deadline timer, physical address bits (for the APIC base). */
bool vcpu_has_x2apic(struct lodge_vcpu *vcpu);
bool vcpu_has_tsc_deadline(struct lodge_vcpu *vcpu);
u8 vcpu_maxphyaddr(struct lodge_vcpu *vcpu);
/* The APIC base's enable bit or x2APIC mode changed: CPUID bits follow. */
void vcpu_apic_base_changed(struct lodge_vcpu *vcpu);

/* User space wants EOIs of this IOAPIC vector (split irqchip): exit with KVM_EXIT_IOAPIC_EOI. */
void vcpu_ioapic_eoi_exit(struct lodge_vcpu *vcpu, u8 vector);

/* The IOAPIC's entries or the routes changed: every vCPU calls irqchip_scan() before its next entry.  Any context. */
void vm_request_ioapic_scan(struct lodge_vm *vm);

/* PV EOI (KVM_FEATURE_PV_EOI): the guest cleared / may skip the EOI write.  On the vCPU's own thread, may sleep. */
bool vcpu_pv_eoi_set(struct lodge_vcpu *vcpu);			/* set the guest's flag; false: it cannot be reached */
bool vcpu_pv_eoi_take(struct lodge_vcpu *vcpu);			/* true if the guest had cleared it: EOI was done; clears it */

/* The guest reads or writes the TPR in the LAPIC's page (KVM_TPR_ACCESS_REPORTING).  On the vCPU's own thread. */
void vcpu_tpr_accessed(struct lodge_vcpu *vcpu, bool write);

#endif
