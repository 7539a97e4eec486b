// The vectors while a guest runs (DDI 0487, VBAR_EL2: 16 entries of 128 bytes).
#include "frame.h"

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
