// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * tpr - the task priority register between guest and VMM: without LAPICs in the kernel (kvm_run.cr8, KVM_EXIT_SET_TPR and what
 * goes with KVM_INTERRUPT), and with one (KVM_TPR_ACCESS_REPORTING, KVM_SET_VAPIC_ADDR).
 *
 * CFLAGS: -mno-red-zone
 */
#include "guest.h"
#include "tap.h"

#define ASK_PORT	0xe0

static const char *node;
static volatile u64 result[16], count[256];
static volatile u32 vapic __attribute__((aligned(4)));

static GUEST void on_irq(u64 vector, u64 *frame __attribute__((unused)), u64 error __attribute__((unused)))
{
	count[vector]++;
}

static GUEST void on_apic_irq(u64 vector, u64 *frame __attribute__((unused)), u64 error __attribute__((unused)))
{
	count[vector]++;
	apic_write(0xb0, 0);
}

GUEST_INLINE void set_cr8(u64 v) { asm volatile("mov %0, %%cr8" : : "r"(v) : "memory"); }
GUEST_INLINE u64 get_cr8(void) { u64 v; asm volatile("mov %%cr8, %0" : "=r"(v)); return v; }

static void fresh(struct guest *g, int flags, guest_handler handler, void (*fn)(void))
{
	unsigned int i;

	for (i = 32; i < 256; i++)
		guest_irq[i] = handler;
	memset((void *)count, 0, sizeof(count));
	memset((void *)result, 0, sizeof(result));
	guest_create(g, node, flags);
	guest_vcpu(g, 0);
	guest_start64(g, 0, fn);
}

static bool asks(struct guest *g, u8 step)
{
	return guest_run(g, 0) == KVM_EXIT_IO && g->run[0]->io.port == ASK_PORT &&
	       *((u8 *)g->run[0] + g->run[0]->io.data_offset) == step;
}

/* ---- no LAPIC in the kernel ---- */

static GUEST void cr8_guest(void)
{
	set_cr8(9);			/* raised: nobody has to know */
	outb(ASK_PORT, 1);
	set_cr8(4);			/* lowered: the VMM must hear of it */
	outb(ASK_PORT, 2);
	result[0] = get_cr8();		/* what the VMM has put into kvm_run.cr8 */
	set_cr8(0);
	asm volatile("sti; nop; nop" : : : "memory");
	outb(ASK_PORT, 3);
	asm volatile("hlt" : : : "memory");
	result[1] = count[0x60];
	asm volatile("cli" : : : "memory");
	guest_exit();
}

static void cr8(void)
{
	struct kvm_interrupt irq = { .irq = 0x55 };
	struct kvm_run *run;
	struct guest g;

	fresh(&g, 0, on_irq, cr8_guest);
	run = g.run[0];
	TAP_REQUIRE(asks(&g, 1), "raising CR8 makes no exit");
	tap_eq(run->cr8, 9, "kvm_run.cr8 shows what the guest wrote");
	TAP_REQUIRE(guest_run(&g, 0) == KVM_EXIT_SET_TPR, "lowering CR8 without LAPIC: KVM_EXIT_SET_TPR");
	tap_eq(run->cr8, 4, "kvm_run.cr8 is the lowered one");
	TAP_REQUIRE(asks(&g, 2), "the instruction has been done");
	run->cr8 = 0x10;
	tap_ok(ioctl(g.vcpu[0], KVM_RUN, 0) < 0 && errno == EINVAL, "KVM_RUN with an impossible cr8: EINVAL");
	run->cr8 = 7;
	run->request_interrupt_window = 1;
	TAP_REQUIRE(guest_run(&g, 0) == KVM_EXIT_SET_TPR, "lowering it again");
	tap_eq(result[0], 7, "the guest reads the VMM's cr8");
	TAP_REQUIRE(guest_run(&g, 0) == KVM_EXIT_IRQ_WINDOW_OPEN && run->ready_for_interrupt_injection && run->if_flag,
		    "the window opens with STI");
	guest_must(ioctl(g.vcpu[0], KVM_INTERRUPT, &irq));
	run->request_interrupt_window = 0;
	TAP_REQUIRE(asks(&g, 3), "the guest goes on");
	tap_eq(count[0x55], 1, "KVM_INTERRUPT is taken in the window");
	TAP_REQUIRE(guest_run(&g, 0) == KVM_EXIT_HLT, "HLT without LAPIC: KVM_EXIT_HLT");
	tap_ok(run->ready_for_interrupt_injection, "a halted vCPU with IF set is ready for an interrupt");
	irq.irq = 0x60;
	guest_must(ioctl(g.vcpu[0], KVM_INTERRUPT, &irq));
	tap_ok(guest_run(&g, 0) == GUEST_DONE && result[1] == 1, "and goes on behind HLT when it gets one");
	irq.irq = 256;
	tap_ok(ioctl(g.vcpu[0], KVM_INTERRUPT, &irq) < 0 && errno == EINVAL, "KVM_INTERRUPT 256: EINVAL");
	guest_destroy(&g);
}

static GUEST void nothing(void)
{
	guest_exit();
}

static void kernel_pics(void)
{
	struct kvm_interrupt irq = { .irq = 0x55 };
	struct guest g;

	fresh(&g, GUEST_IRQCHIP, on_irq, nothing);
	tap_ok(ioctl(g.vcpu[0], KVM_INTERRUPT, &irq) < 0 && errno == ENXIO, "KVM_INTERRUPT beside PICs in the kernel: ENXIO");
	guest_destroy(&g);
	fresh(&g, GUEST_SPLIT, on_irq, nothing);
	tap_eq(ioctl(g.vcpu[0], KVM_INTERRUPT, &irq), 0, "KVM_INTERRUPT with a split irqchip");
	tap_ok(ioctl(g.vcpu[0], KVM_INTERRUPT, &irq) < 0 && errno == EEXIST, "a second one before it was taken: EEXIST");
	guest_destroy(&g);
}

/* ---- reports ---- */

extern char tpr_write_insn[], tpr_read_insn[], tpr_string_insn[];

static GUEST void report_guest(void)
{
	u64 v = 0x40, to = 0xfee00080;

	asm volatile(".globl tpr_write_insn\ntpr_write_insn: movl %k0, (%1)" : : "r"(v), "r"(to) : "memory");
	asm volatile(".globl tpr_read_insn\ntpr_read_insn: movl (%1), %k0" : "=r"(v) : "r"(to) : "memory");
	result[0] = v;
	v = 0x50;
	asm volatile(".globl tpr_string_insn\ntpr_string_insn: stosl" : "+D"(to) : "a"(v) : "memory");
	result[1] = apic_read(0x80);
	guest_exit();
}

static bool reported(struct guest *g, const char *insn, u32 write)
{
	struct kvm_run *run = g->run[0];

	return guest_run(g, 0) == KVM_EXIT_TPR_ACCESS && run->tpr_access.rip == (u64)insn && run->tpr_access.is_write == write;
}

static void reporting(void)
{
	struct kvm_tpr_access_ctl on = { .enabled = 1 }, off = { 0 }, bad = { .enabled = 1, .flags = 1 };
	struct guest g;

	fresh(&g, GUEST_IRQCHIP, on_apic_irq, report_guest);
	tap_ok(ioctl(g.vcpu[0], KVM_TPR_ACCESS_REPORTING, &bad) < 0 && errno == EINVAL, "KVM_TPR_ACCESS_REPORTING with flags: EINVAL");
	guest_must(ioctl(g.vcpu[0], KVM_TPR_ACCESS_REPORTING, &on));
	tap_ok(reported(&g, tpr_write_insn, 1), "a write of the TPR: KVM_EXIT_TPR_ACCESS with the instruction's address");
	tap_ok(reported(&g, tpr_read_insn, 0), "a read of it");
	tap_eq(result[0], 0, "the report comes before the next instruction");
	tap_ok(reported(&g, tpr_string_insn, 1), "a write by a string instruction");
	tap_eq(result[0], 0x40, "what was written is read");
	guest_must(ioctl(g.vcpu[0], KVM_TPR_ACCESS_REPORTING, &off));
	tap_ok(guest_run(&g, 0) == GUEST_DONE && result[1] == 0x50, "no report when it is switched off");
	guest_destroy(&g);
}

/* ---- the word in the guest's memory ---- */

static GUEST void vapic_guest(void)
{
	apic_write(0xf0, 0x1ff);
	apic_write(0x80, 0x30);
	outb(ASK_PORT, 1);
	((volatile u8 *)&vapic)[0] = 0x50;		/* raise the TPR without an exit */
	asm volatile("sti" : : : "memory");
	apic_write(0x310, 0);
	apic_write(0x300, 0x40000 | 0x41);		/* to itself: below the TPR */
	asm volatile("nop; nop" : : : "memory");
	result[0] = count[0x41];
	result[1] = vapic;
	result[2] = apic_read(0x80);
	((volatile u8 *)&vapic)[0] = 0;
	asm volatile("vmmcall" : "=a"(result[3]) : "a"(1ull), "b"(0ull) : "memory");	/* KVM_HC_VAPIC_POLL_IRQ */
	asm volatile("nop; nop" : : : "memory");
	result[4] = count[0x41];
	guest_exit();
}

static GUEST void on_vapic_irq(u64 vector, u64 *frame __attribute__((unused)), u64 error __attribute__((unused)))
{
	count[vector]++;
	result[5] = vapic;
	apic_write(0xb0, 0);
}

static void word(void)
{
	struct kvm_vapic_addr addr = { .vapic_addr = (u64)&vapic }, nowhere = { .vapic_addr = 0xe0000000 }, none = { 0 };
	struct guest g;

	fresh(&g, 0, on_irq, nothing);
	tap_ok(ioctl(g.vcpu[0], KVM_SET_VAPIC_ADDR, &addr) < 0 && errno == EINVAL, "KVM_SET_VAPIC_ADDR without LAPIC: EINVAL");
	guest_destroy(&g);
	fresh(&g, GUEST_IRQCHIP, on_vapic_irq, vapic_guest);
	tap_ok(ioctl(g.vcpu[0], KVM_SET_VAPIC_ADDR, &nowhere) < 0 && errno == EINVAL, "KVM_SET_VAPIC_ADDR where no memory is: EINVAL");
	TAP_REQUIRE(asks(&g, 1), "the guest is up");
	vapic = 0x30;
	guest_must(ioctl(g.vcpu[0], KVM_SET_VAPIC_ADDR, &addr));
	TAP_REQUIRE(guest_run(&g, 0) == GUEST_DONE, "the guest with a vapic word ends");
	tap_ok(result[0] == 0 && result[2] == 0x50, "the TPR in the word counts");
	tap_ok((result[1] & 0xff) == 0x50 && result[1] >> 24 == 0x41, "the word shows the vector that waits");
	tap_ok(result[3] == 0 && result[4] == 1, "lowered there, with KVM_HC_VAPIC_POLL_IRQ, the interrupt comes");
	tap_eq(result[5] >> 8 & 0xff, 0x40, "the word shows the class in service");
	tap_eq(ioctl(g.vcpu[0], KVM_SET_VAPIC_ADDR, &none), 0, "KVM_SET_VAPIC_ADDR 0 ends it");
	vapic = 0x99;
	guest_start64(&g, 0, nothing);
	tap_ok(guest_run(&g, 0) == GUEST_DONE && vapic == 0x99, "the word is left alone then");
	guest_destroy(&g);
}

int main(int argc, char **argv)
{
	node = tap_node(argc, argv);
	cr8();
	kernel_pics();
	reporting();
	word();
	return tap_done();
}
