// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * event_order - exception, NMI and interrupt that are pending at one instruction boundary: AMD's manual vol. 2, 8.5 (Intel's
 * vol. 3, 6.9) wants traps of the last instruction, then NMI, then INTR, then the faults of the next instruction.
 *
 * The address that each handler was entered from tells the order.  An NMI, which only NMIs hold back, comes before the first
 * instruction of the handler of what was accepted before it; the interrupt, which the gates hold back, after the last IRET.
 */
#include "guest.h"
#include "tap.h"

#define TELL	0x90	/* port: the guest asks for the events; tell_with has the number again */
#define IRQ	0x61

static const char *node;
static struct { u64 vector, rip; } entered[16];
static volatile unsigned int logged;
extern char after_tell[], after_ud[];

static GUEST void on_event(u64 vector, u64 *frame, u64 error)
{
	(void)error;
	if (logged < 16) {
		entered[logged].vector = vector;
		entered[logged].rip = frame[0];
	}
	logged++;
	if (vector == 6)
		frame[0] = (u64)after_ud;
	if (vector == 1)
		frame[2] &= ~0x100ull;
	if (vector == IRQ)
		wrmsr_(0x80b, 0);
}

/* The events are taken behind the OUT, where a fault of the next instruction, UD2, competes with them. */
asm(".pushsection .text\n"
    ".globl after_tell, after_ud\n"
    "tell_with:\n"			/* rdi: RFLAGS at the OUT */
    "	mov $0x90, %edx\n"
    "	xor %eax, %eax\n"
    "	push %rdi\n"
    "	popf\n"
    "	out %al, %dx\n"
    "after_tell:\n"
    "	ud2\n"
    "after_ud:\n"
    "	nop\n"
    "	nop\n"
    "	cli\n"
    "	ret\n"
    ".popsection\n");
void tell_with(u64 flags);

static GUEST void body_if(void)
{
	guest_apic_on(true);
	tell_with(0x202);
	guest_exit();
}

static GUEST void body_tf(void)
{
	guest_apic_on(true);
	tell_with(0x302);
	guest_exit();
}

static GUEST void body_no_if(void)
{
	guest_apic_on(true);
	tell_with(2);
	guest_exit();
}

/* Run @fn to its OUT; then NMI and interrupt are sent; if @vector is not 0 that exception is made pending. */
static bool scene(void (*fn)(void), u8 vector)
{
	struct kvm_enable_cap payload = { .cap = KVM_CAP_EXCEPTION_PAYLOAD, .args = { 1 } };
	struct kvm_msi msi = { .address_lo = 0xfee00000, .data = IRQ };
	struct kvm_vcpu_events ev;
	struct guest g;
	unsigned int i;
	int why;

	logged = 0;
	for (i = 0; i < 256; i++)
		guest_irq[i] = on_event;
	guest_create(&g, node, GUEST_IRQCHIP);
	guest_must(ioctl(g.vm, KVM_ENABLE_CAP, &payload));
	guest_vcpu(&g, 0);
	guest_start64(&g, 0, fn);
	if (guest_run(&g, 0) != KVM_EXIT_IO || g.run[0]->io.port != TELL)
		guest_die("the guest did not ask");
	guest_must(ioctl(g.vm, KVM_SIGNAL_MSI, &msi));
	guest_must(ioctl(g.vcpu[0], KVM_NMI, 0));
	if (vector) {
		/* The OUT is completed first: then all three wait at the boundary behind it. */
		g.run[0]->immediate_exit = 1;
		if (ioctl(g.vcpu[0], KVM_RUN, 0) == 0 || errno != EINTR)
			guest_die("immediate_exit");
		g.run[0]->immediate_exit = 0;
		guest_must(ioctl(g.vcpu[0], KVM_GET_VCPU_EVENTS, &ev));
		ev.exception.pending = 1;
		ev.exception.nr = vector;
		ev.exception.has_error_code = vector == 13;
		ev.exception.error_code = 0;
		guest_must(ioctl(g.vcpu[0], KVM_SET_VCPU_EVENTS, &ev));
	}
	why = guest_run(&g, 0);
	guest_destroy(&g);
	return why == GUEST_DONE;
}

/* The handler entered as number @i was that of @vector, from @rip. */
static bool was(unsigned int i, u64 vector, void *rip)
{
	if (i < logged && entered[i].vector == vector && entered[i].rip == (u64)rip)
		return true;
	tap_note("handler %u of %u: vector %llu, entered from %#llx; wanted: %llu from %p", i, logged, (unsigned long long)entered[i].vector,
		 (unsigned long long)entered[i].rip, (unsigned long long)vector, rip);
	return false;
}

static void *stub(unsigned int vector)
{
	return guest_stubs + 16 * vector;
}

int main(int argc, char **argv)
{
	node = tap_node(argc, argv);
	tap_ok(scene(body_if, 0) && logged == 3 && was(0, 2, after_tell) && was(1, IRQ, after_tell) && was(2, 6, after_tell),
	       "NMI, then interrupt, then the next instruction's #UD");
	tap_ok(scene(body_tf, 0) && logged == 4 && was(0, 2, stub(1)) && was(1, 1, after_tell) && was(2, IRQ, after_tell) &&
	       was(3, 6, after_tell), "the last instruction's single-step trap, the NMI at its handler, interrupt, #UD");
	tap_ok(scene(body_no_if, 0) && logged == 2 && was(0, 2, after_tell) && was(1, 6, after_tell),
	       "with IF clear NMI and #UD, and no interrupt");
	tap_ok(scene(body_if, 13) && logged == 4 && was(0, 2, stub(13)) && was(1, 13, after_tell) && was(2, IRQ, after_tell) &&
	       was(3, 6, after_tell), "a pending #GP, the NMI at its handler, interrupt, #UD");
	tap_ok(scene(body_no_if, 13) && logged == 3 && was(0, 2, stub(13)) && was(1, 13, after_tell) && was(2, 6, after_tell),
	       "the same with IF clear, without the interrupt");
	return tap_done();
}
