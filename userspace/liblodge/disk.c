// SPDX-License-Identifier: LGPL-2.1-or-later
/* A running guest's disks. */
#include <errno.h>
#include <json-c/json.h>
#include <limits.h>
#include <lodge/lodge.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "liblodge/client.h"

#define PAUSE_TIMEOUT_S 120

/* A request about one disk, to be filled. */
static struct json_object *request(const char *cmd, unsigned int disk)
{
	struct json_object *rq = json_object_new_object();

	json_object_object_add(rq, "cmd", json_object_new_string(cmd));
	json_object_object_add(rq, "disk", json_object_new_int64(disk));
	return rq;
}

static void add_text(struct json_object *rq, const char *key, const char *text)
{
	if (text)
		json_object_object_add(rq, key, json_object_new_string(text));
}

/* Sends the request and frees it. *answer: NULL when it is not wanted. */
static int ask(const char *name, struct json_object *rq, struct json_object **answer, struct lodge_error *err)
{
	int r = client_call(name, json_object_to_json_string_ext(rq, JSON_C_TO_STRING_PLAIN), answer, err);

	json_object_put(rq);
	return r;
}

static void disk_from(struct lodge_disk *d, struct json_object *o)
{
	memset(d, 0, sizeof(*d));
	d->number = client_number(o, "disk");
	client_text(o, "path", d->path, sizeof(d->path));
	client_text(o, "format", d->format, sizeof(d->format));
	client_text(o, "on_error", d->on_error, sizeof(d->on_error));
	client_text(o, "group", d->group, sizeof(d->group));
	d->readonly = client_number(o, "readonly");
	d->removable = client_number(o, "removable");
	d->leaving = client_number(o, "leaving");
	d->gone = client_number(o, "gone");
	d->capacity = client_number(o, "capacity");
	d->iops = client_number(o, "iops");
	d->iops_burst = client_number(o, "iops_burst");
	d->bps = client_number(o, "bps");
	d->bps_burst = client_number(o, "bps_burst");
	d->reads = client_number(o, "reads");
	d->read_bytes = client_number(o, "read_bytes");
	d->writes = client_number(o, "writes");
	d->written_bytes = client_number(o, "written_bytes");
	d->flushes = client_number(o, "flushes");
	d->discards = client_number(o, "discards");
	d->errors = client_number(o, "errors");
	d->ignored = client_number(o, "ignored");
	d->throttled = client_number(o, "throttled");
}

int lodge_disks(const char *name, struct lodge_disk **disks, size_t *count, struct lodge_error *err)
{
	struct json_object *o, *list;
	size_t n = 0, i;
	int r;

	*disks = NULL;
	*count = 0;
	r = client_call(name, "{\"cmd\":\"disks\"}", &o, err);
	if (r < 0)
		return r;
	if (json_object_object_get_ex(o, "disks", &list) && json_object_is_type(list, json_type_array))
		n = json_object_array_length(list);
	*disks = calloc(n ? n : 1, sizeof(**disks));
	for (i = 0; *disks && i < n; i++)
		disk_from(&(*disks)[i], json_object_array_get_idx(list, i));
	json_object_put(o);
	if (!*disks)
		return client_error(err, ENOMEM, "no memory for the list of disks");
	*count = n;
	return 0;
}

int lodge_disk_on_error(const char *name, unsigned int disk, const char *on_error, struct lodge_error *err)
{
	struct json_object *rq = request("disk-on-error", disk);

	add_text(rq, "on_error", on_error);
	return ask(name, rq, NULL, err);
}

int lodge_disk_throttle(const char *name, unsigned int disk, const struct lodge_disk_limits *limits, struct lodge_error *err)
{
	struct json_object *rq = request("disk-throttle", disk);
	const struct {
		const char *key;
		uint64_t n;
	} numbers[] = {
		{ "iops", limits->iops }, { "bps", limits->bps },
		{ "iops_burst", limits->iops_burst }, { "bps_burst", limits->bps_burst },
	};
	unsigned int i;

	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		json_object_object_add(rq, numbers[i].key,
				       json_object_new_int64(numbers[i].n > INT64_MAX ? INT64_MAX : (int64_t)numbers[i].n));
	add_text(rq, "group", limits->group);
	return ask(name, rq, NULL, err);
}

/* A specification, and the directory that its relative path counts from. */
static int add_spec(struct json_object *rq, const char *spec, struct lodge_error *err)
{
	char dir[PATH_MAX];

	if (!getcwd(dir, sizeof(dir)))
		return client_error(err, errno, "cannot tell the present directory: %s", strerror(errno));
	add_text(rq, "spec", spec);
	add_text(rq, "dir", dir);
	return 0;
}

int lodge_disk_attach(const char *name, const char *spec, unsigned int *disk, struct lodge_error *err)
{
	struct json_object *rq = request("disk-attach", 0), *o;
	int r = add_spec(rq, spec, err);

	if (r < 0) {
		json_object_put(rq);
		return r;
	}
	r = ask(name, rq, &o, err);
	if (r < 0)
		return r;
	if (disk)
		*disk = client_number(o, "disk");
	json_object_put(o);
	return 0;
}

int lodge_disk_detach(const char *name, unsigned int disk, int force, struct lodge_error *err)
{
	struct json_object *rq = request("disk-detach", disk);

	json_object_object_add(rq, "force", json_object_new_boolean(force));
	return ask(name, rq, NULL, err);
}

int lodge_disk_insert(const char *name, unsigned int disk, const char *spec, struct lodge_error *err)
{
	struct json_object *rq = request("disk-insert", disk);
	int r = spec ? add_spec(rq, spec, err) : 0;

	if (r < 0) {
		json_object_put(rq);
		return r;
	}
	return ask(name, rq, NULL, err);
}

/* Sends a request that makes disks stand still for a moment, after they have written what they had to; frees it. */
static int ask_pause(const char *name, struct json_object *rq, uint64_t *pause_us, struct lodge_error *err)
{
	struct json_object *o;
	int fd = client_connect(name, err), r = fd;

	if (fd >= 0) {
		client_patience(fd, PAUSE_TIMEOUT_S);
		r = client_ask(fd, json_object_to_json_string_ext(rq, JSON_C_TO_STRING_PLAIN), &o, err);
		close(fd);
	}
	json_object_put(rq);
	if (r < 0)
		return r;
	if (pause_us)
		*pause_us = client_number(o, "pause_us");
	json_object_put(o);
	return 0;
}

int lodge_disk_resize(const char *name, unsigned int disk, uint64_t bytes, uint64_t *pause_us, struct lodge_error *err)
{
	struct json_object *rq = request("disk-resize", disk);

	json_object_object_add(rq, "size", json_object_new_int64(bytes > INT64_MAX ? INT64_MAX : (int64_t)bytes));
	return ask_pause(name, rq, pause_us, err);
}

/* Sends a request that begins a job, and frees it. */
static int ask_job(const char *name, struct json_object *rq, unsigned int *job, struct lodge_error *err)
{
	struct json_object *o;
	int r = ask(name, rq, &o, err);

	if (r < 0)
		return r;
	if (job)
		*job = client_number(o, "job");
	json_object_put(o);
	return 0;
}

int lodge_disk_coalesce(const char *name, unsigned int disk, const char *image, unsigned int *job, struct lodge_error *err)
{
	struct json_object *rq = request("disk-coalesce", disk);

	add_text(rq, "image", image);
	return ask_job(name, rq, job, err);
}

int lodge_disk_mirror(const char *name, unsigned int disk, const char *target, unsigned int *job, struct lodge_error *err)
{
	struct json_object *rq = request("disk-mirror", disk);
	int r = add_spec(rq, target, err);

	if (!r)
		return ask_job(name, rq, job, err);
	json_object_put(rq);
	return r;
}

int lodge_disk_job(const char *name, unsigned int disk, struct lodge_disk_job *job, struct lodge_error *err)
{
	struct json_object *o;
	int r = ask(name, request("disk-job", disk), &o, err);

	if (r < 0)
		return r;
	memset(job, 0, sizeof(*job));
	job->number = client_number(o, "job");
	client_text(o, "state", job->state, sizeof(job->state));
	client_text(o, "kind", job->kind, sizeof(job->kind));
	job->behind = client_number(o, "behind");
	job->done = client_number(o, "done");
	job->total = client_number(o, "total");
	client_text(o, "image", job->image, sizeof(job->image));
	client_text(o, "into", job->into, sizeof(job->into));
	job->pause_us = client_number(o, "pause_us");
	job->error.code = client_number(o, "code");
	client_text(o, "error", job->error.message, sizeof(job->error.message));
	json_object_put(o);
	return 0;
}

int lodge_disk_cancel(const char *name, unsigned int disk, struct lodge_error *err)
{
	return ask(name, request("disk-cancel", disk), NULL, err);
}

int lodge_disk(const char *name, unsigned int disk, char *path, size_t room, struct lodge_error *err)
{
	struct json_object *o;
	int r = ask(name, request("disk", disk), &o, err);

	if (r < 0)
		return r;
	client_text(o, "path", path, room);
	json_object_put(o);
	return path[0] == '/' ? 0 : client_error(err, EPROTO, "guest %s does not say which file its disk is", name);
}

int lodge_snapshots(const char *name, const struct lodge_branch *list, size_t count, uint64_t *pause_us,
		    struct lodge_error *err)
{
	struct json_object *rq = json_object_new_object(), *disks = json_object_new_array(), *one;
	size_t i;

	add_text(rq, "cmd", "snapshot");
	for (i = 0; i < count; i++) {
		one = json_object_new_object();
		json_object_object_add(one, "disk", json_object_new_int64(list[i].disk));
		add_text(one, "child", list[i].child);
		add_text(one, "snapshot", list[i].snapshot);
		json_object_array_add(disks, one);
	}
	json_object_object_add(rq, "disks", disks);
	return ask_pause(name, rq, pause_us, err);
}

int lodge_snapshot(const char *name, unsigned int disk, const char *child, const char *snapshot, uint64_t *pause_us,
		   struct lodge_error *err)
{
	return lodge_snapshots(name, &(struct lodge_branch){ disk, child, snapshot }, 1, pause_us, err);
}
