/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a hypervisor asks VFIO about a group's file.
 *
 * VFIO is a module that need not be there, so its functions are looked up by name at each call.  Whoever holds such a file holds
 * the module.
 */
#ifndef LODGE_COMPAT_VFIO_H
#define LODGE_COMPAT_VFIO_H

#include <linux/types.h>

struct file;

/* Is @file a VFIO group?  False without VFIO.  May sleep. */
bool compat_vfio_is_group(struct file *file);

/* Does the IOMMU force every access of the group's devices to be coherent with the caches?  True without VFIO.  May sleep. */
bool compat_vfio_is_coherent(struct file *file);

#endif
