// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Finding and validating an image's metadata in its file.
 *
 * The trailing footer rules. Without a valid one (512 bytes at the end, or 511
 * for the oldest tools) the copy at offset 0 does, which dynamic and
 * differencing images have; such an image was not closed properly. A block
 * behind the end of the file is damage even then: we never let an entry reach
 * the disk before the file's size has, so the file was cut short.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/image.h"

static int footer_find(struct store *s, struct layout *l, struct vhd_error *err)
{
	struct vhd_error why = { 0 }, ignored;
	uint64_t end = s->size;
	int ret;

	if (end < 511)
		return vhd_fail(err, EINVAL, "the file has %llu bytes, too few for a VHD footer",
				(unsigned long long)end);
	l->footer_at = end;
	memset(l->raw_footer, 0, sizeof(l->raw_footer));
	if (end >= VHD_FOOTER_BYTES) {
		ret = s->ops->pread(s, l->raw_footer, VHD_FOOTER_BYTES, end - VHD_FOOTER_BYTES);
		if (ret)
			return vhd_fail(err, -ret, "cannot read the footer: %s", strerror(-ret));
		if (!vhd_footer_decode(l->raw_footer, &l->footer, &why)) {
			l->trailing = true;
			l->footer_at = end - VHD_FOOTER_BYTES;
			return 0;
		}
	}
	if (end % VHD_SECTOR == 511) {
		ret = s->ops->pread(s, l->raw_footer, 511, end - 511);
		l->raw_footer[511] = 0;
		if (!ret && !vhd_footer_decode(l->raw_footer, &l->footer, &ignored)) {
			l->trailing = true;
			l->footer_at = end - 511;
			return 0;
		}
	}
	if (l->copy && !vhd_footer_decode(l->raw_copy, &l->footer, &ignored) &&
	    l->footer.type != VHD_FIXED)
		return 0;
	if (why.code)
		return vhd_fail(err, why.code, "%s", why.text);
	return vhd_fail(err, EINVAL, "no VHD footer was found");
}

/* tapdisk's block-full map, and the hash of the image's key. */
static int batmap_find(struct store *s, struct layout *l, struct vhd_error *err)
{
	uint64_t at = l->table_end;
	uint8_t raw[VHD_SECTOR];
	int ret;

	if (memcmp(l->footer.creator, "tap", 4) || at + VHD_SECTOR > s->size)
		return 0;
	ret = s->ops->pread(s, raw, sizeof(raw), at);
	/* Without it, data might be taken for what they are not. */
	if (ret)
		return vhd_fail(err, -ret, "cannot read the map of full blocks: %s", strerror(-ret));
	ret = batmap_decode(raw, at, s->size, &l->batmap, err);
	if (ret || !l->batmap.present)
		return ret;
	l->meta_end = at + VHD_SECTOR;
	if (l->batmap.usable)
		l->meta_end = l->batmap.at + (uint64_t)l->batmap.sectors * VHD_SECTOR;
	return 0;
}

static int header_find(struct store *s, struct layout *l, struct vhd_error *err)
{
	uint64_t at = l->footer.data_offset, blocks;
	int ret, i;

	if (at + VHD_HEADER_BYTES > s->size)
		return vhd_fail(err, EINVAL, "the dynamic disk header at %llu lies behind the end of the file",
				(unsigned long long)at);
	ret = s->ops->pread(s, l->raw_header, VHD_HEADER_BYTES, at);
	if (ret)
		return vhd_fail(err, -ret, "cannot read the header: %s", strerror(-ret));
	ret = vhd_header_decode(l->raw_header, &l->header, err);
	if (ret)
		return ret;
	if (l->header.table_offset < at + VHD_HEADER_BYTES &&
	    l->header.table_offset + vhd_table_bytes(l->header.max_entries) > at)
		return vhd_fail(err, EINVAL, "the block table overlaps the header");
	blocks = (vhd_footer_size(&l->footer) + l->header.block_size - 1) / l->header.block_size;
	if (blocks > l->header.max_entries)
		return vhd_fail(err, EINVAL, "the block table has %u entries, the disk needs %llu",
				l->header.max_entries, (unsigned long long)blocks);
	l->table_end = l->header.table_offset + vhd_table_bytes(l->header.max_entries);
	if (l->table_end > s->size)
		return vhd_fail(err, EINVAL, "the block table (%llu to %llu) reaches behind the end of the file (%llu)",
				(unsigned long long)l->header.table_offset,
				(unsigned long long)l->table_end, (unsigned long long)s->size);
	l->meta_end = l->table_end;
	ret = batmap_find(s, l, err);
	if (ret)
		return ret;
	l->meta_top = l->meta_end;
	/* While an image is being changed its header may lie behind the blocks (edit.c). */
	if (l->meta_top < at + VHD_HEADER_BYTES)
		l->meta_top = at + VHD_HEADER_BYTES;
	for (i = 0; i < VHD_LOCATORS; i++) {
		const struct vhd_locator *k = &l->header.locator[i];

		if (k->code && k->offset < s->size && k->offset + k->space > l->meta_top)
			l->meta_top = k->offset + k->space;
	}
	return 0;
}

int layout_read(struct store *s, struct layout *l, struct vhd_error *err)
{
	struct vhd_footer ignored;
	int ret;

	memset(l, 0, sizeof(*l));
	if (s->size >= VHD_FOOTER_BYTES) {
		ret = s->ops->pread(s, l->raw_copy, VHD_FOOTER_BYTES, 0);
		if (ret)
			return vhd_fail(err, -ret, "cannot read the image: %s", strerror(-ret));
		l->copy = !vhd_footer_decode(l->raw_copy, &ignored, NULL);
	}
	ret = footer_find(s, l, err);
	if (ret)
		return ret;
	if (l->footer.type != VHD_FIXED)
		return header_find(s, l, err);
	if (vhd_footer_size(&l->footer) > l->footer_at)
		return vhd_fail(err, EINVAL, "the fixed disk of %llu bytes is cut off: the file holds %llu of them",
				(unsigned long long)vhd_footer_size(&l->footer),
				(unsigned long long)l->footer_at);
	return 0;
}

int layout_table(struct store *s, const struct layout *l, uint32_t **bat, struct vhd_error *err)
{
	size_t bytes = vhd_table_bytes(l->header.max_entries);
	uint32_t *t = malloc(bytes), i;
	int ret;

	if (!t)
		return vhd_fail(err, ENOMEM, "out of memory for a block table of %zu bytes", bytes);
	ret = s->ops->pread(s, t, bytes, l->header.table_offset);
	if (ret) {
		free(t);
		return vhd_fail(err, -ret, "cannot read the block table: %s", strerror(-ret));
	}
	for (i = 0; i < bytes / 4; i++)
		t[i] = be32toh(t[i]);
	*bat = t;
	return 0;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* @sorted gets the used entries in order; their number is returned. */
static uint32_t sort_used(const uint32_t *bat, uint32_t n, uint32_t *sorted)
{
	uint32_t i, used = 0, disorder = 0;

	for (i = 0; i < n; i++) {
		if (bat[i] == VHD_UNUSED)
			continue;
		if (used && bat[i] < sorted[used - 1])
			disorder = 1;
		sorted[used++] = bat[i];
	}
	if (disorder)
		qsort(sorted, used, sizeof(*sorted), by_value);
	return used;
}

static int check_overlap(const struct layout *l, const uint32_t *bat, uint32_t *sorted,
			 uint64_t *last, struct vhd_error *err)
{
	uint64_t stride = vhd_bitmap_bytes(l->header.block_size) + l->header.block_size;
	uint32_t used = sort_used(bat, l->header.max_entries, sorted), i;

	for (i = 0; i + 1 < used; i++)
		if (((uint64_t)sorted[i + 1] - sorted[i]) * VHD_SECTOR < stride)
			return vhd_fail(err, EUCLEAN, "two blocks overlap: at sectors %u and %u; 'lodge img check' tells more",
					sorted[i], sorted[i + 1]);
	*last = used ? (uint64_t)sorted[used - 1] * VHD_SECTOR + stride : 0;
	return 0;
}

uint64_t layout_block_needs(const struct layout *l, uint32_t sector)
{
	uint64_t end = (uint64_t)sector * VHD_SECTOR + vhd_bitmap_bytes(l->header.block_size);

	/* Other tools leave the last block short where nothing was written. */
	if (!memcmp(l->footer.creator, "ldge", 4))
		end += l->header.block_size;
	return end;
}

int layout_table_check(const struct layout *l, const uint32_t *bat, uint64_t *last,
		       struct vhd_error *err)
{
	uint32_t *sorted, i, used = 0;
	int ret;

	for (i = 0; i < l->header.max_entries; i++) {
		uint64_t at = (uint64_t)bat[i] * VHD_SECTOR;

		if (bat[i] == VHD_UNUSED)
			continue;
		used++;
		if (at < l->meta_end)
			return vhd_fail(err, EUCLEAN, "block %u lies at %llu, inside the metadata; 'lodge img check' tells more",
					i, (unsigned long long)at);
		if (at < l->footer.data_offset + VHD_HEADER_BYTES &&
		    at + vhd_bitmap_bytes(l->header.block_size) + l->header.block_size > l->footer.data_offset)
			return vhd_fail(err, EUCLEAN, "block %u at %llu overwrites the header; 'lodge img check' tells more",
					i, (unsigned long long)at);
		if (layout_block_needs(l, bat[i]) > l->footer_at)
			return vhd_fail(err, EUCLEAN, "block %u lies at %llu, behind the end of the data at %llu: the file was cut short; 'lodge img check' tells more",
					i, (unsigned long long)at, (unsigned long long)l->footer_at);
	}
	*last = 0;
	if (!used)
		return 0;
	sorted = malloc((size_t)used * sizeof(*sorted));
	if (!sorted)
		return vhd_fail(err, ENOMEM, "out of memory for checking the block table");
	ret = check_overlap(l, bat, sorted, last, err);
	free(sorted);
	return ret;
}

bool layout_pages(const struct layout *l, const uint32_t *bat)
{
	uint64_t table_page = round_up(l->table_end, PAGE_BYTES), first, at;
	uint32_t bitmap = vhd_bitmap_bytes(l->header.block_size), i;

	/* The table's last page must not hold the map's header. */
	if (l->header.block_size < PAGE_BYTES || (l->batmap.present && l->table_end % PAGE_BYTES))
		return false;
	if (l->header.table_offset % PAGE_BYTES &&
	    (l->header.table_offset != VHD_TABLE_OFFSET || l->footer.data_offset != VHD_HEADER_OFFSET))
		return false;
	if (l->header.table_offset % PAGE_BYTES == 0 && l->footer.data_offset + VHD_HEADER_BYTES > l->header.table_offset)
		return false;
	first = round_up(l->meta_top, PAGE_BYTES);
	if (first < table_page)
		first = table_page;
	for (i = 0; i < VHD_LOCATORS; i++)
		if (l->header.locator[i].code && l->header.locator[i].offset < table_page)
			return false;
	for (i = 0; i < l->header.max_entries; i++) {
		if (bat[i] == VHD_UNUSED)
			continue;
		at = (uint64_t)bat[i] * VHD_SECTOR + bitmap;
		if (at % PAGE_BYTES || at - PAGE_BYTES < first)
			return false;
	}
	return true;
}
