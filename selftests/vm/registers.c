// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Registers in their newer and rarer forms: SREGS2, XSAVE2, XCRs, debug registers, KVM_TRANSLATE.
 *
 * CFLAGS: -mno-red-zone
 */
#include "guest.h"
#include "tap.h"

static struct guest g;
static u8 xsave[65536] __attribute__((aligned(64))), again[65536];

static GUEST void body(void)
{
	for (;;)
		outb(GUEST_EXIT_PORT, 0);
}

static int try(unsigned long cmd, void *arg)
{
	return ioctl(g.vcpu[0], cmd, arg) < 0 ? -errno : 0;
}

static void sregs2(void)
{
	struct kvm_sregs2 s2, bad;
	struct kvm_sregs s;

	tap_eq(ioctl(g.sys, KVM_CHECK_EXTENSION, KVM_CAP_SREGS2), 1, "KVM_CAP_SREGS2");
	guest_must(try(KVM_GET_SREGS, &s));
	tap_eq(try(KVM_GET_SREGS2, &s2), 0, "KVM_GET_SREGS2");
	tap_ok(!memcmp(&s, &s2, __builtin_offsetof(struct kvm_sregs, interrupt_bitmap)), "it agrees with KVM_GET_SREGS");
	tap_eq(s2.flags & KVM_SREGS2_FLAGS_PDPTRS_VALID, 0, "in long mode it has no PDPTRs");
	bad = s2;
	bad.flags = 1 << 5;
	tap_eq(try(KVM_SET_SREGS2, &bad), -EINVAL, "an unknown flag: EINVAL");
	bad.flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
	tap_eq(try(KVM_SET_SREGS2, &bad), -EINVAL, "PDPTRs in long mode: EINVAL");
	bad = s2;
	bad.cr0 = 1ull << 31;
	tap_eq(try(KVM_SET_SREGS2, &bad), -EINVAL, "paging without protection: EINVAL");
	s2.cr2 = 0x5678;
	tap_eq(try(KVM_SET_SREGS2, &s2), 0, "KVM_SET_SREGS2");
	guest_must(try(KVM_GET_SREGS, &s));
	tap_eq(s.cr2, 0x5678, "sets");
	tap_eq(guest_run(&g, 0), GUEST_DONE, "and the guest runs on");
}

static void xsaves(void)
{
	int size = ioctl(g.vm, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
	u64 *bv = (u64 *)(xsave + 512);

	tap_ok(size >= 4096 && size <= (int)sizeof(xsave), "KVM_CAP_XSAVE2 is a size");
	tap_eq(try(KVM_GET_XSAVE, again), 0, "KVM_GET_XSAVE");
	tap_eq(try(KVM_GET_XSAVE2, xsave), 0, "KVM_GET_XSAVE2");
	tap_ok(!memcmp(xsave, again, 4096), "begins with the same");
	memset(xsave + 160, 0x5a, 16);		/* XMM0 */
	*bv |= 3;
	tap_eq(try(KVM_SET_XSAVE, xsave), 0, "KVM_SET_XSAVE");
	guest_must(try(KVM_GET_XSAVE2, again));
	tap_ok(!memcmp(xsave + 160, again + 160, 16) && (again[512] & 2), "sets");
	*bv |= 1ull << 62;
	tap_eq(try(KVM_SET_XSAVE, xsave), -EINVAL, "a component that does not exist: EINVAL");
	*bv &= ~(1ull << 62);
	*(u32 *)(xsave + 24) = ~0u;
	tap_eq(try(KVM_SET_XSAVE, xsave), -EINVAL, "reserved bits of MXCSR: EINVAL");
}

static void xcrs(void)
{
	struct kvm_xcrs x, bad;

	tap_eq(try(KVM_GET_XCRS, &x), 0, "KVM_GET_XCRS");
	tap_ok(x.nr_xcrs == 1 && !x.xcrs[0].xcr && (x.xcrs[0].value & 1), "it has XCR0");
	bad = x;
	bad.flags = 1;
	tap_eq(try(KVM_SET_XCRS, &bad), -EINVAL, "an unknown flag: EINVAL");
	bad = x;
	bad.nr_xcrs = KVM_MAX_XCRS + 1;
	tap_eq(try(KVM_SET_XCRS, &bad), -EINVAL, "more than there can be: EINVAL");
	bad = x;
	bad.xcrs[0].value = 2;
	tap_eq(try(KVM_SET_XCRS, &bad), -EINVAL, "XCR0 without x87: EINVAL");
	bad.xcrs[0].value = 5;
	tap_eq(try(KVM_SET_XCRS, &bad), -EINVAL, "AVX without SSE: EINVAL");
	tap_eq(try(KVM_SET_XCRS, &x), 0, "what was read can be written");
}

static void debugregs(void)
{
	struct kvm_debugregs d, bad;

	tap_eq(try(KVM_GET_DEBUGREGS, &d), 0, "KVM_GET_DEBUGREGS");
	tap_ok(d.dr6 == 0xffff0ff0 && d.dr7 == 0x400 && !d.db[0], "as after reset");
	bad = d;
	bad.flags = 1;
	tap_eq(try(KVM_SET_DEBUGREGS, &bad), -EINVAL, "an unknown flag: EINVAL");
	bad = d;
	bad.dr6 = 1ull << 32;
	tap_eq(try(KVM_SET_DEBUGREGS, &bad), -EINVAL, "DR6 of more than 32 bits: EINVAL");
	bad = d;
	bad.dr7 = 1ull << 32;
	tap_eq(try(KVM_SET_DEBUGREGS, &bad), -EINVAL, "DR7 of more than 32 bits: EINVAL");
	d.db[1] = 0x123456;
	d.dr6 |= 0x4000;
	guest_must(try(KVM_SET_DEBUGREGS, &d));
	guest_must(try(KVM_GET_DEBUGREGS, &bad));
	tap_ok(bad.db[1] == 0x123456 && (bad.dr6 & 0x4000), "KVM_SET_DEBUGREGS sets");
}

static void translate(void)
{
	struct kvm_translation t = { .linear_address = (u64)body };

	guest_pd[2][5] = 0;		/* 0x80a00000: not mapped */
	tap_ok(!try(KVM_TRANSLATE, &t) && t.valid && t.physical_address == (u64)body, "KVM_TRANSLATE of code that is mapped");
	t.linear_address = 0x80a00123;
	tap_ok(!try(KVM_TRANSLATE, &t) && !t.valid, "of what is not");
}

int main(int argc, char **argv)
{
	guest_create(&g, tap_node(argc, argv), GUEST_IRQCHIP);
	guest_vcpu(&g, 0);
	guest_start64(&g, 0, body);
	sregs2();
	xsaves();
	xcrs();
	debugregs();
	translate();
	guest_destroy(&g);
	return tap_done();
}
