// SPDX-License-Identifier: GPL-2.0-or-later
/* net.c: choice of the back end, and the card's address when the user gives none. */
#include "net/net.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

/* Locally administered, not a group. */
static int pick_mac(u8 mac[6])
{
	if (getrandom(mac, 6, 0) != 6)
		return -errno;
	mac[0] = (mac[0] & 0xfc) | 0x02;
	return 0;
}

struct net *net_open(const struct net_spec *spec, struct err *e)
{
	struct net *net;
	u8 mac[6];

	memcpy(mac, spec->mac, sizeof(mac));
	if (!spec->has_mac && pick_mac(mac) < 0) {
		err_set(e, errno, "network: no random numbers for a MAC address: %s; try: mac=", strerror(errno));
		return NULL;
	}
	switch (spec->kind) {
	case NET_USER:
		net = slirp_open(spec, e);
		break;
	case NET_TAP:
		net = tap_open(spec, e);
		break;
	default:
		err_set(e, EINVAL, "network: kind 'none' has nothing to open");
		return NULL;
	}
	if (!net)
		return NULL;
	memcpy(net->mac, mac, sizeof(mac));
	net->mtu = spec->mtu;
	return net;
}

void net_close(struct net *net)
{
	if (net)
		net->ops->close(net);
}
