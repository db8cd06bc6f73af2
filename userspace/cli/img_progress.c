// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Progress and the time that is left, from the mean rate since the start: a
 * copy skips holes in no time, so a rate of the last second would jump about.
 * On a terminal one line is rewritten; elsewhere a line tells of every tenth.
 */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "cli/img_progress.h"

#define SECOND	1000000000ull

static uint64_t clock_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * SECOND + t.tv_nsec;
}

void img_progress_begin(struct img_progress *p, bool on, uint64_t total)
{
	*p = (struct img_progress){ .on = on, .total = total, .start = clock_now() };
	p->terminal = isatty(STDERR_FILENO);
	p->shown = p->start;
}

void img_progress_line(const struct img_progress *p, uint64_t done, uint64_t now, char *out, size_t room)
{
	double share = p->total ? (double)done / p->total : 1;
	double took = (now - p->start) / (double)SECOND;
	char eta[32] = "";
	uint64_t left;

	if (done && done < p->total) {
		left = took * (p->total - done) / done + 0.5;
		snprintf(eta, sizeof(eta), ", ETA %llu:%02llu:%02llu", (unsigned long long)left / 3600,
			 (unsigned long long)left / 60 % 60, (unsigned long long)left % 60);
	}
	snprintf(out, room, "%5.1f %% of %llu MiB, %.0f MiB/s%s", 100 * share,
		 (unsigned long long)(p->total >> 20), took > 0 ? done / took / (1 << 20) : 0, eta);
}

void img_progress_show(struct img_progress *p, uint64_t done)
{
	unsigned int tenth = p->total ? done * 10 / p->total : 10;
	uint64_t now = clock_now();
	char line[128];

	if (!p->on || (p->terminal ? now - p->shown < SECOND / 2 : tenth <= p->tenth))
		return;
	p->shown = now;
	p->tenth = tenth;
	img_progress_line(p, done, now, line, sizeof(line));
	fprintf(stderr, p->terminal ? "\r%s\033[K" : "%s\n", line);
}

void img_progress_end(struct img_progress *p, bool complete)
{
	char line[128];

	if (!p->on)
		return;
	if (complete && (p->terminal || p->tenth < 10)) {
		img_progress_line(p, p->total, clock_now(), line, sizeof(line));
		fprintf(stderr, p->terminal ? "\r%s\033[K\n" : "%s\n", line);
	} else if (p->terminal) {
		fputc('\n', stderr);
	}
}
