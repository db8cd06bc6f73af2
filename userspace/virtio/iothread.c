// SPDX-License-Identifier: GPL-2.0-or-later
/* iothread.c: start and end of a thread with an event loop. */
#include <errno.h>
#include <string.h>

#include "common/thread.h"
#include "virtio/iothread.h"

int iothread_init(struct iothread *io, struct err *e)
{
	memset(io, 0, sizeof(*io));
	io->loop = loop_create();
	if (!io->loop)
		return err_set(e, errno, "cannot make an event loop: %s", strerror(errno));
	return 0;
}

static void *iothread_main(void *arg)
{
	struct iothread *io = arg;

	if (io->run)
		io->run(io->ctx);
	else
		loop_run(io->loop);
	return NULL;
}

int iothread_start(struct iothread *io, const char *name, struct err *e)
{
	int r = thread_start(&io->thread, name, THREAD_IO, iothread_main, io);

	if (r < 0)
		return err_set(e, -r, "cannot start thread %s: %s", name, strerror(-r));
	io->started = true;
	return 0;
}

void iothread_stop(struct iothread *io)
{
	if (!io->started)
		return;
	if (io->stop)
		io->stop(io->ctx);
	else
		loop_stop(io->loop);
	pthread_join(io->thread, NULL);
	io->started = false;
}

void iothread_fini(struct iothread *io)
{
	iothread_stop(io);
	loop_destroy(io->loop);
	io->loop = NULL;
}
