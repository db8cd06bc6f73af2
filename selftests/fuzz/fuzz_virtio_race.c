// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fuzz_virtio_race.c: a ring whose bytes another thread flips while it is served. What was checked must be what is used:
 * a second load of any ring word would sooner or later give a segment outside memory, which check() or the sanitizer sees.
 *
 * Input: options, and the list of places and values that the other thread keeps writing.
 *
 * LINK: userspace/virtio/queue.c userspace/virtio/queue_split.c userspace/virtio/queue_packed.c
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/queue.h"

#define RAM 4096
#define SEGS 16

static unsigned char *ram;
static const unsigned char *script;
static size_t script_len;
static int stop;

static void *map(void *opaque, uint64_t gpa, uint64_t len)
{
	(void)opaque;
	return gpa < RAM && len <= RAM - gpa ? ram + gpa : NULL;
}

static void *flip(void *arg)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		for (size_t i = 0; i + 3 <= script_len; i += 3)
			__atomic_store_n(ram + ((script[i] | script[i + 1] << 8) % RAM), script[i + 2],
					 __ATOMIC_RELAXED);
	return arg;
}

static void serve(struct virtq *q)
{
	struct iovec iov[SEGS];
	struct virtq_elem e = { .iov = iov };
	unsigned char buf[64];

	for (int i = 0; i < 64 && virtq_pop(q, &e) == 1; i++) {
		for (int k = 0; k < e.out_num + e.in_num; k++) {
			unsigned char *p = iov[k].iov_base;

			if (p < ram || iov[k].iov_len > RAM || p + iov[k].iov_len > ram + RAM)
				abort();
		}
		virtq_elem_read(&e, 0, buf, sizeof(buf));
		virtq_fill(q, &e, 0);
		virtq_flush(q);
		virtq_needs_call(q);
		virtq_enable_kicks(q);
	}
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	struct virtq_mem mem = { map, NULL };
	pthread_t thread;
	struct virtq q;

	if (size < 5)
		return 0;
	ram = calloc(1, RAM);
	for (size_t i = 0; i < RAM; i++)
		ram[i] = data[i % size];
	script = data + 2;
	script_len = size - 2;
	__atomic_store_n(&stop, 0, __ATOMIC_RELAXED);
	if (pthread_create(&thread, NULL, flip, NULL))
		abort();
	for (int i = 0; i < 50; i++)
		if (!virtq_init(&q, &mem, data[0] & 7, 1u << (data[1] % 6), SEGS, 0, 1024, 2048))
			serve(&q);
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	free(ram);
	return 0;
}
