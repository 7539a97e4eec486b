// memcpy for large sizes: general registers only, as code between exit and entry must not touch FP.
    .text
/// void runtime_copy_blocks(void* to, const void* from, std::size_t blocks of 64 bytes)
    .globl  runtime_copy_blocks
runtime_copy_blocks:
    beqz    a2, 2f
1:  ld      t0, 0(a1)
    ld      t1, 8(a1)
    ld      t2, 16(a1)
    ld      t3, 24(a1)
    sd      t0, 0(a0)
    sd      t1, 8(a0)
    sd      t2, 16(a0)
    sd      t3, 24(a0)
    ld      t0, 32(a1)
    ld      t1, 40(a1)
    ld      t2, 48(a1)
    ld      t3, 56(a1)
    sd      t0, 32(a0)
    sd      t1, 40(a0)
    sd      t2, 48(a0)
    sd      t3, 56(a0)
    addi    a1, a1, 64
    addi    a0, a0, 64
    addi    a2, a2, -1
    bnez    a2, 1b
2:  ret
