// Every CSR number: a guest that tries them all comes to its end, and reaches nothing that is not a guest's.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include "../harness.hpp"
#include "hostile.hpp"

using namespace harness;

// A trap vector that writes down the cause, plus one, in the byte of the instruction (s2: bytes, t6: code), and goes on behind it.
asm(".pushsection .guest_payload,\"ax\"\n.option push\n.option norvc\n.balign 4\nsweep_vector: csrr t0, sepc\nsub t1, t0, t6\nsrli t1, t1, 2\nadd t1, t1, s2\naddi t0, t0, 4\ncsrw sepc, t0\n"
    "csrr t0, scause\naddi t0, t0, 1\nsb t0, (t1)\nsret\n.option pop\n.popsection");
GUEST(sweep_entry, "la t0, sweep_vector\nli s2, 0x10000\nadd s2, s2, a1\n" HOSTILE_STATUS HOSTILE_REGISTERS "jr t6\n");

namespace {

constexpr std::uint64_t sweep_code = ram_base.value + 0x2'0000, sweep_bytes = ram_base.value + 0x3'0000;
constexpr std::uint32_t write = 0x1000, accesses = 0x2000;  // a CSR's number, read; with `write`, written

/// Written, these take the guest's own legs away: sstatus, sie, stvec, sepc, satp.
constexpr std::array<std::uint32_t, 5> legs{write | 0x100, write | 0x104, write | 0x105, write | 0x141, write | 0x180};

struct Sweep {
    std::uint32_t rs1;  // what is written: a5, all ones, or zero
    bool system_registers;
    std::vector<unsigned char> causes = std::vector<unsigned char>(accesses);  // plus one; 0: there was no trap
    std::uint64_t exits = 0;
};

/// The guest executes those from `first` on that its memory has room for; gives the next one.
auto part(Sweep& s, std::uint32_t first) -> std::uint32_t {
    Machine m(sweep_entry, sweep_code, {.policy = {.system_registers = s.system_registers}, .controller = true});
    auto* code = reinterpret_cast<std::uint32_t*>(m.host(GuestPhysAddr{sweep_code}));
    std::vector<std::uint32_t> tried;
    for (; tried.size() < 4096 && first < accesses; ++first)
        if (std::ranges::find(legs, first) == legs.end()) tried.push_back(first);
    for (const auto n : tried) *code++ = (n & 0xFFF) << 20 | 0x73 | (n >= write ? 1u << 12 | s.rs1 << 15 : 2u << 12 | 28u << 7);  // csrw, or csrr t3
    *code++ = 0x0A00'08B7;  // lui a7, 0x0A000
    *code++ = 0x0000'0813;  // li a6, 0
    *code++ = 0x0000'0073;  // ecall
    auto b = percpu().bind(m.vcpu());
    REQUIRE(b);
    for (unsigned i = 0; i < 20'000; ++i) {
        const auto e = b.run(runtime::now() + 10 * runtime::frequency());
        REQUIRE(e);
        INFO("left with " << exit_names[e->index()] << " at instruction " << (get<"pc">(m) - sweep_code) / 4);
        if (const auto h = e->get<exit::Hypercall>(); h && h->number == report) break;
        if (e->is<exit::ExternalInterrupt>()) { take_interrupts(); continue; }
        REQUIRE(e->kind() == ExitKind::instruction);
        ++s.exits;
        REQUIRE(b.complete());
        REQUIRE(i < 19'999);
    }
    for (std::size_t i = 0; i < tried.size(); ++i) s.causes[tried[i]] = *m.host(GuestPhysAddr{sweep_bytes + i});
    return first;
}

auto for_guests(std::uint32_t access) -> bool {
    // Floating point, vectors; sstatus, sie, stvec, scounteren, senvcfg, sstateen0 to 3; sscratch to sip, stimecmp; siselect, sireg, stopei; satp; seed.
    constexpr auto both = std::to_array<std::uint32_t>({1, 2, 3, 8, 9, 0xA, 0xF, 0x100, 0x104, 0x105, 0x106, 0x10A, 0x10C, 0x10D, 0x10E, 0x10F, 0x140, 0x141, 0x142, 0x143, 0x144, 0x14D, 0x150, 0x151, 0x15C, 0x180, 0x15});
    const auto n = access & 0xFFF;
    if (std::ranges::find(both, n) != both.end()) return true;
    return access < write && ((n >= 0xC00 && n <= 0xC22) || n == 0xDB0);  // counters, vl, vtype, vlenb; stopi
}

}  // namespace

TEST_CASE("every CSR number, read and written, is answered, and reaches nothing that is not a guest's", "[hostile][sysreg]") {
    auto s = GENERATE(Sweep{0, false}, Sweep{15, false}, Sweep{15, true});
    for (std::uint32_t n = 0; n < accesses;) n = part(s, n);
    std::uint64_t reached = 0;
    for (std::uint32_t n = 0; n < accesses; ++n) {
        if (s.causes[n] != 0 || std::ranges::find(legs, n) != legs.end() || for_guests(n)) continue;
        ++reached;
        UNSCOPED_INFO((n < write ? "reads " : "writes ") << std::format("{:#x}", n & 0xFFF));
    }
    if (s.system_registers) {
        CHECK(reached > 40);
        CHECK(reached <= s.exits);  // no more than the host was asked about
    } else {
        CHECK(reached == 0);
        CHECK(s.exits == 0);
    }
    CHECK(s.causes[0x680] == (s.system_registers ? 0 : 3));  // hgatp is an illegal instruction
}
