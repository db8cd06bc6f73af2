/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An event loop: epoll, with eventfds to wake it and timerfds for time. One per thread.
 *
 * The caller owns every source and embeds it in its own object; the loop allocates nothing per
 * source. A source may be removed from inside any callback of the same loop, its own included:
 * events already fetched for it are dropped. Everything but loop_post() and loop_stop() must be
 * called on the thread that runs the loop, or before that thread runs it.
 */
#ifndef COMMON_LOOP_H
#define COMMON_LOOP_H

#include <sys/epoll.h>

#include "common/types.h"

struct loop;

typedef void loop_fd_fn(void *ctx, u32 events);
typedef void loop_timer_fn(void *ctx);
typedef void loop_post_fn(void *ctx);

struct loop_source {
	int fd;
	u32 events;	/* EPOLLIN | EPOLLOUT ... */
	loop_fd_fn *fn;
	void *ctx;
	bool active;
};

struct loop_timer {
	struct loop_source src;
	loop_timer_fn *fn;
	void *ctx;
};

/* Returns NULL and sets errno on failure. */
struct loop *loop_create(void);
/* Sources still registered are forgotten; their descriptors stay open. NULL is fine. */
void loop_destroy(struct loop *loop);

/* Registers a source; the fields of *src are filled in here. Returns 0 or -errno. */
int loop_add(struct loop *loop, struct loop_source *src, int fd, u32 events, loop_fd_fn *fn,
	     void *ctx);
/* Changes the wanted events; 0 keeps the source registered and silent. */
int loop_mod(struct loop *loop, struct loop_source *src, u32 events);
/* Does nothing when the source is not registered. The fd stays open. */
void loop_del(struct loop *loop, struct loop_source *src);

/* A timer is made once, armed and disarmed at will, and closed by loop_timer_fini. */
int loop_timer_init(struct loop *loop, struct loop_timer *t, loop_timer_fn *fn, void *ctx);
/* Fires after first_ns, then every period_ns (0: once). first_ns 0 disarms. */
int loop_timer_arm(struct loop_timer *t, u64 first_ns, u64 period_ns);
void loop_timer_fini(struct loop *loop, struct loop_timer *t);

/* Readable when loop_run_once() has something to do: for a thread that must poll more than a loop. */
int loop_fd(const struct loop *loop);

/* Runs fn(ctx) on the loop's thread, from any thread. Returns 0 or -ENOMEM. */
int loop_post(struct loop *loop, loop_post_fn *fn, void *ctx);

/* Returns 0 after loop_stop(), else -errno of epoll_wait. */
int loop_run(struct loop *loop);
/* Handles what is ready within timeout_ms (-1: wait). Returns the number handled or -errno. */
int loop_run_once(struct loop *loop, int timeout_ms);
/* From any thread; also ends a loop_run() that is yet to be called. */
void loop_stop(struct loop *loop);

#endif
