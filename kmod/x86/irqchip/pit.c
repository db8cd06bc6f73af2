// SPDX-License-Identifier: GPL-2.0-only
/*
 * The 8254 interval timer: three channels at ports 0x40-0x43, channel 2's gate and output at port 0x61 (Intel 8254 data sheet).
 *
 * A channel is struct kvm_pit_channel_state.  Nothing counts: the present count and output follow from the time since the count
 * was loaded.  Channel 0 drives GSI 0 from a host hrtimer.
 *
 * Re-injection: a guest that counts ticks must not lose any, so by default a tick that comes while the last one is not yet
 * acknowledged waits (pending) and is delivered at the acknowledge.  KVM_REINJECT_CONTROL turns this off.
 */
#include <linux/hrtimer.h>
#include <linux/math64.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "core/iobus.h"
#include "core/irqroute.h"
#include "core/vm.h"
#include "x86/irqchip/chips.h"

#define PIT_HZ		1193182u
#define PIT_GSI		0
#define PERIOD_MIN	(200 * NSEC_PER_USEC)
#define PENDING_MAX	100000		/* a guest that never acknowledges does not fill a counter */

enum { RW_LATCH, RW_LOW, RW_HIGH, RW_WORD, RW_WORD_SECOND };	/* rw_mode 1-3, and the state after the first byte */

struct pit {
	struct lodge_iodev dev, speaker_dev;
	struct lodge_vm *vm;
	spinlock_t lock;
	struct kvm_pit_channel_state ch[3];
	u32 flags;			/* KVM_PIT_FLAGS_* */
	bool speaker_on;
	struct hrtimer hrtimer;
	ktime_t period;			/* channel 0; 0 = one-shot */
	bool reinject;
	bool awaiting_ack;
	u32 pending;
	struct lodge_irq_ack ack;
};

static u32 pit_initial(const struct kvm_pit_channel_state *c)
{
	return c->count ? c->count : 0x10000;
}

/* PIT ticks since the count was loaded. */
static u64 pit_elapsed(const struct kvm_pit_channel_state *c)
{
	s64 ns = ktime_get_ns() - c->count_load_time;

	return ns > 0 ? mul_u64_u32_div(ns, PIT_HZ, NSEC_PER_SEC) : 0;
}

static u64 pit_ticks_to_ns(u64 ticks)
{
	return div_u64(ticks * NSEC_PER_SEC, PIT_HZ);
}

static u16 pit_count(const struct kvm_pit_channel_state *c)
{
	u64 elapsed = pit_elapsed(c);
	u32 initial = pit_initial(c), past;

	switch (c->mode) {
	case 0:
	case 1:
	case 4:
	case 5:
		return initial - elapsed;	/* counts on through zero */
	case 3:		/* counts down by two, twice a period */
		past = do_div(elapsed, initial);
		return initial - ((2 * past) % initial);
	default:
		past = do_div(elapsed, initial);
		return initial - past;
	}
}

static bool pit_output(const struct kvm_pit_channel_state *c)
{
	u64 elapsed = pit_elapsed(c);
	u32 initial = pit_initial(c), past;

	switch (c->mode) {
	case 0:
		return elapsed >= initial;
	case 1:
		return elapsed >= initial;
	case 2:
		past = do_div(elapsed, initial);
		return past != initial - 1;
	case 3:
		past = do_div(elapsed, initial);
		return past < (initial + 1) / 2;
	default:
		return elapsed != initial;
	}
}

static void pit_tick(struct pit *pit)
{
	unsigned long flags;
	bool fire;

	spin_lock_irqsave(&pit->lock, flags);
	if (pit->reinject && pit->awaiting_ack) {
		if (pit->pending < PENDING_MAX)
			pit->pending++;
		fire = false;
	} else {
		pit->awaiting_ack = true;
		fire = true;
	}
	spin_unlock_irqrestore(&pit->lock, flags);
	if (!fire)
		return;
	/*
	 * Nobody will acknowledge what was masked everywhere: then the tick is lost, as on the chip.
	 */
	if (lodge_irq_set(pit->vm, LODGE_IRQ_PIT, PIT_GSI, 1) < 0)
		WRITE_ONCE(pit->awaiting_ack, false);
	lodge_irq_set(pit->vm, LODGE_IRQ_PIT, PIT_GSI, 0);
}

static enum hrtimer_restart pit_expired(struct hrtimer *hrtimer)
{
	struct pit *pit = container_of(hrtimer, struct pit, hrtimer);

	pit_tick(pit);
	if (!pit->period)
		return HRTIMER_NORESTART;
	hrtimer_forward_now(hrtimer, pit->period);
	return HRTIMER_RESTART;
}

static void pit_acked(struct lodge_irq_ack *ack)
{
	struct pit *pit = container_of(ack, struct pit, ack);
	unsigned long flags;
	bool again;

	spin_lock_irqsave(&pit->lock, flags);
	pit->awaiting_ack = false;
	again = pit->pending > 0;
	if (again)
		pit->pending--;
	spin_unlock_irqrestore(&pit->lock, flags);
	if (again)
		pit_tick(pit);
}

/* Channel 0 got a new count or mode: set the hrtimer.  Lock not held. */
static void pit_start(struct pit *pit, ktime_t load_time)
{
	struct kvm_pit_channel_state *c = &pit->ch[0];
	u64 ns = pit_ticks_to_ns(pit_initial(c));

	hrtimer_cancel(&pit->hrtimer);
	pit->pending = 0;
	pit->awaiting_ack = false;
	switch (c->mode) {
	case 2:
	case 3:
		pit->period = max_t(u64, ns, PERIOD_MIN);
		break;
	case 0:
	case 1:
	case 4:
		pit->period = 0;
		break;
	default:
		return;
	}
	if (pit->flags & KVM_PIT_FLAGS_HPET_LEGACY)
		return;
	hrtimer_start(&pit->hrtimer, ktime_add_ns(load_time, ns), HRTIMER_MODE_ABS_HARD);
}

static void pit_load(struct pit *pit, int channel, u32 count)
{
	struct kvm_pit_channel_state *c = &pit->ch[channel];

	c->count = count ? count : 0x10000;	/* clients divide by it */
	c->count_load_time = ktime_get_ns();
}

static void pit_latch_count(struct kvm_pit_channel_state *c)
{
	if (c->count_latched)
		return;
	c->latched_count = pit_count(c);
	c->count_latched = c->rw_mode;
}

static void pit_latch_status(struct kvm_pit_channel_state *c)
{
	if (c->status_latched)
		return;
	c->status = pit_output(c) << 7 | c->rw_mode << 4 | c->mode << 1 | c->bcd;
	c->status_latched = 1;
}

static void pit_write_control(struct pit *pit, u8 val)
{
	struct kvm_pit_channel_state *c;
	int channel = val >> 6, i;

	if (channel == 3) {	/* read-back */
		for (i = 0; i < 3; i++) {
			if (!(val & (2 << i)))
				continue;
			if (!(val & 0x20))
				pit_latch_count(&pit->ch[i]);
			if (!(val & 0x10))
				pit_latch_status(&pit->ch[i]);
		}
		return;
	}
	c = &pit->ch[channel];
	if (!(val & 0x30)) {
		pit_latch_count(c);
		return;
	}
	c->rw_mode = (val >> 4) & 3;
	c->read_state = c->rw_mode;
	c->write_state = c->rw_mode;
	c->mode = (val >> 1) & 7;
	if (c->mode > 5)
		c->mode -= 4;	/* bit 2 is not looked at: 6 is 2, 7 is 3 */
	c->bcd = val & 1;
}

/* A byte of a count; true when the count is complete. */
static bool pit_write_count(struct pit *pit, int channel, u8 val)
{
	struct kvm_pit_channel_state *c = &pit->ch[channel];

	switch (c->write_state) {
	case RW_LOW:
		pit_load(pit, channel, val);
		return true;
	case RW_HIGH:
		pit_load(pit, channel, val << 8);
		return true;
	case RW_WORD:
		c->write_latch = val;
		c->write_state = RW_WORD_SECOND;
		return false;
	case RW_WORD_SECOND:
		pit_load(pit, channel, c->write_latch | val << 8);
		c->write_state = RW_WORD;
		return true;
	}
	return false;
}

static u8 pit_read_channel(struct kvm_pit_channel_state *c)
{
	u16 count;

	if (c->status_latched) {
		c->status_latched = 0;
		return c->status;
	}
	if (c->count_latched) {
		switch (c->count_latched) {
		case RW_HIGH:
			c->count_latched = 0;
			return c->latched_count >> 8;
		case RW_WORD:
			c->count_latched = RW_WORD_SECOND;
			return c->latched_count;
		case RW_WORD_SECOND:
			c->count_latched = 0;
			return c->latched_count >> 8;
		}
		c->count_latched = 0;
		return c->latched_count;
	}
	count = pit_count(c);
	switch (c->read_state) {
	case RW_HIGH:
		return count >> 8;
	case RW_WORD:
		c->read_state = RW_WORD_SECOND;
		return count;
	case RW_WORD_SECOND:
		c->read_state = RW_WORD;
		return count >> 8;
	}
	return count;
}

static int pit_write(struct lodge_vcpu *vcpu, struct lodge_iodev *dev, gpa_t addr, int len, const void *val)
{
	struct pit *pit = container_of(dev, struct pit, dev);
	u8 data = *(const u8 *)val;
	unsigned long flags;
	int reg = addr & 3;
	bool start = false;
	ktime_t when = 0;

	spin_lock_irqsave(&pit->lock, flags);
	if (reg == 3) {
		pit_write_control(pit, data);
	} else if (pit_write_count(pit, reg, data) && reg == 0) {
		start = true;
		when = pit->ch[0].count_load_time;
	}
	spin_unlock_irqrestore(&pit->lock, flags);
	if (start)
		pit_start(pit, when);
	return 0;
}

static int pit_read(struct lodge_vcpu *vcpu, struct lodge_iodev *dev, gpa_t addr, int len, void *val)
{
	struct pit *pit = container_of(dev, struct pit, dev);
	unsigned long flags;

	memset(val, 0, len);
	if ((addr & 3) == 3)
		return 0;	/* the control word can't be read */
	spin_lock_irqsave(&pit->lock, flags);
	*(u8 *)val = pit_read_channel(&pit->ch[addr & 3]);
	spin_unlock_irqrestore(&pit->lock, flags);
	return 0;
}

/* Port 0x61: bit 0 channel 2's gate, 1 speaker, 4 toggles with the refresh clock, 5 channel 2's output. */
static int speaker_write(struct lodge_vcpu *vcpu, struct lodge_iodev *dev, gpa_t addr, int len, const void *val)
{
	struct pit *pit = container_of(dev, struct pit, speaker_dev);
	struct kvm_pit_channel_state *c = &pit->ch[2];
	u8 data = *(const u8 *)val;
	unsigned long flags;

	spin_lock_irqsave(&pit->lock, flags);
	pit->speaker_on = data & 2;
	/* The gate's rising edge starts modes 1, 2, 3 and 5 anew. */
	if (!c->gate && (data & 1) && c->mode != 0 && c->mode != 4)
		c->count_load_time = ktime_get_ns();
	c->gate = data & 1;
	spin_unlock_irqrestore(&pit->lock, flags);
	return 0;
}

static int speaker_read(struct lodge_vcpu *vcpu, struct lodge_iodev *dev, gpa_t addr, int len, void *val)
{
	struct pit *pit = container_of(dev, struct pit, speaker_dev);
	unsigned long flags;
	u8 data;

	spin_lock_irqsave(&pit->lock, flags);
	/* The refresh clock has a period of about 15 us; the bit toggles with each request. */
	data = pit->speaker_on << 1 | pit->ch[2].gate | ((ktime_get_ns() >> 14) & 1) << 4 | pit_output(&pit->ch[2]) << 5;
	spin_unlock_irqrestore(&pit->lock, flags);
	memset(val, 0, len);
	*(u8 *)val = data;
	return 0;
}

static const struct lodge_iodev_ops pit_ops = { .read = pit_read, .write = pit_write };
static const struct lodge_iodev_ops speaker_ops = { .read = speaker_read, .write = speaker_write };

static void pit_reset(struct pit *pit)
{
	int i;

	for (i = 0; i < 3; i++) {
		pit->ch[i].count = 0x10000;
		pit->ch[i].mode = 3;
		pit->ch[i].gate = i != 2;
		pit->ch[i].rw_mode = pit->ch[i].read_state = pit->ch[i].write_state = RW_WORD;
		pit->ch[i].count_load_time = ktime_get_ns();
	}
}

int pit_create(struct lodge_vm *vm, u32 flags, struct pit **out)
{
	struct pit *pit = kzalloc(sizeof(*pit), GFP_KERNEL_ACCOUNT);
	int err;

	if (!pit)
		return -ENOMEM;
	pit->dev.ops = &pit_ops;
	pit->speaker_dev.ops = &speaker_ops;
	pit->vm = vm;
	pit->reinject = true;
	spin_lock_init(&pit->lock);
	hrtimer_init(&pit->hrtimer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS_HARD);
	pit->hrtimer.function = pit_expired;
	pit_reset(pit);
	mutex_lock(&vm->slots_lock);
	err = lodge_iobus_add(vm, LODGE_BUS_PIO, 0x40, 4, &pit->dev);
	if (!err && flags & KVM_PIT_SPEAKER_DUMMY)
		err = lodge_iobus_add(vm, LODGE_BUS_PIO, 0x61, 1, &pit->speaker_dev);
	if (err)
		lodge_iobus_del(vm, LODGE_BUS_PIO, &pit->dev);
	mutex_unlock(&vm->slots_lock);
	if (err) {
		kfree(pit);
		return err;
	}
	pit->ack.gsi = PIT_GSI;
	pit->ack.acked = pit_acked;
	lodge_irq_ack_add(vm, &pit->ack);
	*out = pit;
	return 0;
}

void pit_destroy(struct lodge_vm *vm, struct pit *pit)
{
	if (!pit)
		return;
	lodge_irq_ack_del(vm, &pit->ack);
	mutex_lock(&vm->slots_lock);
	lodge_iobus_del(vm, LODGE_BUS_PIO, &pit->dev);
	lodge_iobus_del(vm, LODGE_BUS_PIO, &pit->speaker_dev);
	mutex_unlock(&vm->slots_lock);
	hrtimer_cancel(&pit->hrtimer);
	kfree(pit);
}

void pit_get_state(struct pit *pit, struct kvm_pit_state2 *s)
{
	unsigned long flags;

	memset(s, 0, sizeof(*s));
	spin_lock_irqsave(&pit->lock, flags);
	memcpy(s->channels, pit->ch, sizeof(s->channels));
	s->flags = pit->flags;
	if (pit->speaker_on)
		s->flags |= KVM_PIT_FLAGS_SPEAKER_DATA_ON;
	spin_unlock_irqrestore(&pit->lock, flags);
}

static bool pit_channel_valid(const struct kvm_pit_channel_state *c)
{
	return c->count <= 0x10000 && c->mode <= 5 && c->rw_mode <= RW_WORD && c->read_state <= RW_WORD_SECOND &&
	       c->write_state <= RW_WORD_SECOND && c->count_latched <= RW_WORD_SECOND && c->gate <= 1 && c->bcd <= 1;
}

int pit_set_state(struct pit *pit, const struct kvm_pit_state2 *s)
{
	unsigned long flags;
	int i;

	for (i = 0; i < 3; i++)
		if (!pit_channel_valid(&s->channels[i]))
			return -EINVAL;
	spin_lock_irqsave(&pit->lock, flags);
	memcpy(pit->ch, s->channels, sizeof(pit->ch));
	for (i = 0; i < 3; i++)
		pit->ch[i].count = pit_initial(&pit->ch[i]);
	pit->flags = s->flags & KVM_PIT_FLAGS_HPET_LEGACY;
	pit->speaker_on = s->flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON;
	pit->ch[0].count_load_time = ktime_get_ns();	/* counting goes on from now, as after a pause */
	spin_unlock_irqrestore(&pit->lock, flags);
	pit_start(pit, ktime_get());
	return 0;
}

void pit_set_reinject(struct pit *pit, bool on)
{
	unsigned long flags;

	spin_lock_irqsave(&pit->lock, flags);
	pit->reinject = on;
	pit->awaiting_ack = false;
	pit->pending = 0;
	spin_unlock_irqrestore(&pit->lock, flags);
}
