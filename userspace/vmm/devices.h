/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The devices that `lodge run` puts on a board, and how the console is wired to them.
 */
#ifndef VMM_DEVICES_H
#define VMM_DEVICES_H

#include "board/board.h"
#include "vmm/console.h"
#include "vmm/run.h"

struct devices;
struct disks;
struct virtio_dev;

/*
 * Bytes of the command channel. With may_wait: on a vCPU thread, all must be taken. Else on the
 * main thread; returns how much was taken, devices_exec_drained() must follow when not all.
 */
typedef size_t devices_exec_fn(void *ctx, const void *data, size_t len, bool may_wait);

/* Whether disks and networks can be had, without taking or changing them. 0 or -errno. */
int devices_check(const struct run_options *o, struct err *e);
struct devices *devices_create(struct board *board, const struct run_options *o,
			       devices_exec_fn *exec, void *ctx, struct err *e);
/* After machine_destroy(): PCI devices belong to the bus; what they used is freed here. */
void devices_destroy(struct devices *d);
/* Output goes there from now on. */
void devices_set_console(struct devices *d, struct console *con);
/* At machine reset. */
void devices_reset(struct devices *d);

size_t devices_console_input(struct devices *d, const void *data, size_t len);
void devices_console_break(struct devices *d);
void devices_console_size(struct devices *d, unsigned int cols, unsigned int rows);
void devices_console_drained(struct devices *d);
/* The balloon, for the calls of virtio/virtio_balloon.h. */
struct virtio_dev *devices_balloon(struct devices *d);
/* The disks, for the calls of vmm/disks.h. */
struct disks *devices_disks(struct devices *d);
/* Whoever has input shall offer it again. Any thread. */
void devices_input_ready(struct devices *d);
void devices_exec_drained(struct devices *d);
/* To the guest's command channel; returns how much was taken. */
size_t devices_exec_input(struct devices *d, const void *data, size_t len);

#endif
