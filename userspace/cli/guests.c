// SPDX-License-Identifier: GPL-2.0-or-later
/* Commands about running guests: list, info, stop, kill, pause, resume, log. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/print.h"
#include "common/opts.h"
#include "common/size.h"

enum { OPT_JSON = 256, OPT_NAMES, OPT_WAIT, OPT_FORCE, OPT_NO_WAIT };

struct words {
	const char *name;
	bool json, names, force, no_wait;
	unsigned long long timeout;
};

static const struct opt list_opts[] = {
	{ 'h', "help", NULL, "this text" },
	{ OPT_JSON, "json", NULL, "an array of objects" },
	{ OPT_NAMES, "names", NULL, "names only, one a line" },
	{ 0 },
};

static const struct opt info_opts[] = {
	{ 'h', "help", NULL, "this text" },
	{ OPT_JSON, "json", NULL, "an object" },
	{ 0 },
};

static const struct opt stop_opts[] = {
	{ OPT_FORCE, "force", NULL, "kill the guest when it does not stop in time" },
	{ 'h', "help", NULL, "this text" },
	{ OPT_NO_WAIT, "no-wait", NULL, "press the button and return" },
	{ OPT_WAIT, "timeout", "SECONDS", "how long to wait (default 60)" },
	{ 0 },
};

static const struct opt plain_opts[] = {
	{ 'h', "help", NULL, "this text" },
	{ 0 },
};

static int take(struct words *w, int id, const char *arg, struct err *e)
{
	u64 v;

	switch (id) {
	case OPT_JSON:
		w->json = true;
		return 0;
	case OPT_NAMES:
		w->names = true;
		return 0;
	case OPT_FORCE:
		w->force = true;
		return 0;
	case OPT_NO_WAIT:
		w->no_wait = true;
		return 0;
	case OPT_WAIT:
		if (number_parse(arg, "--timeout", 1, 1000000, &v, e) < 0)
			return -1;
		w->timeout = v;
		return 0;
	default:
		if (w->name)
			return err_set(e, 22, "only one guest can be named");
		if (!name_valid(arg))
			return err_set(e, 22, "'%s' is no name of a guest", arg);
		w->name = arg;
		return 0;
	}
}

/* Returns -1 to go on, else the exit code. */
static int parse(struct words *w, int argc, char **argv, const struct opt *table, bool want_name)
{
	struct err e = ERR_INIT;
	struct opts p;
	int id;

	memset(w, 0, sizeof(*w));
	w->timeout = 60;
	opts_init(&p, argc, argv);
	while ((id = opts_next(&p, table, &e)) != OPTS_END) {
		if (id == 'h') {
			printf("Usage: lodge %s [OPTION]...%s\n\n", argv[0],
			       want_name ? " NAME" : "");
			opts_help(stdout, table);
			return 0;
		}
		if (id == OPTS_BAD || take(w, id, p.arg, &e) < 0) {
			print_error("%s", e.msg);
			return LODGE_EXIT_USAGE;
		}
	}
	if (want_name && !w->name) {
		print_error("which guest? try: lodge %s NAME, with a NAME from lodge list", argv[0]);
		return LODGE_EXIT_USAGE;
	}
	return -1;
}

static void print_guest_json(const struct lodge_guest *g, const char *indent)
{
	printf("%s{ \"name\": ", indent);
	print_json_string(g->name);
	printf(", \"pid\": %d, \"state\": \"%s\", \"cpus\": %u, \"memory\": %llu, \"resident\": "
	       "%llu, \"uptime_ms\": %llu, \"exits\": %llu, \"device\": ",
	       g->pid, g->state, g->cpus, (unsigned long long)g->memory,
	       (unsigned long long)g->resident, (unsigned long long)g->uptime_ms,
	       (unsigned long long)g->exits);
	print_json_string(g->device);
	printf(", \"kernel\": ");
	print_json_string(g->kernel);
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

int cmd_list(int argc, char **argv)
{
	struct lodge_guest *g;
	struct lodge_error e;
	struct words w;
	size_t n, i;
	int r;

	r = parse(&w, argc, argv, list_opts, false);
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

int cmd_info(int argc, char **argv)
{
	struct lodge_guest g;
	struct lodge_error e;
	struct words w;
	int r;

	r = parse(&w, argc, argv, info_opts, true);
	if (r >= 0)
		return r;
	if (lodge_info(w.name, &g, &e) < 0)
		return print_failure(&e);
	if (w.json) {
		print_guest_json(&g, "");
		putchar('\n');
		return 0;
	}
	printf("name      %s\nstate     %s\npid       %d\ncpus      %u\nmemory    %llu MiB\n"
	       "resident  %llu MiB\nuptime    %llu s\nexits     %llu\ndevice    %s\nkernel    %s\n",
	       g.name, g.state, g.pid, g.cpus, (unsigned long long)(g.memory >> 20),
	       (unsigned long long)(g.resident >> 20), (unsigned long long)(g.uptime_ms / 1000),
	       (unsigned long long)g.exits, g.device, g.kernel);
	return 0;
}

static int simple(int argc, char **argv, int (*fn)(const char *, struct lodge_error *))
{
	struct lodge_error e;
	struct words w;
	int r;

	r = parse(&w, argc, argv, plain_opts, true);
	if (r >= 0)
		return r;
	return fn(w.name, &e) < 0 ? print_failure(&e) : 0;
}

int cmd_pause(int argc, char **argv)
{
	return simple(argc, argv, lodge_pause);
}

int cmd_resume(int argc, char **argv)
{
	return simple(argc, argv, lodge_resume);
}

static int kill_and_wait(const char *name, struct lodge_error *e)
{
	int r = lodge_kill(name, e);

	return r < 0 ? r : lodge_wait(name, 10000, e);
}

int cmd_kill(int argc, char **argv)
{
	return simple(argc, argv, kill_and_wait);
}

int cmd_stop(int argc, char **argv)
{
	struct lodge_error e;
	struct words w;
	int r;

	r = parse(&w, argc, argv, stop_opts, true);
	if (r >= 0)
		return r;
	if (lodge_stop(w.name, &e) < 0)
		return print_failure(&e);
	if (w.no_wait || lodge_wait(w.name, w.timeout * 1000, &e) == 0)
		return 0;
	if (w.force)
		return kill_and_wait(w.name, &e) < 0 ? print_failure(&e) : 0;
	return print_error("%s; try: lodge stop --force %s, or lodge kill %s", e.message, w.name,
			   w.name);
}

int cmd_log(int argc, char **argv)
{
	struct lodge_error e;
	struct words w;
	char *text;
	size_t len;
	int r;

	r = parse(&w, argc, argv, plain_opts, true);
	if (r >= 0)
		return r;
	if (lodge_log(w.name, &text, &len, &e) < 0)
		return print_failure(&e);
	fwrite(text, 1, len, stdout);
	free(text);
	return fflush(stdout) ? print_error("cannot write") : 0;
}
