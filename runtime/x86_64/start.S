// From QEMU's PVH entry (32-bit, paging off, ebx = hvm_start_info) to C++ in 64-bit mode, memory mapped one to one up to 4 GiB.
// Source: the Xen project's x86/HVM direct boot ABI.
    .equ    STACK_SIZE, 0x40000

    .section .pvh, "a", @note
    .balign 4
    .long   4, 4, 18                        // name size, value size, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz  "Xen"
    .long   _start

    .section .text.start, "ax"
    .code32
    .globl  _start
_start:
    cld
    mov     %ebx, %esi
    mov     $__bss_start, %edi
    mov     $__bss_end, %ecx
    sub     %edi, %ecx
    shr     $2, %ecx
    xor     %eax, %eax
    rep stosl
    // Four page directories of 2 MiB pages, one page-directory-pointer table, one PML4.
    mov     $runtime_tables, %edi
    lea     0x1003(%edi), %eax
    mov     %eax, (%edi)
    lea     0x2003(%edi), %eax
    xor     %ecx, %ecx
1:  mov     %eax, 0x1000(%edi,%ecx,8)
    add     $0x1000, %eax
    inc     %ecx
    cmp     $4, %ecx
    jne     1b
    mov     $0x83, %eax                     // present, writable, 2 MiB
    xor     %ecx, %ecx
2:  mov     %eax, 0x2000(%edi,%ecx,8)
    add     $0x200000, %eax
    inc     %ecx
    cmp     $2048, %ecx
    jne     2b
    mov     %edi, %cr3
    mov     $0x6A0, %eax                    // CR4: PAE, PGE, OSFXSR, OSXMMEXCPT
    mov     %eax, %cr4
    mov     $0xC0000080, %ecx               // EFER: SCE, LME, NXE
    rdmsr
    or      $0x901, %eax
    wrmsr
    mov     $0x80010033, %eax               // CR0: PG, WP, NE, ET, MP, PE
    mov     %eax, %cr0
    lgdt    gdt_pointer
    ljmp    $8, $3f
    .code64
3:  mov     $16, %eax
    mov     %eax, %ds
    mov     %eax, %es
    mov     %eax, %ss
    xor     %eax, %eax
    mov     %eax, %fs
    mov     %eax, %gs
    lea     runtime_stacks+STACK_SIZE(%rip), %rsp
    fninit
    mov     %esi, %edi
    xor     %ebp, %ebp
    call    runtime_primary
    ud2

    .section .rodata
    .balign 8
gdt:
    .quad   0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF   // 64-bit code, data
gdt_pointer:
    .word   gdt_pointer - gdt - 1
    .long   gdt

    .bss
    .balign 4096
runtime_tables:
    .skip   0x6000

    .section .stacks, "aw", @nobits
    .balign 4096
    .globl  runtime_stacks
runtime_stacks:
    .skip   STACK_SIZE
