// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * events - exceptions, interrupts and NMIs on their way into a guest, also when their delivery is interrupted.
 *
 * The IDT and a stack lie in shared memory whose host mapping is thrown away before each round: the CPU then meets a nested
 * page fault while it delivers the event, and the event has to go in again, exactly once, with the right return address.
 *
 * Bochs 2.7 takes no interrupt while a guest spins with interrupts off, and its SVM dies of a guest's triple fault, on any
 * hypervisor: it is spared these.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <time.h>

#include "modes.h"

#define AREA		0xa0000000ul	/* gpa = gva: IDT page, stack page */
#define AREA_SIZE	0x3000
#define STACK_TOP	(AREA + 0x3000 - 8)
#define TELL		0x90		/* port: the guest reports */

static void *area;
static volatile u64 count[256], frame_rip[256], error_code[256], cr2;
static volatile u64 nmi_depth, nmi_deepest, stage;

static GUEST void handler(u64 vector, u64 *frame, u64 error)
{
	u64 v;

	count[vector]++;
	frame_rip[vector] = frame[0];
	error_code[vector] = error;
	asm volatile("mov %%cr2, %0" : "=r"(v));
	cr2 = v;
	/* Faults: go on behind the instruction; all of these have two bytes. */
	if (vector == 0 || vector == 6 || vector == 13 || vector == 14)
		frame[0] += 2;
}

static void fresh(struct guest *g, void (*fn)(void))
{
	struct kvm_vcpu_events ev;
	struct kvm_sregs s;
	struct kvm_regs r;
	int i;

	memset((void *)count, 0, sizeof(count));
	for (i = 0; i < 256; i++)
		guest_irq[i] = handler;
	memcpy(area, guest_idt, sizeof(guest_idt));
	guest_must(ioctl(g->vcpu[0], KVM_GET_VCPU_EVENTS, &ev));
	memset(&ev.exception, 0, sizeof(ev.exception));
	memset(&ev.interrupt, 0, sizeof(ev.interrupt));
	memset(&ev.nmi, 0, sizeof(ev.nmi));
	ev.flags &= KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
	guest_must(ioctl(g->vcpu[0], KVM_SET_VCPU_EVENTS, &ev));
	guest_start64(g, 0, fn);
	guest_must(ioctl(g->vcpu[0], KVM_GET_SREGS, &s));
	s.idt.base = AREA;
	guest_must(ioctl(g->vcpu[0], KVM_SET_SREGS, &s));
	guest_must(ioctl(g->vcpu[0], KVM_GET_REGS, &r));
	r.rsp = STACK_TOP;
	guest_must(ioctl(g->vcpu[0], KVM_SET_REGS, &r));
}

/* Next access to the IDT and the stack faults in stage 2. */
static void forget_area(void)
{
	if (madvise(area, AREA_SIZE, MADV_DONTNEED))
		guest_die("madvise");
}

/* ---- exceptions of the guest's own ---- */

static GUEST void body_exceptions(void)
{
	asm volatile("xor %%edx, %%edx; mov $1, %%eax; xor %%ecx, %%ecx; div %%ecx" : : : "eax", "ecx", "edx");
	asm volatile("ud2");
	asm volatile("mov $0xffff, %%eax; mov %%eax, %%fs" : : : "eax");
	asm volatile("mov $0xdeadbeef000, %%rax; mov (%%rax), %%ecx" : : : "rax", "ecx");
	asm volatile("int3");
	asm volatile("int $0x80");
	guest_exit();
}

static void own_exceptions(struct guest *g, bool forget)
{
	const char *when = forget ? ", IDT and stack not in stage 2" : "";

	fresh(g, body_exceptions);
	if (forget)
		forget_area();
	TAP_REQUIRE(guest_run(g, 0) == GUEST_DONE, "the guest comes through its exceptions%s", when);
	tap_ok(count[0] == 1 && count[6] == 1 && count[13] == 1 && count[14] == 1, "#DE, #UD, #GP, #PF come once each%s", when);
	tap_ok(count[3] == 1 && count[0x80] == 1, "INT3 and INT 80h come once each%s", when);
	tap_eq(error_code[13], 0xfffc, "#GP carries the selector");
	tap_ok(error_code[14] == 0, "#PF of a read that finds nothing carries 0");
}

static GUEST void body_one_int(void)
{
	asm volatile("1: int $0x81\n\tlea 1b(%%rip), %%rax\n\tmov %%rax, %0" : "=m"(stage) : : "rax");
	guest_exit();
}

static GUEST void body_one_int3(void)
{
	asm volatile("1: int3\n\tlea 1b(%%rip), %%rax\n\tmov %%rax, %0" : "=m"(stage) : : "rax");
	guest_exit();
}

static void soft_again(struct guest *g)
{
	int i, bad = 0;

	for (i = 0; i < 20; i++) {
		fresh(g, i & 1 ? body_one_int3 : body_one_int);
		forget_area();
		if (guest_run(g, 0) != GUEST_DONE || count[i & 1 ? 3 : 0x81] != 1 ||
		    frame_rip[i & 1 ? 3 : 0x81] != stage + (i & 1 ? 1 : 2))
			bad++;
	}
	tap_eq(bad, 0, "INT n and INT3 interrupted in delivery come once and push the next instruction's address");
}

/* ---- from user space ---- */

static GUEST void body_exit(void)
{
	asm volatile("nop; nop; nop");
	guest_exit();
}

static void injected_one(struct guest *g, u8 vector, bool has_error, bool forget)
{
	struct kvm_vcpu_events ev;

	fresh(g, body_exit);
	if (forget)
		forget_area();
	guest_must(ioctl(g->vcpu[0], KVM_GET_VCPU_EVENTS, &ev));
	ev.exception.injected = 1;
	ev.exception.nr = vector;
	ev.exception.has_error_code = has_error;
	ev.exception.error_code = 0;
	ev.flags &= KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
	guest_must(ioctl(g->vcpu[0], KVM_SET_VCPU_EVENTS, &ev));
	tap_ok(guest_run(g, 0) == GUEST_DONE && count[vector] == 1 && frame_rip[vector] == (u64)body_exit,
	       "exception %u from KVM_SET_VCPU_EVENTS is delivered once, at RIP%s", vector, forget ? ", delivery interrupted" : "");
}

/* #BP without an INT3: nothing executes it a second time. */
static void injected(struct guest *g, bool forget)
{
	injected_one(g, 17, true, forget);
	injected_one(g, 3, false, forget);
}

static GUEST void body_irq(void)
{
	outb(TELL, 1);			/* IF clear */
	asm volatile("sti; nop; nop");
	outb(TELL, 2);
	asm volatile("cli");
	guest_exit();
}

static void interrupts(struct guest *g, bool forget)
{
	const char *when = forget ? ", delivery interrupted" : "";
	struct kvm_interrupt irq = { .irq = 0x55 };
	struct kvm_run *run = g->run[0];

	fresh(g, body_irq);
	run->request_interrupt_window = 0;
	TAP_REQUIRE(guest_run(g, 0) == KVM_EXIT_IO, "the guest is up");
	tap_ok(!run->if_flag && !run->ready_for_interrupt_injection, "not ready for an interrupt with IF clear%s", when);
	run->request_interrupt_window = 1;
	TAP_REQUIRE(guest_run(g, 0) == KVM_EXIT_IRQ_WINDOW_OPEN, "KVM_EXIT_IRQ_WINDOW_OPEN after STI%s", when);
	tap_ok(run->if_flag && run->ready_for_interrupt_injection, "ready when the window is open%s", when);
	run->request_interrupt_window = 0;
	if (forget)
		forget_area();
	guest_must(ioctl(g->vcpu[0], KVM_INTERRUPT, &irq));
	TAP_REQUIRE(guest_run(g, 0) == KVM_EXIT_IO, "the guest goes on");
	tap_eq(count[0x55], 1, "KVM_INTERRUPT is delivered once");
	tap_ok(guest_run(g, 0) == GUEST_DONE && count[0x55] == 1, "and not again%s", when);
}

/* ---- NMIs ---- */

static GUEST void nmi_handler(u64 vector, u64 *frame, u64 error)
{
	(void)vector, (void)frame, (void)error;
	count[2]++;
	nmi_depth++;
	if (nmi_depth > nmi_deepest)
		nmi_deepest = nmi_depth;
	outb(TELL, count[2]);
	nmi_depth--;
}

static GUEST void body_nmi(void)
{
	outb(TELL, 0x80);
	asm volatile("nop; nop");
	outb(TELL, 0x81);
	guest_exit();
}

static int told(struct guest *g)
{
	int r = guest_run(g, 0);

	return r == KVM_EXIT_IO ? *((u8 *)g->run[0] + g->run[0]->io.data_offset) : -1;
}

static void nmis(struct guest *g)
{
	struct kvm_vcpu_events ev;

	fresh(g, body_nmi);
	guest_irq[2] = nmi_handler;
	nmi_depth = nmi_deepest = 0;
	TAP_REQUIRE(told(g) == 0x80, "the guest is up");
	guest_must(ioctl(g->vcpu[0], KVM_NMI, 0));
	tap_eq(told(g), 1, "an NMI is taken with IF clear");
	guest_must(ioctl(g->vcpu[0], KVM_GET_VCPU_EVENTS, &ev));
	tap_ok(ev.nmi.masked, "NMIs are masked in the handler");
	guest_must(ioctl(g->vcpu[0], KVM_NMI, 0));
	tap_eq(told(g), 2, "a second one comes after IRET");
	tap_eq(told(g), 0x81, "and the guest goes on");
	tap_eq(nmi_deepest, 1, "never inside the handler of the first");
	tap_ok(guest_run(g, 0) == GUEST_DONE, "to its end");
	guest_must(ioctl(g->vcpu[0], KVM_GET_VCPU_EVENTS, &ev));
	tap_ok(!ev.nmi.masked && !ev.nmi.pending, "no NMI is masked or pending then");
}

/* ---- double and triple faults ---- */

static GUEST void body_ud(void)
{
	asm volatile("ud2");
	guest_exit();
}

static GUEST void df_handler(u64 vector, u64 *frame, u64 error)
{
	(void)vector, (void)frame;
	count[8]++;
	error_code[8] = error;
	guest_exit();
}

static GUEST void body_gp(void)
{
	asm volatile("mov $0xffff, %%eax; mov %%eax, %%fs" : : : "eax");
	guest_exit();
}

static void faults(struct guest *g)
{
	fresh(g, body_gp);
	guest_irq[8] = df_handler;
	memset(area + 13 * 16, 0, 16);		/* #GP's gate is not present: a contributory fault while delivering one */
	tap_ok(guest_run(g, 0) == GUEST_DONE && count[8] == 1 && !error_code[8], "a fault in #GP's delivery becomes #DF with 0");
}

static void triple_fault(struct guest *g)
{
	struct kvm_sregs s;

	fresh(g, body_ud);
	guest_must(ioctl(g->vcpu[0], KVM_GET_SREGS, &s));
	s.idt.limit = 0;
	guest_must(ioctl(g->vcpu[0], KVM_SET_SREGS, &s));
	tap_ok(guest_run(g, 0) == KVM_EXIT_SHUTDOWN, "without an IDT the guest ends with KVM_EXIT_SHUTDOWN");
}

/* ---- from other threads ---- */

static GUEST void body_spin(void)
{
	outb(TELL, 1);
	stage = 0;
	while (!count[2])
		;
	guest_exit();
}

static void on_alarm(int sig)
{
	(void)sig;
}

static void kicks(struct guest *g)
{
	struct sigaction act = { .sa_handler = on_alarm };
	struct itimerval soon = { .it_value = { .tv_usec = 50000 } };
	struct kvm_run *run = g->run[0];
	int r;

	sigaction(SIGALRM, &act, NULL);
	fresh(g, body_spin);
	TAP_REQUIRE(told(g) == 1, "the guest is up");
	setitimer(ITIMER_REAL, &soon, NULL);
	r = ioctl(g->vcpu[0], KVM_RUN, 0);
	tap_ok(r < 0 && errno == EINTR && run->exit_reason == KVM_EXIT_INTR, "a signal ends a spin with interrupts off");
	run->immediate_exit = 1;
	r = ioctl(g->vcpu[0], KVM_RUN, 0);
	tap_ok(r < 0 && errno == EINTR, "immediate_exit does not enter the guest");
	run->immediate_exit = 0;
}

static void *nmi_sender(void *arg)
{
	struct kvm_msi nmi = { .address_lo = 0xfee00000, .data = 0x400 };
	struct timespec nap = { .tv_nsec = 50000000 };
	struct guest *g = arg;

	nanosleep(&nap, NULL);
	guest_must(ioctl(g->vm, KVM_SIGNAL_MSI, &nmi));
	return NULL;
}

static void nmi_to_spinner(struct guest *g)
{
	pthread_t t;

	fresh(g, body_spin);
	TAP_REQUIRE(told(g) == 1, "the guest is up");
	pthread_create(&t, NULL, nmi_sender, g);
	tap_ok(guest_run(g, 0) == GUEST_DONE && count[2] == 1, "an NMI by message reaches a spin with interrupts off");
	pthread_join(t, NULL);
}

static volatile u64 tpr_read;

static GUEST void body_tpr(void)
{
	u64 high = 9, low = 3, zero = 0, v;

	guest_apic_on(true);
	wrmsr_(0x830, 0x40000 | 0x65);		/* to itself; it waits for IF */
	asm volatile("mov %1, %%cr8; mov %2, %%cr8; mov %%cr8, %0" : "=r"(v) : "r"(high), "r"(low));
	tpr_read = v;
	asm volatile("mov %0, %%cr8; mov %1, %%cr8" : : "r"(high), "r"(zero));
	stage = count[0x65];
	asm volatile("sti; nop; nop; cli");
	guest_exit();
}

/* UEFI's interrupt handlers restore CR8 while the next interrupt waits; with V_IRQ set QEMU's emulator would abort. */
static void tpr_while_waiting(struct guest *g)
{
	fresh(g, body_tpr);
	TAP_REQUIRE(guest_run(g, 0) == GUEST_DONE, "a guest writes CR8 while an interrupt waits for IF");
	tap_eq(tpr_read, 3, "CR8 reads what was written");
	tap_ok(!stage && count[0x65] == 1, "the interrupt comes once, when IF is set");
}

int main(int argc, char **argv)
{
	struct guest g;

	guest_create(&g, tap_node(argc, argv), 0);
	area = mmap(NULL, AREA_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		guest_die("mmap");
	guest_slot(&g, 5, 0, AREA, area, AREA_SIZE);
	guest_vcpu(&g, 0);
	own_exceptions(&g, false);
	injected(&g, false);
	interrupts(&g, false);
	nmis(&g);
	faults(&g);
	own_exceptions(&g, true);
	soft_again(&g);
	injected(&g, true);
	interrupts(&g, true);
	if (on_bochs_amd())
		tap_skip("a triple fault", "the emulator dies of it");
	else
		triple_fault(&g);
	guest_destroy(&g);
	if (on_bochs()) {
		tap_skip("kicks of a spinning guest", "the emulator does not take the interrupt");
		return tap_done();
	}

	guest_create(&g, tap_node(argc, argv), GUEST_IRQCHIP);
	guest_slot(&g, 5, 0, AREA, area, AREA_SIZE);
	guest_vcpu(&g, 0);
	kicks(&g);
	nmi_to_spinner(&g);
	tpr_while_waiting(&g);
	guest_destroy(&g);
	return tap_done();
}
