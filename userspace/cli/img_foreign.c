// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Images of other programs: qcow2, VMDK, VHDX. What they hold is for a program
 * to say that is kept for it, qemu-img, which is run with a raw file between
 * it and us.
 *
 * Such an image can name further files: one that it stands on, one that holds
 * its data, its extents. qemu-img would open what is named, so a stranger's
 * image could have any file of the host copied into a disk. One that names
 * others is refused, before anything of it is read.
 */
#include "cli/img_foreign.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lodge/lodge.h>

#include "cli/img.h"
#include "cli/print.h"

#define ANSWER_ROOM (1u << 20)

extern char **environ;

static const char *const formats[] = { "qcow2", "vmdk", "vhdx" };

const char *img_foreign_format(const char *word, const char *format, const char **path)
{
	const char *dot = strrchr(word, '.');
	unsigned int i;

	for (i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		size_t n = strlen(formats[i]);
		bool prefix = !strncmp(word, formats[i], n) && word[n] == ':';

		if (format ? strcmp(format, formats[i]) : !prefix && (!dot || strcasecmp(dot + 1, formats[i])))
			continue;
		*path = prefix ? word + n + 1 : word;
		return formats[i];
	}
	return NULL;
}

/* @out: its standard output, or -1 for ours. 0, or an exit code after a message. */
static int start(const char *const *argv, int out, pid_t *pid)
{
	posix_spawn_file_actions_t f;
	int ret;

	posix_spawn_file_actions_init(&f);
	/* Progress is no result. */
	posix_spawn_file_actions_adddup2(&f, out < 0 ? STDERR_FILENO : out, STDOUT_FILENO);
	ret = posix_spawnp(pid, argv[0], &f, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&f);
	if (ret == ENOENT)
		return print_error("qemu-img is needed for qcow2, VMDK and VHDX images, and is not there; try: apt-get install qemu-utils");
	if (ret)
		return print_error("cannot start qemu-img: %s", strerror(ret));
	return 0;
}

/* Waits; it has said itself what went wrong. */
static int finish(pid_t pid, const char *path)
{
	int status;

	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return print_error("cannot wait for qemu-img: %s", strerror(errno));
		if (img_interrupted())
			kill(pid, SIGTERM);
	}
	if (img_interrupted())
		return print_error("interrupted; nothing was left behind");
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return 0;
	return print_error("qemu-img has failed on '%s'", path);
}

static int read_all(int fd, char *buf, size_t room)
{
	size_t n = 0;
	ssize_t r;

	do {
		r = read(fd, buf + n, room - 1 - n);
		if (r > 0)
			n += r;
	} while (r > 0 || (r < 0 && errno == EINTR && !img_interrupted()));
	buf[n] = '\0';
	return 0;
}

static struct json_object *member(struct json_object *o, const char *key)
{
	struct json_object *v = NULL;

	return o && json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, key, &v) ? v : NULL;
}

/* What else the image names; NULL: nothing. */
static const char *names_other(struct json_object *info, const char *path)
{
	struct json_object *data = member(member(info, "format-specific"), "data"), *o, *extents;
	size_t i;

	o = member(info, "backing-filename");
	if (!o)
		o = member(data, "data-file");
	if (o)
		return json_object_get_string(o);
	extents = member(data, "extents");
	for (i = 0; extents && json_object_is_type(extents, json_type_array) && i < json_object_array_length(extents); i++) {
		o = member(json_object_array_get_idx(extents, i), "filename");
		if (!o || strcmp(json_object_get_string(o), path))
			return o ? json_object_get_string(o) : "?";
	}
	return NULL;
}

static int stands_alone(const char *path, const char *file, const char *format)
{
	const char *const argv[] = { "qemu-img", "info", "--output=json", "-f", format, file, NULL };
	struct json_object *info;
	const char *other;
	char *answer;
	int p[2], ret;
	pid_t pid;

	answer = malloc(ANSWER_ROOM);
	if (!answer || pipe2(p, O_CLOEXEC)) {
		free(answer);
		return print_error("out of memory or descriptors");
	}
	ret = start(argv, p[1], &pid);
	close(p[1]);
	if (!ret) {
		read_all(p[0], answer, ANSWER_ROOM);
		/* More than any image says of itself: it must not wait for us. */
		close(p[0]);
		p[0] = -1;
		ret = finish(pid, path);
	}
	if (p[0] >= 0)
		close(p[0]);
	info = ret ? NULL : json_tokener_parse(answer);
	free(answer);
	if (ret)
		return ret;
	other = info ? names_other(info, path) : NULL;
	if (!info)
		ret = print_error("qemu-img says nothing sensible of '%s'", path);
	else if (other)
		ret = print_error("'%s' needs another file, '%.300s'; an image can name any file of this host, so put it into one file first: qemu-img convert -O qcow2",
				  path, other);
	json_object_put(info);
	return ret;
}

static int convert(const char *from, const char *from_format, const char *to, const char *to_format, const char *told,
		   bool progress)
{
	const char *const argv[] = { "qemu-img", "convert", progress ? "-p" : "-q", "-f", from_format, "-O", to_format, from, to,
				     NULL };
	pid_t pid;
	int ret = start(argv, -1, &pid);

	return ret ? ret : finish(pid, told);
}

int img_foreign_read(const char *path, const char *format, const char *raw, bool progress)
{
	char file[4200];
	int ret;

	/* Names are never to be taken for network addresses. */
	snprintf(file, sizeof(file), "file:%s", path);
	ret = stands_alone(path, file, format);
	return ret ? ret : convert(file, format, raw, "raw", path, progress);
}

int img_foreign_write(const char *raw, const char *path, const char *format, bool progress)
{
	return convert(raw, "raw", path, format, path, progress);
}
