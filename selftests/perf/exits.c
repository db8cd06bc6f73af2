// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * exits - the cost of round trips guest -> host -> guest, in TSC ticks.
 *
 * usage: exits NODE [ROW | -ROW]...
 *
 * Only these rows, or all but these.
 *
 * For each row a guest repeats one operation between two RDTSCs; the cost of the same loop with an operation that does nothing is
 * taken off.  Under QEMU's -icount a tick is an instruction, of guest and host together, and the figures are exact and
 * repeatable; anywhere else they are time, and only ratios of runs on the same machine mean anything.
 *
 * After the loop the same operation runs a few times more, uncounted, with known values in all registers that it is to leave
 * alone (state.h): a back end that is fast because it forgets something prints "state ROW: what", and fails.
 *
 * A fault of stage 2 comes once for a page, and whoever maps neighbours along makes one exit for several pages.  The rows
 * "stage2-read" and "-write" touch pages that lie STRIDE apart, each of which is an exit; those that end in "-sequence" touch one
 * page after the other, where the cost is that of a page, with or without an exit of its own.
 *
 * Output: one line a row, "ROW ticks"; exit status 1 if a state check failed.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>

#include "state.h"

#define __unused	__attribute__((unused))
#define ROUNDS		200
#define CHECKS		8		/* of each operation, half of them with complementary values */
#define EVENT_PORT	0x5a0
#define USER_PORT	0x5b0
#define EVENT_MMIO	0xd0000000ul
#define USER_MMIO	0xd0010000ul
#define FRESH		0x40000000ul	/* 4 KiB pages for the stage-2 rows */
#define PAGE		4096ul
#define STRIDE		65536ul		/* apart: no mapping of neighbours reaches so far */

struct row {
	const char *name;
	void *op;			/* a function: the operation, and a return */
	u64 rax, rcx, rdx;		/* when it begins; rdx grows by step each time */
	unsigned int changes;		/* what it may (state.h) */
	void (*setup)(void);		/* in the guest, before all else */
	void (*check)(bool odd);	/* in place of state_round() */
	u64 step;			/* of a row of stage-2 faults, which can be run once only */
	unsigned int rounds;		/* ROUNDS if 0 */
	bool absent;			/* those pages are not there yet */
};

static volatile u64 ticks, empty_ticks;
static volatile int rounds;
static const struct row *volatile row;
static volatile u64 in_rax, in_rdx;	/* row's, unless its setup knows better */
static volatile u64 irqs;
static volatile u64 timed;		/* ticks inside of a handler, for rows that count those alone */

/* ---- operations ---- */

asm(".pushsection .text\n"
    "op_cpuid: cpuid; ret\n"
    "op_vmcall: vmmcall; ret\n"
    "op_wrmsr: wrmsr; ret\n"
    "op_in_pic: in $0x21, %al; ret\n"	/* the PIC's mask */
    "op_in: in %dx, %al; ret\n"
    "op_out: out %al, %dx; ret\n"
    "op_outw: out %ax, %dx; ret\n"
    "op_read: mov (%rdx), %eax; ret\n"
    "op_write: mov %eax, (%rdx); ret\n"
    "op_cr0: mov %rax, %cr0; mov %rdx, %cr0; ret\n"
    "op_cr4: mov %rax, %cr4; mov %rdx, %cr4; ret\n"
    "op_deadline: rdtsc; add $0x40000000, %eax; adc $0, %edx; wrmsr; ret\n"
    "op_ipi:\n"		/* interrupts are off, so the answer waits for STI */
    "	wrmsr\n"
    "	mov pongs(%rip), %rax\n"
    "1:	sti; hlt; cli\n"
    "	cmp pongs(%rip), %rax\n"
    "	je 1b\n"
    "	ret\n"
    ".popsection\n");
extern char op_cpuid[], op_vmcall[], op_wrmsr[], op_in_pic[], op_in[], op_out[], op_outw[], op_read[], op_write[];
extern char op_cr0[], op_cr4[], op_deadline[], op_ipi[];

/* ---- what rows need beside them, in the guest ---- */

static GUEST void on_irq(u64 vector __unused, u64 *frame __unused, u64 error __unused)
{
	irqs++;
	wrmsr_(0x80b, 0);
}

static GUEST void on_irq_xapic(u64 vector __unused, u64 *frame __unused, u64 error __unused)
{
	irqs++;
	apic_write(0xb0, 0);
}

static GUEST void on_irq_timed(u64 vector __unused, u64 *frame __unused, u64 error __unused)
{
	u64 start = rdtsc_();

	wrmsr_(0x80b, 0);
	timed += rdtsc_() - start;
	irqs++;
}

static GUEST void setup_x2apic(void)
{
	guest_irq[0x40] = on_irq;
	guest_apic_on(true);
	wrmsr_(0x832, 0x40040);	/* the timer: TSC deadline */
	asm volatile("sti");
}

static GUEST void setup_xapic(void)
{
	guest_irq[0x40] = on_irq_xapic;
	guest_apic_on(false);
	asm volatile("sti");
}

/* Only the EOI write inside the handler is counted. */
static GUEST void setup_eoi(void)
{
	setup_x2apic();
	guest_irq[0x40] = on_irq_timed;
}

static volatile bool odd_round;

static GUEST void on_irq_checked(u64 vector __unused, u64 *frame __unused, u64 error __unused)
{
	state_round(op_wrmsr, 0, 0x80b, 0, 0, odd_round);
	irqs++;
}

static GUEST void check_eoi(bool odd)
{
	u64 before = irqs;

	odd_round = odd;
	guest_irq[0x40] = on_irq_checked;
	wrmsr_(0x830, 0x40040);
	while (irqs == before)
		asm volatile("pause");
}

static GUEST void setup_cr0(void)
{
	u64 cr0;

	asm volatile("mov %%cr0, %0" : "=r"(cr0));
	in_rax = cr0 ^ 1 << 16;		/* WP */
	in_rdx = cr0;
}

static GUEST void setup_cr4(void)
{
	u64 cr4;

	asm volatile("mov %%cr4, %0" : "=r"(cr4));
	in_rax = cr4 ^ 1 << 7;		/* PGE */
	in_rdx = cr4;
}

/* IPI to another vCPU, answered by an IPI: half of a round. */
volatile u64 pongs;

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

static GUEST void setup_ipi(void)
{
	guest_irq[0x42] = on_pong;
	guest_apic_on(true);
}

/* ---- the loop, and the rounds that are not counted ---- */

GUEST_INLINE void begin(void)
{
	in_rax = row->rax;
	in_rdx = row->rdx;
	timed = 0;
	if (row->setup)
		row->setup();
	state_arm();
}

static GUEST void measure(void)
{
	void *op = row->op;
	u64 rax, rcx = row->rcx, rdx, step = row->step, start, a, b, c, d;
	int i, n = rounds;

	begin();
	rax = in_rax;
	rdx = in_rdx;
	start = rdtsc_();
	for (i = 0; i < n; i++) {
		asm volatile("call *%[op]" : "=a"(a), "=b"(b), "=c"(c), "=d"(d)
			     : [op] "r"(op), "a"(rax), "c"(rcx), "d"(rdx) : "cc", "memory");
		rdx += step;
	}
	ticks = rdtsc_() - start;
	if (timed)
		ticks = timed + empty_ticks;
	state_check();
	guest_exit();
}

static GUEST void check(void)
{
	u64 rdx;
	int i;

	state_prepare();
	begin();
	rdx = in_rdx + rounds * row->step;
	for (i = 0; i < CHECKS; i++, rdx += row->step) {
		if (row->check)
			row->check(i & 1);
		else
			state_round(row->op, in_rax, row->rcx, rdx, row->changes, i & 1);
	}
	state_check();
	guest_exit();
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
static void add_pages(struct guest *g, const struct row *r)
{
	u64 size = (r->rounds + CHECKS) * r->step;
	u8 *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		guest_die("mmap");
	madvise(p, size, MADV_NOHUGEPAGE);
	if (!r->absent)
		memset(p, 1, size);
	guest_slot(g, 5, 0, FRESH, p, size);
}

/* The guest runs @fn for row @r to its end; false: it went elsewhere.  @dirty: with other values in our registers each time. */
static bool run_guest(struct guest *g, const struct row *r, void (*fn)(void), bool dirty)
{
	int why;

	row = r;
	rounds = r->rounds ?: ROUNDS;
	guest_start64(g, 0, fn);
	do {
		if (dirty)
			state_host_dirty();
		why = guest_run(g, 0);
	} while ((why == KVM_EXIT_IO && g->run[0]->io.port == USER_PORT) ||
		 (why == KVM_EXIT_MMIO && g->run[0]->mmio.phys_addr == USER_MMIO));
	if (why == GUEST_DONE)
		return true;
	printf("state %s: the guest ended with exit %d\n", r->name, why);
	return false;
}

static int run_row(const char *node, const struct row *r)
{
	bool two = r->op == op_ipi, empty = r->op == state_nothing;
	struct guest g;
	pthread_t thread;
	long count;
	unsigned int i;

	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	add_ioeventfd(&g, EVENT_PORT, 2, KVM_IOEVENTFD_FLAG_PIO);
	add_ioeventfd(&g, EVENT_MMIO, 4, 0);
	if (r->step)
		add_pages(&g, r);
	if (two) {
		guest_vcpu(&g, 1);
		guest_start64(&g, 1, peer);
		if (pthread_create(&thread, NULL, peer_thread, &g))
			guest_die("pthread_create");
		while (!peer_ready)
			usleep(1000);
	}
	state_bad = 0;
	/* Once to warm everything up, once to count, once to check; faults come only once. */
	if ((!r->step && !run_guest(&g, r, measure, false)) || !run_guest(&g, r, measure, false))
		return 1;
	count = ticks;
	state_host_prepare(&g, 0);
	if (!run_guest(&g, r, check, true))
		return 1;
	if (empty)
		empty_ticks = count;
	else
		count -= (long)empty_ticks * rounds / ROUNDS;
	for (i = 0; i < NR_BAD; i++)
		if (state_bad & (1u << i))
			printf("state %s: %s\n", r->name, state_names[i]);
	printf("%s %ld\n", r->name, count / rounds / (two ? 2 : 1));
	fflush(stdout);
	if (!two)
		guest_destroy(&g);	/* the peer of "ipi" is asleep in its guest until the program ends */
	return state_bad != 0;
}

static const struct row rows[] = {
	{ "empty", state_nothing, .rax = 0 },
	{ "cpuid", op_cpuid, .rax = 0x80000000, .changes = RAX | RBX | RCX | RDX },
	{ "hypercall", op_vmcall, .rax = 99, .changes = RAX },	/* there is no such hypercall */
	{ "wrmsr", op_wrmsr, .rcx = 0x3b },			/* TSC_ADJUST */
	{ "pio-kernel", op_in_pic, .changes = AL },
	{ "pio-ioeventfd", op_outw, .rax = 1, .rdx = EVENT_PORT },
	{ "mmio-ioeventfd", op_write, .rax = 1, .rdx = EVENT_MMIO },
	{ "pio-user-in", op_in, .rdx = USER_PORT, .changes = AL },
	{ "pio-user-out", op_out, .rdx = USER_PORT },
	{ "mmio-user-read", op_read, .rdx = USER_MMIO, .changes = RAX },
	{ "mmio-user-write", op_write, .rdx = USER_MMIO },
	{ "self-ipi", op_wrmsr, .rax = 0x40040, .rcx = 0x830, .setup = setup_x2apic },
	{ "self-ipi-xapic", op_write, .rax = 0x40040, .rdx = 0xfee00300, .setup = setup_xapic },
	{ "eoi", op_wrmsr, .rax = 0x40040, .rcx = 0x830, .setup = setup_eoi, .check = check_eoi },
	{ "tsc-deadline", op_deadline, .rcx = 0x6e0, .changes = RAX | RDX | FLAGS, .setup = setup_x2apic },
	{ "tsc-deadline-past", op_wrmsr, .rax = 1, .rcx = 0x6e0, .setup = setup_x2apic },
	{ "cr0-toggle", op_cr0, .changes = FLAGS, .setup = setup_cr0 },
	{ "cr4-toggle", op_cr4, .changes = FLAGS, .setup = setup_cr4 },
	{ "stage2-read", op_read, .rdx = FRESH, .changes = RAX, .step = STRIDE, .rounds = 128 },
	{ "stage2-write", op_write, .rdx = FRESH, .step = STRIDE, .rounds = 128 },
	{ "stage2-read-sequence", op_read, .rdx = FRESH, .changes = RAX, .step = PAGE, .rounds = 512 },
	{ "stage2-write-sequence", op_write, .rdx = FRESH, .step = PAGE, .rounds = 512 },
	{ "stage2-fresh", op_write, .rdx = FRESH, .step = PAGE, .rounds = 512, .absent = true },
	{ "ipi", op_ipi, .rax = 0x43, .rcx = 0x830, .rdx = 1, .changes = RAX | FLAGS, .setup = setup_ipi },	/* last: its peer never returns */
};

static bool wanted(int argc, char **argv, const char *name)
{
	bool all = true;
	int i;

	if (!strcmp(name, "empty"))
		return true;
	for (i = 2; i < argc; i++) {
		if (argv[i][0] == '-') {
			if (!strcmp(argv[i] + 1, name))
				return false;
			continue;
		}
		all = false;
		if (!strcmp(argv[i], name))
			return true;
	}
	return all;
}

int main(int argc, char **argv)
{
	unsigned int i;
	int bad = 0;

	if (argc < 2) {
		fprintf(stderr, "usage: exits NODE [ROW | -ROW]...\n");
		return 2;
	}
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (wanted(argc, argv, rows[i].name))
			bad |= run_row(argv[1], &rows[i]);
	fflush(stdout);
	_exit(bad);
}
