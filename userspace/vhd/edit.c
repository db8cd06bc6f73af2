// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Changing what an image says of itself, in one step.
 *
 * The header has no copy and spans two sectors, so it must never be rewritten
 * where it is in use. But a footer is one sector, which a disk writes whole or
 * not at all, and it points to the header. So:
 *
 *	1. The trailing footer is overwritten: now the copy at 0 rules.
 *	2. The new header, and parent locators, are written behind all else.
 *	3. The copy at 0 is rewritten and points there. This is the step.
 *	4. Locators and header are written once more, at their usual place.
 *	5. The copy at 0 is rewritten and points to that.
 *	6. The file is cut to its end and gets its trailing footer.
 *
 * Each is on stable storage before the next begins. Whatever is cut off leaves
 * an image with the old header or one with the new, both good; opening it for
 * writing, or repair, completes the rest.
 *
 * A disk grows with its table. Blocks in the way of a longer table are first
 * copied behind the last one and their entries changed, one after the other;
 * each of these changes is a good image too.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/image.h"

#define KILL_BYTE	0xc7
#define LOCATOR_ROOM	(16u << 10)
#define WINDOW		(1u << 20)

struct edit {
	struct store *s;
	struct layout l;
	uint32_t *bat;
	uint64_t end;			/* behind blocks and metadata, on a page */
	bool killed;
	struct vhd_footer footer;	/* as they are to be */
	struct vhd_header header;
	uint64_t table_needs;		/* where the table is to end */
	uint8_t *locators;		/* payloads, offsets relative to their beginning */
	size_t locator_bytes;
};

static int put(struct edit *e, const void *buf, size_t bytes, uint64_t offset)
{
	int ret = e->s->ops->pwrite(e->s, buf, bytes, offset);

	return ret ? ret : e->s->ops->sync(e->s);
}

static uint64_t block_end(const struct edit *e, uint32_t sector)
{
	return (uint64_t)sector * VHD_SECTOR + vhd_bitmap_bytes(e->header.block_size) + e->header.block_size;
}

/* Reads @s, which is in order and closed properly. */
static int edit_begin(struct edit *e, struct store *s, struct vhd_error *err)
{
	uint64_t last = 0;
	int ret;

	memset(e, 0, sizeof(*e));
	e->s = s;
	ret = layout_read(s, &e->l, err);
	if (ret)
		return ret;
	e->footer = e->l.footer;
	e->header = e->l.header;
	if (e->footer.type == VHD_FIXED)
		return 0;
	ret = layout_table(s, &e->l, &e->bat, err);
	if (!ret)
		ret = layout_table_check(&e->l, e->bat, &last, err);
	if (ret)
		return ret;
	e->end = round_up(last > e->l.meta_top ? last : e->l.meta_top, PAGE_BYTES);
	e->table_needs = e->l.table_end;
	return 0;
}

static int edit_end(struct edit *e, int ret, struct vhd_error *err)
{
	free(e->bat);
	free(e->locators);
	if (ret && !err->code)
		return vhd_fail(err, -ret, "cannot change the image: %s", strerror(-ret));
	return ret;
}

/* Step 1. The copy at 0 must be as good before. */
static int footer_kill(struct edit *e)
{
	uint8_t raw[VHD_FOOTER_BYTES];
	int ret;

	if (e->killed)
		return 0;
	vhd_footer_encode(&e->l.footer, raw);
	ret = put(e, raw, sizeof(raw), 0);
	if (ret)
		return ret;
	e->killed = true;
	if (!e->l.trailing || e->l.footer_at % VHD_SECTOR)
		return 0;
	memset(raw, KILL_BYTE, sizeof(raw));
	return put(e, raw, sizeof(raw), e->l.footer_at);
}

/* Header and locators at @at, the latter on a page of their own; syncs. */
static int header_put(struct edit *e, uint64_t at, uint64_t locators_at)
{
	uint8_t raw[VHD_HEADER_BYTES];
	struct vhd_header h = e->header;
	int i, ret = 0;

	for (i = 0; i < VHD_LOCATORS; i++)
		if (e->locators && h.locator[i].code)
			h.locator[i].offset += locators_at;
	vhd_header_encode(&h, raw);
	if (e->locator_bytes)
		ret = e->s->ops->pwrite(e->s, e->locators, e->locator_bytes, locators_at);
	return ret ? ret : put(e, raw, sizeof(raw), at);
}

static int copy_put(struct edit *e, uint64_t header_at)
{
	uint8_t raw[VHD_FOOTER_BYTES];

	e->footer.data_offset = header_at;
	vhd_footer_encode(&e->footer, raw);
	return put(e, raw, sizeof(raw), 0);
}

/* Where locators go for good: where they were, if they fit, else behind the blocks. */
static uint64_t locators_home(const struct edit *e)
{
	uint64_t from = ~0ull, to = 0;
	int i;

	for (i = 0; i < VHD_LOCATORS; i++) {
		const struct vhd_locator *k = &e->l.header.locator[i];

		if (!k->code || !k->space)
			continue;
		if (k->offset < from)
			from = k->offset;
		if (k->offset + k->space > to)
			to = k->offset + k->space;
	}
	for (i = 0; e->bat && to && i < (int)e->l.header.max_entries; i++)
		if (e->bat[i] != VHD_UNUSED && (uint64_t)e->bat[i] * VHD_SECTOR < to &&
		    block_end(e, e->bat[i]) > from)
			to = 0;
	if (to && from >= e->table_needs && from % VHD_SECTOR == 0 && to - from >= e->locator_bytes)
		return from;
	return e->end;
}

/* Step 6. */
static int trailing_put(struct edit *e, uint64_t end)
{
	uint8_t raw[VHD_FOOTER_BYTES];
	struct store *s = e->s;
	int ret = 0;

	vhd_footer_encode(&e->footer, raw);
	if (s->device)
		end = s->size - VHD_FOOTER_BYTES;
	else
		ret = s->ops->truncate(s, end);
	if (!ret)
		ret = s->ops->sync(s);
	return ret ? ret : put(e, raw, sizeof(raw), end);
}

/* The new state is the old one now. */
static void edit_done(struct edit *e, uint64_t home, uint64_t end)
{
	int i;

	e->l.footer = e->footer;
	e->l.header = e->header;
	for (i = 0; i < VHD_LOCATORS; i++)
		if (e->locators && e->header.locator[i].code)
			e->l.header.locator[i].offset += home;
	e->l.trailing = true;
	e->l.footer_at = e->s->device ? e->s->size - VHD_FOOTER_BYTES : end;
	e->killed = false;
	e->end = end;
}

/* All six. */
static int edit_commit(struct edit *e, struct vhd_error *err)
{
	uint64_t scratch, home = locators_home(e), end = e->end;
	struct store *s = e->s;
	int ret;

	scratch = s->device ? e->end : round_up(s->size > e->end ? s->size : e->end, PAGE_BYTES);
	if (home == e->end && e->locator_bytes) {
		end = round_up(home + e->locator_bytes, PAGE_BYTES);
		scratch = scratch > end ? scratch : end;
	}
	if (s->device && scratch + PAGE_BYTES + e->locator_bytes > s->size - VHD_FOOTER_BYTES)
		return vhd_fail(err, ENOSPC, "the device has no room behind the last block for a change of the header");
	ret = footer_kill(e);
	if (!ret)
		ret = header_put(e, scratch, scratch + PAGE_BYTES);
	if (!ret)
		ret = copy_put(e, scratch);
	if (!ret)
		ret = header_put(e, VHD_HEADER_OFFSET, home);
	if (!ret)
		ret = copy_put(e, VHD_HEADER_OFFSET);
	if (!ret)
		ret = trailing_put(e, end);
	if (!ret)
		edit_done(e, home, end);
	return ret;
}

/* Footers alone: the copy is the step. A fixed disk has only the one. */
static int footers_commit(struct edit *e)
{
	uint8_t raw[VHD_FOOTER_BYTES];
	int ret;

	vhd_footer_encode(&e->footer, raw);
	if (e->footer.type == VHD_FIXED)
		return put(e, raw, sizeof(raw), e->l.footer_at);
	ret = footer_kill(e);
	if (!ret)
		ret = put(e, raw, sizeof(raw), 0);
	if (!ret && e->l.trailing && e->l.footer_at % VHD_SECTOR == 0)
		return put(e, raw, sizeof(raw), e->l.footer_at);
	return ret ? ret : trailing_put(e, e->end);
}

int edit_hidden(struct store *s, bool hidden, struct vhd_error *err)
{
	struct edit e;
	int ret = edit_begin(&e, s, err);

	if (!ret && e.footer.hidden != hidden) {
		/* A child that was overlooked must not read what will be written now. */
		if (!hidden)
			ret = create_uuid(e.footer.uuid);
		e.footer.hidden = hidden;
		if (!ret)
			ret = footers_commit(&e);
	}
	return edit_end(&e, ret, err);
}

static int parent_name(struct edit *e, const char *path, const struct edit_parent *parent,
		       struct vhd_error *err)
{
	int n;

	memset(e->header.locator, 0, sizeof(e->header.locator));
	memset(e->header.parent_name, 0, sizeof(e->header.parent_name));
	memset(e->header.parent_uuid, 0, 16);
	e->header.parent_timestamp = 0;
	e->footer.type = VHD_DYNAMIC;
	if (!parent)
		return 0;
	e->footer.type = VHD_DIFF;
	memcpy(e->header.parent_uuid, parent->uuid, 16);
	e->header.parent_timestamp = parent->timestamp;
	e->locators = calloc(1, LOCATOR_ROOM);
	if (!e->locators)
		return -ENOMEM;
	n = chain_locators(path, parent->name, &e->header, 0, e->locators, LOCATOR_ROOM, err);
	if (n < 0)
		return n;
	e->locator_bytes = n;
	return 0;
}

int edit_parent(struct store *s, const char *path, const struct edit_parent *parent,
		struct vhd_error *err)
{
	struct edit e;
	int ret = edit_begin(&e, s, err);

	if (!ret && e.footer.type != VHD_DIFF && (parent || e.footer.type != VHD_DYNAMIC))
		ret = vhd_fail(err, EINVAL, "the image is not a differencing one, so it has no parent to change");
	if (!ret && parent && parent->size > vhd_footer_size(&e.footer))
		ret = vhd_fail(err, EINVAL, "the image is smaller (%llu bytes) than its new parent (%llu)",
			       (unsigned long long)vhd_footer_size(&e.footer),
			       (unsigned long long)parent->size);
	if (!ret && parent && !vhd_uuid_null(parent->uuid) && !memcmp(parent->uuid, e.footer.uuid, 16))
		ret = vhd_fail(err, ELOOP, "an image cannot be its own parent");
	if (!ret)
		ret = parent_name(&e, path, parent, err);
	if (!ret)
		ret = edit_commit(&e, err);
	return edit_end(&e, ret, err);
}

static int block_copy(struct edit *e, uint64_t from, uint64_t to, uint64_t bytes)
{
	uint8_t *window = malloc(WINDOW);
	int ret = window ? 0 : -ENOMEM;

	while (bytes && !ret) {
		uint64_t part = bytes < WINDOW ? bytes : WINDOW;

		ret = e->s->ops->pread(e->s, window, part, from);
		if (!ret)
			ret = e->s->ops->pwrite(e->s, window, part, to);
		from += part;
		to += part;
		bytes -= part;
	}
	free(window);
	return ret ? ret : e->s->ops->sync(e->s);
}

/* Writes the table's sectors from that of entry @first to that of entry @last; syncs. */
static int table_put(struct edit *e, uint32_t first, uint32_t last)
{
	uint32_t from = first / 128 * 128, n = last / 128 * 128 + 128 - from, i;
	uint32_t *raw = malloc((size_t)n * 4);
	int ret;

	if (!raw)
		return -ENOMEM;
	for (i = 0; i < n; i++)
		raw[i] = from + i < e->header.max_entries ? htobe32(e->bat[from + i]) : 0xffffffffu;
	ret = put(e, raw, (size_t)n * 4, e->header.table_offset + (uint64_t)from * 4);
	free(raw);
	return ret;
}

/* Block @b goes behind the last one. */
static int block_move(struct edit *e, uint32_t b, struct vhd_error *err)
{
	uint32_t bitmap = vhd_bitmap_bytes(e->header.block_size);
	uint64_t from = (uint64_t)e->bat[b] * VHD_SECTOR, data = round_up(e->end + bitmap, PAGE_BYTES);
	uint64_t to = data - bitmap, end = data + e->header.block_size;
	int ret;

	/* A page-wise written bitmap's page must be the block's own. */
	if (to / PAGE_BYTES == (e->end - 1) / PAGE_BYTES) {
		to += PAGE_BYTES;
		end += PAGE_BYTES;
	}
	if (to / VHD_SECTOR >= VHD_UNUSED)
		return -EFBIG;
	if (e->s->device && end > e->s->size - VHD_FOOTER_BYTES)
		return vhd_fail(err, ENOSPC, "the device has no room to move blocks out of the way of a longer block table");
	ret = block_copy(e, from, to, bitmap + e->header.block_size);
	if (ret)
		return ret;
	e->bat[b] = to / VHD_SECTOR;
	e->end = round_up(end, PAGE_BYTES);
	return table_put(e, b, b);
}

/* Makes room for a table of @entries; those of blocks behind the disk's end are dropped. */
static int table_extend(struct edit *e, uint32_t entries, struct vhd_error *err)
{
	uint32_t old = e->header.max_entries, i, *bat;
	uint64_t needs = e->header.table_offset + vhd_table_bytes(entries);
	int ret = 0;

	for (i = 0; i < old && !ret; i++)
		if (e->bat[i] != VHD_UNUSED && (uint64_t)e->bat[i] * VHD_SECTOR < round_up(needs, PAGE_BYTES))
			ret = block_move(e, i, err);
	if (ret)
		return ret;
	e->table_needs = needs;
	if (e->end < round_up(needs, PAGE_BYTES))
		e->end = round_up(needs, PAGE_BYTES);
	bat = realloc(e->bat, vhd_table_bytes(entries));
	if (!bat)
		return -ENOMEM;
	e->bat = bat;
	for (i = old; i < vhd_table_bytes(entries) / 4; i++)
		bat[i] = VHD_UNUSED;
	return 0;
}

static bool locators_in_the_way(const struct edit *e)
{
	int i;

	for (i = 0; i < VHD_LOCATORS; i++)
		if (e->l.header.locator[i].code && e->l.header.locator[i].space &&
		    e->l.header.locator[i].offset < e->table_needs)
			return true;
	return false;
}

/* Old locators may lie where the longer table will: they are read, and written anew. */
static int locators_keep(struct edit *e)
{
	size_t used = 0;
	int i, ret;

	if (e->footer.type != VHD_DIFF)
		return 0;
	e->locators = calloc(1, LOCATOR_ROOM);
	if (!e->locators)
		return -ENOMEM;
	for (i = 0; i < VHD_LOCATORS; i++) {
		struct vhd_locator *k = &e->header.locator[i];

		if (!k->code)
			continue;
		if (k->space > LOCATOR_ROOM - used || k->length > k->space)
			return -EUCLEAN;
		ret = e->s->ops->pread(e->s, e->locators + used, k->length, k->offset);
		if (ret)
			return ret;
		k->offset = used;
		used += k->space;
	}
	e->locator_bytes = used;
	return 0;
}

/* What lies behind the disk's end in its last block must not show when the disk grows. */
static int tail_clear(struct edit *e, uint64_t size)
{
	uint32_t block = size / e->header.block_size, in = size % e->header.block_size, i;
	uint32_t bytes = vhd_bitmap_bytes(e->header.block_size);
	uint8_t *map;
	int ret;

	if (!in || block >= e->l.header.max_entries || e->bat[block] == VHD_UNUSED)
		return 0;
	if (!e->l.batmap.key.set)
		return e->s->ops->zero(e->s, (uint64_t)e->bat[block] * VHD_SECTOR + bytes + in,
				       e->header.block_size - in);
	/* Encrypted, only what was never written is zero. */
	map = malloc(bytes);
	if (!map)
		return -ENOMEM;
	ret = e->s->ops->pread(e->s, map, bytes, (uint64_t)e->bat[block] * VHD_SECTOR);
	for (i = in / VHD_SECTOR; i < e->header.block_size / VHD_SECTOR; i++)
		map[i >> 3] &= ~(0x80u >> (i & 7));
	if (!ret)
		ret = put(e, map, bytes, (uint64_t)e->bat[block] * VHD_SECTOR);
	free(map);
	return ret;
}

/* Drops the entries from @reach on; syncs. */
static int table_cut(struct edit *e, uint32_t reach)
{
	uint32_t i, dropped = ~0u;

	for (i = reach; i < e->header.max_entries; i++) {
		if (e->bat[i] != VHD_UNUSED && dropped == ~0u)
			dropped = i;
		e->bat[i] = VHD_UNUSED;
	}
	return dropped == ~0u ? 0 : table_put(e, dropped, e->header.max_entries - 1);
}

/* The longer table's new entries, all unused; the header does not show them yet. */
static int table_grow(struct edit *e, uint32_t entries, struct vhd_error *err)
{
	uint32_t old = e->header.max_entries;
	int ret = table_extend(e, entries, err);

	/* The old header's locators must not be overwritten while it is in use. */
	if (!ret && locators_in_the_way(e))
		ret = edit_commit(e, err);
	if (!ret)
		ret = footer_kill(e);
	if (ret)
		return ret;
	e->header.max_entries = entries;
	return table_put(e, old, entries - 1);
}

/* The file's end after blocks were dropped. */
static int end_cut(struct edit *e)
{
	uint64_t end = e->l.meta_end;
	uint32_t i;
	int ret;

	for (i = 0; i < VHD_LOCATORS; i++)
		if (e->l.header.locator[i].code && e->l.header.locator[i].offset + e->l.header.locator[i].space > end)
			end = e->l.header.locator[i].offset + e->l.header.locator[i].space;
	for (i = 0; i < e->header.max_entries; i++)
		if (e->bat[i] != VHD_UNUSED && block_end(e, e->bat[i]) > end)
			end = block_end(e, e->bat[i]);
	ret = footer_kill(e);
	return ret ? ret : trailing_put(e, round_up(end, PAGE_BYTES));
}

static int blocks_resize(struct edit *e, uint64_t size, struct vhd_error *err)
{
	uint64_t old_size = vhd_footer_size(&e->l.footer), low = size < old_size ? size : old_size;
	uint32_t reach = (low + e->header.block_size - 1) / e->header.block_size;
	uint64_t entries = (size + e->header.block_size - 1) / e->header.block_size;
	uint8_t *map;
	int ret;

	if (e->l.batmap.present && entries > e->header.max_entries)
		return vhd_fail(err, EOPNOTSUPP, "the image has tapdisk's map of full blocks, which allows at most %llu bytes; copy it into a new image of that size instead",
				(unsigned long long)e->header.max_entries * e->header.block_size);
	/* In the new size its checksum is of another length. */
	ret = batmap_clear(e->s, &e->l.batmap, old_size, &map);
	free(map);
	if (ret)
		return ret;
	if (entries > VHD_MAX_ENTRIES)
		return vhd_fail(err, EFBIG, "blocks of %u bytes are too small for a disk of %llu bytes",
				e->header.block_size, (unsigned long long)size);
	ret = footer_kill(e);
	if (!ret && size > old_size) {
		ret = table_cut(e, reach);
		if (!ret)
			ret = tail_clear(e, old_size);
	}
	if (!ret)
		ret = locators_keep(e);
	if (!ret && entries > e->header.max_entries)
		ret = table_grow(e, entries, err);
	if (ret)
		return ret;
	e->footer.current_size = size;
	e->footer.geometry = create_geometry(size);
	ret = edit_commit(e, err);
	if (ret || size > old_size)
		return ret;
	ret = table_cut(e, reach);
	return ret ? ret : end_cut(e);
}

/*
 * A fixed disk has one footer and no copy, so there must always be a good one
 * at the file's end; but it may speak of a smaller disk than the file has
 * room for. The sector in which the size changes is the step.
 */
static int fixed_resize(struct edit *e, uint64_t size)
{
	struct store *s = e->s;
	uint64_t old = vhd_footer_size(&e->footer), at = s->device ? s->size - VHD_FOOTER_BYTES : size;
	uint8_t before[VHD_FOOTER_BYTES], after[VHD_FOOTER_BYTES];
	int ret = 0;

	vhd_footer_encode(&e->footer, before);
	e->footer.current_size = size;
	e->footer.geometry = create_geometry(size);
	vhd_footer_encode(&e->footer, after);
	if (size > old) {
		/* New space is zero, where the old footer was too. */
		if (!s->device)
			ret = put(e, before, sizeof(before), at);
		if (!ret)
			ret = s->ops->zero(s, old, at - old < size - old ? at - old : size - old);
		if (!ret)
			ret = s->ops->sync(s);
		return ret ? ret : put(e, after, sizeof(after), at);
	}
	ret = put(e, after, sizeof(after), e->l.footer_at);
	if (ret || s->device)
		return ret;
	ret = put(e, after, sizeof(after), at);
	if (!ret)
		ret = s->ops->truncate(s, size + VHD_FOOTER_BYTES);
	return ret ? ret : s->ops->sync(s);
}

int edit_size(struct store *s, uint64_t size, unsigned int flags, struct vhd_error *err)
{
	uint64_t old;
	struct edit e;
	int ret = edit_begin(&e, s, err);

	if (ret)
		return edit_end(&e, ret, err);
	old = vhd_footer_size(&e.footer);
	if (!size || size % VHD_SECTOR)
		ret = vhd_fail(err, EINVAL, "the size %llu is not a positive multiple of 512 bytes",
			       (unsigned long long)size);
	else if (size > VHD_MAX_SIZE)
		ret = vhd_fail(err, EFBIG, "VHD images hold at most 2040 GiB (2190433320960 bytes), not %llu",
			       (unsigned long long)size);
	else if (size < old && !(flags & VHD_RESIZE_SHRINK))
		ret = vhd_fail(err, EINVAL, "the disk has %llu bytes; to make it smaller, and lose what lies behind the new end, say so with --shrink",
			       (unsigned long long)old);
	else if (e.footer.type == VHD_FIXED && s->device && size > s->size - VHD_FOOTER_BYTES)
		ret = vhd_fail(err, ENOSPC, "the device has %llu bytes, too few", (unsigned long long)s->size);
	else if (size != old)
		ret = e.footer.type == VHD_FIXED ? fixed_resize(&e, size) : blocks_resize(&e, size, err);
	return edit_end(&e, ret, err);
}

int edit_key(struct store *s, const struct vhd_keys *keys, struct vhd_error *err)
{
	struct vhd_keyhash key;
	struct edit e;
	int ret = edit_begin(&e, s, err);
	uint32_t i;

	if (!ret)
		ret = create_keyhash(e.footer.type, keys, &key, err);
	if (!ret && e.footer.hidden)
		ret = vhd_fail(err, EPERM, "other images stand on it");
	if (!ret && e.l.batmap.key.set)
		ret = vhd_fail(err, EEXIST, "it is encrypted already; a key cannot be changed, only a copy be made with another");
	for (i = 0; !ret && i < e.header.max_entries; i++)
		if (e.bat[i] != VHD_UNUSED)
			ret = vhd_fail(err, ENOTEMPTY, "it holds data already; make an encrypted copy of it instead");
	if (!ret && !e.l.batmap.present)
		ret = vhd_fail(err, EOPNOTSUPP, "it has no place for the hash of a key");
	if (!ret)
		ret = batmap_key_put(s, &e.l.batmap, &key);
	return edit_end(&e, ret, err);
}

int edit_repair(struct store *s, struct vhd_error *err)
{
	struct edit e;
	int ret = edit_begin(&e, s, err);

	if (!ret && vhd_uuid_null(e.footer.uuid))
		ret = create_uuid(e.footer.uuid);
	if (!ret && e.footer.type != VHD_FIXED && e.footer.data_offset != VHD_HEADER_OFFSET &&
	    e.header.table_offset == VHD_TABLE_OFFSET) {
		ret = locators_keep(&e);
		if (!ret)
			ret = edit_commit(&e, err);
	} else if (!ret) {
		ret = footers_commit(&e);
	}
	return edit_end(&e, ret, err);
}
