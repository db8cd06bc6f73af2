// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * lodge img snapshot, clone and delete: growing and pruning a tree of images.
 *
 * A snapshot must leave the disk's name in place at every moment. So the file
 * gets the snapshot's name as a second one (a link), a child that stands on
 * that is made beside it, and the child is renamed over the disk's name: one
 * step, before which nothing but a second name had happened. Killed there, the
 * same command goes on.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lodge/lodge.h>

#include "cli/img.h"
#include "cli/img_family.h"
#include "cli/print.h"

static void say_made(const char *path, const char *parent, bool json)
{
	if (!json)
		return;
	printf("{\"path\": ");
	print_json_string(path);
	printf(", \"parent\": ");
	print_json_string(parent);
	printf("}\n");
}

/* Not in use, and in order once it has been closed. */
static int try_exclusive(const char *path, unsigned int flags)
{
	struct vhd_error err;
	struct vhd *v;

	if (img_open(path, VHD_O_NOPARENT | flags, &v, &err))
		return print_error("%s", err.text);
	if (vhd_close(v))
		return print_error("cannot write to '%s'", path);
	return 0;
}

bool img_snapshot_half(const char *disk, const char *name)
{
	struct stat a, b;

	return !stat(disk, &a) && !stat(name, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino &&
	       a.st_nlink == 2;
}

static int snapshot_make(const char *disk, const char *name, bool resumed, struct img_output *o)
{
	struct vhd_params p = { .type = VHD_DIFF, .parent = name };
	struct vhd_error err;

	if (!resumed && link(disk, name))
		return print_error("cannot give '%s' the name '%s': %s", disk, name, strerror(errno));
	if (!vhd_create(o->temporary, &p, &err)) {
		if (!img_output_commit(o))
			return 0;
	} else {
		print_error("%s", err.text);
	}
	/* Back to where we were. */
	unlink(name);
	vhd_mark_parent(disk, false, NULL);
	return LODGE_EXIT_FAILURE;
}

/* The disk goes on in another file and shows the same: so does its map of changes, if it has one. */
static void map_take(const char *disk, uint8_t **bits, uint8_t backup[16], uint64_t *size)
{
	static const uint8_t null[16];
	struct vhd_error ignored;
	char map[4096];
	struct vhd *v;

	*bits = NULL;
	if (snprintf(map, sizeof(map), "%s.cbt", disk) >= (int)sizeof(map) || access(map, F_OK))
		return;
	if (img_open(disk, VHD_O_RDONLY | VHD_O_NOPARENT, &v, &ignored))
		return;
	*size = vhd_size(v);
	*bits = malloc(vhd_changes_bytes(*size) + 1);
	if (*bits && (vhd_changes(disk, *size, *bits, backup) || !memcmp(backup, null, 16))) {
		free(*bits);
		*bits = NULL;
	}
	vhd_close(v);
}

static int img_snapshot(const struct command *c, int argc, char **argv)
{
	const char *disk, *name;
	struct vhd_error ignored;
	struct img_output o;
	struct img_args a;
	uint8_t backup[16], *bits;
	uint64_t size = 0;
	bool resumed;
	int ret = img_args_take(c, &a, argc, argv);

	if (ret)
		return ret - 1;
	disk = a.words.word[0];
	name = a.words.word[1];
	resumed = img_snapshot_half(disk, name);
	if (!resumed && !access(name, F_OK))
		return print_error("'%s' exists already; choose another name for the snapshot", name);
	ret = try_exclusive(disk, resumed ? VHD_O_INTERNAL : 0);
	if (ret || a.dry) {
		if (!ret)
			printf("would keep the contents of '%s' as '%s', and make '%s' a child of it\n", disk, name, disk);
		return ret;
	}
	ret = img_output_begin(&o, disk, true);
	if (ret)
		return ret;
	map_take(disk, &bits, backup, &size);
	ret = snapshot_make(disk, name, resumed, &o);
	if (ret) {
		img_output_abort(&o);
	} else {
		/* Without it the next backup reads more. */
		if (bits)
			vhd_changes_put(disk, size, bits, backup, &ignored);
		say_made(disk, name, a.json);
	}
	free(bits);
	return ret;
}

const struct command img_snapshot_command = {
	.name = "img snapshot",
	.summary = "keep an image's contents, and go on in a child of it",
	.operands = "DISK NAME",
	.min = 2,
	.max = 2,
	.kind = OPERAND_FILE,
	.text = "NAME becomes a read-only image with the present contents of DISK; DISK becomes a\n"
		"differencing image that stands on it. Nothing is copied. DISK must not be in use.\n",
	.examples = "  lodge img snapshot disk.vhd disk-monday.vhd\n",
	.opts = (const struct opt[]) {
		{ 'n', "dry-run", NULL, "only say what would be done" },
		{ 'h', "help", NULL, "this text" },
		{ IMG_OPT_JSON, "json", NULL, "print what was made as JSON" },
		{ 0 },
	},
	.run = img_snapshot,
};

/* An image that holds nothing itself is passed over, so that chains stay short. */
static int nearest_with_data(char *path, size_t room, bool raw_parent, bool *raw)
{
	struct vhd_error err;
	struct vhd_info info;
	struct vhd *v;
	char parent[4096];
	int depth;

	for (depth = 0; depth < VHD_MAX_CHAIN && !*raw; depth++) {
		if (img_open(path, VHD_O_RDONLY | VHD_O_NOPARENT, &v, &err))
			return print_error("%s", err.text);
		vhd_get_info(v, &info);
		vhd_close(v);
		if (info.type != VHD_DIFF || info.blocks_used || info.encrypted)
			return 0;
		if (img_parent_of(path, raw_parent, parent, sizeof(parent), &info, raw))
			return LODGE_EXIT_FAILURE;
		snprintf(path, room, "%s", parent);
	}
	return 0;
}

static int img_clone(const struct command *c, int argc, char **argv)
{
	struct vhd_params p = { .type = VHD_DIFF };
	struct vhd_error err;
	struct img_output o;
	struct img_args a;
	struct img_name gold;
	char parent[4096];
	int ret = img_args_take(c, &a, argc, argv);

	if (ret)
		return ret - 1;
	if (img_name_parse(a.words.word[0], a.format, &gold))
		return LODGE_EXIT_USAGE;
	p.parent_raw = !gold.vhd;
	snprintf(parent, sizeof(parent), "%s", gold.path);
	ret = nearest_with_data(parent, sizeof(parent), a.raw_parent || p.parent_raw, &p.parent_raw);
	if (ret)
		return ret;
	p.parent = parent;
	if (a.dry) {
		printf("would make '%s', a child of '%s'\n", a.words.word[1], parent);
		return 0;
	}
	ret = img_output_begin(&o, a.words.word[1], a.force);
	if (ret)
		return ret;
	if (vhd_create(o.temporary, &p, &err)) {
		img_output_abort(&o);
		return print_error("%s", err.text);
	}
	ret = img_output_commit(&o);
	if (!ret)
		say_made(a.words.word[1], parent, a.json);
	return ret;
}

const struct command img_clone_command = {
	.name = "img clone",
	.summary = "make a new disk that starts as a copy of another",
	.operands = "GOLD FILE",
	.min = 2,
	.max = 2,
	.kind = OPERAND_FILE,
	.text = "FILE becomes a differencing image with the contents of GOLD, of which nothing is\n"
		"copied. GOLD is read-only from then on; it may be a raw file, which nothing guards.\n",
	.examples = "  lodge img clone debian.vhd guest1.vhd\n",
	.opts = (const struct opt[]) {
		{ 'n', "dry-run", NULL, "only say what would be done" },
		{ IMG_OPT_FORCE, "force", NULL, "replace an existing file" },
		{ 'f', "format", "FORMAT", "of GOLD: raw or vhd (default: by its name)", "raw vhd" },
		{ 'h', "help", NULL, "this text" },
		{ IMG_OPT_JSON, "json", NULL, "print what was made as JSON" },
		{ IMG_OPT_RAW_PARENT, "raw-parent", NULL, "allow a chain that stands on a raw file" },
		{ 0 },
	},
	.run = img_clone,
};

static int may_delete(const char *path, const struct img_args *a, struct vhd_info *info)
{
	struct img_paths children;
	struct vhd_error err;
	struct vhd *v;
	int ret = img_children(path, &children);

	if (!ret && children.n)
		ret = print_error("'%s' is the parent of '%s'%s; delete or rebase that first", path, children.path[0],
				  children.n > 1 ? " and others" : "");
	img_paths_free(&children);
	if (ret)
		return ret;
	/* Nobody may be using it. */
	if (img_open(path, VHD_O_NOPARENT | VHD_O_INTERNAL, &v, &err))
		return print_error("%s", err.text);
	vhd_get_info(v, info);
	vhd_close(v);
	if (info->hidden && !a->force)
		return print_error("'%s' is marked as a parent, though no child is in its directory; --force deletes it nevertheless",
				   path);
	return 0;
}

static int img_delete(const struct command *c, int argc, char **argv)
{
	const char *path;
	struct vhd_info info;
	struct img_args a;
	struct vhd_error ignored;
	char parent[4096] = "", map[4096];
	bool raw = false;
	struct vhd *v;
	int ret = img_args_take(c, &a, argc, argv);

	if (ret)
		return ret - 1;
	path = a.words.word[0];
	ret = may_delete(path, &a, &info);
	if (ret)
		return ret;
	/* A parent that is gone needs no release. */
	if (info.type == VHD_DIFF && !img_open(path, VHD_O_RDONLY | VHD_O_RAW_PARENT | VHD_O_NOKEY, &v, &ignored)) {
		static const uint8_t null[16];

		raw = !memcmp(info.parent_uuid, null, 16);
		snprintf(parent, sizeof(parent), "%s", vhd_chain_path(v, 1));
		vhd_close(v);
	}
	if (a.dry) {
		printf("would delete '%s'\n", path);
		return 0;
	}
	if (unlink(path))
		return print_error("cannot delete '%s': %s", path, strerror(errno));
	/* Its map of changes would be of nothing. */
	if (snprintf(map, sizeof(map), "%s.cbt", path) < (int)sizeof(map))
		unlink(map);
	if (a.json) {
		printf("{\"deleted\": ");
		print_json_string(path);
		printf("}\n");
	}
	return parent[0] && !raw ? img_parent_release(parent, path) : 0;
}

const struct command img_delete_command = {
	.name = "img delete",
	.summary = "delete an image on which no other stands",
	.operands = "FILE",
	.min = 1,
	.max = 1,
	.kind = OPERAND_FILE,
	.text = "Deletes a VHD image that is not in use and is no other's parent. If it was the last\n"
		"child of its parent in their directory, that can be written to again.\n",
	.examples = "  lodge img delete guest1.vhd\n",
	.opts = (const struct opt[]) {
		{ 'n', "dry-run", NULL, "only say what would be done" },
		{ IMG_OPT_FORCE, "force", NULL, "also one that is marked as a parent, if no child is seen" },
		{ 'h', "help", NULL, "this text" },
		{ IMG_OPT_JSON, "json", NULL, "print what was deleted as JSON" },
		{ 0 },
	},
	.run = img_delete,
};
