// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_net_spec.c: what users write for a network, right and wrong.
 *
 * LINK: userspace/net/spec.c userspace/common/err.c
 */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "net/spec.h"

static struct net_spec s;
static struct err e;

static void good(const char *text)
{
	memset(&e, 0, sizeof(e));
	ck_assert_msg(!net_spec_parse(text, &s, &e), "%s: %s", text, e.msg);
}

START_TEST(user_network_has_defaults)
{
	good("user");
	ck_assert_int_eq(s.kind, NET_USER);
	ck_assert_uint_eq(s.subnet, 0x0a000200);
	ck_assert_uint_eq(s.prefix, 24);
	ck_assert(!s.has_mac && !s.forwards && !s.restricted && !s.mtu);
}
END_TEST

START_TEST(user_network_takes_forwards)
{
	good("user,hostfwd=tcp::8080-:80,hostfwd=udp:127.0.0.1:53-10.0.2.99:5353,hostfwd=::2222-:22");
	ck_assert_uint_eq(s.forwards, 3);
	ck_assert(!s.forward[0].udp);
	ck_assert_uint_eq(s.forward[0].host_addr, 0);
	ck_assert_uint_eq(s.forward[0].host_port, 8080);
	ck_assert_uint_eq(s.forward[0].guest_port, 80);
	ck_assert(s.forward[1].udp);
	ck_assert_uint_eq(s.forward[1].host_addr, 0x7f000001);
	ck_assert_uint_eq(s.forward[1].guest_addr, 0x0a000263);
	ck_assert_uint_eq(s.forward[1].guest_port, 5353);
	ck_assert(!s.forward[2].udp);
	ck_assert_uint_eq(s.forward[2].host_port, 2222);
}
END_TEST

START_TEST(user_network_takes_another_subnet)
{
	good("user,net=192.168.7.77/25,restrict=on");
	ck_assert_uint_eq(s.subnet, 0xc0a80700);
	ck_assert_uint_eq(s.prefix, 25);
	ck_assert(s.restricted);
}
END_TEST

START_TEST(tap_takes_all_its_options)
{
	static const unsigned char mac[6] = { 0x52, 0x54, 0x00, 0xAB, 0xcd, 0x01 };

	good("tap,ifname=tap0,bridge=br0,queues=4,vhost=off,mac=52:54:00:AB:cd:01,mtu=9000");
	ck_assert_int_eq(s.kind, NET_TAP);
	ck_assert_str_eq(s.ifname, "tap0");
	ck_assert_str_eq(s.bridge, "br0");
	ck_assert_uint_eq(s.queues, 4);
	ck_assert_int_eq(s.vhost, NET_VHOST_OFF);
	ck_assert(s.has_mac);
	ck_assert_mem_eq(s.mac, mac, 6);
	ck_assert_uint_eq(s.mtu, 9000);
	good("tap");
	ck_assert_int_eq(s.vhost, NET_VHOST_AUTO);
	good("none");
}
END_TEST

START_TEST(wrong_text_is_refused_with_a_reason)
{
	static const struct {
		const char *text, *names;
	} bad[] = {
		{ "", "unknown kind" },
		{ "usr", "usr" },
		{ "user,", "no value" },
		{ "user,,", "no value" },
		{ "user,mac", "no value" },
		{ "user,mac=", "mac" },
		{ "user,mac=52:54:00:12:34", "mac" },
		{ "user,mac=52:54:00:12:34:5g", "mac" },
		{ "user,mac=52:54:00:12:34:56:78", "mac" },
		{ "user,mac=01:54:00:12:34:56", "group" },
		{ "user,colour=red", "unknown option" },
		{ "user,queues=2", "does not belong" },
		{ "tap,hostfwd=tcp::1-:1", "does not belong" },
		{ "tap,queues=0", "1 to 16" },
		{ "tap,queues=17", "1 to 16" },
		{ "tap,queues=2x", "1 to 16" },
		{ "tap,ifname=sixteen-letters-", "15 characters" },
		{ "tap,ifname=a/b", "15 characters" },
		{ "tap,ifname=tap%d", "15 characters" },
		{ "tap,vhost=yes", "on, off or auto" },
		{ "user,hostfwd=", "GUESTPORT" },
		{ "user,hostfwd=sctp::1-:2", "GUESTPORT" },
		{ "user,hostfwd=tcp::0-:2", "GUESTPORT" },
		{ "user,hostfwd=tcp::65536-:2", "GUESTPORT" },
		{ "user,hostfwd=tcp::1-:", "GUESTPORT" },
		{ "user,hostfwd=tcp::1:2", "GUESTPORT" },
		{ "user,hostfwd=tcp:1.2.3:1-:2", "GUESTPORT" },
		{ "user,hostfwd=tcp::1-:2 ", "GUESTPORT" },
		{ "user,net=10.0.0.0", "LEN" },
		{ "user,net=/24", "LEN" },
		{ "user,net=10.0.0.0/28", "LEN" },
		{ "user,net=10.0.0.0/7", "LEN" },
		{ "user,restrict=maybe", "on or off" },
		{ "user,mtu=67", "68" },
		{ "user,mtu=99999999999999999999", "68" },
	};

	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memset(&e, 0, sizeof(e));
		ck_assert_msg(net_spec_parse(bad[i].text, &s, &e) < 0, "accepted: %s", bad[i].text);
		ck_assert_msg(strstr(e.msg, bad[i].names), "%s: '%s' does not name '%s'", bad[i].text, e.msg,
			      bad[i].names);
	}
}
END_TEST

START_TEST(seventeen_forwards_are_too_many)
{
	char text[1024] = "user";

	for (int i = 0; i < 16; i++)
		sprintf(text + strlen(text), ",hostfwd=tcp::%d-:80", 8000 + i);
	good(text);
	strcat(text, ",hostfwd=tcp::9000-:80");
	ck_assert_int_lt(net_spec_parse(text, &s, &e), 0);
}
END_TEST

START_TEST(overlong_part_is_refused)
{
	char text[400] = "tap,ifname=";

	memset(text + 11, 'a', 300);
	ck_assert_int_lt(net_spec_parse(text, &s, &e), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("net_spec");
	TCase *t = tcase_create("spec");
	SRunner *r;
	int failed;

	tcase_add_test(t, user_network_has_defaults);
	tcase_add_test(t, user_network_takes_forwards);
	tcase_add_test(t, user_network_takes_another_subnet);
	tcase_add_test(t, tap_takes_all_its_options);
	tcase_add_test(t, wrong_text_is_refused_with_a_reason);
	tcase_add_test(t, seventeen_forwards_are_too_many);
	tcase_add_test(t, overlong_part_is_refused);
	suite_add_tcase(suite, t);
	r = srunner_create(suite);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
