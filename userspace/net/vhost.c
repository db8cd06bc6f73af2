// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * vhost.c: virtqueues served by the host kernel (linux/vhost.h).
 *
 * The kernel is told of guest memory, of each ring's size, place and position, of the eventfds for kicks (the same that KVM
 * signals) and calls (irqfds of the MSI-X vectors), and is then given the tap to work for; a tap of -1 takes it away and
 * returns when nothing of the ring is in use any more. Positions always start at 0: a device that is reset starts its
 * rings anew.
 */
#include "net/vhost.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define RINGS 2

int vhost_open(u64 *features)
{
	int fd = open("/dev/vhost-net", O_RDWR | O_CLOEXEC);
	__u64 f = 0;
	int r;

	if (fd < 0)
		return -errno;
	if (ioctl(fd, VHOST_SET_OWNER) < 0 || ioctl(fd, VHOST_GET_FEATURES, &f) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	*features = f;
	return fd;
}

static int set_memory(int fd, const struct net_region *region, unsigned int regions)
{
	struct vhost_memory *table = calloc(1, sizeof(*table) + regions * sizeof(table->regions[0]));
	int r = 0;

	if (!table)
		return -ENOMEM;
	table->nregions = regions;
	for (unsigned int i = 0; i < regions; i++) {
		table->regions[i].guest_phys_addr = region[i].gpa;
		table->regions[i].memory_size = region[i].size;
		table->regions[i].userspace_addr = (uintptr_t)region[i].hva;
	}
	if (ioctl(fd, VHOST_SET_MEM_TABLE, table) < 0)
		r = -errno;
	free(table);
	return r;
}

static int set_ring(int fd, unsigned int index, const struct net_ring *ring)
{
	struct vhost_vring_state size = { index, ring->size }, base = { index, 0 };
	struct vhost_vring_addr addr = {
		.index = index,
		.desc_user_addr = (uintptr_t)ring->desc,
		.avail_user_addr = (uintptr_t)ring->avail,
		.used_user_addr = (uintptr_t)ring->used,
	};
	struct vhost_vring_file kick = { index, ring->kick }, call = { index, ring->call };

	if (ioctl(fd, VHOST_SET_VRING_NUM, &size) < 0 || ioctl(fd, VHOST_SET_VRING_BASE, &base) < 0 ||
	    ioctl(fd, VHOST_SET_VRING_ADDR, &addr) < 0 || ioctl(fd, VHOST_SET_VRING_KICK, &kick) < 0 ||
	    ioctl(fd, VHOST_SET_VRING_CALL, &call) < 0)
		return -errno;
	return 0;
}

static int set_backend(int fd, unsigned int index, int tap)
{
	struct vhost_vring_file file = { index, tap };

	return ioctl(fd, VHOST_NET_SET_BACKEND, &file) < 0 ? -errno : 0;
}

int vhost_start(int fd, int tap, u64 features, const struct net_region *region, unsigned int regions,
		const struct net_ring *ring)
{
	__u64 f = features;
	int r;

	if (ioctl(fd, VHOST_SET_FEATURES, &f) < 0)
		return -errno;
	r = set_memory(fd, region, regions);
	for (unsigned int i = 0; i < RINGS && !r; i++)
		r = set_ring(fd, i, &ring[i]);
	for (unsigned int i = 0; i < RINGS && !r; i++)
		r = set_backend(fd, i, tap);
	if (r < 0)
		vhost_stop(fd);
	return r;
}

void vhost_stop(int fd)
{
	/* A ring that never ran has nothing to give back, and says so; that is no matter. */
	for (unsigned int i = 0; i < RINGS; i++)
		set_backend(fd, i, -1);
}
