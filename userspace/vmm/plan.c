// SPDX-License-Identifier: GPL-2.0-or-later
/* The plan of a run in words and in JSON. */
#include "vmm/plan.h"

#include <json-c/json.h>
#include <stdio.h>

#include "vmm/scan.h"

void plan_print_line(const struct run_options *o, const char *cmdline)
{
	unsigned int i;

	fprintf(stderr, "# lodge run --device %s -k %s -m %lluM -c %u --name %s", o->device, o->kernel,
		(unsigned long long)(o->mem / MIB), o->cpus, o->name);
	if (o->initrd)
		fprintf(stderr, " -i %s", o->initrd);
	for (i = 0; i < o->disks; i++)
		fprintf(stderr, " --disk %s", o->disk[i]);
	for (i = 0; i < o->nets; i++)
		fprintf(stderr, " --net %s", o->net[i]);
	if (o->share && o->share_group)
		fprintf(stderr, " --share %llu", (unsigned long long)o->share_group);
	else if (o->share)
		fprintf(stderr, " --share user");
	if (o->share && o->share_scan != SCAN_PERCENT_DEFAULT)
		fprintf(stderr, " --share-scan %u", o->share_scan);
	fprintf(stderr, " -p '%s'\n", cmdline);
}

static void add_text(struct json_object *o, const char *key, const char *text)
{
	json_object_object_add(o, key, text ? json_object_new_string(text) : NULL);
}

static void add_list(struct json_object *o, const char *key, const char *const *text, unsigned int n)
{
	struct json_object *list = json_object_new_array();
	unsigned int i;

	for (i = 0; i < n; i++)
		json_object_array_add(list, json_object_new_string(text[i]));
	json_object_object_add(o, key, list);
}

void plan_print_json(const struct run_options *o, const char *cmdline)
{
	static const char *const user[] = { "user" };
	struct json_object *p = json_object_new_object();

	add_text(p, "name", o->name);
	add_text(p, "device", o->device);
	add_text(p, "kernel", o->kernel);
	add_text(p, "initrd", o->initrd);
	add_text(p, "cmdline", cmdline);
	json_object_object_add(p, "memory", json_object_new_int64(o->mem));
	json_object_object_add(p, "share", json_object_new_boolean(o->share));
	json_object_object_add(p, "share_group", json_object_new_uint64(o->share_group));
	json_object_object_add(p, "share_scan", json_object_new_int(o->share ? o->share_scan : 0));
	json_object_object_add(p, "cpus", json_object_new_int(o->cpus));
	add_text(p, "console", o->console);
	add_text(p, "ring", o->packed_rings ? "packed" : "split");
	add_list(p, "disks", o->disk, o->disks);
	add_list(p, "nets", o->nets ? o->net : user, o->nets ? o->nets : 1);
	add_list(p, "command", (const char *const *)o->command, o->command_len);
	puts(json_object_to_json_string_ext(p, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
						       JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(p);
}
