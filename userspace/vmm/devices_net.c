// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Network cards. Without --net there is one, on the user-mode network; `--net none` is none at all.
 *
 * The bus owns the cards and each card its back end, so there is nothing to keep or to destroy here.
 */
#include "vmm/devices_net.h"

#include <errno.h>

#include "virtio/virtio_net.h"

#define TAP_QUEUES_MAX 4

static int add_net(struct board *board, const struct run_options *o, const char *text, struct err *e)
{
	struct virtio_net_opts opts = { .flags = o->packed_rings ? VIRTIO_OPT_PACKED : 0 };
	struct net_spec spec;
	struct net *net;
	int r;

	r = net_spec_parse(text, &spec, e);
	if (r < 0 || spec.kind == NET_NONE)
		return r;
	/* A new interface gets a queue for each CPU; one that exists was made for a certain number. */
	if (spec.kind == NET_TAP && !spec.queues && !spec.ifname[0])
		spec.queues = o->cpus < TAP_QUEUES_MAX ? o->cpus : TAP_QUEUES_MAX;
	net = net_open(&spec, e);
	if (!net)
		return -EIO;
	return virtio_net_create(board, net, &opts, e) ? 0 : -EIO;
}

int devices_net_create(struct board *board, const struct run_options *o, struct devices_net **out,
		       struct err *e)
{
	int r = 0;

	*out = NULL;
	if (!o->nets)
		return add_net(board, o, "user", e);
	for (unsigned int i = 0; i < o->nets && !r; i++)
		r = add_net(board, o, o->net[i], e);
	return r;
}

void devices_net_destroy(struct devices_net *n)
{
	(void)n;
}
