// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * asids - more vCPUs than a CPU has address space identifiers, visited in turn on one CPU, on two, and with page tables that
 * change meanwhile: each sees its own page at an address that all of them use.
 *
 * vCPU i of each guest maps ADDRESS to its own page of DATA, and each guest has other memory there.  An emulator's TLB forgets
 * everything at each VMRUN: here the way through roll-over and migration is seen to work, and selftests/unit/test_asid.c shows
 * with a model that no translation gets stale.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <sched.h>

#include "modes.h"

#define ADDRESS	0x200000000ul	/* above what guest_tables maps */
#define DATA	0x40000000ul
#define EACH	GUEST_MAX_VCPUS
#define MAX	8		/* guests */

static struct guest guests[MAX];
static u64 *memory[MAX];
static unsigned int nr;
static u64 pml4[EACH][512] __attribute__((aligned(4096)));
static u64 pdpt[EACH][512] __attribute__((aligned(4096)));
static u64 pd[EACH][512] __attribute__((aligned(4096)));
static u64 pt[EACH][512] __attribute__((aligned(4096)));
static volatile u64 seen;
static volatile bool reload;		/* the guest writes CR3 first, which drops what it has under its identifier of now */

static GUEST void body(void)
{
	for (;;) {
		if (reload)
			asm volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" : : : "rax", "memory");
		seen = *(volatile u64 *)ADDRESS;
		outb(GUEST_EXIT_PORT, 0);
	}
}

static void on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		guest_die("sched_setaffinity to CPU %d", cpu);
}

/* vCPU @i of all guests finds its memory's page @page at ADDRESS. */
static void map(unsigned int i, unsigned int page)
{
	pt[i][0] = (DATA + page * 4096ul) | 0x67;
}

static void make(unsigned int n)
{
	struct guest *g = &guests[n];
	struct kvm_sregs s;
	unsigned int i;

	memory[n] = mmap(NULL, 2 * EACH * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory[n] == MAP_FAILED)
		guest_die("mmap");
	for (i = 0; i < 2 * EACH; i++)
		memory[n][i * 512] = n << 8 | i;
	guest_create(g, "/dev/lodge", 0);
	guest_slot(g, 5, 0, DATA, memory[n], 2 * EACH * 4096);
	for (i = 0; i < EACH; i++) {
		guest_vcpu(g, i);
		guest_start64(g, i, body);
		guest_must(ioctl(g->vcpu[i], KVM_GET_SREGS, &s));
		s.cr3 = (u64)pml4[i];
		guest_must(ioctl(g->vcpu[i], KVM_SET_SREGS, &s));
	}
}

/* All vCPUs run once, on @cpu; those that did not see page @first + their number of their memory. */
static unsigned int round_on(int cpu, unsigned int first)
{
	unsigned int n, i, wrong = 0;

	on_cpu(cpu);
	for (n = 0; n < nr; n++)
		for (i = 0; i < EACH; i++) {
			seen = ~0ull;
			wrong += guest_run(&guests[n], i) != GUEST_DONE || seen != (n << 8 | (first + i));
		}
	return wrong;
}

/* The slot of each guest gets other pages behind it, whose stamps say the same as before but for bit 16. */
static unsigned int replaced(unsigned int first)
{
	unsigned int n, i, wrong = 0;

	for (n = 0; n < nr; n++) {
		if (madvise(memory[n], 2 * EACH * 4096, MADV_DONTNEED))
			guest_die("madvise");
		for (i = 0; i < 2 * EACH; i++)
			memory[n][i * 512] = 1 << 16 | n << 8 | i;
	}
	for (n = 0; n < nr; n++)
		for (i = 0; i < EACH; i++)
			wrong += guest_run(&guests[n], i) != GUEST_DONE || seen != (1 << 16 | n << 8 | (first + i));
	return wrong;
}

int main(void)
{
	unsigned int a, asids, c, d, i, wrong, first = 0;

	__cpuid(0x8000000a, a, asids, c, d);
	nr = asids / EACH + 2 < MAX ? asids / EACH + 2 : MAX;
	tap_note("%u identifiers, %u vCPUs", asids, nr * EACH);
	for (i = 0; i < EACH; i++) {
		pml4[i][0] = (u64)pdpt[i] | 0x27;
		pdpt[i][ADDRESS >> 30] = (u64)pd[i] | 0x27;
		pd[i][0] = (u64)pt[i] | 0x27;
		map(i, i);
	}
	guest_tables();
	for (i = 0; i < EACH; i++)
		memcpy(pdpt[i], guest_pdpt, 4 * sizeof(u64));
	for (i = 0; i < nr; i++)
		make(i);

	for (i = 0, wrong = 0; i < 4; i++)
		wrong += round_on(0, 0);
	tap_eq(wrong, 0, "each of the vCPUs sees its own page, on one CPU");
	if (asids > nr * EACH)
		tap_skip("more vCPUs than identifiers", "this CPU has too many");
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
		tap_skip("migration", "one CPU");
	} else {
		for (i = 0, wrong = 0; i < 4; i++)
			wrong += round_on(i & 1, 0);
		tap_eq(wrong, 0, "and when all of them go to and fro between two");
		for (i = 0; i < EACH; i++)
			map(i, EACH + i);
		reload = true;
		tap_eq(round_on(0, EACH), 0, "after their page tables changed and they wrote CR3");
		reload = false;
		tap_eq(round_on(1, EACH), 0, "and on the other CPU, where they had run before they did");
		first = EACH;
	}
	on_cpu(0);
	tap_eq(replaced(first), 0, "after the host's pages behind them changed");
	for (i = 0; i < nr; i++)
		guest_destroy(&guests[i]);
	return tap_done();
}
