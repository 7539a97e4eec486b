// The guest: says hello through a UART that its hypervisor makes up, asks for twice 21, turns itself off.
    .section .rodata.guest, "a"
    .balign 4096
    .globl  guest_begin, guest_end
guest_begin:
    li      s0, 0x09000000
    la      s1, text
1:  lbu     t0, (s1)
    beqz    t0, 2f
    sb      t0, (s0)
    addi    s1, s1, 1
    j       1b
2:  li      a7, 0x0A000000          // an extension of the hypervisor's own
    li      a6, 0
    li      a0, 21
    ecall
    sb      a1, (s0)                // 42: an asterisk
    li      t0, '\n'
    sb      t0, (s0)
    li      a7, 0x53525354          // SBI system reset
    li      a6, 0
    li      a0, 0                   // shutdown
    li      a1, 0
    ecall
text:
    .asciz  "hello from the guest: 21 * 2 is, in ASCII, "
    .balign 4096
guest_end:
