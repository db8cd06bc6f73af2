/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The network of a guest that runs one command. */
#ifndef GUEST_NETWORK_H
#define GUEST_NETWORK_H

#include <stdbool.h>

/*
 * Loopback up; the first card, if there is one, with address, default route and resolver from DHCP. foreign_root: the root
 * is somebody's disk, where no file is written that need not be. 0, also without a card, or -errno with the step that failed
 * in *what.
 */
int network_up(bool foreign_root, const char **what);

#endif
