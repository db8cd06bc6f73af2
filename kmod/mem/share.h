/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The overlay of shared frames above a guest-memory file's private pages.
 */
#ifndef LODGE_MEM_SHARE_H
#define LODGE_MEM_SHARE_H

#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/uidgid.h>
#include <linux/xarray.h>
#include <uapi/lodge.h>

#include "mem/share_index.h"

struct guest_file;

struct share_group {
	struct list_head link;		/* [groups_lock] */
	kuid_t uid;
	u64 number;
	unsigned int files;		/* [groups_lock] */
	u64 pages;			/* [groups_lock] of all its files */
	u64 salt;			/* of its hashes */
	struct mutex lock;		/* inside f->sem and page locks */
	struct share_index index;	/* [lock] */
	u64 *seen;			/* [lock] 1 << seen_bits hashes that pages had lately; NULL before a scan */
	unsigned int seen_bits;
};

/* ---- membership; nobody else knows the file yet, or f->sem is held for writing and nothing of the file is shared ---- */
int share_join(struct guest_file *f, u64 number);	/* a group of the caller's user */
void share_leave(struct guest_file *f);

/* ---- faults: f->sem is held, for reading at least ---- */
enum share_kind { SHARE_PRIVATE, SHARE_SHARED, SHARE_OWNED };
enum share_kind share_kind(struct guest_file *f, pgoff_t index, struct page **page);	/* no reference is taken */
bool share_near(struct guest_file *f, pgoff_t index);	/* does the overlay have anything in the huge page around it? */

/* A write to a shared page: makes it private.  0, -EHWPOISON, or -ENOMEM (wait).  f->sem is held for writing. */
int share_break(struct guest_file *f, pgoff_t index);

/* The same for all of [first, last).  No lock is held. */
int share_break_range(struct guest_file *f, pgoff_t first, pgoff_t last);

/* Drops what the overlay has in [first, last), which reads as shmem has it then.  f->sem is held for writing. */
void share_drop(struct guest_file *f, pgoff_t first, pgoff_t last);

/* The end of the file: nothing is mapped, nobody can fault. */
void share_release(struct guest_file *f);

/* ---- ioctls ---- */
long share_blocks(struct guest_file *f, const struct lodge_guest_blocks *args);
void share_stats(struct guest_file *f, struct lodge_guest_file_stats *st);

/* ---- for share_scan.c; f->sem is held for writing ---- */
#define SHARE_TAG_OWNED	1	/* of an entry: a page of this file alone; without it, a struct share_frame */

static inline bool share_is_owned(void *entry)
{
	return xa_pointer_tag(entry) == SHARE_TAG_OWNED;
}

static inline bool share_succeeded(u8 state)
{
	return state == LODGE_BLOCK_SHARED || state == LODGE_BLOCK_SOURCE;
}

/* Nobody but us can reach the locked @page from here until it is unlocked, or somebody has it under way (false). */
bool share_freeze(struct guest_file *f, struct page *page);

/* A frame with @from's bytes, in no index.  NULL: no memory, or the cap is reached. */
struct share_frame *share_frame_new(struct page *from);

/* The frozen @page of the file at @index becomes the frame @sf; both the page's lock and the user of @sf are given away. */
u8 share_install(struct guest_file *f, pgoff_t index, struct page *page, struct share_frame *sf, u8 state);

bool share_same_bytes(struct page *a, struct page *b);
void share_group_grow(struct share_group *g);	/* failing is harmless: chains get longer */

int share_init(void);
void share_exit(void);

#endif
