// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * `lodge completion`: a script for bash, made from the command tables.
 *
 * The script looks up the words that the command so far may be followed by: sub-commands, or
 * options and then files or names of guests. Behind an option that takes a value there are files,
 * the choices that its help spells out, or nothing.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static const char head[] =
	"# bash completion for lodge: source <(lodge completion)\n"
	"_lodge()\n{\n"
	"\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} cmd= words= kind= i\n"
	"\t# bash makes three words of --option=VALUE, and of N=FILE\n"
	"\ti=$COMP_CWORD\n"
	"\t[[ $cur == '=' ]] && { cur= i=$((i + 1)); prev='='; }\n"
	"\t[[ $prev == '=' ]] && { prev=${COMP_WORDS[i-2]}; [[ $prev == -* ]] || prev=${COMP_WORDS[i-3]}; }\n"
	"\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
	"\t\t[[ ${COMP_WORDS[i]} == -* ]] && break\n"
	"\t\tcase \"$cmd ${COMP_WORDS[i]}\" in\n";

static const char tail[] =
	"\tesac\n"
	"\tcase $kind in\n"
	"\tguest) [[ $cur == -* ]] || words=$(lodge list --names 2>/dev/null);;\n"
	"\tfile) [[ $cur == -* ]] || { compopt -o filenames 2>/dev/null\n"
	"\t\tmapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); return; };;\n"
	"\tesac\n"
	"\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
	"}\ncomplete -F _lodge lodge\n";

static void each_path(const struct command *c)
{
	unsigned int i;

	for (i = 0; c->sub && c->sub[i]; i++) {
		printf("\t\t'%s%s %s') cmd+=' %s';;\n", *c->name ? " " : "", c->name,
		       command_word(c->sub[i]), command_word(c->sub[i]));
		each_path(c->sub[i]);
	}
}

static bool takes_file(const struct opt *o)
{
	return strstr(o->arg, "FILE") || !strcmp(o->arg, "PATH") || !strcmp(o->arg, "SPEC");
}

static void option_values(const struct command *c)
{
	const struct opt *o;
	bool any = false;

	for (o = command_opts(c); o->id; o++) {
		if (!o->arg)
			continue;
		printf("%s\t\t", any ? "\n" : "\n\t\tcase $prev in\n");
		any = true;
		if (o->id < 256)
			printf("-%c|", o->id);
		if (o->values)
			printf("--%s) kind= words='%s';;", o->name, o->values);
		else if (takes_file(o))
			printf("--%s) kind=file words=;;", o->name);
		else
			printf("--%s) return;;", o->name);
	}
	fputs(any ? "\n\t\tesac;;\n" : ";;\n", stdout);
}

static void each_command(const struct command *c)
{
	static const char *const kinds[] = { "", "file", "guest" };
	const struct opt *o;
	unsigned int i;

	printf("\t'%s%s') kind=%s words='", *c->name ? " " : "", c->name, kinds[c->kind]);
	for (i = 0; c->sub && c->sub[i]; i++)
		printf("%s ", command_word(c->sub[i]));
	for (o = command_opts(c); o->id; o++)
		printf("--%s ", o->name);
	printf("%s'", *c->name ? "" : "--version");
	option_values(c);
	for (i = 0; c->sub && c->sub[i]; i++)
		each_command(c->sub[i]);
}

static int completion(const struct command *c, int argc, char **argv)
{
	struct command_args a;
	int id;

	command_begin(&a, argc, argv);
	id = command_next(c, &a);
	if (id != OPTS_END)
		return command_code(id);
	fputs(head, stdout);
	each_path(&lodge_command);
	printf("\t\tesac\n\tdone\n\tcase $cmd in\n");
	each_command(&lodge_command);
	fputs(tail, stdout);
	return 0;
}

const struct command completion_command = {
	.name = "completion",
	.summary = "print a script for bash",
	.text = "Prints a script that completes lodge's commands, options, guests and files.\n",
	.examples = "  source <(lodge completion)\n"
		    "  lodge completion >/etc/bash_completion.d/lodge\n",
	.run = completion,
};
