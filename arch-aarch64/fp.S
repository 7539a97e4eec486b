// The floating-point and vector registers, 128 bits each: V0-V31, FPCR, FPSR, laid out as in the register table.
#include "offsets.h"
    .arch_extension fp
    .arch_extension simd

/// Moves V0-V31 between the registers and memory. Requires: x1 = first element. Clobbers: nothing. Budget: 16.
.macro move_vectors op
    \op     q0, q1, [x1, #0]
    \op     q2, q3, [x1, #32]
    \op     q4, q5, [x1, #64]
    \op     q6, q7, [x1, #96]
    \op     q8, q9, [x1, #128]
    \op     q10, q11, [x1, #160]
    \op     q12, q13, [x1, #192]
    \op     q14, q15, [x1, #224]
    \op     q16, q17, [x1, #256]
    \op     q18, q19, [x1, #288]
    \op     q20, q21, [x1, #320]
    \op     q22, q23, [x1, #352]
    \op     q24, q25, [x1, #384]
    \op     q26, q27, [x1, #416]
    \op     q28, q29, [x1, #448]
    \op     q30, q31, [x1, #480]
.endm

    .section .text.axvcpu.fp, "ax", %progbits
/// void axvcpu_fp_save(Context*). Requires: FP not trapped at EL2. Clobbers: x1-x3. Budget: 22.
    .globl  axvcpu_fp_save
    .type   axvcpu_fp_save, %function
axvcpu_fp_save:
    add     x1, x0, #CONTEXT_V
    move_vectors stp
    mrs     x2, FPCR
    mrs     x3, FPSR
    add     x1, x0, #CONTEXT_FPCR
    stp     x2, x3, [x1]
    ret

/// void axvcpu_fp_load(const Context*). Requires: FP not trapped at EL2. Clobbers: x1-x3, V0-V31. Budget: 22.
    .globl  axvcpu_fp_load
    .type   axvcpu_fp_load, %function
axvcpu_fp_load:
    add     x1, x0, #CONTEXT_V
    move_vectors ldp
    add     x1, x0, #CONTEXT_FPCR
    ldp     x2, x3, [x1]
    msr     FPCR, x2
    msr     FPSR, x3
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
