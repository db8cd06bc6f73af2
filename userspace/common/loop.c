// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The event loop.
 *
 * epoll_wait() fetches up to BATCH events at a time. A callback may remove a source whose event
 * is later in the same batch, so loop_del() also walks the rest of the batch and clears it there.
 * Posted functions are a linked list under a mutex, drained when the wake-up eventfd is readable.
 */
#include "common/loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define BATCH 32

struct post {
	struct post *next;
	loop_post_fn *fn;
	void *ctx;
};

struct loop {
	int epfd;
	int wakefd;
	atomic_bool stopping;
	struct loop_source wake;
	struct epoll_event batch[BATCH];
	int batch_pos, batch_len;
	pthread_mutex_t lock;
	struct post *head, **tail;	/* lock */
};

static void drain_posts(void *ctx, u32 events)
{
	struct loop *loop = ctx;
	struct post *p, *next;
	u64 n;

	(void)events;
	if (read(loop->wakefd, &n, sizeof(n)) < 0)
		return;
	pthread_mutex_lock(&loop->lock);
	p = loop->head;
	loop->head = NULL;
	loop->tail = &loop->head;
	pthread_mutex_unlock(&loop->lock);
	for (; p; p = next) {
		next = p->next;
		p->fn(p->ctx);
		free(p);
	}
}

struct loop *loop_create(void)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int saved;

	if (!loop)
		return NULL;
	loop->epfd = epoll_create1(EPOLL_CLOEXEC);
	loop->wakefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	loop->tail = &loop->head;
	pthread_mutex_init(&loop->lock, NULL);
	if (loop->epfd < 0 || loop->wakefd < 0 ||
	    loop_add(loop, &loop->wake, loop->wakefd, EPOLLIN, drain_posts, loop) < 0) {
		saved = errno;
		loop_destroy(loop);
		errno = saved;
		return NULL;
	}
	return loop;
}

void loop_destroy(struct loop *loop)
{
	struct post *p;

	if (!loop)
		return;
	while ((p = loop->head)) {
		loop->head = p->next;
		free(p);
	}
	if (loop->epfd >= 0)
		close(loop->epfd);
	if (loop->wakefd >= 0)
		close(loop->wakefd);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

int loop_add(struct loop *loop, struct loop_source *src, int fd, u32 events, loop_fd_fn *fn,
	     void *ctx)
{
	struct epoll_event ev = { .events = events, .data.ptr = src };

	src->fd = fd;
	src->events = events;
	src->fn = fn;
	src->ctx = ctx;
	if (epoll_ctl(loop->epfd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return -errno;
	src->active = true;
	return 0;
}

int loop_mod(struct loop *loop, struct loop_source *src, u32 events)
{
	struct epoll_event ev = { .events = events, .data.ptr = src };

	if (!src->active)
		return -ENOENT;
	if (src->events == events)
		return 0;
	if (epoll_ctl(loop->epfd, EPOLL_CTL_MOD, src->fd, &ev) < 0)
		return -errno;
	src->events = events;
	return 0;
}

void loop_del(struct loop *loop, struct loop_source *src)
{
	int i;

	if (!src->active)
		return;
	epoll_ctl(loop->epfd, EPOLL_CTL_DEL, src->fd, NULL);
	src->active = false;
	for (i = loop->batch_pos; i < loop->batch_len; i++)
		if (loop->batch[i].data.ptr == src)
			loop->batch[i].data.ptr = NULL;
}

static void timer_fired(void *ctx, u32 events)
{
	struct loop_timer *t = ctx;
	u64 n;

	(void)events;
	if (read(t->src.fd, &n, sizeof(n)) == sizeof(n))
		t->fn(t->ctx);
}

int loop_timer_init(struct loop *loop, struct loop_timer *t, loop_timer_fn *fn, void *ctx)
{
	int fd, r;

	t->fn = fn;
	t->ctx = ctx;
	fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	r = loop_add(loop, &t->src, fd, EPOLLIN, timer_fired, t);
	if (r < 0) {
		close(fd);
		t->src.fd = -1;
	}
	return r;
}

int loop_timer_arm(struct loop_timer *t, u64 first_ns, u64 period_ns)
{
	struct itimerspec its = {
		.it_value = { first_ns / 1000000000ULL, first_ns % 1000000000ULL },
		.it_interval = { period_ns / 1000000000ULL, period_ns % 1000000000ULL },
	};

	return timerfd_settime(t->src.fd, 0, &its, NULL) < 0 ? -errno : 0;
}

void loop_timer_fini(struct loop *loop, struct loop_timer *t)
{
	if (!t->src.active)
		return;
	loop_del(loop, &t->src);
	close(t->src.fd);
	t->src.fd = -1;
}

static void wake(struct loop *loop)
{
	u64 one = 1;

	/* EAGAIN means the counter is full, so the loop is awake anyhow. */
	if (write(loop->wakefd, &one, sizeof(one)) < 0)
		return;
}

int loop_post(struct loop *loop, loop_post_fn *fn, void *ctx)
{
	struct post *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->fn = fn;
	p->ctx = ctx;
	pthread_mutex_lock(&loop->lock);
	*loop->tail = p;
	loop->tail = &p->next;
	pthread_mutex_unlock(&loop->lock);
	wake(loop);
	return 0;
}

int loop_fd(const struct loop *loop)
{
	return loop->epfd;
}

int loop_run_once(struct loop *loop, int timeout_ms)
{
	struct loop_source *src;
	u32 events;
	int n;

	n = epoll_wait(loop->epfd, loop->batch, BATCH, timeout_ms);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	loop->batch_len = n;
	for (loop->batch_pos = 0; loop->batch_pos < loop->batch_len;) {
		src = loop->batch[loop->batch_pos].data.ptr;
		events = loop->batch[loop->batch_pos].events;
		loop->batch_pos++;
		if (src)
			src->fn(src->ctx, events);
	}
	loop->batch_len = 0;
	return n;
}

int loop_run(struct loop *loop)
{
	int r;

	while (!atomic_load(&loop->stopping)) {
		r = loop_run_once(loop, -1);
		if (r < 0)
			return r;
	}
	atomic_store(&loop->stopping, false);
	return 0;
}

void loop_stop(struct loop *loop)
{
	atomic_store(&loop->stopping, true);
	wake(loop);
}
