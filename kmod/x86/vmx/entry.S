/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The step into the guest and back.
 *
 * VMLAUNCH and VMRESUME load RSP, RIP, RFLAGS, the control registers, segments and tables from the VMCS, and an exit loads the
 * host's: it arrives at vmx_guest_exit with the stack pointer that was written before.  The general registers are switched
 * here.  Interrupts are off throughout; an interrupt that comes while the guest runs ends the run and stays pending.
 *
 * Mitigations on the way out come before the first RET, which a guest may have trained: the return stack is filled, the host's
 * SPEC_CTRL is back, branch history is cleared, as the kernel's alternatives say.  On the way in CPU buffers are cleared with VERW
 * where the kernel asks for it; VERW changes ZF alone, so that which of the two instructions to use is kept in CF.
 */
#include <linux/linkage.h>
#include <linux/objtool.h>
#include <asm/alternative.h>
#include <asm/asm.h>
#include <asm/cpufeatures.h>
#include <asm/msr-index.h>
#include <asm/nospec-branch.h>
#include <asm/percpu.h>
#include <asm/unwind_hints.h>

#include "x86/vmx/vmcs.h"

/* Byte offsets into x86_vcpu.regs: 8 * the register's number in an instruction. */
#define R_AX	(8 * 0)
#define R_CX	(8 * 1)
#define R_DX	(8 * 2)
#define R_BX	(8 * 3)
#define R_BP	(8 * 5)
#define R_SI	(8 * 6)
#define R_DI	(8 * 7)
#define R_8	(8 * 8)
#define R_9	(8 * 9)
#define R_10	(8 * 10)
#define R_11	(8 * 11)
#define R_12	(8 * 12)
#define R_13	(8 * 13)
#define R_14	(8 * 14)
#define R_15	(8 * 15)

.section .noinstr.text, "ax"

/* int vmx_enter_guest(u64 *regs, bool launched, u64 *host_rsp, u64 spec_ctrl) */
SYM_FUNC_START(vmx_enter_guest)
	push	%rbp
	push	%r15
	push	%r14
	push	%r13
	push	%r12
	push	%rbx
	push	%rcx		/* 8(%rsp): the guest's SPEC_CTRL */
	push	%rdi		/*  (%rsp): register array */

	cmp	%rsp, (%rdx)
	je	.Lrsp_is_there
	mov	%rsp, (%rdx)
	mov	$VMCS_HOST_RSP, %eax
	vmwrite	%rsp, %rax
.Lrsp_is_there:
	UNWIND_HINT_SAVE	/* what the stack is at an exit */

	ALTERNATIVE "jmp .Lspec_ctrl_guest", "", X86_FEATURE_MSR_SPEC_CTRL
	cmp	PER_CPU_VAR(x86_spec_ctrl_current), %rcx
	je	.Lspec_ctrl_guest
	mov	%ecx, %eax
	mov	%rcx, %rdx
	shr	$32, %rdx
	mov	$MSR_IA32_SPEC_CTRL, %ecx
	wrmsr
.Lspec_ctrl_guest:

	bt	$0, %esi
	mov	R_AX(%rdi), %rax
	mov	R_CX(%rdi), %rcx
	mov	R_DX(%rdi), %rdx
	mov	R_BX(%rdi), %rbx
	mov	R_BP(%rdi), %rbp
	mov	R_SI(%rdi), %rsi
	mov	R_8(%rdi), %r8
	mov	R_9(%rdi), %r9
	mov	R_10(%rdi), %r10
	mov	R_11(%rdi), %r11
	mov	R_12(%rdi), %r12
	mov	R_13(%rdi), %r13
	mov	R_14(%rdi), %r14
	mov	R_15(%rdi), %r15
	mov	R_DI(%rdi), %rdi

	CLEAR_CPU_BUFFERS
	jnc	.Llaunch
	vmresume
	jmp	.Lrefused
.Llaunch:
	vmlaunch
.Lrefused:
	/* No guest has run: its registers are still those in the array. */
	mov	$1, %eax
	push	%rax
	mov	8(%rsp), %rax
	jmp	.Lout

SYM_INNER_LABEL(vmx_guest_exit, SYM_L_GLOBAL)
	UNWIND_HINT_RESTORE
	ANNOTATE_NOENDBR
	push	%rax
	mov	8(%rsp), %rax
	mov	%rcx, R_CX(%rax)
	mov	%rdx, R_DX(%rax)
	mov	%rbx, R_BX(%rax)
	mov	%rbp, R_BP(%rax)
	mov	%rsi, R_SI(%rax)
	mov	%rdi, R_DI(%rax)
	mov	%r8, R_8(%rax)
	mov	%r9, R_9(%rax)
	mov	%r10, R_10(%rax)
	mov	%r11, R_11(%rax)
	mov	%r12, R_12(%rax)
	mov	%r13, R_13(%rax)
	mov	%r14, R_14(%rax)
	mov	%r15, R_15(%rax)
	mov	(%rsp), %rcx
	mov	%rcx, R_AX(%rax)
	movq	$0, (%rsp)	/* the answer */

.Lout:
	FILL_RETURN_BUFFER %rax, RSB_CLEAR_LOOPS, X86_FEATURE_RSB_VMEXIT, X86_FEATURE_RSB_VMEXIT_LITE

	/* The guest's SPEC_CTRL accesses are intercepted: what it runs with is what was loaded. */
	ALTERNATIVE "jmp .Lspec_ctrl_host", "", X86_FEATURE_MSR_SPEC_CTRL
	mov	PER_CPU_VAR(x86_spec_ctrl_current), %rax
	cmp	16(%rsp), %rax
	je	.Lspec_ctrl_host
	mov	%rax, %rdx
	shr	$32, %rdx
	mov	$MSR_IA32_SPEC_CTRL, %ecx
	wrmsr
.Lspec_ctrl_host:

	CLEAR_BRANCH_HISTORY_VMEXIT

	/* Nothing of the guest's for speculation to use. */
	xor	%ecx, %ecx
	xor	%edx, %edx
	xor	%ebx, %ebx
	xor	%ebp, %ebp
	xor	%esi, %esi
	xor	%edi, %edi
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	xor	%r10d, %r10d
	xor	%r11d, %r11d
	xor	%r12d, %r12d
	xor	%r13d, %r13d
	xor	%r14d, %r14d
	xor	%r15d, %r15d

	pop	%rax
	add	$16, %rsp
	pop	%rbx
	pop	%r12
	pop	%r13
	pop	%r14
	pop	%r15
	pop	%rbp
	RET
SYM_FUNC_END(vmx_enter_guest)
