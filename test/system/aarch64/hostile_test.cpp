// A hostile guest: random and half-random instructions from a seed, at EL1 with and without its MMU, restarted when it is stuck,
// while the host answers its exits at random. The host must go on, and a second VM must compute what it always computes.
#include <catch2/generators/catch_generators.hpp>
#include "../hostile.hpp"

using namespace harness;

GUEST(checksum_guest, "2: adrp x9, guest_vectors\nadd x9, x9, :lo12:guest_vectors\nmov x1, #1\nmov x2, #512\n1: ldr x3, [x9], #8\nadd x1, x1, x3\nror x1, x1, #57\nsubs x2, x2, #8\nb.ne 1b\n" REPORT "b 2b\n");
// Its vectors: go on behind the instruction that faulted, wherever that was, in the random code.
asm(".pushsection .guest_payload,\"a\"\n.balign 2048\nhostile_vectors:\n.rept 16\n.balign 128\nmrs x9, ELR_EL1\nadd x9, x9, #4\nand x9, x9, #0xFFC\norr x9, x9, #0x40000000\norr x9, x9, #0x20000\n"
    "msr ELR_EL1, x9\neret\n.endr\n.balign 2048\n.popsection");
// The same where all of the code is to be executed, however long: go on behind the instruction.
asm(".pushsection .guest_payload,\"a\"\n.balign 2048\n.globl skipping_vectors\nskipping_vectors:\n.rept 16\n.balign 128\nmrs x9, ELR_EL1\nadd x9, x9, #4\nmsr ELR_EL1, x9\neret\n.endr\n.balign 2048\n.popsection");
/// x0: where the random code is; every register gets a value that may be an address.
#define HOSTILE_REGISTERS "mov x29, x0\nmovz x1, #0x0800, lsl #16\nmovz x2, #0x080A, lsl #16\nmovz x3, #0x0900, lsl #16\nadd x4, x0, #0x8000\nmov x5, #-1\nmov x6, #8\n" \
                          "movz x7, #0x7000, lsl #16\nmov sp, x4\n"
#define HOSTILE_VECTORS "adrp x9, hostile_vectors\nadd x9, x9, :lo12:hostile_vectors\n"
#define HOSTILE_FP "mov x9, #3 << 20\nmsr CPACR_EL1, x9\nisb\n"
GUEST(sweep_entry, "adrp x9, skipping_vectors\nadd x9, x9, :lo12:skipping_vectors\nmsr VBAR_EL1, x9\n" HOSTILE_FP HOSTILE_REGISTERS "br x29\n");
GUEST(hostile_entry, HOSTILE_VECTORS "msr VBAR_EL1, x9\n" HOSTILE_FP HOSTILE_REGISTERS "br x29\n");
GUEST(hostile_translated, HOSTILE_VECTORS "msr VBAR_EL1, x9\n" HOSTILE_FP MMU_ON HOSTILE_REGISTERS "br x29\n");
// At EL0: what EL0 may write EL1 cannot execute, so EL1 goes on in its own mapping, 1 GiB above, before it takes the user's table.
GUEST(hostile_user, HOSTILE_VECTORS "mov x10, #0x40000000\nadd x9, x9, x10\nmsr VBAR_EL1, x9\n" HOSTILE_FP MMU_ON "adr x9, 1f\nmov x10, #0x40000000\nadd x9, x9, x10\nbr x9\n"
                    "1: movz x10, #0x4001, lsl #16\nmovk x10, #0xF000\nmsr TTBR0_EL1, x10\nisb\ntlbi vmalle1\ndsb sy\nisb\nmsr SPSR_EL1, xzr\nmsr ELR_EL1, x0\n" HOSTILE_REGISTERS "eret\n");

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

/// Words of `code` that call the firmware or the hypervisor, numbers and arguments as PSCI and SMCCC have them.
auto call(std::mt19937& r, std::uint32_t* code) -> std::size_t {
    code[0] = (r() % 2 != 0 ? 0x52B0'8000 : 0x52B8'8000) | (r() % 8 == 0 ? (r() & 0x1F) << 5 : 0);  // movz w0, #0x8400 or #0xC400 or another, lsl 16
    code[1] = 0x1100'0000 | (r() % 4 == 0 ? 3 : r() % 24) << 10;                                       // add w0, w0, #n; CPU_ON is 3
    code[2] = 0xD280'0001 | (r() % 4) << 5;                                                            // mov x1, #n
    code[3] = 0xAA1D'03E2;                                                                             // mov x2, x29: somewhere to start
    code[4] = r() % 2 != 0 ? 0xD400'0002 : 0xD400'0003;                                                // hvc, smc
    return 5;
}
void write_code(std::mt19937& r, std::uint32_t* code) {
    for (std::size_t i = 0; i < code_words;) {
        if (r() % 32 == 0 && i + 5 <= code_words) i += call(r, code + i);
        else code[i++] = random_word(r);
    }
}

/// The guest's tables of 1 GiB blocks: devices at 0, its memory at 1 GiB and again at 2 GiB. In the user's, EL0 has all but the last.
void write_tables(Machine& m) {
    constexpr std::uint64_t block = 1, device = 1 << 2, el0 = 1 << 6, inner = 3 << 8, accessed = 1 << 10;
    for (const bool user : {false, true}) {
        auto* t = reinterpret_cast<std::uint64_t*>(m.host(ram_base + (user ? 0x1'F000 : 0x1'E000)));
        t[0] = block | device | el0 | accessed;
        t[1] = ram_base.value | block | (user ? el0 : 0) | inner | accessed;
        t[2] = ram_base.value | block | inner | accessed;
    }
}

}  // namespace

TEST_CASE("a hostile guest harms nobody but itself", "[hostile]") {
    const unsigned number = GENERATE(1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u, 9u);
    const auto seed = hostile_seed(number);
    if (!seed) return;
    const auto lives = wanted("lives", 100);
    Neighbour neighbour;
    const auto tally = live_many(*seed, lives, neighbour,
        [](std::optional<Machine>& m, unsigned n) {
            constexpr std::array<const unsigned char*, 4> modes{hostile_entry, hostile_translated, hostile_user, hostile_translated};
            m.emplace(modes[n % 4], ram_base.value + code_offset, Config{.policy = {.secure_calls = n / 2 % 2 != 0, .system_registers = n % 3 == 0, .yields = true}, .vcpus = 2, .controller = n / 4 % 2 == 0});
            write_tables(*m);
        },
        [](std::mt19937& random, Machine& m) { write_code(random, reinterpret_cast<std::uint32_t*>(m.host(ram_base + code_offset))); });
    using namespace exit;
    judge(tally, neighbour, lives, number == 9, {Exit::index_of<Hypercall>(), Exit::index_of<MmioRead>(), Exit::index_of<MmioWrite>(), Exit::index_of<SysRegRead>(),
          Exit::index_of<SysRegWrite>(), Exit::index_of<Halt>(), Exit::index_of<NestedPageFault>(), Exit::index_of<SendIpi>(), Exit::index_of<TimerExpired>(),
          Exit::index_of<CpuUp>(), Exit::index_of<CpuSuspend>(), Exit::index_of<CpuDown>(), Exit::index_of<SystemDown>(), Exit::index_of<SystemReset>()});
}

TEST_CASE("every MRS and MSR encoding of op0 2 and 3 is answered", "[hostile][sysreg]") {
    // 65,536 encodings with both directions; but what takes the guest's own legs away when written (its vectors, its MMU).
    std::uint32_t encoding = 0;
    unsigned lives = 0;
    const auto skipped = [](std::uint32_t e) {
        const auto sys = e >> 5 & 0xFFFF;
        return (e & 1u << 21) == 0 && (sys == 0xC080 /* SCTLR_EL1 */ || sys == 0xC600 /* VBAR_EL1 */ || sys == 0xC201 /* ELR_EL1 */ || sys == 0xC200 /* SPSR_EL1 */ || sys == 0xDA11 /* DAIF */);
    };
    while (encoding < 0x2'0000) {
        Machine m(sweep_entry, ram_base.value + code_offset, {.controller = true});
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
            else if (e->is<exit::ExternalInterrupt>()) take_interrupts();
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
