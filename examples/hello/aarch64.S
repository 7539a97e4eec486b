// The guest: says hello through a UART that its hypervisor makes up, asks for twice 21, turns itself off.
    .section .rodata.guest, "a"
    .balign 4096
    .globl  guest_begin, guest_end
guest_begin:
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
    mov     w3, #'\n'
    strb    w3, [x4]
    ldr     w0, =0x84000008     // PSCI SYSTEM_OFF
    hvc     #0
    .ltorg
text:
    .asciz  "hello from the guest: 21 * 2 is, in ASCII, "
    .balign 4096
guest_end:
