// The vectors while a guest runs (DDI 0487, VBAR_EL2: 16 entries of 128 bytes).
#define FRAME_HOST_VBAR 24

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

    .section .text.axvcpu.vectors, "ax", %progbits
    .balign 2048
    .globl  axvcpu_vectors
axvcpu_vectors:
    .irp    offset, 0x000, 0x080, 0x100, 0x180, 0x200, 0x280, 0x300, 0x380
    from_host \offset
    .endr
    .irp    number, 0, 1, 2, 3              // from AArch64
    from_guest \number
    .endr
    .irp    number, 0, 1, 2, 3              // from AArch32: a guest's 32-bit process
    from_guest \number
    .endr
    .balign 128
