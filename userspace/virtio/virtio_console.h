/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio_console.h: a console (hvc0) and named byte channels to the guest.
 *
 * Port 0 is the console. Every further port appears in the guest as /dev/vportNpM and, by udev, as
 * /dev/virtio-ports/NAME. The device is served by board->loop, and everything here is called on that loop's thread.
 */
#ifndef LODGE_VIRTIO_CONSOLE_H
#define LODGE_VIRTIO_CONSOLE_H

#include "virtio/device.h"

#define VIRTIO_CONSOLE_PORTS_MAX 8

struct virtio_console_port_ops {
	/* The guest wrote. Answers how much was taken; after less than len, virtio_console_resume() must follow. */
	size_t (*out)(void *ctx, const void *buf, size_t len);
	/* The guest opened or closed its end, or went away. Optional. */
	void (*open)(void *ctx, bool open);
	/* There is room again after a virtio_console_write() that took too little, or that came too early. Optional. */
	void (*room)(void *ctx);
};

struct virtio_console_port {
	const char *name;		/* NULL for the console */
	const struct virtio_console_port_ops *ops;
	void *ctx;
};

/* ports is copied, the names are not. flags: VIRTIO_OPT_*. NULL with *e set on failure. */
struct virtio_dev *virtio_console_create(struct board *board, const struct virtio_console_port *ports,
					 unsigned int num_ports, unsigned int flags, struct err *e);
/* To the guest. Answers how many bytes it had room for. May be called from out(), not from room() of the same port twice
 * without its having made progress. */
size_t virtio_console_write(struct virtio_dev *dev, unsigned int port, const void *buf, size_t len);
/* out() can take more. */
void virtio_console_resume(struct virtio_dev *dev, unsigned int port);
void virtio_console_resize(struct virtio_dev *dev, u16 cols, u16 rows);
bool virtio_console_is_open(struct virtio_dev *dev, unsigned int port);

#endif
