/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The PIC, the IOAPIC and the PIT of a VM, as irqchip.c puts them together.
 *
 * Lines: level is the OR over the sources (LODGE_IRQ_*) that drive a pin.  Results of the *_set functions: 1 delivered,
 * 0 coalesced (was pending already), -1 masked.
 */
#ifndef LODGE_X86_IRQCHIP_CHIPS_H
#define LODGE_X86_IRQCHIP_CHIPS_H

#include <linux/kvm.h>
#include <linux/types.h>

struct ioapic;
struct lapic;
struct lodge_irq_route;
struct lodge_vcpu;
struct lodge_vm;
struct pic;
struct pit;

/* pic.c */
int pic_create(struct lodge_vm *vm, struct pic **out);	/* [L]; puts it on the port bus */
void pic_destroy(struct lodge_vm *vm, struct pic *pic);	/* NULL is fine */
int pic_set(struct pic *pic, unsigned int pin, int source, int level);	/* pin 0-15; any context */
bool pic_pending(struct pic *pic);
int pic_take(struct pic *pic);
void pic_get_state(struct pic *pic, unsigned int chip, struct kvm_pic_state *s);
void pic_set_state(struct pic *pic, unsigned int chip, const struct kvm_pic_state *s);

/* ioapic.c */
int ioapic_create(struct lodge_vm *vm, struct ioapic **out);
void ioapic_destroy(struct lodge_vm *vm, struct ioapic *ioapic);
int ioapic_set(struct ioapic *ioapic, unsigned int pin, int source, int level);
void ioapic_eoi(struct ioapic *ioapic, u8 vector);
void ioapic_scan(struct ioapic *ioapic, struct lapic *l, unsigned long *vectors);
void ioapic_get_state(struct ioapic *ioapic, struct kvm_ioapic_state *s);
void ioapic_set_state(struct ioapic *ioapic, const struct kvm_ioapic_state *s);

/* pit.c */
int pit_create(struct lodge_vm *vm, u32 flags, struct pit **out);
void pit_destroy(struct lodge_vm *vm, struct pit *pit);
void pit_get_state(struct pit *pit, struct kvm_pit_state2 *s);
int pit_set_state(struct pit *pit, const struct kvm_pit_state2 *s);
void pit_set_reinject(struct pit *pit, bool on);

/* deliver.c */
int msi_route_check(struct lodge_vm *vm, struct lodge_irq_route *e, const struct kvm_irq_routing_entry *ue);
bool msi_route_wants_eoi(struct lapic *l, const struct lodge_irq_route *route);

#endif
