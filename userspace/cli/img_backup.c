// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * lodge img backup: a copy of a disk, or of what has changed since one.
 *
 * A full backup is a dynamic image. An incremental one is a differencing
 * image whose parent is the backup before it, so the last of a row shows the
 * whole disk, and anything that reads images restores it: convert, clone, a
 * guest. To drop old ones, coalesce.
 *
 * What has changed is told by the map of changes beside the disk, which a
 * backup starts, if it is of the right backup and to be trusted; else the
 * whole disk is read. Either way only what differs from the last backup is
 * written, so the map saves reading, and is never what rightness depends on
 * but for this: that it does not tell too little. The map is renewed when the
 * backup is complete under its own name; cut off before, the next one reads
 * a little more.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lodge/lodge.h>

#include "cli/img.h"
#include "cli/img_copy.h"
#include "cli/print.h"

#define PIECE	(1u << 20)
#define GRANULE	4096u

struct backup {
	struct img_name disk;
	const char *target, *last;	/* last NULL: a full one */
	struct vhd *from, *before, *to;
	struct vhd_queue *from_q, *before_q, *to_q;
	uint8_t *now, *then, *bits;
	uint8_t id[16];
	uint64_t size, read, written;
	bool by_map;
	struct img_progress progress;
};

static int id_of(const char *path, struct vhd_info *info)
{
	struct vhd_error err;
	struct vhd *v;

	if (img_open(path, VHD_O_RDONLY | VHD_O_NOLOCK | VHD_O_NOPARENT, &v, &err))
		return print_error("%s", err.text);
	vhd_get_info(v, info);
	vhd_close(v);
	return 0;
}

static bool may_differ(const struct backup *b, uint64_t at)
{
	uint64_t n = at / VHD_TRACK_GRANULE;

	return b->bits[n >> 3] & 0x80u >> (n & 7);
}

static int before_read(struct backup *b, uint64_t at, uint64_t length)
{
	uint64_t have = at < vhd_size(b->before) ? vhd_size(b->before) - at : 0;

	if (have > length)
		have = length;
	memset(b->then + have, 0, length - have);
	return have ? vhd_pread(b->before_q, b->then, have, at) : 0;
}

/* Writes what differs in one piece. */
static int piece(struct backup *b, uint64_t at, uint64_t length)
{
	int ret = vhd_pread(b->from_q, b->now, length, at);
	uint64_t i = 0, from;

	b->read += length;
	if (!ret)
		ret = before_read(b, at, length);
	while (i < length && !ret) {
		uint64_t part = length - i < GRANULE ? length - i : GRANULE;

		if (!memcmp(b->now + i, b->then + i, part)) {
			i += part;
			continue;
		}
		for (from = i; i < length && memcmp(b->now + i, b->then + i, part); i += part)
			part = length - i < GRANULE ? length - i : GRANULE;
		if (i > length)
			i = length;
		ret = vhd_pwrite(b->to_q, b->now + from, i - from, at + from);
		b->written += i - from;
	}
	return ret;
}

static int changed(struct backup *b)
{
	uint64_t at, length;
	int ret = 0;

	for (at = 0; at < b->size && !ret; at += length) {
		for (length = 0; at + length < b->size && length < PIECE && may_differ(b, at + length);)
			length += VHD_TRACK_GRANULE;
		if (!length) {
			length = VHD_TRACK_GRANULE;
			continue;
		}
		if (length > b->size - at)
			length = b->size - at;
		ret = img_interrupted() ? -EINTR : piece(b, at, length);
		img_progress_show(&b->progress, at);
	}
	return ret ? ret : vhd_flush(b->to_q);
}

static int no_memory(void)
{
	return print_error("out of memory");
}

static int open_before(struct backup *b)
{
	uint8_t told[16];
	struct vhd_info info;
	struct vhd_error err;
	void *memory;
	int ret;

	if (img_open(b->last, VHD_O_RDONLY, &b->before, &err))
		return print_error("%s", err.text);
	vhd_get_info(b->before, &info);
	if (info.size > b->size)
		return print_error("the disk is smaller than in '%s'; make a full backup", b->last);
	b->bits = malloc(vhd_changes_bytes(b->size) + 1);
	if (!b->bits || posix_memalign(&memory, 4096, 2 * PIECE))
		return no_memory();
	b->now = memory;
	b->then = b->now + PIECE;
	ret = vhd_changes(b->disk.path, b->size, b->bits, told);
	if (ret)
		return print_error("cannot read the map of changes of '%s': %s", b->disk.path, strerror(-ret));
	b->by_map = !memcmp(told, info.uuid, 16);
	if (!b->by_map)
		memset(b->bits, 0xff, vhd_changes_bytes(b->size));
	return 0;
}

static int write_changes(struct backup *b, const char *path, bool progress)
{
	struct vhd_error err;
	int ret, closed;

	if (img_open(path, 0, &b->to, &err))
		return print_error("%s", err.text);
	b->from_q = vhd_queue_create(b->from, 16);
	b->before_q = vhd_queue_create(b->before, 16);
	b->to_q = vhd_queue_create(b->to, 16);
	if (!b->from_q || !b->before_q || !b->to_q)
		ret = -ENOMEM;
	else
		ret = 0;
	img_progress_begin(&b->progress, progress, b->size);
	if (!ret)
		ret = changed(b);
	img_progress_end(&b->progress, !ret);
	vhd_queue_destroy(b->from_q);
	vhd_queue_destroy(b->before_q);
	vhd_queue_destroy(b->to_q);
	closed = vhd_close(b->to);
	ret = ret ? ret : closed;
	if (ret == -EINTR)
		return print_error("interrupted; nothing was left behind");
	return ret ? print_error("cannot back up '%s': %s", b->disk.path, strerror(-ret)) : 0;
}

static int write_all(struct backup *b, const char *path, bool progress)
{
	struct vhd_copy c = { .from = b->from };
	struct vhd_error err;
	int ret, closed;

	if (img_open(path, 0, &c.to, &err))
		return print_error("%s", err.text);
	ret = img_copy_run(&c, progress);
	closed = vhd_close(c.to);
	ret = ret ? ret : closed;
	b->written = c.copied;
	b->read = c.copied;
	if (ret == -EINTR)
		return print_error("interrupted; nothing was left behind");
	return ret ? print_error("cannot back up '%s': %s", b->disk.path, strerror(-ret)) : 0;
}

static int make(struct backup *b, const struct img_args *a)
{
	struct vhd_params p = { .type = b->last ? VHD_DIFF : VHD_DYNAMIC, .size = b->size, .parent = b->last,
				.keys = a->target_key };
	struct vhd_info info;
	struct vhd_error err;
	struct img_output o;
	int ret;

	vhd_get_info(b->from, &info);
	/* What is encrypted stays so; a child takes it from its parent. */
	if (info.encrypted && !b->last && !p.keys)
		p.keys = img_keys();
	ret = img_output_begin(&o, b->target, a->force);
	if (ret)
		return ret;
	if (o.device)
		return print_error("'%s' is a device; a backup is a file", b->target);
	ret = vhd_create(o.temporary, &p, &err) ? print_error("%s", err.text) : 0;
	if (!ret)
		ret = b->last ? write_changes(b, o.temporary, a->progress) : write_all(b, o.temporary, a->progress);
	if (!ret)
		ret = id_of(o.temporary, &info);
	memcpy(b->id, info.uuid, 16);
	if (ret)
		img_output_abort(&o);
	else
		ret = img_output_commit(&o);
	return ret;
}

static int run(struct backup *b, const struct img_args *a)
{
	struct vhd_error err;
	bool secret = false, kept = true;
	int ret;

	/* Read-locked until the map is renewed, so that nobody writes between. */
	if (img_open(b->disk.path, VHD_O_RDONLY | img_open_flags(&b->disk) | (a->raw_parent ? VHD_O_RAW_PARENT : 0), &b->from, &err))
		return print_error("%s", err.text);
	b->size = vhd_size(b->from);
	ret = b->last ? open_before(b) : 0;
	if (!ret && b->last && b->disk.vhd) {
		ret = img_encrypted(b->disk.path, &secret);
		if (!ret)
			ret = img_encrypted(b->last, &kept);
	}
	if (!ret && secret && !kept && !a->target_key)
		ret = print_error("'%s' is encrypted and '%s' is not; make a full backup, or name a --target-key", b->disk.path, b->last);
	if (!ret && a->dry)
		printf("would back up '%s' to '%s'%s\n", b->disk.path, b->target,
		       !b->last ? "" : b->by_map ? ", reading what has changed" : ", reading all of it");
	if (!ret && !a->dry) {
		ret = make(b, a);
		if (!ret && vhd_changes_put(b->disk.path, b->size, NULL, b->id, &err))
			ret = print_error("the backup is complete, but the next one will have to read the whole disk: %s", err.text);
	}
	vhd_close(b->before);
	vhd_close(b->from);
	free(b->now);
	free(b->bits);
	return ret;
}

static int img_backup(const struct command *c, int argc, char **argv)
{
	struct backup b = { 0 };
	struct img_args a;
	int ret = img_args_take(c, &a, argc, argv);

	if (ret)
		return ret - 1;
	if (img_name_parse(a.words.word[0], a.format, &b.disk))
		return LODGE_EXIT_USAGE;
	b.target = a.words.word[1];
	b.last = a.parent;
	ret = run(&b, &a);
	if (ret || a.dry)
		return ret;
	if (a.json) {
		printf("{\"path\": ");
		print_json_string(b.target);
		printf(", \"read\": %llu, \"written\": %llu, \"by_map\": %s}\n", (unsigned long long)b.read,
		       (unsigned long long)b.written, b.by_map ? "true" : "false");
	} else if (b.last && !b.by_map) {
		printf("What has changed since '%s' was not known: the whole disk was read.\n", b.last);
	}
	return 0;
}

const struct command img_backup_command = {
	.name = "img backup",
	.summary = "back a disk up, wholly or what has changed",
	.operands = "DISK FILE",
	.min = 2,
	.max = 2,
	.kind = OPERAND_FILE,
	.text = "Without --parent FILE becomes a full copy of DISK. With it FILE holds what has changed\n"
		"since the backup that it names, and shows the whole disk as long as that is there. From\n"
		"the first backup on, a map of changes is kept beside the disk (DISK.cbt); where it cannot\n"
		"be trusted, as after a crash, the whole disk is read, and still only changes are written.\n"
		"To restore, convert or clone the last backup. DISK must not be in use: of a running\n"
		"guest's, take a lodge snapshot and back that up.\n",
	.examples = "  lodge img backup disk.vhd /backup/sunday.vhd\n"
		    "  lodge img backup --parent /backup/sunday.vhd disk.vhd /backup/monday.vhd\n"
		    "  lodge img convert /backup/monday.vhd restored.vhd\n",
	.opts = (const struct opt[]) {
		{ 'b', "parent", "FILE", "only what has changed since this backup" },
		{ 'n', "dry-run", NULL, "only say what would be done" },
		{ IMG_OPT_FORCE, "force", NULL, "replace an existing FILE" },
		{ 'f', "format", "FORMAT", "of DISK: raw or vhd (default: by its name)", "raw vhd" },
		{ 'h', "help", NULL, "this text" },
		{ IMG_OPT_JSON, "json", NULL, "print what was done as JSON" },
		IMG_KEY_OPTION,
		{ 'p', "progress", NULL, "show progress, speed, and the time left" },
		{ IMG_OPT_RAW_PARENT, "raw-parent", NULL, "allow a disk that stands on a raw file" },
		IMG_TARGET_KEY_OPTION,
		{ 0 },
	},
	.run = img_backup,
};
