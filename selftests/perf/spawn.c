// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * spawn - how long until a command's output has a marker, and how much memory it then has of its own.
 *
 * usage: spawn RAM-MIB MARKER COMMAND [ARG...]
 *
 * Prints "ticks N" (TSC from just before the fork until the marker was read) and "pss N" (KiB: proportional set size of the
 * command's mappings but those of RAM-MIB MiB or more, which are the guest's memory), then kills the command.
 * Exit status 1 if the command ended without the marker, whose output is then on stderr.
 */
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

/* Pss of every mapping below @limit KiB. */
static long own_memory(pid_t pid, unsigned long limit)
{
	unsigned long start, end;
	char path[64], line[512];
	bool counted = false;
	long sum = 0, pss;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	f = fopen(path, "r");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			counted = (end - start) / 1024 < limit;
		else if (counted && sscanf(line, "Pss: %ld kB", &pss) == 1)
			sum += pss;
	}
	fclose(f);
	return sum;
}

int main(int argc, char **argv)
{
	static char out[1 << 20];
	unsigned long long start, end = 0;
	size_t have = 0;
	int fd[2];
	pid_t pid;
	long pss;

	if (argc < 4) {
		fprintf(stderr, "usage: spawn RAM-MIB MARKER COMMAND [ARG...]\n");
		return 2;
	}
	if (pipe(fd))
		return 2;
	start = __rdtsc();
	pid = fork();
	if (pid == 0) {
		dup2(fd[1], 1);
		dup2(fd[1], 2);
		close(fd[0]);
		close(fd[1]);
		execvp(argv[3], argv + 3);
		perror(argv[3]);
		_exit(127);
	}
	close(fd[1]);
	while (have < sizeof(out) - 1) {
		ssize_t n = read(fd[0], out + have, sizeof(out) - 1 - have);

		if (n <= 0)
			break;
		end = __rdtsc();
		have += n;
		out[have] = 0;
		if (strstr(out, argv[2]))
			goto found;
	}
	fprintf(stderr, "spawn: no \"%s\" in the output of %s:\n%s\n", argv[2], argv[3], out);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return 1;
found:
	pss = own_memory(pid, strtoul(argv[1], NULL, 0) * 1024);
	printf("ticks %llu\npss %ld\n", end - start, pss);
	fflush(stdout);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return 0;
}
