// A hostile guest: random and half-random instructions from a seed, at EL1 with and without its MMU, restarted when it is stuck,
// while the host answers its exits at random. The host must go on, and a second VM must compute what it always computes.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include "../harness.hpp"

using namespace harness;

// A second VM's work: a checksum over its own memory. x0: rounds; the result is reported.
GUEST(checksum_guest, "adrp x9, guest_vectors\nmov x1, #1\nmov x2, #0x1000\n1: ldr x3, [x9]\nadd x1, x1, x3\nror x1, x1, #7\nadd x9, x9, #8\nsubs x2, x2, #8\nb.ne 1b\n" REPORT);
// Its vectors: skip the instruction that faulted.
asm(".pushsection .guest_payload,\"a\"\n.balign 2048\nhostile_vectors:\n.rept 16\n.balign 128\nmrs x9, ELR_EL1\nadd x9, x9, #4\nmsr ELR_EL1, x9\neret\n.endr\n.balign 2048\n.popsection");
/// x0: where the random code is; every register gets a value that may be an address.
#define HOSTILE_REGISTERS "mov x29, x0\nmovz x1, #0x0800, lsl #16\nmovz x2, #0x080A, lsl #16\nmovz x3, #0x0900, lsl #16\nadd x4, x0, #0x8000\nmov x5, #-1\nmov x6, #8\n" \
                          "movz x7, #0x7000, lsl #16\nmov sp, x4\n"
#define HOSTILE_VECTORS "adrp x9, hostile_vectors\nadd x9, x9, :lo12:hostile_vectors\n"
/// Translation by the table at ram_base + `tables`: 39 bits of address, blocks of 1 GiB.
#define HOSTILE_MMU "movz x10, #0x4001, lsl #16\nmovk x10, #0xF000\nmsr TTBR0_EL1, x10\nmov x10, #0xFF\nmsr MAIR_EL1, x10\nmovz x10, #0x3519\nmovk x10, #0x80, lsl #16\nmovk x10, #2, lsl #32\n" \
                    "msr TCR_EL1, x10\nisb\nmrs x10, SCTLR_EL1\norr x10, x10, #1\norr x10, x10, #4\norr x10, x10, #0x1000\nmsr SCTLR_EL1, x10\nisb\n"
#define HOSTILE_FP "mov x9, #3 << 20\nmsr CPACR_EL1, x9\nisb\n"
GUEST(hostile_entry, HOSTILE_VECTORS "msr VBAR_EL1, x9\n" HOSTILE_FP HOSTILE_REGISTERS "br x29\n");
GUEST(hostile_translated, HOSTILE_VECTORS "msr VBAR_EL1, x9\n" HOSTILE_FP HOSTILE_MMU HOSTILE_REGISTERS "br x29\n");
// At EL0: what EL0 may write EL1 cannot execute, so its vectors are reached by a second mapping, 1 GiB above.
GUEST(hostile_user, HOSTILE_VECTORS "mov x10, #0x40000000\nadd x9, x9, x10\nmsr VBAR_EL1, x9\n" HOSTILE_FP HOSTILE_MMU "msr SPSR_EL1, xzr\nmsr ELR_EL1, x0\n" HOSTILE_REGISTERS "eret\n");

namespace {

constexpr std::uint64_t code_offset = 0x2'0000;
constexpr std::size_t code_words = 1024;

auto random_word(std::mt19937& r) -> std::uint32_t {
    // wfi, wfe, SGI, jump away, device access, PSCI numbers in w0 before hvc and smc, eret
    constexpr std::array<std::uint32_t, 14> chosen{0xD503'207F, 0xD503'205F, 0xD518'CBA6, 0xD61F'00E0, 0xF940'00E0, 0xB900'00E5, 0x52B8'8000,
                                                   0x1100'0400, 0xD400'0002, 0xD400'0003, 0xD69F'03E0, 0xA940'04E0, 0xC85F'7CE0, 0x3D80'00E0};
    switch (r() % 10) {
        case 8: case 9: return chosen[r() % chosen.size()];
        case 0: return 0xD500'0000 | (r() & 0x3F'FFFF);                                        // anything of the system space
        case 1: return 0xD510'0000 | (r() & 0x2F'FFFF) | 0x10'0000;                            // MSR and MRS, op0 2 and 3
        case 2: return 0xD530'0000 | (r() & 0x0F'FFFF);
        case 3: return (0x3900'0000 | (r() & 0xC0FF'FC00) | (r() & 0x1F)) | (1 + r() % 4) << 5;  // loads and stores from x1 to x4
        case 4: return (0x2800'0000 | (r() & 0xC3FF'FC1F)) | (1 + r() % 4) << 5;                 // pairs
        case 5: return 0xD400'0000 | (r() & 0xE0'0000) | (r() % 4 << 5) | (r() % 4);           // SVC, HVC, SMC, BRK, HLT
        default: return r();
    }
}

enum class Mode : std::uint8_t { untranslated, translated, user };

/// The guest's table of 1 GiB blocks: devices at 0, its memory at 1 GiB (for EL0, or for EL1) and again at 2 GiB, for EL1.
void write_tables(Machine& m, Mode mode) {
    constexpr std::uint64_t tables = 0x1'F000, block = 1, device = 1 << 2, el0 = 1 << 6, inner = 3 << 8, accessed = 1 << 10;
    auto* t = reinterpret_cast<std::uint64_t*>(m.host(ram_base + tables));
    t[0] = block | device | el0 | accessed;
    t[1] = ram_base.value | block | (mode == Mode::user ? el0 : 0) | inner | accessed;
    t[2] = ram_base.value | block | inner | accessed;
}

struct Tally { std::array<unsigned, Exit::reasons> exits{}; unsigned restarts = 0; };

/// One life of the guest: until it has left 60 times or is stuck in a loop.
void live(Machine& m, std::mt19937& random, Tally& tally) {
    auto b = percpu().bind(m.vcpu());
    REQUIRE(b);
    for (unsigned i = 0; i < 60; ++i) {
        const auto e = b.run(runtime::now() + runtime::frequency() / 1'000);
        REQUIRE(e);
        ++tally.exits[e->index()];
        if (e->kind() == ExitKind::terminal) return;
        if (e->is<exit::TimerExpired>() && random() % 2 == 0) return;
        if (e->is<exit::ExternalInterrupt>()) {
            runtime::unmask_interrupts();
            runtime::mask_interrupts();
        }
        if (e->kind() != ExitKind::instruction) continue;
        switch (random() % 4) {
            case 0: REQUIRE(b.complete(random())); break;
            case 1: REQUIRE(b.retry()); break;
            default: REQUIRE(b.fail());
        }
    }
}

auto checksum() -> std::uint64_t {
    Machine m(checksum_guest);
    auto b = percpu().bind(m.vcpu());
    const auto e = b.run();
    REQUIRE(e);
    REQUIRE(e->is<exit::Hypercall>());
    return e->get<exit::Hypercall>()->args[0];
}

}  // namespace

TEST_CASE("a hostile guest harms nobody but itself", "[hostile]") {
    const unsigned seed = GENERATE(1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u);
    INFO("seed " << seed);
    std::mt19937 random(seed);
    const auto expected = checksum();
    Tally tally;
    // Slices are real time, so a busy machine sees fewer exits a life: go on until there have been enough.
    const auto left = [&] { return std::accumulate(tally.exits.begin(), tally.exits.end(), 0u); };
    const auto wanted = wanted_lives();
    for (unsigned lives = 0; lives < wanted || (left() < 700 && lives < 2'000); ++lives) {
        // Stage 1 is on for three of four.
        const auto mode = lives % 4 == 0 ? Mode::untranslated : lives % 4 == 2 ? Mode::user : Mode::translated;
        Machine m(mode == Mode::untranslated ? hostile_entry : mode == Mode::user ? hostile_user : hostile_translated, ram_base.value + code_offset, {.policy = {.secure_calls = lives / 2 % 2 != 0, .system_registers = lives % 3 == 0, .yields = true},
                                                               .vcpus = 2, .controller = lives / 4 % 2 == 0});
        write_tables(m, mode);
        auto* code = reinterpret_cast<std::uint32_t*>(m.host(ram_base + code_offset));
        for (std::size_t i = 0; i < code_words; ++i) code[i] = random_word(random);
        live(m, random, tally);
        ++tally.restarts;
        if (lives % 20 == 0) REQUIRE(checksum() == expected);
    }
    CHECK(tally.restarts >= wanted);
    // It did get somewhere: over all seeds it has left for many reasons, and often.
    static Tally all;
    for (std::size_t i = 0; i < all.exits.size(); ++i) all.exits[i] += tally.exits[i];
    if (seed == 8) {
        CHECK(std::ranges::count_if(all.exits, [](unsigned n) { return n != 0; }) >= 9);
        CHECK(std::accumulate(all.exits.begin(), all.exits.end(), 0u) >= 5'000);
    }
    REQUIRE(checksum() == expected);
}

TEST_CASE("every MRS and MSR encoding of op0 2 and 3 is answered", "[hostile][sysreg]") {
    // 65,536 encodings with both directions; registers that take the guest's own legs away (its vectors, its MMU) are put back.
    std::uint32_t encoding = 0;
    unsigned lives = 0;
    const auto skipped = [](std::uint32_t e) {
        const auto sys = e >> 5 & 0xFFFF;
        return sys == 0xC080 /* SCTLR_EL1 */ || sys == 0xC600 /* VBAR_EL1 */ || sys == 0xC201 /* ELR_EL1 */ || sys == 0xC200 /* SPSR_EL1 */ || sys == 0xDA11 /* DAIF */;
    };
    while (encoding < 0x2'0000) {
        Machine m(hostile_entry, ram_base.value + code_offset, {.controller = true});
        auto* code = reinterpret_cast<std::uint32_t*>(m.host(ram_base + code_offset));
        std::size_t n = 0;
        for (; n < 4096 && encoding < 0x2'0000; ++encoding) {
            const std::uint32_t msr = 0xD510'0000 | (encoding & 0x8000) << 4 | (encoding & 0x7FFF) << 5 | (encoding >> 16 != 0 ? 1u << 21 : 0) | 31;
            if (!skipped(msr)) code[n++] = msr;
        }
        code[n] = 0x52B8'C000;      // mov w0, #0xC6000000
        code[n + 1] = 0xD400'0002;  // hvc #0
        auto b = percpu().bind(m.vcpu());
        REQUIRE(b);
        bool done = false;
        unsigned late = 0;
        for (unsigned i = 0; i < 20'000 && !done; ++i) {
            const auto e = b.run(runtime::now() + runtime::frequency() / 100);
            REQUIRE(e);
            if (const auto h = e->get<exit::Hypercall>(); h && h->number == report) done = true;
            else if (e->kind() == ExitKind::instruction) REQUIRE(b.complete());
            else if (e->is<exit::ExternalInterrupt>()) { runtime::unmask_interrupts(); runtime::mask_interrupts(); }
            else if (e->kind() == ExitKind::terminal || (e->is<exit::TimerExpired>() && ++late > 100)) break;
        }
        if (!done) {
            const auto pc = (get<"PC">(m) - ram_base.value - code_offset) / 4;
            INFO("pc index " << pc << " word " << std::hex << (pc < n ? code[pc] : 0) << " vbar " << get<"VBAR_EL1">(m) << " elr " << get<"ELR_EL1">(m));
            CHECK(done);
        }
        ++lives;
    }
    CHECK(lives >= 32);
}
