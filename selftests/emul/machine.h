/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A machine of plain arrays behind the emulator's ops: memory windows, registers, a device window and ports that answer late.
 *
 * Device reads and port reads follow the header's I/O contract to the letter: first EMUL_IO_NEEDED, then, in the next attempt, the data;
 * the cache is dropped at commit() and by machine_done().  Device writes and port writes are logged.
 */
#ifndef SELFTESTS_EMUL_MACHINE_H
#define SELFTESTS_EMUL_MACHINE_H

#include "x86/emul/emul.h"

#define MACHINE_WINDOWS	3
#define MACHINE_LOG	4096

struct machine_window {
	u64 base;
	u32 size;
	u8 *mem;
	bool read_only, system_only;
};

struct machine_io {
	u64 address;
	u32 n;
	u64 data;
};

struct machine {
	struct machine_window window[MACHINE_WINDOWS];
	u64 device_base, device_size;
	bool late;			/* the device needs user space for every read */

	struct emul_seg seg[EMUL_NR_SREG];
	struct emul_dt gdt, idt;
	u64 cr[9], efer, xcr0, dr[8], msr_tsc, msr_other;
	struct emul_vec vec[32];
	u64 mmx[8];
	u16 fcw, fsw;

	struct machine_io cache[16];
	unsigned int cached, commits, hlts, invlpgs, reads;
	bool pending;			/* the last attempt ended for a device: complete it */
	struct machine_io want;
	u8 port_data[1024];
	bool port_ready;

	struct machine_io write_log[MACHINE_LOG], port_log[MACHINE_LOG];
	unsigned int writes, port_writes;

	u64 lacks;			/* bit n: the guest has not got enum emul_feature n */
	u64 fault_seed;			/* not 0: ops answer with random failures */
};

extern const struct emul_ops machine_ops;

/* Flat segments for a mode; CR0, CR4, EFER to match. */
void machine_init(struct machine *m, enum emul_mode mode);
void machine_start(struct machine *m, struct emul_ctxt *ctxt, enum emul_mode mode);

/* Run one instruction to its end: attempt after attempt, REP piece after piece. *attempts counts. */
int machine_run(struct machine *m, struct emul_ctxt *ctxt, unsigned int *attempts);

#endif
