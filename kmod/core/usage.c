// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who has the CPUs' virtualization.
 *
 * It is switched on, on every online CPU, for the first VM, and off after the last: an idle module leaves the CPUs to others.
 * If a CPU refuses (another hypervisor has it), those that did not are switched off again and the VM is not made.
 *
 * CPU hotplug.  A CPU that comes joins before tasks may run on it; one that refuses stays offline.  One that goes is switched
 * off when the scheduler has already stopped to put tasks there.  A vCPU thread that is still on its run queue is pushed away the
 * moment it is picked; should the preempt notifier see it there, core/vcpu.c finds lodge_cpu_enabled false and does not load.
 *
 * Suspend.  All CPUs but one go and come by hotplug; the last one by syscore_ops, with user space frozen.
 *
 * Reboot and kexec.  The reboot notifier first makes every VM dead and waits until no vCPU is loaded, then switches off; so no
 * CPU executes a virtualization instruction afterwards.  On a crash the kernel itself clears EFER.SVME.
 */
#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/reboot.h>
#include <linux/smp.h>
#include <linux/syscore_ops.h>

#include "core/arch.h"
#include "core/usage.h"
#include "core/vm.h"

DEFINE_PER_CPU(bool, lodge_cpu_enabled);
bool lodge_usage_stopped __read_mostly;

static DEFINE_MUTEX(usage_lock);
static unsigned int usage_count;	/* usage_lock; to and from 0 also with the hotplug lock held for reading */
static int hotplug_state;

/* On the CPU, preemption off. */
static int cpu_enable(void)
{
	int ret;

	if (__this_cpu_read(lodge_cpu_enabled))
		return 0;
	ret = lodge_arch_hw_enable();
	if (!ret)
		__this_cpu_write(lodge_cpu_enabled, true);
	return ret;
}

static void cpu_disable(void *unused)
{
	if (!__this_cpu_read(lodge_cpu_enabled))
		return;
	__this_cpu_write(lodge_cpu_enabled, false);
	lodge_arch_hw_disable();
}

static void cpu_enable_report(void *error)
{
	int ret = cpu_enable();

	if (ret)
		cmpxchg((int *)error, 0, ret);
}

static int enable_all(void)
{
	int error = 0;

	on_each_cpu(cpu_enable_report, &error, 1);
	if (error)
		on_each_cpu(cpu_disable, NULL, 1);
	return error;
}

int lodge_usage_get(void)
{
	int ret = 0;

	mutex_lock(&usage_lock);
	if (lodge_usage_stopped) {
		ret = -ESHUTDOWN;
	} else if (usage_count) {
		usage_count++;
	} else {
		cpus_read_lock();
		ret = enable_all();
		usage_count = !ret;
		cpus_read_unlock();
	}
	mutex_unlock(&usage_lock);

	if (ret == -EBUSY)
		pr_warn_ratelimited("lodge: another hypervisor uses this CPU's virtualization; end its guests or unload kvm_amd/kvm_intel\n");
	return ret;
}

void lodge_usage_put(void)
{
	mutex_lock(&usage_lock);
	if (usage_count == 1) {
		cpus_read_lock();
		usage_count = 0;
		on_each_cpu(cpu_disable, NULL, 1);
		cpus_read_unlock();
	} else {
		usage_count--;
	}
	mutex_unlock(&usage_lock);
}

/* ---- CPUs come and go; the hotplug lock is held for writing, so usage_count does not change ---- */

static int cpu_comes(unsigned int cpu)
{
	int ret = 0;

	if (!READ_ONCE(usage_count) || lodge_usage_stopped)
		return 0;
	preempt_disable();
	ret = cpu_enable();
	preempt_enable();
	if (ret)
		pr_warn("lodge: CPU %u cannot be taken for guests (error %d): it stays offline\n", cpu, ret);
	return ret;
}

static int cpu_goes(unsigned int cpu)
{
	preempt_disable();
	cpu_disable(NULL);
	preempt_enable();
	return 0;
}

static int usage_suspend(void)
{
	cpu_disable(NULL);
	return 0;
}

static void usage_resume(void)
{
	if (!usage_count || lodge_usage_stopped)
		return;
	if (cpu_enable()) {
		pr_err("lodge: virtualization is not there after resume: all guests are lost\n");
		WRITE_ONCE(lodge_usage_stopped, true);
	}
}

static struct syscore_ops usage_syscore_ops = {
	.suspend = usage_suspend,
	.resume = usage_resume,
};

static int usage_reboot(struct notifier_block *nb, unsigned long action, void *data)
{
	WRITE_ONCE(lodge_usage_stopped, true);
	lodge_vms_stop();
	on_each_cpu(cpu_disable, NULL, 1);
	return NOTIFY_OK;
}

static struct notifier_block usage_reboot_nb = {
	.notifier_call = usage_reboot,
};

int lodge_usage_init(void)
{
	int ret;

	ret = cpuhp_setup_state_nocalls(CPUHP_AP_ONLINE_DYN, "lodge:online", cpu_comes, cpu_goes);
	if (ret < 0)
		return ret;
	hotplug_state = ret;
	ret = register_reboot_notifier(&usage_reboot_nb);
	if (ret) {
		cpuhp_remove_state_nocalls(hotplug_state);
		return ret;
	}
	register_syscore_ops(&usage_syscore_ops);
	/* For as long as we are loaded: it patches the scheduler's code, which is too slow for the start of a VM. */
	preempt_notifier_inc();
	return 0;
}

void lodge_usage_exit(void)
{
	preempt_notifier_dec();
	unregister_syscore_ops(&usage_syscore_ops);
	unregister_reboot_notifier(&usage_reboot_nb);
	cpuhp_remove_state_nocalls(hotplug_state);
}
