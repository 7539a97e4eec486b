// AArch64 at EL1: exceptions, stage 1, PSCI, GICv3, the virtual timer, PL011.
#include "transcript.hpp"

using namespace transcript;

asm(R"(
    .section .text.start, "ax"
    .globl _start
_start:
    adrp x0, stack_end
    add  x0, x0, :lo12:stack_end
    mov  sp, x0
    mov  x0, #3 << 20                // FP is not trapped: the compiler may use it
    msr  CPACR_EL1, x0
    adrp x0, vectors
    add  x0, x0, :lo12:vectors
    msr  VBAR_EL1, x0
    isb
    b    run
    .balign 2048
vectors:
    .rept 16
    .balign 128
    b    taken_one
    .endr
/// What a call may change. Requires: sp = room for it.
.macro move_registers op
    \op  x0, x1, [sp, #0]
    \op  x2, x3, [sp, #16]
    \op  x4, x5, [sp, #32]
    \op  x6, x7, [sp, #48]
    \op  x8, x9, [sp, #64]
    \op  x10, x11, [sp, #80]
    \op  x12, x13, [sp, #96]
    \op  x14, x15, [sp, #112]
    \op  x16, x17, [sp, #128]
    \op  x18, x30, [sp, #144]
.endm
taken_one:
    sub  sp, sp, #256
    move_registers stp
    bl   exception
    move_registers ldp
    add  sp, sp, #256
    eret
    .bss
    .balign 4096
    .globl table
table: .space 4096
    .space 8192
stack_end:
    .text
)");
extern "C" word table[512];

#define READ(name) ({ word v_; asm volatile("mrs %0, " name : "=r"(v_)::"memory"); v_; })
#define WRITE(name, value) asm volatile("msr " name ", %0\n isb" ::"r"(word{value}) : "memory")

namespace {
volatile unsigned& at(word address) { return *reinterpret_cast<volatile unsigned*>(address); }
auto psci(word function, word a = 0, word b = 0, word c = 0) -> word {
    register word x0 asm("x0") = function;
    register word x1 asm("x1") = a;
    register word x2 asm("x2") = b;
    register word x3 asm("x3") = c;
    asm volatile("hvc #0" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)::"memory", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17");
    return x0;
}

void gic_on() {
    at(0x0800'0000) = 0x12;                       // GICD_CTLR: ARE, group 1
    at(0x080A'0014) = 0;                          // GICR_WAKER
    at(0x080B'0080) = ~0u;                        // group 1
    at(0x080B'0100) = 1u << 27 | 1u << 5;         // the virtual timer, SGI 5
    WRITE("S3_0_C12_C12_5", 7);                   // ICC_SRE_EL1
    WRITE("S3_0_C4_C6_0", 0xF0);                  // ICC_PMR_EL1
    WRITE("S3_0_C12_C12_7", 1);                   // ICC_IGRPEN1_EL1
}

void stage1_on() {  // 1 GiB blocks: devices, RAM, RAM once more at 4 GiB read only, nothing at 5 GiB
    table[0] = 0x0000'0000 | 0x401;
    table[1] = 0x4000'0000 | 0x705;
    table[4] = 0x4000'0000 | 0x785;
    WRITE("MAIR_EL1", 0xFF00);
    WRITE("TCR_EL1", 25 | 1ul << 8 | 1ul << 10 | 3ul << 12 | 1ul << 23 | 2ul << 32);
    WRITE("TTBR0_EL1", reinterpret_cast<word>(table));
    asm volatile("dsb sy\n tlbi vmalle1\n dsb sy\n isb" ::: "memory");
    WRITE("SCTLR_EL1", READ("SCTLR_EL1") | 1 | 1 << 2 | 1 << 12);
}
}  // namespace

void transcript::put_byte(char c) {
    while ((at(0x0900'0018) >> 5 & 1) != 0) {}
    at(0x0900'0000) = static_cast<unsigned char>(c);
}

extern "C" void exception() {
    const word pending = READ("ISR_EL1") >> 7 & 1;
    if (pending != 0 && (READ("SPSR_EL1") >> 7 & 1) == 0) {
        const word id = READ("S3_0_C12_C12_0");   // ICC_IAR1_EL1
        if (id == 27) WRITE("CNTV_CTL_EL0", 0);
        WRITE("S3_0_C12_C12_1", id);              // ICC_EOIR1_EL1
        taken.cause = id;
        taken.address = 0;
    } else {
        const word esr = READ("ESR_EL1");
        taken.cause = esr;
        taken.address = (esr >> 26 & 0x3C) == 0x24 || (esr >> 26 & 0x3C) == 0x20 ? READ("FAR_EL1") : 0;
        if (esr >> 26 != 0x15) WRITE("ELR_EL1", READ("ELR_EL1") + 4);
    }
    taken.count = taken.count + 1;
}

extern "C" [[noreturn]] void run() {
    line("transcript");
    line("EL", READ("CurrentEL") >> 2);
    expect("undefined", [] { asm volatile("udf #0" ::: "memory"); });
    expect("breakpoint", [] { asm volatile("brk #5" ::: "memory"); });
    expect("supervisor call", [] { asm volatile("svc #9" ::: "memory"); });
    stage1_on();
    word value = 41;
    const word alias = reinterpret_cast<word>(&value) - 0x4000'0000 + 0x1'0000'0000;
    line("the same page elsewhere", word{*reinterpret_cast<volatile word*>(alias)});
    expect("write to a read-only page", [&] { asm volatile("str xzr, [%0]" ::"r"(0x1'0010'0000) : "memory"); });
    expect("read of nothing", [] { asm volatile("ldr x9, [%0]" ::"r"(0x1'4000'0010) : "x9", "memory"); });
    expect("unaligned exclusive", [&] { asm volatile("ldxr x9, [%0]" ::"r"(reinterpret_cast<word>(&value) + 1) : "x9", "memory"); });
    line("PSCI version", psci(0x8400'0000));
    line("PSCI features of CPU_ON, of a call that is none", psci(0x8400'000A, 0xC400'0003), psci(0x8400'000A, 0x8400'0FFF));
    line("CPU_ON of itself, of none", psci(0xC400'0003, 0, 0x4020'0000), psci(0xC400'0003, 0xFF00'0000, 0x4020'0000));
    line("AFFINITY_INFO of itself", psci(0xC400'0004, 0, 0));
    line("a call that is none", psci(0x8400'0FFF));
    line("PL011", word{at(0x0900'0FE0)}, word{at(0x0900'0FE4)}, word{at(0x0900'0FF0)}, word{at(0x0900'0FFC)});
    gic_on();
    line("GIC", word{at(0x0800'FFE8) >> 4 & 0xF}, word{at(0x080B'0100)}, word{at(0x080B'0C00)});
    asm volatile("msr DAIFClr, #2" ::: "memory");
    expect("SGI to itself", [] { WRITE("S3_0_C12_C11_5", 5ul << 24 | 1); for (int i = 0; i < 1000 && taken.cause != 5; ++i) asm volatile("nop" ::: "memory"); });
    expect("timer", [] {
        const word start = READ("CNTVCT_EL0"), due = start + READ("CNTFRQ_EL0") / 100;
        WRITE("CNTV_CVAL_EL0", due);
        WRITE("CNTV_CTL_EL0", 1);
        const word before = taken.count;
        while (taken.count == before) asm volatile("wfi" ::: "memory");
        line("not before its time", word{READ("CNTVCT_EL0") >= due});
    });
    expect("pending by hand", [] { at(0x080B'0200) = 1u << 5; for (int i = 0; i < 1000; ++i) asm volatile("nop" ::: "memory"); });
    line("end");
    psci(0x8400'0008);
    for (;;) {}
}
