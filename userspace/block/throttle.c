// SPDX-License-Identifier: GPL-2.0-or-later
/* Token buckets kept as times: see the header. */
#include "block/throttle.h"

#define SECOND 1000000000ull

/* How long `amount` takes at `rate` a second; saturates at about a century. */
static uint64_t duration(uint64_t amount, uint64_t rate)
{
	unsigned __int128 ns = (unsigned __int128)amount * SECOND / rate;

	return ns > UINT64_MAX / 4 ? UINT64_MAX / 4 : (uint64_t)ns;
}

/* How long a bucket takes to fill from nothing. */
static uint64_t depth(uint64_t rate, uint64_t burst)
{
	return rate && burst ? duration(burst, rate) : SECOND / 10;
}

void throttle_init(struct throttle *t, const struct throttle_limits *limits)
{
	pthread_mutex_init(&t->lock, NULL);
	t->limits = *limits;
	t->full[0] = t->full[1] = 0;
	t->generation = 0;
}

void throttle_fini(struct throttle *t)
{
	pthread_mutex_destroy(&t->lock);
}

void throttle_set(struct throttle *t, const struct throttle_limits *limits, uint64_t now)
{
	pthread_mutex_lock(&t->lock);
	t->limits = *limits;
	/* No debts, and no burst for having been changed. */
	t->full[0] = now + depth(limits->iops, limits->iops_burst);
	t->full[1] = now + depth(limits->bps, limits->bps_burst);
	__atomic_fetch_add(&t->generation, 1, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&t->lock);
}

void throttle_get(struct throttle *t, struct throttle_limits *limits)
{
	pthread_mutex_lock(&t->lock);
	*limits = t->limits;
	pthread_mutex_unlock(&t->lock);
}

bool throttle_limited(const struct throttle_limits *limits)
{
	return limits->iops || limits->bps;
}

unsigned int throttle_generation(const struct throttle *t)
{
	return __atomic_load_n(&t->generation, __ATOMIC_ACQUIRE);
}

uint64_t throttle_reserve(struct throttle *t, uint64_t bytes, uint64_t now)
{
	uint64_t rate[2], burst[2], takes[2] = { 0, 0 }, start = now;
	const uint64_t amount[2] = { 1, bytes };
	int i;

	pthread_mutex_lock(&t->lock);
	rate[0] = t->limits.iops;
	rate[1] = t->limits.bps;
	burst[0] = t->limits.iops_burst;
	burst[1] = t->limits.bps_burst;
	for (i = 0; i < 2; i++) {
		uint64_t d, due;

		if (!rate[i] || !amount[i])
			continue;
		takes[i] = duration(amount[i], rate[i]);
		d = depth(rate[i], burst[i]);
		/* There is enough when the bucket lacks no more than the rest; what is larger than it waits until it is full. */
		due = t->full[i] + (takes[i] < d ? takes[i] : d);
		if (due > d && due - d > start)
			start = due - d;
	}
	for (i = 0; i < 2; i++)
		if (takes[i])
			t->full[i] = (t->full[i] > start ? t->full[i] : start) + takes[i];
	pthread_mutex_unlock(&t->lock);
	return start;
}
