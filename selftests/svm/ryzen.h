/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ryzen.h - for programs that run once more on a CPU which QEMU's emulator is not: with NRIP save and flush by ASID, breakpoints
 * armed by VMRUN.  Such a program includes the other and gives it a main() that is sure of the CPU.
 */
#ifndef SELFTESTS_SVM_RYZEN_H
#define SELFTESTS_SVM_RYZEN_H

#include <cpuid.h>

#include "../vm/tap.h"

static inline void ryzen_required(void)
{
	unsigned int eax, ebx, ecx, edx = 0;

	if (!__get_cpuid(0x8000000a, &eax, &ebx, &ecx, &edx) || !(edx & 1 << 3) || !(edx & 1 << 6))
		tap_bail("this CPU has no NRIP save or no flush by ASID: EDX is %#x", edx);
}

#endif
