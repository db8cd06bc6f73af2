/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Registers that neither vendor's entry switches: XCR0, XSS, PKRU, the breakpoint addresses.
 *
 * The guest's are in the CPU only while nothing can interrupt: both functions are called around an entry, with interrupts off
 * (and GIF clear where there is one).  Each register is switched only when it differs.
 */
#ifndef LODGE_X86_XSWITCH_H
#define LODGE_X86_XSWITCH_H

#include <linux/percpu.h>
#include <asm/debugreg.h>
#include <asm/fpu/xcr.h>
#include <asm/msr.h>
#include <asm/pkru.h>

#include "x86/vcpu.h"

/* What the host has: filled at load by xswitch_init(). */
struct xswitch_host {
	u64 xcr0, xss;
	bool xsave, xsaves, pku;
	bool recheck_xcr0;		/* under a hypervisor that may not honour the XSETBV intercept */
};
extern struct xswitch_host xswitch_host;

void xswitch_init(void);

static __always_inline void xswitch_breakpoints(const struct x86_vcpu *vcpu)
{
	const u64 *dr = vcpu->debug_control & KVM_GUESTDBG_USE_HW_BP ? vcpu->debug_dr : vcpu->dr;

	set_debugreg(dr[0], 0);
	set_debugreg(dr[1], 1);
	set_debugreg(dr[2], 2);
	set_debugreg(dr[3], 3);
}

/*
 * A guest that may set CR4.OSXSAVE may do so without an exit, and read XCR0 with the next instruction: its values are loaded
 * whether the bit is set by now or not.
 */
static __always_inline bool xswitch_xsave(const struct x86_vcpu *vcpu)
{
	return vcpu->cr4_guest_bits & X86_CR4_OSXSAVE;
}

static __always_inline void xswitch_enter(struct x86_vcpu *vcpu, u32 *host_pkru)
{
	if (xswitch_xsave(vcpu)) {
		if (vcpu->xcr0 != xswitch_host.xcr0)
			xsetbv(XCR_XFEATURE_ENABLED_MASK, vcpu->xcr0);
		if (vcpu->ia32_xss != xswitch_host.xss && xswitch_host.xsaves)
			wrmsrl(MSR_IA32_XSS, vcpu->ia32_xss);
	}
	if (xswitch_host.pku && (vcpu->cr4_guest_bits & X86_CR4_PKE)) {
		*host_pkru = rdpkru();
		if (vcpu->pkru != *host_pkru)
			wrpkru(vcpu->pkru);
	}
}

static __always_inline void xswitch_leave(struct x86_vcpu *vcpu, u32 host_pkru)
{
	if (xswitch_host.pku && (vcpu->cr4_guest_bits & X86_CR4_PKE)) {
		vcpu->pkru = rdpkru();
		if (vcpu->pkru != host_pkru)
			wrpkru(host_pkru);
	}
	if (!xswitch_xsave(vcpu))
		return;
	/* An XSETBV that the outer hypervisor did not intercept for us is the guest's all the same. */
	if (xswitch_host.recheck_xcr0)
		vcpu->xcr0 = xgetbv(XCR_XFEATURE_ENABLED_MASK);
	if (vcpu->xcr0 != xswitch_host.xcr0)
		xsetbv(XCR_XFEATURE_ENABLED_MASK, xswitch_host.xcr0);
	if (vcpu->ia32_xss != xswitch_host.xss && xswitch_host.xsaves)
		wrmsrl(MSR_IA32_XSS, xswitch_host.xss);
}

#endif
