// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * tsc-khz - prints the rate of this machine's TSC.  Both clocks are read side by side, and the closest of several pairs counts,
 * so that a busy machine does not change the answer.
 */
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

struct moment {
	unsigned long long tsc, ns;
};

static unsigned long long ns_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static struct moment look(void)
{
	struct moment best = { 0 };
	unsigned long long gap = ~0ull;
	int i;

	for (i = 0; i < 20; i++) {
		unsigned long long before = __rdtsc(), ns = ns_now(), after = __rdtsc();

		if (after - before < gap) {
			gap = after - before;
			best = (struct moment){ before + gap / 2, ns };
		}
	}
	return best;
}

int main(void)
{
	struct timespec pause = { 0, 50000000 };
	struct moment a = look(), b;

	nanosleep(&pause, NULL);
	b = look();
	printf("%llu\n", (b.tsc - a.tsc) * 1000000 / (b.ns - a.ns));
	return 0;
}
