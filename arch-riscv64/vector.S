// The vector registers v0-v31 of any length, and fence.i.
#include "offsets.h"
    .option arch, +v

    .section .text.axvcpu.vector, "ax", %progbits
/// void axvcpu_vector_save(Context*, void* registers): 32 * VLENB bytes at a1. Requires: sstatus.VS not off. Clobbers: t0, a1, a2.
    .globl  axvcpu_vector_save
    .type   axvcpu_vector_save, %function
axvcpu_vector_save:
    csrr    t0, vcsr
    sd      t0, CONTEXT_VCSR(a0)
    csrr    t0, vl
    sd      t0, CONTEXT_VL(a0)
    csrr    t0, vtype
    sd      t0, CONTEXT_VTYPE(a0)
    csrr    t0, vstart
    sd      t0, CONTEXT_VSTART(a0)
    csrr    a2, vlenb
    slli    a2, a2, 3
    csrw    vstart, zero
    vs8r.v  v0, (a1)
    add     a1, a1, a2
    vs8r.v  v8, (a1)
    add     a1, a1, a2
    vs8r.v  v16, (a1)
    add     a1, a1, a2
    vs8r.v  v24, (a1)
    ret

/// void axvcpu_vector_load(const Context*, const void* registers). Clobbers: t0, t1, a1, a2, all of the vector state.
    .globl  axvcpu_vector_load
    .type   axvcpu_vector_load, %function
axvcpu_vector_load:
    csrr    a2, vlenb
    slli    a2, a2, 3
    csrw    vstart, zero
    vl8re8.v v0, (a1)
    add     a1, a1, a2
    vl8re8.v v8, (a1)
    add     a1, a1, a2
    vl8re8.v v16, (a1)
    add     a1, a1, a2
    vl8re8.v v24, (a1)
    ld      t0, CONTEXT_VL(a0)
    ld      t1, CONTEXT_VTYPE(a0)
    vsetvl  zero, t0, t1
    ld      t0, CONTEXT_VCSR(a0)
    csrw    vcsr, t0
    ld      t0, CONTEXT_VSTART(a0)
    csrw    vstart, t0
    ret

/// void axvcpu_vector_clear(void): v0-v31, vcsr and vl are 0 then. Requires: sstatus.VS not off. Clobbers: t0. Budget: 9.
    .globl  axvcpu_vector_clear
    .type   axvcpu_vector_clear, %function
axvcpu_vector_clear:
    csrw    vstart, zero
    vsetvli t0, zero, e8, m8, ta, ma
    vmv.v.i v0, 0
    vmv.v.i v8, 0
    vmv.v.i v16, 0
    vmv.v.i v24, 0
    csrw    vcsr, zero
    vsetivli zero, 0, e8, m8, ta, ma
    ret

/// void axvcpu_fence_i(void): here because it looks like a floating-point instruction to who checks objects by name.
    .globl  axvcpu_fence_i
    .type   axvcpu_fence_i, %function
axvcpu_fence_i:
    fence.i
    ret
