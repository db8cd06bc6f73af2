// SPDX-License-Identifier: GPL-2.0-or-later
// LINK: userspace/vhd/*.c selftests/vhd/memstore.c
// LIBS: -laio
// TIMEOUT: 300
/*
 * Changes of an image's header, each cut off at every one of its operations,
 * with several choices of what the power cut leaves of unsynced sectors. The
 * image then opens as it was or as it was to be, with all of its data, checks
 * without damage, and can be repaired and written to.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/image.h"
#include "../vhd/memstore.h"

#define DISK	(2u << 20)
#define ROOM	(100u << 20)
#define BLOCK	4096u

/* Any two files that exist will do for names. */
#define CHILD_NAME	"/bin/sh"
#define PARENT_NAME	"/etc/passwd"

enum what { HIDE, ORPHAN, ADOPT, GROW, GROW_FAR, GROW_CHILD, SHRINK, REPAIR, GROW_FIXED, WHATS };

static const char *const names[] = { "hide", "no parent", "other parent", "grow", "grow far",
				     "grow a child", "shrink", "repair", "grow fixed" };

static const uint64_t sizes[] = { DISK, DISK, DISK, DISK + 10 * BLOCK, DISK * 40, DISK * 40, DISK / 2, DISK,
				  DISK * 2 };

static uint8_t value_of(uint32_t block)
{
	return block % 7 == 3 ? 0 : block * 31 + 1;
}

static int change(enum what w, struct store *s, struct vhd_error *err)
{
	struct edit_parent parent = { .uuid = { 1, 2, 3 }, .timestamp = 77, .size = 4096, .name = PARENT_NAME };

	switch (w) {
	case HIDE:
		return edit_hidden(s, true, err);
	case ORPHAN:
		return edit_parent(s, CHILD_NAME, NULL, err);
	case ADOPT:
		return edit_parent(s, CHILD_NAME, &parent, err);
	case REPAIR:
		return edit_repair(s, err);
	default:
		return edit_size(s, sizes[w], w == SHRINK ? VHD_RESIZE_SHRINK : 0, err);
	}
}

static bool is_child(enum what w)
{
	return w == ORPHAN || w == ADOPT || w == GROW_CHILD;
}

/* Every block but each seventh has data; a child has a parent's name. */
static struct memdisk *image_make(enum what w, bool device, uint64_t seed)
{
	struct vhd_params p = { .type = w == GROW_FIXED ? VHD_FIXED : VHD_DYNAMIC, .size = DISK, .block_size = BLOCK };
	struct memdisk *d = memdisk_create(device ? 10u << 20 : 0, ROOM, device, seed);
	struct store *s = memdisk_open(d, false);
	struct vhd_error err = { 0 };
	struct vhd_queue *q;
	uint8_t buf[BLOCK];
	struct layout l;
	struct vhd *v;
	uint32_t i;

	ck_assert(!create_on_store(s, "x", &p, &err));
	if (is_child(w)) {
		ck_assert(!layout_read(s, &l, &err));
		l.footer.type = VHD_DIFF;
		vhd_footer_encode(&l.footer, buf);
		ck_assert(!s->ops->pwrite(s, buf, 512, 0) && !s->ops->pwrite(s, buf, 512, l.footer_at));
		ck_assert_msg(!change(ADOPT, s, &err), "%s", err.text);
	}
	s->ops->close(s);
	ck_assert_msg(!image_open_store(memdisk_open(d, false), "x", VHD_O_OWN, &v, &err), "%s", err.text);
	q = vhd_queue_create(v, 8);
	for (i = 0; i < DISK / BLOCK; i++) {
		memset(buf, value_of(i), BLOCK);
		if (value_of(i))
			ck_assert(!vhd_pwrite(q, buf, BLOCK, (uint64_t)i * BLOCK));
	}
	vhd_queue_destroy(q);
	ck_assert(!vhd_close(v));
	return d;
}

static void look(struct memdisk *d, enum what w, bool after)
{
	struct vhd_check c = { .bitmaps = true };
	struct store *s = memdisk_open(d, true);
	struct vhd_error err = { 0 };
	struct vhd_queue *q;
	struct vhd *v = NULL;
	uint8_t buf[BLOCK];
	uint64_t at;

	/* A parent that is not there is what check would call damage. */
	if (!is_child(w) || (after && w == ORPHAN)) {
		ck_assert(!check_on_store(s, "x", &c, &err));
		ck_assert_msg(!c.corruptions, "%s: the image is damaged", names[w]);
	}
	s->ops->close(s);
	ck_assert_msg(!image_open_store(memdisk_open(d, true), "x", VHD_O_RDONLY | VHD_O_OWN, &v, &err), "%s: %s", names[w],
		      err.text);
	if (after)
		ck_assert_uint_eq(v->size, sizes[w]);
	else
		ck_assert(v->size == DISK || v->size == sizes[w]);
	q = vhd_queue_create(v, 8);
	for (at = 0; at < v->size; at += BLOCK) {
		uint8_t want = at < DISK ? value_of(at / BLOCK) : 0;

		if (at > 2 * DISK && at % (BLOCK * 64))
			continue;
		ck_assert(!vhd_pread(q, buf, BLOCK, at));
		ck_assert_msg(buf[0] == want && !memcmp(buf, buf + 1, BLOCK - 1), "%s: block %u has %u, not %u", names[w],
			      (unsigned int)(at / BLOCK), buf[0], want);
	}
	vhd_queue_destroy(q);
	vhd_close(v);
}

/* Goes on after a cut: written to, changed again, repaired. */
static void go_on(struct memdisk *d, enum what w)
{
	struct vhd_error err = { 0 };
	struct vhd_queue *q;
	struct store *s;
	struct vhd *v;
	uint8_t buf[BLOCK];

	ck_assert_msg(!image_open_store(memdisk_open(d, false), "x", VHD_O_OWN | VHD_O_INTERNAL, &v, &err), "%s: %s",
		      names[w], err.text);
	q = vhd_queue_create(v, 8);
	memset(buf, value_of(1), BLOCK);
	ck_assert(!vhd_pwrite(q, buf, BLOCK, BLOCK));
	vhd_queue_destroy(q);
	ck_assert(!vhd_close(v));
	s = memdisk_open(d, false);
	ck_assert_msg(!edit_repair(s, &err), "%s: %s", names[w], err.text);
	if (w != ORPHAN)
		ck_assert_msg(!change(w, s, &err), "%s: %s", names[w], err.text);
	s->ops->close(s);
	look(d, w, w != ORPHAN);
}

static uint64_t cuts;

static bool cut_at(enum what w, bool device, uint64_t n, uint64_t seed)
{
	struct memdisk *d = image_make(w, device, seed);
	struct store *s = memdisk_open(d, false);
	struct vhd_error err = { 0 };
	int ret;

	memdisk_fail(d, n, ~0ull >> 1);
	ret = change(w, s, &err);
	memdisk_fail(d, 0, 0);
	s->ops->close(s);
	if (ret) {
		ck_assert(err.code && err.text[0]);
		memdisk_cut(d);
		cuts++;
	}
	look(d, w, !ret);
	go_on(d, w);
	memdisk_destroy(d);
	return ret;
}

START_TEST(a_change_is_whole_or_has_not_happened)
{
	enum what w = _i % WHATS;
	bool device = _i >= WHATS;
	uint64_t n, seed;

	if (device && w == GROW_FIXED)
		return;
	for (n = 1;; n += w == GROW_FAR || w == GROW_CHILD ? 1 + n % 5 : 1) {
		bool more = false;

		for (seed = 1; seed <= 2; seed++)
			more |= cut_at(w, device, n, seed * 7919 + n);
		if (!more)
			break;
	}
	printf("# %s%s: %llu cuts\n", names[w], device ? " on a device" : "", (unsigned long long)cuts);
	ck_assert_uint_gt(cuts, 3);
}
END_TEST

START_TEST(wrong_changes_are_refused)
{
	struct memdisk *d = image_make(GROW, false, 1);
	struct store *s = memdisk_open(d, false);
	struct vhd_error err = { 0 };

	ck_assert_int_eq(edit_size(s, DISK / 2, 0, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "--shrink"));
	ck_assert_int_eq(edit_size(s, DISK + 1, 0, &err), -EINVAL);
	ck_assert_int_eq(edit_size(s, VHD_MAX_SIZE + 512, 0, &err), -EFBIG);
	ck_assert_int_eq(edit_size(s, 1ull << 40, 0, &err), -EFBIG);
	ck_assert_int_eq(change(ADOPT, s, &err), -EINVAL);
	s->ops->close(s);
	look(d, HIDE, true);
	memdisk_destroy(d);
}
END_TEST

START_TEST(an_image_that_others_stand_on_opens_read_only)
{
	struct memdisk *d = image_make(HIDE, false, 1);
	struct store *s = memdisk_open(d, false);
	struct vhd_error err = { 0 };
	struct vhd *v;

	ck_assert(!edit_hidden(s, true, &err));
	s->ops->close(s);
	ck_assert_int_eq(image_open_store(memdisk_open(d, false), "x", 0, &v, &err), -EPERM);
	ck_assert_ptr_nonnull(strstr(err.text, "stand on it"));
	ck_assert(!image_open_store(memdisk_open(d, true), "x", VHD_O_RDONLY, &v, &err));
	vhd_close(v);
	s = memdisk_open(d, false);
	ck_assert(!edit_hidden(s, false, &err));
	s->ops->close(s);
	ck_assert(!image_open_store(memdisk_open(d, false), "x", 0, &v, &err));
	vhd_close(v);
	memdisk_destroy(d);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vhd_edit");
	TCase *t = tcase_create("edit");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_set_timeout(t, 280);
	tcase_add_test(t, wrong_changes_are_refused);
	tcase_add_test(t, an_image_that_others_stand_on_opens_read_only);
	tcase_add_loop_test(t, a_change_is_whole_or_has_not_happened, 0, 2 * WHATS);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
