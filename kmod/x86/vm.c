// SPDX-License-Identifier: GPL-2.0-only
/*
 * The life of an x86 VM, and the ioctls that set its few fixed properties.
 */
#include <linux/slab.h>

#include "core/arch.h"
#include "core/vm.h"
#include "x86/irqchip/irqchip.h"
#include "x86/mmu/up.h"
#include "x86/msr.h"
#include "x86/time.h"
#include "x86/vcpu.h"
#include "x86/vm.h"

#define MMU_PAGES_MIN	64	/* the least that KVM_SET_NR_MMU_PAGES takes */

struct lodge_vm *lodge_arch_vm_alloc(void)
{
	struct x86_vm *vm;

	BUILD_BUG_ON(offsetof(struct x86_vm, core) != 0);
	vm = kzalloc(x86_ops->vm_size, GFP_KERNEL_ACCOUNT);
	return vm ? &vm->core : NULL;
}

void lodge_arch_vm_free(struct lodge_vm *vm)
{
	kfree(to_x86_vm(vm));
}

int lodge_arch_vm_init(struct lodge_vm *core, unsigned long type)
{
	struct x86_vm *vm = to_x86_vm(core);
	int r;

	if (type)
		return -EINVAL;
	vm->identity_addr = 0xfffbc000;
	r = stage2_init(&vm->stage2, core, x86_ops->stage2);
	if (r)
		return r;
	r = irqchip_init(core);
	if (r)
		return r;
	r = time_init_vm(vm);
	if (r)
		return r;
	return x86_ops->vm_init(vm);
}

void lodge_arch_vm_stop(struct lodge_vm *core)
{
	irqchip_destroy(core);
}

void lodge_arch_vm_destroy(struct lodge_vm *core)
{
	struct x86_vm *vm = to_x86_vm(core);

	x86_ops->vm_destroy(vm);
	msr_filter_destroy(vm);
	time_destroy_vm(vm);
	irqchip_free(core);
	stage2_destroy(&vm->stage2);
}

void lodge_arch_noncoherent_dma(struct lodge_vm *vm, bool on)
{
	WRITE_ONCE(to_x86_vm(vm)->noncoherent_dma, on);
}

/* ---- ioctls ---- */

struct stage2 *vm_stage2(struct lodge_vm *vm)
{
	return &to_x86_vm(vm)->stage2;
}

/* A bound on shadow page tables: there are none, and only the number is kept. */
long vm_ioctl_set_nr_mmu_pages(void *obj, void *arg)
{
	unsigned long n = (unsigned long)arg;

	if (n < MMU_PAGES_MIN || n > UINT_MAX)
		return -EINVAL;
	to_x86_vm(obj)->nr_mmu_pages = n;
	return 0;
}

long vm_ioctl_get_nr_mmu_pages(void *obj, void *arg)
{
	return min_t(u32, to_x86_vm(obj)->nr_mmu_pages, INT_MAX);
}

/* VT-x without unrestricted guest wants three pages for a TSS; we ask for the real thing and only keep the number. */
long vm_ioctl_set_tss_addr(void *obj, void *arg)
{
	struct x86_vm *vm = to_x86_vm(obj);
	unsigned long addr = (unsigned long)arg;

	if (addr > (u32)(-3 * PAGE_SIZE))
		return -EINVAL;
	vm->tss_addr = addr;
	return 0;
}

long vm_ioctl_set_identity_map_addr(void *obj, void *arg)
{
	struct x86_vm *vm = to_x86_vm(obj);
	u64 addr = *(u64 *)arg;

	if (vm->core.created_vcpus)
		return -EINVAL;
	vm->identity_addr = addr ?: 0xfffbc000;
	return 0;
}

long vm_ioctl_set_boot_cpu_id(void *obj, void *arg)
{
	struct x86_vm *vm = to_x86_vm(obj);

	if (vm->core.created_vcpus)
		return -EBUSY;
	vm->bsp_id = (unsigned long)arg;
	return 0;
}
