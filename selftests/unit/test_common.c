// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Options, sizes, names, errors, the event loop, the run directory.
 *
 * LINK: userspace/common/opts.c userspace/common/size.c userspace/common/err.c
 * LINK: userspace/common/loop.c userspace/common/rundir.c
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/loop.h"
#include "common/opts.h"
#include "common/rundir.h"
#include "common/size.h"

static struct err e;

static const struct opt table[] = {
	{ 'a', "alpha", "X", "" }, { 'b', "beta", NULL, "" }, { 300, "alarm", NULL, "" }, { 0 },
};

static struct opts start(char **argv, int argc)
{
	struct opts o;

	opts_init(&o, argc, argv);
	return o;
}

START_TEST(options_and_operands_mix)
{
	char *argv[] = { "x", "one", "-ba", "v", "--alpha=w", "--bet", "two", "--", "-a", "cmd" };
	struct opts o = start(argv, 10);

	ck_assert_int_eq(opts_next(&o, table, &e), OPTS_OPERAND);
	ck_assert_str_eq(o.arg, "one");
	ck_assert_int_eq(opts_next(&o, table, &e), 'b');
	ck_assert_int_eq(opts_next(&o, table, &e), 'a');
	ck_assert_str_eq(o.arg, "v");
	ck_assert_int_eq(opts_next(&o, table, &e), 'a');
	ck_assert_str_eq(o.arg, "w");
	ck_assert_int_eq(opts_next(&o, table, &e), 'b');
	ck_assert_int_eq(opts_next(&o, table, &e), OPTS_OPERAND);
	ck_assert_int_eq(opts_next(&o, table, &e), OPTS_END);
	ck_assert_int_eq(o.rest, 8);
}
END_TEST

START_TEST(bad_options_are_named)
{
	static const struct {
		char *word;
		const char *message;
	} bad[] = {
		{ "--al", "ambiguous" }, { "--gamma", "unknown option --gamma" },
		{ "-z", "unknown option -z" }, { "--alpha", "needs a value" },
		{ "--beta=1", "takes no value" }, { "-a", "needs a value" },
	};
	char *argv[] = { "x", bad[_i].word };
	struct opts o = start(argv, 2);

	ck_assert_int_eq(opts_next(&o, table, &e), OPTS_BAD);
	ck_assert_msg(strstr(e.msg, bad[_i].message), "%s", e.msg);
}
END_TEST

START_TEST(sizes_have_suffixes)
{
	u64 v;

	ck_assert_int_eq(size_parse("2G", MIB, &v, &e), 0);
	ck_assert_uint_eq(v, 2 * GIB);
	ck_assert_int_eq(size_parse("512", MIB, &v, &e), 0);
	ck_assert_uint_eq(v, 512 * MIB);
	ck_assert_int_eq(size_parse("64KiB", 1, &v, &e), 0);
	ck_assert_uint_eq(v, 64 * KIB);
	ck_assert_int_eq(size_parse("7b", MIB, &v, &e), 0);
	ck_assert_uint_eq(v, 7);
	ck_assert_int_eq(size_parse("17000000T", 1, &v, &e), -ERANGE);
	ck_assert_int_eq(size_parse("99999999999999999999", 1, &v, &e), -ERANGE);
}
END_TEST

START_TEST(what_is_no_size_is_refused)
{
	static const char *const bad[] = { "", "-1", "1Q", "G", "1GG", "1 G", "0x10", "1bib" };
	u64 v;

	ck_assert_int_eq(size_parse(bad[_i], 1, &v, &e), -EINVAL);
}
END_TEST

START_TEST(names_stay_in_their_directory)
{
	ck_assert(name_valid("web-1.test_2"));
	ck_assert(!name_valid(""));
	ck_assert(!name_valid("."));
	ck_assert(!name_valid("../x"));
	ck_assert(!name_valid("a/b"));
	ck_assert(!name_valid("1a"));
	ck_assert(!name_valid("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}
END_TEST

START_TEST(error_prefix_keeps_the_reason)
{
	err_set(&e, ENOENT, "no such thing");
	ck_assert_int_eq(err_prefix(&e, "disk %d", 3), -ENOENT);
	ck_assert_str_eq(e.msg, "disk 3: no such thing");
	ck_assert_int_eq(err_set(NULL, EIO, "x"), -EIO);
}
END_TEST

struct pair {
	struct loop *loop;
	struct loop_source a, b;
	int count;
};

static void kill_other(void *ctx, u32 events)
{
	struct pair *p = ctx;

	(void)events;
	p->count++;
	loop_del(p->loop, &p->a);
	loop_del(p->loop, &p->b);
	loop_stop(p->loop);
}

START_TEST(source_removed_in_a_callback_is_silent)
{
	struct pair p = { .loop = loop_create() };
	int fa = eventfd(1, 0), fb = eventfd(1, 0);

	ck_assert_int_eq(loop_add(p.loop, &p.a, fa, EPOLLIN, kill_other, &p), 0);
	ck_assert_int_eq(loop_add(p.loop, &p.b, fb, EPOLLIN, kill_other, &p), 0);
	ck_assert_int_eq(loop_run(p.loop), 0);
	ck_assert_int_eq(p.count, 1);
	loop_destroy(p.loop);
	close(fa);
	close(fb);
}
END_TEST

static void count_up(void *ctx)
{
	struct pair *p = ctx;

	if (++p->count == 3)
		loop_stop(p->loop);
}

START_TEST(posts_run_in_order_and_timers_repeat)
{
	struct pair p = { .loop = loop_create() };
	struct loop_timer t;

	loop_post(p.loop, count_up, &p);
	ck_assert_int_eq(loop_timer_init(p.loop, &t, count_up, &p), 0);
	loop_timer_arm(&t, 1000000, 1000000);
	ck_assert_int_eq(loop_run(p.loop), 0);
	ck_assert_int_ge(p.count, 3);
	loop_timer_fini(p.loop, &t);
	loop_destroy(p.loop);
}
END_TEST

START_TEST(stop_before_run_counts)
{
	struct loop *l = loop_create();

	loop_stop(l);
	ck_assert_int_eq(loop_run(l), 0);
	loop_destroy(l);
}
END_TEST

START_TEST(a_claimed_name_is_taken_until_released)
{
	char dir[] = "/tmp/lodge-test-XXXXXX";
	int fd;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	setenv("LODGE_RUN_DIR", dir, 1);
	fd = rundir_claim("one", &e);
	ck_assert_int_ge(fd, 0);
	ck_assert(rundir_alive("one"));
	ck_assert_int_eq(rundir_claim("one", &e), -EBUSY);
	rundir_release("one", fd);
	ck_assert(!rundir_alive("one"));
	fd = rundir_claim("one", &e);
	ck_assert_int_ge(fd, 0);
	close(fd);	/* as a process that died leaves it */
	ck_assert(!rundir_alive("one"));
	fd = rundir_claim("one", &e);
	ck_assert_int_ge(fd, 0);
	rundir_release("one", fd);
	ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

/* A user without a session, that nobody is: as root. */
#define NOBODY 40961

START_TEST(a_user_has_a_run_directory_of_his_own)
{
	char path[200], uid[20];

	unsetenv("LODGE_RUN_DIR");
	unsetenv("XDG_RUNTIME_DIR");
	ck_assert_int_eq(rundir_path(path, sizeof(path), &e), 0);
	if (geteuid()) {
		snprintf(uid, sizeof(uid), "%u", geteuid());
		ck_assert_ptr_nonnull(strstr(path, uid));
		return;
	}
	ck_assert_str_eq(path, "/run/lodge");
	ck_assert_int_eq(seteuid(NOBODY), 0);
	ck_assert_int_eq(rundir_path(path, sizeof(path), &e), 0);
	ck_assert_str_eq(path, "/tmp/lodge-40961");
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert_int_eq(rundir_path(path, sizeof(path), &e), 0);
	/* Others could put a guest there. */
	ck_assert_int_eq(chmod(path, 0777), 0);
	ck_assert_int_eq(rundir_path(path, sizeof(path), &e), -EPERM);
	ck_assert_ptr_nonnull(strstr(e.msg, "/tmp/lodge-40961"));
	ck_assert_int_eq(rmdir(path), 0);
	/* Or lead elsewhere. */
	ck_assert_int_eq(symlink("/tmp", path), 0);
	ck_assert_int_eq(rundir_path(path, sizeof(path), &e), -EPERM);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(seteuid(0), 0);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert_int_eq(seteuid(NOBODY), 0);
	ck_assert_int_eq(rundir_path(path, sizeof(path), &e), -EPERM);
	ck_assert_int_eq(seteuid(0), 0);
	ck_assert_int_eq(rmdir(path), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common");
	TCase *t = tcase_create("common");
	SRunner *r;
	int failed;

	tcase_add_test(t, options_and_operands_mix);
	tcase_add_loop_test(t, bad_options_are_named, 0, 6);
	tcase_add_test(t, sizes_have_suffixes);
	tcase_add_loop_test(t, what_is_no_size_is_refused, 0, 8);
	tcase_add_test(t, names_stay_in_their_directory);
	tcase_add_test(t, error_prefix_keeps_the_reason);
	tcase_add_test(t, source_removed_in_a_callback_is_silent);
	tcase_add_test(t, posts_run_in_order_and_timers_repeat);
	tcase_add_test(t, stop_before_run_counts);
	tcase_add_test(t, a_claimed_name_is_taken_until_released);
	tcase_add_test(t, a_user_has_a_run_directory_of_his_own);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
