// The payloads that every architecture has (harness.hpp says what each does). 64-bit mode, the argument in rsi.
    .section .guest_payload, "a"
    .code64
.macro report
    mov     $0xC0DE, %eax
    vmmcall
.endm
.macro payload name
    .balign 8
    .globl  \name
\name:
.endm

    payload call_forever
1:  report
    jmp     1b

    payload touch
    mov     (%rsi), %rdi
    inc     %rdi
    mov     %rdi, (%rsi)
    mov     (%rsi), %rdi
    report

    payload add_registers
    .set    value, 7
    .irp    r, rbx,rcx,rdx,rbp,rsp,r8,r9,r10,r11,r12,r13,r14,r15
    mov     $value, %\r
    .set    value, value + 5
    .endr
    report
    xor     %edi, %edi
    .irp    r, rbx,rcx,rdx,rbp,rsp,r8,r9,r10,r11,r12,r13,r14,r15
    lea     (%rdi, %rdi, 2), %rdi           // weights, so that no two can be swapped
    add     %\r, %rdi
    .endr
    mov     $7572997, %esi
    report

    payload touch_pages
    mov     %rsi, %rbx
    xor     %edi, %edi
1:  mov     %rdi, (%rbx)
    mov     %rdi, 8(%rbx)
    add     $0x2000, %rbx
    inc     %rdi
    cmp     $3, %rdi
    jne     1b
    report
    sub     $0x2000, %rbx
    mov     %rdi, (%rbx)
    report

    payload read_forever
    mov     %rsi, %rbx
1:  mov     (%rbx), %rdi
    report
    jmp     1b

    payload read_once
    mov     (%rsi), %rdi
    report

    payload wait_for_value
1:  mov     (%rsi), %rdi
    test    %rdi, %rdi
    jz      1b
    report

    payload keep_fp
    mov     %cr4, %rax
    or      $0x600, %rax                    // OSFXSR, OSXMMEXCPT
    mov     %rax, %cr4
    movq    %rsi, %xmm0
    movq    %rsi, %xmm8
    movq    %rsi, %xmm15
1:  movq    %xmm0, %rdi
    movq    %xmm8, %rsi
    movq    %xmm15, %rdx
    report
    jmp     1b

    payload read_register
    ud2

    payload spin
1:  jmp     1b

    payload fetch_nowhere
    mov     $0x0A000000, %eax
    jmp     *%rax

    payload wait_forever
1:  hlt
    jmp     1b
