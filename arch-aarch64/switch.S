// The way into a guest and out of it.
#include "frame.h"

    .section .text.axvcpu.switch, "ax", %progbits
    .balign 64

/// auto axvcpu_enter(Context*, host VBAR_EL2) -> vector: 0 synchronous, 1 IRQ, 2 FIQ, 3 SError.
/// Runs the guest until the next exception. Requires: PSTATE.DAIF all masked, the guest's other registers loaded.
/// Returns with DAIF masked, as exception entry leaves it.
    .globl  axvcpu_enter
    .type   axvcpu_enter, %function
axvcpu_enter:
    push_host
    adr     x2, axvcpu_vectors
    .globl  axvcpu_enter_by
axvcpu_enter_by:                            // x2 = vectors
    msr     VBAR_EL2, x2                    // ERET synchronizes it
    load_return_state
    load_guest
    eret
    dsb     nsh                             // no speculation past the ERET
    isb
    .size   axvcpu_enter, . - axvcpu_enter

/// From a vector: x0 and x1 of the guest on the stack, x0 = vector number: what axvcpu_enter returns.
    .globl  axvcpu_leave
    .type   axvcpu_leave, %function
axvcpu_leave:
    ldr     x1, [sp, #16 + FRAME_CONTEXT]
    general_from_x2 stp, str, x1
    ldp     x2, x3, [sp], #16
    stp     x2, x3, [x1, #0]
    .globl  axvcpu_leave_saved
axvcpu_leave_saved:                         // x0 = vector number, x1 = context, which has the general registers
    ldr     x2, [sp, #FRAME_HOST_VBAR]
    msr     VBAR_EL2, x2                    // takes effect before interrupts are unmasked: run() writes DAIF after an ISB
    save_return_state
    pop_host
#if AXVCPU_CLEAR_REGISTERS
    clear_call_clobbered
#endif
    ret
    .size   axvcpu_leave, . - axvcpu_leave
