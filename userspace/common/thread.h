/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads with a name, a small stack and a role.
 *
 * The role decides which system calls a thread may make: before its function runs, the hook that
 * the VMM has set is called on the new thread and narrows its rights. A filter is inherited over
 * clone, so threads must be started from the main thread while a machine is built, never from a
 * vCPU or an I/O thread.
 */
#ifndef COMMON_THREAD_H
#define COMMON_THREAD_H

#include <pthread.h>

/*
 * THREAD_DISK: reads and writes image files for others, and nothing else. THREAD_IMAGE: a longer work on images, which it opens
 * and deletes; has THREAD_DISKs of its own.
 */
enum thread_role { THREAD_CONTROL, THREAD_VCPU, THREAD_IO, THREAD_DISK, THREAD_IMAGE };

typedef int thread_enter_fn(enum thread_role role);

/* Called on every new thread; a negative return ends the process, since it would run unconfined. */
void thread_set_enter_hook(thread_enter_fn *fn);

/* All signals are blocked in the new thread. Returns 0 or -errno. */
int thread_start(pthread_t *t, const char *name, enum thread_role role, void *(*fn)(void *),
		 void *ctx);

#endif
