// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * lodge img coalesce and rebase: making chains shorter, or other ones.
 *
 * Coalesce copies what an image holds itself into its parent. Until that is
 * done, and then until each child has been told of its new parent, the image
 * stays, and hides what changes below it: cut off anywhere, every disk reads
 * as before, and the same command finishes the work.
 *
 * Rebase first copies into the image whatever the old parents show and the
 * new one does not, then changes the parent's name in one step. Until that
 * step the copies are what the old parents show anyway.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lodge/lodge.h>

#include "cli/img.h"
#include "cli/img_copy.h"
#include "cli/img_family.h"
#include "cli/print.h"

#define PIECE	(1u << 20)
#define GRANULE	4096u

struct merge {
	const char *path;
	char parent[4096];
	bool raw;
	struct vhd_info info;
	struct img_paths children;
	uint64_t bytes;		/* of the disk that the image holds itself */
};

static int same_file(const char *a, const char *b)
{
	char x[4096], y[4096];

	return realpath(a, x) && realpath(b, y) && !strcmp(x, y);
}

/* Data of an encrypted image are not to be left in clear where nobody expects that. */
static int stays_secret(const char *from, const char *to, bool to_raw)
{
	bool secret, kept = false;
	int ret = img_encrypted(from, &secret);

	if (!ret && secret && !to_raw)
		ret = img_encrypted(to, &kept);
	if (!ret && secret && !kept)
		ret = print_error("'%s' is encrypted and '%s' is not, which would then hold its data in clear; to have that, convert it", from, to);
	return ret;
}

/* The parent may have no other child, or that would see the merged data. */
static int only_child(const struct merge *m)
{
	struct img_paths siblings;
	unsigned int i;
	int ret;

	if (m->raw)
		return 0;
	ret = img_children(m->parent, &siblings);
	for (i = 0; !ret && i < siblings.n; i++)
		if (!same_file(siblings.path[i], m->path))
			ret = print_error("'%s' is the parent of '%s' too, which would see the merged data; rebase or delete that first",
					  m->parent, siblings.path[i]);
	img_paths_free(&siblings);
	return ret;
}

static int count_own(struct merge *m)
{
	struct vhd_error err;
	struct vhd_run r;
	uint64_t at;
	struct vhd *v;
	int ret = 0;

	if (img_open(m->path, VHD_O_RDONLY | VHD_O_OWN | VHD_O_NOKEY, &v, &err))
		return print_error("%s", err.text);
	for (at = 0; at < vhd_size(v) && !ret; at += r.length) {
		ret = vhd_map(v, at, vhd_size(v) - at, &r);
		if (!ret && !r.depth)
			m->bytes += r.length;
	}
	vhd_close(v);
	return ret ? print_error("cannot read '%s': %s", m->path, strerror(-ret)) : 0;
}

static int grow_parent(const struct merge *m)
{
	unsigned int flags = m->raw ? VHD_O_RAW : VHD_O_INTERNAL;
	struct vhd_error err;
	uint64_t size;
	struct vhd *v;

	if (img_open(m->parent, flags | VHD_O_RDONLY | VHD_O_NOPARENT, &v, &err))
		return print_error("%s", err.text);
	size = vhd_size(v);
	vhd_close(v);
	if (size < m->info.size && vhd_resize(m->parent, m->info.size, 0, flags, &err))
		return print_error("%s", err.text);
	return 0;
}

static int merge_data(const struct merge *m, bool progress, uint64_t *copied)
{
	struct vhd_copy c = { .own = true, .write_zeroes = true };
	struct vhd_error err;
	int ret = grow_parent(m), closed;

	if (ret)
		return ret;
	/* Through the page cache: what a guest or a copy has read of it just now need not come from the disk again. */
	if (img_open(m->path, VHD_O_RDONLY | VHD_O_OWN | VHD_O_BUFFERED, &c.from, &err))
		return print_error("%s", err.text);
	if (img_open(m->parent, m->raw ? VHD_O_RAW : VHD_O_OWN | VHD_O_INTERNAL, &c.to, &err)) {
		vhd_close(c.from);
		return print_error("%s", err.text);
	}
	img_catch_signals();
	ret = img_copy_run(&c, progress);
	closed = vhd_close(c.to);
	vhd_close(c.from);
	ret = ret ? ret : closed;
	*copied = c.copied;
	if (ret == -EINTR)
		return print_error("interrupted; nothing is lost, and the same command goes on");
	return ret ? print_error("cannot merge '%s' into '%s': %s", m->path, m->parent, strerror(-ret)) : 0;
}

/* The children stand on the parent now; what was between goes. */
static int merge_finish(const struct merge *m, bool keep)
{
	struct vhd_error err;
	unsigned int i;

	for (i = 0; i < m->children.n; i++)
		if (vhd_set_parent(m->children.path[i], m->parent, m->raw, &err))
			return print_error("the data are merged, but: %s", err.text);
	if (keep)
		return 0;
	if (unlink(m->path))
		return print_error("the data are merged, but '%s' cannot be deleted: %s", m->path, strerror(errno));
	return m->raw || m->children.n ? 0 : img_parent_release(m->parent, m->path);
}

static int merge_prepare(struct merge *m, bool raw_parent)
{
	int ret = img_parent_of(m->path, raw_parent, m->parent, sizeof(m->parent), &m->info, &m->raw);

	if (!ret)
		ret = stays_secret(m->path, m->parent, m->raw);
	if (!ret)
		ret = only_child(m);
	if (!ret)
		ret = img_children(m->path, &m->children);
	if (!ret && m->info.hidden && !m->children.n)
		ret = print_error("'%s' is marked as a parent, but no child is in its directory; it would be lost. Move it here, or 'lodge img repair --release %s'",
				  m->path, m->path);
	return ret ? ret : count_own(m);
}

static int img_coalesce(const struct command *c, int argc, char **argv)
{
	struct merge m = { 0 };
	struct img_args a;
	uint64_t copied = 0;
	int ret = img_args_take(c, &a, argc, argv);

	if (ret)
		return ret - 1;
	m.path = a.words.word[0];
	ret = merge_prepare(&m, a.raw_parent);
	if (!ret && a.dry)
		printf("would merge %llu bytes of '%s' into '%s', and %u children would stand on that\n",
		       (unsigned long long)m.bytes, m.path, m.parent, m.children.n);
	if (!ret && !a.dry)
		ret = merge_data(&m, a.progress, &copied);
	if (!ret && !a.dry)
		ret = merge_finish(&m, a.keep);
	if (!ret && !a.dry && a.json) {
		printf("{\"merged\": ");
		print_json_string(m.path);
		printf(", \"into\": ");
		print_json_string(m.parent);
		printf(", \"bytes\": %llu, \"written\": %llu, \"children\": %u}\n", (unsigned long long)m.bytes,
		       (unsigned long long)copied, m.children.n);
	}
	img_paths_free(&m.children);
	return ret;
}

const struct command img_coalesce_command = {
	.name = "img coalesce",
	.summary = "merge an image into its parent",
	.operands = "FILE",
	.min = 1,
	.max = 1,
	.kind = OPERAND_FILE,
	.text = "Copies what FILE holds itself into its parent, lets the images that stand on FILE\n"
		"stand on the parent, and deletes FILE. The parent may have no other child. Images in\n"
		"use by a running guest are left alone. Cut off anywhere, nothing is lost, and the same\n"
		"command goes on.\n",
	.examples = "  lodge img coalesce -p disk-monday.vhd\n",
	.opts = (const struct opt[]) {
		{ 'n', "dry-run", NULL, "only say what would be done" },
		{ 'h', "help", NULL, "this text" },
		{ IMG_OPT_JSON, "json", NULL, "print what was done as JSON" },
		IMG_KEY_OPTION,
		{ IMG_OPT_KEEP, "keep", NULL, "do not delete FILE" },
		{ 'p', "progress", NULL, "show progress, speed, and the time left" },
		{ IMG_OPT_RAW_PARENT, "raw-parent", NULL, "allow a parent that is a raw file" },
		{ 0 },
	},
	.run = img_coalesce,
};

struct rebase {
	struct vhd *own, *old, *fresh, *to;	/* fresh NULL: zeros */
	struct vhd_queue *old_q, *fresh_q, *to_q;
	uint8_t *before, *after;
	uint64_t written;
	struct img_progress progress;
};

/* What @v shows; behind its end, or without it, zeros. */
static int show(struct vhd *v, struct vhd_queue *q, uint8_t *buf, uint64_t at, uint64_t length)
{
	uint64_t have = v && at < vhd_size(v) ? vhd_size(v) - at : 0;

	if (have > length)
		have = length;
	memset(buf + have, 0, length - have);
	return have ? vhd_pread(q, buf, have, at) : 0;
}

static int carry(struct rebase *r, uint64_t at, uint64_t length)
{
	uint64_t i, part;
	int ret = show(r->old, r->old_q, r->before, at, length);

	if (!ret)
		ret = show(r->fresh, r->fresh_q, r->after, at, length);
	for (i = 0; i < length && !ret; i += part) {
		part = length - i < GRANULE ? length - i : GRANULE;
		if (!memcmp(r->before + i, r->after + i, part))
			continue;
		ret = vhd_pwrite(r->to_q, r->before + i, part, at + i);
		r->written += part;
	}
	return ret;
}

static int carry_all(struct rebase *r)
{
	uint64_t at, length, size = vhd_size(r->own), end;
	struct vhd_run run;
	int ret = 0;

	for (at = 0; at < size && !ret; at = end) {
		ret = vhd_map(r->own, at, size - at, &run);
		end = at + run.length;
		for (; at < end && !ret && run.depth; at += length) {
			length = end - at < PIECE ? end - at : PIECE;
			ret = img_interrupted() ? -EINTR : carry(r, at, length);
			img_progress_show(&r->progress, at);
		}
	}
	return ret ? ret : vhd_flush(r->to_q);
}

static int rebase_open(struct rebase *r, const char *path, const char *old, bool old_raw, const char *fresh,
		       bool fresh_raw, struct vhd_error *err)
{
	unsigned int below = VHD_O_RDONLY | VHD_O_RAW_PARENT;
	void *a, *b;
	int ret;

	/* The writer first: it makes sure that nobody else is at work. */
	ret = img_open(path, VHD_O_OWN | VHD_O_INTERNAL, &r->to, err);
	if (!ret)
		ret = img_open(path, VHD_O_OWN | VHD_O_RDONLY | VHD_O_NOLOCK, &r->own, err);
	if (!ret)
		ret = img_open(old, below | (old_raw ? VHD_O_RAW : 0), &r->old, err);
	if (!ret && fresh)
		ret = img_open(fresh, below | (fresh_raw ? VHD_O_RAW : 0), &r->fresh, err);
	if (ret)
		return ret;
	r->old_q = vhd_queue_create(r->old, 8);
	r->fresh_q = r->fresh ? vhd_queue_create(r->fresh, 8) : NULL;
	r->to_q = vhd_queue_create(r->to, 16);
	if (!r->old_q || (r->fresh && !r->fresh_q) || !r->to_q || posix_memalign(&a, 4096, PIECE)) {
		err->code = ENOMEM;
		strcpy(err->text, "out of memory");
		return -ENOMEM;
	}
	r->before = a;
	if (posix_memalign(&b, 4096, PIECE)) {
		err->code = ENOMEM;
		strcpy(err->text, "out of memory");
		return -ENOMEM;
	}
	r->after = b;
	return 0;
}

static int rebase_close(struct rebase *r)
{
	int ret;

	vhd_queue_destroy(r->old_q);
	vhd_queue_destroy(r->fresh_q);
	vhd_queue_destroy(r->to_q);
	free(r->before);
	free(r->after);
	vhd_close(r->fresh);
	vhd_close(r->old);
	vhd_close(r->own);
	ret = vhd_close(r->to);
	return ret;
}

/* Copies what would be seen no more; 0, or an exit code after a message. */
static int rebase_data(const char *path, const char *old, bool old_raw, const char *fresh, bool fresh_raw,
		       bool progress, uint64_t *written)
{
	struct vhd_error err;
	struct rebase r = { 0 };
	int ret, closed;

	if (rebase_open(&r, path, old, old_raw, fresh, fresh_raw, &err)) {
		rebase_close(&r);
		return print_error("%s", err.text);
	}
	img_catch_signals();
	img_progress_begin(&r.progress, progress, vhd_size(r.own));
	ret = carry_all(&r);
	img_progress_end(&r.progress, !ret);
	closed = rebase_close(&r);
	*written = r.written;
	if (ret == -EINTR)
		return print_error("interrupted; the image stands on its old parent, and nothing is lost");
	ret = ret ? ret : closed;
	return ret ? print_error("cannot rebase '%s': %s", path, strerror(-ret)) : 0;
}

static int rebase_run(const char *path, const struct img_args *a, const struct img_name *fresh)
{
	uint64_t written = 0;
	struct vhd_info info;
	struct vhd_error err;
	char old[4096] = "";
	bool old_raw = false;
	int ret = 0;

	if (!a->unsafe)
		ret = img_parent_of(path, a->raw_parent, old, sizeof(old), &info, &old_raw);
	if (!ret && a->dry) {
		printf("would let '%s' stand on %s%s\n", path, fresh->path ? fresh->path : "nothing",
		       a->unsafe ? ", whatever it would show then" : "");
		return 0;
	}
	if (!ret && !a->unsafe && !old_raw)
		ret = stays_secret(old, path, false);
	if (!ret && !a->unsafe)
		ret = rebase_data(path, old, old_raw, fresh->path, !fresh->vhd, a->progress, &written);
	if (ret)
		return ret;
	if (vhd_set_parent(path, fresh->path, !fresh->vhd, &err))
		return print_error("%s", err.text);
	if (old[0] && !old_raw && (!fresh->path || !same_file(old, fresh->path)))
		ret = img_parent_release(old, path);
	if (!ret && a->json) {
		printf("{\"path\": ");
		print_json_string(path);
		printf(", \"parent\": ");
		if (fresh->path)
			print_json_string(fresh->path);
		else
			printf("null");
		printf(", \"written\": %llu}\n", (unsigned long long)written);
	}
	return ret;
}

static int img_rebase(const struct command *c, int argc, char **argv)
{
	struct img_name fresh = { NULL, true };
	struct img_args a;
	int ret = img_args_take(c, &a, argc, argv);

	if (ret)
		return ret - 1;
	if (!a.parent == !a.flatten) {
		print_error("lodge img rebase needs either --parent FILE or --flatten");
		return LODGE_EXIT_USAGE;
	}
	if (a.flatten && a.unsafe) {
		print_error("--flatten copies what the parents hold, so it cannot go with --unsafe");
		return LODGE_EXIT_USAGE;
	}
	if (a.parent && img_name_parse(a.parent, NULL, &fresh))
		return LODGE_EXIT_USAGE;
	return rebase_run(a.words.word[0], &a, &fresh);
}

const struct command img_rebase_command = {
	.name = "img rebase",
	.summary = "let an image stand on another parent, or on none",
	.operands = "FILE",
	.min = 1,
	.max = 1,
	.kind = OPERAND_FILE,
	.text = "The contents stay what they are: what the new parent does not show is copied into\n"
		"FILE. With --unsafe only the parent's name is changed, for one that was moved, or\n"
		"copied, or whose id was changed.\n",
	.examples = "  lodge img rebase --parent gold2.vhd guest1.vhd\n"
		    "  lodge img rebase --unsafe --parent /new/place/gold.vhd guest1.vhd\n"
		    "  lodge img rebase -p --flatten guest1.vhd\n",
	.opts = (const struct opt[]) {
		{ 'b', "parent", "FILE", "the new parent; raw unless it is named .vhd" },
		{ 'n', "dry-run", NULL, "only say what would be done" },
		{ IMG_OPT_FLATTEN, "flatten", NULL, "copy everything: no parent at all" },
		{ 'h', "help", NULL, "this text" },
		{ IMG_OPT_JSON, "json", NULL, "print what was done as JSON" },
		IMG_KEY_OPTION,
		{ 'p', "progress", NULL, "show progress, speed, and the time left" },
		{ IMG_OPT_RAW_PARENT, "raw-parent", NULL, "allow an old parent that is a raw file" },
		{ 'u', "unsafe", NULL, "change the name only" },
		{ 0 },
	},
	.run = img_rebase,
};
