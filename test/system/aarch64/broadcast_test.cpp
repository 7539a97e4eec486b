// The guest's own TLB maintenance reaches every CPU, local as it may be: a vCPU may have been there (HCR_EL2.FB).
#include <catch2/catch_test_macros.hpp>
#include "../harness.hpp"

using namespace harness;

// Reads *0x80020000, says so at 0x40024000, and reads on for ever; its vectors report.
GUEST(read_translated, VECTORS MMU_ON "movz x9, #0x8002, lsl #16\nldr x2, [x9]\nmovz x3, #0x4002, lsl #16\nmovk x3, #0x4000\nmov x4, #1\nstr x4, [x3]\n1: ldr x2, [x9]\nb 1b\n");
// Takes that translation away, tells its own CPU alone, and reports.
GUEST(take_translation, "movz x10, #0x4001, lsl #16\nmovk x10, #0xE010\nstr xzr, [x10]\ndsb nsh\ntlbi vmalle1\ndsb nsh\nisb\n" REPORT);

TEST_CASE("a vCPU's TLB maintenance for its own CPU drops what its VM has left on others", "[smp][tlb]") {
    if (!have_cpu(1)) SKIP("one CPU");
    constexpr std::uint64_t block = ram_base.value | 1 | 3 << 8 | 1 << 10;  // of memory, inner shareable, accessed
    for (unsigned round = 0; round < 20; ++round) {
        Machine m(read_translated, 0, {.vcpus = 2});
        auto* table = reinterpret_cast<std::uint64_t*>(m.host(ram_base + 0x1'E000));
        table[1] = table[2] = block;
        auto& has_read = *reinterpret_cast<volatile std::uint64_t*>(m.host(ram_base + 0x2'4000));
        RunsOn other(1, m.vcpu(), runtime::now() + 10 * runtime::frequency());
        await([&] { return has_read != 0; });  // it ends by its deadline if not
        REQUIRE(m.vcpu(1).reset(m.at(take_translation)));
        auto b = percpu().bind(m.vcpu(1));
        CHECK(leaves<exit::Hypercall>(b).number == report);
        REQUIRE(other.wait() == Exit::index_of<exit::Hypercall>());
        CHECK(get<"X">(m, 0) > report);  // its vector's: the abort of a read without a translation
    }
}
