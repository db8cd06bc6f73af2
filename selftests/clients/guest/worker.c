// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * worker - a guest's program that knows what its memory holds.
 *
 * usage: worker MIB REPORT STOP
 *
 * One thread per CPU, each with its share of MIB megabytes.  A page is filled with a sequence that grows
 * out of its number and its generation.  A pass looks at every word of every page, then writes the next
 * generation; so a page that was lost, stale, torn or swapped with another on the way to another host is seen
 * within one pass.  The number of passes is written to REPORT as they end.  When STOP exists, all is
 * looked at once more; the exit status is 0 if no word was ever wrong.
 */
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096
#define WORDS (PAGE / sizeof(uint64_t))

struct part {
	pthread_t thread;
	uint64_t (*pages)[WORDS];
	size_t first, count;
	const char *stop;
	volatile unsigned long passes;
	unsigned long wrong;
};

static uint64_t next(uint64_t x)
{
	return x * 6364136223846793005ull + 1442695040888963407ull;
}

static void fill(uint64_t *page, size_t number, uint64_t generation)
{
	uint64_t x = number << 32 ^ generation;
	size_t i;

	for (i = 0; i < WORDS; i++)
		page[i] = x = next(x);
}

static unsigned long look(const uint64_t *page, size_t number, uint64_t generation)
{
	uint64_t x = number << 32 ^ generation;
	unsigned long wrong = 0;
	size_t i;

	for (i = 0; i < WORDS; i++)
		wrong += page[i] != (x = next(x));
	return wrong;
}

static void *work(void *arg)
{
	struct part *p = arg;
	size_t i;

	for (i = 0; i < p->count; i++)
		fill(p->pages[i], p->first + i, 0);
	while (access(p->stop, F_OK)) {
		for (i = 0; i < p->count; i++) {
			p->wrong += look(p->pages[i], p->first + i, p->passes);
			fill(p->pages[i], p->first + i, p->passes + 1);
		}
		p->passes++;
		usleep(20000);
	}
	for (i = 0; i < p->count; i++)
		p->wrong += look(p->pages[i], p->first + i, p->passes);
	return NULL;
}

static unsigned long slowest(const struct part *part, long n)
{
	unsigned long least = part[0].passes;
	long i;

	for (i = 1; i < n; i++)
		least = part[i].passes < least ? part[i].passes : least;
	return least;
}

static void report(const char *path, unsigned long passes)
{
	FILE *f = fopen(path, "w");

	if (!f)
		exit(3);
	fprintf(f, "%lu\n", passes);
	fclose(f);
}

int main(int argc, char **argv)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN), i;
	unsigned long wrong = 0;
	struct part *part;
	size_t share;

	if (argc != 4)
		return 2;
	part = calloc(n, sizeof(*part));
	share = strtoul(argv[1], NULL, 10) * 256 / n;
	for (i = 0; i < n; i++) {
		part[i].pages = mmap(NULL, share * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (part[i].pages == MAP_FAILED)
			return 2;
		part[i].first = i * share;
		part[i].count = share;
		part[i].stop = argv[3];
		if (pthread_create(&part[i].thread, NULL, work, &part[i]))
			return 2;
	}
	while (access(argv[3], F_OK)) {
		report(argv[2], slowest(part, n));
		usleep(200000);
	}
	for (i = 0; i < n; i++) {
		pthread_join(part[i].thread, NULL);
		wrong += part[i].wrong;
	}
	report(argv[2], slowest(part, n));
	printf("worker: %lu passes, %lu words wrong\n", slowest(part, n), wrong);
	return wrong != 0;
}
