/* SPDX-License-Identifier: GPL-2.0-only */
/* What paging asks of the VM and vCPU code above it (x86/vm.c, x86/apf.c). */
#ifndef LODGE_X86_MMU_UP_H
#define LODGE_X86_MMU_UP_H

#include "core/addr.h"

struct lodge_vcpu;
struct lodge_vm;
struct stage2;

struct stage2 *vm_stage2(struct lodge_vm *vm);

/* May @vcpu be given something else to do while a page is brought in?  On its thread, vm->srcu held. */
bool vcpu_may_fault_async(struct lodge_vcpu *vcpu);
/* The page behind @hva has to be waited for: false if here and now, true if @vcpu shall go on without it. */
bool vcpu_fault_async(struct lodge_vcpu *vcpu, hva_t hva, bool write);

#endif
