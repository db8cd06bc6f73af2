// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fuzz_virtio_queue.c: a ring of arbitrary bytes, served as a device does: pop, read, write, fill, unpop, flush, and the
 * suppression calls. Whatever the bytes, every segment lies in memory, every call ends, and a broken queue stays broken.
 *
 * Input: 4 bytes of options, then the guest's memory (4 KiB, repeated as needed).
 *
 * LINK: userspace/virtio/queue.c userspace/virtio/queue_split.c userspace/virtio/queue_packed.c
 */
#include <stdlib.h>
#include <string.h>

#include "virtio/queue.h"

#define RAM 8192
#define SEGS 16
#define HELD 8

static unsigned char *ram;

static void *map(void *opaque, uint64_t gpa, uint64_t len)
{
	(void)opaque;
	return gpa < RAM && len <= RAM - gpa ? ram + gpa : NULL;
}

static void check(const struct virtq_elem *e)
{
	uint64_t out = 0, in = 0;

	if (e->out_num + e->in_num > SEGS)
		abort();
	for (int i = 0; i < e->out_num + e->in_num; i++) {
		unsigned char *p = e->iov[i].iov_base;

		if (p < ram || p + e->iov[i].iov_len > ram + RAM || !e->iov[i].iov_len)
			abort();
		*(i < e->out_num ? &out : &in) += e->iov[i].iov_len;
	}
	if (out != e->out_len || in != e->in_len)
		abort();
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	struct virtq_mem mem = { map, NULL };
	struct virtq_elem held[HELD];
	struct iovec iov[HELD][SEGS];
	unsigned int flags, num, n = 0;
	unsigned char buf[256];
	struct virtq q;

	if (size < 8)
		return 0;
	ram = malloc(RAM);
	for (size_t i = 0; i < RAM; i++)
		ram[i] = data[4 + i % (size - 4)];
	flags = data[0] & 7;
	num = flags & VIRTQ_F_PACKED ? 1 + data[1] % 32 : 1u << (data[1] % 6);
	if (!virtq_init(&q, &mem, flags, num, SEGS, (data[2] & 31) * 16, 1024 + (data[3] & 15) * 4, 2048))
		for (int step = 0; step < 200 && !q.fault; step++) {
			virtq_disable_kicks(&q);
			held[n].iov = iov[n];
			if (virtq_pop(&q, &held[n]) == 1) {
				check(&held[n]);
				virtq_elem_read(&held[n], step & 7, buf, sizeof(buf));
				if (step % 5 == 4)
					virtq_unpop(&q, &held[n]);
				else
					n++;
			}
			if (n == HELD || (n && step % 3 == 2)) {
				unsigned int k = step % n;

				virtq_fill(&q, &held[k], virtq_elem_write(&held[k], 1, buf, 64));
				n--;
				if (k != n) {
					memcpy(iov[k], iov[n], sizeof(iov[k]));
					held[k] = held[n];
					held[k].iov = iov[k];
				}
				virtq_flush(&q);
				virtq_needs_call(&q);
			}
			virtq_enable_kicks(&q);
			virtq_pending(&q);
		}
	held[0].iov = iov[0];
	if (q.fault && (virtq_pop(&q, &held[0]) >= 0 || virtq_pending(&q) || virtq_enable_kicks(&q)))
		abort();
	if (q.fault >= VIRTQ_FAULTS || !virtq_fault_name(q.fault))
		abort();
	free(ram);
	return 0;
}
