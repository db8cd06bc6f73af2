// SPDX-License-Identifier: GPL-2.0-or-later
/* Messages and JSON text. */
#include "cli/print.h"

#include <stdarg.h>
#include <stdio.h>

int print_error(const char *fmt, ...)
{
	va_list ap;

	fputs("lodge: error: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return LODGE_EXIT_FAILURE;
}

int print_failure(const struct lodge_error *err)
{
	return print_error("%s", err->message);
}

void print_json_string(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			printf("\\%c", *s);
		else if ((unsigned char)*s < 0x20)
			printf("\\u%04x", *s);
		else
			putchar(*s);
	}
	putchar('"');
}
