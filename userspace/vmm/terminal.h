/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The user's terminal: raw while a guest has it, restored on every way out.
 */
#ifndef VMM_TERMINAL_H
#define VMM_TERMINAL_H

#include <stdbool.h>

/* Whether fd is a terminal whose foreground job we are. */
bool terminal_usable(int fd);
/* Raw mode; from now on exit(), abort() and fatal signals restore it. 0 or -errno. */
int terminal_raw(int fd);
void terminal_restore(void);
/* The same, from a signal's handler. */
void terminal_emergency(void);
/* -errno when it is no terminal. */
int terminal_size(int fd, unsigned int *cols, unsigned int *rows);

#endif
