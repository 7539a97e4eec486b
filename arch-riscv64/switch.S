// The way into a guest and out of it. Offsets come from offsets.h, which the target compiler writes from the register table.
#include "offsets.h"

#define FRAME_HOST_STVEC 120
#define FRAME_HOST_SSTATUS 128
#define FRAME_SIZE 144

/// What the calling convention lets a callee keep, and gp and tp.
/// Requires: sp = frame. \op is sd or ld. Clobbers: with ld what it loads. Budget: 15.
.macro host_registers op
    \op     ra, 0(sp)
    \op     gp, 8(sp)
    \op     tp, 16(sp)
    \op     s0, 24(sp)
    \op     s1, 32(sp)
    \op     s2, 40(sp)
    \op     s3, 48(sp)
    \op     s4, 56(sp)
    \op     s5, 64(sp)
    \op     s6, 72(sp)
    \op     s7, 80(sp)
    \op     s8, 88(sp)
    \op     s9, 96(sp)
    \op     s10, 104(sp)
    \op     s11, 112(sp)
.endm

/// All of the guest's but x10, which is the context meanwhile.
/// Requires: a0 = context. \op is sd or ld. Clobbers: with ld all but a0. Budget: 30.
.macro guest_registers op
    .irp    n, 1,2,3,4,5,6,7,8,9,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    \op     x\n, 8*\n(a0)
    .endr
.endm

/// No guest value stays in a register while host code runs and mispredicts.
/// Requires: nothing. Clobbers: a1-a7, t0-t6. Budget: 14.
.macro clear_call_clobbered
    .irp    r, a1,a2,a3,a4,a5,a6,a7,t0,t1,t2,t3,t4,t5,t6
    li      \r, 0
    .endr
.endm

    .section .text.axvcpu.switch, "ax", %progbits
    .balign 64

/// SwitchState* axvcpu_enter(SwitchState*): runs the guest until the next trap to HS-mode. scause, stval, htval, htinst say why.
/// Requires: sstatus.SIE = 0, the guest's other registers loaded. Returns its argument, with sstatus, sscratch and stvec as they were.
    .globl  axvcpu_enter
    .type   axvcpu_enter, %function
axvcpu_enter:
    jal     t1, axvcpu_enter_by             // t1 = guest_trap, which follows; no link register, so returns are predicted as before
    .size   axvcpu_enter, . - axvcpu_enter

/// Every trap while the guest runs. Returns from axvcpu_enter.
    .balign 4                               // stvec.MODE is 0
guest_trap:
    csrrw   a0, sscratch, a0                // a0 = context
    guest_registers sd
    .globl  axvcpu_leave_saved
axvcpu_leave_saved:                         // a0 = context, which has the general registers but a0; that one is in sscratch
    ld      sp, HOST_SP(a0)
    ld      t0, HOST_SSCRATCH(a0)
    csrrw   t0, sscratch, t0                // the guest's a0
    sd      t0, 80(a0)
    ld      t1, FRAME_HOST_SSTATUS(sp)
    csrrw   t1, sstatus, t1
    sd      t1, CONTEXT_SSTATUS(a0)
    csrr    t2, sepc
    sd      t2, CONTEXT_PC(a0)
    ld      t3, FRAME_HOST_STVEC(sp)
    csrw    stvec, t3
    host_registers ld
    addi    sp, sp, FRAME_SIZE
#if AXVCPU_CLEAR_REGISTERS
    clear_call_clobbered
#endif
    ret
    .size   guest_trap, . - guest_trap

    .globl  axvcpu_enter_by
    .type   axvcpu_enter_by, %function
axvcpu_enter_by:                            // t1 = trap vector
    addi    sp, sp, -FRAME_SIZE
    host_registers sd
    sd      sp, HOST_SP(a0)
    csrrw   t1, stvec, t1
    sd      t1, FRAME_HOST_STVEC(sp)
    csrw    sscratch, a0
    ld      t1, CONTEXT_SSTATUS(a0)         // before hstatus and sepc: nothing traps from here on
    csrrw   t1, sstatus, t1
    sd      t1, FRAME_HOST_SSTATUS(sp)
    ld      t2, CONTEXT_HSTATUS(a0)
    csrw    hstatus, t2                     // SPV: sret goes to V = 1; SPVP, whatever another hart did (R10)
    ld      t3, CONTEXT_PC(a0)
    csrw    sepc, t3
    guest_registers ld
    ld      a0, 80(a0)
    sret
    .size   axvcpu_enter_by, . - axvcpu_enter_by
