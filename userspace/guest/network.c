// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Interfaces by the old ioctls, which a static program without netlink can use.
 *
 * The resolver's file is written under /run, which is ours, and shows up as /etc/resolv.conf: by a
 * bind mount where there is such a file, so that a disk's own is left as it is; through the link
 * where it points below /run, as systemd-resolved's does; else as a new file.
 */
#include "guest/network.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <net/route.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest/dhcp.h"

#define RESOLVER "/run/lodge-resolv.conf"
#define ETC_RESOLVER "/etc/resolv.conf"

static int set_up(int fd, const char *name)
{
	struct ifreq rq = { 0 };

	snprintf(rq.ifr_name, sizeof(rq.ifr_name), "%s", name);
	if (ioctl(fd, SIOCGIFFLAGS, &rq) < 0)
		return -errno;
	rq.ifr_flags |= IFF_UP;
	return ioctl(fd, SIOCSIFFLAGS, &rq) < 0 ? -errno : 0;
}

/* The first Ethernet card's name and address. */
static bool find_card(int fd, char name[IFNAMSIZ], uint8_t mac[6])
{
	struct if_nameindex *list = if_nameindex(), *i;
	bool found = false;

	for (i = list; i && i->if_index && !found; i++) {
		struct ifreq rq = { 0 };

		snprintf(rq.ifr_name, sizeof(rq.ifr_name), "%s", i->if_name);
		if (ioctl(fd, SIOCGIFHWADDR, &rq) < 0 || rq.ifr_hwaddr.sa_family != 1 /* Ethernet */)
			continue;
		found = true;
		memcpy(name, rq.ifr_name, IFNAMSIZ);
		memcpy(mac, rq.ifr_hwaddr.sa_data, 6);
	}
	if_freenameindex(list);
	return found;
}

static int set_address(int fd, const char *name, unsigned long request, uint32_t address)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr = { address } };
	struct ifreq rq = { 0 };

	snprintf(rq.ifr_name, sizeof(rq.ifr_name), "%s", name);
	memcpy(&rq.ifr_addr, &sin, sizeof(sin));
	return ioctl(fd, request, &rq) < 0 ? -errno : 0;
}

static int add_default_route(int fd, uint32_t router)
{
	struct sockaddr_in any = { .sin_family = AF_INET };
	struct sockaddr_in via = { .sin_family = AF_INET, .sin_addr = { router } };
	struct rtentry rt = { .rt_flags = RTF_UP | RTF_GATEWAY };

	memcpy(&rt.rt_dst, &any, sizeof(any));
	memcpy(&rt.rt_genmask, &any, sizeof(any));
	memcpy(&rt.rt_gateway, &via, sizeof(via));
	return ioctl(fd, SIOCADDRT, &rt) < 0 ? -errno : 0;
}

static void set_mtu(int fd, const char *name, uint16_t mtu)
{
	struct ifreq rq = { 0 };

	snprintf(rq.ifr_name, sizeof(rq.ifr_name), "%s", name);
	rq.ifr_mtu = mtu;
	/* A mere wish of the server's. */
	if (mtu >= 576 && ioctl(fd, SIOCSIFMTU, &rq) < 0)
		return;
}

static int write_resolver(const char *path, const struct dhcp_lease *l)
{
	FILE *f = fopen(path, "we");
	char text[INET_ADDRSTRLEN];
	unsigned int i;

	if (!f)
		return -errno;
	if (*l->domain)
		fprintf(f, "search %s\n", l->domain);
	for (i = 0; i < DHCP_SERVERS; i++)
		if (l->dns[i] && inet_ntop(AF_INET, &l->dns[i], text, sizeof(text)))
			fprintf(f, "nameserver %s\n", text);
	return fclose(f) ? -errno : 0;
}

static void make_parents(char *path)
{
	char *p;

	for (p = path + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		mkdir(path, 0755);
		*p = '/';
	}
}

/* Where a link that leads nowhere yet points to, if that is below /run. */
static bool link_into_run(char target[PATH_MAX])
{
	ssize_t n = readlink(ETC_RESOLVER, target, PATH_MAX - 8);

	if (n < 0)
		return false;
	target[n] = '\0';
	if (!strncmp(target, "../run/", 7))
		memmove(target, target + 2, n - 1);
	return !strncmp(target, "/run/", 5) && !strstr(target, "..");
}

static int set_resolver(const struct dhcp_lease *l, bool foreign_root)
{
	char target[PATH_MAX];
	int fd, r;

	if (!l->dns[0])
		return 0;
	if (!foreign_root) {
		mkdir("/etc", 0755);
		return write_resolver(ETC_RESOLVER, l);
	}
	if (access(ETC_RESOLVER, F_OK) < 0) {
		if (link_into_run(target)) {
			make_parents(target);
			return write_resolver(target, l);
		}
		/* Something to mount on: empty, and there to stay. */
		fd = open(ETC_RESOLVER, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		if (fd < 0)
			return -errno;
		close(fd);
	}
	r = write_resolver(RESOLVER, l);
	if (!r && mount(RESOLVER, ETC_RESOLVER, NULL, MS_BIND, NULL) < 0)
		r = -errno;
	return r;
}

static int configure(int fd, const char *name, const struct dhcp_lease *l, bool foreign_root, const char **what)
{
	int r;

	*what = "setting the address";
	set_mtu(fd, name, l->mtu);
	r = set_address(fd, name, SIOCSIFADDR, l->address);
	if (!r && l->mask)
		r = set_address(fd, name, SIOCSIFNETMASK, l->mask);
	if (r)
		return r;
	*what = "setting the default route";
	if (l->router)
		r = add_default_route(fd, l->router);
	if (r)
		return r;
	*what = "writing /etc/resolv.conf";
	return set_resolver(l, foreign_root);
}

int network_up(bool foreign_root, const char **what)
{
	struct dhcp_lease lease;
	char name[IFNAMSIZ];
	uint8_t mac[6];
	int fd, r;

	*what = "opening a socket";
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return errno == EAFNOSUPPORT ? 0 : -errno;
	set_up(fd, "lo");
	if (!find_card(fd, name, mac)) {
		close(fd);
		return 0;
	}
	*what = "bringing the card up";
	r = set_up(fd, name);
	if (!r) {
		*what = "asking for an address (DHCP)";
		r = dhcp_ask(name, mac, &lease);
	}
	if (!r)
		r = configure(fd, name, &lease, foreign_root, what);
	close(fd);
	return r;
}
