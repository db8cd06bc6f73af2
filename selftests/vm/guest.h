/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * guest.h - a small guest inside a static test program.
 *
 * The guest runs functions of the very program that made it.  A static program is linked at a low address (4 MiB), so one
 * memory slot makes its image appear in the guest at gpa = hva, and page tables that map the first 4 GiB one to one make the
 * addresses of functions and variables the same on both sides.  Results are thus left in plain (volatile) variables, and
 * nothing needs to be loaded.
 *
 *	static volatile long sum;
 *	static GUEST void body(void) { sum = 1 + 1; guest_exit(); }
 *
 *	struct guest g;
 *	guest_create(&g, node, GUEST_IRQCHIP);
 *	guest_vcpu(&g, 0);
 *	guest_start64(&g, 0, body);
 *	if (guest_run(&g, 0) == GUEST_DONE) ...
 *
 * Build with -static -mno-red-zone (an interrupt's frame is pushed where the red zone would be).
 * Guest functions bear GUEST: no vector registers, no stack protector, no C library.  guest_exit() ends with an OUT to a port
 * that nobody owns.  The guest has a GDT, an IDT whose 256 entries point at stubs calling guest_irq[vector] (guest functions), and a
 * stack per vCPU.  guest_start16() starts a blob of real-mode code at gpa 0x1000 instead.
 *
 * Everything here stops the program with a message when the ABI itself fails; a test that expects an error does its own ioctl.
 */
#ifndef SELFTESTS_VM_GUEST_H
#define SELFTESTS_VM_GUEST_H

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define GUEST	__attribute__((noinline, used, target("general-regs-only"), optimize("no-stack-protector"), cf_check))
#define GUEST_INLINE	static inline __attribute__((always_inline, target("general-regs-only")))

#define GUEST_IRQCHIP	1	/* in-kernel PIC, IOAPIC, LAPICs */
#define GUEST_SPLIT	2	/* in-kernel LAPICs only */
#define GUEST_NO_IMAGE	4	/* no slot 0: the test makes its own slots */

#define GUEST_EXIT_PORT	0xf4
#define GUEST_MAX_VCPUS	8
#define GUEST_STACK	16384
#define GUEST_LOW	0x1000	/* where real-mode code goes */
#define GUEST_LOW_SIZE	0x9f000
#define GUEST_SLOT_IMAGE	0
#define GUEST_SLOT_LOW	1

enum { GUEST_DONE = -1 };	/* guest_run: the guest called guest_exit(); otherwise KVM_EXIT_* */

struct guest {
	int sys, vm;
	size_t run_size;
	int vcpu[GUEST_MAX_VCPUS];
	struct kvm_run *run[GUEST_MAX_VCPUS];
	u8 *low;		/* host's view of gpa GUEST_LOW */
};

#define guest_die(...) \
	do { \
		printf("Bail out! %s:%d: ", __FILE__, __LINE__); \
		printf(__VA_ARGS__); \
		printf(" (errno %d %s)\n", errno, strerror(errno)); \
		fflush(stdout); \
		exit(1); \
	} while (0)

#define guest_must(what) \
	({ \
		long must_ = (what); \
		if (must_ < 0) \
			guest_die("%s", #what); \
		must_; \
	})

extern char __executable_start[], _end[];

/* ---- what guest code uses ---- */

GUEST_INLINE void outb(u16 port, u8 v) { asm volatile("outb %0, %1" : : "a"(v), "Nd"(port)); }
GUEST_INLINE void outw(u16 port, u16 v) { asm volatile("outw %0, %1" : : "a"(v), "Nd"(port)); }
GUEST_INLINE void outl(u16 port, u32 v) { asm volatile("outl %0, %1" : : "a"(v), "Nd"(port)); }
GUEST_INLINE u8 inb(u16 port) { u8 v; asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port)); return v; }
GUEST_INLINE u32 inl(u16 port) { u32 v; asm volatile("inl %1, %0" : "=a"(v) : "Nd"(port)); return v; }

GUEST_INLINE u64 rdtsc_(void)
{
	u32 lo, hi;

	asm volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return lo | (u64)hi << 32;
}

GUEST_INLINE u64 rdmsr_(u32 msr)
{
	u32 lo, hi;

	asm volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr) : "memory");
	return lo | (u64)hi << 32;
}

GUEST_INLINE void wrmsr_(u32 msr, u64 v)
{
	asm volatile("wrmsr" : : "a"((u32)v), "d"((u32)(v >> 32)), "c"(msr) : "memory");
}

GUEST_INLINE u32 apic_read(u32 reg) { return *(volatile u32 *)(0xfee00000ul + reg); }
GUEST_INLINE void apic_write(u32 reg, u32 v) { *(volatile u32 *)(0xfee00000ul + reg) = v; }

GUEST_INLINE void guest_exit(void)
{
	for (;;)
		outb(GUEST_EXIT_PORT, 0);
}

/*
 * Belongs into every loop that has interrupts off and waits for others.  VT-x of Bochs 2.7 looks at "external-interrupt exiting"
 * when IF is written in the guest, but not at an entry: after one with IF = 0 the host's interrupts are masked until then.
 */
GUEST_INLINE void guest_spin(void)
{
	asm volatile("cli" : : : "memory");
}

/* Enable this vCPU's LAPIC; in x2APIC mode if @x2. */
GUEST_INLINE void guest_apic_on(bool x2)
{
	if (x2) {
		wrmsr_(0x1b, rdmsr_(0x1b) | 1 << 10 | 1 << 11);
		wrmsr_(0x80f, 0x1ff);
	} else {
		apic_write(0xf0, 0x1ff);
	}
}

/* Called with the vector and the frame's address; set by the test, called with interrupts off. */
typedef void (*guest_handler)(u64 vector, u64 *frame, u64 error);
static volatile guest_handler guest_irq[256] __attribute__((unused));

/* ---- tables, shared by all vCPUs ---- */

static u64 guest_pml4[512] __attribute__((aligned(4096), unused));
static u64 guest_pdpt[512] __attribute__((aligned(4096), unused));
static u64 guest_pd[4][512] __attribute__((aligned(4096), unused));
static u64 guest_gdt[8] __attribute__((aligned(16), unused));
static struct { u16 lo, sel; u8 ist, type; u16 mid; u32 hi, zero; } guest_idt[256] __attribute__((aligned(16), unused));
static u8 guest_stack[GUEST_MAX_VCPUS][GUEST_STACK] __attribute__((aligned(16), unused));
static u8 guest_tss[GUEST_MAX_VCPUS][104] __attribute__((aligned(16), unused));

/* Stubs: 16 bytes each; push a zero where the CPU pushes no error code, then the vector. */
asm(".pushsection .text\n"
    ".balign 16\n"
    "guest_stubs:\n"
    "vector = 0\n"
    ".rept 256\n"
    "	.balign 16\n"
    "	.if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)\n"
    "	push $0\n"
    "	.endif\n"
    "	push $vector\n"
    "	jmp guest_stub_common\n"
    "	vector = vector + 1\n"
    ".endr\n"
    "guest_stub_common:\n"
    "	push %rax; push %rcx; push %rdx; push %rbx; push %rbp; push %rsi; push %rdi\n"
    "	push %r8; push %r9; push %r10; push %r11; push %r12; push %r13; push %r14; push %r15\n"
    "	mov 15*8(%rsp), %rdi\n"		/* vector */
    "	mov 16*8(%rsp), %rdx\n"		/* error code */
    "	lea 17*8(%rsp), %rsi\n"		/* frame: rip, cs, rflags, rsp, ss */
    "	lea guest_irq(%rip), %rax\n"
    "	mov (%rax,%rdi,8), %rax\n"
    "	cld\n"
    "	test %rax, %rax\n"
    "	jz 2f\n"
    "	mov %rsp, %rbp\n"
    "	and $-16, %rsp\n"
    "	call *%rax\n"
    "	mov %rbp, %rsp\n"
    "	pop %r15; pop %r14; pop %r13; pop %r12; pop %r11; pop %r10; pop %r9; pop %r8\n"
    "	pop %rdi; pop %rsi; pop %rbp; pop %rbx; pop %rdx; pop %rcx; pop %rax\n"
    "	add $16, %rsp\n"
    "	iretq\n"
    "2:	mov $0xf5, %edx\n"		/* unexpected: vector to the host, guest_run reports it */
    "	mov %edi, %eax\n"
    "	out %al, %dx\n"
    "	jmp 2b\n"
    ".popsection\n");
extern char guest_stubs[];

static inline void guest_tables(void)
{
	unsigned int i, j;

	if (guest_pml4[0])
		return;
	for (i = 0; i < 4; i++) {
		for (j = 0; j < 512; j++)
			guest_pd[i][j] = ((u64)i << 30 | (u64)j << 21) | 0xe7;	/* P W U A D PS */
		guest_pdpt[i] = (u64)guest_pd[i] | 0x27;
	}
	guest_pml4[0] = (u64)guest_pdpt | 0x27;
	guest_gdt[1] = 0x00af9b000000ffff;	/* 0x08 64-bit code */
	guest_gdt[2] = 0x00cf93000000ffff;	/* 0x10 data */
	guest_gdt[3] = 0x00cf9b000000ffff;	/* 0x18 32-bit code */
	guest_gdt[4] = 0x00affb000000ffff;	/* 0x20 64-bit code, CPL 3 */
	guest_gdt[5] = 0x00cff3000000ffff;	/* 0x28 data, CPL 3 */
	for (i = 0; i < 256; i++) {
		u64 stub = (u64)guest_stubs + 16 * i;

		guest_idt[i].lo = stub;
		guest_idt[i].sel = 8;
		guest_idt[i].type = 0x8e;
		guest_idt[i].mid = stub >> 16;
		guest_idt[i].hi = stub >> 32;
	}
}

/* ---- the host's side ---- */

static inline void guest_slot(struct guest *g, u32 slot, u32 flags, u64 gpa, void *host, u64 size)
{
	struct kvm_userspace_memory_region r = {
		.slot = slot,
		.flags = flags,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (u64)host,
	};

	guest_must(ioctl(g->vm, KVM_SET_USER_MEMORY_REGION, &r));
}

static inline void guest_create(struct guest *g, const char *node, int flags)
{
	struct kvm_enable_cap split = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { 24 } };
	u64 start = (u64)__executable_start & ~0xffful, end = ((u64)_end + 0xfff) & ~0xffful;

	memset(g, 0, sizeof(*g));
	g->sys = guest_must(open(node, O_RDWR | O_CLOEXEC));
	if (ioctl(g->sys, KVM_GET_API_VERSION, 0) != 12)
		guest_die("%s: API version is not 12", node);
	g->vm = guest_must(ioctl(g->sys, KVM_CREATE_VM, 0));
	g->run_size = guest_must(ioctl(g->sys, KVM_GET_VCPU_MMAP_SIZE, 0));
	guest_must(ioctl(g->vm, KVM_SET_TSS_ADDR, 0xfffbd000));
	if (flags & GUEST_IRQCHIP)
		guest_must(ioctl(g->vm, KVM_CREATE_IRQCHIP, 0));
	if (flags & GUEST_SPLIT)
		guest_must(ioctl(g->vm, KVM_ENABLE_CAP, &split));
	if (end > 0xd0000000ul)
		guest_die("the program is not linked at a low address: build it with -static");
	guest_tables();
	if (flags & GUEST_NO_IMAGE)
		return;
	guest_slot(g, GUEST_SLOT_IMAGE, 0, start, (void *)start, end - start);
	g->low = mmap(NULL, GUEST_LOW_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (g->low == MAP_FAILED)
		guest_die("mmap");
	guest_slot(g, GUEST_SLOT_LOW, 0, GUEST_LOW, g->low, GUEST_LOW_SIZE);
}

/* vCPU @id with everything in CPUID that the node supports. */
static inline void guest_vcpu(struct guest *g, unsigned int id)
{
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + 256 * sizeof(cpuid->entries[0]));
	unsigned int i;

	g->vcpu[id] = guest_must(ioctl(g->vm, KVM_CREATE_VCPU, id));
	g->run[id] = mmap(NULL, g->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, g->vcpu[id], 0);
	if (g->run[id] == MAP_FAILED)
		guest_die("mmap of the vCPU");
	cpuid->nent = 256;
	guest_must(ioctl(g->sys, KVM_GET_SUPPORTED_CPUID, cpuid));
	for (i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		if (e->function == 1) {
			e->ebx = (e->ebx & 0x00ffffff) | id << 24;
			e->ecx |= 1 << 24;	/* TSC deadline: the LAPICs are in the kernel or absent */
		}
		if (e->function == 0xb || e->function == 0x1f)
			e->edx = id;
	}
	guest_must(ioctl(g->vcpu[id], KVM_SET_CPUID2, cpuid));
	free(cpuid);
}

/* Let vCPU @id start in 64-bit mode at @fn, interrupts off. */
static inline void guest_start64(struct guest *g, unsigned int id, void (*fn)(void))
{
	struct kvm_segment code = { .base = 0, .limit = ~0u, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1 };
	struct kvm_segment data = { .base = 0, .limit = ~0u, .selector = 16, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1 };
	struct kvm_regs regs = { .rip = (u64)fn, .rflags = 2 };
	struct kvm_mp_state runnable = { KVM_MP_STATE_RUNNABLE };
	struct kvm_sregs s;

	guest_must(ioctl(g->vcpu[id], KVM_GET_SREGS, &s));
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.tr = (struct kvm_segment){ .base = (u64)guest_tss[id], .limit = 103, .selector = 0x30, .type = 11, .present = 1 };
	s.gdt.base = (u64)guest_gdt;
	s.gdt.limit = sizeof(guest_gdt) - 1;
	s.idt.base = (u64)guest_idt;
	s.idt.limit = sizeof(guest_idt) - 1;
	s.cr0 = 0x80010033;	/* PG WP NE ET MP PE */
	s.cr3 = (u64)guest_pml4;
	s.cr4 = 0x620;		/* OSXMMEXCPT OSFXSR PAE */
	s.efer = 0x501;		/* LMA LME SCE */
	guest_must(ioctl(g->vcpu[id], KVM_SET_SREGS, &s));
	/* As after a CALL: the ABI wants rsp + 8 to be a multiple of 16. */
	regs.rsp = (u64)guest_stack[id] + GUEST_STACK - 8;
	guest_must(ioctl(g->vcpu[id], KVM_SET_REGS, &regs));
	if (id && ioctl(g->vm, KVM_CHECK_EXTENSION, KVM_CAP_MP_STATE) > 0)
		(void)ioctl(g->vcpu[id], KVM_SET_MP_STATE, &runnable);	/* EINVAL without LAPIC: it is runnable then */
}

/* Let vCPU @id start in real mode with @code at 0x1000 (CS base 0). */
static inline void guest_start16(struct guest *g, unsigned int id, const void *code, size_t len)
{
	struct kvm_regs regs = { .rip = GUEST_LOW, .rflags = 2, .rsp = 0x9000 };
	struct kvm_sregs s;

	memcpy(g->low, code, len);
	guest_must(ioctl(g->vcpu[id], KVM_GET_SREGS, &s));
	s.cs.base = 0;
	s.cs.selector = 0;
	guest_must(ioctl(g->vcpu[id], KVM_SET_SREGS, &s));
	guest_must(ioctl(g->vcpu[id], KVM_SET_REGS, &regs));
}

/* Run until something happens: GUEST_DONE, or an exit reason for the caller.  Interrupted calls go on. */
static inline int guest_run(struct guest *g, unsigned int id)
{
	struct kvm_run *run = g->run[id];

	for (;;) {
		if (ioctl(g->vcpu[id], KVM_RUN, 0) < 0) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			guest_die("KVM_RUN");
		}
		if (run->exit_reason != KVM_EXIT_IO || run->io.direction != KVM_EXIT_IO_OUT)
			return run->exit_reason;
		if (run->io.port == GUEST_EXIT_PORT)
			return GUEST_DONE;
		if (run->io.port == GUEST_EXIT_PORT + 1)
			guest_die("unexpected exception or interrupt %u in the guest", *((u8 *)run + run->io.data_offset));
		return run->exit_reason;
	}
}

static inline void guest_destroy(struct guest *g)
{
	unsigned int i;

	for (i = 0; i < GUEST_MAX_VCPUS; i++) {
		if (!g->run[i])
			continue;
		munmap(g->run[i], g->run_size);
		close(g->vcpu[i]);
	}
	close(g->vm);
	close(g->sys);
	if (g->low)
		munmap(g->low, GUEST_LOW_SIZE);
}

#endif
