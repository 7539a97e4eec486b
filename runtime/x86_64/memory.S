// memcpy for large sizes: general registers only, as code between exit and entry must not touch FP.
    .text
/// void runtime_copy_blocks(void* to, const void* from, std::size_t blocks of 64 bytes)
    .globl  runtime_copy_blocks
runtime_copy_blocks:
    lea     (,%rdx,8), %rcx
    rep movsq
    ret
