// The x87 and SSE state: FXSAVE's 512 bytes.
#include "offsets.h"
    .section .text.axvcpu.fp, "ax", @progbits
/// void axvcpu_fp_save(Context*). Requires: CR4.OSFXSR, CR0.TS and EM clear. Clobbers: nothing. Budget: 2.
    .globl  axvcpu_fp_save
axvcpu_fp_save:
    fxsave64 CONTEXT_FXSAVE(%rdi)
    ret

/// void axvcpu_fp_load(const Context*). Clobbers: the x87 and SSE state. Budget: 3.
    .globl  axvcpu_fp_load
axvcpu_fp_load:
    fninit                      // AMD before Zen: FXRSTOR leaves the last instruction's and operand's addresses, where no exception is pending
    fxrstor64 CONTEXT_FXSAVE(%rdi)
    ret

/// void axvcpu_fp_clear(void): the state as after a reset, all registers 0. Clobbers: nothing else. Budget: 3.
    .globl  axvcpu_fp_clear
axvcpu_fp_clear:
    fninit
    fxrstor64 reset_state(%rip)
    ret
    .section .rodata.axvcpu.fp, "a", @progbits
    .balign 16
reset_state:
    .long   0x37F               // FCW
    .zero   20
    .long   0x1F80              // MXCSR
    .zero   484
    .section .text.axvcpu.fp, "ax", @progbits

/// void axvcpu_fp_save_host(void* area), axvcpu_fp_load_host: MXCSR and the x87 control word, which a callee must keep, for a host that
/// uses floating point itself. Clobbers: with load, the x87 stack is emptied. Budget: 3.
    .globl  axvcpu_fp_save_host
axvcpu_fp_save_host:
    stmxcsr (%rdi)
    fnstcw  4(%rdi)
    ret

    .globl  axvcpu_fp_load_host
axvcpu_fp_load_host:
    fninit
    ldmxcsr (%rdi)
    fldcw   4(%rdi)
    ret
