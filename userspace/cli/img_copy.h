/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copying one image's data into another. */
#ifndef CLI_IMG_COPY_H
#define CLI_IMG_COPY_H

#include <lodge/vhd.h>

#include "cli/img_progress.h"

/* vhd_copy(), with go_on and opaque ours: 0 or -errno; -EINTR after a signal. */
int img_copy_run(struct vhd_copy *c, bool progress);

#endif
