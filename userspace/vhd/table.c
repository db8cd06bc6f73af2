// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The block allocation table in memory, and what of it must be written.
 *
 * The whole table is kept in host order (4 MiB for a disk of 2 TiB). Changes
 * mark the unit of the file they lie in; the commit composes and writes whole
 * units. A unit is a page where the pages around the table hold nothing but
 * metadata of ours (then unit 0 of an image with the table at 1536 includes
 * the footer copy and the header, rewritten with the same bytes), because
 * file systems do aligned direct writes in parallel and others one at a time.
 * Elsewhere a unit is a sector.
 *
 * Two bit maps hide entries: where a block's place may hold old bytes, the
 * entry must not reach the disk before the block's bitmap has; and where the
 * file has just grown, not before its new size has. `hide_new`
 * collects, the commit moves it to `hide_sync`, and after its barrier the
 * entries show.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/image.h"

uint32_t map_next(const uint64_t *map, uint32_t from, uint32_t limit)
{
	uint32_t word = from >> 6;
	uint64_t bits;

	if (from >= limit)
		return limit;
	bits = map[word] & (~0ull << (from & 63));
	while (!bits) {
		if (((++word) << 6) >= limit)
			return limit;
		bits = map[word];
	}
	from = (word << 6) + __builtin_ctzll(bits);
	return from < limit ? from : limit;
}

static uint64_t *map_alloc(uint32_t bits)
{
	return calloc((bits >> 6) + 1, sizeof(uint64_t));
}

int table_init(struct vhd *v)
{
	uint32_t n = v->header.max_entries;
	uint64_t end = v->header.table_offset + vhd_table_bytes(n);

	v->table_unit = v->page_meta ? PAGE_BYTES : VHD_SECTOR;
	v->table_base = v->header.table_offset / v->table_unit * v->table_unit;
	v->table_units = (end - v->table_base + v->table_unit - 1) / v->table_unit;
	v->full = map_alloc(n);
	v->full_dirty = map_alloc(n);
	v->hide_new = map_alloc(n);
	v->hide_sync = map_alloc(n);
	v->table_dirty = map_alloc(v->table_units);
	v->ones = calloc(1, PAGE_BYTES);
	if (!v->full || !v->full_dirty || !v->hide_new || !v->hide_sync || !v->table_dirty || !v->ones)
		return -ENOMEM;
	vhd_bit_set(v->page_meta ? v->ones + PAGE_BYTES - v->bitmap_bytes : v->ones, 0, v->spb);
	return 0;
}

void table_fini(struct vhd *v)
{
	free(v->full);
	free(v->full_dirty);
	free(v->hide_new);
	free(v->hide_sync);
	free(v->table_dirty);
	free(v->ones);
	free(v->bat);
}

void table_mark(struct vhd *v, uint32_t block)
{
	uint32_t unit = (v->header.table_offset + (uint64_t)block * 4 - v->table_base) / v->table_unit;

	if (!map_test(v->table_dirty, unit)) {
		map_set(v->table_dirty, unit);
		v->table_dirty_count++;
	}
}

void table_set(struct vhd *v, uint32_t block, uint32_t sector)
{
	v->bat[block] = sector;
	v->touched = true;
	if (map_test(v->hide_new, block)) {
		map_clear(v->hide_new, block);
		v->hidden_new--;
	}
	if (map_test(v->hide_sync, block)) {
		map_clear(v->hide_sync, block);
		v->hidden_sync--;
	}
	if (sector != VHD_UNUSED &&
	    (v->barrier || (!v->store->device && alloc_data_end(v, sector) > v->durable_size))) {
		map_set(v->hide_new, block);
		v->hidden_new++;
	}
	table_mark(v, block);
}

uint64_t table_compose(struct vhd *v, uint32_t n, uint8_t *page)
{
	uint64_t at = v->table_base + (uint64_t)n * v->table_unit;
	uint64_t end = v->header.table_offset + vhd_table_bytes(v->header.max_entries);
	uint32_t i = 0;
	int z;

	memset(page, 0, v->table_unit);
	if (at < v->header.table_offset) {
		i = v->header.table_offset - at;
		memcpy(page, v->head + at, i);
	}
	for (; i < v->table_unit && at + i < end; i += 4) {
		uint32_t block = (at + i - v->header.table_offset) / 4;
		__be32 entry = htobe32(VHD_UNUSED);

		if (block < v->header.max_entries && !map_test(v->hide_new, block) &&
		    !map_test(v->hide_sync, block))
			entry = htobe32(v->bat[block]);
		memcpy(page + i, &entry, 4);
	}
	/* A block that is still being zeroed must not show either. */
	for (z = 0; z < ZEROING_SLOTS; z++) {
		uint64_t entry_at = v->header.table_offset + (uint64_t)v->zeroing[z].block * 4;

		if (v->zeroing[z].busy && entry_at >= at && entry_at < at + v->table_unit)
			memset(page + (entry_at - at), 0xff, 4);
	}
	return at;
}

void full_set(struct vhd *v, uint32_t block, bool dirty)
{
	map_set(v->full, block);
	if (dirty && !map_test(v->full_dirty, block)) {
		map_set(v->full_dirty, block);
		v->full_dirty_count++;
	}
}

void full_clear(struct vhd *v, uint32_t block)
{
	map_clear(v->full, block);
	if (v->batmap_bits && block / 8 < v->batmap.sectors * VHD_SECTOR)
		v->batmap_bits[block >> 3] &= ~(0x80u >> (block & 7));
	if (map_test(v->full_dirty, block)) {
		map_clear(v->full_dirty, block);
		v->full_dirty_count--;
	}
}
