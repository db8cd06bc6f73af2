// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * exits - the cost of round trips guest -> host -> guest, in TSC ticks.
 *
 * usage: exits NODE [ROW...]
 *
 * For each row a guest repeats one operation between two RDTSCs; the cost of the same loop without the operation is taken off.
 * Under QEMU's -icount a tick is an instruction, of guest and host together, and the figures are exact and repeatable; anywhere
 * else they are time, and only ratios of runs on the same machine mean anything.
 *
 * Before each row registers that the host must preserve are filled with patterns, and checked after it: a back end that is fast
 * because it forgets something prints "state ROW: what", and fails.
 *
 * Output: one line a row, "ROW ticks"; exit status 1 if a state check failed.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>

#include "../vm/guest.h"

#define __unused	__attribute__((unused))
#define ROUNDS		200
#define EVENT_PORT	0x5a0
#define USER_PORT	0x5b0
#define EVENT_MMIO	0xd0000000ul
#define USER_MMIO	0xd0010000ul
#define FRESH		0x40000000ul	/* 4 KiB pages for the stage-2 rows */
#define PAGES		512

struct row {
	const char *name;
	void (*fn)(void);
	unsigned int rounds;
};

static volatile u64 ticks, empty_ticks;
static volatile int rounds;
static volatile u64 irqs;
static volatile u64 bad_state;		/* bit: see state_names */
static const char *const state_names[] = { "general registers", "xmm registers", "debug registers", "MSRs", "flags" };

/* ---- what must survive ---- */

static const u32 state_msrs[] = { 0x174, 0x175, 0x176, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000102 };
#define NR_STATE_MSRS	(sizeof(state_msrs) / sizeof(state_msrs[0]))

GUEST_INLINE u64 pattern(unsigned int i)
{
	return 0x00007a5a5a000000ull + i * 0x1111;	/* canonical, whatever the MSR */
}

GUEST_INLINE void state_arm(void)
{
	unsigned int i;

	for (i = 0; i < NR_STATE_MSRS; i++)
		wrmsr_(state_msrs[i], i == 0 ? 8 : i == 6 ? 0x47700 : pattern(i));
	asm volatile("mov %0, %%dr0; mov %1, %%dr1; mov %2, %%dr2; mov %3, %%dr3"
		     : : "r"(pattern(100)), "r"(pattern(101)), "r"(pattern(102)), "r"(pattern(103)));
	asm volatile("movq %0, %%xmm6; movq %1, %%xmm13; punpcklqdq %%xmm13, %%xmm6" : : "r"(pattern(110)), "r"(pattern(111)));
}

GUEST_INLINE void state_check(void)
{
	u64 a, b, c, d;
	unsigned int i;

	for (i = 0; i < NR_STATE_MSRS; i++)
		if (rdmsr_(state_msrs[i]) != (i == 0 ? 8 : i == 6 ? 0x47700 : pattern(i)))
			bad_state |= 8;
	asm volatile("mov %%dr0, %0; mov %%dr1, %1; mov %%dr2, %2; mov %%dr3, %3" : "=r"(a), "=r"(b), "=r"(c), "=r"(d));
	if (a != pattern(100) || b != pattern(101) || c != pattern(102) || d != pattern(103))
		bad_state |= 4;
	asm volatile("movq %%xmm6, %0; movq %%xmm13, %1" : "=r"(a), "=r"(b));
	if (a != pattern(110) || b != pattern(111))
		bad_state |= 2;
}

/*
 * Run @op with known values in the registers that it does not use (rbx, rbp, rsi, rdi, r8-r15 as named by @in), check them and
 * the carry flag afterwards.  Costs the same few instructions in every row, the empty one included.
 */
#define CHECKED(op, ...) \
	do { \
		u64 lost; \
		asm volatile("push %%rbp\n mov $0x1234567, %%ebp\n mov %%rbp, %%r8\n mov %%rbp, %%r9\n mov %%rbp, %%r10\n" \
			     "mov %%rbp, %%r11\n mov %%rbp, %%r12\n mov %%rbp, %%r13\n mov %%rbp, %%r14\n mov %%rbp, %%r15\n stc\n" \
			     op "\n" \
			     "setnc %%sil\n movzbl %%sil, %%esi\n" \
			     "xor $0x1234567, %%rbp\n or %%rbp, %%rsi\n xor $0x1234567, %%r8\n or %%r8, %%rsi\n" \
			     "xor $0x1234567, %%r9\n or %%r9, %%rsi\n xor $0x1234567, %%r10\n or %%r10, %%rsi\n" \
			     "xor $0x1234567, %%r11\n or %%r11, %%rsi\n xor $0x1234567, %%r12\n or %%r12, %%rsi\n" \
			     "xor $0x1234567, %%r13\n or %%r13, %%rsi\n xor $0x1234567, %%r14\n or %%r14, %%rsi\n" \
			     "xor $0x1234567, %%r15\n or %%r15, %%rsi\n pop %%rbp\n" \
			     : "=&S"(lost) : __VA_ARGS__ \
			     : "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "cc", "memory"); \
		if (lost) \
			bad_state |= 1; \
	} while (0)

#define MEASURE(...) \
	do { \
		u64 start_; \
		int i_; \
		state_arm(); \
		__VA_ARGS__ \
		start_ = rdtsc_(); \
		for (i_ = 0; i_ < rounds; i_++) {

#define MEASURED \
		} \
		ticks = rdtsc_() - start_; \
		state_check(); \
		guest_exit(); \
	} while (0)

/* ---- rows ---- */

static GUEST void row_empty(void)
{
	MEASURE(); CHECKED("nop"); MEASURED;
}

static GUEST void row_cpuid(void)
{
	u32 a, b, c, d;

	MEASURE();
	a = 0x80000000;
	c = 0;
	asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	CHECKED("nop");
	MEASURED;
}

static GUEST void row_vmcall(void)
{
	long a;

	MEASURE();
	a = 99;		/* no such hypercall */
	asm volatile("vmmcall" : "+a"(a) : : "memory");
	CHECKED("nop");
	MEASURED;
}

static GUEST void row_wrmsr(void)
{
	MEASURE(wrmsr_(0x3b, 0););
	CHECKED("wrmsr", "a"(0), "d"(0), "c"(0x3b));	/* TSC_ADJUST */
	MEASURED;
}

static GUEST void row_pio_kernel(void)
{
	MEASURE();
	CHECKED("in $0x21, %%al", "a"(0));		/* the PIC's mask */
	MEASURED;
}

static GUEST void row_pio_user(void)
{
	MEASURE();
	CHECKED("in %%dx, %%al", "a"(0), "d"(USER_PORT));
	MEASURED;
}

static GUEST void row_pio_out_user(void)
{
	MEASURE();
	CHECKED("out %%al, %%dx", "a"(0), "d"(USER_PORT));
	MEASURED;
}

static GUEST void row_pio_event(void)
{
	MEASURE();
	CHECKED("out %%ax, %%dx", "a"(1), "d"(EVENT_PORT));
	MEASURED;
}

static GUEST void row_mmio_user(void)
{
	MEASURE();
	CHECKED("mov (%%rdx), %%eax", "a"(0), "d"(USER_MMIO));
	MEASURED;
}

static GUEST void row_mmio_out_user(void)
{
	MEASURE();
	CHECKED("mov %%eax, (%%rdx)", "a"(0), "d"(USER_MMIO));
	MEASURED;
}

static GUEST void row_mmio_event(void)
{
	MEASURE();
	CHECKED("mov %%eax, (%%rdx)", "a"(1), "d"(EVENT_MMIO));
	MEASURED;
}

static GUEST void on_self_ipi(u64 vector __unused, u64 *frame __unused, u64 error __unused)
{
	irqs++;
	wrmsr_(0x80b, 0);
}

static GUEST void on_self_ipi_xapic(u64 vector __unused, u64 *frame __unused, u64 error __unused)
{
	irqs++;
	apic_write(0xb0, 0);
}

static GUEST void row_self_ipi(void)
{
	guest_irq[0x40] = on_self_ipi;
	guest_apic_on(true);
	asm volatile("sti");
	MEASURE();
	CHECKED("wrmsr", "a"(0x40 | 1 << 18), "d"(0), "c"(0x830));
	MEASURED;
}

static GUEST void row_self_ipi_xapic(void)
{
	guest_irq[0x40] = on_self_ipi_xapic;
	guest_apic_on(false);
	asm volatile("sti");
	MEASURE();
	CHECKED("movl $0x40040, (%%rdx)", "d"(0xfee00300ul));
	MEASURED;
}

static volatile u64 eoi_ticks;

static GUEST void on_eoi_timed(u64 vector __unused, u64 *frame __unused, u64 error __unused)
{
	u64 start = rdtsc_();

	wrmsr_(0x80b, 0);
	eoi_ticks += rdtsc_() - start;
	irqs++;
}

/* Only the EOI write inside the handler is counted. */
static GUEST void row_eoi(void)
{
	int i;

	guest_irq[0x40] = on_eoi_timed;
	guest_apic_on(true);
	asm volatile("sti");
	state_arm();
	eoi_ticks = 0;
	for (i = 0; i < rounds; i++)
		CHECKED("wrmsr", "a"(0x40 | 1 << 18), "d"(0), "c"(0x830));
	ticks = eoi_ticks + empty_ticks;
	state_check();
	guest_exit();
}

static GUEST void row_tsc_deadline(void)
{
	u64 when;

	guest_irq[0x41] = on_self_ipi;
	guest_apic_on(true);
	wrmsr_(0x832, 0x40041);
	MEASURE();
	when = rdtsc_() + 1000000000ull;
	CHECKED("wrmsr", "a"((u32)when), "d"((u32)(when >> 32)), "c"(0x6e0));
	MEASURED;
}

static GUEST void row_tsc_deadline_past(void)
{
	guest_irq[0x41] = on_self_ipi;
	guest_apic_on(true);
	wrmsr_(0x832, 0x40041);
	asm volatile("sti");
	MEASURE();
	CHECKED("wrmsr", "a"(1), "d"(0), "c"(0x6e0));
	MEASURED;
}

static GUEST void row_cr0(void)
{
	u64 cr0;

	MEASURE(asm volatile("mov %%cr0, %0" : "=r"(cr0)););
	CHECKED("mov %%rax, %%cr0\n mov %%rdx, %%cr0\n stc", "a"(cr0 ^ 1 << 16), "d"(cr0));	/* WP */
	MEASURED;
}

static GUEST void row_cr4(void)
{
	u64 cr4;

	MEASURE(asm volatile("mov %%cr4, %0" : "=r"(cr4)););
	CHECKED("mov %%rax, %%cr4\n mov %%rdx, %%cr4\n stc", "a"(cr4 ^ 1 << 7), "d"(cr4));	/* PGE */
	MEASURED;
}

static GUEST void row_stage2(void)
{
	MEASURE();
	CHECKED("mov (%%rdx), %%eax", "a"(0), "d"(FRESH + (u64)i_ * 4096));
	MEASURED;
}

static GUEST void row_stage2_write(void)
{
	MEASURE();
	CHECKED("mov %%eax, (%%rdx)", "a"(0), "d"(FRESH + (u64)i_ * 4096));
	MEASURED;
}

/* IPI to another vCPU, answered by an IPI: half of a round. */
static volatile u64 pongs;

static GUEST void on_pong(u64 vector __unused, u64 *frame __unused, u64 error __unused)
{
	pongs++;
	wrmsr_(0x80b, 0);
}

static GUEST void on_ping(u64 vector __unused, u64 *frame __unused, u64 error __unused)
{
	wrmsr_(0x80b, 0);
	wrmsr_(0x830, 0x42);	/* physical, to APIC id 0 */
}

static volatile int peer_ready;

static GUEST void peer(void)
{
	guest_irq[0x43] = on_ping;
	guest_apic_on(true);
	peer_ready = 1;
	for (;;)
		asm volatile("sti; hlt; cli");
}

static GUEST void row_ipi(void)
{
	u64 before;

	guest_irq[0x42] = on_pong;
	guest_apic_on(true);
	asm volatile("cli");
	MEASURE();
	before = pongs;
	wrmsr_(0x830, 1ull << 32 | 0x43);
	while (pongs == before)
		asm volatile("sti; hlt; cli" : : : "memory");
	CHECKED("nop");
	MEASURED;
}

/* ---- the host's side ---- */

static void *peer_thread(void *arg)
{
	struct guest *g = arg;
	struct sigaction sa = { .sa_handler = SIG_IGN };

	sigaction(SIGUSR1, &sa, NULL);
	for (;;) {
		if (ioctl(g->vcpu[1], KVM_RUN, 0) < 0 && errno != EINTR && errno != EAGAIN)
			break;
		if (g->run[1]->exit_reason == KVM_EXIT_IO) {
			printf("state ipi: the peer left the guest\n");
			exit(1);
		}
	}
	return NULL;
}

static void add_ioeventfd(struct guest *g, u64 addr, u32 len, u32 flags)
{
	struct kvm_ioeventfd e = {
		.datamatch = 1,
		.addr = addr,
		.len = len,
		.fd = eventfd(0, EFD_NONBLOCK),
		.flags = flags | KVM_IOEVENTFD_FLAG_DATAMATCH,
	};

	guest_must(ioctl(g->vm, KVM_IOEVENTFD, &e));
}

/* 4 KiB pages, one by one: huge pages would make one fault of 512. */
static void add_pages(struct guest *g, bool present)
{
	u8 *p = mmap(NULL, PAGES * 4096ul, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		guest_die("mmap");
	madvise(p, PAGES * 4096ul, MADV_NOHUGEPAGE);
	if (present)
		memset(p, 1, PAGES * 4096ul);
	guest_slot(g, 5, 0, FRESH, p, PAGES * 4096ul);
}

static int run_row(const char *node, const struct row *r, bool present)
{
	struct guest g;
	pthread_t thread;
	bool two = r->fn == row_ipi;
	int why;
	unsigned int i;

	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	add_ioeventfd(&g, EVENT_PORT, 2, KVM_IOEVENTFD_FLAG_PIO);
	add_ioeventfd(&g, EVENT_MMIO, 4, 0);
	if (r->fn == row_stage2 || r->fn == row_stage2_write)
		add_pages(&g, present);
	if (two) {
		guest_vcpu(&g, 1);
		guest_start64(&g, 1, peer);
		if (pthread_create(&thread, NULL, peer_thread, &g))
			guest_die("pthread_create");
		while (!peer_ready)
			usleep(1000);
	}
	/* Once to warm everything up, once to count; faults come only once. */
	for (i = r->fn == row_stage2 || r->fn == row_stage2_write; i < 2; i++) {
		rounds = r->rounds;
		bad_state = 0;
		guest_start64(&g, 0, r->fn);
		do
			why = guest_run(&g, 0);
		while ((why == KVM_EXIT_IO && g.run[0]->io.port == USER_PORT) ||
		       (why == KVM_EXIT_MMIO && g.run[0]->mmio.phys_addr == USER_MMIO));
		if (why != GUEST_DONE) {
			printf("state %s: the guest ended with exit %d\n", r->name, why);
			return 1;
		}
	}
	if (r->fn == row_empty)
		empty_ticks = ticks;
	for (i = 0; i < 5; i++)
		if (bad_state & (1u << i))
			printf("state %s: %s\n", r->name, state_names[i]);
	printf("%s %ld\n", r->name, ((long)ticks - (r->fn != row_empty ? (long)empty_ticks * (long)r->rounds / ROUNDS : 0)) /
	       (long)r->rounds / (two ? 2 : 1));
	fflush(stdout);
	if (!two)
		guest_destroy(&g);	/* the peer of "ipi" is asleep in its guest until the program ends */
	return bad_state != 0;
}

static const struct row rows[] = {
	{ "empty", row_empty, ROUNDS },
	{ "cpuid", row_cpuid, ROUNDS },
	{ "hypercall", row_vmcall, ROUNDS },
	{ "wrmsr", row_wrmsr, ROUNDS },
	{ "pio-kernel", row_pio_kernel, ROUNDS },
	{ "pio-ioeventfd", row_pio_event, ROUNDS },
	{ "mmio-ioeventfd", row_mmio_event, ROUNDS },
	{ "pio-user-in", row_pio_user, ROUNDS },
	{ "pio-user-out", row_pio_out_user, ROUNDS },
	{ "mmio-user-read", row_mmio_user, ROUNDS },
	{ "mmio-user-write", row_mmio_out_user, ROUNDS },
	{ "self-ipi", row_self_ipi, ROUNDS },
	{ "self-ipi-xapic", row_self_ipi_xapic, ROUNDS },
	{ "eoi", row_eoi, ROUNDS },
	{ "tsc-deadline", row_tsc_deadline, ROUNDS },
	{ "tsc-deadline-past", row_tsc_deadline_past, ROUNDS },
	{ "cr0-toggle", row_cr0, ROUNDS },
	{ "cr4-toggle", row_cr4, ROUNDS },
	{ "stage2-read", row_stage2, PAGES },
	{ "stage2-write", row_stage2_write, PAGES },
	{ "stage2-fresh", row_stage2_write, PAGES },
	{ "ipi", row_ipi, ROUNDS },	/* last: its peer never returns */
};

static bool wanted(int argc, char **argv, const char *name)
{
	int i;

	if (argc <= 2 || !strcmp(name, "empty"))
		return true;
	for (i = 2; i < argc; i++)
		if (!strcmp(argv[i], name))
			return true;
	return false;
}

int main(int argc, char **argv)
{
	unsigned int i;
	int bad = 0;

	if (argc < 2) {
		fprintf(stderr, "usage: exits NODE [ROW...]\n");
		return 2;
	}
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (wanted(argc, argv, rows[i].name))
			bad |= run_row(argv[1], &rows[i], strcmp(rows[i].name, "stage2-fresh"));
	fflush(stdout);
	_exit(bad);
}
