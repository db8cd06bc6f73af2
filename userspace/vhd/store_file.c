// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Files and block devices: opening, locking, and the synchronous calls.
 *
 * O_DIRECT is tried first. Where the file system refuses it (tmpfs, 9p) the
 * page cache is used, and where it demands whole sectors of 4 KiB, a second
 * descriptor goes through the page cache for what is none (store_file.h);
 * flush is fdatasync either way.
 *
 * Locks are open-file-description locks, so that they belong to the handle and
 * vanish with it, however the process ends. A writer locks the whole file,
 * which also keeps out programs that lock byte ranges of it (QEMU does, from
 * byte 100 on); readers share a lock on byte 0.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "vhd/codec.h"
#include "vhd/store_file.h"

#define WINDOW	(1u << 20)

#ifndef STATX_DIOALIGN
#define STATX_DIOALIGN	0x2000u	/* Linux 6.1; the C library's structure may lack it */
#endif

/* Reads [offset, offset + bytes) into @buf, in whole units; zeros past the end. */
static int read_window(const struct store_file *f, uint8_t *buf, size_t bytes, uint64_t offset)
{
	size_t have = 0;

	while (have < bytes) {
		ssize_t n = pread(f->fd, buf + have, bytes - have, offset + have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		have += n;
		/* Only the end of the file gives an odd count. */
		if (!n || n % f->unit)
			break;
	}
	memset(buf + have, 0, bytes - have);
	return 0;
}

int store_file_pread(struct store *s, void *buf, size_t bytes, uint64_t offset)
{
	const struct store_file *f = store_file_of(s);
	uint8_t *out = buf;
	void *window;
	int ret = 0;

	if (posix_memalign(&window, 4096, WINDOW))
		return -ENOMEM;
	while (bytes && !ret) {
		uint64_t from = offset / f->unit * f->unit;
		size_t skip = offset - from;
		size_t part = bytes < WINDOW - f->unit ? bytes : WINDOW - f->unit;
		size_t need = (skip + part + f->unit - 1) / f->unit * f->unit;

		ret = read_window(f, window, need, from);
		if (!ret)
			memcpy(out, (uint8_t *)window + skip, part);
		out += part;
		offset += part;
		bytes -= part;
	}
	free(window);
	return ret;
}

static int write_window(int fd, const uint8_t *buf, size_t bytes, uint64_t offset)
{
	while (bytes) {
		ssize_t n = pwrite(fd, buf, bytes, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return -ENOSPC;
		buf += n;
		offset += n;
		bytes -= n;
	}
	return 0;
}

static int file_pwrite(struct store *s, const void *buf, size_t bytes, uint64_t offset)
{
	const struct store_file *f = store_file_of(s);
	int fd = (bytes | offset) % f->unit ? f->soft_fd : f->fd;
	const uint8_t *in = buf;
	void *window;
	int ret = 0;

	if (bytes % VHD_SECTOR || offset % VHD_SECTOR)
		return -EINVAL;
	if (posix_memalign(&window, 4096, WINDOW))
		return -ENOMEM;
	while (bytes && !ret) {
		size_t part = bytes < WINDOW ? bytes : WINDOW;

		memcpy(window, in, part);
		ret = write_window(fd, window, part, offset);
		in += part;
		offset += part;
		bytes -= part;
	}
	free(window);
	if (!ret && offset > s->size && !s->device)
		s->size = offset;
	return ret;
}

static int file_sync(struct store *s)
{
	return fdatasync(store_file_of(s)->fd) ? -errno : 0;
}

static int file_truncate(struct store *s, uint64_t size)
{
	if (s->device)
		return size == s->size ? 0 : -EINVAL;
	if (ftruncate(store_file_of(s)->fd, size))
		return -errno;
	s->size = size;
	return 0;
}

static int file_zero(struct store *s, uint64_t offset, uint64_t bytes)
{
	struct store_io io = { .store = s, .op = STORE_PUNCH, .offset = offset, .length = bytes };

	return store_file_do(&io);
}

static int file_run(struct store *s, uint64_t offset, uint64_t *length)
{
	int fd = store_file_of(s)->fd;
	off_t data, hole;

	if (s->device)
		return 1;
	data = lseek(fd, offset, SEEK_DATA);
	if (data < 0) {
		if (errno == ENXIO)
			return 0;
		return 1;
	}
	if ((uint64_t)data > offset) {
		uint64_t gap = ((uint64_t)data - offset) / VHD_SECTOR * VHD_SECTOR;

		if (gap) {
			if (gap < *length)
				*length = gap;
			return 0;
		}
	}
	hole = lseek(fd, data, SEEK_HOLE);
	if (hole > data) {
		uint64_t run = ((uint64_t)hole - offset + VHD_SECTOR - 1) / VHD_SECTOR * VHD_SECTOR;

		if (run < *length)
			*length = run;
	}
	return 1;
}

static uint64_t file_allocated(struct store *s)
{
	struct stat st;

	if (s->device)
		return s->size;
	return fstat(store_file_of(s)->fd, &st) ? 0 : (uint64_t)st.st_blocks * 512;
}

static void file_close(struct store *s)
{
	struct store_file *f = store_file_of(s);

	if (!s)
		return;
	if (f->fd >= 0)
		close(f->fd);
	if (f->soft_fd >= 0)
		close(f->soft_fd);
	pthread_cond_destroy(&f->landed);
	pthread_mutex_destroy(&f->lock);
	pthread_mutex_destroy(&f->queue_lock);
	pthread_cond_destroy(&f->work);
	free(f);
}

/* @bytes 0: to the end. */
static int lock_set(int fd, short type, off_t start, off_t bytes)
{
	struct flock fl = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = bytes };

	return fcntl(fd, F_OFD_SETLK, &fl) ? -errno : 0;
}

static int lock_take(int fd, bool readonly)
{
	return lock_set(fd, readonly ? F_RDLCK : F_WRLCK, 0, readonly ? 1 : 0);
}

/* A lock on byte 0 that is shared, in place of one on all of it. */
static void lock_share(int fd)
{
	lock_take(fd, true);
	lock_set(fd, F_UNLCK, 1, 0);
}

static void file_share(struct store *s)
{
	lock_share(store_file_of(s)->fd);
}

/* The hash need not withstand a forger: of what goes into it, users choose nothing but the size. */
static bool file_identity(struct store *s, uint8_t id[16])
{
	XXH128_canonical_t hash;
	uint64_t what[5];
	struct stat st;

	if (s->device || fstat(store_file_of(s)->fd, &st) || !S_ISREG(st.st_mode))
		return false;
	what[0] = st.st_dev;
	what[1] = st.st_ino;
	what[2] = st.st_size;
	what[3] = st.st_ctim.tv_sec;
	what[4] = st.st_ctim.tv_nsec;
	XXH128_canonicalFromHash(&hash, XXH128(what, sizeof(what), 0));
	memcpy(id, hash.digest, 16);
	return true;
}

static const struct store_ops file_ops = {
	.pread = store_file_pread,
	.pwrite = file_pwrite,
	.sync = file_sync,
	.truncate = file_truncate,
	.zero = file_zero,
	.run = file_run,
	.allocated = file_allocated,
	.identity = file_identity,
	.close = file_close,
	.share = file_share,
	.queue_create = store_aio_create,
	.queue_destroy = store_aio_destroy,
	.queue_move = store_aio_move,
	.submit = store_aio_submit,
	.kick = store_aio_kick,
	.poll = store_aio_poll,
	.wake = store_aio_wake,
	.fd = store_aio_fd,
	.wait = store_aio_wait,
};

/* The sector size of the device that a file system lies on; 0: not known. */
static unsigned int device_sector(dev_t dev)
{
	static const char *const where[] = { "", "/.." };
	unsigned int i, size = 0;
	char path[96];
	FILE *f;

	for (i = 0; i < 2 && !size; i++) {
		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u%s/queue/logical_block_size",
			 major(dev), minor(dev), where[i]);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fscanf(f, "%u", &size) != 1)
			size = 0;
		fclose(f);
	}
	return size;
}

/*
 * What direct I/O to a file must be a multiple of; 0: it is not possible. A
 * try alone cannot tell, since reads of holes and of nothing always succeed.
 */
static unsigned int file_unit(int fd)
{
	unsigned int unit = 0;
	struct statx x = { 0 };
	struct stat st;
	void *buf;

	if (!statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &x) && x.stx_mask & STATX_DIOALIGN)
		return x.stx_dio_offset_align;
	if (!fstat(fd, &st))
		unit = device_sector(st.st_dev);
	if (posix_memalign(&buf, 4096, 4096))
		return 0;
	if (pread(fd, buf, unit == 4096 ? 4096 : VHD_SECTOR, 0) < 0)
		unit = pread(fd, buf, 4096, 0) < 0 ? 0 : 4096;
	else if (!unit)
		unit = VHD_SECTOR;
	free(buf);
	return unit;
}

/* What direct I/O must be a multiple of here; 0: not known, or more than a page. */
static unsigned int direct_unit(int fd, bool device)
{
	unsigned int unit;
	int size;

	if (device)
		unit = ioctl(fd, BLKSSZGET, &size) ? 0 : size;
	else
		unit = file_unit(fd);
	if (unit > 4096 || unit & (unit - 1))
		return 0;
	return unit && unit < VHD_SECTOR ? VHD_SECTOR : unit;
}

static int open_descriptor(const char *path, int access, bool buffered, bool *direct)
{
	int fd;

	*direct = false;
	if (!buffered) {
		fd = open(path, access | O_CLOEXEC | O_DIRECT);
		if (fd >= 0) {
			*direct = true;
			return fd;
		}
		if (errno != EINVAL)
			return -errno;
	}
	fd = open(path, access | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int device_size(int fd, struct store *s)
{
	uint64_t bytes;
	unsigned int physical;

	if (ioctl(fd, BLKGETSIZE64, &bytes))
		return -errno;
	s->size = bytes;
	s->device = true;
	if (!ioctl(fd, BLKPBSZGET, &physical) && physical >= VHD_SECTOR)
		s->physical = physical;
	return 0;
}

static int file_setup(struct store_file *f, unsigned int flags)
{
	bool rdonly = flags & VHD_O_RDONLY;
	struct stat st;
	int ret;

	if (fstat(f->fd, &st))
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return -ENOTBLK;
	f->store.physical = 4096;
	f->store.size = st.st_size;
	if (S_ISBLK(st.st_mode)) {
		ret = device_size(f->fd, &f->store);
		if (ret)
			return ret;
	}
	if (flags & VHD_O_NOLOCK)
		return 0;
	return lock_take(f->fd, rdonly || flags & STORE_O_SHARED);
}

static int file_fail(struct vhd_error *err, const char *path, int code, bool rdonly)
{
	switch (code) {
	case EAGAIN:
	case EACCES:
		if (code == EAGAIN)
			return vhd_fail(err, EBUSY, "cannot %s '%s': it is in use by another process; stop that first%s",
					rdonly ? "read" : "write to", path,
					rdonly ? "" : " or open it read-only once the writer is gone");
		break;
	case EBUSY:
		return vhd_fail(err, EBUSY, "cannot open '%s': the device is mounted or otherwise in use", path);
	case ENOTBLK:
		return vhd_fail(err, EINVAL, "cannot open '%s': neither a regular file nor a block device", path);
	}
	return vhd_fail(err, code, "cannot open '%s': %s", path, strerror(code));
}

static struct store_file *file_alloc(void)
{
	struct store_file *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->store.ops = &file_ops;
	f->fd = -1;
	f->soft_fd = -1;
	f->unit = VHD_SECTOR;
	f->tail = &f->head;
	pthread_mutex_init(&f->lock, NULL);
	pthread_mutex_init(&f->queue_lock, NULL);
	pthread_cond_init(&f->work, NULL);
	pthread_cond_init(&f->landed, NULL);
	return f;
}

/* The same file once more, through the page cache; -1 if it cannot be had. */
static int open_soft(const char *path, int access, int fd)
{
	struct stat st, soft;
	int ret = open(path, (access & ~O_EXCL) | O_CLOEXEC | O_NONBLOCK);

	if (ret < 0)
		return -1;
	if (!fstat(fd, &st) && !fstat(ret, &soft) && st.st_dev == soft.st_dev &&
	    st.st_ino == soft.st_ino && st.st_rdev == soft.st_rdev)
		return ret;
	close(ret);
	return -1;
}

/* Decides between O_DIRECT and the page cache for an open descriptor. */
static void settle_alignment(struct store_file *f, const char *path, int access, bool direct)
{
	unsigned int unit = direct ? direct_unit(f->fd, f->store.device) : 0;
	int fl;

	if (direct && unit != VHD_SECTOR) {
		if (unit)
			f->soft_fd = open_soft(path, access, f->fd);
		fl = fcntl(f->fd, F_GETFL);
		if (f->soft_fd >= 0)
			f->unit = unit;
		else if (fl >= 0 && !fcntl(f->fd, F_SETFL, fl & ~O_DIRECT))
			direct = false;
	}
	f->store.direct = direct;
	f->store.mem_align = direct ? f->unit : 1;
}

int store_file_open(const char *path, unsigned int flags, struct store **out,
		    struct vhd_error *err)
{
	bool rdonly = flags & VHD_O_RDONLY, direct;
	struct store_file *f = file_alloc();
	int access = rdonly ? O_RDONLY : O_RDWR;
	struct stat st;
	int ret;

	if (!f)
		return vhd_fail(err, ENOMEM, "out of memory");
	/* A FIFO must not block us, and a mounted device not be written. */
	if (!stat(path, &st) && S_ISBLK(st.st_mode) && !rdonly)
		access |= O_EXCL;
	ret = open_descriptor(path, access | O_NONBLOCK, flags & VHD_O_BUFFERED, &direct);
	if (ret < 0)
		goto fail;
	f->fd = ret;
	f->store.readonly = rdonly;
	ret = file_setup(f, flags);
	if (ret)
		goto fail;
	settle_alignment(f, path, access, direct);
	*out = &f->store;
	return 0;
fail:
	file_close(&f->store);
	return file_fail(err, path, -ret, rdonly);
}

int store_file_claim(struct store *reader, const char *path, struct store **writer, struct vhd_error *err)
{
	int old = store_file_of(reader)->fd, fd, ret;
	struct stat a, b;

	ret = store_file_open(path, VHD_O_NOLOCK | (reader->direct ? 0 : VHD_O_BUFFERED), writer, err);
	if (ret)
		return ret;
	fd = store_file_of(*writer)->fd;
	if (fstat(old, &a) || fstat(fd, &b) || a.st_dev != b.st_dev || a.st_ino != b.st_ino || a.st_rdev != b.st_rdev) {
		ret = vhd_fail(err, ESTALE, "'%.300s' is another file than the one in use", path);
	} else {
		/* Other writers want these bytes, too, readers only the first. */
		ret = lock_set(fd, F_WRLCK, 1, 0);
		if (!ret) {
			lock_set(old, F_UNLCK, 0, 1);
			ret = lock_set(fd, F_WRLCK, 0, 1);
		}
		if (ret) {
			lock_take(old, true);
			ret = file_fail(err, path, -ret, false);
		}
	}
	if (ret) {
		file_close(*writer);
		*writer = NULL;
	}
	return ret;
}

void store_file_return(struct store *reader, int writer)
{
	lock_share(writer);
	lock_take(store_file_of(reader)->fd, true);
}

int store_file_create(const char *path, struct store **out, bool *is_new,
		      struct vhd_error *err)
{
	struct stat st;
	int fd;

	*is_new = false;
	if (!stat(path, &st) && S_ISBLK(st.st_mode))
		return store_file_open(path, 0, out, err);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0) {
		if (errno == EEXIST)
			return vhd_fail(err, EEXIST, "'%s' exists already; remove it or choose another name", path);
		return vhd_fail(err, errno, "cannot create '%s': %s", path, strerror(errno));
	}
	close(fd);
	*is_new = true;
	if (store_file_open(path, 0, out, err)) {
		unlink(path);
		return -err->code;
	}
	return 0;
}

int store_file_fd(struct store *s)
{
	return store_file_of(s)->fd;
}

int store_file_stat(struct store *s, uint64_t *dev, uint64_t *ino, int64_t *mtime)
{
	struct stat st;

	if (fstat(store_file_of(s)->fd, &st))
		return -errno;
	*dev = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
	*ino = S_ISBLK(st.st_mode) ? 0 : st.st_ino;
	*mtime = st.st_mtime;
	return 0;
}

int store_directory_sync(const char *path)
{
	const char *slash = strrchr(path, '/');
	char dir[PATH_MAX];
	int fd, ret;

	if (snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".") >= (int)sizeof(dir))
		return -ENAMETOOLONG;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* EINVAL: a file system that has no such thing. */
	ret = fd < 0 || (fsync(fd) && errno != EINVAL) ? -errno : 0;
	if (fd >= 0)
		close(fd);
	return ret;
}

int store_file_reserve(struct store *s, uint64_t bytes)
{
	int ret = s->device ? 0 : posix_fallocate(store_file_of(s)->fd, 0, bytes);

	if (!ret && s->size < bytes)
		s->size = bytes;
	return -ret;
}
