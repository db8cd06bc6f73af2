/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A job on a guest's disk, on a thread of its own, while the guest uses the disk: the merging of an image below it into that
 * image's parent, or the mirroring of the disk to a new image, to which it then goes over.
 *
 * Until it has ended nobody else may change the disk's image, and disk and device must stay. Main thread only.
 */
#ifndef VMM_DISK_JOB_H
#define VMM_DISK_JOB_H

#include "block/block.h"
#include "common/err.h"
#include "virtio/virtio_blk.h"

struct disk_job;

enum disk_job_kind { DISK_JOB_COALESCE, DISK_JOB_MIRROR };
extern const char *const disk_job_kinds[];	/* by that number: the command's word */

struct disk_job_info {
	enum disk_job_kind kind;
	unsigned int number;
	bool running;
	bool behind;		/* of a mirroring that runs: the guest writes faster than it copies */
	u64 done, total;	/* bytes of the disk; done can become less while the guest writes */
	/* Of one that has ended, until disk_job_end(): */
	const char *image, *into;	/* the files; "": it did not come so far */
	u64 pause_ns;
	struct err e;		/* code 0: it was done */
};

/* image: its file; NULL: the disk's parent. NULL and *e: it was not begun. */
struct disk_job *disk_job_start(struct virtio_dev *dev, struct block *block, const char *image, unsigned int number,
				struct err *e);
/* dir, target: as for block_mirror_begin(). ready() is called on the job's thread: disk_job_turn() has something to do. */
struct disk_job *disk_job_mirror(struct virtio_dev *dev, struct block *block, const char *dir, const char *target,
				 unsigned int number, void (*ready)(void *ctx), void *ctx, struct err *e);
/* Lets the disk go over, if the job is ready for that, which takes a second or so at most. True: the disk has another image. */
bool disk_job_turn(struct disk_job *j);
enum disk_job_kind disk_job_kind(const struct disk_job *j);
bool disk_job_running(const struct disk_job *j);
void disk_job_info(const struct disk_job *j, struct disk_job_info *info);
/* Asks it to end; it may be too late. */
void disk_job_cancel(struct disk_job *j);
/* Cancels, waits for the end, and frees. NULL is fine. */
void disk_job_end(struct disk_job *j);

#endif
