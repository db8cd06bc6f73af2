// SPDX-License-Identifier: GPL-2.0-only
/*
 * The answer to each neutral exit.
 */
#include <linux/kvm.h>
#include <linux/smp.h>
#include <asm/processor-flags.h>

#include "core/memslot.h"
#include "core/trace.h"
#include "x86/cpuid.h"
#include "x86/emulate.h"
#include "x86/emulate_glue.h"
#include "x86/exit.h"
#include "x86/fetch.h"
#include "x86/hypercall.h"
#include "x86/inject.h"
#include "x86/mmio.h"
#include "x86/msr.h"
#include "x86/regs.h"
#include "x86/run.h"
#include "x86/vcpu.h"

#define VMCALL_BYTES	0xc1010fu
#define VMMCALL_BYTES	0xd9010fu

int exit_gp(struct x86_vcpu *vcpu)
{
	inject_exception_error(vcpu, 13, 0);
	return 1;
}

int exit_ud(struct x86_vcpu *vcpu)
{
	inject_exception(vcpu, 6);
	return 1;
}

static int exit_nothing(struct x86_vcpu *vcpu, const struct lodge_exit *e)
{
	return 1;
}

static int exit_event(struct x86_vcpu *vcpu, const struct lodge_exit *e)
{
	if (e->reason == EXIT_IRQ_WINDOW)
		vcpu->core.stats.irq_window_exits++;
	else
		vcpu->core.stats.nmi_window_exits++;
	lodge_request(&vcpu->core, LODGE_REQ_EVENT);
	return 1;
}

static int exit_skip(struct x86_vcpu *vcpu, const struct lodge_exit *e)
{
	return vcpu_skip(vcpu, e->insn_len);
}

/*
 * Caches are coherent, so what a guest hopes of WBINVD is the case already, unless it has a device that bypasses them.  Its
 * lines may be in the cache of any processor that it ran on.  INVD would throw away the host's data, and is taken for WBINVD.
 */
static int exit_wbinvd(struct x86_vcpu *vcpu, const struct lodge_exit *e)
{
	if (READ_ONCE(x86_vcpu_vm(vcpu)->noncoherent_dma))
		wbinvd_on_all_cpus();
	return vcpu_skip(vcpu, e->insn_len);
}

static int exit_emulate(struct x86_vcpu *vcpu, const struct lodge_exit *e)
{
	return emulate_insn(vcpu);
}

static int exit_forbidden(struct x86_vcpu *vcpu, const struct lodge_exit *e)
{
	return exit_ud(vcpu);
}

/* ---- exceptions that are intercepted ---- */

static int exit_debug(struct x86_vcpu *vcpu, u8 vector, u64 dr6)
{
	struct kvm_run *run = vcpu->core.run;

	run->exit_reason = KVM_EXIT_DEBUG;
	run->debug.arch.exception = vector;
	run->debug.arch.pc = fetch_linear_rip(vcpu);
	run->debug.arch.dr6 = dr6;
	run->debug.arch.dr7 = vcpu->debug_control & KVM_GUESTDBG_USE_HW_BP ? vcpu->debug_dr7 : vcpu->dr7;
	return 0;
}

static int exit_hypercall(struct x86_vcpu *vcpu, const struct lodge_exit *e)
{
	const u64 *reg = vcpu->regs;
	int r, s;

	trace_lodge_hypercall(vcpu->core.id, reg[REG_RAX], reg[REG_RBX], reg[REG_RCX], reg[REG_RDX], reg[REG_RSI]);
	r = hypercall(vcpu);
	s = vcpu_skip(vcpu, e->insn_len);
	return min(r, s);
}

/*
 * The other vendor's hypercall instruction, an undefined one here, becomes ours: its last byte is the only one that differs, so
 * that no other vCPU can fetch half of each.  Where the guest may not write its own code the instruction stays as it is, and
 * takes this way every time.
 */
static void exit_fix_hypercall(struct x86_vcpu *vcpu)
{
	u32 native = fetch_matches(vcpu, VMCALL_BYTES, 3) ? VMMCALL_BYTES : VMCALL_BYTES;
	unsigned int access = GWALK_WRITE | (x86_ops->cpl(vcpu) == 3 ? GWALK_USER : 0);
	u64 gva = fetch_linear_rip(vcpu) + 2;
	u8 last = native >> 16;
	struct gwalk_result res;

	if (!vcpu_long_mode(vcpu))
		gva = (u32)gva;
	if (!guest_translate(vcpu, gva, access, &res))
		(void)lodge_guest_write(vcpu->core.vm, res.gpa, &last, 1);
}

static int exit_exception(struct x86_vcpu *vcpu, const struct lodge_exit *e)
{
	static const struct lodge_exit call = { .reason = EXIT_HYPERCALL, .insn_len = 3 };
	u64 dr6 = e->u.exc.payload;

	switch (e->u.exc.vector) {
	case 1:
		if (vcpu->debug_control & (KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_USE_HW_BP))
			return exit_debug(vcpu, 1, dr6);
		break;			/* DR6 is written already */
	case 3:
		return exit_debug(vcpu, 3, 0);
	case 6:
		if (vm_has_quirk(x86_vcpu_vm(vcpu), KVM_X86_QUIRK_FIX_HYPERCALL_INSN) &&
		    (fetch_matches(vcpu, VMCALL_BYTES, 3) || fetch_matches(vcpu, VMMCALL_BYTES, 3))) {
			exit_fix_hypercall(vcpu);
			return exit_hypercall(vcpu, &call);
		}
		break;
	}
	if (e->u.exc.has_error)
		inject_exception_error(vcpu, e->u.exc.vector, e->u.exc.error);
	else
		inject_exception(vcpu, e->u.exc.vector);
	return 1;
}

/* ---- instructions ---- */

static int exit_cpuid(struct x86_vcpu *vcpu, const struct lodge_exit *e)
{
	u32 leaf = vcpu->regs[REG_RAX], index = vcpu->regs[REG_RCX], eax = leaf, ebx, ecx = index, edx;

	cpuid_update_runtime(vcpu);
	cpuid_query(vcpu, &eax, &ebx, &ecx, &edx);
	vcpu->regs[REG_RAX] = eax;
	vcpu->regs[REG_RBX] = ebx;
	vcpu->regs[REG_RCX] = ecx;
	vcpu->regs[REG_RDX] = edx;
	trace_lodge_cpuid(leaf, index, eax, ebx, ecx, edx);
	vcpu->core.stats.cpuid_exits++;
	return vcpu_skip(vcpu, e->insn_len);
}

static int exit_hlt(struct x86_vcpu *vcpu, const struct lodge_exit *e)
{
	int r = vcpu_skip(vcpu, e->insn_len), h = run_halt(vcpu);

	return min(r, h);
}

/* Nothing is watched and nobody waits; a guest without the feature learns it from CPUID alone, unless it asked for more. */
static int exit_mwait(struct x86_vcpu *vcpu, const struct lodge_exit *e)
{
	if (!vm_has_quirk(x86_vcpu_vm(vcpu), KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS) && !cpuid_has(vcpu, CPUW_1_ECX, 3))
		return exit_ud(vcpu);
	return vcpu_skip(vcpu, e->insn_len);
}

static int exit_xsetbv(struct x86_vcpu *vcpu, const struct lodge_exit *e)
{
	u64 val = (u32)vcpu->regs[REG_RAX] | vcpu->regs[REG_RDX] << 32;

	if (x86_ops->cpl(vcpu) || (u32)vcpu->regs[REG_RCX] || vcpu_set_xcr0(vcpu, val))
		return exit_gp(vcpu);
	return vcpu_skip(vcpu, e->insn_len);
}

static int exit_rdpmc(struct x86_vcpu *vcpu, const struct lodge_exit *e)
{
	return exit_gp(vcpu);		/* no counter exists */
}

static int exit_msr_read(struct x86_vcpu *vcpu, const struct lodge_exit *e)
{
	return msr_exit_read(vcpu, e->insn_len);
}

static int exit_msr_write(struct x86_vcpu *vcpu, const struct lodge_exit *e)
{
	return msr_exit_write(vcpu, e->insn_len);
}

static int set_cr(struct x86_vcpu *vcpu, int nr, u64 val)
{
	switch (nr) {
	case 0:
		return vcpu_set_cr0(vcpu, val);
	case 3:
		return vcpu_set_cr3(vcpu, val);
	case 4:
		return vcpu_set_cr4(vcpu, val);
	default:
		return vcpu_set_cr8(vcpu, val);
	}
}

/* MOV to CRn without odd prefixes is decoded here; the emulator has the rest (LMSW, CLTS, LOCK MOV CR0). */
static int exit_mov_cr(struct x86_vcpu *vcpu, const struct lodge_exit *e)
{
	bool long64 = emulate_mode(vcpu) == EMUL_LONG64;
	u8 b[16], rex = 0, modrm;
	int at = 0, nr, r;
	u64 val;

	if (fetch_quick(vcpu, fetch_linear_rip(vcpu), b) < 4)
		return emulate_insn(vcpu);
	if (long64 && (b[0] & 0xf0) == 0x40)
		rex = b[at++];
	modrm = b[at + 2];
	nr = (modrm >> 3 & 7) | (rex & 4 ? 8 : 0);
	if (b[at] != 0x0f || b[at + 1] != 0x22 || nr != e->u.reg.nr || (nr != 0 && nr != 3 && nr != 4 && nr != 8))
		return emulate_insn(vcpu);
	val = vcpu->regs[(modrm & 7) | (rex & 1 ? 8 : 0)];
	r = set_cr(vcpu, nr, long64 ? val : (u32)val);
	if (r)
		return exit_gp(vcpu);
	return vcpu_skip(vcpu, at + 3);
}

static int exit_cr_write(struct x86_vcpu *vcpu, const struct lodge_exit *e)
{
	u64 cr8 = vcpu->cr8;
	int r = exit_mov_cr(vcpu, e);

	/* Without a LAPIC here the VMM keeps the TPR: when it is lowered an interrupt may become due. */
	if (r > 0 && !vcpu->lapic && vcpu->cr8 < cr8) {
		vcpu->core.run->exit_reason = KVM_EXIT_SET_TPR;
		return 0;
	}
	return r;
}

static int exit_io(struct x86_vcpu *vcpu, const struct lodge_exit *e)
{
	if (e->u.io.string)
		return emulate_insn(vcpu);
	return emulate_pio(vcpu, e->u.io.port, e->u.io.size, e->u.io.in, e->u.io.next_rip);
}

/* ---- memory ---- */

/* The CPU met device memory while it delivered an event: no instruction stands behind the access. */
static int exit_delivery(struct x86_vcpu *vcpu, const struct lodge_exit *e)
{
	struct kvm_run *run = vcpu->core.run;

	run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	run->internal.suberror = KVM_INTERNAL_ERROR_DELIVERY_EV;
	run->internal.ndata = 3;
	run->internal.data[0] = vcpu->exception.injected ? vcpu->exception.vector : vcpu->irq.vector;
	run->internal.data[1] = e->reason;
	run->internal.data[2] = e->u.s2.gpa;
	return 0;
}

static int exit_device(struct x86_vcpu *vcpu, const struct lodge_exit *e)
{
	int r;

	vcpu->core.stats.pf_mmio++;
	vcpu->tpr_rip = vcpu->rip;	/* the access itself may be made when RIP has moved on */
	if (unlikely(vcpu->exception.injected || vcpu->irq.injected || vcpu->nmi_injected))
		return exit_delivery(vcpu, e);
	if (likely(!e->u.s2.fetch && !e->u.s2.in_walk)) {
		r = mmio_quick(vcpu, e->u.s2.gpa, e->u.s2.write);
		if (r >= 0)
			return r;
	}
	return emulate_insn(vcpu);
}

static int exit_stage2(struct x86_vcpu *vcpu, const struct lodge_exit *e)
{
	unsigned int access = (e->u.s2.read ? STAGE2_READ : 0) | (e->u.s2.write ? STAGE2_WRITE : 0) |
			      (e->u.s2.fetch ? STAGE2_EXEC : 0);
	struct stage2 *stage2 = &x86_vcpu_vm(vcpu)->stage2;
	int r;

	if (vcpu->lapic && lapic_claims(vcpu->lapic, e->u.s2.gpa))
		return exit_device(vcpu, e);
	vcpu->core.stats.pf_taken++;
	trace_lodge_page_fault(vcpu->core.id, e->u.s2.gpa, access);
	if (e->u.s2.present && stage2_fault_fast(stage2, e->u.s2.gpa, access)) {
		vcpu->core.stats.pf_fast++;
		vcpu->core.stats.pf_fixed++;
		return 1;
	}
	r = stage2_fault(stage2, &vcpu->core, e->u.s2.gpa, access);
	if (r == STAGE2_EMULATE)
		return exit_device(vcpu, e);
	if (r < 0)
		return r;
	vcpu->core.stats.pf_fixed++;
	return 1;
}

static int exit_task_switch(struct x86_vcpu *vcpu, const struct lodge_exit *e)
{
	/* A fault's task gate saves the faulting RIP; CALL, JMP, IRET and INT n are done and save the next one. */
	bool skip = e->u.task.kind != EMUL_TASK_GATE || e->u.task.soft;

	return emulate_task_switch(vcpu, e->u.task.selector, e->u.task.kind, skip, e->u.task.has_error, e->u.task.error);
}

/* ---- the end ---- */

static int exit_triple_fault(struct x86_vcpu *vcpu, const struct lodge_exit *e)
{
	/* The guest's state is undefined after this (APM 2 §15.14.3); what user space finds is that after INIT. */
	vcpu_reset(vcpu, true);
	vcpu->core.run->exit_reason = KVM_EXIT_SHUTDOWN;
	return 0;
}

static int exit_entry_fail(struct x86_vcpu *vcpu, const struct lodge_exit *e)
{
	struct kvm_run *run = vcpu->core.run;

	/* What should have gone in with the entry is still to be injected, unless the VMM takes it back. */
	x86_ops->cancel_injection(vcpu);
	run->exit_reason = KVM_EXIT_FAIL_ENTRY;
	run->fail_entry.hardware_entry_failure_reason = e->u.hw_reason;
	run->fail_entry.cpu = vcpu->core.cpu;
	return 0;
}

static int exit_unknown(struct x86_vcpu *vcpu, const struct lodge_exit *e)
{
	struct kvm_run *run = vcpu->core.run;

	run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	run->internal.suberror = KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON;
	run->internal.ndata = 2;
	run->internal.data[0] = e->u.hw_reason;
	run->internal.data[1] = vcpu->core.cpu;
	return 0;
}

static int (*const exit_table[EXIT_REASONS])(struct x86_vcpu *vcpu, const struct lodge_exit *e) = {
	[EXIT_REENTER]		= exit_nothing,
	[EXIT_INTERRUPT]	= exit_nothing,
	[EXIT_NMI]		= exit_nothing,
	[EXIT_IRQ_WINDOW]	= exit_event,
	[EXIT_NMI_WINDOW]	= exit_event,
	[EXIT_EXCEPTION]	= exit_exception,
	[EXIT_CPUID]		= exit_cpuid,
	[EXIT_HLT]		= exit_hlt,
	[EXIT_PAUSE]		= exit_skip,
	[EXIT_INVLPG]		= exit_emulate,
	[EXIT_RDTSC]		= exit_emulate,
	[EXIT_RDTSCP]		= exit_emulate,
	[EXIT_RDPMC]		= exit_rdpmc,
	[EXIT_MONITOR]		= exit_mwait,
	[EXIT_MWAIT]		= exit_mwait,
	[EXIT_WBINVD]		= exit_wbinvd,
	[EXIT_INVD]		= exit_wbinvd,
	[EXIT_XSETBV]		= exit_xsetbv,
	[EXIT_HYPERCALL]	= exit_hypercall,
	[EXIT_IO]		= exit_io,
	[EXIT_MSR_READ]		= exit_msr_read,
	[EXIT_MSR_WRITE]	= exit_msr_write,
	[EXIT_CR_READ]		= exit_emulate,
	[EXIT_CR_WRITE]		= exit_cr_write,
	[EXIT_DR_READ]		= exit_emulate,
	[EXIT_DR_WRITE]		= exit_emulate,
	[EXIT_TASK_SWITCH]	= exit_task_switch,
	[EXIT_STAGE2]		= exit_stage2,
	[EXIT_TRIPLE_FAULT]	= exit_triple_fault,
	[EXIT_FORBIDDEN]	= exit_forbidden,
	[EXIT_ENTRY_FAIL]	= exit_entry_fail,
	[EXIT_INIT]		= exit_nothing,
	[EXIT_SMI]		= exit_nothing,
	[EXIT_UNKNOWN]		= exit_unknown,
};

void exit_tell(struct x86_vcpu *vcpu, const struct lodge_exit *e)
{
	struct kvm_run *run = vcpu->core.run;

	if (run->exit_reason != KVM_EXIT_INTERNAL_ERROR || run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION)
		return;
	run->internal.ndata = 5;
	run->internal.data[3] = e->reason;
	run->internal.data[4] = e->reason == EXIT_STAGE2 ? e->u.s2.gpa : 0;
}

int exit_handle(struct x86_vcpu *vcpu, const struct lodge_exit *e)
{
	return exit_table[e->reason](vcpu, e);
}
