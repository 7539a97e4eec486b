// What the files of the way into a guest and out of it share. Offsets come from offsets.h, which the target compiler writes from
// the register table.
#pragma once
#include "offsets.h"

// The frame that enter leaves on the host's stack. The vectors find the context through it: no system register is needed.
#define FRAME_CONTEXT 16
#define FRAME_HOST_VBAR 24
#define FRAME_SIZE 112

/// Keeps what the procedure call standard lets a callee keep, the context and the host's vectors.
/// Requires: sp 16-byte aligned, x0 = context, x1 = host's VBAR_EL2. Clobbers: nothing. Budget: 7.
.macro push_host
    stp     x29, x30, [sp, #-FRAME_SIZE]!
    stp     x0, x1, [sp, #FRAME_CONTEXT]
    stp     x19, x20, [sp, #32]
    stp     x21, x22, [sp, #48]
    stp     x23, x24, [sp, #64]
    stp     x25, x26, [sp, #80]
    stp     x27, x28, [sp, #96]
.endm

/// Requires: sp = frame. Clobbers: x19-x30. Budget: 6.
.macro pop_host
    ldp     x19, x20, [sp, #32]
    ldp     x21, x22, [sp, #48]
    ldp     x23, x24, [sp, #64]
    ldp     x25, x26, [sp, #80]
    ldp     x27, x28, [sp, #96]
    ldp     x29, x30, [sp], #FRAME_SIZE
.endm

/// Gives the guest its program counter and state.
/// Requires: x0 = context. Clobbers: x2, x3. Budget: 3, of that 2 system registers.
.macro load_return_state
    ldp     x2, x3, [x0, #CONTEXT_PC]       // and PSTATE, pinned beside it by a static_assert
    msr     ELR_EL2, x2
    msr     SPSR_EL2, x3
.endm

/// Requires: x1 = context. Clobbers: x2, x3. Budget: 5, of that 3 system registers.
.macro save_return_state
    mrs     x2, ELR_EL2
    mrs     x3, SPSR_EL2
    stp     x2, x3, [x1, #CONTEXT_PC]
    mrs     x2, ESR_EL2
    str     x2, [x1, #CONTEXT_ESR_EL2]
.endm

/// The general registers from x2 on; \op is ldp or stp, \single is ldr or str.
/// Requires: \context = context. Clobbers: nothing else. Budget: 15.
.macro general_from_x2 op, single, context
    \op     x2, x3, [\context, #16]
    \op     x4, x5, [\context, #32]
    \op     x6, x7, [\context, #48]
    \op     x8, x9, [\context, #64]
    \op     x10, x11, [\context, #80]
    \op     x12, x13, [\context, #96]
    \op     x14, x15, [\context, #112]
    \op     x16, x17, [\context, #128]
    \op     x18, x19, [\context, #144]
    \op     x20, x21, [\context, #160]
    \op     x22, x23, [\context, #176]
    \op     x24, x25, [\context, #192]
    \op     x26, x27, [\context, #208]
    \op     x28, x29, [\context, #224]
    \single x30, [\context, #240]
.endm

/// Requires: x0 = context. Clobbers: x0-x30. Budget: 16.
.macro load_guest
    general_from_x2 ldp, ldr, x0
    ldp     x0, x1, [x0, #0]
.endm

/// No guest value stays in a register while host code runs and mispredicts.
/// Requires: nothing. Clobbers: x1-x18. Budget: 18.
.macro clear_call_clobbered
    .irp    n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18
    mov     x\n, xzr
    .endr
.endm

/// From the guest: keeps x0 and x1, says which vector. Requires: sp = enter's frame. Budget: 3.
.macro from_guest number
    .balign 128
    stp     x0, x1, [sp, #-16]!
    mov     w0, #\number
    b       axvcpu_leave
.endm

/// From EL2 itself, between enter and leave: only a fault of the host's own memory gets here. The host's vectors report it.
/// Requires: sp = enter's frame. Clobbers: x0 (what the host reports of x0 is the vector's address).
.macro from_host offset
    .balign 128
    ldr     x0, [sp, #FRAME_HOST_VBAR]
    msr     VBAR_EL2, x0
    isb
    add     x0, x0, #\offset
    br      x0
.endm
