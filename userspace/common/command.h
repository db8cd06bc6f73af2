/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A command of the command line as data, which --help, the parser and the shell's completion all
 * read. Unlike its neighbours this part belongs to the command line: it prints.
 */
#ifndef COMMON_COMMAND_H
#define COMMON_COMMAND_H

#include "common/opts.h"

#define COMMAND_WORDS 4
#define COMMAND_EXIT_USAGE 2

/* What the operands are; of guests only the first one, and its name is checked. */
enum operand_kind { OPERAND_NONE, OPERAND_FILE, OPERAND_GUEST };

struct command {
	const char *name;		/* all words behind "lodge": "img create" */
	const char *summary;		/* one line, in the list of commands */
	const char *operands;		/* in the usage line: "FILE [SIZE]", or NULL */
	const char *text;		/* what --help says above the options */
	const char *examples;		/* and below them: lines, each a command; then what else there is */
	const struct opt *opts;		/* NULL: those of every command, "--help" */
	enum operand_kind kind;
	unsigned int min, max;		/* operands; max <= COMMAND_WORDS */
	int (*run)(const struct command *c, int argc, char **argv);
	const struct command *const *sub;	/* instead of run: commands below, NULL behind the last */
};

struct command_args {
	struct opts opts;		/* opts.arg: the option's argument */
	const char *word[COMMAND_WORDS];	/* operands so far */
	unsigned int words;
};

/* The last word of the name. */
const char *command_word(const struct command *c);
/* Never NULL. */
const struct opt *command_opts(const struct command *c);
void command_help(FILE *f, const struct command *c);
/* Finds the command of argv[1] in c->sub and so on, and runs it. Returns an exit code. */
int command_run(const struct command *c, int argc, char **argv);

/* argv[0] is the command's own word. */
void command_begin(struct command_args *a, int argc, char **argv);
/*
 * The next option's id. Operands are collected and counted; --help and mistakes are answered
 * here. Below 0 it is over: OPTS_END to go on, else command_code() is the exit code.
 */
int command_next(const struct command *c, struct command_args *a);
int command_code(int end);
/* Prints e's message and returns COMMAND_EXIT_USAGE. */
int command_bad(const struct err *e);

#endif
