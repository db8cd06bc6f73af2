// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * tapdisk's map of full blocks (batmap), and the key's hash in its header.
 *
 * The map follows the block table: a bit per block that says "every sector of
 * it is present". tapdisk believes it; we read sector bitmaps instead and
 * only see to it that the map never says too much. So it is cleared, on the
 * disk, when an image is opened for writing, and written anew when it is
 * closed: what it said before, without the blocks that were freed meanwhile,
 * and with those that were seen to be full. Cut off between, it says nothing,
 * which is always right.
 *
 * The checksum covers the map, in the length that tapdisk computes (see
 * summed()), and not the header; so changing the key's hash, which fits one
 * sector, is one step.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/image.h"

#define COOKIE		"tdbatmap"
#define VERSION		0x00010002u
#define SECTORS_MAX	4096u	/* for as many blocks as a table may have */

struct disk_batmap {
	char cookie[8];
	__be64 offset;
	__be32 sectors;
	__be32 version;
	__be32 checksum;
	__u8 marker;
	__u8 keyed;
	__u8 nonce[32];
	__u8 hash[32];
	__u8 reserved[418];
} __attribute__((packed));

_Static_assert(sizeof(struct disk_batmap) == VHD_SECTOR, "batmap header");

int batmap_decode(const uint8_t *raw, uint64_t at, uint64_t file_size, struct batmap *b, struct vhd_error *err)
{
	const struct disk_batmap *d = (const struct disk_batmap *)raw;

	memset(b, 0, sizeof(*b));
	if (memcmp(d->cookie, COOKIE, 8))
		return 0;
	b->present = true;
	b->header_at = at;
	b->at = be64toh(d->offset);
	b->sectors = be32toh(d->sectors);
	b->checksum = be32toh(d->checksum);
	b->usable = b->at >= at + VHD_SECTOR && b->at < file_size && b->sectors <= SECTORS_MAX &&
		    (uint64_t)b->sectors * VHD_SECTOR <= file_size - b->at;
	if (d->keyed > 1)
		return vhd_fail(err, EINVAL, "the image is encrypted in a way that is not known (%u)", d->keyed);
	b->key.set = d->keyed;
	memcpy(b->key.nonce, d->nonce, 32);
	memcpy(b->key.hash, d->hash, 32);
	return 0;
}

/* How much of the map the checksum is of: blocks / 8 rounded down, then to sectors, at least one. */
static uint32_t summed(const struct batmap *b, uint64_t disk_size)
{
	uint32_t sectors = ((disk_size >> 24) + VHD_SECTOR - 1) / VHD_SECTOR;

	if (!sectors)
		sectors = 1;
	return (sectors < b->sectors ? sectors : b->sectors) * VHD_SECTOR;
}

uint32_t batmap_sectors(uint32_t entries)
{
	return (entries / 8 + VHD_SECTOR) / VHD_SECTOR;
}

static int put_header(struct store *s, struct batmap *b, const uint8_t *map, uint64_t disk_size)
{
	struct disk_batmap d;
	int ret = s->ops->pread(s, &d, sizeof(d), b->header_at);

	if (ret)
		return ret;
	b->checksum = vhd_checksum(map, summed(b, disk_size), VHD_SECTOR * SECTORS_MAX);
	d.checksum = htobe32(b->checksum);
	d.version = htobe32(VERSION);
	return s->ops->pwrite(s, &d, sizeof(d), b->header_at);
}

void batmap_header_make(const struct vhd_keyhash *key, uint64_t at, uint32_t sectors, uint8_t *raw)
{
	struct disk_batmap *d = (struct disk_batmap *)raw;

	memset(d, 0, sizeof(*d));
	memcpy(d->cookie, COOKIE, 8);
	d->offset = htobe64(at + VHD_SECTOR);
	d->sectors = htobe32(sectors);
	d->version = htobe32(VERSION);
	d->checksum = htobe32(~0u);
	d->keyed = key->set;
	memcpy(d->nonce, key->nonce, 32);
	memcpy(d->hash, key->hash, 32);
}

int batmap_key_put(struct store *s, const struct batmap *b, const struct vhd_keyhash *key)
{
	struct disk_batmap d;
	int ret = s->ops->pread(s, &d, sizeof(d), b->header_at);

	if (ret)
		return ret;
	d.keyed = key->set;
	memcpy(d.nonce, key->nonce, 32);
	memcpy(d.hash, key->hash, 32);
	ret = s->ops->pwrite(s, &d, sizeof(d), b->header_at);
	return ret ? ret : s->ops->sync(s);
}

int batmap_clear(struct store *s, struct batmap *b, uint64_t disk_size, uint8_t **before)
{
	size_t bytes = (size_t)b->sectors * VHD_SECTOR, i;
	uint8_t *map, *zeros;
	int ret = 0;

	*before = NULL;
	if (!b->present || !b->usable || !bytes)
		return 0;
	map = malloc(bytes);
	zeros = calloc(1, bytes);
	if (!map || !zeros)
		ret = -ENOMEM;
	if (!ret)
		ret = s->ops->pread(s, map, bytes, b->at);
	/* One that does not fit its checksum is worth nothing. */
	if (!ret && vhd_checksum(map, summed(b, disk_size), bytes) != b->checksum)
		memset(map, 0, bytes);
	for (i = 0; i < bytes && !ret && !map[i]; i++)
		;
	if (!ret && (i < bytes || b->checksum != ~0u)) {
		ret = s->ops->pwrite(s, zeros, bytes, b->at);
		if (!ret)
			ret = put_header(s, b, zeros, disk_size);
		if (!ret)
			ret = s->ops->sync(s);
	}
	free(zeros);
	if (ret)
		free(map);
	else
		*before = map;
	return ret;
}

int batmap_put(struct vhd *v)
{
	struct batmap *b = &v->batmap;
	uint8_t *map = v->batmap_bits;
	uint32_t i, room = b->sectors * VHD_SECTOR * 8;
	bool any = false;
	int ret;

	if (!map)
		return 0;
	bitmap_notice_full(v);
	for (i = 0; i < v->header.max_entries && i < room; i++) {
		if (v->bat[i] == VHD_UNUSED)
			map[i >> 3] &= ~(0x80u >> (i & 7));
		else if (map_test(v->full, i))
			map[i >> 3] |= 0x80u >> (i & 7);
		any |= vhd_bit_test(map, i);
	}
	if (!any)
		return 0;
	ret = v->store->ops->pwrite(v->store, map, (size_t)b->sectors * VHD_SECTOR, b->at);
	if (!ret)
		ret = put_header(v->store, b, map, v->size);
	return ret ? ret : v->store->ops->sync(v->store);
}
