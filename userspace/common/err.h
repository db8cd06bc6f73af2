/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Errors that a user can act on.
 *
 * A library function that can fail for a reason worth telling takes a `struct err *` as its last
 * argument and returns 0 or -errno. The message follows one pattern:
 *
 *     what failed: on which object: why; try: what to do
 *
 * The outermost caller prints it; nothing below the command line ever prints or exits. Every
 * function here accepts a NULL err, for callers who only want the number.
 */
#ifndef COMMON_ERR_H
#define COMMON_ERR_H

struct err {
	int code;	/* positive errno, 0 when nothing was set */
	char msg[480];
};

#define ERR_INIT { 0, "" }

/* Replaces what was there. Returns -code, so that a failing function can `return err_set(...)`. */
int err_set(struct err *e, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Puts "text: " in front of the present message. Returns -code. */
int err_prefix(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

void err_clear(struct err *e);

#endif
