/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The VMX instructions: SDM 3C chapter 31.
 *
 * Reads are unchecked: only fields that this CPU has are read, of the VMCS that is current.  Writes and the rest say when the
 * CPU refuses, once, for that is a mistake of ours; the entry that follows fails and is reported.
 */
#ifndef LODGE_VMX_INSN_H
#define LODGE_VMX_INSN_H

#include <linux/bug.h>
#include <linux/errno.h>
#include <linux/types.h>
#include <asm/asm.h>

static __always_inline u64 vmcs_read(unsigned long field)
{
	u64 val;

	asm volatile("vmread %1, %0" : "=rm" (val) : "r" (field) : "cc");
	return val;
}

static __always_inline void vmcs_write(unsigned long field, u64 val)
{
	asm goto("vmwrite %1, %0\n\t"
		 "jna %l[refused]"
		 : : "r" (field), "rm" (val) : "cc", "memory" : refused);
	return;
refused:
	WARN_ONCE(1, "lodge: VMWRITE of field %lx refused\n", field);
}

/* 0 or -EIO: VMfail, or #UD, #GP where the firmware or another hypervisor is in the way. */
static inline int vmx_vmxon(u64 pa)
{
	bool done = false;

	asm volatile("1: vmxon %1\n\t"
		     "seta %0\n"
		     "2:\n\t"
		     _ASM_EXTABLE(1b, 2b)
		     : "+qm" (done) : "m" (pa) : "cc", "memory");
	return done ? 0 : -EIO;
}

static inline int vmx_vmclear(u64 pa)
{
	asm goto("vmclear %0\n\t"
		 "jna %l[refused]"
		 : : "m" (pa) : "cc", "memory" : refused);
	return 0;
refused:
	WARN_ONCE(1, "lodge: VMCLEAR of %llx refused\n", pa);
	return -EIO;
}

static inline int vmx_vmptrld(u64 pa)
{
	asm goto("vmptrld %0\n\t"
		 "jna %l[refused]"
		 : : "m" (pa) : "cc", "memory" : refused);
	return 0;
refused:
	WARN_ONCE(1, "lodge: VMPTRLD of %llx refused\n", pa);
	return -EIO;
}

enum { INVEPT_CONTEXT = 1, INVEPT_GLOBAL = 2 };
enum { INVVPID_ADDRESS, INVVPID_CONTEXT, INVVPID_ALL };

static inline void vmx_invept(unsigned long extent, u64 eptp)
{
	struct { u64 eptp, zero; } desc = { eptp, 0 };

	asm goto("invept %0, %1\n\t"
		 "jna %l[refused]"
		 : : "m" (desc), "r" (extent) : "cc", "memory" : refused);
	return;
refused:
	WARN_ONCE(1, "lodge: INVEPT %lu refused\n", extent);
}

static inline void vmx_invvpid(unsigned long extent, u16 vpid, u64 gva)
{
	struct { u64 vpid, gva; } desc = { vpid, gva };

	asm goto("invvpid %0, %1\n\t"
		 "jna %l[refused]"
		 : : "m" (desc), "r" (extent) : "cc", "memory" : refused);
	return;
refused:
	WARN_ONCE(1, "lodge: INVVPID %lu refused\n", extent);
}

#endif
