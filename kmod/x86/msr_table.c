// SPDX-License-Identifier: GPL-2.0-only
/*
 * The table of MSRs, sorted by number, and the small functions behind its rows.
 *
 * Three kinds of rows: registers with a meaning here (EFER, APIC base, TSC, paravirtual ones), registers that live in the
 * back end's hardware state, and registers that a guest may expect to find but that mean nothing to it in a VM: these read as
 * zero or as stored and ignore writes, as the family's real ones may be probed by Linux, firmware and Windows.
 */
#include <linux/bits.h>
#include <linux/kernel.h>
#include <linux/kvm_para.h>
#include <linux/sched/stat.h>
#include <asm/apicdef.h>
#include <asm/cpufeature.h>
#include <asm/msr.h>
#include <asm/msr-index.h>
#include <asm/mtrr.h>
#include <asm/nospec-branch.h>

#include "x86/cpuid.h"
#include "x86/irqchip/lapic.h"
#include "x86/msr.h"
#include "x86/pv_eoi.h"
#include "x86/regs.h"
#include "x86/time.h"
#include "x86/vcpu.h"

#define MSR_K7_EVNTSEL_LAST	0xc0010003
#define MSR_K7_PERFCTR_LAST	0xc0010007

typedef struct x86_vcpu *V;

/* ---- stored, ignored ---- */

#define MSR_STORED(field)								\
static int field##_get(V v, u32 msr, u64 *val, bool host)				\
{											\
	*val = v->msrs->field;								\
	return 0;									\
}

#define MSR_STORED_RW(field, mask)							\
MSR_STORED(field)									\
static int field##_set(V v, u32 msr, u64 val, bool host)				\
{											\
	if (val & ~(u64)(mask))								\
		return 1;								\
	v->msrs->field = val;								\
	return 0;									\
}

MSR_STORED_RW(power_ctl, ~0ull)
MSR_STORED_RW(hsave_pa, GENMASK_ULL(51, 12))
MSR_STORED(misc_enable)
MSR_STORED(platform_info)
MSR_STORED(misc_features)
MSR_STORED(ucode_rev)
MSR_STORED(arch_caps)
MSR_STORED(de_cfg)
MSR_STORED(hwcr)
MSR_STORED(feat_ctl)
MSR_STORED(osvw_length)
MSR_STORED(osvw_status)
MSR_STORED(smi_count)
MSR_STORED(xss)

static int zero_get(V v, u32 msr, u64 *val, bool host)
{
	*val = 0;
	return 0;
}

static int ignore_set(V v, u32 msr, u64 val, bool host)
{
	return 0;
}

/* Zero may be written, and whatever user space restores that it has read as zero. */
static int zero_set(V v, u32 msr, u64 val, bool host)
{
	return val != 0;
}

static int host_only(u64 *field, u64 val, bool host)
{
	if (!host)
		return 1;
	*field = val;
	return 0;
}

static int ucode_rev_set(V v, u32 msr, u64 val, bool host)
{
	if (host)
		v->msrs->ucode_rev = val;
	return 0;	/* Linux writes 0 before it reads it */
}

static int arch_caps_set(V v, u32 msr, u64 val, bool host)
{
	return host_only(&v->msrs->arch_caps, val, host);
}

static int arch_caps_guest_get(V v, u32 msr, u64 *val, bool host)
{
	if (!host && !cpuid_has(v, CPUW_7_EDX, 29))
		return 1;
	return arch_caps_get(v, msr, val, host);
}

static int feat_ctl_set(V v, u32 msr, u64 val, bool host)
{
	return host_only(&v->msrs->feat_ctl, val, host);
}

static int smi_count_set(V v, u32 msr, u64 val, bool host)
{
	return host_only(&v->msrs->smi_count, val, host);
}

static int platform_info_guest_get(V v, u32 msr, u64 *val, bool host)
{
	if (!host && READ_ONCE(x86_vcpu_vm(v)->platform_info_hidden))
		return 1;
	return platform_info_get(v, msr, val, host);
}

static int platform_info_set(V v, u32 msr, u64 val, bool host)
{
	return host_only(&v->msrs->platform_info, val, host);
}

static int misc_features_set(V v, u32 msr, u64 val, bool host)
{
	return host || !val ? host_only(&v->msrs->misc_features, val, true) : 1;
}

static int osvw_length_set(V v, u32 msr, u64 val, bool host)
{
	return host_only(&v->msrs->osvw_length, val, host);
}

static int osvw_status_set(V v, u32 msr, u64 val, bool host)
{
	return host_only(&v->msrs->osvw_status, val, host);
}

static int osvw_present(V v, bool host)
{
	return host || cpuid_has(v, CPUW_80000001_ECX, 9);
}

static int osvw_length_guest_get(V v, u32 msr, u64 *val, bool host)
{
	return osvw_present(v, host) ? osvw_length_get(v, msr, val, host) : 1;
}

static int osvw_status_guest_get(V v, u32 msr, u64 *val, bool host)
{
	return osvw_present(v, host) ? osvw_status_get(v, msr, val, host) : 1;
}

/*
 * Without its quirk, CPUID reports MWAIT as this register's ENABLE MONITOR FSM bit says, which needs SSE3 to be changed (SDM 4,
 * IA32_MISC_ENABLE).
 */
static int misc_enable_set(V v, u32 msr, u64 val, bool host)
{
	bool mwait = (val ^ v->msrs->misc_enable) & MSR_IA32_MISC_ENABLE_MWAIT;

	if (mwait && !vm_has_quirk(x86_vcpu_vm(v), KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT)) {
		if (!cpuid_has(v, CPUW_1_ECX, 0))
			return 1;
		v->msrs->misc_enable = val;
		cpuid_update_runtime(v);
	}
	v->msrs->misc_enable = val;
	return 0;
}

/* Only McStatusWrEn and the constant-rate P0 counter have a meaning; a few erratum bits are set by guests (APM 2 §3.2.10). */
static int hwcr_set(V v, u32 msr, u64 val, bool host)
{
	val &= ~(u64)(BIT(3) | BIT(6) | BIT(8));	/* TLBCACHEDIS, FFDIS, IGNNE */
	if (val & ~(u64)(BIT(18) | BIT(24)))
		return 1;
	v->msrs->hwcr = val;
	return 0;
}

/* DE_CFG: a guest may only write what it reads; bit 1 makes LFENCE serialising. */
static int de_cfg_set(V v, u32 msr, u64 val, bool host)
{
	if (host) {
		if (val & ~(u64)BIT(1))
			return 1;
		v->msrs->de_cfg = val;
		return 0;
	}
	return (val ^ v->msrs->de_cfg) & BIT(1);
}

/* Patch loader: the hypervisor's business. */
static int patch_loader_set(V v, u32 msr, u64 val, bool host)
{
	return 0;
}

/* BIOS-like registers that K7, K8 and later families have and Linux looks at. */
static int tseg_get(V v, u32 msr, u64 *val, bool host)
{
	*val = 0;
	return 0;
}

static int xss_set(V v, u32 msr, u64 val, bool host)
{
	return val != 0;	/* no supervisor state component is offered */
}

/* ---- what lives in the back end ---- */

static int hw_get(V v, u32 msr, u64 *val, bool host)
{
	return x86_ops->get_msr(v, msr, val);
}

static int hw_set(V v, u32 msr, u64 val, bool host)
{
	return x86_ops->set_msr(v, msr, val);
}

static bool canonical(V v, u64 val)
{
	int bits = v->cr4 & BIT(12) ? 57 : 48;	/* LA57 */

	return (s64)(val << (64 - bits)) >> (64 - bits) == (s64)val;
}

static int hw_address_set(V v, u32 msr, u64 val, bool host)
{
	if (!canonical(v, val) && !(host && (s64)(val << 7) >> 7 == (s64)val))
		return 1;
	return x86_ops->set_msr(v, msr, val);
}

static int pat_set(V v, u32 msr, u64 val, bool host)
{
	return mtrr_pat_valid(val) ? x86_ops->set_msr(v, msr, val) : 1;
}

static bool tsc_aux_there(V v)
{
	return cpuid_has(v, CPUW_80000001_EDX, 27) || cpuid_has(v, CPUW_7_ECX, 22);
}

static int tsc_aux_get(V v, u32 msr, u64 *val, bool host)
{
	return host || tsc_aux_there(v) ? x86_ops->get_msr(v, msr, val) : 1;
}

static int tsc_aux_set(V v, u32 msr, u64 val, bool host)
{
	if (!host && !tsc_aux_there(v))
		return 1;
	return val >> 32 ? 1 : x86_ops->set_msr(v, msr, val);
}

static bool tsc_aux_present(void)
{
	return boot_cpu_has(X86_FEATURE_RDTSCP);
}

static bool spec_ctrl_present(void)
{
	return x86_ops->has_feature(HW_SPEC_CTRL);
}

static bool spec_ctrl_there(V v)
{
	return cpuid_has(v, CPUW_7_EDX, 26) || cpuid_has(v, CPUW_80000008_EBX, 14) ||
	       cpuid_has(v, CPUW_80000008_EBX, 15) || cpuid_has(v, CPUW_80000008_EBX, 24);
}

static int spec_ctrl_get(V v, u32 msr, u64 *val, bool host)
{
	return host || spec_ctrl_there(v) ? x86_ops->get_msr(v, msr, val) : 1;
}

static int spec_ctrl_set(V v, u32 msr, u64 val, bool host)
{
	if ((!host && !spec_ctrl_there(v)) || (val & ~(u64)(SPEC_CTRL_IBRS | SPEC_CTRL_STIBP | SPEC_CTRL_SSBD)))
		return 1;
	return x86_ops->set_msr(v, msr, val);
}

/* A command, not a register: the guest's barrier is this processor's. */
static int pred_cmd_set(V v, u32 msr, u64 val, bool host)
{
	if (!host && !cpuid_has(v, CPUW_7_EDX, 26) && !cpuid_has(v, CPUW_80000008_EBX, 12))
		return 1;
	if (val & ~(u64)PRED_CMD_IBPB)
		return 1;
	if (val && boot_cpu_has(X86_FEATURE_IBPB))
		wrmsrl(MSR_IA32_PRED_CMD, PRED_CMD_IBPB);
	return 0;
}

/* ---- registers with a meaning here ---- */

static int efer_get(V v, u32 msr, u64 *val, bool host)
{
	*val = v->efer;
	return 0;
}

static int efer_set(V v, u32 msr, u64 val, bool host)
{
	return vcpu_set_efer(v, val, host);
}

static int apic_base_get(V v, u32 msr, u64 *val, bool host)
{
	*val = v->lapic ? v->lapic->base : v->apic_base_user;
	return 0;
}

static int apic_base_set(V v, u32 msr, u64 val, bool host)
{
	if (v->lapic)
		return lapic_set_base(v->lapic, val, host);
	v->apic_base_user = val;
	cpuid_update_runtime(v);
	return 0;
}

static int x2apic_get(V v, u32 msr, u64 *val, bool host)
{
	return v->lapic ? lapic_msr_read(v->lapic, msr, val) : 1;
}

static int x2apic_set(V v, u32 msr, u64 val, bool host)
{
	return v->lapic ? lapic_msr_write(v->lapic, msr, val) : 1;
}

static bool tsc_deadline_there(V v, bool host)
{
	return v->lapic && (host || cpuid_has(v, CPUW_1_ECX, 24));
}

static int tsc_deadline_get(V v, u32 msr, u64 *val, bool host)
{
	*val = 0;
	if (tsc_deadline_there(v, host))
		*val = lapic_get_tsc_deadline(v->lapic);
	else if (!host)
		return 1;
	return 0;
}

static int tsc_deadline_set(V v, u32 msr, u64 val, bool host)
{
	if (tsc_deadline_there(v, host))
		lapic_set_tsc_deadline(v->lapic, val);
	else if (!host || val)
		return 1;
	return 0;
}

static int tsc_get(V v, u32 msr, u64 *val, bool host)
{
	*val = time_read_tsc(v, rdtsc());
	return 0;
}

static int tsc_set(V v, u32 msr, u64 val, bool host)
{
	return time_write_tsc(v, val, host);
}

static int tsc_adjust_get(V v, u32 msr, u64 *val, bool host)
{
	if (!host && !cpuid_has(v, CPUW_7_EBX, 1))
		return 1;
	*val = v->time->tsc_adjust;
	return 0;
}

static int tsc_adjust_set(V v, u32 msr, u64 val, bool host)
{
	if (!host && !cpuid_has(v, CPUW_7_EBX, 1))
		return 1;
	time_write_tsc_adjust(v, val, host);
	return 0;
}

/* ---- paravirtual ---- */

#define PV_GET(name, feature, expr)							\
static int name##_get(V v, u32 msr, u64 *val, bool host)				\
{											\
	if (!host && !cpuid_pv_allowed(v, feature))					\
		return 1;								\
	*val = (expr);									\
	return 0;									\
}

#define PV_RW(name, feature, expr, setter)						\
PV_GET(name, feature, expr)								\
static int name##_set(V v, u32 msr, u64 val, bool host)					\
{											\
	if (!host && !cpuid_pv_allowed(v, feature))					\
		return 1;								\
	return setter(v, val);								\
}

PV_RW(wall_old, KVM_FEATURE_CLOCKSOURCE, x86_vcpu_vm(v)->time->wall_msr, pvclock_set_wall_clock)
PV_RW(wall_new, KVM_FEATURE_CLOCKSOURCE2, x86_vcpu_vm(v)->time->wall_msr, pvclock_set_wall_clock)
PV_RW(clock_old, KVM_FEATURE_CLOCKSOURCE, v->time->clock_msr, pvclock_set_system_time)
PV_RW(clock_new, KVM_FEATURE_CLOCKSOURCE2, v->time->clock_msr, pvclock_set_system_time)
PV_RW(steal, KVM_FEATURE_STEAL_TIME, v->time->steal_msr, steal_set_msr)
PV_RW(eoi, KVM_FEATURE_PV_EOI, v->pv_eoi_msr, pv_eoi_set_msr)

PV_RW(apf_en, KVM_FEATURE_ASYNC_PF, v->apf.enable_msr, apf_set_enable)
PV_RW(apf_int, KVM_FEATURE_ASYNC_PF_INT, v->apf.int_msr, apf_set_int)
PV_RW(apf_ack, KVM_FEATURE_ASYNC_PF_INT, 0, apf_set_ack)

static bool steal_present(void)
{
	return sched_info_on();
}

static int poll_control_store(V v, u64 val)
{
	if (val & ~1ull)
		return 1;
	v->msrs->poll_control = val;
	v->core.no_halt_poll = !val;
	return 0;
}
PV_RW(poll, KVM_FEATURE_POLL_CONTROL, v->msrs->poll_control, poll_control_store)

#define ONE(msr)	.first = (msr), .last = (msr)
#define RANGE(a, b)	.first = (a), .last = (b)
#define SAVED		.flags = MSR_F_SAVE
#define RW(name)	.get = name##_get, .set = name##_set
#define READ_ZERO	.get = zero_get
#define RW_ZERO		.get = zero_get, .set = ignore_set

static const struct msr_desc msr_table[] = {
	{ RANGE(MSR_IA32_P5_MC_ADDR, MSR_IA32_P5_MC_TYPE), RW(mce) },
	{ ONE(MSR_IA32_TSC), SAVED, RW(tsc) },
	{ ONE(MSR_KVM_WALL_CLOCK), SAVED, RW(wall_old) },
	{ ONE(MSR_KVM_SYSTEM_TIME), SAVED, RW(clock_old) },
	{ ONE(MSR_IA32_PLATFORM_ID), READ_ZERO },
	{ ONE(MSR_IA32_APICBASE), RW(apic_base) },
	{ ONE(MSR_IA32_EBL_CR_POWERON), READ_ZERO, .set = zero_set },
	{ ONE(MSR_SMI_COUNT), SAVED, .get = smi_count_get, .set = smi_count_set },
	{ ONE(MSR_IA32_FEAT_CTL), .get = feat_ctl_get, .set = feat_ctl_set },
	{ ONE(MSR_IA32_TSC_ADJUST), SAVED, RW(tsc_adjust) },
	{ ONE(MSR_IA32_SPEC_CTRL), SAVED, RW(spec_ctrl), .present = spec_ctrl_present },
	{ ONE(MSR_IA32_PRED_CMD), .get = NULL, .set = pred_cmd_set },
	{ ONE(MSR_IA32_UCODE_WRITE), .get = zero_get, .set = patch_loader_set },
	{ ONE(MSR_IA32_UCODE_REV), .flags = MSR_F_SAVE | MSR_F_FEATURE, RW(ucode_rev) },
	{ RANGE(MSR_IA32_PERFCTR0, MSR_IA32_PERFCTR1), RW_ZERO },
	{ ONE(MSR_PLATFORM_INFO), SAVED, .get = platform_info_guest_get, .set = platform_info_set },
	{ ONE(MSR_MTRRcap), .get = mtrr_get },
	{ ONE(MSR_IA32_ARCH_CAPABILITIES), .flags = MSR_F_SAVE | MSR_F_FEATURE,
		.get = arch_caps_guest_get, .set = arch_caps_set },
	{ ONE(MSR_IA32_BBL_CR_CTL3), READ_ZERO, .set = zero_set },
	{ ONE(MSR_MISC_FEATURES_ENABLES), SAVED, RW(misc_features) },
	{ ONE(MSR_IA32_SYSENTER_CS), SAVED, .get = hw_get, .set = hw_set },
	{ RANGE(MSR_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_EIP), SAVED, .get = hw_get, .set = hw_address_set },
	{ ONE(MSR_IA32_MCG_CAP), RW(mce) },
	{ RANGE(MSR_IA32_MCG_STATUS, MSR_IA32_MCG_CTL), SAVED, RW(mce) },
	{ RANGE(MSR_P6_EVNTSEL0, MSR_P6_EVNTSEL1), RW_ZERO },
	{ ONE(MSR_IA32_PERF_STATUS), READ_ZERO },
	{ ONE(MSR_IA32_MISC_ENABLE), SAVED, RW(misc_enable) },
	{ ONE(MSR_IA32_DEBUGCTLMSR), .get = zero_get, .set = zero_set },
	{ RANGE(MSR_IA32_LASTBRANCHFROMIP, MSR_IA32_LASTINTTOIP), READ_ZERO },
	{ ONE(MSR_IA32_POWER_CTL), SAVED, RW(power_ctl) },
	{ RANGE(MTRRphysBase_MSR(0), MTRRphysMask_MSR(MTRR_VARIABLE - 1)), RW(mtrr) },
	{ ONE(MSR_MTRRfix64K_00000), RW(mtrr) },
	{ RANGE(MSR_MTRRfix16K_80000, MSR_MTRRfix16K_A0000), RW(mtrr) },
	{ RANGE(MSR_MTRRfix4K_C0000, MSR_MTRRfix4K_F8000), RW(mtrr) },
	{ ONE(MSR_IA32_CR_PAT), SAVED, .get = hw_get, .set = pat_set },
	{ ONE(MSR_MTRRdefType), RW(mtrr) },
	{ RANGE(MSR_IA32_MC0_CTL, MSR_IA32_MCx_MISC(MCE_BANKS - 1)), RW(mce) },
	{ ONE(MSR_IA32_TSC_DEADLINE), SAVED, RW(tsc_deadline) },
	{ RANGE(APIC_BASE_MSR, APIC_BASE_MSR + 0xff), RW(x2apic) },
	{ ONE(MSR_IA32_XSS), .get = xss_get, .set = xss_set },
	{ ONE(MSR_KVM_WALL_CLOCK_NEW), SAVED, RW(wall_new) },
	{ ONE(MSR_KVM_SYSTEM_TIME_NEW), SAVED, RW(clock_new) },
	{ ONE(MSR_KVM_ASYNC_PF_EN), SAVED, RW(apf_en) },
	{ ONE(MSR_KVM_STEAL_TIME), SAVED, RW(steal), .present = steal_present },
	{ ONE(MSR_KVM_PV_EOI_EN), SAVED, RW(eoi) },
	{ ONE(MSR_KVM_POLL_CONTROL), SAVED, RW(poll) },
	{ ONE(MSR_KVM_ASYNC_PF_INT), SAVED, RW(apf_int) },
	{ ONE(MSR_KVM_ASYNC_PF_ACK), SAVED, RW(apf_ack) },
	{ ONE(MSR_EFER), RW(efer) },
	{ ONE(MSR_STAR), SAVED, .get = hw_get, .set = hw_set },
	{ RANGE(MSR_LSTAR, MSR_CSTAR), SAVED, .get = hw_get, .set = hw_address_set },
	{ ONE(MSR_SYSCALL_MASK), SAVED, .get = hw_get, .set = hw_set },
	{ RANGE(MSR_FS_BASE, MSR_GS_BASE), .get = hw_get, .set = hw_address_set },
	{ ONE(MSR_KERNEL_GS_BASE), SAVED, .get = hw_get, .set = hw_address_set },
	{ ONE(MSR_TSC_AUX), SAVED, RW(tsc_aux), .present = tsc_aux_present },
	{ RANGE(MSR_K7_EVNTSEL0, MSR_K7_EVNTSEL_LAST), READ_ZERO, .set = zero_set },
	{ RANGE(MSR_K7_PERFCTR0, MSR_K7_PERFCTR_LAST), READ_ZERO, .set = zero_set },
	{ ONE(MSR_AMD64_SYSCFG), RW_ZERO },
	{ ONE(MSR_K7_HWCR), SAVED, RW(hwcr) },
	{ RANGE(MSR_K8_TOP_MEM1, MSR_K8_TOP_MEM1), READ_ZERO },
	{ ONE(MSR_K8_TOP_MEM2), READ_ZERO },
	{ ONE(MSR_AMD64_NB_CFG), RW_ZERO },
	{ ONE(MSR_AMD64_PATCH_LOADER), .get = NULL, .set = patch_loader_set },
	{ ONE(MSR_K8_INT_PENDING_MSG), RW_ZERO },
	{ ONE(MSR_FAM10H_MMIO_CONF_BASE), READ_ZERO },
	{ ONE(MSR_K8_TSEG_ADDR), .get = tseg_get },
	{ ONE(MSR_K8_TSEG_MASK), .get = tseg_get },
	{ ONE(MSR_VM_CR), READ_ZERO },
	{ ONE(MSR_VM_IGNNE), RW_ZERO },
	{ ONE(MSR_VM_HSAVE_PA), SAVED, RW(hsave_pa) },
	{ ONE(MSR_AMD64_OSVW_ID_LENGTH), .get = osvw_length_guest_get, .set = osvw_length_set },
	{ ONE(MSR_AMD64_OSVW_STATUS), .get = osvw_status_guest_get, .set = osvw_status_set },
	{ ONE(MSR_AMD64_DC_CFG), RW_ZERO },
	{ ONE(MSR_AMD64_DE_CFG), .flags = MSR_F_FEATURE, RW(de_cfg) },
	{ ONE(MSR_AMD64_BU_CFG2), RW_ZERO },
};

const struct msr_desc *msr_row(unsigned int i)
{
	return i < ARRAY_SIZE(msr_table) ? &msr_table[i] : NULL;
}

const struct msr_desc *msr_find(u32 msr)
{
	unsigned int lo = 0, hi = ARRAY_SIZE(msr_table);

	while (lo < hi) {
		unsigned int mid = (lo + hi) / 2;
		const struct msr_desc *d = &msr_table[mid];

		if (msr < d->first)
			hi = mid;
		else if (msr > d->last)
			lo = mid + 1;
		else
			return d->present && !d->present() ? NULL : d;
	}
	return NULL;
}

/* The host's immunities hold for the guest as well; what needs the host's help to be immune is not promised. */
static u64 msr_host_arch_caps(void)
{
	u64 caps = 0;

	if (boot_cpu_has(X86_FEATURE_ARCH_CAPABILITIES))
		rdmsrl(MSR_IA32_ARCH_CAPABILITIES, caps);
	caps &= ARCH_CAP_RDCL_NO | ARCH_CAP_IBRS_ALL | ARCH_CAP_SKIP_VMENTRY_L1DFLUSH | ARCH_CAP_SSB_NO | ARCH_CAP_MDS_NO |
		ARCH_CAP_PSCHANGE_MC_NO | ARCH_CAP_TAA_NO | ARCH_CAP_SBDR_SSDP_NO | ARCH_CAP_FBSDP_NO | ARCH_CAP_PSDP_NO |
		ARCH_CAP_FB_CLEAR;
	if (!boot_cpu_has_bug(X86_BUG_CPU_MELTDOWN))
		caps |= ARCH_CAP_RDCL_NO;
	if (!boot_cpu_has_bug(X86_BUG_SPEC_STORE_BYPASS))
		caps |= ARCH_CAP_SSB_NO;
	if (!boot_cpu_has_bug(X86_BUG_MDS))
		caps |= ARCH_CAP_MDS_NO;
	return caps;
}

int msr_feature(u32 msr, u64 *val)
{
	switch (msr) {
	case MSR_IA32_ARCH_CAPABILITIES:
		*val = msr_host_arch_caps();
		return 0;
	case MSR_IA32_UCODE_REV:
		*val = (u64)boot_cpu_data.microcode << (boot_cpu_data.x86_vendor == X86_VENDOR_INTEL ? 32 : 0);
		return 0;
	case MSR_AMD64_DE_CFG:
		*val = boot_cpu_has(X86_FEATURE_LFENCE_RDTSC) ? BIT(1) : 0;
		return 0;
	default:
		return 1;
	}
}

void msr_init_state(struct x86_vcpu *vcpu)
{
	struct vcpu_msrs *m = vcpu->msrs;

	m->arch_caps = msr_host_arch_caps();
	m->ucode_rev = boot_cpu_data.x86_vendor == X86_VENDOR_INTEL ? 1ull << 32 : 0x01000065;
	msr_feature(MSR_AMD64_DE_CFG, &m->de_cfg);
	m->platform_info = 0;
	m->osvw_length = 3;			/* no old erratum needs a workaround (298, 400: no C1E here) */
	m->poll_control = 1;
	m->misc_enable = BIT(0);		/* fast strings */
	mce_init(vcpu);
}
