// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * lodge snapshot: a snapshot of a running guest's disk, or of several at the
 * same moment.
 *
 * What can be done before is done here, while the guest runs on: each disk's
 * file gets its second name, and the child is made beside it. The guest's
 * process then only changes over, all disks in one pause. Until it has begun
 * that, whatever fails takes the names and the children away again.
 *
 * Killed anywhere, this leaves what a killed lodge img snapshot would leave,
 * and the same command goes on. A guest that dies while the names change can
 * leave some disks with their snapshot and others before it. All of them are of
 * the one moment, for nothing has been written since; so what was begun is not
 * undone then but told of: lodge img snapshot finishes it. The same holds while
 * it is not known what the guest's process does: a second name that is removed
 * may be the only one by now.
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

enum { OPT_ALL = 256, OPT_DISK, OPT_JSON };

struct part {
	u64 number;
	const char *name;		/* the snapshot's as given; NULL: made from --all's suffix */
	char disk[PATH_MAX], snapshot[PATH_MAX];
	struct img_output child;
	bool resumed;
};

struct job {
	const char *guest, *suffix;
	struct part *part;
	size_t count;
	bool together;			/* the form for several disks */
	bool json;
};

static struct part *add_part(struct job *j)
{
	struct part *more = realloc(j->part, (j->count + 1) * sizeof(*more));

	if (!more) {
		print_error("out of memory");
		return NULL;
	}
	j->part = more;
	memset(&more[j->count], 0, sizeof(*more));
	return &more[j->count++];
}

/* ---- which disks, which names ---- */

/* The snapshot's name, absolute; it need not exist. */
static int resolve(struct part *p)
{
	const char *slash = strrchr(p->name, '/'), *base = slash ? slash + 1 : p->name;
	char dir[PATH_MAX], real[PATH_MAX];

	snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - p->name) + 1 : 1, slash ? p->name : ".");
	if (!*base || !realpath(dir, real))
		return print_error("cannot find the directory of '%s'", p->name);
	if (snprintf(p->snapshot, sizeof(p->snapshot), "%s/%s", strcmp(real, "/") ? real : "", base) >= (int)sizeof(p->snapshot))
		return print_error("the name '%.60s...' is too long", p->name);
	return 0;
}

/* Beside the disk: the suffix goes before the last dot. */
static int derive(struct part *p, const char *suffix)
{
	const char *base = strrchr(p->disk, '/') + 1, *dot = strrchr(base, '.');
	int stem = dot && dot > base ? dot - p->disk : (int)strlen(p->disk);

	if (snprintf(p->snapshot, sizeof(p->snapshot), "%.*s-%s%s", stem, p->disk, suffix, p->disk + stem) >=
	    (int)sizeof(p->snapshot))
		return print_error("the name for the snapshot of '%.60s...' is too long", p->disk);
	return 0;
}

static int take_disk(struct part *p, const struct lodge_disk *d)
{
	if (!*d->path)
		return print_error("disk %u is a drive without a medium", d->number);
	if (!strcmp(d->format, "raw"))
		return print_error("disk %u, '%s', is raw and cannot be snapshotted; convert it into a VHD image first", d->number,
				   d->path);
	if (d->readonly)
		return print_error("disk %u, '%s', is read-only: a snapshot would hold the same", d->number, d->path);
	snprintf(p->disk, sizeof(p->disk), "%s", d->path);
	return p->name ? resolve(p) : 0;
}

/* All that the guest writes to. */
static int take_all(struct job *j, const struct lodge_disk *d, size_t n)
{
	struct part *p;
	size_t i;
	int ret = 0;

	for (i = 0; i < n && !ret; i++) {
		if (d[i].readonly || !*d[i].path)
			continue;
		p = add_part(j);
		if (!p)
			return LODGE_EXIT_FAILURE;
		p->number = d[i].number;
		ret = take_disk(p, &d[i]);
		if (!ret)
			ret = derive(p, j->suffix);
	}
	return !ret && !j->count ? print_error("guest %s has no disk that it writes to", j->guest) : ret;
}

static int take_given(struct job *j, const struct lodge_disk *d, size_t n)
{
	size_t i, k;
	int ret = 0;

	for (i = 0; i < j->count && !ret; i++) {
		for (k = 0; k < n && d[k].number != j->part[i].number; k++)
			;
		if (k == n)
			return print_error("the guest has no disk of this number, %llu; try: lodge disk list %s",
					   (unsigned long long)j->part[i].number, j->guest);
		ret = take_disk(&j->part[i], &d[k]);
	}
	return ret;
}

static int find_disks(struct job *j)
{
	struct lodge_disk *d;
	struct lodge_error e;
	size_t n;
	int ret;

	if (lodge_disks(j->guest, &d, &n, &e) < 0)
		return print_failure(&e);
	ret = j->suffix ? take_all(j, d, n) : take_given(j, d, n);
	free(d);
	return ret;
}

/* What an earlier try has left of the others stands in the way of nobody but its user. */
static void tell_of_halves(const struct job *j)
{
	size_t i;

	for (i = 0; i < j->count; i++)
		if (img_snapshot_half(j->part[i].disk, j->part[i].snapshot))
			print_error("'%s' is a second name of disk %llu, '%s', which a snapshot that was cut off has left; it holds "
				    "nothing else and may be removed", j->part[i].snapshot,
				    (unsigned long long)j->part[i].number, j->part[i].disk);
}

/* Nothing has been done yet. */
static int look(struct job *j)
{
	struct part *p;
	size_t i, k;

	for (i = 0; i < j->count; i++) {
		p = &j->part[i];
		for (k = 0; k < i; k++) {
			if (j->part[k].number == p->number)
				return print_error("disk %llu is given twice", (unsigned long long)p->number);
			if (!strcmp(j->part[k].snapshot, p->snapshot))
				return print_error("'%s' is to be the snapshot of two disks", p->snapshot);
		}
		p->resumed = img_snapshot_half(p->disk, p->snapshot);
		if (p->resumed || access(p->snapshot, F_OK))
			continue;
		print_error("'%s' exists already; choose another name for the snapshot", p->name ? p->name : p->snapshot);
		tell_of_halves(j);
		return LODGE_EXIT_FAILURE;
	}
	return 0;
}

/* ---- doing and undoing ---- */

static int prepare(struct part *p)
{
	struct vhd_params params = { .type = VHD_DIFF, .parent = p->snapshot, .parent_live = true };
	struct vhd_error err;

	if (img_output_begin(&p->child, p->disk, true))
		return LODGE_EXIT_FAILURE;
	if (p->child.device)
		return print_error("'%s' is a block device, whose contents cannot get a second name", p->disk);
	if (!p->resumed && link(p->disk, p->snapshot))
		return print_error("cannot give '%s' the name '%s': %s%s", p->disk, p->snapshot, strerror(errno),
				   errno == EXDEV ? "; a snapshot must lie on the disk's file system" : "");
	return vhd_create(p->child.temporary, &params, &err) ? print_error("%s", err.text) : 0;
}

/* The first n parts; nobody uses what was made for them. */
static void undo(struct job *j, size_t n, bool links)
{
	while (n--) {
		struct part *p = &j->part[n];

		img_output_abort(&p->child);
		/* While it is the second name of the disk's file, that is; else it is the only one. */
		if (links && img_snapshot_half(p->disk, p->snapshot))
			unlink(p->snapshot);
	}
}

/* The guest's process has not done it, as far as it tells. */
static int failed(struct job *j, const struct lodge_error *e)
{
	size_t i, half = 0;

	print_failure(e);
	if (e->code == ETIMEDOUT)
		return print_error("it may still take the %s; nothing was undone. The same command goes on when it answers again, "
				   "or tells that it was done", j->count > 1 ? "snapshots" : "snapshot");
	for (i = 0; i < j->count; i++)
		half += img_snapshot_half(j->part[i].disk, j->part[i].snapshot);
	undo(j, j->count, half == j->count);
	if (!half)
		return print_error("the %s taken nevertheless", j->count > 1 ? "snapshots were" : "snapshot was");
	for (i = 0; i < j->count && half < j->count; i++)
		if (img_snapshot_half(j->part[i].disk, j->part[i].snapshot))
			print_error("it was cut off half-way, before disk %llu; finish it before the guest is started again: "
				    "lodge img snapshot %s %s", (unsigned long long)j->part[i].number, j->part[i].disk,
				    j->part[i].snapshot);
	return LODGE_EXIT_FAILURE;
}

static void say_json(const struct job *j, uint64_t pause_us)
{
	const struct part *p;

	if (j->together)
		printf("{\"disks\": [");
	for (p = j->part; p < j->part + j->count; p++) {
		printf("%s{", p == j->part ? "" : ", ");
		if (j->together)
			printf("\"number\": %llu, ", (unsigned long long)p->number);
		printf("\"disk\": ");
		print_json_string(p->disk);
		printf(", \"snapshot\": ");
		print_json_string(p->snapshot);
		if (j->together)
			printf("}");
	}
	printf("%s, \"pause_us\": %llu}\n", j->together ? "]" : "", (unsigned long long)pause_us);
}

static void say(const struct job *j, uint64_t pause_us)
{
	const struct part *p;

	if (!j->together)
		printf("'%s' holds the disk as it was; ", j->part->name);
	for (p = j->part; j->together && p < j->part + j->count; p++)
		printf("'%s' holds disk %llu as it was\n", p->name ? p->name : p->snapshot, (unsigned long long)p->number);
	printf("the disk%s stood still%s for %.1f ms\n", j->count > 1 ? "s" : "", j->count > 1 ? " together" : "",
	       pause_us / 1000.0);
}

static int change_over(struct job *j)
{
	struct lodge_branch *list = calloc(j->count, sizeof(*list));
	struct lodge_error e;
	uint64_t pause_us;
	size_t i;
	int r;

	if (!list) {
		undo(j, j->count, true);
		return print_error("out of memory");
	}
	for (i = 0; i < j->count; i++)
		list[i] = (struct lodge_branch){ j->part[i].number, j->part[i].child.temporary, j->part[i].snapshot };
	r = lodge_snapshots(j->guest, list, j->count, &pause_us, &e);
	free(list);
	if (r < 0)
		return failed(j, &e);
	if (j->json)
		say_json(j, pause_us);
	else
		say(j, pause_us);
	return 0;
}

static int snapshot(struct job *j)
{
	size_t i;
	int ret = find_disks(j);

	if (!ret)
		ret = look(j);
	if (ret)
		return ret;
	for (i = 0; i < j->count && !ret; i++)
		ret = prepare(&j->part[i]);
	if (!ret)
		return change_over(j);
	undo(j, i, true);
	return ret;
}

/* ---- the command line ---- */

/* --disk NUMBER, or NUMBER=FILE. */
static int add_disk(struct job *j, const char *arg)
{
	const char *equals = strchr(arg, '=');
	struct err e = ERR_INIT;
	struct part *p;
	char number[24];

	snprintf(number, sizeof(number), "%.*s", equals ? (int)(equals - arg) : (int)strlen(arg), arg);
	p = add_part(j);
	if (!p)
		return LODGE_EXIT_FAILURE;
	if (number_parse(number, "--disk", 0, 1000, &p->number, &e) < 0)
		return command_bad(&e);
	if (!equals)
		return 0;
	p->name = equals + 1;
	j->together = true;
	if (*p->name)
		return 0;
	err_set(&e, EINVAL, "--disk %s names no file for the snapshot", arg);
	return command_bad(&e);
}

static int take_option(struct job *j, int id, const char *arg)
{
	struct err e = ERR_INIT;

	switch (id) {
	case OPT_DISK:
		return add_disk(j, arg);
	case OPT_ALL:
		j->suffix = arg;
		j->together = true;
		if (*arg && !strchr(arg, '/'))
			return 0;
		err_set(&e, EINVAL, "--all takes what is added to each disk's name, without a '/'");
		return command_bad(&e);
	default:
		j->json = true;
		return 0;
	}
}

/* Either NAME FILE and at most one --disk NUMBER, or NAME with --disk NUMBER=FILE..., or NAME with --all. */
static int check_form(struct job *j, const char *file)
{
	struct err e = ERR_INIT;
	size_t i, named = 0;

	for (i = 0; i < j->count; i++)
		named += !!j->part[i].name;
	if (!j->suffix && !named && file) {
		if (!j->count && !add_part(j))
			return LODGE_EXIT_FAILURE;
		j->part[0].name = file;
		if (j->count == 1)
			return 0;
		err_set(&e, EINVAL, "for several disks, give each its file: --disk NUMBER=FILE");
	} else if (file) {
		err_set(&e, EINVAL, "'%s' is one file too many: --disk NUMBER=FILE and --all name the snapshots", file);
	} else if (j->suffix && j->count) {
		err_set(&e, EINVAL, "--all and --disk exclude each other");
	} else if (j->suffix || (named && named == j->count)) {
		return 0;
	} else {
		err_set(&e, EINVAL, "a FILE for the snapshot is missing; try: lodge snapshot --help");
	}
	return command_bad(&e);
}

static int cmd_snapshot(const struct command *c, int argc, char **argv)
{
	struct command_args a;
	struct job j = { 0 };
	int id, ret = 0;

	command_begin(&a, argc, argv);
	while (!ret && (id = command_next(c, &a)) >= 0)
		ret = take_option(&j, id, a.opts.arg);
	if (!ret && id != OPTS_END) {
		free(j.part);
		return command_code(id);
	}
	j.guest = a.word[0];
	if (!ret)
		ret = check_form(&j, a.words > 1 ? a.word[1] : NULL);
	if (!ret)
		ret = snapshot(&j);
	free(j.part);
	return ret;
}

const struct command snapshot_command = {
	.name = "snapshot",
	.summary = "keep the present contents of a running guest's disks",
	.operands = "NAME [FILE]",
	.min = 1,
	.max = 2,
	.kind = OPERAND_GUEST,
	.text = "FILE becomes a read-only image with the present contents of a disk of the guest,\n"
		"as a power cut would leave them; the disk goes on in a child of it, under its own\n"
		"name. Nothing is copied. FILE must lie on the disk's file system.\n"
		"With --disk NUMBER=FILE, once for each disk, or with --all, several disks are kept\n"
		"as they were at the same moment; if that fails for one, nothing is done to any.\n",
	.examples = "  lodge snapshot web-1 web-1-monday.vhd\n"
		    "  lodge snapshot --disk 1 web-1 data-monday.vhd\n"
		    "  lodge snapshot web-1 --disk 0=root-monday.vhd --disk 1=data-monday.vhd\n"
		    "  lodge snapshot --all monday web-1\n",
	.opts = (const struct opt[]) {
		{ OPT_ALL, "all", "SUFFIX", "all disks that the guest writes to; DISK.vhd is kept as DISK-SUFFIX.vhd" },
		{ OPT_DISK, "disk", "NUMBER[=FILE]", "which of the guest's disks, from 0 on (default 0); with =FILE repeatable" },
		{ 'h', "help", NULL, "this text" },
		{ OPT_JSON, "json", NULL, "print what was done as JSON" },
		{ 0 },
	},
	.run = cmd_snapshot,
};
