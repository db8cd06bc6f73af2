// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What this host has or lacks for running guests.
 *
 * What a program can try is tried (opening the node), the rest is read from /proc, /sys, /dev and /etc;
 * nothing is changed. All paths go through doctor_path(), so that a tree of files can stand for a host:
 * that is how the findings are tested that a test machine cannot show.
 */
#include "liblodge/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/kvm.h>
#include <unistd.h>

void doctor_add(struct doctor *d, const char *name, int ok, const char *remedy, const char *fmt, ...)
{
	struct lodge_check *c;
	va_list ap;

	if (d->count == d->room)
		return;
	c = &d->list[d->count++];
	c->ok = ok;
	snprintf(c->name, sizeof(c->name), "%s", name);
	snprintf(c->remedy, sizeof(c->remedy), "%s", ok == DOCTOR_OK ? "" : remedy);
	va_start(ap, fmt);
	vsnprintf(c->found, sizeof(c->found), fmt, ap);
	va_end(ap);
}

bool doctor_path(const struct doctor *d, char *buf, size_t room, const char *path)
{
	return (size_t)snprintf(buf, room, "%s%s", d->root, path) < room;
}

bool doctor_exists(const struct doctor *d, const char *path)
{
	char full[512];

	return doctor_path(d, full, sizeof(full), path) && !access(full, F_OK);
}

ssize_t doctor_read(const struct doctor *d, const char *path, char *buf, size_t room)
{
	char full[512];
	ssize_t n = -1;
	int fd;

	buf[0] = '\0';
	if (!doctor_path(d, full, sizeof(full), path))
		return -1;
	fd = open(full, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -1;
	n = read(fd, buf, room - 1);
	close(fd);
	if (n < 0)
		n = 0;
	if (n && buf[n - 1] == '\n')
		n--;
	buf[n] = '\0';
	return n;
}

static bool holds_word(const char *line, const char *word)
{
	static const char edge[] = " \t\n:,\"'";
	size_t len = strlen(word);
	const char *p;

	for (p = strstr(line, word); p; p = strstr(p + 1, word)) {
		if ((p == line || strchr(edge, p[-1])) && strchr(edge, p[len]))
			return true;
	}
	return false;
}

bool doctor_has(const struct doctor *d, const char *path, const char *key, const char *word)
{
	char full[512], *line = NULL;
	bool found = false;
	size_t room = 0;
	FILE *f;

	f = doctor_path(d, full, sizeof(full), path) ? fopen(full, "re") : NULL;
	while (f && !found && getline(&line, &room, f) > 0) {
		const char *text = line + strspn(line, " \t");

		found = !strncmp(text, key, strlen(key)) && holds_word(text, word);
	}
	free(line);
	if (f)
		fclose(f);
	return found;
}

static void check_node(struct doctor *d)
{
	char path[512], remedy[200];
	int fd, version;

	if (!doctor_path(d, path, sizeof(path), d->device))
		return;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		int err = errno;

		if (err == EACCES)
			snprintf(remedy, sizeof(remedy),
				 "adduser %s kvm, then log in again; udev rule: KERNEL==\"lodge\", "
				 "GROUP=\"kvm\", MODE=\"0660\"",
				 getenv("USER") ? getenv("USER") : "USER");
		else
			snprintf(remedy, sizeof(remedy), "load the module first; if it does not load, dmesg says why");
		doctor_add(d, "device", DOCTOR_MISSING, remedy, "%s: %s", d->device, strerror(err));
		return;
	}
	version = ioctl(fd, KVM_GET_API_VERSION, 0);
	close(fd);
	if (version == KVM_API_VERSION)
		doctor_add(d, "device", DOCTOR_OK, "", "%s answers with API version %d", d->device, version);
	else
		doctor_add(d, "device", DOCTOR_MISSING, "the node belongs to something else: ls -l shows its number",
			   "%s does not speak the KVM ABI", d->device);
}

static void check_group(struct doctor *d)
{
	struct group *g = getgrnam("kvm");
	gid_t list[256];
	int n = getgroups(256, list), i;
	bool in = !geteuid();

	for (i = 0; g && i < n; i++)
		in = in || list[i] == g->gr_gid;
	doctor_add(d, "group", in ? DOCTOR_OK : DOCTOR_OPTIONAL, "adduser USER kvm, then log in again", "%s",
		   !geteuid() ? "root" : in ? "member of kvm" : "not a member of group kvm");
}

static void check_optional(struct doctor *d, const char *name, const char *path, const char *remedy)
{
	char full[512];
	int fd;

	if (!doctor_path(d, full, sizeof(full), path))
		return;
	fd = open(full, O_RDWR | O_CLOEXEC);
	doctor_add(d, name, fd >= 0 ? DOCTOR_OK : DOCTOR_OPTIONAL, remedy, "%s%s%s", path, fd < 0 ? ": " : "",
		   fd < 0 ? strerror(errno) : " can be opened");
	if (fd >= 0)
		close(fd);
}

static void check_run_dir(struct doctor *d)
{
	struct lodge_error e;
	char path[200];
	bool ok;

	if (lodge_run_dir(path, sizeof(path), &e) < 0)
		return;
	ok = !access(path, W_OK);
	if (!ok && errno == ENOENT) {
		char *slash = strrchr(path, '/');

		if (slash && slash != path)
			*slash = '\0';
		ok = !access(path, W_OK);
	}
	doctor_add(d, "run directory", ok ? DOCTOR_OK : DOCTOR_MISSING, "set LODGE_RUN_DIR to a directory of yours",
		   "%s is %swritable", path, ok ? "" : "not ");
}

size_t lodge_doctor(const char *root, const char *device, struct lodge_check *checks, size_t room)
{
	struct doctor d = { .root = root ? root : "", .device = device, .list = checks, .room = room };
	bool ours = strcmp(device, "/dev/kvm");

	doctor_cpu(&d);
	if (ours)
		doctor_kernel(&d);
	check_node(&d);
	check_group(&d);
	check_run_dir(&d);
	if (ours)
		doctor_libvirt(&d);
	check_optional(&d, "tap network", "/dev/net/tun", "modprobe tun; --net user works without");
	check_optional(&d, "vhost network", "/dev/vhost-net", "modprobe vhost_net; tap works without, more slowly");
	return d.count;
}
