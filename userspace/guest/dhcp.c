// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A DHCP client of one round: discover, take the first offer, request, done.
 *
 * A plain UDP socket does, bound to the interface: Linux sends a broadcast from one that has no
 * address yet, and delivers one to it. So the answers are asked for as broadcasts.
 */
#include "guest/dhcp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SERVER_PORT 67
#define CLIENT_PORT 68
#define COOKIE 0x63825363
#define HEADER 240		/* with the cookie */
#define FLAG_BROADCAST 0x8000
#define TRIES 4
#define FIRST_WAIT_MS 500	/* doubled with each try */

enum {
	OPT_PAD = 0,
	OPT_MASK = 1,
	OPT_ROUTER = 3,
	OPT_DNS = 6,
	OPT_DOMAIN = 15,
	OPT_MTU = 26,
	OPT_ADDRESS = 50,
	OPT_TYPE = 53,
	OPT_SERVER = 54,
	OPT_WANTED = 55,
	OPT_END = 255,
};

/* Offsets in the message. */
enum { AT_OP = 0, AT_XID = 4, AT_FLAGS = 10, AT_YIADDR = 16, AT_CHADDR = 28, AT_COOKIE = 236 };

static void put16(uint8_t *p, uint16_t v)
{
	v = htons(v);
	memcpy(p, &v, 2);
}

static void put32(uint8_t *p, uint32_t v)
{
	v = htonl(v);
	memcpy(p, &v, 4);
}

static uint8_t *add(uint8_t *at, uint8_t option, const void *data, uint8_t len)
{
	*at++ = option;
	*at++ = len;
	memcpy(at, data, len);
	return at + len;
}

size_t dhcp_build(uint8_t packet[DHCP_PACKET], enum dhcp_type type, uint32_t xid, const uint8_t mac[6],
		  const struct dhcp_lease *offer)
{
	static const uint8_t wanted[] = { OPT_MASK, OPT_ROUTER, OPT_DNS, OPT_DOMAIN, OPT_MTU };
	uint8_t byte = type, *at = packet + HEADER;

	memset(packet, 0, DHCP_PACKET);
	packet[AT_OP] = 1;	/* request */
	packet[1] = 1;		/* Ethernet */
	packet[2] = 6;
	put32(packet + AT_XID, xid);
	put16(packet + AT_FLAGS, FLAG_BROADCAST);
	memcpy(packet + AT_CHADDR, mac, 6);
	put32(packet + AT_COOKIE, COOKIE);
	at = add(at, OPT_TYPE, &byte, 1);
	at = add(at, OPT_WANTED, wanted, sizeof(wanted));
	if (offer) {
		at = add(at, OPT_ADDRESS, &offer->address, 4);
		at = add(at, OPT_SERVER, &offer->server, 4);
	}
	*at++ = OPT_END;
	/* Old relays want a message of BOOTP's length. */
	return at - packet < 300 ? 300 : at - packet;
}

/* A name that can be put into resolv.conf as it is, else none. */
static void take_domain(char domain[128], const uint8_t *p, uint8_t len)
{
	unsigned int i;

	domain[0] = '\0';
	while (len && !p[len - 1])
		len--;
	if (len >= 128)
		return;
	for (i = 0; i < len; i++) {
		uint8_t c = p[i];

		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
		      c == '-' || c == '_'))
			return;
	}
	memcpy(domain, p, len);
	domain[len] = '\0';
}

static void take_option(struct dhcp_lease *l, uint8_t option, const uint8_t *p, uint8_t len)
{
	uint16_t mtu;

	switch (option) {
	case OPT_MASK:
		memcpy(&l->mask, p, len >= 4 ? 4 : 0);
		break;
	case OPT_ROUTER:
		memcpy(&l->router, p, len >= 4 ? 4 : 0);
		break;
	case OPT_SERVER:
		memcpy(&l->server, p, len >= 4 ? 4 : 0);
		break;
	case OPT_DNS:
		memcpy(l->dns, p, (len < sizeof(l->dns) ? len : sizeof(l->dns)) & ~3u);
		break;
	case OPT_DOMAIN:
		take_domain(l->domain, p, len);
		break;
	case OPT_MTU:
		if (len >= 2) {
			memcpy(&mtu, p, 2);
			l->mtu = ntohs(mtu);
		}
		break;
	}
}

static bool is_for_us(const uint8_t *packet, size_t len, uint32_t xid, const uint8_t mac[6])
{
	uint8_t want[4], cookie[4];

	put32(want, xid);
	put32(cookie, COOKIE);
	return len >= HEADER && packet[AT_OP] == 2 && !memcmp(packet + AT_XID, want, 4) &&
	       !memcmp(packet + AT_CHADDR, mac, 6) && !memcmp(packet + AT_COOKIE, cookie, 4);
}

int dhcp_parse(const uint8_t *packet, size_t len, uint32_t xid, const uint8_t mac[6], struct dhcp_lease *lease)
{
	size_t at = HEADER;
	int type = -1;

	memset(lease, 0, sizeof(*lease));
	if (!is_for_us(packet, len, xid, mac))
		return -1;
	memcpy(&lease->address, packet + AT_YIADDR, 4);
	while (at < len && packet[at] != OPT_END) {
		uint8_t option = packet[at++], n;

		if (option == OPT_PAD)
			continue;
		if (at == len)
			return -1;
		n = packet[at++];
		if (n > len - at)
			return -1;
		if (option == OPT_TYPE && n == 1)
			type = packet[at];
		else
			take_option(lease, option, packet + at, n);
		at += n;
	}
	return type;
}

static long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Sends, and waits for an answer of one of two types. Its type, or -errno. */
static int exchange(int fd, const uint8_t *packet, size_t len, uint32_t xid, const uint8_t mac[6],
		    enum dhcp_type good, enum dhcp_type bad, struct dhcp_lease *lease, int wait_ms)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(SERVER_PORT),
				  .sin_addr = { htonl(INADDR_BROADCAST) } };
	long end = now_ms() + wait_ms, left;
	uint8_t answer[1500];
	ssize_t n;
	int type;

	if (sendto(fd, packet, len, 0, (struct sockaddr *)&to, sizeof(to)) < 0)
		return -errno;
	while ((left = end - now_ms()) > 0) {
		struct pollfd p = { fd, POLLIN, 0 };

		if (poll(&p, 1, left) <= 0)
			continue;
		n = recv(fd, answer, sizeof(answer), 0);
		type = n < 0 ? -1 : dhcp_parse(answer, n, xid, mac, lease);
		if (type == (int)good || type == (int)bad)
			return type;
	}
	return -ETIMEDOUT;
}

static int ask_once(int fd, uint32_t xid, const uint8_t mac[6], struct dhcp_lease *lease, int wait_ms)
{
	uint8_t packet[DHCP_PACKET];
	struct dhcp_lease offer;
	size_t len;
	int r;

	len = dhcp_build(packet, DHCP_DISCOVER, xid, mac, NULL);
	r = exchange(fd, packet, len, xid, mac, DHCP_OFFER, DHCP_OFFER, &offer, wait_ms);
	if (r < 0)
		return r;
	len = dhcp_build(packet, DHCP_REQUEST, xid, mac, &offer);
	r = exchange(fd, packet, len, xid, mac, DHCP_ACK, DHCP_NAK, lease, wait_ms);
	if (r < 0)
		return r;
	return r == DHCP_ACK && lease->address ? 0 : -ECONNREFUSED;
}

int dhcp_ask(const char *interface, const uint8_t mac[6], struct dhcp_lease *lease)
{
	struct sockaddr_in from = { .sin_family = AF_INET, .sin_port = htons(CLIENT_PORT) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), on = 1, tries, r = -ETIMEDOUT;
	uint32_t xid;

	if (fd < 0)
		return -errno;
	memcpy(&xid, mac + 2, 4);
	xid ^= now_ms() * 2654435761u;
	if (setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, interface, strlen(interface)) < 0 ||
	    bind(fd, (struct sockaddr *)&from, sizeof(from)) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	for (tries = 0; tries < TRIES && r; tries++)
		r = ask_once(fd, xid + tries, mac, lease, FIRST_WAIT_MS << tries);
	close(fd);
	return r;
}
