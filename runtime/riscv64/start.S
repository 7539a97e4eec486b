// From the first instruction in HS-mode to C++: trap vector, stack, floating point for those who use it. Every hart comes this way.
// Memory is reached without translation.
    .equ    STACK_SIZE, 0x40000

    .section .text.start, "ax"
    .globl  _start
/// The firmware enters with a0 = hart id, a1 = device tree.
_start:
    li      tp, 0
    mv      s0, a0
    mv      s1, a1
    la      t0, __bss_start
    la      t1, __bss_end
1:  bgeu    t0, t1, 2f
    sd      zero, 0(t0)
    sd      zero, 8(t0)
    addi    t0, t0, 16
    j       1b
2:  call    set_up
    mv      a0, s0
    mv      a1, s1
    mv      s0, zero
    call    runtime_primary

/// SBI hart_start enters here with a0 = hart id, a1 = CPU number.
    .globl  runtime_secondary
runtime_secondary:
    mv      tp, a1
    call    set_up
    mv      a0, tp
    mv      s0, zero
    call    runtime_secondary_main

/// Requires: tp = CPU number. Clobbers: t0-t2, sp.
set_up:
    csrw    sie, zero
    csrci   sstatus, 2                      // SIE
    csrw    satp, zero
    la      t0, runtime_trap
    csrw    stvec, t0
    li      t0, 1 << 13                     // FS: initial
    csrs    sstatus, t0
    la      t0, runtime_stacks
    addi    t1, tp, 1
    li      t2, STACK_SIZE
    mul     t1, t1, t2
    add     sp, t0, t1
    ret

    .section .stacks, "aw", %nobits
    .balign 4096
    .globl  runtime_stacks
runtime_stacks:
    .skip   STACK_SIZE * 64                 // one for each CPU that the runtime can start
