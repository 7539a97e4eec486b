// The host's trap vector: interrupts go to C++ and come back, everything else ends in a report.

/// x1, x3 to x31. Requires: sp = frame. \op is sd or ld.
.macro all_registers op
    .irp    n, 1,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    \op     x\n, 8*\n(sp)
    .endr
.endm

    .section .text.runtime.vectors, "ax"
    .balign 4
    .globl  runtime_trap
runtime_trap:
    addi    sp, sp, -272
    all_registers sd
    addi    t0, sp, 272
    sd      t0, 16(sp)                      // sp as it was
    csrr    t1, sepc
    sd      t1, 256(sp)
    csrr    t2, sstatus
    sd      t2, 264(sp)
    mv      a0, sp
    csrr    a1, scause
    bgez    a1, 1f
    call    runtime_interrupt
    ld      t1, 256(sp)
    csrw    sepc, t1
    ld      t2, 264(sp)
    csrw    sstatus, t2
    all_registers ld
    addi    sp, sp, 272
    sret
1:  call    runtime_fault
    j       .
