// The way into a guest and out of it, by SVM. Offsets come from offsets.h, which the target compiler writes from the register table.
// RAX, RSP, RIP, RFLAGS and all that is hardly ever wanted stay in the control block, where the hardware has put them.
#include "offsets.h"

/// What the calling convention lets a callee keep. Requires: nothing. Budget: 6.
.macro push_host
    .irp    r, rbp, rbx, r12, r13, r14, r15
    push    %\r
    .endr
.endm
/// Requires: rsp as push_host left it. Clobbers: rbp, rbx, r12-r15. Budget: 6.
.macro pop_host
    .irp    r, r15, r14, r13, r12, rbx, rbp
    pop     %\r
    .endr
.endm

/// No guest value stays in a register while host code runs and mispredicts. Clobbers: rcx, rdx, rsi, r8-r11. Budget: 7.
.macro clear_call_clobbered
    .irp    r, ecx, edx, esi, r8d, r9d, r10d, r11d
    xor     %\r, %\r
    .endr
.endm

    .section .text.axvcpu.switch, "ax", @progbits
    .balign 64
/// void axvcpu_enter(SwitchState*): runs the guest until the next exit; the control block says why.
/// Requires: RFLAGS.IF = 0, GIF = 1, VM_HSAVE_PA set, the host's own hidden state saved in its control block by VMSAVE. Returns with IF = 0.
/// Interrupts are let through between CLGI and STGI: none is taken there, and a pending one ends the guest at once.
    .globl  axvcpu_enter
    .type   axvcpu_enter, @function
axvcpu_enter:
    push_host
    push    %rdi
    mov     GUEST_BLOCK(%rdi), %rax
    mov     CONTEXT_RSI(%rdi), %rsi
    mov     CONTEXT_RDX(%rdi), %rdx
    mov     CONTEXT_RCX(%rdi), %rcx
    mov     CONTEXT_R8(%rdi), %r8
    mov     CONTEXT_R9(%rdi), %r9
    mov     CONTEXT_R10(%rdi), %r10
    mov     CONTEXT_R11(%rdi), %r11
    mov     CONTEXT_RBX(%rdi), %rbx
    mov     CONTEXT_RBP(%rdi), %rbp
    mov     CONTEXT_R12(%rdi), %r12
    mov     CONTEXT_R13(%rdi), %r13
    mov     CONTEXT_R14(%rdi), %r14
    mov     CONTEXT_R15(%rdi), %r15
    mov     (%rdi), %rdi
    clgi
    sti
    vmload  %rax
    vmrun   %rax
    vmsave  %rax
    push    %rdi
    mov     8(%rsp), %rdi
    mov     %rsi, CONTEXT_RSI(%rdi)
    mov     %rdx, CONTEXT_RDX(%rdi)
    mov     %rcx, CONTEXT_RCX(%rdi)
    mov     %r8, CONTEXT_R8(%rdi)
    mov     %r9, CONTEXT_R9(%rdi)
    mov     %r10, CONTEXT_R10(%rdi)
    mov     %r11, CONTEXT_R11(%rdi)
    mov     %rbx, CONTEXT_RBX(%rdi)
    mov     %rbp, CONTEXT_RBP(%rdi)
    mov     %r12, CONTEXT_R12(%rdi)
    mov     %r13, CONTEXT_R13(%rdi)
    mov     %r14, CONTEXT_R14(%rdi)
    mov     %r15, CONTEXT_R15(%rdi)
    pop     (%rdi)                          // RDI is the first
    mov     HOST_BLOCK(%rdi), %rax
    vmload  %rax                            // FS, GS, TR, LDTR, KernelGsBase, the SYSCALL and SYSENTER registers
    cli
    stgi
#if AXVCPU_CLEAR_REGISTERS
    clear_call_clobbered
#endif
    pop     %rdi
    pop_host
    ret
    .size   axvcpu_enter, . - axvcpu_enter

/// void axvcpu_vmsave(block's physical address), axvcpu_vmload: the hidden state of this CPU.
    .section .text.axvcpu.block, "ax", @progbits
    .globl  axvcpu_vmsave
axvcpu_vmsave:
    mov     %rdi, %rax
    vmsave  %rax
    ret
