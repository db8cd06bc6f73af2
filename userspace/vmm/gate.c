// SPDX-License-Identifier: GPL-2.0-or-later
/* The gate of the vCPU threads: one mutex, one condition. */
#include "vmm/gate.h"

void gate_init(struct gate *g)
{
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->cond, NULL);
	atomic_store(&g->state, GATE_SHUT);
	g->inside = 0;
}

void gate_fini(struct gate *g)
{
	pthread_cond_destroy(&g->cond);
	pthread_mutex_destroy(&g->lock);
}

void gate_set(struct gate *g, enum gate_state state)
{
	pthread_mutex_lock(&g->lock);
	if (atomic_load(&g->state) != GATE_QUIT)
		atomic_store(&g->state, state);
	pthread_cond_broadcast(&g->cond);
	pthread_mutex_unlock(&g->lock);
}

bool gate_enter(struct gate *g, void (*pass)(void *ctx), void *ctx)
{
	bool go;

	pthread_mutex_lock(&g->lock);
	while (atomic_load(&g->state) == GATE_SHUT)
		pthread_cond_wait(&g->cond, &g->lock);
	go = atomic_load(&g->state) == GATE_OPEN;
	if (go) {
		g->inside++;
		pass(ctx);
	}
	pthread_mutex_unlock(&g->lock);
	return go;
}

void gate_leave(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	g->inside--;
	pthread_cond_broadcast(&g->cond);
	pthread_mutex_unlock(&g->lock);
}

void gate_wait_empty(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	while (g->inside)
		pthread_cond_wait(&g->cond, &g->lock);
	pthread_mutex_unlock(&g->lock);
}
