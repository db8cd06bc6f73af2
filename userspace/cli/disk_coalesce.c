// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * lodge disk coalesce: merging an image below a running guest's disk.
 *
 * The guest's process does it, whether we are here or not; we ask it every now and then. A signal cancels, and we wait for the
 * end nevertheless: only then the images are what we say.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/disk.h"
#include "cli/img.h"
#include "cli/img_progress.h"
#include "cli/print.h"

enum { OPT_JSON = 256, OPT_CANCEL };

#define PATIENCE_S	2	/* without a word of progress */
#define ASK_FIRST_MS	10
#define ASK_MS		200

struct work {
	const char *guest;
	unsigned int disk;
	unsigned int job;		/* its number */
	struct img_progress progress;
	bool json;
};

static time_t seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

/* Until the job has ended; 0, or an exit code after a message. */
static int wait_for_end(struct work *w, struct lodge_disk_job *job)
{
	bool cancelled = false, shown = false;
	time_t start = seconds();
	long ms = ASK_FIRST_MS;
	struct lodge_error e;

	for (;;) {
		struct timespec nap = { 0, ms * 1000000 };

		nanosleep(&nap, NULL);
		ms = 2 * ms < ASK_MS ? 2 * ms : ASK_MS;
		if (lodge_disk_job(w->guest, w->disk, job, &e) < 0) {
			if (shown)
				img_progress_end(&w->progress, false);
			print_failure(&e);
			return print_error("how far the merging came is not known; at any point nothing is lost");
		}
		if (job->number != w->job)
			return print_error("another job has begun on disk %u; how this one ended is not known any more", w->disk);
		if (strcmp(job->state, "running"))
			break;
		if (!shown && seconds() - start >= PATIENCE_S) {
			img_progress_begin(&w->progress, true, job->total);
			shown = true;
		}
		if (shown)
			img_progress_show(&w->progress, job->done);
		if (img_interrupted() && !cancelled)
			cancelled = !lodge_disk_cancel(w->guest, w->disk, NULL);
	}
	if (shown)
		img_progress_end(&w->progress, !strcmp(job->state, "done"));
	return 0;
}

static int tell(const struct work *w, const struct lodge_disk_job *job)
{
	if (strcmp(job->state, "done"))
		return print_failure(&job->error);
	if (!w->json) {
		printf("'%s' was merged into '%s'; the disk stood still for %.1f ms\n", job->image, job->into, job->pause_us / 1000.0);
		return 0;
	}
	printf("{\"disk\": %u, \"merged\": ", w->disk);
	print_json_string(job->image);
	printf(", \"into\": ");
	print_json_string(job->into);
	printf(", \"pause_us\": %llu}\n", (unsigned long long)job->pause_us);
	return 0;
}

static int merge(struct work *w, const char *file)
{
	char image[PATH_MAX];
	struct lodge_disk_job job;
	struct lodge_error e;
	int ret;

	if (file && !realpath(file, image))
		return print_error("cannot find '%s': %s", file, strerror(errno));
	img_catch_signals();
	if (lodge_disk_coalesce(w->guest, w->disk, file ? image : NULL, &w->job, &e) < 0)
		return print_failure(&e);
	ret = wait_for_end(w, &job);
	return ret ? ret : tell(w, &job);
}

static int cancel(const struct work *w)
{
	struct lodge_disk_job job;
	struct lodge_error e;

	if (lodge_disk_job(w->guest, w->disk, &job, &e) < 0)
		return print_failure(&e);
	if (strcmp(job.state, "running"))
		return print_error("nothing is being merged below disk %u", w->disk);
	return lodge_disk_cancel(w->guest, w->disk, &e) < 0 ? print_failure(&e) : 0;
}

static int cmd_coalesce(const struct command *c, int argc, char **argv)
{
	struct work w = { 0 };
	struct command_args a;
	bool ends = false;
	int id;

	command_begin(&a, argc, argv);
	while ((id = command_next(c, &a)) >= 0) {
		w.json |= id == OPT_JSON;
		ends |= id == OPT_CANCEL;
	}
	if (id != OPTS_END)
		return command_code(id);
	w.guest = a.word[0];
	if (disk_number(a.word[1], &w.disk))
		return COMMAND_EXIT_USAGE;
	if (ends && a.words > 2) {
		struct err e = ERR_INIT;

		err_set(&e, EINVAL, "--cancel takes no FILE: a disk has one such job at a time");
		return command_bad(&e);
	}
	return ends ? cancel(&w) : merge(&w, a.words > 2 ? a.word[2] : NULL);
}

const struct command disk_coalesce_command = {
	.name = "disk coalesce",
	.summary = "merge an image below a running guest's disk into its parent",
	.operands = "NAME DISK [FILE]",
	.min = 2,
	.max = 3,
	.kind = OPERAND_GUEST,
	.text = "Merges FILE, an image below disk DISK, or without FILE the disk's parent, into its own\n"
		"parent, and deletes it, while the guest uses the disk. So the snapshots of a disk go,\n"
		"one after the other. Neither FILE nor its parent may have another child or reader. Cut\n"
		"off or cancelled, nothing is lost, and the same command goes on.\n",
	.examples = "  lodge disk coalesce web-1 0\n  lodge disk coalesce web-1 0 web-1-monday.vhd\n"
		    "  lodge disk coalesce --cancel web-1 0\n",
	.opts = (const struct opt[]) {
		{ OPT_CANCEL, "cancel", NULL, "end the merging that goes on below the disk" },
		{ 'h', "help", NULL, "this text" },
		{ OPT_JSON, "json", NULL, "print what was done as JSON" },
		{ 0 },
	},
	.run = cmd_coalesce,
};
