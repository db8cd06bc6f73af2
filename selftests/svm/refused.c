// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * refused - what happens when the CPU refuses to enter the guest: KVM_EXIT_FAIL_ENTRY, and nothing of it is left when the state is
 * mended.  The host's interrupts still end the run of a guest that has turned its own off.
 *
 * That guest turns them off again and again (guest_spin() of ../vm/guest.h): on VT-x in Bochs an entry alone does not let the host's
 * interrupts through.
 */
#include <cpuid.h>
#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#include "modes.h"

/* cli; jmp to it */
static const u8 spin[] = { 0xfa, 0xeb, 0xfd };

static void woken(int sig)
{
	(void)sig;
}

/* A signal each second, lest one that comes too early be the only one. */
static void wake(bool on)
{
	struct itimerval t = { .it_interval.tv_sec = on, .it_value.tv_sec = on };

	setitimer(ITIMER_REAL, &t, NULL);
}

/* VMEXIT_INVALID; on VT-x VM-entry failure due to invalid guest state, SDM 3 27.8. */
static u32 refusal(void)
{
	u32 a, b, c, d;

	__cpuid(0, a, b, c, d);
	return c == signature_INTEL_ecx ? 0x80000021 : ~0u;
}

static int run(struct guest *g)
{
	return ioctl(g->vcpu[0], KVM_RUN, 0) < 0 ? -errno : (int)g->run[0]->exit_reason;
}

static void set(struct guest *g, const struct kvm_sregs *s, const struct kvm_regs *r, const char *what)
{
	tap_ok(ioctl(g->vcpu[0], KVM_SET_SREGS, s) == 0 && ioctl(g->vcpu[0], KVM_SET_REGS, r) == 0, "%s", what);
}

/* Refused or not, afterwards the good state runs until a signal comes. */
static void mend(struct guest *g, const struct kvm_sregs *good, const struct kvm_regs *regs)
{
	set(g, good, regs, "the state is mended");
	wake(true);
	tap_eq(run(g), -EINTR, "a signal ends the run of a guest that spins with interrupts off");
	wake(false);
}

int main(int argc, char **argv)
{
	struct sigaction act = { .sa_handler = woken };
	struct kvm_sregs good, bad;
	struct kvm_regs regs;
	struct guest g;

	sigaction(SIGALRM, &act, NULL);
	guest_create(&g, tap_node(argc, argv), 0);
	guest_vcpu(&g, 0);
	mode_put(&g, 0x2000, spin, sizeof(spin));
	mode_start(&g, MODE64, 0x2000);
	ioctl(g.vcpu[0], KVM_GET_SREGS, &good);
	ioctl(g.vcpu[0], KVM_GET_REGS, &regs);

	bad = good;
	bad.cs.db = 1;		/* with L in long mode: APM 2 15.5.1, SDM 3 27.3.1.2 */
	set(&g, &bad, &regs, "a state that the CPU refuses is taken");
	tap_eq(run(&g), KVM_EXIT_FAIL_ENTRY, "running it is KVM_EXIT_FAIL_ENTRY");
	tap_eq((u32)g.run[0]->fail_entry.hardware_entry_failure_reason, refusal(), "with the CPU's code");
	mend(&g, &good, &regs);

	/* Hardware ignores the high half of CR3 outside long mode; QEMU's emulator refuses it before it has looked at INT_CTL. */
	mode_start(&g, MODE16, 0x2000);
	ioctl(g.vcpu[0], KVM_GET_SREGS, &bad);
	bad.cr3 = 1ull << 60;
	set(&g, &bad, &regs, "a high CR3 without paging is taken");
	wake(true);
	run(&g);
	wake(false);
	mend(&g, &good, &regs);
	guest_destroy(&g);
	return tap_done();
}
