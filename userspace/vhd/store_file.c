// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Files and block devices: opening, locking, and the synchronous calls.
 *
 * O_DIRECT is tried first. Where the file system refuses it (tmpfs, 9p) or
 * demands more than 512-byte alignment, which VHD's own 512-byte structures
 * could not keep, the page cache is used; flush is fdatasync either way.
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
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vhd/codec.h"
#include "vhd/store_file.h"

#define WINDOW	(1u << 20)

static struct store_file *file_of(struct store *s)
{
	return (struct store_file *)s;
}

/* Reads [offset, offset + bytes) into @buf, aligned; zeros past the end. */
static int read_window(int fd, uint8_t *buf, size_t bytes, uint64_t offset)
{
	size_t have = 0;

	while (have < bytes) {
		ssize_t n = pread(fd, buf + have, bytes - have, offset + have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		have += n;
		/* Only the end of the file gives an odd count. */
		if (!n || n % VHD_SECTOR)
			break;
	}
	memset(buf + have, 0, bytes - have);
	return 0;
}

int store_file_pread(struct store *s, void *buf, size_t bytes, uint64_t offset)
{
	uint8_t *out = buf;
	void *window;
	int ret = 0;

	if (posix_memalign(&window, 4096, WINDOW))
		return -ENOMEM;
	while (bytes && !ret) {
		uint64_t from = offset / VHD_SECTOR * VHD_SECTOR;
		size_t skip = offset - from;
		size_t part = bytes < WINDOW - VHD_SECTOR ? bytes : WINDOW - VHD_SECTOR;
		size_t need = (skip + part + VHD_SECTOR - 1) / VHD_SECTOR * VHD_SECTOR;

		ret = read_window(file_of(s)->fd, window, need, from);
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
		ret = write_window(file_of(s)->fd, window, part, offset);
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
	return fdatasync(file_of(s)->fd) ? -errno : 0;
}

static int file_truncate(struct store *s, uint64_t size)
{
	if (s->device)
		return size == s->size ? 0 : -EINVAL;
	if (ftruncate(file_of(s)->fd, size))
		return -errno;
	s->size = size;
	return 0;
}

static int file_run(struct store *s, uint64_t offset, uint64_t *length)
{
	int fd = file_of(s)->fd;
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
	return fstat(file_of(s)->fd, &st) ? 0 : (uint64_t)st.st_blocks * 512;
}

static void file_close(struct store *s)
{
	struct store_file *f = file_of(s);

	if (!s)
		return;
	if (f->fd >= 0)
		close(f->fd);
	pthread_mutex_destroy(&f->lock);
	pthread_mutex_destroy(&f->queue_lock);
	pthread_cond_destroy(&f->work);
	free(f);
}

static const struct store_ops file_ops = {
	.pread = store_file_pread,
	.pwrite = file_pwrite,
	.sync = file_sync,
	.truncate = file_truncate,
	.run = file_run,
	.allocated = file_allocated,
	.close = file_close,
	.queue_create = store_aio_create,
	.queue_destroy = store_aio_destroy,
	.submit = store_aio_submit,
	.kick = store_aio_kick,
	.poll = store_aio_poll,
	.wake = store_aio_wake,
	.fd = store_aio_fd,
	.wait = store_aio_wait,
};

static int lock_take(int fd, bool readonly)
{
	struct flock fl = {
		.l_type = readonly ? F_RDLCK : F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = 0,
		.l_len = readonly ? 1 : 0,
	};

	return fcntl(fd, F_OFD_SETLK, &fl) ? -errno : 0;
}

/* The alignment that O_DIRECT wants here; 0: not known. */
static unsigned int direct_align(int fd, bool device)
{
	void *buf;
	int size;
	ssize_t n;

	if (device)
		return ioctl(fd, BLKSSZGET, &size) ? 0 : size;
	if (posix_memalign(&buf, 4096, 4096))
		return 0;
	/* A file system that wants more refuses a 512-byte read, even at the end. */
	n = pread(fd, buf, VHD_SECTOR, 0);
	free(buf);
	return n < 0 ? 4096 : VHD_SECTOR;
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
	return lock_take(f->fd, rdonly);
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
	f->tail = &f->head;
	pthread_mutex_init(&f->lock, NULL);
	pthread_mutex_init(&f->queue_lock, NULL);
	pthread_cond_init(&f->work, NULL);
	return f;
}

/* Decides between O_DIRECT and the page cache for an open descriptor. */
static void settle_alignment(struct store_file *f, bool direct)
{
	int fl;

	if (direct && direct_align(f->fd, f->store.device) != VHD_SECTOR) {
		fl = fcntl(f->fd, F_GETFL);
		if (fl >= 0 && !fcntl(f->fd, F_SETFL, fl & ~O_DIRECT))
			direct = false;
	}
	f->store.direct = direct;
	f->store.mem_align = direct ? VHD_SECTOR : 1;
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
	settle_alignment(f, direct);
	*out = &f->store;
	return 0;
fail:
	file_close(&f->store);
	return file_fail(err, path, -ret, rdonly);
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

int store_file_stat(struct store *s, uint64_t *dev, uint64_t *ino, int64_t *mtime)
{
	struct stat st;

	if (fstat(file_of(s)->fd, &st))
		return -errno;
	*dev = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
	*ino = S_ISBLK(st.st_mode) ? 0 : st.st_ino;
	*mtime = st.st_mtime;
	return 0;
}

int store_file_reserve(struct store *s, uint64_t bytes)
{
	int ret = s->device ? 0 : posix_fallocate(file_of(s)->fd, 0, bytes);

	if (!ret && s->size < bytes)
		s->size = bytes;
	return -ret;
}
