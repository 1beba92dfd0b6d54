# Scrolls a full screen of text and a frame buffer of 1024x768x32, with a letter on COM1 before, between and after.
	.code16
	.globl _start
	.set	TEXT, 2000
	.set	FRAMES, 100
	.set	MODE, 0x4000 | 0x144
_start:
	xorw	%ax, %ax
	movw	%ax, %ss
	movw	$0x7C00, %sp
	movw	%ax, %ds
	movw	$3, %ax
	int	$0x10
	# Words of 8 bits.
	movw	$0x3FB, %dx
	movb	$3, %al
	outb	%al, %dx
	movb	$'A', %al
	call	say
	movw	$TEXT, %bp
text:
	movw	$0xB800, %ax
	movw	%ax, %ds
	movw	%ax, %es
	cld
	movw	$160, %si
	xorw	%di, %di
	movw	$80 * 24, %cx
	rep	movsw
	movw	%bp, %ax
	movb	$0x1F, %ah
	movw	$80, %cx
	rep	stosw
	decw	%bp
	jnz	text
	xorw	%ax, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movb	$'B', %al
	call	say
	# The frame buffer's address, then the mode.
	movw	$0x4F01, %ax
	movw	$MODE, %cx
	movw	$0x1000, %di
	int	$0x10
	movw	$0x4F02, %ax
	movw	$MODE, %bx
	int	$0x10
	cmpw	$0x004F, %ax
	jne	end
	cli
	inb	$0x92, %al
	orb	$2, %al
	outb	%al, $0x92
	lgdt	descriptor
	movl	%cr0, %eax
	orb	$1, %al
	movl	%eax, %cr0
	ljmpl	$8, $flat
	.code32
flat:
	movw	$16, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movl	$0x7C00, %esp
	movl	0x1000 + 40, %ebx
	movb	$'C', %al
	call	say32
	movl	$FRAMES, %ebp
frame:
	leal	4096 * 16(%ebx), %esi
	movl	%ebx, %edi
	movl	$1024 * (768 - 16), %ecx
	rep	movsl
	movl	%ebp, %eax
	imull	$0x010305, %eax
	movl	$1024 * 16, %ecx
	rep	stosl
	decl	%ebp
	jnz	frame
	movb	$'D', %al
	call	say32
	# The same without string instructions, as compilers write it.
	movl	$FRAMES / 4, %ebp
1:	movl	%ebx, %edi
	movl	$1024 * (768 - 16), %ecx
2:	movl	4096 * 16(%edi), %eax
	movl	%eax, (%edi)
	addl	$4, %edi
	decl	%ecx
	jnz	2b
	decl	%ebp
	jnz	1b
	movb	$'E', %al
	call	say32
3:	hlt
	jmp	3b
say32:
	movw	$0x3F8, %dx
	outb	%al, %dx
	ret
	.code16
say:
	movw	$0x3F8, %dx
	outb	%al, %dx
	ret
end:	hlt
	jmp	end
	.balign	8
table:	.quad	0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF
descriptor:
	.word	23
	.long	table
	.org	510
	.word	0xAA55
