// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ignne.c - keeps QEMU's CPUs from writing to each other's state.  Loaded into the emulator with LD_PRELOAD.
 *
 * QEMU 7.2's TCG models IGNNE#, the pin by which a PC answers an error of the FPU the way an AT did: cpu_clear_ignne() clears
 * a bit of the *first* CPU's hflags2, and whichever CPU loads FPU state (FXRSTOR, XRSTOR, FLDENV: each switch between two
 * programs) calls it, without a lock and not atomically.  Other bits of the same word say whether the first CPU walks nested
 * page tables, whether its GIF is set, and whose IF masks its interrupts.  A VMRUN or #VMEXIT that writes them at the same moment
 * is undone in part.  Then the guest's addresses are looked up in the host's memory, or the host's in the guest's: a triple
 * fault of either, a #VMEXIT out of the host, whose state the VMCB then holds; or interrupts stay off for good.  It happens
 * under lodge.ko and the stock module alike, now and then in any long test, and in selftests/vm/fpu_neighbour.c at once.
 *
 * The bit is set by a write to port F0h alone, which no kernel of this millennium does.  So nothing is lost if nobody
 * clears it: the function, which QEMU exports as it does all of its own, becomes a RET.  An emulator without that name
 * is left as it is.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

__attribute__((constructor)) static void ignne_mend(void)
{
	static const uint8_t ret = 0xc3;
	uint8_t *code = dlsym(RTLD_DEFAULT, "cpu_clear_ignne");
	uintptr_t size = sysconf(_SC_PAGESIZE);
	void *page = (void *)((uintptr_t)code & ~(size - 1));

	if (!code)
		return;
	if (mprotect(page, size, PROT_READ | PROT_WRITE | PROT_EXEC)) {
		perror("ignne: the emulator's code cannot be written to");
		return;
	}
	*code = ret;
	mprotect(page, size, PROT_READ | PROT_EXEC);
}
