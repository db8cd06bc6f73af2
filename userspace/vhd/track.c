// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Changed-block tracking: which parts of a disk were written since its last
 * backup.
 *
 * A file beside the image, FILE.cbt, holds a bit per 64 KiB and the unique id
 * of that backup. Of the designs that are right this is the simplest:
 * snapshots would need no map, but each backup would make the chain longer
 * and copy the data once more when that is merged; a map inside the image
 * would have to be synced before the first write to each granule.
 *
 * The map may say too much, never too little:
 *
 *	open for writing	the map is read, and then marked as being in use,
 *				synced, before anything else can be written
 *	write, zero, discard	sets bits in memory, before the request goes on
 *	close			once the image is on stable storage, the map is
 *				written, with the image's stamp; synced; and only
 *				then marked as good
 *
 * A map that is not marked as good says nothing, and everything counts as
 * changed. So does one whose stamp is not the image's: the stamp is the
 * file's size, inode and time of change, so a program that knows nothing of
 * the map, or a copy put in the image's place, is noticed. A backup makes a
 * new map, whole or not at all, after it is complete itself; so a map always
 * speaks of a backup that exists.
 *
 * The layout is in big-endian order: a sector of header, then the bits.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vhd/image.h"
#include "vhd/track.h"

#define COOKIE	"ldgetrk1"

struct disk_track {
	char cookie[8];
	__be32 good;
	__be32 checksum;	/* of the bits */
	__be64 disk_size;
	__u8 backup[16];
	__be64 file_size, inode, seconds, nanoseconds;
	__u8 reserved[440];
} __attribute__((packed));

_Static_assert(sizeof(struct disk_track) == VHD_SECTOR, "track header");

struct track {
	int fd;
	uint64_t disk_size;
	uint8_t backup[16];
	atomic_uchar *bits;
};

uint64_t track_bytes(uint64_t disk_size)
{
	return ((disk_size + VHD_TRACK_GRANULE - 1) / VHD_TRACK_GRANULE + 7) / 8;
}

uint64_t vhd_changes_bytes(uint64_t disk_size)
{
	return track_bytes(disk_size);
}

static int stamp_of(int fd, struct disk_track *d)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	d->file_size = htobe64(st.st_size);
	d->inode = htobe64(st.st_ino);
	d->seconds = htobe64(st.st_mtim.tv_sec);
	d->nanoseconds = htobe64(st.st_mtim.tv_nsec);
	return 0;
}

bool track_decode(const uint8_t *raw, size_t bytes, uint64_t disk_size, const uint8_t **bits, uint8_t backup[16])
{
	const struct disk_track *d = (const struct disk_track *)raw;

	if (bytes != sizeof(*d) + track_bytes(disk_size) || memcmp(d->cookie, COOKIE, 8) || be32toh(d->good) != 1 ||
	    be64toh(d->disk_size) != disk_size)
		return false;
	*bits = raw + sizeof(*d);
	if (vhd_checksum(*bits, bytes - sizeof(*d), bytes) != be32toh(d->checksum))
		return false;
	memcpy(backup, d->backup, 16);
	return true;
}

static int name_of(const char *path, const char *end, char *out, size_t room)
{
	return snprintf(out, room, "%s.cbt%s", path, end) < (int)room ? 0 : -ENAMETOOLONG;
}

static int read_whole(int fd, uint8_t *buf, size_t bytes)
{
	size_t n = 0;
	ssize_t r;

	while (n < bytes) {
		r = pread(fd, buf + n, bytes - n, n);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return r ? -errno : -ENODATA;
		n += r;
	}
	return 0;
}

static int write_whole(int fd, const void *buf, size_t bytes, uint64_t at)
{
	const uint8_t *p = buf;
	ssize_t r;

	while (bytes) {
		r = pwrite(fd, p, bytes, at);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return r ? -errno : -ENOSPC;
		p += r;
		at += r;
		bytes -= r;
	}
	return 0;
}

/* Reads a good map of the image in @image_fd; else all of its bits are set, and @backup is null. */
static int load(int fd, int image_fd, uint64_t disk_size, uint8_t *bits, uint8_t backup[16])
{
	uint64_t n = track_bytes(disk_size), bytes = sizeof(struct disk_track) + n;
	struct disk_track now = { 0 };
	const uint8_t *found;
	uint8_t *raw = malloc(bytes + 1);
	struct stat st;
	bool good;

	if (!raw)
		return -ENOMEM;
	memset(raw, 0, sizeof(now));
	good = !fstat(fd, &st) && S_ISREG(st.st_mode) && (uint64_t)st.st_size == bytes && !read_whole(fd, raw, bytes) &&
	       track_decode(raw, bytes, disk_size, &found, backup) && !stamp_of(image_fd, &now) &&
	       !memcmp(&now.file_size, &((struct disk_track *)raw)->file_size, 32);
	if (good) {
		memcpy(bits, found, n);
	} else {
		memset(bits, 0xff, n);
		memset(backup, 0, 16);
	}
	free(raw);
	return 0;
}

static void fill_header(const struct track *t, struct disk_track *d, bool good)
{
	memset(d, 0, sizeof(*d));
	memcpy(d->cookie, COOKIE, 8);
	d->good = htobe32(good);
	d->disk_size = htobe64(t->disk_size);
	memcpy(d->backup, t->backup, 16);
}

int track_open(const char *path, int image_fd, uint64_t disk_size, struct track **out)
{
	struct disk_track d;
	char name[4096];
	struct track *t;
	int ret, fd;

	*out = NULL;
	if (image_fd < 0 || name_of(path, "", name, sizeof(name)))
		return 0;
	fd = open(name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	t = calloc(1, sizeof(*t));
	if (t)
		t->bits = malloc(track_bytes(disk_size) + 1);
	ret = t && t->bits ? 0 : -ENOMEM;
	if (!ret) {
		t->fd = fd;
		t->disk_size = disk_size;
		ret = load(fd, image_fd, disk_size, (uint8_t *)t->bits, t->backup);
	}
	if (!ret) {
		fill_header(t, &d, false);
		ret = write_whole(fd, &d, sizeof(d), 0);
	}
	if (!ret && fdatasync(fd))
		ret = -errno;
	if (!ret) {
		*out = t;
		return 0;
	}
	close(fd);
	if (t)
		free((void *)t->bits);
	free(t);
	return ret;
}

void track_mark(struct track *t, uint64_t offset, uint64_t length)
{
	uint64_t i, end;

	/* What is wrong with the request is found later; here nothing may be written beside the map. */
	if (!length || offset >= t->disk_size || length > t->disk_size - offset)
		return;
	end = (offset + length - 1) / VHD_TRACK_GRANULE;
	for (i = offset / VHD_TRACK_GRANULE; i <= end; i++)
		if (!(atomic_load_explicit(&t->bits[i >> 3], memory_order_relaxed) & 0x80u >> (i & 7)))
			atomic_fetch_or(&t->bits[i >> 3], 0x80u >> (i & 7));
}

static int save(struct track *t, int image_fd)
{
	uint64_t n = track_bytes(t->disk_size);
	struct disk_track d;
	int ret = write_whole(t->fd, (const void *)t->bits, n, sizeof(d));

	fill_header(t, &d, true);
	d.checksum = htobe32(vhd_checksum((const void *)t->bits, n, n));
	if (!ret)
		ret = stamp_of(image_fd, &d);
	if (!ret && (ftruncate(t->fd, sizeof(d) + n) || fdatasync(t->fd)))
		ret = -errno;
	if (!ret)
		ret = write_whole(t->fd, &d, sizeof(d), 0);
	if (!ret && fdatasync(t->fd))
		ret = -errno;
	return ret;
}

void track_close(struct track *t, int image_fd, bool good)
{
	if (!t)
		return;
	/* One that cannot be written stays marked as being in use, which is never wrong. */
	if (good && image_fd >= 0)
		save(t, image_fd);
	close(t->fd);
	free((void *)t->bits);
	free(t);
}

int vhd_changes(const char *path, uint64_t disk_size, uint8_t *bits, uint8_t backup[16])
{
	int fd, image_fd, ret;
	char name[4096];

	memset(bits, 0xff, track_bytes(disk_size));
	memset(backup, 0, 16);
	ret = name_of(path, "", name, sizeof(name));
	if (ret)
		return ret;
	fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	image_fd = open(path, O_RDONLY | O_CLOEXEC);
	ret = image_fd < 0 ? -errno : load(fd, image_fd, disk_size, bits, backup);
	close(fd);
	if (image_fd >= 0)
		close(image_fd);
	return ret;
}

int vhd_changes_put(const char *path, uint64_t disk_size, const uint8_t *bits, const uint8_t backup[16],
		    struct vhd_error *err)
{
	struct track t = { .fd = -1, .disk_size = disk_size };
	char name[4096], fresh[4096];
	int image_fd = open(path, O_RDONLY | O_CLOEXEC), ret = image_fd < 0 ? -errno : 0;

	memcpy(t.backup, backup, 16);
	t.bits = calloc(1, track_bytes(disk_size) + 1);
	if (!ret && !t.bits)
		ret = -ENOMEM;
	if (!ret && bits)
		memcpy((void *)t.bits, bits, track_bytes(disk_size));
	if (!ret)
		ret = name_of(path, "", name, sizeof(name));
	if (!ret)
		ret = name_of(path, ".new", fresh, sizeof(fresh));
	if (!ret) {
		t.fd = open(fresh, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
		ret = t.fd < 0 ? -errno : save(&t, image_fd);
	}
	if (!ret && rename(fresh, name))
		ret = -errno;
	if (!ret)
		ret = store_directory_sync(name);
	if (ret && t.fd >= 0)
		unlink(fresh);
	if (t.fd >= 0)
		close(t.fd);
	if (image_fd >= 0)
		close(image_fd);
	free((void *)t.bits);
	return ret ? vhd_fail(err, -ret, "cannot write the map of changes '%.300s.cbt': %s", path, strerror(-ret)) : 0;
}
