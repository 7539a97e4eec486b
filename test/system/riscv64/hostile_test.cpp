// A hostile guest: random and half-random instructions from a seed, in VS- and VU-mode, with and without translation, restarted when
// it is stuck, while the host answers its exits at random. The host must go on, and a second VM must compute what it always computes.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include "../harness.hpp"

using namespace harness;

// A second VM's work: a checksum over memory that it shares with nobody. The result is reported.
GUEST(checksum_guest, "la t0, guest_vectors\nli a0, 1\nli t1, 0x200\n1: ld t2, (t0)\nadd a0, a0, t2\nslli t3, a0, 7\nsrli a0, a0, 57\nor a0, a0, t3\naddi t0, t0, 8\naddi t1, t1, -8\nbnez t1, 1b\n" REPORT);
// Its trap vector: skips the instruction that faulted, by its real length where it can be read.
asm(".pushsection .guest_payload,\"ax\"\n.option push\n.option norvc\n.balign 4\nhostile_vector: csrr t0, sepc\naddi t0, t0, 4\ncsrw sepc, t0\nsret\n.option pop\n.popsection");
// a1: where the random code is; every register gets a value that may be an address. a0 bit 0 (hart id) is not used.
GUEST(hostile_entry, "la t0, hostile_vector\ncsrw stvec, t0\nli t0, 3 << 13 | 3 << 9\ncsrs sstatus, t0\nli t0, -1\ncsrw scounteren, t0\nmv t6, a1\nli a0, 0x0C000000\nli a2, 0x0C201004\nli a3, 0x10000000\n"
                     "li t1, 0x8000\nadd a4, a1, t1\nli a5, -1\nli a6, 0\nli a7, 0x48534D\nmv sp, a4\nli s0, 0x70000000\njr t6\n");
GUEST(hostile_user, "la t0, hostile_vector\ncsrw stvec, t0\nli t0, 0x100\ncsrc sstatus, t0\ncsrw sepc, a1\nmv a4, a1\nli a3, 0x10000000\nli a2, 0x0C000000\nsret\n");

namespace {

constexpr std::uint64_t code_offset = 0x2'0000;
constexpr std::size_t code_words = 1024;

auto random_word(std::mt19937& r) -> std::uint32_t {
    constexpr std::array<std::uint32_t, 15> chosen{0x0A00'08B7, 0x0010'0813, 0x0030'0813, 0x1050'0073, 0x0000'0073, 0x0010'0073, 0x1020'0073, 0x1200'0073, 0x2200'0073, 0x6200'0073, 0x0000'100F,
                                                   0x3020'0073, 0x6000'4073, 0x0005'2503, 0x00A6'A023};
    switch (r() % 10) {
        case 8: case 9: return chosen[r() % chosen.size()];
        case 0: return 0x0000'0073 | (r() & 0xFFFF'FF80);                                     // SYSTEM: CSRs and privileged instructions
        case 1: return 0x0000'1073 | (r() & 0xFFF0'0F80) | (r() % 3) << 12;                    // CSR accesses
        case 2: return 0x0000'0003 | (r() & 0xFFF0'7F80) | (10 + r() % 6) << 15;               // loads from a0 to a5
        case 3: return 0x0000'0023 | (r() & 0xFFF0'7F80) | (10 + r() % 6) << 15;               // stores
        case 4: return 0x0000'002F | (r() & 0xFFF0'7F80) | (10 + r() % 6) << 15;               // atomics
        case 5: return (0x0800 | 10 << 7) << 16 | 0x4501 | (r() & 0xE000) | (r() & 0x1FFC);    // compressed pairs
        case 6: return 0x0000'0893 | (r() & 0x7FF0'0000);                                      // li a7, n
        default: return r();
    }
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
    const auto h = e->get<exit::Hypercall>();
    REQUIRE(h);
    return h->args[0];
}

}  // namespace

TEST_CASE("a hostile guest harms nobody but itself", "[hostile][R4]") {
    const unsigned seed = GENERATE(1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u);
    INFO("seed " << seed);
    std::mt19937 random(seed);
    const auto expected = checksum();
    Tally tally;
    // Slices are real time, so a busy machine sees fewer exits a life: go on until there have been enough.
    const auto left = [&] { return std::accumulate(tally.exits.begin(), tally.exits.end(), 0u); };
    const auto wanted = wanted_lives();
    for (unsigned lives = 0; lives < wanted || (left() < 700 && lives < 2'000); ++lives) {
        Machine m(lives % 4 == 3 ? hostile_user : hostile_entry, ram_base.value + code_offset, {.policy = {.system_registers = lives % 3 == 0}, .vcpus = 2, .controller = lives % 2 == 0});
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
        CHECK(std::ranges::count_if(all.exits, [](unsigned n) { return n != 0; }) >= 8);
        CHECK(std::accumulate(all.exits.begin(), all.exits.end(), 0u) >= 5'000);
    }
    REQUIRE(checksum() == expected);
}

TEST_CASE("every CSR number, read and written, is answered", "[hostile][sysreg]") {
    // Registers that take the guest's own legs away (its vector, its translation, its return address) are left out.
    const auto skipped = [](std::uint32_t n) { return n == 0x105 || n == 0x180 || n == 0x141 || n == 0x100 || n == 0x104; };
    std::uint32_t number = 0;
    unsigned lives = 0;
    while (number < 0x2000) {
        Machine m(hostile_entry, ram_base.value + code_offset, {.controller = true});
        auto* code = reinterpret_cast<std::uint32_t*>(m.host(ram_base + code_offset));
        std::size_t n = 0;
        for (; n < 2048 && number < 0x2000; ++number)
            if (!skipped(number & 0xFFF)) code[n++] = (number & 0xFFF) << 20 | 0x0000'0073 | (number >> 12 != 0 ? 1u << 12 : 2u << 12 | 28u << 7);  // csrw, or csrr t3
        code[n++] = 0x0A00'08B7;  // lui a7, 0x0A000
        code[n++] = 0x0000'0813;  // li a6, 0
        code[n++] = 0x0000'0073;  // ecall
        auto b = percpu().bind(m.vcpu());
        REQUIRE(b);
        bool done = false;
        for (unsigned i = 0; i < 20'000 && !done; ++i) {
            const auto e = b.run(runtime::now() + 10 * runtime::frequency());
            REQUIRE(e);
            INFO("left with " << exit_names[e->index()]);
            if (const auto h = e->get<exit::Hypercall>(); h && h->number == report) done = true;
            else if (e->is<exit::ExternalInterrupt>()) { runtime::unmask_interrupts(); runtime::mask_interrupts(); }
            else if (e->kind() == ExitKind::instruction) REQUIRE(b.complete());
            else if (e->is<exit::TimerExpired>()) break;
        }
        CHECK(done);
        ++lives;
    }
    CHECK(lives >= 4);
}
