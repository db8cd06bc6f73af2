/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A job on a guest's disk: the merging of an image below it into that image's parent, on a thread of its own, while the guest
 * uses the disk.
 *
 * Until it has ended nobody else may change the disk's image, and disk and device must stay. Main thread only.
 */
#ifndef VMM_DISK_JOB_H
#define VMM_DISK_JOB_H

#include "block/block.h"
#include "common/err.h"
#include "virtio/virtio_blk.h"

struct disk_job;

struct disk_job_info {
	unsigned int number;
	bool running;
	u64 done, total;	/* bytes of the disk */
	/* Of one that has ended, until disk_job_end(): */
	const char *image, *into;	/* the files; "": it did not come so far */
	u64 pause_ns;
	struct err e;		/* code 0: it was done */
};

/* image: its file; NULL: the disk's parent. NULL and *e: it was not begun. */
struct disk_job *disk_job_start(struct virtio_dev *dev, struct block *block, const char *image, unsigned int number,
				struct err *e);
bool disk_job_running(const struct disk_job *j);
void disk_job_info(const struct disk_job *j, struct disk_job_info *info);
/* Asks it to end; it may be too late. */
void disk_job_cancel(struct disk_job *j);
/* Cancels, waits for the end, and frees. NULL is fine. */
void disk_job_end(struct disk_job *j);

#endif
