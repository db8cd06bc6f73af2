// SPDX-License-Identifier: GPL-2.0-only
/*
 * What this CPU's VT-x can do, and what we ask of it.
 *
 * Each group of controls has a capability MSR: its low half are the bits that must be set, its high half those that may be
 * (SDM 3D §A.2-A.5); the TRUE variants, where present, let go of bits that older software expected to be fixed.  A control is
 * wanted for certain, and then its absence is named and the module does not load, or wanted if it is there.
 *
 * There is no shadow paging: EPT with four levels, write-back tables and invalidation by context must be there, and
 * unrestricted guest, without which real mode would have to be emulated.
 */
#include <linux/cpu.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <asm/cpufeature.h>
#include <asm/msr.h>
#include <asm/processor.h>

#include "x86/vmx/vmx.h"

#define FEAT_LOCKED		BIT(0)
#define FEAT_VMX_OUTSIDE_SMX	BIT(2)

#define BASIC_TRUE_CTLS		BIT_ULL(55)
#define BASIC_MEMTYPE(x)	((x) >> 50 & 15)
#define BASIC_SIZE(x)		((x) >> 32 & 0x1fff)

#define EPT_WALK_4		BIT_ULL(6)
#define EPT_WRITE_BACK		BIT_ULL(14)
#define EPT_2M			BIT_ULL(16)
#define EPT_1G			BIT_ULL(17)
#define EPT_INVEPT		BIT_ULL(20)
#define EPT_AD			BIT_ULL(21)
#define EPT_INVEPT_CONTEXT	BIT_ULL(25)
#define VPID_INVVPID		BIT_ULL(32)
#define VPID_ADDRESS		BIT_ULL(40)
#define VPID_CONTEXT		BIT_ULL(41)

struct vmx_caps vmx_caps;

struct ctl_group {
	const char *name;
	u32 msr, true_msr;
	u32 must, may;
};

static const struct ctl_group ctl_pin = {
	"pin-based", MSR_IA32_VMX_PINBASED_CTLS, MSR_IA32_VMX_TRUE_PINBASED_CTLS,
	VMX_PIN_INTR | VMX_PIN_NMI | VMX_PIN_VIRTUAL_NMI, 0,
};

static const struct ctl_group ctl_cpu = {
	"processor-based", MSR_IA32_VMX_PROCBASED_CTLS, MSR_IA32_VMX_TRUE_PROCBASED_CTLS,
	VMX_CPU_TSC_OFFSET | VMX_CPU_HLT | VMX_CPU_MWAIT | VMX_CPU_RDPMC | VMX_CPU_TPR_SHADOW | VMX_CPU_MOV_DR | VMX_CPU_IO |
	VMX_CPU_MSR_BITMAP | VMX_CPU_MONITOR | VMX_CPU_SECONDARY, 0,
};

static const struct ctl_group ctl_cpu2 = {
	"secondary processor-based", MSR_IA32_VMX_PROCBASED_CTLS2, 0,
	VMX_CPU2_EPT | VMX_CPU2_UNRESTRICTED | VMX_CPU2_WBINVD,
	VMX_CPU2_VPID | VMX_CPU2_RDTSCP | VMX_CPU2_PAUSE_LOOP | VMX_CPU2_INVPCID | VMX_CPU2_XSAVES,
};

static const struct ctl_group ctl_exit = {
	"exit", MSR_IA32_VMX_EXIT_CTLS, MSR_IA32_VMX_TRUE_EXIT_CTLS,
	VMX_EXIT_HOST_64 | VMX_EXIT_SAVE_DEBUG | VMX_EXIT_SAVE_PAT | VMX_EXIT_LOAD_PAT | VMX_EXIT_SAVE_EFER | VMX_EXIT_LOAD_EFER, 0,
};

static const struct ctl_group ctl_entry = {
	"entry", MSR_IA32_VMX_ENTRY_CTLS, MSR_IA32_VMX_TRUE_ENTRY_CTLS,
	VMX_ENTRY_LOAD_DEBUG | VMX_ENTRY_LOAD_PAT | VMX_ENTRY_LOAD_EFER, 0,
};

/* The bits of a group that a VMCS gets, or -EOPNOTSUPP. */
static int caps_controls(const struct ctl_group *g, bool have_true, u32 *out)
{
	u32 fixed, allowed;

	rdmsr(have_true && g->true_msr ? g->true_msr : g->msr, fixed, allowed);
	if (g->must & ~allowed) {
		pr_err("lodge: this CPU's VT-x lacks %s controls %#x\n", g->name, g->must & ~allowed);
		return -EOPNOTSUPP;
	}
	*out = fixed | g->must | (g->may & allowed);
	return 0;
}

/* CR3 and INVLPG exits are on where the TRUE MSR does not allow otherwise: with EPT they only cost. */
static bool caps_forces_exits(void)
{
	return vmx_caps.cpu & (VMX_CPU_CR3_LOAD | VMX_CPU_CR3_STORE | VMX_CPU_INVLPG);
}

/* One missing thing by name, or NULL.  In the order in which a user could do something about it. */
static const char *caps_missing(void)
{
	u64 basic, cpu, cpu2 = 0, feat = 0;

	if (rdmsrl_safe(MSR_IA32_FEAT_CTL, &feat) || !(feat & FEAT_LOCKED))
		return "the firmware has not set up VT-x (IA32_FEATURE_CONTROL is not locked)";
	if (!(feat & FEAT_VMX_OUTSIDE_SMX))
		return "VT-x is switched off and locked by the firmware";
	rdmsrl(MSR_IA32_VMX_BASIC, basic);
	if (BASIC_SIZE(basic) > PAGE_SIZE || BASIC_MEMTYPE(basic) != 6)
		return "the CPU's VMCS is of an unknown kind";
	rdmsrl(MSR_IA32_VMX_PROCBASED_CTLS, cpu);
	if (cpu >> 32 & VMX_CPU_SECONDARY)
		rdmsrl(MSR_IA32_VMX_PROCBASED_CTLS2, cpu2);
	if (!(cpu2 >> 32 & VMX_CPU2_EPT))
		return "the CPU has no extended page tables (EPT)";
	if (!(cpu2 >> 32 & VMX_CPU2_UNRESTRICTED))
		return "the CPU has no unrestricted guest mode";
	if (!boot_cpu_has(X86_FEATURE_NX))
		return "the CPU has no NX bit";
	return NULL;
}

static int caps_read_controls(bool have_true)
{
	int r = caps_controls(&ctl_pin, have_true, &vmx_caps.pin);

	r = r ?: caps_controls(&ctl_cpu, have_true, &vmx_caps.cpu);
	r = r ?: caps_controls(&ctl_cpu2, have_true, &vmx_caps.cpu2);
	r = r ?: caps_controls(&ctl_exit, have_true, &vmx_caps.exit);
	r = r ?: caps_controls(&ctl_entry, have_true, &vmx_caps.entry);
	if (!r && caps_forces_exits()) {
		pr_err("lodge: this CPU's VT-x insists on exits for CR3 and INVLPG\n");
		r = -EOPNOTSUPP;
	}
	return r;
}

static int caps_read_ept(void)
{
	const u64 must = EPT_WALK_4 | EPT_WRITE_BACK | EPT_INVEPT | EPT_INVEPT_CONTEXT;
	u64 cap;

	rdmsrl(MSR_IA32_VMX_EPT_VPID_CAP, cap);
	if ((cap & must) != must) {
		pr_err("lodge: this CPU's EPT lacks capabilities %#llx\n", must & ~cap);
		return -EOPNOTSUPP;
	}
	vmx_caps.ept_ad = cap & EPT_AD;
	vmx_caps.vpid = (vmx_caps.cpu2 & VMX_CPU2_VPID) && (cap & VPID_INVVPID) && (cap & VPID_CONTEXT);
	vmx_caps.vpid_address = cap & VPID_ADDRESS;
	if (!vmx_caps.vpid)
		vmx_caps.cpu2 &= ~VMX_CPU2_VPID;
	stage2_ept_init(vmx_caps.ept_ad, cap & EPT_1G ? 3 : cap & EPT_2M ? 2 : 1,
			boot_cpu_has_bug(X86_BUG_ITLB_MULTIHIT) && !cpu_mitigations_off());
	return 0;
}

int vmx_caps_read(void)
{
	const char *missing;
	u64 basic;
	int r;

	if (!(cpuid_ecx(1) & BIT(5)))
		return -ENODEV;
	missing = caps_missing();
	if (missing) {
		pr_err("lodge: %s\n", missing);
		return -EOPNOTSUPP;
	}
	rdmsrl(MSR_IA32_VMX_BASIC, basic);
	vmx_caps.revision = basic & 0x7fffffff;
	r = caps_read_controls(basic & BASIC_TRUE_CTLS);
	r = r ?: caps_read_ept();
	if (r)
		return r;
	rdmsrl(MSR_IA32_VMX_CR0_FIXED0, vmx_caps.cr0_fixed0);
	rdmsrl(MSR_IA32_VMX_CR4_FIXED0, vmx_caps.cr4_fixed0);
	rdmsrl(MSR_IA32_VMX_CR4_FIXED1, vmx_caps.cr4_fixed1);
	rdmsrl(MSR_EFER, vmx_caps.host_efer);
	rdmsrl(MSR_IA32_CR_PAT, vmx_caps.host_pat);
	vmx_caps.rdtscp = (vmx_caps.cpu2 & VMX_CPU2_RDTSCP) && boot_cpu_has(X86_FEATURE_RDTSCP);
	vmx_caps.invpcid = vmx_caps.cpu2 & VMX_CPU2_INVPCID;
	vmx_caps.xsaves = (vmx_caps.cpu2 & VMX_CPU2_XSAVES) && boot_cpu_has(X86_FEATURE_XSAVES);
	vmx_caps.spec_ctrl = boot_cpu_has(X86_FEATURE_MSR_SPEC_CTRL);
	vmx_caps.l1d_flush = boot_cpu_has_bug(X86_BUG_L1TF) && l1tf_mitigation != L1TF_MITIGATION_OFF;
	if (vmx_caps.l1d_flush && !boot_cpu_has(X86_FEATURE_FLUSH_L1D)) {
		pr_warn("lodge: the microcode cannot flush the L1D cache: guests can read the host's memory (L1TF); update it\n");
		vmx_caps.l1d_flush = false;
	}
	return 0;
}
