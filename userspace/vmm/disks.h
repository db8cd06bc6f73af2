/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest's disks, by number: those it was started with, in the order of the command line.
 *
 * Errors of the host. A disk that holds a failed request (enum block_on_error) wakes the main loop, which halts the guest:
 * the guest's clocks then do not time the request out. disks_stopped() says why; disks_retry() submits what is held again,
 * before the guest goes on.
 *
 * Disks come and go through the PCI hot-plug controller (board/hotplug.h). One that goes is freed with all vCPUs stopped, for
 * a moment; if the guest never lets go of it, it stays until the guest's reset.
 *
 * Gone disks. One that is taken by force loses its image at once, but not its device: drivers do not expect that of virtio,
 * and Linux's waits for ever for the reset of a device that does not answer. The guest is left with a disk on which every
 * request fails, and is asked to let go of it as of any other; until then slot and number are in use.
 *
 * Jobs (vmm/disk_job.h). While a disk has one that runs, nothing else changes its image: that is refused. A disk that goes, by
 * its guest's will or by force, ends its job. A mirroring that has come close enough wakes the main loop, which then lets the
 * disk go over to its new image.
 *
 * Limits belong to groups. A disk without a group's name has one for itself.
 *
 * Main thread only.
 */
#ifndef VMM_DISKS_H
#define VMM_DISKS_H

#include "block/block.h"
#include "board/board.h"
#include "virtio/virtio_blk.h"
#include "vmm/run.h"

struct disks;

struct disk_job_info;

struct disks_ops {
	/* The guest is to be halted, because of a disk. On the main loop. */
	void (*stop)(void *ctx, const char *why);
	/* No vCPU may run between on and off. */
	void (*quiesce)(void *ctx, bool on);
};

struct disk_info {
	const char *path, *format, *group;	/* group: "" for none; until the next call */
	u64 capacity;
	bool readonly, removable;
	bool leaving, gone;	/* the guest was asked to let go of it; and it has no image any more */
	enum block_on_error on_error;
	struct throttle_limits limits;
	struct virtio_blk_stats stats;
};

/* Whether it can be had, without taking or changing it. 0 or -errno. */
int disks_check(const char *spec, struct err *e);
struct disks *disks_create(struct board *board, const struct run_options *o, struct err *e);
/* After the devices are gone with their bus. NULL is fine. */
void disks_destroy(struct disks *d);
void disks_set_ops(struct disks *d, const struct disks_ops *ops, void *ctx);
/* At machine reset, with the guest stopped: disks that were to leave are gone. */
void disks_reset(struct disks *d);

/* Whether the guest has this disk. */
bool disks_has(const struct disks *d, unsigned int n);
/* Whether nothing but disks_info() can be had of this disk of the guest's. */
bool disks_gone(const struct disks *d, unsigned int n);
/* Its file, absolute. */
const char *disks_path(const struct disks *d, unsigned int n);
void disks_info(struct disks *d, unsigned int n, struct disk_info *info);

/* Bytes read from all of them that other guests had in memory. */
u64 disks_unread(const struct disks *d);

/* Whether a disk holds a failed request; why[] says which. */
bool disks_stopped(struct disks *d, char *why, size_t room);
void disks_retry(struct disks *d);

void disks_set_on_error(struct disks *d, unsigned int n, enum block_on_error on_error);
/*
 * New limits for disk n and whoever shares its group. group NULL: the one it is in. "": one for itself. Else that group,
 * whose limits change too, but with limits NULL stay. 0 or -errno.
 */
int disks_set_limits(struct disks *d, unsigned int n, const struct throttle_limits *limits, const char *group, struct err *e);

/* One disk more, whose relative path counts from dir; *n is its number. 0 or -errno. */
int disks_attach(struct disks *d, const char *dir, const char *spec, unsigned int *n, struct err *e);
/* Asks the guest to let go of disk n; with force, its image is closed before that. 0 or -errno. */
int disks_detach(struct disks *d, unsigned int n, bool force, struct err *e);
/* Another medium into drive n; spec NULL: none. 0 or -errno. */
int disks_insert(struct disks *d, unsigned int n, const char *dir, const char *spec, struct err *e);
/* A larger disk n; the guest is told. 0 or -errno. */
int disks_grow(struct disks *d, unsigned int n, u64 size, u64 *pause_ns, struct err *e);
/* Begins to merge an image below disk n (image NULL: its parent) into its own parent; *job is its number. 0 or -errno. */
int disks_coalesce(struct disks *d, unsigned int n, const char *image, unsigned int *job, struct err *e);
/* Begins to mirror disk n to a new image, whose relative path counts from dir; *job is its number. 0 or -errno. */
int disks_mirror(struct disks *d, unsigned int n, const char *dir, const char *target, unsigned int *job, struct err *e);
/* The last job on disk n. False: there was none. */
bool disks_job(struct disks *d, unsigned int n, struct disk_job_info *info);
/* Asks it to end early. */
void disks_job_cancel(struct disks *d, unsigned int n);
/* Ends all of them, before the devices go. */
void disks_jobs_end(struct disks *d);
/* virtio_blk_branch() on count disks, each once. 0 or -errno. */
struct disks_branch {
	unsigned int n;
	const char *child, *snapshot;
};
int disks_branch(struct disks *d, const struct disks_branch *list, unsigned int count, u64 *pause_ns, struct err *e);

#endif
