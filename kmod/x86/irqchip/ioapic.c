// SPDX-License-Identifier: GPL-2.0-only
/*
 * The I/O APIC: 24 pins, version 0x11 (Intel 82093AA data sheet).
 *
 * Its state is struct kvm_ioapic_state.  irr holds a level-triggered line's level, or an edge that no LAPIC has taken yet; an
 * edge at a masked pin is lost, as the data sheet says.  remote_irr of an entry says that a level-triggered interrupt was delivered and its EOI is awaited.  When the EOI of a
 * vector comes back, every level-triggered entry with that vector is ended, listeners are told (they may lower the line), and
 * a line that is still up is delivered again.
 */
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "core/iobus.h"
#include "core/irqroute.h"
#include "core/trace.h"
#include "core/vcpu.h"
#include "core/vm.h"
#include "x86/irqchip/chips.h"
#include "x86/irqchip/lapic.h"
#include "x86/irqchip/up.h"

#define IOAPIC_BASE	0xfec00000ull
#define IOAPIC_SIZE	0x100
#define IOAPIC_VERSION	((KVM_IOAPIC_NUM_PINS - 1) << 16 | 0x11)
#define REDIR_RO	(1u << 12 | 1u << 14)	/* delivery status, remote IRR */
#define ENTRY_MASKED	(1ull << 16)

struct ioapic {
	struct lodge_iodev dev;
	struct lodge_vm *vm;
	spinlock_t lock;
	struct kvm_ioapic_state s;
	unsigned long level[KVM_IOAPIC_NUM_PINS];	/* by pin: sources that hold it up */
};

typedef typeof(((struct kvm_ioapic_state *)0)->redirtbl[0]) ioapic_entry;

static void ioapic_message(const ioapic_entry *e, struct lapic_msg *msg)
{
	*msg = (struct lapic_msg) {
		.dest = e->fields.dest_id,
		.logical = e->fields.dest_mode,
		.vector = e->fields.vector,
		.mode = e->fields.delivery_mode,
		.level = e->fields.trig_mode,
		.assert = true,
	};
}

/* Deliver pin @pin if it may be: result of the delivery, or -1.  Lock held. */
static int ioapic_service(struct ioapic *ioapic, unsigned int pin)
{
	ioapic_entry *e = &ioapic->s.redirtbl[pin];
	struct lapic_msg msg;
	int result;

	if (e->fields.mask)
		return -1;
	if (e->fields.trig_mode && e->fields.remote_irr)
		return 0;
	ioapic_message(e, &msg);
	result = lapic_send(ioapic->vm, NULL, &msg);
	trace_lodge_ioapic(e->bits, pin, !result);
	if (e->fields.trig_mode) {
		if (result > 0)
			e->fields.remote_irr = 1;
	} else {
		ioapic->s.irr &= ~(1u << pin);
	}
	return result;
}

int ioapic_set(struct ioapic *ioapic, unsigned int pin, int source, int level)
{
	unsigned long flags;
	bool was, is;
	int result = 1;

	spin_lock_irqsave(&ioapic->lock, flags);
	was = ioapic->level[pin] != 0;
	if (level)
		ioapic->level[pin] |= 1ul << source;
	else
		ioapic->level[pin] &= ~(1ul << source);
	is = ioapic->level[pin] != 0;
	if (!is) {
		/* An edge stays requested when the line falls; a level does not. */
		if (ioapic->s.redirtbl[pin].fields.trig_mode)
			ioapic->s.irr &= ~(1u << pin);
	} else if (ioapic->s.redirtbl[pin].fields.trig_mode) {
		ioapic->s.irr |= 1u << pin;
		result = ioapic_service(ioapic, pin);
	} else if (!was) {
		if (!ioapic->s.redirtbl[pin].fields.mask)
			ioapic->s.irr |= 1u << pin;
		result = ioapic_service(ioapic, pin);
	} else {
		result = 0;
	}
	spin_unlock_irqrestore(&ioapic->lock, flags);
	return result;
}

void ioapic_eoi(struct ioapic *ioapic, u8 vector)
{
	unsigned long flags;
	unsigned int pin;
	u32 ended = 0;

	spin_lock_irqsave(&ioapic->lock, flags);
	for (pin = 0; pin < KVM_IOAPIC_NUM_PINS; pin++) {
		ioapic_entry *e = &ioapic->s.redirtbl[pin];

		if (e->fields.vector != vector)
			continue;
		ended |= 1u << pin;
	}
	spin_unlock_irqrestore(&ioapic->lock, flags);

	/* Listeners may lower (resample) or raise the line: they are told before the line is looked at again. */
	for (pin = 0; pin < KVM_IOAPIC_NUM_PINS; pin++)
		if (ended & (1u << pin))
			lodge_irq_acked(ioapic->vm, KVM_IRQCHIP_IOAPIC, pin);

	spin_lock_irqsave(&ioapic->lock, flags);
	for (pin = 0; pin < KVM_IOAPIC_NUM_PINS; pin++) {
		ioapic_entry *e = &ioapic->s.redirtbl[pin];

		if (!(ended & (1u << pin)) || e->fields.vector != vector || !e->fields.trig_mode)
			continue;
		e->fields.remote_irr = 0;
		if (ioapic->s.irr & (1u << pin))
			ioapic_service(ioapic, pin);
	}
	spin_unlock_irqrestore(&ioapic->lock, flags);
}

void ioapic_scan(struct ioapic *ioapic, struct lapic *l, unsigned long *vectors)
{
	struct lapic_msg msg;
	unsigned long flags;
	unsigned int pin;

	spin_lock_irqsave(&ioapic->lock, flags);
	for (pin = 0; pin < KVM_IOAPIC_NUM_PINS; pin++) {
		const ioapic_entry *e = &ioapic->s.redirtbl[pin];

		if (e->fields.mask && !e->fields.remote_irr)
			continue;
		ioapic_message(e, &msg);
		if ((msg.level || lodge_irq_has_ack(ioapic->vm, KVM_IRQCHIP_IOAPIC, pin)) && lapic_match(l, NULL, &msg))
			__set_bit(msg.vector, vectors);
	}
	spin_unlock_irqrestore(&ioapic->lock, flags);
}

static u32 ioapic_read_reg(struct ioapic *ioapic)
{
	u32 sel = ioapic->s.ioregsel, pin;

	switch (sel) {
	case 0:		/* id */
	case 2:		/* arbitration id, the same here */
		return (ioapic->s.id & 0xf) << 24;
	case 1:
		return IOAPIC_VERSION;
	}
	pin = (sel - 0x10) >> 1;
	if (sel < 0x10 || pin >= KVM_IOAPIC_NUM_PINS)
		return 0xffffffff;
	return sel & 1 ? ioapic->s.redirtbl[pin].bits >> 32 : ioapic->s.redirtbl[pin].bits;
}

static void ioapic_write_entry(struct ioapic *ioapic, unsigned int pin, bool high, u32 val)
{
	ioapic_entry *e = &ioapic->s.redirtbl[pin];

	if (high) {
		e->bits = (e->bits & 0xffffffff) | (u64)(val & 0xff000000) << 32;
	} else {
		val &= 0x1ffff & ~REDIR_RO;
		e->bits = (e->bits & ~0xffffffffull) | (e->bits & REDIR_RO) | val;
		if (!e->fields.trig_mode)
			e->fields.remote_irr = 0;	/* Linux ends a stuck level interrupt so */
	}
	if (e->fields.trig_mode) {
		if (ioapic->level[pin])
			ioapic->s.irr |= 1u << pin;
		else
			ioapic->s.irr &= ~(1u << pin);
	}
	if (ioapic->s.irr & (1u << pin))
		ioapic_service(ioapic, pin);
}

static int ioapic_mmio_read(struct lodge_vcpu *vcpu, struct lodge_iodev *dev, gpa_t addr, int len, void *val)
{
	struct ioapic *ioapic = container_of(dev, struct ioapic, dev);
	unsigned long flags;
	u32 data = 0;

	spin_lock_irqsave(&ioapic->lock, flags);
	switch (addr & 0xf0) {
	case 0x00:
		data = ioapic->s.ioregsel;
		break;
	case 0x10:
		data = ioapic_read_reg(ioapic);
		break;
	}
	spin_unlock_irqrestore(&ioapic->lock, flags);
	memset(val, 0, len);
	memcpy(val, &data, min_t(int, len, sizeof(data)));
	return 0;
}

static int ioapic_mmio_write(struct lodge_vcpu *vcpu, struct lodge_iodev *dev, gpa_t addr, int len, const void *val)
{
	struct ioapic *ioapic = container_of(dev, struct ioapic, dev);
	unsigned long flags;
	bool scan = false;
	u32 data = 0, sel;

	if (addr & 0xf)
		return 0;
	memcpy(&data, val, min_t(int, len, sizeof(data)));
	spin_lock_irqsave(&ioapic->lock, flags);
	switch (addr & 0xf0) {
	case 0x00:
		ioapic->s.ioregsel = data & 0xff;
		break;
	case 0x10:
		sel = ioapic->s.ioregsel;
		if (sel == 0) {
			ioapic->s.id = (data >> 24) & 0xf;
		} else if (sel >= 0x10 && (sel - 0x10) >> 1 < KVM_IOAPIC_NUM_PINS) {
			ioapic_write_entry(ioapic, (sel - 0x10) >> 1, sel & 1, data);
			scan = true;
		}
		break;
	}
	spin_unlock_irqrestore(&ioapic->lock, flags);
	if (scan)
		vm_request_ioapic_scan(ioapic->vm);
	return 0;
}

static const struct lodge_iodev_ops ioapic_ops = {
	.read = ioapic_mmio_read,
	.write = ioapic_mmio_write,
};

int ioapic_create(struct lodge_vm *vm, struct ioapic **out)
{
	struct ioapic *ioapic = kzalloc(sizeof(*ioapic), GFP_KERNEL_ACCOUNT);
	unsigned int pin;
	int err;

	if (!ioapic)
		return -ENOMEM;
	ioapic->dev.ops = &ioapic_ops;
	ioapic->vm = vm;
	spin_lock_init(&ioapic->lock);
	ioapic->s.base_address = IOAPIC_BASE;
	for (pin = 0; pin < KVM_IOAPIC_NUM_PINS; pin++)
		ioapic->s.redirtbl[pin].bits = ENTRY_MASKED;
	mutex_lock(&vm->slots_lock);
	err = lodge_iobus_add(vm, LODGE_BUS_MMIO, IOAPIC_BASE, IOAPIC_SIZE, &ioapic->dev);
	mutex_unlock(&vm->slots_lock);
	if (err) {
		kfree(ioapic);
		return err;
	}
	*out = ioapic;
	return 0;
}

void ioapic_destroy(struct lodge_vm *vm, struct ioapic *ioapic)
{
	if (!ioapic)
		return;
	mutex_lock(&vm->slots_lock);
	lodge_iobus_del(vm, LODGE_BUS_MMIO, &ioapic->dev);
	mutex_unlock(&vm->slots_lock);
	kfree(ioapic);
}

void ioapic_get_state(struct ioapic *ioapic, struct kvm_ioapic_state *s)
{
	unsigned long flags;

	spin_lock_irqsave(&ioapic->lock, flags);
	*s = ioapic->s;
	spin_unlock_irqrestore(&ioapic->lock, flags);
}

void ioapic_set_state(struct ioapic *ioapic, const struct kvm_ioapic_state *s)
{
	unsigned long flags;
	unsigned int pin;

	spin_lock_irqsave(&ioapic->lock, flags);
	ioapic->s = *s;
	ioapic->s.base_address = IOAPIC_BASE;
	ioapic->s.ioregsel &= 0xff;
	ioapic->s.irr &= (1u << KVM_IOAPIC_NUM_PINS) - 1;
	for (pin = 0; pin < KVM_IOAPIC_NUM_PINS; pin++)
		if (ioapic->s.irr & (1u << pin))
			ioapic_service(ioapic, pin);
	spin_unlock_irqrestore(&ioapic->lock, flags);
	vm_request_ioapic_scan(ioapic->vm);
}
