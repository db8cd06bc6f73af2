/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a run would be, for the user: the resolved command, and --dry-run --json. */
#ifndef VMM_PLAN_H
#define VMM_PLAN_H

#include "vmm/run.h"

/* One line on standard error. */
void plan_print_line(const struct run_options *o, const char *cmdline);
/* A JSON object on standard output. */
void plan_print_json(const struct run_options *o, const char *cmdline);

#endif
