// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * share_scan - equal pages found by their content: which, when, and that those that change are left alone.
 *
 * TIMEOUT: 120
 */
#include <linux/kvm.h>

#include "guest_mem.h"

#define SHARE	LODGE_GUEST_FILE_SHARE
#define SMALL	LODGE_GUEST_FILE_SMALL
#define PAGES	128u

static int dev;

static struct lodge_guest_scan args_of(uint64_t offset, uint64_t pages)
{
	return (struct lodge_guest_scan){ .offset = offset, .pages = pages };
}

/* All of it, until the end: pages that were shared. */
static uint64_t scan(const struct mem *m)
{
	struct lodge_guest_scan args = args_of(0, 50);
	uint64_t shared = 0;

	do {
		if (ioctl(m->fd, LODGE_GUEST_FILE_SCAN, &args))
			tap_bail("LODGE_GUEST_FILE_SCAN");
		shared += args.shared;
	} while (args.offset);
	return shared;
}

static void refusals(void)
{
	struct mem m = mem_create(dev, 4 * PAGE, SHARE, 0), off = mem_create(dev, 4 * PAGE, 0, 0);
	struct lodge_guest_scan args = args_of(4 * PAGE, 1);

	tap_ok(ioctl(m.fd, LODGE_GUEST_FILE_SCAN, &args) < 0 && errno == EINVAL, "beyond the file: EINVAL");
	args = args_of(8, 1);
	tap_ok(ioctl(m.fd, LODGE_GUEST_FILE_SCAN, &args) < 0 && errno == EINVAL, "within a page: EINVAL");
	args = args_of(0, 1);
	args.flags = 1;
	tap_ok(ioctl(m.fd, LODGE_GUEST_FILE_SCAN, &args) < 0 && errno == EINVAL, "an unknown flag: EINVAL");
	args = args_of(0, 1);
	tap_ok(ioctl(off.fd, LODGE_GUEST_FILE_SCAN, &args) < 0 && errno == ENOENT, "a file of no group: ENOENT");
	args = args_of(PAGE, 2);
	tap_ok(!ioctl(m.fd, LODGE_GUEST_FILE_SCAN, &args) && args.offset == 3 * PAGE && args.shared == 0, "it tells where to go on");
	args = args_of(PAGE, -1ull);
	tap_ok(!ioctl(m.fd, LODGE_GUEST_FILE_SCAN, &args) && args.offset == 0, "and that it came to the end");
	mem_destroy(&m);
	mem_destroy(&off);
}

/* Page i of a is page PAGES - 1 - i of b, for all but the last 28; then come zeros, and pages of their own. */
static void fill(struct mem *a, struct mem *b)
{
	unsigned int i;

	for (i = 0; i < PAGES; i++) {
		if (i < 100) {
			mem_fill(a->at + i * PAGE, i);
			mem_fill(b->at + (PAGES - 1 - i) * PAGE, i);
		} else if (i < 116) {
			a->at[i * PAGE] = b->at[(PAGES - 1 - i) * PAGE] = 0;
		} else {
			mem_fill(a->at + i * PAGE, 1000 + i);
			mem_fill(b->at + (PAGES - 1 - i) * PAGE, 2000 + i);
		}
	}
}

static bool filled(const struct mem *a, const struct mem *b)
{
	unsigned int i;
	bool good = true;

	for (i = 0; i < PAGES; i++) {
		const uint8_t *pa = a->at + i * PAGE, *pb = b->at + (PAGES - 1 - i) * PAGE;

		if (i < 100)
			good = good && mem_is(pa, i) && mem_is(pb, i);
		else if (i < 116)
			good = good && mem_is_zero(pa) && mem_is_zero(pb);
		else
			good = good && mem_is(pa, 1000 + i) && mem_is(pb, 2000 + i);
	}
	return good;
}

static uint64_t rounds(struct mem *a, struct mem *b, unsigned int n)
{
	uint64_t shared = 0;

	while (n--)
		shared += scan(a) + scan(b);
	return shared;
}

static void equal(void)
{
	struct mem a = mem_create(dev, PAGES * PAGE, SHARE | SMALL, 0), b = mem_create(dev, PAGES * PAGE, SHARE | SMALL, 0);
	struct lodge_guest_file_stats st;

	fill(&a, &b);
	tap_eq(rounds(&a, &b, 1), 0, "the first scan shares nothing");
	tap_ok(rounds(&a, &b, 4) > 0, "the next ones do");
	st = mem_stats(&a);
	tap_note("%llu frames, %llu users, of 101 and 232 that are possible", (unsigned long long)st.group_frames,
		 (unsigned long long)st.group_users);
	/* Some of the youngest pages may still lie in another CPU's batch. */
	tap_ok(st.group_users >= 232 - 32 && st.group_users <= 232, "at least all but 32 of the equal pages are shared");
	tap_ok(st.group_frames <= 101, "as no more frames than there are contents");
	tap_ok(filled(&a, &b), "all bytes are right");
	mem_fill(a.at, 7777);
	tap_ok(mem_is(a.at, 7777) && mem_is(b.at + (PAGES - 1) * PAGE, 0), "a write breaks one");
	mem_fill(a.at, 0);
	tap_ok(rounds(&a, &b, 3) >= 1 && filled(&a, &b), "equal again, it is found again");
	mem_destroy(&a);
	tap_eq(rounds(&b, &b, 3), 0, "what is alone in its group stays private");
	mem_destroy(&b);
}

static void volatile_pages(void)
{
	struct mem a = mem_create(dev, PAGES * PAGE, SHARE | SMALL, 0), b = mem_create(dev, PAGES * PAGE, SHARE | SMALL, 0);
	unsigned int i, round;
	uint64_t shared = 0;

	for (round = 0; round < 6; round++) {
		for (i = 0; i < PAGES; i++) {
			mem_fill(a.at + i * PAGE, round * PAGES + i);
			mem_fill(b.at + i * PAGE, round * PAGES + i);
		}
		shared += rounds(&a, &b, 1);
	}
	tap_eq(shared, 0, "pages that change between scans are left alone, however equal");
	mem_destroy(&a);
	mem_destroy(&b);
}

static void blocks_too(void)
{
	struct mem a = mem_create(dev, PAGES * PAGE, SHARE | SMALL, 0), b = mem_create(dev, PAGES * PAGE, SHARE | SMALL, 0);
	unsigned int i;

	for (i = 0; i < 32; i++) {
		mem_fill(a.at + i * PAGE, i);
		mem_block(&a, LODGE_BLOCKS_OFFER, 1, i, i * PAGE);
		mem_fill(b.at + (PAGES - 1 - i) * PAGE, i);
	}
	rounds(&a, &b, 4);
	tap_ok(mem_stats(&a).group_frames == 32 && mem_stats(&b).shared_pages >= 32 - 15, "a page shared by its block is found by its content");
	mem_destroy(&a);
	mem_destroy(&b);
}

int main(int argc, char **argv)
{
	dev = open(tap_node(argc, argv), O_RDWR);
	if (dev < 0)
		tap_bail("the node");
	if (!(ioctl(dev, KVM_CHECK_EXTENSION, LODGE_CAP_GUEST_FILE) & LODGE_GUEST_FILE_HAS_SCAN))
		tap_bail("LODGE_CAP_GUEST_FILE lacks the scanner");
	refusals();
	equal();
	volatile_pages();
	blocks_too();
	return tap_done();
}
