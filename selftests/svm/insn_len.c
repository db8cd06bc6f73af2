// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * insn_len - RIP after an intercepted instruction, where the CPU does not tell its length.
 *
 * Each instruction runs plain and with redundant prefixes, in the middle of a page and with the page boundary after each of
 * its bytes, in 16-, 32- and 64-bit code.  An OUT follows it directly: reached at the right address, or not at all.
 */
#include "modes.h"

#define VMMCALL	0xd9	/* the last bytes of the two */
#define VMCALL	0xc1

struct insn {
	const char *name;
	u8 n;
	u8 b[12];
	u32 ecx;
	bool only64;
};

static const struct insn insns[] = {
	{ .name = "CPUID", .n = 2, .b = { 0x0f, 0xa2 } },
	{ .name = "66 CPUID", .n = 3, .b = { 0x66, 0x0f, 0xa2 } },
	{ .name = "F3 CPUID", .n = 3, .b = { 0xf3, 0x0f, 0xa2 } },
	{ .name = "2E 66 67 F2 CPUID", .n = 6, .b = { 0x2e, 0x66, 0x67, 0xf2, 0x0f, 0xa2 } },
	{ .name = "REX.W CPUID", .n = 3, .b = { 0x48, 0x0f, 0xa2 }, .only64 = true },
	{ .name = "66 REX CPUID", .n = 4, .b = { 0x66, 0x40, 0x0f, 0xa2 }, .only64 = true },
	{ .name = "nine prefixes and CPUID", .n = 11, .b = { 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65, 0x66, 0x67, 0x66, 0x0f, 0xa2 } },
	{ .name = "RDMSR", .n = 2, .b = { 0x0f, 0x32 }, .ecx = 0x1b },
	{ .name = "66 RDMSR", .n = 3, .b = { 0x66, 0x0f, 0x32 }, .ecx = 0x1b },
	{ .name = "REX.W RDMSR", .n = 3, .b = { 0x48, 0x0f, 0x32 }, .ecx = 0x1b, .only64 = true },
	/* TSC_ADJUST: its value is zero, and writes exit. */
	{ .name = "WRMSR", .n = 2, .b = { 0x0f, 0x30 }, .ecx = 0x3b },
	{ .name = "F2 WRMSR", .n = 3, .b = { 0xf2, 0x0f, 0x30 }, .ecx = 0x3b },
	{ .name = "WBINVD", .n = 2, .b = { 0x0f, 0x09 } },
	{ .name = "3E 3E WBINVD", .n = 4, .b = { 0x3e, 0x3e, 0x0f, 0x09 } },
	{ .name = "INVD", .n = 2, .b = { 0x0f, 0x08 } },
	/* VMMCALL; VMCALL on Intel */
	{ .name = "the hypercall", .n = 3, .b = { 0x0f, 0x01, VMMCALL } },
	{ .name = "67 and the hypercall", .n = 4, .b = { 0x67, 0x0f, 0x01, VMMCALL } },
};

static const u8 out_insn[] = { 0xe6, 0x80 };	/* out %al,$0x80 */

static void prepare(struct guest *g, const struct insn *in, enum mode mode, u64 at)
{
	struct kvm_regs regs;

	memset(g->low, 0xcc, 0x8000);
	mode_put(g, at, in->b, in->n);
	if (in->b[in->n - 1] == VMMCALL && on_intel())
		mode_put(g, at + in->n - 1, (const u8[]){ VMCALL }, 1);
	mode_put(g, at + in->n, out_insn, sizeof(out_insn));
	mode_start(g, mode, at);
	guest_must(ioctl(g->vcpu[0], KVM_GET_REGS, &regs));
	regs.rcx = in->ecx;
	if (in->b[in->n - 1] == VMMCALL)
		regs.rax = 1;		/* KVM_HC_VAPIC_POLL_IRQ: does nothing */
	guest_must(ioctl(g->vcpu[0], KVM_SET_REGS, &regs));
}

/* True if OUT was reached from the instruction at @at. */
static bool passes(struct guest *g, const struct insn *in, enum mode mode, u64 at)
{
	struct kvm_run *run = g->run[0];
	u64 rip;

	prepare(g, in, mode, at);
	if (ioctl(g->vcpu[0], KVM_RUN, 0) < 0)
		guest_die("KVM_RUN");
	rip = mode_rip(g);
	if (run->exit_reason == KVM_EXIT_IO && run->io.port == 0x80)
		return rip == at + in->n || rip == at + in->n + sizeof(out_insn);
	tap_note("%s, %s, at %#llx: exit %u, rip %#llx", in->name, mode_name[mode], (unsigned long long)at,
		 run->exit_reason, (unsigned long long)rip);
	return false;
}

static void one(struct guest *g, const struct insn *in, enum mode mode)
{
	unsigned int k, bad = 0;

	tap_ok(passes(g, in, mode, 0x2100), "%s in the middle of a page, %s", in->name, mode_name[mode]);
	for (k = 0; k <= in->n; k++)
		bad += !passes(g, in, mode, 0x3000 - k);
	tap_ok(!bad, "%s across a page boundary at each byte, %s", in->name, mode_name[mode]);
}

int main(int argc, char **argv)
{
	struct guest g;
	enum mode mode;
	unsigned int i;

	guest_create(&g, tap_node(argc, argv), 0);
	guest_vcpu(&g, 0);
	for (mode = MODE16; mode < MODES; mode++)
		for (i = 0; i < sizeof(insns) / sizeof(insns[0]); i++)
			if (mode == MODE64 || !insns[i].only64)
				one(&g, &insns[i], mode);
	guest_destroy(&g);
	return tap_done();
}
