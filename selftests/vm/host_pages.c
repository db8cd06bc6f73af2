// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the host does to the VMM's mappings, the guest sees: pages discarded, replaced, copied on write, protected, merged into
 * large ones and split again, files and devices mapped, memory that failed.
 *
 * CFLAGS: -mno-red-zone
 * TIMEOUT: 240
 */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "guest.h"
#include "tap.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif
#define MADV_HWPOISON_	100

#define SLOT	10
#define GPA	0x40000000ul
#define PAGES	1024
#define SIZE	(PAGES * 4096ul)
#define CPUS	2

static const char *node;
static struct guest g;
static volatile u64 value, index_, seen;

/* ---- the guest: reads or writes one word, or adds up all ---- */

static GUEST void peek(void)
{
	for (;;) {
		seen = *(volatile u64 *)(GPA + index_ * 4096);
		outb(GUEST_EXIT_PORT, 0);
	}
}

static GUEST void poke(void)
{
	for (;;) {
		*(volatile u64 *)(GPA + index_ * 4096) = value;
		outb(GUEST_EXIT_PORT, 0);
	}
}

static GUEST void fill(void)
{
	u64 i;

	for (;;) {
		for (i = 0; i < PAGES; i++)
			*(volatile u64 *)(GPA + i * 4096) = value + i;
		outb(GUEST_EXIT_PORT, 0);
	}
}

static GUEST void sum(void)
{
	u64 i, s;

	for (;;) {
		for (i = 0, s = 0; i < PAGES; i++)
			s += *(volatile u64 *)(GPA + i * 4096);
		seen = s;
		outb(GUEST_EXIT_PORT, 0);
	}
}

/* ---- the host ---- */

static void run(void (*fn)(void))
{
	guest_start64(&g, 0, fn);
	if (guest_run(&g, 0) != GUEST_DONE)
		guest_die("the guest did not finish");
}

/* KVM_RUN's errno when the guest does @fn, 0 if it did it. */
static int run_errno(void (*fn)(void))
{
	guest_start64(&g, 0, fn);
	return ioctl(g.vcpu[0], KVM_RUN, 0) < 0 ? errno : 0;
}

static u64 peeked(u64 i)
{
	index_ = i;
	run(peek);
	return seen;
}

static void poked(u64 i, u64 v)
{
	index_ = i;
	value = v;
	run(poke);
}

static void begin(void)
{
	guest_create(&g, node, 0);
	guest_vcpu(&g, 0);
}

static void slot(void *p, u64 size, u32 flags)
{
	guest_slot(&g, SLOT, flags, GPA, p, size);
}

/* Anonymous memory aligned to 2 MiB. */
static u8 *memory(int advice)
{
	u8 *p = mmap(NULL, SIZE + (2 << 20), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		guest_die("mmap");
	p = (u8 *)(((u64)p + (2 << 20) - 1) & ~((2ul << 20) - 1));
	madvise(p, SIZE, advice);
	return p;
}

static u64 word(u8 *p, u64 i)
{
	return *(volatile u64 *)(p + i * 4096);
}

static void discarded(int advice, const char *kind)
{
	u8 *p = memory(advice);
	bool same = true;
	u64 i;

	begin();
	slot(p, SIZE, 0);
	value = 1000;
	run(fill);
	for (i = 0; i < PAGES; i++)
		same &= word(p, i) == 1000 + i;
	tap_ok(same, "%s pages: what the guest wrote is there", kind);
	madvise(p + 4096 * 5, 4096, MADV_DONTNEED);
	tap_ok(peeked(5) == 0 && peeked(4) == 1004 && peeked(6) == 1006, "%s pages: one discarded page reads as zero", kind);
	madvise(p, SIZE, MADV_DONTNEED);
	run(sum);
	tap_ok(seen == 0, "%s pages: all discarded read as zero", kind);
	poked(7, 77);
	tap_ok(word(p, 7) == 77, "%s pages: a write after reads of nothing arrives", kind);
	*(volatile u64 *)(p + 8 * 4096) = 88;
	tap_ok(peeked(8) == 88, "%s pages: the VMM's write to a page that the guest read as zero is seen", kind);
	guest_destroy(&g);
}

static void copied(int advice, const char *kind)
{
	u8 *p = memory(advice);
	int up[2], down[2], status;
	u64 child_saw;
	pid_t pid;
	char c;

	begin();
	slot(p, SIZE, 0);
	value = 1;
	run(fill);
	if (pipe(up) || pipe(down))
		guest_die("pipe");
	pid = fork();
	if (!pid) {
		if (read(down[0], &c, 1) != 1)
			_exit(1);
		child_saw = word(p, 9);
		_exit(write(up[1], &child_saw, 8) != 8);
	}
	poked(9, 999);
	tap_ok(word(p, 9) == 999, "%s pages: a write after fork reaches the VMM's memory", kind);
	if (write(down[1], "x", 1) != 1 || read(up[0], &child_saw, 8) != 8)
		guest_die("pipe");
	waitpid(pid, &status, 0);
	tap_eq(child_saw, 10, "and not the child's copy");
	tap_eq(peeked(9), 999, "and the guest reads it back");
	guest_destroy(&g);
}

static void replaced(void)
{
	u8 *p = memory(MADV_NOHUGEPAGE), *q;

	begin();
	slot(p, SIZE, 0);
	poked(3, 33);
	q = mmap(p + 3 * 4096, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	*(volatile u64 *)q = 44;
	tap_eq(peeked(3), 44, "a page that was mapped over is seen at once");
	mprotect(p + 3 * 4096, 4096, PROT_READ);
	tap_eq(peeked(3), 44, "a page that became read-only can be read");
	index_ = 3;
	value = 55;
	tap_eq(run_errno(poke), EFAULT, "but a write ends KVM_RUN with EFAULT");
	tap_eq(word(p, 3), 44, "and changes nothing");
	mprotect(p + 3 * 4096, 4096, PROT_READ | PROT_WRITE);
	poked(3, 55);
	tap_eq(word(p, 3), 55, "writable again, it is written");
	mprotect(p + 3 * 4096, 4096, PROT_NONE);
	tap_eq(run_errno(peek), EFAULT, "a page without access: EFAULT");
	mprotect(p + 3 * 4096, 4096, PROT_READ | PROT_WRITE);
	tap_eq(peeked(3), 55, "with access again, what it held is there");
	munmap(p + 3 * 4096, 4096);
	index_ = 3;
	tap_eq(run_errno(peek), EFAULT, "no mapping: EFAULT");
	index_ = 4;
	run(peek);
	tap_ok(seen == 0, "and its neighbour is still there");
	guest_destroy(&g);
}

static void shared_file(void)
{
	int fd = memfd_create("ram", 0);
	u8 *p, *other;

	if (fd < 0 || ftruncate(fd, SIZE))
		guest_die("memfd");
	p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	other = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	begin();
	slot(p, SIZE, 0);
	value = 500;
	run(fill);
	tap_eq(word(other, 20), 520, "shared memory: another mapping sees the guest's write");
	*(volatile u64 *)(other + 20 * 4096) = 21;
	tap_eq(peeked(20), 21, "and the guest sees the other mapping's");
	if (fallocate(fd, 3 /* PUNCH_HOLE | KEEP_SIZE */, 20 * 4096, 4096))
		guest_die("fallocate");
	tap_eq(peeked(20), 0, "a hole punched into the file reads as zero");
	poked(20, 22);
	tap_eq(word(other, 20), 22, "and can be written");
	guest_destroy(&g);
	munmap(p, SIZE);
	munmap(other, SIZE);
	close(fd);
}

static void private_file(void)
{
	int fd = memfd_create("rom", 0);
	u64 v = 4711;
	u8 *p;

	if (fd < 0 || ftruncate(fd, SIZE) || pwrite(fd, &v, 8, 4096) != 8)
		guest_die("memfd");
	p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	begin();
	slot(p, SIZE, 0);
	tap_eq(peeked(1), 4711, "a private mapping shows the file");
	poked(1, 4712);
	if (pread(fd, &v, 8, 4096) != 8)
		guest_die("pread");
	tap_ok(v == 4711 && word(p, 1) == 4712 && peeked(1) == 4712, "a write makes a copy, the file keeps its own");
	guest_destroy(&g);
	p = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
	begin();
	slot(p, SIZE, KVM_MEM_READONLY);
	tap_eq(peeked(1), 4711, "a read-only mapping under a read-only slot can be read");
	guest_start64(&g, 0, poke);
	tap_eq(guest_run(&g, 0), KVM_EXIT_MMIO, "and a write to it is the VMM's");
	guest_destroy(&g);
	close(fd);
}

static void huge_file(void)
{
	u8 *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	FILE *f;

	if (p == MAP_FAILED) {
		f = fopen("/proc/sys/vm/nr_hugepages", "w");
		if (f) {
			fprintf(f, "8\n");
			fclose(f);
		}
		p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	}
	if (p == MAP_FAILED) {
		tap_skip("hugetlbfs pages", "none to be had");
		return;
	}
	begin();
	slot(p, SIZE, 0);
	value = 7000;
	run(fill);
	tap_ok(word(p, 0) == 7000 && word(p, PAGES - 1) == 7000 + PAGES - 1, "hugetlbfs pages: what the guest wrote is there");
	madvise(p, 2 << 20, MADV_DONTNEED);
	tap_eq(peeked(PAGES - 1), 7000 + PAGES - 1, "hugetlbfs pages: the guest reads it back");
	guest_destroy(&g);
	/* The same memory, guest and host addresses not aligned alike. */
	begin();
	guest_slot(&g, SLOT, 0, GPA, p + 4096, SIZE - 4096);
	tap_eq(peeked(0), 7001, "hugetlbfs pages at an odd guest address");
	guest_destroy(&g);
	munmap(p, SIZE);
}

/* ROM below 1 MiB: VM_PFNMAP, no page structure that may be counted. */
static void device_pages(void)
{
	int fd = open("/dev/mem", O_RDONLY);
	u8 *p = fd < 0 ? MAP_FAILED : mmap(NULL, 0x10000, PROT_READ, MAP_SHARED, fd, 0xf0000);
	u64 i;
	bool same = true;

	if (p == MAP_FAILED) {
		tap_skip("pages of a device mapping", "/dev/mem cannot be mapped");
		return;
	}
	begin();
	slot(p, 0x10000, KVM_MEM_READONLY);
	for (i = 0; i < 16; i++)
		same &= peeked(i) == word(p, i);
	tap_ok(same, "pages of a device mapping show the device");
	munmap(p, 0x10000);
	index_ = 0;
	tap_eq(run_errno(peek), EFAULT, "and are gone when it is unmapped");
	guest_destroy(&g);
	close(fd);
}

static volatile sig_atomic_t bus_code;
static void *volatile bus_address;

static void on_bus(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)context;
	bus_code = info->si_code;
	bus_address = info->si_addr;
}

static void poisoned(void)
{
	struct sigaction sa = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO };
	u8 *p = memory(MADV_NOHUGEPAGE);
	int err;

	begin();
	slot(p, SIZE, 0);
	poked(2, 1);
	sigaction(SIGBUS, &sa, NULL);
	if (madvise(p + 2 * 4096, 4096, MADV_HWPOISON_)) {
		tap_skip("memory that failed", "cannot be simulated here");
		guest_destroy(&g);
		return;
	}
	bus_code = 0;
	index_ = 2;
	err = run_errno(peek);
	tap_ok(bus_code == BUS_MCEERR_AR && bus_address == p + 2 * 4096, "an access to memory that failed is SIGBUS for the VMM");
	tap_ok(err == EINTR || err == EAGAIN, "and interrupts KVM_RUN");
	tap_eq(peeked(1), 0, "the guest's other memory is untouched");
	guest_destroy(&g);
}

/* ---- all at once ---- */

static volatile bool stop;
static volatile u64 rounds[CPUS];

/* Each vCPU adds one to its word of every page, again and again. */
GUEST_INLINE void adder(u64 cpu)
{
	u64 i;

	while (!stop) {
		for (i = 0; i < PAGES; i++)
			*(volatile u64 *)(GPA + i * 4096 + cpu * 8) += 1;
		rounds[cpu]++;
		guest_spin();
	}
	guest_exit();
}

static GUEST void adder0(void)
{
	adder(0);
}

static GUEST void adder1(void)
{
	adder(1);
}

static void *vcpu_thread(void *arg)
{
	unsigned int cpu = (unsigned long)arg;
	struct kvm_run *r = g.run[cpu];

	for (;;) {
		/* a page that is read-only just now is writable again soon */
		if (ioctl(g.vcpu[cpu], KVM_RUN, 0) < 0) {
			if (errno != EINTR && errno != EFAULT)
				guest_die("KVM_RUN");
			continue;
		}
		if (r->exit_reason == KVM_EXIT_IO && r->io.port == GUEST_EXIT_PORT)
			return NULL;
		guest_die("exit %u", r->exit_reason);
	}
}

static void disturb(u8 *p, unsigned int n)
{
	u64 at = (n * 7919ul % PAGES) & ~15ul;
	pid_t pid;

	switch (n % 5) {
	case 0:
		mprotect(p + at * 4096, 16 * 4096, PROT_READ);
		mprotect(p + at * 4096, 16 * 4096, PROT_READ | PROT_WRITE);
		break;
	case 1:
		pid = fork();
		if (!pid)
			_exit(0);
		waitpid(pid, NULL, 0);
		break;
	case 2:
		madvise(p + (at & ~511ul) * 4096, 2 << 20, MADV_COLLAPSE);
		break;
	case 3:
		madvise(p, SIZE, MADV_NOHUGEPAGE);
		mprotect(p, SIZE, PROT_READ);
		mprotect(p, SIZE, PROT_READ | PROT_WRITE);
		madvise(p, SIZE, MADV_HUGEPAGE);
		break;
	case 4:
		mremap(p + at * 4096, 4096, 4096, MREMAP_MAYMOVE);
		break;
	}
}

static void storm(void)
{
	static void (*const fn[CPUS])(void) = { adder0, adder1 };
	u8 *p = memory(MADV_HUGEPAGE);
	pthread_t t[CPUS];
	unsigned long c;
	unsigned int n;
	u64 lost = 0, i;

	guest_create(&g, node, GUEST_IRQCHIP);
	for (c = 0; c < CPUS; c++)
		guest_vcpu(&g, c);
	slot(p, SIZE, 0);
	for (c = 0; c < CPUS; c++) {
		guest_start64(&g, c, fn[c]);
		pthread_create(&t[c], NULL, vcpu_thread, (void *)c);
	}
	for (n = 0; n < 200; n++)
		disturb(p, n);
	stop = true;
	for (c = 0; c < CPUS; c++)
		pthread_join(t[c], NULL);
	for (c = 0; c < CPUS; c++)
		for (i = 0; i < PAGES; i++)
			lost += *(volatile u64 *)(p + i * 4096 + c * 8) != rounds[c];
	tap_note("%llu and %llu rounds", (unsigned long long)rounds[0], (unsigned long long)rounds[1]);
	tap_ok(rounds[0] > 0 && rounds[1] > 0, "two vCPUs get on while the host forks, protects, merges and splits their pages");
	tap_eq(lost, 0, "and no write of theirs is lost");
	guest_destroy(&g);
}

int main(int argc, char **argv)
{
	node = tap_node(argc, argv);
	discarded(MADV_NOHUGEPAGE, "small");
	discarded(MADV_HUGEPAGE, "large");
	copied(MADV_NOHUGEPAGE, "small");
	copied(MADV_HUGEPAGE, "large");
	replaced();
	shared_file();
	private_file();
	huge_file();
	device_pages();
	storm();
	poisoned();
	return tap_done();
}
