// SPDX-License-Identifier: GPL-2.0-only
/*
 * The TPR of 32-bit guests that write it all the time.
 *
 * They have no CR8, so each access to the task priority register in the LAPIC's page is an exit.  A VMM can replace these
 * instructions: it asks for a report of every such access (KVM_TPR_ACCESS_REPORTING; the exit comes when the instruction is done
 * and gives its address), patches the instruction into a call of a routine of its own in the guest, and names a word in the
 * guest's memory (KVM_SET_VAPIC_ADDR) that stands for the register:
 *
 *	bits 7:0 TPR	15:8 priority class of the highest interrupt in service	31:24 the highest vector requested
 *
 * It is written before every entry, and the TPR is taken from it after every exit.  When the routine lowers the TPR so far that
 * the requested vector can come in, it makes a hypercall (KVM_HC_VAPIC_POLL_IRQ), whose exit is all that is needed.
 */
#include <linux/kvm.h>

#include "core/memslot.h"
#include "x86/irqchip/lapic.h"
#include "x86/irqchip/up.h"
#include "x86/vapic.h"
#include "x86/vcpu.h"

long vapic_ioctl_reporting(void *obj, void *arg)
{
	const struct kvm_tpr_access_ctl *t = arg;

	if (t->flags)
		return -EINVAL;
	to_x86(obj)->tpr_reporting = t->enabled;
	return 0;
}

long vapic_ioctl_set_addr(void *obj, void *arg)
{
	struct x86_vcpu *vcpu = to_x86(obj);
	u64 gpa = ((const struct kvm_vapic_addr *)arg)->vapic_addr;

	if (!vcpu->lapic)
		return -EINVAL;
	if (gpa && lodge_guest_cache_init(vcpu->core.vm, &vcpu->vapic_cache, gpa, sizeof(u32)))
		return -EINVAL;
	vcpu->attention &= ~VCPU_ATTEND_VAPIC;
	if (gpa)
		vcpu->attention |= VCPU_ATTEND_VAPIC;
	return 0;
}

void vapic_entry(struct x86_vcpu *vcpu)
{
	u32 word = lapic_vapic_word(vcpu->lapic);

	lodge_guest_cache_write(vcpu->core.vm, &vcpu->vapic_cache, 0, &word, sizeof(word));
}

void vapic_exit(struct x86_vcpu *vcpu)
{
	u32 word;

	/* Without the page the LAPIC keeps what it has. */
	if (!lodge_guest_cache_read(vcpu->core.vm, &vcpu->vapic_cache, 0, &word, sizeof(word)))
		lapic_set_tpr(vcpu->lapic, word);
}

void vcpu_tpr_accessed(struct lodge_vcpu *core, bool write)
{
	struct x86_vcpu *vcpu = to_x86(core);

	if (!vcpu->tpr_reporting)
		return;
	vcpu->tpr_write = write;
	lodge_request(core, LODGE_REQ_TPR_ACCESS);
}

void vapic_report(struct x86_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->core.run;

	run->exit_reason = KVM_EXIT_TPR_ACCESS;
	run->tpr_access.rip = vcpu->tpr_rip;
	run->tpr_access.is_write = vcpu->tpr_write;
}
