// The host's interrupt and exception entries: interrupts go to C++ and come back, exceptions end in a report.

    .section .text.runtime.vectors, "ax"
/// One entry for each vector: an error code where the hardware gives none, and the vector.
    .balign 16
    .globl  runtime_vectors
runtime_vectors:
    .set    vector, 0
    .rept   256
    .balign 16
    .if     vector != 8 && (vector < 10 || vector > 14) && vector != 17 && vector != 21 && vector != 29 && vector != 30
    push    $0
    .endif
    push    $vector
    jmp     common
    .set    vector, vector + 1
    .endr

common:
    .irp    r, r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rdx, rcx, rbx, rax
    push    %\r
    .endr
    mov     %rsp, %rdi
    cld
    mov     %rsp, %rbx
    and     $-16, %rsp
    cmpq    $32, 120(%rbx)
    jb      1f
    call    runtime_interrupt
    mov     %rbx, %rsp
    .irp    r, rax, rbx, rcx, rdx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
    pop     %\r
    .endr
    add     $16, %rsp                       // vector, error code
    iretq
1:  call    runtime_fault
    ud2
