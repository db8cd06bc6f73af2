/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One virtual CPU: its descriptor, its state at power-on, and the loop that runs it.
 */
#ifndef VMM_VCPU_H
#define VMM_VCPU_H

#include <linux/kvm.h>
#include <pthread.h>

#include "board/bus.h"
#include "board/kvm.h"
#include "vmm/boot.h"
#include "vmm/cpuid.h"
#include "vmm/gate.h"

enum vcpu_event {
	VCPU_TRIPLE_FAULT,	/* the guest shut its CPU down */
	VCPU_SYSTEM_RESET,
	VCPU_SYSTEM_OFF,
	VCPU_FAILED,		/* the hypervisor cannot go on; the text says why */
};

#define VCPU_WHY_MAX	560	/* an event's text, with its end */

typedef void vcpu_event_fn(void *ctx, enum vcpu_event ev, const char *why);

struct vcpu_env {
	struct kvm *kvm;
	struct bus *pio, *mmio;
	struct gate *gate;
	vcpu_event_fn *event;	/* on the vCPU's thread */
	void *ctx;
};

struct vcpu {
	const struct vcpu_env *env;
	unsigned int id;
	int fd;
	struct kvm_run *run;	/* mapped */
	pthread_t thread;
	bool started;
	u64 exits;
};

/* Once per process: the signal that interrupts a running guest. */
int vcpu_install_kick(void);
/* Creates the vCPU in the present VM, with CPUID and power-on state. */
int vcpu_open(struct vcpu *v, const struct vcpu_env *env, unsigned int id,
	      const struct cpuid_table *cpuid, struct err *e);
/* Closes the descriptor; the thread, if any, waits at the gate. */
void vcpu_close(struct vcpu *v);
/* Gives the boot CPU its first instruction. */
int vcpu_set_entry(struct vcpu *v, const struct boot_entry *entry, struct guest_mem *mem,
		   struct err *e);
int vcpu_start(struct vcpu *v, struct err *e);
/* Makes a running guest leave soon; the gate must be shut before. */
void vcpu_kick(struct vcpu *v);
void vcpu_join(struct vcpu *v);

#endif
