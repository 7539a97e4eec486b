// The payloads that every architecture has (harness.hpp says what each does), and vectors that report.
    .section .guest_payload, "a"
.macro report
    movz    w0, #0xC600, lsl #16
    hvc     #0
.endm
.macro payload name
    .balign 8
    .globl  \name
\name:
.endm

    payload call_forever
1:  report
    b       1b

    payload touch
    ldr     x1, [x0]
    add     x1, x1, #1
    str     x1, [x0]
    ldr     x1, [x0]
    report

    payload fence_others
1:  tlbi    vmalle1is
    dsb     ish
    isb
    subs    x0, x0, #1
    b.ne    1b
    report

    payload report_clock
1:  isb
    mrs     x1, CNTVCT_EL0
    report
    b       1b

    payload touch_pages
    mov     x19, x0
    mov     x1, #0
1:  str     x1, [x19]
    str     x1, [x19, #8]
    add     x19, x19, #0x2000
    add     x1, x1, #1
    cmp     x1, #3
    b.ne    1b
    report
    mov     x1, #9
    sub     x19, x19, #0x2000
    str     x1, [x19]
    report

    payload count_pages
1:  mov     x9, #0
2:  add     x10, x0, x9, lsl #12
    ldr     x1, [x10]
    add     x1, x1, #1
    str     x1, [x10]
    add     x9, x9, #1
    cmp     x9, #8
    b.ne    2b
    b       1b

    payload read_forever
1:  ldr     x1, [x0]
    mov     x9, x0
    report
    mov     x0, x9
    b       1b

    payload read_once
    ldr     x1, [x0]
    report

    payload wait_for_value
1:  ldr     x1, [x0]
    cbz     x1, 1b
    report

    payload keep_fp
    mov     x9, #3 << 20                    // CPACR_EL1.FPEN
    msr     CPACR_EL1, x9
    isb
    fmov    d0, x0
    fmov    d8, x0
    fmov    d31, x0
1:  fmov    x1, d0
    fmov    x2, d8
    fmov    x3, d31
    report
    b       1b

    payload fill_fp
    mov     x9, #3 << 20                    // CPACR_EL1.FPEN
    msr     CPACR_EL1, x9
    isb
    .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    add     x9, x0, #2 * \n
    mov     v\n\().d[0], x9
    add     x9, x9, #1
    mov     v\n\().d[1], x9
    .endr
    mov     x9, #1 << 22
    msr     FPCR, x9
    mov     x9, #0x9F
    msr     FPSR, x9
1:  report
    b       1b

    payload read_register
    mrs     x21, S3_0_C0_C7_4               // ID_AA64MMFR4_EL1
    mrs     x2, ID_AA64PFR0_EL1
    mrs     x3, S3_0_C0_C7_4
    mov     x1, x21
    report

    payload add_registers
    .irp    n, 2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
    mov     x\n, #\n
    .endr
    mov     x1, #0
    report
    mov     x1, #0
    .irp    n, 2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
    add     x1, x1, x\n
    .endr
    mov     x2, #464
    report

    payload spin
1:  yield                                   // an emulator that runs one CPU at a time goes on to the next
    b       1b

    payload fetch_nowhere
    movz    x1, #0x0A00, lsl #16
    br      x1

    payload wait_forever
1:  wfi
    b       1b

// Each entry reports which one it is.
    .balign 2048
    .globl  guest_vectors
guest_vectors:
    .set    offset, 0
    .rept   16
    .balign 128
    mrs     x1, ESR_EL1
    mrs     x2, FAR_EL1
    mrs     x3, ELR_EL1
    mrs     x4, SPSR_EL1
    ldr     w0, =0xC6001000 + offset
    hvc     #0
    b       .
    .ltorg
    .set    offset, offset + 0x80
    .endr
