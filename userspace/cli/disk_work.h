/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Waiting for a job on a running guest's disk. */
#ifndef CLI_DISK_WORK_H
#define CLI_DISK_WORK_H

#include <lodge/lodge.h>

struct disk_work {
	const char *guest;
	unsigned int disk;
	unsigned int job;	/* its number */
	const char *kind;	/* as in struct lodge_disk_job */
	const char *what;	/* what goes on: "the merging" */
	const char *safe;	/* what is true wherever it ended */
	const char *idle;	/* why there is nothing to be cancelled, with the disk's number to follow */
};

/* Until the job has ended, a signal having cancelled it or not; 0, or an exit code after a message. */
int disk_work_wait(const struct disk_work *w, struct lodge_disk_job *job);
/* 0, or an exit code after a message. */
int disk_work_cancel(const struct disk_work *w);

#endif
