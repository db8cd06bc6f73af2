/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Log lines on stderr (or a file descriptor of choice), with a level and a rate limit.
 *
 * Whatever a guest can cause again and again is logged at debug level, or through a
 * `struct log_limit`, so that a guest can never fill the host's disk. Lines are written with one
 * write(2) each and may come from any thread.
 */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include "common/types.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* At most 10 lines in 5 seconds per object; what was dropped is counted and told later. */
struct log_limit {
	u64 window_start_ns;
	u32 count;
	u32 dropped;
};

#define LOG_LIMIT_INIT { 0, 0, 0 }

void log_set_level(enum log_level level);
enum log_level log_get_level(void);
/* Returns 0, or -EINVAL when the name is none of error, warn, info, debug. */
int log_set_level_name(const char *name);
void log_set_fd(int fd);
/* Lines end in "\r\n" while the terminal is in raw mode. */
void log_set_raw_tty(bool raw);

void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void log_line_limited(struct log_limit *lim, enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)                                                                          \
	do {                                                                                    \
		if (log_get_level() >= LOG_LEVEL_DEBUG)                                         \
			log_line(LOG_LEVEL_DEBUG, __VA_ARGS__);                                 \
	} while (0)

#endif
