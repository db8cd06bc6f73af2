// SPDX-License-Identifier: GPL-2.0-only
/*
 * System instructions: control and debug registers, descriptor-table registers, MSRs, and what else only a kernel or firmware executes.
 *
 * Encodings and privilege are checked here, values by the ops (they know the vCPU's features).
 */
#include "insn.h"

static unsigned int native_bytes(const struct emul_ctxt *ctxt)
{
	return ctxt->mode == EMUL_LONG64 ? 8 : 4;
}

/* LOCK is AMD's way to name CR8 without REX (APM 3 "MOV CRn"). */
static unsigned int cr_number(const struct emul_ctxt *ctxt)
{
	if (ctxt->d.lock)
		return ctxt->d.reg == 0 ? 8 : ~0u;
	return ctxt->d.reg;
}

static bool cr_exists(unsigned int nr)
{
	return nr == 0 || (nr >= 2 && nr <= 4) || nr == 8;
}

int emul_mov_r_cr(struct emul_ctxt *ctxt)
{
	unsigned int nr = cr_number(ctxt);

	if (!cr_exists(nr))
		return emul_ud(ctxt);
	emul_reg_write(ctxt, ctxt->d.rm, native_bytes(ctxt), ctxt->ops->get_cr(ctxt, nr));
	return EMUL_OK;
}

int emul_mov_cr_r(struct emul_ctxt *ctxt)
{
	unsigned int nr = cr_number(ctxt);

	if (!cr_exists(nr))
		return emul_ud(ctxt);
	return ctxt->ops->set_cr(ctxt, nr, emul_reg_read(ctxt, ctxt->d.rm, native_bytes(ctxt)));
}

/* DR4 and DR5 are DR6 and DR7 unless CR4.DE forbids. *nr is resolved. */
static int dr_check(struct emul_ctxt *ctxt, unsigned int *nr)
{
	*nr = ctxt->d.reg;
	if (*nr > 7)
		return emul_ud(ctxt);
	if (*nr == 4 || *nr == 5) {
		if (ctxt->ops->get_cr(ctxt, 4) & CR4_DE)
			return emul_ud(ctxt);
		*nr += 2;
	}
	if (ctxt->ops->get_dr(ctxt, 7) & DR7_GD) {
		emul_fault(ctxt, EMUL_EXC_DB);
		ctxt->exception.address = 1ull << 13;	/* DR6.BD */
		return EMUL_FAULT;
	}
	return EMUL_OK;
}

int emul_mov_r_dr(struct emul_ctxt *ctxt)
{
	unsigned int nr;
	int r = dr_check(ctxt, &nr);

	if (r)
		return r;
	emul_reg_write(ctxt, ctxt->d.rm, native_bytes(ctxt), ctxt->ops->get_dr(ctxt, nr));
	return EMUL_OK;
}

int emul_mov_dr_r(struct emul_ctxt *ctxt)
{
	u64 value = emul_reg_read(ctxt, ctxt->d.rm, native_bytes(ctxt));
	unsigned int nr;
	int r = dr_check(ctxt, &nr);

	if (r)
		return r;
	if (nr >= 6 && value >> 32)
		return emul_gp0(ctxt);
	return ctxt->ops->set_dr(ctxt, nr, value);
}

int emul_clts(struct emul_ctxt *ctxt)
{
	return ctxt->ops->set_cr(ctxt, 0, ctxt->ops->get_cr(ctxt, 0) & ~CR0_TS);
}

/* PE can be set but not cleared. */
int emul_lmsw(struct emul_ctxt *ctxt)
{
	u64 cr0, value;
	int r = emul_rm_read(ctxt, 2, &value);

	if (r)
		return r;
	cr0 = ctxt->ops->get_cr(ctxt, 0);
	return ctxt->ops->set_cr(ctxt, 0, (cr0 & ~(CR0_MP | CR0_EM | CR0_TS)) | (value & (CR0_PE | CR0_MP | CR0_EM | CR0_TS)));
}

static int umip_check(struct emul_ctxt *ctxt)
{
	if (ctxt->cpl && ctxt->ops->get_cr(ctxt, 4) & CR4_UMIP)
		return emul_gp0(ctxt);
	return EMUL_OK;
}

int emul_smsw(struct emul_ctxt *ctxt)
{
	int r = umip_check(ctxt);

	return r ? r : emul_rm_write(ctxt, ctxt->d.mem ? 2 : ctxt->d.bytes, ctxt->ops->get_cr(ctxt, 0));
}

static int load_table(struct emul_ctxt *ctxt, struct emul_dt *dt)
{
	unsigned int n = native_bytes(ctxt);
	u8 raw[10];
	int r = emul_mem_read(ctxt, ctxt->d.seg, ctxt->d.ea, raw, n + 2, 0);

	if (r)
		return r;
	dt->base = 0;
	memcpy(&dt->limit, raw, 2);
	memcpy(&dt->base, raw + 2, n);
	if (n == 4 && ctxt->d.bytes == 2)
		dt->base &= 0xffffff;
	if (!emul_canonical(ctxt, dt->base))
		return emul_gp0(ctxt);
	return EMUL_OK;
}

int emul_lgdt(struct emul_ctxt *ctxt)
{
	struct emul_dt dt;
	int r = load_table(ctxt, &dt);

	if (!r)
		ctxt->ops->set_gdt(ctxt, &dt);
	return r;
}

int emul_lidt(struct emul_ctxt *ctxt)
{
	struct emul_dt dt;
	int r = load_table(ctxt, &dt);

	if (!r)
		ctxt->ops->set_idt(ctxt, &dt);
	return r;
}

/* All four bytes of a 32-bit base are stored whatever the operand size. */
static int store_table(struct emul_ctxt *ctxt, const struct emul_dt *dt)
{
	unsigned int n = native_bytes(ctxt);
	u8 raw[10];
	int r = umip_check(ctxt);

	if (r)
		return r;
	memcpy(raw, &dt->limit, 2);
	memcpy(raw + 2, &dt->base, n);
	return emul_mem_write(ctxt, ctxt->d.seg, ctxt->d.ea, raw, n + 2);
}

int emul_sgdt(struct emul_ctxt *ctxt)
{
	struct emul_dt dt;

	ctxt->ops->get_gdt(ctxt, &dt);
	return store_table(ctxt, &dt);
}

int emul_sidt(struct emul_ctxt *ctxt)
{
	struct emul_dt dt;

	ctxt->ops->get_idt(ctxt, &dt);
	return store_table(ctxt, &dt);
}

/* A non-canonical address does nothing (SDM 2 "INVLPG"). */
int emul_invlpg(struct emul_ctxt *ctxt)
{
	const struct emul_insn *d = &ctxt->d;
	struct emul_seg seg;
	u64 linear = d->ea;

	if (ctxt->mode != EMUL_LONG64 || d->seg == EMUL_FS || d->seg == EMUL_GS) {
		ctxt->ops->get_seg(ctxt, d->seg, &seg);
		linear += seg.base;
	}
	if (ctxt->mode != EMUL_LONG64)
		linear = (u32)linear;
	else if (!emul_canonical(ctxt, linear))
		return EMUL_OK;
	return ctxt->ops->invlpg(ctxt, linear);
}

/* INVD too: to lose dirty lines on purpose serves no guest. */
int emul_wbinvd(struct emul_ctxt *ctxt)
{
	return ctxt->ops->wbinvd ? ctxt->ops->wbinvd(ctxt) : EMUL_OK;
}

int emul_hlt(struct emul_ctxt *ctxt)
{
	return ctxt->ops->hlt(ctxt);
}

int emul_do_cpuid(struct emul_ctxt *ctxt)
{
	u32 regs[4] = { ctxt->regs[EMUL_RAX], ctxt->regs[EMUL_RBX], ctxt->regs[EMUL_RCX], ctxt->regs[EMUL_RDX] };

	ctxt->ops->cpuid(ctxt, regs);
	emul_reg_write(ctxt, EMUL_RAX, 4, regs[0]);
	emul_reg_write(ctxt, EMUL_RBX, 4, regs[1]);
	emul_reg_write(ctxt, EMUL_RCX, 4, regs[2]);
	emul_reg_write(ctxt, EMUL_RDX, 4, regs[3]);
	return EMUL_OK;
}

static void set_edx_eax(struct emul_ctxt *ctxt, u64 value)
{
	emul_reg_write(ctxt, EMUL_RAX, 4, value);
	emul_reg_write(ctxt, EMUL_RDX, 4, value >> 32);
}

static u64 edx_eax(const struct emul_ctxt *ctxt)
{
	return (ctxt->regs[EMUL_RDX] & 0xffffffff) << 32 | (ctxt->regs[EMUL_RAX] & 0xffffffff);
}

#define MSR_TSC		0x10
#define MSR_TSC_AUX	0xc0000103

int emul_rdtsc(struct emul_ctxt *ctxt)
{
	u64 value;
	int r;

	if (ctxt->cpl && ctxt->ops->get_cr(ctxt, 4) & CR4_TSD)
		return emul_gp0(ctxt);
	r = ctxt->ops->get_msr(ctxt, MSR_TSC, &value);
	if (!r)
		set_edx_eax(ctxt, value);
	return r;
}

int emul_rdtscp(struct emul_ctxt *ctxt)
{
	u64 aux;
	int r;

	if (ctxt->cpl && ctxt->ops->get_cr(ctxt, 4) & CR4_TSD)
		return emul_gp0(ctxt);
	r = ctxt->ops->get_msr(ctxt, MSR_TSC_AUX, &aux);
	if (!r)
		r = emul_rdtsc(ctxt);
	if (!r)
		emul_reg_write(ctxt, EMUL_RCX, 4, aux);
	return r;
}

int emul_rdmsr(struct emul_ctxt *ctxt)
{
	u64 value;
	int r = ctxt->ops->get_msr(ctxt, ctxt->regs[EMUL_RCX], &value);

	if (!r)
		set_edx_eax(ctxt, value);
	return r;
}

int emul_wrmsr(struct emul_ctxt *ctxt)
{
	return ctxt->ops->set_msr(ctxt, ctxt->regs[EMUL_RCX], edx_eax(ctxt));
}

int emul_rdpmc(struct emul_ctxt *ctxt)
{
	u64 value;
	int r;

	if (!ctxt->ops->rdpmc || (ctxt->cpl && !(ctxt->ops->get_cr(ctxt, 4) & CR4_PCE)))
		return emul_gp0(ctxt);
	r = ctxt->ops->rdpmc(ctxt, ctxt->regs[EMUL_RCX], &value);
	if (!r)
		set_edx_eax(ctxt, value);
	return r;
}

/* Nothing is watched, so MWAIT wakes up at once; both are permitted implementations of a hint. */
int emul_monitor(struct emul_ctxt *ctxt)
{
	u64 byte;
	struct emul_insn *d = &ctxt->d;

	if (ctxt->regs[EMUL_RCX] & 0xffffffff)
		return emul_gp0(ctxt);
	return emul_mem_read(ctxt, d->seg, ctxt->regs[EMUL_RAX] & emul_mask(d->ad_bytes), &byte, 1, 0);
}

int emul_mwait(struct emul_ctxt *ctxt)
{
	if ((ctxt->regs[EMUL_RCX] & 0xffffffff) > 1)
		return emul_gp0(ctxt);
	return EMUL_OK;
}

int emul_xgetbv(struct emul_ctxt *ctxt)
{
	if (!(ctxt->ops->get_cr(ctxt, 4) & CR4_OSXSAVE) || ctxt->d.rep || ctxt->d.opsize)
		return emul_ud(ctxt);
	if (ctxt->regs[EMUL_RCX] & 0xffffffff)
		return (ctxt->regs[EMUL_RCX] & 0xffffffff) == 1 ? EMUL_UNHANDLED : emul_gp0(ctxt);
	set_edx_eax(ctxt, ctxt->ops->get_cr(ctxt, EMUL_XCR0));
	return EMUL_OK;
}

int emul_xsetbv(struct emul_ctxt *ctxt)
{
	if (!(ctxt->ops->get_cr(ctxt, 4) & CR4_OSXSAVE) || ctxt->d.rep || ctxt->d.opsize)
		return emul_ud(ctxt);
	if (!ctxt->ops->set_xcr0)
		return EMUL_UNHANDLED;
	if (ctxt->regs[EMUL_RCX] & 0xffffffff)
		return emul_gp0(ctxt);
	return ctxt->ops->set_xcr0(ctxt, edx_eax(ctxt));
}

#define MSR_KERNEL_GS_BASE	0xc0000102

int emul_swapgs(struct emul_ctxt *ctxt)
{
	struct emul_seg gs;
	u64 other;
	int r = ctxt->ops->get_msr(ctxt, MSR_KERNEL_GS_BASE, &other);

	if (r)
		return r;
	ctxt->ops->get_seg(ctxt, EMUL_GS, &gs);
	r = ctxt->ops->set_msr(ctxt, MSR_KERNEL_GS_BASE, gs.base);
	if (r)
		return r;
	gs.base = other;
	ctxt->ops->set_seg(ctxt, EMUL_GS, &gs);
	return EMUL_OK;
}

/* F3 0F AE /0-3: RDFSBASE RDGSBASE WRFSBASE WRGSBASE */
int emul_fsgsbase(struct emul_ctxt *ctxt)
{
	const struct emul_insn *d = &ctxt->d;
	unsigned int what = d->modrm >> 3 & 7, n = d->bytes == 8 ? 8 : 4;
	enum emul_sreg nr = what & 1 ? EMUL_GS : EMUL_FS;
	struct emul_seg seg;

	if (!(ctxt->ops->get_cr(ctxt, 4) & CR4_FSGSBASE))
		return emul_ud(ctxt);
	ctxt->ops->get_seg(ctxt, nr, &seg);
	if (!(what & 2)) {
		emul_reg_write(ctxt, d->rm, n, seg.base);
		return EMUL_OK;
	}
	seg.base = emul_reg_read(ctxt, d->rm, n);
	if (!emul_canonical(ctxt, seg.base))
		return emul_gp0(ctxt);
	ctxt->ops->set_seg(ctxt, nr, &seg);
	return EMUL_OK;
}

/* May IF be changed?  Else, with VME or PVI, VIF takes its place. */
static bool may_change_if(const struct emul_ctxt *ctxt)
{
	return ctxt->mode == EMUL_REAL || ctxt->cpl <= emul_iopl(ctxt);
}

static bool has_vif(struct emul_ctxt *ctxt)
{
	u64 cr4 = ctxt->ops->get_cr(ctxt, 4);

	return ctxt->mode == EMUL_VM86 ? cr4 & CR4_VME : ctxt->cpl == 3 && cr4 & CR4_PVI;
}

int emul_cli(struct emul_ctxt *ctxt)
{
	if (may_change_if(ctxt))
		ctxt->rflags &= ~FL_IF;
	else if (has_vif(ctxt))
		ctxt->rflags &= ~FL_VIF;
	else
		return emul_gp0(ctxt);
	return EMUL_OK;
}

int emul_sti(struct emul_ctxt *ctxt)
{
	if (may_change_if(ctxt)) {
		if (!(ctxt->rflags & FL_IF))
			ctxt->shadow = EMUL_SHADOW_STI;
		ctxt->rflags |= FL_IF;
	} else if (has_vif(ctxt) && !(ctxt->rflags & FL_VIP)) {
		ctxt->rflags |= FL_VIF;
	} else {
		return emul_gp0(ctxt);
	}
	return EMUL_OK;
}

/* CLAC, STAC. That the CPU has SMAP is known only from CR4; firmware that sets AC without it does no harm. */
int emul_ac(struct emul_ctxt *ctxt)
{
	if (ctxt->d.modrm & 1)
		ctxt->rflags |= FL_AC;
	else
		ctxt->rflags &= ~FL_AC;
	return EMUL_OK;
}

/* Guest memory is coherent; but the address is checked like a read's, and on a device nothing must happen. */
int emul_clflush(struct emul_ctxt *ctxt)
{
	u64 linear;
	int r = emul_linear(ctxt, ctxt->d.seg, ctxt->d.ea, 1, 0, &linear);

	if (!r)
		r = ctxt->ops->probe(ctxt, linear, 1, 0);
	return r == EMUL_IO_NEEDED ? EMUL_OK : r;
}
