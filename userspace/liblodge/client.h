/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One question to a guest's control socket. */
#ifndef LIBLODGE_CLIENT_H
#define LIBLODGE_CLIENT_H

#include <lodge/lodge.h>

struct json_object;

int client_error(struct lodge_error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Connects. Returns the socket, or -errno with *err set. */
int client_connect(const char *name, struct lodge_error *err);
/* How long an answer may take, in place of the ten seconds of client_connect(). */
void client_patience(int fd, int seconds);
/*
 * Sends one request line and reads the answer. *reply is put by the caller. -ETIMEDOUT: what was asked for may still come about.
 */
int client_ask(int fd, const char *request, struct json_object **reply, struct lodge_error *err);
/* Connects, asks, closes. reply may be NULL. */
int client_call(const char *name, const char *request, struct json_object **reply,
		struct lodge_error *err);

/* A member of an answer; "" and 0 when it is not there. */
void client_text(struct json_object *o, const char *key, char *buf, size_t room);
int64_t client_number(struct json_object *o, const char *key);

#endif
