// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * debug - the debugger outside the guest (KVM_SET_GUEST_DEBUG), and debug registers as the guest uses them.
 *
 * Bochs 2.7 cannot single-step a guest, on any hypervisor: its SVM dies of it, its VT-x does not say that it was a step.
 */
#include "modes.h"

static bool bochs;		/* does not write DR6 before the intercept, on any hypervisor */
static volatile u64 hits, seen_dr6, hit_rip, dr_back[4], dr7_back, watched;

static void debug(struct guest *g, u32 control, u64 dr0, u64 dr7)
{
	struct kvm_guest_debug d = { .control = control, .arch.debugreg = { [0] = dr0, [7] = dr7 } };

	guest_must(ioctl(g->vcpu[0], KVM_SET_GUEST_DEBUG, &d));
}

/* QEMU's TCG does not arm breakpoints from the DR7 that VMRUN loads. */
static bool emulator_ignores_dr7(void)
{
	u32 eax = 0x40000000, ebx, ecx, edx;

	asm volatile("cpuid" : "+a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx));
	return ebx == 0x54474354;	/* "TCGT" */
}

static const u8 steps[] = {
	0x90, 0x90,			/* nop; nop */
	0x0f, 0xa2,			/* cpuid: exits */
	0xb8, 0x01, 0x00, 0x00, 0x00,	/* mov $1,%eax */
	0xe6, 0x80,			/* out %al,$0x80 */
};

static void single_step(struct guest *g)
{
	static const u64 want[] = { 0x2001, 0x2002, 0x2004, 0x2009 };
	struct kvm_run *run = g->run[0];
	unsigned int i;
	int bad = 0;

	mode_put(g, 0x2000, steps, sizeof(steps));
	mode_start(g, MODE64, 0x2000);
	debug(g, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP, 0, 0);
	for (i = 0; i < 4; i++) {
		int r = guest_run(g, 0);

		if (r != KVM_EXIT_DEBUG || run->debug.arch.pc != want[i] || !(run->debug.arch.dr6 & 1 << 14)) {
			tap_note("step %u: exit %d, pc %#llx, want %#llx, dr6 %#llx", i, r,
				 (unsigned long long)run->debug.arch.pc, (unsigned long long)want[i],
				 (unsigned long long)run->debug.arch.dr6);
			bad++;
		}
	}
	tap_eq(bad, 0, "single-stepping stops behind every instruction, also one that exits");
	debug(g, 0, 0, 0);
	tap_ok(guest_run(g, 0) == KVM_EXIT_IO, "and ends when it is switched off");
}

static void hw_breakpoint(struct guest *g)
{
	struct kvm_run *run = g->run[0];
	struct kvm_debugregs dr;

	mode_put(g, 0x2000, steps, sizeof(steps));
	mode_start(g, MODE64, 0x2000);
	debug(g, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP, 0x2004, 0x402 | 1);
	tap_ok(guest_run(g, 0) == KVM_EXIT_DEBUG && run->debug.arch.pc == 0x2004 &&
	       (bochs || (run->debug.arch.dr6 & 1)),
	       "a debugger's hardware breakpoint stops at its address");
	guest_must(ioctl(g->vcpu[0], KVM_GET_DEBUGREGS, &dr));
	tap_ok(dr.dr7 == 0x400 && !dr.db[0], "the guest's own debug registers are not touched by it");
	debug(g, 0, 0, 0);
	tap_ok(guest_run(g, 0) == KVM_EXIT_IO, "the guest goes on without it");
}

/* ---- the guest's own ---- */

static GUEST void on_db(u64 vector, u64 *frame, u64 error)
{
	u64 v;

	(void)vector, (void)error;
	asm volatile("mov %%dr6, %0" : "=r"(v));
	seen_dr6 = v;
	hit_rip = frame[0];
	hits++;
	asm volatile("mov %0, %%dr7" : : "r"(0x400ul));
}

static GUEST void body(void)
{
	u64 a, b, c, d;

	asm volatile("mov %0, %%dr0; mov %1, %%dr1; mov %2, %%dr2; mov %3, %%dr3"
		     : : "r"((u64)&watched), "r"(0x1111ul), "r"(0x2222ul), "r"(0x3333ul));
	asm volatile("mov %0, %%dr7" : : "r"(0xd0402ul));	/* DR0: writes of 4 bytes */
	outb(0x90, 1);
	watched = 5;
	asm volatile("mov %%dr0, %0; mov %%dr1, %1; mov %%dr2, %2; mov %%dr3, %3" : "=r"(a), "=r"(b), "=r"(c), "=r"(d));
	dr_back[0] = a;
	dr_back[1] = b;
	dr_back[2] = c;
	dr_back[3] = d;
	guest_exit();
}

static void own(struct guest *g, bool armed)
{
	struct kvm_debugregs dr;

	guest_irq[1] = on_db;
	guest_start64(g, 0, body);
	TAP_REQUIRE(guest_run(g, 0) == KVM_EXIT_IO, "the guest has set its debug registers");
	guest_must(ioctl(g->vcpu[0], KVM_GET_DEBUGREGS, &dr));
	tap_ok(dr.db[0] == (u64)&watched && dr.db[3] == 0x3333 && dr.dr7 == 0xd0402, "KVM_GET_DEBUGREGS shows them");
	TAP_REQUIRE(guest_run(g, 0) == GUEST_DONE, "the guest comes through");
	if (armed)
		tap_eq(hits, 1, "a data breakpoint hits once, after a stay in user space");
	else
		tap_skip("a data breakpoint hits", "the emulator's VMRUN does not arm it");
	if (bochs || !armed)
		tap_skip("DR6 names it", "the emulator does not write DR6 then");
	else
		tap_ok((seen_dr6 & 15) == 1, "DR6 names it");
	tap_ok(dr_back[0] == (u64)&watched && dr_back[1] == 0x1111 && dr_back[2] == 0x2222 && dr_back[3] == 0x3333,
	       "DR0 to DR3 read back");
}

int main(int argc, char **argv)
{
	struct guest g;

	guest_create(&g, tap_node(argc, argv), 0);
	guest_vcpu(&g, 0);
	bochs = on_bochs_amd();
	if (on_bochs())
		tap_skip("single-stepping", "the emulator cannot, on the stock module either");
	else
		single_step(&g);
	if (emulator_ignores_dr7())
		tap_skip("hardware breakpoints", "the emulator's VMRUN does not arm them");
	else
		hw_breakpoint(&g);
	own(&g, !emulator_ignores_dr7());
	guest_destroy(&g);
	return tap_done();
}
