// The guest: says hello through a UART that its hypervisor makes up, asks for twice 21, turns itself off.
    .section .rodata.guest, "a"
    .balign 4096
    .globl  guest
guest:
#if defined(__aarch64__)
    mov     x4, #0x09000000
    adr     x2, text
1:  ldrb    w3, [x2], #1
    cbz     w3, 2f
    strb    w3, [x4]
    b       1b
2:  mov     w0, #0xC6000000; mov x1, #21; hvc #0    // a call in the range of hypervisor vendors
    strb    w0, [x4]                                // 42: an asterisk
    mov     w0, #0x84000000; add w0, w0, #8; hvc #0 // PSCI SYSTEM_OFF
#elif defined(__riscv)
    li      s0, 0x09000000
    la      s1, text
1:  lbu     t0, (s1)
    beqz    t0, 2f
    sb      t0, (s0)
    addi    s1, s1, 1
    j       1b
2:  li      a7, 0x0A000000; li a0, 21; ecall        // an extension of the hypervisor's own
    sb      a1, (s0)                                // 42: an asterisk
    li      a7, 0x53525354; li a0, 0; li a1, 0; li a6, 0; ecall     // SBI system reset: shutdown, no reason
#else
    .code32
    mov     $0x40000000 + text - guest, %esi        // it runs in 32-bit mode, at the start of its memory
1:  lodsb;  test %al, %al; jz 2f
    mov     %al, 0x09000000
    jmp     1b
2:  mov     $21, %edi; vmmcall
    mov     %al, 0x09000000                         // 42: an asterisk
    lidt    0x40000FF0; ud2                         // a fault without a table of handlers (zeroes): the machine shuts down
#endif
text: .asciz "hello from the guest: 21 * 2 is, in ASCII, "
    .balign 4096
