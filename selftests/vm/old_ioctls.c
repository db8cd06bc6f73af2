// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * old_ioctls - what few VMMs still call, and what answers to interrupts say: KVM_IRQ_LINE_STATUS, KVM_GET/SET_PIT2,
 * KVM_REINJECT_CONTROL, KVM_SET_CPUID, KVM_GET_EMULATED_CPUID.
 */
#include "guest.h"
#include "tap.h"

#define ASK	0xe0	/* port: the guest asks the VMM for the step in al */
#define VECTOR	0x75
#define PIN	5

static const char *node;
static volatile u64 taken, leaf[4], ticks;

static GUEST void on_irq(u64 vector, u64 *frame, u64 error)
{
	(void)vector, (void)frame, (void)error;
	taken++;
	apic_write(0xb0, 0);
}

/* ---- KVM_IRQ_LINE_STATUS ---- */

GUEST_INLINE void pin_write(u32 low)
{
	volatile u32 *ioapic = (volatile u32 *)0xfec00000ul;

	ioapic[0] = 0x10 + 2 * PIN + 1;
	ioapic[4] = 0;
	ioapic[0] = 0x10 + 2 * PIN;
	ioapic[4] = low;
}

static GUEST void line_guest(void)
{
	outb(0x21, 0xff);	/* the PIC has the line as well */
	outb(0xa1, 0xff);
	guest_apic_on(false);
	pin_write(0x10000 | VECTOR);
	outb(ASK, 0);		/* masked */
	pin_write(VECTOR);
	outb(ASK, 1);		/* edge */
	asm volatile("sti; nop; nop; cli");
	outb(ASK, 2);		/* the first was taken */
	asm volatile("sti; nop; nop; cli");
	guest_exit();
}

static int line(struct guest *g, u32 level)
{
	struct kvm_irq_level l = { .irq = PIN, .level = level };

	guest_must(ioctl(g->vm, KVM_IRQ_LINE_STATUS, &l));
	return l.status;
}

static bool asks(struct guest *g, u8 step)
{
	return guest_run(g, 0) == KVM_EXIT_IO && g->run[0]->io.port == ASK && *((u8 *)g->run[0] + g->run[0]->io.data_offset) == step;
}

static void line_status(void)
{
	struct guest g;

	guest_irq[VECTOR] = on_irq;
	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	guest_start64(&g, 0, line_guest);
	TAP_REQUIRE(asks(&g, 0), "the guest masks a pin");
	tap_ok(line(&g, 1) < 0, "KVM_IRQ_LINE_STATUS: below 0 from a masked pin");
	line(&g, 0);
	TAP_REQUIRE(asks(&g, 1), "the guest opens the pin, as an edge");
	tap_eq(line(&g, 1), 1, "1 when it is delivered");
	tap_eq(line(&g, 1), 0, "0, coalesced, when the line is up already");
	line(&g, 0);
	TAP_REQUIRE(asks(&g, 2), "the guest takes it");
	tap_eq(taken, 1, "once");
	tap_eq(line(&g, 1), 1, "after the line fell, 1 again");
	line(&g, 0);
	tap_ok(guest_run(&g, 0) == GUEST_DONE && taken == 2, "and the guest takes a second");
	guest_destroy(&g);
}

/* ---- the PIT ---- */

static GUEST void on_tick(u64 vector, u64 *frame, u64 error)
{
	(void)vector, (void)frame, (void)error;
	ticks++;
	outb(0x20, 0x20);
}

static GUEST void pit_guest(void)
{
	outb(0x20, 0x11);
	outb(0x21, 0x90);
	outb(0x21, 4);
	outb(0x21, 1);
	outb(0x21, 0xfe);
	outb(ASK, 0);
	while (ticks < 3)
		asm volatile("sti; hlt; cli");
	guest_exit();
}

static void pit(void)
{
	struct kvm_reinject_control off = { .pit_reinject = 0 }, on = { .pit_reinject = 1 };
	struct kvm_pit_config config = { 0 };
	struct kvm_pit_state2 s = { 0 }, t;
	struct guest g;

	guest_irq[0x90] = on_tick;
	guest_create(&g, node, GUEST_IRQCHIP);
	tap_ok(ioctl(g.vm, KVM_GET_PIT2, &s) < 0 && errno == ENXIO, "KVM_GET_PIT2 without a PIT: ENXIO");
	tap_ok(ioctl(g.vm, KVM_SET_PIT2, &s) < 0 && errno == ENXIO, "KVM_SET_PIT2: ENXIO");
	tap_ok(ioctl(g.vm, KVM_REINJECT_CONTROL, &off) < 0 && errno == ENXIO, "KVM_REINJECT_CONTROL: ENXIO");
	guest_must(ioctl(g.vm, KVM_CREATE_PIT2, &config));
	guest_must(ioctl(g.vm, KVM_GET_PIT2, &s));
	tap_ok(ioctl(g.vm, KVM_REINJECT_CONTROL, NULL) < 0 && errno == EFAULT, "from a bad address: EFAULT");
	tap_eq(ioctl(g.vm, KVM_REINJECT_CONTROL, &off), 0, "with a PIT it is taken");
	guest_vcpu(&g, 0);
	guest_start64(&g, 0, pit_guest);
	TAP_REQUIRE(asks(&g, 0), "the guest opens IRQ 0");
	/* Channel 0: a tick every millisecond, programmed by the VMM alone. */
	s.channels[0].mode = 2;
	s.channels[0].count = 1193;
	s.channels[0].rw_mode = 3;
	s.channels[0].gate = 1;
	s.channels[1].count = 0x1234;
	tap_eq(ioctl(g.vm, KVM_SET_PIT2, &s), 0, "KVM_SET_PIT2");
	guest_must(ioctl(g.vm, KVM_GET_PIT2, &t));
	tap_ok(t.channels[0].mode == 2 && t.channels[0].count == 1193 && t.channels[0].rw_mode == 3 && t.channels[1].count == 0x1234,
	       "reads back");
	tap_ok(guest_run(&g, 0) == GUEST_DONE && ticks >= 3, "and channel 0 ticks, without re-injection");
	ticks = 0;
	tap_eq(ioctl(g.vm, KVM_REINJECT_CONTROL, &on), 0, "re-injection is switched on again");
	guest_start64(&g, 0, pit_guest);
	TAP_REQUIRE(asks(&g, 0), "the guest begins again");
	tap_ok(guest_run(&g, 0) == GUEST_DONE && ticks >= 3, "with it, channel 0 ticks");
	guest_destroy(&g);
}

/* ---- CPUID ---- */

static GUEST void cpuid_guest(void)
{
	u32 a = 0x40000010, b, c, d;

	asm volatile("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d));
	leaf[0] = a;
	leaf[1] = b;
	leaf[2] = c;
	leaf[3] = d;
	guest_exit();
}

static void set_cpuid(void)
{
	struct { struct kvm_cpuid head; struct kvm_cpuid_entry e[5]; } old = { .head.nent = 5, .e = {
		{ .function = 0, .eax = 1 }, { .function = 0x40000010, .eax = 1, .ebx = 2, .ecx = 3, .edx = 4 },
		{ .function = 1, .edx = 1 << 26 | 1 << 25 | 1 << 24 | 1 << 6 | 1 << 5 | 1 << 3 },	/* SSE2 SSE FXSR PAE MSR PSE */
		{ .function = 0x80000000, .eax = 0x80000001 },
		{ .function = 0x80000001, .edx = 1 << 29 | 1 << 20 | 1 << 11 } } };	/* LM NX SYSCALL */
	struct { struct kvm_cpuid2 head; struct kvm_cpuid_entry2 e[5]; } got = { .head.nent = 5 };
	unsigned int i;
	struct guest g;

	guest_create(&g, node, 0);
	g.vcpu[0] = guest_must(ioctl(g.vm, KVM_CREATE_VCPU, 0));
	g.run[0] = mmap(NULL, g.run_size, PROT_READ | PROT_WRITE, MAP_SHARED, g.vcpu[0], 0);
	if (g.run[0] == MAP_FAILED)
		guest_die("mmap of the vCPU");
	old.head.nent = 257;
	tap_ok(ioctl(g.vcpu[0], KVM_SET_CPUID, &old) < 0 && errno == E2BIG, "KVM_SET_CPUID with 257 entries: E2BIG");
	tap_ok(ioctl(g.vcpu[0], KVM_SET_CPUID, NULL) < 0 && errno == EFAULT, "from a bad address: EFAULT");
	old.head.nent = 5;
	tap_eq(ioctl(g.vcpu[0], KVM_SET_CPUID, &old), 0, "KVM_SET_CPUID with five");
	guest_must(ioctl(g.vcpu[0], KVM_GET_CPUID2, &got));
	for (i = 0; i < 5 && got.e[i].function != 0x40000010; i++)
		;
	tap_ok(got.head.nent == 5 && i < 5 && !got.e[i].index && !got.e[i].flags && got.e[i].edx == 4,
	       "KVM_GET_CPUID2 shows them, without indices");
	guest_start64(&g, 0, cpuid_guest);
	tap_ok(guest_run(&g, 0) == GUEST_DONE && leaf[0] == 1 && leaf[1] == 2 && leaf[2] == 3 && leaf[3] == 4, "and the guest reads them");
	guest_destroy(&g);
}

static void emulated(void)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + 80 * sizeof(c->entries[0]));
	int sys = guest_must(open(node, O_RDWR));
	bool good = true;
	unsigned int i;

	tap_ok(ioctl(sys, KVM_GET_EMULATED_CPUID, NULL) < 0 && errno == EFAULT, "KVM_GET_EMULATED_CPUID to a bad address: EFAULT");
	c->nent = 80;
	tap_eq(ioctl(sys, KVM_GET_EMULATED_CPUID, c), 0, "to a list of 80");
	/* The stock module has MOVBE and RDPID there; no node may name anything else, nor more entries than it has. */
	for (i = 0; i < c->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &c->entries[i];

		tap_note("%#x.%u: %#x %#x %#x %#x", e->function, e->index, e->eax, e->ebx, e->ecx, e->edx);
		good &= !e->ebx && !e->edx && (!e->function || e->function == 1 || e->function == 7);
		good &= !(e->ecx & ~(1u << 22));
	}
	tap_ok(good && c->nent <= 3, "which holds no feature but MOVBE and RDPID");
	close(sys);
	free(c);
}

int main(int argc, char **argv)
{
	node = tap_node(argc, argv);
	line_status();
	pit();
	set_cpuid();
	emulated();
	return tap_done();
}
