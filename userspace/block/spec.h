/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a user writes to name a disk, taken apart.
 */
#ifndef BLOCK_SPEC_H
#define BLOCK_SPEC_H

#include <stdbool.h>

#include "block/block.h"

struct block_spec {
	char path[4096];
	bool vhd;
	bool readonly;
	bool buffered;
	bool nodiscard;
	bool raw_parent;
	char key[4096];			/* a file, "-" or "fd:N"; empty: none */
	bool removable;
	enum block_on_error on_error;
	struct throttle_limits limits;
	char group[BLOCK_GROUP_MAX];
};

/* 0, or -EINVAL and a malloc'd sentence in *@err (@err may be NULL). */
int block_spec_parse(const char *text, struct block_spec *spec, char **err);

/* Sets *@err (if wanted) to a formatted, malloc'd sentence; returns -@code. */
int block_spec_fail(char **err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
