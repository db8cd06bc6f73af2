// SPDX-License-Identifier: GPL-2.0-or-later
// LINK: userspace/block/throttle.c
/*
 * test_block_throttle.c: limits keep their rate over time, let a burst through after a rest, hold for all who share them,
 * and can be changed while requests wait.
 */
#include <check.h>
#include <stdlib.h>

#include "block/throttle.h"

#define SECOND 1000000000ull

/* One user who asks again as soon as it may: when does its request number n start? */
static uint64_t nth(struct throttle *t, unsigned int n, uint64_t bytes, uint64_t now)
{
	while (n--)
		now = throttle_reserve(t, bytes, now);
	return throttle_reserve(t, bytes, now);
}

START_TEST(the_rate_is_kept_to_the_request)
{
	struct throttle_limits l = { .iops = 100, .iops_burst = 10 };
	struct throttle t;

	throttle_init(&t, &l);
	/* Ten at once, then one each 10 ms: number 10 + n starts at (n + 1) * 10 ms. */
	ck_assert_uint_eq(nth(&t, 9, 4096, 5 * SECOND), 5 * SECOND);
	ck_assert_uint_eq(nth(&t, 999, 4096, 5 * SECOND), 5 * SECOND + 1000 * SECOND / 100);
	throttle_fini(&t);
}
END_TEST

START_TEST(bytes_are_counted_whatever_their_pieces)
{
	struct throttle_limits l = { .bps = 1 << 20, .bps_burst = 65536 };
	static const uint64_t sizes[] = { 512, 4096, 65536, 1 << 20, 8 << 20 };
	unsigned int i;

	for (i = 0; i < 5; i++) {
		struct throttle t;
		unsigned int n = (64u << 20) / sizes[i];
		uint64_t end;

		throttle_init(&t, &l);
		nth(&t, n - 1, sizes[i], SECOND);
		/* 64 MiB have started; what follows waits for all of them, but for one burst. */
		end = throttle_reserve(&t, 512, SECOND);
		ck_assert_uint_ge(end, SECOND + 63 * SECOND);
		ck_assert_uint_le(end, SECOND + 64 * SECOND + SECOND / 100);
		throttle_fini(&t);
	}
}
END_TEST

START_TEST(both_limits_hold_together)
{
	struct throttle_limits l = { .iops = 10, .bps = 1 << 20, .iops_burst = 1, .bps_burst = 4096 };
	struct throttle t;

	throttle_init(&t, &l);
	ck_assert_uint_eq(nth(&t, 10, 512, SECOND), SECOND + SECOND);
	throttle_fini(&t);
	throttle_init(&t, &l);
	ck_assert_uint_ge(nth(&t, 10, 1 << 20, SECOND), SECOND + 9 * SECOND);
	/* A request without bytes waits for the other limit alone. */
	ck_assert_uint_le(throttle_reserve(&t, 0, 100 * SECOND), 100 * SECOND);
	throttle_fini(&t);
}
END_TEST

START_TEST(a_rest_gives_one_burst_and_no_more)
{
	struct throttle_limits l = { .iops = 1000, .iops_burst = 50 };
	uint64_t at = 1000 * SECOND;
	unsigned int n = 0;
	struct throttle t;

	throttle_init(&t, &l);
	nth(&t, 500, 0, SECOND);
	while (throttle_reserve(&t, 0, at) == at)
		n++;
	ck_assert_uint_eq(n, 50);
	throttle_fini(&t);
}
END_TEST

START_TEST(those_who_share_take_turns)
{
	struct throttle_limits l = { .iops = 300, .iops_burst = 1 };
	uint64_t next[3] = { SECOND, SECOND, SECOND };
	unsigned int count[3] = { 0 }, i, k;
	struct throttle t;

	throttle_init(&t, &l);
	for (k = 0; k < 3; k++)
		next[k] = throttle_reserve(&t, 4096, SECOND);
	for (i = 0; i < 3000; i++) {
		for (k = 0; next[k] > next[(k + 1) % 3] || next[k] > next[(k + 2) % 3];)
			k++;
		count[k]++;
		next[k] = throttle_reserve(&t, 4096, next[k]);
	}
	for (k = 0; k < 3; k++) {
		ck_assert_uint_ge(count[k], 999);
		ck_assert_uint_le(next[k], SECOND + 3003 * SECOND / 300);
	}
	throttle_fini(&t);
}
END_TEST

START_TEST(new_limits_count_from_now)
{
	struct throttle_limits slow = { .iops = 1 }, fast = { .iops = 1000 }, none = { 0 };
	struct throttle t;
	unsigned int was;

	throttle_init(&t, &slow);
	ck_assert_uint_ge(nth(&t, 100, 0, SECOND), 100 * SECOND);
	was = throttle_generation(&t);
	throttle_set(&t, &fast, 2 * SECOND);
	ck_assert_uint_ne(throttle_generation(&t), was);
	ck_assert_uint_le(throttle_reserve(&t, 0, 2 * SECOND), 2 * SECOND + SECOND / 1000);
	ck_assert_uint_le(nth(&t, 998, 0, 2 * SECOND), 3 * SECOND + SECOND / 100);
	throttle_set(&t, &none, 4 * SECOND);
	ck_assert_uint_eq(nth(&t, 100, 1ull << 40, 4 * SECOND), 4 * SECOND);
	throttle_fini(&t);
}
END_TEST

START_TEST(extreme_values_neither_wrap_nor_divide_by_zero)
{
	struct throttle_limits l = { .iops = THROTTLE_RATE_MAX, .bps = 1, .iops_burst = THROTTLE_RATE_MAX,
				     .bps_burst = THROTTLE_RATE_MAX };
	struct throttle t;
	uint64_t last = 0;

	throttle_init(&t, &l);
	for (unsigned int i = 0; i < 3; i++) {
		uint64_t at = throttle_reserve(&t, UINT64_MAX, SECOND);

		ck_assert_uint_ge(at, last);
		last = at;
	}
	ck_assert_uint_gt(last, SECOND);
	throttle_fini(&t);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("block_throttle");
	TCase *t = tcase_create("throttle");
	SRunner *r;
	int bad;

	tcase_add_test(t, the_rate_is_kept_to_the_request);
	tcase_add_test(t, bytes_are_counted_whatever_their_pieces);
	tcase_add_test(t, both_limits_hold_together);
	tcase_add_test(t, a_rest_gives_one_burst_and_no_more);
	tcase_add_test(t, those_who_share_take_turns);
	tcase_add_test(t, new_limits_count_from_now);
	tcase_add_test(t, extreme_values_neither_wrap_nor_divide_by_zero);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_set_tap(r, "-");
	srunner_run_all(r, CK_SILENT);
	bad = srunner_ntests_failed(r);
	srunner_free(r);
	return bad != 0;
}
