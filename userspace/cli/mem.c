// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * lodge mem: who has how much memory, and what sharing it saved.
 *
 * One line a guest, and one below for those that share. What the host holds for a guest is its private pages and its part
 * of the shared ones; what is shared by n guests counts a n-th for each, so the column adds up to what the host has given.
 * With --interval the table comes again, and breaks are told as a rate.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/print.h"
#include "common/size.h"

enum { OPT_JSON = 256, OPT_INTERVAL, OPT_COUNT };

struct words {
	const char *name;
	bool json;
	u64 interval_s, count;
};

/* One guest at two times. */
struct sample {
	struct lodge_guest *guest;
	size_t count;
};

static u64 host_bytes(const struct lodge_guest *g)
{
	const struct lodge_sharing *s = &g->sharing;

	return s->on ? s->private_bytes - s->swapped + s->shared - s->saved : g->resident;
}

static double breaks_rate(const struct lodge_guest *g, const struct sample *before)
{
	size_t i;

	for (i = 0; i < before->count; i++) {
		const struct lodge_guest *b = &before->guest[i];

		if (b->pid == g->pid && g->uptime_ms > b->uptime_ms)
			return (double)(g->sharing.breaks - b->sharing.breaks) * 1000 / (g->uptime_ms - b->uptime_ms);
	}
	return g->uptime_ms ? (double)g->sharing.breaks * 1000 / g->uptime_ms : 0;
}

static unsigned long long mib(u64 bytes)
{
	return (bytes + MIB / 2) / MIB;
}

static void print_line(const struct lodge_guest *g, const struct sample *before)
{
	const struct lodge_sharing *s = &g->sharing;

	printf("%-20s %8llu %8llu %8llu", g->name, mib(g->memory), mib(host_bytes(g)), mib(g->memory - g->memory_actual));
	if (s->on)
		printf(" %8llu %8llu %8llu %8llu %9.1f\n", mib(s->private_bytes), mib(s->shared), mib(s->saved), mib(s->swapped),
		       breaks_rate(g, before));
	else
		printf(" %8s %8s %8s %8s %9s\n", "-", "-", "-", "-", "-");
}

static void print_table(const struct sample *now, const struct sample *before)
{
	u64 memory = 0, host = 0, saved = 0;
	size_t i;

	printf("%-20s %8s %8s %8s %8s %8s %8s %8s %9s\n", "NAME (MiB)", "MEMORY", "HOST", "BALLOON", "PRIVATE", "SHARED", "SAVED",
	       "SWAPPED", "BREAKS/s");
	for (i = 0; i < now->count; i++) {
		const struct lodge_guest *g = &now->guest[i];

		print_line(g, before);
		memory += g->memory;
		host += host_bytes(g);
		saved += g->sharing.saved;
	}
	if (now->count > 1)
		printf("%-20s %8llu %8llu %8s %8s %8s %8llu\n", "all", mib(memory), mib(host), "", "", "", mib(saved));
}

static void print_json(const struct sample *now)
{
	size_t i;

	printf("[");
	for (i = 0; i < now->count; i++) {
		const struct lodge_guest *g = &now->guest[i];
		const struct lodge_sharing *s = &g->sharing;

		printf("%s\n  { \"name\": ", i ? "," : "");
		print_json_string(g->name);
		printf(", \"memory\": %llu, \"host\": %llu, \"balloon\": %llu, \"sharing\": ", (unsigned long long)g->memory,
		       (unsigned long long)host_bytes(g), (unsigned long long)(g->memory - g->memory_actual));
		if (!s->on) {
			printf("null }");
			continue;
		}
		printf("{ \"private\": %llu, \"shared\": %llu, \"saved\": %llu, \"swapped\": %llu, \"breaks\": %llu, "
		       "\"breaks_waited\": %llu, ",
		       (unsigned long long)s->private_bytes, (unsigned long long)s->shared, (unsigned long long)s->saved,
		       (unsigned long long)s->swapped, (unsigned long long)s->breaks, (unsigned long long)s->breaks_waited);
		printf("\"unread\": %llu, \"refused_busy\": %llu, \"refused_low\": %llu, \"scanned\": %llu, \"group_frames\": %llu, "
		       "\"group_users\": %llu, \"reserve\": %llu, \"reserve_wanted\": %llu } }",
		       (unsigned long long)s->unread, (unsigned long long)s->refused_busy, (unsigned long long)s->refused_low,
		       (unsigned long long)s->scanned,
		       (unsigned long long)s->group_frames, (unsigned long long)s->group_users, (unsigned long long)s->reserve,
		       (unsigned long long)s->reserve_wanted);
	}
	printf("%s]\n", now->count ? "\n" : "");
}

static int take_sample(const struct words *w, struct sample *s, struct lodge_error *e)
{
	int r;

	if (!w->name)
		return lodge_list(&s->guest, &s->count, e);
	s->count = 1;
	s->guest = malloc(sizeof(*s->guest));
	if (!s->guest) {
		e->code = ENOMEM;
		snprintf(e->message, sizeof(e->message), "no memory");
		return -ENOMEM;
	}
	r = lodge_info(w->name, s->guest, e);
	if (r < 0)
		free(s->guest);
	return r;
}

/* Returns -1 to go on, else the exit code. */
static int parse(struct words *w, const struct command *c, int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct command_args a;
	int id, r = 0;

	*w = (struct words){ .count = 1 };
	command_begin(&a, argc, argv);
	while ((id = command_next(c, &a)) >= 0) {
		if (id == OPT_JSON)
			w->json = true;
		else if (id == OPT_INTERVAL)
			r = number_parse(a.opts.arg, "--interval", 1, 86400, &w->interval_s, &e);
		else
			r = number_parse(a.opts.arg, "--count", 1, 1000000000, &w->count, &e);
		if (r < 0)
			return command_bad(&e);
		if (id == OPT_INTERVAL)
			w->count = w->count == 1 ? 0 : w->count;
	}
	w->name = a.word[0];
	return id == OPTS_END ? -1 : command_code(id);
}

static int cmd_mem(const struct command *c, int argc, char **argv)
{
	struct sample now = { 0 }, before = { 0 };
	struct lodge_error e;
	struct words w;
	u64 n = 0;
	int r;

	r = parse(&w, c, argc, argv);
	if (r >= 0)
		return r;
	for (;;) {
		if (take_sample(&w, &now, &e) < 0) {
			free(before.guest);
			return print_failure(&e);
		}
		if (w.json)
			print_json(&now);
		else
			print_table(&now, &before);
		free(before.guest);
		before = now;
		if (fflush(stdout) || ++n == w.count)
			break;
		nanosleep(&(struct timespec){ w.interval_s ? w.interval_s : 1, 0 }, NULL);
		if (!w.json)
			putchar('\n');
	}
	free(before.guest);
	return ferror(stdout) ? print_error("cannot write") : 0;
}

const struct command mem_command = {
	.name = "mem",
	.summary = "show who has how much memory, and what sharing saves",
	.operands = "[NAME]",
	.max = 1,
	.kind = OPERAND_GUEST,
	.text = "Shows for each guest, or one, in MiB: what it was given, what the host holds for it, what\n"
		"its balloon has; and where it runs with --share: private, shared, saved and swapped\n"
		"memory, and how often it writes to shared pages.\n",
	.examples = "  lodge mem\n  lodge mem --interval 2\n  lodge mem --json web-1\n",
	.opts = (const struct opt[]) {
		{ OPT_COUNT, "count", "N", "show it N times (default 1, with --interval until interrupted)" },
		{ 'h', "help", NULL, "this text" },
		{ OPT_INTERVAL, "interval", "SECONDS", "show it again each SECONDS" },
		{ OPT_JSON, "json", NULL, "an array of objects, sizes in bytes" },
		{ 0 },
	},
	.run = cmd_mem,
};
