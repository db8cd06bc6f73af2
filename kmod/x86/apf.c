// SPDX-License-Identifier: GPL-2.0-only
/*
 * Asynchronous page faults (Documentation/virt/kvm/x86/msr.rst, MSR_KVM_ASYNC_PF_EN).
 *
 * When a guest's access waits for the host to bring a page in (swap, userfaultfd), and the guest has said that it can do
 * something else meanwhile, the fault's work is given to a kernel thread and the guest gets a #PF with a token in CR2, and the
 * word PAGE_NOT_PRESENT in memory to tell it from a real one.  Once the page is there the token is written to memory and an
 * interrupt sent; the guest takes the token, clears the word, acknowledges, and can be told of the next page.
 *
 * If the #PF cannot be delivered (interrupts are off, the guest is in its kernel and has asked for faults of programs only, an
 * event is under way, the page is on its way for this vCPU already more than ITEMS times), the vCPU waits as if there were
 * no such thing.
 *
 * An item in flight holds the VM, its memory (mm) and the module, for its page may never come, and nobody shall have to wait for
 * it.  The last reference to the VM may be an item's.  An item whose page has come lies on the vCPU's list and holds nothing.
 *
 * All words in the guest's memory are hints to the guest.  The host reads one, the token's, and only to see whether it is zero.
 */
#include <linux/kvm_para.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "core/arch.h"
#include "x86/apf.h"
#include "x86/cpuid.h"
#include "x86/inject.h"
#include "x86/mmu/up.h"
#include "x86/vcpu.h"

#define ITEMS		64	/* of a vCPU, in flight and not yet announced */
#define TOKEN_ALL	(~0u)	/* everybody shall look: what waited for is unknown (after a restore) */
#define DATA_SIZE	64
#define OFF_FLAGS	offsetof(struct kvm_vcpu_pv_apf_data, flags)
#define OFF_TOKEN	offsetof(struct kvm_vcpu_pv_apf_data, token)

struct apf_item {
	struct work_struct work;
	struct list_head link;		/* vcpu_apf.done */
	struct x86_vcpu *vcpu;
	struct mm_struct *mm;		/* held while in flight */
	hva_t hva;
	bool write;
	u32 token, epoch;
};

static struct workqueue_struct *apf_wq;

int apf_init_module(void)
{
	apf_wq = alloc_workqueue("lodge-apf", WQ_UNBOUND, 0);
	return apf_wq ? 0 : -ENOMEM;
}

void apf_exit_module(void)
{
	/* Items hold the module; what may still run is the tail of the last one. */
	destroy_workqueue(apf_wq);
}

/* ---- the page ---- */

/* Its page is there, or will never be.  The vCPU is told, whose thread may be halted. */
static void apf_done(struct apf_item *item)
{
	struct lodge_vcpu *core = &item->vcpu->core;
	struct vcpu_apf *a = &item->vcpu->apf;

	spin_lock(&a->lock);
	list_add_tail(&item->link, &a->done);
	spin_unlock(&a->lock);
	lodge_request(core, LODGE_REQ_APF);
	lodge_request(core, LODGE_REQ_UNBLOCK);
	lodge_vcpu_kick(core);
}

static void apf_work(struct work_struct *work)
{
	struct apf_item *item = container_of(work, struct apf_item, work);
	struct lodge_vm *vm = item->vcpu->core.vm;
	struct mm_struct *mm = item->mm;
	int locked = 1;

	/* A failure shows when the guest tries again. */
	mmap_read_lock(mm);
	get_user_pages_remote(mm, item->hva, 1, item->write ? FOLL_WRITE : 0, NULL, NULL, &locked);
	if (locked)
		mmap_read_unlock(mm);
	apf_done(item);
	/* The item is the vCPU's now, and both may go with the VM. */
	mmput(mm);
	lodge_vm_put(vm);
	module_put(THIS_MODULE);
}

static struct apf_item *apf_alloc(struct x86_vcpu *vcpu, hva_t hva)
{
	struct apf_item *item = kzalloc(sizeof(*item), GFP_KERNEL_ACCOUNT);
	struct vcpu_apf *a = &vcpu->apf;
	bool room;

	if (!item)
		return NULL;
	spin_lock(&a->lock);
	room = a->count < ITEMS;
	a->count += room;
	spin_unlock(&a->lock);
	if (!room) {
		kfree(item);
		return NULL;
	}
	INIT_WORK(&item->work, apf_work);
	item->vcpu = vcpu;
	item->hva = hva;
	item->epoch = a->epoch;
	item->token = (a->next_id++ & 0xfffff) << 12 | (vcpu->core.id & 0xfff);
	return item;
}

static void apf_free(struct vcpu_apf *a, struct apf_item *item)
{
	spin_lock(&a->lock);
	a->count--;
	spin_unlock(&a->lock);
	kfree(item);
}

/* ---- the guest's side ---- */

static int apf_write(struct x86_vcpu *vcpu, u32 off, u32 val)
{
	return lodge_guest_cache_write(vcpu->core.vm, &vcpu->apf.cache, off, &val, sizeof(val));
}

bool vcpu_may_fault_async(struct lodge_vcpu *core)
{
	struct x86_vcpu *vcpu = to_x86(core);

	if (likely(!vcpu->apf.on))
		return false;
	if (vcpu->exception.pending || vcpu->exception.injected || vcpu->irq.injected || vcpu->nmi_injected)
		return false;
	if (!(vcpu->apf.enable_msr & KVM_ASYNC_PF_SEND_ALWAYS) && !x86_ops->cpl(vcpu))
		return false;
	return inject_irq_allowed(vcpu);
}

bool vcpu_fault_async(struct lodge_vcpu *core, hva_t hva, bool write)
{
	struct x86_vcpu *vcpu = to_x86(core);
	struct apf_item *item = apf_alloc(vcpu, hva);

	if (!item)
		return false;
	if (apf_write(vcpu, OFF_FLAGS, KVM_PV_REASON_PAGE_NOT_PRESENT)) {
		apf_free(&vcpu->apf, item);
		return false;
	}
	item->write = write;
	item->mm = core->vm->mm;
	mmget(item->mm);
	lodge_vm_get(core->vm);
	__module_get(THIS_MODULE);
	inject_page_fault(vcpu, 0, item->token);
	queue_work(apf_wq, &item->work);
	return true;
}

/* The guest has taken the last token, and the interrupt would get through. */
static bool apf_can_announce(struct x86_vcpu *vcpu)
{
	struct vcpu_apf *a = &vcpu->apf;
	u32 token;

	if (a->ready_pending || !vcpu->lapic->hw_enabled || !vcpu->lapic->sw_enabled)
		return false;
	return !lodge_guest_cache_read(vcpu->core.vm, &a->cache, OFF_TOKEN, &token, sizeof(token)) && !token;
}

/* The first on the list; those that nobody waits for are freed on the way. */
static struct apf_item *apf_next(struct vcpu_apf *a)
{
	struct apf_item *item;
	bool stale;

	for (;;) {
		spin_lock(&a->lock);
		item = list_first_entry_or_null(&a->done, struct apf_item, link);
		stale = item && (!a->on || item->epoch != a->epoch);
		if (stale)
			list_del(&item->link);
		spin_unlock(&a->lock);
		if (!stale)
			return item;
		apf_free(a, item);
	}
}

void apf_announce(struct x86_vcpu *vcpu)
{
	struct vcpu_apf *a = &vcpu->apf;
	struct apf_item *item = apf_next(a);

	if (!item || !apf_can_announce(vcpu))
		return;		/* the acknowledgement brings us here again */
	if (apf_write(vcpu, OFF_TOKEN, item->token))
		return;
	a->ready_pending = true;
	lapic_accept(vcpu->lapic, a->int_msr, false);
	spin_lock(&a->lock);
	list_del(&item->link);
	spin_unlock(&a->lock);
	apf_free(a, item);
}

static void apf_forget(struct vcpu_apf *a)
{
	spin_lock(&a->lock);
	a->epoch++;
	spin_unlock(&a->lock);
	a->on = false;
	a->ready_pending = false;
	apf_next(a);
}

/* Whoever waited before the guest was saved, or before it switched this off and on, waits for pages that are there. */
static void apf_wake_all(struct x86_vcpu *vcpu)
{
	struct apf_item *item = apf_alloc(vcpu, 0);

	if (!item)
		return;
	item->token = TOKEN_ALL;
	apf_done(item);
}

int apf_set_enable(struct x86_vcpu *vcpu, u64 val)
{
	const u64 need = KVM_ASYNC_PF_ENABLED | KVM_ASYNC_PF_DELIVERY_AS_INT;
	struct vcpu_apf *a = &vcpu->apf;

	/* Bit 2 asks for exits to a nested hypervisor, of which there is none. */
	if (val & (0x30 | KVM_ASYNC_PF_DELIVERY_AS_PF_VMEXIT))
		return 1;
	if (!vcpu->lapic)
		return val != 0;
	a->enable_msr = val;
	apf_forget(a);
	if ((val & need) != need)
		return 0;
	if (lodge_guest_cache_init(vcpu->core.vm, &a->cache, val & ~63ull, DATA_SIZE))
		return 1;
	a->on = true;
	apf_wake_all(vcpu);
	return 0;
}

int apf_set_int(struct x86_vcpu *vcpu, u64 val)
{
	if (val >> 8)
		return 1;
	vcpu->apf.int_msr = val;
	return 0;
}

int apf_set_ack(struct x86_vcpu *vcpu, u64 val)
{
	if (val & 1) {
		vcpu->apf.ready_pending = false;
		lodge_request(&vcpu->core, LODGE_REQ_APF);
	}
	return 0;
}

/* ---- life ---- */

void apf_init_vcpu(struct x86_vcpu *vcpu)
{
	spin_lock_init(&vcpu->apf.lock);
	INIT_LIST_HEAD(&vcpu->apf.done);
	vcpu->apf.cache.hva = LODGE_HVA_BAD;
}

void apf_reset_vcpu(struct x86_vcpu *vcpu)
{
	apf_forget(&vcpu->apf);
	vcpu->apf.enable_msr = 0;
	vcpu->apf.int_msr = 0;
}

void apf_destroy_vcpu(struct x86_vcpu *vcpu)
{
	struct apf_item *item, *next;

	if (!vcpu->apf.done.next)
		return;
	list_for_each_entry_safe(item, next, &vcpu->apf.done, link)
		kfree(item);
}
