// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The client's half of the control protocol: see userspace/vmm/control.h for the messages.
 *
 * A guest that is stuck must not hang its toolstack: connecting, sending and receiving all have
 * a time limit: a short one, but for what makes disks write.
 */
#include "liblodge/client.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/rundir.h"

#define TIMEOUT_S 10
#define LINE_ROOM (128 * 1024)	/* sixteen disks with long names, each byte perhaps escaped */

int client_error(struct lodge_error *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return -code;
	err->code = code;
	va_start(ap, fmt);
	vsnprintf(err->message, sizeof(err->message), fmt, ap);
	va_end(ap);
	return -code;
}

void client_patience(int fd, int seconds)
{
	struct timeval tv = { .tv_sec = seconds };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
}

int client_connect(const char *name, struct lodge_error *err)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct timeval tv = { .tv_sec = TIMEOUT_S };
	struct err e = ERR_INIT;
	int fd, r;

	if (rundir_file(sa.sun_path, sizeof(sa.sun_path), name, "ctl", &e) < 0)
		return client_error(err, e.code, "%s", e.msg);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return client_error(err, errno, "cannot make a socket: %s", strerror(errno));
	client_patience(fd, TIMEOUT_S);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	if (!connect(fd, (struct sockaddr *)&sa, sizeof(sa)))
		return fd;
	r = errno;
	close(fd);
	if (r == ENOENT || r == ECONNREFUSED)
		return client_error(err, ENOENT, "no guest named %s runs here; try: `lodge list`",
				    name);
	return client_error(err, r, "cannot reach guest %s: %s", name, strerror(r));
}

/* Byte by byte up to the newline: what follows it belongs to the caller. */
static int read_line(int fd, char *buf, size_t room)
{
	size_t n = 0;
	ssize_t r;

	while (n < room - 1) {
		r = recv(fd, buf + n, 1, 0);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		if (!r)
			return -ECONNRESET;
		if (buf[n] == '\n')
			break;
		n++;
	}
	buf[n] = '\0';
	return 0;
}

static int refusal(struct json_object *o, struct lodge_error *err)
{
	struct json_object *v;
	const char *why = "the guest refused";
	int code = EPROTO;

	if (json_object_object_get_ex(o, "code", &v) && json_object_get_int(v) > 0)
		code = json_object_get_int(v);
	if (json_object_object_get_ex(o, "error", &v))
		why = json_object_get_string(v);
	return client_error(err, code, "%s", why);
}

int client_ask(int fd, const char *request, struct json_object **reply, struct lodge_error *err)
{
	struct json_object *o, *ok;
	char *line;
	int r;

	line = malloc(LINE_ROOM);
	if (!line)
		return client_error(err, ENOMEM, "no memory for the guest's answer");
	if (send(fd, request, strlen(request), MSG_NOSIGNAL) < 0 ||
	    send(fd, "\n", 1, MSG_NOSIGNAL) < 0) {
		free(line);
		return client_error(err, errno, "cannot ask the guest: %s", strerror(errno));
	}
	r = read_line(fd, line, LINE_ROOM);
	o = r < 0 ? NULL : json_tokener_parse(line);
	free(line);
	if (r < 0)
		return client_error(err, -r, "the guest's process does not answer: %s",
				    strerror(-r));
	if (!o || !json_object_object_get_ex(o, "ok", &ok)) {
		json_object_put(o);
		return client_error(err, EPROTO, "the guest's process gave no sensible answer");
	}
	r = json_object_get_boolean(ok) ? 0 : refusal(o, err);
	if (!r && reply)
		*reply = o;
	else
		json_object_put(o);
	return r;
}

int client_call(const char *name, const char *request, struct json_object **reply,
		struct lodge_error *err)
{
	int fd = client_connect(name, err), r;

	if (fd < 0)
		return fd;
	r = client_ask(fd, request, reply, err);
	close(fd);
	return r;
}

void client_text(struct json_object *o, const char *key, char *buf, size_t room)
{
	struct json_object *v;

	buf[0] = '\0';
	if (json_object_object_get_ex(o, key, &v))
		snprintf(buf, room, "%s", json_object_get_string(v));
}

int64_t client_number(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? json_object_get_int64(v) : 0;
}
