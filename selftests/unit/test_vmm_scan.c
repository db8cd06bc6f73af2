// SPDX-License-Identifier: GPL-2.0-or-later
// LINK: userspace/vmm/scan.c userspace/common/thread.c userspace/common/log.c userspace/common/err.c
/*
 * test_vmm_scan.c: the scanner goes round the whole memory, keeps to its part of a CPU, slows down where there is nothing to
 * find, and ends when it is told to or when the module cannot do it.
 */
#include <check.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "vmm/scan.h"

#define PAGES 1000u

static const struct guest_mem mem = { .count = 1, .size = PAGES * 4096ull, .file = -1 };

/* What the fake module was asked for, and what it answers. */
static struct {
	_Atomic unsigned int calls, passes;
	_Atomic u64 pages;
	u64 next;
	bool gap;		/* a call that did not go on where the last one ended */
	int answer;
	u64 work_ns;
} fake;

static u64 cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static int fake_scan(const struct guest_mem *m, u64 *offset, u64 pages, u64 *shared)
{
	u64 until = cpu_ns() + fake.work_ns, end = *offset / 4096 + pages;

	ck_assert_ptr_eq(m, &mem);
	atomic_fetch_add(&fake.calls, 1);
	if (fake.answer)
		return fake.answer;
	fake.gap |= *offset != fake.next;
	while (cpu_ns() < until)
		;
	atomic_fetch_add(&fake.pages, (end < PAGES ? end : PAGES) - *offset / 4096);
	*offset = fake.next = end < PAGES ? end * 4096 : 0;
	*shared = 0;
	if (!*offset)
		atomic_fetch_add(&fake.passes, 1);
	return 0;
}

static struct scan *start(unsigned int percent, u64 pass_ms)
{
	struct scan_config cfg = { .percent = percent, .first_ms = 1, .pass_ms = pass_ms, .scan = fake_scan };
	struct err e = ERR_INIT;
	struct scan *s = scan_create(&mem, &cfg, &e);

	ck_assert_msg(s != NULL, "%s", e.msg);
	return s;
}

static void until(_Atomic unsigned int *count, unsigned int n)
{
	while (atomic_load(count) < n)
		usleep(1000);
}

START_TEST(a_pass_covers_all_pages_once)
{
	struct scan *s = start(100, 1);

	until(&fake.passes, 5);
	scan_destroy(s);
	ck_assert(!fake.gap);
	/* All passes that came to the end, and the one that was cut short. */
	ck_assert_uint_ge(fake.pages, fake.passes * (u64)PAGES);
	ck_assert_uint_lt(fake.pages, (fake.passes + 1) * (u64)PAGES);
}
END_TEST

START_TEST(rest_follows_work)
{
	struct scan_rate r;

	scan_rate_init(&r, 2);
	ck_assert_uint_eq(scan_rate_rest(&r, 1000), 49000);
	scan_rate_init(&r, 100);
	ck_assert_uint_eq(scan_rate_rest(&r, 1000), 0);
	scan_rate_init(&r, 1);
	r.now = r.least;
	ck_assert_uint_eq(r.least, 6);
	ck_assert_uint_eq(scan_rate_rest(&r, 6), 9994);
}
END_TEST

START_TEST(passes_that_find_nothing_become_rare)
{
	struct scan_rate r;
	unsigned int i;

	scan_rate_init(&r, 16);
	for (i = 0; i < 10; i++)
		scan_rate_adapt(&r, 100000, 99);
	ck_assert_uint_eq(r.now, r.most / 16);
	scan_rate_adapt(&r, 100000, 100);
	ck_assert_uint_eq(r.now, r.most);
	/* A guest of few pages: one is worth it, none is not. */
	scan_rate_adapt(&r, 10, 0);
	ck_assert_uint_eq(r.now, r.most / 2);
	scan_rate_adapt(&r, 10, 1);
	ck_assert_uint_eq(r.now, r.most);
}
END_TEST

/* Not a test of time: the thread may be slower than it is told to, by any amount, and never faster. */
START_TEST(it_keeps_to_its_part_of_a_cpu)
{
	struct timespec a, b;
	struct scan *s;
	u64 took;

	fake.work_ns = 200000;
	clock_gettime(CLOCK_MONOTONIC, &a);
	s = start(10, 1);
	until(&fake.calls, 40);
	clock_gettime(CLOCK_MONOTONIC, &b);
	scan_destroy(s);
	took = (b.tv_sec - a.tv_sec) * 1000000000ull + b.tv_nsec - a.tv_nsec;
	/* Before the last call there were 39 rests, but for what is not yet due. */
	ck_assert_uint_ge(took, 39 * 9 * fake.work_ns - 2000000);
}
END_TEST

START_TEST(what_cannot_be_done_ends_it)
{
	struct scan *s;

	fake.answer = -ENOTTY;
	s = start(100, 1);
	until(&fake.calls, 1);
	usleep(20000);
	scan_destroy(s);
	ck_assert_uint_eq(fake.calls, 1);
}
END_TEST

START_TEST(want_of_memory_does_not)
{
	struct scan *s;

	fake.answer = -ENOMEM;
	s = start(100, 1);
	until(&fake.calls, 3);
	scan_destroy(s);
}
END_TEST

START_TEST(the_end_waits_for_no_rest)
{
	struct scan_config cfg = { .percent = 1, .first_ms = 100000000, .pass_ms = 1, .scan = fake_scan };
	struct err e = ERR_INIT;
	struct scan *s = scan_create(&mem, &cfg, &e);

	ck_assert(s != NULL);
	scan_destroy(s);
	ck_assert_uint_eq(fake.calls, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vmm_scan");
	TCase *t = tcase_create("scan");
	SRunner *r;
	int bad;

	tcase_set_timeout(t, 60);
	tcase_add_test(t, a_pass_covers_all_pages_once);
	tcase_add_test(t, rest_follows_work);
	tcase_add_test(t, passes_that_find_nothing_become_rare);
	tcase_add_test(t, it_keeps_to_its_part_of_a_cpu);
	tcase_add_test(t, what_cannot_be_done_ends_it);
	tcase_add_test(t, want_of_memory_does_not);
	tcase_add_test(t, the_end_waits_for_no_rest);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_set_tap(r, "-");
	srunner_run_all(r, CK_SILENT);
	bad = srunner_ntests_failed(r);
	srunner_free(r);
	return bad != 0;
}
