/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Device memory: the quick way for a plain MOV.
 */
#ifndef LODGE_X86_MMIO_H
#define LODGE_X86_MMIO_H

#include <linux/types.h>

struct x86_vcpu;

/*
 * The guest accessed @gpa, where there is no memory.  If the instruction at RIP is a plain MOV between a register or an
 * immediate and that address, do it: 1 = go on, 0 = user-space exit; -1: it is something else, for the emulator.
 */
int mmio_quick(struct x86_vcpu *vcpu, u64 gpa, bool write);

#endif
