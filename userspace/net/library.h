/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Libraries that only some guests need, loaded when they do.
 *
 * The user network's and netlink's libraries bring a megabyte of pages and a few milliseconds of relocations to every process
 * that is linked with them; most guests use one of them or none.  They are loaded before the process narrows its rights, and
 * never unloaded.
 */
#ifndef NET_LIBRARY_H
#define NET_LIBRARY_H

#include <stddef.h>

#include "common/err.h"

struct library_symbol {
	const char *name;
	void *where;		/* address of a function pointer */
};

/*
 * Load @soname once and fill @symbols.  @package: what the user installs if it is missing.
 * 0, or -ENOENT with a message. Not thread-safe: called while devices are made.
 */
int library_load(const char *soname, const char *package, const struct library_symbol *symbols, size_t n, struct err *e);

#endif
