// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * share_race - threads that share what others write, at random and with lies about what it is, while every owner of a page checks
 * its bytes; O_DIRECT reads into pages that are being shared; vCPUs that write one shared page at once.
 *
 * LODGE_RACE_SECONDS (8) is how long each of the two races takes.
 *
 * CFLAGS: -mno-red-zone
 * BOX: --modprobe loop
 * TIMEOUT: 180
 */
#include <linux/aio_abi.h>
#include <linux/falloc.h>
#include <linux/loop.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "guest.h"
#include "guest_mem.h"

#define SHARE	LODGE_GUEST_FILE_SHARE
#define PUNCH	(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define FILES	2
#define PAGES	96
#define SEEDS	6
#define THREADS	7
#define SLOT	10
#define GPA	0x40000000ul

static int dev;
static const char *node;
static struct mem files[FILES];
static atomic_bool stop;
static atomic_ulong checked, wrong, writes, punched, mapped;
static unsigned long seconds_ = 8;

static u64 rnd(u64 *seed, u64 below)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return (*seed >> 11) % below;
}

static void bad(const char *what, unsigned int file, unsigned int page)
{
	if (atomic_fetch_add(&wrong, 1) < 5)
		tap_note("%s: file %u, page %u", what, file, page);
}

/* ---- owners: half a file's pages each; the others do not know what is in them ---- */

struct content {
	enum { ZERO, SEED, OTHER } kind;
	u64 seed, sum;
};

static u64 sum_of(const void *page)
{
	const volatile u64 *w = page;
	u64 s = 0;
	unsigned int i;

	for (i = 0; i < PAGE / 8; i++)
		s = (s << 7 | s >> 57) ^ w[i];
	return s;
}

static void check(const struct content *c, const void *at, unsigned int file, unsigned int page)
{
	if (c->kind == ZERO ? !mem_is_zero(at) : c->kind == SEED ? !mem_is(at, c->seed) : sum_of(at) != c->sum)
		bad("wrong bytes", file, page);
	atomic_fetch_add(&checked, 1);
}

static void act(struct content *c, u64 *seed, unsigned int file, unsigned int page)
{
	struct mem *m = &files[file];
	u8 *at = m->at + page * PAGE;
	struct iovec from, to = { at, PAGE };
	static __thread u8 copy[PAGE];

	switch (rnd(seed, 10)) {
	default:
		*c = (struct content){ .kind = SEED, .seed = rnd(seed, SEEDS) };
		mem_fill(at, c->seed);
		atomic_fetch_add(&writes, 1);
		break;
	case 0:
		mem_fill(copy, 77 + rnd(seed, 1000));
		from = (struct iovec){ copy, PAGE };
		*c = (struct content){ .kind = OTHER, .sum = sum_of(copy) };
		if (process_vm_writev(getpid(), &from, 1, &to, 1, 0) != PAGE)
			bad("process_vm_writev", file, page);
		break;
	case 1:
		if (fallocate(m->fd, PUNCH, page * PAGE, PAGE))
			bad("punch", file, page);
		c->kind = ZERO;
		atomic_fetch_add(&punched, 1);
		break;
	case 2:
		if (mem_block(m, LODGE_BLOCKS_MAP, 1, rnd(seed, SEEDS), page * PAGE) != LODGE_BLOCK_MAPPED)
			break;
		*c = (struct content){ .kind = OTHER, .sum = sum_of(at) };
		atomic_fetch_add(&mapped, 1);
		break;
	case 3:
		if (madvise(at, PAGE, MADV_DONTNEED))
			bad("MADV_DONTNEED", file, page);
		break;
	}
}

static void *owner(void *arg)
{
	unsigned int me = (uintptr_t)arg, file = me / 2, half = me % 2, page;
	struct content content[PAGES] = { { 0 } };
	u64 seed = 88172645463325252ull + me;

	while (!atomic_load(&stop)) {
		page = rnd(&seed, PAGES / 2) * 2 + half;
		check(&content[page], files[file].at + page * PAGE, file, page);
		act(&content[page], &seed, file, page);
		check(&content[page], files[file].at + page * PAGE, file, page);
	}
	for (page = half; page < PAGES; page += 2)
		check(&content[page], files[file].at + page * PAGE, file, page);
	return NULL;
}

/* Offers pages that may be in the middle of a write, as blocks that they may not be. */
static void *liar(void *arg)
{
	u64 seed = 1234567 + (uintptr_t)arg * 7919, offsets[8];
	struct mem *m = &files[(uintptr_t)arg % FILES];
	u8 states[8];
	struct lodge_guest_blocks b = {
		.image = { 1, 1 }, .offsets = (uintptr_t)offsets, .states = (uintptr_t)states, .count = 1, .op = LODGE_BLOCKS_OFFER,
	};
	struct lodge_guest_range r = { .len = 4 * PAGE };
	struct lodge_guest_group g = { .flags = SHARE };
	struct lodge_guest_scan scan;

	while (!atomic_load(&stop)) {
		unsigned int i;

		b.block = rnd(&seed, SEEDS);
		b.count = 1 + rnd(&seed, 8);
		for (i = 0; i < b.count; i++)
			offsets[i] = rnd(&seed, PAGES) * PAGE;
		if (ioctl(m->fd, LODGE_GUEST_FILE_BLOCKS, &b) < 0)
			bad("OFFER", 0, 0);
		r.offset = rnd(&seed, PAGES - 4) * PAGE;
		r.flags = rnd(&seed, 2);
		if (!rnd(&seed, 50) && ioctl(m->fd, LODGE_GUEST_FILE_RANGE, &r))
			bad("RANGE", 0, 0);
		scan = (struct lodge_guest_scan){ .offset = rnd(&seed, PAGES) * PAGE, .pages = 16 };
		if (rnd(&seed, 2) && ioctl(m->fd, LODGE_GUEST_FILE_SCAN, &scan))
			bad("SCAN", 0, 0);
		if (!rnd(&seed, 200) && ioctl(m->fd, LODGE_GUEST_FILE_GROUP, &g))
			bad("GROUP", 0, 0);
		/* The owners shall get at their pages, too. */
		usleep(rnd(&seed, 500));
	}
	return NULL;
}

/* Files of the same group come and go, and are left to whatever end. */
static void *visitor(void *arg)
{
	u64 seed = 99;

	(void)arg;
	while (!atomic_load(&stop)) {
		struct mem m = mem_create(dev, 8 * PAGE, SHARE, 0);
		unsigned int i;

		usleep(1000);
		for (i = 0; i < 8; i++)
			mem_block(&m, LODGE_BLOCKS_MAP, 1, rnd(&seed, SEEDS), i * PAGE);
		m.at[rnd(&seed, 8) * PAGE] = 1;
		if (rnd(&seed, 2))
			close(m.fd), munmap(m.at, m.size);
		else
			mem_destroy(&m);
	}
	return NULL;
}

static void race(void)
{
	pthread_t t[THREADS];
	struct lodge_guest_file_stats st[FILES];
	uintptr_t i;

	for (i = 0; i < FILES; i++)
		files[i] = mem_create(dev, PAGES * PAGE, SHARE, 0);
	for (i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, owner, (void *)i);
	for (i = 4; i < 6; i++)
		pthread_create(&t[i], NULL, liar, (void *)i);
	pthread_create(&t[6], NULL, visitor, NULL);
	sleep(seconds_);
	atomic_store(&stop, true);
	for (i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	for (i = 0; i < FILES; i++)
		st[i] = mem_stats(&files[i]);
	tap_note("%lu pages checked (%lu MiB), %lu written, %lu punched, %lu mapped; shared %llu times and %llu by content, broken %llu, busy %llu, differing %llu",
		 checked, checked * PAGE >> 20, writes, punched, mapped, (unsigned long long)(st[0].offered + st[1].offered),
		 (unsigned long long)(st[0].scanned + st[1].scanned),
		 (unsigned long long)(st[0].breaks + st[1].breaks), (unsigned long long)(st[0].refused_busy + st[1].refused_busy),
		 (unsigned long long)(st[0].refused_differs + st[1].refused_differs));
	tap_eq(atomic_load(&wrong), 0, "no wrong byte while liars share what owners write");
	tap_ok(st[0].offered + st[1].offered > 10 && st[0].breaks + st[1].breaks > 10 && mapped > 2, "and much was shared and broken");
	tap_eq(st[0].group_users, st[0].shared_pages + st[1].shared_pages, "the group's users are the files' shared pages");
	mem_destroy(&files[0]);
	mem_destroy(&files[1]);
}

/* ---- O_DIRECT reads into pages that are offered ---- */

#define DISK_BLOCKS	64

static int loop_open(char *name, size_t len)
{
	int backing = memfd_create("disk", 0), control = open("/dev/loop-control", O_RDWR), fd, n;
	struct loop_config config = { .fd = backing };
	u8 page[PAGE];
	unsigned int i;

	if (backing < 0 || control < 0)
		return -1;
	for (i = 0; i < DISK_BLOCKS; i++) {
		mem_fill(page, 5000 + i);
		if (pwrite(backing, page, PAGE, i * PAGE) != PAGE)
			return -1;
	}
	n = ioctl(control, LOOP_CTL_GET_FREE);
	snprintf(name, len, "/dev/loop%d", n);
	fd = open(name, O_RDWR);
	if (n < 0 || fd < 0 || ioctl(fd, LOOP_CONFIGURE, &config))
		return -1;
	close(backing);
	close(control);
	return fd;
}

static void *offerer(void *arg)
{
	u64 seed = 31337 + (uintptr_t)arg;

	while (!atomic_load(&stop)) {
		unsigned int page = rnd(&seed, DISK_BLOCKS);

		/* Whatever is there is called block 0 to 7 of image 2. */
		mem_block(&files[0], LODGE_BLOCKS_OFFER, 2, rnd(&seed, 8), page * PAGE);
	}
	return NULL;
}

static void direct(void)
{
	struct iocb cbs[8], *list[8];
	struct io_event events[8];
	aio_context_t ctx = 0;
	pthread_t t[2];
	char name[32];
	unsigned long reads = 0;
	u64 seed = 5, block[8];
	int loop = loop_open(name, sizeof(name)), fd = open(name, O_RDONLY | O_DIRECT), i;
	time_t end = time(NULL) + seconds_;

	if (loop < 0 || fd < 0 || syscall(SYS_io_setup, 8, &ctx))
		tap_bail("a loop device");
	files[0] = mem_create(dev, DISK_BLOCKS * PAGE, SHARE, 0);
	atomic_store(&stop, false);
	atomic_store(&wrong, 0);
	for (i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, offerer, (void *)(uintptr_t)i);
	while (time(NULL) < end) {
		/* Eight reads in flight, each into its own eighth of the file. */
		for (i = 0; i < 8; i++) {
			unsigned int page = i * 8 + rnd(&seed, 8);

			block[i] = rnd(&seed, DISK_BLOCKS);
			cbs[i] = (struct iocb){
				.aio_fildes = fd, .aio_lio_opcode = IOCB_CMD_PREAD, .aio_nbytes = PAGE, .aio_offset = block[i] * PAGE,
				.aio_buf = (uintptr_t)files[0].at + page * PAGE,
			};
			list[i] = &cbs[i];
		}
		if (syscall(SYS_io_submit, ctx, 8, list) != 8 || syscall(SYS_io_getevents, ctx, 8, 8, events, NULL) != 8)
			tap_bail("libaio's calls");
		for (i = 0; i < 8; i++) {
			if (events[i].res != (long long)PAGE)
				bad("a read's result", 0, i);
			if (!mem_is((void *)(uintptr_t)cbs[i].aio_buf, 5000 + block[i]))
				bad("a read's bytes", 0, i);
			reads++;
		}
	}
	atomic_store(&stop, true);
	for (i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	tap_note("%lu reads, %llu pages shared beside them, %llu found busy", reads, (unsigned long long)mem_stats(&files[0]).offered,
		 (unsigned long long)mem_stats(&files[0]).refused_busy);
	tap_ok(!atomic_load(&wrong) && reads > 100, "no O_DIRECT read lost its bytes to sharing");
	tap_ok(mem_stats(&files[0]).offered > 20, "and pages were shared meanwhile");
	syscall(SYS_io_destroy, ctx);
	close(fd);
	ioctl(loop, LOOP_CLR_FD);
	close(loop);
	mem_destroy(&files[0]);
}

/* ---- vCPUs of one guest ---- */

#define CPUS	4

static volatile u64 at_;

static GUEST void add(void)
{
	for (;;) {
		u64 id = apic_read(0x20) >> 24;

		*(volatile u64 *)(GPA + at_ * PAGE + 8 * id) = 100 + id;
		outb(GUEST_EXIT_PORT, 0);
	}
}

static struct guest g;

static void *run(void *arg)
{
	return (void *)(uintptr_t)(guest_run(&g, (uintptr_t)arg) == GUEST_DONE);
}

static void cpus(void)
{
	struct mem a = mem_create(dev, 64 * PAGE, SHARE, 0), b = mem_create(dev, 64 * PAGE, SHARE, 0);
	unsigned int i, round, good = 0;
	pthread_t t[CPUS];
	void *ret;

	for (i = 0; i < 64; i++) {
		mem_fill(a.at + i * PAGE, i);
		mem_block(&a, LODGE_BLOCKS_OFFER, 3, i, i * PAGE);
		mem_block(&b, LODGE_BLOCKS_MAP, 3, i, i * PAGE);
	}
	guest_create(&g, node, GUEST_IRQCHIP);
	for (i = 0; i < CPUS; i++) {
		guest_vcpu(&g, i);
		guest_start64(&g, i, add);
	}
	guest_slot(&g, SLOT, 0, GPA, b.at, b.size);
	for (round = 0; round < 64; round++) {
		bool all = true;

		at_ = round;
		for (i = 0; i < CPUS; i++)
			pthread_create(&t[i], NULL, run, (void *)(uintptr_t)i);
		for (i = 0; i < CPUS; i++) {
			pthread_join(t[i], &ret);
			all = all && ret;
		}
		for (i = 0; i < CPUS; i++)
			all = all && *(u64 *)(b.at + round * PAGE + 8 * i) == 100 + i;
		good += all && mem_is(a.at + round * PAGE, round) && *(u64 *)(b.at + round * PAGE + 64) == *(u64 *)(a.at + round * PAGE + 64);
	}
	tap_eq(good, 64, "four vCPUs write one shared page at once, 64 times: no store is lost, none leaks");
	tap_eq(mem_stats(&b).breaks, 64, "each page is broken once");
	guest_destroy(&g);
	mem_destroy(&a);
	mem_destroy(&b);
}

int main(int argc, char **argv)
{
	node = tap_node(argc, argv);
	dev = open(node, O_RDWR);
	if (dev < 0)
		tap_bail("%s", node);
	if (getenv("LODGE_RACE_SECONDS"))
		seconds_ = strtoul(getenv("LODGE_RACE_SECONDS"), NULL, 0);
	else if (getenv("STRETCH"))
		seconds_ *= strtoul(getenv("STRETCH"), NULL, 0);
	race();
	direct();
	cpus();
	return tap_done();
}
