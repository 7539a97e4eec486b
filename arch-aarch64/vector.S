// The SVE state of any vector length: Z0-Z31, P0-P15, FFR, one after the other (DDI 0487, SVE registers). FPCR and FPSR are fp.S's.
    .arch_extension sve

/// x1 = where the predicates are, behind the vectors. Requires: x0 = state. Clobbers: x1. Budget: 2.
.macro to_predicates
    addvl   x1, x0, #31
    addvl   x1, x1, #1
.endm
/// \op is str or ldr. Requires: x0 = state. Clobbers: with ldr Z0-Z31. Budget: 32.
.macro vectors op
    .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    \op     z\n, [x0, #\n, mul vl]
    .endr
.endm
/// Requires: x1 as above. Budget: 16.
.macro predicates op
    .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    \op     p\n, [x1, #\n, mul vl]
    .endr
.endm

    .section .text.axvcpu.vector, "ax", %progbits
/// void axvcpu_sve_save(void* state): as many bytes as PerCpu::vector_bytes() says. Requires: SVE not trapped at EL2. Clobbers: x1. Budget: 55.
    .globl  axvcpu_sve_save
    .type   axvcpu_sve_save, %function
axvcpu_sve_save:
    to_predicates
    vectors str
    predicates str
    rdffr   p0.b
    str     p0, [x1, #16, mul vl]
    ldr     p0, [x1]
    ret

/// void axvcpu_sve_load(const void* state). Requires: SVE not trapped at EL2. Clobbers: x1, all of the SVE state. Budget: 54.
    .globl  axvcpu_sve_load
    .type   axvcpu_sve_load, %function
axvcpu_sve_load:
    to_predicates
    ldr     p0, [x1, #16, mul vl]
    wrffr   p0.b
    vectors ldr
    predicates ldr
    ret

/// void axvcpu_sve_clear(): what axvcpu_fp_clear leaves, P0-P15 and FFR. Requires: SVE not trapped at EL2. Budget: 18.
    .globl  axvcpu_sve_clear
    .type   axvcpu_sve_clear, %function
axvcpu_sve_clear:
    .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    pfalse  p\n\().b
    .endr
    wrffr   p0.b
    ret

/// auto axvcpu_sve_length() -> bytes of a vector at the length that ZCR_EL2 gives.
    .globl  axvcpu_sve_length
    .type   axvcpu_sve_length, %function
axvcpu_sve_length:
    rdvl    x0, #1
    ret
