// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The dirty ring: what each vCPU writes is in its ring, in order; a full ring ends KVM_RUN; harvested entries come back; hostile
 * entries do no harm.
 *
 * CFLAGS: -mno-red-zone
 * TIMEOUT: 120
 */
#include <pthread.h>
#include <stdatomic.h>

#include "guest.h"
#include "tap.h"

#define SLOT	10
#define GPA	0x40000000ul
#define PAGES	2048
#define SIZE	(PAGES * 4096ul)
#define ENTRIES	256		/* one page: the smallest ring */
#define BYTES	(ENTRIES * sizeof(struct kvm_dirty_gfn))
#define RESERVE	64
#define OFFSET	(KVM_DIRTY_LOG_PAGE_OFFSET * 4096ul)

static const char *node;
static u8 *ram;
static volatile u64 first[2], count[2];

/* Each vCPU writes its count of pages, from its first on. */
GUEST_INLINE void write_pages(int me)
{
	u64 i;

	for (;;) {
		for (i = 0; i < count[me]; i++)
			*(volatile u64 *)(GPA + (first[me] + i) * 4096) += 1;
		outb(GUEST_EXIT_PORT, 0);
	}
}

static GUEST void writer0(void) { write_pages(0); }
static GUEST void writer1(void) { write_pages(1); }

/* The whole ring's worth of pages with one instruction. */
static GUEST void storer(void)
{
	for (;;) {
		u64 to = GPA + first[0] * 4096, n = count[0] * 4096;

		asm volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(1) : "memory");
		outb(GUEST_EXIT_PORT, 0);
	}
}

static int enable(int vm, u32 cap, u64 bytes)
{
	struct kvm_enable_cap c = { .cap = cap, .args = { bytes } };

	return ioctl(vm, KVM_ENABLE_CAP, &c) < 0 ? -errno : 0;
}

static int reset(struct guest *g)
{
	int r = ioctl(g->vm, KVM_RESET_DIRTY_RINGS, 0);

	return r < 0 ? -errno : r;
}

static struct kvm_dirty_gfn *map_ring(struct guest *g, int vcpu, int prot, int flags)
{
	return mmap(NULL, BYTES, prot, flags, g->vcpu[vcpu], OFFSET);
}

static void slot(struct guest *g, u32 flags)
{
	guest_slot(g, SLOT, flags, GPA, ram, SIZE);
}

static struct kvm_dirty_gfn *start(struct guest *g, void (*fn)(void))
{
	struct kvm_dirty_gfn *ring;

	guest_create(g, node, GUEST_IRQCHIP);
	guest_must(enable(g->vm, KVM_CAP_DIRTY_LOG_RING, BYTES));
	guest_vcpu(g, 0);
	guest_start64(g, 0, fn);
	slot(g, KVM_MEM_LOG_DIRTY_PAGES);
	ring = map_ring(g, 0, PROT_READ | PROT_WRITE, MAP_SHARED);
	if (ring == MAP_FAILED)
		guest_die("mmap of the ring");
	return ring;
}

static void end(struct guest *g, struct kvm_dirty_gfn *ring)
{
	munmap(ring, BYTES);
	guest_destroy(g);
}

/* Entries from *at on that are dirty; all marked as harvested; their pages counted. */
static unsigned int harvest(struct kvm_dirty_gfn *ring, u32 *at, u8 *seen)
{
	unsigned int n;

	for (n = 0; n < ENTRIES; n++) {
		struct kvm_dirty_gfn *e = &ring[*at % ENTRIES];

		if (__atomic_load_n(&e->flags, __ATOMIC_ACQUIRE) != KVM_DIRTY_GFN_F_DIRTY)
			break;
		if (e->slot == SLOT && e->offset < PAGES)
			seen[e->offset]++;
		__atomic_store_n(&e->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
		++*at;
	}
	return n;
}

static bool each_once(const u8 *seen, u64 from, u64 n)
{
	u64 i;

	for (i = 0; i < PAGES; i++) {
		if (seen[i] != (i >= from && i < from + n)) {
			tap_note("page %llu: %u times", (unsigned long long)i, seen[i]);
			return false;
		}
	}
	return true;
}

/* The page whose fault fills the ring is logged, protected by the reset, and logged again when the guest gets to write. */
static bool each_logged(const u8 *seen, u64 from, u64 n)
{
	u64 i;

	for (i = 0; i < PAGES; i++) {
		if (!seen[i] != !(i >= from && i < from + n)) {
			tap_note("page %llu: %u times", (unsigned long long)i, seen[i]);
			return false;
		}
	}
	return true;
}

static void sizes(void)
{
	struct guest g;
	u64 max;

	guest_create(&g, node, 0);
	max = ioctl(g.vm, KVM_CHECK_EXTENSION, KVM_CAP_DIRTY_LOG_RING);
	tap_eq(max, 65536 * sizeof(struct kvm_dirty_gfn), "KVM_CAP_DIRTY_LOG_RING is the largest ring's size");
	tap_eq(ioctl(g.vm, KVM_CHECK_EXTENSION, KVM_CAP_DIRTY_LOG_RING_ACQ_REL), max, "and so is its successor");
	tap_eq(reset(&g), -EINVAL, "KVM_RESET_DIRTY_RINGS without rings: EINVAL");
	tap_eq(enable(g.vm, KVM_CAP_DIRTY_LOG_RING, 0), -EINVAL, "a ring of no size: EINVAL");
	tap_eq(enable(g.vm, KVM_CAP_DIRTY_LOG_RING, 2048), -EINVAL, "less than a page: EINVAL");
	tap_eq(enable(g.vm, KVM_CAP_DIRTY_LOG_RING, 12288), -EINVAL, "not a power of two: EINVAL");
	tap_eq(enable(g.vm, KVM_CAP_DIRTY_LOG_RING, 2 * max), -E2BIG, "too large: E2BIG");
	tap_eq(enable(g.vm, KVM_CAP_DIRTY_LOG_RING_ACQ_REL, BYTES), 0, "one page");
	tap_eq(enable(g.vm, KVM_CAP_DIRTY_LOG_RING, BYTES), -EINVAL, "a second time: EINVAL");
	tap_eq(reset(&g), 0, "KVM_RESET_DIRTY_RINGS with nothing to reset: 0");
	guest_destroy(&g);

	guest_create(&g, node, 0);
	guest_vcpu(&g, 0);
	tap_eq(enable(g.vm, KVM_CAP_DIRTY_LOG_RING, BYTES), -EINVAL, "with a vCPU there already: EINVAL");
	tap_ok(map_ring(&g, 0, PROT_READ, MAP_SHARED) != MAP_FAILED, "a range behind the mapping maps");
	guest_destroy(&g);
}

static void mappings(void)
{
	struct kvm_dirty_gfn *ring;
	struct kvm_clear_dirty_log clear = { .slot = SLOT, .num_pages = 64 };
	struct kvm_dirty_log get = { .slot = SLOT };
	struct guest g;

	ring = start(&g, writer0);
	tap_ok(map_ring(&g, 0, PROT_READ | PROT_EXEC, MAP_SHARED) == MAP_FAILED && errno == EINVAL,
	       "an executable mapping of the ring: EINVAL");
	tap_ok(map_ring(&g, 0, PROT_READ, MAP_PRIVATE) == MAP_FAILED && errno == EINVAL, "a private one: EINVAL");
	tap_ok(ioctl(g.vm, KVM_GET_DIRTY_LOG, &get) < 0 && errno == ENXIO, "KVM_GET_DIRTY_LOG beside rings: ENXIO");
	tap_ok(ioctl(g.vm, KVM_CLEAR_DIRTY_LOG, &clear) < 0 && errno == ENXIO, "KVM_CLEAR_DIRTY_LOG: ENXIO");
	tap_eq(ring[0].flags, 0, "a new ring is empty");
	end(&g, ring);
}

static void pages(void)
{
	struct kvm_dirty_gfn *ring;
	u8 seen[PAGES] = {};
	struct guest g;
	u32 at = 0;

	ring = start(&g, writer0);
	first[0] = 5;
	count[0] = 100;
	guest_run(&g, 0);
	tap_ok(ring[0].flags == KVM_DIRTY_GFN_F_DIRTY && ring[0].slot == SLOT && ring[0].offset == 5,
	       "the first page written to is in the first entry");
	guest_run(&g, 0);
	tap_eq(harvest(ring, &at, seen), 100, "100 pages written to twice make 100 entries");
	tap_ok(each_once(seen, 5, 100), "one for each page");
	guest_run(&g, 0);
	tap_eq(ring[at % ENTRIES].flags, 0, "until they are reset, nothing is logged again");
	tap_eq(reset(&g), 100, "KVM_RESET_DIRTY_RINGS takes 100 back");
	tap_eq(ring[0].flags, 0, "they are empty again");
	tap_eq(reset(&g), 0, "a second time it finds none");
	memset(seen, 0, sizeof(seen));
	first[0] = 50;
	guest_run(&g, 0);
	tap_eq(harvest(ring, &at, seen), 100, "what is written to after that is logged");
	tap_ok(each_once(seen, 50, 100), "each page once");
	tap_eq(reset(&g), 100, "and reset");
	slot(&g, 0);
	guest_run(&g, 0);
	tap_eq(ring[at % ENTRIES].flags, 0, "a slot whose log has ended logs nothing");
	end(&g, ring);
}

/* Returns how many times the ring was full. */
static unsigned int run_and_harvest(struct guest *g, struct kvm_dirty_gfn *ring, u32 *at, u8 *seen)
{
	unsigned int full = 0;
	int why;

	while ((why = guest_run(g, 0)) == KVM_EXIT_DIRTY_RING_FULL) {
		full++;
		if (harvest(ring, at, seen) < ENTRIES - RESERVE)
			guest_die("full, but with too few entries");
		guest_must(reset(g));
	}
	if (why != GUEST_DONE)
		guest_die("exit %d", why);
	harvest(ring, at, seen);
	guest_must(reset(g));
	return full;
}

static void full(void)
{
	struct kvm_dirty_gfn *ring;
	u8 seen[PAGES] = {};
	struct guest g;
	u32 at = 0;

	ring = start(&g, writer0);
	first[0] = 0;
	count[0] = PAGES;
	tap_eq(guest_run(&g, 0), KVM_EXIT_DIRTY_RING_FULL, "more pages than the ring holds: KVM_EXIT_DIRTY_RING_FULL");
	tap_eq(guest_run(&g, 0), KVM_EXIT_DIRTY_RING_FULL, "again, as long as nobody harvests");
	tap_eq(harvest(ring, &at, seen), ENTRIES - RESERVE, "64 entries are left then");
	tap_eq(guest_run(&g, 0), KVM_EXIT_DIRTY_RING_FULL, "harvesting without a reset does not help");
	tap_eq(reset(&g), ENTRIES - RESERVE, "all are reset");
	tap_ok(run_and_harvest(&g, ring, &at, seen) >= PAGES / ENTRIES, "the guest gets through, a ring at a time");
	tap_ok(each_logged(seen, 0, PAGES), "every page was logged");
	end(&g, ring);
}

static void kernel_writes(void)
{
	struct { struct kvm_msrs h; struct kvm_msr_entry e[1]; } m = { .h.nmsrs = 1, .e[0].index = 0x4b564d00 };
	struct kvm_dirty_gfn *ring;
	struct guest g;
	int i, r = 1;

	ring = start(&g, writer0);
	m.e[0].data = GPA + 7 * 4096;
	guest_must(ioctl(g.vcpu[0], KVM_SET_MSRS, &m));
	tap_ok(ring[0].flags == KVM_DIRTY_GFN_F_DIRTY && ring[0].slot == SLOT && ring[0].offset == 7,
	       "a wall clock page that the kernel wrote is logged");
	/* Stock KVM warns and overwrites entries here. */
	if (!strstr(node, "kvm")) {
		for (i = 0; i < 2 * ENTRIES && r == 1; i++) {
			m.e[0].data = GPA + (i % PAGES) * 4096;
			r = ioctl(g.vcpu[0], KVM_SET_MSRS, &m);
		}
		tap_eq(r, 1, "writes that find no room are no errors");
		tap_ok(ring[0].offset == 7, "and overwrite no entry");
	}
	first[0] = 0;
	count[0] = 0;
	tap_ok(guest_run(&g, 0) == (strstr(node, "kvm") ? GUEST_DONE : KVM_EXIT_DIRTY_RING_FULL), "KVM_RUN says what it finds");
	end(&g, ring);
}

static void strings(void)
{
	struct kvm_dirty_gfn *ring;
	u8 seen[PAGES] = {};
	struct guest g;
	u32 at = 0;

	ring = start(&g, storer);
	first[0] = 100;
	count[0] = 600;
	run_and_harvest(&g, ring, &at, seen);
	tap_ok(each_logged(seen, 100, 600), "REP STOS over 600 pages: each is logged");
	end(&g, ring);
}

static void hostile(void)
{
	struct kvm_dirty_gfn *ring;
	struct guest g;
	unsigned int i;
	int r;

	ring = start(&g, writer0);
	first[0] = 0;
	count[0] = 10;
	guest_run(&g, 0);
	for (i = 0; i < 10; i++) {
		ring[i].slot = i % 3 ? 0xffffffff : SLOT | i << 16;
		ring[i].offset = i % 2 ? ~0ull - i : PAGES - 3;
		ring[i].flags = KVM_DIRTY_GFN_F_RESET;
	}
	r = reset(&g);
	tap_eq(r, 10, "entries that name no page are taken back");
	for (i = 0; i < ENTRIES; i++) {
		ring[i].slot = SLOT;
		ring[i].offset = i;
		ring[i].flags = ~0u;
	}
	r = reset(&g);
	/* Stock KVM runs round the ring. */
	if (!strstr(node, "kvm")) {
		tap_eq(r, 0, "entries that were never made are not taken back");
		count[0] = 100;
		tap_eq(guest_run(&g, 0), GUEST_DONE, "the guest goes on");
	}
	end(&g, ring);
}

/* ---- harvesting while two vCPUs write ---- */

static struct guest pair;
static atomic_int running;

static void *run_vcpu(void *arg)
{
	int me = (long)arg, i;

	for (i = 0; i < 20; i++) {
		int why;

		while ((why = guest_run(&pair, me)) == KVM_EXIT_DIRTY_RING_FULL)
			sched_yield();
		if (why != GUEST_DONE)
			guest_die("vCPU %d: exit %d", me, why);
	}
	atomic_fetch_sub(&running, 1);
	return NULL;
}

static void concurrent(void)
{
	struct kvm_dirty_gfn *ring[2];
	static u8 seen[PAGES], copy[PAGES];
	u32 at[2] = {}, wrong = 0;
	pthread_t thread[2];
	unsigned int i, v;
	bool last = false;

	guest_create(&pair, node, GUEST_IRQCHIP);
	guest_must(enable(pair.vm, KVM_CAP_DIRTY_LOG_RING, BYTES));
	slot(&pair, KVM_MEM_LOG_DIRTY_PAGES);
	memset(ram, 0, SIZE);
	for (v = 0; v < 2; v++) {
		guest_vcpu(&pair, v);
		guest_start64(&pair, v, v ? writer1 : writer0);
		first[v] = v * 100;			/* 100 pages are common */
		count[v] = 200;
		ring[v] = map_ring(&pair, v, PROT_READ | PROT_WRITE, MAP_SHARED);
	}
	running = 2;
	for (v = 0; v < 2; v++)
		pthread_create(&thread[v], NULL, run_vcpu, (void *)(long)v);
	/* As a migration does it: pages that were dirty are copied after the reset; in the end the copy is the original. */
	for (;;) {
		memset(seen, 0, sizeof(seen));
		harvest(ring[0], &at[0], seen);
		harvest(ring[1], &at[1], seen);
		guest_must(reset(&pair));
		for (i = 0; i < PAGES; i++) {
			if (seen[i])
				copy[i] = *(volatile u64 *)(ram + i * 4096ul);
		}
		if (last)
			break;
		last = !running;
	}
	for (v = 0; v < 2; v++) {
		pthread_join(thread[v], NULL);
		munmap(ring[v], BYTES);
	}
	for (i = 0; i < PAGES; i++)
		wrong += copy[i] != (u8)*(volatile u64 *)(ram + i * 4096ul);
	tap_eq(wrong, 0, "two vCPUs write, pages are copied as they are logged: the copy is the original");
	guest_destroy(&pair);
}

int main(int argc, char **argv)
{
	node = tap_node(argc, argv);
	ram = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	sizes();
	mappings();
	pages();
	full();
	kernel_writes();
	strings();
	hostile();
	concurrent();
	return tap_done();
}
