// SPDX-License-Identifier: GPL-2.0-only
/*
 * The opcode tables (APM 3 appendix A): for every opcode the format of what follows and who executes it.
 *
 * I(flags, handler) is an instruction that we execute, N(flags) a real one that we do not (EMUL_UNHANDLED, but its length is known),
 * U a hole in the map (#UD), F(feature, flags, handler) one that not every guest has.  G, M, R and P refer to a finer table: by
 * ModRM.reg, by ModRM.reg and whether it is a register form, by ModRM.rm, by mandatory prefix.  Flags of a group and of its entry add up.
 *
 * Of the instructions that touch memory those are executed that compilers, kernels and firmware use to reach devices: integer
 * instructions, string moves, CRC32, MOVNTI, and the plain and non-temporal moves of MMX, SSE and AVX.  Not x87 loads and stores, FXSAVE,
 * MASKMOVDQU, arithmetic on vectors, AVX-512: no use of these on devices is known in Linux, SeaBIOS, OVMF, iPXE or GRUB.
 */
#include "insn.h"

#define I(f, h)		{ .flags = (f), .exec = (h) }
#define F(n, f, h)	{ .flags = (f), .exec = (h), .feature = EMUL_FEAT_##n }
#define N(f)		{ .flags = (f) }
#define U		{ .flags = OP_UD }
#define UM		{ .flags = OP_UD | OP_MODRM }
#define G(f, t)		{ .flags = OP_GROUP | OP_MODRM | (f), .sub = (t) }
#define M(f, t)		{ .flags = OP_GROUPM | OP_MODRM | (f), .sub = (t) }
#define R(f, t)		{ .flags = OP_GROUPRM | OP_MODRM | (f), .sub = (t) }
#define P(f, t)		{ .flags = OP_PREFIX | OP_MODRM | (f), .sub = (t) }
#define X2(...)		__VA_ARGS__, __VA_ARGS__
#define X4(...)		X2(__VA_ARGS__), X2(__VA_ARGS__)
#define X8(...)		X4(__VA_ARGS__), X4(__VA_ARGS__)
#define X16(...)	X8(__VA_ARGS__), X8(__VA_ARGS__)

#define ALU(f)											\
	X2(I(OP_MODRM | OP_BYTE | (f), emul_alu)), X2(I(OP_MODRM | OP_BYTE, emul_alu)),		\
	X2(I(OP_BYTE | OP_IMMZ, emul_alu))

#define PUSH_POP	I(OP_INV64, emul_push_sreg), I(OP_INV64, emul_pop_sreg)

static const struct emul_op group1[8] = {
	X4(I(OP_LOCK, emul_alu_imm)), I(OP_LOCK, emul_alu_imm), I(OP_LOCK, emul_alu_imm), I(OP_LOCK, emul_alu_imm), I(0, emul_alu_imm),
};

static const struct emul_op group1a[8] = {
	I(OP_D64, emul_pop_rm), X4(U), U, U, U,
};

static const struct emul_op group2[8] = {
	X8(I(0, emul_shift)),
};

static const struct emul_op group3[8] = {
	X2(I(OP_IMMZ, emul_test_imm)), I(OP_LOCK, emul_not), I(OP_LOCK, emul_neg),
	I(0, emul_mul), I(0, emul_imul), I(0, emul_div), I(0, emul_idiv),
};

static const struct emul_op group4[8] = {
	I(OP_LOCK, emul_inc), I(OP_LOCK, emul_dec), X4(U), U, U,
};

static const struct emul_op group5[8] = {
	I(OP_LOCK, emul_inc), I(OP_LOCK, emul_dec), I(OP_D64, emul_call_rm), I(OP_MEM, emul_call_far_rm),
	I(OP_D64, emul_jmp_rm), I(OP_MEM, emul_jmp_far_rm), I(OP_D64, emul_push_rm), U,
};

static const struct emul_op group6[8] = {
	I(OP_PM, emul_sldt), I(OP_PM, emul_str), I(OP_PM | OP_PRIV, emul_lldt), I(OP_PM | OP_PRIV, emul_ltr),
	I(OP_PM, emul_verr), I(OP_PM, emul_verw), U, U,
};

static const struct emul_op group7_0[8] = { U, X4(N(0)), N(0), N(0), N(0) };
static const struct emul_op group7_1[8] = {
	I(OP_PRIV, emul_monitor), I(OP_PRIV, emul_mwait), X2(F(SMAP, OP_PRIV, emul_ac)), U, U, U, N(0),
};
static const struct emul_op group7_2[8] = {
	I(0, emul_xgetbv), I(OP_PRIV, emul_xsetbv), U, U, N(0), N(0), N(0), N(0),
};
static const struct emul_op group7_3[8] = { X8(N(0)) };
static const struct emul_op group7_5[8] = { X8(N(0)) };
static const struct emul_op group7_7[8] = {
	I(OP_ONLY64 | OP_PRIV, emul_swapgs), F(RDTSCP, 0, emul_rdtscp), N(0), N(0), N(0), N(0), N(0), N(0),
};

static const struct emul_op group7[16] = {
	I(0, emul_sgdt), I(0, emul_sidt), I(OP_PRIV, emul_lgdt), I(OP_PRIV, emul_lidt),
	I(0, emul_smsw), U, I(OP_PRIV, emul_lmsw), I(OP_PRIV, emul_invlpg),
	R(0, group7_0), R(0, group7_1), R(0, group7_2), R(0, group7_3),
	I(0, emul_smsw), R(0, group7_5), I(OP_PRIV, emul_lmsw), R(0, group7_7),
};

static const struct emul_op group8[8] = {
	X4(U), I(0, emul_bt_imm), X2(I(OP_LOCK, emul_bt_imm)), I(OP_LOCK, emul_bt_imm),
};

static const struct emul_op group9[16] = {
	U, F(CX8, OP_LOCK, emul_cmpxchg8b), U, N(0), N(0), N(0), N(0), N(0),
	U, U, U, U, U, U, N(0), N(0),
};

static const struct emul_op group11[8] = {
	I(OP_BYTE | OP_IMMZ, emul_mov_rm_imm), X4(U), U, U, U,
};

static const struct emul_op group15_f3[8] = { X4(I(OP_ONLY64, emul_fsgsbase)), N(0), N(0), N(0), N(0) };
static const struct emul_op group15_clwb[4] = { N(0), F(CLWB, 0, emul_clflush), N(0), N(0) };
static const struct emul_op group15_clflush[4] = { F(CLFLUSH, 0, emul_clflush), F(CLFLUSHOPT, 0, emul_clflush), N(0), N(0) };
static const struct emul_op group15_r0[4] = { U, U, G(0, group15_f3), U };
static const struct emul_op group15_r5[4] = { I(0, emul_nop), N(0), N(0), N(0) };

static const struct emul_op group15[16] = {
	N(0), N(0), N(0), N(0), N(0), N(0), P(0, group15_clwb), P(0, group15_clflush),
	X4(P(0, group15_r0)), N(0), P(0, group15_r5), P(0, group15_r5), P(0, group15_r5),
};

/* Escapes to the x87: what touches memory without computing. */
static const struct emul_op x87_d9[16] = {
	N(0), U, N(0), N(0), N(0), I(0, emul_fldcw), N(0), I(0, emul_fnstcw),
	X8(N(0)),
};
static const struct emul_op x87_db_r4[8] = {
	N(0), N(0), I(0, emul_fnclex), I(0, emul_fninit), N(0), U, U, U,
};
static const struct emul_op x87_db[16] = {
	X4(N(0)), U, N(0), U, N(0),
	X4(N(0)), R(0, x87_db_r4), N(0), N(0), U,
};
static const struct emul_op x87_dd[16] = {
	X4(N(0)), N(0), U, N(0), I(0, emul_fnstsw),
	X4(N(0)), N(0), N(0), U, U,
};
static const struct emul_op x87_df_r4[8] = { I(0, emul_fnstsw_ax), U, U, U, U, U, U, U };
static const struct emul_op x87_df[16] = {
	X8(N(0)),
	X4(N(0)), R(0, x87_df_r4), N(0), N(0), U,
};

/* Vector moves: no prefix, 66, F3, F2. */
#define V(n, f, h)	F(n, OP_VEX | (f), h)
#define VA(n, f, h)	F(n, OP_VEX | OP_AVX | (f), h)
static const struct emul_op v10[4] = {
	VA(SSE, 0, emul_vmov_load), VA(SSE2, 0, emul_vmov_load), V(SSE, 0, emul_vmov_scalar_load), V(SSE2, 0, emul_vmov_scalar_load),
};
static const struct emul_op v11[4] = {
	VA(SSE, 0, emul_vmov_store), VA(SSE2, 0, emul_vmov_store), V(SSE, 0, emul_vmov_scalar_store), V(SSE2, 0, emul_vmov_scalar_store),
};
static const struct emul_op v12[4] = { V(SSE, 0, emul_vmovl_load), V(SSE2, OP_MEM, emul_vmovl_load), N(0), N(0) };
static const struct emul_op v13[4] = { VA(SSE, OP_MEM, emul_vmovl_store), VA(SSE2, OP_MEM, emul_vmovl_store), U, U };
static const struct emul_op v16[4] = { V(SSE, 0, emul_vmovh_load), V(SSE2, OP_MEM, emul_vmovh_load), N(0), U };
static const struct emul_op v17[4] = { VA(SSE, OP_MEM, emul_vmovh_store), VA(SSE2, OP_MEM, emul_vmovh_store), U, U };
static const struct emul_op v28[4] = { VA(SSE, 0, emul_vmova_load), VA(SSE2, 0, emul_vmova_load), U, U };
static const struct emul_op v29[4] = { VA(SSE, 0, emul_vmova_store), VA(SSE2, 0, emul_vmova_store), U, U };
static const struct emul_op v2b[4] = { VA(SSE, OP_MEM, emul_vmova_store), VA(SSE2, OP_MEM, emul_vmova_store), N(OP_MEM), N(OP_MEM) };
static const struct emul_op v6e[4] = { F(MMX, 0, emul_mmx_movd_load), VA(SSE2, 0, emul_vmovd_load), U, U };
static const struct emul_op v7e[4] = {
	F(MMX, 0, emul_mmx_movd_store), VA(SSE2, 0, emul_vmovd_store), VA(SSE2, 0, emul_vmovq_load), U,
};
static const struct emul_op v6f[4] = { F(MMX, 0, emul_mmx_load), VA(SSE2, 0, emul_vmova_load), VA(SSE2, 0, emul_vmov_load), U };
static const struct emul_op v7f[4] = { F(MMX, 0, emul_mmx_store), VA(SSE2, 0, emul_vmova_store), VA(SSE2, 0, emul_vmov_store), U };
static const struct emul_op vd6[4] = { U, VA(SSE2, 0, emul_vmovq_store), N(OP_REG), N(OP_REG) };
static const struct emul_op ve7[4] = { F(SSE, OP_MEM, emul_mmx_store), VA(SSE2, OP_MEM, emul_vmova_store), U, U };
static const struct emul_op vf0[4] = { U, U, U, VA(SSE3, OP_MEM, emul_vmov_load) };
static const struct emul_op v2a38[4] = { U, VA(SSE41, OP_MEM | OP_AVX2, emul_vmova_load), U, U };

static const struct emul_op bsf_col[4] = { X2(I(0, emul_bsf)), I(0, emul_tzcnt), I(0, emul_bsf) };
static const struct emul_op bsr_col[4] = { X2(I(0, emul_bsr)), I(0, emul_lzcnt), I(0, emul_bsr) };
static const struct emul_op popcnt_col[4] = { X2(UM), F(POPCNT, 0, emul_popcnt), UM };
static const struct emul_op movnti_col[4] = { F(SSE2, OP_MEM, emul_movnti), U, U, U };
static const struct emul_op sse4a_78[4] = { N(0), N(OP_IMMSSE4A), N(0), N(OP_IMMSSE4A) };
static const struct emul_op movbe_load_col[4] = { X2(F(MOVBE, OP_MEM, emul_movbe)), N(0), F(SSE42, OP_BYTE, emul_crc32) };

const struct emul_op emul_optab_1byte[256] = {
	/* 00 */ ALU(OP_LOCK), PUSH_POP, ALU(OP_LOCK), I(OP_INV64, emul_push_sreg), N(0),
	/* 10 */ ALU(OP_LOCK), PUSH_POP, ALU(OP_LOCK), PUSH_POP,
	/* 20 */ ALU(OP_LOCK), U, I(OP_INV64, emul_daa), ALU(OP_LOCK), U, I(OP_INV64, emul_das),
	/* 30 */ ALU(OP_LOCK), U, I(OP_INV64, emul_aaa), ALU(0), U, I(OP_INV64, emul_aas),
	/* 40 */ X8(I(OP_INV64, emul_inc_r)), X8(I(OP_INV64, emul_dec_r)),
	/* 50 */ X8(I(OP_D64, emul_push_r)), X8(I(OP_D64, emul_pop_r)),
	/* 60 */ I(OP_INV64, emul_pusha), I(OP_INV64, emul_popa), I(OP_MODRM | OP_INV64 | OP_MEM, emul_bound), I(OP_MODRM, emul_movsxd),
		 U, U, U, U,
		 I(OP_D64 | OP_IMMZ, emul_push_imm), I(OP_MODRM | OP_IMMZ, emul_imul_imm),
		 I(OP_D64 | OP_IMM8S, emul_push_imm), I(OP_MODRM | OP_IMM8S, emul_imul_imm),
		 X2(I(OP_BYTE, emul_ins)), X2(I(OP_BYTE, emul_outs)),
	/* 70 */ X16(I(OP_D64 | OP_IMM8S, emul_jcc8)),
	/* 80 */ X2(G(OP_BYTE | OP_IMMZ, group1)), G(OP_BYTE | OP_IMMZ | OP_INV64, group1), G(OP_IMM8S, group1),
		 X2(I(OP_MODRM | OP_BYTE, emul_test)), X2(I(OP_MODRM | OP_BYTE | OP_LOCK, emul_xchg)),
		 X2(I(OP_MODRM | OP_BYTE, emul_mov_rm_r)), X2(I(OP_MODRM | OP_BYTE, emul_mov_r_rm)),
		 I(OP_MODRM, emul_mov_rm_sreg), I(OP_MODRM | OP_MEM, emul_lea), I(OP_MODRM, emul_mov_sreg_rm), G(0, group1a),
	/* 90 */ X8(I(0, emul_xchg_ax)),
		 I(0, emul_cbw), I(0, emul_cwd), I(OP_INV64 | OP_IMMFAR, emul_call_far_imm), I(0, emul_fwait),
		 I(OP_D64, emul_pushf), I(OP_D64, emul_popf), I(0, emul_sahf), I(0, emul_lahf),
	/* a0 */ X4(I(OP_BYTE | OP_IMMOFFS, emul_mov_moffs)),
		 X2(I(OP_BYTE, emul_movs)), X2(I(OP_BYTE, emul_cmps)),
		 X2(I(OP_BYTE | OP_IMMZ, emul_test_imm)), X2(I(OP_BYTE, emul_stos)), X2(I(OP_BYTE, emul_lods)), X2(I(OP_BYTE, emul_scas)),
	/* b0 */ X8(I(OP_IMM8, emul_mov_r_imm8)), X8(I(OP_IMMV, emul_mov_r_imm)),
	/* c0 */ X2(G(OP_BYTE | OP_IMM8, group2)), I(OP_D64 | OP_IMM16, emul_ret), I(OP_D64, emul_ret),
		 X2(I(OP_MODRM | OP_MEM | OP_INV64, emul_load_far)), X2(G(0, group11)),
		 I(OP_D64 | OP_IMMENTER, emul_enter), I(OP_D64, emul_leave), I(OP_IMM16, emul_ret_far), I(0, emul_ret_far),
		 I(0, emul_int3), I(OP_IMM8, emul_int), I(OP_INV64, emul_into), I(0, emul_iret),
	/* d0 */ X4(G(OP_BYTE, group2)), I(OP_INV64 | OP_IMM8, emul_aam), I(OP_INV64 | OP_IMM8, emul_aad), I(OP_INV64, emul_salc),
		 I(0, emul_xlat),
		 N(OP_MODRM), M(0, x87_d9), N(OP_MODRM), M(0, x87_db), N(OP_MODRM), M(0, x87_dd), N(OP_MODRM), M(0, x87_df),
	/* e0 */ I(OP_D64 | OP_IMM8S, emul_loop), I(OP_D64 | OP_IMM8S, emul_loop), I(OP_D64 | OP_IMM8S, emul_loop),
		 I(OP_D64 | OP_IMM8S, emul_jcxz),
		 X2(I(OP_BYTE | OP_IMM8, emul_in_imm)), X2(I(OP_BYTE | OP_IMM8, emul_out_imm)),
		 I(OP_D64 | OP_IMMZ, emul_call_rel), I(OP_D64 | OP_IMMZ, emul_jmp_rel), I(OP_INV64 | OP_IMMFAR, emul_jmp_far_imm),
		 I(OP_D64 | OP_IMM8S, emul_jmp_rel),
		 X2(I(OP_BYTE, emul_in_dx)), X2(I(OP_BYTE, emul_out_dx)),
	/* f0 */ U, I(0, emul_int1), U, U, I(OP_PRIV, emul_hlt), I(0, emul_flag), X2(G(OP_BYTE, group3)),
		 X2(I(0, emul_flag)), I(0, emul_cli), I(0, emul_sti), X2(I(0, emul_flag)), G(OP_BYTE, group4), G(0, group5),
};

#define SSE8	X8(N(OP_MODRM))

const struct emul_op emul_optab_0f[256] = {
	/* 00 */ G(0, group6), M(0, group7), I(OP_MODRM | OP_PM, emul_lar), I(OP_MODRM | OP_PM, emul_lsl), U, N(0), I(OP_PRIV, emul_clts), N(0),
		 X2(I(OP_PRIV, emul_wbinvd)), U, U, U, I(OP_MODRM | OP_MEM, emul_nop), N(0), N(OP_MODRM | OP_IMM8),
	/* 10 */ P(0, v10), P(0, v11), P(0, v12), P(0, v13), N(OP_MODRM), N(OP_MODRM), P(0, v16), P(0, v17),
		 X8(I(OP_MODRM, emul_nop)),
	/* 20 */ I(OP_MODRM | OP_NOMOD | OP_PRIV | OP_LOCK_CR8, emul_mov_r_cr), I(OP_MODRM | OP_NOMOD | OP_PRIV, emul_mov_r_dr),
		 I(OP_MODRM | OP_NOMOD | OP_PRIV | OP_LOCK_CR8, emul_mov_cr_r), I(OP_MODRM | OP_NOMOD | OP_PRIV, emul_mov_dr_r), X4(U),
		 P(0, v28), P(0, v29), N(OP_MODRM), P(0, v2b), X4(N(OP_MODRM)),
	/* 30 */ I(OP_PRIV, emul_wrmsr), I(0, emul_rdtsc), I(OP_PRIV, emul_rdmsr), I(0, emul_rdpmc), N(0), N(0), U, U, X8(U),
	/* 40 */ X16(F(CMOV, OP_MODRM, emul_cmovcc)),
	/* 50 */ SSE8, SSE8,
	/* 60 */ SSE8, X4(N(OP_MODRM)), N(OP_MODRM), N(OP_MODRM), P(0, v6e), P(0, v6f),
	/* 70 */ X4(N(OP_MODRM | OP_IMM8)), X2(N(OP_MODRM)), N(OP_MODRM), N(0),
		 P(0, sse4a_78), N(OP_MODRM), U, U, N(OP_MODRM), N(OP_MODRM), P(0, v7e), P(0, v7f),
	/* 80 */ X16(I(OP_D64 | OP_IMMZ, emul_jcc)),
	/* 90 */ X16(I(OP_MODRM, emul_setcc)),
	/* a0 */ I(OP_D64, emul_push_sreg), I(OP_D64, emul_pop_sreg), I(0, emul_do_cpuid), I(OP_MODRM, emul_bt_r),
		 I(OP_MODRM | OP_IMM8, emul_shld), I(OP_MODRM, emul_shld), U, U,
		 I(OP_D64, emul_push_sreg), I(OP_D64, emul_pop_sreg), U, I(OP_MODRM | OP_LOCK, emul_bt_r),
		 I(OP_MODRM | OP_IMM8, emul_shrd), I(OP_MODRM, emul_shrd), M(0, group15), I(OP_MODRM, emul_imul_r),
	/* b0 */ X2(I(OP_MODRM | OP_BYTE | OP_LOCK, emul_cmpxchg)), I(OP_MODRM | OP_MEM, emul_load_far), I(OP_MODRM | OP_LOCK, emul_bt_r),
		 X2(I(OP_MODRM | OP_MEM, emul_load_far)), X2(I(OP_MODRM, emul_movzx)),
		 P(0, popcnt_col), UM, G(OP_IMM8, group8), I(OP_MODRM | OP_LOCK, emul_bt_r), P(0, bsf_col), P(0, bsr_col),
		 X2(I(OP_MODRM, emul_movsx)),
	/* c0 */ X2(I(OP_MODRM | OP_BYTE | OP_LOCK, emul_xadd)), N(OP_MODRM | OP_IMM8), P(0, movnti_col),
		 X2(N(OP_MODRM | OP_IMM8)), N(OP_MODRM | OP_IMM8), M(0, group9), X8(I(0, emul_bswap)),
	/* d0 */ X4(N(OP_MODRM)), N(OP_MODRM), N(OP_MODRM), P(0, vd6), N(OP_MODRM), SSE8,
	/* e0 */ X4(N(OP_MODRM)), N(OP_MODRM), N(OP_MODRM), N(OP_MODRM), P(0, ve7), SSE8,
	/* f0 */ P(0, vf0), N(OP_MODRM), X2(N(OP_MODRM)), X4(N(OP_MODRM)), X4(N(OP_MODRM)), X2(N(OP_MODRM)), N(OP_MODRM), UM,
};

const struct emul_op *emul_optab_0f38(u8 opcode)
{
	static const struct emul_op unknown = N(OP_MODRM);
	static const struct emul_op movntdqa = P(0, v2a38);
	static const struct emul_op movbe_load = P(0, movbe_load_col);

	switch (opcode) {
	case 0x2a:
		return &movntdqa;
	case 0xf0:
	case 0xf1:
		return &movbe_load;
	}
	return &unknown;
}

const struct emul_op *emul_optab_0f3a(u8 opcode)
{
	static const struct emul_op unknown = N(OP_MODRM | OP_IMM8);

	(void)opcode;
	return &unknown;
}
