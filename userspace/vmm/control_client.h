/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * control_client.h: one connection to the control socket, for the files that answer requests.
 *
 * A request is answered once, with client_answer() or client_refuse(), before its function returns.
 */
#ifndef VMM_CONTROL_CLIENT_H
#define VMM_CONTROL_CLIENT_H

#include <json-c/json.h>

#include "common/err.h"
#include "common/loop.h"

#define LINE_MAX_LEN (256 * 1024)	/* two file names of each of sixteen disks, partly escaped */

struct control;
struct disks;

struct client {
	struct control *c;
	struct loop_source src;
	int fd;			/* -1: free */
	char *line;		/* what has come of the next request: len bytes of room */
	size_t len, room;
};

typedef void client_fn(struct client *cl, struct json_object *rq);

/* An answer to be filled: {"ok":true}. */
struct json_object *client_ok(void);
/* Sends the answer and frees it. */
void client_answer(struct client *cl, struct json_object *o);
void client_refuse(struct client *cl, int code, const char *why);
struct disks *client_disks(struct client *cl);

/* control_disk.c: what answers a request of this name about disks, or NULL. */
client_fn *control_disk_find(const char *name);

#endif
