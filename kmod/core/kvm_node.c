// SPDX-License-Identifier: GPL-2.0-only
/*
 * The node /dev/kvm, when the stock module does not have it.
 *
 * Programs and policies with a fixed path (libvirt's lists of devices, AppArmor rules, clients without an option) know /dev/kvm
 * alone.  With kvm_node=1 the door of /dev/lodge gets that second name, with the number that the stock module's node has.  The
 * number belongs to whoever registers it first; neither can take it from the other.
 *
 * The number alone would not do.  kvm_init() of Linux 6.1 registers it as its last step, and when that fails it leaves its
 * system core operations in the kernel's list: kvm.ko then cannot be unloaded without leaving a stale pointer there, and the next
 * attempt to load kvm_amd is an oops (list_add double add), with any module that holds the number.  Its second step takes KVM's
 * CPU hotplug state, and a failure there is undone in full.  So we take that state as well, with no callbacks in it (our own are
 * in usage.c): it is the lock on the door, and whoever comes second is turned away before it has done anything.  kvm_amd then
 * fails to load with EBUSY, as often as one likes, and can load once we are gone.
 *
 * The state is taken before the number and given back after it, so that no stock module gets in between.
 */
#include <linux/kernel.h>
#include <linux/miscdevice.h>

#include "compat/kvm_state.h"
#include "core/kvm_node.h"

static struct miscdevice kvm_node = {
	.minor = KVM_MINOR,
	.name = "kvm",
	.nodename = "kvm",
	.mode = 0660,
};

int lodge_kvm_node_init(const struct file_operations *fops)
{
	int ret;

	ret = cpuhp_setup_state_nocalls(COMPAT_KVM_STATE, "lodge:kvm_node", NULL, NULL);
	if (!ret) {
		kvm_node.fops = fops;
		ret = misc_register(&kvm_node);
		if (ret)
			cpuhp_remove_state_nocalls(COMPAT_KVM_STATE);
	}
	if (ret == -EBUSY)
		pr_err("lodge: kvm_node=1, but the stock KVM module has /dev/kvm: modprobe -r kvm_amd kvm_intel kvm, and keep them from loading in modprobe.d\n");
	else if (ret)
		pr_err("lodge: kvm_node=1, but /dev/kvm cannot be registered: error %d\n", ret);
	return ret;
}

void lodge_kvm_node_exit(void)
{
	misc_deregister(&kvm_node);
	cpuhp_remove_state_nocalls(COMPAT_KVM_STATE);
}
