/* SPDX-License-Identifier: GPL-2.0-only */
/* What paging asks of the VM code above it (x86/vm.c defines this). */
#ifndef LODGE_X86_MMU_UP_H
#define LODGE_X86_MMU_UP_H

struct lodge_vm;
struct stage2;

struct stage2 *vm_stage2(struct lodge_vm *vm);

#endif
