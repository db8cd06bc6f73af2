// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The scanner.
 *
 * What a guest reads from a disk image is shared as it is read. What came by other ways (its kernel and initrd, which the
 * VMM put there; files from a network; pages that were cleared) has to be looked for, and the module does that when it is
 * asked to (include/uapi/lodge.h, LODGE_GUEST_FILE_SCAN): this thread asks.
 *
 * It goes round the guest's memory a few pages at a time. The CPU time that each step took is measured and followed by a rest, so that
 * the thread has its part of a CPU and no more, on a fast host and on a slow one. It runs at normal priority:
 * the module holds a lock of the guest's memory during a page, and a thread that only an idle host lets run would keep a
 * vCPU waiting for it.
 *
 * A pass that made one page in a thousand shared was worth it, and the next one has all of the part. Each pass that was not
 * halves it, down to a sixteenth, so guests that have nothing in common cost next to nothing. Passes do not
 * follow each other at once even so: the module tells a page that rests from one that changes by looking twice, and
 * that means more when there is time between the looks.
 */
#include "vmm/scan.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <time.h>
#include <uapi/lodge.h>
#include <unistd.h>

#include "common/log.h"
#include "common/thread.h"

#define STEP_PAGES 256
#define PAGE_BYTES 4096
#define SLOWEST 16		/* of these parts one, when there is nothing to find */
#define WORTH 1000		/* one page of so many */
#define NS_PER_MS 1000000ull

struct scan {
	const struct guest_mem *mem;
	struct scan_config cfg;
	struct scan_rate rate;
	pthread_t thread;
	int quit_fd;
	u64 owed_ns;		/* rest that was too short to be taken */
};

void scan_rate_init(struct scan_rate *r, unsigned int percent)
{
	r->most = percent * (SCAN_WHOLE / 100);
	r->least = r->most / SLOWEST;
	r->now = r->most;
}

void scan_rate_adapt(struct scan_rate *r, u64 pages, u64 shared)
{
	if (shared && shared >= pages / WORTH)
		r->now = r->most;
	else
		r->now = r->now / 2 > r->least ? r->now / 2 : r->least;
}

u64 scan_rate_rest(const struct scan_rate *r, u64 work_ns)
{
	return work_ns * (SCAN_WHOLE - r->now) / r->now;
}

static u64 now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* True: it is time to end. */
static bool rest(struct scan *s, u64 ns)
{
	struct pollfd p = { .fd = s->quit_fd, .events = POLLIN };
	struct timespec t = { ns / 1000000000, ns % 1000000000 };
	int r;

	do {
		r = ppoll(&p, 1, &t, NULL);
	} while (r < 0 && errno == EINTR);
	return r;
}

static bool rest_after(struct scan *s, u64 work_ns)
{
	u64 ns;

	s->owed_ns += scan_rate_rest(&s->rate, work_ns);
	if (s->owed_ns < NS_PER_MS)
		return rest(s, 0);
	ns = s->owed_ns;
	s->owed_ns = 0;
	return rest(s, ns);
}

/* Round once. 1: the end; -errno: it cannot be done. */
static int pass(struct scan *s)
{
	u64 offset = 0, found = 0, shared, began;
	int r;

	do {
		began = now_ns(CLOCK_THREAD_CPUTIME_ID);
		shared = 0;
		r = s->cfg.scan(s->mem, &offset, STEP_PAGES, &shared);
		if (r < 0)
			return r;
		found += shared;
		if (rest_after(s, now_ns(CLOCK_THREAD_CPUTIME_ID) - began))
			return 1;
	} while (offset);
	scan_rate_adapt(&s->rate, s->mem->size / PAGE_BYTES, found);
	log_debug("looked for equal pages: %llu more are shared", (unsigned long long)found);
	return 0;
}

static void *scan_main(void *ctx)
{
	struct scan *s = ctx;
	u64 began, took;
	bool quit = rest(s, s->cfg.first_ms * NS_PER_MS);
	int r;

	while (!quit) {
		began = now_ns(CLOCK_MONOTONIC);
		r = pass(s);
		if (r < 0 && r != -ENOMEM) {
			log_warn("equal pages are not looked for any more: %s", strerror(-r));
			break;
		}
		took = now_ns(CLOCK_MONOTONIC) - began;
		quit = r > 0 || (took < s->cfg.pass_ms * NS_PER_MS && rest(s, s->cfg.pass_ms * NS_PER_MS - took));
	}
	return NULL;
}

struct scan *scan_create(const struct guest_mem *mem, const struct scan_config *cfg, struct err *e)
{
	struct scan *s = calloc(1, sizeof(*s));
	int r;

	if (!s) {
		err_set(e, ENOMEM, "no memory to look for equal pages");
		return NULL;
	}
	s->mem = mem;
	s->cfg = *cfg;
	scan_rate_init(&s->rate, cfg->percent);
	s->quit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = s->quit_fd < 0 ? -errno : thread_start(&s->thread, "scan", THREAD_IO, scan_main, s);
	if (r < 0) {
		err_set(e, -r, "cannot start the thread that looks for equal pages: %s", strerror(-r));
		if (s->quit_fd >= 0)
			close(s->quit_fd);
		free(s);
		return NULL;
	}
	return s;
}

void scan_destroy(struct scan *s)
{
	u64 one = 1;

	if (!s)
		return;
	if (write(s->quit_fd, &one, sizeof(one)) < 0)
		log_error("cannot end the thread that looks for equal pages: %s", strerror(errno));
	pthread_join(s->thread, NULL);
	close(s->quit_fd);
	free(s);
}

int scan_by_module(const struct guest_mem *mem, u64 *offset, u64 pages, u64 *shared)
{
	struct lodge_guest_scan args = { .offset = *offset, .pages = pages };

	if (ioctl(mem->file, LODGE_GUEST_FILE_SCAN, &args) < 0)
		return -errno;
	*offset = args.offset;
	*shared = args.shared;
	return 0;
}
