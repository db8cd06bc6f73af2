// SPDX-License-Identifier: GPL-2.0-or-later
/* Options of `lodge run`: the table, its parser, defaults, and where kernels are looked for. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "common/log.h"
#include "common/size.h"
#include "vmm/machine.h"
#include "vmm/run.h"
#include "vmm/scan.h"

#define DEFAULT_DEVICE "/dev/lodge"
#define DEFAULT_MEM (512 * MIB)
#define MEM_MIN (16 * MIB)
#define MEM_MAX (4096 * GIB)

enum {
	OPT_BARE = 256,
	OPT_CONSOLE,
	OPT_DEVICE,
	OPT_DISK,
	OPT_DRY_RUN,
	OPT_JSON,
	OPT_LOG,
	OPT_NAME,
	OPT_NET,
	OPT_NO_REBOOT,
	OPT_NO_STDIN,
	OPT_ON_PANIC,
	OPT_ON_REBOOT,
	OPT_PIT,
	OPT_RING,
	OPT_SECCOMP,
	OPT_SHARE,
	OPT_SHARE_SCAN,
	OPT_TIMEOUT,
};

static const struct opt run_opts[] = {
	{ 'a', "append", "ARGS", "more kernel arguments, behind Lodge's own" },
	{ OPT_BARE, "bare-cmdline", NULL, "kernel arguments are those of -a and nothing else" },
	{ OPT_CONSOLE, "console", "DEV", "guest's console: hvc0 or ttyS0 (default hvc0)",
	  "hvc0 ttyS0" },
	{ 'c', "cpus", "N", "virtual CPUs (default 1)" },
	{ OPT_DEVICE, "device", "PATH", "hypervisor (default /dev/lodge; /dev/kvm works too)" },
	{ OPT_DISK, "disk", "SPEC", "PATH[,format=raw|vhd][,readonly=on][,error=stop]...; may be repeated" },
	{ OPT_DRY_RUN, "dry-run", NULL, "check everything, print what would be run, and stop" },
	{ 'h', "help", NULL, "this text" },
	{ 'i', "initrd", "FILE", "initial RAM disk" },
	{ OPT_JSON, "json", NULL, "print in JSON what --dry-run prints" },
	{ 'k', "kernel", "FILE", "bzImage or PVH vmlinux (default: see KERNEL below)" },
	{ OPT_LOG, "log-level", "LEVEL", "error, warn, info or debug (default warn)",
	  "error warn info debug" },
	{ 'm', "mem", "SIZE", "memory, 2G or in MiB (default 512M)" },
	{ OPT_NAME, "name", "NAME", "name of the guest (default guest-PID)" },
	{ OPT_NET, "net", "SPEC", "user, tap..., none; may be repeated (default user)" },
	{ OPT_NO_REBOOT, "no-reboot", NULL, "same as --on-reboot exit" },
	{ OPT_NO_STDIN, "no-stdin", NULL, "leave standard input alone" },
	{ OPT_ON_PANIC, "on-panic", "DO", "exit, restart or stay (default exit)",
	  "exit restart stay" },
	{ OPT_ON_REBOOT, "on-reboot", "DO", "restart or exit (default restart)",
	  "restart exit" },
	{ 'p', "params", "ARGS", "same as --append" },
	{ OPT_PIT, "pit", NULL, "add the PC's timer chip, for guests without kvmclock" },
	{ 'q', "quiet", NULL, "do not print the resolved command and the hint" },
	{ OPT_RING, "ring", "KIND", "virtqueues of the devices: split or packed (default split)",
	  "split packed" },
	{ OPT_SECCOMP, "seccomp", "MODE", "kill, log or off (default kill)",
	  "kill log off" },
	{ OPT_SHARE, "share", "WITH", "share equal memory with guests of this user: off, user or a group's number (default off)",
	  "off user" },
	{ OPT_SHARE_SCAN, "share-scan", "PERCENT", "of a CPU at most to look for equal pages (default 2; 0: do not look)" },
	{ OPT_TIMEOUT, "timeout", "SECONDS", "end the guest after this time" },
	{ 0 },
};

static int run_main(const struct command *c, int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct run_options o;
	int r;

	r = run_options_parse(&o, argc, argv, &e);
	if (r == 1) {
		command_help(stdout, c);
		return 0;
	}
	return r < 0 ? command_bad(&e) : run_guest(&o);
}

const struct command run_command = {
	.name = "run",
	.summary = "boot a guest",
	.operands = "[DISK]... [-- COMMAND [ARG]...]",
	.kind = OPERAND_FILE,
	.text = "Boots a guest. DISK is the same as --disk DISK. With COMMAND the guest runs just\n"
		"that: its output comes back, and its exit status is that of lodge.\n",
	.examples = "  lodge run -m 1G -c 2 debian.vhd\n"
		    "  lodge run -k bzImage -i rootfs.cpio --console ttyS0\n"
		    "  lodge run -i rootfs.cpio -- uname -a\n"
		    "  lodge run --device /dev/kvm --no-reboot --timeout 60 disk.vhd </dev/null\n\n"
		    "KERNEL: without -k the first that exists of ./bzImage, arch/x86/boot/bzImage,\n"
		    "../../arch/x86/boot/bzImage and /boot/vmlinuz-RELEASE of this host.\n\n"
		    "Exit codes: 0 power-off, 2 usage, 3 configuration, 4 no hypervisor, 5 permission,\n"
		    "10 reset, 11 panic, 12 triple fault, 13 hypervisor failed, 14 timeout, 15 killed,\n"
		    "1 anything else. With COMMAND: its status, and these codes plus 200.\n",
	.opts = run_opts,
	.run = run_main,
};

static int choose(const char *arg, const char *opt, const char *const *names, struct err *e)
{
	int i;

	for (i = 0; names[i]; i++)
		if (!strcmp(arg, names[i]))
			return i;
	return err_set(e, EINVAL, "--%s does not know '%s'; try: --help", opt, arg);
}

static int add_word(const char **list, unsigned int *count, unsigned int max, const char *what,
		    const char *arg, struct err *e)
{
	if (*count == max)
		return err_set(e, EINVAL, "too many %s: at most %u", what, max);
	list[(*count)++] = arg;
	return 0;
}

static int parse_policy(struct run_options *o, int id, const char *arg, struct err *e)
{
	static const char *const reboot[] = { "restart", "exit", NULL };
	static const char *const panic[] = { "exit", "restart", "stay", NULL };
	static const char *const seccomp[] = { "kill", "log", "off", NULL };
	static const char *const ring[] = { "split", "packed", NULL };
	static const char *const console[] = { "hvc0", "ttyS0", NULL };
	int r;

	switch (id) {
	case OPT_ON_REBOOT:
		r = choose(arg, "on-reboot", reboot, e);
		o->on_reboot = r;
		break;
	case OPT_ON_PANIC:
		r = choose(arg, "on-panic", panic, e);
		o->on_panic = r;
		break;
	case OPT_RING:
		r = choose(arg, "ring", ring, e);
		o->packed_rings = r == 1;
		break;
	case OPT_SECCOMP:
		r = choose(arg, "seccomp", seccomp, e);
		o->seccomp = r;
		break;
	default:
		r = choose(arg, "console", console, e);
		o->console = arg;
	}
	return r < 0 ? r : 0;
}

static int parse_share(struct run_options *o, const char *arg, struct err *e)
{
	char *end;

	o->share = strcmp(arg, "off");
	o->share_group = 0;
	if (!o->share || !strcmp(arg, "user"))
		return 0;
	errno = 0;
	o->share_group = strtoull(arg, &end, 0);
	if (errno || *end || arg[0] < '0' || arg[0] > '9' || !o->share_group)
		return err_set(e, EINVAL, "--share does not know '%s'; try: off, user, or a number from 1 on", arg);
	return 0;
}

static int parse_value(struct run_options *o, int id, const char *arg, struct err *e)
{
	u64 v;
	int r;

	switch (id) {
	case 'c':
		r = number_parse(arg, "--cpus", 1, MACHINE_CPUS_MAX, &v, e);
		o->cpus = v;
		return r;
	case 'm':
		r = size_parse(arg, MIB, &o->mem, e);
		if (!r && (o->mem < MEM_MIN || o->mem > MEM_MAX))
			r = err_set(e, EINVAL, "--mem: '%s' is not between 16M and 4T", arg);
		o->mem = ALIGN_DOWN(o->mem, MIB);
		return r;
	case OPT_TIMEOUT:
		return number_parse(arg, "--timeout", 1, 100000000, &o->timeout_s, e);
	case OPT_NAME:
		if (!name_valid(arg))
			return err_set(e, EINVAL,
				       "--name: '%s' is no name; try: a letter, then letters, "
				       "digits, '.', '_' or '-', at most 48",
				       arg);
		snprintf(o->name, sizeof(o->name), "%s", arg);
		return 0;
	case OPT_SHARE:
		return parse_share(o, arg, e);
	case OPT_SHARE_SCAN:
		r = number_parse(arg, "--share-scan", 0, 100, &v, e);
		o->share_scan = v;
		return r;
	case OPT_LOG:
		r = log_set_level_name(arg);
		if (r < 0)
			return err_set(e, EINVAL, "--log-level does not know '%s'", arg);
		return 0;
	default:
		return parse_policy(o, id, arg, e);
	}
}

static int parse_one(struct run_options *o, int id, const char *arg, struct err *e)
{
	switch (id) {
	case 'a':
	case 'p':
		o->append = arg;
		return 0;
	case 'i':
		o->initrd = arg;
		return 0;
	case 'k':
		o->kernel = arg;
		return 0;
	case OPT_DEVICE:
		o->device = arg;
		return 0;
	case OPT_DISK:
	case OPTS_OPERAND:
		return add_word(o->disk, &o->disks, RUN_DISKS_MAX, "disks", arg, e);
	case OPT_NET:
		return add_word(o->net, &o->nets, RUN_NETS_MAX, "networks", arg, e);
	case OPT_DRY_RUN:
		o->dry_run = true;
		return 0;
	case OPT_JSON:
		o->json = true;
		return 0;
	case OPT_NO_REBOOT:
		o->on_reboot = RUN_REBOOT_EXIT;
		return 0;
	case OPT_NO_STDIN:
		o->no_stdin = true;
		return 0;
	case OPT_BARE:
		o->bare_cmdline = true;
		return 0;
	case OPT_PIT:
		o->pit = true;
		return 0;
	case 'q':
		o->quiet = true;
		return 0;
	default:
		return parse_value(o, id, arg, e);
	}
}

int run_options_parse(struct run_options *o, int argc, char **argv, struct err *e)
{
	struct opts p;
	int id, r;

	memset(o, 0, sizeof(*o));
	o->device = DEFAULT_DEVICE;
	o->mem = DEFAULT_MEM;
	o->cpus = 1;
	o->console = "hvc0";
	o->share_scan = SCAN_PERCENT_DEFAULT;
	o->append = "";
	snprintf(o->name, sizeof(o->name), "guest-%d", getpid());
	opts_init(&p, argc, argv);
	while ((id = opts_next(&p, run_opts, e)) != OPTS_END) {
		if (id == OPTS_BAD)
			return -EINVAL;
		if (id == 'h')
			return 1;
		r = parse_one(o, id, p.arg, e);
		if (r < 0)
			return r;
	}
	if (p.rest < argc) {
		o->command = argv + p.rest;
		o->command_len = argc - p.rest;
	} else if (!strcmp(argv[argc - 1], "--")) {
		return err_set(e, EINVAL, "no command behind '--'");
	}
	return 0;
}

int run_find_kernel(struct run_options *o, struct err *e)
{
	static const char *const places[] = {
		"./bzImage",
		"arch/x86/boot/bzImage",
		"../../arch/x86/boot/bzImage",
	};
	struct utsname u;
	unsigned int i;

	if (o->kernel)
		return 0;
	for (i = 0; i < ARRAY_SIZE(places); i++) {
		if (!access(places[i], R_OK)) {
			o->kernel = places[i];
			return 0;
		}
	}
	if (!uname(&u)) {
		snprintf(o->kernel_found, sizeof(o->kernel_found), "/boot/vmlinuz-%s", u.release);
		o->kernel = o->kernel_found;
		if (!access(o->kernel, R_OK))
			return 0;
	}
	return err_set(e, ENOENT,
		       "no kernel found: neither ./bzImage, arch/x86/boot/bzImage, "
		       "../../arch/x86/boot/bzImage nor %s can be read; try: -k FILE",
		       o->kernel_found);
}
