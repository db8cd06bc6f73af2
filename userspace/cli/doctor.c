// SPDX-License-Identifier: GPL-2.0-or-later
/* `lodge doctor`: what this host lacks, and what to do about it. */
#include <stdbool.h>
#include <stdio.h>

#include "cli/cli.h"
#include "cli/print.h"

enum { OPT_JSON = 256, OPT_DEVICE, OPT_ROOT };

static const char *verdict(int ok)
{
	return ok == 1 ? "ok" : ok ? "optional" : "MISSING";
}

static void print_text(const struct lodge_check *c)
{
	printf("%-9s %-17s %s\n", verdict(c->ok), c->name, c->found);
	if (c->remedy[0])
		printf("%-9s %-17s try: %s\n", "", "", c->remedy);
}

static void print_json(const struct lodge_check *c, bool first)
{
	printf("%s\n  { \"name\": ", first ? "" : ",");
	print_json_string(c->name);
	printf(", \"verdict\": \"%s\", \"found\": ", c->ok == 1 ? "ok" : c->ok ? "optional" : "missing");
	print_json_string(c->found);
	printf(", \"remedy\": ");
	print_json_string(c->remedy);
	printf(" }");
}

static int doctor(const struct command *cmd, int argc, char **argv)
{
	const char *device = "/dev/lodge", *root = "";
	struct lodge_check c[LODGE_CHECKS_MAX];
	struct command_args a;
	bool json = false;
	int id, bad = 0;
	size_t n, i;

	command_begin(&a, argc, argv);
	while ((id = command_next(cmd, &a)) >= 0) {
		if (id == OPT_JSON)
			json = true;
		else if (id == OPT_ROOT)
			root = a.opts.arg;
		else
			device = a.opts.arg;
	}
	if (id != OPTS_END)
		return command_code(id);
	n = lodge_doctor(root, device, c, sizeof(c) / sizeof(c[0]));
	if (json)
		printf("[");
	for (i = 0; i < n; i++) {
		bad |= c[i].ok == 0;
		if (json)
			print_json(&c[i], i == 0);
		else
			print_text(&c[i]);
	}
	if (json)
		printf("\n]\n");
	return bad;
}

const struct command doctor_command = {
	.name = "doctor",
	.summary = "say what this host lacks",
	.text = "Checks this host: CPU, firmware, who holds the CPU, kernel, module, Secure Boot, IOMMU,\n"
		"permissions, and what clients of /dev/kvm need. Each finding says what to do; those marked\n"
		"optional do not keep guests from running. Some need root to be seen.\n\n"
		"Exit codes: 0 guests can run, 1 something is MISSING, 2 wrong usage.\n",
	.examples = "  lodge doctor\n  lodge doctor --json --device /dev/kvm\n",
	.opts = (const struct opt[]) {
		{ OPT_DEVICE, "device", "PATH", "hypervisor to judge (default /dev/lodge)" },
		{ 'h', "help", NULL, "this text" },
		{ OPT_JSON, "json", NULL, "an array of objects: name, verdict (ok, optional, missing), found, remedy" },
		{ OPT_ROOT, "root", "DIR", "judge the files below DIR in place of this host's" },
		{ 0 },
	},
	.run = doctor,
};
