// SPDX-License-Identifier: GPL-2.0-or-later
/* lodge disk: the disks of running guests. */
#include "cli/disk.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/print.h"
#include "common/size.h"

enum { OPT_JSON = 256, OPT_ERROR, OPT_IOPS, OPT_BPS, OPT_IOPS_BURST, OPT_BPS_BURST, OPT_GROUP, OPT_NO_GROUP, OPT_FORCE,
       OPT_NO_WAIT, OPT_TIMEOUT };

int disk_number(const char *word, unsigned int *disk)
{
	struct err e = ERR_INIT;
	u64 n;

	if (number_parse(word, "DISK", 0, 1000, &n, &e) < 0)
		return command_bad(&e);
	*disk = n;
	return 0;
}

/* ---- list ---- */

static void print_disk_json(const struct lodge_disk *d)
{
	printf("  { \"disk\": %u, \"path\": ", d->number);
	print_json_string(d->path);
	printf(", \"format\": \"%s\", \"readonly\": %s, \"removable\": %s, \"leaving\": %s,\n"
	       "    \"gone\": %s, \"capacity\": %llu, \"on_error\": \"%s\",\n", d->format, d->readonly ? "true" : "false",
	       d->removable ? "true" : "false", d->leaving ? "true" : "false", d->gone ? "true" : "false",
	       (unsigned long long)d->capacity, d->on_error);
	printf("    \"iops\": %llu, \"iops_burst\": %llu, \"bps\": %llu, \"bps_burst\": %llu, \"group\": ",
	       (unsigned long long)d->iops, (unsigned long long)d->iops_burst, (unsigned long long)d->bps,
	       (unsigned long long)d->bps_burst);
	print_json_string(d->group);
	printf(",\n    \"reads\": %llu, \"read_bytes\": %llu, \"writes\": %llu, \"written_bytes\": %llu, \"flushes\": %llu,\n",
	       (unsigned long long)d->reads, (unsigned long long)d->read_bytes, (unsigned long long)d->writes,
	       (unsigned long long)d->written_bytes, (unsigned long long)d->flushes);
	printf("    \"discards\": %llu, \"errors\": %llu, \"ignored\": %llu, \"throttled\": %llu }",
	       (unsigned long long)d->discards, (unsigned long long)d->errors, (unsigned long long)d->ignored,
	       (unsigned long long)d->throttled);
}

static void print_disk(const struct lodge_disk *d)
{
	printf("%4u %9lluM %-12s %-7s %8llu %8llu %6llu  %s\n", d->number, (unsigned long long)(d->capacity >> 20),
	       d->gone ? "gone" : d->leaving ? "leaving" : d->format, d->on_error, (unsigned long long)d->reads, (unsigned long long)d->writes,
	       (unsigned long long)d->errors, *d->path ? d->path : "(no medium)");
	if (d->iops)
		printf("     at most %llu requests a second", (unsigned long long)d->iops);
	if (d->bps)
		printf("%s%llu bytes a second", d->iops ? ", " : "     at most ", (unsigned long long)d->bps);
	if (d->iops || d->bps)
		printf("%s%s; %llu requests had to wait\n", *d->group ? ", with group " : "", d->group,
		       (unsigned long long)d->throttled);
}

static int cmd_list(const struct command *c, int argc, char **argv)
{
	struct command_args a;
	struct lodge_disk *d;
	struct lodge_error e;
	bool json = false;
	size_t n, i;
	int id;

	command_begin(&a, argc, argv);
	while ((id = command_next(c, &a)) >= 0)
		json = true;
	if (id != OPTS_END)
		return command_code(id);
	if (lodge_disks(a.word[0], &d, &n, &e) < 0)
		return print_failure(&e);
	printf(json ? "[" : "%4s %10s %-12s %-7s %8s %8s %6s  %s\n", "DISK", "SIZE", "FORMAT", "ONERROR", "READS", "WRITES",
	       "ERRORS", "FILE");
	for (i = 0; i < n; i++) {
		if (json) {
			printf("%s\n", i ? "," : "");
			print_disk_json(&d[i]);
		} else {
			print_disk(&d[i]);
		}
	}
	if (json)
		printf("%s]\n", n ? "\n" : "");
	free(d);
	return 0;
}

static const struct command disk_list_command = {
	.name = "disk list",
	.summary = "list a guest's disks, their limits and what they did",
	.operands = "NAME",
	.min = 1,
	.max = 1,
	.kind = OPERAND_GUEST,
	.text = "Lists the disks of a running guest. DISK is the number that the other commands take.\n"
		"FORMAT leaving: the guest was asked to let go of it; gone: it was detached by force,\n"
		"and the guest has not let go of it yet.\n",
	.examples = "  lodge disk list web-1\n  lodge disk list --json web-1\n",
	.opts = (const struct opt[]) {
		{ 'h', "help", NULL, "this text" },
		{ OPT_JSON, "json", NULL, "an array of objects" },
		{ 0 },
	},
	.run = cmd_list,
};

/* ---- set ---- */

static int cmd_set(const struct command *c, int argc, char **argv)
{
	const char *on_error = NULL;
	struct command_args a;
	struct lodge_error e;
	unsigned int disk;
	int id;

	command_begin(&a, argc, argv);
	while ((id = command_next(c, &a)) >= 0)
		on_error = a.opts.arg;
	if (id != OPTS_END)
		return command_code(id);
	if (disk_number(a.word[1], &disk))
		return COMMAND_EXIT_USAGE;
	if (!on_error) {
		struct err why = ERR_INIT;

		err_set(&why, 22, "nothing to set; try: lodge disk set %s %s --error stop", a.word[0], a.word[1]);
		return command_bad(&why);
	}
	return lodge_disk_on_error(a.word[0], disk, on_error, &e) < 0 ? print_failure(&e) : 0;
}

static const struct command disk_set_command = {
	.name = "disk set",
	.summary = "say what is done about a disk's I/O errors",
	.operands = "NAME DISK",
	.min = 2,
	.max = 2,
	.kind = OPERAND_GUEST,
	.text = "Changes what is done, from now on, about requests of disk DISK that fail on the host:\n"
		"report  the guest is told of an I/O error\n"
		"stop    the guest is paused; lodge info says why, lodge resume tries again\n"
		"enospc  stop for want of space, report otherwise (how disks begin)\n"
		"ignore  the guest is told that all went well; what could not be read is zero\n",
	.examples = "  lodge disk set web-1 0 --error stop\n",
	.opts = (const struct opt[]) {
		{ OPT_ERROR, "error", "WHAT", "report, stop, enospc or ignore", "report stop enospc ignore" },
		{ 'h', "help", NULL, "this text" },
		{ 0 },
	},
	.run = cmd_set,
};

/* ---- throttle ---- */

static int take_limit(struct lodge_disk_limits *l, int id, const char *arg)
{
	struct err e = ERR_INIT;
	u64 *limit;

	switch (id) {
	case OPT_IOPS:
		limit = &l->iops;
		break;
	case OPT_IOPS_BURST:
		limit = &l->iops_burst;
		break;
	case OPT_BPS:
		limit = &l->bps;
		break;
	case OPT_BPS_BURST:
		limit = &l->bps_burst;
		break;
	case OPT_GROUP:
		l->group = arg;
		return 0;
	default:
		l->group = "";
		return 0;
	}
	return size_parse(arg, 1, limit, &e) < 0 ? command_bad(&e) : 0;
}

static int cmd_throttle(const struct command *c, int argc, char **argv)
{
	struct lodge_disk_limits l = { 0 };
	struct command_args a;
	struct lodge_error e;
	unsigned int disk;
	int id;

	command_begin(&a, argc, argv);
	while ((id = command_next(c, &a)) >= 0)
		if (take_limit(&l, id, a.opts.arg))
			return COMMAND_EXIT_USAGE;
	if (id != OPTS_END)
		return command_code(id);
	if (disk_number(a.word[1], &disk))
		return COMMAND_EXIT_USAGE;
	return lodge_disk_throttle(a.word[0], disk, &l, &e) < 0 ? print_failure(&e) : 0;
}

static const struct command disk_throttle_command = {
	.name = "disk throttle",
	.summary = "limit a disk's requests and bytes a second",
	.operands = "NAME DISK",
	.min = 2,
	.max = 2,
	.kind = OPERAND_GUEST,
	.text = "Limits disk DISK, from now on, to what the options say; a limit that is not given is\n"
		"lifted. Disks of one group have their limits together. lodge disk list shows them.\n",
	.examples = "  lodge disk throttle web-1 0 --iops 500 --bps 20M\n"
		    "  lodge disk throttle web-1 1 --bps 50M --bps-burst 200M --group slow\n"
		    "  lodge disk throttle web-1 0\n",
	.opts = (const struct opt[]) {
		{ OPT_BPS, "bps", "SIZE", "bytes a second, read and written together" },
		{ OPT_BPS_BURST, "bps-burst", "SIZE", "bytes at once after a rest (default: a tenth of a second's)" },
		{ OPT_GROUP, "group", "GROUP", "share the limits with the guest's disks of this group" },
		{ 'h', "help", NULL, "this text" },
		{ OPT_IOPS, "iops", "N", "requests a second" },
		{ OPT_IOPS_BURST, "iops-burst", "N", "requests at once after a rest (default: a tenth of a second's)" },
		{ OPT_NO_GROUP, "no-group", NULL, "leave the group" },
		{ 0 },
	},
	.run = cmd_throttle,
};

/* ---- attach, detach ---- */

/* A command whose only option is --json: 0, or an exit code + 1. */
static int plain_args(const struct command *c, struct command_args *a, int argc, char **argv, bool *json)
{
	int id;

	*json = false;
	command_begin(a, argc, argv);
	while ((id = command_next(c, a)) >= 0)
		*json = true;
	return id == OPTS_END ? 0 : command_code(id) + 1;
}

static int cmd_attach(const struct command *c, int argc, char **argv)
{
	struct command_args a;
	struct lodge_error e;
	unsigned int disk;
	bool json;
	int code = plain_args(c, &a, argc, argv, &json);

	if (code)
		return code - 1;
	if (lodge_disk_attach(a.word[0], a.word[1], &disk, &e) < 0)
		return print_failure(&e);
	printf(json ? "{\"disk\": %u}\n" : "it is disk %u\n", disk);
	return 0;
}

static const struct command disk_attach_command = {
	.name = "disk attach",
	.summary = "give a running guest one disk more",
	.operands = "NAME SPEC",
	.min = 2,
	.max = 2,
	.kind = OPERAND_GUEST,
	.text = "Attaches a disk, which SPEC names as for lodge run --disk; prints its number.\n"
		"The guest needs ACPI hot-plug of PCI devices, as Linux has.\n",
	.examples = "  lodge disk attach web-1 data.vhd\n  lodge disk attach web-1 raw:/dev/vg/data,iops=500\n",
	.opts = (const struct opt[]) {
		{ 'h', "help", NULL, "this text" },
		{ OPT_JSON, "json", NULL, "an object with the disk's number" },
		{ 0 },
	},
	.run = cmd_attach,
};

static bool has_disk(const char *name, unsigned int disk)
{
	struct lodge_disk *d;
	bool found = false;
	size_t n, i;

	if (lodge_disks(name, &d, &n, NULL) < 0)
		return false;
	for (i = 0; i < n; i++)
		found |= d[i].number == disk;
	free(d);
	return found;
}

static int cmd_detach(const struct command *c, int argc, char **argv)
{
	struct timespec nap = { 0, 100000000 };
	bool force = false, wait = true;
	u64 timeout_s = 30, left;
	struct err why = ERR_INIT;
	struct command_args a;
	struct lodge_error e;
	unsigned int disk;
	int id;

	command_begin(&a, argc, argv);
	while ((id = command_next(c, &a)) >= 0) {
		if (id == OPT_TIMEOUT && number_parse(a.opts.arg, "--timeout", 1, 1000000, &timeout_s, &why) < 0)
			return command_bad(&why);
		force |= id == OPT_FORCE;
		wait &= id != OPT_NO_WAIT;
	}
	if (id != OPTS_END)
		return command_code(id);
	if (disk_number(a.word[1], &disk))
		return COMMAND_EXIT_USAGE;
	if (lodge_disk_detach(a.word[0], disk, force, &e) < 0)
		return print_failure(&e);
	for (left = timeout_s * 10; wait && !force && left && has_disk(a.word[0], disk); left--)
		nanosleep(&nap, NULL);
	if (left)
		return 0;
	return print_error("guest %s has not let go of disk %u in %llu s: it may be in use there; when it lets go later, the disk "
			   "goes then; try: lodge disk detach --force %s %u", a.word[0], disk, (unsigned long long)timeout_s,
			   a.word[0], disk);
}

static const struct command disk_detach_command = {
	.name = "disk detach",
	.summary = "take a disk from a running guest",
	.operands = "NAME DISK",
	.min = 2,
	.max = 2,
	.kind = OPERAND_GUEST,
	.text = "Asks the guest to let go of disk DISK, and waits until it has; unmount it there first.\n"
		"With --force it does not wait: the image is closed at once, and is free for others. The\n"
		"guest has I/O errors until it lets go; lodge disk list calls the disk gone until then.\n",
	.examples = "  lodge disk detach web-1 1\n  lodge disk detach --force web-1 1\n",
	.opts = (const struct opt[]) {
		{ OPT_FORCE, "force", NULL, "take it away at once; the guest loses what it has not flushed" },
		{ 'h', "help", NULL, "this text" },
		{ OPT_NO_WAIT, "no-wait", NULL, "ask and return" },
		{ OPT_TIMEOUT, "timeout", "SECONDS", "how long to wait (default 30)" },
		{ 0 },
	},
	.run = cmd_detach,
};

/* ---- insert, eject ---- */

static int cmd_medium(const struct command *c, int argc, char **argv)
{
	struct command_args a;
	struct lodge_error e;
	unsigned int disk;
	int id;

	command_begin(&a, argc, argv);
	id = command_next(c, &a);
	if (id != OPTS_END)
		return command_code(id);
	if (disk_number(a.word[1], &disk))
		return COMMAND_EXIT_USAGE;
	return lodge_disk_insert(a.word[0], disk, a.word[2], &e) < 0 ? print_failure(&e) : 0;
}

static const struct command disk_insert_command = {
	.name = "disk insert",
	.summary = "put another medium into a drive",
	.operands = "NAME DISK SPEC",
	.min = 3,
	.max = 3,
	.kind = OPERAND_GUEST,
	.text = "Puts a medium, which SPEC names as for lodge run --disk, into drive DISK in place of\n"
		"what is in it. A drive is a disk that was given removable=on; one that was given\n"
		"readonly=on too only reads. The guest should have unmounted the old one.\n",
	.examples = "  lodge run --disk root.vhd --disk removable=on,readonly=on ...\n"
		    "  lodge disk insert web-1 1 debian-12.iso\n",
	.run = cmd_medium,
};

static const struct command disk_eject_command = {
	.name = "disk eject",
	.summary = "take the medium out of a drive",
	.operands = "NAME DISK",
	.min = 2,
	.max = 2,
	.kind = OPERAND_GUEST,
	.text = "Takes the medium out of drive DISK, which is then a disk of no bytes.\n",
	.examples = "  lodge disk eject web-1 1\n",
	.run = cmd_medium,
};

/* ---- resize ---- */

static int cmd_resize(const struct command *c, int argc, char **argv)
{
	struct err why = ERR_INIT;
	struct command_args a;
	struct lodge_error e;
	uint64_t pause_us;
	unsigned int disk;
	bool json;
	u64 size;
	int code = plain_args(c, &a, argc, argv, &json);

	if (code)
		return code - 1;
	if (disk_number(a.word[1], &disk))
		return COMMAND_EXIT_USAGE;
	if (size_parse(a.word[2], 1, &size, &why) < 0)
		return command_bad(&why);
	if (lodge_disk_resize(a.word[0], disk, size, &pause_us, &e) < 0)
		return print_failure(&e);
	if (json)
		printf("{\"disk\": %u, \"size\": %llu, \"pause_us\": %llu}\n", disk, (unsigned long long)size,
		       (unsigned long long)pause_us);
	else
		printf("disk %u has %llu bytes; it stood still for %.1f ms\n", disk, (unsigned long long)size, pause_us / 1000.0);
	return 0;
}

static const struct command disk_resize_command = {
	.name = "disk resize",
	.summary = "make a running guest's disk larger",
	.operands = "NAME DISK SIZE",
	.min = 3,
	.max = 3,
	.kind = OPERAND_GUEST,
	.text = "Makes disk DISK larger: SIZE is what it has then. The guest sees it at once; its\n"
		"partitions and file systems it has to make larger itself.\n",
	.examples = "  lodge disk resize web-1 0 40G\n",
	.opts = (const struct opt[]) {
		{ 'h', "help", NULL, "this text" },
		{ OPT_JSON, "json", NULL, "print what was done as JSON" },
		{ 0 },
	},
	.run = cmd_resize,
};

const struct command disk_command = {
	.name = "disk",
	.summary = "look after the disks of running guests",
	.sub = (const struct command *const[]) {
		&disk_attach_command, &disk_coalesce_command, &disk_detach_command, &disk_eject_command, &disk_insert_command,
		&disk_list_command, &disk_mirror_command, &disk_resize_command, &disk_set_command, &disk_throttle_command, NULL,
	},
};
