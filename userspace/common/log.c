// SPDX-License-Identifier: LGPL-2.1-or-later
/* Log lines: level filter, formatting, rate limit. */
#include "common/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LIMIT_WINDOW_NS 5000000000ULL
#define LIMIT_BURST 10

static enum log_level current_level = LOG_LEVEL_WARN;
static int log_fd = STDERR_FILENO;
static bool raw_tty;
static pthread_mutex_t limit_lock = PTHREAD_MUTEX_INITIALIZER;

static const char *const level_names[] = { "error", "warn", "info", "debug" };

void log_set_level(enum log_level level)
{
	current_level = level;
}

enum log_level log_get_level(void)
{
	return current_level;
}

int log_set_level_name(const char *name)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(level_names); i++) {
		if (!strcmp(name, level_names[i])) {
			current_level = i;
			return 0;
		}
	}
	return -EINVAL;
}

void log_set_fd(int fd)
{
	log_fd = fd;
}

void log_set_raw_tty(bool raw)
{
	raw_tty = raw;
}

static void emit(enum log_level level, const char *fmt, va_list ap)
{
	char line[600];
	int n, m;

	n = snprintf(line, sizeof(line), "lodge: %s: ", level_names[level]);
	m = vsnprintf(line + n, sizeof(line) - n - 2, fmt, ap);
	if (m < 0)
		return;
	n += m;
	if (n > (int)sizeof(line) - 3)
		n = sizeof(line) - 3;
	if (raw_tty)
		line[n++] = '\r';
	line[n++] = '\n';
	if (write(log_fd, line, n) < 0)
		return;	/* nowhere left to complain */
}

void log_line(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	if (level > current_level)
		return;
	va_start(ap, fmt);
	emit(level, fmt, ap);
	va_end(ap);
}

static bool limit_pass(struct log_limit *lim, u32 *dropped)
{
	struct timespec ts;
	bool pass;
	u64 now;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	now = ts.tv_sec * 1000000000ULL + ts.tv_nsec;
	*dropped = 0;
	pthread_mutex_lock(&limit_lock);
	if (!lim->window_start_ns || now - lim->window_start_ns > LIMIT_WINDOW_NS) {
		*dropped = lim->dropped;
		lim->window_start_ns = now;
		lim->count = 0;
		lim->dropped = 0;
	}
	pass = lim->count < LIMIT_BURST;
	if (pass)
		lim->count++;
	else
		lim->dropped++;
	pthread_mutex_unlock(&limit_lock);
	return pass;
}

void log_line_limited(struct log_limit *lim, enum log_level level, const char *fmt, ...)
{
	va_list ap;
	u32 dropped;

	if (level > current_level || !limit_pass(lim, &dropped))
		return;
	if (dropped)
		log_line(level, "%u more lines of this kind were dropped", dropped);
	va_start(ap, fmt);
	emit(level, fmt, ap);
	va_end(ap);
}
