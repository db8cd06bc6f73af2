// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * lodge snapshot: a snapshot of a running guest's disk.
 *
 * What can be done before is done here, while the guest runs on: the disk's
 * file gets its second name, and the child is made beside it. The guest's
 * process then only changes over. Killed anywhere, this leaves what a killed
 * lodge img snapshot would leave, and the same command goes on.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lodge/lodge.h>
#include <lodge/vhd.h>

#include "cli/cli.h"
#include "cli/img.h"
#include "cli/print.h"
#include "common/size.h"

enum { OPT_DISK = 256, OPT_JSON };

struct job {
	const char *guest, *name;
	char disk[PATH_MAX], snapshot[PATH_MAX];
	u64 number;
	bool json;
};

/* The snapshot's name, absolute; it need not exist. */
static int resolve(struct job *j)
{
	const char *slash = strrchr(j->name, '/'), *base = slash ? slash + 1 : j->name;
	char dir[PATH_MAX], real[PATH_MAX];

	snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - j->name) + 1 : 1, slash ? j->name : ".");
	if (!*base || !realpath(dir, real))
		return print_error("cannot find the directory of '%s'", j->name);
	if (snprintf(j->snapshot, sizeof(j->snapshot), "%s/%s", strcmp(real, "/") ? real : "", base) >= (int)sizeof(j->snapshot))
		return print_error("the name '%.60s...' is too long", j->name);
	return 0;
}

static int change_over(struct job *j, struct img_output *o)
{
	struct vhd_params p = { .type = VHD_DIFF, .parent = j->snapshot, .parent_live = true };
	struct vhd_error err;
	struct lodge_error e;
	uint64_t pause_us;

	if (vhd_create(o->temporary, &p, &err))
		return print_error("%s", err.text);
	if (lodge_snapshot(j->guest, j->number, o->temporary, j->snapshot, &pause_us, &e) < 0)
		return print_failure(&e);
	if (j->json) {
		printf("{\"disk\": ");
		print_json_string(j->disk);
		printf(", \"snapshot\": ");
		print_json_string(j->snapshot);
		printf(", \"pause_us\": %llu}\n", (unsigned long long)pause_us);
	} else {
		printf("'%s' holds the disk as it was; the disk stood still for %.1f ms\n", j->name, pause_us / 1000.0);
	}
	return 0;
}

static int snapshot(struct job *j)
{
	struct lodge_error e;
	struct img_output o;
	bool resumed;
	int ret = resolve(j);

	if (ret)
		return ret;
	if (lodge_disk(j->guest, j->number, j->disk, sizeof(j->disk), &e) < 0)
		return print_failure(&e);
	resumed = img_snapshot_half(j->disk, j->snapshot);
	if (!resumed && !access(j->snapshot, F_OK))
		return print_error("'%s' exists already; choose another name for the snapshot", j->name);
	ret = img_output_begin(&o, j->disk, true);
	if (ret)
		return ret;
	if (o.device)
		return print_error("'%s' is a block device, whose contents cannot get a second name", j->disk);
	if (!resumed && link(j->disk, j->snapshot))
		return print_error("cannot give '%s' the name '%s': %s%s", j->disk, j->name, strerror(errno),
				   errno == EXDEV ? "; a snapshot must lie on the disk's file system" : "");
	ret = change_over(j, &o);
	if (ret) {
		img_output_abort(&o);
		/* While it is the second name of the disk's file, that is; else it is the only one. */
		if (img_snapshot_half(j->disk, j->snapshot))
			unlink(j->snapshot);
	}
	return ret;
}

static int cmd_snapshot(const struct command *c, int argc, char **argv)
{
	struct command_args a;
	struct job j = { 0 };
	struct err e;
	int id;

	command_begin(&a, argc, argv);
	while ((id = command_next(c, &a)) >= 0) {
		if (id == OPT_DISK && number_parse(a.opts.arg, "--disk", 0, 1000, &j.number, &e) < 0)
			return command_bad(&e);
		j.json |= id == OPT_JSON;
	}
	if (id != OPTS_END)
		return command_code(id);
	j.guest = a.word[0];
	j.name = a.word[1];
	return snapshot(&j);
}

const struct command snapshot_command = {
	.name = "snapshot",
	.summary = "keep the present contents of a running guest's disk",
	.operands = "NAME FILE",
	.min = 2,
	.max = 2,
	.kind = OPERAND_GUEST,
	.text = "FILE becomes a read-only image with the present contents of a disk of the guest,\n"
		"as a power cut would leave them; the disk goes on in a child of it, under its own\n"
		"name. Nothing is copied. FILE must lie on the disk's file system.\n",
	.examples = "  lodge snapshot web-1 web-1-monday.vhd\n"
		    "  lodge snapshot --disk 1 web-1 data-monday.vhd\n",
	.opts = (const struct opt[]) {
		{ OPT_DISK, "disk", "NUMBER", "which of the guest's disks, from 0 on (default 0)" },
		{ 'h', "help", NULL, "this text" },
		{ OPT_JSON, "json", NULL, "print what was done as JSON" },
		{ 0 },
	},
	.run = cmd_snapshot,
};
