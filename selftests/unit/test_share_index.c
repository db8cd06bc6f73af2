// SPDX-License-Identifier: GPL-2.0-or-later
// LINK: kmod/mem/share_index.c
/*
 * The index of shared frames against a naive reference: an array of frames that is searched from end to end, and overlays of a
 * few files in two groups.
 *
 * What the kernel does with the index is done at random here: offer (by block, with right and with other bytes), map, find by
 * content, write (break), punch, close a file, change its group, let the tables grow.  After every operation what was touched is
 * compared; every so often, and at the end, all of it.
 *
 * LODGE_MODEL_OPS (200,000; the full count is 10,000,000) and LODGE_SEED override length and seed.
 */
#include <check.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mem/share_index.h"

#define GROUPS		2
#define FILES		5
#define PAGES		48
#define BLOCKS		40
#define BYTES		24	/* different contents */
#define MAX_FRAMES	(FILES * PAGES + 1)

/* ck_assert() tells its parent of each call, which takes longer than what is tested here. */
#define must(cond)	do { if (!(cond)) ck_abort_msg("%s", #cond); } while (0)

static uint64_t seed;

static uint64_t rnd(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 11) % below;
}

/* ---- the reference ---- */

struct ref {
	bool used;
	unsigned int group, users, bytes, block;	/* block: BLOCKS is none */
	bool hashed;
	struct share_frame *sf;
};

struct page {
	struct ref *shared;	/* NULL: private */
	unsigned int bytes;
};

static struct ref refs[MAX_FRAMES];
static struct page pages[FILES][PAGES];
static unsigned int group_of[FILES];
static struct share_index index_[GROUPS];

static struct share_key key_of(unsigned int block)
{
	struct share_key key = { .block = block / 4 };

	/* Images that differ in one byte only, of either half. */
	key.image[block & 1 ? 3 : 12] = block & 2 ? 1 : 2;
	return key;
}

/* Few hashes, so that different bytes meet in one. */
static uint64_t hash_of(unsigned int bytes)
{
	return bytes / 3 * 0x123456789abcdefull;
}

static struct ref *ref_by_block(unsigned int group, unsigned int block)
{
	unsigned int i;

	for (i = 0; i < MAX_FRAMES; i++)
		if (refs[i].used && refs[i].group == group && refs[i].block == block)
			return &refs[i];
	return NULL;
}

static struct ref *ref_by_bytes(unsigned int group, unsigned int bytes)
{
	unsigned int i;

	for (i = 0; i < MAX_FRAMES; i++)
		if (refs[i].used && refs[i].group == group && refs[i].hashed && refs[i].bytes == bytes)
			return &refs[i];
	return NULL;
}

static struct ref *ref_new(unsigned int group, unsigned int bytes)
{
	struct ref *r = refs;

	while (r->used)
		r++;
	*r = (struct ref){ true, group, 1, bytes, BLOCKS, false, calloc(1, sizeof(*r->sf)) };
	r->sf->page = r;
	share_index_add(&index_[group], r->sf);
	return r;
}

static void ref_get(struct ref *r)
{
	must(share_index_get(&index_[r->group], r->sf));
	r->users++;
}

static void ref_put(struct ref *r)
{
	int last = share_index_put(&index_[r->group], r->sf);

	must(last == !--r->users);
	if (last) {
		free(r->sf);
		r->used = false;
	}
}

/* ---- invariants ---- */

static void check_block(unsigned int group, unsigned int block)
{
	struct share_key key = key_of(block);
	struct share_frame *sf = share_index_by_block(&index_[group], &key);
	struct ref *r = ref_by_block(group, block);

	must(sf == (r ? r->sf : NULL));
	if (r) {
		must(sf->page == r);
		must(sf->users == r->users);
	}
}

/* Everything that has the hash of @bytes is found, once, and nothing else. */
static void check_hash(unsigned int group, unsigned int bytes)
{
	unsigned int found = 0, there = 0, i;
	struct share_frame *sf = NULL;

	while ((sf = share_index_by_hash(&index_[group], hash_of(bytes), sf))) {
		const struct ref *r = sf->page;

		must(r->used && r->hashed && r->group == group && hash_of(r->bytes) == hash_of(bytes));
		found++;
	}
	for (i = 0; i < MAX_FRAMES; i++)
		there += refs[i].used && refs[i].hashed && refs[i].group == group && hash_of(refs[i].bytes) == hash_of(bytes);
	must(found == there);
}

static void check_counts(unsigned int group)
{
	uint64_t frames = 0, users = 0, shared, saved = 0;
	unsigned int i, f;

	for (i = 0; i < MAX_FRAMES; i++) {
		frames += refs[i].used && refs[i].group == group;
		users += refs[i].used && refs[i].group == group ? refs[i].users : 0;
	}
	must(index_[group].frames == frames);
	must(index_[group].users == users);
	for (f = 0; f < FILES; f++) {
		for (i = 0, shared = 0; i < PAGES; i++)
			shared += !!pages[f][i].shared;
		if (group_of[f] == group)
			saved += share_index_saved(&index_[group], shared);
	}
	/* The members' parts make up the whole, but for what rounding down takes from each. */
	must(saved <= users - frames);
	must(saved + FILES >= users - frames);
}

static void check_all(void)
{
	unsigned int users[MAX_FRAMES] = { 0 }, g, i, f;

	for (f = 0; f < FILES; f++)
		for (i = 0; i < PAGES; i++)
			if (pages[f][i].shared) {
				const struct ref *r = pages[f][i].shared;

				must(r->used && r->group == group_of[f] && r->bytes == pages[f][i].bytes);
				users[r - refs]++;
			}
	for (i = 0; i < MAX_FRAMES; i++)
		must(users[i] == (refs[i].used ? refs[i].users : 0));
	for (g = 0; g < GROUPS; g++) {
		check_counts(g);
		for (i = 0; i < BLOCKS; i++)
			check_block(g, i);
		for (i = 0; i < BYTES; i++)
			check_hash(g, i);
	}
}

/* ---- operations ---- */

static void offer(unsigned int f, unsigned int p, unsigned int block)
{
	struct page *page = &pages[f][p];
	struct ref *r = ref_by_block(group_of[f], block);
	struct share_key key = key_of(block);

	if (page->shared) {
		/* Found by its content before: it may get a name, if it has none and the name is free. */
		int named = share_index_name_block(&index_[group_of[f]], page->shared->sf, &key);

		must(named == (page->shared->block == block || (page->shared->block == BLOCKS && !r)));
		if (named)
			page->shared->block = block;
		return;
	}
	if (!r) {
		r = ref_new(group_of[f], page->bytes);
		must(share_index_name_block(&index_[group_of[f]], r->sf, &key));
		r->block = block;
	} else if (r->bytes == page->bytes) {
		ref_get(r);
	} else {
		return;
	}
	page->shared = r;
}

static void make_private(unsigned int f, unsigned int p)
{
	struct page *page = &pages[f][p];

	if (page->shared)
		ref_put(page->shared);
	page->shared = NULL;
}

static void map(unsigned int f, unsigned int p, unsigned int block)
{
	struct ref *r = ref_by_block(group_of[f], block);

	if (!r)
		return;
	ref_get(r);
	make_private(f, p);
	pages[f][p] = (struct page){ r, r->bytes };
}

static void by_content(unsigned int f, unsigned int p)
{
	struct page *page = &pages[f][p];
	struct ref *r = ref_by_bytes(group_of[f], page->bytes);
	struct share_frame *sf = NULL;

	if (page->shared) {
		share_index_name_hash(&index_[group_of[f]], page->shared->sf, hash_of(page->bytes));
		page->shared->hashed = true;
		return;
	}
	do
		sf = share_index_by_hash(&index_[group_of[f]], hash_of(page->bytes), sf);
	while (sf && ((struct ref *)sf->page)->bytes != page->bytes);
	must(!!sf == !!r);
	if (sf) {
		page->shared = sf->page;
		ref_get(page->shared);
	} else {
		page->shared = ref_new(group_of[f], page->bytes);
		share_index_name_hash(&index_[group_of[f]], page->shared->sf, hash_of(page->bytes));
		page->shared->hashed = true;
	}
}

static void leave(unsigned int f)
{
	unsigned int p;

	for (p = 0; p < PAGES; p++)
		make_private(f, p);
	group_of[f] = rnd(GROUPS);
}

static void grow(unsigned int g)
{
	unsigned int bits = 1 + rnd(9);

	free(share_index_grow(&index_[g], calloc(2ul << bits, sizeof(struct share_frame *)), bits));
}

static void step(void)
{
	unsigned int f = rnd(FILES), p = rnd(PAGES), block = rnd(BLOCKS), what = rnd(1000), g;

	if (what < 300)
		offer(f, p, block);
	else if (what < 450)
		map(f, p, block);
	else if (what < 600)
		by_content(f, p);
	else if (what < 990)
		make_private(f, p), pages[f][p].bytes = rnd(BYTES);
	else if (what < 996)
		leave(f);
	else
		grow(rnd(GROUPS));
	g = group_of[f];
	check_block(g, block);
	check_hash(g, pages[f][p].bytes);
	must(!pages[f][p].shared || pages[f][p].shared->bytes == pages[f][p].bytes);
}

START_TEST(random_operations_agree_with_the_reference)
{
	unsigned long ops = getenv("LODGE_MODEL_OPS") ? strtoul(getenv("LODGE_MODEL_OPS"), NULL, 0) : 200000, i;
	unsigned int g, f;

	seed = getenv("LODGE_SEED") ? strtoull(getenv("LODGE_SEED"), NULL, 0) : (uint64_t)time(NULL) * 2654435761u + 1;
	printf("# %lu operations, LODGE_SEED=%llu\n", ops, (unsigned long long)seed);
	for (g = 0; g < GROUPS; g++)
		share_index_init(&index_[g], calloc(2ul << 2, sizeof(struct share_frame *)), 2);
	for (i = 0; i < ops; i++) {
		step();
		if (i % 256 == 0)
			check_all();
	}
	check_all();
	for (f = 0; f < FILES; f++)
		leave(f);
	for (g = 0; g < GROUPS; g++) {
		must(index_[g].frames == 0);
		must(index_[g].users == 0);
		for (i = 0; i < 2ul << index_[g].bits; i++)
			must(!index_[g].blocks[i]);
		free(index_[g].blocks);
	}
}
END_TEST

START_TEST(a_count_at_its_end_is_not_passed)
{
	struct share_frame *tables[8] = { NULL }, sf = { .page = NULL };
	struct share_index ix;

	share_index_init(&ix, tables, 2);
	share_index_add(&ix, &sf);
	sf.users = UINT32_MAX - 1;
	ck_assert(share_index_get(&ix, &sf));
	ck_assert(!share_index_get(&ix, &sf));
	ck_assert_uint_eq(sf.users, UINT32_MAX);
}
END_TEST

START_TEST(the_reserve_follows_what_is_saved)
{
	uint64_t saved, last = 0, n;

	ck_assert_uint_eq(share_reserve_wanted(0), 0);
	for (saved = 1; saved < 1ull << 40; saved += saved / 3 + 1) {
		n = share_reserve_wanted(saved);
		ck_assert_uint_ge(n, last);
		ck_assert_uint_gt(n, 0);
		ck_assert_uint_le(n, 16384);
		last = n;
	}
	ck_assert_uint_eq(share_reserve_wanted(64000), 2000);
}
END_TEST

START_TEST(tables_that_are_full_say_so)
{
	struct share_frame *tables[8] = { NULL }, frames[9];
	struct share_index ix;
	unsigned int i;

	share_index_init(&ix, tables, 2);
	for (i = 0; i < 8; i++) {
		ck_assert(!share_index_is_full(&ix));
		share_index_add(&ix, &frames[i]);
	}
	ck_assert(share_index_is_full(&ix));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("share_index");
	TCase *t = tcase_create("index");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_set_timeout(t, 3600);
	tcase_add_test(t, a_count_at_its_end_is_not_passed);
	tcase_add_test(t, the_reserve_follows_what_is_saved);
	tcase_add_test(t, tables_that_are_full_say_so);
	tcase_add_test(t, random_operations_agree_with_the_reference);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
