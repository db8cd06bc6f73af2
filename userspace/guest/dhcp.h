/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An address by DHCP (RFC 2131, 2132), for a guest that lives as long as one command: the lease
 * is not renewed.
 */
#ifndef GUEST_DHCP_H
#define GUEST_DHCP_H

#include <stddef.h>
#include <stdint.h>

#define DHCP_PACKET 576		/* what every host must accept; replies may be longer */
#define DHCP_SERVERS 3

enum dhcp_type { DHCP_DISCOVER = 1, DHCP_OFFER, DHCP_REQUEST, DHCP_DECLINE, DHCP_ACK, DHCP_NAK };

/* Addresses in network byte order; 0: not given. */
struct dhcp_lease {
	uint32_t address, mask, router, server;
	uint32_t dns[DHCP_SERVERS];
	char domain[128];	/* "" or a plain host name */
	uint16_t mtu;
};

/* A message to the server; of offer, which may be NULL, address and server are asked for. Returns its length. Pure. */
size_t dhcp_build(uint8_t packet[DHCP_PACKET], enum dhcp_type type, uint32_t xid, const uint8_t mac[6],
		  const struct dhcp_lease *offer);
/* A server's answer to xid and mac: its type, or -1 for anything else. Pure. */
int dhcp_parse(const uint8_t *packet, size_t len, uint32_t xid, const uint8_t mac[6], struct dhcp_lease *lease);
/* Asks on an interface that is up, for at most some seconds. 0 or -errno; -ETIMEDOUT when nobody answers. */
int dhcp_ask(const char *interface, const uint8_t mac[6], struct dhcp_lease *lease);

#endif
