// Each exit that a guest brings about, as a row: what it does, the exit with all its fields, and what complete(), retry(), fail() and
// running on without an answer do then. Yield is a host test: QEMU's WRS.NTO traps nowhere. EndOfInterrupt: interrupts_test.
#include <catch2/catch_test_macros.hpp>
#include "../fields.hpp"
#include "../harness.hpp"

using namespace harness;

/// `instruction` stands at NAME_at; a1 has the row's argument. Behind it the guest reports a0 and a1.
#define ROW(name, before, instruction) \
    GUEST(name, VECTORS before "\n.globl " #name "_at\n" #name "_at:\n" instruction "\n" REPORT "j .\n"); \
    extern "C" const unsigned char name##_at[]
#define CALL(extension, function) "li a7, " extension "\nli a6, " function "\n"

ROW(row_call, CALL("0x0A000000", "7") "li a0, 11\nli a1, 12\nli a2, 13\nli a3, 14\nli a4, 15\nli a5, 16", "ecall");
ROW(row_lb, "", "lb a0, (a1)");
ROW(row_lbu, "", "lbu a0, (a1)");
ROW(row_lh, "", "lh a0, (a1)");
ROW(row_lhu, "", "lhu a0, (a1)");
ROW(row_lw, "", "lw a0, (a1)");
ROW(row_lwu, "", "lwu a0, (a1)");
ROW(row_ld, "", "ld a0, (a1)");
ROW(row_c_lw, "", ".option rvc\nc.lw a0, (a1)\n.balign 4\n.option norvc");
ROW(row_sb, "li a0, -1", "sb a0, (a1)");
ROW(row_sh, "li a0, -2", "sh a0, (a1)");
ROW(row_sw, "li a0, -3", "sw a0, (a1)");
ROW(row_sd, "li a0, -4", "sd a0, (a1)");
ROW(row_csrr, "", "csrr a0, 0x680");
ROW(row_csrw, "li a0, 0x77", "csrw 0x680, a0");
ROW(row_jump, "", "jr a1");
ROW(row_wfi, "li a0, 3", "wfi");
ROW(row_start, CALL("0x48534D", "0") "mv a2, a1\nli a0, 1\nli a1, 0x40000040", "ecall");
ROW(row_retentive, CALL("0x48534D", "3") "mv a2, a1\nli a0, 0\nli a1, 0x40000040", "ecall");
ROW(row_power_down, CALL("0x48534D", "3") "mv a2, a1\nli a0, 0x80000000\nla a1, row_entry", "ecall");
GUEST(row_entry, REPORT "j .\n");

namespace {

constexpr auto unmapped = ram_base + 0x2'0000, read_only = ram_base + 0x3'0000, here = device_base + 0x18;
constexpr std::uint64_t word = 0x8765'4321'8765'4381, load_fault = 5, store_fault = 7, fetch_fault = 1, illegal = 2;
constexpr std::uint64_t load_guest_fault = 21, store_guest_fault = 23, fetch_guest_fault = 20;  // scause
constexpr auto sbi(std::int64_t error) { return static_cast<std::uint64_t>(error); }
const std::array<std::uint64_t, 6> six{11, 12, 13, 14, 15, 16};

struct Row {
    const unsigned char *payload, *at;  // at: the instruction; nullptr: at `arg`
    std::uint64_t arg;
    Exit expected;
    std::uint64_t answer, a0, a1;       // what complete() is given, and what the guest has behind it then
    bool call;                          // fail() gives an SBI error; else a fault
    std::uint64_t failed;               // a0, or scause
    unsigned length = 4;
};
#define AT(name) name, name##_at

const Row rows[]{
    {AT(row_call), 0, exit::Hypercall{report + 7, six, false}, word, 0, word, true, sbi(-2)},
    {AT(row_lb), here.value, exit::MmioRead{here, 1, 0, 1}, word, 0xFFFF'FFFF'FFFF'FF81, here.value, false, load_fault},
    {AT(row_lbu), here.value, exit::MmioRead{here, 1, 0, 1}, word, 0x81, here.value, false, load_fault},
    {AT(row_lh), here.value, exit::MmioRead{here, 2, 0, 1}, 0x1'8001, 0xFFFF'FFFF'FFFF'8001, here.value, false, load_fault},
    {AT(row_lhu), here.value, exit::MmioRead{here, 2, 0, 1}, 0x1'8001, 0x8001, here.value, false, load_fault},
    {AT(row_lw), here.value, exit::MmioRead{here, 4, 0, 1}, word, 0xFFFF'FFFF'8765'4381, here.value, false, load_fault},
    {AT(row_lwu), here.value, exit::MmioRead{here, 4, 0, 1}, word, 0x8765'4381, here.value, false, load_fault},
    {AT(row_ld), here.value, exit::MmioRead{here, 8, 0, 1}, word, word, here.value, false, load_fault},
    {AT(row_c_lw), here.value, exit::MmioRead{here, 4, 0, 1}, word, 0xFFFF'FFFF'8765'4381, here.value, false, load_fault, 2},
    {AT(row_sb), here.value, exit::MmioWrite{here, 1, 0, 1, 0xFF}, 0, ~0ull, here.value, false, store_fault},
    {AT(row_sh), here.value, exit::MmioWrite{here, 2, 0, 1, 0xFFFE}, 0, ~1ull, here.value, false, store_fault},
    {AT(row_sw), here.value, exit::MmioWrite{here, 4, 0, 1, 0xFFFF'FFFD}, 0, ~2ull, here.value, false, store_fault},
    {AT(row_sd), here.value, exit::MmioWrite{here, 8, 0, 1, ~3ull}, 0, ~3ull, here.value, false, store_fault},
    {AT(row_csrr), 0, exit::SysRegRead{0x680}, word, word, 0, false, illegal},
    {AT(row_csrw), 0, exit::SysRegWrite{0x680, 0x77}, 0, 0x77, 0, false, illegal},
    // Memory of the VM's: a read, a write, one that is mapped for reads alone, a fetch. Completed: the host has done what it does.
    {AT(row_lw), unmapped.value + 4, exit::NestedPageFault{unmapped + 4, unmapped.value + 4, load_guest_fault, Access::read, false, false}, 0, 0, unmapped.value + 4, false, load_fault},
    {AT(row_sd), unmapped.value + 8, exit::NestedPageFault{unmapped + 8, unmapped.value + 8, store_guest_fault, Access::write, false, false}, 0, ~3ull, unmapped.value + 8, false, store_fault},
    {AT(row_sw), read_only.value, exit::NestedPageFault{read_only, read_only.value, store_guest_fault, Access::write, true, false}, 0, ~2ull, read_only.value, false, store_fault},
    {row_jump, nullptr, unmapped.value, exit::NestedPageFault{unmapped, unmapped.value, fetch_guest_fault, Access::execute, false, false}, 0, 0, 0, false, fetch_fault},
    {AT(row_wfi), 0, exit::Halt{}, 0, 3, 0, false, illegal},
    {AT(row_start), 77, exit::CpuUp{1, ram_base + 0x40, 77}, 0, 0, 0, true, sbi(-1)},
    {AT(row_retentive), 79, exit::CpuSuspend{0, {0}, 79, false, false}, 0, 0, 0, true, sbi(-1)},
};

/// A machine for a row, its code mapped, one page for reads alone.
struct Run {
    explicit Run(const Row& r)
        : m(r.payload, r.arg, {.policy = {.system_registers = true}, .vcpus = 2, .lazy = true}), at(r.at != nullptr ? m.at(r.at).value : r.arg), b(percpu().bind(m.vcpu())) {
        REQUIRE(b);
        REQUIRE(m.vcpu().set(id<"x">(10), 0));
        REQUIRE(m.stage2.map(ram_base, Host::virt_to_phys(m.memory), 0x2'0000, {}, MemoryType::normal));
        REQUIRE(m.stage2.map(read_only, Host::virt_to_phys(m.host(read_only)), 4096, {true, false, false}, MemoryType::normal));
    }
    auto leaves() -> const Exit& {
        const auto e = b.run(runtime::now() + 30 * runtime::frequency());
        REQUIRE(e);
        return *e;
    }
    /// The exit that the row says, at its instruction.
    void leaves_as(const Exit& expected) {
        const auto& e = leaves();
        INFO("left with " << exit_names[e.index()]);
        CHECK(e.index() == expected.index());
        CHECK(fields(e) == fields(expected));
        CHECK(get<"pc">(m) == at);
    }
    auto reports() -> std::array<std::uint64_t, 6> {
        const auto h = leaves().get<exit::Hypercall>();
        REQUIRE(h);
        REQUIRE(h->number == report);
        return h->args;
    }
    Machine m;
    std::uint64_t at;
    Vcpu<Host>::Bound b;
};

}  // namespace

TEST_CASE("the exit table: retried, or run again without an answer, an instruction leaves as it did; completed, the guest has what it asked for", "[table]") {
    for (const auto& row : rows) {
        INFO("row " << &row - rows << ", " << exit_names[row.expected.index()]);
        Run r(row);
        r.leaves_as(row.expected);
        REQUIRE(r.b.retry());
        CHECK(get<"pc">(r.m) == r.at);
        CHECK(r.b.complete().error().code == Code::no_exit);
        r.leaves_as(row.expected);
        r.leaves_as(row.expected);
        REQUIRE(r.b.complete(row.answer));
        CHECK(r.b.complete().error().code == Code::no_exit);
        if (row.at == nullptr) continue;  // nobody knows how long what could not be fetched is
        CHECK(get<"pc">(r.m) == r.at + row.length);
        const auto a = r.reports();
        CHECK(a[0] == row.a0);
        if (row.expected.index() != Exit::index_of<exit::CpuUp>() && row.expected.index() != Exit::index_of<exit::CpuSuspend>()) CHECK(a[1] == row.a1);
    }
}

TEST_CASE("the exit table: failed, a call gives its error and an access the architecture's fault", "[table]") {
    for (const auto& row : rows) {
        INFO("row " << &row - rows << ", " << exit_names[row.expected.index()]);
        Run r(row);
        r.leaves_as(row.expected);
        REQUIRE(r.b.fail());
        CHECK(r.b.fail().error().code == Code::no_exit);
        const auto& e = r.leaves();
        const auto h = e.get<exit::Hypercall>();
        INFO("left with " << exit_names[e.index()]);
        REQUIRE(h);
        if (row.call) {
            CHECK(h->number == report);
            CHECK(h->args[0] == row.failed);
            continue;
        }
        CHECK(h->number == exception);
        CHECK(h->args[0] == row.failed);                              // scause
        if (row.failed != illegal) CHECK(h->args[1] == row.arg);     // stval
        CHECK(h->args[2] == r.at);                                    // sepc
        CHECK((h->args[3] & arch::sstatus::spp) != 0);                // from VS-mode
    }
}

TEST_CASE("the exit table: a suspended hart starts again at its entry point, or is refused", "[table][sbi]") {
    Run r({AT(row_power_down), 80, exit::Nothing{}, 0, 0, 0, true, 0});
    const Exit expected = exit::CpuSuspend{0x8000'0000, r.m.at(row_entry), 80, true, false};
    r.leaves_as(expected);
    REQUIRE(r.b.retry());
    r.leaves_as(expected);
    REQUIRE(r.b.fail());
    CHECK(r.reports()[0] == sbi(-1));
    REQUIRE(r.m.vcpu().set(pc_id, r.m.at(row_power_down).value));
    REQUIRE(r.m.vcpu().set(argument_id, 81));
    r.leaves();
    REQUIRE(r.b.complete());
    CHECK(get<"pc">(r.m) == r.m.at(row_entry).value);
    CHECK(get<"vsatp">(r.m) == 0);
    CHECK(r.reports()[1] == 81);
}
