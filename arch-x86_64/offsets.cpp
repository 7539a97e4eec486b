// Compiled by the target compiler with the library's own flags; the section's text is the header offsets.h.
import std;
import axvcpu.x86_64;

#define OFFSET(name, value) asm volatile(".pushsection .axvcpu.offsets,\"\"\n.ascii \"#define " #name " %c0\\n\"\n.popsection" ::"i"(value))

using axvcpu::x86_64::Context;
using axvcpu::x86_64::SwitchState;
#define CONTEXT(name) OFFSET(CONTEXT_##name, Context::offset<#name>())
[[gnu::used]] static void emit() {
    CONTEXT(RSI); CONTEXT(RDX); CONTEXT(RCX); CONTEXT(R8); CONTEXT(R9); CONTEXT(R10); CONTEXT(R11); CONTEXT(RBX); CONTEXT(RBP);
    CONTEXT(R12); CONTEXT(R13); CONTEXT(R14); CONTEXT(R15); CONTEXT(FXSAVE);
    OFFSET(GUEST_BLOCK, __builtin_offsetof(SwitchState, guest_block));
    OFFSET(HOST_BLOCK, __builtin_offsetof(SwitchState, host_block));
}
