// The floating-point registers f0-f31 and fcsr, laid out as in the register table.
#include "offsets.h"
    .option arch, +d

/// Moves f0-f31 between the registers and memory. Requires: a0 = first. Clobbers: nothing else. Budget: 32.
.macro move_all op
    .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    \op     f\n, 8*\n(a0)
    .endr
.endm

    .section .text.axvcpu.fp, "ax", %progbits
/// void axvcpu_fp_save(Context*). Requires: sstatus.FS not off. Clobbers: a0, t0. Budget: 36.
    .globl  axvcpu_fp_save
    .type   axvcpu_fp_save, %function
axvcpu_fp_save:
    addi    a0, a0, CONTEXT_F
    move_all fsd
    frcsr   t0
    sd      t0, 256(a0)
    ret

/// void axvcpu_fp_load(const Context*). Requires: sstatus.FS not off. Clobbers: a0, t0, f0-f31, fcsr. Budget: 36.
    .globl  axvcpu_fp_load
    .type   axvcpu_fp_load, %function
axvcpu_fp_load:
    addi    a0, a0, CONTEXT_F
    move_all fld
    ld      t0, 256(a0)
    fscsr   t0
    ret

/// void axvcpu_fp_clear(void): f0-f31 and fcsr are 0 then. Requires: sstatus.FS not off. Budget: 34.
    .globl  axvcpu_fp_clear
    .type   axvcpu_fp_clear, %function
axvcpu_fp_clear:
    .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    fmv.d.x f\n, zero
    .endr
    fscsr   zero
    ret

/// bool axvcpu_fp_switch(Context* from, const Context* to, std::atomic<State>*, State, sie): the end of a switch. Saves f of `from` where
/// they are dirty, stores its state by release, loads f of `to`, sets sie in sstatus. Gives true. Clobbers: t0-t2, f0-f31, fcsr.
    .globl  axvcpu_fp_switch
    .type   axvcpu_fp_switch, %function
axvcpu_fp_switch:
    lui     t0, 2                           // FS = Initial
    csrrs   t1, sstatus, t0
    ld      t2, CONTEXT_SSTATUS(a0)
    bgez    t2, 1f                          // SD
    addi    a0, a0, CONTEXT_F
    move_all fsd
    frcsr   t0
    sd      t0, 256(a0)
1:  fence   rw, w
    sw      a3, 0(a2)
    addi    a0, a1, CONTEXT_F
    move_all fld
    ld      t0, 256(a0)
    fscsr   t0
    or      t1, t1, a4
    csrw    sstatus, t1
    li      a0, 1
    ret

/// The callee-saved registers fs0-fs11 and fcsr of run()'s caller, in 13 double words.
.macro move_callee_saved op
    \op     fs0, 0(a0)
    \op     fs1, 8(a0)
    \op     fs2, 16(a0)
    \op     fs3, 24(a0)
    \op     fs4, 32(a0)
    \op     fs5, 40(a0)
    \op     fs6, 48(a0)
    \op     fs7, 56(a0)
    \op     fs8, 64(a0)
    \op     fs9, 72(a0)
    \op     fs10, 80(a0)
    \op     fs11, 88(a0)
.endm

/// void axvcpu_fp_save_host(uint64_t[13]). Requires: sstatus.FS not off. Clobbers: t0. Budget: 15.
    .globl  axvcpu_fp_save_host
    .type   axvcpu_fp_save_host, %function
axvcpu_fp_save_host:
    move_callee_saved fsd
    frcsr   t0
    sd      t0, 96(a0)
    ret

/// void axvcpu_fp_load_host(const uint64_t[13]). Clobbers: t0, fs0-fs11, fcsr. Budget: 15.
    .globl  axvcpu_fp_load_host
    .type   axvcpu_fp_load_host, %function
axvcpu_fp_load_host:
    move_callee_saved fld
    ld      t0, 96(a0)
    fscsr   t0
    ret
