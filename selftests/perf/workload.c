// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * workload - a guest's process 1 that does what developers' machines do, and says what each piece of it took.
 *
 * Prints "NAME TICKS" lines, by the guest's own time stamp counter, which under -icount counts everybody's instructions:
 *
 *   init     the counter's value when this program was reached
 *   compile  gcc's compiler proper on every file of /source, which have been preprocessed, without optimization
 *   exec     EXECS times: fork, exec of this program, and its end
 *   switch   a byte that goes to another process and comes back, SWITCHES times
 *
 * Each piece is done once before it is measured: what it needs is in memory then, in the guest's and in the host's tables.
 * A piece that fails is a line that does not have two words, and nobody takes it for a result.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

#define EXECS		500
#define SWITCHES	5000

static int run(char *const argv[])
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		execv(argv[0], argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return status;
}

static const char *compile(void)
{
	DIR *dir = opendir("/source");
	struct dirent *d;
	char path[512];
	int files = 0;

	if (!dir)
		return "no folder with sources";
	while ((d = readdir(dir))) {
		if (d->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/source/%s", d->d_name);
		if (run((char *[]){ "/cc1", "-fpreprocessed", "-quiet", "-O0", "-o", "/object", path, NULL }))
			return "the compiler does not";
		files++;
	}
	closedir(dir);
	return files == 20 ? NULL : "there are not 20 sources";
}

static const char *exec_storm(void)
{
	for (int i = 0; i < EXECS; i++) {
		if (run((char *[]){ "/init", "child", NULL }))
			return "a child failed";
	}
	return NULL;
}

static const char *switch_storm(void)
{
	int there[2], back[2], status;
	char byte = 1;
	pid_t pid;

	if (pipe(there) || pipe(back))
		return "no pipes";
	pid = fork();
	if (pid < 0)
		return "no process";
	if (!pid) {
		close(there[1]);
		while (read(there[0], &byte, 1) == 1 && write(back[1], &byte, 1) == 1)
			;
		_exit(0);
	}
	close(there[0]);
	for (int i = 0; i < SWITCHES; i++) {
		if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
			return "the other process is gone";
	}
	close(there[1]);
	close(back[0]);
	close(back[1]);
	return waitpid(pid, &status, 0) == pid && !status ? NULL : "the other process failed";
}

static void measure(const char *name, const char *(*piece)(void))
{
	const char *error = piece();
	unsigned long long start;

	if (!error) {
		start = __rdtsc();
		error = piece();
		if (!error) {
			printf("%s %llu\n", name, __rdtsc() - start);
			return;
		}
	}
	printf("%s: it failed: %s\n", name, error);
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "child"))
		return 0;
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("init %llu\n", __rdtsc());
	measure("compile", compile);
	measure("exec", exec_storm);
	measure("switch", switch_storm);
	printf("workload done\n");
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}
