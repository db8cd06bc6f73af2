/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * debuggee.S - a PVH kernel for a debugger: 32-bit code that goes round a loop for ever, calls a function
 * in it and stores to a word.  Its symbols are what the tests of the gdbstub set their breakpoints on.
 */
	.section .note.xen, "a", @note
	.balign	4
	.long	4, 4, 18		/* name and value sizes, XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz	"Xen"
	.long	_start

	.section .text
	.code32
	.globl	_start, around, called, leaf_end, store, stored, counter, other, flag
_start:
	mov	$stack_top, %esp
	xor	%ecx, %ecx
around:	inc	%ecx
	call	called
	mov	%ecx, counter
	cmpl	$0, flag
	je	around
store:	movl	%ecx, other
stored:	nop
	jmp	around

called:	mov	$0x1234, %eax
	xor	%edx, %edx
	cpuid				/* leaves the guest */
leaf_end:
	xor	%ecx, %ecx
	mov	counter, %ecx
	inc	%ecx
	ret

	.section .data
	.balign	64
counter: .long	0
	.balign	64
other:	.long	0
	.balign	64
flag:	.long	0
	.balign	64
	.skip	1024
stack_top:
