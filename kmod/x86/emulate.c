// SPDX-License-Identifier: GPL-2.0-only
/*
 * The emulator at work on a vCPU: one instruction, its results into the vCPU, its device accesses to user space and back.
 *
 * When user space has to supply data the instruction is not kept half done: it is emulated again from its start, and finds
 * the data in the list of reads (x86/emulate_mem.c).  When user space has to take data, the instruction is complete before
 * KVM_RUN returns, and only further pieces of the same write follow on the next call.
 */
#include <linux/kvm.h>
#include <linux/slab.h>
#include <asm/processor-flags.h>

#include "core/iobus.h"
#include "core/memslot.h"
#include "core/trace.h"
#include "x86/emulate.h"
#include "x86/emulate_glue.h"
#include "x86/fetch.h"
#include "x86/inject.h"
#include "x86/regs.h"

#define DR6_BS	(1ull << 14)

int emulate_init(struct x86_vcpu *vcpu)
{
	vcpu->emul = kzalloc(sizeof(*vcpu->emul), GFP_KERNEL_ACCOUNT);
	if (!vcpu->emul)
		return -ENOMEM;
	vcpu->emul->vcpu = vcpu;
	return 0;
}

void emulate_destroy(struct x86_vcpu *vcpu)
{
	kfree(vcpu->emul);
	vcpu->emul = NULL;
}

enum emul_mode emulate_mode(struct x86_vcpu *vcpu)
{
	bool l, db;

	if (!(vcpu->cr0 & X86_CR0_PE))
		return EMUL_REAL;
	if (vcpu->rflags & X86_EFLAGS_VM)
		return EMUL_VM86;
	x86_ops->get_cs(vcpu, &l, &db);
	if (l && vcpu_long_mode(vcpu))
		return EMUL_LONG64;
	return db ? EMUL_PROT32 : EMUL_PROT16;
}

/* ---- the end of an instruction ---- */

/* The trap after an instruction with TF set: the debugger's, or the guest's. */
static int emulate_step_trap(struct x86_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->core.run;

	if (!(vcpu->debug_control & KVM_GUESTDBG_SINGLESTEP)) {
		inject_db(vcpu, DR6_BS);
		return 1;
	}
	run->exit_reason = KVM_EXIT_DEBUG;
	run->debug.arch.exception = 1;
	run->debug.arch.pc = fetch_linear_rip(vcpu);
	run->debug.arch.dr6 = DR6_BS | DR6_FIXED_1;
	run->debug.arch.dr7 = vcpu->debug_dr7;
	return 0;
}

int emulate_advance(struct x86_vcpu *vcpu, u64 next)
{
	bool trap = vcpu->rflags & X86_EFLAGS_TF;

	vcpu->rip = next;
	vcpu->rflags &= ~(u64)X86_EFLAGS_RF;
	x86_ops->set_shadow(vcpu, 0);
	return unlikely(trap) ? emulate_step_trap(vcpu) : 1;
}

/* ---- length of an instruction ---- */

/* The bytes at RIP, up to 15, across a page boundary. */
static int skip_fetch(struct x86_vcpu *vcpu, u64 linear, u8 buf[32])
{
	struct gwalk_result res;
	int n = fetch_quick(vcpu, linear, buf);

	if (!n) {
		n = min_t(int, 16, PAGE_SIZE - offset_in_page(linear));
		if (guest_translate(vcpu, linear, GWALK_FETCH | (x86_ops->cpl(vcpu) == 3 ? GWALK_USER : 0), &res) ||
		    lodge_guest_read(vcpu->core.vm, res.gpa, buf, n))
			return 0;
	}
	return n;
}

/* 0 if it cannot be told: then the guest executes the instruction again. */
static int skip_length(struct x86_vcpu *vcpu)
{
	enum emul_mode mode = emulate_mode(vcpu);
	u64 linear = fetch_linear_rip(vcpu);
	int n, more, len;
	u8 buf[32];

	n = skip_fetch(vcpu, linear, buf);
	if (!n)
		return 0;
	len = emul_insn_len(mode, buf, n);
	if (len == EMUL_LEN_SHORT) {
		linear += n;
		if (mode != EMUL_LONG64)
			linear = (u32)linear;
		more = skip_fetch(vcpu, linear, buf + n);
		len = more ? emul_insn_len(mode, buf, min(n + more, EMUL_INSN_MAX)) : 0;
	}
	return max(len, 0);
}

int vcpu_skip(struct x86_vcpu *vcpu, u8 len)
{
	u64 next;

	if (!len) {
		len = skip_length(vcpu);
		if (!len)
			return 1;
	}
	next = vcpu->rip + len;
	if (emulate_mode(vcpu) != EMUL_LONG64)
		next = (u32)next;
	return emulate_advance(vcpu, next);
}

/* ---- one instruction ---- */

static void emulate_begin(struct x86_vcpu *vcpu)
{
	struct emul_ctxt *c = &vcpu->emul->ctxt;

	emul_reset(c);
	c->ops = &emulate_ops;
	c->opaque = vcpu;
	memcpy(c->regs, vcpu->regs, sizeof(c->regs));
	c->rip = vcpu->rip;
	c->rflags = vcpu->rflags;
	c->mode = emulate_mode(vcpu);
	c->cpl = x86_ops->cpl(vcpu);
	vcpu->emul->next_read = 0;
	vcpu->emul->in.wanted = false;
}

static void emulate_forget(struct vcpu_emul *em)
{
	em->nr_reads = 0;
	em->next_read = 0;
	em->in.valid = false;
}

static void emulate_take_regs(struct x86_vcpu *vcpu)
{
	const struct emul_ctxt *c = &vcpu->emul->ctxt;
	unsigned int i;

	for (i = 0; i < 16; i++)
		if (c->regs_dirty & (1u << i))
			vcpu->regs[i] = c->regs[i];
	vcpu->rflags = c->rflags;
}

static void emulate_raise(struct x86_vcpu *vcpu, const struct emul_exception *x)
{
	if (x->soft) {
		/* RIP stays at INT n: the back end finds the address to push. */
		vcpu->irq.injected = true;
		vcpu->irq.soft = true;
		vcpu->irq.vector = x->vector;
		lodge_request(&vcpu->core, LODGE_REQ_EVENT);
	} else if (x->vector == EMUL_EXC_PF) {
		inject_page_fault(vcpu, x->error, x->address);
	} else if (x->vector == EMUL_EXC_DB) {
		inject_db(vcpu, x->address);
	} else if (x->has_error) {
		inject_exception_error(vcpu, x->vector, x->error);
	} else {
		inject_exception(vcpu, x->vector);
	}
}

/*
 * What cannot be emulated: a guest's kernel stops its VM, which the VMM reports; a program gets #UD, unless the VMM wants to hear
 * of that too (KVM_CAP_EXIT_ON_EMULATION_FAILURE).
 */
static int emulate_unhandled(struct x86_vcpu *vcpu)
{
	const struct emul_ctxt *c = &vcpu->emul->ctxt;
	struct kvm_run *run = vcpu->core.run;
	u8 insn[16] = { 0 };
	int n;

	trace_lodge_emulate_insn(vcpu->core.id, vcpu->rip, true);
	vcpu->core.stats.insn_emulation_fail++;
	if (c->cpl == 3 && !READ_ONCE(x86_vcpu_vm(vcpu)->emulation_exits)) {
		inject_exception(vcpu, EMUL_EXC_UD);
		return 1;
	}
	n = min_t(int, c->insn_bytes, EMUL_INSN_MAX);
	memcpy(insn, c->insn, n);
	run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	run->emulation_failure.suberror = KVM_INTERNAL_ERROR_EMULATION;
	run->emulation_failure.ndata = 3;
	run->emulation_failure.flags = KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES;
	run->emulation_failure.insn_size = n;
	memcpy(run->emulation_failure.insn_bytes, insn, 15);
	return 0;
}

static int emulate_again(struct x86_vcpu *vcpu)
{
	/* Another may have moved RIP while user space had the vCPU (a reset): then the instruction is over. */
	if (vcpu->rip != vcpu->emul->plain.rip) {
		emulate_forget(vcpu->emul);
		return 1;
	}
	return emulate_insn(vcpu);
}

static int emulate_complete_read(struct x86_vcpu *vcpu)
{
	struct vcpu_emul *em = vcpu->emul;
	struct mmio_frag *f;

	if (!em->nr_reads)
		return 1;
	f = &em->read[em->nr_reads - 1];
	memcpy(f->data, vcpu->core.run->mmio.data, f->len);
	f->done = true;
	return emulate_again(vcpu);
}

static int emulate_complete_in(struct x86_vcpu *vcpu)
{
	struct vcpu_emul *em = vcpu->emul;

	memcpy(em->in.data, vcpu->core.pio_data, em->in.size * em->in.count);
	em->in.valid = true;
	return emulate_again(vcpu);
}

static void emulate_io_exit(struct x86_vcpu *vcpu, u16 port, u8 size, u32 count, bool in)
{
	struct kvm_run *run = vcpu->core.run;

	run->exit_reason = KVM_EXIT_IO;
	run->io.direction = in ? KVM_EXIT_IO_IN : KVM_EXIT_IO_OUT;
	run->io.size = size;
	run->io.port = port;
	run->io.count = count;
	run->io.data_offset = LODGE_PIO_PAGE * PAGE_SIZE;
	vcpu->core.stats.io_exits++;
}

/* To user space for what the emulator waits for. */
static int emulate_ask(struct x86_vcpu *vcpu)
{
	struct vcpu_emul *em = vcpu->emul;
	struct mmio_frag *f;

	em->plain.rip = vcpu->rip;
	if (em->in.wanted) {
		vcpu->complete = emulate_complete_in;
		emulate_io_exit(vcpu, em->in.port, em->in.size, em->in.count, true);
		return 0;
	}
	f = &em->read[em->nr_reads - 1];
	vcpu->complete = emulate_complete_read;
	mmio_user_exit(vcpu, f->gpa, f->len, NULL, false);
	return 0;
}

/* Device writes that the instruction left: each to its device, or to user space, one by one. */
static int emulate_drain(struct x86_vcpu *vcpu)
{
	struct vcpu_emul *em = vcpu->emul;

	while (em->next_write < em->nr_writes) {
		struct mmio_frag *f = &em->write[em->next_write++];

		if (mmio_kernel_write(vcpu, f->gpa, f->len, f->data))
			continue;
		if (em->next_write < em->nr_writes || em->out.pending)
			vcpu->complete = emulate_drain;
		mmio_user_exit(vcpu, f->gpa, f->len, f->data, true);
		return 0;
	}
	em->nr_writes = 0;
	em->next_write = 0;
	if (em->out.pending) {
		em->out.pending = false;
		emulate_io_exit(vcpu, em->out.port, em->out.size, em->out.count, false);
		return 0;
	}
	return 1;
}

static void emulate_set_shadow(struct x86_vcpu *vcpu, enum emul_shadow shadow)
{
	x86_ops->set_shadow(vcpu, shadow == EMUL_SHADOW_STI ? KVM_X86_SHADOW_INT_STI :
				  shadow == EMUL_SHADOW_MOV_SS ? KVM_X86_SHADOW_INT_MOV_SS : 0);
}

static int emulate_finish(struct x86_vcpu *vcpu)
{
	struct vcpu_emul *em = vcpu->emul;
	const struct emul_ctxt *c = &em->ctxt;
	int r;

	emulate_take_regs(vcpu);
	vcpu->rip = c->rip;
	if (!c->repeat) {
		vcpu->rflags &= ~(u64)X86_EFLAGS_RF;
		emulate_set_shadow(vcpu, c->shadow);
	}
	if (c->nmi_unblock && x86_ops->nmi_blocked(vcpu)) {
		x86_ops->set_nmi_mask(vcpu, false);
		lodge_request(&vcpu->core, LODGE_REQ_EVENT);
	}
	emulate_forget(em);
	r = emulate_drain(vcpu);
	if (c->single_step && !(vcpu->debug_control & KVM_GUESTDBG_SINGLESTEP))
		inject_db(vcpu, DR6_BS);
	else if (c->single_step && r == 1)
		return emulate_step_trap(vcpu);
	return r;
}

static int emulate_result(struct x86_vcpu *vcpu, int r)
{
	switch (r) {
	case EMUL_OK:
		return emulate_finish(vcpu);
	case EMUL_FAULT:
		emulate_take_regs(vcpu);
		emulate_forget(vcpu->emul);
		emulate_raise(vcpu, &vcpu->emul->ctxt.exception);
		return emulate_drain(vcpu);
	case EMUL_IO_NEEDED:
		emulate_take_regs(vcpu);
		return emulate_ask(vcpu);
	case EMUL_RETRY:
		return 1;
	default:
		emulate_forget(vcpu->emul);
		vcpu->emul->nr_writes = 0;
		vcpu->emul->out.pending = false;
		return emulate_unhandled(vcpu);
	}
}

int emulate_insn(struct x86_vcpu *vcpu)
{
	emulate_begin(vcpu);
	trace_lodge_emulate_insn(vcpu->core.id, vcpu->rip, false);
	vcpu->core.stats.insn_emulation++;
	return emulate_result(vcpu, emul_insn(&vcpu->emul->ctxt));
}

int emulate_task_switch(struct x86_vcpu *vcpu, u16 selector, u8 kind, bool skip, bool has_error, u32 error)
{
	struct emul_ctxt *c = &vcpu->emul->ctxt;
	int r;

	emulate_forget(vcpu->emul);
	emulate_begin(vcpu);
	if (skip)
		c->rip = (u32)(c->rip + skip_length(vcpu));
	r = emul_task_switch(c, selector, kind, has_error, error);
	if (r == EMUL_OK || r == EMUL_FAULT)
		c->regs_dirty = 0xffff;
	if (r == EMUL_FAULT && c->task_switched)
		vcpu->rip = c->rip;	/* the fault is the new task's */
	return emulate_result(vcpu, r);
}

/* ---- a plain IN or OUT ---- */

static void emulate_store(struct x86_vcpu *vcpu, u8 reg, u32 val, int size)
{
	u64 *r = &vcpu->regs[reg];

	if (size == 4)
		*r = val;
	else if (size == 2)
		*r = (*r & ~0xffffull) | (u16)val;
	else
		*r = (*r & ~0xffull) | (u8)val;
}

static int emulate_complete_plain_in(struct x86_vcpu *vcpu)
{
	struct vcpu_emul *em = vcpu->emul;
	u32 val = 0;

	if (vcpu->rip != em->plain.rip)
		return 1;
	memcpy(&val, vcpu->core.pio_data, em->plain.size);
	emulate_store(vcpu, REG_RAX, val, em->plain.size);
	return emulate_advance(vcpu, em->plain.next_rip);
}

int emulate_pio(struct x86_vcpu *vcpu, u16 port, int size, bool in, u64 next_rip)
{
	struct lodge_vcpu *core = &vcpu->core;
	u32 val = vcpu->regs[REG_RAX];
	int r;

	trace_lodge_pio(!in, port, size, 1, in ? 0 : val & (~0u >> (32 - 8 * size)));
	if (in) {
		val = 0;
		if (!lodge_iobus_read(core, core->vm, LODGE_BUS_PIO, port, size, &val)) {
			emulate_store(vcpu, REG_RAX, val, size);
			return emulate_advance(vcpu, next_rip);
		}
		vcpu->emul->plain.rip = vcpu->rip;
		vcpu->emul->plain.next_rip = next_rip;
		vcpu->emul->plain.size = size;
		vcpu->complete = emulate_complete_plain_in;
		emulate_io_exit(vcpu, port, size, 1, true);
		return 0;
	}
	r = lodge_iobus_write(core, core->vm, LODGE_BUS_PIO, port, size, &val);
	if (r) {
		memcpy(core->pio_data, &val, size);
		if (!emulate_advance(vcpu, next_rip))
			inject_db(vcpu, DR6_BS);	/* one exit at a time: the port's first */
		emulate_io_exit(vcpu, port, size, 1, false);
		return 0;
	}
	return emulate_advance(vcpu, next_rip);
}
