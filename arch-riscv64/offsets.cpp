// Compiled by the target compiler with the library's own flags; the section's text is the header offsets.h.
import std;
import axvcpu.riscv64;

#define OFFSET(name, value) asm volatile(".pushsection .axvcpu.offsets,\"\"\n.ascii \"#define " #name " %0\\n\"\n.popsection" ::"i"(value))

using axvcpu::riscv64::Context;
using axvcpu::riscv64::SwitchState;
[[gnu::used]] static void emit() {
    OFFSET(CONTEXT_PC, Context::offset<"pc">());
    OFFSET(CONTEXT_SSTATUS, Context::offset<"sstatus">());
    OFFSET(CONTEXT_HSTATUS, Context::offset<"hstatus">());
    OFFSET(CONTEXT_F, Context::offset<"f">());
    OFFSET(CONTEXT_VSTART, Context::offset<"vstart">());
    OFFSET(CONTEXT_VCSR, Context::offset<"vcsr">());
    OFFSET(CONTEXT_VL, Context::offset<"vl">());
    OFFSET(CONTEXT_VTYPE, Context::offset<"vtype">());
    OFFSET(HOST_SP, __builtin_offsetof(SwitchState, host_sp));
    OFFSET(FAST_EXIT, __builtin_offsetof(SwitchState, fast_exit));
    OFFSET(HOST_SSCRATCH, __builtin_offsetof(SwitchState, host_sscratch));
}
