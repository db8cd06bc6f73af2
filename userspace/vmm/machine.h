/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A machine: memory, buses, the fixed devices, vCPUs, and its life from power-on to the end.
 *
 * All functions are for the main thread. What the guest does to itself (power-off, reset, panic,
 * a triple fault) arrives as one callback on the main loop, with every vCPU stopped or about to;
 * the callback decides: machine_reset() and machine_start(), or the end.
 */
#ifndef VMM_MACHINE_H
#define VMM_MACHINE_H

#include "board/board.h"
#include "vmm/boot.h"

#define MACHINE_CPUS_MAX 64

enum machine_event {
	MACHINE_NONE,
	MACHINE_OFF,
	MACHINE_RESET,
	MACHINE_PANIC,
	MACHINE_LOST,		/* triple fault */
	MACHINE_FAILED,		/* the hypervisor cannot go on */
};

enum machine_state { MACHINE_BUILT, MACHINE_RUNNING, MACHINE_PAUSED, MACHINE_ENDED };

typedef void machine_event_fn(void *ctx, enum machine_event ev, const char *why);

struct machine_config {
	u64 mem;
	bool share;		/* memory with guests of the group */
	u64 share_group;
	unsigned int cpus;
	bool legacy_timer;	/* with PIT, for guests without kvmclock */
	struct boot_config boot;	/* rsdp is filled in here */
	machine_event_fn *event;
	/* Around a pause: no vCPU may wait for the main thread while on. Optional. */
	void (*unblock)(void *ctx, bool on);
	void *ctx;
};

struct machine;

/* Takes over kvm (open, without a VM). Creates VM, memory, buses and the fixed devices. */
struct machine *machine_create(struct kvm *kvm, struct loop *loop,
			       const struct machine_config *cfg, struct err *e);
/* Stops and frees everything, devices included. NULL is fine. */
void machine_destroy(struct machine *m);

struct board *machine_board(struct machine *m);
enum machine_state machine_state(const struct machine *m);
u64 machine_exits(const struct machine *m);

/* Called at reset, after the guest stopped and before the new VM is there. */
typedef void machine_reset_fn(void *ctx);
void machine_on_reset(struct machine *m, machine_reset_fn *fn, void *ctx);

/* Loads the kernel and creates the vCPUs; after the last device was added. */
int machine_load(struct machine *m, struct err *e);
/* Starts threads if need be, and lets the guest run. */
int machine_start(struct machine *m, struct err *e);
/* Returns when no vCPU runs any more. */
void machine_pause(struct machine *m);
/* Power cycle: back to machine_load()'s result. The machine is paused afterwards. */
int machine_reset(struct machine *m, struct err *e);
void machine_press_power(struct machine *m);
/* Reports an event as the guest would; any thread. The first one counts until it is handled. */
void machine_report(struct machine *m, enum machine_event ev, const char *why);

#endif
