// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Network cards. Without any --net the guest gets one in the user-mode network, which needs no
 * privileges; a tap has as many queue pairs as the guest has CPUs, unless told otherwise.
 */
#include "vmm/devices_net.h"

#include <errno.h>

#include "net/net.h"
#include "virtio/virtio_net.h"

int devices_net_check(const char *text, struct err *e)
{
	struct net_spec spec;

	return net_spec_parse(text, &spec, e);
}

static int add_card(struct board *board, const struct run_options *o, const char *text,
		    struct err *e)
{
	struct virtio_net_opts opts = { .flags = o->packed_rings ? VIRTIO_OPT_PACKED : 0 };
	struct net_spec spec;
	struct net *net;
	int r;

	r = net_spec_parse(text, &spec, e);
	if (r < 0 || spec.kind == NET_NONE)
		return r;
	if (!spec.queues && spec.kind == NET_TAP)
		spec.queues = o->cpus < NET_QUEUES_MAX ? o->cpus : NET_QUEUES_MAX;
	net = net_open(&spec, e);
	if (!net)
		return -EIO;
	return virtio_net_create(board, net, &opts, e) ? 0 : -EIO;
}

int devices_net_create(struct board *board, const struct run_options *o, struct err *e)
{
	unsigned int i;
	int r = 0;

	if (!o->nets)
		return add_card(board, o, "user", e);
	for (i = 0; i < o->nets && !r; i++)
		r = add_card(board, o, o->net[i], e);
	return r;
}
