// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest's FPU as user space reads and writes it, and as the emulator reaches single registers.
 *
 * The state lives in a buffer of the kernel's own (struct fpu_guest); while KVM_RUN is in progress it is in the CPU, except
 * when the kernel has borrowed the FPU in between.
 */
#include <linux/kvm.h>
#include <linux/uaccess.h>
#include <asm/fpu/api.h>
#include <asm/fpu/types.h>
#include <asm/fpu/xcr.h>

#include "core/ioctl.h"
#include "x86/fpu.h"
#include "x86/regs.h"
#include "x86/vcpu.h"

/* Features that may stand in an image from user space. */
static u64 fpu_supported_xcr0(void)
{
	static const u64 known = XFEATURE_MASK_FPSSE | XFEATURE_MASK_YMM | XFEATURE_MASK_BNDREGS | XFEATURE_MASK_BNDCSR |
				 XFEATURE_MASK_AVX512 | XFEATURE_MASK_PKRU;

	if (!boot_cpu_has(X86_FEATURE_OSXSAVE))
		return XFEATURE_MASK_FPSSE;
	return xgetbv(XCR_XFEATURE_ENABLED_MASK) & known;
}

static struct fxregs_state *fpu_fxsave(struct x86_vcpu *vcpu)
{
	return &vcpu->fpu.fpstate->regs.fxsave;
}

long fpu_ioctl_get(void *obj, void *arg)
{
	const struct fxregs_state *fx = fpu_fxsave(to_x86(obj));
	struct kvm_fpu *k = arg;

	memset(k, 0, sizeof(*k));
	memcpy(k->fpr, fx->st_space, sizeof(k->fpr));
	k->fcw = fx->cwd;
	k->fsw = fx->swd;
	k->ftwx = fx->twd;
	k->last_opcode = fx->fop;
	k->last_ip = fx->rip;
	k->last_dp = fx->rdp;
	memcpy(k->xmm, fx->xmm_space, sizeof(k->xmm));
	k->mxcsr = fx->mxcsr;
	return 0;
}

long fpu_ioctl_set(void *obj, void *arg)
{
	struct x86_vcpu *vcpu = to_x86(obj);
	struct fxregs_state *fx = fpu_fxsave(vcpu);
	const struct kvm_fpu *k = arg;

	memcpy(fx->st_space, k->fpr, sizeof(k->fpr));
	fx->cwd = k->fcw;
	fx->swd = k->fsw;
	fx->twd = k->ftwx;
	fx->fop = k->last_opcode;
	fx->rip = k->last_ip;
	fx->rdp = k->last_dp;
	memcpy(fx->xmm_space, k->xmm, sizeof(k->xmm));
	/* A reserved MXCSR bit would fault in the kernel's own restore. */
	fx->mxcsr = k->mxcsr & 0xffff;
	/* What was written is not in its initial state. */
	if (boot_cpu_has(X86_FEATURE_XSAVE))
		vcpu->fpu.fpstate->regs.xsave.header.xfeatures |= XFEATURE_MASK_FPSSE;
	return 0;
}

unsigned int fpu_xsave_size(struct x86_vcpu *vcpu)
{
	return max_t(unsigned int, sizeof(struct kvm_xsave), vcpu->fpu.uabi_size);
}

static long fpu_get_xsave(struct x86_vcpu *vcpu, void __user *user, unsigned int size)
{
	void *buf = kvzalloc(size, GFP_KERNEL_ACCOUNT);
	long r = 0;

	if (!buf)
		return -ENOMEM;
	fpu_copy_guest_fpstate_to_uabi(&vcpu->fpu, buf, size, vcpu->fpu.fpstate->user_xfeatures, vcpu->pkru);
	if (copy_to_user(user, buf, size))
		r = -EFAULT;
	kvfree(buf);
	return r;
}

long fpu_ioctl_get_xsave(void *obj, void *arg)
{
	return fpu_get_xsave(to_x86(obj), (void __user *)arg, sizeof(struct kvm_xsave));
}

long fpu_ioctl_get_xsave2(void *obj, void *arg)
{
	struct x86_vcpu *vcpu = to_x86(obj);

	return fpu_get_xsave(vcpu, (void __user *)arg, fpu_xsave_size(vcpu));
}

long fpu_ioctl_set_xsave(void *obj, void *arg)
{
	struct x86_vcpu *vcpu = to_x86(obj);
	void *buf = lodge_ioctl_dup((void __user *)arg, fpu_xsave_size(vcpu));
	long r;

	if (IS_ERR(buf))
		return PTR_ERR(buf);
	r = fpu_copy_uabi_to_guest_fpstate(&vcpu->fpu, buf, fpu_supported_xcr0(), &vcpu->pkru);
	kvfree(buf);
	return r;
}

long fpu_ioctl_get_xcrs(void *obj, void *arg)
{
	struct x86_vcpu *vcpu = to_x86(obj);
	struct kvm_xcrs *x = arg;

	if (!boot_cpu_has(X86_FEATURE_XSAVE))
		return -EINVAL;
	memset(x, 0, sizeof(*x));
	x->nr_xcrs = 1;
	x->xcrs[0].xcr = 0;
	x->xcrs[0].value = vcpu->xcr0;
	return 0;
}

long fpu_ioctl_set_xcrs(void *obj, void *arg)
{
	struct x86_vcpu *vcpu = to_x86(obj);
	const struct kvm_xcrs *x = arg;
	unsigned int i;

	if (!boot_cpu_has(X86_FEATURE_XSAVE) || x->flags || x->nr_xcrs > KVM_MAX_XCRS)
		return -EINVAL;
	for (i = 0; i < x->nr_xcrs; i++)
		if (x->xcrs[i].xcr == 0)
			return vcpu_set_xcr0(vcpu, x->xcrs[i].value) ? -EINVAL : 0;
	return 0;
}

/* ---- single registers, for the emulator ---- */

static void fpu_hold(void)
{
	fpregs_lock();
	if (test_thread_flag(TIF_NEED_FPU_LOAD))
		switch_fpu_return();
}

static void fpu_release(void)
{
	fpregs_unlock();
}

#define EACH_XMM(insn)	\
	case 0: insn(0); break;		case 1: insn(1); break;		case 2: insn(2); break;		case 3: insn(3); break; \
	case 4: insn(4); break;		case 5: insn(5); break;		case 6: insn(6); break;		case 7: insn(7); break; \
	case 8: insn(8); break;		case 9: insn(9); break;		case 10: insn(10); break;	case 11: insn(11); break; \
	case 12: insn(12); break;	case 13: insn(13); break;	case 14: insn(14); break;	case 15: insn(15); break;
#define EACH_MM(insn)	\
	case 0: insn(0); break;		case 1: insn(1); break;		case 2: insn(2); break;		case 3: insn(3); break; \
	case 4: insn(4); break;		case 5: insn(5); break;		case 6: insn(6); break;		case 7: insn(7); break;

static void fpu_read_xmm(unsigned int nr, u64 *q)
{
#define X(n)	asm volatile("movdqu %%xmm" #n ", (%0)" : : "r" (q) : "memory")
	switch (nr) {
	EACH_XMM(X)
	}
#undef X
}

static void fpu_write_xmm(unsigned int nr, const u64 *q)
{
#define X(n)	asm volatile("movdqu (%0), %%xmm" #n : : "r" (q) : "memory")
	switch (nr) {
	EACH_XMM(X)
	}
#undef X
}

static void fpu_read_ymm(unsigned int nr, u64 *q)
{
#define X(n)	asm volatile("vmovdqu %%ymm" #n ", (%0)" : : "r" (q) : "memory")
	switch (nr) {
	EACH_XMM(X)
	}
#undef X
}

static void fpu_write_ymm(unsigned int nr, const u64 *q)
{
#define X(n)	asm volatile("vmovdqu (%0), %%ymm" #n : : "r" (q) : "memory")
	switch (nr) {
	EACH_XMM(X)
	}
#undef X
}

void fpu_get_vec(unsigned int nr, u64 q[4])
{
	fpu_hold();
	if (boot_cpu_has(X86_FEATURE_AVX)) {
		fpu_read_ymm(nr, q);
	} else {
		q[2] = 0;
		q[3] = 0;
		fpu_read_xmm(nr, q);
	}
	fpu_release();
}

void fpu_set_vec(unsigned int nr, const u64 q[4], unsigned int n)
{
	fpu_hold();
	if (n > 16 && boot_cpu_has(X86_FEATURE_AVX))
		fpu_write_ymm(nr, q);
	else
		fpu_write_xmm(nr, q);
	fpu_release();
}

void fpu_get_mmx(unsigned int nr, u64 *val)
{
	fpu_hold();
#define X(n)	asm volatile("movq %%mm" #n ", (%0)" : : "r" (val) : "memory")
	switch (nr & 7) {
	EACH_MM(X)
	}
#undef X
	fpu_release();
}

void fpu_set_mmx(unsigned int nr, u64 val)
{
	fpu_hold();
#define X(n)	asm volatile("movq (%0), %%mm" #n : : "r" (&val) : "memory")
	switch (nr & 7) {
	EACH_MM(X)
	}
#undef X
	fpu_release();
}

void fpu_get_cw(u16 *word)
{
	fpu_hold();
	asm volatile("fnstcw %0" : "=m" (*word));
	fpu_release();
}

void fpu_set_cw(u16 word)
{
	fpu_hold();
	asm volatile("fldcw %0" : : "m" (word));
	fpu_release();
}

void fpu_get_sw(u16 *word)
{
	fpu_hold();
	asm volatile("fnstsw %0" : "=m" (*word));
	fpu_release();
}

void fpu_reinit(void)
{
	fpu_hold();
	asm volatile("fninit");
	fpu_release();
}

void fpu_clear_exceptions(void)
{
	fpu_hold();
	asm volatile("fnclex");
	fpu_release();
}
