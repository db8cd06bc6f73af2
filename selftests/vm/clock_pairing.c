// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The wall clock paired with the TSC (KVM_HC_CLOCK_PAIRING), and TLB flushes that are asked for in the steal time page.
 *
 * CFLAGS: -mno-red-zone
 */
#include <linux/kvm_para.h>
#include <time.h>

#include "guest.h"
#include "tap.h"

#define MSR_STEAL	0x4b564d03
#define WINDOW		0x50000000ul	/* 2 MiB of guest-virtual addresses whose page the test exchanges */

static const char *node;
static struct guest g;
static u32 features;
static volatile u64 result, seen[2], after;
static volatile struct { int64_t sec, nsec; u64 tsc; u32 flags, pad[9]; } pairing __attribute__((aligned(64)));
static struct kvm_steal_time steal __attribute__((aligned(64)));
static u8 pages[2][2 << 20] __attribute__((aligned(2 << 20)));

GUEST_INLINE u64 hypercall(u64 nr, u64 a, u64 b, u64 c, u64 d)
{
	/* Both instructions work on both vendors. */
	asm volatile("vmmcall" : "+a"(nr) : "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
	return nr;
}

/* ---- KVM_HC_CLOCK_PAIRING ---- */

static volatile u64 pairing_gpa, pairing_type;

static GUEST void pair(void)
{
	result = hypercall(KVM_HC_CLOCK_PAIRING, pairing_gpa, pairing_type, 0, 0);
	after = rdtsc_();
	guest_exit();
}

/* ---- the flush ---- */

static GUEST void flushee(void)
{
	wrmsr_(MSR_STEAL, (u64)&steal | 1);
	seen[0] = *(volatile u64 *)WINDOW;
	outb(GUEST_EXIT_PORT, 0);
	seen[1] = *(volatile u64 *)WINDOW;
	guest_exit();
}

static void start(void (*fn)(void))
{
	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	guest_start64(&g, 0, fn);
	result = after = 0;
}

static u32 read_features(void)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + 256 * sizeof(c->entries[0]));
	int fd = guest_must(open(node, O_RDWR));
	u32 i, bits = 0;

	c->nent = 256;
	guest_must(ioctl(fd, KVM_GET_SUPPORTED_CPUID, c));
	for (i = 0; i < c->nent; i++) {
		if (c->entries[i].function == KVM_CPUID_FEATURES)
			bits = c->entries[i].eax;
	}
	free(c);
	close(fd);
	return bits;
}

static bool has(int bit)
{
	return features >> bit & 1;
}

static void clock_pairing(void)
{
	struct kvm_clock_data clock = {};
	struct timespec now;
	int64_t apart;

	start(pair);
	guest_must(ioctl(g.vm, KVM_GET_CLOCK, &clock));
	pairing_gpa = (u64)&pairing;
	pairing_type = 1;
	guest_run(&g, 0);
	tap_eq(result, (u64)-KVM_EOPNOTSUPP, "KVM_HC_CLOCK_PAIRING of an unknown clock: EOPNOTSUPP");
	guest_destroy(&g);
	if (!(clock.flags & KVM_CLOCK_TSC_STABLE)) {
		tap_skip("KVM_HC_CLOCK_PAIRING", "the host's clock is not its TSC");
		return;
	}
	start(pair);
	pairing_type = KVM_CLOCK_PAIRING_WALLCLOCK;
	guest_run(&g, 0);
	clock_gettime(CLOCK_REALTIME, &now);
	apart = (now.tv_sec - pairing.sec) * 1000000000ll + now.tv_nsec - pairing.nsec;
	tap_ok(!result && apart >= 0 && apart < 30000000000ll, "KVM_HC_CLOCK_PAIRING gives the wall clock");
	tap_ok(pairing.tsc && pairing.tsc <= after && !pairing.flags, "and the guest's own TSC at that moment");
	guest_destroy(&g);
	start(pair);
	pairing_gpa = 0xffffffffff000;
	guest_run(&g, 0);
	tap_eq(result, (u64)-KVM_EFAULT, "where there is no memory: EFAULT");
	guest_destroy(&g);
}

/*
 * The guest has read through a translation; its page table changes; then, as another vCPU would on finding this one preempted,
 * the test asks for a flush in the byte.  Entering the guest serves it: the new page is read, the request is gone.
 */
static void tlb_flush(void)
{
	u64 *pde = &guest_pd[1][(WINDOW >> 21) & 511], old = *pde;

	if (!has(KVM_FEATURE_PV_TLB_FLUSH)) {
		tap_skip("PV TLB flush", "the host has no steal time");
		return;
	}
	*(u64 *)pages[0] = 1;
	*(u64 *)pages[1] = 2;
	*pde = (u64)pages[0] | 0xe7;
	start(flushee);
	guest_run(&g, 0);
	*pde = (u64)pages[1] | 0xe7;
	__atomic_fetch_or(&steal.preempted, KVM_VCPU_PREEMPTED | KVM_VCPU_FLUSH_TLB, __ATOMIC_SEQ_CST);
	guest_run(&g, 0);
	tap_ok(seen[0] == 1 && seen[1] == 2, "a flush asked for in the steal time page is done before the guest goes on");
	tap_eq(steal.preempted & KVM_VCPU_FLUSH_TLB, 0, "and the request is taken");
	guest_destroy(&g);
	*pde = old;
}

int main(int argc, char **argv)
{
	node = tap_node(argc, argv);
	features = read_features();
	clock_pairing();
	tlb_flush();
	return tap_done();
}
