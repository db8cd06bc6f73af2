/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's network cards: one virtio-net for each --net, with its back end.
 */
#ifndef VMM_DEVICES_NET_H
#define VMM_DEVICES_NET_H

#include "board/board.h"
#include "vmm/run.h"

/* Whether --net text makes sense; nothing of the host is touched. 0 or -EINVAL. */
int devices_net_check(const char *text, struct err *e);
/* Cards and back ends belong to the PCI bus afterwards. */
int devices_net_create(struct board *board, const struct run_options *o, struct err *e);

#endif
