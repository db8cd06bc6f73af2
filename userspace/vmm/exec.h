/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * `lodge run -- COMMAND`: the host's half. Builds the archive with the guest's init, decodes what
 * comes back, and keeps the exit status.
 */
#ifndef VMM_EXEC_H
#define VMM_EXEC_H

#include "vmm/devices.h"
#include "vmm/run.h"

#define EXEC_INIT_PATH "/lodge-init"

struct exec;

/* kernel_fd tells which modules to pack. NULL with *e set on failure. */
struct exec *exec_create(const struct run_options *o, int kernel_fd, struct err *e);
void exec_destroy(struct exec *x);
/* The archive for behind the initrd; owned by x. */
void exec_archive(struct exec *x, const void **data, size_t *len);
int exec_connect(struct exec *x, struct devices *d, struct loop *loop, struct err *e);
/* The devices are about to go; the machine is paused. */
void exec_disconnect(struct exec *x);
/* Around a pause of the machine: nobody waits in exec_output(). */
void exec_abort(struct exec *x, bool on);
/* Bytes from the guest; a devices_exec_fn. */
size_t exec_output(void *x, const void *data, size_t len, bool may_wait);
/* Input for the command; returns how much was taken. Main thread. */
size_t exec_stdin(struct exec *x, const void *data, size_t len);
/* No more input. False: not possible yet, ask again. Main thread. */
bool exec_stdin_end(struct exec *x);
/* The command's status, or -1 when the guest never told. */
int exec_status(struct exec *x);

#endif
