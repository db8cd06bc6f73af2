// SPDX-License-Identifier: GPL-2.0-only
/*
 * The architecture's command tables and capabilities: what the ABI of KVM on x86 offers, in one place.
 *
 * A row says which function answers a command; the few functions here only unpack an argument, for commands whose encoding
 * says the wrong direction or that take a plain value.  A capability is listed only if what it promises works.
 */
#include <linux/kvm.h>
#include <linux/sched/stat.h>
#include <linux/uaccess.h>

#include "core/arch.h"
#include "core/ioctl.h"
#include "x86/cpuid.h"
#include "x86/debugreg.h"
#include "x86/fpu.h"
#include "x86/irqchip/irqchip.h"
#include "x86/irqchip/lapic.h"
#include "x86/mce.h"
#include "x86/mp_state.h"
#include "x86/msr.h"
#include "x86/regs.h"
#include "x86/sync_regs.h"
#include "x86/time.h"
#include "x86/vapic.h"
#include "x86/vcpu.h"
#include "x86/vcpu_events.h"
#include "x86/vm.h"

#define RAW	LODGE_IOCTL_RAW
#define LOCKED	LODGE_IOCTL_VM_LOCK

/* ---- the system descriptor ---- */

static bool ioctl_xcomp_attr(const struct kvm_device_attr *a)
{
	return !a->group && a->attr == KVM_X86_XCOMP_GUEST_SUPP;
}

static long ioctl_dev_has_attr(void *obj, void *arg)
{
	return ioctl_xcomp_attr(arg) ? 0 : -ENXIO;
}

static long ioctl_dev_get_attr(void *obj, void *arg)
{
	const struct kvm_device_attr *a = arg;

	if (!ioctl_xcomp_attr(a))
		return -ENXIO;
	return put_user(cpuid_host()->xcr0, (u64 __user *)(unsigned long)a->addr) ? -EFAULT : 0;
}

const struct lodge_ioctl lodge_arch_dev_ioctls[] = {
	{ KVM_GET_SUPPORTED_CPUID,		RAW,	cpuid_ioctl_get_supported },
	{ KVM_GET_EMULATED_CPUID,		RAW,	cpuid_ioctl_get_emulated },
	{ KVM_GET_MSR_INDEX_LIST,		RAW,	msr_ioctl_index_list },
	{ KVM_GET_MSR_FEATURE_INDEX_LIST,	RAW,	msr_ioctl_feature_list },
	{ KVM_GET_MSRS,				RAW,	msr_ioctl_get_features },
	{ KVM_X86_GET_MCE_CAP_SUPPORTED,	0,	mce_ioctl_supported },
	{ KVM_HAS_DEVICE_ATTR,			0,	ioctl_dev_has_attr },
	{ KVM_GET_DEVICE_ATTR,			0,	ioctl_dev_get_attr },
};
const unsigned int lodge_arch_nr_dev_ioctls = ARRAY_SIZE(lodge_arch_dev_ioctls);

/* ---- VMs ---- */

static long ioctl_create_irqchip(void *obj, void *arg)
{
	return irqchip_create_full(obj);
}

static long ioctl_create_pit(void *obj, void *arg)
{
	static const struct kvm_pit_config c = { .flags = KVM_PIT_SPEAKER_DUMMY };

	return irqchip_create_pit(obj, &c);
}

static long ioctl_create_pit2(void *obj, void *arg)
{
	return irqchip_create_pit(obj, arg);
}

static long ioctl_get_irqchip(void *obj, void *arg)
{
	return irqchip_get(obj, arg);
}

/* Encoded as _IOR, but it is user space that gives. */
static long ioctl_set_irqchip(void *obj, void *arg)
{
	struct kvm_irqchip *chip = lodge_ioctl_dup((void __user *)arg, sizeof(*chip));
	long r;

	if (IS_ERR(chip))
		return PTR_ERR(chip);
	r = irqchip_set(obj, chip);
	kvfree(chip);
	return r;
}

static long ioctl_get_pit2(void *obj, void *arg)
{
	return irqchip_get_pit2(obj, arg);
}

static long ioctl_set_pit2(void *obj, void *arg)
{
	return irqchip_set_pit2(obj, arg);
}

/* The older form has no flags. */
static long ioctl_get_pit(void *obj, void *arg)
{
	struct kvm_pit_state2 s;
	long r = irqchip_get_pit2(obj, &s);

	if (!r)
		memcpy(arg, s.channels, sizeof(struct kvm_pit_state));
	return r;
}

/* Encoded as _IOR as well. */
static long ioctl_set_pit(void *obj, void *arg)
{
	struct kvm_pit_state2 s;
	long r = irqchip_get_pit2(obj, &s);

	if (r)
		return r;
	if (copy_from_user(s.channels, (void __user *)arg, sizeof(struct kvm_pit_state)))
		return -EFAULT;
	return irqchip_set_pit2(obj, &s);
}

/* Encoded without a direction. */
static long ioctl_reinject(void *obj, void *arg)
{
	struct kvm_reinject_control c;

	if (copy_from_user(&c, (void __user *)arg, sizeof(c)))
		return -EFAULT;
	return irqchip_reinject(obj, &c);
}

const struct lodge_ioctl lodge_arch_vm_ioctls[] = {
	{ KVM_SET_TSS_ADDR,		RAW,		vm_ioctl_set_tss_addr },
	{ KVM_SET_NR_MMU_PAGES,		RAW | LOCKED,	vm_ioctl_set_nr_mmu_pages },
	{ KVM_GET_NR_MMU_PAGES,		RAW | LOCKED,	vm_ioctl_get_nr_mmu_pages },
	{ KVM_SET_IDENTITY_MAP_ADDR,	0,		vm_ioctl_set_identity_map_addr },
	{ KVM_SET_BOOT_CPU_ID,		RAW,		vm_ioctl_set_boot_cpu_id },
	{ KVM_CREATE_IRQCHIP,		RAW | LOCKED,	ioctl_create_irqchip },
	{ KVM_GET_IRQCHIP,		0,		ioctl_get_irqchip },
	{ KVM_SET_IRQCHIP,		RAW,		ioctl_set_irqchip },
	{ KVM_CREATE_PIT,		RAW | LOCKED,	ioctl_create_pit },
	{ KVM_CREATE_PIT2,		LOCKED,		ioctl_create_pit2 },
	{ KVM_GET_PIT,			0,		ioctl_get_pit },
	{ KVM_SET_PIT,			RAW,		ioctl_set_pit },
	{ KVM_GET_PIT2,			0,		ioctl_get_pit2 },
	{ KVM_SET_PIT2,			0,		ioctl_set_pit2 },
	{ KVM_REINJECT_CONTROL,		RAW,		ioctl_reinject },
	{ KVM_GET_CLOCK,		0,		pvclock_ioctl_get },
	{ KVM_SET_CLOCK,		0,		pvclock_ioctl_set },
	{ KVM_GET_TSC_KHZ,		RAW,		time_ioctl_vm_get_tsc_khz },
	{ KVM_SET_TSC_KHZ,		RAW,		time_ioctl_vm_set_tsc_khz },
	{ KVM_X86_SET_MSR_FILTER,	LOCKED,		msr_ioctl_set_filter },
#ifdef CONFIG_COMPAT
	{ KVM_X86_SET_MSR_FILTER32,	LOCKED,		msr_ioctl_set_filter32 },
#endif
};
const unsigned int lodge_arch_nr_vm_ioctls = ARRAY_SIZE(lodge_arch_vm_ioctls);

/* ---- vCPUs ---- */

static long ioctl_get_lapic(void *obj, void *arg)
{
	struct x86_vcpu *vcpu = to_x86(obj);

	if (!vcpu->lapic)
		return -EINVAL;
	lapic_get_state(vcpu->lapic, arg);
	return 0;
}

static long ioctl_set_lapic(void *obj, void *arg)
{
	struct x86_vcpu *vcpu = to_x86(obj);

	return vcpu->lapic ? lapic_set_state(vcpu->lapic, arg) : -EINVAL;
}

const struct lodge_ioctl lodge_arch_vcpu_ioctls[] = {
	{ KVM_GET_REGS,			0,	regs_ioctl_get },
	{ KVM_SET_REGS,			0,	regs_ioctl_set },
	{ KVM_GET_SREGS,		0,	sregs_ioctl_get },
	{ KVM_SET_SREGS,		0,	sregs_ioctl_set },
	{ KVM_GET_SREGS2,		0,	sregs_ioctl_get2 },
	{ KVM_SET_SREGS2,		0,	sregs_ioctl_set2 },
	{ KVM_TRANSLATE,		0,	sregs_ioctl_translate },
	{ KVM_GET_FPU,			0,	fpu_ioctl_get },
	{ KVM_SET_FPU,			0,	fpu_ioctl_set },
	{ KVM_GET_XSAVE,		RAW,	fpu_ioctl_get_xsave },
	{ KVM_GET_XSAVE2,		RAW,	fpu_ioctl_get_xsave2 },
	{ KVM_SET_XSAVE,		RAW,	fpu_ioctl_set_xsave },
	{ KVM_GET_XCRS,			0,	fpu_ioctl_get_xcrs },
	{ KVM_SET_XCRS,			0,	fpu_ioctl_set_xcrs },
	{ KVM_GET_DEBUGREGS,		0,	debugreg_ioctl_get },
	{ KVM_SET_DEBUGREGS,		0,	debugreg_ioctl_set },
	{ KVM_SET_GUEST_DEBUG,		0,	debugreg_ioctl_guest_debug },
	{ KVM_GET_MSRS,			RAW,	msr_ioctl_get },
	{ KVM_SET_MSRS,			RAW,	msr_ioctl_set },
	{ KVM_SET_CPUID,		RAW,	cpuid_ioctl_set },
	{ KVM_SET_CPUID2,		RAW,	cpuid_ioctl_set2 },
	{ KVM_GET_CPUID2,		RAW,	cpuid_ioctl_get2 },
	{ KVM_GET_LAPIC,		0,	ioctl_get_lapic },
	{ KVM_SET_LAPIC,		0,	ioctl_set_lapic },
	{ KVM_GET_MP_STATE,		0,	mp_state_ioctl_get },
	{ KVM_SET_MP_STATE,		0,	mp_state_ioctl_set },
	{ KVM_GET_VCPU_EVENTS,		0,	vcpu_events_ioctl_get },
	{ KVM_SET_VCPU_EVENTS,		0,	vcpu_events_ioctl_set },
	{ KVM_INTERRUPT,		0,	vcpu_events_ioctl_interrupt },
	{ KVM_NMI,			0,	vcpu_events_ioctl_nmi },
	{ KVM_TPR_ACCESS_REPORTING,	0,	vapic_ioctl_reporting },
	{ KVM_SET_VAPIC_ADDR,		0,	vapic_ioctl_set_addr },
	{ KVM_GET_TSC_KHZ,		RAW,	time_ioctl_get_tsc_khz },
	{ KVM_SET_TSC_KHZ,		RAW,	time_ioctl_set_tsc_khz },
	{ KVM_KVMCLOCK_CTRL,		RAW,	pvclock_ioctl_ctrl },
	{ KVM_HAS_DEVICE_ATTR,		0,	time_ioctl_has_attr },
	{ KVM_GET_DEVICE_ATTR,		0,	time_ioctl_get_attr },
	{ KVM_SET_DEVICE_ATTR,		0,	time_ioctl_set_attr },
	{ KVM_X86_SETUP_MCE,		0,	mce_ioctl_setup },
	{ KVM_X86_SET_MCE,		0,	mce_ioctl_set },
};
const unsigned int lodge_arch_nr_vcpu_ioctls = ARRAY_SIZE(lodge_arch_vcpu_ioctls);

/* ---- capabilities ---- */

#define DEBUG_FLAGS	(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_USE_SW_BP | KVM_GUESTDBG_USE_HW_BP | \
			 KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP | KVM_GUESTDBG_BLOCKIRQ)
#define DISABLE_EXITS	(KVM_X86_DISABLE_EXITS_HLT | KVM_X86_DISABLE_EXITS_PAUSE)
#define X2APIC_FLAGS	(KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK)
/*
 * Of KVM's quirks, those whose absence makes a difference here.  CR0.CD and NW of a guest have always been what it set, and
 * OUT to port 0x7e is like any other.
 */
#define QUIRKS		(KVM_X86_QUIRK_LINT0_REENABLED | KVM_X86_QUIRK_LAPIC_MMIO_HOLE | KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT | \
			 KVM_X86_QUIRK_FIX_HYPERCALL_INSN | KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS)
#define USER_MSR_MASK	(KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_FILTER)

static const struct {
	u16 cap;
	u32 value;
} ioctl_caps[] = {
	{ KVM_CAP_IRQCHIP,			1 },
	{ KVM_CAP_HLT,				1 },
	{ KVM_CAP_VAPIC,			1 },
	{ KVM_CAP_SET_TSS_ADDR,			1 },
	{ KVM_CAP_EXT_CPUID,			1 },
	{ KVM_CAP_EXT_EMUL_CPUID,		1 },
	{ KVM_CAP_MMU_SHADOW_CACHE_CONTROL,	1 },
	{ KVM_CAP_CLOCKSOURCE,			1 },
	{ KVM_CAP_PIT,				1 },
	{ KVM_CAP_NOP_IO_DELAY,			1 },
	{ KVM_CAP_MP_STATE,			1 },
	{ KVM_CAP_USER_NMI,			1 },
	{ KVM_CAP_SET_GUEST_DEBUG,		1 },
	{ KVM_CAP_REINJECT_CONTROL,		1 },
	{ KVM_CAP_MCE,				MCE_BANKS },
	{ KVM_CAP_PIT2,				1 },
	{ KVM_CAP_SET_BOOT_CPU_ID,		1 },
	{ KVM_CAP_PIT_STATE2,			1 },
	{ KVM_CAP_SET_IDENTITY_MAP_ADDR,	1 },
	{ KVM_CAP_ADJUST_CLOCK,			KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC },
	{ KVM_CAP_VCPU_EVENTS,			1 },
	{ KVM_CAP_DEBUGREGS,			1 },
	{ KVM_CAP_X86_ROBUST_SINGLESTEP,	1 },
	{ KVM_CAP_XSAVE,			1 },
	{ KVM_CAP_GET_TSC_KHZ,			1 },
	{ KVM_CAP_TSC_DEADLINE_TIMER,		1 },
	{ KVM_CAP_KVMCLOCK_CTRL,		1 },
	{ KVM_CAP_ENABLE_CAP,			1 },
	{ KVM_CAP_ASYNC_PF,			1 },
	{ KVM_CAP_ASYNC_PF_INT,			1 },
	{ KVM_CAP_IOAPIC_POLARITY_IGNORED,	1 },
	{ KVM_CAP_DISABLE_QUIRKS,		1 },
	{ KVM_CAP_DISABLE_QUIRKS2,		QUIRKS },
	{ KVM_CAP_LAST_CPU,			1 },
	{ KVM_CAP_EXIT_ON_EMULATION_FAILURE,	1 },
	{ KVM_CAP_SYNC_REGS,			SYNC_REGS_FIELDS },
	{ KVM_CAP_SPLIT_IRQCHIP,		1 },
	{ KVM_CAP_VCPU_ATTRIBUTES,		1 },
	{ KVM_CAP_X2APIC_API,			X2APIC_FLAGS },
	{ KVM_CAP_X86_DISABLE_EXITS,		DISABLE_EXITS },
	{ KVM_CAP_GET_MSR_FEATURES,		1 },
	{ KVM_CAP_MSR_PLATFORM_INFO,		1 },
	{ KVM_CAP_EXCEPTION_PAYLOAD,		1 },
	{ KVM_CAP_X86_USER_SPACE_MSR,		1 },
	{ KVM_CAP_X86_MSR_FILTER,		1 },
	{ KVM_CAP_ENFORCE_PV_FEATURE_CPUID,	1 },
	{ KVM_CAP_SET_GUEST_DEBUG2,		DEBUG_FLAGS },
	{ KVM_CAP_SREGS2,			1 },
	{ KVM_CAP_SYS_ATTRIBUTES,		1 },
	{ KVM_CAP_X86_TRIPLE_FAULT_EVENT,	1 },
};

int lodge_arch_check_extension(struct lodge_vm *vm, long ext)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(ioctl_caps); i++)
		if (ioctl_caps[i].cap == ext)
			return ioctl_caps[i].value;
	switch (ext) {
	case KVM_CAP_STEAL_TIME:
		return sched_info_on();
	case KVM_CAP_XCRS:
		return cpuid_host()->xcr0 != 0;
	case KVM_CAP_XSAVE2:
		return max_t(u32, sizeof(struct kvm_xsave), cpuid_xsave_size(cpuid_host()->xcr0, false));
	default:
		return 0;
	}
}

/* What may only be chosen before the first vCPU. */
static int cap_before_vcpus(struct lodge_vm *vm, u64 *field, u64 value)
{
	int r = -EINVAL;

	mutex_lock(&vm->lock);
	if (!vm->created_vcpus) {
		*field |= value;
		r = 0;
	}
	mutex_unlock(&vm->lock);
	return r;
}

static int cap_disable_quirks(struct x86_vm *vm, u64 quirks)
{
	WRITE_ONCE(vm->disabled_quirks, quirks);
	WRITE_ONCE(vm->irqchip.lint0_masked, quirks & KVM_X86_QUIRK_LINT0_REENABLED);
	WRITE_ONCE(vm->irqchip.mmio_hole_filled, quirks & KVM_X86_QUIRK_LAPIC_MMIO_HOLE);
	return 0;
}

static int cap_split_irqchip(struct lodge_vm *vm, u64 pins)
{
	int r;

	if (pins > LODGE_IRQCHIP_PINS)
		return -EINVAL;
	mutex_lock(&vm->lock);
	r = irqchip_create_split(vm, pins);
	mutex_unlock(&vm->lock);
	return r;
}

int lodge_arch_enable_cap(struct lodge_vm *vm, struct kvm_enable_cap *cap)
{
	struct x86_vm *x = to_x86_vm(vm);
	u64 arg = cap->args[0];

	if (cap->flags)
		return -EINVAL;
	switch (cap->cap) {
	case KVM_CAP_SPLIT_IRQCHIP:
		return cap_split_irqchip(vm, arg);
	case KVM_CAP_DISABLE_QUIRKS2:
		return arg & ~(u64)QUIRKS ? -EINVAL : cap_disable_quirks(x, arg);
	case KVM_CAP_DISABLE_QUIRKS:
		return cap_disable_quirks(x, arg);
	case KVM_CAP_EXIT_ON_EMULATION_FAILURE:
		if (arg & ~1ull)
			return -EINVAL;
		WRITE_ONCE(x->emulation_exits, arg);
		return 0;
	case KVM_CAP_X2APIC_API:
		if (arg & ~(u64)X2APIC_FLAGS)
			return -EINVAL;
		if (arg & KVM_X2APIC_API_USE_32BIT_IDS)
			x->irqchip.x2apic_32bit = true;
		if (arg & KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK)
			x->irqchip.x2apic_no_broadcast = true;
		return 0;
	case KVM_CAP_X86_DISABLE_EXITS:
		if (arg & ~(u64)DISABLE_EXITS)
			return -EINVAL;
		return cap_before_vcpus(vm, &x->disabled_exits, arg);
	case KVM_CAP_EXCEPTION_PAYLOAD:
		WRITE_ONCE(x->exception_payload, arg != 0);
		return 0;
	case KVM_CAP_X86_TRIPLE_FAULT_EVENT:
		WRITE_ONCE(x->triple_fault_event, arg != 0);
		return 0;
	case KVM_CAP_MSR_PLATFORM_INFO:
		WRITE_ONCE(x->platform_info_hidden, !arg);
		return 0;
	case KVM_CAP_X86_USER_SPACE_MSR:
		if (arg & ~(u64)USER_MSR_MASK)
			return -EINVAL;
		WRITE_ONCE(x->user_msr_mask, arg);
		return 0;
	default:
		return -EINVAL;
	}
}

int lodge_arch_vcpu_enable_cap(struct lodge_vcpu *vcpu, struct kvm_enable_cap *cap)
{
	if (cap->flags || cap->cap != KVM_CAP_ENFORCE_PV_FEATURE_CPUID)
		return -EINVAL;
	cpuid_enforce_pv(to_x86(vcpu), cap->args[0] != 0);
	return 0;
}
