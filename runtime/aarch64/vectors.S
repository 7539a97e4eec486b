// The host's vectors: interrupts go to C++, everything else ends in a report.

/// Keeps what C++ may clobber. Requires: a stack. Clobbers: nothing.
.macro push_all
    sub     sp, sp, #272
    stp     x0, x1, [sp, #0]
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    mrs     x0, ELR_EL2
    mrs     x1, SPSR_EL2
    stp     x30, x0, [sp, #240]
    str     x1, [sp, #256]
.endm

    .section .text.runtime.vectors, "ax"
    .balign 2048
    .globl  runtime_vectors
runtime_vectors:
    .set    number, 0
    .rept   16
    .balign 128
    .if     number == 5
    push_all
    b       interrupt
    .else
    push_all
    mov     x1, #number
    b       fault
    .endif
    .set    number, number + 1
    .endr

interrupt:
    bl      runtime_interrupt
    ldp     x30, x0, [sp, #240]
    ldr     x1, [sp, #256]
    msr     ELR_EL2, x0
    msr     SPSR_EL2, x1
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x19, [sp, #144]
    ldp     x20, x21, [sp, #160]
    ldp     x22, x23, [sp, #176]
    ldp     x24, x25, [sp, #192]
    ldp     x26, x27, [sp, #208]
    ldp     x28, x29, [sp, #224]
    ldp     x0, x1, [sp, #0]
    add     sp, sp, #272
    eret
    dsb     nsh
    isb

fault:
    mov     x0, sp
    bl      runtime_fault
    b       .
