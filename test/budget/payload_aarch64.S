// The guest of the cost table: 1000 rounds of each row between two markers. It varies its arguments and checks the results; a
// wrong one ends it by SYSTEM_RESET instead of SYSTEM_OFF. Flat, starts at 0x4020_0000 with the MMU off.
    .equ    ROUNDS, 1000
/// The loop's counter is an operand of the marker's neighbour, so nothing moves between the markers.
.macro round id
    mov     x19, #ROUNDS
1:  movz    xzr, #(0xa400 | \id), lsl #48
.endm
.macro again id
    movz    xzr, #(0xa500 | \id), lsl #48
    subs    x19, x19, #1
    b.ne    1b
.endm
    .globl  _start
_start:
    adr     x9, vectors
    msr     VBAR_EL1, x9
    isb
    movz    x24, #0x0900, lsl #16           // PL011
    movz    x25, #0x0800, lsl #16           // GICD
    movz    x26, #0x080B, lsl #16           // GICR, SGI_base

    round   0                               // nothing
    again   0

    round   1                               // hypercall: the sum of two arguments
    movz    w0, #0xC600, lsl #16
    movk    w0, #1
    mov     x1, x19
    mov     x2, #5
    hvc     #0
    add     x3, x19, #5
    cmp     x0, x3
    b.ne    wrong
    again   1

    round   9                               // the same by the number that a fast hook answers
    movz    w0, #0xC600, lsl #16
    movk    w0, #2
    mov     x1, x19
    mov     x2, #5
    hvc     #0
    add     x3, x19, #5
    cmp     x0, x3
    b.ne    wrong
    again   9

    round   2                               // MMIO read: UARTFR
    ldr     w0, [x24, #0x18]
    tbz     w0, #7, wrong
    again   2

    round   3                               // MMIO write: UARTIBRD
    str     w19, [x24, #0x24]
    again   3

    round   4                               // trapped ID register
    mrs     x0, ID_AA64PFR0_EL1
    cbz     x0, wrong
    again   4

    round   5                               // interrupt controller register: GICD_ISENABLER1
    ldr     w0, [x25, #0x104]
    again   5

    mov     x9, #7                          // the CPU interface on, SGIs and PPIs enabled
    msr     S3_0_C12_C12_5, x9
    isb
    mov     x9, #0xF0
    msr     S3_0_C4_C6_0, x9
    mov     x9, #1
    msr     S3_0_C12_C12_7, x9
    isb
    mov     w10, #2
    str     w10, [x25]
    mov     w10, #-1
    str     w10, [x26, #0x80]
    str     w10, [x26, #0x100]
    msr     DAIFClr, #2
    mov     x21, #0
    mov     x23, #0

    round   6                               // software interrupt to self: send, take, acknowledge, end
    mov     x1, #1
    movk    x1, #0x0300, lsl #16
    add     x22, x21, #1
    msr     S3_0_C12_C11_5, x1
    isb
2:  cmp     x21, x22
    b.ne    2b
    again   6

    mov     x23, #1
    round   7                               // timer: arm in the past, take, silence, end
    add     x22, x21, #1
    mrs     x9, CNTVCT_EL0
    msr     CNTV_CVAL_EL0, x9
    mov     x10, #1
    msr     CNTV_CTL_EL0, x10
    isb
2:  cmp     x21, x22
    b.ne    2b
    again   7
    msr     DAIFSet, #2

    movz    x20, #0x4100, lsl #16           // first touch of blocks that nobody has touched, 2 MiB apart
    mov     x19, #100
1:  movz    xzr, #(0xa400 | 8), lsl #48
    ldr     x0, [x20]
    movz    xzr, #(0xa500 | 8), lsl #48
    add     x20, x20, #0x200000
    subs    x19, x19, #1
    b.ne    1b

    ldr     w0, =0xC4000003                 // CPU_ON of the second vCPU, where there is one: two leave the CPU to each other
    mov     x1, #1
    adr     x2, second
    mov     x3, #0
    hvc     #0
    cbnz    x0, done
    mov     x9, #3 << 20                    // CPACR_EL1.FPEN
    msr     CPACR_EL1, x9
    isb
    mov     x20, #0
    fmov    d8, x20
    mov     x19, #500
    bl      take_turns
    fmov    x0, d8                          // the other one's floating point is its own
    cbnz    x0, wrong
done:
    ldr     w0, =0x84000008
    hvc     #0
second:
    mov     x9, #3 << 20
    msr     CPACR_EL1, x9
    isb
    mov     x20, #7
    fmov    d8, x20
    mov     x19, #-1
take_turns:
1:  movz    xzr, #(0xa500 | 10), lsl #48
    movz    xzr, #(0xa400 | 10), lsl #48
    movz    w0, #0xC600, lsl #16
    movk    w0, #3
    hvc     #0
    subs    x19, x19, #1
    b.ne    1b
    ret
wrong:
    ldr     w0, =0x84000009
    hvc     #0
    .ltorg
    .balign 2048
vectors:
    .rept   5
    .balign 128
    b       wrong
    .endr
    .balign 128
    mrs     x10, S3_0_C12_C12_0             // ICC_IAR1_EL1
    cbz     x23, 1f
    msr     CNTV_CTL_EL0, xzr
    isb
1:  add     x21, x21, #1
    msr     S3_0_C12_C12_1, x10             // ICC_EOIR1_EL1
    eret
    .balign 128
    b       wrong
    .balign 2048
