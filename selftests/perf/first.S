/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * first.S - a PVH kernel whose first instructions say "here" on the serial port, and no more.
 */
	.section .note.xen, "a", @note
	.balign	4
	.long	4, 4, 18		/* name and value sizes, XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz	"Xen"
	.long	_start

	.section .text
	.code32
	.globl	_start
_start:
	mov	$0x3f8, %dx
	mov	$text, %esi
	mov	$5, %ecx
1:	lodsb
	outb	%al, %dx
	loop	1b
2:	cli
	hlt
	jmp	2b
text:	.ascii	"here\n"
