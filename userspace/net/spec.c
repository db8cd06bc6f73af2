// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * spec.c: the parser of network specifications. The text is cut at commas into key=value parts; a table says which key
 * belongs to which kind and which function reads its value.
 */
#include "net/spec.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#define PART_MAX 128

struct key {
	const char *name;
	unsigned int kinds;		/* bits of 1 << enum net_kind */
	int (*read)(struct net_spec *spec, const char *value);
	const char *syntax;
};

/* A decimal number up to max that ends at *end. */
static bool number(const char **s, u32 max, u32 *out)
{
	const char *p = *s;
	u64 v = 0;

	if (*p < '0' || *p > '9')
		return false;
	while (*p >= '0' && *p <= '9') {
		v = v * 10 + (*p++ - '0');
		if (v > max)
			return false;
	}
	*s = p;
	*out = v;
	return true;
}

static bool address(const char *text, size_t len, u32 *out)
{
	char buf[INET_ADDRSTRLEN];
	struct in_addr in;

	if (!len) {
		*out = 0;
		return true;
	}
	if (len >= sizeof(buf))
		return false;
	memcpy(buf, text, len);
	buf[len] = 0;
	if (inet_pton(AF_INET, buf, &in) != 1)
		return false;
	*out = ntohl(in.s_addr);
	return true;
}

static int read_on_off(const char *value, bool *out)
{
	*out = !strcmp(value, "on");
	return *out || !strcmp(value, "off") ? 0 : -EINVAL;
}

static int read_mac(struct net_spec *spec, const char *value)
{
	for (int i = 0; i < 6; i++) {
		unsigned int byte = 0;

		for (int k = 0; k < 2; k++, value++) {
			char c = *value | 0x20;

			if (*value >= '0' && *value <= '9')
				byte = byte << 4 | (*value - '0');
			else if (c >= 'a' && c <= 'f')
				byte = byte << 4 | (c - 'a' + 10);
			else
				return -EINVAL;
		}
		spec->mac[i] = byte;
		if (*value++ != (i < 5 ? ':' : '\0'))
			return -EINVAL;
	}
	spec->has_mac = true;
	/* A group address is no card's. */
	return spec->mac[0] & 1 ? -EINVAL : 0;
}

static int read_mtu(struct net_spec *spec, const char *value)
{
	u32 v;

	if (!number(&value, 65535, &v) || *value || v < 68)
		return -EINVAL;
	spec->mtu = v;
	return 0;
}

static int read_queues(struct net_spec *spec, const char *value)
{
	u32 v;

	if (!number(&value, NET_QUEUES_MAX, &v) || *value || !v)
		return -EINVAL;
	spec->queues = v;
	return 0;
}

static int read_net(struct net_spec *spec, const char *value)
{
	const char *slash = strchr(value, '/');
	u32 prefix;

	if (!slash || slash == value || !address(value, slash - value, &spec->subnet))
		return -EINVAL;
	slash++;
	/* The gateway, name server and first client are .2, .3 and .15 of the network: they must fit. */
	if (!number(&slash, 27, &prefix) || *slash || prefix < 8)
		return -EINVAL;
	spec->prefix = prefix;
	spec->subnet &= ~0u << (32 - prefix);
	return 0;
}

static int read_restrict(struct net_spec *spec, const char *value)
{
	return read_on_off(value, &spec->restricted);
}

static bool endpoint(const char **s, char stop, u32 *addr, u16 *port)
{
	const char *colon = strchr(*s, ':');
	u32 v;

	if (!colon || !address(*s, colon - *s, addr))
		return false;
	*s = colon + 1;
	if (!number(s, 65535, &v) || !v || **s != stop)
		return false;
	*port = v;
	return true;
}

static int read_hostfwd(struct net_spec *spec, const char *value)
{
	struct net_forward f = { 0 };

	if (spec->forwards == NET_FORWARDS_MAX)
		return -E2BIG;
	if (!strncmp(value, "udp:", 4))
		f.udp = true;
	else if (strncmp(value, "tcp:", 4) && *value != ':')
		return -EINVAL;
	value = strchr(value, ':') + 1;
	if (!endpoint(&value, '-', &f.host_addr, &f.host_port))
		return -EINVAL;
	value++;
	if (!endpoint(&value, '\0', &f.guest_addr, &f.guest_port))
		return -EINVAL;
	spec->forward[spec->forwards++] = f;
	return 0;
}

static int read_name(char name[IFNAMSIZ], const char *value)
{
	size_t len = strlen(value);

	if (!len || len >= IFNAMSIZ || !strcmp(value, ".") || !strcmp(value, "..") || strpbrk(value, "/ :%\t\n"))
		return -EINVAL;
	memcpy(name, value, len + 1);
	return 0;
}

static int read_ifname(struct net_spec *spec, const char *value)
{
	return read_name(spec->ifname, value);
}

static int read_bridge(struct net_spec *spec, const char *value)
{
	return read_name(spec->bridge, value);
}

static int read_vhost(struct net_spec *spec, const char *value)
{
	if (!strcmp(value, "auto"))
		spec->vhost = NET_VHOST_AUTO;
	else if (!strcmp(value, "on"))
		spec->vhost = NET_VHOST_ON;
	else if (!strcmp(value, "off"))
		spec->vhost = NET_VHOST_OFF;
	else
		return -EINVAL;
	return 0;
}

#define USER (1u << NET_USER)
#define TAP (1u << NET_TAP)

static const struct key keys[] = {
	{ "mac", USER | TAP, read_mac, "XX:XX:XX:XX:XX:XX, not a group address" },
	{ "mtu", USER | TAP, read_mtu, "a number from 68 to 65535" },
	{ "hostfwd", USER, read_hostfwd, "[tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT, 16 at most" },
	{ "net", USER, read_net, "A.B.C.D/LEN, with LEN from 8 to 27" },
	{ "restrict", USER, read_restrict, "on or off" },
	{ "ifname", TAP, read_ifname, "an interface name of at most 15 characters" },
	{ "bridge", TAP, read_bridge, "an interface name of at most 15 characters" },
	{ "queues", TAP, read_queues, "a number from 1 to 16" },
	{ "vhost", TAP, read_vhost, "on, off or auto" },
};

static int read_part(struct net_spec *spec, char *part, const char *text, struct err *e)
{
	char *value = strchr(part, '=');

	if (!value)
		return err_set(e, EINVAL, "network '%s': '%s' has no value; try: %s=VALUE", text, part, part);
	*value++ = 0;
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (strcmp(part, keys[i].name))
			continue;
		if (!(keys[i].kinds & (1u << spec->kind)))
			return err_set(e, EINVAL, "network '%s': '%s' does not belong to this kind of network", text,
				       part);
		if (keys[i].read(spec, value) < 0)
			return err_set(e, EINVAL, "network '%s': %s=%s: expected %s", text, part, value,
				       keys[i].syntax);
		return 0;
	}
	return err_set(e, EINVAL, "network '%s': unknown option '%s'", text, part);
}

static int read_kind(struct net_spec *spec, const char *part, const char *text, struct err *e)
{
	if (!strcmp(part, "user"))
		spec->kind = NET_USER;
	else if (!strcmp(part, "tap"))
		spec->kind = NET_TAP;
	else if (!strcmp(part, "none"))
		spec->kind = NET_NONE;
	else
		return err_set(e, EINVAL, "network '%s': unknown kind '%s'; try: user, tap or none", text, part);
	return 0;
}

int net_spec_parse(const char *text, struct net_spec *spec, struct err *e)
{
	const char *at = text;
	bool first = true;
	int r;

	memset(spec, 0, sizeof(*spec));
	spec->subnet = 0x0a000200;	/* 10.0.2.0/24 */
	spec->prefix = 24;
	do {
		size_t len = strcspn(at, ",");
		char part[PART_MAX];

		if (len >= sizeof(part))
			return err_set(e, EINVAL, "network '%.40s...': an option is longer than %d characters", text,
				       PART_MAX - 1);
		memcpy(part, at, len);
		part[len] = 0;
		r = first ? read_kind(spec, part, text, e) : read_part(spec, part, text, e);
		if (r < 0)
			return r;
		first = false;
		at += len;
	} while (*at++ == ',');
	return 0;
}
