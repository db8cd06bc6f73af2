/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How far a long operation on images has come. */
#ifndef CLI_IMG_PROGRESS_H
#define CLI_IMG_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct img_progress {
	bool on;
	bool terminal;
	uint64_t total;		/* bytes */
	uint64_t start, shown;	/* nanoseconds of the monotonic clock */
	unsigned int tenth;	/* last one told of, without a terminal */
};

void img_progress_begin(struct img_progress *p, bool on, uint64_t total);
/* Tells of it on stderr, at most twice a second; in a file, at every tenth of the way. */
void img_progress_show(struct img_progress *p, uint64_t done);
void img_progress_end(struct img_progress *p, bool complete);
/* One line at @now, without its end: what is done, how fast, and how long the rest will take. */
void img_progress_line(const struct img_progress *p, uint64_t done, uint64_t now, char *out, size_t room);

#endif
