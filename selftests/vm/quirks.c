// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a VMM may switch: KVM's quirks, and exits for what cannot be emulated.
 *
 * CFLAGS: -mno-red-zone
 */
#include "guest.h"
#include "tap.h"

#define DEVICE	0xc0000000ul	/* nobody answers there */

static const char *node;
static u32 quirks;
static volatile u64 out, faults;

static int enable(struct guest *g, u32 cap, u64 arg)
{
	struct kvm_enable_cap c = { .cap = cap, .args = { arg } };

	return ioctl(g->vm, KVM_ENABLE_CAP, &c) < 0 ? -errno : 0;
}

/* A VM without the quirks of @off, about to run @fn. */
static void start(struct guest *g, u64 off, void (*fn)(void))
{
	guest_create(g, node, GUEST_IRQCHIP);
	if (off)
		guest_must(enable(g, KVM_CAP_DISABLE_QUIRKS2, off));
	guest_vcpu(g, 0);
	guest_start64(g, 0, fn);
	out = faults = 0;
}

static u64 result(struct guest *g)
{
	int r = guest_run(g, 0);

	if (r != GUEST_DONE)
		guest_die("exit %d", r);
	guest_destroy(g);
	return out;
}

/* Leave the instruction, which is @frame[0]'s, three bytes on. */
static GUEST void skip3(u64 vector, u64 *frame, u64 error)
{
	(void)vector, (void)error;
	faults++;
	frame[0] += 3;
}

static GUEST void skip2(u64 vector, u64 *frame, u64 error)
{
	(void)vector, (void)error;
	faults++;
	frame[0] += 2;
}

static void enabling(void)
{
	struct guest g;

	guest_create(&g, node, 0);
	quirks = ioctl(g.vm, KVM_CHECK_EXTENSION, KVM_CAP_DISABLE_QUIRKS2);
	tap_ok(ioctl(g.vm, KVM_CHECK_EXTENSION, KVM_CAP_DISABLE_QUIRKS) == 1 && quirks, "there are quirks");
	tap_eq(enable(&g, KVM_CAP_DISABLE_QUIRKS2, 1ull << 40), -EINVAL, "DISABLE_QUIRKS2 of one that does not exist: EINVAL");
	tap_eq(enable(&g, KVM_CAP_DISABLE_QUIRKS2, quirks), 0, "of all that do");
	tap_eq(enable(&g, KVM_CAP_DISABLE_QUIRKS, ~0ull), 0, "its predecessor takes anything");
	guest_destroy(&g);
}

/* ---- LINT0 ---- */

static GUEST void lint0(void)
{
	out = apic_read(0x350);
	guest_exit();
}

/* ---- the LAPIC's page in x2APIC mode ---- */

static GUEST void hole(void)
{
	guest_apic_on(true);
	out = apic_read(0x20);
	guest_exit();
}

static void mmio_hole(void)
{
	struct guest g;

	start(&g, 0, hole);
	tap_eq(result(&g), 0xffffffff, "the LAPIC's page in x2APIC mode reads as ones");
	start(&g, KVM_X86_QUIRK_LAPIC_MMIO_HOLE, hole);
	tap_ok(guest_run(&g, 0) == KVM_EXIT_MMIO && g.run[0]->mmio.phys_addr == 0xfee00020,
	       "without the quirk the access is the VMM's");
	guest_destroy(&g);
}

/* ---- the other vendor's hypercall ---- */

/* Stock KVM exchanges the instruction, so it lies where it can be written to. */
asm(".pushsection .data\n"
    "call_ret:\n"
    "	vmcall\n"
    "	ret\n"
    ".popsection\n");

extern u8 call_ret[];

static GUEST void foreign_call(void)
{
	u64 nr = 0xdeadbeef;

	guest_irq[6] = skip3;
	asm volatile("call call_ret" : "+a"(nr) : "b"(0), "c"(0), "d"(0), "S"(0) : "memory");
	out = nr;
	guest_exit();
}

/* ---- MONITOR and MWAIT without the feature ---- */

static GUEST void mwait(void)
{
	guest_irq[6] = skip3;
	asm volatile("monitor" : : "a"(&out), "c"(0), "d"(0));
	asm volatile("mwait" : : "a"(0), "c"(0));
	out = faults;
	guest_exit();
}

static GUEST void mwait_bit(void)
{
	u32 a = 1, b, c = 0, d;

	asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	out = c >> 3 & 1;
	wrmsr_(0x1a0, rdmsr_(0x1a0) | 1 << 18);
	a = 1;
	c = 0;
	asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	out |= (c >> 3 & 1) << 1;
	guest_exit();
}

/* ---- failures of the emulator ---- */

static GUEST void fld_device(void)
{
	guest_irq[6] = skip2;
	asm volatile("flds (%0)" : : "a"(DEVICE) : "memory");
	out = 1;
	guest_exit();
}

static GUEST void leave_ring3(u64 vector, u64 *frame, u64 error)
{
	(void)vector, (void)frame, (void)error;
	faults++;
	guest_exit();
}

/* The same at CPL 3, where the handler of #UD ends the test. */
static GUEST void fld_ring3(void)
{
	guest_irq[6] = leave_ring3;
	asm volatile("mov %%rsp, 4(%1)\n"		/* RSP0 of the TSS */
		     "push $0x2b\n"
		     "push %%rsp\n"
		     "push $2\n"
		     "push $0x23\n"
		     "push $1f\n"
		     "iretq\n"
		     "1: flds (%0)\n"
		     "2: jmp 2b\n" : : "a"(DEVICE), "b"(guest_tss[0]) : "memory");
}

static void start_ring3(struct guest *g, bool exits)
{
	struct kvm_sregs s;

	guest_create(g, node, GUEST_IRQCHIP);
	if (exits)
		guest_must(enable(g, KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1));
	guest_vcpu(g, 0);
	guest_start64(g, 0, fld_ring3);
	guest_must(ioctl(g->vcpu[0], KVM_GET_SREGS, &s));
	s.cr4 |= 0x600;
	guest_must(ioctl(g->vcpu[0], KVM_SET_SREGS, &s));
	out = faults = 0;
}

static bool reports_fld(struct kvm_run *run)
{
	return run->exit_reason == KVM_EXIT_INTERNAL_ERROR && run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION &&
	       (run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) &&
	       run->emulation_failure.insn_bytes[0] == 0xd9 && run->emulation_failure.insn_bytes[1] == 0;
}

static void emulation(void)
{
	struct guest g;

	guest_create(&g, node, 0);
	tap_eq(ioctl(g.vm, KVM_CHECK_EXTENSION, KVM_CAP_EXIT_ON_EMULATION_FAILURE), 1, "KVM_CAP_EXIT_ON_EMULATION_FAILURE");
	tap_eq(enable(&g, KVM_CAP_EXIT_ON_EMULATION_FAILURE, 2), -EINVAL, "anything but on and off: EINVAL");
	guest_destroy(&g);
	start(&g, 0, fld_device);
	guest_run(&g, 0);
	tap_ok(reports_fld(g.run[0]), "what a kernel does and cannot be emulated is reported, with its bytes");
	guest_destroy(&g);
	start_ring3(&g, false);
	tap_ok(guest_run(&g, 0) == GUEST_DONE && faults == 1, "a program gets #UD");
	guest_destroy(&g);
	start_ring3(&g, true);
	guest_run(&g, 0);
	tap_ok(reports_fld(g.run[0]), "unless the VMM wants to hear of it");
	guest_destroy(&g);
}

static void hypercalls(void)
{
	static const u8 vmcall[] = { 0x0f, 0x01, 0xc1 }, vmmcall[] = { 0x0f, 0x01, 0xd9 };
	const u8 *own = __builtin_cpu_is("intel") ? vmcall : vmmcall, *other = own == vmcall ? vmmcall : vmcall;
	struct guest g;

	memcpy(call_ret, other, 3);
	start(&g, 0, foreign_call);
	tap_ok(result(&g) == (u64)-1000 && !faults, "VMCALL works on AMD, VMMCALL on Intel");
	tap_ok(!memcmp(call_ret, own, 3), "and is exchanged for this processor's");
	memcpy(call_ret, other, 3);
	start(&g, KVM_X86_QUIRK_FIX_HYPERCALL_INSN, foreign_call);
	result(&g);
	tap_eq(faults, 1, "without the quirk the other vendor's is #UD");
}

int main(int argc, char **argv)
{
	struct guest g;

	node = tap_node(argc, argv);
	enabling();
	start(&g, 0, lint0);
	tap_eq(result(&g), 0x700, "LINT0 of the boot CPU is ExtINT after reset");
	start(&g, KVM_X86_QUIRK_LINT0_REENABLED, lint0);
	tap_eq(result(&g), 0x10000, "without the quirk it is masked");
	mmio_hole();
	hypercalls();
	start(&g, 0, mwait);
	tap_eq(result(&g), 0, "MONITOR and MWAIT do nothing where CPUID does not have them");
	start(&g, KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS | KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT, mwait);
	tap_eq(result(&g), 2, "without the quirk they are #UD");
	start(&g, KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT, mwait_bit);
	tap_eq(result(&g), 2, "without its quirk, CPUID's MWAIT bit follows IA32_MISC_ENABLE");
	emulation();
	return tap_done();
}
