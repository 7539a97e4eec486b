// A hostile guest: random and half-random instructions from a seed, in VS- and VU-mode, with and without translation, restarted when
// it is stuck, while the host answers its exits at random. The host must go on, and a second VM must compute what it always computes.
#include <catch2/generators/catch_generators.hpp>
#include "../hostile.hpp"
#include "hostile.hpp"

using namespace harness;

#define EACH ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
#define FOLD "add a0, a0, t2\nslli t3, a0, 7\nsrli a0, a0, 57\nor a0, a0, t3\n"
GUEST(checksum_guest, "li t0, 1 << 13\ncsrs sstatus, t0\n" EACH "li t2, \\n + 1\nfmv.d.x f\\n, t2\n.endr\nli t2, 0x770\ncsrw sscratch, t2\ncsrw stvec, t2\ncsrw stval, t2\n"
    "2: la t0, guest_vectors\nli a0, 1\nli t1, 512\n1: ld t2, (t0)\n" FOLD "addi t0, t0, 8\naddi t1, t1, -8\nbnez t1, 1b\n"
    EACH "fmv.x.d t2, f\\n\n" FOLD ".endr\n.irp r,sscratch,stvec,stval\ncsrr t2, \\r\n" FOLD ".endr\n" REPORT "j 2b\n");
// Its trap vector: goes on behind the instruction that faulted, wherever that was, in the random code.
asm(".pushsection .guest_payload,\"ax\"\n.option push\n.option norvc\n.balign 4\nhostile_vector: csrr t0, sepc\naddi t0, t0, 4\nslli t0, t0, 52\nsrli t0, t0, 52\nlui t1, 0x40020\nor t0, t0, t1\n"
    "csrw sepc, t0\nsret\n.option pop\n.popsection");
#define HOSTILE_VECTOR "la t0, hostile_vector\n" HOSTILE_STATUS
GUEST(hostile_entry, HOSTILE_VECTOR HOSTILE_REGISTERS "jr t6\n");
GUEST(hostile_translated, HOSTILE_VECTOR HOSTILE_SATP(0x1E000) HOSTILE_REGISTERS "jr t6\n");
// In VU-mode: what is the user's the kernel cannot execute, so it goes on in its own mapping, 1 GiB above, before it takes the user's table.
GUEST(hostile_user, HOSTILE_VECTOR HOSTILE_SATP(0x1E000) "li t1, 0x40000000\ncsrr t0, stvec\nadd t0, t0, t1\ncsrw stvec, t0\nla t0, 1f\nadd t0, t0, t1\njr t0\n1: " HOSTILE_SATP(0x1F000)
                    "li t0, 0x100\ncsrc sstatus, t0\ncsrw sepc, a1\n" HOSTILE_REGISTERS "sret\n");

namespace {

auto mode(unsigned life) -> const unsigned char* { return std::array{hostile_entry, hostile_translated, hostile_user, hostile_translated}[life % 4]; }

constexpr std::size_t code_words = 1024;

auto random_word(std::mt19937& r) -> std::uint32_t {
    constexpr std::array<std::uint32_t, 15> chosen{0x0A00'08B7, 0x0010'0813, 0x0030'0813, 0x1050'0073, 0x0000'0073, 0x0010'0073, 0x1020'0073, 0x1200'0073, 0x2200'0073, 0x6200'0073, 0x0000'100F,
                                                   0x3020'0073, 0x6000'4073, 0x0005'2503, 0x00A6'A023};
    switch (r() % 12) {
        case 8: case 9: return chosen[r() % chosen.size()];
        case 0: return 0x0000'0073 | (r() & 0xFFFF'FF80);                                     // SYSTEM: CSRs and privileged instructions
        case 1: case 10: case 11: {                                                                              // CSRs, half of them such as trap to the hypervisor
            const auto csr = r() % 2 != 0 ? r() & 0xFFF : r() % 2 != 0 ? 0x600 | (r() & 0xFF) : 0xC00 | (r() & 0x1F);
            return 0x0000'1073 | csr << 20 | (r() & 0xF80) | (r() % 3) << 12;
        }
        case 2: return 0x0000'0003 | (r() & 0xFFF0'7F80) | (10 + r() % 6) << 15;               // loads from a0 to a5
        case 3: return 0x0000'0023 | (r() & 0xFFF0'7F80) | (10 + r() % 6) << 15;               // stores
        case 4: return 0x0000'002F | (r() & 0xFFF0'7F80) | (10 + r() % 6) << 15;               // atomics
        case 5: return (0x0800 | 10 << 7) << 16 | 0x4501 | (r() & 0xE000) | (r() & 0x1FFC);    // compressed pairs
        case 6: return 0x0000'0893 | (r() & 0x7FF0'0000);                                      // li a7, n
        default: return r();
    }
}

/// Words of `code` that call the SBI, with its extensions' own numbers.
auto call(std::mt19937& r, std::uint32_t* code) -> std::size_t {
    constexpr std::array<std::uint32_t, 11> extensions{0x48534D, 0x48534D, 0x53525354, 0x53525354, 0x54494D45, 0x735049, 0x52464E43, 0x4442434E, 0x10, 0x0A00'0000, 8};
    const auto e = extensions[r() % extensions.size()];
    code[0] = ((e + 0x800) & 0xFFFF'F000) | 0x8B7;         // lui a7
    code[1] = (e & 0xFFF) << 20 | 0x0008'8893;             // addi a7, a7
    code[2] = (r() % 2 == 0 ? 0 : r() % 8) << 20 | 0x813;  // li a6, n
    code[3] = (r() % 4) << 20 | 0x513;                     // li a0, n
    code[4] = r() % 2 == 0 ? 0x4002'05B7 : 0x593;          // lui a1, 0x40020: somewhere to start; or li a1, 0: no reason
    code[5] = 0x73;
    return 6;
}
void write_code(std::mt19937& r, std::uint32_t* code) {
    for (std::size_t i = 0; i < code_words;) {
        if (r() % 32 == 0 && i + 6 <= code_words) i += call(r, code + i);
        else code[i++] = random_word(r);
    }
}

}  // namespace

TEST_CASE("a hostile guest harms nobody but itself", "[hostile][R4]") {
    const unsigned number = GENERATE(1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u, 9u);
    const auto seed = hostile_seed(number);
    if (!seed) return;
    const auto lives = wanted("lives", 100);
    Neighbour neighbour;
    const auto tally = live_many(*seed, lives, neighbour,
        [](std::optional<Machine>& m, unsigned n) {
            m.emplace(mode(n), hostile_arg, Config{.policy = {.system_registers = n % 3 == 0}, .vcpus = 2, .controller = n / 4 % 2 == 0, .vectors = n / 8 % 2 == 0});
            write_tables(*m);
        },
        [](Machine& m, unsigned n) { write_tables(m); return m.at(mode(n)); },
        [](std::mt19937& random, Machine& m) { write_code(random, reinterpret_cast<std::uint32_t*>(m.host(GuestPhysAddr{hostile_arg}))); });
    using namespace exit;
    judge(tally, neighbour, lives, number == 9, {Exit::index_of<Hypercall>(), Exit::index_of<MmioRead>(), Exit::index_of<MmioWrite>(), Exit::index_of<SysRegRead>(),
          Exit::index_of<SysRegWrite>(), Exit::index_of<Halt>(), Exit::index_of<NestedPageFault>(), Exit::index_of<TimerExpired>(), Exit::index_of<CpuUp>(), Exit::index_of<CpuSuspend>(),
          Exit::index_of<CpuDown>(), Exit::index_of<SystemDown>(), Exit::index_of<SystemReset>()});
}
