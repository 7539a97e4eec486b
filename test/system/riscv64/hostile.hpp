// What guests that execute anything have in common: registers that may be addresses, and tables with VS's and VU's views.
#pragma once
#include "harness.hpp"

// a1: where the random code is; every register gets a value that may be an address. a0 bit 0 (hart id) is not used.
#define HOSTILE_REGISTERS "mv t6, a1\nli a0, 0x0C000000\nli a2, 0x0C201004\nli a3, 0x10000000\nli t1, 0x8000\nadd a4, a1, t1\nli a5, -1\nli a6, 0\nli a7, 0x48534D\nmv sp, a4\nli s0, 0x70000000\n"
#define HOSTILE_STATUS "csrw stvec, t0\nli t0, 3 << 13 | 3 << 9\ncsrs sstatus, t0\nli t0, -1\ncsrw scounteren, t0\n"
/// Sv39 by the table at ram_base + `offset` (write_tables).
#define HOSTILE_SATP(offset) "li t0, 8 << 60 | (0x40000000 + " #offset ") >> 12\ncsrw satp, t0\nsfence.vma\n"
namespace harness {

/// The guest's tables of 1 GiB pages: devices at 0, its memory at 1 GiB and again at 2 GiB. In the user's, VU has all but the last.
inline void write_tables(Machine& m) {
    constexpr std::uint64_t all = 0xCF, user = 1 << 4;  // V, R, W, X, A, D
    for (const bool users : {false, true}) {
        auto* t = reinterpret_cast<std::uint64_t*>(m.host(ram_base + (users ? 0x1'F000 : 0x1'E000)));
        t[0] = all | (users ? user : 0);
        t[1] = ram_base.value >> 2 | all | (users ? user : 0);
        t[2] = ram_base.value >> 2 | all;
    }
}

}  // namespace harness
