// memcpy and memset for large sizes: general registers only, as code between exit and entry must not touch FP.
    .text
/// void runtime_copy_blocks(void* to, const void* from, std::size_t blocks of 64 bytes)
    .globl  runtime_copy_blocks
runtime_copy_blocks:
    cbz     x2, 2f
1:  ldp     x3, x4, [x1, #0]
    ldp     x5, x6, [x1, #16]
    ldp     x7, x8, [x1, #32]
    ldp     x9, x10, [x1, #48]
    add     x1, x1, #64
    stp     x3, x4, [x0, #0]
    stp     x5, x6, [x0, #16]
    stp     x7, x8, [x0, #32]
    stp     x9, x10, [x0, #48]
    add     x0, x0, #64
    subs    x2, x2, #1
    b.ne    1b
2:  ret
