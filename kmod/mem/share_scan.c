// SPDX-License-Identifier: GPL-2.0-only
/*
 * Equal pages, found by their content.
 *
 * No thread of ours looks for them: a VMM scans its own file as often as it likes to pay for it.  A page takes part if it has the hash
 * that it had at the last scan (else it changes too often), and is part of no huge page.  It becomes a frame's user if
 * there is a frame of these bytes, and a new frame if another page of the group had the same hash lately: that one will find the
 * frame when its turn comes.  Who had which hash is remembered in a table that forgets (seen): an entry is the upper half of
 * the hash and a tag of the page, so that a page does not meet itself.
 */
#include <linux/hash.h>
#include <linux/highmem.h>
#include <linux/log2.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/xxhash.h>

#include "mem/guest_file.h"
#include "mem/reserve.h"
#include "mem/share.h"
#include "mem/share_index.h"
#include "mem/share_scan.h"

#define SEEN_BITS_MIN	12
#define SEEN_BITS_MAX	21

static u64 hash_page(const struct share_group *g, struct page *page)
{
	void *p = kmap_local_page(page);
	u64 hash = xxh64(p, PAGE_SIZE, g->salt);

	kunmap_local(p);
	return hash;
}

static u64 seen_entry(const struct guest_file *f, pgoff_t index, u64 hash)
{
	return (hash & ~(u64)U32_MAX) | (u32)hash_64((unsigned long)f ^ index, 32);
}

/* Has another page had this hash?  If not it is noted that this one has.  Room is made at the first scan, and as the group grows. */
static bool seen_before(struct guest_file *f, pgoff_t index, u64 hash)
{
	struct share_group *g = f->group;
	u64 *slot, entry = seen_entry(f, index, hash), was;

	lockdep_assert_held(&g->lock);
	slot = &g->seen[hash & ((1ul << g->seen_bits) - 1)];
	was = *slot;
	if (was == entry)
		return false;
	if (was >> 32 == entry >> 32)
		return true;
	*slot = entry;
	return false;
}

static int scan_prepare(struct guest_file *f)
{
	struct share_group *g = f->group;
	unsigned int bits = clamp_t(unsigned int, ilog2(g->pages), SEEN_BITS_MIN, SEEN_BITS_MAX);
	u64 *seen = NULL;

	if (!f->hashes)
		f->hashes = kvcalloc(f->npages, sizeof(*f->hashes), GFP_KERNEL_ACCOUNT);
	if (!f->hashes)
		return -ENOMEM;
	if (READ_ONCE(g->seen_bits) >= bits)
		return 0;
	seen = kvcalloc(1ul << bits, sizeof(*seen), GFP_KERNEL_ACCOUNT);
	if (!seen)
		return -ENOMEM;
	mutex_lock(&g->lock);
	if (g->seen_bits < bits) {
		swap(g->seen, seen);
		g->seen_bits = bits;
	}
	mutex_unlock(&g->lock);
	kvfree(seen);
	return 0;
}

/* The frame of @page's bytes with one more user, or NULL.  Few have the same hash and other bytes: a handful is enough. */
static struct share_frame *frame_get_by_bytes(struct share_group *g, struct page *page, u64 hash)
{
	struct share_frame *sf = NULL;
	unsigned int tries;

	mutex_lock(&g->lock);
	for (tries = 0; tries < 4; tries++) {
		sf = share_index_by_hash(&g->index, hash, sf);
		if (!sf || (share_same_bytes(sf->page, page) && share_index_get(&g->index, sf)))
			break;
	}
	mutex_unlock(&g->lock);
	if (tries == 4)
		sf = NULL;
	if (sf)
		reserve_saved(1);
	return sf;
}

static bool is_candidate(struct guest_file *f, pgoff_t index, u64 hash, bool *twin)
{
	struct share_group *g = f->group;
	bool known;

	if (f->hashes[index] != (u32)hash) {
		f->hashes[index] = hash;
		return false;
	}
	mutex_lock(&g->lock);
	known = share_index_by_hash(&g->index, hash, NULL);
	*twin = seen_before(f, index, hash);
	mutex_unlock(&g->lock);
	return known || *twin;
}

/* @page is frozen and has @hash.  NULL: no frame has its bytes, and none is to be made. */
static struct share_frame *scan_frame(struct share_group *g, struct page *page, u64 hash, bool twin)
{
	struct share_frame *sf = frame_get_by_bytes(g, page, hash);

	if (sf || !twin)
		return sf;
	sf = share_frame_new(page);
	if (!sf)
		return NULL;
	mutex_lock(&g->lock);
	share_index_add(&g->index, sf);
	share_index_name_hash(&g->index, sf, hash);
	mutex_unlock(&g->lock);
	return sf;
}

/* What was shared by its block shall be found by its content, too. */
static void scan_shared(struct share_group *g, struct share_frame *sf)
{
	u64 hash;

	if (sf->has & SHARE_HAS_HASH)
		return;
	hash = hash_page(g, sf->page);
	mutex_lock(&g->lock);
	share_index_name_hash(&g->index, sf, hash);
	mutex_unlock(&g->lock);
}

/* Was the page shared? */
static bool scan_page(struct guest_file *f, pgoff_t index)
{
	void *entry = xa_load(&f->overlay, index);
	struct share_frame *sf = NULL;
	struct page *page;
	bool twin;
	u64 hash;

	if (entry) {
		if (!share_is_owned(entry))
			scan_shared(f->group, entry);
		return false;
	}
	page = find_lock_page(f->mapping, index);
	if (!page)
		return false;
	if (!PageTransCompound(page) && !PageHWPoison(page)) {
		hash = hash_page(f->group, page);
		if (is_candidate(f, index, hash, &twin) && reserve_ready() && share_freeze(f, page) && hash_page(f->group, page) == hash)
			sf = scan_frame(f->group, page, hash, twin);
	}
	if (sf)
		return share_succeeded(share_install(f, index, page, sf, LODGE_BLOCK_SHARED));
	unlock_page(page);
	put_page(page);
	return false;
}

long share_scan(struct guest_file *f, struct lodge_guest_scan *args)
{
	pgoff_t index = args->offset >> PAGE_SHIFT, end;
	u64 shared = 0;
	int ret = 0;

	if (args->flags || args->reserved || !PAGE_ALIGNED(args->offset) || index >= f->npages)
		return -EINVAL;
	end = index + min_t(u64, args->pages, f->npages - index);
	for (; index < end && !signal_pending(current); index++) {
		down_write(&f->sem);
		ret = f->group ? scan_prepare(f) : -ENOENT;
		if (!ret && !(f->no_share && test_bit(index, f->no_share)) && scan_page(f, index)) {
			shared++;
			f->stats.scanned++;
			share_group_grow(f->group);
		}
		up_write(&f->sem);
		if (ret)
			return ret;
		cond_resched();
	}
	args->offset = index < f->npages ? (u64)index << PAGE_SHIFT : 0;
	args->shared = shared;
	return 0;
}
