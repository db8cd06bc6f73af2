/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who has the CPUs' virtualization: taken on every online CPU for the first VM, given back after the last.
 */
#ifndef LODGE_CORE_USAGE_H
#define LODGE_CORE_USAGE_H

#include <linux/percpu.h>
#include <linux/types.h>

/* This CPU may load vCPUs.  Written on the CPU itself, read with preemption off. */
DECLARE_PER_CPU(bool, lodge_cpu_enabled);

/* The host goes down, or resuming failed: no vCPU is loaded any more. */
extern bool lodge_usage_stopped;

int lodge_usage_init(void);
void lodge_usage_exit(void);
int lodge_usage_get(void);	/* one more VM: 0, -EBUSY (another hypervisor; printed), -ESHUTDOWN */
void lodge_usage_put(void);

#endif
