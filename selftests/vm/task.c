// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * task - hardware task switches, which SVM leaves to the hypervisor: JMP, CALL, INT, exceptions and IRET between tasks with
 * 32-bit and 16-bit TSSs, directly and through task gates, and those that must fault (APM 2 §12.3).
 *
 * A 32-bit guest starts in task A at one instruction; task B, or a fault's handler, tells the VMM by an OUT where it has got to.
 * The VMM then compares registers, descriptors and both TSSs with what the manual says.
 *
 * QEMU's emulator (7.2) does not know the intercept and switches tasks itself; Bochs has it, so that there it is the module that does
 * the work: make module-cloud; selftests/qemu/box --bochs ryzen --file build/selftests/vm/task -- task
 *
 * CFLAGS: -mno-red-zone
 */
#include "guest.h"
#include "tap.h"

#define GDT		0x3000
#define IDT		0x4000
#define TSS_A32		0x5000
#define TSS_B32		0x5200
#define TSS_A16		0x5400
#define TSS_B16		0x5600
#define DIR_A		0x6000		/* page directories: 4 MiB pages, one to one */
#define DIR_B		0x7000
#define STACK_A		0x9000
#define STACK_B		0x8800
#define STACK_B16	0x8400

enum { CODE = 0x08, DATA = 0x10, A32 = 0x18, B32 = 0x20, GATE32 = 0x28, A16 = 0x30, B16 = 0x38, GATE16 = 0x40, CODE16 = 0x48,
	DATA16 = 0x50, ABSENT = 0x58, SMALL = 0x60, NR_GDT = 13 };
enum { IN_B = 0xe0, AGAIN_IN_B = 0xe1, BACK_IN_A = 0xe2, IN_TS = 0x10a, IN_NP = 0x10b, IN_GP = 0x10d, LOST = 0 };	/* ports, or 0x100 + vector */

/* One instruction each, behind it what A does when it comes back. */
#define SNIPPET(name, insn) \
	asm(".pushsection .text\n.code32\n.globl " #name "\n" #name ": " insn "\n.globl " #name "_next\n" #name "_next:\n" \
	    "	out %al, $0xe2\n.code64\n.popsection\n"); \
	extern char name[], name##_next[]

SNIPPET(t_jmp32, "ljmp $0x20, $0");
SNIPPET(t_jmp32_gate, "ljmp $0x28, $0");
SNIPPET(t_call32, "lcall $0x20, $0");
SNIPPET(t_call32_gate, "lcall $0x28, $0");
SNIPPET(t_jmp16, "ljmp $0x38, $0");
SNIPPET(t_jmp16_gate, "ljmp $0x40, $0");
SNIPPET(t_call16, "lcall $0x38, $0");
SNIPPET(t_int32, "int $0x40");
SNIPPET(t_int16, "int $0x41");
SNIPPET(t_ud, "ud2");
SNIPPET(t_gp, "mov %si, %fs");		/* ESI: a selector beyond the GDT */
SNIPPET(t_iret, "iret");
SNIPPET(t_jmp_busy, "ljmp $0x18, $0");	/* the running task's own */
SNIPPET(t_jmp_absent, "ljmp $0x58, $0");
SNIPPET(t_jmp_small, "ljmp $0x60, $0");

/* The same bytes in 16-bit and 32-bit code. */
asm(".pushsection .text\n.code32\n.globl t_b\nt_b: out %al, $0xe0\n iret\n.globl t_b_end\nt_b_end: out %al, $0xe1\n.code64\n.popsection\n");
extern char t_b[], t_b_end[];
asm(".pushsection .text\n.code32\n.globl t_fault\nt_fault:\n"
    "	out %al, $0xea\n	nop\n	nop\n	out %al, $0xeb\n	nop\n	nop\n"
    "	out %al, $0xec\n	nop\n	nop\n	out %al, $0xed\n	nop\n	nop\n.code64\n.popsection\n");
extern char t_fault[];

static const char *node;
static struct guest g;

static void *at(u32 gpa) { return g.low + gpa - GUEST_LOW; }
static u16 get16(u32 gpa) { return *(u16 *)at(gpa); }
static u32 get32(u32 gpa) { return *(u32 *)at(gpa); }
static void put16(u32 gpa, u16 v) { memcpy(at(gpa), &v, 2); }
static void put32(u32 gpa, u32 v) { memcpy(at(gpa), &v, 4); }

static u64 descriptor(u32 base, u32 limit, u32 access, u32 flags)
{
	return (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)access << 40 | (u64)(limit >> 16) << 48 | (u64)flags << 52 |
	       (u64)(base >> 24) << 56;
}

static void gdt_init(void)
{
	u64 *t = at(GDT);

	memset(t, 0, NR_GDT * 8);
	t[CODE / 8] = descriptor(0, 0xfffff, 0x9b, 0xc);
	t[DATA / 8] = descriptor(0, 0xfffff, 0x93, 0xc);
	t[A32 / 8] = descriptor(TSS_A32, 0x67, 0x89, 0);
	t[B32 / 8] = descriptor(TSS_B32, 0x67, 0x89, 0);
	t[GATE32 / 8] = descriptor(B32, 0, 0x85, 0);
	t[A16 / 8] = descriptor(TSS_A16, 0x2b, 0x81, 0);
	t[B16 / 8] = descriptor(TSS_B16, 0x2b, 0x81, 0);
	t[GATE16 / 8] = descriptor(B16, 0, 0x85, 0);
	t[CODE16 / 8] = descriptor((u64)t_b, 0xffff, 0x9b, 0);
	t[DATA16 / 8] = descriptor(0, 0xffff, 0x93, 0);
	t[ABSENT / 8] = descriptor(TSS_B32, 0x67, 0x09, 0);
	t[SMALL / 8] = descriptor(TSS_B32, 0x66, 0x89, 0);
}

static void idt_gate(unsigned int vector, u32 selector, u32 offset, u32 access)
{
	((u64 *)at(IDT))[vector] = (offset & 0xffff) | selector << 16 | (u64)access << 40 | (u64)(offset >> 16) << 48;
}

static void tss_init(void)
{
	static const u8 sregs[6] = { DATA, CODE, DATA, DATA, 0, DATA };
	unsigned int i;

	memset(at(TSS_A32), 0, 0x800);
	put32(TSS_A32 + 0x1c, DIR_A);	/* which a switch does not save */
	put32(TSS_B32 + 0x1c, DIR_B);
	put32(TSS_B32 + 0x20, (u64)t_b);
	put32(TSS_B32 + 0x24, 0x46);
	for (i = 0; i < 8; i++)
		put32(TSS_B32 + 0x28 + 4 * i, i == 4 ? STACK_B : 0xb0b0b0b0 + i);
	for (i = 0; i < 6; i++)
		put32(TSS_B32 + 0x48 + 4 * i, sregs[i]);
	put16(TSS_B16 + 0x0e, 0);
	put16(TSS_B16 + 0x10, 0x46);
	for (i = 0; i < 8; i++)
		put16(TSS_B16 + 0x12 + 2 * i, i == 4 ? STACK_B16 : 0xb0b0 + i);
	put16(TSS_B16 + 0x22, DATA16);
	put16(TSS_B16 + 0x24, CODE16);
	put16(TSS_B16 + 0x26, DATA16);
	put16(TSS_B16 + 0x28, DATA16);
}

static void tables(void)
{
	unsigned int i;

	gdt_init();
	tss_init();
	memset(at(IDT), 0, 0x42 * 8);
	for (i = 10; i < 14; i++)
		idt_gate(i, CODE, (u64)t_fault + 4 * (i - 10), 0x8e);
	for (i = 0; i < 1024; i++) {
		put32(DIR_A + 4 * i, i << 22 | 0xe7);
		put32(DIR_B + 4 * i, i << 22 | 0xe7);
	}
}

/* Task A is about to execute what stands at @insn. */
static void start(const char *insn, bool old16, u64 flags)
{
	struct kvm_regs r = {
		.rax = 0xa0a0a0a0, .rcx = 0xa0a0a0a1, .rdx = 0xa0a0a0a2, .rbx = 0xa0a0a0a3, .rsp = STACK_A, .rbp = 0xa0a0a0a5,
		.rsi = 0xa0a0fff8, .rdi = 0xa0a0a0a7, .rip = (u64)insn, .rflags = flags | 2,
	};
	struct kvm_segment code = { .limit = ~0u, .selector = CODE, .type = 11, .present = 1, .s = 1, .db = 1, .g = 1 };
	struct kvm_segment data = { .limit = ~0u, .selector = DATA, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1 };
	struct kvm_sregs s;

	((u64 *)at(GDT))[(old16 ? A16 : A32) / 8] |= 2ull << 40;
	guest_must(ioctl(g.vcpu[0], KVM_GET_SREGS, &s));
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.tr = (struct kvm_segment){ .base = old16 ? TSS_A16 : TSS_A32, .limit = old16 ? 0x2b : 0x67, .selector = old16 ? A16 : A32,
				     .type = old16 ? 3 : 11, .present = 1 };
	s.ldt = (struct kvm_segment){ .unusable = 1 };
	s.gdt.base = GDT;
	s.gdt.limit = NR_GDT * 8 - 1;
	s.idt.base = IDT;
	s.idt.limit = 0x42 * 8 - 1;
	s.cr0 = 0x80000011;
	s.cr3 = DIR_A;
	s.cr4 = 0x10;
	s.efer = 0;
	guest_must(ioctl(g.vcpu[0], KVM_SET_SREGS, &s));
	guest_must(ioctl(g.vcpu[0], KVM_SET_REGS, &r));
}

/* Where the guest tells that it is. */
static int go(void)
{
	int why = guest_run(&g, 0);

	if (why == KVM_EXIT_IO) {
		int port = g.run[0]->io.port;

		return port >= 0xea && port <= 0xed ? 0x100 + port - 0xe0 : port;
	}
	tap_note("exit reason %d", why);
	if (why == KVM_EXIT_INTERNAL_ERROR) {
		struct kvm_run *run = g.run[0];
		unsigned int i;

		tap_note("suberror %u", run->internal.suberror);
		for (i = 0; i < run->internal.ndata && i < 8; i++)
			tap_note("data[%u] %llx", i, run->internal.data[i]);
	}
	return LOST;
}

static bool busy(u32 selector)
{
	return ((u64 *)at(GDT))[selector / 8] >> 41 & 1;
}

/* All that a switch leaves of the old task in its TSS. */
static bool saved(bool old16, const char *rip, u32 flags)
{
	u32 tss = old16 ? TSS_A16 : TSS_A32, i;
	bool good = true;

	for (i = 0; i < 8; i++) {
		u32 want = i == 4 ? STACK_A : i == 6 ? 0xa0a0fff8 : 0xa0a0a0a0 + i;

		good &= old16 ? get16(tss + 0x12 + 2 * i) == (u16)want : get32(tss + 0x28 + 4 * i) == want;
	}
	if (old16)
		return good && get16(tss + 0x0e) == (u16)(u64)rip && get16(tss + 0x10) == flags && get16(tss + 0x24) == CODE &&
		       get16(tss + 0x26) == DATA && get16(tss + 0x22) == DATA;
	return good && get32(tss + 0x20) == (u32)(u64)rip && get32(tss + 0x24) == flags && get16(tss + 0x4c) == CODE &&
	       get16(tss + 0x48) == DATA && get16(tss + 0x50) == DATA && get16(tss + 0x5c) == DATA;
}

/* The CPU is in task B as its TSS says. */
static bool loaded(bool new16, bool nested, u32 stack)
{
	u32 mask = new16 ? 0xffff : ~0u, flags = 0x46 | (nested ? 0x4000 : 0), base = new16 ? 0xb0b0 : 0xb0b0b0b0;
	struct kvm_sregs s;
	struct kvm_regs r;
	u64 rip;

	guest_must(ioctl(g.vcpu[0], KVM_GET_REGS, &r));
	guest_must(ioctl(g.vcpu[0], KVM_GET_SREGS, &s));
	rip = r.rip - (new16 ? 0 : (u64)t_b);
	if ((r.rax & mask) != base || (r.rcx & mask) != base + 1 || (r.rdx & mask) != base + 2 || (r.rbx & mask) != base + 3 ||
	    (r.rsp & mask) != stack || (r.rbp & mask) != base + 5 || (r.rsi & mask) != base + 6 || (r.rdi & mask) != base + 7) {
		tap_note("rax %llx rcx %llx rsp %llx rdi %llx", r.rax, r.rcx, r.rsp, r.rdi);
		return false;
	}
	if (rip > 2 || (r.rflags & 0x7fff) != flags || s.tr.selector != (new16 ? B16 : B32) || s.tr.type != (new16 ? 3 : 11) ||
	    s.tr.base != (new16 ? TSS_B16 : TSS_B32)) {
		tap_note("rip %llx flags %llx tr %x type %x", r.rip, r.rflags, s.tr.selector, s.tr.type);
		return false;
	}
	if (s.cs.selector != (new16 ? CODE16 : CODE) || s.ss.selector != (new16 ? DATA16 : DATA) || s.ds.selector != s.ss.selector ||
	    s.cs.base != (new16 ? (u64)t_b : 0) || s.cs.db == new16 || s.cr3 != (new16 ? DIR_A : DIR_B) || !(s.cr0 & 8)) {
		tap_note("cs %x base %llx ss %x cr3 %llx cr0 %llx", s.cs.selector, s.cs.base, s.ss.selector, s.cr3, s.cr0);
		return false;
	}
	return true;
}

struct entry {
	const char *insn, *rip;		/* what A does; which address is saved */
	const char *name;
	bool old16, new16, nested;
	int vector;			/* whose task gate leads to B; 0: none */
};

static void enter(const struct entry *e)
{
	u32 old = e->old16 ? A16 : A32, new = e->new16 ? B16 : B32, tss = e->new16 ? TSS_B16 : TSS_B32;
	bool error = e->vector == 13;
	u32 stack = (e->new16 ? STACK_B16 : STACK_B) - (error ? e->new16 ? 2 : 4 : 0), flags = 0x2 | (e->insn == t_ud || error ? 0x10000 : 0);
	int where;

	tables();
	if (e->vector)
		idt_gate(e->vector, new, 0, 0x85);
	start(e->insn, e->old16, 0);
	where = go();
	if (!tap_ok(where == IN_B, "%s: task B runs", e->name)) {
		tap_note("at %#x", where);
		return;
	}
	tap_ok(loaded(e->new16, e->nested, stack), "%s: registers, segments, TR, CR0.TS, CR3 and NT are the new task's", e->name);
	/* RF is in the saved image of a fault (SDM 3B 17.3.1.1), not of the others; a 16-bit TSS has no room for it. */
	tap_ok(saved(e->old16, e->rip, e->old16 ? 2 : flags) || saved(e->old16, e->rip, 2), "%s: the old task is in its TSS", e->name);
	tap_ok(busy(new) && busy(old) == e->nested, "%s: busy bits", e->name);
	if (e->nested)
		tap_eq(get16(tss), old, "the link leads back");
	if (error)
		tap_eq(get16(stack), 0xfff8, "the error code is on the new task's stack");
	if (!e->nested || error)
		return;
	where = go();
	if (e->vector == 6) {
		tap_ok(where == AGAIN_IN_B, "%s: IRET leads back to it, and it faults again", e->name);
		return;
	}
	tap_ok(where == BACK_IN_A, "%s: IRET leads back", e->name);
	tap_ok(!busy(new) && busy(old), "%s: and the busy bits with it", e->name);
	if (e->new16)
		tap_eq(get16(TSS_B16 + 0x0e), (u64)(t_b_end - t_b), "B's own next address is saved");
	else
		tap_eq(get32(TSS_B32 + 0x20), (u32)(u64)t_b_end, "B's own next address is saved");
	tap_eq(get16(tss + (e->new16 ? 0x10 : 0x24)) & 0x4000, 0, "without NT");
}

/* NT and a link made by hand. */
static void iret_nt(void)
{
	tables();
	((u64 *)at(GDT))[B32 / 8] |= 2ull << 40;
	put16(TSS_A32, B32);
	start(t_iret, false, 0x4000);
	TAP_REQUIRE(go() == IN_B, "IRET with NT goes to the task that the link names");
	tap_ok(loaded(false, false, STACK_B), "IRET with NT: registers, segments, TR, CR0.TS and CR3 are the new task's");
	tap_ok(saved(false, t_iret_next, 2), "IRET with NT: the old task is in its TSS, without NT");
	tap_ok(busy(B32) && !busy(A32), "IRET with NT: busy bits");
}

static void faults(const char *insn, u64 flags, u16 link, int where, u32 error, const char *name)
{
	struct kvm_regs r;
	struct kvm_sregs s;
	int is;

	tables();
	put16(TSS_A32, link);
	start(insn, false, flags);
	is = go();
	if (is != where) {
		tap_note("at %#x", is);
		tap_ok(false, "%s", name);
		return;
	}
	guest_must(ioctl(g.vcpu[0], KVM_GET_REGS, &r));
	guest_must(ioctl(g.vcpu[0], KVM_GET_SREGS, &s));
	tap_ok(r.rsp == STACK_A - 16 && get32(r.rsp) == error && get32(r.rsp + 4) == (u32)(u64)insn && s.tr.selector == A32 && busy(A32),
	       "%s", name);
}

static GUEST void touch(void)
{
	u32 page;

	for (page = GDT; page <= STACK_A; page += 0x1000)
		*(volatile u32 *)(u64)page += 0;
	guest_exit();
}

int main(int argc, char **argv)
{
	static const struct entry entries[] = {
		{ t_jmp32, t_jmp32_next, "JMP to a 32-bit TSS", false, false, false, 0 },
		{ t_jmp32_gate, t_jmp32_gate_next, "JMP through a task gate", false, false, false, 0 },
		{ t_call32, t_call32_next, "CALL of a 32-bit TSS", false, false, true, 0 },
		{ t_call32_gate, t_call32_gate_next, "CALL through a task gate", false, false, true, 0 },
		{ t_int32, t_int32_next, "INT through a task gate", false, false, true, 0x40 },
		{ t_ud, t_ud, "#UD through a task gate", false, false, true, 6 },
		{ t_gp, t_gp, "#GP through a task gate", false, false, true, 13 },
		{ t_jmp16, t_jmp16_next, "JMP to a 16-bit TSS", false, true, false, 0 },
		{ t_jmp16_gate, t_jmp16_gate_next, "JMP through a gate to a 16-bit TSS", false, true, false, 0 },
		{ t_call16, t_call16_next, "CALL of a 16-bit TSS", false, true, true, 0 },
		{ t_int16, t_int16_next, "INT through a gate to a 16-bit TSS", false, true, true, 0x41 },
		{ t_gp, t_gp, "#GP through a gate to a 16-bit TSS", false, true, true, 13 },
		{ t_jmp32, t_jmp32_next, "JMP from a 16-bit TSS to a 32-bit one", true, false, false, 0 },
		{ t_jmp16, t_jmp16_next, "JMP from a 16-bit TSS to a 16-bit one", true, true, false, 0 },
	};
	unsigned int i;

	node = tap_node(argc, argv);
	guest_create(&g, node, GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	/* QEMU's emulator switches tasks itself, and cannot begin again when it meets a nested page fault half way. */
	guest_start64(&g, 0, touch);
	if (guest_run(&g, 0) != GUEST_DONE)
		guest_die("the guest did not finish");
	for (i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
		enter(&entries[i]);
	iret_nt();
	faults(t_jmp_busy, 0, 0, IN_GP, A32, "JMP to a busy TSS: #GP with its selector, in the old task");
	faults(t_jmp_absent, 0, 0, IN_NP, ABSENT, "JMP to a TSS that is not present: #NP with its selector");
	faults(t_jmp_small, 0, 0, IN_TS, SMALL, "JMP to a TSS whose limit is too small: #TS with its selector");
	faults(t_iret, 0x4000, B32, IN_TS, B32, "IRET with NT to a TSS that is not busy: #TS with its selector");
	guest_destroy(&g);
	return tap_done();
}
