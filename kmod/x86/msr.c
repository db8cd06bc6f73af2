// SPDX-License-Identifier: GPL-2.0-only
/*
 * MSR accesses: by the guest, with filters and exits to user space, and by the VMM.
 *
 * An MSR that is not in the table does not exist: #GP for the guest, the end of the list for the VMM; KVM_CAP_X86_USER_SPACE_MSR
 * lets the VMM answer instead.  Guests probe for MSRs all the time, so nothing is ever printed.
 */
#include "core/ioctl.h"
#include "core/trace.h"
#include "x86/msr.h"

#include <linux/kvm.h>
#include <linux/slab.h>
#include <linux/srcu.h>
#include <linux/uaccess.h>
#include <asm/apicdef.h>
#include <asm/msr-index.h>

#include "x86/cpuid.h"
#include "x86/emulate.h"
#include "x86/exit.h"
#include "x86/irqchip/lapic.h"
#include "x86/vcpu.h"

#define MSR_MAX_ENTRIES	1024	/* of one KVM_GET/SET_MSRS */
#define MSR_X2APIC(reg)	(APIC_BASE_MSR + ((reg) >> 4))

enum msr_result { MSR_OK, MSR_INVALID, MSR_UNKNOWN, MSR_FILTERED };

int msr_init_vcpu(struct x86_vcpu *vcpu)
{
	vcpu->msrs = kzalloc(sizeof(*vcpu->msrs), GFP_KERNEL_ACCOUNT);
	if (!vcpu->msrs)
		return -ENOMEM;
	msr_init_state(vcpu);
	return 0;
}

void msr_destroy_vcpu(struct x86_vcpu *vcpu)
{
	kfree(vcpu->msrs);
	vcpu->msrs = NULL;
}

void msr_reset_vcpu(struct x86_vcpu *vcpu, bool init)
{
	struct vcpu_msrs *m = vcpu->msrs;

	if (init || !m)
		return;		/* INIT keeps MSRs: SDM 3A table 9-1 */
	m->misc_features = 0;
	m->hwcr = 0;
	m->mtrr.def_type = 0;
	m->exit_msr = 0;
}

static enum msr_result msr_do_read(struct x86_vcpu *vcpu, u32 msr, u64 *val, bool host)
{
	const struct msr_desc *d = msr_find(msr);

	*val = 0;
	if (!d)
		return MSR_UNKNOWN;
	return d->get && !d->get(vcpu, msr, val, host) ? MSR_OK : MSR_INVALID;
}

static enum msr_result msr_do_write(struct x86_vcpu *vcpu, u32 msr, u64 val, bool host)
{
	const struct msr_desc *d = msr_find(msr);

	if (!d)
		return MSR_UNKNOWN;
	return d->set && !d->set(vcpu, msr, val, host) ? MSR_OK : MSR_INVALID;
}

int msr_read(struct x86_vcpu *vcpu, u32 msr, u64 *val, bool host)
{
	if (!host && !msr_filter_allows(x86_vcpu_vm(vcpu), msr, false))
		return 1;
	return msr_do_read(vcpu, msr, val, host) != MSR_OK;
}

int msr_write(struct x86_vcpu *vcpu, u32 msr, u64 val, bool host)
{
	if (!host && !msr_filter_allows(x86_vcpu_vm(vcpu), msr, true))
		return 1;
	return msr_do_write(vcpu, msr, val, host) != MSR_OK;
}

bool msr_write_hot(struct x86_vcpu *vcpu, u32 msr, u64 val)
{
	struct lapic *l = vcpu->lapic;

	if (!l)
		return false;
	switch (msr) {
	case MSR_IA32_TSC_DEADLINE:
		if (!cpuid_has(vcpu, CPUW_1_ECX, 24))
			return false;
		lapic_set_tsc_deadline(l, val);
		return true;
	case MSR_X2APIC(APIC_ICR):
		return l->x2apic && !lapic_icr_fast(l, val);
	case MSR_X2APIC(APIC_EOI):
		if (!l->x2apic || val)
			return false;
		lapic_eoi(l);
		return true;
	default:
		return false;
	}
}

/* ---- the guest ---- */

static void msr_set_edx_eax(struct x86_vcpu *vcpu, u64 val)
{
	vcpu->regs[REG_RAX] = (u32)val;
	vcpu->regs[REG_RDX] = val >> 32;
}

/* Does the VMM want to answer an access that ended like @r? */
static bool msr_wants_exit(struct x86_vcpu *vcpu, enum msr_result r, u32 *reason)
{
	static const u32 reasons[] = {
		[MSR_INVALID] = KVM_MSR_EXIT_REASON_INVAL,
		[MSR_UNKNOWN] = KVM_MSR_EXIT_REASON_UNKNOWN,
		[MSR_FILTERED] = KVM_MSR_EXIT_REASON_FILTER,
	};

	*reason = reasons[r];
	return READ_ONCE(x86_vcpu_vm(vcpu)->user_msr_mask) & *reason;
}

static int msr_complete(struct x86_vcpu *vcpu, bool read)
{
	struct kvm_run *run = vcpu->core.run;

	if (READ_ONCE(run->msr.error))
		return exit_gp(vcpu);
	if (read)
		msr_set_edx_eax(vcpu, READ_ONCE(run->msr.data));
	return vcpu_skip(vcpu, vcpu->msrs->exit_len);
}

static int msr_complete_read(struct x86_vcpu *vcpu)
{
	return msr_complete(vcpu, true);
}

static int msr_complete_write(struct x86_vcpu *vcpu)
{
	return msr_complete(vcpu, false);
}

static int msr_exit_user(struct x86_vcpu *vcpu, u32 exit, u32 reason, u64 data, u8 insn_len)
{
	struct kvm_run *run = vcpu->core.run;

	run->exit_reason = exit;
	memset(&run->msr, 0, sizeof(run->msr));
	run->msr.reason = reason;
	run->msr.index = vcpu->regs[REG_RCX];
	run->msr.data = data;
	vcpu->msrs->exit_len = insn_len;
	vcpu->complete = exit == KVM_EXIT_X86_RDMSR ? msr_complete_read : msr_complete_write;
	return 0;
}

int msr_exit_read(struct x86_vcpu *vcpu, u8 insn_len)
{
	u32 msr = vcpu->regs[REG_RCX], reason;
	enum msr_result r = MSR_FILTERED;
	u64 val = 0;

	vcpu->core.stats.msr_exits++;
	if (msr_filter_allows(x86_vcpu_vm(vcpu), msr, false))
		r = msr_do_read(vcpu, msr, &val, false);
	trace_lodge_msr(false, msr, val, r != MSR_OK);
	if (r == MSR_OK) {
		msr_set_edx_eax(vcpu, val);
		return vcpu_skip(vcpu, insn_len);
	}
	if (msr_wants_exit(vcpu, r, &reason))
		return msr_exit_user(vcpu, KVM_EXIT_X86_RDMSR, reason, 0, insn_len);
	return exit_gp(vcpu);
}

int msr_exit_write(struct x86_vcpu *vcpu, u8 insn_len)
{
	u32 msr = vcpu->regs[REG_RCX], reason;
	u64 val = (u32)vcpu->regs[REG_RAX] | vcpu->regs[REG_RDX] << 32;
	enum msr_result r = MSR_FILTERED;

	vcpu->core.stats.msr_exits++;
	if (msr_filter_allows(x86_vcpu_vm(vcpu), msr, true))
		r = msr_do_write(vcpu, msr, val, false);
	trace_lodge_msr(true, msr, val, r != MSR_OK);
	if (r == MSR_OK)
		return vcpu_skip(vcpu, insn_len);
	if (msr_wants_exit(vcpu, r, &reason))
		return msr_exit_user(vcpu, KVM_EXIT_X86_WRMSR, reason, val, insn_len);
	return exit_gp(vcpu);
}

/* ---- ioctls ---- */

/* Indices of rows that have @flag: their number; stored at @out as far as @max goes. */
static unsigned int msr_list(u8 flag, u32 __user *out, unsigned int max, bool *fault)
{
	const struct msr_desc *d;
	unsigned int i, n = 0;

	for (i = 0; (d = msr_row(i)); i++) {
		u32 msr;

		if (!(d->flags & flag) || (d->present && !d->present()))
			continue;
		for (msr = d->first; msr <= d->last; msr++, n++)
			if (n < max && put_user(msr, out + n))
				*fault = true;
	}
	return n;
}

static long msr_ioctl_list(u8 flag, struct kvm_msr_list __user *u)
{
	bool fault = false;
	u32 max, n;

	if (get_user(max, &u->nmsrs))
		return -EFAULT;
	n = msr_list(flag, NULL, 0, &fault);
	if (put_user(n, &u->nmsrs))
		return -EFAULT;
	if (max < n)
		return -E2BIG;
	msr_list(flag, u->indices, n, &fault);
	return fault ? -EFAULT : 0;
}

long msr_ioctl_index_list(void *obj, void *arg)
{
	return msr_ioctl_list(MSR_F_SAVE, (void __user *)arg);
}

long msr_ioctl_feature_list(void *obj, void *arg)
{
	return msr_ioctl_list(MSR_F_FEATURE, (void __user *)arg);
}

/* Apply @one to each entry until one fails; how many went well.  With @back the entries are copied back. */
static long msr_each(void *obj, struct kvm_msrs __user *u, bool back, bool (*one)(void *obj, struct kvm_msr_entry *e))
{
	struct kvm_msr_entry *e;
	struct kvm_msrs head;
	size_t bytes;
	long n;

	if (copy_from_user(&head, u, sizeof(head)))
		return -EFAULT;
	if (head.nmsrs >= MSR_MAX_ENTRIES)
		return -E2BIG;
	bytes = head.nmsrs * sizeof(*e);
	e = lodge_ioctl_dup(u->entries, bytes ?: 1);
	if (IS_ERR(e))
		return PTR_ERR(e);
	for (n = 0; n < head.nmsrs && one(obj, &e[n]); n++)
		;
	if (back && copy_to_user(u->entries, e, bytes))
		n = -EFAULT;
	kvfree(e);
	return n;
}

static bool msr_one_get(void *obj, struct kvm_msr_entry *e)
{
	return !msr_read(obj, e->index, &e->data, true);
}

static bool msr_one_set(void *obj, struct kvm_msr_entry *e)
{
	return !msr_write(obj, e->index, e->data, true);
}

static bool msr_one_feature(void *obj, struct kvm_msr_entry *e)
{
	return !msr_feature(e->index, &e->data);
}

long msr_ioctl_get_features(void *obj, void *arg)
{
	return msr_each(NULL, (void __user *)arg, true, msr_one_feature);
}

/* Some registers refer to the guest's memory: slots are looked up. */
static long msr_each_vcpu(struct x86_vcpu *vcpu, void *arg, bool back, bool (*one)(void *obj, struct kvm_msr_entry *e))
{
	int idx = srcu_read_lock(&vcpu->core.vm->srcu);
	long r = msr_each(vcpu, (void __user *)arg, back, one);

	srcu_read_unlock(&vcpu->core.vm->srcu, idx);
	return r;
}

long msr_ioctl_get(void *obj, void *arg)
{
	return msr_each_vcpu(to_x86(obj), arg, true, msr_one_get);
}

long msr_ioctl_set(void *obj, void *arg)
{
	return msr_each_vcpu(to_x86(obj), arg, false, msr_one_set);
}
