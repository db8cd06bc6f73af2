/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the emulator's surroundings share: x86/emulate.c, x86/emulate_mem.c, x86/emulate_regs.c, x86/mmio.c.
 */
#ifndef LODGE_X86_EMULATE_GLUE_H
#define LODGE_X86_EMULATE_GLUE_H

#include "x86/emul/emul.h"
#include "x86/vcpu.h"

/* One access to device memory: at most 8 bytes, within a page. */
struct mmio_frag {
	u64 gpa;
	u8 len;
	bool done;		/* reads: data is there */
	u8 data[8];
};

#define EMUL_FRAGS	(EMUL_WRITE_MAX / 8 + 2 * EMUL_WRITES_MAX)

struct vcpu_emul {
	struct emul_ctxt ctxt;
	struct x86_vcpu *vcpu;

	/* Device reads of the iteration in progress, in the order in which the emulator asks for them. */
	unsigned int nr_reads, next_read;
	struct mmio_frag read[EMUL_FRAGS];
	/* Device writes, done after the instruction. */
	unsigned int nr_writes, next_write;
	struct mmio_frag write[EMUL_FRAGS];

	struct {
		bool wanted, valid;
		u16 port;
		u8 size;
		u16 count;
		u8 data[EMUL_PIO_BATCH];
	} in;
	struct {
		bool pending;
		u16 port;
		u8 size;
		u16 count;
	} out;

	/* A plain IN, or a MOV from device memory, that user space answers. */
	struct {
		u64 rip, next_rip;
		u64 gpa;
		u8 reg, size, width;
		bool high;
	} plain;
};

/* emulate_mem.c */
int emulate_fetch(struct emul_ctxt *c, u64 linear, void *buf, unsigned int n, unsigned int *got);
int emulate_read(struct emul_ctxt *c, u64 linear, void *buf, unsigned int n, unsigned int flags);
int emulate_write(struct emul_ctxt *c, u64 linear, const void *buf, unsigned int n, unsigned int flags);
int emulate_cmpxchg(struct emul_ctxt *c, u64 linear, const void *old, const void *new, unsigned int n, unsigned int flags);
int emulate_probe(struct emul_ctxt *c, u64 linear, unsigned int n, unsigned int flags);
void emulate_commit(struct emul_ctxt *c);
int emulate_pio_in(struct emul_ctxt *c, u16 port, unsigned int size, void *buf, unsigned int count);
int emulate_pio_out(struct emul_ctxt *c, u16 port, unsigned int size, const void *buf, unsigned int count);

/* emulate_regs.c: the ops table */
extern const struct emul_ops emulate_ops;

/* mmio.c: does a device in the kernel answer? */
bool mmio_kernel_read(struct x86_vcpu *vcpu, u64 gpa, int len, void *val);
bool mmio_kernel_write(struct x86_vcpu *vcpu, u64 gpa, int len, const void *val);
/* Fill kvm_run for one access. */
void mmio_user_exit(struct x86_vcpu *vcpu, u64 gpa, int len, const void *data, bool write);

/* emulate.c */
enum emul_mode emulate_mode(struct x86_vcpu *vcpu);
/* RIP moves on to @next: the instruction is done.  1, or 0 for KVM_EXIT_DEBUG. */
int emulate_advance(struct x86_vcpu *vcpu, u64 next);

#endif
