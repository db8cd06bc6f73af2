// SPDX-License-Identifier: GPL-2.0-or-later
/* A guest's disks: see the header. */
#include "vmm/disks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "vmm/disk_job.h"

struct group {
	struct throttle throttle;
	char name[BLOCK_GROUP_MAX];
	unsigned int users;		/* disks; 0: free */
};

struct disk {
	struct block *block;		/* NULL: there is no such disk */
	struct virtio_dev *dev;
	char *path;			/* absolute; NULL: as the user gave it */
	struct group *group;
	struct disk_job *job;		/* the last one; NULL: there was none */
	bool removable;			/* a drive */
	bool leaving, gone;
};

struct disks {
	struct board *board;
	unsigned int queues, flags;	/* of each disk */
	struct disk disk[RUN_DISKS_MAX];
	struct group group[RUN_DISKS_MAX];
	struct loop_source wake_src;
	int wake_fd;			/* a disk holds a failed request, or a job wants its turn */
	unsigned int jobs;		/* so many there were */
	const struct disks_ops *ops;
	void *ctx;
};

static u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static struct block *open_disk(const char *dir, const char *spec, unsigned int flags, struct err *e)
{
	char *why = NULL;
	struct block *b = block_open_at(dir, spec, flags, &why);

	if (!b)
		err_set(e, errno ? errno : EIO, "disk %s: %s", spec, why ? why : "cannot be opened");
	free(why);
	return b;
}

static char *absolute(const struct block *b)
{
	return realpath(block_path(b), NULL);
}

static struct block *open_empty(const char *spec, struct err *e)
{
	char *why = NULL;
	struct block *b = block_open_empty(spec, &why);

	if (!b)
		err_set(e, errno ? errno : EIO, "%s", why ? why : "no memory");
	free(why);
	return b;
}

int disks_check(const char *spec, struct err *e)
{
	struct block *b = open_disk(NULL, spec, BLOCK_O_RDONLY, e);

	if (!b)
		return -EIO;
	block_close(b);
	return 0;
}

/* ---- limits ---- */

/* The group of this name, or a new one, with one user more. There are as many as disks. */
static struct group *group_get(struct disks *d, const char *name)
{
	static const struct throttle_limits none;
	struct group *g = NULL;
	unsigned int i;

	for (i = 0; i < RUN_DISKS_MAX; i++) {
		struct group *one = &d->group[i];

		if (one->users && *name && !strcmp(one->name, name)) {
			one->users++;
			return one;
		}
		if (!one->users && !g)
			g = one;
	}
	if (!g)
		return NULL;
	throttle_init(&g->throttle, &none);
	snprintf(g->name, sizeof(g->name), "%s", name);
	g->users = 1;
	return g;
}

static void group_put(struct group *g)
{
	if (g && !--g->users)
		throttle_fini(&g->throttle);
}

/* The limits of a group have changed, or a disk has come to it. */
static void group_apply(struct disks *d, struct group *g)
{
	struct throttle_limits limits;
	unsigned int i;

	throttle_get(&g->throttle, &limits);
	for (i = 0; i < RUN_DISKS_MAX; i++)
		if (d->disk[i].dev && d->disk[i].group == g)
			virtio_blk_set_throttle(d->disk[i].dev, throttle_limited(&limits) ? &g->throttle : NULL);
}

int disks_set_limits(struct disks *d, unsigned int n, const struct throttle_limits *limits, const char *group, struct err *e)
{
	struct disk *k = &d->disk[n];
	struct group *old = NULL;

	if (group && strcmp(group, k->group->name)) {
		old = k->group;
		/* Its own, if nobody else is in it, may be the last that is free. */
		if (old->users == 1)
			virtio_blk_set_throttle(k->dev, NULL);
		if (old->users == 1)
			group_put(old);
		else
			old->users--;
		k->group = group_get(d, group);
		if (!k->group)
			return err_set(e, EINVAL, "there are no more groups");
	}
	if (limits)
		throttle_set(&k->group->throttle, limits, now_ns());
	group_apply(d, k->group);
	return 0;
}

/* ---- errors of the host ---- */

/* Any thread. */
static void wake(void *ctx)
{
	struct disks *d = ctx;
	u64 one = 1;

	if (write(d->wake_fd, &one, sizeof(one)) < 0)
		log_error("cannot wake the main loop for a disk");
}

bool disks_stopped(struct disks *d, char *why, size_t room)
{
	static const char *const verbs[] = {
		[BLOCK_READ] = "read", [BLOCK_WRITE] = "write", [BLOCK_FLUSH] = "flush", [BLOCK_DISCARD] = "discard",
		[BLOCK_WRITE_ZEROES] = "write zeroes to",
	};
	struct virtio_blk_failure f;
	unsigned int i;

	for (i = 0; i < RUN_DISKS_MAX; i++) {
		if (!d->disk[i].dev || !virtio_blk_failure(d->disk[i].dev, &f))
			continue;
		if (f.op == BLOCK_FLUSH)
			snprintf(why, room, "disk %u (%s): cannot flush: %s", i, disks_path(d, i), strerror(-f.error));
		else
			snprintf(why, room, "disk %u (%s): cannot %s %llu bytes at %llu: %s", i, disks_path(d, i), verbs[f.op],
				 (unsigned long long)f.length, (unsigned long long)f.offset, strerror(-f.error));
		return true;
	}
	return false;
}

void disks_retry(struct disks *d)
{
	unsigned int i;

	for (i = 0; i < RUN_DISKS_MAX; i++)
		if (d->disk[i].dev)
			virtio_blk_retry(d->disk[i].dev);
}

static void jobs_turn(struct disks *d)
{
	for (struct disk *k = d->disk; k < d->disk + RUN_DISKS_MAX; k++) {
		if (!k->job || !disk_job_turn(k->job))
			continue;
		free(k->path);
		k->path = absolute(k->block);
	}
}

static void on_wake(void *ctx, u32 events)
{
	struct disks *d = ctx;
	char why[512];
	u64 n;

	(void)events;
	if (read(d->wake_fd, &n, sizeof(n)) <= 0)
		return;
	jobs_turn(d);
	/* A reset of the guest may have taken the request back meanwhile. */
	if (disks_stopped(d, why, sizeof(why)) && d->ops)
		d->ops->stop(d->ctx, why);
}

void disks_set_ops(struct disks *d, const struct disks_ops *ops, void *ctx)
{
	d->ops = ops;
	d->ctx = ctx;
}

void disks_set_on_error(struct disks *d, unsigned int n, enum block_on_error on_error)
{
	virtio_blk_set_on_error(d->disk[n].dev, on_error);
}

/* ---- coming and going ---- */

/* What the guest flushed is safe whatever this says. */
static void block_end(struct block *b, unsigned int n, const char *path)
{
	int r = block_close(b);

	if (r < 0)
		log_error("disk %u (%s) could not be closed properly: %s; it is repaired when it is next used", n, path ? path : "",
			  strerror(-r));
}

/* Nothing may change a disk's image beside a job. */
static int not_at_work(const struct disk *k, unsigned int n, struct err *e)
{
	if (!k->job || !disk_job_running(k->job))
		return 0;
	return err_set(e, EBUSY, "%sdisk %u is being %s; wait for that, or: lodge disk %s --cancel NAME %u",
		       disk_job_kind(k->job) == DISK_JOB_COALESCE ? "an image of " : "", n,
		       disk_job_kind(k->job) == DISK_JOB_COALESCE ? "merged" : "mirrored", disk_job_kinds[disk_job_kind(k->job)], n);
}

static void job_end(struct disk *k)
{
	disk_job_end(k->job);
	k->job = NULL;
}

/* What is left of a disk whose device is gone. */
static void disk_free(struct disk *k, unsigned int n)
{
	block_end(k->block, n, k->path);
	free(k->path);
	group_put(k->group);
	memset(k, 0, sizeof(*k));
}

static int disk_add(struct disks *d, unsigned int n, const char *dir, const char *spec, struct err *e)
{
	struct virtio_blk_opts opts = { .queues = d->queues, .flags = d->flags, .stopped = wake, .ctx = d };
	struct block *b = open_disk(dir, spec, 0, e);
	struct disk *k = &d->disk[n];
	int r;

	if (!b)
		return -EIO;
	k->block = b;
	k->path = absolute(b);
	k->removable = block_removable(b);
	k->group = group_get(d, block_group(b));
	if (k->group)
		k->dev = virtio_blk_create(d->board, b, &opts, e);
	r = k->dev ? disks_set_limits(d, n, throttle_limited(block_limits(b)) ? block_limits(b) : NULL, NULL, e) : -EIO;
	if (!k->dev)
		disk_free(k, n);
	return r;
}

/* Takes the device away; no vCPU runs. The rest is closed by the caller, who may let the guest run meanwhile. */
static void disk_unplug(struct disks *d, struct disk *k)
{
	struct virtio_dev *dev = k->dev;

	k->dev = NULL;
	pci_bus_remove(d->board->pci, &dev->pci);
}

static void disk_remove(struct disks *d, unsigned int n)
{
	struct disk *k = &d->disk[n];

	job_end(k);
	if (d->ops)
		d->ops->quiesce(d->ctx, true);
	disk_unplug(d, k);
	if (d->ops)
		d->ops->quiesce(d->ctx, false);
	disk_free(k, n);
}

static void on_eject(void *ctx, unsigned int slot)
{
	struct disks *d = ctx;
	unsigned int i;

	for (i = 0; i < RUN_DISKS_MAX; i++)
		if (d->disk[i].dev && d->disk[i].dev->pci.slot == slot)
			disk_remove(d, i);
}

void disks_reset(struct disks *d)
{
	unsigned int i;

	for (i = 0; i < RUN_DISKS_MAX; i++) {
		if (!d->disk[i].dev || !d->disk[i].leaving)
			continue;
		job_end(&d->disk[i]);
		disk_unplug(d, &d->disk[i]);
		disk_free(&d->disk[i], i);
	}
}

int disks_attach(struct disks *d, const char *dir, const char *spec, unsigned int *n, struct err *e)
{
	int r;

	if (!d->board->hotplug)
		return err_set(e, ENOTSUP, "this machine has no hot-plug");
	for (*n = 0; *n < RUN_DISKS_MAX && d->disk[*n].block; (*n)++)
		;
	if (*n == RUN_DISKS_MAX)
		return err_set(e, ENOSPC, "the guest has %d disks, as many as there may be", RUN_DISKS_MAX);
	r = disk_add(d, *n, dir, spec, e);
	if (!r)
		hotplug_changed(d->board->hotplug, d->disk[*n].dev->pci.slot);
	return r;
}

static int disk_lose(struct disk *k, unsigned int n, struct err *e)
{
	struct block *b = open_empty("removable=on", e);
	int r;

	job_end(k);
	r = b ? virtio_blk_lose(k->dev, b, e) : -EIO;
	if (r < 0) {
		block_close(b);
		return r;
	}
	k->gone = true;
	block_end(b, n, k->path);
	return 0;
}

int disks_detach(struct disks *d, unsigned int n, bool force, struct err *e)
{
	struct disk *k = &d->disk[n];
	int r;

	if (!d->board->hotplug)
		return err_set(e, ENOTSUP, "this machine has no hot-plug");
	r = force ? disk_lose(k, n, e) : 0;
	if (r < 0)
		return r;
	k->leaving = true;
	hotplug_ask(d->board->hotplug, k->dev->pci.slot);
	return 0;
}

/* ---- media and sizes ---- */

int disks_insert(struct disks *d, unsigned int n, const char *dir, const char *spec, struct err *e)
{
	struct disk *k = &d->disk[n];
	bool readonly = block_readonly(k->block);
	struct block *b;
	int r;

	if (!k->removable)
		return err_set(e, EINVAL, "disk %u is no drive: it was not given removable=on", n);
	r = not_at_work(k, n, e);
	if (r < 0)
		return r;
	if (spec)
		b = open_disk(dir, spec, readonly ? BLOCK_O_RDONLY : 0, e);
	else
		b = open_empty(readonly ? "removable=on,readonly=on" : "removable=on", e);
	if (!b)
		return -EIO;
	if (spec && block_readonly(b) != readonly)
		r = err_set(e, EROFS, "the guest knows drive %u as one to be written to, which this medium is not", n);
	else
		r = virtio_blk_exchange(k->dev, b, e);
	if (!r) {
		char *was = k->path;

		k->path = absolute(k->block);
		block_end(b, n, was);
		free(was);
	} else {
		block_close(b);
	}
	return r;
}

int disks_grow(struct disks *d, unsigned int n, u64 size, u64 *pause_ns, struct err *e)
{
	int r = not_at_work(&d->disk[n], n, e);

	return r ? r : virtio_blk_grow(d->disk[n].dev, size, pause_ns, e);
}

/* ---- jobs ---- */

static int job_begun(struct disks *d, struct disk *k, struct disk_job *j, unsigned int *job)
{
	if (!j)
		return -EIO;
	job_end(k);
	k->job = j;
	*job = ++d->jobs;
	return 0;
}

int disks_coalesce(struct disks *d, unsigned int n, const char *image, unsigned int *job, struct err *e)
{
	struct disk *k = &d->disk[n];
	int r = not_at_work(k, n, e);

	return r ? r : job_begun(d, k, disk_job_start(k->dev, k->block, image, d->jobs + 1, e), job);
}

int disks_mirror(struct disks *d, unsigned int n, const char *dir, const char *target, unsigned int *job, struct err *e)
{
	struct disk *k = &d->disk[n];
	int r = not_at_work(k, n, e);

	return r ? r : job_begun(d, k, disk_job_mirror(k->dev, k->block, dir, target, d->jobs + 1, wake, d, e), job);
}

bool disks_job(struct disks *d, unsigned int n, struct disk_job_info *info)
{
	if (!d->disk[n].job)
		return false;
	disk_job_info(d->disk[n].job, info);
	return true;
}

void disks_job_cancel(struct disks *d, unsigned int n)
{
	if (d->disk[n].job)
		disk_job_cancel(d->disk[n].job);
}

void disks_jobs_end(struct disks *d)
{
	unsigned int i;

	for (i = 0; i < RUN_DISKS_MAX; i++)
		if (d->disk[i].job)
			disk_job_cancel(d->disk[i].job);
	for (i = 0; i < RUN_DISKS_MAX; i++)
		job_end(&d->disk[i]);
}

/* ---- life ---- */

struct disks *disks_create(struct board *board, const struct run_options *o, struct err *e)
{
	struct disks *d = calloc(1, sizeof(*d));
	unsigned int i;
	int r;

	if (!d) {
		err_set(e, ENOMEM, "no memory for disks");
		return NULL;
	}
	d->board = board;
	d->queues = o->cpus < 4 ? o->cpus : 4;
	d->flags = o->packed_rings ? VIRTIO_OPT_PACKED : 0;
	d->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = d->wake_fd < 0 ? -errno : loop_add(board->loop, &d->wake_src, d->wake_fd, EPOLLIN, on_wake, d);
	if (r < 0)
		err_set(e, -r, "cannot watch over disks: %s", strerror(-r));
	if (!r && board->hotplug)
		hotplug_on_eject(board->hotplug, on_eject, d);
	for (i = 0; i < o->disks && !r; i++)
		r = disk_add(d, i, NULL, o->disk[i], e);
	if (r < 0) {
		disks_destroy(d);
		return NULL;
	}
	return d;
}

void disks_destroy(struct disks *d)
{
	unsigned int i;

	if (!d)
		return;
	loop_del(d->board->loop, &d->wake_src);
	if (d->wake_fd >= 0)
		close(d->wake_fd);
	for (i = 0; i < RUN_DISKS_MAX; i++)
		if (d->disk[i].block)
			disk_free(&d->disk[i], i);
	free(d);
}

bool disks_has(const struct disks *d, unsigned int n)
{
	return n < RUN_DISKS_MAX && d->disk[n].dev;
}

bool disks_gone(const struct disks *d, unsigned int n)
{
	return d->disk[n].gone;
}

const char *disks_path(const struct disks *d, unsigned int n)
{
	return d->disk[n].path ? d->disk[n].path : block_path(d->disk[n].block);
}

void disks_info(struct disks *d, unsigned int n, struct disk_info *info)
{
	struct disk *k = &d->disk[n];

	memset(info, 0, sizeof(*info));
	info->path = disks_path(d, n);
	info->format = k->gone ? "none" : block_format(k->block);
	info->group = k->group->name;
	info->capacity = block_capacity(k->block);
	info->readonly = block_readonly(k->block);
	info->removable = k->removable;
	info->leaving = k->leaving;
	info->gone = k->gone;
	info->on_error = virtio_blk_on_error(k->dev);
	throttle_get(&k->group->throttle, &info->limits);
	virtio_blk_stats(k->dev, &info->stats);
}

u64 disks_unread(const struct disks *d)
{
	struct virtio_blk_stats st;
	u64 sum = 0;

	for (unsigned int i = 0; i < RUN_DISKS_MAX; i++) {
		if (!disks_has(d, i))
			continue;
		virtio_blk_stats(d->disk[i].dev, &st);
		sum += st.shared_bytes;
	}
	return sum;
}

int disks_branch(struct disks *d, const struct disks_branch *list, unsigned int count, u64 *pause_ns, struct err *e)
{
	struct virtio_blk_branch b[RUN_DISKS_MAX];
	unsigned int i, k;
	int r;

	if (!count || count > RUN_DISKS_MAX)
		return err_set(e, EINVAL, "from 1 to %d disks can be snapshotted together", RUN_DISKS_MAX);
	for (i = 0; i < count; i++) {
		for (k = 0; k < i; k++)
			if (list[k].n == list[i].n)
				return err_set(e, EINVAL, "disk %u is given twice", list[i].n);
		r = not_at_work(&d->disk[list[i].n], list[i].n, e);
		if (r < 0)
			return r;
		b[i] = (struct virtio_blk_branch){ d->disk[list[i].n].dev, list[i].child, list[i].snapshot };
	}
	return virtio_blk_branch(b, count, pause_ns, e);
}
