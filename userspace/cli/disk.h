/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parts of `lodge disk`. */
#ifndef CLI_DISK_H
#define CLI_DISK_H

#include "common/command.h"

/* The number of a disk; 0, or 2 after a message. */
int disk_number(const char *word, unsigned int *disk);

extern const struct command disk_coalesce_command, disk_mirror_command;

#endif
