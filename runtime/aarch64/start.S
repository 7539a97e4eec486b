// From the first instruction at EL2 to C++: vectors, stack, MMU and caches. Every CPU comes this way.

    .equ    STACK_SIZE, 0x40000
    .equ    SCTLR_MMU_ON, 0x30C5183D        // RES1, M, C, SA, I
    .equ    SCTLR_MMU_OFF, 0x30C50838
    .equ    TCR_NVHE, 0x80823519            // T0SZ 25 (39 bits), write-back inner-shareable walks, 4 KiB, PS 40 bits
    .equ    HCR_HOST, (1 << 31) | (7 << 3)   // RW; AMO, IMO, FMO: physical interrupts come to EL2

    .section .text.start, "ax"
    .globl  _start
_start:
    mov     x19, #0
    b       common

/// PSCI CPU_ON enters here with x0 = CPU number.
    .globl  runtime_secondary
runtime_secondary:
    mov     x19, x0

common:
    msr     DAIFSet, #15
    ldr     x0, =runtime_vectors
    msr     VBAR_EL2, x0
    msr     TPIDR_EL2, x19
    ldr     x0, =runtime_host_extensions
    ldr     w0, [x0]
    bl      runtime_set_mode
    ldr     x0, =runtime_stacks
    add     x1, x19, #1
    mov     x2, #STACK_SIZE
    madd    x0, x1, x2, x0
    mov     sp, x0
    mov     x29, xzr
    mov     x30, xzr
    cbnz    x19, 3f
    ldr     x1, =__bss_start
    ldr     x2, =__bss_end
1:  cmp     x1, x2
    b.hs    2f
    stp     xzr, xzr, [x1], #16
    b       1b
2:  bl      runtime_primary
3:  mov     x0, x19
    bl      runtime_secondary_main

/// void runtime_set_mode(bool vhe): HCR_EL2, translation, FP access, in the layout of the mode. The MMU goes off and on.
/// Requires: identity map, no stack in use. Clobbers: x0-x5.
    .globl  runtime_set_mode
runtime_set_mode:
    ldr     x1, =SCTLR_MMU_OFF
    msr     SCTLR_EL2, x1
    isb
    ldr     x1, =HCR_HOST
    ldr     x2, =TCR_NVHE
    ldr     x3, =table_nvhe
    mov     x4, #0x33FF                     // CPTR_EL2: RES1 bits, nothing trapped
    cbz     w0, 1f
    orr     x1, x1, #(1 << 34)              // E2H
    movz    x2, #0x2, lsl #32               // IPS 40 bits
    movk    x2, #0xB599, lsl #16            // TG1 = 4 KiB, SH1, ORGN1, IRGN1, EPD1, T1SZ = 25
    movk    x2, #0x3519                     // TG0 4 KiB, SH0, ORGN0, IRGN0, T0SZ = 25
    ldr     x3, =table_vhe
    mov     x4, #(3 << 20)                  // CPTR_EL2.FPEN
1:  msr     HCR_EL2, x1
    isb
    msr     CPTR_EL2, x4
    ldr     x1, =0xFF00                     // attribute 0: device nGnRnE, 1: normal write-back
    msr     MAIR_EL2, x1
    msr     TCR_EL2, x2
    msr     TTBR0_EL2, x3
    isb
    tlbi    alle2
    dsb     sy
    isb
    ldr     x1, =SCTLR_MMU_ON
    msr     SCTLR_EL2, x1
    isb
    ret

/// Identity map of 512 GiB. \user: AP[1], which is RES1 without E2H and opens the page to EL0 with it. \xn: never execute.
.macro identity_map name, user, xn
    .balign 4096
\name:
    .quad   \name\()_first + 3
    .set    gib, 1
    .rept   511
    .quad   (gib << 30) | 0x705 | \user     // normal, inner shareable, AF, block
    .set    gib, gib + 1
    .endr
    .balign 4096
\name\()_first:                             // devices; page 0 stays out so that null pointers fault
    .quad   0
    .set    block, 1
    .rept   511
    .quad   (block << 21) | 0x401 | \user | \xn
    .set    block, block + 1
    .endr
.endm

    .section .data.tables, "aw"
    identity_map table_nvhe, 0x40, 0x0040000000000000
    identity_map table_vhe, 0, 0x0060000000000000

    .data
    .balign 4
    .globl  runtime_host_extensions
runtime_host_extensions:
    .word   0

    .section .stacks, "aw", %nobits
    .balign 4096
    .globl  runtime_stacks
runtime_stacks:
    .skip   STACK_SIZE * 64                  // one for each CPU that the runtime can start
