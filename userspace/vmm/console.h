/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's console on the host's side: standard output, attached clients, a log, and input.
 *
 * Output goes into one ring of 64 KiB. Readers have cursors into it: standard output, which holds
 * the guest back when it is full, and clients, which lose the oldest bytes when they are slow. A
 * client that attaches late is shown the ring first. Input comes from standard input (with the
 * escape key when that is a terminal) and from clients, and waits until the device has room.
 */
#ifndef VMM_CONSOLE_H
#define VMM_CONSOLE_H

#include "common/err.h"
#include "common/loop.h"

struct console;

enum console_key { CONSOLE_KEY_QUIT, CONSOLE_KEY_POWER, CONSOLE_KEY_BREAK };

struct console_ops {
	/* Offers input to the device; returns how much it took. Main thread. */
	size_t (*input)(void *ctx, const void *data, size_t len);
	/* An escape sequence was typed. Main thread. */
	void (*key)(void *ctx, enum console_key key);
	/* The guest has printed its panic message: the last line of one when ended. Any thread. */
	void (*panic)(void *ctx, bool ended);
	/* Standard input has ended, and input() took all. False: ask again later. Optional. */
	bool (*input_end)(void *ctx);
	/* console_offer() took too little, and now there is room. Main thread. */
	void (*drained)(void *ctx);
};

struct console_config {
	bool use_stdin;		/* forward standard input */
	bool raw;		/* a terminal there becomes raw and has the escape key */
	int out_fd;		/* where output is shown; -1: nowhere */
};

struct console *console_create(struct loop *loop, const struct console_config *cfg,
			       const struct console_ops *ops, void *ctx, struct err *e);
/* Writes what is left to standard output, without waiting long, and frees. */
void console_destroy(struct console *c);

/* From the guest. Any thread; may wait for standard output unless console_abort() was called. */
void console_output(struct console *c, const void *data, size_t len);
/* From the guest, on the main thread: never waits. Returns how much was taken. */
size_t console_offer(struct console *c, const void *data, size_t len);
/* The device has room for input again. Any thread. */
void console_room(struct console *c);
/* From now on (until false) nobody waits in console_output(). */
void console_abort(struct console *c, bool on);

/* Adds a client that gets the ring and all that follows; takes fd over, closes it at its end. */
int console_attach(struct console *c, int fd, struct err *e);
/* Copies the newest bytes of the ring; returns how many. */
size_t console_log(struct console *c, char *buf, size_t room);
/* The kind of escape key help that fits. */
extern const char console_hint[];

#endif
