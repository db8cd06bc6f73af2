/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages and JSON text of the command line. */
#ifndef CLI_PRINT_H
#define CLI_PRINT_H

#include <lodge/lodge.h>

/* "lodge: error: ..." on stderr. Returns LODGE_EXIT_FAILURE. */
int print_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same for what the library said. */
int print_failure(const struct lodge_error *err);
/* A JSON string with its quotes. */
void print_json_string(const char *s);

#endif
