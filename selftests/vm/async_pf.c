// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Asynchronous page faults: while the VMM takes its time to bring a page in, the guest does something else, and hears when it is
 * there; where it cannot, it waits.
 *
 * CFLAGS: -mno-red-zone
 */
#include <linux/kvm_para.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sys/syscall.h>

#include "guest.h"
#include "tap.h"

#define SLOT	10
#define GPA	0x40000000ul
#define PAGES	16
#define SIZE	(PAGES * 4096ul)
#define VECTOR	0x60
#define MSR_EN	0x4b564d02
#define MSR_INT	0x4b564d06
#define MSR_ACK	0x4b564d07
#define ON	(KVM_ASYNC_PF_ENABLED | KVM_ASYNC_PF_DELIVERY_AS_INT)
#define ALWAYS	(ON | KVM_ASYNC_PF_SEND_ALWAYS)
#define ENOUGH	1000	/* steps of other work before the page comes */

static const char *node;
static int uffd;
static u8 *ram, *source;
static volatile u64 enable_bits, work, faults, wrong, readys, wakes, token, ready, value, page_nr, halts, gps;
static volatile bool no_interrupts, no_touch;
static volatile u64 msr, msr_value;
static struct { u32 flags, token; u8 pad[56]; } data __attribute__((aligned(64)));
#define DATA	(*(volatile typeof(data) *)&data)

/* ---- the guest ---- */

static GUEST void on_ready(u64 vector, u64 *frame, u64 error)
{
	u32 t = DATA.token;

	(void)vector, (void)frame, (void)error;
	if (t == ~0u)
		wakes++;
	else if (t && t == token)
		readys++, ready = 1;
	else
		wrong++;
	DATA.token = 0;
	wrmsr_(MSR_ACK, 1);
	apic_write(0xb0, 0);
}

static GUEST void on_fault(u64 vector, u64 *frame, u64 error)
{
	(void)vector, (void)frame, (void)error;
	if (DATA.flags != KVM_PV_REASON_PAGE_NOT_PRESENT) {
		wrong++;
		guest_exit();
	}
	DATA.flags = 0;
	asm volatile("mov %%cr2, %0" : "=r"(token));
	faults++;
	while (!ready) {
		work++;
		if (halts && work > ENOUGH)
			asm volatile("sti; hlt; cli");
		else
			asm volatile("sti; nop; cli");
	}
	ready = 0;
}

static GUEST void on_gp(u64 vector, u64 *frame, u64 error)
{
	(void)vector, (void)error;
	gps++;
	frame[0] += 2;
}

static GUEST void toucher(void)
{
	guest_irq[VECTOR] = on_ready;
	guest_irq[14] = on_fault;
	guest_apic_on(false);
	wrmsr_(MSR_INT, VECTOR);
	wrmsr_(MSR_EN, (u64)&data | enable_bits);
	asm volatile("sti; nop; nop; cli");
	for (;;) {
		if (!no_interrupts)
			asm volatile("sti; nop");
		if (!no_touch)
			value = *(volatile u64 *)(GPA + page_nr * 4096);
		asm volatile("cli");
		outb(GUEST_EXIT_PORT, 0);
	}
}

static GUEST void msr_writer(void)
{
	guest_irq[13] = on_gp;
	for (;;) {
		wrmsr_(msr, msr_value);
		outb(GUEST_EXIT_PORT, 0);
	}
}

/* ---- the VMM ---- */

/* Fills page after page, each once the guest has done something else, or after a while. */
static void *filler(void *unused)
{
	(void)unused;
	for (;;) {
		struct pollfd p = { .fd = uffd, .events = POLLIN };
		struct uffdio_copy copy = { .len = 4096 };
		struct uffd_msg m;
		u64 before = work;
		int ms;

		poll(&p, 1, -1);
		if (read(uffd, &m, sizeof(m)) != sizeof(m) || m.event != UFFD_EVENT_PAGEFAULT)
			return NULL;
		for (ms = 0; ms < 200 && work < before + ENOUGH; ms++)
			usleep(1000);
		if (halts)
			usleep(50000);
		copy.dst = m.arg.pagefault.address & ~4095ull;
		copy.src = (u64)source + (copy.dst - (u64)ram);
		ioctl(uffd, UFFDIO_COPY, &copy);
	}
}

static bool prepare(void)
{
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_api api = { .api = UFFD_API };
	pthread_t thread;
	u64 i;

	uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
		return false;
	ram = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	source = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (i = 0; i < PAGES; i++)
		*(u64 *)(source + i * 4096) = 0x1000 + i;
	reg.range.start = (u64)ram;
	reg.range.len = SIZE;
	if (ioctl(uffd, UFFDIO_REGISTER, &reg))
		return false;
	return !pthread_create(&thread, NULL, filler, NULL);
}

static void start(struct guest *g, u64 bits)
{
	guest_create(g, node, GUEST_IRQCHIP);
	guest_slot(g, SLOT, 0, GPA, ram, SIZE);
	guest_vcpu(g, 0);
	guest_start64(g, 0, toucher);
	enable_bits = bits;
	work = faults = readys = wakes = wrong = ready = token = 0;
	no_interrupts = false;
	data.flags = data.token = 0;
}

/* Touch the next page that is not there; true if what was read is right. */
static bool touch(struct guest *g)
{
	static u64 next;

	page_nr = next++;
	value = 0;
	return guest_run(g, 0) == GUEST_DONE && value == 0x1000 + page_nr && !wrong;
}

static void delivery(void)
{
	struct guest g;

	start(&g, ALWAYS);
	no_touch = true;
	guest_run(&g, 0);
	tap_ok(wakes == 1 && !wrong, "enabling tells everybody to look");
	no_touch = false;
	tap_ok(touch(&g), "a page that has to be waited for is there in the end");
	tap_eq(faults, 1, "meanwhile there was a #PF with a token");
	tap_ok(work >= ENOUGH, "other work was done");
	tap_eq(readys, 1, "and an interrupt with the same token");
	tap_ok(touch(&g) && faults == 2 && readys == 2, "the next page is the same");
	halts = 1;
	tap_ok(touch(&g) && faults == 3 && readys == 3, "a guest that halts until then is woken");
	halts = 0;
	page_nr = 0;
	guest_run(&g, 0);
	tap_eq(faults, 3, "a page that is there does not fault");
	no_interrupts = true;
	tap_ok(touch(&g) && faults == 3, "with interrupts off the guest waits");
	guest_destroy(&g);
}

static void conditions(void)
{
	struct guest g;

	start(&g, ON);
	tap_ok(touch(&g) && !faults, "without SEND_ALWAYS a kernel waits");
	guest_destroy(&g);
	start(&g, KVM_ASYNC_PF_ENABLED | KVM_ASYNC_PF_SEND_ALWAYS);
	tap_ok(touch(&g) && !faults && !wakes, "without DELIVERY_AS_INT as well");
	guest_destroy(&g);
	start(&g, 0);
	tap_ok(touch(&g) && !faults && !wakes, "and where it is off");
	guest_destroy(&g);
}

static bool guest_gp(struct guest *g, u64 nr, u64 val)
{
	gps = 0;
	msr = nr;
	msr_value = val;
	guest_run(g, 0);
	return gps == 1;
}

static void registers(void)
{
	struct { struct kvm_msrs h; struct kvm_msr_entry e[3]; } m = {
		.h.nmsrs = 3, .e = { { .index = MSR_EN }, { .index = MSR_INT }, { .index = MSR_ACK } }
	};
	struct guest g;

	guest_create(&g, node, GUEST_IRQCHIP);
	tap_ok(ioctl(g.sys, KVM_CHECK_EXTENSION, KVM_CAP_ASYNC_PF) == 1 &&
	       ioctl(g.sys, KVM_CHECK_EXTENSION, KVM_CAP_ASYNC_PF_INT) == 1, "KVM_CAP_ASYNC_PF and _INT");
	guest_vcpu(&g, 0);
	guest_start64(&g, 0, msr_writer);
	tap_ok(guest_gp(&g, MSR_EN, (u64)&data | 0x10), "reserved bits of the enable register: #GP");
	tap_ok(guest_gp(&g, MSR_EN, 0xffffffffc0000000 | ON), "a page that is no memory: #GP");
	tap_ok(guest_gp(&g, MSR_INT, 0x100), "a vector above 255: #GP");
	tap_ok(!guest_gp(&g, MSR_EN, (u64)&data | ALWAYS) && !guest_gp(&g, MSR_INT, 0x77), "good values are taken");
	tap_eq(ioctl(g.vcpu[0], KVM_GET_MSRS, &m), 3, "the VMM reads three registers");
	tap_ok(m.e[0].data == ((u64)&data | ALWAYS) && m.e[1].data == 0x77 && !m.e[2].data, "with these values");
	guest_destroy(&g);
}

int main(int argc, char **argv)
{
	node = tap_node(argc, argv);
	registers();
	if (!prepare())
		tap_bail("no userfaultfd");
	delivery();
	conditions();
	return tap_done();
}
