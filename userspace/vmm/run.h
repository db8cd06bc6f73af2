/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * `lodge run`: from options to a running guest to an exit code.
 */
#ifndef VMM_RUN_H
#define VMM_RUN_H

#include "common/command.h"
#include "common/types.h"

#define RUN_DISKS_MAX 16
#define RUN_NETS_MAX 8

enum run_reboot { RUN_REBOOT_RESTART, RUN_REBOOT_EXIT };
enum run_panic { RUN_PANIC_EXIT, RUN_PANIC_RESTART, RUN_PANIC_STAY };
enum run_seccomp { RUN_SECCOMP_KILL, RUN_SECCOMP_LOG, RUN_SECCOMP_OFF };

struct run_options {
	const char *device;
	const char *kernel;		/* after run_find_kernel() never NULL */
	char kernel_found[256];
	const char *initrd;
	u64 mem;
	unsigned int cpus;
	const char *append;
	const char *disk[RUN_DISKS_MAX];
	unsigned int disks;
	const char *net[RUN_NETS_MAX];
	unsigned int nets;
	char name[64];
	const char *console;		/* "hvc0" or "ttyS0" */
	enum run_reboot on_reboot;
	enum run_panic on_panic;
	enum run_seccomp seccomp;
	u64 timeout_s;			/* 0: none */
	bool dry_run, json, quiet, pit, no_stdin, bare_cmdline;
	bool share;			/* memory, in this group of the user's; 0 is the default one */
	u64 share_group;
	unsigned int share_scan;	/* percent of a CPU to look for equal pages with */
	bool packed_rings;		/* offer them; the guest decides */
	char **command;			/* NULL, or the words behind "--" */
	unsigned int command_len;
};

/* The sub-command. */
extern const struct command run_command;

/* 0; 1 when --help was asked for; -EINVAL. */
int run_options_parse(struct run_options *o, int argc, char **argv, struct err *e);
/* Finds a kernel when none was given. */
int run_find_kernel(struct run_options *o, struct err *e);
/* Everything; returns the exit code. */
int run_guest(struct run_options *o);

#endif
