/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * iothread.h: a thread that runs an event loop for a device's queues.
 *
 * Sources are added to io->loop before iothread_start(), or by functions posted to it. Threads must be started while the
 * machine is built, on the main thread, because their confinement is inherited (common/thread.h).
 */
#ifndef LODGE_VIRTIO_IOTHREAD_H
#define LODGE_VIRTIO_IOTHREAD_H

#include <pthread.h>

#include "common/err.h"
#include "common/loop.h"

struct iothread {
	struct loop *loop;
	pthread_t thread;
	bool started;
	/* Instead of loop_run(): must return soon after stop() was called on another thread. */
	void (*run)(void *ctx);
	void (*stop)(void *ctx);
	void *ctx;
};

int iothread_init(struct iothread *io, struct err *e);
int iothread_start(struct iothread *io, const char *name, struct err *e);
/* Ends the thread, if it runs; the loop stays, for its sources to be taken out. */
void iothread_stop(struct iothread *io);
/* Ends the thread, if it runs, and frees the loop. Idempotent, also on zeroed memory. */
void iothread_fini(struct iothread *io);

#endif
