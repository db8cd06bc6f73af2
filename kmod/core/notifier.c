// SPDX-License-Identifier: GPL-2.0-only
/*
 * The MMU notifier: forwards changes of the host's page tables to stage 2.
 *
 * Between begin and end of a range stage 2 must not install translations of it; x86/mmu keeps the count of open ranges.  The
 * callbacks may come from any thread of the host (reclaim, KSM, NUMA balancing), so they touch nothing but stage 2.
 */
#include <linux/mmu_notifier.h>

#include "core/arch.h"
#include "core/notifier.h"
#include "core/trace.h"

static struct lodge_vm *notifier_vm(struct mmu_notifier *mn)
{
	return container_of(mn, struct lodge_vm, mmu_notifier);
}

static int notifier_begin(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct lodge_vm *vm = notifier_vm(mn);

	trace_lodge_invalidate(range->start, range->end, true);
	vm->stats.mmu_notifier_invalidate++;
	lodge_arch_invalidate_begin(vm, range->start, range->end, mmu_notifier_range_blockable(range));
	return 0;
}

static void notifier_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	lodge_arch_invalidate_end(notifier_vm(mn), range->start, range->end);
	trace_lodge_invalidate(range->start, range->end, false);
}

static int notifier_clear_flush_young(struct mmu_notifier *mn, struct mm_struct *mm, unsigned long start, unsigned long end)
{
	return lodge_arch_age(notifier_vm(mn), start, end, true);
}

static int notifier_clear_young(struct mmu_notifier *mn, struct mm_struct *mm, unsigned long start, unsigned long end)
{
	return lodge_arch_age(notifier_vm(mn), start, end, true);
}

static int notifier_test_young(struct mmu_notifier *mn, struct mm_struct *mm, unsigned long addr)
{
	return lodge_arch_age(notifier_vm(mn), addr, addr + PAGE_SIZE, false);
}

/* The mm goes away, or we unregister: nothing of it may stay mapped. */
static void notifier_release(struct mmu_notifier *mn, struct mm_struct *mm)
{
	lodge_arch_flush_all(notifier_vm(mn));
}

static const struct mmu_notifier_ops notifier_ops = {
	.invalidate_range_start	= notifier_begin,
	.invalidate_range_end	= notifier_end,
	.clear_flush_young	= notifier_clear_flush_young,
	.clear_young		= notifier_clear_young,
	.test_young		= notifier_test_young,
	.release		= notifier_release,
};

int lodge_notifier_register(struct lodge_vm *vm)
{
	int ret;

	vm->mmu_notifier.ops = &notifier_ops;
	ret = mmu_notifier_register(&vm->mmu_notifier, vm->mm);
	if (ret)
		vm->mmu_notifier.ops = NULL;
	return ret;
}

void lodge_notifier_unregister(struct lodge_vm *vm)
{
	if (!vm->mmu_notifier.ops)
		return;
	mmu_notifier_unregister(&vm->mmu_notifier, vm->mm);
	vm->mmu_notifier.ops = NULL;
}
