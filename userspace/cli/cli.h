/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The sub-commands of `lodge`. Each parses its words, calls the library once, and prints.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "common/command.h"

/* `lodge` itself: all of them. */
extern const struct command lodge_command;

extern const struct command balloon_command;
extern const struct command completion_command;
extern const struct command console_command;
extern const struct command disk_command;
extern const struct command doctor_command;
extern const struct command img_command;
extern const struct command info_command;
extern const struct command kill_command;
extern const struct command list_command;
extern const struct command log_command;
extern const struct command mem_command;
extern const struct command pause_command;
extern const struct command resume_command;
extern const struct command snapshot_command;
extern const struct command stop_command;
/* From another part of the program. */
extern const struct command run_command;

#endif
