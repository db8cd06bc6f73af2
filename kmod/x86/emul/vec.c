// SPDX-License-Identifier: GPL-2.0-only
/*
 * Moves between memory and vector, MMX and x87 control registers: what compilers and firmware use to copy to and from device memory.
 *
 * A VEX.128 instruction clears the register above bit 127, a legacy SSE one keeps it; set_vec() has a length for that.  Aligned moves are
 * #GP(0) off their alignment.  CR0, CR4 and XCR0 decide in the manual's order between #UD and #NM (APM 4 §1.7, SDM 2A §2.4).
 */
#include "insn.h"

static bool is_avx(const struct emul_ctxt *ctxt)
{
	return ctxt->d.vex != 0;
}

/* The register that VEX.vvvv names; outside 64-bit mode there are eight, and bit 3 only counts where vvvv must be unused. */
static unsigned int vvvv(const struct emul_ctxt *ctxt)
{
	return ctxt->d.vex_v & (ctxt->mode == EMUL_LONG64 ? 15 : 7);
}

static unsigned int vec_bytes(const struct emul_ctxt *ctxt)
{
	return is_avx(ctxt) && ctxt->d.vex_l ? 32 : 16;
}

/* May SSE (or AVX) be used now, and does the caller have vector registers at all? */
int emul_vec_check(struct emul_ctxt *ctxt, bool avx)
{
	u64 cr0 = ctxt->ops->get_cr(ctxt, 0), cr4 = ctxt->ops->get_cr(ctxt, 4);

	if (avx) {
		if (!emul_protected(ctxt) || !(cr4 & CR4_OSXSAVE) || (ctxt->ops->get_cr(ctxt, EMUL_XCR0) & 6) != 6)
			return emul_ud(ctxt);
	} else if (cr0 & CR0_EM || !(cr4 & CR4_OSFXSR)) {
		return emul_ud(ctxt);
	}
	if (cr0 & CR0_TS)
		return emul_fault(ctxt, EMUL_EXC_NM);
	if (!ctxt->ops->get_vec || !ctxt->ops->set_vec)
		return EMUL_UNHANDLED;
	return EMUL_OK;
}

/* Write n bytes worth of vector register; everything above is zero for AVX. */
static void vec_set(struct emul_ctxt *ctxt, unsigned int nr, const struct emul_vec *vec)
{
	ctxt->ops->set_vec(ctxt, nr, vec, is_avx(ctxt) ? 32 : 16);
}

static int vec_rm_linear(struct emul_ctxt *ctxt, unsigned int n, bool aligned, unsigned int flags, u64 *linear)
{
	int r = emul_linear(ctxt, ctxt->d.seg, ctxt->d.ea, n, flags, linear);

	if (!r && aligned && *linear & (n - 1))
		return emul_gp0(ctxt);
	return r;
}

static int vec_load(struct emul_ctxt *ctxt, unsigned int n, bool aligned)
{
	struct emul_vec vec = { { 0 } };
	u64 linear;
	int r = emul_vec_check(ctxt, is_avx(ctxt));

	if (r)
		return r;
	if (ctxt->d.mem) {
		r = vec_rm_linear(ctxt, n, aligned, 0, &linear);
		if (!r)
			r = ctxt->ops->read(ctxt, linear, &vec, n, 0);
		if (r)
			return r;
	} else {
		ctxt->ops->get_vec(ctxt, ctxt->d.rm, &vec);
		memset((u8 *)&vec + n, 0, sizeof(vec) - n);
	}
	vec_set(ctxt, ctxt->d.reg, &vec);
	return EMUL_OK;
}

static int vec_store(struct emul_ctxt *ctxt, unsigned int n, bool aligned)
{
	struct emul_vec vec;
	u64 linear;
	int r = emul_vec_check(ctxt, is_avx(ctxt));

	if (r)
		return r;
	ctxt->ops->get_vec(ctxt, ctxt->d.reg, &vec);
	if (ctxt->d.mem) {
		r = vec_rm_linear(ctxt, n, aligned, EMUL_ACC_WRITE, &linear);
		return r ? r : ctxt->ops->write(ctxt, linear, &vec, n, 0);
	}
	memset((u8 *)&vec + n, 0, sizeof(vec) - n);
	vec_set(ctxt, ctxt->d.rm, &vec);
	return EMUL_OK;
}

/* MOVUPS MOVUPD MOVDQU LDDQU */
int emul_vmov_load(struct emul_ctxt *ctxt)
{
	return vec_load(ctxt, vec_bytes(ctxt), false);
}

int emul_vmov_store(struct emul_ctxt *ctxt)
{
	return vec_store(ctxt, vec_bytes(ctxt), false);
}

/* MOVAPS MOVAPD MOVDQA MOVNTDQA; stores also MOVNTPS MOVNTPD MOVNTDQ */
int emul_vmova_load(struct emul_ctxt *ctxt)
{
	return vec_load(ctxt, vec_bytes(ctxt), true);
}

int emul_vmova_store(struct emul_ctxt *ctxt)
{
	return vec_store(ctxt, vec_bytes(ctxt), true);
}

/*
 * MOVSS (F3), MOVSD (F2).  From memory the rest of the register becomes zero; between registers it stays, or with VEX comes from vvvv.
 */
static int scalar_merge(struct emul_ctxt *ctxt, unsigned int dst, unsigned int src, unsigned int n)
{
	struct emul_vec from, to;
	int r = emul_vec_check(ctxt, is_avx(ctxt));

	if (r)
		return r;
	ctxt->ops->get_vec(ctxt, src, &from);
	ctxt->ops->get_vec(ctxt, is_avx(ctxt) ? vvvv(ctxt) : dst, &to);
	memcpy(&to, &from, n);
	to.q[2] = 0;
	to.q[3] = 0;
	vec_set(ctxt, dst, &to);
	return EMUL_OK;
}

static unsigned int scalar_bytes(const struct emul_ctxt *ctxt)
{
	if (ctxt->d.vex)
		return ctxt->d.vex_pp == 2 ? 4 : 8;
	return ctxt->d.rep == 0xf3 ? 4 : 8;
}

int emul_vmov_scalar_load(struct emul_ctxt *ctxt)
{
	if (!ctxt->d.mem)
		return scalar_merge(ctxt, ctxt->d.reg, ctxt->d.rm, scalar_bytes(ctxt));
	if (ctxt->d.vex_v)
		return emul_ud(ctxt);
	return vec_load(ctxt, scalar_bytes(ctxt), false);
}

int emul_vmov_scalar_store(struct emul_ctxt *ctxt)
{
	if (!ctxt->d.mem)
		return scalar_merge(ctxt, ctxt->d.rm, ctxt->d.reg, scalar_bytes(ctxt));
	if (ctxt->d.vex_v)
		return emul_ud(ctxt);
	return vec_store(ctxt, scalar_bytes(ctxt), false);
}

/* MOVLPS, MOVLPD, MOVHPS, MOVHPD; register forms MOVHLPS, MOVLHPS.  half: which one of the destination is replaced. */
static int half_load(struct emul_ctxt *ctxt, unsigned int half)
{
	const struct emul_insn *d = &ctxt->d;
	struct emul_vec to, from;
	u64 value;
	int r = is_avx(ctxt) && d->vex_l ? emul_ud(ctxt) : emul_vec_check(ctxt, is_avx(ctxt));

	if (!r && d->mem)
		r = emul_ea_read(ctxt, 8, &value);
	if (r)
		return r;
	if (!d->mem) {
		ctxt->ops->get_vec(ctxt, d->rm, &from);
		value = from.q[!half];
	}
	ctxt->ops->get_vec(ctxt, is_avx(ctxt) ? vvvv(ctxt) : d->reg, &to);
	to.q[half] = value;
	to.q[2] = 0;
	to.q[3] = 0;
	vec_set(ctxt, d->reg, &to);
	return EMUL_OK;
}

static int half_store(struct emul_ctxt *ctxt, unsigned int half)
{
	struct emul_vec vec;
	int r = is_avx(ctxt) && ctxt->d.vex_l ? emul_ud(ctxt) : emul_vec_check(ctxt, is_avx(ctxt));

	if (r)
		return r;
	ctxt->ops->get_vec(ctxt, ctxt->d.reg, &vec);
	return emul_ea_write(ctxt, 8, vec.q[half]);
}

int emul_vmovl_load(struct emul_ctxt *ctxt)
{
	return half_load(ctxt, 0);
}

int emul_vmovl_store(struct emul_ctxt *ctxt)
{
	return half_store(ctxt, 0);
}

int emul_vmovh_load(struct emul_ctxt *ctxt)
{
	return half_load(ctxt, 1);
}

int emul_vmovh_store(struct emul_ctxt *ctxt)
{
	return half_store(ctxt, 1);
}

/* 66 0F 6E, 66 0F 7E: MOVD, MOVQ between xmm and a general register or memory */
static unsigned int gpr_bytes(const struct emul_ctxt *ctxt)
{
	return ctxt->d.rex & 8 && ctxt->mode == EMUL_LONG64 ? 8 : 4;
}

static int no_l(struct emul_ctxt *ctxt)
{
	if (is_avx(ctxt) && ctxt->d.vex_l)
		return emul_ud(ctxt);
	return emul_vec_check(ctxt, is_avx(ctxt));
}

int emul_vmovd_load(struct emul_ctxt *ctxt)
{
	struct emul_vec vec = { { 0 } };
	int r = no_l(ctxt);

	if (!r)
		r = emul_rm_read(ctxt, gpr_bytes(ctxt), &vec.q[0]);
	if (r)
		return r;
	vec_set(ctxt, ctxt->d.reg, &vec);
	return EMUL_OK;
}

int emul_vmovd_store(struct emul_ctxt *ctxt)
{
	struct emul_vec vec;
	int r = no_l(ctxt);

	if (r)
		return r;
	ctxt->ops->get_vec(ctxt, ctxt->d.reg, &vec);
	return emul_rm_write(ctxt, gpr_bytes(ctxt), vec.q[0]);
}

/* F3 0F 7E, 66 0F D6 */
int emul_vmovq_load(struct emul_ctxt *ctxt)
{
	int r = no_l(ctxt);

	return r ? r : vec_load(ctxt, 8, false);
}

int emul_vmovq_store(struct emul_ctxt *ctxt)
{
	int r = no_l(ctxt);

	return r ? r : vec_store(ctxt, 8, false);
}

static int mmx_check(struct emul_ctxt *ctxt)
{
	u64 cr0 = ctxt->ops->get_cr(ctxt, 0);

	if (cr0 & CR0_EM)
		return emul_ud(ctxt);
	if (cr0 & CR0_TS)
		return emul_fault(ctxt, EMUL_EXC_NM);
	if (!ctxt->ops->get_mmx || !ctxt->ops->set_mmx)
		return EMUL_UNHANDLED;
	return EMUL_OK;
}

/* REX.R and REX.B mean nothing to MMX registers. */
static int mmx_move(struct emul_ctxt *ctxt, bool store)
{
	unsigned int reg = ctxt->d.modrm >> 3 & 7, rm = ctxt->d.modrm & 7;
	u64 value;
	int r = mmx_check(ctxt);

	if (r)
		return r;
	if (ctxt->d.mem && !store) {
		r = emul_ea_read(ctxt, 8, &value);
		if (!r)
			ctxt->ops->set_mmx(ctxt, reg, value);
		return r;
	}
	ctxt->ops->get_mmx(ctxt, store ? reg : rm, &value);
	if (ctxt->d.mem)
		return emul_ea_write(ctxt, 8, value);
	ctxt->ops->set_mmx(ctxt, store ? rm : reg, value);
	return EMUL_OK;
}

int emul_mmx_load(struct emul_ctxt *ctxt)
{
	return mmx_move(ctxt, false);
}

/* MOVQ and MOVNTQ */
int emul_mmx_store(struct emul_ctxt *ctxt)
{
	return mmx_move(ctxt, true);
}

int emul_mmx_movd_load(struct emul_ctxt *ctxt)
{
	u64 value;
	int r = mmx_check(ctxt);

	if (!r)
		r = emul_rm_read(ctxt, gpr_bytes(ctxt), &value);
	if (r)
		return r;
	ctxt->ops->set_mmx(ctxt, ctxt->d.modrm >> 3 & 7, value);
	return EMUL_OK;
}

int emul_mmx_movd_store(struct emul_ctxt *ctxt)
{
	u64 value;
	int r = mmx_check(ctxt);

	if (r)
		return r;
	ctxt->ops->get_mmx(ctxt, ctxt->d.modrm >> 3 & 7, &value);
	return emul_rm_write(ctxt, gpr_bytes(ctxt), value);
}

int emul_fwait(struct emul_ctxt *ctxt)
{
	u64 cr0 = ctxt->ops->get_cr(ctxt, 0);

	if ((cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
		return emul_fault(ctxt, EMUL_EXC_NM);
	return EMUL_OK;
}

static int x87(struct emul_ctxt *ctxt, enum emul_fpu what, u16 *word)
{
	if (ctxt->ops->get_cr(ctxt, 0) & (CR0_EM | CR0_TS))
		return emul_fault(ctxt, EMUL_EXC_NM);
	return ctxt->ops->fpu ? ctxt->ops->fpu(ctxt, what, word) : EMUL_UNHANDLED;
}

int emul_fninit(struct emul_ctxt *ctxt)
{
	return x87(ctxt, EMUL_FPU_INIT, NULL);
}

int emul_fnclex(struct emul_ctxt *ctxt)
{
	return x87(ctxt, EMUL_FPU_CLEAR_EXC, NULL);
}

/* The operand is read only where the x87 may be used: #NM comes before a page fault. */
int emul_fldcw(struct emul_ctxt *ctxt)
{
	u64 value;
	u16 word;
	int r = x87(ctxt, EMUL_FPU_GET_CW, &word);

	if (!r)
		r = emul_ea_read(ctxt, 2, &value);
	if (r)
		return r;
	word = value;
	return x87(ctxt, EMUL_FPU_SET_CW, &word);
}

static int x87_store(struct emul_ctxt *ctxt, enum emul_fpu what)
{
	u16 word = 0;
	int r = x87(ctxt, what, &word);

	return r ? r : emul_ea_write(ctxt, 2, word);
}

int emul_fnstcw(struct emul_ctxt *ctxt)
{
	return x87_store(ctxt, EMUL_FPU_GET_CW);
}

int emul_fnstsw(struct emul_ctxt *ctxt)
{
	return x87_store(ctxt, EMUL_FPU_GET_SW);
}

int emul_fnstsw_ax(struct emul_ctxt *ctxt)
{
	u16 word = 0;
	int r = x87(ctxt, EMUL_FPU_GET_SW, &word);

	if (r)
		return r;
	emul_reg_write(ctxt, EMUL_RAX, 2, word);
	return EMUL_OK;
}
