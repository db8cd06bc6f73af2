// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mmu - what guest memory costs: making a guest, faults, dirty logs, kernel memory, time under write-held locks.
 *
 * usage: mmu NODE [create|fault|log|ring|memory|held]...
 *
 * Meant for QEMU's -icount, where a tick of the TSC is an instruction of guest and host together, and two runs are alike.
 *
 * create*      from KVM_CREATE_VM until the guest's first instruction has run, ioctls of a usual VMM between them included:
 *              alone, when virtualization has to be switched on, and beside another VM
 * fault-*      the guest touches memory that the host has (fresh: has not), in pages of 4 KiB or 2 MiB
 * log-*        the guest writes everything once after logging was switched on: start (the ioctl), write (by the guest), get (the
 *              log's ioctl), first-pass (the three together), and stop; clear is the ioctl of manual protection
 * ring-*       the same with a dirty ring: write, and harvest (collect the entries, then KVM_RESET_DIRTY_RINGS)
 * memory-*     bytes of kernel memory per idle guest with 128 MiB, 32 of them touched: what is charged to the cgroup of the
 *              VMM, less the page tables of user space
 * held-*       while four vCPUs work at once, how long the lock of the guest's page tables is held for writing: two kprobes on the
 *              kernel's lock functions record addresses and times, and the lock that was held longest is it
 *
 * Output: one line a row, "ROW number"; "ROW absent" where the node lacks the feature.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

#include "../vm/guest.h"

#define DATA		0x40000000ul	/* gpa of the memory that is measured */
#define MIB		(1ul << 20)
#define SIZE		(16 * MIB)
#define PAGES		(SIZE / 4096)
#define SLOT		5
#define NR_CREATE	8
#define NR_IDLE		8
#define IDLE_SIZE	(128 * MIB)
#define IDLE_TOUCHED	(32 * MIB)
#define THREADS		4
#define RING_ENTRIES	8192
#define CGROUP		"/sys/fs/cgroup/lodge-perf"
#define TRACING		"/sys/kernel/tracing/"

static const char *node;
static volatile u64 ticks, from[THREADS], upto[THREADS], step;

static void row(const char *name, u64 value)
{
	printf("%s %llu\n", name, (unsigned long long)value);
	fflush(stdout);
}

static void absent(const char *name)
{
	printf("%s absent\n", name);
}

/* ---- guest code ---- */

static GUEST void first(void)
{
	guest_exit();
}

GUEST_INLINE void touch(unsigned int i, bool write)
{
	u64 start = rdtsc_(), a;

	for (a = from[i]; a < upto[i]; a += step) {
		if (write)
			*(volatile u64 *)a = a;
		else
			(void)*(volatile u64 *)a;
	}
	ticks = rdtsc_() - start;
}

static GUEST void reader(void)
{
	for (;;) {
		touch(0, false);
		outb(GUEST_EXIT_PORT, 0);
	}
}

static GUEST void writer(void)
{
	for (;;) {
		touch(0, true);
		outb(GUEST_EXIT_PORT, 0);
	}
}

static GUEST void writer1(void) { for (;;) { touch(1, true); outb(GUEST_EXIT_PORT, 0); } }
static GUEST void writer2(void) { for (;;) { touch(2, true); outb(GUEST_EXIT_PORT, 0); } }
static GUEST void writer3(void) { for (;;) { touch(3, true); outb(GUEST_EXIT_PORT, 0); } }

/* ---- helpers of the host's side ---- */

static u8 *memory(u64 size, bool huge, bool present)
{
	u64 align = 2 * MIB;
	u8 *p = mmap(NULL, size + align, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	u8 *start = (u8 *)(((u64)p + align - 1) & ~(align - 1));

	if (p == MAP_FAILED)
		guest_die("mmap");
	if (start > p)
		munmap(p, start - p);
	if (start < p + align)
		munmap(start + size, p + align - start);
	guest_must(madvise(start, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE));
	if (present)
		memset(start, 1, size);
	return start;
}

static u64 run_done(struct guest *g, unsigned int id)
{
	int why = guest_run(g, id);

	if (why != GUEST_DONE)
		guest_die("the guest ended with exit %d", why);
	return ticks;
}

static void area(u64 size, u64 stride)
{
	from[0] = DATA;
	upto[0] = DATA + size;
	step = stride;
}

/* ---- create ---- */

static u64 create_once(void)
{
	u64 start = rdtsc_(), took;
	struct guest g;

	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	guest_start64(&g, 0, first);
	run_done(&g, 0);
	took = rdtsc_() - start;
	guest_destroy(&g);
	return took;
}

static u64 create_mean(void)
{
	u64 sum = 0;
	int i;

	create_once();
	for (i = 0; i < NR_CREATE; i++)
		sum += create_once();
	return sum / NR_CREATE;
}

static void create(void)
{
	struct guest beside;

	guest_tables();
	row("create-alone", create_mean());
	guest_create(&beside, node, GUEST_IRQCHIP);
	row("create-beside", create_mean());
	guest_destroy(&beside);
}

/* ---- faults ---- */

static void fault(const char *name, bool huge, bool present, bool write)
{
	u8 *p = memory(SIZE, huge, present);
	struct guest g;

	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	guest_slot(&g, SLOT, 0, DATA, p, SIZE);
	area(SIZE, huge ? 2 * MIB : 4096);
	guest_start64(&g, 0, write ? writer : reader);
	row(name, run_done(&g, 0) / (SIZE / step));
	guest_destroy(&g);
	munmap(p, SIZE);
}

static void faults(void)
{
	fault("fault-4k-read", false, true, false);
	fault("fault-4k-write", false, true, true);
	fault("fault-2m-write", true, true, true);
	fault("fault-4k-fresh", false, false, true);
}

/* ---- dirty log ---- */

struct logged {
	struct guest g;
	u8 *p;
	char kind[8];
};

static void log_row(const struct logged *l, const char *name, u64 value)
{
	char full[64];

	snprintf(full, sizeof(full), "log-%s-%s", name, l->kind);
	row(full, value);
}

static void log_guest(struct logged *l, bool huge)
{
	strcpy(l->kind, huge ? "2m" : "4k");
	l->p = memory(SIZE, huge, true);
	guest_create(&l->g, node, GUEST_IRQCHIP);
	guest_vcpu(&l->g, 0);
	guest_slot(&l->g, SLOT, 0, DATA, l->p, SIZE);
	area(SIZE, 4096);
	guest_start64(&l->g, 0, writer);
	run_done(&l->g, 0);		/* everything is mapped, and may be written */
}

static u64 log_flags(struct logged *l, u32 flags)
{
	u64 start = rdtsc_();

	guest_slot(&l->g, SLOT, flags, DATA, l->p, SIZE);
	return rdtsc_() - start;
}

static u64 log_get(struct logged *l)
{
	static u64 bits[PAGES / 64];
	struct kvm_dirty_log log = { .slot = SLOT, .dirty_bitmap = bits };
	u64 start = rdtsc_(), took;
	unsigned int i;

	guest_must(ioctl(l->g.vm, KVM_GET_DIRTY_LOG, &log));
	took = rdtsc_() - start;
	for (i = 0; i < PAGES / 64; i++)
		if (~bits[i])
			guest_die("the log lacks a page that was written");
	return took;
}

static void log_end(struct logged *l)
{
	guest_destroy(&l->g);
	munmap(l->p, SIZE);
}

static void log_pass(bool huge)
{
	struct logged l;
	u64 start, write, get;

	log_guest(&l, huge);
	start = log_flags(&l, KVM_MEM_LOG_DIRTY_PAGES);
	write = run_done(&l.g, 0);
	get = log_get(&l);
	log_row(&l, "start", start);
	log_row(&l, "write", write);
	log_row(&l, "get", get);
	log_row(&l, "first-pass", start + write + get);
	log_row(&l, "stop", log_flags(&l, 0));
	log_end(&l);
}

/* Manual protection, all pages dirty at first: start costs little, the first clear protects. */
static void log_manual(void)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, .args = { 3 } };
	struct kvm_clear_dirty_log clear = { .slot = SLOT, .num_pages = PAGES };
	static u64 bits[PAGES / 64];
	struct logged l;
	u64 start;

	log_guest(&l, false);
	guest_must(ioctl(l.g.vm, KVM_ENABLE_CAP, &cap));
	log_flags(&l, KVM_MEM_LOG_DIRTY_PAGES);
	log_get(&l);
	memset(bits, 0xff, sizeof(bits));
	clear.dirty_bitmap = bits;
	start = rdtsc_();
	guest_must(ioctl(l.g.vm, KVM_CLEAR_DIRTY_LOG, &clear));
	log_row(&l, "clear", rdtsc_() - start);
	log_end(&l);
}

static void logs(void)
{
	log_pass(false);
	log_pass(true);
	log_manual();
}

/* ---- dirty ring ---- */

static u64 ring_harvest(struct guest *g, struct kvm_dirty_gfn *ring)
{
	u64 start = rdtsc_();
	unsigned int n = 0;

	while (n < RING_ENTRIES && (__atomic_load_n(&ring[n].flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_DIRTY)) {
		__atomic_store_n(&ring[n].flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
		n++;
	}
	if (ioctl(g->vm, KVM_RESET_DIRTY_RINGS, 0) != (int)n || n < PAGES)
		guest_die("the ring had %u entries", n);
	return rdtsc_() - start;
}

static void ring(void)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_DIRTY_LOG_RING, .args = { RING_ENTRIES * sizeof(struct kvm_dirty_gfn) } };
	u8 *p = memory(SIZE, false, true);
	struct kvm_dirty_gfn *ring;
	struct guest g;

	guest_create(&g, node, GUEST_IRQCHIP);
	if (ioctl(g.sys, KVM_CHECK_EXTENSION, KVM_CAP_DIRTY_LOG_RING) <= 0) {
		absent("ring-write");
		absent("ring-harvest");
		goto out;
	}
	guest_must(ioctl(g.vm, KVM_ENABLE_CAP, &cap));
	guest_vcpu(&g, 0);
	ring = mmap(NULL, cap.args[0], PROT_READ | PROT_WRITE, MAP_SHARED, g.vcpu[0], KVM_DIRTY_LOG_PAGE_OFFSET * 4096);
	if (ring == MAP_FAILED)
		guest_die("mmap of the ring");
	guest_slot(&g, SLOT, 0, DATA, p, SIZE);
	area(SIZE, 4096);
	guest_start64(&g, 0, writer);
	run_done(&g, 0);
	guest_slot(&g, SLOT, KVM_MEM_LOG_DIRTY_PAGES, DATA, p, SIZE);
	row("ring-write", run_done(&g, 0));
	row("ring-harvest", ring_harvest(&g, ring));
	munmap(ring, cap.args[0]);
out:
	guest_destroy(&g);
	munmap(p, SIZE);
}

/* ---- kernel memory ---- */

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		guest_die("%s", path);
	close(fd);
}

/* What the cgroup's processes made the kernel allocate, but for their page tables.  The statistics lag behind by two seconds. */
static long kernel_bytes(void)
{
	long kernel = -1, tables = -1, value;
	char key[64];
	FILE *f;

	sleep(5);
	f = fopen(CGROUP "/memory.stat", "r");
	while (f && fscanf(f, "%63s %ld", key, &value) == 2) {
		if (!strcmp(key, "kernel"))
			kernel = value;
		if (!strcmp(key, "pagetables"))
			tables = value;
	}
	if (!f || kernel < 0 || tables < 0)
		guest_die("no kernel memory in %s/memory.stat", CGROUP);
	fclose(f);
	return kernel - tables;
}

static void idle_guest(struct guest *g, bool huge)
{
	struct kvm_pit_config pit = { 0 };
	u8 *p = memory(IDLE_SIZE, huge, false);

	guest_create(g, node, GUEST_IRQCHIP);
	guest_must(ioctl(g->vm, KVM_CREATE_PIT2, &pit));
	guest_vcpu(g, 0);
	guest_slot(g, SLOT, 0, DATA, p, IDLE_SIZE);
	area(IDLE_TOUCHED, 4096);
	guest_start64(g, 0, writer);
	run_done(g, 0);
}

static void memory_row(const char *name, bool huge)
{
	static struct guest g[NR_IDLE + 1];
	long before;
	int i;

	idle_guest(&g[NR_IDLE], huge);		/* what the first one makes the kernel keep */
	before = kernel_bytes();
	for (i = 0; i < NR_IDLE; i++)
		idle_guest(&g[i], huge);
	row(name, (kernel_bytes() - before) / NR_IDLE);
	for (i = 0; i <= NR_IDLE; i++)
		guest_destroy(&g[i]);
}

static void idle(void)
{
	char pid[16];

	write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	if (mkdir(CGROUP, 0755))
		guest_die("%s", CGROUP);
	snprintf(pid, sizeof(pid), "%d", getpid());
	write_file(CGROUP "/cgroup.procs", pid);
	memory_row("memory-4k", false);
	memory_row("memory-2m", true);
}

/* ---- write-held ---- */

static struct guest four;
static u8 *four_memory;
static volatile bool four_stop;

static void trace_begin(void)
{
	char pid[16];
	write_file(TRACING "kprobe_events",
		   "p:lodge_perf/get _raw_write_lock lock=%di\np:lodge_perf/put _raw_write_unlock lock=%di\n");
	write_file(TRACING "buffer_size_kb", "65536");
	write_file(TRACING "trace_clock", "x86-tsc");
	write_file(TRACING "options/event-fork", "1");
	snprintf(pid, sizeof(pid), "%d", getpid());
	write_file(TRACING "set_event_pid", pid);
}

static void trace_on(bool on)
{
	write_file(TRACING "events/lodge_perf/enable", on ? "1" : "0");
}

struct held { u64 lock, since, sum; };

static struct held *held_slot(struct held *h, unsigned int max, u64 lock)
{
	unsigned int i;

	for (i = 0; i < max && h[i].lock && h[i].lock != lock; i++)
		;
	if (i == max)
		guest_die("too many locks");
	h[i].lock = lock;
	return &h[i];
}

/* "task-PID [cpu] flags TICKS: NAME: (where) lock=0x..."; the lock that was held longest. */
static u64 trace_longest(void)
{
	static struct held h[4096];
	FILE *f = fopen(TRACING "trace", "r");
	u64 longest = 0, when;
	char line[512], *at;
	unsigned int i;

	memset(h, 0, sizeof(h));
	while (f && fgets(line, sizeof(line), f)) {
		bool get = strstr(line, ": get: ");
		struct held *slot;

		at = strstr(line, get ? ": get: " : ": put: ");
		if (line[0] == '#' || !at || !strstr(line, "lock=0x"))
			continue;
		*at = 0;
		when = strtoull(strrchr(line, ' ') + 1, NULL, 10);
		slot = held_slot(h, 4096, strtoull(strstr(at + 1, "lock=0x") + 5, NULL, 16));
		if (get)
			slot->since = when;
		else if (slot->since)
			slot->sum += when - slot->since;
	}
	if (!f)
		guest_die("no trace");
	fclose(f);
	write_file(TRACING "trace", "");
	for (i = 0; i < 4096; i++)
		if (h[i].sum > longest)
			longest = h[i].sum;
	return longest;
}

static void *four_thread(void *arg)
{
	unsigned int id = (unsigned long)arg;

	do
		run_done(&four, id);
	while (!four_stop);
	return NULL;
}

/* All vCPUs write all of their memory, once or until @meanwhile has returned. */
static void four_run(const char *name, void (*meanwhile)(void))
{
	pthread_t thread[THREADS];
	unsigned long i;

	four_stop = !meanwhile;
	trace_on(true);
	for (i = 0; i < THREADS; i++)
		if (pthread_create(&thread[i], NULL, four_thread, (void *)i))
			guest_die("pthread_create");
	if (meanwhile)
		meanwhile();
	four_stop = true;
	for (i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	trace_on(false);
	row(name, trace_longest());
}

static void four_log(void)
{
	static u64 bits[PAGES / 64];
	struct kvm_dirty_log log = { .slot = SLOT, .dirty_bitmap = bits };
	int i;

	guest_slot(&four, SLOT, KVM_MEM_LOG_DIRTY_PAGES, DATA, four_memory, SIZE);
	for (i = 0; i < 4; i++) {
		usleep(20000);
		guest_must(ioctl(four.vm, KVM_GET_DIRTY_LOG, &log));
	}
	guest_slot(&four, SLOT, 0, DATA, four_memory, SIZE);
}

static void four_unmap(void)
{
	u64 at;

	for (at = 0; at < SIZE; at += SIZE / 8) {
		usleep(5000);
		guest_must(madvise(four_memory + at, SIZE / 8, MADV_DONTNEED));
	}
}

static void held(void)
{
	static void (*const writers[THREADS])(void) = { writer, writer1, writer2, writer3 };
	unsigned int i;

	trace_begin();
	four_memory = memory(SIZE, false, true);
	guest_create(&four, node, GUEST_IRQCHIP);
	guest_slot(&four, SLOT, 0, DATA, four_memory, SIZE);
	step = 4096;
	for (i = 0; i < THREADS; i++) {
		from[i] = DATA + i * (SIZE / THREADS);
		upto[i] = from[i] + SIZE / THREADS;
		guest_vcpu(&four, i);
		guest_start64(&four, i, writers[i]);
	}
	four_run("held-faults", NULL);
	four_run("held-log", four_log);
	four_run("held-unmap", four_unmap);
	guest_destroy(&four);
	munmap(four_memory, SIZE);
}

static const struct { const char *name; void (*fn)(void); } groups[] = {
	{ "create", create }, { "fault", faults }, { "log", logs }, { "ring", ring }, { "memory", idle }, { "held", held },
};

int main(int argc, char **argv)
{
	unsigned int i;
	int a;

	if (argc < 2) {
		fprintf(stderr, "usage: mmu NODE [create|fault|log|ring|memory|held]...\n");
		return 2;
	}
	node = argv[1];
	for (i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
		bool run = argc == 2;

		for (a = 2; a < argc; a++)
			run |= !strcmp(argv[a], groups[i].name);
		if (run)
			groups[i].fn();
	}
	return 0;
}
