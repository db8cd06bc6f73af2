// SPDX-License-Identifier: GPL-2.0-or-later
/* The command line: the table of sub-commands. */
#include <fcntl.h>
#include <lodge/lodge.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

static const struct command *const commands[] = {
	&balloon_command, &completion_command, &console_command, &disk_command,	&doctor_command, &img_command, &info_command,
	&kill_command,	  &list_command,       &log_command,	 &mem_command,	&pause_command,	 &resume_command, &run_command,
	&snapshot_command, &stop_command,      NULL,
};

const struct command lodge_command = {
	.name = "",
	.examples = "  lodge run -m 1G -c 2 debian.vhd\n"
		    "  lodge list --json\n"
		    "  lodge stop guest-1234\n"
		    "\nExit codes: 0 done, 1 failed, 2 wrong usage; lodge run and lodge img have more.\n",
	.sub = commands,
};

/* Whoever started us may have closed some: what we open next must not be taken for the terminal. */
static void open_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	open_standard_descriptors();
	if (argc > 1 && (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V"))) {
		printf("lodge %s\n", lodge_version());
		return 0;
	}
	return command_run(&lodge_command, argc, argv);
}
