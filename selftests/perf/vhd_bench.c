// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * vhd_bench FILE read|write COUNT BYTES DEPTH random|STEP [SEED]: so many requests on
 * an image through the library, DEPTH in flight; each STEP bytes behind the
 * last one, wrapping at the disk's end as qemu-img bench does, or anywhere. A
 * flush ends it. Prints nanoseconds, and user instructions where the machine
 * counts them.
 */
#include <errno.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <lodge/vhd.h>

struct slot {
	struct vhd_request req;
	struct iovec iov;
};

static unsigned long long left, finished, offset, step, size, bytes;
static enum vhd_op op;
static unsigned long long seed = 88172645463325252ull;
static struct vhd_queue *q;

static void submit(struct slot *s);

static void done(struct vhd_request *req, int error)
{
	if (error) {
		fprintf(stderr, "vhd_bench: a request at %llu failed: %s\n", (unsigned long long)req->offset, strerror(-error));
		exit(1);
	}
	finished++;
	submit(req->opaque);
}

static void submit(struct slot *s)
{
	if (!left)
		return;
	left--;
	if (!step) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		offset = seed % (size / bytes) * bytes;
	} else if (offset + bytes > size) {
		offset = 0;
	}
	s->req = (struct vhd_request){ .op = op, .offset = offset, .length = bytes, .iov = &s->iov, .iovcnt = 1, .done = done,
				       .opaque = s };
	offset += step;
	vhd_submit(q, &s->req);
}

static int counter(void)
{
	struct perf_event_attr a = { .type = PERF_TYPE_HARDWARE, .size = sizeof(a), .config = PERF_COUNT_HW_INSTRUCTIONS,
				     .exclude_kernel = 1, .exclude_hv = 1, .inherit = 1 };

	return syscall(SYS_perf_event_open, &a, 0, -1, -1, 0);
}

int main(int argc, char **argv)
{
	unsigned long long count, instructions = 0;
	struct timespec from, to;
	struct vhd_error err;
	unsigned int depth, i;
	struct slot *slot;
	struct vhd *v;
	void *memory;
	int fd;

	if (argc < 7)
		return 2;
	op = strcmp(argv[2], "read") ? VHD_WRITE : VHD_READ;
	count = left = strtoull(argv[3], NULL, 10);
	bytes = strtoull(argv[4], NULL, 10);
	depth = strtoul(argv[5], NULL, 10);
	step = strcmp(argv[6], "random") ? strtoull(argv[6], NULL, 10) : 0;
	seed ^= argc > 7 ? strtoull(argv[7], NULL, 10) * 2654435769u : 0;
	if (vhd_open(argv[1], (op == VHD_READ ? VHD_O_RDONLY : 0) | (strstr(argv[1], ".vhd") ? 0 : VHD_O_RAW), &v, &err)) {
		fprintf(stderr, "vhd_bench: %s\n", err.text);
		return 1;
	}
	size = vhd_size(v);
	q = vhd_queue_create(v, depth);
	slot = calloc(depth, sizeof(*slot));
	if (!q || !slot || posix_memalign(&memory, 4096, depth * bytes))
		return 1;
	memset(memory, 0x5a, depth * bytes);
	fd = counter();
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (i = 0; i < depth; i++) {
		slot[i].iov = (struct iovec){ (char *)memory + i * bytes, bytes };
		submit(&slot[i]);
	}
	vhd_queue_kick(q);
	vhd_queue_poll(q);
	while (finished < count) {
		struct pollfd p = { vhd_queue_fd(q), POLLIN, 0 };

		poll(&p, 1, -1);
		vhd_queue_poll(q);
	}
	if (op == VHD_WRITE && vhd_flush(q))
		return 1;
	clock_gettime(CLOCK_MONOTONIC, &to);
	if (fd >= 0 && read(fd, &instructions, sizeof(instructions)) != sizeof(instructions))
		instructions = 0;
	printf("%llu %llu\n", (to.tv_sec - from.tv_sec) * 1000000000ull + to.tv_nsec - from.tv_nsec, instructions / count);
	vhd_queue_destroy(q);
	return vhd_close(v) ? 1 : 0;
}
