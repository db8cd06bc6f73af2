// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Capabilities that change a VM: the boot CPU's id, APIC ids above 255, halts without exits, paravirtual features enforced.
 *
 * CFLAGS: -mno-red-zone
 */
#include <linux/kvm_para.h>
#include <pthread.h>

#include "guest.h"
#include "tap.h"

#define BIG	300		/* an APIC id that takes more than 8 bits */
#define VECTOR	0x61
#define TIMER	0x62

static const char *node;
static struct guest g;
static volatile u64 ready, irqs, ticks, gps, result;

static int enable(u32 cap, u64 arg)
{
	struct kvm_enable_cap c = { .cap = cap, .args = { arg } };

	return ioctl(g.vm, KVM_ENABLE_CAP, &c) < 0 ? -errno : 0;
}

static GUEST void body(void)
{
	guest_exit();
}

/* ---- the boot CPU ---- */

static u32 mp_state(int vcpu)
{
	struct kvm_mp_state s = { ~0u };

	guest_must(ioctl(vcpu, KVM_GET_MP_STATE, &s));
	return s.mp_state;
}

static u64 apic_base(int vcpu)
{
	struct kvm_sregs s;

	guest_must(ioctl(vcpu, KVM_GET_SREGS, &s));
	return s.apic_base;
}

static void boot_cpu(void)
{
	guest_create(&g, node, GUEST_IRQCHIP);
	tap_eq(ioctl(g.sys, KVM_CHECK_EXTENSION, KVM_CAP_SET_BOOT_CPU_ID), 1, "KVM_CAP_SET_BOOT_CPU_ID");
	tap_eq(ioctl(g.vm, KVM_SET_BOOT_CPU_ID, 1), 0, "vCPU 1 shall be the boot CPU");
	guest_vcpu(&g, 0);
	guest_vcpu(&g, 1);
	tap_ok(mp_state(g.vcpu[0]) == KVM_MP_STATE_UNINITIALIZED && !(apic_base(g.vcpu[0]) & 0x100), "vCPU 0 waits to be started");
	tap_ok(mp_state(g.vcpu[1]) == KVM_MP_STATE_RUNNABLE && (apic_base(g.vcpu[1]) & 0x100), "vCPU 1 runs");
	tap_ok(ioctl(g.vm, KVM_SET_BOOT_CPU_ID, 0) < 0 && errno == EBUSY, "once there are vCPUs: EBUSY");
	guest_destroy(&g);
}

/* ---- APIC ids above 255 ---- */

static GUEST void on_irq(u64 vector, u64 *frame, u64 error)
{
	(void)vector, (void)frame, (void)error;
	irqs++;
	wrmsr_(0x80b, 0);
}

static GUEST void big_waiter(void)
{
	guest_irq[VECTOR] = on_irq;
	guest_apic_on(true);
	result = rdmsr_(0x802);
	ready = 1;
	while (!irqs)
		asm volatile("sti; nop; cli");
	guest_exit();
}

/* Like guest_vcpu(), for an id that is no index. */
static void big_vcpu(void)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + 256 * sizeof(c->entries[0]));
	u32 i;

	g.vcpu[1] = guest_must(ioctl(g.vm, KVM_CREATE_VCPU, BIG));
	g.run[1] = mmap(NULL, g.run_size, PROT_READ | PROT_WRITE, MAP_SHARED, g.vcpu[1], 0);
	c->nent = 256;
	guest_must(ioctl(g.sys, KVM_GET_SUPPORTED_CPUID, c));
	for (i = 0; i < c->nent; i++) {
		if (c->entries[i].function == 0xb)
			c->entries[i].edx = BIG;
	}
	guest_must(ioctl(g.vcpu[1], KVM_SET_CPUID2, c));
	free(c);
	guest_start64(&g, 1, big_waiter);
}

static int msi(u32 id)
{
	struct kvm_msi m = { .address_lo = 0xfee00000 | (id & 0xff) << 12, .address_hi = id & ~0xffu, .data = VECTOR };

	return ioctl(g.vm, KVM_SIGNAL_MSI, &m);
}

static void *run_big(void *unused)
{
	guest_run(&g, 1);
	return unused;
}

static u32 lapic_id(void)
{
	struct kvm_lapic_state l;

	guest_must(ioctl(g.vcpu[1], KVM_GET_LAPIC, &l));
	return *(u32 *)(l.regs + 0x20);
}

static bool route(u32 address_hi)
{
	struct kvm_irq_routing *r = calloc(1, sizeof(*r) + sizeof(r->entries[0]));
	bool good;

	r->nr = 1;
	r->entries[0] = (struct kvm_irq_routing_entry){
		.gsi = 24, .type = KVM_IRQ_ROUTING_MSI,
		.u.msi = { .address_lo = 0xfee00000, .address_hi = address_hi, .data = VECTOR },
	};
	good = !ioctl(g.vm, KVM_SET_GSI_ROUTING, r);
	free(r);
	return good;
}

static void big_ids(int flags, const char *how)
{
	pthread_t thread;

	guest_create(&g, node, flags);
	tap_eq(enable(KVM_CAP_X2APIC_API, 1ull << 20), -EINVAL, "KVM_CAP_X2APIC_API with unknown flags: EINVAL");
	guest_must(enable(KVM_CAP_X2APIC_API, KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK));
	tap_ok(!route(0x101) && route(0x100), "an MSI route's upper address is a destination, without bits 7:0");
	guest_vcpu(&g, 0);
	big_vcpu();
	ready = irqs = result = 0;
	pthread_create(&thread, NULL, run_big, NULL);
	while (!ready)
		usleep(1000);
	tap_eq(result, BIG, "the guest reads its id of more than 8 bits");
	tap_ok(msi(BIG & 0xff) <= 0 && !irqs, "an MSI to the id's low 8 bits reaches nobody");
	tap_ok(msi(BIG) > 0, how);
	pthread_join(thread, NULL);
	tap_eq(irqs, 1, "it arrives once");
	tap_eq(lapic_id(), BIG, "KVM_GET_LAPIC has the whole id");
	guest_destroy(&g);
}

static void small_ids(void)
{
	pthread_t thread;

	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	big_vcpu();
	ready = irqs = 0;
	pthread_create(&thread, NULL, run_big, NULL);
	while (!ready)
		usleep(1000);
	irqs = 1;
	pthread_join(thread, NULL);
	tap_eq(lapic_id(), (u32)BIG << 24, "without the capability KVM_GET_LAPIC has 8 bits of it");
	guest_destroy(&g);
}

/* ---- halts without exits ---- */

static GUEST void on_timer(u64 vector, u64 *frame, u64 error)
{
	(void)vector, (void)frame, (void)error;
	ticks++;
	apic_write(0xb0, 0);
}

static GUEST void sleeper(void)
{
	guest_irq[TIMER] = on_timer;
	guest_apic_on(false);
	apic_write(0x3e0, 0xb);
	apic_write(0x320, TIMER | 1 << 17);
	apic_write(0x380, 1000000);		/* a millisecond */
	while (ticks < 5)
		asm volatile("sti; hlt; cli");
	guest_exit();
}

static void halts(void)
{
	u64 can;

	guest_create(&g, node, GUEST_IRQCHIP);
	can = ioctl(g.vm, KVM_CHECK_EXTENSION, KVM_CAP_X86_DISABLE_EXITS);
	tap_ok(can & KVM_X86_DISABLE_EXITS_HLT, "KVM_CAP_X86_DISABLE_EXITS has HLT");
	tap_eq(enable(KVM_CAP_X86_DISABLE_EXITS, 1 << 10), -EINVAL, "unknown exits: EINVAL");
	tap_eq(enable(KVM_CAP_X86_DISABLE_EXITS, KVM_X86_DISABLE_EXITS_HLT), 0, "HLT shall not exit");
	guest_vcpu(&g, 0);
	guest_start64(&g, 0, sleeper);
	ticks = 0;
	tap_ok(guest_run(&g, 0) == GUEST_DONE && ticks >= 5, "a guest that halts still has its timer");
	guest_destroy(&g);
}

/* ---- paravirtual features ---- */

static GUEST void on_gp(u64 vector, u64 *frame, u64 error)
{
	(void)vector, (void)error;
	gps++;
	frame[0] += 2;
}

static GUEST void use_pv(void)
{
	u64 nr = KVM_HC_KICK_CPU;

	guest_irq[13] = on_gp;
	wrmsr_(0x4b564d04, 0);
	asm volatile("vmmcall" : "+a"(nr) : "b"(0), "c"(0), "d"(0), "S"(0) : "memory");
	result = nr;
	guest_exit();
}

static void enforce(bool on)
{
	struct kvm_enable_cap c = { .cap = KVM_CAP_ENFORCE_PV_FEATURE_CPUID, .args = { on } };
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + 256 * sizeof(cpuid->entries[0]));
	u32 i;

	guest_create(&g, node, GUEST_IRQCHIP);
	g.vcpu[0] = guest_must(ioctl(g.vm, KVM_CREATE_VCPU, 0));
	g.run[0] = mmap(NULL, g.run_size, PROT_READ | PROT_WRITE, MAP_SHARED, g.vcpu[0], 0);
	cpuid->nent = 256;
	guest_must(ioctl(g.sys, KVM_GET_SUPPORTED_CPUID, cpuid));
	for (i = 0; i < cpuid->nent; i++) {
		if (cpuid->entries[i].function == KVM_CPUID_FEATURES)
			cpuid->entries[i].eax = 0;
	}
	guest_must(ioctl(g.vcpu[0], KVM_SET_CPUID2, cpuid));
	guest_must(ioctl(g.vcpu[0], KVM_ENABLE_CAP, &c));
	guest_start64(&g, 0, use_pv);
	gps = result = 0;
	guest_run(&g, 0);
	guest_destroy(&g);
	free(cpuid);
}

static void pv_features(void)
{
	enforce(false);
	tap_ok(!gps && !result, "paravirtual features that CPUID does not show work all the same");
	enforce(true);
	tap_ok(gps == 1 && result == (u64)-KVM_ENOSYS, "unless KVM_CAP_ENFORCE_PV_FEATURE_CPUID says they shall not");
}

static void exec(void)
{
	guest_create(&g, node, 0);
	tap_eq(enable(299, 0), -EINVAL, "a capability that nobody knows: EINVAL");
	guest_vcpu(&g, 0);
	guest_start64(&g, 0, body);
	tap_eq(guest_run(&g, 0), GUEST_DONE, "and no harm done");
	guest_destroy(&g);
}

int main(int argc, char **argv)
{
	node = tap_node(argc, argv);
	boot_cpu();
	big_ids(GUEST_IRQCHIP, "an MSI with its upper address reaches it");
	big_ids(GUEST_SPLIT, "with the split irqchip too");
	small_ids();
	halts();
	pv_features();
	exec();
	return tap_done();
}
