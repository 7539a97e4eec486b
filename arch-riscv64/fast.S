// The fast hook: a call or a trapped CSR access is shown to a function of the user's between two instructions of the guest. Only what
// a callee may change is saved around it; whatever it does not answer goes the usual way.
#include "offsets.h"

#define CAUSE_GUEST_CALL 10
#define CAUSE_VIRTUAL_INSTRUCTION 22

/// What a callee may change, and sp; not a0. Requires: a0 = context. \op is sd or ld. Clobbers: with ld what it loads. Budget: 16.
.macro caller_saved op
    .irp    n, 1,2,5,6,7,11,12,13,14,15,16,17,28,29,30,31
    \op     x\n, 8*\n(a0)
    .endr
.endm
/// The rest. Requires: a0 = context. \op is sd or ld. Clobbers: with ld what it loads. Budget: 14.
.macro callee_saved op
    .irp    n, 3,4,8,9,18,19,20,21,22,23,24,25,26,27
    \op     x\n, 8*\n(a0)
    .endr
.endm

/// The hook's answer in t1. Requires: a0 = context, a1 = syndrome, sscratch = the guest's a0. Clobbers: what a callee may change, sp;
/// gives back a0. Leaves sscratch = context. Budget: 14, and the hook.
.macro ask
    csrrw   t0, sscratch, a0
    sd      t0, 80(a0)
    sd      gp, 24(a0)                      // the hook may reach globals by gp: the host's
    sd      tp, 32(a0)
    ld      sp, HOST_SP(a0)
    ld      gp, 8(sp)
    ld      tp, 16(sp)
    ld      t0, FAST_EXIT(a0)
    jalr    t0
    mv      t1, a0
    csrr    a0, sscratch
    ld      gp, 24(a0)
    ld      tp, 32(a0)
.endm

    .section .text.axvcpu.fast, "ax", %progbits
/// As axvcpu_enter, with the trap vector below.
    .globl  axvcpu_enter_fast
    .type   axvcpu_enter_fast, %function
axvcpu_enter_fast:
    la      t1, fast_trap
    j       axvcpu_enter_by
    .size   axvcpu_enter_fast, . - axvcpu_enter_fast

    .balign 4
fast_trap:
    csrrw   a0, sscratch, a0                // a0 = context
    caller_saved sd
    csrr    a1, scause
    li      t1, CAUSE_GUEST_CALL
    bne     a1, t1, 3f
    ask
    beqz    t1, 5f
1:  csrr    t0, sepc
    addi    t0, t0, 4
    csrw    sepc, t0
    caller_saved ld
    ld      a0, 80(a0)
    sret
3:  li      t1, CAUSE_VIRTUAL_INSTRUCTION
    bne     a1, t1, 6f
    csrr    t0, stval                       // the instruction; 0: it would have to be read from memory
    beqz    t0, 6f
    slli    t0, t0, 32
    or      a1, a1, t0
    callee_saved sd                         // any register may be the one that is read or written
    ask
    beqz    t1, 5f
    callee_saved ld
    j       1b
5:  ld      t0, 80(a0)                      // as the usual way finds it
    csrw    sscratch, t0
6:  callee_saved sd
    j       axvcpu_leave_saved
