// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * lodge img map, compare and tree: looking at contents and chains.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <lodge/lodge.h>

#include "cli/img.h"
#include "cli/img_progress.h"
#include "cli/print.h"

#define PIECE	(1u << 20)

static int open_to_read(const char *word, const char *format, bool raw_parent, unsigned int flags, struct vhd **v)
{
	struct vhd_error err;
	struct img_name name;

	if (img_name_parse(word, format, &name))
		return LODGE_EXIT_USAGE;
	if (img_open(name.path, VHD_O_RDONLY | flags | img_open_flags(&name) | (raw_parent ? VHD_O_RAW_PARENT : 0),
		     v, &err))
		return print_error("%s", err.text);
	return 0;
}

static void map_line(const struct vhd *v, uint64_t at, const struct vhd_run *r, bool json, bool first)
{
	const char *path = vhd_chain_path(v, r->depth);

	if (json) {
		printf("%s\n  {\"start\": %llu, \"length\": %llu, \"data\": %s, \"depth\": %u", first ? "" : ",",
		       (unsigned long long)at, (unsigned long long)r->length, r->data ? "true" : "false", r->depth);
		if (path) {
			printf(", \"offset\": %llu, \"file\": ", (unsigned long long)r->file_offset);
			print_json_string(path);
		}
		putchar('}');
	} else if (r->data) {
		printf("%#-18llx %#-18llx %#-18llx %s\n", (unsigned long long)at, (unsigned long long)r->length,
		       (unsigned long long)r->file_offset, path);
	}
}

static int map_image(struct vhd *v, bool json)
{
	uint64_t at = 0, size = vhd_size(v), start = 0;
	struct vhd_run r, sum = { 0 };
	bool first = true;
	int ret;

	if (json)
		putchar('[');
	else
		printf("%-18s %-18s %-18s %s\n", "offset", "length", "in the file", "file");
	for (; at < size; at += r.length) {
		ret = vhd_map(v, at, size - at, &r);
		if (ret)
			return ret;
		/* Neighbours of one kind that follow each other are one line. */
		if (sum.length && sum.data == r.data && sum.depth == r.depth &&
		    (sum.file_offset == ~0ull ? r.file_offset == ~0ull :
						sum.file_offset + sum.length == r.file_offset)) {
			sum.length += r.length;
			continue;
		}
		if (sum.length) {
			map_line(v, start, &sum, json, first);
			first = false;
		}
		sum = r;
		start = at;
	}
	if (sum.length)
		map_line(v, start, &sum, json, first);
	if (json)
		printf("\n]\n");
	return 0;
}

static int img_map(const struct command *c, int argc, char **argv)
{
	struct img_args a;
	struct vhd *v;
	int ret = img_args_take(c, &a, argc, argv);

	if (ret)
		return ret - 1;
	ret = open_to_read(a.words.word[0], a.format, a.raw_parent, VHD_O_NOKEY, &v);
	if (ret)
		return ret;
	ret = map_image(v, a.json);
	vhd_close(v);
	return ret ? print_error("cannot read '%s': %s", a.words.word[0], strerror(-ret)) : 0;
}

const struct command img_map_command = {
	.name = "img map",
	.summary = "show where an image's data are",
	.operands = "FILE",
	.min = 1,
	.max = 1,
	.kind = OPERAND_FILE,
	.text = "Lists the pieces of a disk that hold data, with the file of the chain that they are in\n"
		"and where they are there. As JSON also those that are zero; depth counts parents.\n",
	.examples = "  lodge img map disk.vhd\n  lodge img map --json disk.vhd\n",
	.opts = (const struct opt[]) {
		{ 'f', "format", "FORMAT", "raw or vhd (default: by the file's name)", "raw vhd" },
		{ 'h', "help", NULL, "this text" },
		{ IMG_OPT_JSON, "json", NULL, "print JSON" },
		{ IMG_OPT_RAW_PARENT, "raw-parent", NULL, "allow an image that stands on a raw file" },
		{ 0 },
	},
	.run = img_map,
};

struct side {
	struct vhd *v;
	struct vhd_queue *q;
	uint8_t *buf;
	bool data;
};

/* Cuts @length to what is of one kind here; behind the end of the disk are zeros. */
static int side_look(struct side *s, uint64_t at, uint64_t *length)
{
	struct vhd_run r;
	int ret;

	s->data = false;
	if (at >= vhd_size(s->v))
		return 0;
	ret = vhd_map(s->v, at, *length, &r);
	if (!ret && r.length < *length)
		*length = r.length;
	s->data = !ret && r.data;
	return ret;
}

static int side_read(struct side *s, uint64_t at, uint64_t length)
{
	if (s->data)
		return vhd_pread(s->q, s->buf, length, at);
	memset(s->buf, 0, length);
	return 0;
}

/* 0 the same, 1 differ at *@where, or -errno. */
static int compare(struct side *a, struct side *b, struct img_progress *p, uint64_t *where)
{
	uint64_t size = vhd_size(a->v) > vhd_size(b->v) ? vhd_size(a->v) : vhd_size(b->v), at, length, i;
	int ret;

	for (at = 0; at < size; at += length) {
		length = size - at;
		ret = side_look(a, at, &length);
		if (!ret)
			ret = side_look(b, at, &length);
		if (ret)
			return ret;
		img_progress_show(p, at);
		if (!a->data && !b->data)
			continue;
		if (length > PIECE)
			length = PIECE;
		ret = side_read(a, at, length);
		if (!ret)
			ret = side_read(b, at, length);
		if (ret)
			return ret;
		if (!memcmp(a->buf, b->buf, length))
			continue;
		for (i = 0; a->buf[i] == b->buf[i]; i++)
			;
		*where = at + i;
		return 1;
	}
	return 0;
}

static int compare_open(struct side s[2], const struct img_args *a)
{
	void *memory;
	int i, ret = 0;

	for (i = 0; i < 2 && !ret; i++) {
		ret = open_to_read(a->words.word[i], i ? a->format2 : a->format, a->raw_parent, 0, &s[i].v);
		if (ret)
			break;
		s[i].q = vhd_queue_create(s[i].v, 8);
		if (!s[i].q || posix_memalign(&memory, 4096, PIECE))
			return print_error("cannot compare: %s", strerror(ENOMEM));
		s[i].buf = memory;
	}
	return ret;
}

static int img_compare(const struct command *c, int argc, char **argv)
{
	struct side s[2] = { { 0 } };
	struct img_progress p;
	struct img_args a;
	uint64_t where = 0;
	int i, ret = img_args_take(c, &a, argc, argv), differ;

	if (ret)
		return ret - 1;
	ret = compare_open(s, &a);
	if (!ret) {
		img_progress_begin(&p, a.progress, vhd_size(s[0].v));
		differ = compare(&s[0], &s[1], &p, &where);
		img_progress_end(&p, !differ);
		if (differ < 0)
			ret = print_error("cannot compare: %s", strerror(-differ));
		else
			ret = differ ? IMG_EXIT_DIFFER : 0;
		if (a.json && differ == 0)
			printf("{\"same\": true}\n");
		else if (a.json && differ > 0)
			printf("{\"same\": false, \"offset\": %llu}\n", (unsigned long long)where);
		else if (differ >= 0)
			printf(differ ? "The contents differ at byte %llu.\n" : "The contents are the same.\n",
			       (unsigned long long)where);
	}
	for (i = 0; i < 2; i++) {
		vhd_queue_destroy(s[i].q);
		vhd_close(s[i].v);
		free(s[i].buf);
	}
	return ret;
}

const struct command img_compare_command = {
	.name = "img compare",
	.summary = "say whether two disks have the same contents",
	.operands = "FILE FILE",
	.min = 2,
	.max = 2,
	.kind = OPERAND_FILE,
	.text = "Compares what guests would see, whatever the formats. Behind the end of the shorter\n"
		"disk the longer one must be zero. Exit code 0: the same; 5: different.\n",
	.examples = "  lodge img compare disk.raw disk.vhd\n",
	.opts = (const struct opt[]) {
		{ 'f', "format", "FORMAT", "first: raw or vhd (default: by its name)", "raw vhd" },
		{ 'F', "second-format", "FORMAT", "second: raw or vhd (default: by its name)", "raw vhd" },
		{ 'h', "help", NULL, "this text" },
		{ IMG_OPT_JSON, "json", NULL, "print the result as JSON" },
		IMG_KEY_OPTION,
		{ 'p', "progress", NULL, "show progress, speed, and the time left" },
		{ IMG_OPT_RAW_PARENT, "raw-parent", NULL, "allow images that stand on raw files" },
		{ 0 },
	},
	.run = img_compare,
};

struct forest {
	struct leaf {
		char *path;
		struct vhd_info info;
		bool shown;
	} *leaf;
	unsigned int n;
	bool failed;
};

static void collect(void *opaque, const char *path, const struct vhd_info *info)
{
	struct forest *f = opaque;
	struct leaf *more = realloc(f->leaf, (f->n + 1) * sizeof(*more));

	if (!more) {
		f->failed = true;
		return;
	}
	f->leaf = more;
	f->leaf[f->n] = (struct leaf){ strdup(path), *info, false };
	f->failed |= !f->leaf[f->n++].path;
}

static bool stands_on(const struct leaf *child, const struct leaf *parent)
{
	static const uint8_t raw[16];

	return child->info.type == VHD_DIFF && memcmp(child->info.parent_uuid, raw, 16) &&
	       !memcmp(child->info.parent_uuid, parent->info.uuid, 16);
}

static void show_tree(struct forest *f, unsigned int at, unsigned int depth)
{
	const char *slash = strrchr(f->leaf[at].path, '/');
	unsigned int i;

	/* Shown once, so that a loop of parents ends. */
	if (f->leaf[at].shown)
		return;
	f->leaf[at].shown = true;
	printf("%*s%s  %s, ", depth * 2, "", slash ? slash + 1 : f->leaf[at].path,
	       vhd_type_name(f->leaf[at].info.type));
	img_print_size(f->leaf[at].info.size);
	printf(", %llu MiB on disk%s\n", (unsigned long long)f->leaf[at].info.allocated >> 20,
	       f->leaf[at].info.unclean ? ", not closed properly" : "");
	for (i = 0; i < f->n; i++)
		if (stands_on(&f->leaf[i], &f->leaf[at]))
			show_tree(f, i, depth + 1);
}

static void tree_text(struct forest *f)
{
	unsigned int i, k;

	for (i = 0; i < f->n; i++) {
		for (k = 0; k < f->n; k++)
			if (k != i && stands_on(&f->leaf[i], &f->leaf[k]))
				break;
		if (k < f->n)
			continue;
		if (f->leaf[i].info.type == VHD_DIFF)
			printf("(on %s, which is not here)\n", f->leaf[i].info.parent_name);
		show_tree(f, i, f->leaf[i].info.type == VHD_DIFF);
	}
	for (i = 0; i < f->n; i++) {
		if (!f->leaf[i].shown)
			printf("(in a loop of parents)\n");
		show_tree(f, i, 1);
	}
}

static void tree_json(const struct forest *f)
{
	unsigned int i, k;

	printf("[");
	for (i = 0; i < f->n; i++) {
		printf("%s\n  {\"path\": ", i ? "," : "");
		print_json_string(f->leaf[i].path);
		printf(", \"format\": \"%s\", \"size\": %llu, \"allocated\": %llu, \"has_children\": %s",
		       vhd_type_name(f->leaf[i].info.type), (unsigned long long)f->leaf[i].info.size,
		       (unsigned long long)f->leaf[i].info.allocated,
		       f->leaf[i].info.hidden ? "true" : "false");
		if (f->leaf[i].info.type == VHD_DIFF) {
			printf(", \"parent\": ");
			for (k = 0; k < f->n; k++)
				if (stands_on(&f->leaf[i], &f->leaf[k]))
					break;
			print_json_string(k < f->n ? f->leaf[k].path : f->leaf[i].info.parent_name);
			printf(", \"parent_found\": %s", k < f->n ? "true" : "false");
		}
		putchar('}');
	}
	printf("%s]\n", f->n ? "\n" : "");
}

static int img_tree(const struct command *c, int argc, char **argv)
{
	struct forest f = { 0 };
	struct vhd_error err;
	struct img_args a;
	unsigned int i;
	int ret = img_args_take(c, &a, argc, argv);

	if (ret)
		return ret - 1;
	if (vhd_scan(a.words.words ? a.words.word[0] : ".", collect, &f, &err))
		ret = print_error("%s", err.text);
	else if (f.failed)
		ret = print_error("out of memory");
	else if (a.json)
		tree_json(&f);
	else
		tree_text(&f);
	for (i = 0; i < f.n; i++)
		free(f.leaf[i].path);
	free(f.leaf);
	return ret;
}

const struct command img_tree_command = {
	.name = "img tree",
	.summary = "show which images of a directory stand on which",
	.operands = "[DIRECTORY]",
	.min = 0,
	.max = 1,
	.kind = OPERAND_FILE,
	.text = "Looks at every .vhd and .avhd file of a directory (default: this one), also at those\n"
		"in use, and shows parents with their children below them.\n",
	.examples = "  lodge img tree /var/lib/lodge/disks\n",
	.opts = (const struct opt[]) {
		{ 'h', "help", NULL, "this text" },
		{ IMG_OPT_JSON, "json", NULL, "print a list as JSON" },
		{ 0 },
	},
	.run = img_tree,
};
