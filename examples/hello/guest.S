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
2:  mov     w0, #0xC6000000     // a call in the range of hypervisor vendors
    mov     x1, #21
    hvc     #0
    strb    w0, [x4]            // 42: an asterisk
    ldr     w0, =0x84000008     // PSCI SYSTEM_OFF
    hvc     #0
    .ltorg
#else
    li      s0, 0x09000000
    la      s1, text
1:  lbu     t0, (s1)
    beqz    t0, 2f
    sb      t0, (s0)
    addi    s1, s1, 1
    j       1b
2:  li      a7, 0x0A000000      // an extension of the hypervisor's own
    li      a0, 21
    ecall
    sb      a1, (s0)            // 42: an asterisk
    li      a7, 0x53525354      // SBI system reset: shutdown, no reason
    li      a0, 0
    li      a1, 0
    li      a6, 0
    ecall
#endif
text:
    .asciz  "hello from the guest: 21 * 2 is, in ASCII, "
    .balign 4096
