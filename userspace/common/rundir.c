// SPDX-License-Identifier: LGPL-2.1-or-later
/* The run directory: names, locks, clean-up. */
#include "common/rundir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Nobody else can put anything there. */
static bool is_ours(const char *dir)
{
	struct stat st;

	return !lstat(dir, &st) && S_ISDIR(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 022);
}

/* A session has XDG_RUNTIME_DIR; su, cron and CI may not have it. */
static int user_path(char *buf, size_t room, unsigned int uid, struct err *e)
{
	struct stat st;

	snprintf(buf, room, "/run/user/%u", uid);
	if (is_ours(buf)) {
		snprintf(buf, room, "/run/user/%u/lodge", uid);
		return 0;
	}
	snprintf(buf, room, "/tmp/lodge-%u", uid);
	if (!is_ours(buf) && !lstat(buf, &st))
		return err_set(e, EPERM, "the run directory %s is not a directory of user %u that nobody else can write to; try: set "
			       "LODGE_RUN_DIR to a directory of yours", buf, uid);
	return 0;
}

int rundir_path(char *buf, size_t room, struct err *e)
{
	const char *dir = getenv("LODGE_RUN_DIR");
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	int n;

	if (dir && *dir)
		n = snprintf(buf, room, "%s", dir);
	else if (xdg && *xdg)
		n = snprintf(buf, room, "%s/lodge", xdg);
	else if (!geteuid())
		n = snprintf(buf, room, "/run/lodge");
	else
		return user_path(buf, room, geteuid(), e);
	if (n < 0 || (size_t)n >= room)
		return err_set(e, ENAMETOOLONG, "the run directory's name is too long");
	return 0;
}

int rundir_file(char *buf, size_t room, const char *name, const char *file, struct err *e)
{
	size_t len;
	int n, r;

	r = rundir_path(buf, room, e);
	if (r < 0)
		return r;
	len = strlen(buf);
	n = snprintf(buf + len, room - len, "/%s%s%s", name, *file ? "/" : "", file);
	if (n < 0 || (size_t)n >= room - len)
		return err_set(e, ENAMETOOLONG, "guest name %s: the path is too long", name);
	return 0;
}

static int make_dirs(const char *name, char *dir, size_t room, struct err *e)
{
	int r;

	r = rundir_path(dir, room, e);
	if (r < 0)
		return r;
	if (mkdir(dir, geteuid() ? 0700 : 0755) < 0 && errno != EEXIST)
		goto fail;
	r = rundir_file(dir, room, name, "", e);
	if (r < 0)
		return r;
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		goto fail;
	return 0;
fail:
	return err_set(e, errno,
		       "cannot create run directory %s: %s; try: set LODGE_RUN_DIR to a directory "
		       "of yours",
		       dir, strerror(errno));
}

int rundir_claim(const char *name, struct err *e)
{
	char path[200];
	int fd, r;

	r = make_dirs(name, path, sizeof(path), e);
	if (!r)
		r = rundir_file(path, sizeof(path), name, "lock", e);
	if (r < 0)
		return r;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(e, errno, "cannot create %s: %s", path, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		r = errno;
		close(fd);
		return err_set(e, r == EWOULDBLOCK ? EBUSY : r,
			       "a guest named %s runs already; try: another --name, or `lodge stop "
			       "%s`",
			       name, name);
	}
	return fd;
}

void rundir_release(const char *name, int lock_fd)
{
	static const char *const files[] = { "ctl", "lock", "" };
	char path[200];
	unsigned int i;

	for (i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		if (rundir_file(path, sizeof(path), name, files[i], NULL) < 0)
			continue;
		if (*files[i])
			unlink(path);
		else
			rmdir(path);
	}
	close(lock_fd);
}

bool rundir_alive(const char *name)
{
	char path[200];
	bool alive;
	int fd;

	if (rundir_file(path, sizeof(path), name, "lock", NULL) < 0)
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == EACCES;
	alive = flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
	close(fd);
	return alive;
}
