// RISC-V in S-mode: exceptions, Sv39, SBI, the timer, the 16550.
#include "transcript.hpp"

using namespace transcript;

asm(R"(
    .section .text.start, "ax"
    .globl _start
_start:
    la   sp, stack_end
    mv   s0, a0
    la   t0, vector
    csrw stvec, t0
    csrw satp, zero
    j    run
    .balign 4
vector:
    addi sp, sp, -256
    .irp r, 1,5,6,7,10,11,12,13,14,15,16,17,28,29,30,31
    sd   x\r, 8*\r(sp)
    .endr
    call exception
    .irp r, 1,5,6,7,10,11,12,13,14,15,16,17,28,29,30,31
    ld   x\r, 8*\r(sp)
    .endr
    addi sp, sp, 256
    sret
    .bss
    .balign 4096
    .globl table
table: .space 4096
    .space 8192
stack_end:
    .text
)");
extern "C" word table[512];

#define READ(name) ({ word v_; asm volatile("csrr %0, " name : "=r"(v_)::"memory"); v_; })
#define WRITE(name, value) asm volatile("csrw " name ", %0" ::"r"(word{value}) : "memory")

namespace {
struct Answer { word error, value; };
auto sbi(word extension, word function, word a = 0, word b = 0, word c = 0) -> Answer {
    register word a0 asm("a0") = a;
    register word a1 asm("a1") = b;
    register word a2 asm("a2") = c;
    register word a6 asm("a6") = function;
    register word a7 asm("a7") = extension;
    asm volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a2), "r"(a6), "r"(a7) : "memory");
    return {a0, a1};
}
volatile unsigned char& uart(unsigned n) { return *reinterpret_cast<volatile unsigned char*>(0x1000'0000ul + n); }

void stage1_on() {  // 1 GiB leaves: devices, RAM, RAM once more at 4 GiB read only, nothing at 5 GiB
    const auto leaf = [](word physical, word rights) { return physical >> 2 | rights | 0xC1; };  // A, D, V
    table[0] = leaf(0, 6);
    table[2] = leaf(0x8000'0000, 0xE);
    table[4] = leaf(0x8000'0000, 2);
    WRITE("satp", 8ul << 60 | reinterpret_cast<word>(table) >> 12);
    asm volatile("sfence.vma" ::: "memory");
}
constexpr word base = 0x10, time = 0x5449'4D45, ipi = 0x0073'5049, rfence = 0x5246'4E43, hsm = 0x0048'534D, reset = 0x5352'5354;
}  // namespace

void transcript::put_byte(char c) {
    while ((uart(5) >> 5 & 1) == 0) {}
    uart(0) = static_cast<unsigned char>(c);
}

extern "C" void exception() {
    const word cause = READ("scause");
    if (cause >> 63 != 0) {
        if ((cause & 0xFF) == 5) sbi(time, 0, ~word{0});
        if ((cause & 0xFF) == 1) asm volatile("csrci sip, 2" ::: "memory");
        taken.address = 0;
    } else {
        taken.address = cause == 2 ? 0 : READ("stval");
        const word pc = READ("sepc");
        WRITE("sepc", pc + ((*reinterpret_cast<const unsigned short*>(pc) & 3) == 3 ? 4 : 2));
    }
    taken.cause = cause;
    taken.count = taken.count + 1;
}

extern "C" [[noreturn]] void run() {
    line("transcript");
    expect("illegal", [] { asm volatile(".4byte 0" ::: "memory"); });
    expect("a machine-mode register", [] { asm volatile("csrr t0, mstatus" ::: "t0", "memory"); });
    stage1_on();
    word value = 41;
    line("the same page elsewhere", word{*reinterpret_cast<volatile word*>(reinterpret_cast<word>(&value) - 0x8000'0000 + 0x1'0000'0000)});
    expect("write to a read-only page", [] { asm volatile("sd zero, (%0)" ::"r"(0x1'0010'0000) : "memory"); });
    expect("read of nothing", [] { asm volatile("ld t0, (%0)" ::"r"(0x1'4000'0010) : "t0", "memory"); });
    line("SBI version", sbi(base, 0).value >> 24);
    line("extensions", sbi(base, 3, time).value, sbi(base, 3, ipi).value, sbi(base, 3, rfence).value, sbi(base, 3, hsm).value, sbi(base, 3, reset).value,
         sbi(base, 3, 0x0ABC'DEF0).value);
    line("an extension and a function that are none", sbi(0x0ABC'DEF0, 0).error, sbi(time, 77).error);
    line("status of itself, of none; start of itself, of none", sbi(hsm, 2, 0).error, sbi(hsm, 2, 0).value, sbi(hsm, 2, 99).error, sbi(hsm, 0, 0, 0x8020'0000).error,
         sbi(hsm, 0, 99, 0x8020'0000).error);
    line("fences: of itself", sbi(rfence, 0, 1, 0).error, sbi(rfence, 1, 1, 0).error);
    WRITE("sie", 0x22);
    asm volatile("csrsi sstatus, 2" ::: "memory");
    expect("IPI to itself", [] { sbi(ipi, 0, 1, 0); for (int i = 0; i < 1000; ++i) asm volatile("nop" ::: "memory"); });
    expect("timer", [] {
        const word due = READ("time") + 100'000;
        const word before = taken.count;
        sbi(time, 0, due);
        while (taken.count == before) asm volatile("wfi" ::: "memory");
        line("not before its time", word{READ("time") >= due});
    });
    line("UART", word{uart(2) & 0xFu}, word{uart(7)});
    line("end");
    sbi(reset, 0, 0, 0);
    for (;;) {}
}
