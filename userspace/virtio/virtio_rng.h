/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio_rng.h: a source of entropy. */
#ifndef LODGE_VIRTIO_RNG_H
#define LODGE_VIRTIO_RNG_H

#include "virtio/device.h"

/* Served by board->loop. On the bus afterwards; NULL with *e set on failure. flags: VIRTIO_OPT_*. */
struct virtio_dev *virtio_rng_create(struct board *board, unsigned int flags, struct err *e);

#endif
