/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The device of type VFIO: which groups of host devices the VM has been given.
 */
#ifndef LODGE_CORE_VFIO_H
#define LODGE_CORE_VFIO_H

#include "core/device.h"

extern const struct lodge_device_ops lodge_vfio_ops;

#endif
