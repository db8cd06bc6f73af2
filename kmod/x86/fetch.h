/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guest's virtual addresses seen from here, and the bytes at its RIP.
 */
#ifndef LODGE_X86_FETCH_H
#define LODGE_X86_FETCH_H

#include <linux/types.h>

#include "x86/mmu/gwalk.h"

struct x86_vcpu;

/*
 * Translate @gva as gwalk() does, with the vCPU's registers: 0, 1 = page fault (res->error_code), -errno.
 * vm->srcu held, may sleep.
 */
int guest_translate(struct x86_vcpu *vcpu, u64 gva, unsigned int flags, struct gwalk_result *res);

/* The linear address of RIP. */
u64 fetch_linear_rip(struct x86_vcpu *vcpu);

/*
 * Up to 16 bytes at @linear that lie in its page, for an instruction that the CPU has just fetched from there; their number,
 * or 0 when the quick way fails.  Any context of the vCPU's thread.
 */
int fetch_quick(struct x86_vcpu *vcpu, u64 linear, u8 buf[16]);

/* Do the @len (at most 4) bytes at RIP equal @bytes (low byte first)?  False also when they cannot be told. */
bool fetch_matches(struct x86_vcpu *vcpu, u32 bytes, int len);

#endif
