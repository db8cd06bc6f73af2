/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * boot.S - a boot loader for one kernel, made for Bochs.
 *
 * Bochs interprets every instruction, so what a loader does costs real seconds: no menu, no file system, no decompression.  The
 * host's side (mkdisk) has put on the disk, in this order: this loader (sector 0 and 15 more), a table of pieces, and the pieces:
 * the segments of the uncompressed kernel, the initial RAM disk, boot_params and the command line.  The loader asks the BIOS for
 * the memory map, reads each piece to its physical address by 32-bit PIO from the first ATA disk, completes boot_params with the
 * memory map, and enters the kernel at its 64-bit entry with an identity map (Documentation/x86/boot.rst, 64-bit boot protocol).
 *
 * Table at 0x9000 (sector 16): u32 number of pieces, u32 entry, u32 boot_params, u32 zero; then for each piece u32 first sector,
 * u32 sectors, u32 address, u32 zero.
 */
	.code16
	.section .text
	.globl _start
_start:
	ljmp	$0, $1f
1:	cli
	xor	%ax, %ax
	mov	%ax, %ds
	mov	%ax, %es
	mov	%ax, %ss
	mov	$0x7000, %sp
	sti
	/* The other 15 sectors behind us, and the table. */
	mov	$0x42, %ah
	mov	$packet, %si
	mov	$0x80, %dl
	int	$0x13
	jc	fail
	jmp	second
fail:
	mov	$0x0e46, %ax		/* 'F' */
	int	$0x10
	cli
	hlt
	.balign 4
packet:
	.byte	16, 0
	.word	16			/* sectors 1-16: the rest of us and the table's first */
	.word	0x7e00, 0
	.quad	1
	.org	510
	.word	0xaa55

second:
	/* E820 into 0xa000, count in %bp. */
	xor	%ebx, %ebx
	xor	%bp, %bp
	mov	$0xa000, %di
2:	mov	$0xe820, %eax
	mov	$0x534d4150, %edx
	mov	$20, %ecx
	int	$0x15
	jc	3f
	cmp	$0x534d4150, %eax
	jne	3f
	inc	%bp
	add	$20, %di
	test	%ebx, %ebx
	jz	3f
	cmp	$100, %bp
	jb	2b
3:	mov	%bp, e820_count
	/* A20 by port 0x92. */
	in	$0x92, %al
	or	$2, %al
	and	$0xfe, %al
	out	%al, $0x92
	cli
	lgdt	gdtr
	mov	%cr0, %eax
	or	$1, %al
	mov	%eax, %cr0
	ljmp	$0x08, $protected

	.code32
protected:
	mov	$0x10, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	mov	$0x7000, %esp
	mov	$0x3f6, %edx		/* no interrupts from the disk */
	mov	$2, %al
	outb	%al, %dx
	mov	$0x9010, %esi
	mov	0x9000, %ebp
4:	mov	(%esi), %ebx		/* first sector */
	mov	4(%esi), %ecx		/* sectors */
	mov	8(%esi), %edi		/* address */
	call	read
	add	$16, %esi
	dec	%ebp
	jnz	4b

	/* The memory map into boot_params. */
	mov	0x9008, %ebx
	movzwl	e820_count, %ecx
	mov	%cl, 0x1e8(%ebx)
	lea	0x2d0(%ebx), %edi
	mov	$0xa000, %esi
	imul	$5, %ecx
	rep movsl

	/* Identity map of the first 4 GiB: PML4 at 0x20000, PDPT, four PDs. */
	mov	$0x20000, %edi
	xor	%eax, %eax
	mov	$6 * 1024, %ecx
	rep stosl
	movl	$0x21003, 0x20000
	mov	$0x22003, %eax
	mov	$0x21000, %edi
	mov	$4, %ecx
5:	mov	%eax, (%edi)
	add	$0x1000, %eax
	add	$8, %edi
	loop	5b
	mov	$0x83, %eax
	mov	$0x22000, %edi
	mov	$2048, %ecx
6:	mov	%eax, (%edi)
	add	$0x200000, %eax
	add	$8, %edi
	loop	6b
	mov	$0x20000, %eax
	mov	%eax, %cr3
	mov	%cr4, %eax
	or	$0x20, %eax
	mov	%eax, %cr4
	mov	$0xc0000080, %ecx
	rdmsr
	or	$0x100, %eax
	wrmsr
	mov	%cr0, %eax
	or	$0x80000000, %eax
	mov	%eax, %cr0
	ljmp	$0x18, $long

	.code64
long:
	mov	0x9008, %esi
	mov	0x9004, %eax
	xor	%ebp, %ebp
	xor	%edi, %edi
	xor	%ebx, %ebx
	jmp	*%rax

	.code32
/* Read %ecx sectors from %ebx to %edi, up to 256 at a time. */
read:
7:	test	%ecx, %ecx
	jz	9f
	mov	%ecx, %eax
	cmp	$256, %eax
	jbe	8f
	mov	$256, %eax
8:	push	%ecx
	push	%eax
	mov	$0x1f2, %edx
	outb	%al, %dx		/* count; 256 is 0 */
	mov	%ebx, %eax
	inc	%edx
	outb	%al, %dx
	shr	$8, %eax
	inc	%edx
	outb	%al, %dx
	shr	$8, %eax
	inc	%edx
	outb	%al, %dx
	shr	$8, %eax
	and	$0x0f, %al
	or	$0xe0, %al
	inc	%edx
	outb	%al, %dx
	inc	%edx
	mov	$0x20, %al		/* READ SECTORS */
	outb	%al, %dx
	pop	%eax
	push	%eax
sector:
	push	%eax
	mov	$0x1f7, %edx
wait:	inb	%dx, %al
	test	$0x80, %al
	jnz	wait
	test	$0x08, %al
	jz	wait
	mov	$0x1f0, %edx
	mov	$128, %ecx
	rep insl
	pop	%eax
	dec	%eax
	jnz	sector
	pop	%eax
	pop	%ecx
	add	%eax, %ebx
	sub	%eax, %ecx
	jmp	7b
9:	ret

	.balign 8
gdt:	.quad	0
	.quad	0x00cf9b000000ffff
	.quad	0x00cf93000000ffff
	.quad	0x00af9b000000ffff
gdtr:	.word	. - gdt - 1
	.long	gdt
e820_count: .word 0
	.org	0x9000 - 0x7c00
