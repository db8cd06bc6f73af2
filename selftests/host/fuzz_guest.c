// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A guest that executes random bytes, and random accesses to MSRs, ports, device memory and control registers.
 *
 * Random bytes alone soon end in an exception without a handler: half of the lives of a guest are those, with random registers,
 * in real, protected and long mode.  The others run a soup: places of 32 bytes with one step each, a privileged instruction or a
 * load or store of any opcode on an address where devices are, or were, or where memory cannot be written.  A step that faults
 * ends in a handler which goes on with the next place, so a soup lives for hundreds of steps.  After each exit the VMM changes
 * what the exit lets it change, and at times registers and system registers at random.
 *
 * Two vCPUs share the memory.  Meanwhile a thread of the VMM raises interrupts, moves and deletes slots and throws pages away.
 *
 * What QEMU's emulator does wrong would be put down to the module, so there it is left out: CR4.OSXSAVE (XSETBV reaches the
 * host's XCR0), and task registers other than a free TSS, of which the emulator dies when CPL 3 is left.
 *
 * NODES: lodge
 * TIMEOUT: 240
 */
#include <cpuid.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "fuzz.h"

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define CR4_OSXSAVE	(1u << 18)
#define VCPUS		2
#define LIVES		12		/* of a vCPU in a round */
#define EXITS		200		/* of a life, at most */
#define KICK_US		4000		/* how often a vCPU is called out of the guest */
#define KICKS		5		/* of a life, at most */
#define ROUND_SECONDS	6
#define RAM_SIZE	(4ul << 20)
#define STEP		32		/* bytes of a step's place; the handlers know it */
#define STEPS		1024

/* The guest's memory: tables, handlers, a soup for each vCPU, and data. */
enum {
	PML4 = 0x1000, PDPT = 0x2000, PD = 0x3000, GDT = 0x8000, IDT = 0x9000, HANDLER = 0xa000, HANDLER_ERROR = 0xa100,
	STACK_TOP = 0xf000, STACK_SIZE = 0x1000, SOUP = 0x10000, SOUP_SIZE = 0x10000, ROM_GPA = 0x500000,
};

enum mode { REAL, PROTECTED, LONG, MODES };

static u8 *ram, *rom;
static int vm;
static size_t run_size;
static volatile u64 *work;		/* exits, counted over all rounds */
static volatile bool over;
static bool emulated;			/* by QEMU */

struct life {
	pthread_t id;
	struct fuzz_rng r;
	unsigned int nr;
	int fd;
	struct kvm_run *run;
	enum mode mode;
	u8 *at;				/* the next byte of the soup */
};

/* ---- the soup ---- */

static void emit(struct life *l, unsigned int n, const u8 *bytes)
{
	memcpy(l->at, bytes, n);
	l->at += n;
}

#define EMIT(l, ...)	emit(l, sizeof((const u8[]){ __VA_ARGS__ }), (const u8[]){ __VA_ARGS__ })

/* mov $@v, %register @reg; 32 bits in each mode. */
static void emit_mov(struct life *l, u8 reg, u32 v)
{
	if (l->mode == REAL)
		EMIT(l, 0x66);
	EMIT(l, 0xb8 + reg, v, v >> 8, v >> 16, v >> 24);
}

static u32 any_msr(struct life *l)
{
	static const u32 base[] = { 0, 0x10, 0x1b, 0x3a, 0x174, 0x179, 0x1d9, 0x200, 0x250, 0x277, 0x400, 0x6e0, 0x800, 0x830, 0xda0,
				    0xc0000080, 0xc0000100, 0xc0010000, 0xc0010110, 0x4b564d00 };

	return fuzz_one_in(&l->r, 4) ? fuzz_next(&l->r) : base[fuzz_below(&l->r, sizeof(base) / 4)] + fuzz_below(&l->r, 16);
}

static u32 any_address(struct life *l)
{
	static const u32 base[] = { 0xfee00000, 0xfee00000, 0xfec00000, 0xe0000000, 0xd0000000, ROM_GPA, 0x3ff000, 0x400000, 0xfffff000 };

	return base[fuzz_below(&l->r, sizeof(base) / 4)] +
	       (fuzz_one_in(&l->r, 3) ? fuzz_below(&l->r, 0x1000) : fuzz_below(&l->r, 0x40) << 4);
}

static void step_msr(struct life *l)
{
	emit_mov(l, 1, any_msr(l));
	emit_mov(l, 0, fuzz_number(&l->r));
	emit_mov(l, 2, fuzz_one_in(&l->r, 2) ? 0 : fuzz_number(&l->r));
	EMIT(l, 0x0f, fuzz_one_in(&l->r, 2) ? 0x30 : 0x32);
}

/* IN, OUT and their string forms, of all sizes, on chips, ioeventfds, nothing. */
static void step_port(struct life *l)
{
	static const u16 base[] = { 0x20, 0x40, 0x61, 0xa0, 0xe0, 0x3f8, 0x4d0, 0xcf8 };
	static const u8 op[] = { 0xe4, 0xe6, 0xec, 0xed, 0xee, 0xef, 0x6c, 0x6d, 0x6e, 0x6f };
	u8 o = op[fuzz_below(&l->r, sizeof(op))];

	emit_mov(l, 2, fuzz_one_in(&l->r, 4) ? fuzz_next(&l->r) & 0xffff : base[fuzz_below(&l->r, 8)] + fuzz_below(&l->r, 8));
	if (o < 0x70) {
		emit_mov(l, 1, fuzz_below(&l->r, 40));
		emit_mov(l, 6 + (o < 0x6e), fuzz_one_in(&l->r, 2) ? 0x100000 + fuzz_below(&l->r, 0x2000) : any_address(l));
		if (fuzz_one_in(&l->r, 2))
			EMIT(l, 0xf3);
	}
	if (fuzz_one_in(&l->r, 3))
		EMIT(l, 0x66);
	EMIT(l, o, 0x20 + fuzz_below(&l->r, 0x42));
}

/* Any opcode of the two big maps with an operand in memory that is a device's. */
static void step_memory(struct life *l)
{
	static const u8 prefix[] = { 0x66, 0xf0, 0xf2, 0xf3, 0x2e, 0x64 };

	emit_mov(l, 3, any_address(l));
	emit_mov(l, 1, fuzz_below(&l->r, 20));
	emit_mov(l, 0, fuzz_number(&l->r));
	if (l->mode == REAL)
		EMIT(l, 0x67);
	if (fuzz_one_in(&l->r, 2))
		EMIT(l, prefix[fuzz_below(&l->r, sizeof(prefix))]);
	if (l->mode == LONG && fuzz_one_in(&l->r, 3))
		EMIT(l, 0x48);
	if (fuzz_one_in(&l->r, 3))
		EMIT(l, 0x0f);
	if (fuzz_one_in(&l->r, 2))
		EMIT(l, fuzz_next(&l->r), 3 | fuzz_below(&l->r, 8) << 3, fuzz_next(&l->r));
	else
		EMIT(l, 0x88 + fuzz_below(&l->r, 4), 3 | fuzz_below(&l->r, 8) << 3);
}

/* String instructions between memory and devices. */
static void step_string(struct life *l)
{
	static const u8 op[] = { 0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf };

	emit_mov(l, 1, fuzz_below(&l->r, 64));
	emit_mov(l, 6, fuzz_one_in(&l->r, 2) ? 0x100000 : any_address(l));
	emit_mov(l, 7, any_address(l));
	EMIT(l, 0xf2 + fuzz_below(&l->r, 2), op[fuzz_below(&l->r, sizeof(op))]);
}

static void step_control(struct life *l)
{
	static const u8 regs[] = { 0, 0, 2, 3, 4 };
	u8 reg = regs[fuzz_below(&l->r, sizeof(regs))];
	u32 v = reg == 0 ? 0x31u | (l->mode ? 1 : 0) | (l->mode == LONG) << 31 : reg == 3 ? PML4 : reg == 4 ? 0x20 : 0;

	v ^= 1u << fuzz_below(&l->r, 32);
	emit_mov(l, 0, reg == 4 && emulated ? v & ~CR4_OSXSAVE : v);
	EMIT(l, 0x0f, 0x20 + fuzz_below(&l->r, 2) * 2, 0xc0 | reg << 3);
}

static void step_debug(struct life *l)
{
	emit_mov(l, 0, fuzz_number(&l->r));
	EMIT(l, 0x0f, 0x21 + fuzz_below(&l->r, 2) * 2, 0xc0 | fuzz_below(&l->r, 8) << 3);
}

/* Instructions that exit, or must, or must not. */
static void step_special(struct life *l)
{
	static const struct {
		u8 n, b[4];
	} one[] = {
		/* CPUID, RDTSC, RDTSCP, RDPMC */
		{ 2, { 0x0f, 0xa2 } }, { 2, { 0x0f, 0x31 } }, { 3, { 0x0f, 0x01, 0xf9 } }, { 2, { 0x0f, 0x33 } },
		/* STI HLT, HLT, PAUSE, INVD, WBINVD */
		{ 2, { 0xfb, 0xf4 } }, { 1, { 0xf4 } }, { 2, { 0xf3, 0x90 } }, { 2, { 0x0f, 0x08 } }, { 2, { 0x0f, 0x09 } },
		/* VMMCALL, VMCALL, VMRUN, VMLOAD, STGI, CLGI, SKINIT, INVLPGA */
		{ 3, { 0x0f, 0x01, 0xd9 } }, { 3, { 0x0f, 0x01, 0xc1 } }, { 3, { 0x0f, 0x01, 0xd8 } }, { 3, { 0x0f, 0x01, 0xda } },
		{ 3, { 0x0f, 0x01, 0xdc } }, { 3, { 0x0f, 0x01, 0xdd } }, { 3, { 0x0f, 0x01, 0xde } }, { 3, { 0x0f, 0x01, 0xdf } },
		/* INVLPG, MONITOR, MWAIT, SWAPGS */
		{ 3, { 0x0f, 0x01, 0x3b } }, { 3, { 0x0f, 0x01, 0xc8 } }, { 3, { 0x0f, 0x01, 0xc9 } }, { 3, { 0x0f, 0x01, 0xf8 } },
		/* LMSW, CLTS, SGDT, SIDT */
		{ 3, { 0x0f, 0x01, 0xf0 } }, { 2, { 0x0f, 0x06 } }, { 3, { 0x0f, 0x01, 0x03 } }, { 3, { 0x0f, 0x01, 0x0b } },
		/* INT3, INT1, INT, UD2, PUSHF, POPF, CLI, STI, SYSCALL, SYSENTER, VMPTRLD */
		{ 1, { 0xcc } }, { 1, { 0xf1 } }, { 2, { 0xcd, 0x80 } }, { 2, { 0x0f, 0x0b } }, { 1, { 0x9c } }, { 1, { 0x9d } },
		{ 1, { 0xfa } }, { 1, { 0xfb } }, { 2, { 0x0f, 0x05 } }, { 2, { 0x0f, 0x34 } }, { 3, { 0x0f, 0xc7, 0x33 } },
	};
	unsigned int i = fuzz_below(&l->r, sizeof(one) / sizeof(one[0]));

	emit_mov(l, 0, fuzz_below(&l->r, 2) ? fuzz_below(&l->r, 16) : fuzz_number(&l->r));
	emit_mov(l, 3, any_address(l));
	emit(l, one[i].n, one[i].b);
}

/* The device that wakes whoever has halted: a timer, an interrupt to oneself or the other. */
static void step_apic(struct life *l)
{
	static const u32 reg[] = { 0xf0, 0x320, 0x3e0, 0x380, 0x300, 0x310, 0xb0, 0x80, 0x350 };

	emit_mov(l, 3, 0xfee00000 + reg[fuzz_below(&l->r, sizeof(reg) / 4)]);
	emit_mov(l, 0, fuzz_one_in(&l->r, 2) ? 0x40000 | fuzz_below(&l->r, 256) : fuzz_number(&l->r));
	if (l->mode == REAL)
		EMIT(l, 0x67, 0x66);
	EMIT(l, 0x89, 0x03);
}

static void step_noise(struct life *l)
{
	fuzz_random(&l->r, l->at, 15);
	l->at += 15;
}

static void cook(struct life *l)
{
	static void (*const step[])(struct life *) = { step_msr, step_msr, step_port, step_port, step_memory, step_memory, step_memory,
						       step_memory, step_string, step_special, step_special, step_apic, step_debug,
						       step_noise };
	u8 *soup = ram + SOUP + l->nr * SOUP_SIZE;
	unsigned int i;

	memset(soup, 0x90, STEPS * STEP);
	for (i = 0; i < STEPS - 1; i++) {
		l->at = soup + i * STEP;
		if (fuzz_one_in(&l->r, 60))
			step_control(l);
		else
			step[fuzz_below(&l->r, sizeof(step) / sizeof(step[0]))](l);
	}
	l->at = soup + i * STEP;
	if (l->mode == REAL)
		EMIT(l, 0xe9, 0, 0x80);		/* back to the beginning: 0x8000 bytes, less this step */
	else
		EMIT(l, 0xe9, 0x00, 0x80, 0xff, 0xff);
}

/* ---- what the guest stands on ---- */

static void put64(u64 gpa, u64 v)
{
	memcpy(ram + gpa, &v, 8);
}

static void lay_handlers(struct life *l)
{
	static const u8 real[] = { 0x55, 0x89, 0xe5, 0x83, 0x46, 0x02, STEP, 0x83, 0x66, 0x02, 0xe0, 0x5d, 0xcf };
	static const u8 bits32[] = { 0x83, 0x04, 0x24, STEP, 0x83, 0x24, 0x24, 0xe0, 0xcf };
	static const u8 bits64[] = { 0x48, 0x83, 0x04, 0x24, STEP, 0x48, 0x83, 0x24, 0x24, 0xe0, 0x48, 0xcf };
	const u8 *code = l->mode == REAL ? real : l->mode == PROTECTED ? bits32 : bits64;
	size_t n = l->mode == REAL ? sizeof(real) : l->mode == PROTECTED ? sizeof(bits32) : sizeof(bits64);
	static const u8 pop32[] = { 0x83, 0xc4, 0x04 }, pop64[] = { 0x48, 0x83, 0xc4, 0x08 };
	size_t pop = l->mode == LONG ? sizeof(pop64) : sizeof(pop32);

	memcpy(ram + HANDLER, code, n);
	memcpy(ram + HANDLER_ERROR, l->mode == LONG ? pop64 : pop32, pop);
	memcpy(ram + HANDLER_ERROR + pop, code, n);
}

/* Vectors whose delivery pushes an error code (APM 2 table 8-1). */
static bool has_error(unsigned int vector)
{
	return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30;
}

static void lay_tables(struct life *l)
{
	unsigned int i;

	put64(PML4, PDPT | 7);
	for (i = 0; i < 4; i++)
		put64(PDPT + i * 8, (PD + i * 0x1000ul) | 7);
	for (i = 0; i < 2048; i++)
		put64(PD + i * 8, (u64)i << 21 | 0xe7);
	put64(GDT + 8, l->mode == LONG ? 0x00af9b000000ffff : 0x00cf9b000000ffff);
	put64(GDT + 16, 0x00cf93000000ffff);
	for (i = 0; i < 256; i++) {
		u64 to = l->mode != REAL && has_error(i) ? HANDLER_ERROR : HANDLER;

		if (l->mode == REAL) {
			memcpy(ram + i * 4, &to, 4);
		} else if (l->mode == PROTECTED) {
			put64(IDT + i * 8, to | 8 << 16 | 0x8e0000000000);
		} else {
			put64(IDT + i * 16, to | 8 << 16 | 0x8e0000000000);
			put64(IDT + i * 16 + 8, 0);
		}
	}
	lay_handlers(l);
}

static void set_system(struct life *l)
{
	struct kvm_segment data = { .limit = 0xffffffff, .selector = 16, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1 }, code = data;
	struct kvm_sregs s, odd;

	if (ioctl(l->fd, KVM_GET_SREGS, &s))
		return;
	code.type = 11;
	code.selector = 8;
	code.db = l->mode == PROTECTED;
	code.l = l->mode == LONG;
	if (l->mode == REAL) {
		code.selector = (SOUP + l->nr * SOUP_SIZE) >> 4;
		code.base = code.selector << 4;
		code.limit = 0xffff;
		code.g = 0;
		data.selector = data.db = 0;
	}
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.gdt.base = GDT;
	s.gdt.limit = 23;
	s.idt.base = l->mode == REAL ? 0 : IDT;
	s.idt.limit = l->mode == REAL ? 0x3ff : 0xfff;
	s.cr0 = l->mode == REAL ? 0x10 : l->mode == PROTECTED ? 0x11 : 0x80000011;
	s.cr3 = PML4;
	s.cr4 = l->mode == LONG ? 0x20 : 0;
	s.efer = l->mode == LONG ? 0x500 : 0;
	s.apic_base = 0xfee00800 | !l->nr << 8;
	if (emulated)
		s.tr.type = 9;
	odd = s;
	fuzz_mutate(&l->r, &odd, sizeof(odd));
	if (emulated) {
		odd.cr4 &= ~(u64)CR4_OSXSAVE;
		odd.tr = s.tr;
		odd.ldt = s.ldt;
	}
	if (!fuzz_one_in(&l->r, 6) || ioctl(l->fd, KVM_SET_SREGS, &odd))
		ioctl(l->fd, KVM_SET_SREGS, &s);
}

static void set_registers(struct life *l, bool soup)
{
	struct kvm_regs regs;
	u64 *v = (u64 *)&regs;
	unsigned int i;

	for (i = 0; i < sizeof(regs) / 8; i++)
		v[i] = fuzz_one_in(&l->r, 2) ? fuzz_number(&l->r) : any_address(l);
	regs.rflags = 2 | (fuzz_one_in(&l->r, 4) ? fuzz_next(&l->r) & 0x3ffed5 : fuzz_next(&l->r) & 0x2d5);
	regs.rsp = STACK_TOP - l->nr * STACK_SIZE;
	regs.rip = l->mode == REAL ? 0 : SOUP + l->nr * SOUP_SIZE;
	if (!soup)
		regs.rip += fuzz_below(&l->r, 0x8000);
	ioctl(l->fd, KVM_SET_REGS, &regs);
}

static void be_born(struct life *l)
{
	struct kvm_mp_state up = { KVM_MP_STATE_RUNNABLE };
	struct kvm_vcpu_events none = {};
	bool soup = fuzz_one_in(&l->r, 2);

	/* The tables are shared: a mode that another vCPU did not choose is one more oddity for it. */
	l->mode = fuzz_below(&l->r, MODES);
	lay_tables(l);
	if (soup)
		cook(l);
	else
		fuzz_random(&l->r, ram + SOUP + l->nr * SOUP_SIZE, 0x8000);
	ioctl(l->fd, KVM_SET_VCPU_EVENTS, &none);
	ioctl(l->fd, KVM_SET_MP_STATE, &up);
	set_system(l);
	set_registers(l, soup);
}

/* ---- a life ---- */

static void answer(struct life *l)
{
	struct kvm_run *run = l->run;
	size_t n;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		n = run->io.size * run->io.count;
		if (run->io.direction == KVM_EXIT_IO_IN && run->io.data_offset + n <= run_size)
			fuzz_random(&l->r, (u8 *)run + run->io.data_offset, n);
		break;
	case KVM_EXIT_MMIO:
		fuzz_random(&l->r, run->mmio.data, sizeof(run->mmio.data));
		break;
	}
	if (fuzz_one_in(&l->r, 64))
		fuzz_mutate(&l->r, run, run_size);
	run->immediate_exit = 0;
}

static void *live(void *arg)
{
	struct life *l = arg;
	unsigned int lives, exits, kicks;

	for (lives = 0; lives < LIVES; lives++) {
		be_born(l);
		for (exits = kicks = 0; exits < EXITS && kicks < KICKS; exits++) {
			int r = ioctl(l->fd, KVM_RUN, 0);

			__atomic_fetch_add(work, 1, __ATOMIC_RELAXED);
			if (r && errno == EINTR)
				kicks++;
			else if (r || l->run->exit_reason == KVM_EXIT_SHUTDOWN || l->run->exit_reason == KVM_EXIT_FAIL_ENTRY ||
				 l->run->exit_reason == KVM_EXIT_INTERNAL_ERROR)
				break;
			answer(l);
			if (fuzz_one_in(&l->r, 100))
				set_registers(l, true);
		}
	}
	return NULL;
}

/* What devices and the VMM do meanwhile. */
static void *disturb(void *arg)
{
	struct kvm_userspace_memory_region m = { .slot = 1, .flags = KVM_MEM_READONLY, .guest_phys_addr = ROM_GPA, .memory_size = 0x10000,
						 .userspace_addr = (u64)rom };
	struct life *l = arg;
	struct kvm_irq_level line;
	struct kvm_msi msi = {};

	while (!over) {
		switch (fuzz_below(&l->r, 5)) {
		case 0:
			line.irq = fuzz_below(&l->r, 24);
			line.level = fuzz_below(&l->r, 2);
			ioctl(vm, KVM_IRQ_LINE, &line);
			break;
		case 1:
			msi.address_lo = 0xfee00000 | fuzz_below(&l->r, 4) << 12;
			msi.data = fuzz_next(&l->r) & 0x7ff;
			ioctl(vm, KVM_SIGNAL_MSI, &msi);
			break;
		case 2:
			m.memory_size = fuzz_one_in(&l->r, 2) ? 0x10000 : 0;
			m.flags = fuzz_below(&l->r, 4);
			m.guest_phys_addr = ROM_GPA + (fuzz_one_in(&l->r, 2) ? 0 : 0x10000);
			ioctl(vm, KVM_SET_USER_MEMORY_REGION, &m);
			break;
		case 3:
			madvise(ram + 0x100000 + (fuzz_below(&l->r, 0x100) << 12), 0x4000, MADV_DONTNEED);
			break;
		case 4:
			ioctl(l[1 + fuzz_below(&l->r, VCPUS)].fd, KVM_NMI, 0);
			break;
		}
		usleep(fuzz_below(&l->r, 2000));
	}
	return NULL;
}

/* ---- a round ---- */

static void nothing(int sig __attribute__((unused)))
{
}

static void give_cpuid(struct life *l, int sys)
{
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 e[128];
	} c = { .head = { .nent = 128 } };
	unsigned int i;

	if ((!emulated && fuzz_one_in(&l->r, 4)) || ioctl(sys, KVM_GET_SUPPORTED_CPUID, &c))
		return;
	for (i = 0; i < c.head.nent; i++)
		if (c.e[i].function == 1 && emulated)
			c.e[i].ecx &= ~(1u << 26 | 1u << 27 | 1u << 28);	/* XSAVE, OSXSAVE, AVX */
	ioctl(l->fd, KVM_SET_CPUID2, &c);
}

static void begin(struct life *l, const char *node)
{
	struct kvm_userspace_memory_region m = { .memory_size = RAM_SIZE, .userspace_addr = (u64)ram };
	struct kvm_ioeventfd event = { .addr = 0xe0, .len = 1, .flags = KVM_IOEVENTFD_FLAG_PIO };
	struct kvm_coalesced_mmio_zone zone = { .addr = 0xe0000000, .size = 0x1000 };
	struct kvm_pit_config pit = {};
	int sys = open(node, O_RDWR | O_CLOEXEC);
	unsigned int i;

	run_size = ioctl(sys, KVM_GET_VCPU_MMAP_SIZE, 0);
	vm = ioctl(sys, KVM_CREATE_VM, 0);
	if (vm < 0)
		_exit(1);
	if (!fuzz_one_in(&l->r, 5)) {
		ioctl(vm, KVM_CREATE_IRQCHIP, 0);
		ioctl(vm, KVM_CREATE_PIT2, &pit);
	}
	m.flags = fuzz_one_in(&l->r, 2) ? KVM_MEM_LOG_DIRTY_PAGES : 0;
	ioctl(vm, KVM_SET_USER_MEMORY_REGION, &m);
	event.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	ioctl(vm, KVM_IOEVENTFD, &event);
	ioctl(vm, KVM_REGISTER_COALESCED_MMIO, &zone);
	for (i = 1; i <= VCPUS; i++) {
		l[i].fd = ioctl(vm, KVM_CREATE_VCPU, i - 1);
		if (l[i].fd < 0)
			_exit(1);
		l[i].run = mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, l[i].fd, 0);
		if (l[i].run == MAP_FAILED)
			_exit(1);
		give_cpuid(&l[i], sys);
	}
}

static const char *node;

static void play(u64 seed)
{
	struct life l[1 + VCPUS] = {};	/* the first is who disturbs */
	unsigned int i, alive;

	signal(SIGUSR1, nothing);
	ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	rom = mmap(NULL, 0x10000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (ram == MAP_FAILED || rom == MAP_FAILED)
		_exit(1);
	for (i = 0; i <= VCPUS; i++) {
		l[i].r.state = seed + i * 0x1234567;
		l[i].nr = i - 1;
	}
	begin(l, node);
	for (i = 1; i <= VCPUS; i++)
		pthread_create(&l[i].id, NULL, live, &l[i]);
	pthread_create(&l[0].id, NULL, disturb, &l[0]);
	do {
		usleep(KICK_US);
		for (i = 1, alive = 0; i <= VCPUS; i++) {
			if (l[i].id && pthread_tryjoin_np(l[i].id, NULL) == 0)
				l[i].id = 0;
			else if (l[i].id) {
				alive++;
				pthread_kill(l[i].id, SIGUSR1);
			}
		}
	} while (alive);
	over = true;
	pthread_join(l[0].id, NULL);
}

static bool is_emulated(void)
{
	u32 a, b, c, d;

	__cpuid(0x40000000, a, b, c, d);
	return b == 0x54474354;		/* "TCGT" */
}

int main(int argc, char **argv)
{
	emulated = is_emulated();
	node = tap_node(argc, argv);
	work = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (work == MAP_FAILED)
		tap_bail("mmap");
	fuzz_run("guest", play, ROUND_SECONDS, work, 200);
	return tap_done();
}
