// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Jobs on running guests' disks, as those who wait for them see them.
 *
 * The guest's process does the work, whether we are here or not; we ask it every now and then. A signal cancels, and we wait for
 * the end nevertheless: only then the images are what we say.
 */
#include "cli/disk_work.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/img.h"
#include "cli/img_progress.h"
#include "cli/print.h"

#define PATIENCE_S	2	/* without a word of progress */
#define ASK_FIRST_MS	10
#define ASK_MS		200

struct watch {
	const struct disk_work *work;
	struct img_progress progress;
	time_t start;
	bool shown, cancelled, told;
};

static time_t seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

/* One answer has come, of a job that runs. */
static void look(struct watch *s, const struct lodge_disk_job *job)
{
	const struct disk_work *w = s->work;

	if (!s->shown && seconds() - s->start >= PATIENCE_S) {
		img_progress_begin(&s->progress, true, job->total);
		s->shown = true;
	}
	if (s->shown)
		img_progress_show(&s->progress, job->done);
	if (job->behind && !s->told) {
		s->told = true;
		print_error("the guest writes faster than its disk is copied, and %s goes on until it writes less; to slow it down: "
			    "lodge disk throttle %s %u", w->what, w->guest, w->disk);
	}
	if (img_interrupted() && !s->cancelled)
		s->cancelled = !lodge_disk_cancel(w->guest, w->disk, NULL);
}

int disk_work_wait(const struct disk_work *w, struct lodge_disk_job *job)
{
	struct watch s = { .work = w, .start = seconds() };
	long ms = ASK_FIRST_MS;
	struct lodge_error e;

	for (;;) {
		struct timespec nap = { 0, ms * 1000000 };

		nanosleep(&nap, NULL);
		ms = 2 * ms < ASK_MS ? 2 * ms : ASK_MS;
		if (lodge_disk_job(w->guest, w->disk, job, &e) < 0) {
			if (s.shown)
				img_progress_end(&s.progress, false);
			print_failure(&e);
			return print_error("how far %s came is not known; %s", w->what, w->safe);
		}
		if (job->number != w->job)
			return print_error("another job has begun on disk %u; how this one ended is not known any more", w->disk);
		if (strcmp(job->state, "running"))
			break;
		look(&s, job);
	}
	if (s.shown)
		img_progress_end(&s.progress, !strcmp(job->state, "done"));
	return 0;
}

int disk_work_cancel(const struct disk_work *w)
{
	struct lodge_disk_job job;
	struct lodge_error e;

	if (lodge_disk_job(w->guest, w->disk, &job, &e) < 0)
		return print_failure(&e);
	if (strcmp(job.state, "running") || strcmp(job.kind, w->kind))
		return print_error("%s %u", w->idle, w->disk);
	return lodge_disk_cancel(w->guest, w->disk, &e) < 0 ? print_failure(&e) : 0;
}
