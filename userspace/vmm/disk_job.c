// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Work on a disk's images beside the guest.
 *
 * Nobody waits for the thread but disk_job_end(): who wants to know asks. It can be cancelled while it copies; after that it has
 * a few small writes to do, which are not worth to be broken off.
 */
#include "vmm/disk_job.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/thread.h"

struct disk_job {
	struct virtio_dev *dev;
	struct block *block;
	unsigned int number;
	pthread_t thread;
	atomic_bool stop, over;
	atomic_ullong done;
	u64 total;
	char *wanted;		/* NULL: the disk's parent */
	/* The thread's, until it is over. */
	char *image, *into;
	u64 pause_ns;
	struct err e;
};

static bool go_on(void *opaque, uint64_t done)
{
	struct disk_job *j = opaque;

	atomic_store_explicit(&j->done, done, memory_order_relaxed);
	return !atomic_load_explicit(&j->stop, memory_order_relaxed);
}

/* The first failure counts. */
static int take(struct disk_job *j, int r, char *why)
{
	if (r < 0 && !j->e.code)
		err_set(&j->e, -r, "%s", why ? why : strerror(-r));
	free(why);
	return r;
}

static void coalesce(struct disk_job *j, struct block_coalesce *c)
{
	char *why = NULL;
	int r;

	j->image = strdup(block_coalesce_image(c));
	j->into = strdup(block_coalesce_into(c));
	r = block_coalesce_copy(c, go_on, j, &why);
	if (!take(j, r, why))
		virtio_blk_coalesce(j->dev, c, &j->pause_ns, &j->e);
	why = NULL;
	r = block_coalesce_end(c, &why);
	take(j, r, why);
}

static void *job_main(void *arg)
{
	struct disk_job *j = arg;
	char *why = NULL;
	struct block_coalesce *c = block_coalesce_begin(j->block, j->wanted, &why);

	if (c)
		coalesce(j, c);
	else
		take(j, errno ? -errno : -EIO, why);
	atomic_store(&j->over, true);
	return NULL;
}

static void job_free(struct disk_job *j)
{
	free(j->wanted);
	free(j->image);
	free(j->into);
	free(j);
}

struct disk_job *disk_job_start(struct virtio_dev *dev, struct block *block, const char *image, unsigned int number,
				struct err *e)
{
	struct disk_job *j = calloc(1, sizeof(*j));
	int r = -ENOMEM;

	if (j) {
		j->dev = dev;
		j->block = block;
		j->number = number;
		j->total = block_capacity(block);
		j->wanted = image ? strdup(image) : NULL;
		if (!image || j->wanted)
			r = thread_start(&j->thread, "disk-job", THREAD_IMAGE, job_main, j);
	}
	if (!r)
		return j;
	err_set(e, -r, "cannot start a thread for the disk: %s", strerror(-r));
	if (j)
		job_free(j);
	return NULL;
}

bool disk_job_running(const struct disk_job *j)
{
	return !atomic_load(&j->over);
}

void disk_job_info(const struct disk_job *j, struct disk_job_info *info)
{
	memset(info, 0, sizeof(*info));
	info->number = j->number;
	info->running = disk_job_running(j);
	info->done = atomic_load_explicit(&j->done, memory_order_relaxed);
	info->total = j->total;
	if (info->running)
		return;
	info->image = j->image ? j->image : "";
	info->into = j->into ? j->into : "";
	info->pause_ns = j->pause_ns;
	info->e = j->e;
}

void disk_job_cancel(struct disk_job *j)
{
	atomic_store_explicit(&j->stop, true, memory_order_relaxed);
}

void disk_job_end(struct disk_job *j)
{
	if (!j)
		return;
	disk_job_cancel(j);
	pthread_join(j->thread, NULL);
	job_free(j);
}
