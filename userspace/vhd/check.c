// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Looking for everything that can be wrong with an image.
 *
 * Opening stops at the first thing it cannot rely on; here each is named and
 * the search goes on as long as the next structure can be found at all. The
 * table is sorted once, so the work is n log n in the number of blocks, and
 * data are not read; sector bitmaps only on request.
 */
#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vhd/image.h"

#define FINDINGS_MAX	1000u

struct search {
	struct vhd_check *c;
	struct store *s;
	const char *path;
	struct layout l;
	uint32_t *bat;
	uint64_t told;
	uint64_t lost;		/* sectors */
};

struct place_of {
	uint32_t sector, block;
};

static void count(void *opaque, enum vhd_severity severity, const char *text)
{
	struct search *x = opaque;

	switch (severity) {
	case VHD_NOTE:
		x->c->notes++;
		break;
	case VHD_LEAK:
		x->c->leaks++;
		break;
	case VHD_CORRUPT:
		x->c->corruptions++;
		break;
	}
	if (x->c->found && x->told++ < FINDINGS_MAX)
		x->c->found(x->c->opaque, severity, text);
}

static void __attribute__((format(printf, 3, 4))) found(struct search *x, enum vhd_severity severity,
							const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	count(x, severity, text);
}

static void check_footers(struct search *x)
{
	const struct layout *l = &x->l;
	struct vhd_footer ignored;
	struct vhd_error err;
	uint32_t now = time(NULL) - VHD_EPOCH;
	bool fixed = l->footer.type == VHD_FIXED;

	vhd_footer_lint(l->trailing ? l->raw_footer : l->raw_copy, now, count, x);
	if (!l->trailing)
		found(x, VHD_LEAK, "the image was not closed properly: no footer at its end (the copy at 0 stands in; opening it for writing repairs it)");
	if (l->trailing && l->footer_at % VHD_SECTOR == 0 && x->s->size % VHD_SECTOR == 511)
		found(x, VHD_NOTE, "the footer has 511 bytes, as tools before Virtual PC 2004 wrote it");
	if (fixed)
		return;
	if (l->footer.data_offset > l->header.table_offset)
		found(x, VHD_NOTE, "the header lies behind the block table, as after a change that was cut off; 'lodge img repair' brings it back");
	if (!l->copy) {
		vhd_footer_decode(l->raw_copy, &ignored, &err);
		found(x, VHD_CORRUPT, "the footer copy at 0 is damaged: %s", err.text);
	} else if (l->trailing && memcmp(l->raw_copy, l->raw_footer, VHD_FOOTER_BYTES)) {
		found(x, VHD_CORRUPT, "the footer and its copy at 0 differ");
	}
}

static int by_sector(const void *a, const void *b)
{
	const struct place_of *x = a, *y = b;

	return x->sector < y->sector ? -1 : x->sector > y->sector;
}

static void check_entry(struct search *x, uint32_t block)
{
	const struct layout *l = &x->l;
	uint64_t at = (uint64_t)x->bat[block] * VHD_SECTOR;
	uint32_t bitmap = vhd_bitmap_bytes(l->header.block_size);
	uint64_t end = at + bitmap + l->header.block_size, limit = l->footer_at;

	if (at < l->meta_end)
		found(x, VHD_CORRUPT, "block %u lies at %llu and overwrites the image's metadata (which ends at %llu)",
		      block, (unsigned long long)at, (unsigned long long)l->meta_end);
	else if (at < l->footer.data_offset + VHD_HEADER_BYTES && end > l->footer.data_offset)
		found(x, VHD_CORRUPT, "block %u (%llu to %llu) overwrites the header at %llu", block,
		      (unsigned long long)at, (unsigned long long)end,
		      (unsigned long long)l->footer.data_offset);
	else if (at >= limit || (!l->trailing && layout_block_needs(l, x->bat[block]) > limit))
		found(x, VHD_CORRUPT, "block %u lies at %llu, behind the end of the data (%llu)", block,
		      (unsigned long long)at, (unsigned long long)limit);
	else if (end > limit && l->trailing)
		found(x, VHD_CORRUPT, "block %u (%llu to %llu) reaches over the footer at %llu", block,
		      (unsigned long long)at, (unsigned long long)end, (unsigned long long)limit);
}

/* Space between two blocks: whole places will be used again, unless a batmap forbids it. */
static void count_gap(struct search *x, uint64_t sectors)
{
	uint64_t stride = (vhd_bitmap_bytes(x->l.header.block_size) + x->l.header.block_size) / VHD_SECTOR;

	if (sectors < stride)
		return;
	if (x->l.batmap.present && !x->l.batmap.usable)
		x->lost += sectors;
	else
		x->c->free_bytes += sectors / stride * stride * VHD_SECTOR;
}

static void check_locator_clash(struct search *x, const struct place_of *p, uint64_t stride)
{
	uint64_t from = (uint64_t)p->sector * VHD_SECTOR;
	int k;

	for (k = 0; k < VHD_LOCATORS; k++) {
		const struct vhd_locator *o = &x->l.header.locator[k];

		if (o->code && o->offset < from + stride * VHD_SECTOR && o->offset + o->space > from)
			found(x, VHD_CORRUPT, "block %u overwrites parent locator %d", p->block, k);
	}
}

static void check_neighbours(struct search *x, const struct place_of *p, uint32_t used)
{
	uint64_t stride = (vhd_bitmap_bytes(x->l.header.block_size) + x->l.header.block_size) / VHD_SECTOR;
	uint64_t at = x->l.meta_top / VHD_SECTOR, end;
	uint32_t i;

	for (i = 0; i < used; i++) {
		if (i && (uint64_t)p[i].sector - p[i - 1].sector < stride)
			found(x, VHD_CORRUPT, "blocks %u and %u overlap (sectors %u and %u)",
			      p[i - 1].block, p[i].block, p[i - 1].sector, p[i].sector);
		if (p[i].sector > at)
			count_gap(x, p[i].sector - at);
		if (p[i].sector + stride > at)
			at = p[i].sector + stride;
		check_locator_clash(x, &p[i], stride);
	}
	end = x->l.footer_at / VHD_SECTOR;
	if (!x->s->device && end > at && end - at >= stride)
		x->lost += end - at;
	if (x->lost)
		found(x, VHD_LEAK, "%llu bytes of the file belong to no block",
		      (unsigned long long)x->lost * VHD_SECTOR);
	if (x->c->free_bytes)
		found(x, VHD_NOTE, "%llu bytes between blocks are free; new blocks will use them",
		      (unsigned long long)x->c->free_bytes);
}

static int check_table(struct search *x, struct vhd_error *err)
{
	const struct layout *l = &x->l;
	uint64_t size = vhd_footer_size(&l->footer);
	uint32_t reach = (size + l->header.block_size - 1) / l->header.block_size;
	struct place_of *p;
	uint32_t i, used = 0, beyond = 0;

	p = malloc((size_t)l->header.max_entries * sizeof(*p));
	if (!p)
		return vhd_fail(err, ENOMEM, "out of memory for checking the block table");
	for (i = 0; i < l->header.max_entries; i++) {
		if (x->bat[i] == VHD_UNUSED)
			continue;
		beyond += i >= reach;
		check_entry(x, i);
		p[used++] = (struct place_of){ x->bat[i], i };
	}
	qsort(p, used, sizeof(*p), by_sector);
	check_neighbours(x, p, used);
	free(p);
	if (beyond)
		found(x, VHD_NOTE, "%u blocks behind the end of the disk are allocated", beyond);
	x->c->blocks_used = used;
	x->c->blocks_total = reach;
	return 0;
}

/* tapdisk's map of full blocks; what its header says of itself was decoded with the rest. */
static void check_batmap(struct search *x)
{
	const struct batmap *b = &x->l.batmap;
	uint64_t bytes = (uint64_t)b->sectors * VHD_SECTOR;
	uint8_t *map;
	uint32_t i;

	if (!b->present)
		return;
	if (!b->usable) {
		found(x, VHD_CORRUPT, "the map of full blocks lies behind the end of the file");
		return;
	}
	if (bytes * 8 < (vhd_footer_size(&x->l.footer) + x->l.header.block_size - 1) / x->l.header.block_size)
		found(x, VHD_CORRUPT, "the map of full blocks has %llu bits for a table of %u blocks",
		      (unsigned long long)bytes * 8, x->l.header.max_entries);
	map = malloc(bytes ? bytes : 1);
	if (!map || x->s->ops->pread(x->s, map, bytes, b->at)) {
		free(map);
		found(x, VHD_CORRUPT, "the map of full blocks cannot be read");
		return;
	}
	if (vhd_checksum(map, bytes, bytes) != b->checksum)
		found(x, VHD_NOTE, "the checksum of the map of full blocks does not fit");
	for (i = 0; i < x->l.header.max_entries && i < bytes * 8; i++)
		if (vhd_bit_test(map, i) && x->bat[i] == VHD_UNUSED)
			found(x, VHD_CORRUPT, "the map of full blocks calls the unallocated block %u full", i);
	free(map);
}

static void check_locators(struct search *x)
{
	char name[1024], *base;
	uint8_t payload[4096];
	int i;

	for (i = 0; i < VHD_LOCATORS; i++) {
		const struct vhd_locator *o = &x->l.header.locator[i];

		if (!o->code)
			continue;
		if (o->offset > x->s->size || o->space > x->s->size - o->offset || o->length > o->space) {
			found(x, VHD_CORRUPT, "parent locator %d lies behind the end of the file", i);
			continue;
		}
		if (o->offset < x->l.meta_end && o->space)
			found(x, VHD_CORRUPT, "parent locator %d overlaps the image's metadata", i);
		if (!o->length || o->length > sizeof(payload) ||
		    x->s->ops->pread(x->s, payload, o->length, o->offset) ||
		    vhd_locator_path(o->code, payload, o->length, name, sizeof(name)) <= 0)
			continue;
		base = strrchr(name, '/');
		base = base ? base + 1 : name;
		if (strcmp(base, x->l.header.parent_name))
			found(x, VHD_CORRUPT, "parent locator %d names '%.200s', the header '%.200s'", i, base,
			      x->l.header.parent_name);
	}
}

static void check_bitmaps(struct search *x)
{
	uint32_t bytes = vhd_bitmap_bytes(x->l.header.block_size), i;
	uint8_t *map = malloc(bytes);

	for (i = 0; map && i < x->l.header.max_entries; i++) {
		int ret;

		if (x->bat[i] == VHD_UNUSED || (uint64_t)x->bat[i] * VHD_SECTOR + bytes > x->s->size)
			continue;
		ret = x->s->ops->pread(x->s, map, bytes, (uint64_t)x->bat[i] * VHD_SECTOR);
		if (ret)
			found(x, VHD_CORRUPT, "the sector bitmap of block %u cannot be read: %s", i,
			      strerror(-ret));
	}
	free(map);
}

static void check_chain(struct search *x)
{
	struct vhd_error err;
	struct vhd *v;

	if (x->l.footer.type != VHD_DIFF || x->c->corruptions)
		return;
	if (image_open_path(x->path, VHD_O_RDONLY | VHD_O_NOLOCK | VHD_O_RAW_PARENT | VHD_O_NOKEY, NULL, &v, &err))
		found(x, VHD_CORRUPT, "%s", err.text);
	else
		vhd_close(v);
}

static int search(struct search *x, struct vhd_error *err)
{
	struct vhd_error why;
	int ret = layout_read(x->s, &x->l, &why);

	if (ret == -EIO || ret == -ENOMEM)
		return vhd_fail(err, -ret, "%s", why.text);
	if (ret) {
		found(x, VHD_CORRUPT, "%s", why.text);
		return 0;
	}
	check_footers(x);
	if (x->l.footer.type == VHD_FIXED)
		return 0;
	vhd_header_lint(x->l.raw_header, x->l.footer.type == VHD_DIFF, count, x);
	ret = layout_table(x->s, &x->l, &x->bat, err);
	if (ret)
		return ret;
	ret = check_table(x, err);
	if (ret)
		return ret;
	check_batmap(x);
	if (x->l.footer.type == VHD_DIFF)
		check_locators(x);
	if (x->c->bitmaps)
		check_bitmaps(x);
	check_chain(x);
	return 0;
}

int check_on_store(struct store *s, const char *path, struct vhd_check *check,
		   struct vhd_error *err)
{
	struct search x = { .c = check, .path = path, .s = s };
	int ret = search(&x, err);

	free(x.bat);
	return ret;
}

int vhd_check(const char *path, struct vhd_check *check, struct vhd_error *err)
{
	struct vhd_error local;
	struct store *s;
	int ret;

	err = err ? err : &local;
	ret = store_file_open(path, VHD_O_RDONLY, &s, err);
	if (ret)
		return ret;
	ret = check_on_store(s, path, check, err);
	s->ops->close(s);
	return ret;
}
