/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A limit on requests and bytes a second, for one disk or a group of disks.
 *
 * Two buckets, one of requests and one of bytes, that fill at the limit's rate
 * up to the burst. They are kept as times: `full` is the moment at which the
 * bucket would be full if nothing more were taken. A request may start once
 * every bucket has what is its due, and takes all it needs at once, so large
 * ones need no burst of their size; whoever comes next waits longer.
 *
 * Who asks gets a time, and owns it: asking again would be a second request.
 * Queues ask for their oldest request alone, so those who share a limit take
 * turns, whatever each has waiting. Any thread.
 */
#ifndef BLOCK_THROTTLE_H
#define BLOCK_THROTTLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct throttle_limits {
	uint64_t iops;		/* requests a second; 0: no limit */
	uint64_t bps;		/* bytes a second; 0: no limit */
	uint64_t iops_burst;	/* requests at once after a rest; 0: what a tenth of a second brings, at least 1 */
	uint64_t bps_burst;	/* bytes likewise */
};

struct throttle {
	pthread_mutex_t lock;
	struct throttle_limits limits;	/* lock */
	uint64_t full[2];		/* lock; CLOCK_MONOTONIC, ns: requests, bytes */
	unsigned int generation;	/* atomic; counts changes of the limits */
};

#define THROTTLE_RATE_MAX	(1ull << 50)

void throttle_init(struct throttle *t, const struct throttle_limits *limits);
void throttle_fini(struct throttle *t);
/* From now on; times given out before are void, which the generation tells. */
void throttle_set(struct throttle *t, const struct throttle_limits *limits, uint64_t now);
void throttle_get(struct throttle *t, struct throttle_limits *limits);
bool throttle_limited(const struct throttle_limits *limits);
unsigned int throttle_generation(const struct throttle *t);
/* When a request of that many bytes may start: at most now, or later. */
uint64_t throttle_reserve(struct throttle *t, uint64_t bytes, uint64_t now);

#endif
