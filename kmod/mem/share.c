// SPDX-License-Identifier: GPL-2.0-only
/*
 * The overlay: which indices of a file are shared frames (README.md has the states and the locks).
 *
 * An entry of f->overlay is a struct share_frame (shared) or a tagged struct page (owned).  Entries change under f->sem held for
 * writing, with the old page locked, before the index is unmapped: so whoever has a page locked, and found it in the overlay, may
 * map it.
 *
 * Where the overlay has an entry, shmem has a hole, and no huge page covers it: a huge entry of a page table would hide the
 * overlay.  Sharing takes huge pages apart, faults allocate small ones beside an entry.
 *
 * A frame's bytes never change while it is in an index.  Its page has no mapping and is on no LRU list: it is neither swapped nor
 * moved, is charged to whoever made it, and is capped at half of the host's memory.
 */
#include <linux/cpu.h>
#include <linux/cred.h>
#include <linux/highmem.h>
#include <linux/mutex.h>
#include <linux/pagemap.h>
#include <linux/pagevec.h>
#include <linux/random.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

#include "core/ioctl.h"
#include "mem/guest_file.h"
#include "mem/reserve.h"
#include "mem/share.h"
#include "mem/share_index.h"

#define FRAME_GFP	(GFP_KERNEL_ACCOUNT | __GFP_HIGHMEM | __GFP_NORETRY | __GFP_NOWARN)
#define FIRST_BITS	8

static LIST_HEAD(groups);
static DEFINE_MUTEX(groups_lock);
static atomic_long_t frames_total;

/* ---- groups ---- */

static struct share_group *group_create(kuid_t uid, u64 number)
{
	struct share_group *g = kzalloc(sizeof(*g), GFP_KERNEL_ACCOUNT);
	struct share_frame **tables = kvcalloc(2 << FIRST_BITS, sizeof(*tables), GFP_KERNEL_ACCOUNT);

	if (!g || !tables) {
		kfree(g);
		kvfree(tables);
		return NULL;
	}
	g->uid = uid;
	g->number = number;
	g->salt = get_random_u64();
	mutex_init(&g->lock);
	share_index_init(&g->index, tables, FIRST_BITS);
	list_add(&g->link, &groups);
	return g;
}

int share_join(struct guest_file *f, u64 number)
{
	struct share_group *g;

	mutex_lock(&groups_lock);
	list_for_each_entry(g, &groups, link) {
		if (uid_eq(g->uid, current_euid()) && g->number == number)
			break;
	}
	if (list_entry_is_head(g, &groups, link))
		g = group_create(current_euid(), number);
	if (g) {
		g->files++;
		g->pages += f->npages;
	}
	mutex_unlock(&groups_lock);
	f->group = g;
	return g ? 0 : -ENOMEM;
}

void share_leave(struct guest_file *f)
{
	struct share_group *g = f->group;

	if (!g)
		return;
	f->group = NULL;
	mutex_lock(&groups_lock);
	g->pages -= f->npages;
	if (!--g->files)
		list_del(&g->link);
	else
		g = NULL;
	mutex_unlock(&groups_lock);
	if (g) {
		WARN_ON_ONCE(g->index.frames);
		kvfree(g->index.blocks);
		kvfree(g->seen);
		kfree(g);
	}
	reserve_trim();
}

void share_group_grow(struct share_group *g)
{
	unsigned int bits = g->index.bits + 2;
	struct share_frame **tables;

	if (!share_index_is_full(&g->index))
		return;
	tables = kvcalloc(2ul << bits, sizeof(*tables), GFP_KERNEL_ACCOUNT | __GFP_NORETRY | __GFP_NOWARN);
	if (!tables)
		return;
	mutex_lock(&g->lock);
	if (bits > g->index.bits)
		tables = share_index_grow(&g->index, tables, bits);
	mutex_unlock(&g->lock);
	kvfree(tables);
}

/* ---- frames ---- */

static void frame_free(struct share_frame *sf)
{
	put_page(sf->page);
	kfree(sf);
	atomic_long_dec(&frames_total);
}

struct share_frame *share_frame_new(struct page *from)
{
	struct share_frame *sf;

	if (atomic_long_read(&frames_total) >= totalram_pages() / 2)
		return NULL;
	sf = kmalloc(sizeof(*sf), GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!sf)
		return NULL;
	sf->page = alloc_page(FRAME_GFP);
	if (!sf->page || copy_mc_user_highpage(sf->page, from, 0, NULL)) {
		if (sf->page)
			__free_page(sf->page);
		kfree(sf);
		return NULL;
	}
	atomic_long_inc(&frames_total);
	return sf;
}

static struct share_frame *frame_get_by_block(struct share_group *g, const struct share_key *key)
{
	struct share_frame *sf;

	mutex_lock(&g->lock);
	sf = share_index_by_block(&g->index, key);
	if (sf && !share_index_get(&g->index, sf))
		sf = NULL;
	mutex_unlock(&g->lock);
	if (sf)
		reserve_saved(1);
	return sf;
}

static void frame_put(struct share_group *g, struct share_frame *sf)
{
	bool last;

	mutex_lock(&g->lock);
	last = share_index_put(&g->index, sf);
	mutex_unlock(&g->lock);
	if (last)
		frame_free(sf);
	else
		reserve_saved(-1);
}

/* The frame of the block, with one more user: the group's, else @sf.  NULL: neither, the group's has all users that it can. */
static struct share_frame *frame_insert(struct share_group *g, struct share_frame *sf, const struct share_key *key)
{
	struct share_frame *there = frame_get_by_block(g, key);

	if (there)
		return there;
	mutex_lock(&g->lock);
	share_index_add(&g->index, sf);
	if (!share_index_name_block(&g->index, sf, key)) {
		share_index_put(&g->index, sf);
		sf = NULL;
	}
	mutex_unlock(&g->lock);
	return sf;
}

/* ---- entries ---- */

static struct page *entry_page(void *entry)
{
	return share_is_owned(entry) ? xa_untag_pointer(entry) : ((struct share_frame *)entry)->page;
}

static void entry_put(struct guest_file *f, void *entry)
{
	if (share_is_owned(entry)) {
		put_page(entry_page(entry));
		f->stats.owned_pages--;
	} else {
		frame_put(f->group, entry);
		f->stats.shared_pages--;
	}
}

enum share_kind share_kind(struct guest_file *f, pgoff_t index, struct page **page)
{
	void *entry = xa_load(&f->overlay, index);

	if (!entry)
		return SHARE_PRIVATE;
	*page = entry_page(entry);
	return share_is_owned(entry) ? SHARE_OWNED : SHARE_SHARED;
}

bool share_near(struct guest_file *f, pgoff_t index)
{
	unsigned long i = round_down(index, HPAGE_PMD_NR);

	return !xa_empty(&f->overlay) && xa_find(&f->overlay, &i, i + HPAGE_PMD_NR - 1, XA_PRESENT);
}

/* @index has @entry; it gets @new (NULL: none), and nobody maps the old page any more.  Cannot fail. */
static void entry_change(struct guest_file *f, pgoff_t index, void *entry, void *new)
{
	struct page *page = entry_page(entry);

	lock_page(page);
	/* The slot is there: storing takes no memory. */
	xa_store(&f->overlay, index, new, GFP_NOWAIT);
	unmap_mapping_pages(f->mapping, index, 1, false);
	unlock_page(page);
}

void share_drop(struct guest_file *f, pgoff_t first, pgoff_t last)
{
	unsigned long index;
	void *entry;

	if (first >= last)
		return;
	xa_for_each_range(&f->overlay, index, entry, first, last - 1) {
		entry_change(f, index, entry, NULL);
		entry_put(f, entry);
		cond_resched();
	}
}

void share_release(struct guest_file *f)
{
	unsigned long index;
	void *entry;

	xa_for_each(&f->overlay, index, entry) {
		entry_put(f, entry);
		cond_resched();
	}
	xa_destroy(&f->overlay);
	share_leave(f);
}

/* ---- breaks ---- */

/* The only user of a frame keeps it: no memory is needed. */
static bool frame_take_over(struct share_group *g, struct share_frame *sf)
{
	bool mine;

	mutex_lock(&g->lock);
	mine = sf->users == 1;
	if (mine)
		share_index_put(&g->index, sf);
	mutex_unlock(&g->lock);
	return mine;
}

/* A fresh page of shmem with the bytes of @from behind the overlay's entry.  0, -ENOMEM, -EHWPOISON. */
static int private_copy(struct guest_file *f, pgoff_t index, struct page *from)
{
	gfp_t gfp = mapping_gfp_mask(f->mapping);
	struct page *page;
	vm_fault_t ret;
	int err;

	/* Nobody else allocates for this file now. */
	mapping_set_gfp_mask(f->mapping, gfp | __GFP_NORETRY | __GFP_NOWARN);
	ret = guest_file_page(f, index, current->mm, 0, VM_NOHUGEPAGE, &page);
	mapping_set_gfp_mask(f->mapping, gfp);
	if (ret & VM_FAULT_ERROR)
		return -ENOMEM;
	err = copy_mc_user_highpage(page, from, 0, NULL) ? -EHWPOISON : 0;
	/* A clean page that no one wrote may be dropped under memory pressure. */
	set_page_dirty(page);
	unlock_page(page);
	put_page(page);
	if (err)
		shmem_truncate_range(f->mapping->host, (loff_t)index << PAGE_SHIFT, ((loff_t)index << PAGE_SHIFT) + PAGE_SIZE - 1);
	return err;
}

/* No memory: the frame itself if it has no other user, or one of the reserve, becomes the file's. */
static int break_owned(struct guest_file *f, pgoff_t index, struct share_frame *sf)
{
	struct page *page;

	if (frame_take_over(f->group, sf)) {
		page = sf->page;
		get_page(page);
		entry_change(f, index, sf, xa_tag_pointer(page, SHARE_TAG_OWNED));
		frame_free(sf);
	} else {
		page = reserve_take();
		if (!page)
			return -ENOMEM;
		if (copy_mc_user_highpage(page, sf->page, 0, NULL)) {
			put_page(page);
			return -EHWPOISON;
		}
		entry_change(f, index, sf, xa_tag_pointer(page, SHARE_TAG_OWNED));
		frame_put(f->group, sf);
		f->stats.breaks_reserve++;
	}
	f->stats.owned_pages++;
	return 0;
}

int share_break(struct guest_file *f, pgoff_t index)
{
	struct share_frame *sf = xa_load(&f->overlay, index);
	int ret;

	lockdep_assert_held_write(&f->sem);
	if (!sf || share_is_owned(sf))
		return 0;
	ret = private_copy(f, index, sf->page);
	if (!ret) {
		entry_change(f, index, sf, NULL);
		frame_put(f->group, sf);
	} else if (ret == -ENOMEM) {
		ret = break_owned(f, index, sf);
	}
	if (ret)
		return ret;
	f->stats.shared_pages--;
	f->stats.breaks++;
	return 0;
}

int share_break_range(struct guest_file *f, pgoff_t first, pgoff_t last)
{
	unsigned long index;
	void *entry;
	int ret;

	if (first >= last)
		return 0;
	xa_for_each_range(&f->overlay, index, entry, first, last - 1) {
		do {
			down_write(&f->sem);
			ret = share_break(f, index);
			up_write(&f->sem);
			if (ret == -ENOMEM)
				reserve_wait();
			if (fatal_signal_pending(current))
				return -EINTR;
		} while (ret == -ENOMEM);
		if (ret)
			return ret;
		cond_resched();
	}
	return 0;
}

/* ---- sharing ---- */

bool share_freeze(struct guest_file *f, struct page *page)
{
	struct folio *folio = page_folio(page);
	long n = folio_nr_pages(folio);

	unmap_mapping_pages(f->mapping, folio->index, n, false);
	return folio_ref_count(folio) == n + 1 && !folio_mapped(folio) && !PageHWPoison(page);
}

/*
 * @page is frozen; the overlay's entry at @index is already there.  Takes shmem's page away; false if it is part of a huge page
 * that shmem cannot take apart, which has the bytes of @bytes again then.  Gives the lock and the reference back.
 */
static bool take_away(struct guest_file *f, pgoff_t index, struct page *page, struct page *bytes)
{
	bool huge = PageTransCompound(page);
	loff_t at = (loff_t)index << PAGE_SHIFT;

	unlock_page(page);
	put_page(page);
	shmem_truncate_range(f->mapping->host, at, at + PAGE_SIZE - 1);
	if (!huge)
		return true;
	page = find_lock_page(f->mapping, index);
	if (!page) {
		f->stats.huge_splits++;
		return true;
	}
	copy_highpage(page, bytes);
	set_page_dirty(page);
	unlock_page(page);
	put_page(page);
	return false;
}

bool share_same_bytes(struct page *a, struct page *b)
{
	void *pa = kmap_local_page(a), *pb = kmap_local_page(b);
	bool same = !memcmp(pa, pb, PAGE_SIZE);

	kunmap_local(pb);
	kunmap_local(pa);
	return same;
}

/* The group's frame for the frozen @page, or the reason why not. */
static u8 offer_frame(struct share_group *g, struct page *page, const struct share_key *key, struct share_frame **frame)
{
	struct share_frame *sf = frame_get_by_block(g, key), *new;

	if (!sf) {
		new = share_frame_new(page);
		if (!new)
			return LODGE_BLOCK_LOW;
		sf = frame_insert(g, new, key);
		if (sf == new) {
			*frame = sf;
			return LODGE_BLOCK_SOURCE;
		}
		frame_free(new);
		if (!sf)
			return LODGE_BLOCK_LOW;
	}
	if (!share_same_bytes(sf->page, page)) {
		frame_put(g, sf);
		return LODGE_BLOCK_DIFFERS;
	}
	*frame = sf;
	return LODGE_BLOCK_SHARED;
}

u8 share_install(struct guest_file *f, pgoff_t index, struct page *page, struct share_frame *sf, u8 state)
{
	if (xa_is_err(xa_store(&f->overlay, index, sf, GFP_KERNEL_ACCOUNT | __GFP_NOWARN))) {
		frame_put(f->group, sf);
		unlock_page(page);
		put_page(page);
		return LODGE_BLOCK_LOW;
	}
	if (!take_away(f, index, page, sf->page)) {
		xa_erase(&f->overlay, index);
		frame_put(f->group, sf);
		return LODGE_BLOCK_BUSY;
	}
	f->stats.shared_pages++;
	return state;
}

static u8 offer(struct guest_file *f, pgoff_t index, const struct share_key *key)
{
	struct share_frame *sf = xa_load(&f->overlay, index);
	struct page *page;
	u8 state;

	if (sf)
		return !share_is_owned(sf) && (sf->has & SHARE_HAS_BLOCK) && !memcmp(&sf->key, key, sizeof(*key)) ? LODGE_BLOCK_SHARED :
			LODGE_BLOCK_TAKEN;
	page = find_lock_page(f->mapping, index);
	if (!page)
		return LODGE_BLOCK_GONE;
	state = share_freeze(f, page) ? offer_frame(f->group, page, key, &sf) : LODGE_BLOCK_BUSY;
	if (share_succeeded(state)) {
		state = share_install(f, index, page, sf, state);
		f->stats.offered += share_succeeded(state);
		return state;
	}
	unlock_page(page);
	put_page(page);
	return state;
}

/* What the file has at @index makes room for @sf, whose user the caller has made the file. */
static u8 map_over_private(struct guest_file *f, pgoff_t index, struct share_frame *sf)
{
	struct page *page = find_lock_page(f->mapping, index), *backup = NULL;
	u8 state = LODGE_BLOCK_MAPPED;
	loff_t at = (loff_t)index << PAGE_SHIFT;

	if (page && !share_freeze(f, page)) {
		state = LODGE_BLOCK_BUSY;
		goto unlock;
	}
	if (page && PageTransCompound(page)) {
		backup = alloc_page(FRAME_GFP);
		if (!backup) {
			state = LODGE_BLOCK_LOW;
			goto unlock;
		}
		copy_highpage(backup, page);
	}
	if (xa_is_err(xa_store(&f->overlay, index, sf, GFP_KERNEL_ACCOUNT | __GFP_NOWARN))) {
		state = LODGE_BLOCK_LOW;
		goto unlock;
	}
	if (!page) {
		/* A hole, or swapped out. */
		shmem_truncate_range(f->mapping->host, at, at + PAGE_SIZE - 1);
	} else if (!take_away(f, index, page, backup)) {
		xa_erase(&f->overlay, index);
		state = LODGE_BLOCK_BUSY;
	}
	page = NULL;

unlock:
	if (page) {
		unlock_page(page);
		put_page(page);
	}
	if (backup)
		__free_page(backup);
	return state;
}

static u8 map(struct guest_file *f, pgoff_t index, const struct share_key *key)
{
	struct share_frame *sf = frame_get_by_block(f->group, key);
	void *entry = xa_load(&f->overlay, index);
	u8 state = LODGE_BLOCK_MAPPED;

	if (!sf)
		return LODGE_BLOCK_ABSENT;
	if (entry == sf) {
		frame_put(f->group, sf);
		return state;
	}
	if (entry) {
		entry_change(f, index, entry, sf);
		entry_put(f, entry);
	} else {
		state = map_over_private(f, index, sf);
	}
	if (state != LODGE_BLOCK_MAPPED) {
		frame_put(f->group, sf);
		return state;
	}
	f->stats.shared_pages++;
	f->stats.mapped++;
	return state;
}

static u8 query(struct guest_file *f, const struct share_key *key)
{
	u8 state;

	down_read(&f->sem);
	if (!f->group) {
		state = LODGE_BLOCK_OFF;
	} else {
		mutex_lock(&f->group->lock);
		state = share_index_by_block(&f->group->index, key) ? LODGE_BLOCK_HELD : LODGE_BLOCK_ABSENT;
		mutex_unlock(&f->group->lock);
	}
	up_read(&f->sem);
	return state;
}

/* @again: what is busy will be tried once more. */
static u8 share_block(struct guest_file *f, u32 op, pgoff_t index, const struct share_key *key, bool again)
{
	u8 state;

	down_write(&f->sem);
	if (!f->group || (f->no_share && test_bit(index, f->no_share)))
		state = LODGE_BLOCK_OFF;
	else if (!reserve_ready())
		state = LODGE_BLOCK_LOW;
	else
		state = op == LODGE_BLOCKS_MAP ? map(f, index, key) : offer(f, index, key);
	if (f->group)
		share_group_grow(f->group);
	f->stats.refused_busy += state == LODGE_BLOCK_BUSY && !again;
	f->stats.refused_differs += state == LODGE_BLOCK_DIFFERS;
	f->stats.refused_low += state == LODGE_BLOCK_LOW;
	up_write(&f->sem);
	return state;
}

/* ---- pages on their way to the LRU lists are held by per-CPU batches ---- */

static struct work_struct __percpu *drain_works;
static DEFINE_MUTEX(drain_lock);

static void drain_cpu(struct work_struct *work)
{
	struct pagevec none;

	pagevec_init(&none);
	/* Releasing a pagevec drains this CPU's batches first. */
	__pagevec_release(&none);
}

static void drain_all(void)
{
	int cpu;

	mutex_lock(&drain_lock);
	cpus_read_lock();
	for_each_online_cpu(cpu)
		queue_work_on(cpu, system_wq, per_cpu_ptr(drain_works, cpu));
	for_each_online_cpu(cpu)
		flush_work(per_cpu_ptr(drain_works, cpu));
	cpus_read_unlock();
	mutex_unlock(&drain_lock);
}

/* ---- ioctls ---- */

/* Blocks from the array of @args that are in @state (0xff: all); returns how many are left busy. */
static unsigned int share_pass(struct guest_file *f, const struct lodge_guest_blocks *args, const u64 *offsets, u8 *states, u8 state)
{
	struct share_key key;
	unsigned int i, busy = 0;

	memcpy(key.image, args->image, SHARE_IMAGE);
	for (i = 0; i < args->count; i++) {
		if (states[i] != state)
			continue;
		key.block = args->block + i;
		states[i] = args->op == LODGE_BLOCKS_QUERY ? query(f, &key) :
			share_block(f, args->op, offsets[i] >> PAGE_SHIFT, &key, state == 0xff);
		busy += states[i] == LODGE_BLOCK_BUSY;
		cond_resched();
	}
	return busy;
}

static bool offsets_are_good(const struct guest_file *f, const u64 *offsets, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		if (!PAGE_ALIGNED(offsets[i]) || offsets[i] >> PAGE_SHIFT >= f->npages)
			return false;
	}
	return true;
}

long share_blocks(struct guest_file *f, const struct lodge_guest_blocks *args)
{
	u8 states[LODGE_BLOCKS_MAX];
	u64 *offsets = NULL;
	long i, good = 0;

	if (args->flags || args->reserved || args->op > LODGE_BLOCKS_OFFER || !args->count || args->count > LODGE_BLOCKS_MAX ||
	    args->block + args->count < args->block)
		return -EINVAL;
	if (args->op != LODGE_BLOCKS_QUERY) {
		offsets = lodge_ioctl_dup(u64_to_user_ptr(args->offsets), args->count * sizeof(*offsets));
		if (IS_ERR(offsets))
			return PTR_ERR(offsets);
		if (!offsets_are_good(f, offsets, args->count)) {
			kvfree(offsets);
			return -EINVAL;
		}
	}
	memset(states, 0xff, sizeof(states));
	if (share_pass(f, args, offsets, states, 0xff)) {
		drain_all();
		share_pass(f, args, offsets, states, LODGE_BLOCK_BUSY);
	}
	kvfree(offsets);
	for (i = 0; i < args->count; i++)
		good += states[i] >= LODGE_BLOCK_HELD && states[i] <= LODGE_BLOCK_SOURCE;
	return copy_to_user(u64_to_user_ptr(args->states), states, args->count) ? -EFAULT : good;
}

void share_stats(struct guest_file *f, struct lodge_guest_file_stats *st)
{
	down_read(&f->sem);
	*st = f->stats;
	if (f->group) {
		mutex_lock(&f->group->lock);
		st->group_frames = f->group->index.frames;
		st->group_users = f->group->index.users;
		st->saved_pages = share_index_saved(&f->group->index, st->shared_pages);
		mutex_unlock(&f->group->lock);
	}
	up_read(&f->sem);
	reserve_numbers(&st->reserve_frames, &st->reserve_wanted);
}

int share_init(void)
{
	int cpu;

	drain_works = alloc_percpu(struct work_struct);
	if (!drain_works)
		return -ENOMEM;
	for_each_possible_cpu(cpu)
		INIT_WORK(per_cpu_ptr(drain_works, cpu), drain_cpu);
	return 0;
}

void share_exit(void)
{
	free_percpu(drain_works);
	reserve_exit();
}
