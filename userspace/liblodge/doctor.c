// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What this host has or lacks for running guests.
 *
 * Everything is judged by trying (opening the node, reading /proc and /sys), never by mode bits,
 * and nothing is changed.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <lodge/lodge.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/kvm.h>
#include <unistd.h>

struct doctor {
	struct lodge_check *list;
	size_t room, count;
	bool svm;
};

#define MAY_MISS (-1)

static struct lodge_check *add(struct doctor *d, const char *name, int ok, const char *found,
			       const char *remedy)
{
	static struct lodge_check spill;
	struct lodge_check *c = d->count < d->room ? &d->list[d->count] : &spill;

	snprintf(c->name, sizeof(c->name), "%s", name);
	snprintf(c->found, sizeof(c->found), "%s", found);
	snprintf(c->remedy, sizeof(c->remedy), "%s", ok == 1 ? "" : remedy);
	c->ok = ok;
	if (d->count < d->room)
		d->count++;
	return c;
}

/* Whether the line that begins with key in a file holds the word. */
static bool file_has(const char *path, const char *key, const char *word)
{
	size_t room = 0, len = strlen(word);
	char *line = NULL, *p;
	bool found = false;
	FILE *f = fopen(path, "re");

	while (f && !found && getline(&line, &room, f) > 0) {
		if (strncmp(line, key, strlen(key)))
			continue;
		for (p = strstr(line, word); p && !found; p = strstr(p + 1, word))
			found = (p == line || strchr(" \t:", p[-1])) &&
				strchr(" \t\n", p[len]);
		if (*key)
			break;
	}
	free(line);
	if (f)
		fclose(f);
	return found;
}

static void check_cpu(struct doctor *d)
{
	bool svm = file_has("/proc/cpuinfo", "flags", "svm");
	bool vmx = file_has("/proc/cpuinfo", "flags", "vmx");
	bool nested_paging = file_has("/proc/cpuinfo", "flags", svm ? "npt" : "ept");

	d->svm = svm;
	add(d, "cpu", svm || vmx,
	    svm ? "AMD-V (svm)" : vmx ? "Intel VT-x (vmx)" : "no virtualization extensions",
	    "switch virtualization (SVM or VT-x) on in the firmware set-up, or for a virtual "
	    "machine its nested virtualization");
	if (svm)
		add(d, "nested paging", nested_paging, nested_paging ? "npt" : "no npt",
		    "Lodge needs nested page tables; this CPU or its firmware does not offer them");
	if (!svm && vmx)
		add(d, "back end", 0, "this version's module runs on AMD-V only",
		    "use --device /dev/kvm with the stock module meanwhile");
}

static void check_module(struct doctor *d)
{
	bool loaded = !access("/sys/module/lodge", F_OK);
	char version[64] = "", found[120];
	FILE *f = fopen("/sys/module/lodge/version", "re");

	if (f && fscanf(f, "%63s", version) != 1)
		version[0] = '\0';
	if (f)
		fclose(f);
	snprintf(found, sizeof(found), loaded ? "lodge %s is loaded" : "lodge is not loaded",
		 version);
	add(d, "module", loaded ? 1 : 0, found,
	    "modprobe lodge (or insmod lodge.ko); \"Key was rejected\" means Secure Boot: enrol the "
	    "signing key with mokutil --import");
}

static void check_stock(struct doctor *d)
{
	const char *path = !access("/sys/module/kvm_amd", F_OK)	 ? "/sys/module/kvm_amd/refcnt" :
			   !access("/sys/module/kvm_intel", F_OK) ? "/sys/module/kvm_intel/refcnt" :
								    NULL;
	int users = 0;
	FILE *f;

	if (!path) {
		add(d, "other hypervisor", 1, "no stock KVM module is loaded", "");
		return;
	}
	f = fopen(path, "re");
	if (f && fscanf(f, "%d", &users) != 1)
		users = 0;
	if (f)
		fclose(f);
	add(d, "other hypervisor", users ? 0 : 1,
	    users ? "the stock KVM module has guests and holds the CPU" :
		    "the stock KVM module is loaded and idle",
	    "stop its guests, or modprobe -r kvm_amd kvm_intel");
}

static void check_node(struct doctor *d, const char *device)
{
	char found[160], remedy[200];
	int fd, version;

	fd = open(device, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		snprintf(found, sizeof(found), "%s: %s", device, strerror(errno));
		if (errno == EACCES)
			snprintf(remedy, sizeof(remedy),
				 "adduser %s kvm, then log in again; udev rule: KERNEL==\"lodge\", "
				 "GROUP=\"kvm\", MODE=\"0660\"",
				 getenv("USER") ? getenv("USER") : "USER");
		else
			snprintf(remedy, sizeof(remedy), "load the module first");
		add(d, "device", 0, found, remedy);
		return;
	}
	version = ioctl(fd, KVM_GET_API_VERSION, 0);
	close(fd);
	snprintf(found, sizeof(found), "%s answers with API version %d", device, version);
	add(d, "device", version == KVM_API_VERSION, found, "the node belongs to something else");
}

static void check_group(struct doctor *d)
{
	struct group *g = getgrnam("kvm");
	gid_t list[256];
	int n = getgroups(256, list), i;
	bool in = !geteuid();

	for (i = 0; g && i < n; i++)
		in = in || list[i] == g->gr_gid;
	add(d, "group", in ? 1 : MAY_MISS,
	    !geteuid() ? "root" : in ? "member of kvm" : "not a member of group kvm",
	    "adduser USER kvm, then log in again");
}

static void check_optional(struct doctor *d, const char *name, const char *path,
			   const char *remedy)
{
	char found[160];
	int fd = open(path, O_RDWR | O_CLOEXEC);

	snprintf(found, sizeof(found), "%s%s%s", path, fd < 0 ? ": " : "",
		 fd < 0 ? strerror(errno) : " can be opened");
	if (fd >= 0)
		close(fd);
	add(d, name, fd >= 0 ? 1 : MAY_MISS, found, remedy);
}

static void check_run_dir(struct doctor *d)
{
	char path[200], found[240];
	struct lodge_error e;
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
	snprintf(found, sizeof(found), "%s is %swritable", path, ok ? "" : "not ");
	add(d, "run directory", ok, found, "set LODGE_RUN_DIR to a directory of yours");
}

size_t lodge_doctor(const char *device, struct lodge_check *checks, size_t room)
{
	struct doctor d = { checks, room, 0, false };
	bool ours = !strcmp(device, "/dev/lodge");

	check_cpu(&d);
	if (ours) {
		check_module(&d);
		check_stock(&d);
	}
	check_node(&d, device);
	check_group(&d);
	check_run_dir(&d);
	check_optional(&d, "tap network", "/dev/net/tun",
		       "modprobe tun; --net user works without");
	check_optional(&d, "vhost network", "/dev/vhost-net",
		       "modprobe vhost_net; tap works without, more slowly");
	return d.count;
}
