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

#include "block/block.h"
#include "block/spec.h"

struct block {
	struct vhd *vhd;
	struct vhd_keys *keys;		/* NULL: none */
	struct block_spec spec;
	struct vhd_info info;
};

#define BRANCH_QUEUES 64

struct block_queue {
	struct block *block;
	struct vhd_queue *vhd;
};

int block_spec_check(const char *spec, char **err)
{
	struct block_spec s;

	return block_spec_parse(spec, &s, err);
}

struct block *block_open(const char *spec, unsigned int flags, char **err)
{
	struct block *b = calloc(1, sizeof(*b));
	struct vhd_error why;
	unsigned int how = 0;
	int ret;

	if (!b) {
		block_spec_fail(err, ENOMEM, "out of memory");
		return NULL;
	}
	ret = block_spec_parse(spec, &b->spec, err);
	if (ret)
		goto fail;
	if (flags & BLOCK_O_RDONLY)
		b->spec.readonly = true;
	how |= b->spec.readonly ? VHD_O_RDONLY : 0;
	how |= flags & BLOCK_O_NOLOCK ? VHD_O_NOLOCK : 0;
	how |= b->spec.buffered ? VHD_O_BUFFERED : 0;
	how |= b->spec.vhd ? 0 : VHD_O_RAW;
	how |= b->spec.raw_parent ? VHD_O_RAW_PARENT : 0;
	if (b->spec.key[0]) {
		b->keys = vhd_keys_create();
		ret = b->keys ? vhd_keys_add_file(b->keys, b->spec.key, &why) : block_spec_fail(err, ENOMEM, "out of memory");
		if (ret && b->keys)
			block_spec_fail(err, why.code, "%s", why.text);
		if (ret)
			goto fail;
	}
	ret = vhd_open_keys(b->spec.path, how, b->keys, &b->vhd, &why);
	if (ret == -ENOKEY || ret == -EKEYREJECTED) {
		block_spec_fail(err, why.code, "%s; add ,key=FILE to the disk", why.text);
		goto fail;
	}
	if (ret) {
		block_spec_fail(err, why.code, "%s", why.text);
		goto fail;
	}
	vhd_get_info(b->vhd, &b->info);
	return b;
fail:
	vhd_keys_free(b->keys);
	free(b);
	errno = -ret;
	return NULL;
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

int block_branch(struct block *b, struct block_queue *const *q, unsigned int n, const char *child,
		 const char *snapshot, char **err)
{
	struct vhd_queue *queue[BRANCH_QUEUES];
	struct vhd_error why;
	char disk[PATH_MAX];
	struct vhd *next;
	unsigned int i;
	int ret;

	if (n > BRANCH_QUEUES)
		return block_spec_fail(err, EINVAL, "the disk has more than %d queues", BRANCH_QUEUES);
	for (i = 0; i < n; i++)
		queue[i] = q[i]->vhd;
	/* The name may have been given as a symbolic link, which is not to be replaced. */
	if (!realpath(b->spec.path, disk))
		return block_spec_fail(err, errno, "cannot find '%s': %s", b->spec.path, strerror(errno));
	ret = vhd_open_keys(child, VHD_O_OWN | (b->spec.buffered ? VHD_O_BUFFERED : 0), b->keys, &next, &why);
	if (ret)
		return block_spec_fail(err, why.code, "%s", why.text);
	ret = vhd_branch(b->vhd, next, disk, snapshot, queue, n, &why);
	if (ret) {
		vhd_close(next);
		return block_spec_fail(err, why.code, "%s", why.text);
	}
	b->vhd = next;
	vhd_get_info(next, &b->info);
	return 0;
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

static void flushed(struct vhd_request *v, int error)
{
	struct block_req *req = v->opaque;

	req->done(req, error);
}

static void transferred(struct vhd_request *v, int error)
{
	struct block_req *req = v->opaque;

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
