// The payloads that every architecture has (harness.hpp says what each does), and a trap vector that reports.
    .option norvc
    .section .guest_payload, "ax"
.macro report function=0
    li      a7, 0x0A000000
    li      a6, \function
    ecall
.endm
.macro payload name
    .balign 8
    .globl  \name
\name:
.endm

    payload call_forever
1:  report
    j       1b

    payload touch
    ld      a0, (a1)
    addi    a0, a0, 1
    sd      a0, (a1)
    ld      a0, (a1)
    report

    payload fence_others
    mv      s1, a1
1:  li      a0, 0                           // RFENCE, remote_sfence_vma: all harts, all addresses
    li      a1, -1
    li      a2, 0
    li      a3, 0
    li      a7, 0x52464E43
    li      a6, 1
    ecall
    addi    s1, s1, -1
    bnez    s1, 1b
    report

    payload report_clock
1:  rdtime  a0
    report
    j       1b

    payload touch_pages
    mv      s1, a1
    li      s2, 0x2000
    li      a0, 0
    li      t0, 3
1:  sd      a0, (s1)
    sd      a0, 8(s1)
    add     s1, s1, s2
    addi    a0, a0, 1
    bne     a0, t0, 1b
    report
    sub     s1, s1, s2
    sd      s2, (s1)
    report

    payload count_pages
1:  mv      s1, a1
    li      s2, 8
    li      s3, 0x1000
2:  ld      a0, (s1)
    addi    a0, a0, 1
    sd      a0, (s1)
    add     s1, s1, s3
    addi    s2, s2, -1
    bnez    s2, 2b
    j       1b

    payload read_forever
    mv      s1, a1
1:  ld      a0, (s1)
    report
    j       1b

    payload read_once
    ld      a0, (a1)
    report

    payload wait_for_value
1:  ld      a0, (a1)
    beqz    a0, 1b
    report

    payload keep_fp
    li      t0, 1 << 13                     // sstatus.FS
    csrs    sstatus, t0
    fmv.d.x f0, a1
    fmv.d.x f8, a1
    fmv.d.x f31, a1
1:  fmv.x.d a0, f0
    fmv.x.d a1, f8
    fmv.x.d a2, f31
    report
    j       1b

    payload fill_fp
    li      t0, 1 << 13                     // sstatus.FS
    csrs    sstatus, t0
    .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    addi    t0, a1, \n
    fmv.d.x f\n, t0
    .endr
    li      t0, 0x25
    fscsr   t0
1:  report
    j       1b

    payload read_register
    csrr    s5, hpmcounter3
    csrr    a1, hpmcounter4
    csrr    a2, hpmcounter3
    mv      a0, s5
    report

    payload add_registers
    .irp    n, 1,2,3,4,5,6,7,8,9,12,13,14,15,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    li      x\n, \n
    .endr
    report
    li      a0, 0
    .irp    n, 1,2,3,4,5,6,7,8,9,12,13,14,15,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    add     a0, a0, x\n
    .endr
    li      a1, 442
    report

    payload spin
1:  j       1b

    payload fetch_nowhere
    li      t0, 0x0A000000
    jr      t0

    payload wait_forever
1:  wfi
    j       1b

    .balign 64
    .globl  guest_vectors
guest_vectors:
    csrr    a0, scause
    csrr    a1, stval
    csrr    a2, sepc
    csrr    a3, sstatus
    report  1
    j       .
