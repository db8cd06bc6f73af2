// SPDX-License-Identifier: LGPL-2.1-or-later
/* Guests: listing them and asking one of them. */
#include <dirent.h>
#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/rundir.h"
#include "common/size.h"
#include "liblodge/client.h"

#define LOG_MAX (1024 * 1024)

const char *lodge_version(void)
{
	return LODGE_VERSION;
}

int lodge_run_dir(char *buf, size_t room, struct lodge_error *err)
{
	struct err e = ERR_INIT;

	if (rundir_path(buf, room, &e) < 0)
		return client_error(err, e.code, "%s", e.msg);
	return 0;
}

static void sharing_of(struct json_object *guest, struct lodge_sharing *s)
{
	struct json_object *o;

	s->on = json_object_object_get_ex(guest, "sharing", &o);
	if (!s->on)
		return;
	s->private_bytes = client_number(o, "private");
	s->swapped = client_number(o, "swapped");
	s->shared = client_number(o, "shared");
	s->saved = client_number(o, "saved");
	s->breaks = client_number(o, "breaks");
	s->breaks_waited = client_number(o, "breaks_waited");
	s->unread = client_number(o, "unread");
	s->refused_busy = client_number(o, "refused_busy");
	s->refused_low = client_number(o, "refused_low");
	s->scanned = client_number(o, "scanned");
	s->group_frames = client_number(o, "group_frames");
	s->group_users = client_number(o, "group_users");
	s->reserve = client_number(o, "reserve");
	s->reserve_wanted = client_number(o, "reserve_wanted");
}

int lodge_info(const char *name, struct lodge_guest *g, struct lodge_error *err)
{
	struct json_object *o;
	int r;

	r = client_call(name, "{\"cmd\":\"info\"}", &o, err);
	if (r < 0)
		return r;
	memset(g, 0, sizeof(*g));
	client_text(o, "name", g->name, sizeof(g->name));
	client_text(o, "state", g->state, sizeof(g->state));
	client_text(o, "device", g->device, sizeof(g->device));
	client_text(o, "kernel", g->kernel, sizeof(g->kernel));
	client_text(o, "reason", g->reason, sizeof(g->reason));
	g->pid = client_number(o, "pid");
	g->memory = client_number(o, "memory");
	g->memory_target = client_number(o, "memory_target");
	g->memory_actual = client_number(o, "memory_actual");
	g->reported = client_number(o, "reported");
	g->balloon = client_number(o, "balloon");
	g->cpus = client_number(o, "cpus");
	g->uptime_ms = client_number(o, "uptime_ms");
	g->exits = client_number(o, "exits");
	g->resident = client_number(o, "resident");
	sharing_of(o, &g->sharing);
	json_object_put(o);
	return 0;
}

int lodge_info_json(const char *name, char **json, struct lodge_error *err)
{
	struct json_object *o;
	int r;

	r = client_call(name, "{\"cmd\":\"info\"}", &o, err);
	if (r < 0)
		return r;
	json_object_object_del(o, "ok");
	*json = strdup(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY));
	json_object_put(o);
	return *json ? 0 : client_error(err, ENOMEM, "no memory");
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct lodge_guest *)a)->name, ((const struct lodge_guest *)b)->name);
}

static int add_guest(struct lodge_guest **list, size_t *count, const char *name)
{
	struct lodge_guest *grown = realloc(*list, (*count + 1) * sizeof(**list));
	struct lodge_guest *g;

	if (!grown)
		return -ENOMEM;
	*list = grown;
	g = &grown[*count];
	if (lodge_info(name, g, NULL) < 0) {
		memset(g, 0, sizeof(*g));
		snprintf(g->name, sizeof(g->name), "%.63s", name);
		snprintf(g->state, sizeof(g->state), "unresponsive");
	}
	(*count)++;
	return 0;
}

int lodge_list(struct lodge_guest **guests, size_t *count, struct lodge_error *err)
{
	char path[200];
	struct dirent *d;
	DIR *dir;
	int r;

	*guests = NULL;
	*count = 0;
	r = lodge_run_dir(path, sizeof(path), err);
	if (r < 0)
		return r;
	dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? 0 :
					 client_error(err, errno, "cannot read %s: %s", path,
						      strerror(errno));
	while (!r && (d = readdir(dir)))
		if (name_valid(d->d_name) && rundir_alive(d->d_name))
			r = add_guest(guests, count, d->d_name);
	closedir(dir);
	if (r < 0) {
		free(*guests);
		*guests = NULL;
		*count = 0;
		return client_error(err, ENOMEM, "no memory for the list of guests");
	}
	if (*count)
		qsort(*guests, *count, sizeof(**guests), by_name);
	return 0;
}

int lodge_stop(const char *name, struct lodge_error *err)
{
	return client_call(name, "{\"cmd\":\"stop\"}", NULL, err);
}

int lodge_kill(const char *name, struct lodge_error *err)
{
	return client_call(name, "{\"cmd\":\"kill\"}", NULL, err);
}

int lodge_pause(const char *name, struct lodge_error *err)
{
	return client_call(name, "{\"cmd\":\"pause\"}", NULL, err);
}

int lodge_resume(const char *name, struct lodge_error *err)
{
	return client_call(name, "{\"cmd\":\"resume\"}", NULL, err);
}

int lodge_balloon(const char *name, uint64_t bytes, struct lodge_error *err)
{
	char rq[80];

	if (bytes > INT64_MAX)
		return client_error(err, EINVAL, "no guest has %llu bytes", (unsigned long long)bytes);
	snprintf(rq, sizeof(rq), "{\"cmd\":\"balloon\",\"memory\":%llu}", (unsigned long long)bytes);
	return client_call(name, rq, NULL, err);
}

int lodge_wait(const char *name, int timeout_ms, struct lodge_error *err)
{
	struct timespec nap = { 0, 50000000 };
	int waited = 0;

	while (rundir_alive(name)) {
		if (timeout_ms >= 0 && waited >= timeout_ms)
			return client_error(err, ETIMEDOUT, "guest %s still runs after %g s", name,
					    timeout_ms / 1000.0);
		nanosleep(&nap, NULL);
		waited += 50;
	}
	return 0;
}

static int read_bytes(int fd, char *buf, size_t len)
{
	size_t n = 0;
	ssize_t r;

	while (n < len) {
		r = recv(fd, buf + n, len - n, 0);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return r ? -errno : -ECONNRESET;
		n += r;
	}
	return 0;
}

int lodge_log(const char *name, char **text, size_t *len, struct lodge_error *err)
{
	struct json_object *o;
	int fd = client_connect(name, err), r;

	if (fd < 0)
		return fd;
	r = client_ask(fd, "{\"cmd\":\"log\"}", &o, err);
	if (!r) {
		*len = client_number(o, "length");
		json_object_put(o);
		*text = *len <= LOG_MAX ? malloc(*len + 1) : NULL;
		r = *text ? read_bytes(fd, *text, *len) : -ENOMEM;
		if (r < 0) {
			free(*text);
			*text = NULL;
			client_error(err, -r, "cannot read the log of %s: %s", name, strerror(-r));
		} else {
			(*text)[*len] = '\0';
		}
	}
	close(fd);
	return r;
}

int lodge_console(const char *name, struct lodge_error *err)
{
	struct timeval forever = { 0 };
	int fd = client_connect(name, err), r;

	if (fd < 0)
		return fd;
	r = client_ask(fd, "{\"cmd\":\"console\"}", NULL, err);
	if (r < 0) {
		close(fd);
		return r;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof(forever));
	return fd;
}

int lodge_console_resize(const char *name, unsigned int cols, unsigned int rows,
			 struct lodge_error *err)
{
	char rq[80];

	snprintf(rq, sizeof(rq), "{\"cmd\":\"resize\",\"cols\":%u,\"rows\":%u}", cols, rows);
	return client_call(name, rq, NULL, err);
}
