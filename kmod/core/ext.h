/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What core/ asks of the extensions (mem/): a seam, as arch.h is one.  They are clients of core/, which includes nothing else of
 * theirs.
 */
#ifndef LODGE_CORE_EXT_H
#define LODGE_CORE_EXT_H

#include "core/ioctl.h"

extern const struct lodge_ioctl lodge_ext_dev_ioctls[];	/* obj = NULL */
extern const unsigned int lodge_ext_nr_dev_ioctls;

int lodge_ext_check_extension(long ext);	/* 0 = unknown */

#endif
