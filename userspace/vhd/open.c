// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Opening and closing images.
 *
 * Opening for reading changes nothing. Opening for writing repairs what an
 * unclean end has left: what lies behind the last block is cut off (so that
 * everything beyond is zero again, which block allocation relies on), and the
 * trailing footer comes back at close. Closing runs a last commit, cuts the file to its end and writes
 * the footer there, synced before and after.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/image.h"
#include "vhd/store.h"
#include "vhd/track.h"

static void image_free(struct vhd *v)
{
	if (!v)
		return;
	if (v->parent)
		vhd_close(v->parent);
	if (v->blocks) {
		table_fini(v);
		bitmap_fini(v);
		alloc_fini(v);
	}
	if (v->store)
		v->store->ops->close(v->store);
	pthread_mutex_destroy(&v->lock);
	flat_destroy(v->flat);
	free(v->walk_map);
	free(v->head);
	free(v->batmap_bits);
	vhd_keys_free(v->keys);
	free(v->path);
	free(v->parent_path);
	free(v);
}

/* Cuts off or fills up what lies around the last block. */
static int repair(struct vhd *v, const struct layout *l, uint64_t last, struct vhd_error *err)
{
	static const uint8_t zeros[VHD_FOOTER_BYTES];
	struct store *s = v->store;
	uint64_t end = last > l->meta_top ? last : l->meta_top;
	int ret = 0;

	if (s->device)
		return 0;
	end = round_up(end, VHD_SECTOR);
	if (!l->trailing) {
		ret = s->ops->truncate(s, end);
	} else if (end > l->footer_at) {
		/* The last block is short and the footer where its data belong. */
		ret = s->ops->truncate(s, round_up(end + VHD_FOOTER_BYTES, PAGE_BYTES));
		if (!ret && l->footer_at % VHD_SECTOR == 0)
			ret = s->ops->pwrite(s, zeros, sizeof(zeros), l->footer_at);
		if (!ret)
			ret = s->ops->sync(s);
		v->killed = true;
		v->touched = true;
	}
	if (ret)
		return vhd_fail(err, -ret, "cannot repair the image: %s", strerror(-ret));
	return 0;
}

static int head_read(struct vhd *v, struct vhd_error *err)
{
	int ret;

	if (!v->head)
		v->head = calloc(1, PAGE_BYTES);
	if (!v->head)
		return vhd_fail(err, ENOMEM, "out of memory");
	ret = v->store->ops->pread(v->store, v->head, PAGE_BYTES, 0);
	if (ret)
		return vhd_fail(err, -ret, "cannot read the header: %s", strerror(-ret));
	vhd_footer_encode(&v->footer, v->head);
	return 0;
}

static uint64_t place_next(const struct vhd *v, const struct layout *l, uint64_t last)
{
	uint64_t next = last > l->meta_top ? last : l->meta_top;

	/* Bytes between the last block and the footer are not known to be zero. */
	if (l->trailing && !v->store->device && l->footer_at > next)
		next = l->footer_at;
	return round_up(next, v->page_meta ? PAGE_BYTES : VHD_SECTOR);
}

static int blocks_setup(struct vhd *v, const struct layout *l, struct vhd_error *err)
{
	uint64_t last;
	int ret;

	v->blocks = true;
	v->spb = v->header.block_size / VHD_SECTOR;
	v->bitmap_bytes = vhd_bitmap_bytes(v->header.block_size);
	v->nblocks = (v->size + v->header.block_size - 1) / v->header.block_size;
	v->meta_end = l->meta_end;
	v->batmap = l->batmap;
	v->no_free = l->batmap.present && !l->batmap.usable;
	v->footer_at = l->footer_at;
	v->killed = !l->trailing;
	ret = layout_table(v->store, l, &v->bat, err);
	if (!ret)
		ret = layout_table_check(l, v->bat, &last, err);
	if (ret)
		return ret;
	v->page_meta = layout_pages(l, v->bat);
	v->exact = v->type == VHD_DIFF || l->batmap.key.set;
	v->barrier = v->store->device || (v->exact && !v->page_meta);
	if (last > l->footer_at && l->trailing && v->readonly)
		v->data_limit = l->footer_at;
	if (!v->readonly) {
		ret = repair(v, l, last, err);
		if (!ret)
			ret = head_read(v, err);
		if (ret)
			return ret;
		ret = batmap_clear(v->store, &v->batmap, v->size, &v->batmap_bits);
		if (ret)
			return vhd_fail(err, -ret, "cannot write the map of full blocks: %s", strerror(-ret));
	}
	ret = table_init(v);
	if (!ret)
		ret = bitmap_init(v);
	if (!ret && !v->readonly)
		ret = alloc_init(v, place_next(v, l, last));
	if (!ret && !v->readonly)
		ret = alloc_find_gaps(v, round_up(l->meta_top, v->page_meta ? PAGE_BYTES : VHD_SECTOR));
	if (ret)
		return vhd_fail(err, -ret, "out of memory");
	v->durable_size = v->store->size;
	return 0;
}

static int key_take(struct vhd *v, const struct layout *l, unsigned int flags, struct vhd_error *err)
{
	if (!l->batmap.key.set)
		return 0;
	v->key = keys_find(v->keys, &l->batmap.key);
	v->no_key = !v->key;
	v->crypt = v->key;
	if (v->key || flags & (VHD_O_NOPARENT | VHD_O_NOKEY))
		return 0;
	if (keys_any(v->keys))
		return vhd_fail(err, EKEYREJECTED, "the image is encrypted, and not with a key that was given");
	return vhd_fail(err, ENOKEY, "the image is encrypted, and its key was not given");
}

static int vhd_setup(struct vhd *v, unsigned int flags, struct vhd_error *err)
{
	struct layout l;
	int ret = layout_read(v->store, &l, err);

	if (ret)
		return ret;
	v->footer = l.footer;
	v->header = l.header;
	v->type = l.footer.type;
	v->size = vhd_footer_size(&l.footer);
	v->unclean = !l.trailing;
	if (v->footer.hidden && !v->readonly && !(flags & VHD_O_INTERNAL))
		return vhd_fail(err, EPERM, "other images stand on it: writing to it would damage them; clone it, or remove them first");
	if (v->type == VHD_FIXED)
		return 0;
	ret = key_take(v, &l, flags, err);
	if (!ret)
		ret = blocks_setup(v, &l, err);
	if (ret || v->type != VHD_DIFF)
		return ret;
	if (flags & (VHD_O_NOPARENT | VHD_O_OWN)) {
		v->no_parent = !(flags & VHD_O_OWN);
		return 0;
	}
	ret = chain_open_parent(v, flags, err);
	if (ret || flags >> 24)
		return ret;
	return flat_create(v) ? vhd_fail(err, ENOMEM, "out of memory") : 0;
}

int image_open_store(struct store *s, const char *name, unsigned int flags, struct vhd **out,
		     struct vhd_error *err)
{
	return image_open_store_keys(s, name, flags, NULL, out, err);
}

int image_open_store_keys(struct store *s, const char *name, unsigned int flags, struct vhd_keys *keys,
			  struct vhd **out, struct vhd_error *err)
{
	struct vhd *v = calloc(1, sizeof(*v));
	int ret;

	if (!v) {
		s->ops->close(s);
		return vhd_fail(err, ENOMEM, "out of memory");
	}
	pthread_mutex_init(&v->lock, NULL);
	v->store = s;
	v->readonly = flags & VHD_O_RDONLY;
	v->data_limit = UINT64_MAX;
	v->keys = keys_share(keys);
	v->path = strdup(name);
	commit_init(v);
	if (!v->path) {
		ret = vhd_fail(err, ENOMEM, "out of memory");
	} else if (flags & VHD_O_RAW) {
		v->type = VHD_RAW;
		v->size = s->device ? s->size / VHD_SECTOR * VHD_SECTOR : round_up(s->size, VHD_SECTOR);
		ret = 0;
	} else {
		ret = vhd_setup(v, flags, err);
	}
	if (ret) {
		image_free(v);
		return ret;
	}
	locate_identify(v);
	*out = v;
	return 0;
}

/* Nobody else has the image: the file that is a disk's own is told by its name. */
static int track_begin(struct vhd *v, struct vhd_error *err)
{
	int ret = track_open(v->path, store_file_fd(v->store), v->size, &v->track);

	if (!ret)
		return 0;
	v->readonly = true;
	image_free(v);
	return vhd_fail(err, -ret, "its map of changes '.cbt' cannot be used: %s; without it, remove the file", strerror(-ret));
}

int image_open_file(struct store *s, const char *path, unsigned int flags, struct vhd_keys *keys, struct vhd **out,
		    struct vhd_error *err)
{
	struct vhd_error why = { 0 };
	int ret = image_open_store_keys(s, path, flags, keys, out, &why);
	if (!ret && !(flags & VHD_O_RDONLY))
		ret = track_begin(*out, &why);
	/* A parent's parent is named already. */
	if (ret && !strncmp(why.text, "cannot open", 11)) {
		*err = why;
		return ret;
	}
	if (ret)
		return vhd_fail(err, -ret, "cannot open '%.300s': %.400s", path, why.text);
	return 0;
}

int image_open_path(const char *path, unsigned int flags, struct vhd_keys *keys, struct vhd **out,
		    struct vhd_error *err)
{
	struct store *s;
	int ret = store_file_open(path, flags, &s, err);

	return ret ? ret : image_open_file(s, path, flags, keys, out, err);
}

int vhd_open(const char *path, unsigned int flags, struct vhd **out, struct vhd_error *err)
{
	return vhd_open_keys(path, flags, NULL, out, err);
}

int vhd_open_keys(const char *path, unsigned int flags, struct vhd_keys *keys, struct vhd **out,
		  struct vhd_error *err)
{
	struct vhd_error local;

	return image_open_path(path, flags & 0xffffff, keys, out, err ? err : &local);
}

static int write_footer(struct vhd *v, uint64_t end)
{
	uint8_t raw[VHD_FOOTER_BYTES];
	struct store *s = v->store;
	int ret;

	vhd_footer_encode(&v->footer, raw);
	if (s->device)
		end = s->size - VHD_FOOTER_BYTES;
	else
		end = round_up(end, VHD_SECTOR);
	ret = s->device ? 0 : s->ops->truncate(s, end);
	if (!ret)
		ret = s->ops->sync(s);
	if (!ret)
		ret = s->ops->pwrite(s, raw, sizeof(raw), end);
	if (!ret)
		ret = s->ops->sync(s);
	return ret;
}

/* Behind everything that the file must hold. */
static uint64_t image_end(const struct vhd *v)
{
	uint64_t end = v->meta_end;
	uint32_t i;

	/* Behind the blocks while a change is not complete (edit.c). */
	if (v->footer.data_offset + VHD_HEADER_BYTES > end)
		end = v->footer.data_offset + VHD_HEADER_BYTES;
	for (i = 0; i < VHD_LOCATORS; i++)
		if (v->header.locator[i].code &&
		    v->header.locator[i].offset + v->header.locator[i].space > end &&
		    v->header.locator[i].offset < v->store->size)
			end = v->header.locator[i].offset + v->header.locator[i].space;
	for (i = 0; i < v->header.max_entries; i++)
		if (v->bat[i] != VHD_UNUSED && alloc_data_end(v, v->bat[i]) > end)
			end = alloc_data_end(v, v->bat[i]);
	return round_up(end, v->page_meta ? PAGE_BYTES : VHD_SECTOR);
}

/* Everything onto stable storage, and the image marked clean. */
static int settle(struct vhd *v)
{
	struct vhd_queue *q;
	int ret;

	if (v->poisoned)
		return v->poisoned;
	if (!atomic_load(&v->queues)) {
		/* Nothing went through queues, so nothing waits for a commit. */
		ret = v->store->ops->sync(v->store);
	} else {
		q = vhd_queue_create(v, 16);
		if (!q)
			return -errno;
		ret = vhd_flush(q);
		/* Places freed in this run are simply left; see alloc.c. */
		vhd_queue_destroy(q);
	}
	if (!ret && v->blocks)
		ret = batmap_put(v);
	if (ret || !v->blocks || !(v->touched || v->unclean))
		return ret;
	return write_footer(v, image_end(v));
}

static int settle_fixed(struct vhd *v)
{
	uint8_t raw[VHD_FOOTER_BYTES];
	int ret = settle(v);

	vhd_footer_encode(&v->footer, raw);
	if (!ret)
		ret = v->store->ops->pwrite(v->store, raw, sizeof(raw), v->store->size / VHD_SECTOR * VHD_SECTOR - VHD_FOOTER_BYTES);
	return ret ? ret : v->store->ops->sync(v->store);
}

/* The copy at the start, and in the page that the table's first unit is written with. */
static int write_copy(struct vhd *v)
{
	uint8_t raw[VHD_FOOTER_BYTES];

	if (!v->blocks)
		return 0;
	vhd_footer_encode(&v->footer, raw);
	memcpy(v->head, raw, sizeof(raw));
	return v->store->ops->pwrite(v->store, raw, sizeof(raw), 0);
}

int image_settle(struct vhd *v, bool is_parent)
{
	int ret;

	v->touched = true;
	v->footer.hidden = is_parent;
	/* Stable with the first sync on the way to the trailing footer, before which the copy is what counts. */
	ret = write_copy(v);
	if (!ret)
		ret = v->blocks ? settle(v) : settle_fixed(v);
	if (ret)
		v->footer.hidden = 0;
	if ((ret || !is_parent) && v->batmap_bits) {
		free(v->batmap_bits);
		v->batmap_bits = NULL;
		batmap_clear(v->store, &v->batmap, v->size, &v->batmap_bits);
	}
	/* It may be written to again: everything as after opening it. */
	if (v->blocks && !ret) {
		v->footer_at = v->store->size - VHD_FOOTER_BYTES;
		v->killed = false;
		v->durable_size = v->footer_at;
		alloc_forget(v);
	}
	return ret;
}

int image_refresh(struct vhd *v, struct vhd_error *err)
{
	struct layout l;
	int ret = layout_read(v->store, &l, err);

	if (ret)
		return ret;
	v->footer = l.footer;
	v->header = l.header;
	v->meta_end = l.meta_end;
	v->footer_at = l.footer_at;
	v->killed = !l.trailing;
	v->durable_size = l.trailing ? l.footer_at : 0;
	alloc_forget(v);
	return head_read(v, err);
}

void image_quieten(struct vhd *v)
{
	track_close(v->track, v->track ? store_file_fd(v->store) : -1, true);
	v->track = NULL;
	v->readonly = true;
	if (v->store->ops->share)
		v->store->ops->share(v->store);
	locate_identify(v);
}

int vhd_close(struct vhd *v)
{
	int ret = 0;

	if (!v)
		return 0;
	if (!v->readonly)
		ret = settle(v);
	track_close(v->track, v->track ? store_file_fd(v->store) : -1, !ret);
	image_free(v);
	return ret;
}

uint64_t vhd_size(const struct vhd *v)
{
	return v->size;
}

bool vhd_readonly(const struct vhd *v)
{
	return v->readonly;
}

void vhd_get_info(const struct vhd *v, struct vhd_info *info)
{
	const struct vhd *p;
	uint32_t i;

	memset(info, 0, sizeof(*info));
	info->type = v->type;
	info->size = v->size;
	info->file_size = v->store->size;
	info->allocated = v->store->ops->allocated(v->store);
	info->readonly = v->readonly;
	info->direct = v->store->direct;
	info->unclean = v->unclean;
	for (p = v; p; p = p->parent)
		info->depth++;
	if (v->type == VHD_RAW)
		return;
	memcpy(info->uuid, v->footer.uuid, 16);
	info->hidden = v->footer.hidden;
	info->saved_state = v->footer.saved_state;
	info->timestamp = v->footer.timestamp;
	memcpy(info->creator, v->footer.creator, 4);
	info->creator_version = v->footer.creator_version;
	info->creator_os = v->footer.creator_os;
	info->cylinders = v->footer.geometry.cylinders;
	info->heads = v->footer.geometry.heads;
	info->sectors_per_track = v->footer.geometry.sectors_per_track;
	if (!v->blocks)
		return;
	info->block_size = v->header.block_size;
	info->blocks_total = v->nblocks;
	for (i = 0; i < v->nblocks; i++)
		info->blocks_used += v->bat[i] != VHD_UNUSED;
	info->aligned = v->page_meta;
	info->encrypted = v->batmap.key.set;
	info->keyed = v->key;
	memcpy(info->key_nonce, v->batmap.key.nonce, 32);
	memcpy(info->key_hash, v->batmap.key.hash, 32);
	info->batmap = v->batmap.present;
	memcpy(info->parent_uuid, v->header.parent_uuid, 16);
	memcpy(info->parent_name, v->header.parent_name, sizeof(info->parent_name));
	if (v->parent_path && strlen(v->parent_path) < sizeof(info->parent_path))
		strcpy(info->parent_path, v->parent_path);
}
