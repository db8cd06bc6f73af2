// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * KVM_GET/SET_VCPU_EVENTS: exceptions with and without payload, triple faults, NMIs, interrupt shadow; what makes no sense is
 * refused.
 *
 * CFLAGS: -mno-red-zone
 */
#include "guest.h"
#include "tap.h"

static const char *node;
static struct guest g;
static volatile u64 cr2, dr6, code, hits, nmis;

static GUEST void on_exception(u64 vector, u64 *frame, u64 error)
{
	u64 d;

	(void)frame;
	hits = vector;
	code = error;
	asm volatile("mov %%cr2, %0" : "=r"(d));
	cr2 = d;
	asm volatile("mov %%dr6, %0" : "=r"(d));
	dr6 = d;
}

static GUEST void on_nmi(u64 vector, u64 *frame, u64 error)
{
	(void)vector, (void)frame, (void)error;
	nmis++;
}

static GUEST void body(void)
{
	for (;;)
		outb(GUEST_EXIT_PORT, 0);
}

static void start(void)
{
	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	guest_start64(&g, 0, body);
	guest_irq[1] = guest_irq[13] = guest_irq[14] = on_exception;
	guest_irq[2] = on_nmi;
	hits = code = cr2 = dr6 = nmis = 0;
}

static int enable(u32 cap, u64 arg)
{
	struct kvm_enable_cap c = { .cap = cap, .args = { arg } };

	return ioctl(g.vm, KVM_ENABLE_CAP, &c) < 0 ? -errno : 0;
}

static struct kvm_vcpu_events get(void)
{
	struct kvm_vcpu_events e;

	guest_must(ioctl(g.vcpu[0], KVM_GET_VCPU_EVENTS, &e));
	return e;
}

static int set(const struct kvm_vcpu_events *e)
{
	return ioctl(g.vcpu[0], KVM_SET_VCPU_EVENTS, e) < 0 ? -errno : 0;
}

static void refusals(void)
{
	struct kvm_vcpu_events e, was;

	start();
	was = get();
	tap_ok((was.flags & KVM_VCPUEVENT_VALID_SHADOW) && !(was.flags & (KVM_VCPUEVENT_VALID_PAYLOAD | KVM_VCPUEVENT_VALID_TRIPLE_FAULT)),
	       "the flags say what is valid, and no more");
	e = was;
	e.flags = 1u << 31;
	tap_eq(set(&e), -EINVAL, "an unknown flag: EINVAL");
	e = was;
	e.flags |= KVM_VCPUEVENT_VALID_PAYLOAD;
	tap_eq(set(&e), -EINVAL, "a payload without KVM_CAP_EXCEPTION_PAYLOAD: EINVAL");
	e = was;
	e.flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
	tap_eq(set(&e), -EINVAL, "a triple fault without its capability: EINVAL");
	e = was;
	e.exception.injected = 1;
	e.exception.nr = 32;
	tap_eq(set(&e), -EINVAL, "an exception above 31: EINVAL");
	e.exception.nr = 2;
	tap_eq(set(&e), -EINVAL, "an NMI that says it is an exception: EINVAL");
	tap_eq(set(&was), 0, "what was read can be written");
	guest_destroy(&g);
}

static void without_payload(void)
{
	struct kvm_vcpu_events e;
	struct kvm_sregs s;

	start();
	guest_must(ioctl(g.vcpu[0], KVM_GET_SREGS, &s));
	s.cr2 = 0x1234;
	guest_must(ioctl(g.vcpu[0], KVM_SET_SREGS, &s));
	e = get();
	e.exception.injected = 1;
	e.exception.nr = 14;
	e.exception.has_error_code = 1;
	e.exception.error_code = 6;
	guest_must(set(&e));
	guest_run(&g, 0);
	tap_ok(hits == 14 && code == 6 && cr2 == 0x1234, "an injected #PF arrives, with its code, CR2 as it was");
	e = get();
	tap_ok(!e.exception.injected && !e.exception.pending, "and is over then");
	guest_destroy(&g);
}

static void with_payload(void)
{
	struct kvm_vcpu_events e;

	start();
	tap_eq(enable(KVM_CAP_EXCEPTION_PAYLOAD, 1), 0, "KVM_CAP_EXCEPTION_PAYLOAD");
	guest_destroy(&g);
	guest_create(&g, node, GUEST_IRQCHIP);
	guest_must(enable(KVM_CAP_EXCEPTION_PAYLOAD, 1));
	guest_vcpu(&g, 0);
	guest_start64(&g, 0, body);
	e = get();
	tap_ok(e.flags & KVM_VCPUEVENT_VALID_PAYLOAD, "payloads are valid now");
	e.exception.pending = e.exception.injected = 1;
	e.exception.nr = 14;
	guest_must(set(&e));
	e = get();
	tap_ok(e.exception.pending && !e.exception.injected, "an exception both pending and injected is pending");
	e.exception.has_error_code = 1;
	e.exception.error_code = 4;
	e.exception_has_payload = 1;
	e.exception_payload = 0xabcd000;
	guest_must(set(&e));
	e = get();
	tap_ok(e.exception.pending && !e.exception.injected && e.exception_has_payload && e.exception_payload == 0xabcd000,
	       "a pending one is read back, with its payload");
	guest_run(&g, 0);
	tap_ok(hits == 14 && code == 4 && cr2 == 0xabcd000, "#PF: the payload is in CR2 when it arrives");
	e = get();
	e.exception.pending = 1;
	e.exception.nr = 1;
	e.exception.has_error_code = 0;
	e.exception_has_payload = 1;
	e.exception_payload = 1 << 14;
	guest_must(set(&e));
	guest_run(&g, 0);
	tap_ok(hits == 1 && (dr6 & 0x4000), "#DB: it is in DR6");
	guest_destroy(&g);
}

static void triple_fault(void)
{
	struct kvm_vcpu_events e;

	start();
	tap_eq(enable(KVM_CAP_X86_TRIPLE_FAULT_EVENT, 1), 0, "KVM_CAP_X86_TRIPLE_FAULT_EVENT");
	e = get();
	tap_ok((e.flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT) && !e.triple_fault.pending, "triple faults are valid now");
	e.triple_fault.pending = 1;
	guest_must(set(&e));
	tap_eq(get().triple_fault.pending, 1, "a pending one is read back");
	e.triple_fault.pending = 0;
	guest_must(set(&e));
	tap_eq(guest_run(&g, 0), GUEST_DONE, "and can be taken back");
	e.triple_fault.pending = 1;
	guest_must(set(&e));
	tap_eq(guest_run(&g, 0), KVM_EXIT_SHUTDOWN, "left to run, it shuts the guest down");
	guest_destroy(&g);
}

static void nmi(void)
{
	struct kvm_vcpu_events e;

	start();
	e = get();
	e.nmi.masked = 1;
	guest_must(set(&e));
	guest_must(ioctl(g.vcpu[0], KVM_NMI, 0));
	guest_run(&g, 0);
	e = get();
	tap_ok(!nmis && e.nmi.masked && e.nmi.pending, "a masked NMI waits");
	e.nmi.masked = 0;
	guest_must(set(&e));
	guest_run(&g, 0);
	tap_ok(nmis == 1 && !get().nmi.pending && !get().nmi.masked, "unmasked, it arrives; its IRET ends the masking");
	e = get();
	e.nmi.pending = 1;
	e.flags &= ~KVM_VCPUEVENT_VALID_NMI_PENDING;
	guest_must(set(&e));
	guest_run(&g, 0);
	tap_eq(nmis, 1, "pending without its flag means nothing");
	e.flags |= KVM_VCPUEVENT_VALID_NMI_PENDING;
	guest_must(set(&e));
	guest_run(&g, 0);
	tap_eq(nmis, 2, "with it, it is one");
	guest_destroy(&g);
}

static void shadow(void)
{
	struct kvm_vcpu_events e;
	struct kvm_regs regs;

	start();
	/* VT-x refuses the shadow of an STI that has not set IF, SDM 3C 27.3.1.5. */
	guest_must(ioctl(g.vcpu[0], KVM_GET_REGS, &regs));
	regs.rflags |= 0x200;
	guest_must(ioctl(g.vcpu[0], KVM_SET_REGS, &regs));
	e = get();
	e.interrupt.shadow = KVM_X86_SHADOW_INT_STI;
	guest_must(set(&e));
	tap_ok(get().interrupt.shadow, "an interrupt shadow is read back");
	guest_run(&g, 0);
	tap_eq(get().interrupt.shadow, 0, "and over after an instruction");
	guest_destroy(&g);
}

int main(int argc, char **argv)
{
	node = tap_node(argc, argv);
	refusals();
	without_payload();
	with_payload();
	triple_fault();
	nmi();
	shadow();
	return tap_done();
}
