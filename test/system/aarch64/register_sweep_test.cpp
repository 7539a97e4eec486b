// Every encoding of MRS and MSR: a guest that tries them all comes to its end, and reaches nothing that is not a guest's.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include "../harness.hpp"
#include "hostile.hpp"

using namespace harness;

// Vectors that write down the exception class, plus one, in the byte of the instruction (x12: bytes, x11: code), and go on behind it.
asm(".pushsection .guest_payload,\"a\"\n.balign 2048\nsweep_vectors:\n.rept 16\n.balign 128\nmrs x9, ELR_EL1\nsub x10, x9, x11\nlsr x10, x10, #2\nadd x9, x9, #4\nmsr ELR_EL1, x9\n"
    "mrs x9, ESR_EL1\nlsr x9, x9, #26\nadd x9, x9, #1\nstrb w9, [x12, x10]\neret\n.endr\n.balign 2048\n.popsection");
#define SWEEP "adrp x9, sweep_vectors\nadd x9, x9, :lo12:sweep_vectors\nmov x11, x0\nmov x12, #0x10000\nadd x12, x12, x0\n"
GUEST(sweep_entry, SWEEP "msr VBAR_EL1, x9\n" HOSTILE_FP HOSTILE_REGISTERS "br x29\n");
GUEST(sweep_user, SWEEP HOSTILE_TO_EL0("0x3C0"));

namespace {

constexpr std::uint64_t sweep_code = ram_base.value + 0x2'0000, sweep_bytes = ram_base.value + 0x3'0000;
/// op0 (2, 3) at 14, op1 at 11, CRn at 7, CRm at 3, op2: MSR; with `read`, MRS.
constexpr std::uint32_t read = 0x8000, encodings = 0x1'0000;
constexpr auto number(std::uint32_t op0, std::uint32_t op1, std::uint32_t crn, std::uint32_t crm, std::uint32_t op2) -> std::uint32_t {
    return (op0 & 1) << 14 | op1 << 11 | crn << 7 | crm << 3 | op2;
}
auto name(std::uint32_t e) -> std::string { return std::format("S{}_{}_C{}_C{}_{}", 2 + (e >> 14 & 1), e >> 11 & 7, e >> 7 & 15, e >> 3 & 15, e & 7); }

/// Written, these take the guest's own legs away: SCTLR_EL1, VBAR_EL1, ELR_EL1, SPSR_EL1, DAIF.
constexpr std::array legs{number(3, 0, 1, 0, 0), number(3, 0, 12, 0, 0), number(3, 0, 4, 0, 1), number(3, 0, 4, 0, 0), number(3, 3, 4, 2, 1)};

struct Sweep {
    const unsigned char* entry;
    std::uint32_t rt;  // what MSR writes: x5, all ones, or xzr
    bool system_registers;
    std::vector<unsigned char> classes = std::vector<unsigned char>(encodings);  // the exception's, plus one; 0: there was none
    std::uint64_t exits = 0;
};

/// The guest executes those from `first` on that its memory has room for; gives the next one.
auto part(Sweep& s, std::uint32_t first) -> std::uint32_t {
    Machine m(s.entry, sweep_code, {.policy = {.system_registers = s.system_registers}, .controller = true});
    write_tables(m);
    auto* code = reinterpret_cast<std::uint32_t*>(m.host(GuestPhysAddr{sweep_code}));
    std::vector<std::uint32_t> tried;
    for (; tried.size() < 4096 && first < encodings; ++first)
        if (std::ranges::find(legs, first) == legs.end()) tried.push_back(first);
    for (const auto e : tried) *code++ = 0xD510'0000 | (e & ~read) << 5 | (e >= read ? 1u << 21 : 0) | (e >= read ? 31 : s.rt);
    *code++ = 0x52B8'C000;  // mov w0, #0xC6000000
    *code++ = 0xD400'0002;  // hvc #0; from EL0 it is undefined
    *code++ = 0x52A1'4000;  // mov w0, #0x0A000000: device_base
    *code++ = 0xB900'0000;  // str w0, [x0]
    auto b = percpu().bind(m.vcpu());
    REQUIRE(b);
    for (unsigned i = 0; i < 20'000; ++i) {
        const auto e = b.run(runtime::now() + 10 * runtime::frequency());
        REQUIRE(e);
        INFO("left with " << exit_names[e->index()] << " at instruction " << (get<"PC">(m) - sweep_code) / 4);
        if (e->is<exit::Hypercall>() || e->is<exit::MmioWrite>()) break;
        if (e->is<exit::ExternalInterrupt>()) { take_interrupts(); continue; }
        REQUIRE(e->kind() == ExitKind::instruction);
        ++s.exits;
        REQUIRE(b.complete());
        REQUIRE(i < 19'999);
    }
    for (std::size_t i = 0; i < tried.size(); ++i) s.classes[tried[i]] = *m.host(GuestPhysAddr{sweep_bytes + i});
    return first;
}

/// Those that guests have without a row of their own: identification, caches, PSTATE's bits, counters, random numbers, errors (none), and the
/// CPU interface of the GIC, which the hardware has for guests.
constexpr std::array free_to_guests{
    number(3, 0, 0, 0, 0), number(3, 0, 0, 0, 5), number(3, 1, 0, 0, 0), number(3, 1, 0, 0, 1), number(3, 3, 0, 0, 1), number(3, 3, 0, 0, 7),                       // MIDR, MPIDR, CCSIDR, CLIDR, CTR, DCZID
    number(3, 0, 4, 2, 0), number(3, 0, 4, 2, 2), number(3, 0, 4, 2, 3), number(3, 0, 4, 2, 4), number(3, 0, 4, 3, 0),                                             // SPSel, CurrentEL, PAN, UAO, ALLINT
    number(3, 3, 4, 2, 0), number(3, 3, 4, 2, 1), number(3, 3, 4, 2, 5), number(3, 3, 4, 2, 6), number(3, 3, 4, 2, 7),                                             // NZCV, DAIF, DIT, SSBS, TCO
    number(3, 3, 14, 0, 0), number(3, 3, 14, 0, 1), number(3, 3, 14, 0, 2), number(3, 3, 14, 0, 6), number(3, 3, 14, 3, 0), number(3, 3, 2, 4, 0), number(3, 3, 2, 4, 1),  // CNTFRQ, CNTPCT, CNTVCT, CNTVCTSS, CNTV_TVAL, RNDR, RNDRRS
    number(3, 0, 12, 1, 0), number(3, 0, 12, 1, 1), number(2, 0, 1, 0, 4),                                                                                             // ISR, DISR, OSLAR
    number(3, 0, 4, 6, 0), number(3, 0, 12, 8, 0), number(3, 0, 12, 8, 1), number(3, 0, 12, 8, 2), number(3, 0, 12, 8, 3), number(3, 0, 12, 8, 4), number(3, 0, 12, 9, 0), number(3, 0, 12, 9, 5),
    number(3, 0, 12, 11, 1), number(3, 0, 12, 11, 3), number(3, 0, 12, 11, 5), number(3, 0, 12, 11, 6), number(3, 0, 12, 11, 7), number(3, 0, 12, 12, 0), number(3, 0, 12, 12, 1),
    number(3, 0, 12, 12, 2), number(3, 0, 12, 12, 3), number(3, 0, 12, 12, 4), number(3, 0, 12, 12, 5), number(3, 0, 12, 12, 6), number(3, 0, 12, 12, 7),              // ICC_*
};
auto for_guests(std::uint32_t e) -> bool {
    const auto which = e & ~read;
    const auto row = [&](const arch::Register& r) {
        const auto& c = r.encoding;
        return c.op0 >= 2 && r.policy != reg::Policy::host_owned && number(c.op0, c.op1, c.crn, c.crm, c.op2) == which;
    };
    const bool identification = e >= read && which >= number(3, 0, 0, 0, 0) && which <= number(3, 0, 0, 7, 7);
    return identification || std::ranges::any_of(arch::registers, row) || std::ranges::find(free_to_guests, which) != free_to_guests.end();
}

}  // namespace

TEST_CASE("every MRS and MSR encoding of op0 2 and 3 is answered, and reaches nothing that is not a guest's", "[hostile][sysreg]") {
    auto s = GENERATE(Sweep{sweep_entry, 31, false}, Sweep{sweep_entry, 5, false}, Sweep{sweep_entry, 5, true}, Sweep{sweep_user, 5, false});
    for (std::uint32_t e = 0; e < encodings;) e = part(s, e);
    std::uint64_t reached = 0;
    for (std::uint32_t e = 0; e < encodings; ++e) {
        if (s.classes[e] != 0 || std::ranges::find(legs, e) != legs.end() || for_guests(e)) continue;
        ++reached;
        UNSCOPED_INFO((e >= read ? "MRS " : "MSR ") << name(e & ~read));
    }
    CHECK(reached == s.exits);  // nothing; or what the host is asked about, where it wants that
    CHECK((s.exits > 1'000) == s.system_registers);
    CHECK(s.classes[read | number(3, 4, 1, 1, 0)] == 1);  // HCR_EL2 is undefined
}
