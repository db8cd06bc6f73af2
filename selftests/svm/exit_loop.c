// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * exit_loop - the first rung: a guest of ten lines goes round through CPUID, ports, and HLT, in each mode.
 */
#include "modes.h"

#define PORT	0x1234
#define ROUNDS	1000

/*
 * The same bytes mean the same in all three modes: eight-bit registers, no address.
 *	xor %bl,%bl; 1: cpuid; mov %bl,%al; mov $0x12,%dh; mov $0x34,%dl; out %al,%dx; in %dx,%al; mov %al,%bl; jmp 1b
 * CPUID clobbers BL, so the counter travels in the port's answers.
 */
static const u8 loop[] = {
	0x30, 0xdb,			/* xor %bl,%bl */
	0x31, 0xc0,			/* xor %eax,%eax */
	0x0f, 0xa2,			/* cpuid */
	0xb6, 0x12, 0xb2, 0x34,		/* mov $0x12,%dh; mov $0x34,%dl */
	0xee,				/* out %al,%dx */
	0xec,				/* in %dx,%al */
	0xa8, 0x80,			/* test $0x80,%al */
	0x74, 0xf2,			/* jz xor eax */
	0xf4,				/* hlt */
};

static int run(struct guest *g)
{
	if (ioctl(g->vcpu[0], KVM_RUN, 0) < 0)
		guest_die("KVM_RUN");
	return g->run[0]->exit_reason;
}

static void loops(struct guest *g, enum mode mode)
{
	struct kvm_run *run_page = g->run[0];
	u8 *data = (u8 *)run_page + 4096;
	int i, good = 0;

	mode_put(g, 0x2000, loop, sizeof(loop));
	mode_start(g, mode, 0x2000);
	for (i = 0; i < ROUNDS; i++) {
		if (run(g) != KVM_EXIT_IO || run_page->io.direction != KVM_EXIT_IO_OUT || run_page->io.port != PORT)
			break;
		if (run(g) != KVM_EXIT_IO || run_page->io.direction != KVM_EXIT_IO_IN || run_page->io.size != 1)
			break;
		*data = i == ROUNDS - 1 ? 0x80 : 0;
		good++;
	}
	tap_eq(good, ROUNDS, mode == MODE16 ? "1000 rounds of CPUID, OUT and IN in 16-bit code" :
		mode == MODE32 ? "1000 rounds of CPUID, OUT and IN in 32-bit code" : "1000 rounds of CPUID, OUT and IN in 64-bit code");
	tap_ok(run(g) == KVM_EXIT_HLT, "HLT leaves with KVM_EXIT_HLT without an irqchip, %s", mode_name[mode]);
	tap_eq(mode_rip(g), 0x2000 + sizeof(loop), "RIP stands behind HLT");
}

int main(int argc, char **argv)
{
	struct guest g;
	enum mode mode;

	guest_create(&g, tap_node(argc, argv), 0);
	guest_vcpu(&g, 0);
	for (mode = MODE16; mode < MODES; mode++)
		loops(&g, mode);
	guest_destroy(&g);
	return tap_done();
}
