// SPDX-License-Identifier: LGPL-2.1-or-later
/* The option parser: no global state, so that sub-commands may nest and tests may repeat. */
#include "common/opts.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

void opts_init(struct opts *o, int argc, char **argv)
{
	memset(o, 0, sizeof(*o));
	o->argc = argc;
	o->argv = argv;
	o->at = 1;
	o->rest = argc;
}

static const struct opt *find_short(const struct opt *table, char c)
{
	for (; table->id; table++)
		if (table->id == c)
			return table;
	return NULL;
}

static const struct opt *find_long(const struct opt *table, const char *name, size_t len,
				   bool *ambiguous)
{
	const struct opt *hit = NULL;

	*ambiguous = false;
	for (; table->id; table++) {
		if (!table->name || strncmp(table->name, name, len))
			continue;
		if (!table->name[len])
			return table;
		if (hit)
			*ambiguous = true;
		hit = table;
	}
	return *ambiguous ? NULL : hit;
}

static int bad(struct err *e, const char *fmt, const char *what)
{
	char text[200];

	snprintf(text, sizeof(text), fmt, what);
	err_set(e, EINVAL, "%s; try: --help", text);
	return OPTS_BAD;
}

static int next_long(struct opts *o, const struct opt *table, const char *word, struct err *e)
{
	const char *eq = strchr(word, '=');
	size_t len = eq ? (size_t)(eq - word) : strlen(word);
	const struct opt *t;
	bool ambiguous;

	t = find_long(table, word, len, &ambiguous);
	if (!t)
		return bad(e, ambiguous ? "option --%s is ambiguous" : "unknown option --%s", word);
	if (!t->arg && eq)
		return bad(e, "option --%s takes no value", t->name);
	if (t->arg) {
		if (!eq && o->at >= o->argc)
			return bad(e, "option --%s needs a value", t->name);
		o->arg = eq ? eq + 1 : o->argv[o->at++];
	}
	return t->id;
}

static int next_short(struct opts *o, const struct opt *table, struct err *e)
{
	char c[2] = { *o->cluster++, 0 };
	const struct opt *t = find_short(table, c[0]);

	if (!t)
		return bad(e, "unknown option -%s", c);
	if (t->arg) {
		if (*o->cluster)
			o->arg = o->cluster;
		else if (o->at < o->argc)
			o->arg = o->argv[o->at++];
		else
			return bad(e, "option -%s needs a value", c);
		o->cluster = NULL;
	} else if (!*o->cluster) {
		o->cluster = NULL;
	}
	return t->id;
}

int opts_next(struct opts *o, const struct opt *table, struct err *e)
{
	const char *word;

	o->arg = NULL;
	if (o->cluster)
		return next_short(o, table, e);
	if (o->at >= o->argc)
		return OPTS_END;
	word = o->argv[o->at++];
	if (!strcmp(word, "--")) {
		o->rest = o->at;
		o->at = o->argc;
		return OPTS_END;
	}
	if (word[0] == '-' && word[1] == '-')
		return next_long(o, table, word + 2, e);
	if (word[0] == '-' && word[1]) {
		o->cluster = word + 1;
		return next_short(o, table, e);
	}
	o->arg = word;
	return OPTS_OPERAND;
}

void opts_help(FILE *f, const struct opt *table)
{
	char left[64];

	fputs("Options:\n", f);
	for (; table->id; table++) {
		if (table->id < 256 && table->name)
			snprintf(left, sizeof(left), "-%c, --%s", table->id, table->name);
		else if (table->id < 256)
			snprintf(left, sizeof(left), "-%c", table->id);
		else
			snprintf(left, sizeof(left), "    --%s", table->name);
		if (table->arg)
			snprintf(left + strlen(left), sizeof(left) - strlen(left), " %s",
				 table->arg);
		fprintf(f, "  %-27s %s\n", left, table->help);
	}
}
