/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * modes.h - the same bytes as a guest in 16-, 32- and 64-bit code.
 *
 * Code lies in low memory at any address below 640 KiB, which all modes can reach; paging is off in the first two modes and
 * one to one in the third.
 */
#ifndef SELFTESTS_SVM_MODES_H
#define SELFTESTS_SVM_MODES_H

#include "../vm/guest.h"
#include "../vm/tap.h"

enum mode { MODE16, MODE32, MODE64, MODES };

static const char *const mode_name[] __attribute__((unused)) = { "16-bit", "32-bit", "64-bit" };

/* Defects of Bochs 2.7 are left out where the box, which says so, is one of its machines. */
static inline bool on_bochs(void)
{
	const char *emulator = getenv("BOX_EMULATOR");

	return emulator && !strcmp(emulator, "bochs");
}

static inline bool on_intel(void)
{
	u32 eax = 0, ebx, ecx, edx;

	asm volatile("cpuid" : "+a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx));
	return ebx == 0x756e6547;	/* "Genu" */
}

/* Its SVM has some that its VT-x has not. */
static inline bool on_bochs_amd(void)
{
	return on_bochs() && !on_intel();
}

static void mode_nothing(void)
{
}

/* Make vCPU 0 stand at @rip in @mode; registers are zero but for RSP. */
static inline void mode_start(struct guest *g, enum mode mode, u64 rip)
{
	struct kvm_regs regs = { .rip = rip, .rflags = 2, .rsp = 0x9000 };
	struct kvm_sregs s;

	guest_start64(g, 0, mode_nothing);
	guest_must(ioctl(g->vcpu[0], KVM_GET_SREGS, &s));
	if (mode != MODE64) {
		s.cr0 = 0x30 | (mode == MODE32);
		s.cr3 = 0;
		s.cr4 = 0;
		s.efer = 0;
		s.cs.l = 0;
		s.cs.db = mode == MODE32;
	}
	if (mode == MODE16) {
		s.cs = (struct kvm_segment){ .limit = 0xffff, .type = 11, .present = 1, .s = 1 };
		s.ds = (struct kvm_segment){ .limit = 0xffff, .type = 3, .present = 1, .s = 1 };
		s.es = s.fs = s.gs = s.ss = s.ds;
		s.idt.base = 0;
		s.idt.limit = 0x3ff;
		/* Up to 64 KiB beyond a paragraph: enough, since tests stay within a few pages of it. */
		s.cs.base = rip & ~0xfffull;
		s.cs.selector = s.cs.base >> 4;
		if (s.cs.base) {
			s.cs.base -= 0x1000;
			s.cs.selector = s.cs.base >> 4;
		}
		regs.rip = rip - s.cs.base;
	}
	guest_must(ioctl(g->vcpu[0], KVM_SET_SREGS, &s));
	guest_must(ioctl(g->vcpu[0], KVM_SET_REGS, &regs));
}

/* RIP as a linear address. */
static inline u64 mode_rip(struct guest *g)
{
	struct kvm_regs regs;
	struct kvm_sregs s;

	guest_must(ioctl(g->vcpu[0], KVM_GET_REGS, &regs));
	guest_must(ioctl(g->vcpu[0], KVM_GET_SREGS, &s));
	return s.cs.l ? regs.rip : s.cs.base + regs.rip;
}

static inline void mode_put(struct guest *g, u64 at, const void *bytes, size_t n)
{
	memcpy(g->low + at - GUEST_LOW, bytes, n);
}

#endif
