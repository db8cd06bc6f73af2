/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Narrowing what the VMM's threads may ask of the host's kernel.
 *
 * Each thread role has a list of system calls that its code makes; everything else ends the
 * process by SIGSYS (or is logged, or nothing is filtered). ioctl is allowed by request number. The filters
 * are installed before the first guest instruction.
 */
#ifndef VMM_CONFINE_H
#define VMM_CONFINE_H

#include "common/err.h"
#include "common/thread.h"
#include "vmm/run.h"

/* Sets the mode, and hooks thread creation. Before the first thread is started. */
void confine_set_mode(enum run_seccomp mode);
/* Confines the calling thread for good. Has logged the reason when it returns < 0. */
int confine_enter(enum thread_role role);

#endif
