// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * refused - states that no CPU can be in.
 *
 * What every CPU refuses is EINVAL of KVM_SET_SREGS, and changes nothing.  What gets past that is refused by the CPU: by both
 * vendors' (CS.L with CS.D), or by VT-x alone, which checks at an entry what SVM takes or corrects (SDM 3 27.3.1, APM 2 15.5.1).
 * That is KVM_EXIT_FAIL_ENTRY; nothing of it is left when the state is mended, and an event that was to go in goes in then, or
 * not if it has been taken back.  The host's interrupts still end the run of a guest that has turned its own off.
 *
 * That guest turns them off again and again (guest_spin() of ../vm/guest.h): on VT-x in Bochs an entry alone does not let the
 * host's interrupts through.
 */
#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#include "modes.h"

#define CODE	0x2000
#define VECTOR	0x40
#define NEVER	(1ull << 60)	/* neither a canonical address nor a physical one */

/* cli; jmp to it */
static const u8 spin[] = { 0xfa, 0xeb, 0xfd };

static struct guest g;
static struct kvm_sregs good;
static struct kvm_regs good_regs;

static void woken(int sig)
{
	(void)sig;
}

/* A signal again and again, lest one that comes too early be the only one. */
static void wake(bool on)
{
	struct itimerval t = { .it_interval.tv_usec = on * 200000, .it_value.tv_usec = on * 200000 };

	setitimer(ITIMER_REAL, &t, NULL);
}

/* VMEXIT_INVALID; on VT-x VM-entry failure due to invalid guest state, SDM 3 27.8. */
static u32 refusal(void)
{
	return on_intel() ? 0x80000021 : ~0u;
}

static int run(void)
{
	return ioctl(g.vcpu[0], KVM_RUN, 0) < 0 ? -errno : (int)g.run[0]->exit_reason;
}

static int set_sregs(const struct kvm_sregs *s)
{
	return ioctl(g.vcpu[0], KVM_SET_SREGS, s) < 0 ? -errno : 0;
}

/* Refused or not, afterwards the good state runs until a signal comes. */
static int mended(void)
{
	int r;

	guest_must(set_sregs(&good));
	guest_must(ioctl(g.vcpu[0], KVM_SET_REGS, &good_regs));
	wake(true);
	r = run();
	wake(false);
	return r;
}

/* ---- EINVAL ---- */

#define SREGS(name, change) \
	static void name(struct kvm_sregs *s) \
	{ \
		change; \
	}

SREGS(cr0_high, s->cr0 |= NEVER)
SREGS(cr0_nw, s->cr0 |= 1 << 29)
SREGS(cr0_pe, s->cr0 &= ~1ull)
SREGS(cr3_high, s->cr3 |= NEVER)
SREGS(cr4_high, s->cr4 |= NEVER)
SREGS(cr4_pae, s->cr4 &= ~(1ull << 5))
SREGS(cr8_high, s->cr8 = 16)
SREGS(efer_unknown, s->efer |= 2)
SREGS(efer_svme, s->efer |= 1 << 12)
SREGS(efer_lma, s->efer &= ~(1ull << 10))
SREGS(efer_lme, s->efer &= ~(1ull << 8))
SREGS(cs_l, s->cr0 &= ~(1ull << 31); s->efer = 0)

static const struct {
	const char *what;
	void (*spoil)(struct kvm_sregs *s);
} impossible[] = {
	{ "CR0 of more than 32 bits", cr0_high },
	{ "NW without CD", cr0_nw },
	{ "paging without protection", cr0_pe },
	{ "a CR3 that cannot be, in long mode", cr3_high },
	{ "an unknown bit of CR4", cr4_high },
	{ "long mode without PAE", cr4_pae },
	{ "CR8 above 15", cr8_high },
	{ "an unknown bit of EFER", efer_unknown },
	{ "EFER.SVME, without SVM for guests", efer_svme },
	{ "long mode without LMA", efer_lma },
	{ "LMA without LME", efer_lme },
	{ "64-bit code outside long mode", cs_l },
};

static void rejected(void)
{
	struct kvm_sregs bad, after;
	unsigned int i;

	for (i = 0; i < sizeof(impossible) / sizeof(impossible[0]); i++) {
		bad = good;
		impossible[i].spoil(&bad);
		tap_ok(set_sregs(&bad) == -EINVAL, "%s: EINVAL", impossible[i].what);
		guest_must(ioctl(g.vcpu[0], KVM_GET_SREGS, &after));
		tap_ok(!memcmp(&good, &after, sizeof(good)), "and nothing changes");
	}
}

/* ---- KVM_EXIT_FAIL_ENTRY ---- */

#define STATE(name, change) \
	static void name(struct kvm_sregs *s __attribute__((unused)), struct kvm_regs *r __attribute__((unused))) \
	{ \
		change; \
	}

STATE(cs_l_d, s->cs.db = 1)
STATE(cs_data, s->cs.type = 1)		/* 3 may be, with unrestricted guest */
STATE(cs_absent, s->cs.present = 0)
STATE(cs_base, s->cs.base = 1ull << 32)
STATE(ds_granular, s->ds.g = 0)
STATE(ds_system, s->ds.s = 0)
STATE(fs_base, s->fs.base = NEVER)
STATE(tr_absent, s->tr.present = 0)
STATE(tr_base, s->tr.base = NEVER)
STATE(gdt_base, s->gdt.base = NEVER)
STATE(idt_base, s->idt.base = NEVER)
STATE(rip_high, s->cs.l = 0; s->cs.db = 1; r->rip |= 1ull << 32)
STATE(rflags, r->rflags |= 1 << 15)
STATE(irq_off, s->interrupt_bitmap[VECTOR / 64] |= 1ull << VECTOR % 64)

static const struct {
	const char *what;
	void (*spoil)(struct kvm_sregs *s, struct kvm_regs *r);
	bool both;		/* vendors refuse it, not VT-x alone */
} states[] = {
	{ "64-bit code with the D bit", cs_l_d, true },
	{ "CS without code", cs_data, false },
	{ "CS not present", cs_absent, false },
	{ "CS above 4 GiB", cs_base, false },
	{ "a limit of bytes above 1 MiB", ds_granular, false },
	{ "DS of a system type", ds_system, false },
	{ "FS not canonical", fs_base, false },
	{ "TR not present", tr_absent, false },
	{ "TR not canonical", tr_base, false },
	{ "GDT not canonical", gdt_base, false },
	{ "IDT not canonical", idt_base, false },
	{ "RIP of more than 32 bits in 32-bit code", rip_high, false },
	{ "a reserved bit of RFLAGS", rflags, false },
	{ "an interrupt in delivery while IF is clear", irq_off, false },
};

static void refused(void)
{
	struct kvm_sregs bad;
	struct kvm_regs regs, after;
	unsigned int i;
	int r;

	for (i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		const char *what = states[i].what;

		bad = good;
		regs = good_regs;
		states[i].spoil(&bad, &regs);
		tap_ok(!set_sregs(&bad) && !ioctl(g.vcpu[0], KVM_SET_REGS, &regs), "%s: taken", what);
		wake(true);
		r = run();
		wake(false);
		if (states[i].both || on_intel()) {
			tap_eq(r, KVM_EXIT_FAIL_ENTRY, "running it is KVM_EXIT_FAIL_ENTRY");
			tap_eq((u32)g.run[0]->fail_entry.hardware_entry_failure_reason, refusal(), "with the CPU's code");
			guest_must(ioctl(g.vcpu[0], KVM_GET_REGS, &after));
			tap_ok(!memcmp(&regs, &after, sizeof(regs)), "and the registers are as they were");
		} else {
			tap_ok(r == -EINTR || (r >= 0 && r != KVM_EXIT_INTERNAL_ERROR), "running it ends as with this CPU");
		}
		tap_eq(mended(), -EINTR, "a signal ends the run of the mended guest, which spins with interrupts off");
	}
}

/* Hardware ignores the high half of CR3 outside long mode; QEMU's emulator refuses it before it has looked at INT_CTL. */
static void high_cr3(void)
{
	struct kvm_sregs bad;
	int r;

	mode_start(&g, MODE16, CODE);
	ioctl(g.vcpu[0], KVM_GET_SREGS, &bad);
	bad.cr3 = NEVER;
	tap_ok(!set_sregs(&bad), "a high CR3 without paging is taken");
	wake(true);
	r = run();
	wake(false);
	tap_ok(r == KVM_EXIT_FAIL_ENTRY || (r == -EINTR && !on_intel()), "and runs or is refused");
	tap_eq(mended(), -EINTR, "a signal ends the run of the mended guest");
}

/* ---- an event that waits ---- */

static volatile u64 taken;

static GUEST void on_vector(u64 vector, u64 *frame, u64 error)
{
	(void)vector, (void)frame, (void)error;
	taken++;
}

static GUEST void body(void)
{
	guest_exit();
}

static void set_injected(bool on)
{
	struct kvm_vcpu_events ev;

	guest_must(ioctl(g.vcpu[0], KVM_GET_VCPU_EVENTS, &ev));
	ev.interrupt.injected = on;
	ev.interrupt.nr = VECTOR;
	guest_must(ioctl(g.vcpu[0], KVM_SET_VCPU_EVENTS, &ev));
}

/* @keep: the VMM mends the segment alone. */
static void event(bool keep, const char *what)
{
	struct kvm_vcpu_events ev;
	struct kvm_regs regs;
	struct kvm_sregs s;

	guest_irq[VECTOR] = on_vector;
	taken = 0;
	guest_start64(&g, 0, body);
	guest_must(ioctl(g.vcpu[0], KVM_GET_SREGS, &s));
	guest_must(ioctl(g.vcpu[0], KVM_GET_REGS, &regs));
	regs.rflags |= 0x200;
	guest_must(ioctl(g.vcpu[0], KVM_SET_REGS, &regs));
	s.cs.db = 1;
	guest_must(set_sregs(&s));
	set_injected(true);
	tap_ok(run() == KVM_EXIT_FAIL_ENTRY && run() == KVM_EXIT_FAIL_ENTRY, "refused with an interrupt, twice");
	guest_must(ioctl(g.vcpu[0], KVM_GET_VCPU_EVENTS, &ev));
	tap_ok(ev.interrupt.injected && ev.interrupt.nr == VECTOR, "the interrupt is still in delivery");
	guest_start64(&g, 0, body);
	guest_must(ioctl(g.vcpu[0], KVM_SET_REGS, &regs));
	set_injected(keep);
	tap_ok(guest_run(&g, 0) == GUEST_DONE && taken == keep, "%s", what);
}

int main(int argc, char **argv)
{
	struct sigaction act = { .sa_handler = woken };

	sigaction(SIGALRM, &act, NULL);
	guest_create(&g, tap_node(argc, argv), 0);
	guest_vcpu(&g, 0);
	mode_put(&g, CODE, spin, sizeof(spin));
	mode_start(&g, MODE64, CODE);
	ioctl(g.vcpu[0], KVM_GET_SREGS, &good);
	ioctl(g.vcpu[0], KVM_GET_REGS, &good_regs);

	rejected();
	refused();
	high_cr3();
	event(true, "the mended guest takes it once");
	event(false, "the mended guest does not see what was taken back");
	guest_destroy(&g);
	return tap_done();
}
