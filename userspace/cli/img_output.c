// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Output files that appear whole or not at all.
 *
 * The image is made under a temporary name in the target's directory and
 * renamed when it is complete and synced. An existing file is replaced only
 * by --force, and then in that one step. A block device has no such step.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/img.h"
#include "cli/print.h"

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
	stop = number;
}

bool img_interrupted(void)
{
	return stop;
}

void img_catch_signals(void)
{
	struct sigaction sa = { .sa_handler = on_signal };

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
}

int img_output_begin(struct img_output *o, const char *path, bool force)
{
	const char *slash = strrchr(path, '/');
	int dir = slash ? (int)(slash - path) + 1 : 0;
	struct stat st;

	memset(o, 0, sizeof(*o));
	o->force = force;
	if (snprintf(o->path, sizeof(o->path), "%s", path) >= (int)sizeof(o->path) - 32)
		return print_error("the name '%.60s...' is too long", path);
	if (!stat(path, &st)) {
		if (S_ISBLK(st.st_mode)) {
			o->device = true;
		} else if (!S_ISREG(st.st_mode)) {
			return print_error("'%s' is neither a regular file nor a block device", path);
		} else if (!force) {
			return print_error("'%s' exists already; choose another name or use --force", path);
		}
	}
	if (o->device)
		strcpy(o->temporary, o->path);
	else if (snprintf(o->temporary, sizeof(o->temporary), "%.*s.%s.%ld.tmp", dir, path, path + dir,
			  (long)getpid()) >= (int)sizeof(o->temporary))
		return print_error("the name '%.60s...' is too long", path);
	img_catch_signals();
	return 0;
}

static int sync_directory(const char *path)
{
	char dir[4096];
	char *slash;
	int fd, ret = 0;

	snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (slash)
		slash[1] = 0;
	fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* Some file systems cannot sync a directory; that is no failure of ours. */
	if (fsync(fd) && errno != EINVAL)
		ret = -errno;
	close(fd);
	return ret;
}

int img_output_commit(struct img_output *o)
{
	int ret;

	if (o->device)
		return 0;
	ret = renameat2(AT_FDCWD, o->temporary, AT_FDCWD, o->path, o->force ? 0 : RENAME_NOREPLACE);
	/* File systems without RENAME_NOREPLACE: a hard link refuses as well. */
	if (ret && errno == EINVAL && !o->force) {
		ret = link(o->temporary, o->path);
		if (!ret)
			unlink(o->temporary);
	}
	if (ret) {
		ret = errno;
		img_output_abort(o);
		return print_error("cannot put '%s' into its place: %s", o->path, strerror(ret));
	}
	ret = sync_directory(o->path);
	if (ret)
		return print_error("cannot sync the directory of '%s': %s", o->path, strerror(-ret));
	return 0;
}

void img_output_abort(struct img_output *o)
{
	if (!o->device)
		unlink(o->temporary);
}
