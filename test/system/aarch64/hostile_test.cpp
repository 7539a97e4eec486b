// A hostile guest: random and half-random instructions from a seed, at EL1 with and without its MMU, restarted when it is stuck,
// while the host answers its exits at random. The host must go on, and a second VM must compute what it always computes.
#include <catch2/generators/catch_generators.hpp>
#include "../hostile.hpp"
#include "hostile.hpp"

using namespace harness;

#define EACH ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
GUEST(checksum_guest, "mov x9, #3 << 20\nmsr CPACR_EL1, x9\nisb\n" EACH "mov x3, #\\n + 1\ndup v\\n\\().2d, x3\n.endr\n"
    "mov x3, #0x770\nmsr TPIDR_EL0, x3\nmsr TPIDR_EL1, x3\nmsr CNTV_CVAL_EL0, x3\n"
    "2: adrp x9, guest_vectors\nadd x9, x9, :lo12:guest_vectors\nmov x1, #1\nmov x2, #512\n1: ldr x3, [x9], #8\nadd x1, x1, x3\nror x1, x1, #57\nsubs x2, x2, #8\nb.ne 1b\n"
    EACH "mov x3, v\\n\\().d[1]\nadd x1, x1, x3\nror x1, x1, #57\n.endr\n"
    ".irp r,TPIDR_EL0,TPIDR_EL1,CNTV_CVAL_EL0\nmrs x3, \\r\nadd x1, x1, x3\nror x1, x1, #57\n.endr\n" REPORT "b 2b\n");
// Its vectors: go on behind the instruction that faulted, wherever that was, in the random code.
asm(".pushsection .guest_payload,\"a\"\n.balign 2048\nhostile_vectors:\n.rept 16\n.balign 128\nmrs x9, ELR_EL1\nadd x9, x9, #4\nand x9, x9, #0xFFC\norr x9, x9, #0x40000000\norr x9, x9, #0x20000\n"
    "msr ELR_EL1, x9\neret\n.endr\n.balign 2048\n.popsection");
#define HOSTILE_VECTORS "adrp x9, hostile_vectors\nadd x9, x9, :lo12:hostile_vectors\n"
GUEST(hostile_entry, HOSTILE_VECTORS "msr VBAR_EL1, x9\n" HOSTILE_FP HOSTILE_REGISTERS "br x29\n");
GUEST(hostile_translated, HOSTILE_VECTORS "msr VBAR_EL1, x9\n" HOSTILE_FP MMU_ON HOSTILE_REGISTERS "br x29\n");
// At EL0: what EL0 may write EL1 cannot execute, so EL1 goes on in its own mapping, 1 GiB above, before it takes the user's table.
GUEST(hostile_user, HOSTILE_VECTORS "mov x10, #0x40000000\nadd x9, x9, x10\nmsr VBAR_EL1, x9\n" HOSTILE_FP MMU_ON "adr x9, 1f\nmov x10, #0x40000000\nadd x9, x9, x10\nbr x9\n"
                    "1: movz x10, #0x4001, lsl #16\nmovk x10, #0xF000\nmsr TTBR0_EL1, x10\nisb\ntlbi vmalle1\ndsb sy\nisb\nmsr SPSR_EL1, xzr\nmsr ELR_EL1, x0\n" HOSTILE_REGISTERS "eret\n");

namespace {

auto mode(unsigned life) -> const unsigned char* { return std::array{hostile_entry, hostile_translated, hostile_user, hostile_translated}[life % 4]; }

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

}  // namespace

TEST_CASE("a hostile guest harms nobody but itself", "[hostile]") {
    const unsigned number = GENERATE(1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u, 9u);
    const auto seed = hostile_seed(number);
    if (!seed) return;
    const auto lives = wanted("lives", 100);
    Neighbour neighbour;
    const auto tally = live_many(*seed, lives, neighbour,
        [](std::optional<Machine>& m, unsigned n) {
            m.emplace(mode(n), hostile_arg, Config{.policy = {.secure_calls = n / 2 % 2 != 0, .system_registers = n % 3 == 0, .yields = true}, .vcpus = 2, .controller = n / 4 % 2 == 0, .vectors = n / 8 % 2 == 0});
            write_tables(*m);
        },
        [](Machine& m, unsigned n) { write_tables(m); return m.at(mode(n)); },
        [](std::mt19937& random, Machine& m) { write_code(random, reinterpret_cast<std::uint32_t*>(m.host(GuestPhysAddr{hostile_arg}))); });
    using namespace exit;
    judge(tally, neighbour, lives, number == 9, {Exit::index_of<Hypercall>(), Exit::index_of<MmioRead>(), Exit::index_of<MmioWrite>(), Exit::index_of<SysRegRead>(),
          Exit::index_of<SysRegWrite>(), Exit::index_of<Halt>(), Exit::index_of<NestedPageFault>(), Exit::index_of<SendIpi>(), Exit::index_of<TimerExpired>(),
          Exit::index_of<CpuUp>(), Exit::index_of<CpuSuspend>(), Exit::index_of<CpuDown>(), Exit::index_of<SystemDown>(), Exit::index_of<SystemReset>()});
}
