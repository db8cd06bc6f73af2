// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fuzz_guest_dhcp.c: a DHCP answer of arbitrary bytes. A name that is taken has nothing in it that would add a line to
 * resolv.conf.
 *
 * LINK: userspace/guest/dhcp.c
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "guest/dhcp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t mac[6] = { 2, 0, 0, 0, 0, 1 };
	struct dhcp_lease lease;
	uint8_t packet[1500];

	if (size > sizeof(packet) - 240)
		return 0;
	dhcp_build(packet, DHCP_DISCOVER, 7, mac, NULL);
	packet[0] = 2;
	memcpy(packet + 240, data, size);
	if (dhcp_parse(packet, 240 + size, 7, mac, &lease) < 0)
		return 0;
	if (!memchr(lease.domain, 0, sizeof(lease.domain)))
		abort();
	for (const char *p = lease.domain; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr(".-_", *p))
			abort();
	return 0;
}
