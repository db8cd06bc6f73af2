// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * irqchip - the in-kernel LAPIC, IOAPIC, PIC and PIT as a guest and its VMM see them.
 */
#include "guest.h"
#include "tap.h"

#define IOAPIC	0xfec00000ul
#define ASK_PORT	0xe0	/* OUT: the guest asks the VMM to do the step in al */

static const char *node;
static volatile u64 count[256];		/* by vector: how often it was taken */
static volatile u64 order[16], taken;
static volatile u64 result[16];

static GUEST void on_irq(u64 vector, u64 *frame __attribute__((unused)), u64 error __attribute__((unused)))
{
	count[vector]++;
	if (taken < 16)
		order[taken++] = vector;
	if (vector != 2)
		wrmsr_(0x80b, 0);
}

static GUEST void on_irq_xapic(u64 vector, u64 *frame __attribute__((unused)), u64 error __attribute__((unused)))
{
	count[vector]++;
	apic_write(0xb0, 0);
}

static GUEST void on_pic(u64 vector, u64 *frame __attribute__((unused)), u64 error __attribute__((unused)))
{
	count[vector]++;
	outb(0x20, 0x20);
}

GUEST_INLINE void ask(u8 step)
{
	outb(ASK_PORT, step);
}

/* Let interrupts in until @done or @ticks of the TSC have passed. */
#define WAIT(done, ticks_) \
	do { \
		u64 until_ = rdtsc_() + (ticks_); \
		while (!(done) && rdtsc_() < until_) \
			asm volatile("sti; nop; nop; pause; cli" : : : "memory"); \
	} while (0)

#define LONG 3000000000ull

GUEST_INLINE void ioapic_write(u32 reg, u32 val)
{
	*(volatile u32 *)IOAPIC = reg;
	*(volatile u32 *)(IOAPIC + 0x10) = val;
}

GUEST_INLINE u32 ioapic_read(u32 reg)
{
	*(volatile u32 *)IOAPIC = reg;
	return *(volatile u32 *)(IOAPIC + 0x10);
}

static void reset_results(guest_handler handler)
{
	unsigned int i;

	memset((void *)count, 0, sizeof(count));
	memset((void *)order, 0, sizeof(order));
	memset((void *)result, 0, sizeof(result));
	taken = 0;
	for (i = 32; i < 256; i++)
		guest_irq[i] = handler;
	guest_irq[2] = on_irq;
}

static void line(struct guest *g, u32 gsi, u32 level)
{
	struct kvm_irq_level l = { .irq = gsi, .level = level };

	guest_must(ioctl(g->vm, KVM_IRQ_LINE, &l));
}

/* Run @fn on a fresh VM; the guest's requests go to @step. */
static bool run(struct guest *g, int flags, guest_handler handler, void (*fn)(void), void (*step)(struct guest *, u8))
{
	int why;

	reset_results(handler);
	guest_create(g, node, flags);
	guest_vcpu(g, 0);
	guest_start64(g, 0, fn);
	for (;;) {
		struct kvm_run *r = g->run[0];

		why = guest_run(g, 0);
		if (why != KVM_EXIT_IO || r->io.port != ASK_PORT || !step)
			break;
		step(g, *((u8 *)r + r->io.data_offset));
	}
	return why == GUEST_DONE;
}

/* ---- LAPIC ---- */

static GUEST void lapic_timer_guest(void)
{
	guest_apic_on(true);
	wrmsr_(0x83e, 0xb);		/* divide by 1 */
	wrmsr_(0x832, 0x50);		/* one-shot */
	wrmsr_(0x838, 50000000);
	result[0] = rdmsr_(0x839);
	WAIT(count[0x50], LONG);
	result[1] = rdmsr_(0x839);
	WAIT(0, 20000000);
	result[2] = count[0x50];
	wrmsr_(0x832, 0x20051);		/* periodic */
	wrmsr_(0x838, 2000000);
	WAIT(count[0x51] >= 3, LONG);
	result[3] = count[0x51];
	wrmsr_(0x838, 0);
	result[4] = rdmsr_(0x839);
	wrmsr_(0x832, 0x10052);		/* masked */
	wrmsr_(0x838, 1000);
	WAIT(0, 20000000);
	result[5] = count[0x52];
	wrmsr_(0x832, 0x40053);		/* TSC deadline */
	result[6] = rdtsc_() + 60000000;
	wrmsr_(0x6e0, result[6]);
	result[7] = rdmsr_(0x6e0);
	WAIT(count[0x53], LONG);
	result[8] = rdtsc_();
	result[9] = rdmsr_(0x6e0);
	wrmsr_(0x6e0, 1);		/* already past */
	asm volatile("sti; nop; nop; cli");
	result[10] = count[0x53];
	guest_exit();
}

static void lapic_timer(void)
{
	struct guest g;

	TAP_REQUIRE(run(&g, GUEST_IRQCHIP, on_irq, lapic_timer_guest, NULL), "the LAPIC timer's guest ends");
	tap_ok(result[0] > 0 && result[0] < 50000000, "the current count counts down from the initial count");
	tap_ok(result[1] == 0 && result[2] == 1, "a one-shot timer fires once and stops at zero");
	tap_ok(result[3] >= 3, "a periodic timer fires again and again");
	tap_ok(result[4] == 0, "an initial count of zero stops the timer");
	tap_ok(result[5] == 0, "a masked timer does not fire");
	tap_ok(result[7] == result[6], "an armed TSC deadline reads back");
	tap_ok(count[0x53] >= 1 && result[8] >= result[6], "a TSC deadline fires, and not before its time");
	tap_ok(result[9] == 0, "a TSC deadline reads as zero after it fired");
	tap_ok(result[10] == 2, "a TSC deadline in the past fires at once");
	guest_destroy(&g);
}

static GUEST void lapic_ipi_guest(void)
{
	u64 cr8 = 5;

	wrmsr_(0x1b, rdmsr_(0x1b) | 1 << 10);
	wrmsr_(0x80f, 0xff);			/* disabled, as it was */
	result[8] = rdmsr_(0x835);
	guest_apic_on(true);
	wrmsr_(0x830, 0x40000 | 0x61);		/* two to itself, lower first */
	wrmsr_(0x830, 0x40000 | 0x72);
	result[0] = rdmsr_(0x823);		/* IRR 0x60-0x7f */
	asm volatile("sti; nop; nop; cli");
	result[1] = taken;
	asm volatile("mov %0, %%cr8" : : "r"(cr8));
	wrmsr_(0x830, 0x40000 | 0x55);		/* class 5: not above the TPR */
	wrmsr_(0x830, 0x40000 | 0x65);
	asm volatile("sti; nop; nop; cli");
	result[2] = count[0x55];
	result[3] = count[0x65];
	cr8 = 0;
	asm volatile("sti; mov %0, %%cr8; nop; nop; cli" : : "r"(cr8));
	result[4] = count[0x55];
	wrmsr_(0x830, 0x400);			/* NMI to APIC id 0: itself */
	asm volatile("nop; nop");
	result[5] = count[2];
	wrmsr_(0x83f, 0x66);			/* SELF_IPI */
	asm volatile("sti; nop; nop; cli");
	result[6] = count[0x66];
	result[7] = rdmsr_(0x802);
	guest_exit();
}

static void lapic_ipi(void)
{
	struct guest g;

	TAP_REQUIRE(run(&g, GUEST_IRQCHIP, on_irq, lapic_ipi_guest, NULL), "the IPI guest ends");
	tap_ok(result[8] & 0x10000, "disabling by SPIV masks LINT0");
	tap_ok(result[0] == (1ull << 1 | 1ull << 18), "requests wait in IRR while IF is clear");
	tap_ok(result[1] == 2 && order[0] == 0x72 && order[1] == 0x61, "the higher vector is taken first");
	tap_ok(result[2] == 0 && result[3] == 1, "CR8 holds back its own class, not the next");
	tap_ok(result[4] == 1, "lowering CR8 lets the waiting interrupt in");
	tap_ok(result[5] == 1, "an NMI by ICR is taken with IF clear");
	tap_ok(result[6] == 1, "SELF_IPI delivers");
	tap_ok(result[7] == 0, "the x2APIC id is the vCPU's id");
	guest_destroy(&g);
}

static void lapic_state(void)
{
	struct kvm_lapic_state a, b;
	struct guest g;

	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	guest_must(ioctl(g.vcpu[0], KVM_GET_LAPIC, &a));
	tap_ok(*(u32 *)(a.regs + 0x30) >> 16 >= 5, "KVM_GET_LAPIC shows a version register with six LVTs");
	*(u32 *)(a.regs + 0x80) = 0x30;		/* TPR */
	*(u32 *)(a.regs + 0xf0) = 0x1ff;
	*(u32 *)(a.regs + 0x230) = 1 << 5;	/* IRR 0x65 */
	guest_must(ioctl(g.vcpu[0], KVM_SET_LAPIC, &a));
	guest_must(ioctl(g.vcpu[0], KVM_GET_LAPIC, &b));
	tap_ok(!memcmp(a.regs + 0x80, b.regs + 0x80, 4) && !memcmp(a.regs + 0xf0, b.regs + 0xf0, 4) &&
	       !memcmp(a.regs + 0x230, b.regs + 0x230, 4), "KVM_SET_LAPIC comes back from KVM_GET_LAPIC");
	guest_destroy(&g);
}

/* ---- INIT and SIPI ---- */

static GUEST void sipi_guest(void)
{
	guest_apic_on(true);
	wrmsr_(0x830, 1ull << 32 | 0x4500);	/* INIT */
	wrmsr_(0x830, 1ull << 32 | 0x4601);	/* SIPI to 0x1000 */
	WAIT(*(volatile u8 *)0x2000 == 0x5a, LONG);
	result[0] = *(volatile u8 *)0x2000;
	guest_exit();
}

static void *ap_thread(void *arg)
{
	struct guest *g = arg;

	while (ioctl(g->vcpu[1], KVM_RUN, 0) == 0 || errno == EINTR || errno == EAGAIN)
		if (g->run[1]->exit_reason == KVM_EXIT_IO && g->run[1]->io.port == 0x99)
			break;
	return NULL;
}

static void sipi(void)
{
	/* movb $0x5a, 0x2000 (DS = 0); out %al, $0x99; hlt */
	static const u8 code[] = { 0x31, 0xc0, 0x8e, 0xd8, 0xc6, 0x06, 0x00, 0x20, 0x5a, 0xe6, 0x99, 0xf4 };
	struct kvm_mp_state mp;
	struct kvm_sregs s;
	struct guest g;
	pthread_t t;
	int why;

	reset_results(on_irq);
	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	guest_vcpu(&g, 1);
	memcpy(g.low, code, sizeof(code));
	guest_must(ioctl(g.vcpu[1], KVM_GET_MP_STATE, &mp));
	tap_ok(mp.mp_state == KVM_MP_STATE_UNINITIALIZED, "a second vCPU starts uninitialized");
	pthread_create(&t, NULL, ap_thread, &g);
	guest_start64(&g, 0, sipi_guest);
	why = guest_run(&g, 0);
	pthread_join(t, NULL);
	tap_ok(why == GUEST_DONE && result[0] == 0x5a, "INIT and SIPI start it in real mode at the vector's page");
	guest_must(ioctl(g.vcpu[1], KVM_GET_SREGS, &s));
	tap_ok(s.cs.selector == 0x100 && s.cs.base == 0x1000 && !(s.cr0 & 1), "CS holds the SIPI's page");
	guest_destroy(&g);
}

/* ---- IOAPIC ---- */

static void ioapic_step(struct guest *g, u8 step)
{
	switch (step) {
	case 1:
		line(g, 5, 1);
		break;
	case 2:
		line(g, 5, 0);
		break;
	case 3:
		line(g, 6, 1);
		line(g, 6, 0);
		break;
	}
}

static GUEST void on_level(u64 vector, u64 *frame __attribute__((unused)), u64 error __attribute__((unused)))
{
	count[vector]++;
	if (vector == 0x75) {
		result[8] = ioapic_read(0x10 + 2 * 5);	/* remote IRR while in service */
		if (count[vector] == 3)
			ask(2);
	}
	apic_write(0xb0, 0);
}

static GUEST void ioapic_guest(void)
{
	outb(0x21, 0xff);		/* the lines go to the PIC as well */
	outb(0xa1, 0xff);
	guest_apic_on(false);
	result[0] = ioapic_read(1);
	ioapic_write(0x10 + 2 * 5 + 1, 0);
	ioapic_write(0x10 + 2 * 5, 0x8075);	/* pin 5: level, vector 0x75, to id 0 */
	ask(1);
	WAIT(count[0x75] >= 3, LONG);
	WAIT(0, 10000000);
	result[1] = count[0x75];
	result[2] = ioapic_read(0x10 + 2 * 5);
	ioapic_write(0x10 + 2 * 6 + 1, 0);
	ioapic_write(0x10 + 2 * 6, 0x10076);	/* pin 6: edge, masked */
	ask(3);
	WAIT(0, 10000000);
	result[3] = count[0x76];
	ioapic_write(0x10 + 2 * 6, 0x76);
	ask(3);
	WAIT(count[0x76], LONG);
	WAIT(0, 10000000);
	result[4] = count[0x76];
	guest_exit();
}

static void ioapic(void)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };
	struct guest g;

	TAP_REQUIRE(run(&g, GUEST_IRQCHIP, on_level, ioapic_guest, ioapic_step), "the IOAPIC's guest ends");
	tap_ok((result[0] >> 16 & 0xff) == 23, "the IOAPIC has 24 pins");
	tap_ok(result[8] & 1 << 14, "remote IRR is set while a level interrupt is in service");
	tap_ok(result[1] == 3, "a level that stays up comes again after each EOI, and ends when lowered");
	tap_ok(!(result[2] & 1 << 14), "remote IRR is clear after the last EOI");
	tap_ok(result[3] == 0, "a masked pin delivers nothing");
	tap_ok(result[4] >= 1, "an edge delivers");
	guest_must(ioctl(g.vm, KVM_GET_IRQCHIP, &chip));
	tap_ok(chip.chip.ioapic.redirtbl[5].fields.vector == 0x75 && chip.chip.ioapic.redirtbl[5].fields.trig_mode,
	       "KVM_GET_IRQCHIP shows what the guest wrote");
	guest_destroy(&g);
}

/* ---- PIC and PIT ---- */

static void pic_step(struct guest *g, u8 step)
{
	if (step == 1) {
		line(g, 3, 1);
		line(g, 3, 0);
	} else if (step == 2) {
		line(g, 10, 1);
		line(g, 10, 0);
	}
}

GUEST_INLINE void pic_init(u8 mask0, u8 mask1)
{
	outb(0x20, 0x11);
	outb(0x21, 0x90);
	outb(0x21, 4);
	outb(0x21, 1);
	outb(0xa0, 0x11);
	outb(0xa1, 0x98);
	outb(0xa1, 2);
	outb(0xa1, 1);
	outb(0x21, mask0);
	outb(0xa1, mask1);
}

static GUEST void on_pic_both(u64 vector, u64 *frame __attribute__((unused)), u64 error __attribute__((unused)))
{
	count[vector]++;
	if (vector >= 0x98)
		outb(0xa0, 0x20);
	outb(0x20, 0x20);
}

static GUEST void pic_guest(void)
{
	pic_init(0xf3, 0xfb);		/* 2, 3 and 10 */
	result[0] = inb(0x21) | inb(0xa1) << 8;
	ask(1);
	WAIT(count[0x93], LONG);
	ask(2);
	WAIT(count[0x9a], LONG);
	outb(0x21, 0xff);
	ask(1);
	WAIT(0, 10000000);
	result[1] = count[0x93];
	outb(0x20, 0x0a);
	result[2] = inb(0x20);		/* IRR */
	outb(0x21, 0xf3);
	WAIT(count[0x93] > 1, LONG);
	result[3] = count[0x93];
	guest_exit();
}

static void pic(void)
{
	struct guest g;

	TAP_REQUIRE(run(&g, GUEST_IRQCHIP, on_pic_both, pic_guest, pic_step), "the PIC's guest ends");
	tap_ok(result[0] == 0xfbf3, "the masks read back");
	tap_ok(count[0x93] >= 1, "a line of the master is delivered through LINT0");
	tap_ok(count[0x9a] == 1, "a line of the slave is delivered through the cascade");
	tap_ok(result[1] == 1 && result[2] & 8, "a masked edge waits in IRR");
	tap_ok(result[3] == 2, "unmasking lets it in");
	guest_destroy(&g);
}

static GUEST void pit_guest(void)
{
	u32 a, b;
	u64 until;

	pic_init(0xfe, 0xff);
	outb(0x43, 0x34);		/* channel 0, mode 2 */
	outb(0x40, 1193 & 0xff);	/* a millisecond */
	outb(0x40, 1193 >> 8);
	WAIT(count[0x90] >= 5, LONG);
	result[0] = count[0x90];
	outb(0x21, 0xff);
	outb(0x43, 0x34);
	outb(0x40, 0);
	outb(0x40, 0);
	outb(0x43, 0);			/* latch */
	a = inb(0x40);
	a |= inb(0x40) << 8;
	WAIT(0, 1000000);
	outb(0x43, 0);
	b = inb(0x40);
	b |= inb(0x40) << 8;
	result[1] = a;
	result[2] = b;
	outb(0x43, 0xe2);		/* read-back: status of channel 0 */
	result[3] = inb(0x40);
	outb(0x61, 1);			/* channel 2, mode 0, as a delay loop uses it */
	outb(0x43, 0xb0);
	outb(0x42, 0xff);
	outb(0x42, 0xff);
	result[4] = inb(0x61) & 0x20;
	until = rdtsc_() + LONG;
	while (!(inb(0x61) & 0x20) && rdtsc_() < until)
		;
	result[5] = inb(0x61) & 0x20;
	guest_exit();
}

static void pit(void)
{
	struct kvm_pit_config config = { .flags = KVM_PIT_SPEAKER_DUMMY };
	struct kvm_pit_state2 s;
	struct guest g;

	reset_results(on_pic);
	guest_create(&g, node, GUEST_IRQCHIP);
	guest_must(ioctl(g.vm, KVM_CREATE_PIT2, &config));
	tap_ok(ioctl(g.vm, KVM_CREATE_PIT2, &config) < 0 && errno == EEXIST, "a second PIT is refused with EEXIST");
	guest_vcpu(&g, 0);
	guest_start64(&g, 0, pit_guest);
	TAP_REQUIRE(guest_run(&g, 0) == GUEST_DONE, "the PIT's guest ends");
	tap_ok(result[0] >= 5, "channel 0 ticks");
	tap_ok(result[2] < result[1] || result[1] < 100, "a latched count counts down (%lu, %lu)", (long)result[1], (long)result[2]);
	tap_ok((result[3] & 0x3f) == 0x34, "read-back gives the channel's mode");
	tap_ok(result[4] == 0 && result[5] == 0x20, "channel 2's output rises at the end of its count");
	guest_must(ioctl(g.vm, KVM_GET_PIT2, &s));
	tap_ok(s.channels[0].mode == 2 && s.channels[2].gate == 1, "KVM_GET_PIT2 shows the channels");
	guest_destroy(&g);
}

/* ---- messages ---- */

static u64 msi_first, msi_second, msi_nobody;

static void msi_step(struct guest *g, u8 step)
{
	struct kvm_msi msi = { .address_lo = 0xfee00000, .data = 0x81 };

	if (step != 1)
		return;
	msi_first = ioctl(g->vm, KVM_SIGNAL_MSI, &msi);
	msi_second = ioctl(g->vm, KVM_SIGNAL_MSI, &msi);
	msi.address_lo = 0xfee77000;
	msi_nobody = ioctl(g->vm, KVM_SIGNAL_MSI, &msi);
}

static GUEST void msi_guest(void)
{
	guest_apic_on(false);
	ask(1);
	WAIT(0, 10000000);
	result[0] = count[0x81];
	guest_exit();
}

static void msi(void)
{
	struct guest g;

	TAP_REQUIRE(run(&g, GUEST_IRQCHIP, on_irq_xapic, msi_guest, msi_step), "the MSI guest ends");
	tap_ok(msi_first == 1, "KVM_SIGNAL_MSI answers that it delivered");
	tap_ok(msi_second == 1, "a second one before the first was taken counts as delivered");
	tap_ok((long)msi_nobody <= 0, "one to nobody is not delivered");
	tap_ok(result[0] == 1, "the guest takes one");
	guest_destroy(&g);
	TAP_REQUIRE(run(&g, GUEST_SPLIT, on_irq_xapic, msi_guest, msi_step), "the MSI guest ends with a split irqchip");
	tap_ok(result[0] == 1, "MSIs reach the LAPIC of a split irqchip");
	guest_destroy(&g);
}

int main(int argc, char **argv)
{
	node = tap_node(argc, argv);
	lapic_timer();
	lapic_ipi();
	lapic_state();
	sipi();
	ioapic();
	pic();
	pit();
	msi();
	return tap_done();
}
