// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * share_blocks - sharing by disk block: what is shared, what every kind of write makes of it, who may share with whom, and
 * that no answer ever changes a file's bytes.
 *
 * CFLAGS: -mno-red-zone
 * TIMEOUT: 120
 */
#include <linux/falloc.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "guest.h"
#include "guest_mem.h"

#define HUGE	(2ul << 20)
#define SLOT	10
#define GPA	0x40000000ul
#define PUNCH	(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define SHARE	LODGE_GUEST_FILE_SHARE

enum { QUERY = LODGE_BLOCKS_QUERY, MAP = LODGE_BLOCKS_MAP, OFFER = LODGE_BLOCKS_OFFER };

static int dev;
static const char *node;
static volatile u64 index_, value, seen;

static GUEST void peek_poke(void)
{
	for (;;) {
		volatile u64 *p = (volatile u64 *)(GPA + index_ * PAGE);

		seen = *p;
		if (value)
			*p = value;
		outb(GUEST_EXIT_PORT, 0);
	}
}

/* @n pages of @m hold blocks of @image, from 0 on, and are offered: how many are shared now. */
static unsigned int load(struct mem *m, u8 image, unsigned int n)
{
	unsigned int i, good = 0;
	int state;

	for (i = 0; i < n; i++) {
		mem_fill(m->at + i * PAGE, image * 1000 + i);
		state = mem_block(m, OFFER, image, i, i * PAGE);
		good += state == LODGE_BLOCK_SHARED || state == LODGE_BLOCK_SOURCE;
	}
	return good;
}

static bool holds(const struct mem *m, u8 image, unsigned int first, unsigned int last)
{
	for (; first < last; first++)
		if (!mem_is(m->at + first * PAGE, image * 1000 + first))
			return false;
	return true;
}

static void arguments(void)
{
	struct mem m = mem_create(dev, 4 * PAGE, SHARE, 0);
	u64 off[2] = { 0, PAGE };
	u8 st[2];
	struct lodge_guest_blocks b = { .offsets = (uintptr_t)off, .states = (uintptr_t)st, .count = 2, .op = OFFER }, c;
	struct lodge_guest_range r = { .offset = PAGE, .len = 4 * PAGE };

#define REFUSED(what, field, to, err)									\
	(c = b, c.field = (to), tap_ok(ioctl(m.fd, LODGE_GUEST_FILE_BLOCKS, &c) < 0 && errno == (err), what))
	REFUSED("no block: EINVAL", count, 0, EINVAL);
	REFUSED("too many blocks: EINVAL", count, LODGE_BLOCKS_MAX + 1, EINVAL);
	REFUSED("an unknown operation: EINVAL", op, 3, EINVAL);
	REFUSED("an unknown flag: EINVAL", flags, 1, EINVAL);
	REFUSED("a reserved field: EINVAL", reserved, 1, EINVAL);
	REFUSED("block numbers that wrap: EINVAL", block, -1ull, EINVAL);
	REFUSED("offsets that are not there: EFAULT", offsets, 8, EFAULT);
	REFUSED("states that cannot be written: EFAULT", states, 8, EFAULT);
	off[1] = 4 * PAGE;
	REFUSED("an offset beyond the file: EINVAL", count, 2, EINVAL);
	off[1] = 8;
	REFUSED("an offset within a page: EINVAL", count, 2, EINVAL);
	tap_ok(ioctl(m.fd, LODGE_GUEST_FILE_RANGE, &r) < 0 && errno == EINVAL, "a range beyond the file: EINVAL");
	tap_ok(mem_block(&m, OFFER, 1, 0, 0) == LODGE_BLOCK_GONE, "a page that was never touched cannot be offered");
	mem_destroy(&m);
}

static void two_files(void)
{
	struct mem a = mem_create(dev, 64 * PAGE, SHARE, 0), b = mem_create(dev, 64 * PAGE, SHARE, 0);
	struct lodge_guest_file_stats st;
	unsigned int i, n = 0;

	tap_ok(mem_block(&a, QUERY, 2, 5, 0) == LODGE_BLOCK_ABSENT && mem_block(&a, MAP, 2, 5, 0) == LODGE_BLOCK_ABSENT,
	       "a block that nobody has");
	tap_eq(load(&a, 2, 32), 32, "32 pages are offered");
	tap_ok(holds(&a, 2, 0, 32), "they keep their bytes");
	tap_ok(mem_block(&b, QUERY, 2, 5, 0) == LODGE_BLOCK_HELD, "the other file's query finds a block");
	tap_ok(mem_block(&b, QUERY, 3, 5, 0) == LODGE_BLOCK_ABSENT, "but not another image's");
	for (i = 0; i < 16; i++)
		n += mem_block(&b, MAP, 2, i, i * PAGE) == LODGE_BLOCK_MAPPED;
	tap_ok(n == 16 && holds(&b, 2, 0, 16), "16 blocks are mapped and have the bytes, without a read");
	for (i = 16; i < 32; i++) {
		mem_fill(b.at + i * PAGE, 2000 + i);
		n += mem_block(&b, OFFER, 2, i, i * PAGE) == LODGE_BLOCK_SHARED;
	}
	tap_ok(n == 32 && holds(&b, 2, 16, 32), "16 that were read as well become the same pages");
	st = mem_stats(&b);
	tap_ok(st.shared_pages == 32 && st.mapped == 16 && st.offered == 16 && st.private_pages == 0, "statistics count them");
	tap_ok(st.group_frames == 32 && st.group_users == 64 && st.saved_pages == 16, "and who saved what");
	mem_fill(b.at + 40 * PAGE, 1);
	tap_ok(mem_block(&b, OFFER, 2, 7, 40 * PAGE) == LODGE_BLOCK_DIFFERS && mem_is(b.at + 40 * PAGE, 1),
	       "other bytes offered for a block are found out and stay");
	tap_ok(mem_block(&b, OFFER, 2, 8, 7 * PAGE) == LODGE_BLOCK_TAKEN, "a page that is another block already");
	mem_fill(a.at + 3 * PAGE, 99);
	tap_ok(mem_is(a.at + 3 * PAGE, 99) && holds(&b, 2, 3, 4) && holds(&a, 2, 4, 5), "a store changes one file's page alone");
	st = mem_stats(&a);
	tap_ok(st.breaks == 1 && st.shared_pages == 31 && st.private_pages == 1, "and is counted");
	mem_destroy(&a);
	tap_ok(holds(&b, 2, 0, 32), "one file closed, the other keeps its bytes");
	tap_eq(mem_stats(&b).group_users, 32, "and the counts are right");
	for (i = 0; i < 32; i++)
		b.at[i * PAGE] = 0x77;
	st = mem_stats(&b);
	tap_ok(st.group_frames == 0 && st.breaks == 32 && st.shared_pages == 0, "all broken, nothing is left");
	mem_destroy(&b);
}

static void writers(void)
{
	struct mem a = mem_create(dev, 64 * PAGE, SHARE, 0), b = mem_create(dev, 64 * PAGE, SHARE, 0);
	struct iovec from, to;
	u64 word = 4711;
	struct guest g;
	int p[2];

	load(&a, 4, 32);
	load(&b, 4, 32);
	tap_ok(!socketpair(AF_UNIX, SOCK_STREAM, 0, p) && write(p[1], &word, 8) == 8 && read(p[0], b.at + 1 * PAGE + 16, 8) == 8 &&
	       *(u64 *)(b.at + PAGE + 16) == word && holds(&a, 4, 1, 2), "the kernel's copy into a page breaks it");
	from = (struct iovec){ &word, 8 };
	to = (struct iovec){ b.at + 2 * PAGE, 8 };
	tap_ok(process_vm_writev(getpid(), &from, 1, &to, 1, 0) == 8 && *(u64 *)(b.at + 2 * PAGE) == word && holds(&a, 4, 2, 3),
	       "process_vm_writev breaks it");
	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	guest_start64(&g, 0, peek_poke);
	guest_slot(&g, SLOT, 0, GPA, b.at, b.size);
	index_ = 3;
	value = 0;
	tap_ok(guest_run(&g, 0) == GUEST_DONE && seen == *(u64 *)(a.at + 3 * PAGE) && mem_stats(&b).shared_pages == 30,
	       "a guest reads a shared page, and it stays one");
	value = 42;
	tap_ok(guest_run(&g, 0) == GUEST_DONE && *(u64 *)(b.at + 3 * PAGE) == 42 && holds(&a, 4, 3, 4), "its store breaks it");
	mem_fill(b.at + 4 * PAGE, 4004);
	index_ = 4;
	guest_run(&g, 0);
	mem_fill(b.at + 4 * PAGE, 4004);
	tap_ok(mem_block(&b, OFFER, 4, 4, 4 * PAGE) == LODGE_BLOCK_SHARED, "a page that the guest has mapped for writing is shared");
	value = 43;
	tap_ok(guest_run(&g, 0) == GUEST_DONE && *(u64 *)(b.at + 4 * PAGE) == 43 && holds(&a, 4, 4, 5), "and its next store breaks it");
	mem_fill(b.at + 5 * PAGE, 1);
	index_ = 5;
	value = 0;
	guest_run(&g, 0);
	tap_ok(mem_block(&b, MAP, 4, 5, 5 * PAGE) == LODGE_BLOCK_MAPPED && guest_run(&g, 0) == GUEST_DONE &&
	       seen == *(u64 *)(a.at + 5 * PAGE), "a block mapped over a page: the guest sees it at once");
	guest_destroy(&g);
	mem_destroy(&a);
	mem_destroy(&b);
}

static void discards(void)
{
	struct mem a = mem_create(dev, 64 * PAGE, SHARE, 0), b = mem_create(dev, 64 * PAGE, SHARE, 0);

	load(&a, 5, 32);
	load(&b, 5, 32);
	tap_ok(!madvise(b.at + PAGE, PAGE, MADV_REMOVE) && mem_is_zero(b.at + PAGE) && holds(&a, 5, 1, 2),
	       "MADV_REMOVE of a shared page makes zeros, here alone");
	tap_ok(!fallocate(b.fd, PUNCH, 4 * PAGE, 8 * PAGE) && mem_is_zero(b.at + 4 * PAGE) && mem_is_zero(b.at + 11 * PAGE) &&
	       holds(&b, 5, 12, 32) && holds(&a, 5, 0, 32), "so does a hole of 8 pages");
	tap_ok(!fallocate(b.fd, PUNCH, 16 * PAGE + 8, 2 * PAGE) && *(u64 *)(b.at + 16 * PAGE) == 5016 * 0x9e3779b97f4a7c15ull &&
	       !*(u64 *)(b.at + 16 * PAGE + 8) && mem_is_zero(b.at + 17 * PAGE) && !*(u64 *)(b.at + 18 * PAGE) &&
	       *(u64 *)(b.at + 18 * PAGE + 8) == 5018 * 0x9e3779b97f4a7c15ull + 1 && holds(&a, 5, 16, 19), "and one with parts of pages");
	tap_ok(!madvise(b.at + 20 * PAGE, 4 * PAGE, MADV_DONTNEED) && holds(&b, 5, 20, 24), "MADV_DONTNEED loses nothing");
	tap_ok(!fallocate(b.fd, PUNCH, 0, b.size) && mem_stats(&b).shared_pages == 0 && mem_stats(&b).private_pages == 0,
	       "all punched, nothing is held");
	mem_destroy(&b);
	tap_eq(mem_stats(&a).group_users, 32, "the group's count agrees");
	mem_destroy(&a);
}

static void groups(void)
{
	struct mem a = mem_create(dev, 16 * PAGE, SHARE, 0), b = mem_create(dev, 16 * PAGE, SHARE, 7), c = mem_create(dev, 16 * PAGE, 0, 0);
	struct lodge_guest_group g = { .group = 7, .flags = SHARE };
	struct lodge_guest_range r = { .offset = 0, .len = 4 * PAGE, .flags = LODGE_RANGE_NO_SHARE };
	int status = -1, state;
	pid_t pid;

	load(&a, 6, 8);
	tap_ok(mem_block(&b, MAP, 6, 0, 0) == LODGE_BLOCK_ABSENT, "another group does not have the block");
	tap_ok(mem_block(&c, MAP, 6, 0, 0) == LODGE_BLOCK_OFF && mem_block(&c, QUERY, 6, 0, 0) == LODGE_BLOCK_OFF, "a file of no group is told so");
	tap_ok(!ioctl(a.fd, LODGE_GUEST_FILE_GROUP, &g) && holds(&a, 6, 0, 8) && mem_stats(&a).shared_pages == 0,
	       "a file leaves its group: its pages are private");
	tap_ok(load(&a, 6, 8) == 8 && mem_block(&b, MAP, 6, 0, 0) == LODGE_BLOCK_MAPPED, "in its new group it shares");
	tap_ok(!ioctl(a.fd, LODGE_GUEST_FILE_RANGE, &r) && mem_stats(&a).shared_pages == 4 && holds(&a, 6, 0, 8),
	       "an excluded range becomes private");
	tap_ok(mem_block(&a, OFFER, 6, 0, 0) == LODGE_BLOCK_OFF && mem_block(&a, MAP, 6, 5, 0) == LODGE_BLOCK_OFF, "and stays so");
	r.flags = 0;
	tap_ok(!ioctl(a.fd, LODGE_GUEST_FILE_RANGE, &r) && mem_block(&a, OFFER, 6, 0, 0) == LODGE_BLOCK_SHARED, "until it is included again");
	fflush(stdout);
	pid = fork();
	if (!pid) {
		struct mem d;

		if (setuid(12345))
			_exit(9);
		d = mem_create(dev, 16 * PAGE, SHARE, 7);
		state = mem_block(&d, MAP, 6, 0, 0);
		_exit(state == LODGE_BLOCK_ABSENT ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	tap_ok(status == 0, "another user's group of the same number is another group");
	mem_destroy(&a);
	mem_destroy(&b);
	mem_destroy(&c);
}

static void processes(void)
{
	struct mem a = mem_create(dev, 64 * PAGE, SHARE, 0);
	int status = -1, up[2];
	char c = 0;
	pid_t pid;

	load(&a, 8, 32);
	guest_must(pipe(up));
	fflush(stdout);
	pid = fork();
	if (!pid) {
		struct mem b = mem_create(dev, 64 * PAGE, SHARE, 0);
		unsigned int i, n = 0;

		for (i = 0; i < 32; i++)
			n += mem_block(&b, MAP, 8, i, i * PAGE) == LODGE_BLOCK_MAPPED;
		/* The parent's mapping of a's came with the fork: a break is seen by both of its processes. */
		mem_fill(a.at + 2 * PAGE, 1);
		c = n == 32 && holds(&b, 8, 0, 32) && mem_stats(&b).saved_pages == 15;
		if (write(up[1], &c, 1) == 1)
			pause();
		_exit(1);
	}
	tap_ok(read(up[0], &c, 1) == 1 && c, "another process maps the blocks");
	tap_ok(mem_is(a.at + 2 * PAGE, 1) && holds(&a, 8, 3, 32), "a child's store into an inherited mapping breaks for both");
	tap_eq(mem_stats(&a).group_users, 63, "two files' users");
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	tap_eq(mem_stats(&a).group_users, 31, "kill -9 gives back what it shared");
	tap_ok(holds(&a, 8, 3, 32), "and touches nobody else's");
	mem_destroy(&a);
}

static void huge(void)
{
	struct mem a = mem_create(dev, 2 * HUGE, SHARE, 0), b = mem_create(dev, 2 * HUGE, SHARE, 0);
	unsigned int i;
	bool good = true;

	for (i = 0; i < 1024; i++) {
		mem_fill(a.at + i * PAGE, 9000 + i);
		mem_fill(b.at + i * PAGE, 9000 + i);
	}
	tap_ok(mem_block(&a, OFFER, 9, 77, 77 * PAGE) == LODGE_BLOCK_SOURCE, "a page of a huge one is offered");
	tap_ok(mem_stats(&a).huge_splits == 1 && holds(&a, 9, 0, 1024), "that is taken apart, and all bytes stay");
	tap_ok(mem_block(&b, MAP, 9, 77, 77 * PAGE) == LODGE_BLOCK_MAPPED && holds(&b, 9, 0, 1024), "one is mapped over a part of a huge one");
	tap_ok(!fallocate(a.fd, PUNCH, 0, 77 * PAGE) && !fallocate(a.fd, PUNCH, 78 * PAGE, HUGE - 78 * PAGE), "its neighbours are punched");
	for (i = 0; i < 512; i++)
		good = good && (i == 77 || mem_is_zero(a.at + i * PAGE));
	tap_ok(good && holds(&a, 9, 77, 78), "no new huge page hides it");
	mem_fill(a.at + 77 * PAGE, 1);
	tap_ok(mem_is(a.at + 77 * PAGE, 1) && holds(&b, 9, 77, 78), "it breaks as any other");
	mem_destroy(&a);
	mem_destroy(&b);
}

int main(int argc, char **argv)
{
	node = tap_node(argc, argv);
	dev = open(node, O_RDWR);
	if (dev < 0)
		tap_bail("%s", node);
	if (!(ioctl(dev, KVM_CHECK_EXTENSION, LODGE_CAP_GUEST_FILE) & LODGE_GUEST_FILE_HAS_BLOCKS))
		tap_bail("LODGE_CAP_GUEST_FILE lacks sharing");
	arguments();
	two_files();
	writers();
	discards();
	groups();
	processes();
	huge();
	return tap_done();
}
