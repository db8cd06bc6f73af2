// SPDX-License-Identifier: GPL-2.0-only
/*
 * Device memory: the quick way for a plain MOV.
 *
 * Drivers reach device memory with MOV almost always (readl, writel), so that MOV is decoded here without the emulator and
 * without a second translation: the nested page fault has told the guest-physical address.  The effective address is computed
 * all the same and must agree with it within the page, which catches an access that began in the page before, an instruction
 * changed by another CPU, and a fault that was not this instruction's own access.  Whatever has a prefix other than operand
 * size and REX, or lies at a page's end, goes to the emulator.
 */
#include <linux/kvm.h>
#include <asm/processor-flags.h>

#include "core/iobus.h"
#include "core/trace.h"
#include "x86/emulate_glue.h"
#include "x86/fetch.h"
#include "x86/mmio.h"

/* ---- kernel or user space ---- */

bool mmio_kernel_read(struct x86_vcpu *vcpu, u64 gpa, int len, void *val)
{
	if (vcpu->lapic && lapic_claims(vcpu->lapic, gpa)) {
		lapic_mmio_read(vcpu->lapic, offset_in_page(gpa), len, val);
		return true;
	}
	if (vcpu->lapic && unlikely(lapic_hole(vcpu->lapic, gpa))) {
		memset(val, 0xff, len);
		return true;
	}
	return !lodge_iobus_read(&vcpu->core, vcpu->core.vm, LODGE_BUS_MMIO, gpa, len, val);
}

bool mmio_kernel_write(struct x86_vcpu *vcpu, u64 gpa, int len, const void *val)
{
	if (vcpu->lapic && lapic_claims(vcpu->lapic, gpa)) {
		lapic_mmio_write(vcpu->lapic, offset_in_page(gpa), len, val);
		return true;
	}
	if (vcpu->lapic && unlikely(lapic_hole(vcpu->lapic, gpa)))
		return true;
	return !lodge_iobus_write(&vcpu->core, vcpu->core.vm, LODGE_BUS_MMIO, gpa, len, val);
}

void mmio_user_exit(struct x86_vcpu *vcpu, u64 gpa, int len, const void *data, bool write)
{
	struct kvm_run *run = vcpu->core.run;
	u64 val = 0;

	if (write)
		memcpy(&val, data, len);
	trace_lodge_mmio(write, len, gpa, val);
	run->exit_reason = KVM_EXIT_MMIO;
	run->mmio.phys_addr = gpa;
	run->mmio.len = len;
	run->mmio.is_write = write;
	if (write)
		memcpy(run->mmio.data, &val, len);
	vcpu->core.stats.mmio_exits++;
}

/* ---- the MOV ---- */

struct mov {
	u8 len;
	u8 size;		/* of the access */
	u8 width;		/* of the register that a load writes */
	u8 reg;
	bool write, high, has_imm;
	u64 imm;
	u64 ea;			/* without the segment's base */
	bool stack;		/* SS is the default segment */
};

struct mov_bytes {
	u8 b[16];
	int n, at;
	u8 rex;
};

static bool mov_take(struct mov_bytes *m, void *val, int n)
{
	if (m->at + n > m->n)
		return false;
	memcpy(val, m->b + m->at, n);
	m->at += n;
	return true;
}

static bool mov_opcode(struct mov_bytes *m, struct mov *mov, bool opsize)
{
	u8 op, wide = m->rex & 8 ? 8 : opsize ? 2 : 4;

	if (!mov_take(m, &op, 1))
		return false;
	mov->width = wide;
	switch (op) {
	case 0x88:
	case 0x89:
		mov->write = true;
		mov->size = op & 1 ? wide : 1;
		return true;
	case 0x8a:
	case 0x8b:
		mov->size = op & 1 ? wide : 1;
		mov->width = mov->size;
		return true;
	case 0xc6:
	case 0xc7:
		mov->write = true;
		mov->has_imm = true;
		mov->size = op & 1 ? wide : 1;
		return true;
	case 0x0f:
		/* MOVZX */
		if (!mov_take(m, &op, 1) || (op != 0xb6 && op != 0xb7))
			return false;
		mov->size = op == 0xb6 ? 1 : 2;
		return true;
	default:
		return false;
	}
}

static bool mov_disp(struct mov_bytes *m, int n, u64 *ea)
{
	s32 d32;
	s8 d8;

	if (n == 1) {
		if (!mov_take(m, &d8, 1))
			return false;
		*ea += (s64)d8;
	} else if (n == 4) {
		if (!mov_take(m, &d32, 4))
			return false;
		*ea += (s64)d32;
	}
	return true;
}

static bool mov_address(struct x86_vcpu *vcpu, struct mov_bytes *m, struct mov *mov, bool long64, bool *rip_relative)
{
	u8 modrm, sib, mod, rm, base, index;
	int disp;

	if (!mov_take(m, &modrm, 1))
		return false;
	mod = modrm >> 6;
	rm = modrm & 7;
	if (mod == 3)
		return false;
	mov->reg = (modrm >> 3 & 7) | (m->rex & 4 ? 8 : 0);
	if (mov->has_imm && (modrm & 0x38))
		return false;
	disp = mod == 1 ? 1 : mod == 2 ? 4 : 0;
	mov->ea = 0;
	if (rm == 4) {
		if (!mov_take(m, &sib, 1))
			return false;
		index = (sib >> 3 & 7) | (m->rex & 2 ? 8 : 0);
		base = (sib & 7) | (m->rex & 1 ? 8 : 0);
		if (index != 4)
			mov->ea += vcpu->regs[index] << (sib >> 6);
		if ((sib & 7) == 5 && mod == 0) {
			disp = 4;
		} else {
			mov->ea += vcpu->regs[base];
			mov->stack = base == REG_RSP || base == REG_RBP;
		}
	} else if (rm == 5 && mod == 0) {
		disp = 4;
		*rip_relative = long64;
	} else {
		base = rm | (m->rex & 1 ? 8 : 0);
		mov->ea += vcpu->regs[base];
		mov->stack = base == REG_RBP;
	}
	return mov_disp(m, disp, &mov->ea);
}

static bool mov_imm(struct mov_bytes *m, struct mov *mov)
{
	s32 v32;
	s16 v16;
	s8 v8;

	switch (mov->size) {
	case 1:
		if (!mov_take(m, &v8, 1))
			return false;
		mov->imm = v8;
		return true;
	case 2:
		if (!mov_take(m, &v16, 2))
			return false;
		mov->imm = v16;
		return true;
	default:
		if (!mov_take(m, &v32, 4))
			return false;
		mov->imm = (s64)v32;
		return true;
	}
}

/* Is it a MOV that we know?  Fills @mov. */
static bool mov_decode(struct x86_vcpu *vcpu, struct mov *mov, enum emul_mode mode)
{
	bool opsize = false, rip_relative = false, long64 = mode == EMUL_LONG64;
	struct mov_bytes m = { .at = 0 };

	m.n = fetch_quick(vcpu, fetch_linear_rip(vcpu), m.b);
	if (m.n < 8)
		return false;
	if (m.b[m.at] == 0x66) {
		opsize = true;
		m.at++;
	}
	if (long64 && (m.b[m.at] & 0xf0) == 0x40)
		m.rex = m.b[m.at++];
	if (!mov_opcode(&m, mov, opsize) || !mov_address(vcpu, &m, mov, long64, &rip_relative))
		return false;
	if (mov->has_imm && !mov_imm(&m, mov))
		return false;
	mov->len = m.at;
	if (rip_relative)
		mov->ea += vcpu->rip + m.at;
	/* AH, CH, DH, BH */
	if (!mov->has_imm && !m.rex && mov->reg >= 4 && (mov->write ? mov->size : mov->width) == 1) {
		mov->high = true;
		mov->reg -= 4;
	}
	return true;
}

static u64 mov_source(struct x86_vcpu *vcpu, const struct mov *mov)
{
	if (mov->has_imm)
		return mov->imm;
	return mov->high ? vcpu->regs[mov->reg] >> 8 : vcpu->regs[mov->reg];
}

static void mov_store(struct x86_vcpu *vcpu, u8 reg, u8 width, bool high, u64 val)
{
	u64 *r = &vcpu->regs[reg];

	switch (width) {
	case 1:
		*r = high ? (*r & ~0xff00ull) | (val & 0xff) << 8 : (*r & ~0xffull) | (val & 0xff);
		break;
	case 2:
		*r = (*r & ~0xffffull) | (val & 0xffff);
		break;
	case 4:
		*r = (u32)val;
		break;
	default:
		*r = val;
	}
}

static int mov_complete_read(struct x86_vcpu *vcpu)
{
	struct vcpu_emul *em = vcpu->emul;
	u64 val = 0;

	if (vcpu->rip != em->plain.rip)
		return 1;
	memcpy(&val, vcpu->core.run->mmio.data, em->plain.size);
	mov_store(vcpu, em->plain.reg, em->plain.width, em->plain.high, val);
	return emulate_advance(vcpu, em->plain.next_rip);
}

static int mov_write(struct x86_vcpu *vcpu, const struct mov *mov, u64 gpa, u64 next)
{
	u64 val = mov_source(vcpu, mov);

	if (mmio_kernel_write(vcpu, gpa, mov->size, &val))
		return emulate_advance(vcpu, next);
	if (vcpu->rflags & X86_EFLAGS_TF)
		return -1;			/* two things to report: the long way */
	emulate_advance(vcpu, next);
	mmio_user_exit(vcpu, gpa, mov->size, &val, true);
	return 0;
}

static int mov_read(struct x86_vcpu *vcpu, const struct mov *mov, u64 gpa, u64 next)
{
	struct vcpu_emul *em = vcpu->emul;
	u64 val = 0;

	if (mmio_kernel_read(vcpu, gpa, mov->size, &val)) {
		mov_store(vcpu, mov->reg, mov->width, mov->high, val);
		return emulate_advance(vcpu, next);
	}
	em->plain.rip = vcpu->rip;
	em->plain.next_rip = next;
	em->plain.reg = mov->reg;
	em->plain.size = mov->size;
	em->plain.width = mov->width;
	em->plain.high = mov->high;
	vcpu->complete = mov_complete_read;
	mmio_user_exit(vcpu, gpa, mov->size, NULL, false);
	return 0;
}

int mmio_quick(struct x86_vcpu *vcpu, u64 gpa, bool write)
{
	enum emul_mode mode = emulate_mode(vcpu);
	struct mov mov = { .len = 0 };
	struct kvm_segment seg;
	u64 linear, next;

	if (mode != EMUL_LONG64 && mode != EMUL_PROT32)
		return -1;
	if (!mov_decode(vcpu, &mov, mode) || mov.write != write)
		return -1;
	linear = mov.ea;
	if (mode == EMUL_PROT32) {
		x86_ops->get_segment(vcpu, mov.stack ? SEG_SS : SEG_DS, &seg);
		linear += seg.base;
	}
	if (offset_in_page(linear) != offset_in_page(gpa) || offset_in_page(gpa) + mov.size > PAGE_SIZE)
		return -1;
	next = vcpu->rip + mov.len;
	if (mode == EMUL_PROT32)
		next = (u32)next;
	return write ? mov_write(vcpu, &mov, gpa, next) : mov_read(vcpu, &mov, gpa, next);
}
