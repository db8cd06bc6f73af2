// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * huge_1g - a slot that the VMM backs with a page of 1 GiB: one stage-2 leaf maps it, a dirty log splits it, and it comes back.
 *
 * CFLAGS: -mno-red-zone
 * BOX: --mem 3G --append hugepagesz=1G --append hugepages=1
 * TIMEOUT: 180
 */
#include <sys/mman.h>

#include "binstats.h"
#include "tap.h"

#define SLOT	10
#define GPA	0x40000000ul
#define SIZE	0x40000000ul
#define SPOTS	4
#define STRIDE	(SIZE / SPOTS)

static const char *node;
static u8 *ram;
static volatile u64 at[SPOTS], n, sum;

/* Adds one to the first @n of at[]. */
static GUEST void writer(void)
{
	u64 i;

	for (;;) {
		for (i = 0; i < n; i++)
			*(volatile u64 *)at[i] += 1;
		outb(GUEST_EXIT_PORT, 0);
	}
}

static void touch(struct guest *g, u64 count)
{
	n = count;
	if (guest_run(g, 0) != GUEST_DONE)
		guest_die("the guest did not finish");
}

static void set(struct guest *g, u32 flags, u64 gpa, u64 size)
{
	struct kvm_userspace_memory_region r = {
		.slot = SLOT, .flags = flags, .guest_phys_addr = gpa, .memory_size = size, .userspace_addr = (u64)ram,
	};

	guest_must(ioctl(g->vm, KVM_SET_USER_MEMORY_REGION, &r));
}

static bool leaves(struct guest *g, u64 want_1g, u64 max_2m)
{
	u64 is_1g = stat_of(g->vm, "pages_1g"), is_2m = stat_of(g->vm, "pages_2m");

	tap_note("leaves: %lu of 1 GiB, %lu of 2 MiB, %lu of 4 KiB", (long)is_1g, (long)is_2m, (long)stat_of(g->vm, "pages_4k"));
	return is_1g == want_1g && is_2m <= max_2m;
}

/* Fetches the log: how many pages are in it, and whether these are the first pages of the first @count spots. */
static bool logged(struct guest *g, u64 *map, unsigned int count)
{
	struct kvm_dirty_log log = { .slot = SLOT, .dirty_bitmap = map };
	u64 i, bits = 0;

	guest_must(ioctl(g->vm, KVM_GET_DIRTY_LOG, &log));
	for (i = 0; i < SIZE / 4096 / 64; i++)
		bits += __builtin_popcountll(map[i]);
	for (i = 0; i < count; i++)
		if (!(map[i * STRIDE / 4096 / 64] & 1))
			return false;
	return bits == count;
}

static void split_and_join(u64 *map)
{
	u64 base_2m, faults;
	struct guest g;
	unsigned int i;

	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	guest_start64(&g, 0, writer);
	set(&g, 0, GPA, SIZE);
	for (i = 0; i < SPOTS; i++)
		at[i] = GPA + i * STRIDE;
	touch(&g, 0);
	base_2m = stat_of(g.vm, "pages_2m");
	faults = stat_of(g.vcpu[0], "pf_fixed");
	touch(&g, SPOTS);
	tap_ok(leaves(&g, 1, base_2m), "a slot of one host page of 1 GiB gets one leaf of 1 GiB");
	tap_note("%lu faults for %d places", (long)(stat_of(g.vcpu[0], "pf_fixed") - faults), SPOTS);
	set(&g, KVM_MEM_LOG_DIRTY_PAGES, GPA, SIZE);
	touch(&g, 2);
	tap_ok(leaves(&g, 0, ~0ull), "no such leaf while its writes are logged");
	tap_ok(logged(&g, map, 2), "the log has the two pages that were written");
	touch(&g, 3);
	tap_ok(logged(&g, map, 3), "and then the three");
	set(&g, 0, GPA, SIZE);
	touch(&g, SPOTS);
	tap_ok(leaves(&g, 1, base_2m), "after the log a leaf of 1 GiB maps it again");
	for (i = 0; i < SPOTS; i++)
		if (*(u64 *)(ram + i * STRIDE) != 2u + (i < 2) + (i < 3))
			break;
	tap_eq(i, SPOTS, "the memory is right");
	guest_destroy(&g);
}

/* An address or a size that is not a multiple of 1 GiB must not get one. */
static void unaligned(void)
{
	struct guest g;

	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	guest_start64(&g, 0, writer);
	set(&g, 0, GPA + 0x200000, SIZE);
	at[0] = GPA + 0x200000;
	*(u64 *)ram = 41;
	touch(&g, 1);
	tap_ok(leaves(&g, 0, ~0ull) && *(u64 *)ram == 42, "at a guest address 2 MiB further smaller leaves map it");
	guest_destroy(&g);
	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	guest_start64(&g, 0, writer);
	set(&g, 0, GPA, SIZE - 0x1000);
	at[0] = GPA;
	touch(&g, 1);
	tap_ok(leaves(&g, 0, ~0ull) && *(u64 *)ram == 43, "nor does a slot that is a page short get one");
	guest_destroy(&g);
}

/* The VMM's mapping goes while the leaf is there. */
static void unmapped(void)
{
	struct guest g;

	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	guest_start64(&g, 0, writer);
	set(&g, 0, GPA, SIZE);
	touch(&g, 1);
	munmap(ram, SIZE);
	tap_ok(leaves(&g, 0, ~0ull), "munmap takes the leaf away");
	tap_ok(ioctl(g.vcpu[0], KVM_RUN, 0) < 0 && errno == EFAULT, "and the guest's next access ends KVM_RUN with EFAULT");
	guest_destroy(&g);
}

int main(int argc, char **argv)
{
	static u64 map[SIZE / 4096 / 64];

	node = tap_node(argc, argv);
	ram = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | 30 << 26, -1, 0);
	if (ram == MAP_FAILED)
		tap_bail("no page of 1 GiB: boot with hugepagesz=1G hugepages=1");
	split_and_join(map);
	unaligned();
	unmapped();
	return tap_done();
}
