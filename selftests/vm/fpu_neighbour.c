// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fpu_neighbour - a guest goes in and out on CPU 0 while CPU 1 does nothing but load the state of its FPU.
 *
 * No processor minds.  QEMU's emulator does: whichever CPU loads FPU state clears IGNNE# of the first one, in a word that also
 * says whether that one walks nested page tables and whether its GIF is set, and without a lock.  A VMRUN or #VMEXIT at the same
 * moment is undone in part, and guest or host are lost.  selftests/qemu/ignne.c keeps it from that, and here it is seen to do so.
 *
 * BOX: --smp 2
 * CFLAGS: -mno-red-zone
 * TIMEOUT: 120
 */
#include <pthread.h>
#include <sched.h>

#include "guest.h"
#include "tap.h"

#define EXITS	100000

static volatile u64 exits, ended;

static GUEST void leaves(void)
{
	u32 a, b, c, d;

	while (exits < EXITS) {
		asm volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(0), "c"(0));
		exits++;
	}
	guest_exit();
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		tap_bail("this thread cannot be kept on CPU %d", cpu);
}

static void *loads(void *arg)
{
	static u8 state[512] __attribute__((aligned(16)));
	u64 *count = arg;

	pin(1);
	asm volatile("fxsave %0" : "=m"(state));
	while (!ended) {
		asm volatile("fxrstor %0" : : "m"(state));
		(*count)++;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct guest g;
	pthread_t t;
	u64 count = 0;

	guest_create(&g, tap_node(argc, argv), 0);
	guest_vcpu(&g, 0);
	guest_start64(&g, 0, leaves);
	if (pthread_create(&t, NULL, loads, &count))
		tap_bail("no thread");
	pin(0);
	tap_ok(guest_run(&g, 0) == GUEST_DONE, "the guest ends by itself");
	tap_eq(exits, EXITS, "it went out and in a hundred thousand times");
	ended = 1;
	pthread_join(t, NULL);
	tap_note("FPU states loaded: %llu", (unsigned long long)count);
	tap_ok(count > EXITS / 100, "while its neighbour loaded FPU states");
	guest_destroy(&g);
	return tap_done();
}
