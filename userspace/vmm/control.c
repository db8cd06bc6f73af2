// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The control socket's server.
 *
 * A client is one connection with a line buffer, which grows with the line; one longer than
 * LINE_MAX_LEN ends the connection. Answers are written at once; a client that does not read its
 * answer loses it. The socket can be reached by the guest's owner only (directory 0700).
 */
#include "vmm/control.h"

#include <errno.h>
#include <json-c/json.h>
#include <limits.h>
#include <lodge/lodge.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <uapi/lodge.h>
#include <unistd.h>

#include "common/log.h"
#include "common/rundir.h"
#include "virtio/virtio_balloon.h"
#include "vmm/control_client.h"
#include "vmm/disks.h"

#define CLIENTS 16
#define PAGE 4096ULL
#define LINE_START_LEN 1024
#define LOG_ROOM (64 * 1024)
#define BALLOON_LEAST (16 * MIB)	/* less, and the guest only fights for its life */

struct control {
	struct loop *loop;
	struct machine *m;
	struct console *con;
	struct devices *devices;
	struct control_config cfg;
	const struct control_ops *ops;
	void *ctx;
	struct loop_source src;
	int fd;
	struct timespec started;
	struct client client[CLIENTS];
};

/* The connection is somebody else's from now on. */
static int client_leave(struct client *cl)
{
	int fd = cl->fd;

	loop_del(cl->c->loop, &cl->src);
	cl->fd = -1;
	free(cl->line);
	cl->line = NULL;
	cl->len = cl->room = 0;
	return fd;
}

static void client_close(struct client *cl)
{
	close(client_leave(cl));
}

static void send_all(struct client *cl, const void *data, size_t len)
{
	const char *p = data;
	ssize_t n;

	while (len) {
		n = send(cl->fd, p, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n <= 0)
			return;
		p += n;
		len -= n;
	}
}

void client_answer(struct client *cl, struct json_object *o)
{
	const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);

	send_all(cl, text, strlen(text));
	send_all(cl, "\n", 1);
	json_object_put(o);
}

struct json_object *client_ok(void)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "ok", json_object_new_boolean(1));
	return o;
}

void client_refuse(struct client *cl, int code, const char *why)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "ok", json_object_new_boolean(0));
	json_object_object_add(o, "code", json_object_new_int(code));
	json_object_object_add(o, "error", json_object_new_string(why));
	client_answer(cl, o);
}

static u64 resident_bytes(void)
{
	unsigned long long size = 0, rss = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (f && fscanf(f, "%llu %llu", &size, &rss) != 2)
		rss = 0;
	if (f)
		fclose(f);
	return rss * 4096;
}

static const char *state_name(enum machine_state s)
{
	switch (s) {
	case MACHINE_RUNNING:
		return "running";
	case MACHINE_PAUSED:
		return "paused";
	case MACHINE_ENDED:
		return "ended";
	default:
		return "starting";
	}
}

/* What the guest may use, and does: all but what the balloon holds. */
static void add_memory(struct control *c, struct json_object *o)
{
	struct virtio_dev *balloon = devices_balloon(c->devices);
	struct virtio_balloon_stats st;
	u64 held;

	virtio_balloon_stats(balloon, &st);
	held = st.actual_bytes < c->cfg.mem ? st.actual_bytes : c->cfg.mem;
	json_object_object_add(o, "memory", json_object_new_int64(c->cfg.mem));
	json_object_object_add(o, "memory_target", json_object_new_int64(c->cfg.mem - st.target_bytes));
	json_object_object_add(o, "memory_actual", json_object_new_int64(c->cfg.mem - held));
	json_object_object_add(o, "reported", json_object_new_int64(st.reported_bytes));
	json_object_object_add(o, "balloon", json_object_new_boolean(virtio_dev_live(balloon)));
}

/* What guest memory that is a file says of itself: bytes, but for counts. */
static void add_shared(struct control *c, struct json_object *o)
{
	struct lodge_guest_file_stats st;
	struct json_object *s;

	if (mem_file_stats(machine_board(c->m)->mem, &st) < 0)
		return;
	s = json_object_new_object();
	json_object_object_add(s, "private", json_object_new_int64(st.private_pages * PAGE));
	json_object_object_add(s, "swapped", json_object_new_int64(st.swapped_pages * PAGE));
	json_object_object_add(s, "shared", json_object_new_int64(st.shared_pages * PAGE));
	json_object_object_add(s, "saved", json_object_new_int64(st.saved_pages * PAGE));
	json_object_object_add(s, "breaks", json_object_new_int64(st.breaks));
	json_object_object_add(s, "breaks_waited", json_object_new_int64(st.breaks_waited));
	json_object_object_add(s, "unread", json_object_new_int64(disks_unread(devices_disks(c->devices))));
	json_object_object_add(s, "refused_busy", json_object_new_int64(st.refused_busy));
	json_object_object_add(s, "refused_low", json_object_new_int64(st.refused_low));
	json_object_object_add(s, "scanned", json_object_new_int64(st.scanned));
	json_object_object_add(s, "group_frames", json_object_new_int64(st.group_frames * PAGE));
	json_object_object_add(s, "group_users", json_object_new_int64(st.group_users * PAGE));
	json_object_object_add(s, "reserve", json_object_new_int64(st.reserve_frames * PAGE));
	json_object_object_add(s, "reserve_wanted", json_object_new_int64(st.reserve_wanted * PAGE));
	json_object_object_add(o, "sharing", s);
}

static void do_info(struct client *cl, struct json_object *rq)
{
	struct control *c = cl->c;
	struct json_object *o = client_ok();
	struct timespec now;
	char why[512];
	s64 ms;

	(void)rq;
	clock_gettime(CLOCK_MONOTONIC, &now);
	ms = (now.tv_sec - c->started.tv_sec) * 1000LL +
	     (now.tv_nsec - c->started.tv_nsec) / 1000000;
	json_object_object_add(o, "name", json_object_new_string(c->cfg.name));
	json_object_object_add(o, "pid", json_object_new_int(getpid()));
	json_object_object_add(o, "state",
			       json_object_new_string(state_name(machine_state(c->m))));
	if (disks_stopped(devices_disks(c->devices), why, sizeof(why)))
		json_object_object_add(o, "reason", json_object_new_string(why));
	add_memory(c, o);
	add_shared(c, o);
	json_object_object_add(o, "cpus", json_object_new_int(c->cfg.cpus));
	json_object_object_add(o, "uptime_ms", json_object_new_int64(ms));
	json_object_object_add(o, "exits", json_object_new_int64(machine_exits(c->m)));
	json_object_object_add(o, "resident", json_object_new_int64(resident_bytes()));
	json_object_object_add(o, "device", json_object_new_string(c->cfg.device));
	json_object_object_add(o, "kernel", json_object_new_string(c->cfg.kernel));
	client_answer(cl, o);
}

struct disks *client_disks(struct client *cl)
{
	return devices_disks(cl->c->devices);
}

static void do_stop(struct client *cl, struct json_object *rq)
{
	(void)rq;
	machine_press_power(cl->c->m);
	client_answer(cl, client_ok());
}

static void do_kill(struct client *cl, struct json_object *rq)
{
	(void)rq;
	client_answer(cl, client_ok());
	cl->c->ops->kill(cl->c->ctx);
}

static void do_pause(struct client *cl, struct json_object *rq)
{
	(void)rq;
	machine_pause(cl->c->m);
	client_answer(cl, client_ok());
}

static void do_resume(struct client *cl, struct json_object *rq)
{
	struct err e = ERR_INIT;

	(void)rq;
	disks_retry(devices_disks(cl->c->devices));
	if (machine_start(cl->c->m, &e) < 0)
		client_refuse(cl, e.code, e.msg);
	else
		client_answer(cl, client_ok());
}

static void do_log(struct client *cl, struct json_object *rq)
{
	char *buf = malloc(LOG_ROOM);
	struct json_object *o;
	int room = 2 * LOG_ROOM;
	size_t n;

	(void)rq;
	if (!buf) {
		client_refuse(cl, ENOMEM, "no memory");
		return;
	}
	/* The whole answer must fit into the socket, since it is not waited for. */
	setsockopt(cl->fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	n = console_log(cl->c->con, buf, LOG_ROOM);
	o = client_ok();
	json_object_object_add(o, "length", json_object_new_int64(n));
	client_answer(cl, o);
	send_all(cl, buf, n);
	free(buf);
}

static void do_console(struct client *cl, struct json_object *rq)
{
	struct err e = ERR_INIT;
	int fd;

	(void)rq;
	client_answer(cl, client_ok());
	fd = client_leave(cl);
	if (console_attach(cl->c->con, fd, &e) < 0)
		close(fd);
}

static void do_balloon(struct client *cl, struct json_object *rq)
{
	struct control *c = cl->c;
	struct json_object *v;
	s64 bytes = -1;

	if (json_object_object_get_ex(rq, "memory", &v) && json_object_is_type(v, json_type_int))
		bytes = json_object_get_int64(v);
	if (bytes < (s64)BALLOON_LEAST || (u64)bytes > c->cfg.mem) {
		client_refuse(cl, EINVAL, "memory must be from 16 MiB to all that the guest was given");
		return;
	}
	virtio_balloon_set_target(devices_balloon(c->devices), c->cfg.mem - bytes);
	client_answer(cl, client_ok());
}

static unsigned int number_of(struct json_object *rq, const char *key)
{
	struct json_object *v;
	s64 n;

	if (!json_object_object_get_ex(rq, key, &v))
		return 0;
	n = json_object_get_int64(v);
	return n < 0 || n > 10000 ? 0 : n;
}

static void do_resize(struct client *cl, struct json_object *rq)
{
	unsigned int cols = number_of(rq, "cols"), rows = number_of(rq, "rows");

	if (!cols || !rows) {
		client_refuse(cl, EINVAL, "cols and rows must be from 1 to 10000");
		return;
	}
	devices_console_size(cl->c->devices, cols, rows);
	client_answer(cl, client_ok());
}

static const struct {
	const char *name;
	client_fn *fn;
} commands[] = {
	{ "info", do_info },	 { "stop", do_stop }, { "kill", do_kill },
	{ "pause", do_pause },	 { "log", do_log },   { "resume", do_resume },
	{ "console", do_console }, { "resize", do_resize },
	{ "balloon", do_balloon },
};

static client_fn *find(const char *name)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(name, commands[i].name))
			return commands[i].fn;
	return control_disk_find(name);
}

static void serve(struct client *cl, struct json_object *rq)
{
	struct json_object *cmd;
	const char *name = NULL;
	client_fn *fn = NULL;

	if (rq && json_object_is_type(rq, json_type_object) &&
	    json_object_object_get_ex(rq, "cmd", &cmd))
		name = json_object_get_string(cmd);
	if (name)
		fn = find(name);
	if (!name)
		client_refuse(cl, EINVAL, "a request is an object with a \"cmd\"");
	else if (!fn)
		client_refuse(cl, ENOTSUP, "unknown command");
	else
		fn(cl, rq);
	json_object_put(rq);
}

/* Room for at least one byte more; false: the line is too long. */
static bool line_room(struct client *cl)
{
	size_t room = cl->room ? 2 * cl->room : LINE_START_LEN;
	char *line;

	if (cl->len < cl->room)
		return true;
	line = room <= LINE_MAX_LEN ? realloc(cl->line, room) : NULL;
	if (!line)
		return false;
	cl->line = line;
	cl->room = room;
	return true;
}

static void on_client(void *ctx, u32 events)
{
	struct client *cl = ctx;
	struct json_object *rq;
	ssize_t n;
	char *nl;

	(void)events;
	if (!line_room(cl)) {
		client_close(cl);
		return;
	}
	n = recv(cl->fd, cl->line + cl->len, cl->room - cl->len, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		client_close(cl);
		return;
	}
	cl->len += n;
	while (cl->fd >= 0 && (nl = memchr(cl->line, '\n', cl->len))) {
		*nl++ = '\0';
		rq = json_tokener_parse(cl->line);
		cl->len -= nl - cl->line;
		memmove(cl->line, nl, cl->len);
		serve(cl, rq);
	}
}

static void on_connect(void *ctx, u32 events)
{
	struct control *c = ctx;
	struct client *cl = NULL;
	unsigned int i;
	int fd;

	(void)events;
	fd = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	for (i = 0; i < CLIENTS && !cl; i++)
		if (c->client[i].fd < 0)
			cl = &c->client[i];
	if (!cl) {
		close(fd);
		return;
	}
	cl->c = c;
	cl->fd = fd;
	if (loop_add(c->loop, &cl->src, fd, EPOLLIN, on_client, cl) < 0)
		client_close(cl);
}

static int listen_at(const char *path, struct err *e)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	mode_t old;
	int fd, r;

	if (strlen(path) >= sizeof(sa.sun_path))
		return err_set(e, ENAMETOOLONG,
			       "control socket %s: the path is too long; try: a shorter "
			       "LODGE_RUN_DIR or --name",
			       path);
	strcpy(sa.sun_path, path);
	unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(e, errno, "cannot make a socket: %s", strerror(errno));
	old = umask(0177);
	r = bind(fd, (struct sockaddr *)&sa, sizeof(sa));
	umask(old);
	if (r < 0 || listen(fd, 8) < 0) {
		r = errno;
		close(fd);
		return err_set(e, r, "cannot listen at %s: %s", path, strerror(r));
	}
	return fd;
}

struct control *control_create(struct loop *loop, struct machine *m, struct console *con,
			       struct devices *devices, const struct control_config *cfg,
			       const struct control_ops *ops, void *ctx, struct err *e)
{
	struct control *c = calloc(1, sizeof(*c));
	char path[200];
	unsigned int i;

	if (!c) {
		err_set(e, ENOMEM, "no memory for the control socket");
		return NULL;
	}
	for (i = 0; i < CLIENTS; i++)
		c->client[i].fd = -1;
	c->loop = loop;
	c->m = m;
	c->con = con;
	c->devices = devices;
	c->cfg = *cfg;
	c->ops = ops;
	c->ctx = ctx;
	clock_gettime(CLOCK_MONOTONIC, &c->started);
	c->fd = -1;
	if (!rundir_file(path, sizeof(path), cfg->name, "ctl", e))
		c->fd = listen_at(path, e);
	if (c->fd < 0 || loop_add(loop, &c->src, c->fd, EPOLLIN, on_connect, c) < 0) {
		control_destroy(c);
		return NULL;
	}
	return c;
}

void control_destroy(struct control *c)
{
	unsigned int i;

	if (!c)
		return;
	for (i = 0; i < CLIENTS; i++)
		if (c->client[i].fd >= 0)
			client_close(&c->client[i]);
	loop_del(c->loop, &c->src);
	if (c->fd >= 0)
		close(c->fd);
	free(c);
}
