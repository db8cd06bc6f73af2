// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * lodge img convert: a copy in another format, which appears when it is
 * complete or not at all.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <lodge/lodge.h>

#include "cli/img.h"
#include "cli/img_copy.h"
#include "cli/img_foreign.h"
#include "cli/print.h"
#include "common/size.h"

enum { OPT_BLOCK = 256, OPT_FORCE, OPT_JSON, OPT_RAW_PARENT };

struct job {
	struct img_name from, to;
	struct vhd_params params;
	bool force, json, progress, raw_parent;
	const char *foreign_from, *foreign_to;	/* qemu-img's formats; NULL: ours */
	struct vhd_keys *target_key;	/* NULL: the target is not encrypted */
	bool same;			/* keep the source's kind: lodge img copy */
};

static int convert_into(struct job *j, struct vhd_copy *c, struct img_output *o)
{
	struct vhd_error err;
	int ret, closed;

	j->params.keep = true;
	j->params.keys = j->target_key;
	if (vhd_create(o->temporary, &j->params, &err))
		return print_error("%s", err.text);
	if (vhd_open_keys(o->temporary, j->params.type == VHD_RAW ? VHD_O_RAW : 0, j->params.keys, &c->to, &err))
		return print_error("%s", err.text);
	/* A new file reads as zeros, and so do blocks that a table does not name. */
	c->write_zeroes = o->device && j->params.type != VHD_DYNAMIC;
	ret = img_copy_run(c, j->progress);
	closed = vhd_close(c->to);
	ret = ret ? ret : closed;
	if (ret == -EINTR)
		return print_error("interrupted; nothing was left behind");
	if (ret)
		return print_error("cannot convert '%s' to '%s': %s", j->from.path, j->to.path,
				   strerror(-ret));
	return 0;
}

static int convert(struct job *j)
{
	struct vhd_copy c = { 0 };
	struct vhd_error err;
	struct img_output o;
	int ret;

	if (img_open(j->from.path, VHD_O_RDONLY | img_open_flags(&j->from) |
		     (j->raw_parent ? VHD_O_RAW_PARENT : 0), &c.from, &err))
		return print_error("%s", err.text);
	j->params.size = vhd_size(c.from);
	if (j->same) {
		struct vhd_info info;

		vhd_get_info(c.from, &info);
		/* What was encrypted stays so. */
		if (info.encrypted && !j->target_key)
			j->target_key = img_keys();
		j->params.type = info.type == VHD_DIFF ? VHD_DYNAMIC : info.type;
		j->params.block_size = info.block_size;
	}
	ret = img_output_begin(&o, j->to.path, j->force);
	if (!ret) {
		ret = convert_into(j, &c, &o);
		if (ret)
			img_output_abort(&o);
		else
			ret = img_output_commit(&o);
	}
	vhd_close(c.from);
	if (!ret && j->json) {
		printf("{\"path\": ");
		print_json_string(j->to.path);
		printf(", \"format\": \"%s\", \"size\": %llu, \"copied\": %llu}\n",
		       vhd_type_name(j->params.type), (unsigned long long)j->params.size,
		       (unsigned long long)c.copied);
	}
	return ret;
}

/*
 * With qemu-img at one end, or both: a raw file stands between, beside the target, and has no name any more
 * when we are done.
 */
static int convert_foreign(struct job *j)
{
	struct job inner = *j;
	struct img_output o, raw;
	char name[4096];
	int ret = img_output_begin(&o, j->to.path, j->force);

	if (ret)
		return ret;
	if (o.device)
		return print_error("'%s' is a device; write raw or VHD to it", j->to.path);
	snprintf(name, sizeof(name), "%.4080s.raw", o.temporary);
	ret = img_output_begin(&raw, name, true);
	if (ret)
		return ret;
	if (j->foreign_from) {
		ret = img_foreign_read(j->from.path, j->foreign_from, raw.path, j->progress);
		inner.from = (struct img_name){ raw.path, false };
	}
	if (!ret && j->foreign_to) {
		inner.to = (struct img_name){ raw.path, false };
		inner.params.type = VHD_RAW;
		inner.json = false;
		inner.force = true;
		if (!j->foreign_from)
			ret = convert(&inner);
		if (!ret)
			ret = img_foreign_write(raw.path, o.temporary, j->foreign_to, j->progress);
		ret = ret ? ret : img_output_commit(&o);
		if (ret)
			img_output_abort(&o);
	} else if (!ret) {
		ret = convert(&inner);
	}
	unlink(raw.path);
	if (!ret && j->foreign_to && j->json) {
		printf("{\"path\": ");
		print_json_string(j->to.path);
		printf(", \"format\": \"%s\"}\n", j->foreign_to);
	}
	return ret;
}

static int img_convert(const struct command *c, int argc, char **argv)
{
	const char *format = NULL, *output = NULL, *type = NULL;
	struct command_args a;
	struct job j = { 0 };
	struct err e;
	int id;

	command_begin(&a, argc, argv);
	while ((id = command_next(c, &a)) >= 0) {
		switch (id) {
		case OPT_BLOCK:
			if (img_block_parse(a.opts.arg, &j.params.block_size, &e))
				return command_bad(&e);
			break;
		case OPT_FORCE:
			j.force = true;
			break;
		case 'f':
			format = a.opts.arg;
			break;
		case OPT_JSON:
			j.json = true;
			break;
		case IMG_OPT_KEY:
			if (img_key_add(a.opts.arg))
				return LODGE_EXIT_FAILURE;
			break;
		case IMG_OPT_TARGET_KEY:
			if (img_target_key_add(a.opts.arg, &j.target_key))
				return LODGE_EXIT_FAILURE;
			break;
		case 'O':
			output = a.opts.arg;
			break;
		case 'p':
			j.progress = true;
			break;
		case OPT_RAW_PARENT:
			j.raw_parent = true;
			break;
		case 't':
			type = a.opts.arg;
			break;
		}
	}
	if (id != OPTS_END)
		return command_code(id);
	j.foreign_from = img_foreign_format(a.word[0], format, &j.from.path);
	j.foreign_to = img_foreign_format(a.word[1], output, &j.to.path);
	if ((!j.foreign_from && img_name_parse(a.word[0], format, &j.from)) ||
	    (!j.foreign_to && img_name_parse(a.word[1], output, &j.to)))
		return LODGE_EXIT_USAGE;
	if (j.foreign_to && (type || j.params.block_size || j.target_key)) {
		print_error("--type, --block-size and --target-key are for VHD targets");
		return LODGE_EXIT_USAGE;
	}
	if (img_type_parse(type, j.to.vhd, &j.params.type))
		return LODGE_EXIT_USAGE;
	return j.foreign_from || j.foreign_to ? convert_foreign(&j) : convert(&j);
}

const struct command img_convert_command = {
	.name = "img convert",
	.summary = "copy an image into another format",
	.operands = "SOURCE TARGET",
	.min = 2,
	.max = 2,
	.kind = OPERAND_FILE,
	.text = "Copies a disk image into another format. Holes and zeros take no space in the\n"
		"target. The target appears when it is complete, or not at all. qcow2, VMDK and VHDX\n"
		"images are read and written by qemu-img, with a raw file between, for which there\n"
		"must be space beside the target.\n",
	.examples = "  lodge img convert disk.raw disk.vhd\n"
		    "  lodge img convert cloud.qcow2 disk.vhd\n"
		    "  lodge img convert -p --type fixed disk.vhd azure.vhd\n"
		    "  lodge img convert guest.vhd /dev/vg0/guest\n",
	.opts = (const struct opt[]) {
		{ OPT_BLOCK, "block-size", "SIZE", "block of a dynamic target (default 2M)" },
		{ OPT_FORCE, "force", NULL, "replace an existing target" },
		{ 'f', "format", "FORMAT", "source: raw, vhd, qcow2, vmdk, vhdx (default: by its name)", "raw vhd qcow2 vmdk vhdx" },
		{ 'h', "help", NULL, "this text" },
		{ OPT_JSON, "json", NULL, "print what was done as JSON" },
		IMG_KEY_OPTION,
		{ 'O', "output-format", "FORMAT", "target: raw, vhd, qcow2, vmdk, vhdx (default: by its name)", "raw vhd qcow2 vmdk vhdx" },
		{ 'p', "progress", NULL, "show progress, speed, and the time left" },
		{ OPT_RAW_PARENT, "raw-parent", NULL, "allow a source that stands on a raw file" },
		IMG_TARGET_KEY_OPTION,
		{ 't', "type", "TYPE", "target: fixed or dynamic (default dynamic)", "fixed dynamic" },
		{ 0 },
	},
	.run = img_convert,
};

static int img_copy(const struct command *c, int argc, char **argv)
{
	struct job j = { .same = true };
	struct img_args a;
	int ret = img_args_take(c, &a, argc, argv);

	if (ret)
		return ret - 1;
	if (img_name_parse(a.words.word[0], a.format, &j.from))
		return LODGE_EXIT_USAGE;
	j.to = (struct img_name){ a.words.word[1], j.from.vhd };
	j.force = a.force;
	j.json = a.json;
	j.progress = a.progress;
	j.raw_parent = a.raw_parent;
	j.target_key = a.target_key;
	return convert(&j);
}

const struct command img_copy_command = {
	.name = "img copy",
	.summary = "copy an image, keeping its kind",
	.operands = "SOURCE TARGET",
	.min = 2,
	.max = 2,
	.kind = OPERAND_FILE,
	.text = "Copies a disk image into one of the same kind, without what was freed in it. A copy of\n"
		"a differencing image stands alone, and that of an encrypted one has the first --key, if\n"
		"not one of its own. The target appears when it is complete, or not at\n"
		"all.\n",
	.examples = "  lodge img copy -p disk.vhd backup.vhd\n",
	.opts = (const struct opt[]) {
		{ IMG_OPT_FORCE, "force", NULL, "replace an existing target" },
		{ 'f', "format", "FORMAT", "raw or vhd (default: by the source's name)", "raw vhd" },
		{ 'h', "help", NULL, "this text" },
		{ IMG_OPT_JSON, "json", NULL, "print what was done as JSON" },
		IMG_KEY_OPTION,
		{ 'p', "progress", NULL, "show progress, speed, and the time left" },
		{ IMG_OPT_RAW_PARENT, "raw-parent", NULL, "allow a source that stands on a raw file" },
		IMG_TARGET_KEY_OPTION,
		{ 0 },
	},
	.run = img_copy,
};
