// SPDX-License-Identifier: LGPL-2.1-or-later
/* Starting threads: blocked signals, 128 KiB of stack, the confinement hook. */
#include "common/thread.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STACK_SIZE (128 * 1024)

struct start {
	void *(*fn)(void *);
	void *ctx;
	enum thread_role role;
	char name[16];
};

static thread_enter_fn *enter_hook;

void thread_set_enter_hook(thread_enter_fn *fn)
{
	enter_hook = fn;
}

static void *thread_main(void *arg)
{
	struct start s = *(struct start *)arg;

	free(arg);
	pthread_setname_np(pthread_self(), s.name);
	/* The hook has said why. A device thread without its filter must not touch guest data. */
	if (enter_hook && enter_hook(s.role) < 0)
		_Exit(71);
	return s.fn(s.ctx);
}

int thread_start(pthread_t *t, const char *name, enum thread_role role, void *(*fn)(void *),
		 void *ctx)
{
	static const int faults[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT, SIGSYS };
	struct start *s = calloc(1, sizeof(*s));
	sigset_t all, old;
	unsigned int i;
	pthread_attr_t attr;
	int r;

	if (!s)
		return -ENOMEM;
	s->fn = fn;
	s->ctx = ctx;
	s->role = role;
	snprintf(s->name, sizeof(s->name), "%s", name);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	/* A fault's own signal must find its handler, whichever thread it is. */
	sigfillset(&all);
	for (i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		sigdelset(&all, faults[i]);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	r = pthread_create(t, &attr, thread_main, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (r)
		free(s);
	return -r;
}
