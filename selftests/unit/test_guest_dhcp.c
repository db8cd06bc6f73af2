// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * DHCP messages of the guest's init: what it sends, and what it makes of answers.
 *
 * LINK: userspace/guest/dhcp.c
 */
#include <arpa/inet.h>
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "guest/dhcp.h"

static const uint8_t mac[6] = { 0x52, 0x54, 0, 1, 2, 3 };
static uint8_t packet[2048];
static size_t len;
static struct dhcp_lease lease;

static void option(uint8_t id, const char *data, size_t n)
{
	packet[len++] = id;
	packet[len++] = n;
	memcpy(packet + len, data, n);
	len += n;
}

static void answer(char type)
{
	dhcp_build(packet, DHCP_DISCOVER, 77, mac, NULL);
	packet[0] = 2;
	memcpy(packet + 16, "\x0a\x00\x02\x0f", 4);
	len = 240;
	option(53, &type, 1);
	option(1, "\xff\xff\xff\x00", 4);
	option(3, "\x0a\x00\x02\x02", 4);
	option(54, "\x0a\x00\x02\x02", 4);
	option(6, "\x0a\x00\x02\x03\x09\x09\x09\x09", 8);
	option(15, "box.test", 8);
	option(26, "\x05\x78", 2);
	packet[len++] = 255;
}

START_TEST(an_offer_is_taken_apart)
{
	answer(DHCP_OFFER);
	ck_assert_int_eq(dhcp_parse(packet, len, 77, mac, &lease), DHCP_OFFER);
	ck_assert_uint_eq(ntohl(lease.address), 0x0a00020f);
	ck_assert_uint_eq(ntohl(lease.mask), 0xffffff00);
	ck_assert_uint_eq(ntohl(lease.router), 0x0a000202);
	ck_assert_uint_eq(ntohl(lease.server), 0x0a000202);
	ck_assert_uint_eq(ntohl(lease.dns[0]), 0x0a000203);
	ck_assert_uint_eq(ntohl(lease.dns[1]), 0x09090909);
	ck_assert_uint_eq(lease.dns[2], 0);
	ck_assert_str_eq(lease.domain, "box.test");
	ck_assert_uint_eq(lease.mtu, 1400);
}
END_TEST

START_TEST(answers_to_others_are_none)
{
	static const uint8_t other[6] = { 1, 2, 3, 4, 5, 6 };

	answer(DHCP_OFFER);
	ck_assert_int_eq(dhcp_parse(packet, len, 78, mac, &lease), -1);
	ck_assert_int_eq(dhcp_parse(packet, len, 77, other, &lease), -1);
	packet[0] = 1;
	ck_assert_int_eq(dhcp_parse(packet, len, 77, mac, &lease), -1);
	packet[0] = 2;
	packet[236] = 0;
	ck_assert_int_eq(dhcp_parse(packet, len, 77, mac, &lease), -1);
}
END_TEST

START_TEST(options_cut_short_spoil_the_answer)
{
	size_t full;

	answer(DHCP_OFFER);
	full = len;
	for (len = 0; len < full; len++) {
		int type = dhcp_parse(packet, len, 77, mac, &lease);

		ck_assert(type == -1 || type == DHCP_OFFER);
		ck_assert(len >= 243 || type == -1);
	}
	answer(DHCP_OFFER);
	packet[len - 1] = 6;
	packet[len++] = 200;
	ck_assert_int_eq(dhcp_parse(packet, len, 77, mac, &lease), -1);
}
END_TEST

START_TEST(a_domain_that_is_no_name_is_left_out)
{
	answer(DHCP_ACK);
	len--;
	option(15, "a\nnameserver 6.6.6.6", 20);
	ck_assert_int_eq(dhcp_parse(packet, len, 77, mac, &lease), DHCP_ACK);
	ck_assert_str_eq(lease.domain, "");
}
END_TEST

START_TEST(a_request_names_what_was_offered)
{
	struct dhcp_lease offer = { .address = htonl(0x0a00020f), .server = htonl(0x0a000202) };

	len = dhcp_build(packet, DHCP_REQUEST, 5, mac, &offer);
	ck_assert_uint_ge(len, 300);
	ck_assert_uint_eq(packet[0], 1);
	ck_assert_uint_eq(packet[10], 0x80);	/* answer by broadcast */
	ck_assert_ptr_nonnull(memmem(packet + 240, len - 240, "\x35\x01\x03", 3));
	ck_assert_ptr_nonnull(memmem(packet + 240, len - 240, "\x32\x04\x0a\x00\x02\x0f", 6));
	ck_assert_ptr_nonnull(memmem(packet + 240, len - 240, "\x36\x04\x0a\x00\x02\x02", 6));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("guest_dhcp");
	TCase *t = tcase_create("guest_dhcp");
	SRunner *r;
	int failed;

	tcase_add_test(t, an_offer_is_taken_apart);
	tcase_add_test(t, answers_to_others_are_none);
	tcase_add_test(t, options_cut_short_spoil_the_answer);
	tcase_add_test(t, a_domain_that_is_no_name_is_left_out);
	tcase_add_test(t, a_request_names_what_was_offered);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
