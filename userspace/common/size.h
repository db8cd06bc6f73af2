/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sizes, counts and names as users write them.
 */
#ifndef COMMON_SIZE_H
#define COMMON_SIZE_H

#include "common/err.h"
#include "common/types.h"

/* "512M", "2G", "64KiB": suffixes B K M G T P, case ignored; a bare number counts unit bytes. */
int size_parse(const char *text, u64 unit, u64 *out, struct err *e);
/* A decimal number within [min, max]; what names it in the message. */
int number_parse(const char *text, const char *what, u64 min, u64 max, u64 *out, struct err *e);
/* [A-Za-z][A-Za-z0-9._-]*, at most 48 characters. */
bool name_valid(const char *name);

#endif
