// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Two consoles shown as one: no line twice, none lost, no prompt held back.
 *
 * LINK: userspace/vmm/console_merge.c
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/console_merge.h"

static struct console_merge m;
static char shown[1 << 20];
static size_t len;

static void setup(void)
{
	merge_init(&m);
	len = 0;
}

static void teardown(void)
{
	merge_fini(&m);
}

/* Byte by byte: how it is cut into pieces must not matter. */
static void say(enum merge_side side, const char *text)
{
	for (; *text; text++)
		len += merge_feed(&m, side, text, 1, shown + len);
	shown[len] = '\0';
}

static const char BOOT[] = "[    0.000000] Linux version 6.1\r\n[    0.100000] Memory: 1K\r\n";
static const char LATER[] = "[   12.000001] virtio_console: up\r\n";

START_TEST(replayed_messages_are_shown_once)
{
	say(MERGE_EARLY, BOOT);
	ck_assert_str_eq(shown, BOOT);
	say(MERGE_LATE, BOOT);
	ck_assert_str_eq(shown, BOOT);
	say(MERGE_LATE, LATER);
	say(MERGE_EARLY, LATER);
	ck_assert_str_eq(shown + strlen(BOOT), LATER);
}
END_TEST

START_TEST(the_drivers_line_ends_may_differ)
{
	say(MERGE_EARLY, "[    0.000000] one\r\n[    0.000001] two\r\n");
	say(MERGE_LATE, "[    0.000000] one\n[    0.000001] two\n\r");
	ck_assert_str_eq(shown, "[    0.000000] one\r\n[    0.000001] two\r\n\r");
}
END_TEST

START_TEST(programs_output_is_shown_from_both)
{
	say(MERGE_EARLY, BOOT);
	say(MERGE_EARLY, "init: early\r\n");
	say(MERGE_LATE, BOOT);
	say(MERGE_EARLY, "init: early\r\n");
	say(MERGE_LATE, "init: early\r\n");
	ck_assert_str_eq(shown + strlen(BOOT), "init: early\r\ninit: early\r\ninit: early\r\n");
}
END_TEST

START_TEST(a_prompt_is_not_held_back)
{
	static const char *const prompts[] = { "login: ", "# ", "[root@debian]# ", "[ok] ", "[  1s] ", "[1.5] $ " };

	say(MERGE_EARLY, BOOT);
	say(MERGE_LATE, BOOT);
	len = 0;
	say(MERGE_LATE, prompts[_i]);
	ck_assert_str_eq(shown, prompts[_i]);
}
END_TEST

START_TEST(a_prompt_in_the_midst_of_a_replay_is_not_held_back)
{
	say(MERGE_EARLY, BOOT);
	say(MERGE_LATE, "[root@debian]# ");
	ck_assert_str_eq(shown + strlen(BOOT), "[root@debian]# ");
}
END_TEST

START_TEST(messages_go_on_when_the_late_console_has_none)
{
	say(MERGE_EARLY, BOOT);
	say(MERGE_LATE, "login: ");
	say(MERGE_EARLY, LATER);
	ck_assert_str_eq(shown + strlen(BOOT), "login: [   12.000001] virtio_console: up\r\n");
}
END_TEST

START_TEST(news_among_the_replay_are_shown)
{
	say(MERGE_EARLY, BOOT);
	say(MERGE_LATE, "[    0.000000] Linux version 6.1\r\n[    0.050000] only here\r\n[    0.100000] Memory: 1K\r\n");
	ck_assert_str_eq(shown + strlen(BOOT), "[    0.050000] only here\r\n");
}
END_TEST

START_TEST(a_replay_ends_by_strangers)
{
	char line[64];

	say(MERGE_EARLY, BOOT);
	for (int i = 0; i < MERGE_STRAY; i++) {
		snprintf(line, sizeof(line), "[%5d.000000] stranger\r\n", i + 100);
		say(MERGE_LATE, line);
	}
	len = 0;
	say(MERGE_LATE, BOOT);
	ck_assert_str_eq(shown, BOOT);
}
END_TEST

START_TEST(a_line_without_end_is_shown_whole)
{
	static char line[3 * MERGE_LINE];

	memset(line, 'x', sizeof(line) - 1);
	memcpy(line, "[    0.000000] ", 15);
	say(MERGE_EARLY, BOOT);
	say(MERGE_LATE, line);
	ck_assert_str_eq(shown + strlen(BOOT), line);
	say(MERGE_LATE, "\n");
	len = 0;
	say(MERGE_EARLY, line);
	ck_assert_str_eq(shown, line);
}
END_TEST

START_TEST(more_messages_than_the_record_holds_lose_nothing)
{
	char line[64];

	for (int i = 0; i < MERGE_RECORD + 100; i++) {
		snprintf(line, sizeof(line), "[%5d.000000] message\r\n", i);
		say(MERGE_EARLY, line);
	}
	len = 0;
	for (int i = 0; i < MERGE_RECORD + 100; i++) {
		snprintf(line, sizeof(line), "[%5d.000000] message\r\n", i);
		say(MERGE_LATE, line);
	}
	ck_assert_uint_eq(len, 100 * strlen(line));
}
END_TEST

START_TEST(messages_come_back_to_the_early_console_when_the_late_one_goes)
{
	say(MERGE_EARLY, BOOT);
	say(MERGE_LATE, BOOT);
	say(MERGE_LATE, LATER);
	merge_late_gone(&m);
	len = 0;
	say(MERGE_EARLY, "[   99.000000] reboot: Power down\r\n");
	ck_assert_str_eq(shown, "[   99.000000] reboot: Power down\r\n");
	say(MERGE_LATE, BOOT);	/* and if it comes again, so does its replay */
	ck_assert_str_eq(shown, "[   99.000000] reboot: Power down\r\n");
}
END_TEST

START_TEST(a_new_guest_starts_anew)
{
	say(MERGE_EARLY, BOOT);
	say(MERGE_LATE, BOOT);
	say(MERGE_LATE, "[    1.0");
	merge_reset(&m);
	len = 0;
	say(MERGE_EARLY, BOOT);
	say(MERGE_LATE, BOOT);
	ck_assert_str_eq(shown, BOOT);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("console_merge");
	TCase *t = tcase_create("console_merge");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, replayed_messages_are_shown_once);
	tcase_add_test(t, the_drivers_line_ends_may_differ);
	tcase_add_test(t, programs_output_is_shown_from_both);
	tcase_add_loop_test(t, a_prompt_is_not_held_back, 0, 6);
	tcase_add_test(t, a_prompt_in_the_midst_of_a_replay_is_not_held_back);
	tcase_add_test(t, messages_go_on_when_the_late_console_has_none);
	tcase_add_test(t, news_among_the_replay_are_shown);
	tcase_add_test(t, a_replay_ends_by_strangers);
	tcase_add_test(t, a_line_without_end_is_shown_whole);
	tcase_add_test(t, more_messages_than_the_record_holds_lose_nothing);
	tcase_add_test(t, messages_come_back_to_the_early_console_when_the_late_one_goes);
	tcase_add_test(t, a_new_guest_starts_anew);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
