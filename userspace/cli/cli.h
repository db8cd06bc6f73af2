/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The sub-commands of `lodge`. Each parses its words, calls the library once, and prints.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

int cmd_console(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_info(int argc, char **argv);
int cmd_kill(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_log(int argc, char **argv);
int cmd_pause(int argc, char **argv);
int cmd_resume(int argc, char **argv);
int cmd_stop(int argc, char **argv);
int cmd_completion(int argc, char **argv);
/* From other parts of the program. */
int cmd_run(int argc, char **argv);
int cmd_img(int argc, char **argv);

#endif
