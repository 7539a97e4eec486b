// What guests that execute anything have in common: registers that may be addresses, and tables with EL1's and EL0's views.
#pragma once
#include "harness.hpp"

/// x0: where the random code is; every register gets a value that may be an address.
#define HOSTILE_REGISTERS "mov x29, x0\nmovz x1, #0x0800, lsl #16\nmovz x2, #0x080A, lsl #16\nmovz x3, #0x0900, lsl #16\nadd x4, x0, #0x8000\nmov x5, #-1\nmov x6, #8\n" \
                          "movz x7, #0x7000, lsl #16\nmov sp, x4\n"
#define HOSTILE_FP "mov x9, #3 << 20\nmsr CPACR_EL1, x9\nisb\n"
/// On to EL0, at x0, with the flags of SPSR_EL1 `masked`: what EL0 may write EL1 cannot execute, so EL1 goes on in its own mapping, 1 GiB
/// above, before it takes the user's table. x9 has the address of the vectors.
#define HOSTILE_TO_EL0(masked) "mov x10, #0x40000000\nadd x9, x9, x10\nmsr VBAR_EL1, x9\n" HOSTILE_FP MMU_ON "adr x9, 1f\nmov x10, #0x40000000\nadd x9, x9, x10\nbr x9\n" \
    "1: movz x10, #0x4001, lsl #16\nmovk x10, #0xF000\nmsr TTBR0_EL1, x10\nisb\ntlbi vmalle1\ndsb sy\nisb\nmov x10, #" masked "\nmsr SPSR_EL1, x10\nmsr ELR_EL1, x0\n" HOSTILE_REGISTERS "eret\n"

namespace harness {

/// The guest's tables of 1 GiB blocks: devices at 0, its memory at 1 GiB and again at 2 GiB. In the user's, EL0 has all but the last.
inline void write_tables(Machine& m) {
    constexpr std::uint64_t block = 1, device = 1 << 2, el0 = 1 << 6, inner = 3 << 8, accessed = 1 << 10;
    for (const bool user : {false, true}) {
        auto* t = reinterpret_cast<std::uint64_t*>(m.host(ram_base + (user ? 0x1'F000 : 0x1'E000)));
        t[0] = block | device | el0 | accessed;
        t[1] = ram_base.value | block | (user ? el0 : 0) | inner | accessed;
        t[2] = ram_base.value | block | inner | accessed;
    }
}

}  // namespace harness
