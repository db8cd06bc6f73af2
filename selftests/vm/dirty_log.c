// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The dirty log: what the guest writes is in it once, what it does not write is not, with and without manual protection.
 *
 * CFLAGS: -mno-red-zone
 * TIMEOUT: 120
 */
#include <pthread.h>

#include "binstats.h"
#include "tap.h"

#define SLOT	10
#define GPA	0x40000000ul
#define PAGES	1024		/* two large pages, so that splitting is seen */
#define SIZE	(PAGES * 4096ul)

static const char *node;
static u8 *ram;
static volatile u64 first, step, count;

/* Writes @count pages from @first on, every @step. */
static GUEST void writer(void)
{
	u64 i;

	for (;;) {
		for (i = 0; i < count; i++)
			*(volatile u64 *)(GPA + (first + i * step) * 4096) += 1;
		outb(GUEST_EXIT_PORT, 0);
	}
}

static GUEST void reader(void)
{
	u64 i, sum = 0;

	for (;;) {
		for (i = 0; i < PAGES; i++)
			sum += *(volatile u64 *)(GPA + i * 4096);
		first = sum;
		outb(GUEST_EXIT_PORT, 0);
	}
}

static void guest_writes(struct guest *g, u64 from, u64 every, u64 n)
{
	first = from;
	step = every;
	count = n;
	if (guest_run(g, 0) != GUEST_DONE)
		guest_die("the guest did not finish");
}

static int set(struct guest *g, u32 flags, u64 size)
{
	struct kvm_userspace_memory_region r = {
		.slot = SLOT, .flags = flags, .guest_phys_addr = GPA, .memory_size = size, .userspace_addr = (u64)ram,
	};

	return ioctl(g->vm, KVM_SET_USER_MEMORY_REGION, &r) < 0 ? -errno : 0;
}

static int get(struct guest *g, u64 *map)
{
	struct kvm_dirty_log log = { .slot = SLOT, .dirty_bitmap = map };

	return ioctl(g->vm, KVM_GET_DIRTY_LOG, &log) < 0 ? -errno : 0;
}

static int clear(struct guest *g, u64 from, u32 n, u64 *map)
{
	struct kvm_clear_dirty_log log = { .slot = SLOT, .first_page = from, .num_pages = n, .dirty_bitmap = map };

	return ioctl(g->vm, KVM_CLEAR_DIRTY_LOG, &log) < 0 ? -errno : 0;
}

/* Exactly the pages from @from, every @every, @n of them are set. */
static bool exactly(const u64 *map, u64 from, u64 every, u64 n)
{
	u64 page;

	for (page = 0; page < PAGES; page++) {
		bool want = page >= from && (page - from) % every == 0 && (page - from) / every < n;
		bool is = map[page / 64] >> (page % 64) & 1;

		if (want != is) {
			tap_note("page %llu is %sdirty", (unsigned long long)page, is ? "" : "not ");
			return false;
		}
	}
	return true;
}

static void start(struct guest *g, void (*fn)(void))
{
	guest_create(g, node, GUEST_IRQCHIP);
	guest_vcpu(g, 0);
	guest_start64(g, 0, fn);
	memset(ram, 0, SIZE);
}

static void errors(void)
{
	u64 map[PAGES / 64 + 1] = {};
	struct guest g;

	start(&g, writer);
	tap_eq(get(&g, map), -ENOENT, "GET_DIRTY_LOG of a slot that is not there: ENOENT");
	set(&g, 0, SIZE);
	tap_eq(get(&g, map), -ENOENT, "GET_DIRTY_LOG of a slot without log: ENOENT");
	set(&g, KVM_MEM_LOG_DIRTY_PAGES, SIZE);
	tap_eq(get(&g, NULL), -EFAULT, "GET_DIRTY_LOG into nothing: EFAULT");
	tap_eq(clear(&g, 1, 64, map), -EINVAL, "CLEAR_DIRTY_LOG from page 1: EINVAL");
	tap_eq(clear(&g, 0, 65, map), -EINVAL, "CLEAR_DIRTY_LOG of 65 pages: EINVAL");
	tap_eq(clear(&g, 0, PAGES + 64, map), -EINVAL, "CLEAR_DIRTY_LOG of more pages than there are: EINVAL");
	tap_eq(clear(&g, PAGES + 64, 64, map), -EINVAL, "CLEAR_DIRTY_LOG behind the end: EINVAL");
	tap_eq(clear(&g, 0, 64, NULL), -EFAULT, "CLEAR_DIRTY_LOG from nothing: EFAULT");
	tap_eq(clear(&g, 64, 64, map), 0, "CLEAR_DIRTY_LOG of nothing");
	guest_destroy(&g);
}

static void fetched(void)
{
	u64 map[PAGES / 64], fast;
	struct guest g;

	start(&g, writer);
	set(&g, KVM_MEM_LOG_DIRTY_PAGES, SIZE);
	get(&g, map);
	tap_ok(exactly(map, 0, 1, 0), "a new log is empty");
	guest_writes(&g, 3, 5, 100);
	get(&g, map);
	tap_ok(exactly(map, 3, 5, 100), "it has the pages that were written");
	get(&g, map);
	tap_ok(exactly(map, 0, 1, 0), "fetching empties it");
	fast = stat_of(g.vcpu[0], "pf_fast");
	guest_writes(&g, 3, 5, 50);
	get(&g, map);
	tap_ok(exactly(map, 3, 5, 50), "pages written again are in it again");
	fast = stat_of(g.vcpu[0], "pf_fast") - fast;
	tap_note("%lu of 50 faults were fast ones", (long)fast);
	if (!strstr(node, "kvm"))	/* what stock KVM counts is its own affair */
		tap_ok(fast >= 50, "which costs no look at the host's page tables");
	guest_writes(&g, 0, 1, PAGES);
	get(&g, map);
	tap_ok(exactly(map, 0, 1, PAGES), "all pages");
	guest_start64(&g, 0, reader);
	if (guest_run(&g, 0) != GUEST_DONE)
		guest_die("the reader did not finish");
	get(&g, map);
	tap_ok(exactly(map, 0, 1, 0), "reading leaves no trace");
	tap_ok(*(u64 *)ram == 1 && *(u64 *)(ram + 3 * 4096) == 3, "the memory is right");
	guest_destroy(&g);
}

/* The log comes to a slot whose pages are mapped writable, perhaps as large ones. */
static void toggled(void)
{
	u64 map[PAGES / 64];
	struct guest g;

	start(&g, writer);
	set(&g, 0, SIZE);
	guest_writes(&g, 0, 1, PAGES);
	tap_eq(set(&g, KVM_MEM_LOG_DIRTY_PAGES, SIZE), 0, "a log for a slot in use");
	guest_writes(&g, 7, 11, 60);
	get(&g, map);
	tap_ok(exactly(map, 7, 11, 60), "has just what was written since");
	tap_eq(set(&g, 0, SIZE), 0, "the log goes");
	tap_eq(get(&g, map), -ENOENT, "and cannot be fetched any more");
	guest_writes(&g, 0, 1, PAGES);
	set(&g, KVM_MEM_LOG_DIRTY_PAGES, SIZE);
	get(&g, map);
	tap_ok(exactly(map, 0, 1, 0), "a second log begins empty");
	guest_writes(&g, 5, 64, 16);
	get(&g, map);
	tap_ok(exactly(map, 5, 64, 16), "and works");
	guest_destroy(&g);
}

static void manual(void)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, .args = { KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE } };
	u64 map[PAGES / 64], some[2] = { 0xf, 1 };
	struct guest g;

	start(&g, writer);
	if (ioctl(g.sys, KVM_CHECK_EXTENSION, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2) <= 0) {
		tap_skip("manual protection", "the capability is absent");
		guest_destroy(&g);
		return;
	}
	tap_eq(ioctl(g.vm, KVM_ENABLE_CAP, &cap), 0, "manual protection is switched on");
	set(&g, KVM_MEM_LOG_DIRTY_PAGES, SIZE);
	guest_writes(&g, 0, 1, 70);
	get(&g, map);
	tap_ok(exactly(map, 0, 1, 70), "fetching gives the pages");
	get(&g, map);
	tap_ok(exactly(map, 0, 1, 70), "and leaves them");
	tap_eq(clear(&g, 0, 128, some), 0, "some are cleared");
	get(&g, map);
	tap_ok(map[0] == ~0xfull && map[1] == 0x3e, "just these are gone");
	guest_writes(&g, 1, 1, 1);
	get(&g, map);
	tap_ok(map[0] == (~0xfull | 2) && map[1] == 0x3e, "a cleared page comes back when written");
	guest_destroy(&g);
}

static void initially_set(void)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, .args = { KVM_DIRTY_LOG_INITIALLY_SET } };
	u64 map[PAGES / 64], all[PAGES / 64];
	struct guest g;

	start(&g, writer);
	if (!(ioctl(g.sys, KVM_CHECK_EXTENSION, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2) & KVM_DIRTY_LOG_INITIALLY_SET)) {
		tap_skip("initially set logs", "the capability is absent");
		guest_destroy(&g);
		return;
	}
	tap_ok(ioctl(g.vm, KVM_ENABLE_CAP, &cap) < 0 && errno == EINVAL, "initially set without manual protection: EINVAL");
	cap.args[0] |= KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE;
	tap_eq(ioctl(g.vm, KVM_ENABLE_CAP, &cap), 0, "initially set with manual protection");
	set(&g, 0, SIZE);
	guest_writes(&g, 0, 1, PAGES);
	set(&g, KVM_MEM_LOG_DIRTY_PAGES, SIZE);
	get(&g, map);
	tap_ok(exactly(map, 0, 1, PAGES), "a new log is full");
	memset(all, 0xff, sizeof(all));
	tap_eq(clear(&g, 0, PAGES, all), 0, "all is cleared");
	get(&g, map);
	tap_ok(exactly(map, 0, 1, 0), "it is empty");
	guest_writes(&g, 9, 3, 33);
	get(&g, map);
	tap_ok(exactly(map, 9, 3, 33), "and has what is written then");
	guest_destroy(&g);
}

/* ---- a writer on one vCPU, fetches by another thread: no write may be missed ---- */

static volatile u64 counter[PAGES], stop;

static GUEST void busy(void)
{
	u64 page, round = 0;

	while (!stop) {
		round++;
		for (page = 0; page < PAGES && !stop; page += 8) {
			*(volatile u64 *)(GPA + page * 4096) = round;
			counter[page] = round;
			guest_spin();
		}
	}
	guest_exit();
}

static void *run_thread(void *arg)
{
	return (void *)(long)guest_run(arg, 0);
}

/*
 * A copy is kept up to date from the log alone, as a migration does: a page is copied after its bit was fetched.  In the end the
 * copy must be the memory.
 */
static void race(void)
{
	u64 map[PAGES / 64], copy[PAGES] = {}, page;
	struct guest g;
	pthread_t t;
	void *ret;
	int i, bad = 0, seen = 0;

	start(&g, busy);
	set(&g, KVM_MEM_LOG_DIRTY_PAGES, SIZE);
	pthread_create(&t, NULL, run_thread, &g);
	for (i = 0; i < 60; i++) {
		if (i == 59) {
			stop = 1;
			pthread_join(t, &ret);
		}
		usleep(5000);
		get(&g, map);
		for (page = 0; page < PAGES; page++) {
			if (!(map[page / 64] >> (page % 64) & 1))
				continue;
			copy[page] = *(volatile u64 *)(ram + page * 4096);
			seen++;
		}
	}
	for (page = 0; page < PAGES; page++)
		bad += copy[page] != *(u64 *)(ram + page * 4096);
	errno = 0;
	tap_note("%d pages were copied", seen);
	tap_ok((long)ret == GUEST_DONE && seen > 128, "a guest writes while its log is fetched");
	tap_eq(bad, 0, "no write is lost");
	guest_destroy(&g);
}

int main(int argc, char **argv)
{
	node = tap_node(argc, argv);
	/* Aligned, so that the host may use large pages. */
	ram = mmap((void *)0x7f0000000000, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (ram == MAP_FAILED)
		tap_bail("mmap");
	madvise(ram, SIZE, MADV_HUGEPAGE);
	errors();
	fetched();
	toggled();
	manual();
	initially_set();
	race();
	return tap_done();
}
