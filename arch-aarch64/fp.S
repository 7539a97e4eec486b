// The floating-point and vector registers, 128 bits each: V0-V31, FPCR, FPSR, laid out as in the register table.
#include "offsets.h"
    .arch_extension fp
    .arch_extension simd

/// Moves V0-V31 between the registers and memory. Requires: x1 = first element. Clobbers: x1, which stands behind them then. Budget: 8.
.macro move_vectors op
    \op     {v0.2d - v3.2d}, [x1], #64
    \op     {v4.2d - v7.2d}, [x1], #64
    \op     {v8.2d - v11.2d}, [x1], #64
    \op     {v12.2d - v15.2d}, [x1], #64
    \op     {v16.2d - v19.2d}, [x1], #64
    \op     {v20.2d - v23.2d}, [x1], #64
    \op     {v24.2d - v27.2d}, [x1], #64
    \op     {v28.2d - v31.2d}, [x1], #64
.endm
    .if CONTEXT_FPCR != CONTEXT_V + 32 * 16
    .error "FPCR follows V in the context"
    .endif

    .section .text.axvcpu.fp, "ax", %progbits
/// void axvcpu_fp_save(Context*). Requires: FP not trapped at EL2. Clobbers: x1-x3. Budget: 13.
    .globl  axvcpu_fp_save
    .type   axvcpu_fp_save, %function
axvcpu_fp_save:
    add     x1, x0, #CONTEXT_V
    move_vectors st1
    mrs     x2, FPCR
    mrs     x3, FPSR
    stp     x2, x3, [x1]
    ret

/// void axvcpu_fp_load(const Context*). Requires: FP not trapped at EL2. Clobbers: x1-x3, V0-V31. Budget: 13.
    .globl  axvcpu_fp_load
    .type   axvcpu_fp_load, %function
axvcpu_fp_load:
    add     x1, x0, #CONTEXT_V
    move_vectors ld1
    ldp     x2, x3, [x1]
    msr     FPCR, x2
    msr     FPSR, x3
    ret

/// void axvcpu_fp_clear(): V0-V31 (and with them the rest of Z), FPCR and FPSR are 0 then. Requires: FP not trapped at EL2. Budget: 35.
    .globl  axvcpu_fp_clear
    .type   axvcpu_fp_clear, %function
axvcpu_fp_clear:
    .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    movi    v\n\().2d, #0
    .endr
    msr     FPCR, xzr
    msr     FPSR, xzr
    ret

/// void axvcpu_fp_save_host(std::uint64_t area[10]), axvcpu_fp_load_host: what a callee must keep (D8-D15) and FPCR, FPSR, for a
/// host that uses FP itself. Clobbers: x2, x3. Budget: 8.
    .globl  axvcpu_fp_save_host
    .type   axvcpu_fp_save_host, %function
axvcpu_fp_save_host:
    stp     d8, d9, [x0, #0]
    stp     d10, d11, [x0, #16]
    stp     d12, d13, [x0, #32]
    stp     d14, d15, [x0, #48]
    mrs     x2, FPCR
    mrs     x3, FPSR
    stp     x2, x3, [x0, #64]
    ret

    .globl  axvcpu_fp_load_host
    .type   axvcpu_fp_load_host, %function
axvcpu_fp_load_host:
    ldp     d8, d9, [x0, #0]
    ldp     d10, d11, [x0, #16]
    ldp     d12, d13, [x0, #32]
    ldp     d14, d15, [x0, #48]
    ldp     x2, x3, [x0, #64]
    msr     FPCR, x2
    msr     FPSR, x3
    ret
