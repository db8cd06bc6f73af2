// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Eventfds and rings beside a running guest: KVM_IOEVENTFD, coalesced writes, KVM_IRQFD, routing and MSIs.
 *
 * CFLAGS: -mno-red-zone
 */
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>

#include "guest.h"
#include "tap.h"

#define PORT	0x5550
#define MMIO	0xd0000000ul

enum action { A_OUTB, A_OUTW, A_OUTL, A_W1, A_W2, A_W4, A_W8 };

static const char *node;
static volatile u64 action, target, value;

/* One write a step. */
static GUEST void writer(void)
{
	for (;;) {
		switch (action) {
		case A_OUTB:
			outb(target, value);
			break;
		case A_OUTW:
			outw(target, value);
			break;
		case A_OUTL:
			outl(target, value);
			break;
		case A_W1:
			*(volatile u8 *)target = value;
			break;
		case A_W2:
			*(volatile u16 *)target = value;
			break;
		case A_W4:
			*(volatile u32 *)target = value;
			break;
		case A_W8:
			*(volatile u64 *)target = value;
			break;
		}
		outb(GUEST_EXIT_PORT, 0);
	}
}

/* The guest writes; true if the write came to user space. */
static bool writes(struct guest *g, enum action a, u64 where, u64 what)
{
	bool exited = false;
	int why;

	action = a;
	target = where;
	value = what;
	while ((why = guest_run(g, 0)) != GUEST_DONE) {
		if (why != KVM_EXIT_IO && why != KVM_EXIT_MMIO)
			guest_die("exit reason %d", why);
		exited = true;
	}
	return exited;
}

static u64 drain(int efd)
{
	u64 n = 0;

	return read(efd, &n, 8) == 8 ? n : 0;
}

static int event(void)
{
	return guest_must(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
}

static int io(struct guest *g, int fd, u64 addr, u32 len, u32 flags, u64 match)
{
	struct kvm_ioeventfd e = { .fd = fd, .addr = addr, .len = len, .flags = flags, .datamatch = match };

	return ioctl(g->vm, KVM_IOEVENTFD, &e) < 0 ? -errno : 0;
}

#define MATCH	KVM_IOEVENTFD_FLAG_DATAMATCH
#define PIO	KVM_IOEVENTFD_FLAG_PIO
#define OFF	KVM_IOEVENTFD_FLAG_DEASSIGN

static void ioeventfd_errors(struct guest *g)
{
	int a = event(), b = event(), plain = guest_must(open("/dev/null", O_RDWR));

	tap_eq(io(g, a, MMIO, 3, 0, 0), -EINVAL, "ioeventfd of length 3: EINVAL");
	tap_eq(io(g, a, MMIO, 16, 0, 0), -EINVAL, "ioeventfd of length 16: EINVAL");
	tap_eq(io(g, a, MMIO, 0, MATCH, 1), -EINVAL, "ioeventfd that matches data of no length: EINVAL");
	tap_eq(io(g, a, -2ul, 4, 0, 0), -EINVAL, "ioeventfd that wraps: EINVAL");
	tap_eq(io(g, a, MMIO, 4, 1u << 20, 0), -EINVAL, "ioeventfd with an unknown flag: EINVAL");
	tap_eq(io(g, -1, MMIO, 4, 0, 0), -EBADF, "ioeventfd without a descriptor: EBADF");
	tap_eq(io(g, plain, MMIO, 4, 0, 0), -EINVAL, "ioeventfd of another kind of file: EINVAL");
	tap_eq(io(g, a, MMIO, 4, 0, 0), 0, "ioeventfd");
	tap_eq(io(g, b, MMIO, 4, 0, 0), -EEXIST, "a second one there: EEXIST");
	tap_eq(io(g, b, MMIO, 4, MATCH, 5), -EEXIST, "one that the first would hide: EEXIST");
	tap_eq(io(g, b, MMIO, 0, 0, 0), -EEXIST, "one of any length there: EEXIST");
	tap_eq(io(g, b, MMIO, 2, 0, 0), 0, "one of another length");
	tap_eq(io(g, b, MMIO, 4, PIO, 0), 0, "one at the same number in port space");
	tap_eq(io(g, b, MMIO, 4, OFF, 0), -ENOENT, "removal with another descriptor: ENOENT");
	tap_eq(io(g, a, MMIO, 2, OFF, 0), -ENOENT, "removal with another length: ENOENT");
	tap_eq(io(g, a, MMIO, 4, OFF | MATCH, 0), -ENOENT, "removal as one that matches: ENOENT");
	tap_eq(io(g, a, MMIO, 4, OFF, 0), 0, "removal");
	tap_eq(io(g, a, MMIO, 4, OFF, 0), -ENOENT, "a second removal: ENOENT");
	tap_eq(io(g, b, MMIO, 2, OFF, 0), 0, "removal of the shorter one");
	tap_eq(io(g, b, MMIO, 4, PIO | OFF, 0), 0, "removal of the one in port space");
	close(a);
	close(b);
	close(plain);
}

static void ioeventfd_ports(struct guest *g)
{
	int a = event(), b = event();

	tap_eq(io(g, a, PORT, 2, PIO | MATCH, 7), 0, "an ioeventfd for value 7 at a port");
	tap_eq(io(g, b, PORT, 2, PIO | MATCH, 8), 0, "another for value 8");
	tap_ok(!writes(g, A_OUTW, PORT, 7) && drain(a) == 1 && !drain(b), "writing 7 signals the first");
	tap_ok(!writes(g, A_OUTW, PORT, 8) && !drain(a) && drain(b) == 1, "writing 8 the second");
	tap_ok(writes(g, A_OUTW, PORT, 9) && !drain(a) && !drain(b), "writing 9 is the VMM's");
	tap_ok(writes(g, A_OUTB, PORT, 7) && !drain(a), "another width is the VMM's");
	tap_ok(writes(g, A_OUTW, PORT + 1, 7) && !drain(a), "another port is the VMM's");
	io(g, a, PORT, 2, PIO | MATCH | OFF, 7);
	tap_ok(writes(g, A_OUTW, PORT, 7) && !drain(a), "after removal it is the VMM's");
	tap_ok(!writes(g, A_OUTW, PORT, 8) && drain(b) == 1, "the other one stays");
	io(g, b, PORT, 2, PIO | MATCH | OFF, 8);
	tap_eq(io(g, a, PORT, 0, PIO, 0), 0, "one for any width");
	tap_ok(!writes(g, A_OUTB, PORT, 1) && !writes(g, A_OUTL, PORT, 2) && drain(a) == 2, "is signalled by all widths");
	tap_ok(writes(g, A_OUTB, PORT + 1, 1), "but not at the next port");
	io(g, a, PORT, 0, PIO | OFF, 0);
	close(a);
	close(b);
}

static void ioeventfd_memory(struct guest *g)
{
	int a = event(), b = event();

	tap_eq(io(g, a, MMIO + 0x50, 4, MATCH, 3), 0, "an ioeventfd for value 3 in device memory");
	tap_ok(!writes(g, A_W4, MMIO + 0x50, 3) && drain(a) == 1, "is signalled by that value");
	tap_ok(writes(g, A_W4, MMIO + 0x50, 4) && !drain(a), "not by another");
	tap_ok(writes(g, A_W2, MMIO + 0x50, 3) && !drain(a), "not by another width");
	tap_eq(io(g, b, MMIO + 0x60, 0, 0, 0), 0, "one for any width and value");
	tap_ok(!writes(g, A_W1, MMIO + 0x60, 1) && !writes(g, A_W2, MMIO + 0x60, 2) && !writes(g, A_W4, MMIO + 0x60, 3) &&
	       !writes(g, A_W8, MMIO + 0x60, 4) && drain(b) == 4, "is signalled by all of them");
	tap_ok(writes(g, A_W1, MMIO + 0x61, 1) && !drain(b), "not one byte further");
	tap_eq(io(g, a, MMIO + 0x70, 8, MATCH, 0x123456789abcdefull), 0, "one for a value of eight bytes");
	tap_ok(!writes(g, A_W8, MMIO + 0x70, 0x123456789abcdefull) && drain(a) == 1, "is signalled by it");
	tap_ok(writes(g, A_W8, MMIO + 0x70, 0x023456789abcdefull) && !drain(a), "all bytes count");
	close(b);
	tap_ok(!writes(g, A_W1, MMIO + 0x60, 1), "closing the descriptor leaves it registered");
	close(a);
}

/* ---- coalesced writes ---- */

static void coalesced(struct guest *g)
{
	struct kvm_coalesced_mmio_zone zone = { .addr = MMIO + 0x1000, .size = 0x100 }, pio = { .addr = PORT, .size = 1, .pio = 1 };
	struct kvm_coalesced_mmio_zone bad = { .addr = MMIO, .size = 8, .pio = 2 };
	struct kvm_coalesced_mmio_ring *ring = (void *)((char *)g->run[0] + 4096 * ioctl(g->sys, KVM_CHECK_EXTENSION,
											   KVM_CAP_COALESCED_MMIO));
	int max = (4096 - sizeof(*ring)) / sizeof(ring->coalesced_mmio[0]), n;
	int a = event();

	tap_ok(ioctl(g->vm, KVM_REGISTER_COALESCED_MMIO, &bad) < 0 && errno == EINVAL, "a zone of no kind: EINVAL");
	tap_eq(ioctl(g->vm, KVM_UNREGISTER_COALESCED_MMIO, &zone), 0, "removal of a zone that is not there succeeds");
	tap_eq(ioctl(g->vm, KVM_REGISTER_COALESCED_MMIO, &zone), 0, "a zone");
	tap_ok(!writes(g, A_W4, MMIO + 0x1010, 0xabcdef) && ring->last == 1, "a write into it goes into the ring");
	tap_ok(ring->coalesced_mmio[0].phys_addr == MMIO + 0x1010 && ring->coalesced_mmio[0].len == 4 &&
	       !ring->coalesced_mmio[0].pio && *(u32 *)ring->coalesced_mmio[0].data == 0xabcdef, "with address, length and data");
	tap_ok(writes(g, A_W4, MMIO + 0x1100, 1) && writes(g, A_W4, MMIO + 0x10fe, 1) && ring->last == 1,
	       "a write behind it, or over its end, is the VMM's");
	tap_eq(ioctl(g->vm, KVM_REGISTER_COALESCED_MMIO, &pio), 0, "a zone of ports");
	tap_ok(!writes(g, A_OUTB, PORT, 0x5a) && ring->last == 2 && ring->coalesced_mmio[1].pio == 1 &&
	       ring->coalesced_mmio[1].phys_addr == PORT && ring->coalesced_mmio[1].data[0] == 0x5a, "goes into the same ring");
	tap_ok(writes(g, A_OUTW, PORT, 1), "a port write that is wider than the zone is the VMM's");

	for (n = 2; n < max + 8 && !writes(g, A_W1, MMIO + 0x1000, n); n++)
		;
	/* Stock KVM counts the room modulo 2^32 and stops after half of it. */
	tap_ok(n > 60 && n <= max - 1 && ring->last == (u32)n, "when the ring is full, a write is the VMM's");
	ring->first = ring->last;
	tap_ok(!writes(g, A_W1, MMIO + 0x1000, 1), "emptied, it takes writes again");
	ring->first = 0x12345678;
	ring->last = 0xfffffff0;
	writes(g, A_W1, MMIO + 0x1000, 1);
	tap_ok(true, "indices out of range do no harm");
	ring->first = ring->last = 0;

	tap_eq(io(g, a, MMIO + 0x1020, 4, 0, 0), 0, "an ioeventfd inside a zone");
	tap_ok(!writes(g, A_W4, MMIO + 0x1040, 1) && !drain(a), "does not take the zone's other writes");
	io(g, a, MMIO + 0x1020, 4, OFF, 0);
	tap_eq(ioctl(g->vm, KVM_UNREGISTER_COALESCED_MMIO, &zone), 0, "the zone is removed");
	tap_ok(writes(g, A_W4, MMIO + 0x1010, 1), "its writes are the VMM's");
	close(a);
}

/* ---- interrupts ---- */

#define VECTOR	0x51

static volatile u64 got[256], ready;

static GUEST void on_irq(u64 vector, u64 *frame, u64 error)
{
	(void)frame;
	(void)error;
	got[vector]++;
	apic_write(0xb0, 0);
}

static GUEST void waiter(void)
{
	guest_apic_on(false);
	ready = 1;
	for (;;)
		asm volatile("sti; hlt; cli");
}

static void *run_thread(void *arg)
{
	struct guest *g = arg;

	while (!g->run[0]->immediate_exit) {
		if (ioctl(g->vcpu[0], KVM_RUN, 0) < 0 && errno != EINTR && errno != EAGAIN)
			break;
	}
	return NULL;
}

/* Wait until @vector was taken @n times; false after five seconds. */
static bool came(int vector, u64 n)
{
	int i;

	for (i = 0; i < 5000 && got[vector] < n; i++)
		usleep(1000);
	return got[vector] == n;
}

static int route(struct guest *g, u32 gsi, u32 vector)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry e[2];
	} r = { .head.nr = 1 };

	r.e[0].gsi = gsi;
	r.e[0].type = KVM_IRQ_ROUTING_MSI;
	r.e[0].u.msi.address_lo = 0xfee00000;
	r.e[0].u.msi.data = vector;
	return ioctl(g->vm, KVM_SET_GSI_ROUTING, &r) < 0 ? -errno : 0;
}

static int irq(struct guest *g, int fd, u32 gsi, u32 flags, int resample)
{
	struct kvm_irqfd e = { .fd = fd, .gsi = gsi, .flags = flags, .resamplefd = resample };

	return ioctl(g->vm, KVM_IRQFD, &e) < 0 ? -errno : 0;
}

static void signal_event(int fd)
{
	u64 one = 1;

	guest_must(write(fd, &one, 8));
}

static void routing_errors(struct guest *g)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry e[2];
	} r = { .head.nr = 4097 };

	tap_ok(ioctl(g->vm, KVM_SET_GSI_ROUTING, &r) < 0 && errno == EINVAL, "4097 routes: EINVAL");
	r.head.nr = 1;
	r.head.flags = 1;
	tap_ok(ioctl(g->vm, KVM_SET_GSI_ROUTING, &r) < 0 && errno == EINVAL, "routing with flags: EINVAL");
	r.head.flags = 0;
	r.e[0].gsi = 4096;
	r.e[0].type = KVM_IRQ_ROUTING_MSI;
	tap_ok(ioctl(g->vm, KVM_SET_GSI_ROUTING, &r) < 0 && errno == EINVAL, "GSI 4096: EINVAL");
	r.e[0].gsi = 5;
	r.e[0].type = 77;
	tap_ok(ioctl(g->vm, KVM_SET_GSI_ROUTING, &r) < 0 && errno == EINVAL, "a route of unknown type: EINVAL");
	r.e[0].type = KVM_IRQ_ROUTING_IRQCHIP;
	r.e[0].u.irqchip.irqchip = 9;
	tap_ok(ioctl(g->vm, KVM_SET_GSI_ROUTING, &r) < 0 && errno == EINVAL, "a route to an unknown irqchip: EINVAL");
	r.e[0].u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
	r.e[0].u.irqchip.pin = 24;
	tap_ok(ioctl(g->vm, KVM_SET_GSI_ROUTING, &r) < 0 && errno == EINVAL, "IOAPIC pin 24: EINVAL");
	r.e[0].u.irqchip.pin = 4;
	r.e[1] = r.e[0];
	r.e[1].u.irqchip.pin = 5;
	r.head.nr = 2;
	tap_ok(ioctl(g->vm, KVM_SET_GSI_ROUTING, &r) < 0 && errno == EINVAL, "one GSI to two pins of an irqchip: EINVAL");
	r.e[1].u.irqchip.irqchip = KVM_IRQCHIP_PIC_MASTER;
	tap_eq(ioctl(g->vm, KVM_SET_GSI_ROUTING, &r), 0, "one GSI to two irqchips");
	r.head.nr = 0;
	tap_eq(ioctl(g->vm, KVM_SET_GSI_ROUTING, &r), 0, "an empty table");
}

static void irqfd_errors(struct guest *g)
{
	int a = event(), plain = guest_must(open("/dev/null", O_RDWR));

	tap_eq(irq(g, a, 30, 0x100, 0), -EINVAL, "irqfd with an unknown flag: EINVAL");
	tap_eq(irq(g, -1, 30, 0, 0), -EBADF, "irqfd without a descriptor: EBADF");
	tap_eq(irq(g, plain, 30, 0, 0), -EINVAL, "irqfd of another kind of file: EINVAL");
	tap_eq(irq(g, a, 5, KVM_IRQFD_FLAG_RESAMPLE, -1), -EBADF, "resampling without a second descriptor: EBADF");
	tap_eq(irq(g, a, 30, 0, 0), 0, "irqfd");
	tap_eq(irq(g, a, 31, 0, 0), -EBUSY, "the same descriptor a second time: EBUSY");
	tap_eq(irq(g, a, 31, KVM_IRQFD_FLAG_DEASSIGN, 0), 0, "removal of what is not there succeeds");
	tap_eq(irq(g, a, 30, KVM_IRQFD_FLAG_DEASSIGN, 0), 0, "removal");
	tap_eq(irq(g, a, 31, 0, 0), 0, "then it can be used again");
	close(a);
	a = event();
	tap_eq(irq(g, a, 31, 0, 0), 0, "closing a descriptor removes its irqfd");
	tap_eq(irq(g, a, 31, KVM_IRQFD_FLAG_DEASSIGN, 0), 0, "and its GSI can be had by another");
	close(a);
	close(plain);
}

static void interrupts(struct guest *g)
{
	struct kvm_msi msi = { .address_lo = 0xfee00000, .data = 0x61 }, nobody = { .address_lo = 0xfee55000, .data = 0x61 };
	struct kvm_irq_level line = { .irq = 40, .level = 1 };
	int a = event(), b = event(), i;
	pthread_t t;

	for (i = 32; i < 256; i++)
		guest_irq[i] = on_irq;
	guest_start64(g, 0, waiter);
	pthread_create(&t, NULL, run_thread, g);
	while (!ready)
		usleep(1000);

	tap_ok(ioctl(g->vm, KVM_SIGNAL_MSI, &msi) > 0 && came(0x61, 1), "SIGNAL_MSI reaches the guest");
	tap_ok(ioctl(g->vm, KVM_SIGNAL_MSI, &nobody) <= 0, "SIGNAL_MSI to nobody says so");
	msi.address_lo = 0;
	msi.data = 0x62;
	tap_ok(ioctl(g->vm, KVM_SIGNAL_MSI, &msi) > 0 && came(0x62, 1), "an address without its upper part will do");

	tap_eq(route(g, 40, VECTOR), 0, "a route from a GSI to an MSI");
	tap_eq(irq(g, a, 40, 0, 0), 0, "an irqfd on it");
	signal_event(a);
	tap_ok(came(VECTOR, 1), "raises it");
	tap_ok(!drain(a), "and consumes the event");
	for (i = 2; i <= 50; i++) {
		signal_event(a);
		if (!came(VECTOR, i))
			break;
	}
	tap_eq(i, 51, "fifty times");
	tap_eq(route(g, 40, VECTOR + 1), 0, "the route changes");
	signal_event(a);
	tap_ok(came(VECTOR + 1, 1) && got[VECTOR] == 50, "the irqfd follows");
	tap_ok(ioctl(g->vm, KVM_IRQ_LINE_STATUS, &line) == 0 && line.status > 0 && came(VECTOR + 1, 2), "IRQ_LINE_STATUS raises a routed MSI");
	tap_eq(irq(g, a, 40, KVM_IRQFD_FLAG_DEASSIGN, 0), 0, "the irqfd is removed");
	signal_event(a);
	usleep(20000);
	tap_ok(got[VECTOR + 1] == 2 && drain(a) == 1, "and raises nothing any more");

	signal_event(b);
	tap_eq(irq(g, b, 40, 0, 0), 0, "an irqfd on an eventfd that is signalled already");
	tap_ok(came(VECTOR + 1, 3), "raises at once");
	line.irq = 41;
	tap_ok(ioctl(g->vm, KVM_IRQ_LINE_STATUS, &line) == 0 && line.status < 0, "a GSI without a route: status -1");
	close(b);

	g->run[0]->immediate_exit = 1;
	ioctl(g->vm, KVM_SIGNAL_MSI, &msi);
	pthread_kill(t, SIGUSR1);
	pthread_join(t, NULL);
	close(a);
}

/* ---- level-triggered, with a resample eventfd: PIC and IOAPIC are not needed by hand, the IOAPIC's pin 5 is programmed ---- */

static GUEST void level_waiter(void)
{
	volatile u32 *ioapic = (volatile u32 *)0xfec00000ul;

	outb(0x21, 0xff);	/* the PIC has the line as well */
	outb(0xa1, 0xff);
	guest_apic_on(false);
	ioapic[0] = 0x10 + 2 * 5 + 1;
	ioapic[4] = 0;
	ioapic[0] = 0x10 + 2 * 5;
	ioapic[4] = 0x71 | 1 << 15;	/* level, fixed, unmasked */
	ready = 1;
	for (;;)
		asm volatile("sti; hlt; cli");
}

static void resample(void)
{
	int a, r, i;
	struct guest g;
	pthread_t t;

	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	a = event();
	r = event();
	ready = 0;
	tap_eq(irq(&g, a, 5, KVM_IRQFD_FLAG_RESAMPLE, r), 0, "an irqfd with resampling on IOAPIC pin 5");
	guest_start64(&g, 0, level_waiter);
	pthread_create(&t, NULL, run_thread, &g);
	while (!ready)
		usleep(1000);
	signal_event(a);
	if (!tap_ok(came(0x71, 1), "raises the pin, once"))
		tap_note("it was taken %llu times", (unsigned long long)got[0x71]);
	for (i = 0; i < 1000 && !drain(r); i++)
		usleep(1000);
	tap_ok(i < 1000, "the guest's EOI signals the second eventfd");
	signal_event(a);
	tap_ok(came(0x71, 2), "it can be raised again");
	tap_eq(irq(&g, a, 5, KVM_IRQFD_FLAG_DEASSIGN, 0), 0, "it is removed");
	g.run[0]->immediate_exit = 1;
	pthread_kill(t, SIGUSR1);
	pthread_join(t, NULL);
	guest_destroy(&g);
	close(a);
	close(r);
}

static void nothing(int sig __attribute__((unused)))
{
}

int main(int argc, char **argv)
{
	struct sigaction act = { .sa_handler = nothing };
	struct guest g;

	node = tap_node(argc, argv);
	sigaction(SIGUSR1, &act, NULL);
	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	guest_start64(&g, 0, writer);
	ioeventfd_errors(&g);
	ioeventfd_ports(&g);
	ioeventfd_memory(&g);
	coalesced(&g);
	routing_errors(&g);
	irqfd_errors(&g);
	interrupts(&g);
	guest_destroy(&g);
	resample();
	return tap_done();
}
