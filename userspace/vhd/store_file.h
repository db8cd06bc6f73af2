/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A store in a file or block device: its descriptors and its helper threads.
 *
 * Storage with sectors of 4 KiB takes direct I/O in whole sectors only, and
 * VHD counts in 512 bytes. There a second descriptor without O_DIRECT (soft)
 * serves what is not made of whole sectors, so that the page cache completes
 * them. While it does, a direct write to the same sector would be undone by
 * the page's write-back; so changes in flight are listed, whole and soft ones,
 * and no two of different kinds that share a sector run at the same time.
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
	int soft_fd;				/* without O_DIRECT, or -1 */
	uint32_t unit;				/* of direct I/O: 512, or more with a soft_fd */
	struct store_io *whole, *soft;		/* lock; changes in flight, if there is a soft_fd */
	pthread_cond_t landed;			/* lock; one left the list of whole ones */
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

static inline struct store_file *store_file_of(struct store *s)
{
	return (struct store_file *)s;
}

int store_aio_create(struct store *s, unsigned int depth, struct store_queue **out);
int store_aio_move(struct store_queue *sq, struct store *s, unsigned int depth);
void store_aio_destroy(struct store_queue *sq);
void store_aio_submit(struct store_queue *sq, struct store_io *io);
void store_aio_kick(struct store_queue *sq);
void store_aio_poll(struct store_queue *sq);
void store_aio_wake(struct store_queue *sq);
int store_aio_fd(const struct store_queue *sq);
void store_aio_wait(struct store_queue *sq);

#endif
