/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Looking for pages of the guest that others of its trust group have too: one thread, and how much of a CPU it may take.
 *
 * See scan.c for when it works and how fast.
 */
#ifndef VMM_SCAN_H
#define VMM_SCAN_H

#include "board/mem.h"

#define SCAN_PERCENT_DEFAULT 2
#define SCAN_FIRST_MS 10000
#define SCAN_PASS_MS 2000

/*
 * What looks at `pages` pages from *offset on (bytes in the memory's file): *offset is then where to go on, 0 at the end, and
 * *shared how many became shared. 0, or -errno. Called on the scanner's thread.
 */
typedef int scan_fn(const struct guest_mem *mem, u64 *offset, u64 pages, u64 *shared);

/* The module's, LODGE_GUEST_FILE_SCAN. */
scan_fn scan_by_module;

struct scan_config {
	unsigned int percent;	/* of one CPU at most, 1 to 100 */
	u64 first_ms;		/* from the start to the first pass */
	u64 pass_ms;		/* a pass begins this long after the one before at the earliest */
	scan_fn *scan;
};

/* In parts of SCAN_WHOLE of one CPU. */
#define SCAN_WHOLE 10000
struct scan_rate {
	unsigned int now, most, least;
};

void scan_rate_init(struct scan_rate *r, unsigned int percent);
/* After a pass over all pages, of which so many became shared. */
void scan_rate_adapt(struct scan_rate *r, u64 pages, u64 shared);
/* How long to rest after that much work, in ns. */
u64 scan_rate_rest(const struct scan_rate *r, u64 work_ns);

struct scan;

/* Starts the thread; mem must be in a group and outlive it. Main thread, before it is confined. NULL with *e set. */
struct scan *scan_create(const struct guest_mem *mem, const struct scan_config *cfg, struct err *e);
/* Ends the thread. NULL is fine. */
void scan_destroy(struct scan *s);

#endif
