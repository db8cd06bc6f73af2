// SPDX-License-Identifier: GPL-2.0-or-later
/* Requests about disks on the control socket: see control.h for their form. */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "common/size.h"
#include "vmm/control_client.h"
#include "vmm/disk_job.h"
#include "vmm/disks.h"

/* A string without a zero byte inside; NULL: there is none. */
static const char *text_of(struct json_object *rq, const char *key)
{
	struct json_object *v;
	const char *s;

	if (!json_object_object_get_ex(rq, key, &v) || !json_object_is_type(v, json_type_string))
		return NULL;
	s = json_object_get_string(v);
	return strlen(s) == (size_t)json_object_get_string_len(v) ? s : NULL;
}

/* Absolute names only: ours and the client's working directories differ. */
static const char *file_of(struct json_object *rq, const char *key)
{
	const char *s = text_of(rq, key);

	return s && s[0] == '/' && strlen(s) < PATH_MAX ? s : NULL;
}

/* False: it is there and no number from 0 to max. */
static bool number_of(struct json_object *rq, const char *key, u64 max, u64 *n)
{
	struct json_object *v;
	s64 value;

	if (!json_object_object_get_ex(rq, key, &v))
		return true;
	value = json_object_get_int64(v);
	if (!json_object_is_type(v, json_type_int) || value < 0 || (u64)value > max)
		return false;
	*n = value;
	return true;
}

/* Which of the guest's disks is meant; below 0 after a refusal. */
static int disk_of(struct client *cl, struct json_object *rq)
{
	u64 n = RUN_DISKS_MAX;

	if (!number_of(rq, "disk", RUN_DISKS_MAX, &n) || !disks_has(client_disks(cl), n))
		client_refuse(cl, EINVAL, "the guest has no disk of this number");
	else if (disks_gone(client_disks(cl), n))
		client_refuse(cl, ENODEV, "this disk is gone: it was detached by force; its number is in use until the guest lets "
					  "go of it, or is reset");
	else
		return n;
	return -1;
}

static void finish(struct client *cl, int r, const struct err *e)
{
	if (r < 0)
		client_refuse(cl, e->code, e->msg);
	else
		client_answer(cl, client_ok());
}

static void do_disk(struct client *cl, struct json_object *rq)
{
	int n = disk_of(cl, rq);
	struct json_object *o;

	if (n < 0)
		return;
	o = client_ok();
	json_object_object_add(o, "path", json_object_new_string(disks_path(client_disks(cl), n)));
	client_answer(cl, o);
}

static void add_numbers(struct json_object *o, const struct disk_info *i)
{
	const struct {
		const char *key;
		u64 n;
	} numbers[] = {
		{ "capacity", i->capacity },
		{ "iops", i->limits.iops }, { "iops_burst", i->limits.iops_burst },
		{ "bps", i->limits.bps }, { "bps_burst", i->limits.bps_burst },
		{ "reads", i->stats.reads }, { "read_bytes", i->stats.read_bytes },
		{ "writes", i->stats.writes }, { "written_bytes", i->stats.written_bytes },
		{ "flushes", i->stats.flushes }, { "discards", i->stats.discards },
		{ "errors", i->stats.errors }, { "ignored", i->stats.ignored },
		{ "throttled", i->stats.throttled },
	};
	unsigned int k;

	for (k = 0; k < ARRAY_SIZE(numbers); k++)
		json_object_object_add(o, numbers[k].key, json_object_new_int64(numbers[k].n));
}

static void do_disks(struct client *cl, struct json_object *rq)
{
	struct json_object *o = client_ok(), *list = json_object_new_array(), *one;
	struct disk_info i;
	unsigned int n;

	(void)rq;
	for (n = 0; n < RUN_DISKS_MAX; n++) {
		if (!disks_has(client_disks(cl), n))
			continue;
		disks_info(client_disks(cl), n, &i);
		one = json_object_new_object();
		json_object_object_add(one, "disk", json_object_new_int(n));
		json_object_object_add(one, "path", json_object_new_string(i.path));
		json_object_object_add(one, "format", json_object_new_string(i.format));
		json_object_object_add(one, "readonly", json_object_new_boolean(i.readonly));
		json_object_object_add(one, "removable", json_object_new_boolean(i.removable));
		json_object_object_add(one, "leaving", json_object_new_boolean(i.leaving));
		json_object_object_add(one, "gone", json_object_new_boolean(i.gone));
		json_object_object_add(one, "on_error", json_object_new_string(block_on_error_names[i.on_error]));
		json_object_object_add(one, "group", json_object_new_string(i.group));
		add_numbers(one, &i);
		json_object_array_add(list, one);
	}
	json_object_object_add(o, "disks", list);
	client_answer(cl, o);
}

static void do_on_error(struct client *cl, struct json_object *rq)
{
	const char *what = text_of(rq, "on_error");
	int n = disk_of(cl, rq);
	unsigned int i;

	if (n < 0)
		return;
	for (i = 0; what && block_on_error_names[i]; i++) {
		if (strcmp(what, block_on_error_names[i]))
			continue;
		disks_set_on_error(client_disks(cl), n, i);
		client_answer(cl, client_ok());
		return;
	}
	client_refuse(cl, EINVAL, "on_error must be report, stop, enospc or ignore");
}

static void do_throttle(struct client *cl, struct json_object *rq)
{
	const char *group = text_of(rq, "group");
	struct throttle_limits l = { 0 };
	struct err e = ERR_INIT;
	int n = disk_of(cl, rq);

	if (n < 0)
		return;
	if (!number_of(rq, "iops", THROTTLE_RATE_MAX, &l.iops) || !number_of(rq, "bps", THROTTLE_RATE_MAX, &l.bps) ||
	    !number_of(rq, "iops_burst", THROTTLE_RATE_MAX, &l.iops_burst) ||
	    !number_of(rq, "bps_burst", THROTTLE_RATE_MAX, &l.bps_burst)) {
		client_refuse(cl, EINVAL, "a limit must be a number from 0 to 2^50");
	} else if (group && *group && !(name_valid(group) && strlen(group) < BLOCK_GROUP_MAX)) {
		client_refuse(cl, EINVAL, "a group's name is a letter, then letters, digits, '.', '_', '-', at most 31");
	} else {
		finish(cl, disks_set_limits(client_disks(cl), n, &l, group, &e), &e);
	}
}

static bool true_of(struct json_object *rq, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(rq, key, &v) && json_object_get_boolean(v);
}

static void do_attach(struct client *cl, struct json_object *rq)
{
	const char *spec = text_of(rq, "spec"), *dir = file_of(rq, "dir");
	struct err e = ERR_INIT;
	struct json_object *o;
	unsigned int n;

	if (!spec || !dir) {
		client_refuse(cl, EINVAL, "spec and dir must name a file and an absolute directory");
	} else if (disks_attach(client_disks(cl), dir, spec, &n, &e) < 0) {
		client_refuse(cl, e.code, e.msg);
	} else {
		o = client_ok();
		json_object_object_add(o, "disk", json_object_new_int(n));
		client_answer(cl, o);
	}
}

static void do_detach(struct client *cl, struct json_object *rq)
{
	struct err e = ERR_INIT;
	int n = disk_of(cl, rq);

	if (n >= 0)
		finish(cl, disks_detach(client_disks(cl), n, true_of(rq, "force"), &e), &e);
}

static void do_insert(struct client *cl, struct json_object *rq)
{
	const char *spec = text_of(rq, "spec"), *dir = file_of(rq, "dir");
	struct err e = ERR_INIT;
	int n = disk_of(cl, rq);

	if (n < 0)
		return;
	if (!spec != !json_object_object_get_ex(rq, "spec", NULL) || (spec && !dir))
		client_refuse(cl, EINVAL, "spec and dir must name a file and an absolute directory; no spec: the drive is emptied");
	else
		finish(cl, disks_insert(client_disks(cl), n, dir, spec, &e), &e);
}

static void answer_pause(struct client *cl, int r, u64 pause_ns, const struct err *e)
{
	struct json_object *o;

	if (r < 0) {
		client_refuse(cl, e->code, e->msg);
		return;
	}
	o = client_ok();
	json_object_object_add(o, "pause_us", json_object_new_int64(pause_ns / 1000));
	client_answer(cl, o);
}

static void do_resize(struct client *cl, struct json_object *rq)
{
	struct err e = ERR_INIT;
	u64 size = 0, pause_ns = 0;
	int n = disk_of(cl, rq);

	if (n < 0)
		return;
	if (!number_of(rq, "size", INT64_MAX, &size))
		client_refuse(cl, EINVAL, "size must be a number of bytes");
	else
		answer_pause(cl, disks_grow(client_disks(cl), n, size, &pause_ns, &e), pause_ns, &e);
}

/* job: set if r is 0. */
static void answer_job(struct client *cl, int r, const unsigned int *job, const struct err *e)
{
	struct json_object *o;

	if (r < 0) {
		client_refuse(cl, e->code, e->msg);
		return;
	}
	o = client_ok();
	json_object_object_add(o, "job", json_object_new_int64(*job));
	client_answer(cl, o);
}

static void do_coalesce(struct client *cl, struct json_object *rq)
{
	const char *image = file_of(rq, "image");
	struct err e = ERR_INIT;
	unsigned int job;
	int n = disk_of(cl, rq);

	if (n < 0)
		return;
	if (!image && json_object_object_get_ex(rq, "image", NULL))
		client_refuse(cl, EINVAL, "image must be the absolute name of a file; no image: the disk's parent");
	else
		answer_job(cl, disks_coalesce(client_disks(cl), n, image, &job, &e), &job, &e);
}

static void do_mirror(struct client *cl, struct json_object *rq)
{
	const char *target = text_of(rq, "spec"), *dir = file_of(rq, "dir");
	struct err e = ERR_INIT;
	unsigned int job;
	int n = disk_of(cl, rq);

	if (n < 0)
		return;
	if (!target || !dir)
		client_refuse(cl, EINVAL, "spec and dir must name a new file and an absolute directory");
	else
		answer_job(cl, disks_mirror(client_disks(cl), n, dir, target, &job, &e), &job, &e);
}

static void add_job(struct json_object *o, const struct disk_job_info *i)
{
	json_object_object_add(o, "state", json_object_new_string(i->running ? "running" : i->e.code ? "failed" : "done"));
	json_object_object_add(o, "kind", json_object_new_string(disk_job_kinds[i->kind]));
	json_object_object_add(o, "behind", json_object_new_boolean(i->behind));
	json_object_object_add(o, "job", json_object_new_int64(i->number));
	json_object_object_add(o, "done", json_object_new_int64(i->done));
	json_object_object_add(o, "total", json_object_new_int64(i->total));
	if (i->running)
		return;
	json_object_object_add(o, "image", json_object_new_string(i->image));
	json_object_object_add(o, "into", json_object_new_string(i->into));
	json_object_object_add(o, "pause_us", json_object_new_int64(i->pause_ns / 1000));
	if (!i->e.code)
		return;
	json_object_object_add(o, "code", json_object_new_int(i->e.code));
	json_object_object_add(o, "error", json_object_new_string(i->e.msg));
}

static void do_job(struct client *cl, struct json_object *rq)
{
	struct disk_job_info i;
	struct json_object *o;
	int n = disk_of(cl, rq);

	if (n < 0)
		return;
	o = client_ok();
	if (disks_job(client_disks(cl), n, &i))
		add_job(o, &i);
	else
		json_object_object_add(o, "state", json_object_new_string("none"));
	client_answer(cl, o);
}

static void do_cancel(struct client *cl, struct json_object *rq)
{
	int n = disk_of(cl, rq);

	if (n < 0)
		return;
	disks_job_cancel(client_disks(cl), n);
	client_answer(cl, client_ok());
}

/* False after a refusal. */
static bool branch_of(struct client *cl, struct json_object *rq, struct disks_branch *b)
{
	int n = disk_of(cl, rq);

	if (n < 0)
		return false;
	*b = (struct disks_branch){ n, file_of(rq, "child"), file_of(rq, "snapshot") };
	if (b->child && b->snapshot)
		return true;
	client_refuse(cl, EINVAL, "child and snapshot must be absolute names of files");
	return false;
}

static void do_snapshot(struct client *cl, struct json_object *rq)
{
	struct disks_branch list[RUN_DISKS_MAX];
	struct json_object *disks;
	struct err e = ERR_INIT;
	size_t count = 1, i;
	u64 pause_ns = 0;

	if (json_object_object_get_ex(rq, "disks", &disks) && json_object_is_type(disks, json_type_array)) {
		count = json_object_array_length(disks);
		for (i = 0; i < count && i < RUN_DISKS_MAX; i++)
			if (!branch_of(cl, json_object_array_get_idx(disks, i), &list[i]))
				return;
	} else if (!branch_of(cl, rq, &list[0])) {
		return;
	}
	answer_pause(cl, disks_branch(client_disks(cl), list, count, &pause_ns, &e), pause_ns, &e);
}

static const struct {
	const char *name;
	client_fn *fn;
} commands[] = {
	{ "disk", do_disk },
	{ "disks", do_disks },
	{ "disk-attach", do_attach },
	{ "disk-cancel", do_cancel },
	{ "disk-coalesce", do_coalesce },
	{ "disk-detach", do_detach },
	{ "disk-insert", do_insert },
	{ "disk-job", do_job },
	{ "disk-mirror", do_mirror },
	{ "disk-on-error", do_on_error },
	{ "disk-resize", do_resize },
	{ "disk-throttle", do_throttle },
	{ "snapshot", do_snapshot },
};

client_fn *control_disk_find(const char *name)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(name, commands[i].name))
			return commands[i].fn;
	return NULL;
}
