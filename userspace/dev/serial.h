/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A 16550A serial port.
 *
 * Bytes that the guest sends go to the sink at once, on the vCPU's thread; bytes for the guest
 * are offered with serial_input() from any thread, which takes what fits in the FIFO.
 */
#ifndef DEV_SERIAL_H
#define DEV_SERIAL_H

#include "board/board.h"

#define SERIAL_COM1 0x3f8
#define SERIAL_COM1_PIN 4
#define SERIAL_COM2 0x2f8
#define SERIAL_COM2_PIN 3

struct serial;

/* May be called on any vCPU thread; one call at a time per port. */
typedef void serial_sink_fn(void *ctx, const void *data, size_t len);
/* The guest has taken bytes: there is room for serial_input() again. Without a lock held. */
typedef void serial_room_fn(void *ctx);

struct serial *serial_create(struct board *board, u16 port, u32 pin, serial_sink_fn *sink,
			     serial_room_fn *room, void *ctx, struct err *e);
void serial_destroy(struct serial *s);
void serial_reset(struct serial *s);
/* Returns how many bytes were taken. */
size_t serial_input(struct serial *s, const void *data, size_t len);
/* A break condition, as for the magic SysRq key. */
void serial_break(struct serial *s);

#endif
