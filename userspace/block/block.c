// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Disks for the controllers: a specification opened through the VHD library,
 * whose handle also serves raw files and devices.
 *
 * What is added here is what a controller wants and an image format does not
 * know: a serial number, "discard off", and forced unit access, which becomes
 * a flush behind the write before done() is called.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "block/inner.h"

int block_spec_check(const char *spec, char **err)
{
	struct block_spec s;

	return block_spec_parse(spec, &s, err);
}

int block_keys_open(struct block *b, char **err)
{
	struct vhd_error why;

	if (!b->spec.key[0])
		return 0;
	b->keys = vhd_keys_create();
	if (!b->keys)
		return block_spec_fail(err, ENOMEM, "out of memory");
	return vhd_keys_add_file(b->keys, b->spec.key, &why) ? block_spec_fail(err, why.code, "%s", why.text) : 0;
}

int block_medium_open(struct block *b, unsigned int flags, char **err)
{
	struct vhd_error why;
	unsigned int how = 0;
	int ret;

	if (flags & BLOCK_O_RDONLY)
		b->spec.readonly = true;
	how |= b->spec.readonly ? VHD_O_RDONLY : 0;
	how |= flags & BLOCK_O_NOLOCK ? VHD_O_NOLOCK : 0;
	how |= b->spec.buffered ? VHD_O_BUFFERED : 0;
	how |= b->spec.vhd ? 0 : VHD_O_RAW;
	how |= b->spec.raw_parent ? VHD_O_RAW_PARENT : 0;
	ret = vhd_open_keys(b->spec.path, how, b->keys, &b->vhd, &why);
	if (ret == -ENOKEY || ret == -EKEYREJECTED)
		return block_spec_fail(err, why.code, "%s; add ,key=FILE to the disk", why.text);
	if (ret)
		return block_spec_fail(err, why.code, "%s", why.text);
	vhd_get_info(b->vhd, &b->info);
	return 0;
}

/* A file without a byte that nobody else has. */
static int nothing_open(struct block *b, char **err)
{
	int fd = memfd_create("no medium", MFD_CLOEXEC), ret;
	struct vhd_error why;
	char name[40];

	if (fd < 0)
		return block_spec_fail(err, errno, "cannot make an empty drive: %s", strerror(errno));
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	ret = vhd_open(name, VHD_O_RDONLY | VHD_O_RAW | VHD_O_BUFFERED, &b->vhd, &why);
	close(fd);
	b->spec.path[0] = 0;
	if (ret)
		return block_spec_fail(err, why.code, "%s", why.text);
	vhd_get_info(b->vhd, &b->info);
	return 0;
}

int block_spec_parse_at(const char *dir, const char *text, struct block_spec *spec, char **err)
{
	int ret = block_spec_parse(text, spec, err);
	char path[PATH_MAX];

	if (ret || !dir || !spec->path[0] || spec->path[0] == '/')
		return ret;
	if (snprintf(path, sizeof(path), "%s/%s", dir, spec->path) >= (int)sizeof(path))
		return block_spec_fail(err, ENAMETOOLONG, "the disk's path is too long");
	strcpy(spec->path, path);
	return 0;
}

static struct block *open_spec(const char *dir, const char *spec, unsigned int flags, bool empty, char **err)
{
	struct block *b = calloc(1, sizeof(*b));
	int ret;

	if (!b) {
		block_spec_fail(err, ENOMEM, "out of memory");
		return NULL;
	}
	ret = block_spec_parse_at(dir, spec, &b->spec, err);
	empty |= !b->spec.path[0];
	if (!ret && empty)
		ret = nothing_open(b, err);
	else if (!ret)
		ret = block_keys_open(b, err);
	if (!ret && !empty)
		ret = block_medium_open(b, flags, err);
	if (ret) {
		vhd_keys_free(b->keys);
		free(b);
		errno = -ret;
		return NULL;
	}
	return b;
}

struct block *block_open(const char *spec, unsigned int flags, char **err)
{
	return open_spec(NULL, spec, flags, false, err);
}

struct block *block_open_at(const char *dir, const char *spec, unsigned int flags, char **err)
{
	return open_spec(dir, spec, flags, false, err);
}

struct block *block_open_empty(const char *spec, char **err)
{
	return open_spec(NULL, spec, 0, true, err);
}

int block_close(struct block *b)
{
	int ret;

	if (!b)
		return 0;
	ret = vhd_close(b->vhd);
	vhd_keys_free(b->keys);
	free(b);
	return ret;
}

int block_queues_of(struct vhd_queue **out, struct block_queue *const *q, unsigned int n, char **err)
{
	unsigned int i;

	if (n > BRANCH_QUEUES)
		return block_spec_fail(err, EINVAL, "the disk has more than %d queues", BRANCH_QUEUES);
	for (i = 0; i < n; i++)
		out[i] = q[i]->vhd;
	return 0;
}

int block_exchange(struct block *b, struct block *next, struct block_queue *const *q, unsigned int n, char **err)
{
	struct vhd_queue *queue[BRANCH_QUEUES];
	struct vhd_error why;
	struct block was = *b;
	int ret = block_queues_of(queue, q, n, err);

	if (ret)
		return ret;
	ret = vhd_switch(b->vhd, next->vhd, queue, n, &why);
	if (ret)
		return block_spec_fail(err, why.code, "%s", why.text);
	*b = *next;
	*next = was;
	return 0;
}

int block_grow(struct block *b, uint64_t size, struct block_queue *const *q, unsigned int n, char **err)
{
	struct vhd_queue *queue[BRANCH_QUEUES];
	struct vhd_error why;
	int ret = block_queues_of(queue, q, n, err);

	if (ret)
		return ret;
	ret = vhd_grow(b->vhd, size, queue, n, &b->vhd, &why);
	vhd_get_info(b->vhd, &b->info);
	return ret ? block_spec_fail(err, why.code, "%s", why.text) : 0;
}

uint64_t block_capacity(const struct block *b)
{
	return b->info.size;
}

uint32_t block_sector_size(const struct block *b)
{
	(void)b;
	return VHD_SECTOR;
}

uint32_t block_physical_size(const struct block *b)
{
	/* Unaligned images gain nothing from aligned requests, nor lose. */
	(void)b;
	return 4096;
}

uint32_t block_discard_granularity(const struct block *b)
{
	if (b->spec.nodiscard || b->info.readonly)
		return 0;
	return b->info.type == VHD_DYNAMIC ? b->info.block_size : 4096;
}

bool block_readonly(const struct block *b)
{
	return b->info.readonly;
}

const char *block_path(const struct block *b)
{
	return b->spec.path;
}

const char *block_format(const struct block *b)
{
	return vhd_type_name(b->info.type);
}

bool block_removable(const struct block *b)
{
	return b->spec.removable;
}

enum block_on_error block_on_error(const struct block *b)
{
	return b->spec.on_error;
}

const struct throttle_limits *block_limits(const struct block *b)
{
	return &b->spec.limits;
}

const char *block_group(const struct block *b)
{
	return b->spec.group;
}

void block_serial(const struct block *b, char id[20])
{
	char text[33] = "";
	const char *p;
	uint64_t hash = 0xcbf29ce484222325ull;
	int i;

	if (b->info.type != VHD_RAW) {
		for (i = 0; i < 10; i++)
			snprintf(text + 2 * i, 3, "%02x", b->info.uuid[i]);
	} else {
		/* FNV-1a of the path: stable, and no more is asked of it. */
		for (p = b->spec.path; *p; p++)
			hash = (hash ^ (uint8_t)*p) * 0x100000001b3ull;
		snprintf(text, sizeof(text), "raw-%016llx", (unsigned long long)hash);
	}
	memcpy(id, text, 20);
}

struct block_queue *block_queue_create(struct block *b, unsigned int depth)
{
	struct block_queue *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->block = b;
	q->vhd = vhd_queue_create(b->vhd, depth);
	if (!q->vhd) {
		free(q);
		return NULL;
	}
	return q;
}

void block_queue_destroy(struct block_queue *q)
{
	if (!q)
		return;
	vhd_queue_destroy(q->vhd);
	free(q);
}

/* When it is done, or has failed half-way: what is read from now on is what it left. */
static void note(const struct block_req *req)
{
	struct block_mirror *m = req->queue->block->mirror;

	if (m && req->op != BLOCK_READ)
		block_mirror_note(m, req->offset, req->length);
}

static void flushed(struct vhd_request *v, int error)
{
	struct block_req *req = v->opaque;

	if (v->op == VHD_DISCARD)
		note(req);
	req->done(req, error);
}

static void transferred(struct vhd_request *v, int error)
{
	struct block_req *req = v->opaque;

	note(req);
	if (error || !(req->flags & BLOCK_F_FUA) || req->op == BLOCK_READ) {
		req->done(req, error);
		return;
	}
	v->op = VHD_FLUSH;
	v->done = flushed;
	vhd_submit(req->queue->vhd, v);
}

void block_queue_submit(struct block_queue *q, struct block_req *req)
{
	static const enum vhd_op ops[] = {
		[BLOCK_READ] = VHD_READ,
		[BLOCK_WRITE] = VHD_WRITE,
		[BLOCK_FLUSH] = VHD_FLUSH,
		[BLOCK_DISCARD] = VHD_DISCARD,
		[BLOCK_WRITE_ZEROES] = VHD_WRITE_ZEROES,
	};
	struct vhd_request *v = &req->vhd;

	req->queue = q;
	memset(v, 0, sizeof(*v));
	v->op = (unsigned int)req->op <= BLOCK_WRITE_ZEROES ? ops[req->op] : (enum vhd_op)-1;
	v->offset = req->offset;
	v->length = req->length;
	v->iov = req->iov;
	v->iovcnt = req->iovcnt;
	v->from = req->op == BLOCK_READ ? req->from : NULL;
	v->opaque = req;
	v->flags = req->flags & BLOCK_F_UNMAP ? VHD_F_UNMAP : 0;
	v->done = req->op == BLOCK_FLUSH || req->op == BLOCK_DISCARD ? flushed : transferred;
	/* Checked as a discard, then with nothing left to do. */
	if (req->op == BLOCK_DISCARD && q->block->spec.nodiscard &&
	    req->offset <= q->block->info.size && req->length <= q->block->info.size - req->offset)
		v->length = 0;
	if (q->block->spec.nodiscard)
		v->flags = 0;
	vhd_submit(q->vhd, v);
}

bool block_locate(struct block_queue *q, struct block_req *req)
{
	req->queue = q;
	req->vhd = (struct vhd_request){
		.op = VHD_LOCATE, .offset = req->offset, .length = req->length, .done = flushed, .opaque = req,
	};
	return vhd_locate(q->vhd, &req->vhd);
}

const struct vhd_found *block_found(const struct block_req *req)
{
	return &req->vhd.found;
}

void block_queue_kick(struct block_queue *q)
{
	vhd_queue_kick(q->vhd);
}

int block_queue_fd(const struct block_queue *q)
{
	return vhd_queue_fd(q->vhd);
}

int block_queue_poll(struct block_queue *q)
{
	return vhd_queue_poll(q->vhd);
}

unsigned int block_queue_inflight(const struct block_queue *q)
{
	return vhd_queue_inflight(q->vhd);
}

void block_queue_drain(struct block_queue *q)
{
	vhd_queue_drain(q->vhd);
}
