// SPDX-License-Identifier: GPL-2.0-or-later
/* Commands about running guests: list, info, stop, kill, balloon, pause, resume, log. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/print.h"
#include "common/size.h"

enum { OPT_JSON = 256, OPT_NAMES, OPT_WAIT, OPT_FORCE, OPT_NO_WAIT };

struct words {
	const char *name, *size;
	bool json, names, force, no_wait;
	u64 timeout_s;
};

static int take(struct words *w, int id, const char *arg)
{
	struct err e = ERR_INIT;

	switch (id) {
	case OPT_JSON:
		w->json = true;
		break;
	case OPT_NAMES:
		w->names = true;
		break;
	case OPT_FORCE:
		w->force = true;
		break;
	case OPT_NO_WAIT:
		w->no_wait = true;
		break;
	case OPT_WAIT:
		if (number_parse(arg, "--timeout", 1, 1000000, &w->timeout_s, &e) < 0)
			return command_bad(&e);
		break;
	}
	return -1;
}

/* Returns -1 to go on, else the exit code. */
static int parse(struct words *w, const struct command *c, int argc, char **argv)
{
	struct command_args a;
	int id, code;

	memset(w, 0, sizeof(*w));
	w->timeout_s = 60;
	command_begin(&a, argc, argv);
	while ((id = command_next(c, &a)) >= 0) {
		code = take(w, id, a.opts.arg);
		if (code >= 0)
			return code;
	}
	w->name = a.word[0];
	w->size = a.word[1];
	return id == OPTS_END ? -1 : command_code(id);
}

static void print_guest_json(const struct lodge_guest *g, const char *indent)
{
	printf("%s{ \"name\": ", indent);
	print_json_string(g->name);
	printf(", \"pid\": %d, \"state\": \"%s\", \"cpus\": %u, \"memory\": %llu, "
	       "\"memory_target\": %llu, \"memory_actual\": %llu, \"balloon\": %s, \"reported\": %llu, "
	       "\"resident\": %llu, \"uptime_ms\": %llu, \"exits\": %llu, \"device\": ",
	       g->pid, g->state, g->cpus, (unsigned long long)g->memory,
	       (unsigned long long)g->memory_target, (unsigned long long)g->memory_actual,
	       g->balloon ? "true" : "false", (unsigned long long)g->reported,
	       (unsigned long long)g->resident, (unsigned long long)g->uptime_ms,
	       (unsigned long long)g->exits);
	print_json_string(g->device);
	printf(", \"kernel\": ");
	print_json_string(g->kernel);
	if (*g->reason) {
		printf(", \"reason\": ");
		print_json_string(g->reason);
	}
	printf(" }");
}

static void print_table(const struct lodge_guest *g, size_t n)
{
	size_t i;

	printf("%-20s %7s %-12s %4s %8s %9s\n", "NAME", "PID", "STATE", "CPUS", "MEMORY", "UPTIME");
	for (i = 0; i < n; i++)
		printf("%-20s %7d %-12s %4u %7lluM %8llus\n", g[i].name, g[i].pid, g[i].state,
		       g[i].cpus, (unsigned long long)(g[i].memory >> 20),
		       (unsigned long long)(g[i].uptime_ms / 1000));
}

static int cmd_list(const struct command *c, int argc, char **argv)
{
	struct lodge_guest *g;
	struct lodge_error e;
	struct words w;
	size_t n, i;
	int r;

	r = parse(&w, c, argc, argv);
	if (r >= 0)
		return r;
	if (lodge_list(&g, &n, &e) < 0)
		return print_failure(&e);
	if (w.names) {
		for (i = 0; i < n; i++)
			puts(g[i].name);
	} else if (w.json) {
		printf("[");
		for (i = 0; i < n; i++) {
			printf("%s\n", i ? "," : "");
			print_guest_json(&g[i], "  ");
		}
		printf("%s]\n", n ? "\n" : "");
	} else {
		print_table(g, n);
	}
	free(g);
	return 0;
}

static void print_memory(const struct lodge_guest *g)
{
	printf("memory    %llu MiB", (unsigned long long)(g->memory >> 20));
	if (g->balloon)
		printf(", of which it has %llu and is asked to make do with %llu; %llu MiB reported free so far\n",
		       (unsigned long long)(g->memory_actual >> 20), (unsigned long long)(g->memory_target >> 20),
		       (unsigned long long)(g->reported >> 20));
	else
		printf("; it has no balloon driver\n");
}

static int cmd_info(const struct command *c, int argc, char **argv)
{
	struct lodge_guest g;
	struct lodge_error e;
	struct words w;
	int r;

	r = parse(&w, c, argc, argv);
	if (r >= 0)
		return r;
	if (lodge_info(w.name, &g, &e) < 0)
		return print_failure(&e);
	if (w.json) {
		print_guest_json(&g, "");
		putchar('\n');
		return 0;
	}
	printf("name      %s\nstate     %s%s%s\npid       %d\ncpus      %u\n", g.name, g.state, *g.reason ? ": " : "", g.reason,
	       g.pid, g.cpus);
	print_memory(&g);
	printf("resident  %llu MiB\nuptime    %llu s\nexits     %llu\ndevice    %s\nkernel    %s\n",
	       (unsigned long long)(g.resident >> 20), (unsigned long long)(g.uptime_ms / 1000),
	       (unsigned long long)g.exits, g.device, g.kernel);
	return 0;
}

static int simple(const struct command *c, int argc, char **argv,
		  int (*fn)(const char *, struct lodge_error *))
{
	struct lodge_error e;
	struct words w;
	int r;

	r = parse(&w, c, argc, argv);
	if (r >= 0)
		return r;
	return fn(w.name, &e) < 0 ? print_failure(&e) : 0;
}

static int cmd_pause(const struct command *c, int argc, char **argv)
{
	return simple(c, argc, argv, lodge_pause);
}

static int cmd_resume(const struct command *c, int argc, char **argv)
{
	return simple(c, argc, argv, lodge_resume);
}

static int kill_and_wait(const char *name, struct lodge_error *e)
{
	int r = lodge_kill(name, e);

	return r < 0 ? r : lodge_wait(name, 10000, e);
}

static int cmd_kill(const struct command *c, int argc, char **argv)
{
	return simple(c, argc, argv, kill_and_wait);
}

static int cmd_stop(const struct command *c, int argc, char **argv)
{
	struct lodge_error e;
	struct words w;
	int r;

	r = parse(&w, c, argc, argv);
	if (r >= 0)
		return r;
	if (lodge_stop(w.name, &e) < 0)
		return print_failure(&e);
	if (w.no_wait || lodge_wait(w.name, w.timeout_s * 1000, &e) == 0)
		return 0;
	if (w.force)
		return kill_and_wait(w.name, &e) < 0 ? print_failure(&e) : 0;
	return print_error("%s; try: lodge stop --force %s, or lodge kill %s", e.message, w.name,
			   w.name);
}

/* Until the guest has what it was asked to make do with, give or take a MiB. */
static int balloon_wait(const char *name, struct lodge_guest *g, u64 timeout_s, struct lodge_error *e)
{
	struct timespec nap = { 0, 100000000 };
	u64 left = timeout_s * 10;
	int r;

	do {
		nanosleep(&nap, NULL);
		r = lodge_info(name, g, e);
		if (r < 0)
			return r;
		if (llabs((long long)(g->memory_actual - g->memory_target)) <= 1 << 20)
			return 0;
	} while (left--);
	return -ETIMEDOUT;
}

static int cmd_balloon(const struct command *c, int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct lodge_error why;
	struct lodge_guest g;
	struct words w;
	u64 bytes;
	int r;

	r = parse(&w, c, argc, argv);
	if (r >= 0)
		return r;
	if (w.size && size_parse(w.size, MIB, &bytes, &e) < 0)
		return command_bad(&e);
	if (lodge_info(w.name, &g, &why) < 0 || (w.size && lodge_balloon(w.name, bytes, &why) < 0))
		return print_failure(&why);
	r = w.size && !w.no_wait ? balloon_wait(w.name, &g, w.timeout_s, &why) : lodge_info(w.name, &g, &why);
	if (r < 0 && r != -ETIMEDOUT)
		return print_failure(&why);
	if (w.json) {
		print_guest_json(&g, "");
		putchar('\n');
	} else {
		print_memory(&g);
	}
	if (!r)
		return 0;
	return g.balloon ? print_error("guest %s has not got there in %llu s; it may need the memory; lodge info %s "
				       "tells how far it comes", w.name, (unsigned long long)w.timeout_s, w.name) :
			   print_error("guest %s has no balloon driver; it keeps its memory", w.name);
}

static int cmd_log(const struct command *c, int argc, char **argv)
{
	struct lodge_error e;
	struct words w;
	char *text;
	size_t len;
	int r;

	r = parse(&w, c, argc, argv);
	if (r >= 0)
		return r;
	if (lodge_log(w.name, &text, &len, &e) < 0)
		return print_failure(&e);
	fwrite(text, 1, len, stdout);
	free(text);
	return fflush(stdout) ? print_error("cannot write") : 0;
}

#define OF_ONE_GUEST .operands = "NAME", .min = 1, .max = 1, .kind = OPERAND_GUEST

const struct command list_command = {
	.name = "list",
	.summary = "list running guests",
	.text = "Lists the running guests of this run directory.\n",
	.examples = "  lodge list\n  lodge list --json\n",
	.opts = (const struct opt[]) {
		{ 'h', "help", NULL, "this text" },
		{ OPT_JSON, "json", NULL, "an array of objects" },
		{ OPT_NAMES, "names", NULL, "names only, one a line" },
		{ 0 },
	},
	.run = cmd_list,
};

const struct command info_command = {
	.name = "info",
	.summary = "show one guest",
	OF_ONE_GUEST,
	.text = "Shows one running guest: state, size, what it runs on.\n",
	.examples = "  lodge info web-1\n  lodge info --json web-1\n",
	.opts = (const struct opt[]) {
		{ 'h', "help", NULL, "this text" },
		{ OPT_JSON, "json", NULL, "an object" },
		{ 0 },
	},
	.run = cmd_info,
};

const struct command pause_command = {
	.name = "pause",
	.summary = "halt a guest's CPUs",
	OF_ONE_GUEST,
	.text = "Halts the guest's CPUs until lodge resume.\n",
	.examples = "  lodge pause web-1\n",
	.run = cmd_pause,
};

const struct command resume_command = {
	.name = "resume",
	.summary = "let them go on",
	OF_ONE_GUEST,
	.text = "Lets the CPUs of a paused guest go on. What a disk could not do when it paused the guest\n"
		"(see lodge info) is tried again.\n",
	.examples = "  lodge resume web-1\n",
	.run = cmd_resume,
};

const struct command kill_command = {
	.name = "kill",
	.summary = "end a guest at once",
	OF_ONE_GUEST,
	.text = "Ends the guest at once, whatever it does; its disks stay as a power cut would\n"
		"leave them.\n",
	.examples = "  lodge kill web-1\n",
	.run = cmd_kill,
};

const struct command stop_command = {
	.name = "stop",
	.summary = "press a guest's power button and wait",
	OF_ONE_GUEST,
	.text = "Presses the guest's power button and waits until it has shut itself down.\n\n"
		"Exit codes: 0 it has (or was pressed, with --no-wait), 1 it has not, or failed.\n",
	.examples = "  lodge stop web-1\n  lodge stop --timeout 20 --force web-1\n",
	.opts = (const struct opt[]) {
		{ OPT_FORCE, "force", NULL, "kill the guest when it does not stop in time" },
		{ 'h', "help", NULL, "this text" },
		{ OPT_NO_WAIT, "no-wait", NULL, "press the button and return" },
		{ OPT_WAIT, "timeout", "SECONDS", "how long to wait (default 60)" },
		{ 0 },
	},
	.run = cmd_stop,
};

const struct command balloon_command = {
	.name = "balloon",
	.summary = "take memory from a guest, and give it back",
	.operands = "NAME [SIZE]",
	.min = 1,
	.max = 2,
	.kind = OPERAND_GUEST,
	.text = "Asks the guest to make do with SIZE of its memory (in MiB, or with a suffix), and\n"
		"waits until it does. What it gives up is the host's until SIZE is raised again.\n"
		"Without SIZE, tells how it stands.\n\n"
		"Exit codes: 0 done, 1 the guest has not done it in time, or failed.\n",
	.examples = "  lodge balloon web-1 256M\n  lodge balloon --json web-1\n",
	.opts = (const struct opt[]) {
		{ 'h', "help", NULL, "this text" },
		{ OPT_JSON, "json", NULL, "an object, as lodge info prints it" },
		{ OPT_NO_WAIT, "no-wait", NULL, "ask and return" },
		{ OPT_WAIT, "timeout", "SECONDS", "how long to wait (default 60)" },
		{ 0 },
	},
	.run = cmd_balloon,
};

const struct command log_command = {
	.name = "log",
	.summary = "print a guest's newest console output",
	OF_ONE_GUEST,
	.text = "Prints the guest's newest console output, up to 64 KiB.\n",
	.examples = "  lodge log web-1\n",
	.run = cmd_log,
};
