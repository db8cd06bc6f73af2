// SPDX-License-Identifier: GPL-2.0-only
/*
 * The module: its parameters, and the ladder up and down.
 */
#include <linux/miscdevice.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/rcupdate.h>

#include "core/arch.h"
#include "core/dev.h"
#include "core/irqfd.h"
#include "core/stats.h"
#include "core/usage.h"
#include "core/vcpu.h"
#include "mem/guest_file.h"

#define LODGE_MINOR	246	/* of the range that the kernel leaves to local use */

static int minor = LODGE_MINOR;
module_param(minor, int, 0444);
MODULE_PARM_DESC(minor, "Minor number of /dev/lodge among the misc devices, 243 to 254; 255: any, without loading on open (246)");

static bool kvm_node;
module_param(kvm_node, bool, 0444);
MODULE_PARM_DESC(kvm_node, "Also be /dev/kvm, for programs that know no other node; the stock KVM module must not be loaded (N)");

module_param_named(halt_poll_ns, lodge_halt_poll_ns, uint, 0644);
MODULE_PARM_DESC(halt_poll_ns, "Longest time in ns to poll before a halted vCPU sleeps, 0: never (200000)");

static int __init lodge_init(void)
{
	int ret;

	if (minor < 243 || minor > MISC_DYNAMIC_MINOR) {
		pr_err("lodge: minor=%d is not in 243 to 255\n", minor);
		return -EINVAL;
	}
	ret = lodge_arch_init();
	if (ret)
		return ret;
	ret = lodge_vcpu_init_module();
	if (ret)
		goto arch;
	ret = lodge_irqfd_init_module();
	if (ret)
		goto vcpu;
	ret = lodge_usage_init();
	if (ret)
		goto irqfd;
	lodge_stats_init();
	ret = guest_file_init();
	if (ret)
		goto stats;
	ret = lodge_dev_init(minor, kvm_node);
	if (ret)
		goto mem;
	return 0;

mem:
	guest_file_exit();
stats:
	lodge_stats_exit();
	lodge_usage_exit();
irqfd:
	lodge_irqfd_exit_module();
vcpu:
	lodge_vcpu_exit_module();
arch:
	lodge_arch_exit();
	return ret;
}

static void __exit lodge_exit(void)
{
	lodge_dev_exit();
	guest_file_exit();
	lodge_stats_exit();
	lodge_usage_exit();
	lodge_irqfd_exit_module();
	lodge_vcpu_exit_module();
	lodge_arch_exit();
	/* Nothing of ours may be called back any more. */
	mmu_notifier_synchronize();
	rcu_barrier();
}

module_init(lodge_init);
module_exit(lodge_exit);

MODULE_AUTHOR("The Lodge authors");
MODULE_DESCRIPTION("Lodge: a hypervisor that speaks the KVM ABI on /dev/lodge");
MODULE_VERSION("0.1.0");
MODULE_LICENSE("GPL");
MODULE_ALIAS("devname:lodge");
MODULE_ALIAS_MISCDEV(LODGE_MINOR);
