// SPDX-License-Identifier: GPL-2.0-only
/*
 * The reserve: a break that gets no memory from the host takes a frame from here.
 *
 * It is filled by those who share, before they do, and charged to them.  How many frames it should have follows from how many pages
 * sharing saves (share_index.c).  As long as it has fewer nothing new is shared, and poll() on files says so; breaks use it up.
 */
#include <linux/gfp.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/poll.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

#include "mem/reserve.h"
#include "mem/share_index.h"

static DEFINE_SPINLOCK(reserve_lock);
static LIST_HEAD(reserve_pages);		/* by page->lru */
static unsigned long reserve_have;		/* [reserve_lock] */
static atomic_long_t reserve_total_saved;
static DECLARE_WAIT_QUEUE_HEAD(reserve_queue);

static unsigned long wanted(void)
{
	return share_reserve_wanted(max(0l, atomic_long_read(&reserve_total_saved)));
}

void reserve_saved(long delta)
{
	atomic_long_add(delta, &reserve_total_saved);
}

bool reserve_is_low(void)
{
	return READ_ONCE(reserve_have) < wanted();
}

void reserve_numbers(u64 *frames, u64 *want)
{
	*frames = READ_ONCE(reserve_have);
	*want = wanted();
}

static void put(struct page *page)
{
	spin_lock(&reserve_lock);
	list_add(&page->lru, &reserve_pages);
	reserve_have++;
	spin_unlock(&reserve_lock);
}

struct page *reserve_take(void)
{
	struct page *page;

	spin_lock(&reserve_lock);
	page = list_first_entry_or_null(&reserve_pages, struct page, lru);
	if (page) {
		list_del(&page->lru);
		reserve_have--;
	}
	spin_unlock(&reserve_lock);
	if (reserve_is_low())
		wake_up_all(&reserve_queue);
	return page;
}

bool reserve_ready(void)
{
	/* One more than there would be a need for without what is to be shared now. */
	unsigned long n = share_reserve_wanted(max(0l, atomic_long_read(&reserve_total_saved)) + 1);
	bool grew = false;
	struct page *page;

	while (READ_ONCE(reserve_have) < n) {
		page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_HIGHMEM | __GFP_NORETRY | __GFP_NOWARN);
		if (!page)
			return false;
		put(page);
		grew = true;
	}
	if (grew)
		wake_up_all(&reserve_queue);
	return true;
}

void reserve_trim(void)
{
	struct page *page;

	while (READ_ONCE(reserve_have) > 2 * wanted()) {
		page = reserve_take();
		if (page)
			__free_page(page);
	}
}

void reserve_wait(void)
{
	wait_event_killable_timeout(reserve_queue, READ_ONCE(reserve_have), HZ / 10);
}

void reserve_poll_wait(struct file *file, struct poll_table_struct *wait)
{
	poll_wait(file, &reserve_queue, wait);
}

void reserve_exit(void)
{
	atomic_long_set(&reserve_total_saved, 0);
	reserve_trim();
}
