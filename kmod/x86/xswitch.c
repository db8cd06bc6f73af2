// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the host's XCR0, XSS and PKRU are: see xswitch.h.
 */
#include <asm/cpufeature.h>

#include "x86/xswitch.h"

struct xswitch_host xswitch_host;

void xswitch_init(void)
{
	struct xswitch_host *h = &xswitch_host;

	h->xsave = boot_cpu_has(X86_FEATURE_XSAVE) && boot_cpu_has(X86_FEATURE_OSXSAVE);
	h->xsaves = h->xsave && boot_cpu_has(X86_FEATURE_XSAVES);
	h->pku = boot_cpu_has(X86_FEATURE_OSPKE);
	h->recheck_xcr0 = boot_cpu_has(X86_FEATURE_HYPERVISOR);
	if (h->xsave)
		h->xcr0 = xgetbv(XCR_XFEATURE_ENABLED_MASK);
	if (h->xsaves)
		rdmsrl(MSR_IA32_XSS, h->xss);
}
