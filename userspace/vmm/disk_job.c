// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Work on a disk's images beside the guest.
 *
 * Nobody waits for the thread but disk_job_end(): who wants to know asks. It can be cancelled while it copies; after that it has
 * a few small writes to do, which are not worth to be broken off.
 *
 * What a disk is made of belongs to the main thread. A mirroring that has come close enough therefore asks the main thread to let
 * the disk go over, and waits: for the answer, for the wish to go on copying, since the guest has written too much
 * meanwhile, or for the end. What the disk was is closed by the job's thread, since that may take a while.
 */
#include "vmm/disk_job.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/thread.h"

const char *const disk_job_kinds[] = { "coalesce", "mirror" };

enum turn { TURN_THREAD, TURN_MAIN, TURN_DONE };

struct disk_job {
	enum disk_job_kind kind;
	struct virtio_dev *dev;
	struct block *block;
	unsigned int number;
	pthread_t thread;
	atomic_bool stop, over, behind;
	atomic_ullong done;
	u64 total;
	char *wanted;		/* NULL: the disk's parent */
	struct block_mirror *mirror;
	void (*ready)(void *ctx);
	void *ctx;
	pthread_mutex_t lock;
	pthread_cond_t turned;
	enum turn turn;		/* lock */
	/* Whose turn it is, until it is over. */
	char *image, *into;
	u64 pause_ns;
	struct err e;
};

static bool go_on(void *opaque, uint64_t done)
{
	struct disk_job *j = opaque;

	atomic_store_explicit(&j->done, done, memory_order_relaxed);
	if (j->mirror)
		atomic_store_explicit(&j->behind, block_mirror_behind(j->mirror), memory_order_relaxed);
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

/* ---- merging ---- */

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

static void *coalesce_main(void *arg)
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

/* ---- mirroring ---- */

/* The main thread's turn; whether it has let the disk go over, for good or not. */
static bool ask_main(struct disk_job *j)
{
	bool done;

	pthread_mutex_lock(&j->lock);
	j->turn = TURN_MAIN;
	j->ready(j->ctx);
	while (j->turn == TURN_MAIN && !atomic_load(&j->stop))
		pthread_cond_wait(&j->turned, &j->lock);
	done = j->turn == TURN_DONE;
	if (!done)
		j->turn = TURN_THREAD;
	pthread_mutex_unlock(&j->lock);
	return done;
}

static void *mirror_main(void *arg)
{
	struct disk_job *j = arg;
	bool done = false;
	char *why = NULL;
	int r = 0;

	virtio_blk_watch(j->dev, j->mirror, true);
	while (!r && !done) {
		r = block_mirror_run(j->mirror, go_on, j, &why);
		if (!r)
			done = ask_main(j);
	}
	take(j, r, why);
	virtio_blk_watch(j->dev, j->mirror, false);
	why = NULL;
	r = block_mirror_end(j->mirror, &why);
	/* The disk has gone over all the same. */
	if (done && !j->e.code && r < 0) {
		log_error("%s", why ? why : strerror(-r));
		free(why);
	} else {
		take(j, r, why);
	}
	atomic_store(&j->over, true);
	return NULL;
}

bool disk_job_turn(struct disk_job *j)
{
	bool changed = false;

	if (j->kind != DISK_JOB_MIRROR)
		return false;
	pthread_mutex_lock(&j->lock);
	if (j->turn == TURN_MAIN) {
		struct err e = ERR_INIT;
		int r = virtio_blk_mirror(j->dev, j->mirror, &j->pause_ns, &e);

		changed = !r;
		if (r < 0 && r != -EAGAIN)
			j->e = e;
		if (changed)
			atomic_store_explicit(&j->done, j->total, memory_order_relaxed);
		j->turn = r == -EAGAIN ? TURN_THREAD : TURN_DONE;
		pthread_cond_signal(&j->turned);
	}
	pthread_mutex_unlock(&j->lock);
	return changed;
}

/* ---- life ---- */

static void job_free(struct disk_job *j)
{
	pthread_mutex_destroy(&j->lock);
	pthread_cond_destroy(&j->turned);
	free(j->wanted);
	free(j->image);
	free(j->into);
	free(j);
}

static struct disk_job *job_new(enum disk_job_kind kind, struct virtio_dev *dev, struct block *block, unsigned int number,
				struct err *e)
{
	struct disk_job *j = calloc(1, sizeof(*j));

	if (!j) {
		err_set(e, ENOMEM, "no memory for work on the disk");
		return NULL;
	}
	pthread_mutex_init(&j->lock, NULL);
	pthread_cond_init(&j->turned, NULL);
	j->kind = kind;
	j->dev = dev;
	j->block = block;
	j->number = number;
	j->total = block_capacity(block);
	return j;
}

static int job_begin(struct disk_job *j, void *(*fn)(void *arg), struct err *e)
{
	int r = thread_start(&j->thread, "disk-job", THREAD_IMAGE, fn, j);

	return r < 0 ? err_set(e, -r, "cannot start a thread for the disk: %s", strerror(-r)) : 0;
}

struct disk_job *disk_job_start(struct virtio_dev *dev, struct block *block, const char *image, unsigned int number,
				struct err *e)
{
	struct disk_job *j = job_new(DISK_JOB_COALESCE, dev, block, number, e);
	int r;

	if (!j)
		return NULL;
	j->wanted = image ? strdup(image) : NULL;
	r = image && !j->wanted ? err_set(e, ENOMEM, "no memory for work on the disk") : job_begin(j, coalesce_main, e);
	if (!r)
		return j;
	job_free(j);
	return NULL;
}

struct disk_job *disk_job_mirror(struct virtio_dev *dev, struct block *block, const char *dir, const char *target,
				 unsigned int number, void (*ready)(void *ctx), void *ctx, struct err *e)
{
	struct disk_job *j = job_new(DISK_JOB_MIRROR, dev, block, number, e);
	char *why = NULL;

	if (!j)
		return NULL;
	j->ready = ready;
	j->ctx = ctx;
	j->mirror = block_mirror_begin(block, dir, target, &why);
	if (j->mirror) {
		j->image = realpath(block_path(block), NULL);
		j->into = strdup(block_mirror_path(j->mirror));
		if (!job_begin(j, mirror_main, e))
			return j;
		block_mirror_end(j->mirror, NULL);
	} else {
		err_set(e, errno ? errno : EIO, "%s", why ? why : "no memory");
	}
	free(why);
	job_free(j);
	return NULL;
}

enum disk_job_kind disk_job_kind(const struct disk_job *j)
{
	return j->kind;
}

bool disk_job_running(const struct disk_job *j)
{
	return !atomic_load(&j->over);
}

void disk_job_info(const struct disk_job *j, struct disk_job_info *info)
{
	memset(info, 0, sizeof(*info));
	info->kind = j->kind;
	info->number = j->number;
	info->running = disk_job_running(j);
	info->done = atomic_load_explicit(&j->done, memory_order_relaxed);
	info->total = j->total;
	info->behind = info->running && atomic_load_explicit(&j->behind, memory_order_relaxed);
	if (info->running)
		return;
	info->image = j->image ? j->image : "";
	info->into = j->into ? j->into : "";
	info->pause_ns = j->pause_ns;
	info->e = j->e;
}

void disk_job_cancel(struct disk_job *j)
{
	pthread_mutex_lock(&j->lock);
	atomic_store_explicit(&j->stop, true, memory_order_relaxed);
	pthread_cond_signal(&j->turned);
	pthread_mutex_unlock(&j->lock);
}

void disk_job_end(struct disk_job *j)
{
	if (!j)
		return;
	disk_job_cancel(j);
	pthread_join(j->thread, NULL);
	job_free(j);
}
