/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz.h - what the fuzzers of this folder share: numbers that can be had again, and rounds in processes of their own.
 *
 * A fuzzer is a function that plays one round from a seed.  Each round runs in a child process, which is killed when its time
 * is up, so that a round may wedge itself in any way; what is judged is the host: its log, its memory, and that the next round
 * begins.  The seed of the whole run is printed, that of each round goes to the kernel's log before the round begins, so that
 * a report in the log has its round right above it.  The same seed gives each thread the same sequence of calls; how threads
 * interleave is not repeated.
 *
 *	FUZZ_SECONDS	how long to go on (10 times STRETCH)
 *	FUZZ_SEED	of the run; otherwise one at random
 *	STRETCH		rounds may take so many times longer: on slow kernels (1)
 *	FUZZ_ROUND	play this one round only, as the kernel's log shows it
 */
#ifndef SELFTESTS_HOST_FUZZ_H
#define SELFTESTS_HOST_FUZZ_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tap.h"

struct fuzz_rng {
	uint64_t state;
};

/* splitmix64: any seed will do. */
static inline uint64_t fuzz_next(struct fuzz_rng *r)
{
	uint64_t z = (r->state += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

/* 0 to @n - 1. */
static inline uint32_t fuzz_below(struct fuzz_rng *r, uint32_t n)
{
	return fuzz_next(r) % n;
}

static inline bool fuzz_one_in(struct fuzz_rng *r, uint32_t n)
{
	return !fuzz_below(r, n);
}

/* A number as bounds and masks dislike them. */
static inline uint64_t fuzz_number(struct fuzz_rng *r)
{
	switch (fuzz_below(r, 8)) {
	case 0:
		return fuzz_below(r, 8);
	case 1:
		return fuzz_below(r, 0x1000);
	case 2:
		return 1ull << fuzz_below(r, 64);
	case 3:
		return (1ull << fuzz_below(r, 64)) - 1;
	case 4:
		return -(1ull << fuzz_below(r, 64));
	case 5:
		return (fuzz_next(r) & 0xfffff) << 12;
	case 6:
		return (uint32_t)fuzz_next(r);
	default:
		return fuzz_next(r);
	}
}

/* Change a little of @buf, or nothing. */
static inline void fuzz_mutate(struct fuzz_rng *r, void *buf, size_t len)
{
	unsigned int n = fuzz_below(r, 6);
	uint64_t v;
	size_t at, size;

	while (n-- && len) {
		at = fuzz_next(r) % len;
		if (fuzz_one_in(r, 2)) {
			((uint8_t *)buf)[at] ^= 1u << fuzz_below(r, 8);
			continue;
		}
		size = 1u << fuzz_below(r, 4);
		at &= ~(size - 1);
		if (at + size > len)
			continue;
		v = fuzz_number(r);
		memcpy((uint8_t *)buf + at, &v, size);
	}
}

static inline void fuzz_random(struct fuzz_rng *r, void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len--)
		*p++ = fuzz_next(r);
}

static inline double fuzz_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static inline uint64_t fuzz_setting(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

struct fuzz_tally {
	unsigned long rounds, ended, killed, died;
};

/* One round in a child, at most @limit seconds. */
static inline void fuzz_round(struct fuzz_tally *t, void (*play)(uint64_t seed), uint64_t seed, double limit)
{
	double stop = fuzz_now() + limit;
	int status;
	pid_t pid = fork();

	if (pid < 0)
		tap_bail("fork");
	if (!pid) {
		play(seed);
		_exit(0);
	}
	t->rounds++;
	while (waitpid(pid, &status, WNOHANG) != pid) {
		if (fuzz_now() > stop) {
			t->killed++;
			kill(pid, SIGKILL);
			if (waitpid(pid, &status, 0) != pid)
				tap_bail("waitpid");
			return;
		}
		usleep(5000);
	}
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		t->ended++;
	else
		t->died++;
}

/* One write is one record; dprintf would seek first, which the log refuses. */
static inline void fuzz_log(int log, const char *what, uint64_t round)
{
	char line[96];
	int n = snprintf(line, sizeof(line), "<4>lodge-fuzz: %s FUZZ_ROUND=%#llx\n", what, (unsigned long long)round);

	if (log >= 0 && write(log, line, n) != n)
		tap_note("%s: FUZZ_ROUND=%#llx is not in the kernel's log", what, (unsigned long long)round);
}

/* What the module has said above debug since @log was opened and sought to its end: a guest, or a caller, made it. */
static inline void fuzz_quiet(int log)
{
	char record[8192], *text;
	unsigned int said = 0;
	ssize_t n;

	if (log < 0 || fcntl(log, F_SETFL, O_NONBLOCK)) {
		tap_skip("the module says nothing of it in the kernel's log", "the log cannot be read");
		return;
	}
	while ((n = read(log, record, sizeof(record) - 1)) > 0 || (n < 0 && errno == EPIPE)) {
		record[n > 0 ? n : 0] = 0;
		text = strchr(record, ';');
		if (!text || strncmp(text + 1, "lodge: ", 7) || (atoi(record) & 7) >= 7)
			continue;
		text[strcspn(text, "\n")] = 0;
		tap_note("%s", text + 1);
		said++;
	}
	tap_eq(said, 0, "the module says nothing of it in the kernel's log");
}

/*
 * Play rounds of at most @limit seconds until the time is up.  @work, shared with the children, counts what was done: a fuzzer
 * that does next to nothing has failed.
 */
static inline void fuzz_run(const char *what, void (*play)(uint64_t seed), double limit, volatile uint64_t *work, uint64_t least)
{
	uint64_t seed = 0, round = fuzz_setting("FUZZ_ROUND", 0);
	double stretch = fuzz_setting("STRETCH", 1);
	double stop = fuzz_now() + fuzz_setting("FUZZ_SECONDS", 10 * stretch);
	int log = open("/dev/kmsg", O_WRONLY | O_CLOEXEC), said = open("/dev/kmsg", O_RDONLY | O_CLOEXEC);
	struct fuzz_tally t = {};
	struct fuzz_rng r;

	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		tap_bail("getrandom");
	seed = fuzz_setting("FUZZ_SEED", seed);
	if (said >= 0)
		lseek(said, 0, SEEK_END);
	tap_note("%s: FUZZ_SEED=%#llx", what, (unsigned long long)seed);
	r.state = seed;
	while (fuzz_now() < stop) {
		uint64_t s = round ? round : fuzz_next(&r) | 1;

		fuzz_log(log, what, s);
		fuzz_round(&t, play, s, limit * stretch);
		if (round)
			break;
	}
	if (log >= 0)
		close(log);
	tap_note("%s: %lu rounds (%lu ended, %lu cut short, %lu died), %llu calls", what, t.rounds, t.ended, t.killed, t.died,
		 (unsigned long long)*work);
	errno = 0;
	tap_ok(*work >= least || round, "%s: the host answers %s", what, *work >= least ? "to the end" : "next to nothing");
	fuzz_quiet(said);
	if (said >= 0)
		close(said);
}

#endif
