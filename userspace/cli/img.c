// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * lodge img: disk images without a guest.
 *
 * Here are the sub-commands' table, what they have in common, and the short
 * ones (create, info, check); convert has a file of its own.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include <lodge/lodge.h>

#include "cli/cli.h"
#include "cli/img.h"
#include "cli/print.h"
#include "common/size.h"

enum { OPT_BLOCK = 256, OPT_PREALLOCATE, OPT_FORCE, OPT_JSON, OPT_RAW_PARENT };

static const struct command *const commands[] = {
	&img_backup_command,
	&img_check_command,   &img_clone_command,  &img_coalesce_command, &img_compare_command,
	&img_convert_command, &img_copy_command,   &img_create_command,	  &img_delete_command,
	&img_info_command,    &img_key_command,	   &img_map_command,	  &img_mount_command,
	&img_rebase_command,
	&img_repair_command,  &img_resize_command, &img_snapshot_command, &img_tree_command,
	&img_umount_command,  NULL,
};

const struct command img_command = {
	.name = "img",
	.summary = "make, inspect, change and copy disk images",
	.text = "Formats are raw and vhd (fixed, dynamic, differencing). A name ending in .vhd is\n"
		"a VHD image, any other raw, unless raw:FILE, vhd:FILE or an option says otherwise;\n"
		"contents are never guessed at.\n\n"
		"An image that others stand on is marked so, and cannot be written to, resized or\n"
		"deleted. Commands that change something do it wholly or not at all.\n\n"
		"Exit codes: 0 done; 1 failed; 2 wrong usage; 3 check found damage; 4 check found\n"
		"only lost space or an image that was not closed properly; 5 compare found a\n"
		"difference.\n",
	.examples = "  lodge img create disk.vhd 20G\n"
		    "  lodge img info --json disk.vhd\n"
		    "  lodge img check disk.vhd\n",
	.sub = commands,
};

int img_args_take(const struct command *c, struct img_args *a, int argc, char **argv)
{
	int id;

	memset(a, 0, sizeof(*a));
	command_begin(&a->words, argc, argv);
	while ((id = command_next(c, &a->words)) >= 0) {
		if (id == IMG_OPT_KEY && img_key_add(a->words.opts.arg))
			return LODGE_EXIT_FAILURE + 1;
		if (id == IMG_OPT_TARGET_KEY && img_target_key_add(a->words.opts.arg, &a->target_key))
			return LODGE_EXIT_FAILURE + 1;
		a->json |= id == IMG_OPT_JSON;
		a->force |= id == IMG_OPT_FORCE;
		a->raw_parent |= id == IMG_OPT_RAW_PARENT;
		a->shrink |= id == IMG_OPT_SHRINK;
		a->keep |= id == IMG_OPT_KEEP;
		a->flatten |= id == IMG_OPT_FLATTEN;
		a->release |= id == IMG_OPT_RELEASE;
		a->dry |= id == 'n';
		a->progress |= id == 'p';
		a->unsafe |= id == 'u';
		if (id == 'f')
			a->format = a->words.opts.arg;
		if (id == 'F')
			a->format2 = a->words.opts.arg;
		if (id == 'b')
			a->parent = a->words.opts.arg;
	}
	return id == OPTS_END ? 0 : command_code(id) + 1;
}

int img_name_parse(const char *word, const char *format, struct img_name *name)
{
	const char *dot;

	if (!strncmp(word, "raw:", 4) || !strncmp(word, "vhd:", 4)) {
		name->vhd = word[0] == 'v';
		name->path = word + 4;
	} else {
		dot = strrchr(word, '.');
		name->vhd = dot && (!strcasecmp(dot, ".vhd") || !strcasecmp(dot, ".avhd"));
		name->path = word;
	}
	if (!format)
		return 0;
	if (strcmp(format, "raw") && strcmp(format, "vhd")) {
		print_error("format '%s' is not known; formats are raw and vhd", format);
		return LODGE_EXIT_USAGE;
	}
	name->vhd = format[0] == 'v';
	return 0;
}

int img_type_parse(const char *word, bool vhd, enum vhd_type *type)
{
	*type = vhd ? VHD_DYNAMIC : VHD_RAW;
	if (!word)
		return 0;
	if (!vhd) {
		print_error("a raw image has no type; name the file .vhd or add the format");
		return LODGE_EXIT_USAGE;
	}
	if (!strcmp(word, "fixed")) {
		*type = VHD_FIXED;
	} else if (strcmp(word, "dynamic")) {
		print_error("type '%s' is not known; types are fixed and dynamic", word);
		return LODGE_EXIT_USAGE;
	}
	return 0;
}

int img_block_parse(const char *word, uint32_t *bytes, struct err *e)
{
	u64 n;
	int r = size_parse(word, 1, &n, e);

	if (!r)
		*bytes = n > UINT32_MAX ? UINT32_MAX : n;
	return r;
}

unsigned int img_open_flags(const struct img_name *name)
{
	return name->vhd ? 0 : VHD_O_RAW;
}

void img_print_size(uint64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	double n = bytes;
	int i = 0;

	for (; n >= 1024 && i < 4; i++)
		n /= 1024;
	if (i)
		printf("%.4g %s (%llu bytes)", n, units[i], (unsigned long long)bytes);
	else
		printf("%llu bytes", (unsigned long long)bytes);
}

static int create_file(const char *path, bool force, struct vhd_params *p, bool json)
{
	struct vhd_error err;
	struct img_output o;
	int ret = img_output_begin(&o, path, force);

	if (ret)
		return ret;
	if (vhd_create(o.temporary, p, &err)) {
		img_output_abort(&o);
		return print_error("%s", err.text);
	}
	ret = img_output_commit(&o);
	if (!ret && json) {
		printf("{\"path\": ");
		print_json_string(path);
		printf(", \"format\": \"%s\", \"size\": %llu}\n", vhd_type_name(p->type),
		       (unsigned long long)p->size);
	}
	return ret;
}

static int img_create(const struct command *c, int argc, char **argv)
{
	const char *format = NULL, *type = NULL;
	struct vhd_params p = { 0 };
	bool force = false, json = false;
	struct command_args a;
	struct img_name name;
	struct err e;
	int id;

	command_begin(&a, argc, argv);
	while ((id = command_next(c, &a)) >= 0) {
		switch (id) {
		case 'b':
			p.parent = a.opts.arg;
			break;
		case OPT_BLOCK:
			if (img_block_parse(a.opts.arg, &p.block_size, &e))
				return command_bad(&e);
			break;
		case 'f':
			format = a.opts.arg;
			break;
		case OPT_FORCE:
			force = true;
			break;
		case OPT_JSON:
			json = true;
			break;
		case IMG_OPT_KEY:
			if (img_key_add(a.opts.arg))
				return LODGE_EXIT_FAILURE;
			p.keys = img_keys();
			break;
		case OPT_PREALLOCATE:
			p.preallocate = true;
			break;
		case OPT_RAW_PARENT:
			p.parent_raw = true;
			break;
		case 't':
			type = a.opts.arg;
			break;
		}
	}
	if (id != OPTS_END)
		return command_code(id);
	if (a.words == 1 && !p.parent) {
		err_set(&e, EINVAL, "lodge img create needs a SIZE, or a --parent whose size it takes");
		return command_bad(&e);
	}
	if (a.words == 2 && size_parse(a.word[1], 1, &p.size, &e))
		return command_bad(&e);
	if (img_name_parse(a.word[0], format, &name) || img_type_parse(type, name.vhd, &p.type))
		return LODGE_EXIT_USAGE;
	if (p.parent && !name.vhd) {
		print_error("only a VHD image can have a parent; name the file .vhd");
		return LODGE_EXIT_USAGE;
	}
	if (p.parent)
		p.type = VHD_DIFF;
	return create_file(name.path, force, &p, json);
}

const struct command img_create_command = {
	.name = "img create",
	.summary = "make a new, empty image",
	.operands = "FILE [SIZE]",
	.min = 1,
	.max = 2,
	.kind = OPERAND_FILE,
	.text = "Makes a new, empty disk image; SIZE takes the suffixes K M G T. A VHD image holds\n"
		"at most 2040G. With --parent the size may be left out. A child of an encrypted image is\n"
		"encrypted with the same key, if not with one of its own.\n",
	.examples = "  lodge img create disk.vhd 20G\n"
		    "  lodge img create --type fixed disk.vhd 4G\n"
		    "  lodge img create --parent gold.vhd guest1.vhd\n"
		    "  lodge img create --key secret.key disk.vhd 20G\n"
		    "  lodge img create scratch.raw 3T\n",
	.opts = (const struct opt[]) {
		{ 'b', "parent", "FILE", "make a differencing image that stands on FILE" },
		{ OPT_BLOCK, "block-size", "SIZE", "block of a dynamic image (default 2M)" },
		{ 'f', "format", "FORMAT", "raw or vhd (default: by the file's name)", "raw vhd" },
		{ OPT_FORCE, "force", NULL, "replace an existing file" },
		{ 'h', "help", NULL, "this text" },
		{ OPT_JSON, "json", NULL, "print what was made as JSON" },
		{ IMG_OPT_KEY, "key", "FILE", "encrypt with the key in FILE, - (standard input), or fd:N" },
		{ OPT_PREALLOCATE, "preallocate", NULL, "raw, fixed: reserve all space now" },
		{ OPT_RAW_PARENT, "raw-parent", NULL, "the parent is a raw file" },
		{ 't', "type", "TYPE", "fixed or dynamic (default dynamic)", "fixed dynamic" },
		{ 0 },
	},
	.run = img_create,
};

static void print_uuid(const uint8_t u[16])
{
	int i;

	for (i = 0; i < 16; i++)
		printf("%02x%s", u[i], i == 3 || i == 5 || i == 7 || i == 9 ? "-" : "");
}

static void info_json(const char *path, const struct vhd_info *f)
{
	printf("{\n  \"path\": ");
	print_json_string(path);
	printf(",\n  \"format\": \"%s\",\n  \"size\": %llu,\n  \"file_size\": %llu,\n  \"allocated\": %llu",
	       vhd_type_name(f->type), (unsigned long long)f->size, (unsigned long long)f->file_size,
	       (unsigned long long)f->allocated);
	if (f->type != VHD_RAW) {
		printf(",\n  \"uuid\": \"");
		print_uuid(f->uuid);
		printf("\",\n  \"creator\": ");
		print_json_string(f->creator);
		printf(",\n  \"created\": %lld,\n  \"geometry\": [%u, %u, %u],\n  \"clean\": %s,\n"
		       "  \"hidden\": %s,\n  \"saved_state\": %s,\n  \"encrypted\": %s",
		       (long long)f->timestamp + 946684800ll, f->cylinders, f->heads,
		       f->sectors_per_track, f->unclean ? "false" : "true",
		       f->hidden ? "true" : "false", f->saved_state ? "true" : "false", f->encrypted ? "true" : "false");
	}
	if (f->block_size)
		printf(",\n  \"block_size\": %u,\n  \"blocks_used\": %u,\n  \"blocks_total\": %u,\n"
		       "  \"aligned\": %s",
		       f->block_size, f->blocks_used, f->blocks_total, f->aligned ? "true" : "false");
	if (f->type == VHD_DIFF) {
		printf(",\n  \"parent\": ");
		print_json_string(f->parent_name);
		printf(",\n  \"parent_uuid\": \"");
		print_uuid(f->parent_uuid);
		putchar('"');
	}
	printf("\n}\n");
}

static void info_text(const char *path, const struct vhd_info *f)
{
	time_t made = (time_t)f->timestamp + 946684800;
	char when[64];

	printf("image:      %s\nformat:     %s\ndisk size:  ", path, vhd_type_name(f->type));
	img_print_size(f->size);
	printf("\nfile size:  ");
	img_print_size(f->file_size);
	printf("\non disk:    ");
	img_print_size(f->allocated);
	putchar('\n');
	if (f->type == VHD_RAW)
		return;
	printf("uuid:       ");
	print_uuid(f->uuid);
	strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S UTC", gmtime(&made));
	printf("\ncreated:    %s by '%s' %u.%u\nclosed:     %s\n", when, f->creator,
	       f->creator_version >> 16, f->creator_version & 0xffff,
	       f->unclean ? "not properly (repaired when it is next opened for writing)" : "properly");
	if (f->block_size) {
		printf("blocks:     %u of %u in use, ", f->blocks_used, f->blocks_total);
		img_print_size(f->block_size);
		printf(" each%s\n", f->aligned ? ", data on 4 KiB" : "");
	}
	if (f->encrypted)
		printf("encrypted:  AES-XTS; lodge img key show tells more\n");
	if (f->type == VHD_DIFF)
		printf("parent:     %s\n", f->parent_name);
}

static int img_info(const struct command *c, int argc, char **argv)
{
	const char *format = NULL;
	struct command_args a;
	struct vhd_error err;
	struct vhd_info info;
	struct img_name name;
	bool json = false;
	struct vhd *v;
	int id;

	command_begin(&a, argc, argv);
	while ((id = command_next(c, &a)) >= 0) {
		if (id == 'f')
			format = a.opts.arg;
		else
			json = true;
	}
	if (id != OPTS_END)
		return command_code(id);
	if (img_name_parse(a.word[0], format, &name))
		return LODGE_EXIT_USAGE;
	if (img_open(name.path, VHD_O_RDONLY | VHD_O_NOLOCK | VHD_O_NOPARENT | img_open_flags(&name),
		     &v, &err))
		return print_error("%s", err.text);
	vhd_get_info(v, &info);
	vhd_close(v);
	if (json)
		info_json(name.path, &info);
	else
		info_text(name.path, &info);
	return 0;
}

const struct command img_info_command = {
	.name = "img info",
	.summary = "show what an image is",
	.operands = "FILE",
	.min = 1,
	.max = 1,
	.kind = OPERAND_FILE,
	.text = "Shows what an image is; also of one in use.\n",
	.examples = "  lodge img info disk.vhd\n  lodge img info --json disk.vhd\n",
	.opts = (const struct opt[]) {
		{ 'f', "format", "FORMAT", "raw or vhd (default: by the file's name)", "raw vhd" },
		{ 'h', "help", NULL, "this text" },
		{ OPT_JSON, "json", NULL, "print JSON" },
		{ 0 },
	},
	.run = img_info,
};

struct report {
	bool json;
	bool any;
};

static void report_found(void *opaque, enum vhd_severity severity, const char *text)
{
	static const char *const names[] = { "note", "leak", "corruption" };
	struct report *r = opaque;

	if (r->json) {
		printf("%s\n    {\"severity\": \"%s\", \"text\": ", r->any ? "," : "", names[severity]);
		print_json_string(text);
		putchar('}');
	} else {
		printf("%s: %s\n", names[severity], text);
	}
	r->any = true;
}

static int check_file(const char *path, bool json, bool bitmaps)
{
	struct report r = { json, false };
	struct vhd_check c = { .found = report_found, .opaque = &r, .bitmaps = bitmaps };
	struct vhd_error err;
	int ret;

	if (json)
		printf("{\n  \"findings\": [");
	ret = vhd_check(path, &c, &err);
	if (json)
		printf("%s],\n  \"readable\": %s,\n  \"notes\": %llu,\n  \"leaks\": %llu,\n  \"corruptions\": %llu,\n"
		       "  \"blocks_used\": %llu,\n  \"blocks_total\": %llu,\n  \"free_bytes\": %llu\n}\n",
		       r.any ? "\n  " : "", ret ? "false" : "true", (unsigned long long)c.notes,
		       (unsigned long long)c.leaks, (unsigned long long)c.corruptions,
		       (unsigned long long)c.blocks_used, (unsigned long long)c.blocks_total,
		       (unsigned long long)c.free_bytes);
	if (ret)
		return print_error("cannot check '%s': %s", path, err.text);
	if (!json && !c.leaks && !c.corruptions)
		printf("%s: no damage found\n", path);
	if (c.corruptions)
		return IMG_EXIT_CORRUPT;
	return c.leaks ? IMG_EXIT_LEAK : 0;
}

static int img_check(const struct command *c, int argc, char **argv)
{
	bool json = false, bitmaps = false;
	struct command_args a;
	struct img_name name;
	int id;

	command_begin(&a, argc, argv);
	while ((id = command_next(c, &a)) >= 0) {
		if (id == 'b')
			bitmaps = true;
		else
			json = true;
	}
	if (id != OPTS_END)
		return command_code(id);
	if (!strncmp(a.word[0], "raw:", 4))
		return print_error("a raw image has no structure to check");
	/* Whatever its name is: only VHD can be checked. */
	if (img_name_parse(a.word[0], "vhd", &name))
		return LODGE_EXIT_USAGE;
	return check_file(name.path, json, bitmaps);
}

const struct command img_check_command = {
	.name = "img check",
	.summary = "look for damage, lost space, and an unclean end",
	.operands = "FILE",
	.min = 1,
	.max = 1,
	.kind = OPERAND_FILE,
	.text = "Checks the structure of a VHD image; nothing is changed.\n"
		"Exit code 0: in order; 3: damaged; 4: lost space, or not closed properly\n"
		"(both harmless); 1: could not be checked.\n",
	.examples = "  lodge img check disk.vhd\n  lodge img check --bitmaps --json disk.vhd\n",
	.opts = (const struct opt[]) {
		{ 'b', "bitmaps", NULL, "read every block's sector bitmap too" },
		{ 'h', "help", NULL, "this text" },
		{ OPT_JSON, "json", NULL, "print JSON" },
		{ 0 },
	},
	.run = img_check,
};
