// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * pv - the paravirtual interface as a guest sees it: PV EOI, hypercalls that send IPIs, kick a halted vCPU, yield to another,
 * and that a feature hidden in CPUID is absent when the VMM wants it so (KVM_CAP_ENFORCE_PV_FEATURE_CPUID).
 *
 * CFLAGS: -mno-red-zone
 * TIMEOUT: 120
 */
#include <linux/kvm_para.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

#include "binstats.h"
#include "tap.h"

#define PV_EOI_MSR	0x4b564d04
#define ASK_PORT	0xe0
#define IOAPIC		0xfec00000ul
#define LONG		6000000000ull
#define ROUNDS		40
#define YIELDS		8

static const char *node;
static volatile u64 result[32], count[3][256], ready[3], stop, progress, gp;
static volatile u32 eoi_word __attribute__((aligned(4)));
static volatile u64 flag_seen[8], flags_seen;
static volatile bool ignore_flag;

GUEST_INLINE u64 hypercall(u64 nr, u64 a0, u64 a1, u64 a2, u64 a3)
{
	u64 ret;

	asm volatile("vmmcall" : "=a"(ret) : "a"(nr), "b"(a0), "c"(a1), "d"(a2), "S"(a3) : "memory");
	return ret;
}

/* Wait for @done, at most for a while; interrupts stay as they are. */
#define UNTIL(done) \
	do { \
		u64 until_ = rdtsc_() + LONG; \
		while (!(done) && rdtsc_() < until_) \
			asm volatile("pause" : : : "memory"); \
	} while (0)

GUEST_INLINE u32 my_id(void)
{
	return rdmsr_(0x802);
}

static GUEST void on_irq(u64 vector, u64 *frame __attribute__((unused)), u64 error __attribute__((unused)))
{
	count[my_id()][vector]++;
	if (vector != 2)
		wrmsr_(0x80b, 0);
}

/* #GP of a two-byte instruction. */
static GUEST void on_gp(u64 vector __attribute__((unused)), u64 *frame, u64 error __attribute__((unused)))
{
	gp++;
	frame[0] += 2;
}

static void fresh(struct guest *g, unsigned int cpus, guest_handler handler)
{
	unsigned int i;

	for (i = 32; i < 256; i++)
		guest_irq[i] = handler;
	guest_irq[2] = on_irq;
	guest_irq[13] = on_gp;
	memset((void *)count, 0, sizeof(count));
	memset((void *)result, 0, sizeof(result));
	memset((void *)ready, 0, sizeof(ready));
	stop = progress = gp = flags_seen = eoi_word = 0;
	ignore_flag = false;
	guest_create(g, node, GUEST_IRQCHIP);
	for (i = 0; i < cpus; i++)
		guest_vcpu(g, i);
}

static u32 pv_features(struct guest *g)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + 256 * sizeof(c->entries[0]));
	u32 i, eax = 0;

	c->nent = 256;
	guest_must(ioctl(g->sys, KVM_GET_SUPPORTED_CPUID, c));
	for (i = 0; i < c->nent; i++)
		if (c->entries[i].function == KVM_CPUID_FEATURES)
			eax = c->entries[i].eax;
	free(c);
	return eax;
}

/* ---- PV EOI ---- */

/* As Linux does it: clear the flag, and write the EOI only if it was not set. */
static GUEST void on_irq_pv(u64 vector, u64 *frame __attribute__((unused)), u64 error __attribute__((unused)))
{
	u8 was;

	count[0][vector]++;
	if (flags_seen < 8)
		flag_seen[flags_seen++] = eoi_word;
	if (ignore_flag) {
		wrmsr_(0x80b, 0);
		return;
	}
	asm volatile("btrl $0, %0\n\tsetc %1" : "+m"(eoi_word), "=q"(was));
	if (!was)
		wrmsr_(0x80b, 0);
}

GUEST_INLINE void self(u8 vector)
{
	wrmsr_(0x83f, vector);
	asm volatile("sti; nop; nop; cli" : : : "memory");
}

static GUEST void eoi_guest(void)
{
	u64 i;

	guest_apic_on(true);
	result[0] = rdmsr_(PV_EOI_MSR);
	wrmsr_(PV_EOI_MSR, ((u64)&eoi_word + 2) | 1);		/* not a doubleword's address */
	result[1] = gp;
	wrmsr_(PV_EOI_MSR, (u64)&eoi_word | 1);
	result[2] = rdmsr_(PV_EOI_MSR);
	self(0x61);						/* flag_seen[0] */
	outb(ASK_PORT, 1);
	self(0x55);						/* [1] a lower class: only if the first has ended */
	wrmsr_(0x83f, 0x61);					/* [2] [3] one waits while the other is served */
	wrmsr_(0x83f, 0x72);
	asm volatile("sti; nop; nop; nop; cli" : : : "memory");
	ignore_flag = true;
	self(0x73);						/* [4] the guest writes the EOI all the same */
	ignore_flag = false;
	self(0x74);						/* [5] */
	outb(ASK_PORT, 2);
	for (i = 0; i < ROUNDS; i++)
		self(0x62);
	outb(ASK_PORT, 3);
	wrmsr_(PV_EOI_MSR, 0);
	for (i = 0; i < ROUNDS; i++)
		self(0x63);
	outb(ASK_PORT, 4);
	result[3] = eoi_word;
	result[4] = flags_seen;
	guest_exit();
}

static u32 isr_of(struct guest *g, u8 vector)
{
	struct kvm_lapic_state s;

	guest_must(ioctl(g->vcpu[0], KVM_GET_LAPIC, &s));
	return *(u32 *)(s.regs + 0x100 + vector / 32 * 0x10) >> (vector % 32) & 1;
}

static void pv_eoi(void)
{
	u64 exits[5] = { 0 };
	u32 isr_after = 1;
	struct guest g;
	int why;

	fresh(&g, 1, on_irq_pv);
	guest_start64(&g, 0, eoi_guest);
	while ((why = guest_run(&g, 0)) == KVM_EXIT_IO && g.run[0]->io.port == ASK_PORT) {
		u8 step = *((u8 *)g.run[0] + g.run[0]->io.data_offset);

		if (step == 1)
			isr_after = isr_of(&g, 0x61);
		exits[step] = stat_of(g.vcpu[0], "exits");
	}
	TAP_REQUIRE(why == GUEST_DONE, "the PV EOI guest ends");
	tap_ok(result[0] == 0 && result[2] == ((u64)&eoi_word | 1), "PV EOI: the MSR reads back");
	tap_eq(result[1], 1, "PV EOI: an address that is not a doubleword's is #GP");
	tap_eq(flag_seen[0], 1, "PV EOI: the flag is set when an edge interrupt is taken");
	tap_eq(isr_after, 0, "PV EOI: clearing the flag ends the interrupt");
	/* A host interrupt in between may have taken its flag away. */
	tap_eq(count[0][0x55], 1, "PV EOI: a lower vector is then taken");
	tap_ok(count[0][0x72] == 1 && count[0][0x61] == 2 && flag_seen[2] == 0 && flag_seen[3] == 1,
	       "PV EOI: no flag while another interrupt waits");
	tap_ok(count[0][0x73] == 1 && count[0][0x74] == 1 && flag_seen[5] == 1, "PV EOI: a guest may write the EOI all the same");
	tap_ok(count[0][0x62] == ROUNDS && count[0][0x63] == ROUNDS, "PV EOI: interrupts come with and without it");
	tap_note("%d self-IPIs: %lu exits with PV EOI, %lu without", ROUNDS, (long)(exits[3] - exits[2]), (long)(exits[4] - exits[3]));
	tap_ok(exits[3] - exits[2] + ROUNDS / 2 <= exits[4] - exits[3], "PV EOI: the EOI costs no exit");
	tap_eq(result[3], 0, "PV EOI: the flag stays clear when it is switched off");
	guest_destroy(&g);
}

static GUEST void eoi_level_guest(void)
{
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	guest_apic_on(true);
	wrmsr_(PV_EOI_MSR, (u64)&eoi_word | 1);
	*(volatile u32 *)IOAPIC = 0x10 + 2 * 5 + 1;
	*(volatile u32 *)(IOAPIC + 0x10) = 0;
	*(volatile u32 *)IOAPIC = 0x10 + 2 * 5;
	*(volatile u32 *)(IOAPIC + 0x10) = 0x8075;
	outb(ASK_PORT, 1);
	asm volatile("sti; nop; nop; cli" : : : "memory");
	outb(ASK_PORT, 2);
	*(volatile u32 *)IOAPIC = 0x10 + 2 * 5;
	result[0] = *(volatile u32 *)(IOAPIC + 0x10);
	guest_exit();
}

static GUEST void on_level_pv(u64 vector, u64 *frame, u64 error)
{
	outb(ASK_PORT, 0);
	on_irq_pv(vector, frame, error);
}

static void pv_eoi_level(void)
{
	struct guest g;
	int why;

	fresh(&g, 1, on_level_pv);
	guest_start64(&g, 0, eoi_level_guest);
	while ((why = guest_run(&g, 0)) == KVM_EXIT_IO && g.run[0]->io.port == ASK_PORT) {
		struct kvm_irq_level l = { .irq = 5, .level = *((u8 *)g.run[0] + g.run[0]->io.data_offset) == 1 };

		guest_must(ioctl(g.vm, KVM_IRQ_LINE, &l));
	}
	TAP_REQUIRE(why == GUEST_DONE, "the level-triggered PV EOI guest ends");
	tap_ok(count[0][0x75] == 1 && flag_seen[0] == 0 && !(result[0] & 1 << 14),
	       "PV EOI: no flag for a level-triggered interrupt, whose EOI the IOAPIC must see");
	guest_destroy(&g);
}

/* ---- more than one vCPU ---- */

static int others_nice;		/* of the threads that others_start() makes */

static void *run_thread(void *arg)
{
	struct { struct guest *g; unsigned int id; } *a = arg;

	setpriority(PRIO_PROCESS, syscall(SYS_gettid), others_nice);
	return (void *)(long)guest_run(a->g, a->id);
}

struct others {
	struct { struct guest *g; unsigned int id; } arg[3];
	pthread_t thread[3];
	unsigned int n;
};

static void others_start(struct others *o, struct guest *g, unsigned int n, void (*fn)(void))
{
	unsigned int i;

	o->n = n;
	for (i = 1; i < n; i++) {
		guest_start64(g, i, fn);
		o->arg[i].g = g;
		o->arg[i].id = i;
		pthread_create(&o->thread[i], NULL, run_thread, &o->arg[i]);
	}
}

static bool others_end(struct others *o)
{
	bool good = true;
	unsigned int i;
	void *ret;

	for (i = 1; i < o->n; i++) {
		pthread_join(o->thread[i], &ret);
		good &= (long)ret == GUEST_DONE;
	}
	return good;
}

/* Halts with interrupts on, until it is told to stop by vector 0xf0. */
static GUEST void ipi_target(void)
{
	guest_apic_on(true);
	ready[my_id()] = 1;
	while (!count[my_id()][0xf0])
		asm volatile("sti; hlt; cli" : : : "memory");
	guest_exit();
}

static GUEST void ipi_sender(void)
{
	guest_apic_on(true);
	UNTIL(ready[1] && ready[2]);
	result[0] = hypercall(KVM_HC_SEND_IPI, 6, 0, 0, 0x91);		/* APIC ids 1 and 2 */
	UNTIL(count[1][0x91] && count[2][0x91]);
	result[1] = hypercall(KVM_HC_SEND_IPI, 2, 0, 1, 0x92);		/* bitmap from id 1: 2 */
	UNTIL(count[2][0x92]);
	result[2] = hypercall(KVM_HC_SEND_IPI, 0xfe, ~0ull, 2, 0x93);	/* ids that do not exist */
	result[3] = hypercall(KVM_HC_SEND_IPI, 2, 0, 0, 0x400);		/* an NMI */
	UNTIL(count[1][2]);
	result[4] = hypercall(KVM_HC_SEND_IPI, 2, 0, 0, 0x800 | 0x94);	/* logical destination: no */
	result[5] = hypercall(KVM_HC_SEND_IPI, 1, 0, 0, 0x95);		/* itself */
	asm volatile("sti; nop; nop; cli" : : : "memory");
	result[6] = hypercall(KVM_HC_SEND_IPI, 6, 0, 0, 0xf0);
	result[7] = hypercall(999, 0, 0, 0, 0);
	guest_exit();
}

static void send_ipi(void)
{
	struct others o;
	struct guest g;
	int why;

	fresh(&g, 3, on_irq);
	others_start(&o, &g, 3, ipi_target);
	guest_start64(&g, 0, ipi_sender);
	why = guest_run(&g, 0);
	TAP_REQUIRE(others_end(&o) && why == GUEST_DONE, "the guest of KVM_HC_SEND_IPI ends");
	tap_eq(result[0], 2, "SEND_IPI answers how many got it");
	tap_ok(count[1][0x91] == 1 && count[2][0x91] == 1 && !count[0][0x91], "SEND_IPI reaches each vCPU of the bitmap once");
	tap_ok(result[1] == 1 && count[2][0x92] == 1 && !count[1][0x92], "SEND_IPI's bitmap begins at the lowest APIC id given");
	tap_ok(result[2] == 0 && !count[1][0x93] && !count[2][0x93], "SEND_IPI to nobody reaches nobody");
	tap_ok(result[3] == 1 && count[1][2] == 1 && !count[2][2], "SEND_IPI sends NMIs");
	tap_eq(result[4], (u64)-KVM_EINVAL, "SEND_IPI with a logical destination: EINVAL");
	tap_ok(result[5] == 1 && count[0][0x95] == 1, "SEND_IPI to itself");
	tap_eq(result[7], (u64)-KVM_ENOSYS, "an unknown hypercall: ENOSYS");
	guest_destroy(&g);
}

/* Halts with interrupts off: only a kick (or an NMI) ends that. */
static GUEST void kick_target(void)
{
	guest_apic_on(true);
	ready[1] = 1;
	asm volatile("cli; hlt" : : : "memory");
	ready[1] = 2;
	UNTIL(progress == 1);			/* kicked again while it runs: */
	asm volatile("hlt" : : : "memory");	/* that kick is not lost */
	ready[1] = 3;
	asm volatile("hlt" : : : "memory");	/* and counts once */
	ready[1] = 4;
	guest_exit();
}

static GUEST void kick_sender(void)
{
	guest_apic_on(true);
	UNTIL(ready[1] == 1);
	wrmsr_(0x830, 1ull << 32 | 0x66);	/* an interrupt does not wake it, IF is clear */
	outb(ASK_PORT, 1);
	result[0] = ready[1];
	result[1] = hypercall(KVM_HC_KICK_CPU, 0, 1, 0, 0);
	UNTIL(ready[1] == 2);
	result[2] = ready[1];
	result[3] = hypercall(KVM_HC_KICK_CPU, 0, 1, 0, 0);
	progress = 1;
	UNTIL(ready[1] == 3);
	outb(ASK_PORT, 2);
	result[4] = ready[1];
	result[5] = hypercall(KVM_HC_KICK_CPU, 0, 200, 0, 0);
	hypercall(KVM_HC_KICK_CPU, 0, 1, 0, 0);
	guest_exit();
}

static u64 thread_ns(pthread_t t)
{
	struct timespec ts;
	clockid_t id;

	pthread_getcpuclockid(t, &id);
	clock_gettime(id, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

static void kick(void)
{
	struct others o;
	struct guest g;
	u64 idle = ~0ull;
	int why;

	fresh(&g, 2, on_irq);
	others_start(&o, &g, 2, kick_target);
	guest_start64(&g, 0, kick_sender);
	while ((why = guest_run(&g, 0)) == KVM_EXIT_IO && g.run[0]->io.port == ASK_PORT) {
		u64 before;

		usleep(100000);			/* so that it is halted by now */
		before = thread_ns(o.thread[1]);
		usleep(300000);
		if (ready[1] == 1)
			idle = thread_ns(o.thread[1]) - before;
	}
	TAP_REQUIRE(others_end(&o) && why == GUEST_DONE, "the guest of KVM_HC_KICK_CPU ends");
	tap_eq(result[0], 1, "a vCPU halted with IF clear sleeps on when an interrupt comes");
	tap_note("it used %lu us of a CPU in 300 ms", (long)(idle / 1000));
	tap_ok(idle < 150000000, "and its thread does sleep");
	tap_ok(result[1] == 0 && result[2] == 2, "KICK_CPU ends its halt");
	tap_ok(result[3] == 0 && result[4] == 3, "a kick before the halt is not lost, and ends one halt only");
	tap_eq(result[5], 0, "a kick of nobody is answered with 0");
	guest_destroy(&g);
}

/* The kicked state is what KVM_GET_MP_STATE shows. */
static GUEST void halt_off(void)
{
	guest_apic_on(true);
	asm volatile("cli; hlt" : : : "memory");
	guest_exit();
}

static GUEST void kick_once(void)
{
	guest_apic_on(true);
	hypercall(KVM_HC_KICK_CPU, 0, 1, 0, 0);
	guest_exit();
}

static void *run_until_signal(void *arg)
{
	struct guest *g = arg;

	return (void *)(long)(ioctl(g->vcpu[1], KVM_RUN, 0) < 0 ? errno : 0);
}

static void unhalt_state(void)
{
	struct kvm_mp_state before = { 9 }, after = { 9 };
	struct guest g;
	pthread_t t;
	void *ret;

	fresh(&g, 2, on_irq);
	guest_start64(&g, 1, halt_off);
	pthread_create(&t, NULL, run_until_signal, &g);
	usleep(200000);
	pthread_kill(t, SIGUSR1);
	pthread_join(t, &ret);
	guest_must(ioctl(g.vcpu[1], KVM_GET_MP_STATE, &before));
	guest_start64(&g, 0, kick_once);
	TAP_REQUIRE(guest_run(&g, 0) == GUEST_DONE, "the kicker ends");
	guest_must(ioctl(g.vcpu[1], KVM_GET_MP_STATE, &after));
	tap_ok((long)ret == EINTR && before.mp_state == KVM_MP_STATE_HALTED, "a signal leaves a halted vCPU halted");
	tap_eq(after.mp_state, KVM_MP_STATE_RUNNABLE, "a kicked one is runnable");
	tap_ok(guest_run(&g, 1) == GUEST_DONE, "and goes on behind its HLT");
	guest_destroy(&g);
}

/* ---- yield ---- */

static GUEST void yield_target(void)
{
	ready[1] = 1;
	for (; !stop; guest_spin())
		progress++;
	guest_exit();
}

static GUEST void yielder(void)
{
	u64 i, before, moved = 0, until;

	guest_apic_on(true);
	UNTIL(ready[1]);
	until = rdtsc_() + 20 * LONG;
	for (result[5] = 0; moved < YIELDS && rdtsc_() < until; result[5]++) {
		before = progress;
		result[0] |= hypercall(KVM_HC_SCHED_YIELD, 1, 0, 0, 0);
		moved += progress != before;
	}
	result[1] = moved;
	for (i = 0, moved = 0; i < result[5]; i++) {
		before = progress;
		hypercall(KVM_HC_VAPIC_POLL_IRQ, 0, 0, 0, 0);
		moved += progress != before;
	}
	result[2] = moved;
	result[3] = hypercall(KVM_HC_SCHED_YIELD, 0, 0, 0, 0);
	result[4] = hypercall(KVM_HC_SCHED_YIELD, 77, 0, 0, 0);
	stop = 1;
	guest_exit();
}

/*
 * Two vCPUs share one host CPU: after the yield the other one has run.  The scheduler is fair and gives nobody more by a yield than
 * his due, so the other one's due is made large.
 */
static void yields(void)
{
	struct others o;
	struct guest g;
	cpu_set_t one, all;
	int why;

	sched_getaffinity(0, sizeof(all), &all);
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	fresh(&g, 2, on_irq);
	sched_setaffinity(0, sizeof(one), &one);
	others_nice = -20;
	others_start(&o, &g, 2, yield_target);
	guest_start64(&g, 0, yielder);
	why = guest_run(&g, 0);
	sched_setaffinity(0, sizeof(all), &all);
	others_nice = 0;
	TAP_REQUIRE(others_end(&o) && why == GUEST_DONE, "the guest of KVM_HC_SCHED_YIELD ends");
	tap_note("the other vCPU ran in %lu of %lu yields, in %lu of as many other hypercalls", (long)result[1], (long)result[5],
		 (long)result[2]);
	tap_ok(result[0] == 0 && result[3] == 0 && result[4] == 0, "SCHED_YIELD answers 0");
	tap_ok(result[1] == YIELDS && result[2] < YIELDS / 2, "SCHED_YIELD lets a preempted vCPU run");
	guest_destroy(&g);
}

/* ---- hidden features ---- */

static GUEST void hidden_guest(void)
{
	guest_apic_on(true);
	result[0] = hypercall(KVM_HC_SEND_IPI, 1, 0, 0, 0x95);
	result[1] = hypercall(KVM_HC_KICK_CPU, 0, 0, 0, 0);
	result[2] = hypercall(KVM_HC_SCHED_YIELD, 0, 0, 0, 0);
	wrmsr_(PV_EOI_MSR, (u64)&eoi_word | 1);
	result[3] = gp;
	asm volatile("sti; nop; nop; cli" : : : "memory");
	guest_exit();
}

static void hide_pv(struct guest *g, u32 keep)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + 256 * sizeof(c->entries[0]));
	u32 i;

	c->nent = 256;
	guest_must(ioctl(g->sys, KVM_GET_SUPPORTED_CPUID, c));
	for (i = 0; i < c->nent; i++)
		if (c->entries[i].function == KVM_CPUID_FEATURES)
			c->entries[i].eax &= keep;
	guest_must(ioctl(g->vcpu[0], KVM_SET_CPUID2, c));
	free(c);
}

static void hidden(void)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_ENFORCE_PV_FEATURE_CPUID, .args = { 1 } };
	struct guest g;

	fresh(&g, 1, on_irq);
	guest_must(ioctl(g.vcpu[0], KVM_ENABLE_CAP, &cap));
	hide_pv(&g, 0);
	guest_start64(&g, 0, hidden_guest);
	TAP_REQUIRE(guest_run(&g, 0) == GUEST_DONE, "the guest without features ends");
	tap_ok(result[0] == (u64)-KVM_ENOSYS && !count[0][0x95], "SEND_IPI hidden and enforced: ENOSYS");
	tap_eq(result[1], (u64)-KVM_ENOSYS, "KICK_CPU hidden and enforced: ENOSYS");
	tap_eq(result[2], (u64)-KVM_ENOSYS, "SCHED_YIELD hidden and enforced: ENOSYS");
	tap_eq(result[3], 1, "the PV EOI MSR hidden and enforced: #GP");
	guest_destroy(&g);
}

static GUEST void unprivileged_guest(void)
{
	/* To CPL 3 (SS 0x2b, CS 0x23), one hypercall there, and out through an interrupt gate's handler. */
	asm volatile("mov %%rsp, %%rcx\n\t"
		     "push $0x2b\n\tpush %%rcx\n\tpushfq\n\tpush $0x23\n\tlea 1f(%%rip), %%rcx\n\tpush %%rcx\n\tiretq\n"
		     "1:\tmov $11, %%eax\n\txor %%ebx, %%ebx\n\tvmmcall\n\tmov %%rax, %0\n\tud2"
		     : "=m"(result[0]) : : "rax", "rbx", "rcx", "memory");
}

static GUEST void on_ud(u64 vector __attribute__((unused)), u64 *frame __attribute__((unused)), u64 error __attribute__((unused)))
{
	guest_exit();
}

static void unprivileged(void)
{
	struct guest g;

	fresh(&g, 1, on_irq);
	guest_irq[6] = on_ud;
	*(u64 *)(guest_tss[0] + 4) = (u64)guest_stack[1] + GUEST_STACK;	/* RSP0 */
	guest_start64(&g, 0, unprivileged_guest);
	TAP_REQUIRE(guest_run(&g, 0) == GUEST_DONE, "the guest at CPL 3 ends");
	tap_eq(result[0], (u64)-KVM_EPERM, "a hypercall at CPL 3: EPERM");
	guest_irq[6] = NULL;
	guest_destroy(&g);
}

static void on_signal(int nr)
{
	(void)nr;
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_signal };
	struct guest g;
	u32 have;

	node = tap_node(argc, argv);
	sigaction(SIGUSR1, &sa, NULL);
	guest_create(&g, node, GUEST_IRQCHIP);
	have = pv_features(&g);
	guest_destroy(&g);
	tap_ok(have & 1 << KVM_FEATURE_PV_EOI && have & 1 << KVM_FEATURE_PV_SEND_IPI && have & 1 << KVM_FEATURE_PV_UNHALT &&
	       have & 1 << KVM_FEATURE_PV_SCHED_YIELD, "PV EOI, SEND_IPI, UNHALT and SCHED_YIELD are offered");
	pv_eoi();
	pv_eoi_level();
	send_ipi();
	kick();
	unhalt_state();
	yields();
	hidden();
	unprivileged();
	return tap_done();
}
