// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * An nbdkit plugin: nbdkit vhd [file=]FILE serves a disk image, with its
 * chain of parents, to any NBD client.
 *
 * nbdkit calls from many threads. A queue of the library belongs to one at a
 * time, so there is a pool of them; a call takes one, waits for its request,
 * and gives it back. Clients may address bytes, the library sectors: what is
 * not made of whole sectors is widened, and a write of that kind excludes all
 * other writes while it reads, changes and writes the sectors at its edges.
 */
#define NBDKIT_API_VERSION 2
#include <errno.h>
#include <nbdkit-plugin.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <lodge/vhd.h>

#define QUEUES	16
#define DEPTH	32
#define EDGE	(64u << 10)

static char *file;
static unsigned int open_flags;
static bool format_given, raw;
static struct vhd_keys *keys;

static struct {
	pthread_mutex_t lock;
	pthread_cond_t given_back;
	pthread_mutex_t map_lock;	/* vhd_map() is for one thread at a time */
	pthread_rwlock_t edges;		/* written: somebody changes a part of a sector */
	struct vhd *v;
	unsigned int users;
	struct vhd_queue *queue[QUEUES];	/* idle ones */
	unsigned int idle, made;
} disk = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.given_back = PTHREAD_COND_INITIALIZER,
	.map_lock = PTHREAD_MUTEX_INITIALIZER,
	.edges = PTHREAD_RWLOCK_INITIALIZER,
};

static int plugin_config(const char *key, const char *value)
{
	struct vhd_error err;
	int on;

	if (!strcmp(key, "file")) {
		free(file);
		file = nbdkit_realpath(value);
		return file ? 0 : -1;
	}
	if (!strcmp(key, "format") && (!strcmp(value, "raw") || !strcmp(value, "vhd"))) {
		format_given = true;
		raw = value[0] == 'r';
		return 0;
	}
	if (!strcmp(key, "key")) {
		keys = keys ? keys : vhd_keys_create();
		if (keys && !vhd_keys_add_file(keys, value, &err))
			return 0;
		nbdkit_error("%s", keys ? err.text : "out of memory");
		return -1;
	}
	if (!strcmp(key, "raw-parent")) {
		on = nbdkit_parse_bool(value);
		if (on < 0)
			return -1;
		open_flags |= on ? VHD_O_RAW_PARENT : 0;
		return 0;
	}
	nbdkit_error("unknown parameter %s=%s; there are file=, format=raw|vhd, key=FILE, raw-parent=yes|no", key, value);
	return -1;
}

static int plugin_config_complete(void)
{
	const char *dot;

	if (!file) {
		nbdkit_error("which image? try: nbdkit vhd FILE");
		return -1;
	}
	/* As everywhere: by the name, never by the contents. */
	dot = strrchr(file, '.');
	if (!format_given)
		raw = !dot || (strcasecmp(dot, ".vhd") && strcasecmp(dot, ".avhd"));
	open_flags |= raw ? VHD_O_RAW : 0;
	return 0;
}

/* What cannot be opened is told of before nbdkit goes into the background. */
static int plugin_get_ready(void)
{
	struct vhd_error err;
	struct vhd *v;

	if (vhd_open_keys(file, open_flags | VHD_O_RDONLY | VHD_O_NOLOCK, keys, &v, &err)) {
		nbdkit_error("%s", err.text);
		return -1;
	}
	vhd_close(v);
	return 0;
}

static void *plugin_open(int readonly)
{
	struct vhd_error err;
	void *handle = NULL;

	pthread_mutex_lock(&disk.lock);
	if (!disk.v && vhd_open_keys(file, open_flags | (readonly ? VHD_O_RDONLY : 0), keys, &disk.v, &err)) {
		nbdkit_error("%s", err.text);
	} else if (!readonly && vhd_readonly(disk.v)) {
		nbdkit_error("the image is open read-only");
	} else {
		disk.users++;
		handle = &disk;
	}
	pthread_mutex_unlock(&disk.lock);
	return handle;
}

static void plugin_close(void *handle)
{
	int ret = 0;

	(void)handle;
	pthread_mutex_lock(&disk.lock);
	if (!--disk.users && disk.v) {
		while (disk.idle)
			vhd_queue_destroy(disk.queue[--disk.idle]);
		disk.made = 0;
		ret = vhd_close(disk.v);
		disk.v = NULL;
	}
	pthread_mutex_unlock(&disk.lock);
	if (ret)
		nbdkit_error("cannot close the image: %s", strerror(-ret));
}

/* nbdkit may be told to go before it has closed every connection. */
static void plugin_unload(void)
{
	pthread_mutex_lock(&disk.lock);
	if (disk.v && disk.idle == disk.made) {
		while (disk.idle)
			vhd_queue_destroy(disk.queue[--disk.idle]);
		vhd_close(disk.v);
		disk.v = NULL;
	}
	pthread_mutex_unlock(&disk.lock);
	vhd_keys_free(keys);
	free(file);
}

static struct vhd_queue *queue_take(void)
{
	struct vhd_queue *q = NULL;

	pthread_mutex_lock(&disk.lock);
	while (!disk.idle && disk.made == QUEUES)
		pthread_cond_wait(&disk.given_back, &disk.lock);
	if (disk.idle) {
		q = disk.queue[--disk.idle];
	} else {
		q = vhd_queue_create(disk.v, DEPTH);
		disk.made += q ? 1 : 0;
	}
	pthread_mutex_unlock(&disk.lock);
	return q;
}

static void queue_give(struct vhd_queue *q)
{
	pthread_mutex_lock(&disk.lock);
	disk.queue[disk.idle++] = q;
	pthread_cond_signal(&disk.given_back);
	pthread_mutex_unlock(&disk.lock);
}

/* Ends a call: -errno becomes nbdkit's way of saying it. */
static int answer(struct vhd_queue *q, int ret, const char *what, uint64_t offset)
{
	if (q)
		queue_give(q);
	if (!ret)
		return 0;
	nbdkit_error("cannot %s at %llu: %s", what, (unsigned long long)offset, strerror(-ret));
	nbdkit_set_error(-ret);
	return -1;
}

static int64_t plugin_get_size(void *handle)
{
	(void)handle;
	return vhd_size(disk.v);
}

static bool sectors(uint64_t offset, uint64_t count)
{
	return !((offset | count) % VHD_SECTOR);
}

/* The whole sectors around a piece, at most EDGE bytes of them. */
static uint64_t window(uint64_t offset, uint64_t count, uint64_t *from, uint64_t *part)
{
	uint64_t to;

	*from = offset / VHD_SECTOR * VHD_SECTOR;
	to = (offset + count + VHD_SECTOR - 1) / VHD_SECTOR * VHD_SECTOR;
	if (to > *from + EDGE)
		to = *from + EDGE;
	*part = offset + count < to ? count : to - offset;
	return to - *from;
}

static int read_bytes(struct vhd_queue *q, uint8_t *buf, uint64_t count, uint64_t offset)
{
	uint8_t *edge = malloc(EDGE);
	uint64_t from, part, n;
	int ret = edge ? 0 : -ENOMEM;

	for (; count && !ret; count -= part, offset += part, buf += part) {
		n = window(offset, count, &from, &part);
		ret = vhd_pread(q, edge, n, from);
		if (!ret)
			memcpy(buf, edge + (offset - from), part);
	}
	free(edge);
	return ret;
}

/* @buf NULL: zeros. */
static int write_bytes(struct vhd_queue *q, const uint8_t *buf, uint64_t count, uint64_t offset)
{
	uint8_t *edge = malloc(EDGE);
	uint64_t from, part, n;
	int ret = edge ? 0 : -ENOMEM;

	pthread_rwlock_wrlock(&disk.edges);
	for (; count && !ret; count -= part, offset += part) {
		n = window(offset, count, &from, &part);
		ret = vhd_pread(q, edge, n, from);
		if (ret)
			break;
		if (buf) {
			memcpy(edge + (offset - from), buf, part);
			buf += part;
		} else {
			memset(edge + (offset - from), 0, part);
		}
		ret = vhd_pwrite(q, edge, n, from);
	}
	pthread_rwlock_unlock(&disk.edges);
	free(edge);
	return ret;
}

static int plugin_pread(void *handle, void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
	struct vhd_queue *q = queue_take();
	int ret;

	(void)handle;
	(void)flags;
	if (!q)
		ret = -ENOMEM;
	else if (sectors(offset, count))
		ret = vhd_pread(q, buf, count, offset);
	else
		ret = read_bytes(q, buf, count, offset);
	return answer(q, ret, "read", offset);
}

static int flush_if(struct vhd_queue *q, int ret, uint32_t flags)
{
	return !ret && flags & NBDKIT_FLAG_FUA ? vhd_flush(q) : ret;
}

static int plugin_pwrite(void *handle, const void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
	struct vhd_queue *q = queue_take();
	int ret;

	(void)handle;
	if (!q) {
		ret = -ENOMEM;
	} else if (sectors(offset, count)) {
		pthread_rwlock_rdlock(&disk.edges);
		ret = vhd_pwrite(q, buf, count, offset);
		pthread_rwlock_unlock(&disk.edges);
	} else {
		ret = write_bytes(q, buf, count, offset);
	}
	ret = q ? flush_if(q, ret, flags) : ret;
	return answer(q, ret, "write", offset);
}

static int plugin_zero(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	struct vhd_queue *q = queue_take();
	int ret;

	(void)handle;
	if (!q) {
		ret = -ENOMEM;
	} else if (sectors(offset, count)) {
		pthread_rwlock_rdlock(&disk.edges);
		ret = vhd_write_zeroes(q, offset, count, flags & NBDKIT_FLAG_MAY_TRIM ? VHD_F_UNMAP : 0);
		pthread_rwlock_unlock(&disk.edges);
	} else {
		ret = write_bytes(q, NULL, count, offset);
	}
	ret = q ? flush_if(q, ret, flags) : ret;
	return answer(q, ret, "write zeros", offset);
}

static int plugin_trim(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	uint64_t from = (offset + VHD_SECTOR - 1) / VHD_SECTOR * VHD_SECTOR;
	uint64_t to = (offset + count) / VHD_SECTOR * VHD_SECTOR;
	struct vhd_queue *q = queue_take();
	int ret = q ? 0 : -ENOMEM;

	(void)handle;
	/* A hint: parts of sectors are left alone. */
	if (q && to > from)
		ret = vhd_discard(q, from, to - from);
	ret = q ? flush_if(q, ret, flags) : ret;
	return answer(q, ret, "trim", offset);
}

static int plugin_flush(void *handle, uint32_t flags)
{
	struct vhd_queue *q = queue_take();

	(void)handle;
	(void)flags;
	return answer(q, q ? vhd_flush(q) : -ENOMEM, "flush", 0);
}

/* The map of an image that is being written to is not for others to read. */
static int plugin_can_extents(void *handle)
{
	(void)handle;
	return vhd_readonly(disk.v);
}

static int plugin_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags,
			  struct nbdkit_extents *extents)
{
	uint64_t end = offset + count, at = offset / VHD_SECTOR * VHD_SECTOR;
	struct vhd_run r;
	int ret = 0;

	(void)handle;
	pthread_mutex_lock(&disk.map_lock);
	while (at < end && !ret) {
		ret = vhd_map(disk.v, at, vhd_size(disk.v) - at, &r);
		if (!ret && nbdkit_add_extent(extents, at, r.length,
					      r.data ? 0 : NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO) < 0) {
			pthread_mutex_unlock(&disk.map_lock);
			return -1;
		}
		at += ret ? 0 : r.length;
		if (flags & NBDKIT_FLAG_REQ_ONE && at > offset)
			break;
	}
	pthread_mutex_unlock(&disk.map_lock);
	return answer(NULL, ret, "map", offset);
}

static int yes(void *handle)
{
	(void)handle;
	return 1;
}

static int native_fua(void *handle)
{
	(void)handle;
	return NBDKIT_FUA_NATIVE;
}

static int plugin_block_size(void *handle, uint32_t *minimum, uint32_t *preferred, uint32_t *maximum)
{
	(void)handle;
	*minimum = 1;
	*preferred = 4096;
	*maximum = 0xffffffff;
	return 0;
}

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

static struct nbdkit_plugin plugin = {
	.name = "vhd",
	.longname = "Lodge disk images",
	.version = LODGE_VERSION,
	.description = "VHD images with their parents, and raw ones",
	.magic_config_key = "file",
	.config_help = "[file=]FILE          the image\n"
		       "format=raw|vhd       default: by the file's name\n"
		       "key=FILE            the key of an encrypted image; may be repeated\n"
		       "raw-parent=yes|no    allow an image that stands on a raw file (no)",
	.config = plugin_config,
	.config_complete = plugin_config_complete,
	.get_ready = plugin_get_ready,
	.unload = plugin_unload,
	.open = plugin_open,
	.close = plugin_close,
	.get_size = plugin_get_size,
	.block_size = plugin_block_size,
	.can_multi_conn = yes,
	.can_fua = native_fua,
	.can_extents = plugin_can_extents,
	.pread = plugin_pread,
	.pwrite = plugin_pwrite,
	.zero = plugin_zero,
	.trim = plugin_trim,
	.flush = plugin_flush,
	.extents = plugin_extents,
};

NBDKIT_REGISTER_PLUGIN(plugin)
