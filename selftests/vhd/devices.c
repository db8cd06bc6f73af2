// SPDX-License-Identifier: GPL-2.0-or-later
// LINK: userspace/vhd/*.c
// LIBS: -laio -lpthread
// BOX: --modprobe loop --modprobe ext4
// TIMEOUT: 240
/*
 * Block devices with sectors of 512 and of 4096 bytes, and a file system on
 * each, as storage of raw disks and images: random requests in units of 512
 * bytes must read as on a plain array, through O_DIRECT, also after reopening.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lodge/vhd.h>
#include "tap.h"

#define DISK	(6u << 20)
#define BATCH	16

static uint64_t state = 88172645463325252ull;
static char device[64];
static int device_fd = -1;

/* A result; if it is bad, the sentence that says why. */
static void judge(int bad, const struct vhd_error *err, const char *what, const char *name)
{
	errno = 0;
	if (!tap_ok(!bad, "%s: %s", what, name) && err->text[0])
		tap_note("%s", err->text);
}

static uint64_t rnd(uint64_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state >> 11) % below;
}

/* A loop device of @bytes with sectors of @sector bytes. */
static int device_make(const char *backing, uint64_t bytes, unsigned int sector)
{
	struct loop_config config = { .block_size = sector };
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), n, ret;

	if (control < 0)
		return -errno;
	n = ioctl(control, LOOP_CTL_GET_FREE);
	close(control);
	if (n < 0)
		return -errno;
	snprintf(device, sizeof(device), "/dev/loop%d", n);
	config.fd = open(backing, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if ((int)config.fd < 0 || ftruncate(config.fd, bytes))
		return -errno;
	device_fd = open(device, O_RDWR | O_CLOEXEC);
	ret = device_fd < 0 || ioctl(device_fd, LOOP_CONFIGURE, &config) ? -errno : 0;
	close(config.fd);
	return ret;
}

static void device_free(const char *backing)
{
	ioctl(device_fd, LOOP_CLR_FD);
	close(device_fd);
	unlink(backing);
}

struct shot {
	struct vhd_request req;
	struct iovec iov;
	uint8_t *memory;
	int error;
};

static void shot_done(struct vhd_request *req, int error)
{
	((struct shot *)req)->error = error;
}

static bool overlaps(const struct shot *s, int n, uint64_t offset, uint64_t length)
{
	while (n--)
		if (s[n].req.offset < offset + length && offset < s[n].req.offset + s[n].req.length)
			return true;
	return false;
}

/* Puts a random request next to those before it; the reference changes at once. */
static void shot_choose(struct shot *s, int n, uint8_t *reference)
{
	static const enum vhd_op mix[] = { VHD_READ, VHD_WRITE, VHD_WRITE, VHD_WRITE, VHD_WRITE_ZEROES };
	uint64_t unit = rnd(3) ? 512 : 4096, offset, length, i;
	struct shot *me = &s[n];

	do {
		offset = rnd(DISK / unit) * unit;
		length = (1 + rnd(rnd(4) ? 16 : 100)) * unit;
		if (length > DISK - offset)
			length = DISK - offset;
	} while (overlaps(s, n, offset, length));
	me->req = (struct vhd_request){ .op = mix[rnd(5)], .offset = offset, .length = length,
					.done = shot_done, .flags = rnd(2) ? VHD_F_UNMAP : 0 };
	me->iov = (struct iovec){ me->memory + rnd(2) * 512, length };
	me->error = 1;
	if (me->req.op != VHD_WRITE_ZEROES) {
		me->req.iov = &me->iov;
		me->req.iovcnt = 1;
	} else {
		memset(reference + offset, 0, length);
	}
	if (me->req.op != VHD_WRITE)
		return;
	for (i = 0; i < length; i += 8) {
		uint64_t value = state + i;

		memcpy((uint8_t *)me->iov.iov_base + i, &value, 8);
	}
	memcpy(reference + offset, me->iov.iov_base, length);
}

static int hammer(struct vhd *v, uint8_t *reference, int rounds)
{
	struct vhd_queue *q = vhd_queue_create(v, 32);
	struct shot s[BATCH];
	int i, bad = 0;

	for (i = 0; i < BATCH; i++)
		if (posix_memalign((void **)&s[i].memory, 4096, 101 * 4096))
			return -1;
	while (rounds--) {
		for (i = 0; i < BATCH; i++)
			shot_choose(s, i, reference);
		for (i = 0; i < BATCH; i++)
			vhd_submit(q, &s[i].req);
		vhd_queue_drain(q);
		for (i = 0; i < BATCH; i++) {
			bad += s[i].error != 0;
			if (s[i].req.op == VHD_READ)
				bad += !!memcmp(s[i].iov.iov_base, reference + s[i].req.offset, s[i].req.length);
		}
		if (!rnd(8))
			bad += !!vhd_flush(q);
	}
	for (i = 0; i < BATCH; i++)
		free(s[i].memory);
	vhd_queue_destroy(q);
	return bad;
}

static int same(struct vhd *v, const uint8_t *reference)
{
	struct vhd_queue *q = vhd_queue_create(v, 8);
	uint8_t *buf = malloc(DISK);
	int bad = !!vhd_pread(q, buf, DISK, 0);

	bad += !!memcmp(buf, reference, DISK);
	free(buf);
	vhd_queue_destroy(q);
	return bad;
}

static void try_image(const char *what, const char *path, unsigned int flags)
{
	uint8_t *reference = calloc(1, DISK);
	struct vhd_check check = { 0 };
	struct vhd_error err = { 0 };
	struct vhd_info info = { 0 };
	struct vhd *v = NULL;
	int bad = 1;

	if (!vhd_open(path, flags, &v, &err)) {
		vhd_get_info(v, &info);
		bad = hammer(v, reference, 60);
		bad += !!vhd_close(v);
	}
	judge(bad, &err, what, "random requests read as on an array");
	judge(!info.direct, &err, what, "through O_DIRECT");
	bad = 1;
	if (!vhd_open(path, flags | VHD_O_RDONLY, &v, &err)) {
		bad = same(v, reference);
		vhd_close(v);
	}
	judge(bad, &err, what, "opened again it has the same bytes");
	if (!(flags & VHD_O_RAW)) {
		bad = vhd_check(path, &check, &err) || check.corruptions;
		judge(bad, &err, what, "the image checks clean");
	}
	free(reference);
}

static void try_made(const char *what, const char *path, const char *kind, enum vhd_type type)
{
	struct vhd_params p = { .type = type, .size = DISK, .block_size = 65536 };
	struct vhd_error err = { 0 };
	char name[128];
	int ret;

	snprintf(name, sizeof(name), "%s, %s", what, kind);
	ret = vhd_create(path, &p, &err);
	judge(ret, &err, name, "it is made");
	if (!ret)
		try_image(name, path, type == VHD_RAW ? VHD_O_RAW : 0);
}

/* One thread writes whole sectors of the storage, one a part of the same ones. */
struct rival {
	struct vhd *v;
	bool part;
	int bad;
	pthread_t thread;
};

static void *rival_run(void *arg)
{
	struct rival *r = arg;
	struct vhd_queue *q = vhd_queue_create(r->v, 4);
	uint64_t *buf;
	int i, k;

	if (posix_memalign((void **)&buf, 4096, 4096))
		return NULL;
	for (i = 0; i < 1500; i++) {
		uint64_t at = i % 16 * 4096;

		for (k = 0; k < 512; k++)
			buf[k] = i + 1 + (r->part ? 1ull << 32 : 0);
		r->bad += r->part ? !!vhd_pwrite(q, buf, 512, at + 512) : !!vhd_pwrite(q, buf, 4096, at);
		if (r->part)
			continue;
		r->bad += !!vhd_pread(q, buf, 4096, at);
		for (k = 0; k < 512; k++)
			if (k < 64 || k >= 128)
				r->bad += buf[k] != (uint64_t)i + 1;
	}
	vhd_queue_destroy(q);
	free(buf);
	return NULL;
}

static void try_rivals(const char *what, const char *path)
{
	struct rival r[2] = { { .part = false }, { .part = true } };
	struct vhd_error err = { 0 };
	struct vhd *v;
	int i;

	if (vhd_open(path, VHD_O_RAW, &v, &err)) {
		judge(1, &err, what, "it opens");
		return;
	}
	for (i = 0; i < 2; i++) {
		r[i].v = v;
		pthread_create(&r[i].thread, NULL, rival_run, &r[i]);
	}
	for (i = 0; i < 2; i++)
		pthread_join(r[i].thread, NULL);
	vhd_close(v);
	judge(r[0].bad || r[1].bad, &err, what, "a write is not undone by one to another part of its sector");
}

static void try_files(const char *what)
{
	char command[128];

	snprintf(command, sizeof(command), "mke2fs -F -b 4096 %s >/dev/null 2>&1", device);
	mkdir("/tmp/lodge-fs", 0700);
	if (system(command) || mount(device, "/tmp/lodge-fs", "ext4", 0, NULL)) {
		tap_ok(0, "%s: a file system is made (%s)", what, strerror(errno));
		return;
	}
	try_made(what, "/tmp/lodge-fs/a.raw", "raw file", VHD_RAW);
	try_rivals(what, "/tmp/lodge-fs/a.raw");
	try_made(what, "/tmp/lodge-fs/f.vhd", "fixed file", VHD_FIXED);
	try_made(what, "/tmp/lodge-fs/d.vhd", "dynamic file", VHD_DYNAMIC);
	umount("/tmp/lodge-fs");
	rmdir("/tmp/lodge-fs");
}

static void try_device(unsigned int sector)
{
	const char *backing = "/tmp/lodge-backing";
	char what[64];
	int ret = device_make(backing, 40u << 20, sector);

	snprintf(what, sizeof(what), "device of %u-byte sectors", sector);
	errno = -ret;
	tap_ok(!ret, "%s: it is there", what);
	if (!ret) {
		try_made(what, device, "raw disk", VHD_RAW);
		try_rivals(what, device);
		try_made(what, device, "fixed image", VHD_FIXED);
		try_made(what, device, "dynamic image", VHD_DYNAMIC);
		snprintf(what, sizeof(what), "file system on %u-byte sectors", sector);
		try_files(what);
	}
	device_free(backing);
}

int main(void)
{
	try_device(512);
	try_device(4096);
	return tap_done();
}
