// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Making new images.
 *
 * Layout of ours: footer copy, header at 512, table at 1536 (where every tool
 * looks for it), for differencing images the parent locators on the next
 * page, and the footer. Everything is synced before the footer copy at 0 is
 * written, so that a file that a crash has left half-made is no image.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "vhd/image.h"

#define LOCATOR_ROOM	(16u << 10)
#define RESERVE_MIN	32768u	/* blocks that an encrypted disk may have, at least */

static uint32_t now(void)
{
	long long t = (long long)time(NULL) - VHD_EPOCH;

	return t < 0 ? 0 : t;
}

int create_uuid(uint8_t uuid[16])
{
	if (getrandom(uuid, 16, 0) != 16)
		return -EIO;
	uuid[6] = (uuid[6] & 0x0f) | 0x40;
	uuid[8] = (uuid[8] & 0x3f) | 0x80;
	return 0;
}

struct vhd_geometry create_geometry(uint64_t size)
{
	struct vhd_geometry g = vhd_geometry_of(size / VHD_SECTOR);

	/*
	 * QEMU goes by the geometry for creators it does not know, unless it is
	 * the largest there is: say that wherever the true one would lose sectors.
	 */
	if (vhd_geometry_sectors(g) != size / VHD_SECTOR)
		g = (struct vhd_geometry){ 65535, 16, 255 };
	return g;
}

static int footer_make(const struct vhd_params *p, uint64_t size, const struct vhd_keyhash *key,
		       struct vhd_footer *f)
{
	memset(f, 0, sizeof(*f));
	f->version = 0x00010000;
	f->data_offset = p->type == VHD_FIXED ? VHD_NO_OFFSET : VHD_HEADER_OFFSET;
	f->timestamp = p->timestamp ? p->timestamp : now();
	memcpy(f->creator, "ldge", 4);
	f->creator_version = VHD_CREATOR_VERSION;
	f->creator_os = 0x5769326b;
	/* Where a key's hash is, tapdisk's marks say; nobody else could read the data. */
	if (key && key->set) {
		memcpy(f->creator, "tap", 4);
		f->creator_version = 0x00010003;
		f->creator_os = 0;
	}
	f->original_size = size;
	f->current_size = size;
	f->geometry = create_geometry(size);
	f->type = p->type;
	memcpy(f->uuid, p->uuid, 16);
	return vhd_uuid_null(f->uuid) ? create_uuid(f->uuid) : 0;
}

int create_keyhash(enum vhd_type type, const struct vhd_keys *keys, struct vhd_keyhash *key, struct vhd_error *err)
{
	if (type != VHD_DYNAMIC && type != VHD_DIFF)
		return vhd_fail(err, EINVAL, "only dynamic and differencing images can be encrypted");
	if (getrandom(key->nonce, sizeof(key->nonce), 0) != sizeof(key->nonce) || keys_hash(keys, key))
		return vhd_fail(err, EIO, "cannot make the key's hash");
	return 0;
}

static int size_check(const struct vhd_params *p, uint64_t size, const struct store *s,
		      struct vhd_error *err)
{
	if (!size || size % VHD_SECTOR)
		return vhd_fail(err, EINVAL, "the size %llu is not a positive multiple of 512 bytes",
				(unsigned long long)size);
	if (p->type != VHD_RAW && size > VHD_MAX_SIZE)
		return vhd_fail(err, EFBIG, "VHD images hold at most 2040 GiB (2190433320960 bytes), not %llu; use a raw image for larger disks",
				(unsigned long long)size);
	if (s->device && s->size < size + (p->type == VHD_RAW ? 0 : VHD_FOOTER_BYTES))
		return vhd_fail(err, ENOSPC, "the device has %llu bytes, too few for a disk of %llu",
				(unsigned long long)s->size, (unsigned long long)size);
	return 0;
}

static int flat_make(struct store *s, const struct vhd_params *p, uint64_t size)
{
	uint8_t raw[VHD_FOOTER_BYTES];
	struct vhd_footer f;
	int ret = 0;

	if (!s->device)
		ret = s->ops->truncate(s, size);
	else if (!p->keep)
		ret = s->ops->zero(s, 0, size);
	if (!ret && p->preallocate)
		ret = store_file_reserve(s, size + (p->type == VHD_FIXED ? VHD_FOOTER_BYTES : 0));
	if (!ret && p->type == VHD_FIXED) {
		ret = footer_make(p, size, NULL, &f);
		vhd_footer_encode(&f, raw);
		if (!ret)
			ret = s->ops->pwrite(s, raw, sizeof(raw),
					     s->device ? s->size - VHD_FOOTER_BYTES : size);
	}
	return ret ? ret : s->ops->sync(s);
}

int create_parent_find(const char *path, bool raw, unsigned int flags, struct edit_parent *found, struct vhd_error *err)
{
	const struct vhd *p;
	struct vhd *parent;
	uint64_t dev, ino;
	int64_t mtime = 0;
	int depth = 1, ret;

	ret = vhd_open(path, flags | VHD_O_RDONLY | VHD_O_RAW_PARENT | VHD_O_NOKEY | (raw ? VHD_O_RAW : 0), &parent, err);
	if (ret)
		return ret;
	memset(found, 0, sizeof(*found));
	found->name = path;
	found->size = parent->size;
	found->key = parent->batmap.key;
	memcpy(found->uuid, parent->footer.uuid, 16);
	store_file_stat(parent->store, &dev, &ino, &mtime);
	found->timestamp = mtime > VHD_EPOCH ? mtime - VHD_EPOCH : 0;
	if (!raw && vhd_uuid_null(found->uuid))
		ret = vhd_fail(err, EINVAL, "'%.300s' has no unique id, so no image can name it as its parent; 'lodge img repair' gives it one",
			       path);
	for (p = parent; p; p = p->parent)
		depth++;
	if (!ret && depth > VHD_MAX_CHAIN)
		ret = vhd_fail(err, ELOOP, "'%.300s' has %d images in its chain, as many as there may be; coalesce some of them first",
			       path, VHD_MAX_CHAIN);
	vhd_close(parent);
	return ret;
}

static int parent_find(const struct vhd_params *p, struct vhd_header *h, uint64_t *size, struct vhd_keyhash *key,
		       struct vhd_error *err)
{
	struct edit_parent parent;
	int ret;

	if (!p->parent)
		return vhd_fail(err, EINVAL, "a differencing image needs a parent");
	/* First, since this changes the parent's time. */
	ret = p->parent_raw || p->parent_live ? 0 : vhd_mark_parent(p->parent, true, err);
	/* What cannot be written to needs no mark. */
	if (ret == -EROFS || ret == -EACCES || ret == -EPERM)
		ret = 0;
	if (!ret)
		ret = create_parent_find(p->parent, p->parent_raw, p->parent_live ? VHD_O_NOLOCK | VHD_O_NOPARENT : 0, &parent, err);
	if (ret)
		return ret;
	if (!*size)
		*size = parent.size;
	if (*size < parent.size)
		return vhd_fail(err, EINVAL, "the image would be smaller (%llu bytes) than its parent (%llu)",
				(unsigned long long)*size, (unsigned long long)parent.size);
	memcpy(h->parent_uuid, parent.uuid, 16);
	h->parent_timestamp = parent.timestamp;
	*key = parent.key;
	return 0;
}

static int batmap_write(struct store *s, const struct vhd_keyhash *key, uint64_t at, uint32_t sectors)
{
	uint8_t *raw = calloc(sectors + 1, VHD_SECTOR);
	int ret;

	if (!raw)
		return -ENOMEM;
	batmap_header_make(key, at, sectors, raw);
	ret = s->ops->pwrite(s, raw, (size_t)(sectors + 1) * VHD_SECTOR, at);
	free(raw);
	return ret;
}

/* Where table and batmap end, on a page. */
static uint64_t meta_end(const struct vhd_header *h, const struct vhd_keyhash *key)
{
	uint64_t end = h->table_offset + vhd_table_bytes(h->max_entries);

	if (key->set)
		end += (uint64_t)(batmap_sectors(h->max_entries) + 1) * VHD_SECTOR;
	return round_up(end, PAGE_BYTES);
}

/*
 * Entries of the table of a disk of @size bytes. A batmap ties the table's
 * length down, so there is room for the disk to grow; and the table ends on a
 * page, so that it can be written in pages.
 */
static uint64_t entries_for(uint64_t size, uint32_t block_size, bool batmap)
{
	uint64_t entries = (size + block_size - 1) / block_size, most = VHD_MAX_SIZE / block_size;

	if (!batmap)
		return entries;
	entries = entries < RESERVE_MIN / 2 ? RESERVE_MIN : entries * 2;
	if (most > VHD_MAX_ENTRIES - PAGE_BYTES / 4)
		most = VHD_MAX_ENTRIES - PAGE_BYTES / 4;
	if (entries > most)
		entries = most;
	if (entries < (size + block_size - 1) / block_size)
		return (size + block_size - 1) / block_size;
	return (round_up(VHD_TABLE_OFFSET + entries * 4, PAGE_BYTES) - VHD_TABLE_OFFSET) / 4;
}

static int write_blocks_image(struct store *s, const struct vhd_footer *f, struct vhd_header *h,
			      const struct vhd_keyhash *key, const uint8_t *locators, size_t locator_bytes)
{
	uint64_t table = vhd_table_bytes(h->max_entries), end;
	uint8_t raw[VHD_HEADER_BYTES];
	uint8_t *ff = malloc(table);
	int ret;

	if (!ff)
		return -ENOMEM;
	memset(ff, 0xff, table);
	end = meta_end(h, key);
	ret = s->ops->pwrite(s, ff, table, h->table_offset);
	if (!ret && key->set)
		ret = batmap_write(s, key, h->table_offset + table, batmap_sectors(h->max_entries));
	free(ff);
	if (!ret && locator_bytes) {
		ret = s->ops->pwrite(s, locators, locator_bytes, end);
		end = round_up(end + locator_bytes, PAGE_BYTES);
	}
	vhd_header_encode(h, raw);
	if (!ret)
		ret = s->ops->pwrite(s, raw, VHD_HEADER_BYTES, VHD_HEADER_OFFSET);
	vhd_footer_encode(f, raw);
	if (!ret)
		ret = s->ops->pwrite(s, raw, VHD_FOOTER_BYTES,
				     s->device ? s->size - VHD_FOOTER_BYTES : end);
	if (!ret)
		ret = s->ops->sync(s);
	if (!ret)
		ret = s->ops->pwrite(s, raw, VHD_FOOTER_BYTES, 0);
	return ret ? ret : s->ops->sync(s);
}

static int blocks_make(struct store *s, const char *path, const struct vhd_params *p,
		       uint64_t size, const struct vhd_keyhash *key, struct vhd_header *h, struct vhd_error *err)
{
	struct vhd_footer f;
	uint8_t *locators;
	uint64_t entries;
	int n = 0, ret;

	h->table_offset = VHD_TABLE_OFFSET;
	h->block_size = p->block_size ? p->block_size : VHD_DEFAULT_BLOCK;
	if (h->block_size < VHD_MIN_BLOCK || h->block_size > VHD_MAX_BLOCK ||
	    h->block_size & (h->block_size - 1))
		return vhd_fail(err, EINVAL, "the block size %u is not a power of two from 512 bytes to 16 MiB",
				h->block_size);
	entries = entries_for(size, h->block_size, key->set);
	if (entries > VHD_MAX_ENTRIES)
		return vhd_fail(err, EINVAL, "blocks of %u bytes are too small for a disk of %llu bytes",
				h->block_size, (unsigned long long)size);
	h->max_entries = entries;
	locators = calloc(1, LOCATOR_ROOM);
	if (!locators)
		return vhd_fail(err, ENOMEM, "out of memory");
	if (p->type == VHD_DIFF)
		n = chain_locators(path, p->parent, h, meta_end(h, key), locators, LOCATOR_ROOM, err);
	if (n < 0) {
		free(locators);
		return n;
	}
	ret = footer_make(p, size, key, &f);
	if (!ret)
		ret = write_blocks_image(s, &f, h, key, locators, n);
	free(locators);
	if (ret)
		return vhd_fail(err, -ret, "cannot write '%.300s': %s", path, strerror(-ret));
	return 0;
}

int create_on_store(struct store *s, const char *path, const struct vhd_params *p,
		    struct vhd_error *err)
{
	struct vhd_keyhash key = { 0 };
	uint64_t size = p->size;
	struct vhd_header h;
	int ret = 0;

	memset(&h, 0, sizeof(h));
	if (p->type == VHD_DIFF)
		ret = parent_find(p, &h, &size, &key, err);
	if (!ret)
		ret = size_check(p, size, s, err);
	if (!ret && keys_any(p->keys))
		ret = create_keyhash(p->type, p->keys, &key, err);
	if (ret)
		return ret;
	if (p->type == VHD_DYNAMIC || p->type == VHD_DIFF)
		return blocks_make(s, path, p, size, &key, &h, err);
	ret = flat_make(s, p, size);
	if (ret)
		return vhd_fail(err, -ret, "cannot write '%.300s': %s", path, strerror(-ret));
	return 0;
}

int vhd_create(const char *path, const struct vhd_params *params, struct vhd_error *err)
{
	struct vhd_error local;
	struct store *s;
	bool is_new;
	int ret;

	err = err ? err : &local;
	ret = store_file_create(path, &s, &is_new, err);
	if (ret)
		return ret;
	ret = create_on_store(s, path, params, err);
	s->ops->close(s);
	if (ret && is_new)
		unlink(path);
	return ret;
}

/* A hard link refuses as well, where the file system knows no such renaming. */
static int rename_to_free(const char *from, const char *to)
{
	if (!renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE))
		return 0;
	if (errno != EINVAL || link(from, to))
		return -errno;
	unlink(from);
	return 0;
}

int vhd_rename(struct vhd *v, const char *path, struct vhd_error *err)
{
	char *name = strdup(path);
	int ret = name ? rename_to_free(v->path, path) : -ENOMEM;

	if (ret) {
		free(name);
		return vhd_fail(err, -ret, "cannot give '%.200s' the name '%.200s': %s", v->path, path, strerror(-ret));
	}
	free(v->path);
	v->path = name;
	ret = store_directory_sync(path);
	return ret ? vhd_fail(err, -ret, "cannot make the name '%.300s' stable: %s", path, strerror(-ret)) : 0;
}
