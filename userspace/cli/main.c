// SPDX-License-Identifier: GPL-2.0-or-later
/* The command line: finding the sub-command. */
#include <lodge/lodge.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/print.h"

static const struct {
	const char *name;
	int (*fn)(int argc, char **argv);
	const char *help;
} commands[] = {
	{ "completion", cmd_completion, "print a script for bash" },
	{ "console", cmd_console, "attach to a guest's console" },
	{ "doctor", cmd_doctor, "say what this host lacks" },
	{ "img", cmd_img, "create, inspect, convert and check disk images" },
	{ "info", cmd_info, "show one guest" },
	{ "kill", cmd_kill, "end a guest at once" },
	{ "list", cmd_list, "list running guests" },
	{ "log", cmd_log, "print a guest's newest console output" },
	{ "pause", cmd_pause, "halt a guest's CPUs" },
	{ "resume", cmd_resume, "let them go on" },
	{ "run", cmd_run, "boot a guest" },
	{ "stop", cmd_stop, "press a guest's power button and wait" },
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void usage(FILE *f)
{
	unsigned int i;

	fputs("Usage: lodge COMMAND [ARG]...\n\nCommands:\n", f);
	for (i = 0; i < COMMANDS; i++)
		fprintf(f, "  %-11s %s\n", commands[i].name, commands[i].help);
	fputs("\nlodge COMMAND --help tells more; lodge --version prints the version.\n\n"
	      "Examples:\n"
	      "  lodge run -m 1G -c 2 debian.vhd\n"
	      "  lodge list --json\n"
	      "  lodge stop guest-1234\n",
	      f);
}

int cmd_completion(int argc, char **argv)
{
	unsigned int i;

	(void)argc;
	(void)argv;
	printf("# bash completion for lodge: source <(lodge completion)\n_lodge()\n{\n"
	       "\tlocal cur=${COMP_WORDS[COMP_CWORD]} cmd=${COMP_WORDS[1]}\n"
	       "\tif [ \"$COMP_CWORD\" -eq 1 ]; then\n"
	       "\t\tmapfile -t COMPREPLY < <(compgen -W '--help --version");
	for (i = 0; i < COMMANDS; i++)
		printf(" %s", commands[i].name);
	printf("' -- \"$cur\")\n\t\treturn\n\tfi\n\tcase $cmd in\n"
	       "\tconsole|info|kill|log|pause|resume|stop)\n"
	       "\t\tmapfile -t COMPREPLY < <(compgen -W \"--help --json $(lodge list --names "
	       "2>/dev/null)\" -- \"$cur\");;\n"
	       "\trun)\n\t\tif [[ $cur == -* ]]; then\n"
	       "\t\t\tmapfile -t COMPREPLY < <(compgen -W \"$(lodge run --help | "
	       "sed -n 's/.*\\(--[a-z-]*\\).*/\\1/p')\" -- \"$cur\")\n"
	       "\t\telse\n\t\t\tmapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n\t\tfi;;\n"
	       "\t*)\n\t\tmapfile -t COMPREPLY < <(compgen -f -- \"$cur\");;\n"
	       "\tesac\n}\ncomplete -F _lodge lodge\n");
	return 0;
}

int main(int argc, char **argv)
{
	unsigned int i;

	if (argc < 2) {
		usage(stderr);
		return LODGE_EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		usage(stdout);
		return 0;
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		printf("lodge %s\n", lodge_version());
		return 0;
	}
	for (i = 0; i < COMMANDS; i++) {
		if (strcmp(argv[1], commands[i].name))
			continue;
		if (!commands[i].fn)
			return print_error("this build has no 'lodge %s'", argv[1]);
		return commands[i].fn(argc - 1, argv + 1);
	}
	print_error("unknown command '%s'; try: lodge --help", argv[1]);
	return LODGE_EXIT_USAGE;
}
