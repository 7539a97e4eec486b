// The fast hook: a call or a trapped register access is shown to a function of the user's between two instructions of the guest.
// Only what a callee may change is saved around it; whatever it does not answer goes the usual way.
#include "frame.h"

#define EC_HVC64 0x16
#define EC_SYSREG 0x18

/// What a callee may change, from x2 on. Requires: x1 = context. Clobbers: with ldp what it loads. Budget: 10.
.macro caller_saved_from_x2 op, single
    \op     x2, x3, [x1, #16]
    \op     x4, x5, [x1, #32]
    \op     x6, x7, [x1, #48]
    \op     x8, x9, [x1, #64]
    \op     x10, x11, [x1, #80]
    \op     x12, x13, [x1, #96]
    \op     x14, x15, [x1, #112]
    \op     x16, x17, [x1, #128]
    \single x18, [x1, #144]
    \single x30, [x1, #240]
.endm

/// Requires: x1 = context. Clobbers: with ldp x19-x29. Budget: 6.
.macro callee_saved op, single
    \op     x19, x20, [x1, #152]
    \op     x21, x22, [x1, #168]
    \op     x23, x24, [x1, #184]
    \op     x25, x26, [x1, #200]
    \op     x27, x28, [x1, #216]
    \single x29, [x1, #232]
.endm

/// The hook's answer in w0. Requires: x1 = context, x2 = ESR_EL2. Clobbers: x0-x18, x30; gives back x1. Budget: 5, and the hook.
.macro ask
    mov     x0, x1
    mov     x1, x2
    ldr     x9, [x0, #CONTEXT_FAST_EXIT]
    blr     x9
    ldr     x1, [sp, #FRAME_CONTEXT]
.endm

    .section .text.axvcpu.fast, "ax", %progbits
/// As axvcpu_enter, with the vectors below.
    .globl  axvcpu_enter_fast
    .type   axvcpu_enter_fast, %function
axvcpu_enter_fast:
    push_host
    adr     x2, fast_vectors
    b       axvcpu_enter_by
    .size   axvcpu_enter_fast, . - axvcpu_enter_fast

/// A synchronous exception of the guest: x0 and x1 of the guest on the stack.
fast_synchronous:
    ldr     x1, [sp, #16 + FRAME_CONTEXT]
    caller_saved_from_x2 stp, str
    ldp     x2, x3, [sp], #16
    stp     x2, x3, [x1, #0]
    mrs     x2, ESR_EL2
    lsr     w3, w2, #26
    cmp     w3, #EC_HVC64
    b.ne    2f
    ask
    tbz     w0, #0, 3f
1:  caller_saved_from_x2 ldp, ldr
    ldp     x0, x1, [x1, #0]
    eret
    dsb     nsh                             // no speculation past the ERET
    isb
2:  cmp     w3, #EC_SYSREG
    b.ne    3f
    callee_saved stp, str                   // any register may be the one that is read or written
    ask
    tbz     w0, #0, 4f
    callee_saved ldp, ldr
    mrs     x2, ELR_EL2                     // a trapped instruction has not moved on, as HVC has
    add     x2, x2, #4
    msr     ELR_EL2, x2
    mrs     x2, SPSR_EL2
    bic     x2, x2, #(3 << 10)              // what the end of an instruction does to BTYPE
    bic     x2, x2, #(1 << 21)              // and to SS
    msr     SPSR_EL2, x2
    b       1b
3:  callee_saved stp, str
4:  mov     w0, #0
    b       axvcpu_leave_saved

/// As axvcpu_vectors, but for the synchronous exceptions of a 64-bit guest.
    .section .text.axvcpu.fast_vectors, "ax", %progbits
    .balign 2048
fast_vectors:
    .irp    offset, 0x000, 0x080, 0x100, 0x180, 0x200, 0x280, 0x300, 0x380
    from_host \offset
    .endr
    .balign 128
    stp     x0, x1, [sp, #-16]!
    b       fast_synchronous
    .irp    number, 1, 2, 3
    from_guest \number
    .endr
    .irp    number, 0, 1, 2, 3              // from AArch32
    from_guest \number
    .endr
    .balign 128
