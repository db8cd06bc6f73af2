/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A store in a file or block device: its descriptor and its helper threads.
 */
#ifndef VHD_STORE_FILE_H
#define VHD_STORE_FILE_H

#include <pthread.h>

#include "vhd/store.h"

#define STORE_THREADS_DIRECT	1
#define STORE_THREADS_BUFFERED	4

struct store_file {
	struct store store;
	int fd;
	/* Threads for what the kernel would do synchronously. */
	pthread_t thread[STORE_THREADS_BUFFERED];
	pthread_mutex_t queue_lock;		/* coming and going of queues */
	unsigned int threads;			/* queue_lock */
	unsigned int queues;			/* queue_lock */
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct store_io *head, **tail;		/* lock */
	bool stop;				/* lock */
};

int store_file_pread(struct store *s, void *buf, size_t bytes, uint64_t offset);
int store_file_do(struct store_io *io);

int store_aio_create(struct store *s, unsigned int depth, struct store_queue **out);
void store_aio_destroy(struct store_queue *sq);
void store_aio_submit(struct store_queue *sq, struct store_io *io);
void store_aio_kick(struct store_queue *sq);
void store_aio_poll(struct store_queue *sq);
void store_aio_wake(struct store_queue *sq);
int store_aio_fd(const struct store_queue *sq);
void store_aio_wait(struct store_queue *sq);

#endif
