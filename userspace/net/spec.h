/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * spec.h: what a user writes to describe a network card.
 *
 *	user[,hostfwd=[tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT]...[,net=A.B.C.D/LEN][,restrict=on|off]
 *	tap[,ifname=NAME][,bridge=NAME][,queues=N][,vhost=on|off|auto]
 *	none
 *
 * and for both: mac=XX:XX:XX:XX:XX:XX, mtu=N.
 */
#ifndef LODGE_NET_SPEC_H
#define LODGE_NET_SPEC_H

#include <net/if.h>

#include "common/err.h"
#include "common/types.h"

#define NET_FORWARDS_MAX 16
#define NET_QUEUES_MAX 16

enum net_kind { NET_NONE, NET_USER, NET_TAP };
enum net_vhost { NET_VHOST_AUTO, NET_VHOST_ON, NET_VHOST_OFF };

struct net_forward {
	bool udp;
	u32 host_addr;			/* IPv4, host order; 0: any */
	u16 host_port;
	u32 guest_addr;			/* 0: the address DHCP gives */
	u16 guest_port;
};

struct net_spec {
	enum net_kind kind;
	bool has_mac;
	u8 mac[6];
	u16 mtu;			/* 0: default */
	u16 queues;			/* 0: default */

	/* user */
	u32 subnet;			/* host order */
	u8 prefix;
	bool restricted;		/* guest sees only the forwards and DHCP */
	unsigned int forwards;
	struct net_forward forward[NET_FORWARDS_MAX];

	/* tap */
	char ifname[IFNAMSIZ];		/* "": the kernel picks one */
	char bridge[IFNAMSIZ];		/* "": none */
	enum net_vhost vhost;
};

/* 0, or -EINVAL with a sentence that names the wrong part. Touches nothing on the host. */
int net_spec_parse(const char *text, struct net_spec *spec, struct err *e);

#endif
