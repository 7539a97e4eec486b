// A hostile guest: random and half-random instructions from a seed, in VS- and VU-mode, with and without translation, restarted when
// it is stuck, while the host answers its exits at random. The host must go on, and a second VM must compute what it always computes.
#include <catch2/generators/catch_generators.hpp>
#include "../hostile.hpp"

using namespace harness;

GUEST(checksum_guest, "2: la t0, guest_vectors\nli a0, 1\nli t1, 512\n1: ld t2, (t0)\nadd a0, a0, t2\nslli t3, a0, 7\nsrli a0, a0, 57\nor a0, a0, t3\naddi t0, t0, 8\naddi t1, t1, -8\nbnez t1, 1b\n" REPORT "j 2b\n");
// Its trap vector: goes on behind the instruction that faulted, wherever that was, in the random code.
asm(".pushsection .guest_payload,\"ax\"\n.option push\n.option norvc\n.balign 4\nhostile_vector: csrr t0, sepc\naddi t0, t0, 4\nslli t0, t0, 52\nsrli t0, t0, 52\nlui t1, 0x40020\nor t0, t0, t1\n"
    "csrw sepc, t0\nsret\n.option pop\n.popsection");
// The same where all of the code is to be executed, however long: goes on behind the instruction.
asm(".pushsection .guest_payload,\"ax\"\n.option push\n.option norvc\n.balign 4\nskipping_vector: csrr t0, sepc\naddi t0, t0, 4\ncsrw sepc, t0\nsret\n.option pop\n.popsection");
// a1: where the random code is; every register gets a value that may be an address. a0 bit 0 (hart id) is not used.
#define HOSTILE_REGISTERS "mv t6, a1\nli a0, 0x0C000000\nli a2, 0x0C201004\nli a3, 0x10000000\nli t1, 0x8000\nadd a4, a1, t1\nli a5, -1\nli a6, 0\nli a7, 0x48534D\nmv sp, a4\nli s0, 0x70000000\n"
#define HOSTILE_VECTOR "la t0, hostile_vector\n" HOSTILE_STATUS
#define HOSTILE_STATUS "csrw stvec, t0\nli t0, 3 << 13 | 3 << 9\ncsrs sstatus, t0\nli t0, -1\ncsrw scounteren, t0\n"
/// Sv39 by the table at ram_base + `offset` (write_tables).
#define HOSTILE_SATP(offset) "li t0, 8 << 60 | (0x40000000 + " #offset ") >> 12\ncsrw satp, t0\nsfence.vma\n"
GUEST(sweep_entry, "la t0, skipping_vector\n" HOSTILE_STATUS HOSTILE_REGISTERS "jr t6\n");
GUEST(hostile_entry, HOSTILE_VECTOR HOSTILE_REGISTERS "jr t6\n");
GUEST(hostile_translated, HOSTILE_VECTOR HOSTILE_SATP(0x1E000) HOSTILE_REGISTERS "jr t6\n");
// In VU-mode: what is the user's the kernel cannot execute, so it goes on in its own mapping, 1 GiB above, before it takes the user's table.
GUEST(hostile_user, HOSTILE_VECTOR HOSTILE_SATP(0x1E000) "li t1, 0x40000000\ncsrr t0, stvec\nadd t0, t0, t1\ncsrw stvec, t0\nla t0, 1f\nadd t0, t0, t1\njr t0\n1: " HOSTILE_SATP(0x1F000)
                    "li t0, 0x100\ncsrc sstatus, t0\ncsrw sepc, a1\n" HOSTILE_REGISTERS "sret\n");

namespace {

constexpr std::uint64_t code_offset = 0x2'0000;
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

/// The guest's tables of 1 GiB pages: devices at 0, its memory at 1 GiB and again at 2 GiB. In the user's, VU has all but the last.
void write_tables(Machine& m) {
    constexpr std::uint64_t all = 0xCF, user = 1 << 4;  // V, R, W, X, A, D
    for (const bool users : {false, true}) {
        auto* t = reinterpret_cast<std::uint64_t*>(m.host(ram_base + (users ? 0x1'F000 : 0x1'E000)));
        t[0] = all | (users ? user : 0);
        t[1] = ram_base.value >> 2 | all | (users ? user : 0);
        t[2] = ram_base.value >> 2 | all;
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
            constexpr std::array<const unsigned char*, 4> modes{hostile_entry, hostile_translated, hostile_user, hostile_translated};
            m.emplace(modes[n % 4], ram_base.value + code_offset, Config{.policy = {.system_registers = n % 3 == 0}, .vcpus = 2, .controller = n / 4 % 2 == 0});
            write_tables(*m);
        },
        [](std::mt19937& random, Machine& m) { write_code(random, reinterpret_cast<std::uint32_t*>(m.host(ram_base + code_offset))); });
    using namespace exit;
    judge(tally, neighbour, lives, number == 9, {Exit::index_of<Hypercall>(), Exit::index_of<MmioRead>(), Exit::index_of<MmioWrite>(), Exit::index_of<SysRegRead>(),
          Exit::index_of<SysRegWrite>(), Exit::index_of<Halt>(), Exit::index_of<NestedPageFault>(), Exit::index_of<TimerExpired>(), Exit::index_of<CpuUp>(), Exit::index_of<CpuSuspend>(),
          Exit::index_of<CpuDown>(), Exit::index_of<SystemDown>(), Exit::index_of<SystemReset>()});
}

TEST_CASE("every CSR number, read and written, is answered", "[hostile][sysreg]") {
    // Registers that take the guest's own legs away (its vector, its translation, its return address) are left out.
    const auto skipped = [](std::uint32_t n) { return n == 0x105 || n == 0x180 || n == 0x141 || n == 0x100 || n == 0x104; };
    std::uint32_t number = 0;
    unsigned lives = 0;
    while (number < 0x2000) {
        Machine m(sweep_entry, ram_base.value + code_offset, {.controller = true});
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
            else if (e->is<exit::ExternalInterrupt>()) take_interrupts();
            else if (e->kind() == ExitKind::instruction) REQUIRE(b.complete());
            else if (e->is<exit::TimerExpired>()) break;
        }
        CHECK(done);
        ++lives;
    }
    CHECK(lives >= 4);
}
