/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The gate that vCPU threads run behind: open, shut, or closed for good.
 *
 * A vCPU thread passes gate_enter() before it runs guest code and calls gate_leave() after. The
 * control thread shuts the gate, kicks every vCPU out of the hypervisor, and waits until all have
 * left. A vCPU may shut the gate itself (the guest powered off) without waiting.
 */
#ifndef VMM_GATE_H
#define VMM_GATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum gate_state { GATE_SHUT, GATE_OPEN, GATE_QUIT };

struct gate {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	_Atomic int state;	/* written under lock */
	unsigned int inside;	/* lock */
};

void gate_init(struct gate *g);
void gate_fini(struct gate *g);
void gate_set(struct gate *g, enum gate_state state);
/*
 * Waits until open. False: the thread must end. pass(ctx) runs under the lock while the gate is
 * known to be open: what it clears cannot be a request made after the gate was shut again.
 */
bool gate_enter(struct gate *g, void (*pass)(void *ctx), void *ctx);
void gate_leave(struct gate *g);
/* Waits until nobody is inside; the state must not be GATE_OPEN. */
void gate_wait_empty(struct gate *g);

static inline bool gate_is_open(struct gate *g)
{
	return atomic_load_explicit(&g->state, memory_order_relaxed) == GATE_OPEN;
}

#endif
