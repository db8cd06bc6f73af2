/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Command-line options from one table, which also makes --help and the shell completion.
 *
 * Options and operands may be mixed; "--" ends options and is kept as the border before what
 * follows it. Long options may be abbreviated as in getopt_long, and take "--opt=value" or
 * "--opt value".
 */
#ifndef COMMON_OPTS_H
#define COMMON_OPTS_H

#include <stdio.h>

#include "common/err.h"

struct opt {
	int id;			/* > 0; a letter when there is a short form, else >= 256 */
	const char *name;	/* long name, or NULL */
	const char *arg;	/* what the argument is called in --help; NULL: takes none */
	const char *help;	/* default value included, as "(default 512M)" */
	const char *values;	/* all that the argument may be, with blanks between; NULL: not a choice */
};

struct opts {
	int argc;
	char **argv;
	int at;
	const char *cluster;	/* inside "-abc" */
	const char *arg;	/* argument of the option that opts_next() gave */
	int rest;		/* index after "--", or argc */
};

#define OPTS_OPERAND (-2)	/* opts->arg is an operand */
#define OPTS_END (-1)
#define OPTS_BAD (-3)		/* the error says what is wrong */

/* argv[0] is the command's name. */
void opts_init(struct opts *o, int argc, char **argv);
/* The next option's id, or one of the above. table ends with an entry whose id is 0. */
int opts_next(struct opts *o, const struct opt *table, struct err *e);
/* The "Options:" part of --help, sorted as the table is. */
void opts_help(FILE *f, const struct opt *table);

#endif
