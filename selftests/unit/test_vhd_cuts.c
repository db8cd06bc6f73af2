// SPDX-License-Identifier: GPL-2.0-or-later
// LINK: userspace/vhd/*.c selftests/vhd/memstore.c
// LIBS: -laio
// TIMEOUT: 300
/*
 * Every workload of up to three operations on a fresh image, with the power
 * cut at every operation of the storage, and what was not synced kept or lost
 * sector by sector. The image then opens, every sector shows a value that it
 * may have, checks without damage, and goes on working.
 *
 * On every run a sample; LODGE_CUTS=all (make check-vhd-cuts) does all.
 * Each case follows from its numbers alone, which a failure prints.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/image.h"
#include "../vhd/memstore.h"

#define DISK	(512u << 10)
#define BLOCK	65536u
#define SECTORS	(DISK / 512)
#define ROOM	(72u << 20)
#define MOST	3

enum kind { DYNAMIC, DIFF, DEVICE, KEYED, KINDS };

static const char *const kind_names[] = { "dynamic", "differencing", "on a device", "encrypted" };

/* What a workload is made of. */
static const struct {
	enum vhd_op op;
	uint32_t first, count;	/* sectors; none: close and open again */
} steps[] = {
	{ VHD_WRITE, 0, 8 },		   { VHD_WRITE, 3, 1 },
	{ VHD_WRITE, 128, 128 },	   { VHD_WRITE, 120, 16 },
	{ VHD_WRITE, 900, 2 },		   { VHD_WRITE_ZEROES, 0, 128 },
	{ VHD_WRITE_ZEROES, 129, 3 },	   { VHD_DISCARD, 128, 128 },
	{ VHD_FLUSH, 0, 0 },		   { VHD_READ, 0, 0 },
};

#define STEPS	(sizeof(steps) / sizeof(steps[0]))

/* The values a sector may show; 0 stands for zeros, 250 for the parent's. */
struct sector {
	uint8_t value[MOST + 2];
	uint8_t n;
};

struct run {
	enum kind kind;
	uint32_t workload, cut, seed;
	struct memdisk *disk, *below;
	struct vhd *v;
	struct vhd_queue *q;
	struct sector s[SECTORS];
	bool cut_off;
};

static uint64_t cuts;
static struct vhd_keys *keys;	/* of the encrypted ones */

static void fail_run(const struct run *r, const char *what)
{
	ck_abort_msg("%s: kind %d, workload %u, cut %u, seed %u", what, r->kind, r->workload, r->cut, r->seed);
}

static void may(struct run *r, uint32_t first, uint32_t count, uint8_t value)
{
	uint32_t i;

	for (i = first; i < first + count; i++)
		r->s[i].value[r->s[i].n++] = value;
}

/* Everything is as it was written last. */
static void settle(struct run *r)
{
	uint32_t i;

	for (i = 0; i < SECTORS; i++) {
		struct sector *s = &r->s[i];

		s->value[0] = s->value[s->n - 1];
		s->n = 1;
	}
}

static void image_open(struct run *r)
{
	struct vhd_error err = { 0 };

	if (image_open_store_keys(memdisk_open(r->disk, false), "x", r->kind == DIFF ? VHD_O_NOPARENT : 0, keys, &r->v, &err))
		fail_run(r, err.text);
	if (r->kind == DIFF) {
		if (image_open_store(memdisk_open(r->below, true), "p", VHD_O_RAW | VHD_O_RDONLY, &r->v->parent, &err))
			fail_run(r, err.text);
		r->v->no_parent = false;
	}
	r->q = vhd_queue_create(r->v, 8);
}

static int image_close(struct run *r)
{
	vhd_queue_destroy(r->q);
	return vhd_close(r->v);
}

static void image_make(struct run *r)
{
	struct vhd_params p = { .type = VHD_DYNAMIC, .size = DISK, .block_size = BLOCK, .timestamp = 5, .uuid = { 9 } };
	struct vhd_error err = { 0 };
	struct store *s;
	uint8_t raw[512];
	struct layout l;

	p.keys = r->kind == KEYED ? keys : NULL;
	r->disk = memdisk_create(r->kind == DEVICE ? 1u << 20 : 0, ROOM, r->kind == DEVICE, r->seed);
	s = memdisk_open(r->disk, false);
	if (create_on_store(s, "x", &p, &err) || layout_read(s, &l, &err))
		fail_run(r, err.text);
	memset(r->s, 0, sizeof(r->s));
	may(r, 0, SECTORS, r->kind == DIFF ? 250 : 0);
	if (r->kind == DIFF) {
		l.footer.type = VHD_DIFF;
		vhd_footer_encode(&l.footer, raw);
		s->ops->pwrite(s, raw, 512, 0);
		s->ops->pwrite(s, raw, 512, l.footer_at);
		s->ops->sync(s);
		r->below = memdisk_create(DISK, DISK, false, 1);
		memset(memdisk_bytes(r->below), 250, DISK);
	}
	s->ops->close(s);
}

/* Whether a child of the parent of 250s has a block of these sectors. */
static bool written(const struct run *r, uint32_t first, uint32_t count)
{
	uint32_t i;

	for (i = first; i < first + count; i++)
		if (r->s[i].n > 1 || r->s[i].value[0] != 250)
			return true;
	return false;
}

static bool step_do(struct run *r, uint32_t n, uint8_t value)
{
	static uint8_t buf[BLOCK];
	uint64_t offset = (uint64_t)steps[n].first * 512, length = (uint64_t)steps[n].count * 512;
	int ret;

	switch (steps[n].op) {
	case VHD_WRITE:
		memset(buf, value, length);
		may(r, steps[n].first, steps[n].count, value);
		return !vhd_pwrite(r->q, buf, length, offset);
	case VHD_WRITE_ZEROES:
		may(r, steps[n].first, steps[n].count, 0);
		return !vhd_write_zeroes(r->q, offset, length, VHD_F_UNMAP);
	case VHD_DISCARD:
		ret = vhd_discard(r->q, offset, length);
		/* It clears, but for what a child has not got itself: that stays its parent's. */
		if (r->kind != DIFF || written(r, steps[n].first, steps[n].count))
			may(r, steps[n].first, steps[n].count, 0);
		return !ret;
	case VHD_FLUSH:
		if (vhd_flush(r->q))
			return false;
		settle(r);
		return true;
	default:
		if (image_close(r)) {
			r->v = NULL;
			return false;
		}
		settle(r);
		/* Reading may be cut as well; then the cut image is opened below. */
		r->v = NULL;
		memdisk_fail(r->disk, 0, 0);
		image_open(r);
		return true;
	}
}

static void look(struct run *r)
{
	static uint8_t buf[DISK];
	uint32_t i, k;

	if (vhd_pread(r->q, buf, DISK, 0))
		fail_run(r, "it cannot be read");
	for (i = 0; i < SECTORS; i++) {
		const uint8_t *p = buf + i * 512;

		for (k = 0; k < r->s[i].n; k++)
			if (r->s[i].value[k] == *p)
				break;
		if (k == r->s[i].n || memcmp(p, p + 1, 511)) {
			printf("# sector %u shows %u\n", i, *p);
			fail_run(r, "a sector shows what it may not");
		}
		r->s[i].value[0] = *p;
		r->s[i].n = 1;
	}
}

static void check_it(struct run *r)
{
	struct store *s = memdisk_open(r->disk, true);
	struct vhd_check c = { .bitmaps = true };
	struct vhd_error err = { 0 };

	if (check_on_store(s, "/nowhere/x", &c, &err))
		fail_run(r, err.text);
	s->ops->close(s);
	/* A child's parent is a store of ours, which check cannot find. */
	if (c.corruptions > (r->kind == DIFF))
		fail_run(r, "check finds damage");
}

/* One case; false: it ended before the cut. */
static bool case_run(enum kind kind, uint32_t workload, uint32_t cut, uint32_t seed)
{
	static struct run r;
	uint32_t left = workload, length = 1, all = STEPS;
	uint8_t value = 1;
	bool going = true;

	r = (struct run){ .kind = kind, .workload = workload, .cut = cut, .seed = seed * 2654435761u + workload };
	for (; left >= all; left -= all, all *= STEPS)
		length++;
	image_make(&r);
	image_open(&r);
	memdisk_fail(r.disk, cut, ~0ull >> 1);
	for (; length && going; length--, left /= STEPS)
		going = step_do(&r, left % STEPS, value++);
	if (r.v && image_close(&r))
		going = false;
	else if (going)
		settle(&r);
	memdisk_fail(r.disk, 0, 0);
	memdisk_cut(r.disk);
	cuts++;
	check_it(&r);
	image_open(&r);
	look(&r);
	step_do(&r, 0, 99);
	step_do(&r, 4, 98);
	settle(&r);
	look(&r);
	if (image_close(&r))
		fail_run(&r, "it cannot be closed");
	check_it(&r);
	memdisk_destroy(r.disk);
	if (r.below)
		memdisk_destroy(r.below);
	return !going;
}

START_TEST(every_short_workload_survives_every_cut)
{
	bool all = getenv("LODGE_CUTS") && !strcmp(getenv("LODGE_CUTS"), "all");
	uint32_t workloads = STEPS + STEPS * STEPS + STEPS * STEPS * STEPS, w, cut, seed;
	uint32_t stride = all ? 1 : 11, seeds = all ? 3 : 1;

	for (w = 0; w < workloads; w += w < STEPS ? 1 : stride)
		for (seed = 1; seed <= seeds; seed++)
			for (cut = 1; case_run(_i, w, cut, seed); cut++)
				;
	printf("# %s: %llu cuts of %s workloads survived\n", kind_names[_i], (unsigned long long)cuts,
	       all ? "all" : "a sample of");
	fflush(stdout);
	ck_assert_uint_gt(cuts, 100);
}
END_TEST

int main(void)
{
	struct vhd_error err;
	Suite *s = suite_create("vhd_cuts");
	TCase *t = tcase_create("cuts");
	SRunner *r = srunner_create(s);
	int failed;

	keys = vhd_keys_create();
	if (!keys || vhd_keys_add(keys, "these are thirty-two bytes, a key", 32, &err))
		return 1;
	tcase_set_timeout(t, getenv("LODGE_CUTS") ? 7200 : 280);
	tcase_add_loop_test(t, every_short_workload_survives_every_cut, 0, KINDS);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	vhd_keys_free(keys);
	return failed ? 1 : 0;
}
