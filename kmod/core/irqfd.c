// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_IRQFD: an eventfd that raises a GSI.
 *
 * An irqfd sits in its eventfd's wait queue; whoever signals the eventfd calls irqfd_wakeup() with the queue's lock held and
 * interrupts off.  If the GSI is one MSI, the message is delivered right there, from a copy of the route that a sequence
 * counter guards.  Anything else (irqchip pins, resampling) goes through a work item, since an irqchip may signal other
 * eventfds in turn.
 *
 * End of life.  Three may end an irqfd: KVM_IRQFD with DEASSIGN, the close of the VM, and the eventfd's last close (EPOLLHUP,
 * called back with the queue's lock held).  Who takes it off vm->irqfds under irqfd_lock has won and queues its shutdown on one
 * workqueue of the module; that leaves the wait queue, flushes the injection work and frees.  DEASSIGN and close flush the
 * workqueue, so nothing is injected after they return.  assign() uses a fresh irqfd after it is on the list: it holds irq_srcu
 * there, and shutdown waits for that.
 *
 * Resampling (level-triggered lines of assigned devices): the eventfd sets the line, which stays up until the guest's EOI; then
 * the line drops and the resample eventfds of all irqfds on this GSI are signalled, so that their devices may raise it again.
 */
#include <linux/file.h>
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/seqlock.h>
#include <linux/slab.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "compat/eventfd.h"
#include "core/arch.h"
#include "core/irqfd.h"
#include "core/irqroute.h"
#include "core/vm.h"

#define IRQFDS_MAX	8192	/* of a VM: routing changes go through all of them with interrupts off */
#define RELEASE_BATCH	128

struct resampler {
	struct lodge_irq_ack ack;
	struct lodge_vm *vm;
	struct list_head link;		/* vm->resamplers [I] */
	struct list_head irqfds;	/* struct irqfd's resample_link [I] */
};

struct irqfd {
	struct lodge_vm *vm;
	struct list_head link;		/* vm->irqfds; empty = shutdown is queued; irqfd_lock */
	struct eventfd_ctx *eventfd;
	u32 gsi;
	seqcount_spinlock_t route_seq;	/* irqfd_lock */
	struct { u64 address; u32 data; bool valid; } msi;	/* the route, if it is one MSI */
	wait_queue_entry_t wait;
	poll_table pt;
	struct work_struct inject, shutdown;
	struct resampler *resampler;	/* or NULL */
	struct eventfd_ctx *resamplefd;
	struct list_head resample_link;
};

static struct workqueue_struct *shutdown_wq;

/* ---- injection ---- */

static void irqfd_inject(struct work_struct *work)
{
	struct irqfd *f = container_of(work, struct irqfd, inject);

	if (f->resampler) {
		lodge_irq_set(f->vm, LODGE_IRQ_RESAMPLE, f->gsi, 1);
		return;
	}
	lodge_irq_set(f->vm, LODGE_IRQ_USERSPACE, f->gsi, 1);
	lodge_irq_set(f->vm, LODGE_IRQ_USERSPACE, f->gsi, 0);
}

static void irqfd_signalled(struct irqfd *f)
{
	unsigned int seq;
	bool msi;
	u64 address;
	u32 data;
	int idx;

	idx = srcu_read_lock(&f->vm->irq_srcu);
	do {
		seq = read_seqcount_begin(&f->route_seq);
		msi = f->msi.valid;
		address = f->msi.address;
		data = f->msi.data;
	} while (read_seqcount_retry(&f->route_seq, seq));

	if (msi)
		lodge_arch_msi_deliver(f->vm, address, data);
	else
		schedule_work(&f->inject);
	srcu_read_unlock(&f->vm->irq_srcu, idx);
}

/* irqfd_lock held. */
static void irqfd_deactivate(struct irqfd *f)
{
	list_del_init(&f->link);
	f->vm->nr_irqfds--;
	queue_work(shutdown_wq, &f->shutdown);
}

static int irqfd_wakeup(wait_queue_entry_t *wait, unsigned int mode, int sync, void *key)
{
	struct irqfd *f = container_of(wait, struct irqfd, wait);
	__poll_t flags = key_to_poll(key);
	unsigned long irq;
	u64 count;
	int ret = 0;

	if (flags & EPOLLIN) {
		eventfd_ctx_do_read(f->eventfd, &count);
		irqfd_signalled(f);
		ret = 1;
	}
	if (flags & EPOLLHUP) {
		spin_lock_irqsave(&f->vm->irqfd_lock, irq);
		if (!list_empty(&f->link))
			irqfd_deactivate(f);
		spin_unlock_irqrestore(&f->vm->irqfd_lock, irq);
	}
	return ret;
}

static void irqfd_enqueue(struct file *file, wait_queue_head_t *wqh, poll_table *pt)
{
	struct irqfd *f = container_of(pt, struct irqfd, pt);

	add_wait_queue_priority(wqh, &f->wait);
}

/* Copy the GSI's route.  irqfd_lock held, and irq_srcu or irq_lock. */
static void irqfd_update(struct irqfd *f)
{
	struct lodge_irq_table *t = srcu_dereference_check(f->vm->irq_table, &f->vm->irq_srcu,
							   lockdep_is_held(&f->vm->irq_lock));
	const struct lodge_irq_route *e = NULL;

	if (t && f->gsi < t->nr_gsi && t->first[f->gsi + 1] - t->first[f->gsi] == 1)
		e = &t->route[t->first[f->gsi]];

	write_seqcount_begin(&f->route_seq);
	f->msi.valid = e && e->type == KVM_IRQ_ROUTING_MSI;
	if (f->msi.valid) {
		f->msi.address = e->msi.address;
		f->msi.data = e->msi.data;
	}
	write_seqcount_end(&f->route_seq);
}

void lodge_irqfd_routes_changed(struct lodge_vm *vm)
{
	struct irqfd *f;

	spin_lock_irq(&vm->irqfd_lock);
	list_for_each_entry(f, &vm->irqfds, link)
		irqfd_update(f);
	spin_unlock_irq(&vm->irqfd_lock);
}

/* ---- resampling ---- */

static void resampler_acked(struct lodge_irq_ack *ack)
{
	struct resampler *r = container_of(ack, struct resampler, ack);
	struct irqfd *f;

	lodge_irq_set(r->vm, LODGE_IRQ_RESAMPLE, ack->gsi, 0);
	list_for_each_entry_srcu(f, &r->irqfds, resample_link, srcu_read_lock_held(&r->vm->irq_srcu))
		compat_eventfd_signal(f->resamplefd);
}

/* Join the GSI's resampler, or make it. */
static int irqfd_resample_attach(struct irqfd *f)
{
	struct lodge_vm *vm = f->vm;
	struct resampler *r;
	bool found = false;

	mutex_lock(&vm->irq_lock);
	list_for_each_entry(r, &vm->resamplers, link) {
		if (r->ack.gsi == f->gsi) {
			found = true;
			break;
		}
	}
	if (!found) {
		r = kzalloc(sizeof(*r), GFP_KERNEL_ACCOUNT);
		if (!r) {
			mutex_unlock(&vm->irq_lock);
			return -ENOMEM;
		}
		r->vm = vm;
		r->ack.gsi = f->gsi;
		r->ack.acked = resampler_acked;
		INIT_LIST_HEAD(&r->irqfds);
		list_add(&r->link, &vm->resamplers);
		list_add_rcu(&r->ack.link, &vm->irq_acks);
	}
	f->resampler = r;
	list_add_rcu(&f->resample_link, &r->irqfds);
	mutex_unlock(&vm->irq_lock);
	if (!found)
		lodge_arch_routes_changed(vm);
	return 0;
}

static void irqfd_resample_detach(struct irqfd *f)
{
	struct resampler *r = f->resampler;
	struct lodge_vm *vm = f->vm;
	bool last;

	mutex_lock(&vm->irq_lock);
	list_del_rcu(&f->resample_link);
	last = list_empty(&r->irqfds);
	if (last) {
		list_del(&r->link);
		list_del_rcu(&r->ack.link);
	}
	mutex_unlock(&vm->irq_lock);
	synchronize_srcu(&vm->irq_srcu);
	if (last) {
		/* Nobody is left to lower the line. */
		lodge_irq_set(vm, LODGE_IRQ_RESAMPLE, r->ack.gsi, 0);
		lodge_arch_routes_changed(vm);
		kfree(r);
	}
}

/* ---- life ---- */

static void irqfd_shutdown(struct work_struct *work)
{
	struct irqfd *f = container_of(work, struct irqfd, shutdown);
	u64 count;

	/* assign() is done with it, too. */
	synchronize_srcu_expedited(&f->vm->irq_srcu);

	eventfd_ctx_remove_wait_queue(f->eventfd, &f->wait, &count);
	flush_work(&f->inject);
	if (f->resampler) {
		irqfd_resample_detach(f);
		eventfd_ctx_put(f->resamplefd);
	}
	eventfd_ctx_put(f->eventfd);
	kfree(f);
}

/* Everything that f holds before it is in a wait queue; the eventfd's file is pinned by the caller. */
static struct irqfd *irqfd_create(struct lodge_vm *vm, const struct kvm_irqfd *args, struct file *file)
{
	struct irqfd *f;
	int ret;

	f = kzalloc(sizeof(*f), GFP_KERNEL_ACCOUNT);
	if (!f)
		return ERR_PTR(-ENOMEM);
	f->vm = vm;
	f->gsi = args->gsi;
	INIT_LIST_HEAD(&f->link);
	INIT_WORK(&f->inject, irqfd_inject);
	INIT_WORK(&f->shutdown, irqfd_shutdown);
	seqcount_spinlock_init(&f->route_seq, &vm->irqfd_lock);
	init_waitqueue_func_entry(&f->wait, irqfd_wakeup);
	init_poll_funcptr(&f->pt, irqfd_enqueue);

	f->eventfd = eventfd_ctx_fileget(file);
	if (IS_ERR(f->eventfd)) {
		ret = PTR_ERR(f->eventfd);
		goto free;
	}
	if (args->flags & KVM_IRQFD_FLAG_RESAMPLE) {
		f->resamplefd = eventfd_ctx_fdget(args->resamplefd);
		if (IS_ERR(f->resamplefd)) {
			ret = PTR_ERR(f->resamplefd);
			goto put;
		}
		ret = irqfd_resample_attach(f);
		if (ret)
			goto put_resample;
	}
	return f;

put_resample:
	eventfd_ctx_put(f->resamplefd);
put:
	eventfd_ctx_put(f->eventfd);
free:
	kfree(f);
	return ERR_PTR(ret);
}

static void irqfd_discard(struct irqfd *f)
{
	if (f->resampler) {
		irqfd_resample_detach(f);
		eventfd_ctx_put(f->resamplefd);
	}
	eventfd_ctx_put(f->eventfd);
	kfree(f);
}

/* Put f on the VM's list; -EBUSY if its eventfd raises something already, -ENOSPC if there are too many.  irq_srcu held. */
static int irqfd_publish(struct irqfd *f)
{
	struct lodge_vm *vm = f->vm;
	struct irqfd *other;
	int ret = 0;

	spin_lock_irq(&vm->irqfd_lock);
	if (vm->nr_irqfds >= IRQFDS_MAX)
		ret = -ENOSPC;
	list_for_each_entry(other, &vm->irqfds, link) {
		if (other->eventfd == f->eventfd) {
			ret = -EBUSY;
			break;
		}
	}
	if (!ret) {
		irqfd_update(f);
		list_add_tail(&f->link, &vm->irqfds);
		vm->nr_irqfds++;
	}
	spin_unlock_irq(&vm->irqfd_lock);
	return ret;
}

static int irqfd_assign(struct lodge_vm *vm, const struct kvm_irqfd *args)
{
	struct irqfd *f;
	struct fd fd;
	int idx, ret;

	fd = fdget(args->fd);
	if (!fd.file)
		return -EBADF;
	f = irqfd_create(vm, args, fd.file);
	if (IS_ERR(f)) {
		ret = PTR_ERR(f);
		goto out;
	}
	idx = srcu_read_lock(&vm->irq_srcu);
	ret = irqfd_publish(f);
	if (!ret && (vfs_poll(fd.file, &f->pt) & EPOLLIN)) {
		/* It was signalled before we listened. */
		schedule_work(&f->inject);
	}
	srcu_read_unlock(&vm->irq_srcu, idx);
	if (ret)
		irqfd_discard(f);
out:
	fdput(fd);
	return ret;
}

static int irqfd_deassign(struct lodge_vm *vm, const struct kvm_irqfd *args)
{
	struct eventfd_ctx *eventfd = eventfd_ctx_fdget(args->fd);
	struct irqfd *f, *next;

	if (IS_ERR(eventfd))
		return PTR_ERR(eventfd);
	spin_lock_irq(&vm->irqfd_lock);
	list_for_each_entry_safe(f, next, &vm->irqfds, link) {
		if (f->eventfd == eventfd && f->gsi == args->gsi)
			irqfd_deactivate(f);
	}
	spin_unlock_irq(&vm->irqfd_lock);
	eventfd_ctx_put(eventfd);
	flush_workqueue(shutdown_wq);
	return 0;
}

int lodge_irqfd(struct lodge_vm *vm, const struct kvm_irqfd *args)
{
	if (args->flags & ~(KVM_IRQFD_FLAG_DEASSIGN | KVM_IRQFD_FLAG_RESAMPLE))
		return -EINVAL;
	if (args->flags & KVM_IRQFD_FLAG_DEASSIGN)
		return irqfd_deassign(vm, args);
	if (!lodge_arch_irqchip_in_kernel(vm))
		return -EINVAL;
	return irqfd_assign(vm, args);
}

void lodge_irqfd_release(struct lodge_vm *vm)
{
	unsigned int i;
	bool more;

	do {
		spin_lock_irq(&vm->irqfd_lock);
		for (i = 0; i < RELEASE_BATCH && !list_empty(&vm->irqfds); i++)
			irqfd_deactivate(list_first_entry(&vm->irqfds, struct irqfd, link));
		more = !list_empty(&vm->irqfds);
		spin_unlock_irq(&vm->irqfd_lock);
		cond_resched();
	} while (more);
	/* Also for one that a hang-up took off the list a moment ago. */
	flush_workqueue(shutdown_wq);
}

int lodge_irqfd_init_module(void)
{
	shutdown_wq = alloc_workqueue("lodge-irqfd", 0, 0);
	return shutdown_wq ? 0 : -ENOMEM;
}

void lodge_irqfd_exit_module(void)
{
	destroy_workqueue(shutdown_wq);
}
