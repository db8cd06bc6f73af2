// SPDX-License-Identifier: GPL-2.0-only
/*
 * A vCPU: creation, its descriptor, KVM_RUN's common part, kicks, halts.
 *
 * KVM_RUN is where the time goes, so its command is compared first and nothing on its way is done that could be done at
 * another moment.
 *
 * Load and put.  Between them the vCPU belongs to the host CPU that its thread runs on; the preempt notifier puts it when the
 * thread is scheduled out and loads it where it comes back, inside KVM_RUN as in any other vCPU ioctl.
 *
 * Kicks.  Someone who wants the attention of a vCPU sets a request bit, then looks at mode; the vCPU sets mode IN_GUEST, with
 * interrupts off, then looks at the requests.  Both have a full barrier between, so at least one sees the other's write.  If
 * the kicker sees IN_GUEST it changes it to EXITING, once, and sends an IPI: it arrives in the guest and forces an exit, or it
 * is pending at the entry and does so immediately.  A sleeping vCPU is woken through its rcuwait in the same way: the sleeper
 * sets its task state, then looks; the waker makes its event visible, then looks for a sleeper.
 *
 * lodge_request_all() with wait is for those who are about to free what the guest could still reach through a stale
 * translation: the IPI's function returning on a CPU proves that it has left the guest.
 */
#include <linux/anon_inodes.h>
#include <linux/cpumask.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pid.h>
#include <linux/sched/signal.h>
#include <linux/sched/stat.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/uaccess.h>

#include "core/arch.h"
#include "core/stats.h"
#include "core/trace.h"
#include "core/usage.h"
#include "core/vcpu.h"
#include "core/vm.h"

#define HALT_POLL_START	10000		/* ns, the first step up from no polling */

unsigned int lodge_halt_poll_ns = 200000;

static DEFINE_PER_CPU(struct lodge_vcpu *, running_vcpu);
static DEFINE_PER_CPU(cpumask_var_t, kick_mask);

struct lodge_vcpu *lodge_running_vcpu(void)
{
	return __this_cpu_read(running_vcpu);
}

/* ---- load and put ---- */

/* On the CPU, preemption off. */
static void vcpu_load_here(struct lodge_vcpu *vcpu)
{
	int cpu = smp_processor_id();

	vcpu->loaded = true;
	WRITE_ONCE(vcpu->cpu, cpu);
	lodge_arch_vcpu_load(vcpu, cpu);
}

static void vcpu_put_here(struct lodge_vcpu *vcpu)
{
	lodge_arch_vcpu_put(vcpu);
	WRITE_ONCE(vcpu->cpu, -1);
	vcpu->loaded = false;
}

void lodge_vcpu_load(struct lodge_vcpu *vcpu)
{
	preempt_disable();
	/* A CPU that is going offline has no virtualization any more, and is about to push us off. */
	while (unlikely(!__this_cpu_read(lodge_cpu_enabled)) && !READ_ONCE(lodge_usage_stopped)) {
		preempt_enable();
		schedule_timeout_uninterruptible(1);
		preempt_disable();
	}
	preempt_notifier_register(&vcpu->preempt_notifier);
	__this_cpu_write(running_vcpu, vcpu);
	if (likely(__this_cpu_read(lodge_cpu_enabled)))
		vcpu_load_here(vcpu);
	preempt_enable();
}

void lodge_vcpu_put(struct lodge_vcpu *vcpu)
{
	preempt_disable();
	if (likely(vcpu->loaded))
		vcpu_put_here(vcpu);
	__this_cpu_write(running_vcpu, NULL);
	preempt_notifier_unregister(&vcpu->preempt_notifier);
	preempt_enable();
}

static void vcpu_sched_in(struct preempt_notifier *pn, int cpu)
{
	struct lodge_vcpu *vcpu = container_of(pn, struct lodge_vcpu, preempt_notifier);

	WRITE_ONCE(vcpu->preempted, false);
	__this_cpu_write(running_vcpu, vcpu);
	if (likely(__this_cpu_read(lodge_cpu_enabled)))
		vcpu_load_here(vcpu);
}

static void vcpu_sched_out(struct preempt_notifier *pn, struct task_struct *next)
{
	struct lodge_vcpu *vcpu = container_of(pn, struct lodge_vcpu, preempt_notifier);

	if (current->on_rq)
		WRITE_ONCE(vcpu->preempted, true);
	if (likely(vcpu->loaded))
		vcpu_put_here(vcpu);
	__this_cpu_write(running_vcpu, NULL);
}

static struct preempt_ops vcpu_preempt_ops = {
	.sched_in = vcpu_sched_in,
	.sched_out = vcpu_sched_out,
};

/* ---- kicks ---- */

bool lodge_vcpu_wake(struct lodge_vcpu *vcpu)
{
	/* Nobody sleeps, most of the time; the barrier pairs with the sleeper's set_current_state(). */
	smp_mb();
	if (!rcuwait_active(&vcpu->wait))
		return false;
	return rcuwait_wake_up(&vcpu->wait);
}

void lodge_vcpu_kick(struct lodge_vcpu *vcpu)
{
	int me, cpu;

	if (lodge_vcpu_wake(vcpu))
		return;
	me = get_cpu();
	if (READ_ONCE(vcpu->mode) == LODGE_IN_GUEST && cmpxchg(&vcpu->mode, LODGE_IN_GUEST, LODGE_EXITING) == LODGE_IN_GUEST) {
		/* On this very CPU we interrupted it: it is out, or sees EXITING before it enters. */
		cpu = READ_ONCE(vcpu->cpu);
		if (cpu != me && cpu >= 0 && cpu_online(cpu))
			smp_send_reschedule(cpu);
	}
	put_cpu();
}

static void kick_acknowledge(void *unused)
{
}

/* Must the CPU that @vcpu is loaded on hear of a request?  Waiters also wait for those that another has kicked. */
static bool needs_ipi(struct lodge_vcpu *vcpu, bool wait)
{
	u8 mode = cmpxchg(&vcpu->mode, LODGE_IN_GUEST, LODGE_EXITING);

	return wait ? mode != LODGE_OUTSIDE_GUEST : mode == LODGE_IN_GUEST;
}

void lodge_request_all(struct lodge_vm *vm, int req, bool wait)
{
	struct lodge_vcpu *vcpu;
	struct cpumask *mask;
	unsigned int i;
	int me, cpu;

	me = get_cpu();
	mask = this_cpu_cpumask_var_ptr(kick_mask);
	cpumask_clear(mask);
	lodge_for_each_vcpu(i, vcpu, vm) {
		lodge_request(vcpu, req);
		/* Who sleeps has no translations in use. */
		if (req != LODGE_REQ_TLB_FLUSH && lodge_vcpu_wake(vcpu))
			continue;
		if (!needs_ipi(vcpu, wait))
			continue;
		cpu = READ_ONCE(vcpu->cpu);
		if (cpu >= 0 && cpu != me)
			__cpumask_set_cpu(cpu, mask);
	}
	if (cpumask_empty(mask))
		goto out;
	if (wait) {
		smp_call_function_many(mask, kick_acknowledge, NULL, true);
		goto out;
	}
	for_each_cpu_and(cpu, mask, cpu_online_mask)
		smp_send_reschedule(cpu);
out:
	put_cpu();
}

/* ---- halts ---- */

/* A reason not to sleep: 1 to run, -EINTR. */
static int block_check(struct lodge_vcpu *vcpu)
{
	if (lodge_arch_vcpu_runnable(vcpu))
		return 1;
	if (lodge_request_take(vcpu, LODGE_REQ_UNBLOCK) || test_bit(LODGE_REQ_VM_DEAD, &vcpu->requests))
		return 1;
	return signal_pending(current) ? -EINTR : 0;
}

static u64 halt_poll_max(struct lodge_vcpu *vcpu)
{
	u32 vm = READ_ONCE(vcpu->vm->max_halt_poll_ns);

	if (vcpu->no_halt_poll)
		return 0;
	return vm == U32_MAX ? READ_ONCE(lodge_halt_poll_ns) : vm;
}

/* Poll for vcpu->halt_poll_ns from @start; the answer of block_check. */
static int block_poll(struct lodge_vcpu *vcpu, ktime_t start)
{
	ktime_t stop = ktime_add_ns(start, vcpu->halt_poll_ns), now;
	int ret;

	vcpu->stats.halt_attempted_poll++;
	do {
		ret = block_check(vcpu);
		if (ret) {
			vcpu->stats.halt_successful_poll++;
			vcpu->stats.halt_poll_success_ns += ktime_to_ns(ktime_sub(ktime_get(), start));
			return ret;
		}
		cpu_relax();
		now = ktime_get();
	} while (ktime_before(now, stop) && single_task_running() && !need_resched());
	vcpu->stats.halt_poll_fail_ns += ktime_to_ns(ktime_sub(now, start));
	return 0;
}

static int block_sleep(struct lodge_vcpu *vcpu, ktime_t from)
{
	int ret;

	prepare_to_rcuwait(&vcpu->wait);
	for (;;) {
		set_current_state(TASK_INTERRUPTIBLE);
		ret = block_check(vcpu);
		if (ret)
			break;
		schedule();
	}
	finish_rcuwait(&vcpu->wait);
	vcpu->stats.halt_wait_ns += ktime_to_ns(ktime_sub(ktime_get(), from));
	return ret;
}

/* A halt that was a little too long for the polling makes it longer, one far too long makes it stop. */
static void halt_poll_adapt(struct lodge_vcpu *vcpu, u64 ns)
{
	u64 max = halt_poll_max(vcpu), old = vcpu->halt_poll_ns, new = old;

	if (ns > max)
		new = 0;
	else if (ns > old)
		new = old ? old * 2 : HALT_POLL_START;
	new = min(new, max);
	if (new == old)
		return;
	vcpu->halt_poll_ns = new;
	trace_lodge_halt_poll(vcpu->id, new > old, new, old);
}

int lodge_vcpu_block(struct lodge_vcpu *vcpu)
	__must_hold(&vcpu->vm->srcu)
{
	struct lodge_vm *vm = vcpu->vm;
	ktime_t start, polled;
	bool slept = false;
	u64 ns;
	int ret;

	ret = block_check(vcpu);
	if (ret)
		return min(ret, 0);

	srcu_read_unlock(&vm->srcu, vcpu->srcu_idx);
	WRITE_ONCE(vcpu->blocking, true);
	start = ktime_get();
	polled = start;
	if (vcpu->halt_poll_ns && !vcpu->no_halt_poll) {
		ret = block_poll(vcpu, start);
		polled = ktime_get();
	}
	if (!ret) {
		slept = true;
		ret = block_sleep(vcpu, polled);
		if (ret > 0)
			vcpu->stats.halt_wakeup++;
	}
	ns = ktime_to_ns(ktime_sub(ktime_get(), start));
	WRITE_ONCE(vcpu->blocking, false);
	vcpu->srcu_idx = srcu_read_lock(&vm->srcu);

	halt_poll_adapt(vcpu, ns);
	trace_lodge_vcpu_wakeup(vcpu->id, ns, slept);
	return min(ret, 0);
}

/* ---- KVM_RUN ---- */

/* Remember who runs it. */
static void vcpu_note_thread(struct lodge_vcpu *vcpu)
{
	struct pid *old = rcu_dereference_protected(vcpu->pid, lockdep_is_held(&vcpu->mutex));

	if (likely(old == task_pid(current)))
		return;
	rcu_assign_pointer(vcpu->pid, get_task_pid(current, PIDTYPE_PID));
	if (old)
		synchronize_rcu();
	put_pid(old);
}

/*
 * The mask of KVM_SET_SIGNAL_MASK, while KVM_RUN lasts.  The thread's own one goes to real_blocked, where the sender of a signal
 * looks: one whose action is to end the process must only stay pending if that mask blocks it.
 */
static void vcpu_sigset_begin(struct lodge_vcpu *vcpu)
{
	sigprocmask(SIG_SETMASK, &vcpu->sigset, &current->real_blocked);
}

static void vcpu_sigset_end(void)
{
	sigprocmask(SIG_SETMASK, &current->real_blocked, NULL);
	sigemptyset(&current->real_blocked);
}

static long vcpu_run(struct lodge_vcpu *vcpu)
{
	struct lodge_vm *vm = vcpu->vm;
	long ret;

	vcpu_note_thread(vcpu);
	lodge_vcpu_load(vcpu);
	if (unlikely(vcpu->sigset_active))
		vcpu_sigset_begin(vcpu);
	vcpu->srcu_idx = srcu_read_lock(&vm->srcu);

	ret = likely(vcpu->loaded) ? lodge_arch_vcpu_run(vcpu) : -EIO;

	srcu_read_unlock(&vm->srcu, vcpu->srcu_idx);
	if (unlikely(vcpu->sigset_active))
		vcpu_sigset_end();
	lodge_vcpu_put(vcpu);
	trace_lodge_userspace_exit(vcpu->id, vcpu->run->exit_reason, ret);
	return ret;
}

/* ---- ioctls ---- */

static long vcpu_set_signal_mask(void *obj, void *arg)
{
	struct kvm_signal_mask __user *user = (void __user *)arg;
	struct lodge_vcpu *vcpu = obj;
	struct kvm_signal_mask head;
	sigset_t set;

	if (!user) {
		vcpu->sigset_active = false;
		return 0;
	}
	if (copy_from_user(&head, user, sizeof(head)))
		return -EFAULT;
	/* x86's 32-bit signal sets have the same bytes. */
	if (head.len != sizeof(set))
		return -EINVAL;
	if (copy_from_user(&set, user->sigset, sizeof(set)))
		return -EFAULT;
	sigdelsetmask(&set, sigmask(SIGKILL) | sigmask(SIGSTOP));
	vcpu->sigset = set;
	vcpu->sigset_active = true;
	return 0;
}

static long vcpu_get_stats_fd(void *obj, void *arg)
{
	return lodge_stats_vcpu_fd(obj);
}

static long vcpu_enable_cap(void *obj, void *arg)
{
	return lodge_arch_vcpu_enable_cap(obj, arg);
}

static const struct lodge_ioctl vcpu_ioctls[] = {
	{ KVM_SET_SIGNAL_MASK,	LODGE_IOCTL_RAW,				vcpu_set_signal_mask },
	{ KVM_GET_STATS_FD,	LODGE_IOCTL_RAW | LODGE_IOCTL_UNLOCKED,		vcpu_get_stats_fd },
	{ KVM_ENABLE_CAP,	0,						vcpu_enable_cap },
};

/* A row other than KVM_RUN. */
static long vcpu_call(struct lodge_vcpu *vcpu, unsigned int cmd, unsigned long arg)
{
	const struct lodge_ioctl *row;
	long ret;

	row = lodge_ioctl_find(lodge_arch_vcpu_ioctls, lodge_arch_nr_vcpu_ioctls, cmd);
	if (!row)
		row = lodge_ioctl_find(vcpu_ioctls, ARRAY_SIZE(vcpu_ioctls), cmd);
	if (!row)
		return -EINVAL;
	if (row->flags & LODGE_IOCTL_UNLOCKED)
		return lodge_ioctl_call(row, vcpu, arg);

	if (mutex_lock_killable(&vcpu->mutex))
		return -EINTR;
	lodge_vcpu_load(vcpu);
	vcpu->srcu_idx = srcu_read_lock(&vcpu->vm->srcu);
	ret = likely(vcpu->loaded) ? lodge_ioctl_call(row, vcpu, arg) : -EIO;
	srcu_read_unlock(&vcpu->vm->srcu, vcpu->srcu_idx);
	lodge_vcpu_put(vcpu);
	mutex_unlock(&vcpu->mutex);
	return ret;
}

static long vcpu_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct lodge_vcpu *vcpu = file->private_data;
	long ret;

	if (unlikely(vcpu->vm->mm != current->mm || lodge_vm_dead(vcpu->vm)))
		return -EIO;
	if (unlikely(cmd != KVM_RUN))
		return _IOC_TYPE(cmd) == KVMIO ? vcpu_call(vcpu, cmd, arg) : -EINVAL;
	if (unlikely(arg))
		return -EINVAL;
	if (mutex_lock_killable(&vcpu->mutex))
		return -EINTR;
	ret = vcpu_run(vcpu);
	mutex_unlock(&vcpu->mutex);
	return ret;
}

/* ---- the mapping: run page, PIO page, coalesced ring, dirty ring ---- */

static vm_fault_t vcpu_fault(struct vm_fault *vmf)
{
	struct lodge_vcpu *vcpu = vmf->vma->vm_file->private_data;
	void *page;

	switch (vmf->pgoff) {
	case 0:
		page = vcpu->run;
		break;
	case LODGE_PIO_PAGE:
		page = vcpu->pio_data;
		break;
	case LODGE_COALESCED_PAGE:
		page = vcpu->vm->coalesced_ring;
		break;
	default:
		vmf->page = lodge_dirty_ring_page(vcpu, vmf->pgoff);
		if (!vmf->page)
			return VM_FAULT_SIGBUS;
		get_page(vmf->page);
		return 0;
	}
	vmf->page = virt_to_page(page);
	get_page(vmf->page);
	return 0;
}

static const struct vm_operations_struct vcpu_vm_ops = {
	.fault = vcpu_fault,
};

/* The ring is a conversation: a private copy of it, or one to be executed, is a mistake. */
static int vcpu_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct lodge_vcpu *vcpu = file->private_data;
	unsigned long last = vma->vm_pgoff + vma_pages(vma) - 1;

	if ((lodge_dirty_ring_page(vcpu, vma->vm_pgoff) || lodge_dirty_ring_page(vcpu, last)) &&
	    ((vma->vm_flags & VM_EXEC) || !(vma->vm_flags & VM_SHARED)))
		return -EINVAL;
	vma->vm_ops = &vcpu_vm_ops;
	return 0;
}

static int vcpu_release(struct inode *inode, struct file *file)
{
	struct lodge_vcpu *vcpu = file->private_data;

	lodge_vm_put(vcpu->vm);
	return 0;
}

static const struct file_operations vcpu_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = vcpu_ioctl,
	.compat_ioctl = vcpu_ioctl,
	.mmap = vcpu_mmap,
	.release = vcpu_release,
	.llseek = noop_llseek,
};

/* ---- life ---- */

/* Accepts half-built ones; nobody can reach it. */
static void vcpu_destroy(struct lodge_vcpu *vcpu)
{
	lodge_arch_vcpu_destroy(vcpu);
	lodge_dirty_ring_free(vcpu);
	put_pid(rcu_dereference_protected(vcpu->pid, true));
	free_page((unsigned long)vcpu->pio_data);
	free_page((unsigned long)vcpu->run);
	mutex_destroy(&vcpu->mutex);
	lodge_arch_vcpu_free(vcpu);
}

static struct lodge_vcpu *vcpu_create(struct lodge_vm *vm, u32 id)
{
	struct lodge_vcpu *vcpu = lodge_arch_vcpu_alloc();
	int ret = -ENOMEM;

	if (!vcpu)
		return ERR_PTR(-ENOMEM);
	vcpu->vm = vm;
	vcpu->id = id;
	vcpu->cpu = -1;
	mutex_init(&vcpu->mutex);
	rcuwait_init(&vcpu->wait);
	preempt_notifier_init(&vcpu->preempt_notifier, &vcpu_preempt_ops);
	vcpu->run = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	vcpu->pio_data = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (vcpu->run && vcpu->pio_data)
		ret = lodge_dirty_ring_alloc(vcpu);
	if (!ret)
		ret = lodge_arch_vcpu_init(vcpu);
	if (ret) {
		vcpu_destroy(vcpu);
		return ERR_PTR(ret);
	}
	return vcpu;
}

/*
 * Give it its place in the VM, and a file that refers to it: made last, because nothing can take it back (its release would run
 * after we have freed what it refers to).  [L]
 */
static struct file *vcpu_publish(struct lodge_vm *vm, struct lodge_vcpu *vcpu)
{
	struct file *file;
	char name[32];
	int ret;

	lockdep_assert_held(&vm->lock);
	if (lodge_vm_vcpu_by_id(vm, vcpu->id))
		return ERR_PTR(-EEXIST);
	vcpu->index = vm->nr_vcpus;
	ret = xa_reserve(&vm->vcpus, vcpu->index, GFP_KERNEL_ACCOUNT);
	if (ret)
		return ERR_PTR(ret);
	snprintf(name, sizeof(name), "lodge-vcpu:%u", vcpu->id);
	file = anon_inode_getfile(name, &vcpu_fops, vcpu, O_RDWR);
	if (IS_ERR(file)) {
		xa_release(&vm->vcpus, vcpu->index);
		return file;
	}
	lodge_vm_get(vm);
	xa_store(&vm->vcpus, vcpu->index, vcpu, 0);
	/* Who sees the number sees the vCPU. */
	smp_store_release(&vm->nr_vcpus, vm->nr_vcpus + 1);
	return file;
}

/* Count one more, or refuse. */
static int vcpu_reserve(struct lodge_vm *vm, u32 id)
{
	int ret = -EINVAL;

	mutex_lock(&vm->lock);
	if (id < (vm->max_vcpu_id ? vm->max_vcpu_id : LODGE_MAX_VCPU_ID) && vm->created_vcpus < LODGE_MAX_VCPUS)
		ret = lodge_arch_vcpu_precreate(vm, id);
	if (!ret)
		vm->created_vcpus++;
	mutex_unlock(&vm->lock);
	return ret;
}

int lodge_vcpu_create_fd(struct lodge_vm *vm, u32 id)
{
	struct lodge_vcpu *vcpu;
	struct file *file;
	int fd, ret;

	ret = vcpu_reserve(vm, id);
	if (ret)
		return ret;
	vcpu = vcpu_create(vm, id);
	if (IS_ERR(vcpu)) {
		ret = PTR_ERR(vcpu);
		goto unreserve;
	}
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0) {
		ret = fd;
		goto destroy;
	}
	mutex_lock(&vm->lock);
	file = vcpu_publish(vm, vcpu);
	mutex_unlock(&vm->lock);
	if (IS_ERR(file)) {
		ret = PTR_ERR(file);
		put_unused_fd(fd);
		goto destroy;
	}
	lodge_arch_vcpu_postcreate(vcpu);
	lodge_stats_vcpu_debugfs(vcpu);
	fd_install(fd, file);
	return fd;

destroy:
	vcpu_destroy(vcpu);
unreserve:
	mutex_lock(&vm->lock);
	vm->created_vcpus--;
	mutex_unlock(&vm->lock);
	return ret;
}

void lodge_vcpus_destroy(struct lodge_vm *vm)
{
	struct lodge_vcpu *vcpu;
	unsigned long i;

	xa_for_each(&vm->vcpus, i, vcpu) {
		xa_erase(&vm->vcpus, i);
		vcpu_destroy(vcpu);
		cond_resched();
	}
	vm->nr_vcpus = 0;
	xa_destroy(&vm->vcpus);
}

/* ---- module ---- */

void lodge_vcpu_exit_module(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		free_cpumask_var(per_cpu(kick_mask, cpu));
}

int lodge_vcpu_init_module(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		if (!zalloc_cpumask_var_node(&per_cpu(kick_mask, cpu), GFP_KERNEL, cpu_to_node(cpu))) {
			lodge_vcpu_exit_module();
			return -ENOMEM;
		}
	}
	return 0;
}
