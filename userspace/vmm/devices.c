// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Which devices a guest has, and the wiring of its console.
 *
 * Both the first serial port and the virtio console lead to the one console. With hvc0 as the
 * guest's console the serial port carries what is printed before the virtio driver is up, and
 * console_merge.c sees to it that nothing is shown twice. Input goes to the virtio console once
 * the guest has opened it.
 */
#include "vmm/devices.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "dev/serial.h"
#include "virtio/virtio_balloon.h"
#include "virtio/virtio_console.h"
#include "virtio/virtio_rng.h"
#include "vmm/console_merge.h"
#include "vmm/devices_net.h"
#include "vmm/disks.h"
#include "vmm/exec_wire.h"

#define PIECE 1024

struct devices {
	struct board *board;
	const struct run_options *o;
	struct console *_Atomic con;
	struct serial *com1, *com2;
	struct virtio_dev *console, *balloon;
	bool want_hvc;
	struct console_merge merge;
	u8 left[MERGE_LINE + PIECE];		/* of hvc0's output, to be shown; main thread */
	size_t left_at, left_len;
	devices_exec_fn *exec;
	void *ctx;
	struct disks *disks;
};

/* ---- console ---- */

static void com1_out(void *ctx, const void *data, size_t len)
{
	u8 text[MERGE_LINE + PIECE];
	struct devices *d = ctx;
	struct console *con = atomic_load(&d->con);
	const u8 *p = data;
	size_t n;

	if (con && !d->want_hvc) {
		console_output(con, data, len);
		return;
	}
	if (!virtio_dev_live(d->console))
		merge_late_gone(&d->merge);
	for (; con && len; p += n, len -= n) {
		size_t show;

		n = len < PIECE ? len : PIECE;
		show = merge_feed(&d->merge, MERGE_EARLY, p, n, text);
		if (show)
			console_output(con, text, show);
	}
}

static void com1_room(void *ctx)
{
	struct devices *d = ctx;
	struct console *con = atomic_load(&d->con);

	if (con)
		console_room(con);
}

/* Shows what is left of a piece; true when nothing is. Main thread. */
static bool hvc_show(struct devices *d, struct console *con)
{
	size_t n = console_offer(con, d->left + d->left_at, d->left_len - d->left_at);

	d->left_at += n;
	return d->left_at == d->left_len;
}

/* Taken in pieces; of one that the console takes in part, the rest waits here. */
static size_t hvc_out(void *ctx, const void *buf, size_t len)
{
	struct devices *d = ctx;
	struct console *con = atomic_load(&d->con);
	size_t done = 0, n;

	if (!con)
		return len;
	if (!d->want_hvc)
		return console_offer(con, buf, len);
	while (hvc_show(d, con) && done < len) {
		n = len - done < PIECE ? len - done : PIECE;
		d->left_len = merge_feed(&d->merge, MERGE_LATE, (const u8 *)buf + done, n, d->left);
		d->left_at = 0;
		done += n;
	}
	return done;
}

static void com2_out(void *ctx, const void *data, size_t len)
{
	struct devices *d = ctx;

	d->exec(d->ctx, data, len, true);
}

static size_t port_out(void *ctx, const void *buf, size_t len)
{
	struct devices *d = ctx;

	return d->exec(d->ctx, buf, len, false);
}

static const struct virtio_console_port_ops hvc_ops = { .out = hvc_out, .room = com1_room };
static const struct virtio_console_port_ops exec_ops = { .out = port_out, .room = com1_room };

static unsigned int ring_flags(const struct run_options *o)
{
	return o->packed_rings ? VIRTIO_OPT_PACKED : 0;
}

static int add_consoles(struct devices *d, struct err *e)
{
	struct virtio_console_port ports[2] = {
		{ NULL, &hvc_ops, d },
		{ EXEC_PORT_NAME, &exec_ops, d },
	};

	d->com1 = serial_create(d->board, SERIAL_COM1, SERIAL_COM1_PIN, com1_out, com1_room, d, e);
	if (!d->com1)
		return -EIO;
	if (d->o->command) {
		d->com2 = serial_create(d->board, SERIAL_COM2, SERIAL_COM2_PIN, com2_out,
					com1_room, d, e);
		if (!d->com2)
			return -EIO;
	}
	d->console = virtio_console_create(d->board, ports, d->o->command ? 2 : 1, ring_flags(d->o), e);
	return d->console ? 0 : -EIO;
}

/* ---- disks and networks ---- */

int devices_check(const struct run_options *o, struct err *e)
{
	unsigned int i;
	int r;

	for (i = 0; i < o->disks; i++) {
		r = disks_check(o->disk[i], e);
		if (r < 0)
			return r;
	}
	for (i = 0; i < o->nets; i++) {
		r = devices_net_check(o->net[i], e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- life ---- */

struct devices *devices_create(struct board *board, const struct run_options *o,
			       devices_exec_fn *exec, void *ctx, struct err *e)
{
	struct devices *d = calloc(1, sizeof(*d));
	int r;

	if (!d) {
		err_set(e, ENOMEM, "no memory for devices");
		return NULL;
	}
	d->board = board;
	d->o = o;
	d->exec = exec;
	d->ctx = ctx;
	merge_init(&d->merge);
	d->want_hvc = !strcmp(o->console, "hvc0");
	r = add_consoles(d, e);
	if (!r) {
		d->disks = disks_create(board, o, e);
		r = d->disks ? 0 : -EIO;
	}
	if (!r)
		r = devices_net_create(board, o, e);
	if (!r && !virtio_rng_create(board, ring_flags(o), e))
		r = -EIO;
	if (!r) {
		d->balloon = virtio_balloon_create(board, ring_flags(o), e);
		r = d->balloon ? 0 : -EIO;
	}
	if (r < 0) {
		devices_destroy(d);
		return NULL;
	}
	return d;
}

void devices_destroy(struct devices *d)
{
	if (!d)
		return;
	serial_destroy(d->com1);
	serial_destroy(d->com2);
	disks_destroy(d->disks);
	merge_fini(&d->merge);
	free(d);
}

void devices_set_console(struct devices *d, struct console *con)
{
	atomic_store(&d->con, con);
}

void devices_reset(struct devices *d)
{
	merge_reset(&d->merge);
	disks_reset(d->disks);
	d->left_at = d->left_len = 0;
	serial_reset(d->com1);
	if (d->com2)
		serial_reset(d->com2);
}

size_t devices_console_input(struct devices *d, const void *data, size_t len)
{
	if (d->want_hvc && virtio_console_is_open(d->console, 0))
		return virtio_console_write(d->console, 0, data, len);
	return serial_input(d->com1, data, len);
}

void devices_console_break(struct devices *d)
{
	serial_break(d->com1);
}

void devices_console_size(struct devices *d, unsigned int cols, unsigned int rows)
{
	virtio_console_resize(d->console, cols, rows);
}

void devices_console_drained(struct devices *d)
{
	virtio_console_resume(d->console, 0);
}

struct virtio_dev *devices_balloon(struct devices *d)
{
	return d->balloon;
}

struct disks *devices_disks(struct devices *d)
{
	return d->disks;
}

void devices_input_ready(struct devices *d)
{
	com1_room(d);
}

void devices_exec_drained(struct devices *d)
{
	virtio_console_resume(d->console, 1);
}

size_t devices_exec_input(struct devices *d, const void *data, size_t len)
{
	if (virtio_console_is_open(d->console, 1))
		return virtio_console_write(d->console, 1, data, len);
	return d->com2 ? serial_input(d->com2, data, len) : len;
}
