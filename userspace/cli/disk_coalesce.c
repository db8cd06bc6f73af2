// SPDX-License-Identifier: GPL-2.0-or-later
/* lodge disk coalesce: merging an image below a running guest's disk. */
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/disk.h"
#include "cli/disk_work.h"
#include "cli/img.h"
#include "cli/print.h"

enum { OPT_JSON = 256, OPT_CANCEL };

static int tell(const struct disk_work *w, const struct lodge_disk_job *job, bool json)
{
	if (strcmp(job->state, "done"))
		return print_failure(&job->error);
	if (!json) {
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

static int merge(struct disk_work *w, const char *file, bool json)
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
	ret = disk_work_wait(w, &job);
	return ret ? ret : tell(w, &job, json);
}

static int cmd_coalesce(const struct command *c, int argc, char **argv)
{
	struct disk_work w = {
		.kind = "coalesce", .what = "the merging", .safe = "at any point nothing is lost",
		.idle = "nothing is being merged below disk",
	};
	bool ends = false, json = false;
	struct command_args a;
	int id;

	command_begin(&a, argc, argv);
	while ((id = command_next(c, &a)) >= 0) {
		json |= id == OPT_JSON;
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
	return ends ? disk_work_cancel(&w) : merge(&w, a.words > 2 ? a.word[2] : NULL, json);
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
