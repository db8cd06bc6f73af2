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
#include "common/opts.h"
#include "common/size.h"

enum { OPT_BLOCK = 256, OPT_PREALLOCATE, OPT_FORCE, OPT_JSON, OPT_RAW_PARENT };

static const struct {
	const char *name;
	int (*fn)(int argc, char **argv);
	const char *help;
} commands[] = {
	{ "check", img_check, "look for damage, lost space, and an unclean end" },
	{ "convert", img_convert, "copy an image into another format" },
	{ "create", img_create, "make a new, empty image" },
	{ "info", img_info, "show what an image is" },
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void usage(FILE *f)
{
	unsigned int i;

	fputs("Usage: lodge img COMMAND [ARG]...\n\nCommands:\n", f);
	for (i = 0; i < COMMANDS; i++)
		fprintf(f, "  %-9s %s\n", commands[i].name, commands[i].help);
	fputs("\nFormats are raw and vhd (fixed, dynamic, differencing). A name ending in .vhd is\n"
	      "a VHD image, any other raw, unless raw:FILE, vhd:FILE or an option says otherwise;\n"
	      "contents are never guessed at.\n\n"
	      "Exit codes: 0 done; 1 failed; 2 wrong usage; 3 check found damage; 4 check found\n"
	      "only lost space or an image that was not closed properly.\n\n"
	      "lodge img COMMAND --help tells more.\n", f);
}

int cmd_img(int argc, char **argv)
{
	unsigned int i;

	if (argc < 2) {
		usage(stderr);
		return LODGE_EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		usage(stdout);
		return 0;
	}
	for (i = 0; i < COMMANDS; i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].fn(argc - 1, argv + 1);
	print_error("unknown command 'img %s'; try: lodge img --help", argv[1]);
	return LODGE_EXIT_USAGE;
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

static void create_help(const struct opt *table)
{
	printf("Usage: lodge img create [OPTION]... FILE [SIZE]\n\n"
	       "Makes a new, empty disk image; SIZE takes the suffixes K M G T. A VHD image holds\n"
	       "at most 2040G. With --parent the size may be left out.\n\n");
	opts_help(stdout, table);
	printf("\nExamples:\n"
	       "  lodge img create disk.vhd 20G\n"
	       "  lodge img create --type fixed disk.vhd 4G\n"
	       "  lodge img create --parent gold.vhd guest1.vhd\n"
	       "  lodge img create scratch.raw 3T\n");
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

int img_create(int argc, char **argv)
{
	static const struct opt table[] = {
		{ 'b', "parent", "FILE", "make a differencing image that stands on FILE" },
		{ OPT_BLOCK, "block-size", "SIZE", "block of a dynamic image (default 2M)" },
		{ 'f', "format", "FORMAT", "raw or vhd (default: by the file's name)" },
		{ OPT_FORCE, "force", NULL, "replace an existing file" },
		{ 'h', "help", NULL, "this text" },
		{ OPT_JSON, "json", NULL, "print what was made as JSON" },
		{ OPT_PREALLOCATE, "preallocate", NULL, "raw, fixed: reserve all space now" },
		{ OPT_RAW_PARENT, "raw-parent", NULL, "the parent is a raw file" },
		{ 't', "type", "TYPE", "fixed or dynamic (default dynamic)" },
		{ 0 },
	};
	const char *format = NULL, *type = NULL, *words[2] = { NULL, NULL };
	struct vhd_params p = { 0 };
	bool force = false, json = false;
	struct img_name name;
	struct opts o;
	struct err e;
	int id, n = 0;
	u64 number;

	opts_init(&o, argc, argv);
	while ((id = opts_next(&o, table, &e)) != OPTS_END) {
		switch (id) {
		case 'b':
			p.parent = o.arg;
			break;
		case OPT_BLOCK:
			if (size_parse(o.arg, 1, &number, &e))
				goto bad;
			p.block_size = number > UINT32_MAX ? UINT32_MAX : number;
			break;
		case 'f':
			format = o.arg;
			break;
		case OPT_FORCE:
			force = true;
			break;
		case 'h':
			create_help(table);
			return 0;
		case OPT_JSON:
			json = true;
			break;
		case OPT_PREALLOCATE:
			p.preallocate = true;
			break;
		case OPT_RAW_PARENT:
			p.parent_raw = true;
			break;
		case 't':
			type = o.arg;
			break;
		case OPTS_OPERAND:
			if (n == 2)
				goto count;
			words[n++] = o.arg;
			break;
		default:
			goto bad;
		}
	}
	if (!n || (n == 1 && !p.parent))
		goto count;
	if (words[1] && size_parse(words[1], 1, &number, &e))
		goto bad;
	p.size = words[1] ? number : 0;
	if (img_name_parse(words[0], format, &name) || img_type_parse(type, name.vhd, &p.type))
		return LODGE_EXIT_USAGE;
	if (p.parent && !name.vhd) {
		print_error("only a VHD image can have a parent; name the file .vhd");
		return LODGE_EXIT_USAGE;
	}
	if (p.parent)
		p.type = VHD_DIFF;
	return create_file(name.path, force, &p, json);
count:
	print_error("lodge img create needs FILE and SIZE; try: lodge img create --help");
	return LODGE_EXIT_USAGE;
bad:
	print_error("%s", e.msg);
	return LODGE_EXIT_USAGE;
}

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
		       "  \"hidden\": %s,\n  \"saved_state\": %s",
		       (long long)f->timestamp + 946684800ll, f->cylinders, f->heads,
		       f->sectors_per_track, f->unclean ? "false" : "true",
		       f->hidden ? "true" : "false", f->saved_state ? "true" : "false");
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
	if (f->type == VHD_DIFF)
		printf("parent:     %s\n", f->parent_name);
}

int img_info(int argc, char **argv)
{
	static const struct opt table[] = {
		{ 'f', "format", "FORMAT", "raw or vhd (default: by the file's name)" },
		{ 'h', "help", NULL, "this text" },
		{ OPT_JSON, "json", NULL, "print JSON" },
		{ 0 },
	};
	const char *format = NULL, *word = NULL;
	struct vhd_error err;
	struct vhd_info info;
	struct img_name name;
	bool json = false;
	struct opts o;
	struct vhd *v;
	struct err e;
	int id;

	opts_init(&o, argc, argv);
	while ((id = opts_next(&o, table, &e)) != OPTS_END) {
		if (id == 'f') {
			format = o.arg;
		} else if (id == OPT_JSON) {
			json = true;
		} else if (id == 'h') {
			printf("Usage: lodge img info [OPTION]... FILE\n\nShows what an image is; also of one in use.\n\n");
			opts_help(stdout, table);
			printf("\nExamples:\n  lodge img info disk.vhd\n  lodge img info --json disk.vhd\n");
			return 0;
		} else if (id == OPTS_OPERAND && !word) {
			word = o.arg;
		} else {
			print_error("%s", id == OPTS_BAD ? e.msg : "lodge img info takes one FILE");
			return LODGE_EXIT_USAGE;
		}
	}
	if (!word) {
		print_error("lodge img info needs a FILE");
		return LODGE_EXIT_USAGE;
	}
	if (img_name_parse(word, format, &name))
		return LODGE_EXIT_USAGE;
	if (vhd_open(name.path, VHD_O_RDONLY | VHD_O_NOLOCK | VHD_O_NOPARENT | img_open_flags(&name),
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
		       "  \"blocks_used\": %llu,\n  \"blocks_total\": %llu\n}\n",
		       r.any ? "\n  " : "", ret ? "false" : "true", (unsigned long long)c.notes,
		       (unsigned long long)c.leaks, (unsigned long long)c.corruptions,
		       (unsigned long long)c.blocks_used, (unsigned long long)c.blocks_total);
	if (ret)
		return print_error("cannot check '%s': %s", path, err.text);
	if (!json && !c.leaks && !c.corruptions)
		printf("%s: no damage found\n", path);
	if (c.corruptions)
		return IMG_EXIT_CORRUPT;
	return c.leaks ? IMG_EXIT_LEAK : 0;
}

int img_check(int argc, char **argv)
{
	static const struct opt table[] = {
		{ 'b', "bitmaps", NULL, "read every block's sector bitmap too" },
		{ 'h', "help", NULL, "this text" },
		{ OPT_JSON, "json", NULL, "print JSON" },
		{ 0 },
	};
	bool json = false, bitmaps = false;
	const char *word = NULL;
	struct img_name name;
	struct opts o;
	struct err e;
	int id;

	opts_init(&o, argc, argv);
	while ((id = opts_next(&o, table, &e)) != OPTS_END) {
		if (id == 'b') {
			bitmaps = true;
		} else if (id == OPT_JSON) {
			json = true;
		} else if (id == 'h') {
			printf("Usage: lodge img check [OPTION]... FILE\n\nChecks the structure of a VHD image; nothing is changed.\n"
			       "Exit code 0: in order; 3: damaged; 4: lost space, or not closed properly\n"
			       "(both harmless); 1: could not be checked.\n\n");
			opts_help(stdout, table);
			printf("\nExamples:\n  lodge img check disk.vhd\n");
			return 0;
		} else if (id == OPTS_OPERAND && !word) {
			word = o.arg;
		} else {
			print_error("%s", id == OPTS_BAD ? e.msg : "lodge img check takes one FILE");
			return LODGE_EXIT_USAGE;
		}
	}
	if (!word) {
		print_error("lodge img check needs a FILE");
		return LODGE_EXIT_USAGE;
	}
	if (!strncmp(word, "raw:", 4))
		return print_error("a raw image has no structure to check");
	/* Whatever its name is: only VHD can be checked. */
	if (img_name_parse(word, "vhd", &name))
		return LODGE_EXIT_USAGE;
	return check_file(name.path, json, bitmaps);
}
