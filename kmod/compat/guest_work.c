// SPDX-License-Identifier: GPL-2.0-only
/*
 * Work before entering a guest, through the kernel's own function.
 *
 * xfer_to_guest_mode_handle_work() notes a signal in the struct kvm_vcpu that it is given (exit reason and a counter).  We have
 * none, so that it gets one that stands for all of ours: what it writes there is never read, and two CPUs may write at once.
 */
#include <linux/entry-kvm.h>
#include <linux/kvm_host.h>

#include "compat/guest_work.h"

static struct kvm_run guest_work_run;
static struct kvm_vcpu guest_work_vcpu = { .run = &guest_work_run };

int guest_work(void)
{
	return xfer_to_guest_mode_handle_work(&guest_work_vcpu);
}
