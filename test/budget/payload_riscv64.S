// The guest of the cost table: 1000 rounds of each row between two markers. It varies its arguments and checks the results; a
// wrong one ends it by a reset instead of a shutdown. Flat, starts at 0x8020_0000 without translation.
    .equ    ROUNDS, 1000
    .option norvc
    .option arch, +d
/// The loop's counter is outside the markers, so nothing moves between them.
.macro round id
    li      s0, ROUNDS
1:  slti    x0, x0, 0x400 | \id
.endm
.macro again id
    slti    x0, x0, 0x500 | \id
    addi    s0, s0, -1
    bnez    s0, 1b
.endm
    .globl  _start
_start:
    la      t0, vector
    csrw    stvec, t0
    li      s5, 0x10000000                  // 16550
    li      s6, 0x0C000000                  // PLIC
    li      s11, -1

    round   0                               // nothing
    again   0

    round   1                               // hypercall: the sum of two arguments
    li      a7, 0x0A000000
    li      a6, 1
    mv      a0, s0
    li      a1, 5
    ecall
    addi    t0, s0, 5
    bne     a1, t0, wrong
    again   1

    round   9                               // the same by the number that a fast hook answers
    li      a7, 0x0A000000
    li      a6, 2
    mv      a0, s0
    li      a1, 5
    ecall
    addi    t0, s0, 5
    bne     a1, t0, wrong
    again   9

    round   2                               // MMIO read: LSR
    lbu     a0, 5(s5)
    andi    t0, a0, 0x20
    beqz    t0, wrong
    again   2

    round   3                               // MMIO write: SCR
    sb      s0, 7(s5)
    again   3

    round   4                               // trapped CSR
    csrr    a0, cycle
    bnez    a0, wrong
    again   4

    round   5                               // interrupt controller register: PLIC, priority of source 1
    lw      a0, 4(s6)
    again   5

    csrw    sie, zero
    csrsi   sstatus, 2
    li      s1, 0
    li      t0, 0x22
    csrw    sie, t0

    round   6                               // software interrupt to self: send, take, end
    addi    s2, s1, 1
    li      a7, 0x735049
    li      a6, 0
    li      a0, 1
    li      a1, 0
    ecall
2:  bne     s1, s2, 2b
    again   6

    round   7                               // timer by SBI: arm in the past, take, silence
    addi    s2, s1, 1
    li      a7, 0x54494D45
    li      a6, 0
    li      a0, 0
    ecall
2:  bne     s1, s2, 2b
    again   7

    li      s3, 0x90000000                  // first touch of blocks that nobody has touched, 2 MiB apart
    li      s4, 0x200000
    li      s0, 100
1:  slti    x0, x0, 0x400 | 8
    ld      a0, (s3)
    slti    x0, x0, 0x500 | 8
    add     s3, s3, s4
    addi    s0, s0, -1
    bnez    s0, 1b

    csrci   sstatus, 2
    li      a7, 0x48534D                    // HSM: the second hart starts, where there is one: two leave the CPU to each other
    li      a6, 0
    li      a0, 1
    la      a1, second
    li      a2, 0
    ecall
    bnez    a0, done
    li      t0, 1 << 13                     // sstatus.FS
    csrs    sstatus, t0
    fmv.d.x f8, x0
    li      s0, 500
    jal     ra, take_turns
    fmv.x.d a0, f8                          // the other one's floating point is its own
    bnez    a0, wrong
done:
    li      a0, 0
    j       3f
second:
    li      t0, 1 << 13
    csrs    sstatus, t0
    li      t0, 7
    fmv.d.x f8, t0
    li      s0, -1
take_turns:
1:  slti    x0, x0, 0x500 | 10
    slti    x0, x0, 0x400 | 10
    li      a7, 0x0A000000
    li      a6, 3
    ecall
    addi    s0, s0, -1
    bnez    s0, 1b
    ret
wrong:
    li      a0, 1
3:  li      a7, 0x53525354
    li      a6, 0
    li      a1, 0
    ecall

    .balign 4
vector:                                     // software: clear sip.SSIP; timer: no timer
    csrr    t0, scause
    andi    t0, t0, 4
    bnez    t0, 1f
    csrci   sip, 2
    addi    s1, s1, 1
    sret
1:  csrw    0x14D, s11                      // stimecmp, where there is one: s11 is all ones
    addi    s1, s1, 1
    sret
