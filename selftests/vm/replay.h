/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * replay.h - what the replays of Firecracker and Cloud Hypervisor share: memory with a small kernel in it, and the state in
 * which the Linux 64-bit boot protocol starts it.
 *
 * The kernel is the test program itself (guest.h): its image is copied into the guest's memory to where it is linked, so that its
 * functions run there unchanged; what they leave in variables is in the guest's copy, at replay_var().  It is entered as Linux
 * is, with the VMM's page tables at 0x9000, and switches to its own.
 */
#ifndef SELFTESTS_VM_REPLAY_H
#define SELFTESTS_VM_REPLAY_H

#include <sys/eventfd.h>

#include "guest.h"
#include "tap.h"

#define REPLAY_RAM	(64ul << 20)
#define REPLAY_PML4	0x9000
#define REPLAY_STACK	0x8ff0
#define REPLAY_PARAMS	0x7000

static u8 *replay_ram __attribute__((unused));

/* The guest's copy of a variable of the program. */
#define replay_var(v)	(*(volatile typeof(v) *)(replay_ram + (u64)&(v)))

/* What the entry loads; assembly refers to it by name. */
static struct { u16 limit; u64 base; } __attribute__((packed)) replay_gdtr __attribute__((used)), replay_idtr __attribute__((used));
static u64 replay_cr3 __attribute__((used)), replay_rsp __attribute__((used));

/* From the boot protocol's state to guest.h's tables, then to replay_body (rdi: nothing). */
#define REPLAY_KERNEL(body) \
	asm(".pushsection .text\n" \
	    "replay_entry:\n" \
	    "	lgdt	replay_gdtr\n" \
	    "	lidt	replay_idtr\n" \
	    "	mov	replay_cr3, %rax\n" \
	    "	mov	%rax, %cr3\n" \
	    "	mov	replay_rsp, %rsp\n" \
	    "	mov	$0x10, %eax\n" \
	    "	mov	%eax, %ds\n" \
	    "	mov	%eax, %es\n" \
	    "	mov	%eax, %ss\n" \
	    "	push	$8\n" \
	    "	push	$1f\n" \
	    "	lretq\n" \
	    "1:	call	" #body "\n" \
	    "2:	hlt\n" \
	    "	jmp	2b\n" \
	    ".popsection\n"); \
	extern const u8 replay_entry[]

/* New memory with the image, the page tables and descriptor table of the boot protocol. */
static inline void replay_load(void)
{
	u64 start = (u64)__executable_start & ~0xffful, size = (u64)_end - start, *t;
	unsigned int i;

	if ((u64)_end > REPLAY_RAM)
		guest_die("the program is too large");
	replay_ram = mmap(NULL, REPLAY_RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (replay_ram == MAP_FAILED)
		guest_die("mmap");
	guest_tables();
	replay_cr3 = (u64)guest_pml4;
	replay_rsp = (u64)guest_stack[0] + GUEST_STACK;
	replay_gdtr.limit = sizeof(guest_gdt) - 1;
	replay_gdtr.base = (u64)guest_gdt;
	replay_idtr.limit = sizeof(guest_idt) - 1;
	replay_idtr.base = (u64)guest_idt;
	memcpy(replay_ram + start, (void *)start, size);
	t = (u64 *)(replay_ram + REPLAY_PML4);
	t[0] = 0xa003;
	t[512] = 0xb003;
	for (i = 0; i < 512; i++)
		t[1024 + i] = ((u64)i << 21) + 0x83;
	t = (u64 *)(replay_ram + 0x500);
	t[1] = 0x00af9b000000ffff;
	t[2] = 0x00cf93000000ffff;
	t[3] = 0x008f8b000000ffff;
}

static inline struct kvm_segment replay_segment(unsigned int index)
{
	const u64 d = *(u64 *)(replay_ram + 0x500 + index * 8);

	return (struct kvm_segment){
		.limit = ~0u, .selector = index * 8, .type = d >> 40 & 15, .present = 1, .s = d >> 44 & 1, .l = d >> 53 & 1,
		.db = d >> 54 & 1, .g = 1,
	};
}

/* SREGS as both clients write them: read, modified, written. */
static inline void replay_sregs(int vcpu)
{
	struct kvm_sregs s;

	guest_must(ioctl(vcpu, KVM_GET_SREGS, &s));
	s.gdt.base = 0x500;
	s.gdt.limit = 31;
	s.idt.base = 0x520;
	s.idt.limit = 7;
	s.cs = replay_segment(1);
	s.ds = s.es = s.fs = s.gs = s.ss = replay_segment(2);
	s.tr = replay_segment(3);
	s.cr0 |= 1;
	s.efer |= 0x100;
	s.cr3 = REPLAY_PML4;
	s.cr4 |= 1 << 5;
	s.cr0 |= 1u << 31;
	s.efer |= 0x400;
	guest_must(ioctl(vcpu, KVM_SET_SREGS, &s));
}

static inline void replay_regs(int vcpu, u64 entry)
{
	struct kvm_regs regs = { .rflags = 2, .rip = entry, .rsp = REPLAY_STACK, .rbp = REPLAY_STACK, .rsi = REPLAY_PARAMS };
	struct kvm_fpu fpu = { .fcw = 0x37f, .mxcsr = 0x1f80 };

	guest_must(ioctl(vcpu, KVM_SET_REGS, &regs));
	guest_must(ioctl(vcpu, KVM_SET_FPU, &fpu));
}

/* The eleven MSRs that both set at boot; how many were taken. */
static inline int replay_boot_msrs(int vcpu)
{
	static const u32 index[] = {
		0x174, 0x175, 0x176, 0xc0000081, 0xc0000083, 0xc0000102, 0xc0000084, 0xc0000082, 0x10, 0x1a0, 0x2ff
	};
	struct { struct kvm_msrs h; struct kvm_msr_entry e[11]; } m = { .h.nmsrs = 11 };
	unsigned int i;

	for (i = 0; i < 11; i++)
		m.e[i] = (struct kvm_msr_entry){
			.index = index[i], .data = index[i] == 0x1a0 ? 1 : index[i] == 0x2ff ? 1 << 11 | 6 : 0,
		};
	return ioctl(vcpu, KVM_SET_MSRS, &m);
}

static inline void replay_lint(int vcpu)
{
	struct kvm_lapic_state l;

	guest_must(ioctl(vcpu, KVM_GET_LAPIC, &l));
	*(u32 *)(l.regs + 0x350) = (*(u32 *)(l.regs + 0x350) & ~0x700) | 0x700;
	*(u32 *)(l.regs + 0x360) = (*(u32 *)(l.regs + 0x360) & ~0x700) | 0x400;
	guest_must(ioctl(vcpu, KVM_SET_LAPIC, &l));
}

/* The supported table, which must fit into @max entries; changed as a VMM changes it, and set. */
static inline int replay_cpuid(int sys, int vcpu, u32 id, u32 max)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + max * sizeof(c->entries[0]));
	int r;
	u32 i;

	c->nent = max;
	r = ioctl(sys, KVM_GET_SUPPORTED_CPUID, c);
	for (i = 0; !r && i < c->nent; i++) {
		struct kvm_cpuid_entry2 *e = &c->entries[i];

		if (e->function == 1) {
			e->ebx = (e->ebx & 0x00ff00ff) | id << 24 | 8 << 8;
			e->ecx |= 1u << 31 | 1u << 24;
		} else if (e->function == 0xb || e->function == 0x1f) {
			e->edx = id;
		}
	}
	if (!r)
		r = ioctl(vcpu, KVM_SET_CPUID2, c);
	free(c);
	return r < 0 ? -errno : 0;
}

/* True if the node has each of the @n capabilities. */
static inline bool replay_has(int fd, const int *cap, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		if (ioctl(fd, KVM_CHECK_EXTENSION, cap[i]) <= 0) {
			tap_note("capability %d is not there", cap[i]);
			return false;
		}
	}
	return true;
}

static inline int replay_ioeventfd(int vm, u64 addr, u32 len, u64 match, u32 flags, int fd)
{
	struct kvm_ioeventfd io = { .addr = addr, .len = len, .datamatch = match, .flags = flags, .fd = fd };

	return ioctl(vm, KVM_IOEVENTFD, &io) < 0 ? -errno : 0;
}

static inline int replay_irqfd(int vm, u32 gsi, u32 flags, int fd)
{
	struct kvm_irqfd irq = { .fd = fd, .gsi = gsi, .flags = flags };

	return ioctl(vm, KVM_IRQFD, &irq) < 0 ? -errno : 0;
}

static inline bool replay_kicked(int fd)
{
	u64 n = 0;

	return read(fd, &n, sizeof(n)) == sizeof(n) && n;
}

static inline void replay_signal(int fd)
{
	u64 one = 1;

	if (write(fd, &one, sizeof(one)) != sizeof(one))
		guest_die("eventfd");
}

#endif
