// Compiled by the target compiler with the library's own flags; the section's text is the header offsets.h.
import std;
import axvcpu.aarch64;

#define OFFSET(name, value) asm volatile(".pushsection .axvcpu.offsets,\"\"\n.ascii \"#define " #name " %c0\\n\"\n.popsection" ::"i"(value))

using axvcpu::aarch64::Context;
[[gnu::used]] static void emit() {
    OFFSET(CONTEXT_PC, Context::offset<"PC">());
    OFFSET(CONTEXT_ESR_EL2, Context::offset<"ESR_EL2">());
    OFFSET(CONTEXT_V, Context::offset<"V">());
    OFFSET(CONTEXT_FPCR, Context::offset<"FPCR">());
    OFFSET(CONTEXT_FAST_EXIT, __builtin_offsetof(axvcpu::aarch64::SwitchState, fast_exit));
}
