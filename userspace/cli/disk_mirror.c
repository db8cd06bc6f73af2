// SPDX-License-Identifier: GPL-2.0-or-later
/* lodge disk mirror: moving a running guest's disk to another image. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
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
		printf("disk %u is '%s' now, and '%s' is as it was at that moment; the disk stood still for %.1f ms\n", w->disk, job->into,
		       job->image, job->pause_us / 1000.0);
		return 0;
	}
	printf("{\"disk\": %u, \"was\": ", w->disk);
	print_json_string(job->image);
	printf(", \"is\": ");
	print_json_string(job->into);
	printf(", \"pause_us\": %llu}\n", (unsigned long long)job->pause_us);
	return 0;
}

static int mirror(struct disk_work *w, const char *target, bool json)
{
	struct lodge_disk_job job;
	struct lodge_error e;
	int ret;

	img_catch_signals();
	if (lodge_disk_mirror(w->guest, w->disk, target, &w->job, &e) < 0)
		return print_failure(&e);
	ret = disk_work_wait(w, &job);
	return ret ? ret : tell(w, &job, json);
}

static int cmd_mirror(const struct command *c, int argc, char **argv)
{
	struct disk_work w = {
		.kind = "mirror", .what = "the mirroring",
		.safe = "if the target is there it is complete, and holds what the guest wrote last",
		.idle = "there is no mirroring of disk",
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
	if (ends != (a.words == 2)) {
		struct err e = ERR_INIT;

		err_set(&e, EINVAL, ends ? "--cancel takes no TARGET: a disk has one such job at a time" :
					   "a TARGET for the disk is missing; try: lodge disk mirror --help");
		return command_bad(&e);
	}
	return ends ? disk_work_cancel(&w) : mirror(&w, a.word[2], json);
}

const struct command disk_mirror_command = {
	.name = "disk mirror",
	.summary = "move a running guest's disk to another image",
	.operands = "NAME DISK [TARGET]",
	.min = 2,
	.max = 3,
	.kind = OPERAND_GUEST,
	.text = "Copies all that disk DISK shows, with what is below it, into the new image TARGET, while\n"
		"the guest uses the disk, and lets the disk go on there. The disk stands still for a\n"
		"moment at the end; its old image stays as it was then. TARGET is PATH, raw:PATH, vhd:PATH,\n"
		"or path=PATH with the options format, cache, discard and key, as for lodge run --disk.\n"
		"It is there when it is complete; cancelled or cut off before, the disk is what it was.\n",
	.examples = "  lodge disk mirror web-1 0 /fast/web-1.vhd\n  lodge disk mirror web-1 0 raw:/fast/web-1.img\n"
		    "  lodge disk mirror --cancel web-1 0\n",
	.opts = (const struct opt[]) {
		{ OPT_CANCEL, "cancel", NULL, "end the mirroring of the disk" },
		{ 'h', "help", NULL, "this text" },
		{ OPT_JSON, "json", NULL, "print what was done as JSON" },
		{ 0 },
	},
	.run = cmd_mirror,
};
