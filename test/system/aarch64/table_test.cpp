// Each exit that a guest brings about, as a row: what it does, the exit with all its fields, and what complete(), retry(), fail() and
// running on without an answer do then. Yield is a host test (syndrome_table_test): QEMU traps no WFE. EndOfInterrupt: interrupts_test.
#include <catch2/catch_test_macros.hpp>
#include "../harness.hpp"
#include "../fields.hpp"

using namespace harness;

/// `instruction` stands at NAME_at. Behind it the guest reports X1, then X0.
#define ROW(name, before, instruction) \
    GUEST(name, VECTORS before "\n.globl " #name "_at\n" #name "_at:\n" instruction "\nmov x2, x0\n" REPORT "b .\n.ltorg\n"); \
    extern "C" const unsigned char name##_at[]
#define ARGUMENTS "mov x1, #11\nmov x2, #12\nmov x3, #13\nmov x4, #14\nmov x5, #15\nmov x6, #16\n"
#define PSCI(number) "mov x3, x0\nldr x0, =" number "\n"

ROW(row_hvc, ARGUMENTS "ldr x0, =0xC6000001", "hvc #0");
ROW(row_smc, ARGUMENTS "ldr x0, =0xC6000001", "smc #0");
ROW(row_hvc_1, ARGUMENTS "ldr x0, =0xC6000001", "hvc #1");
ROW(row_hvc_32, ARGUMENTS "movk x1, #0xAAAA, lsl #32\nmovk x6, #0xBBBB, lsl #48\nldr x0, =0xFFFFFFFF86000001", "hvc #0");
ROW(row_smc_32, ARGUMENTS "movk x1, #0xAAAA, lsl #32\nmovk x6, #0xBBBB, lsl #48\nldr x0, =0xFFFFFFFF86000001", "smc #0");
ROW(row_ldrb, "", "ldrb w1, [x0]");
ROW(row_ldrh, "", "ldrsh x1, [x0]");
ROW(row_ldr_w, "", "ldr w1, [x0]");
ROW(row_ldr_x, "", "ldr x1, [x0]");
ROW(row_ldp, "", "ldp x1, x3, [x0]");
ROW(row_strb, "mov x1, #-1", "strb w1, [x0]");
ROW(row_strh, "mov x1, #-2", "strh w1, [x0]");
ROW(row_str_w, "mov x1, #-3", "str w1, [x0]");
ROW(row_str_x, "mov x1, #-4", "str x1, [x0]");
ROW(row_stp, "mov x1, #5", "stp w1, w1, [x0]");
ROW(row_mrs, "", "mrs x1, S3_1_C15_C2_0");
ROW(row_msr, "mov x1, #0x77", "msr S3_1_C15_C2_0, x1");
ROW(row_jump, "", "br x0");
ROW(row_walk, MMU_ON "mov x0, #0x80000000", "ldr w1, [x0]");
ROW(row_wfi, "mov x1, #3", "wfi");
ROW(row_cpu_on, PSCI("0xC4000003") "mov x1, #1\nldr x2, =0x40000040", "hvc #0");
ROW(row_cpu_on_smc, PSCI("0x84000003") "mov x1, #1\nldr x2, =0x40000040", "smc #0");
ROW(row_standby, PSCI("0xC4000001") "mov x1, #2\nmov x2, #0", "hvc #0");
ROW(row_power_down, PSCI("0xC4000001") "mov x1, #0x10000\nadr x2, row_entry", "hvc #0");
ROW(row_system_suspend, PSCI("0xC400000E") "mov x2, x3\nadr x1, row_entry", "hvc #0");
GUEST(row_entry, "mov x1, #0\nmov x2, x0\n" REPORT);
ROW(row_sgi1, "movz x1, #0x8103\nmovk x1, #0x0512, lsl #16\nmovk x1, #0x2034, lsl #32\nmovk x1, #0x56, lsl #48", "msr S3_0_C12_C11_5, x1");
ROW(row_asgi1, "movz x1, #0x0001\nmovk x1, #0x0600, lsl #16", "msr S3_0_C12_C11_6, x1");
ROW(row_sgi0, "movz x1, #0x0002\nmovk x1, #0x0700, lsl #16", "msr S3_0_C12_C11_7, x1");
ROW(row_sgi_others, "movz x1, #0x0300, lsl #16\nmovk x1, #0x100, lsl #32", "msr S3_0_C12_C11_5, x1");

namespace {

constexpr auto unmapped = ram_base + 0x2'0000, read_only = ram_base + 0x3'0000, here = device_base + 0x18;
constexpr std::uint64_t word = 0x8765'4321'8765'4321, il = 1 << 25, undefined = il, isv = 1 << 24;
constexpr std::uint64_t data_abort = std::uint64_t{0x24} << 26 | il, at_el1 = std::uint64_t{1} << 26, fetch_abort = std::uint64_t{0x20} << 26 | il;
constexpr std::uint64_t wnr = 1 << 6, external = 0x10;
constexpr std::uint32_t implementation_defined = aarch64::Sysreg{3, 1, 15, 2, 0}.packed();
constexpr auto psci(aarch64::FirmwareResult r) { return aarch64::reg(r); }
using Psci = aarch64::FirmwareResult;

struct Row {
    const unsigned char *payload, *at;  // at: the instruction; nullptr: at `arg`
    std::uint64_t arg;
    Exit expected;
    std::uint64_t answer, x1, x0;       // what complete() is given, and what the guest has behind it then
    bool call;                          // fail() gives a value; else a fault
    std::uint64_t failed;               // X0, or ESR_EL1
    const unsigned char* goes_on = nullptr;  // where, if not behind it
};
#define AT(name) name, name##_at

const std::array<std::uint64_t, 6> six{11, 12, 13, 14, 15, 16};
const Row rows[]{
    {AT(row_hvc), 0, exit::Hypercall{0xC600'0001, six, false}, word, 11, word, true, psci(Psci::not_supported)},
    {AT(row_smc), 0, exit::Hypercall{0xC600'0001, six, true}, word, 11, word, true, psci(Psci::not_supported)},
    {AT(row_hvc_1), 0, exit::Hypercall{0xC600'0001, six, false}, word, 11, word, true, psci(Psci::not_supported)},
    {AT(row_hvc_32), 0, exit::Hypercall{0x8600'0001, six, false}, word, 0xAAAA'0000'000B, word, true, psci(Psci::not_supported)},
    {AT(row_smc_32), 0, exit::Hypercall{0x8600'0001, six, true}, word, 0xAAAA'0000'000B, word, true, psci(Psci::not_supported)},
    {AT(row_ldrb), here.value, exit::MmioRead{here, 1, 0, 1}, word, 0x21, here.value, false, data_abort | at_el1 | external},
    {AT(row_ldrh), here.value, exit::MmioRead{here, 2, 0, 1}, 0xFFFF'8001, 0xFFFF'FFFF'FFFF'8001, here.value, false, data_abort | at_el1 | external},
    {AT(row_ldr_w), here.value, exit::MmioRead{here, 4, 0, 1}, word, 0x8765'4321, here.value, false, data_abort | at_el1 | external},
    {AT(row_ldr_x), here.value, exit::MmioRead{here, 8, 0, 1}, word, word, here.value, false, data_abort | at_el1 | external},
    {AT(row_ldp), here.value, exit::MmioRead{here, 8, 0, 2}, word, word, here.value, false, data_abort | at_el1 | external},
    {AT(row_strb), here.value, exit::MmioWrite{here, 1, 0, 1, 0xFF}, 0, ~0ull, here.value, false, data_abort | at_el1 | wnr | external},
    {AT(row_strh), here.value, exit::MmioWrite{here, 2, 0, 1, 0xFFFE}, 0, ~1ull, here.value, false, data_abort | at_el1 | wnr | external},
    {AT(row_str_w), here.value, exit::MmioWrite{here, 4, 0, 1, 0xFFFF'FFFD}, 0, ~2ull, here.value, false, data_abort | at_el1 | wnr | external},
    {AT(row_str_x), here.value, exit::MmioWrite{here, 8, 0, 1, ~3ull}, 0, ~3ull, here.value, false, data_abort | at_el1 | wnr | external},
    {AT(row_stp), here.value, exit::MmioWrite{here, 4, 0, 2, 5}, 0, 5, here.value, false, data_abort | at_el1 | wnr | external},
    {AT(row_mrs), 0, exit::SysRegRead{implementation_defined}, word, word, 0, false, undefined},
    {AT(row_msr), 0, exit::SysRegWrite{implementation_defined, 0x77}, 0, 0x77, 0, false, undefined},
    // Memory of the VM's: a read, a write, one that is mapped for reads alone, a fetch, a walk. Completed: the host has done what it does.
    {AT(row_ldr_w), unmapped.value + 4, exit::NestedPageFault{unmapped + 4, unmapped.value + 4, data_abort | isv | 2 << 22 | 1 << 16 | 7, Access::read, false, false}, 0, 0, unmapped.value + 4, false,
     data_abort | at_el1 | external},
    {AT(row_str_x), unmapped.value + 8, exit::NestedPageFault{unmapped + 8, unmapped.value + 8, data_abort | isv | 3 << 22 | 1 << 16 | 1 << 15 | wnr | 7, Access::write, false, false}, 0, ~3ull, unmapped.value + 8, false,
     data_abort | at_el1 | wnr | external},
    {AT(row_str_w), read_only.value, exit::NestedPageFault{read_only, read_only.value, data_abort | isv | 2 << 22 | 1 << 16 | wnr | 0xF, Access::write, true, false}, 0, ~2ull, read_only.value, false,
     data_abort | at_el1 | wnr | external},
    {row_jump, nullptr, unmapped.value, exit::NestedPageFault{unmapped, unmapped.value, fetch_abort | 7, Access::execute, false, false}, 0, 0, 0, false, fetch_abort | at_el1 | external, row_entry},
    {AT(row_walk), 0, exit::NestedPageFault{unmapped, 0x8000'0000, data_abort | 1 << 7 | 7, Access::read, false, true}, 0, 0, 0x8000'0000, false, data_abort | at_el1 | 0x17},
    {AT(row_wfi), 0, exit::Halt{}, 0, 3, 0, false, undefined},
    {AT(row_cpu_on), 77, exit::CpuUp{1, ram_base + 0x40, 77}, 0, 1, 0, true, psci(Psci::internal_failure)},
    {AT(row_cpu_on_smc), 78, exit::CpuUp{1, ram_base + 0x40, 78}, 0, 1, 0, true, psci(Psci::internal_failure)},
    {AT(row_standby), 79, exit::CpuSuspend{2, {0}, 79, false, false}, 0, 2, 0, true, psci(Psci::denied)},
    {AT(row_sgi1), 0, exit::SendIpi{0x56'0034'1220, 0x8103, 5, false, 1}, 0, 0x0056'2034'0512'8103, 0, false, undefined},
    {AT(row_asgi1), 0, exit::SendIpi{0, 1, 6, false, 0}, 0, 0x0600'0001, 0, false, undefined},
    {AT(row_sgi0), 0, exit::SendIpi{0, 2, 7, false, 0}, 0, 0x0700'0002, 0, false, undefined},
    {AT(row_sgi_others), 0, exit::SendIpi{0, 0, 3, true, 1}, 0, 0x100'0300'0000, 0, false, undefined},
};

/// A machine for a row, its code mapped, one page for reads alone.
struct Run {
    explicit Run(const Row& r)
        : m(r.payload, r.arg, {.policy = {.secure_calls = true, .system_registers = true, .yields = true}, .vcpus = 2, .lazy = true}),
          at(r.at != nullptr ? m.at(r.at).value : r.arg), b(percpu().bind(m.vcpu())) {
        REQUIRE(b);
        REQUIRE(m.stage2.map(ram_base, Host::virt_to_phys(m.memory), 0x2'0000, {}, MemoryType::normal));
        REQUIRE(m.stage2.map(read_only, Host::virt_to_phys(m.host(read_only)), 4096, {true, false, false}, MemoryType::normal));
        auto* table = reinterpret_cast<std::uint64_t*>(m.host(ram_base + 0x1'E000));  // MMU_ON's
        table[1] = ram_base.value | 1 | 3 << 8 | 1 << 10;
        table[2] = unmapped.value | 3;
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
        CHECK(get<"PC">(m) == at);
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

auto next_part(const Exit& e, unsigned part) -> Exit {
    if (auto r = e.get<exit::MmioRead>()) return exit::MmioRead{r->addr + part * r->width, r->width, static_cast<std::uint8_t>(part), r->parts};
    const auto w = *e.get<exit::MmioWrite>();
    return exit::MmioWrite{w.addr + part * w.width, w.width, static_cast<std::uint8_t>(part), w.parts, w.value};
}
auto parts_of(const Exit& e) -> unsigned {
    if (auto r = e.get<exit::MmioRead>()) return r->parts;
    if (auto w = e.get<exit::MmioWrite>()) return w->parts;
    return 1;
}

}  // namespace

TEST_CASE("the exit table: retried, or run again without an answer, an instruction leaves as it did; completed, the guest has what it asked for", "[table]") {
    for (const auto& row : rows) {
        INFO("row " << &row - rows << ", " << exit_names[row.expected.index()]);
        Run r(row);
        r.leaves_as(row.expected);
        REQUIRE(r.b.retry());
        CHECK(get<"PC">(r.m) == r.at);
        CHECK(r.b.complete().error().code == Code::no_exit);
        r.leaves_as(row.expected);
        r.leaves_as(row.expected);
        REQUIRE(r.b.complete(row.answer));
        for (unsigned part = 1; part < parts_of(row.expected); ++part) {
            r.leaves_as(next_part(row.expected, part));
            REQUIRE(r.b.complete(row.answer));
        }
        CHECK(r.b.complete().error().code == Code::no_exit);
        CHECK(get<"PC">(r.m) == r.at + 4);
        if (row.goes_on != nullptr) REQUIRE(r.m.vcpu().set(pc_id, r.m.at(row.goes_on).value));
        const auto x = r.reports();
        if (row.goes_on == nullptr) CHECK(x[0] == row.x1);
        if (row.goes_on == nullptr) CHECK(x[1] == row.x0);
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
            CHECK(h->args[1] == row.failed);
            continue;
        }
        CHECK(h->number == exception + 0x200);  // from EL1 with its own stack pointer, synchronous
        CHECK(h->args[0] == row.failed);        // ESR_EL1
        if (row.failed != undefined) CHECK(h->args[1] == (row.at == row_walk_at ? 0x8000'0000 : row.arg));  // FAR_EL1
        CHECK(h->args[2] == r.at);              // ELR_EL1
        CHECK((h->args[3] & 0x3CF) == 0x3C5);   // SPSR_EL1: EL1h, masked
    }
}

TEST_CASE("the exit table: a suspended vCPU starts again at its entry point, or is refused", "[table][psci]") {
    struct { const unsigned char *payload, *at; bool system; } both[]{{AT(row_power_down), false}, {AT(row_system_suspend), true}};
    for (const auto& [payload, at, system] : both) {
        Run r({payload, at, 80, exit::Nothing{}, 0, 0, 0, true, 0});
        const Exit expected = exit::CpuSuspend{system ? 0u : 0x1'0000u, r.m.at(row_entry), 80, true, system};
        r.leaves_as(expected);
        REQUIRE(r.b.retry());
        r.leaves_as(expected);
        REQUIRE(r.b.fail());
        CHECK(get<"PC">(r.m) == r.at + 4);
        CHECK(r.reports()[1] == psci(Psci::denied));
        REQUIRE(r.m.vcpu().set(pc_id, r.m.at(payload).value));
        REQUIRE(r.m.vcpu().set(argument_id, 81));
        r.leaves();
        REQUIRE(r.b.complete());
        CHECK(get<"PC">(r.m) == r.m.at(row_entry).value);
        CHECK(get<"SCTLR_EL1">(r.m) == arch::sctlr_reset);
        CHECK(r.reports()[1] == 81);
    }
}
