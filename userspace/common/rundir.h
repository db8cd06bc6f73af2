/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where running guests are found: RUN/NAME/lock and RUN/NAME/ctl.
 *
 * The process of a guest holds an exclusive lock on its lock file for as long as it lives; a
 * directory whose lock is free belongs to a guest that died, and may be taken over or removed.
 */
#ifndef COMMON_RUNDIR_H
#define COMMON_RUNDIR_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"

/*
 * $LODGE_RUN_DIR, else $XDG_RUNTIME_DIR/lodge, else /run/lodge for root, for others /run/user/UID/lodge or, without that,
 * /tmp/lodge-UID. Does not create it. -EPERM: the last is there, and is not the user's alone.
 */
int rundir_path(char *buf, size_t room, struct err *e);
int rundir_file(char *buf, size_t room, const char *name, const char *file, struct err *e);
/* Creates RUN/NAME and takes the lock. Returns the lock's fd; -EBUSY when NAME runs already. */
int rundir_claim(const char *name, struct err *e);
/* Removes what rundir_claim made, and the socket. */
void rundir_release(const char *name, int lock_fd);
/* Whether the guest's process lives. */
bool rundir_alive(const char *name);

#endif
