// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shared frames of one trust group.
 *
 * A frame is found by the disk block that it holds, by the hash of its bytes, or by both; two chained tables of the same size
 * lead there.  It lives from share_index_add() until its last user is put, and is in no chain afterwards.  A block names one
 * frame at most; a hash may name many (different bytes of one hash, or more users than a count can hold).
 *
 * frames and users are sums over all frames: a group saves users - frames pages.  That is also what its breaks can ask for at
 * worst, for the last user of a frame gives it back when it breaks.
 */
#include "mem/share_index.h"

#define RESERVE_MIN	64
#define RESERVE_PART	32		/* of what breaks can ask for */
#define RESERVE_MAX	16384

/* Finalizer of MurmurHash3 (public domain constants): every bit of the input reaches every bit of the result. */
static __u64 mix(__u64 v)
{
	v ^= v >> 33;
	v *= 0xff51afd7ed558ccdull;
	v ^= v >> 33;
	v *= 0xc4ceb9fe1a85ec53ull;
	return v ^ v >> 33;
}

static __u64 load64(const __u8 *p)
{
	__u64 v = 0;
	unsigned int i;

	for (i = 0; i < 8; i++)
		v |= (__u64)p[i] << 8 * i;
	return v;
}

static int same_key(const struct share_key *a, const struct share_key *b)
{
	return a->block == b->block && load64(a->image) == load64(b->image) && load64(a->image + 8) == load64(b->image + 8);
}

static __u64 slot(const struct share_index *ix, __u64 v)
{
	return mix(v) >> (64 - ix->bits);
}

static struct share_frame **block_chain(const struct share_index *ix, const struct share_key *key)
{
	return &ix->blocks[slot(ix, mix(load64(key->image) ^ mix(load64(key->image + 8))) + key->block)];
}

static struct share_frame **hash_chain(const struct share_index *ix, __u64 hash)
{
	return &ix->hashes[slot(ix, hash)];
}

void share_index_init(struct share_index *ix, struct share_frame **tables, unsigned int bits)
{
	ix->blocks = tables;
	ix->hashes = tables + (1ul << bits);
	ix->bits = bits;
	ix->frames = 0;
	ix->users = 0;
}

static void link_block(struct share_index *ix, struct share_frame *sf)
{
	struct share_frame **chain = block_chain(ix, &sf->key);

	sf->next_block = *chain;
	*chain = sf;
}

static void link_hash(struct share_index *ix, struct share_frame *sf)
{
	struct share_frame **chain = hash_chain(ix, sf->hash);

	sf->next_hash = *chain;
	*chain = sf;
}

struct share_frame **share_index_grow(struct share_index *ix, struct share_frame **tables, unsigned int bits)
{
	struct share_frame **old = ix->blocks, *sf, *next;
	unsigned long i, n = 1ul << ix->bits;
	struct share_index larger = { tables, tables + (1ul << bits), bits, ix->frames, ix->users };

	for (i = 0; i < n; i++) {
		for (sf = ix->blocks[i]; sf; sf = next) {
			next = sf->next_block;
			link_block(&larger, sf);
		}
		for (sf = ix->hashes[i]; sf; sf = next) {
			next = sf->next_hash;
			link_hash(&larger, sf);
		}
	}
	*ix = larger;
	return old;
}

struct share_frame *share_index_by_block(const struct share_index *ix, const struct share_key *key)
{
	struct share_frame *sf = *block_chain(ix, key);

	while (sf && !same_key(&sf->key, key))
		sf = sf->next_block;
	return sf;
}

struct share_frame *share_index_by_hash(const struct share_index *ix, __u64 hash, const struct share_frame *prev)
{
	struct share_frame *sf = prev ? prev->next_hash : *hash_chain(ix, hash);

	while (sf && sf->hash != hash)
		sf = sf->next_hash;
	return sf;
}

void share_index_add(struct share_index *ix, struct share_frame *sf)
{
	sf->users = 1;
	sf->has = 0;
	ix->frames++;
	ix->users++;
}

int share_index_name_block(struct share_index *ix, struct share_frame *sf, const struct share_key *key)
{
	if (sf->has & SHARE_HAS_BLOCK)
		return same_key(&sf->key, key);
	if (share_index_by_block(ix, key))
		return 0;
	sf->key = *key;
	sf->has |= SHARE_HAS_BLOCK;
	link_block(ix, sf);
	return 1;
}

void share_index_name_hash(struct share_index *ix, struct share_frame *sf, __u64 hash)
{
	if (sf->has & SHARE_HAS_HASH)
		return;
	sf->hash = hash;
	sf->has |= SHARE_HAS_HASH;
	link_hash(ix, sf);
}

int share_index_get(struct share_index *ix, struct share_frame *sf)
{
	if (sf->users == (__u32)-1)
		return 0;
	sf->users++;
	ix->users++;
	return 1;
}

int share_index_put(struct share_index *ix, struct share_frame *sf)
{
	struct share_frame **at;

	ix->users--;
	if (--sf->users)
		return 0;
	ix->frames--;
	if (sf->has & SHARE_HAS_BLOCK) {
		for (at = block_chain(ix, &sf->key); *at != sf; at = &(*at)->next_block)
			;
		*at = sf->next_block;
	}
	if (sf->has & SHARE_HAS_HASH) {
		for (at = hash_chain(ix, sf->hash); *at != sf; at = &(*at)->next_hash)
			;
		*at = sf->next_hash;
	}
	return 1;
}

__u64 share_reserve_wanted(__u64 saved)
{
	__u64 n = saved / RESERVE_PART;

	if (!saved)
		return 0;
	return n < RESERVE_MIN ? RESERVE_MIN : n > RESERVE_MAX ? RESERVE_MAX : n;
}

__u64 share_index_saved(const struct share_index *ix, __u64 shared)
{
	__u64 saved = ix->users - ix->frames, whole;

	if (!ix->users)
		return 0;
	/* Counts of pages lie far below 2^40; so do the shifted ones below 2^64 after the division. */
	whole = (saved << 16) / ix->users;
	return shared * whole >> 16;
}
