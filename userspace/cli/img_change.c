// SPDX-License-Identifier: GPL-2.0-or-later
/* lodge img resize and repair. */
#include <stdio.h>
#include <string.h>

#include <lodge/lodge.h>

#include "cli/img.h"
#include "cli/print.h"
#include "common/size.h"

static int size_now(const struct img_name *name, uint64_t *size)
{
	struct vhd_error err;
	struct vhd *v;

	if (img_open(name->path, VHD_O_RDONLY | VHD_O_NOPARENT | img_open_flags(name), &v, &err))
		return print_error("%s", err.text);
	*size = vhd_size(v);
	vhd_close(v);
	return 0;
}

static int img_resize(const struct command *c, int argc, char **argv)
{
	struct vhd_error err;
	struct img_name name;
	struct img_args a;
	const char *word;
	u64 size, old = 0;
	struct err e;
	int ret = img_args_take(c, &a, argc, argv);

	if (ret)
		return ret - 1;
	word = a.words.word[1];
	if (size_parse(word + (*word == '+'), 1, &size, &e))
		return command_bad(&e);
	if (img_name_parse(a.words.word[0], a.format, &name))
		return LODGE_EXIT_USAGE;
	ret = size_now(&name, &old);
	if (ret)
		return ret;
	if (*word == '+')
		size += old;
	if (a.dry) {
		printf("would change the size of '%s' from %llu to %llu bytes\n", name.path, (unsigned long long)old,
		       (unsigned long long)size);
		return 0;
	}
	if (vhd_resize(name.path, size, a.shrink ? VHD_RESIZE_SHRINK : 0, img_open_flags(&name), &err))
		return print_error("%s", err.text);
	if (a.json) {
		printf("{\"path\": ");
		print_json_string(name.path);
		printf(", \"old_size\": %llu, \"size\": %llu}\n", (unsigned long long)old, (unsigned long long)size);
	}
	return 0;
}

const struct command img_resize_command = {
	.name = "img resize",
	.summary = "make a disk larger or smaller",
	.operands = "FILE [+]SIZE",
	.min = 2,
	.max = 2,
	.kind = OPERAND_FILE,
	.text = "Gives the disk SIZE bytes, or adds as many; suffixes K M G T. New space is zero. The\n"
		"image must not be in use, nor have children. Partitions and file systems in it are\n"
		"the guest's business.\n",
	.examples = "  lodge img resize disk.vhd 40G\n  lodge img resize disk.vhd +10G\n",
	.opts = (const struct opt[]) {
		{ 'n', "dry-run", NULL, "only say what would be done" },
		{ 'f', "format", "FORMAT", "raw or vhd (default: by the file's name)", "raw vhd" },
		{ 'h', "help", NULL, "this text" },
		{ IMG_OPT_JSON, "json", NULL, "print what was done as JSON" },
		{ IMG_OPT_SHRINK, "shrink", NULL, "allow a smaller size; what lies behind it is lost" },
		{ 0 },
	},
	.run = img_resize,
};

static void tell(void *opaque, enum vhd_severity severity, const char *text)
{
	(void)opaque;
	if (severity != VHD_NOTE)
		printf("found: %s\n", text);
}

static int img_repair(const struct command *c, int argc, char **argv)
{
	struct vhd_check before = { 0 }, after = { 0 };
	struct vhd_error err;
	struct img_args a;
	const char *path;
	int ret = img_args_take(c, &a, argc, argv);

	if (ret)
		return ret - 1;
	path = a.words.word[0];
	before.found = a.json ? NULL : tell;
	if (vhd_check(path, &before, &err))
		return print_error("%s", err.text);
	if (a.dry)
		return before.corruptions ? IMG_EXIT_CORRUPT : before.leaks ? IMG_EXIT_LEAK : 0;
	if (vhd_repair(path, &err))
		return print_error("%s", err.text);
	if (a.release && vhd_mark_parent(path, false, &err))
		return print_error("%s", err.text);
	if (vhd_check(path, &after, &err))
		return print_error("%s", err.text);
	if (a.json)
		printf("{\"corruptions_before\": %llu, \"leaks_before\": %llu, \"corruptions\": %llu, \"leaks\": %llu}\n",
		       (unsigned long long)before.corruptions, (unsigned long long)before.leaks,
		       (unsigned long long)after.corruptions, (unsigned long long)after.leaks);
	else
		printf(after.corruptions || after.leaks ? "%s: not all of it could be repaired\n" : "%s: in order\n", path);
	return after.corruptions ? IMG_EXIT_CORRUPT : after.leaks ? IMG_EXIT_LEAK : 0;
}

const struct command img_repair_command = {
	.name = "img repair",
	.summary = "put right what a crash or an old tool has left",
	.operands = "FILE",
	.min = 1,
	.max = 1,
	.kind = OPERAND_FILE,
	.text = "Writes lost or damaged footers anew, completes or drops a change that was cut off,\n"
		"and cuts off what belongs to no block. No data are touched. With --release an image\n"
		"that has no children any more can be written to again; one that was overlooked will\n"
		"refuse to open, until it is rebased. Exit codes are those of check, afterwards.\n",
	.examples = "  lodge img repair disk.vhd\n",
	.opts = (const struct opt[]) {
		{ 'n', "dry-run", NULL, "only say what was found" },
		{ 'h', "help", NULL, "this text" },
		{ IMG_OPT_JSON, "json", NULL, "print the findings before and after as JSON" },
		{ IMG_OPT_RELEASE, "release", NULL, "say that no image stands on it any more" },
		{ 0 },
	},
	.run = img_repair,
};
