// SPDX-License-Identifier: LGPL-2.1-or-later
/* Commands as tables: finding one, its help, its words. */
#include "common/command.h"

#include <errno.h>
#include <string.h>

#include "common/size.h"

#define COMMAND_HELPED (-4)

static const struct opt plain_opts[] = {
	{ 'h', "help", NULL, "this text" },
	{ 0 },
};

const char *command_word(const struct command *c)
{
	const char *space = strrchr(c->name, ' ');

	return space ? space + 1 : c->name;
}

const struct opt *command_opts(const struct command *c)
{
	return c->opts ? c->opts : plain_opts;
}

static void list_commands(FILE *f, const struct command *c)
{
	const char *gap = *c->name ? " " : "";
	unsigned int i;

	fprintf(f, "Usage: lodge%s%s COMMAND [ARG]...\n\nCommands:\n", gap, c->name);
	for (i = 0; c->sub[i]; i++)
		fprintf(f, "  %-11s %s\n", command_word(c->sub[i]), c->sub[i]->summary);
	fprintf(f, "\nlodge%s%s COMMAND --help tells more", gap, c->name);
	fputs(*c->name ? ".\n" : "; lodge --version prints the version.\n", f);
}

void command_help(FILE *f, const struct command *c)
{
	if (c->sub)
		list_commands(f, c);
	else
		fprintf(f, "Usage: lodge %s [OPTION]...%s%s\n", c->name, c->operands ? " " : "",
			c->operands ? c->operands : "");
	if (c->text)
		fprintf(f, "\n%s", c->text);
	if (!c->sub) {
		fputc('\n', f);
		opts_help(f, command_opts(c));
	}
	if (c->examples)
		fprintf(f, "\nExamples:\n%s", c->examples);
}

static int complain(const char *text)
{
	fprintf(stderr, "lodge: error: %s\n", text);
	return COMMAND_EXIT_USAGE;
}

int command_bad(const struct err *e)
{
	return complain(e->msg);
}

int command_run(const struct command *c, int argc, char **argv)
{
	char text[200];
	unsigned int i;

	if (!c->sub)
		return c->run(c, argc, argv);
	if (argc < 2) {
		command_help(stderr, c);
		return COMMAND_EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		command_help(stdout, c);
		return 0;
	}
	for (i = 0; c->sub[i]; i++)
		if (!strcmp(argv[1], command_word(c->sub[i])))
			return command_run(c->sub[i], argc - 1, argv + 1);
	snprintf(text, sizeof(text), "unknown command '%s%s%.60s'; try: lodge%s%s --help", c->name,
		 *c->name ? " " : "", argv[1], *c->name ? " " : "", c->name);
	return complain(text);
}

void command_begin(struct command_args *a, int argc, char **argv)
{
	memset(a, 0, sizeof(*a));
	opts_init(&a->opts, argc, argv);
}

static int count_words(const struct command *c, const struct command_args *a)
{
	char text[200];

	if (a->words >= c->min && a->words <= c->max)
		return OPTS_END;
	if (a->words > c->max && !c->max)
		snprintf(text, sizeof(text), "lodge %s takes no operands; '%.60s' is one", c->name,
			 a->word[0]);
	else
		snprintf(text, sizeof(text), "lodge %s takes %s%s; try: lodge %s --help", c->name,
			 c->kind == OPERAND_GUEST && a->words < c->min ? "the NAME of a guest from lodge list" : c->operands,
			 a->words > c->max ? " and no more" : "", c->name);
	complain(text);
	return OPTS_BAD;
}

int command_next(const struct command *c, struct command_args *a)
{
	struct err e = ERR_INIT;
	int id;

	for (;;) {
		id = opts_next(&a->opts, command_opts(c), &e);
		switch (id) {
		case OPTS_OPERAND:
			if (a->words < COMMAND_WORDS)
				a->word[a->words] = a->opts.arg;
			if (++a->words > c->max)
				return count_words(c, a);
			if (c->kind != OPERAND_GUEST || a->words > 1 || name_valid(a->opts.arg))
				break;
			err_set(&e, EINVAL, "'%s' is no name of a guest", a->opts.arg);
			command_bad(&e);
			return OPTS_BAD;
		case OPTS_END:
			return count_words(c, a);
		case OPTS_BAD:
			complain(e.msg);
			return id;
		case 'h':
			command_help(stdout, c);
			return COMMAND_HELPED;
		default:
			return id;
		}
	}
}

int command_code(int end)
{
	return end == COMMAND_HELPED || end == OPTS_END ? 0 : COMMAND_EXIT_USAGE;
}
