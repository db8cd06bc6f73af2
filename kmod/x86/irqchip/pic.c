// SPDX-License-Identifier: GPL-2.0-only
/*
 * The two 8259A interrupt controllers of a PC (Intel 8259A data sheet; ELCR as in the PIIX).
 *
 * Each chip's state is struct kvm_pic_state, which is also its saved form.  irr has a bit for each request, last_irr the line
 * levels (edge detection), isr those in service.  priority_add rotates priorities: the pin with the highest is priority_add.
 * The slave's output is the master's pin 2.  The pair's output, INTR, goes to the LAPICs whose LINT0 lets it through.
 *
 * An EOI that ends an interrupt in service is told to the listeners of that pin (resample, PIT), after the lock is dropped.
 */
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "core/iobus.h"
#include "core/irqroute.h"
#include "core/vcpu.h"
#include "core/vm.h"
#include "x86/irqchip/chips.h"
#include "x86/irqchip/lapic.h"
#include "x86/irqchip/up.h"

#define MASTER		0
#define SLAVE		1
#define CASCADE		2
#define SPURIOUS	7
#define ELCR_MASTER	0xf8	/* pins 0, 1, 2 are always edge-triggered */
#define ELCR_SLAVE	0xde	/* 8 and 13 too */

struct pic {
	struct lodge_iodev dev;
	struct lodge_vm *vm;
	spinlock_t lock;
	bool output;			/* INTR */
	struct kvm_pic_state chip[2];
	unsigned long level[16];	/* by pin: sources that hold it up */
	u32 acked;			/* pins whose EOI is to be told when the lock is dropped */
};

/* The priority of the most urgent pin in @mask: 0 highest, 8 none. */
static int pic_priority(const struct kvm_pic_state *s, u8 mask)
{
	int prio;

	if (!mask)
		return 8;
	for (prio = 0; !(mask & (1 << ((prio + s->priority_add) & 7))); prio++)
		;
	return prio;
}

/* The pin that the chip asks for, or -1. */
static int pic_request(const struct kvm_pic_state *s, bool master)
{
	u8 requests = s->irr & ~s->imr, service = s->isr;
	int prio = pic_priority(s, requests), current_prio;

	if (prio == 8)
		return -1;
	if (s->special_mask)
		service &= ~s->imr;
	/* Special fully nested: the slave may interrupt its own handler. */
	if (s->special_fully_nested_mode && master)
		service &= ~(1 << CASCADE);
	current_prio = pic_priority(s, service);
	return prio < current_prio ? (prio + s->priority_add) & 7 : -1;
}

/* A line of one chip: 1 newly requested, 0 was already, -1 masked. */
static int pic_line(struct kvm_pic_state *s, int pin, int level)
{
	u8 mask = 1 << pin;
	int result = 1;

	if (s->elcr & mask) {
		if (level) {
			result = !(s->irr & mask);
			s->irr |= mask;
			s->last_irr |= mask;
		} else {
			s->irr &= ~mask;
			s->last_irr &= ~mask;
		}
	} else if (level) {
		if (!(s->last_irr & mask)) {
			result = !(s->irr & mask);
			s->irr |= mask;
		}
		s->last_irr |= mask;
	} else {
		s->last_irr &= ~mask;
	}
	return s->imr & mask ? -1 : result;
}

static void pic_update(struct pic *pic)
{
	if (pic_request(&pic->chip[SLAVE], false) >= 0) {
		/* The cascade is a pulse: each request of the slave is an edge at the master. */
		pic_line(&pic->chip[MASTER], CASCADE, 1);
		pic_line(&pic->chip[MASTER], CASCADE, 0);
	}
	WRITE_ONCE(pic->output, pic_request(&pic->chip[MASTER], true) >= 0);
}

static void pic_lock(struct pic *pic, unsigned long *flags) __acquires(&pic->lock)
{
	spin_lock_irqsave(&pic->lock, *flags);
}

/* Drop the lock, then wake whoever takes INTR and tell of EOIs. */
static void pic_unlock(struct pic *pic, unsigned long flags) __releases(&pic->lock)
{
	struct lodge_vcpu *vcpu;
	bool output = pic->output;
	u32 acked = pic->acked;
	unsigned int i;

	pic->acked = 0;
	spin_unlock_irqrestore(&pic->lock, flags);
	for (; acked; acked &= acked - 1) {
		int pin = __ffs(acked);

		lodge_irq_acked(pic->vm, pin < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, pin & 7);
	}
	if (!output)
		return;
	lodge_for_each_vcpu(i, vcpu, pic->vm)
		if (vcpu_lapic(vcpu) && lapic_accepts_extint(vcpu_lapic(vcpu)))
			vcpu_post_event(vcpu);
}

int pic_set(struct pic *pic, unsigned int pin, int source, int level)
{
	unsigned long flags;
	int result;

	pic_lock(pic, &flags);
	if (level)
		pic->level[pin] |= 1ul << source;
	else
		pic->level[pin] &= ~(1ul << source);
	result = pic_line(&pic->chip[pin >> 3], pin & 7, pic->level[pin] != 0);
	pic_update(pic);
	pic_unlock(pic, flags);
	return result;
}

bool pic_pending(struct pic *pic)
{
	return READ_ONCE(pic->output);
}

static void pic_acked(struct pic *pic, int chip, int pin)
{
	pic->chip[chip].isr &= ~(1 << pin);
	pic->acked |= 1 << (chip * 8 + pin);
}

/* One chip's INTA. */
static void pic_inta(struct pic *pic, int chip, int pin)
{
	struct kvm_pic_state *s = &pic->chip[chip];

	s->isr |= 1 << pin;
	if (!(s->elcr & (1 << pin)))
		s->irr &= ~(1 << pin);
	if (s->auto_eoi) {
		if (s->rotate_on_auto_eoi)
			s->priority_add = (pin + 1) & 7;
		pic_acked(pic, chip, pin);
	}
}

int pic_take(struct pic *pic)
{
	struct kvm_pic_state *master = &pic->chip[MASTER], *slave = &pic->chip[SLAVE];
	unsigned long flags;
	int pin, vector;

	pic_lock(pic, &flags);
	pin = pic_request(master, true);
	if (pin < 0) {
		vector = master->irq_base + SPURIOUS;	/* the request went away before the INTA */
	} else {
		pic_inta(pic, MASTER, pin);
		if (pin == CASCADE) {
			pin = pic_request(slave, false);
			if (pin >= 0)
				pic_inta(pic, SLAVE, pin);
			vector = slave->irq_base + (pin < 0 ? SPURIOUS : pin);
		} else {
			vector = master->irq_base + pin;
		}
	}
	pic_update(pic);
	pic_unlock(pic, flags);
	return vector;
}

/*
 * ICW1: the edge detectors, masks and modes are cleared; level-triggered requests that still stand stay.  Who waits for the
 * acknowledge of an edge that is lost here, as the PIT does, waits no longer.
 */
static void pic_icw1(struct pic *pic, int chip, u8 val)
{
	struct kvm_pic_state *s = &pic->chip[chip];

	pic->acked |= (u32)(s->isr | (s->irr & ~s->elcr)) << (chip * 8);
	s->last_irr &= s->elcr;
	s->irr &= s->elcr;
	s->imr = 0;
	s->isr = 0;
	s->priority_add = 0;
	s->special_mask = 0;
	s->read_reg_select = 0;
	s->special_fully_nested_mode = 0;
	s->auto_eoi = 0;
	s->rotate_on_auto_eoi = 0;
	s->init4 = val & 1;
	s->init_state = 1;
}

/* OCW2: EOI and rotation. */
static void pic_ocw2(struct pic *pic, int chip, u8 val)
{
	struct kvm_pic_state *s = &pic->chip[chip];
	int pin, prio;

	switch (val >> 5) {
	case 0:		/* rotate in automatic EOI mode: off, on */
	case 4:
		s->rotate_on_auto_eoi = val >> 7;
		break;
	case 1:		/* non-specific EOI, with rotation */
	case 5:
		prio = pic_priority(s, s->isr);
		if (prio == 8)
			break;
		pin = (prio + s->priority_add) & 7;
		if (val & 0x80)
			s->priority_add = (pin + 1) & 7;
		pic_acked(pic, chip, pin);
		break;
	case 3:		/* specific EOI */
		pic_acked(pic, chip, val & 7);
		break;
	case 6:		/* set priority */
		s->priority_add = (val + 1) & 7;
		break;
	case 7:		/* rotate on specific EOI */
		s->priority_add = (val + 1) & 7;
		pic_acked(pic, chip, val & 7);
		break;
	}
}

static void pic_write_command(struct pic *pic, int chip, u8 val)
{
	struct kvm_pic_state *s = &pic->chip[chip];

	if (val & 0x10) {
		pic_icw1(pic, chip, val);
	} else if (val & 0x08) {	/* OCW3 */
		if (val & 0x04)
			s->poll = 1;
		if (val & 0x02)
			s->read_reg_select = val & 1;
		if (val & 0x40)
			s->special_mask = (val >> 5) & 1;
	} else {
		pic_ocw2(pic, chip, val);
	}
}

static void pic_write_data(struct kvm_pic_state *s, u8 val)
{
	switch (s->init_state) {
	case 0:
		s->imr = val;
		break;
	case 1:		/* ICW2 */
		s->irq_base = val & 0xf8;
		s->init_state = 2;
		break;
	case 2:		/* ICW3: the cascade is wired as in every PC */
		s->init_state = s->init4 ? 3 : 0;
		break;
	default:	/* ICW4 */
		s->special_fully_nested_mode = (val >> 4) & 1;
		s->auto_eoi = (val >> 1) & 1;
		s->init_state = 0;
	}
}

/* Poll command: the next read is an INTA. */
static u8 pic_poll(struct pic *pic, int chip)
{
	struct kvm_pic_state *s = &pic->chip[chip];
	int pin = pic_request(s, chip == MASTER);

	s->poll = 0;
	if (pin < 0)
		return SPURIOUS;
	pic_inta(pic, chip, pin);
	return 0x80 | pin;
}

static int pic_write(struct lodge_vcpu *vcpu, struct lodge_iodev *dev, gpa_t addr, int len, const void *val)
{
	struct pic *pic = container_of(dev, struct pic, dev);
	u8 data = *(const u8 *)val;
	unsigned long flags;

	if (len != 1)
		return 0;	/* the chip has eight data lines, and every register decodes one port */
	pic_lock(pic, &flags);
	switch (addr) {
	case 0x20:
	case 0xa0:
		pic_write_command(pic, addr >> 7, data);
		break;
	case 0x21:
	case 0xa1:
		pic_write_data(&pic->chip[addr >> 7], data);
		break;
	default:
		pic->chip[addr & 1].elcr = data & pic->chip[addr & 1].elcr_mask;
	}
	pic_update(pic);
	pic_unlock(pic, flags);
	return 0;
}

static int pic_read(struct lodge_vcpu *vcpu, struct lodge_iodev *dev, gpa_t addr, int len, void *val)
{
	struct pic *pic = container_of(dev, struct pic, dev);
	struct kvm_pic_state *s = &pic->chip[(addr >> 7) & 1];
	unsigned long flags;
	u8 data;

	memset(val, 0, len);
	if (len != 1)
		return 0;
	pic_lock(pic, &flags);
	if (addr >= 0x4d0)
		data = pic->chip[addr & 1].elcr;
	else if (s->poll)
		data = pic_poll(pic, addr >> 7);
	else if (addr & 1)
		data = s->imr;
	else
		data = s->read_reg_select ? s->isr : s->irr;
	pic_update(pic);
	pic_unlock(pic, flags);
	*(u8 *)val = data;
	return 0;
}

static const struct lodge_iodev_ops pic_ops = {
	.read = pic_read,
	.write = pic_write,
};

int pic_create(struct lodge_vm *vm, struct pic **out)
{
	static const u16 ports[] = { 0x20, 0xa0, 0x4d0 };
	struct pic *pic = kzalloc(sizeof(*pic), GFP_KERNEL_ACCOUNT);
	unsigned int i;
	int err = 0;

	if (!pic)
		return -ENOMEM;
	pic->dev.ops = &pic_ops;
	pic->vm = vm;
	spin_lock_init(&pic->lock);
	pic->chip[MASTER].elcr_mask = ELCR_MASTER;
	pic->chip[SLAVE].elcr_mask = ELCR_SLAVE;
	mutex_lock(&vm->slots_lock);
	for (i = 0; i < ARRAY_SIZE(ports) && !err; i++)
		err = lodge_iobus_add(vm, LODGE_BUS_PIO, ports[i], 2, &pic->dev);
	if (err)
		lodge_iobus_del(vm, LODGE_BUS_PIO, &pic->dev);
	mutex_unlock(&vm->slots_lock);
	if (err) {
		kfree(pic);
		return err;
	}
	*out = pic;
	return 0;
}

void pic_destroy(struct lodge_vm *vm, struct pic *pic)
{
	if (!pic)
		return;
	mutex_lock(&vm->slots_lock);
	lodge_iobus_del(vm, LODGE_BUS_PIO, &pic->dev);
	mutex_unlock(&vm->slots_lock);
	kfree(pic);
}

void pic_get_state(struct pic *pic, unsigned int chip, struct kvm_pic_state *s)
{
	unsigned long flags;

	pic_lock(pic, &flags);
	*s = pic->chip[chip];
	pic_unlock(pic, flags);
}

void pic_set_state(struct pic *pic, unsigned int chip, const struct kvm_pic_state *s)
{
	struct kvm_pic_state *own = &pic->chip[chip];
	unsigned long flags;
	u8 mask;

	pic_lock(pic, &flags);
	mask = own->elcr_mask;
	*own = *s;
	own->elcr_mask = mask;
	own->elcr &= mask;
	own->priority_add &= 7;
	own->init_state &= 3;
	own->irq_base &= 0xf8;
	pic_update(pic);
	pic_unlock(pic, flags);
}
