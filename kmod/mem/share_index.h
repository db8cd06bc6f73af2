/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The index of a group's shared frames: found by disk block or by the hash of their content, counted.  Pure code: the caller
 * brings memory and lock.
 */
#ifndef LODGE_MEM_SHARE_INDEX_H
#define LODGE_MEM_SHARE_INDEX_H

#include <linux/types.h>

#define SHARE_IMAGE	16
#define SHARE_HAS_BLOCK	1
#define SHARE_HAS_HASH	2

struct share_key {
	__u8 image[SHARE_IMAGE];
	__u64 block;
};

/* One shared frame; 72 bytes. */
struct share_frame {
	struct share_frame *next_block, *next_hash;
	void *page;			/* the caller's */
	struct share_key key;
	__u64 hash;
	__u32 users;			/* entries of overlays */
	__u32 has;			/* SHARE_HAS_*: by what it is found */
};

/* Two tables of 1 << bits chains each. */
struct share_index {
	struct share_frame **blocks, **hashes;
	unsigned int bits;
	__u64 frames, users;
};

/* @tables: 2 << @bits zeroed pointers. */
void share_index_init(struct share_index *ix, struct share_frame **tables, unsigned int bits);

/* More than two frames a chain: larger tables are due. */
static inline int share_index_is_full(const struct share_index *ix)
{
	return ix->frames >> ix->bits > 1;
}

/* Moves everything to larger tables; returns the old ones, to be freed. */
struct share_frame **share_index_grow(struct share_index *ix, struct share_frame **tables, unsigned int bits);

struct share_frame *share_index_by_block(const struct share_index *ix, const struct share_key *key);

/* The next frame of that hash after @prev, NULL: the first.  Equal hashes are not yet equal bytes. */
struct share_frame *share_index_by_hash(const struct share_index *ix, __u64 hash, const struct share_frame *prev);

/* @sf->page is set, all else is set here: one user, not found by anything yet. */
void share_index_add(struct share_index *ix, struct share_frame *sf);

/* From now on found by this, too.  0 if it is by another block, or the block is another frame's. */
int share_index_name_block(struct share_index *ix, struct share_frame *sf, const struct share_key *key);
void share_index_name_hash(struct share_index *ix, struct share_frame *sf, __u64 hash);

/* 0: the count is at its end, share it no further. */
int share_index_get(struct share_index *ix, struct share_frame *sf);

/* 1: that was the last user, the frame is out of the index and the caller's to free. */
int share_index_put(struct share_index *ix, struct share_frame *sf);

/* How many frames the reserve should have if breaks could ask for @saved of them. */
__u64 share_reserve_wanted(__u64 saved);

/* What part of a group's savings is due to a user of @shared of its frames. */
__u64 share_index_saved(const struct share_index *ix, __u64 shared);

#endif
