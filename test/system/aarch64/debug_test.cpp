// Debugging: the guest's own, which goes with it and leaves nothing behind; the host's, which wins and which the guest does not see.
#include <catch2/catch_test_macros.hpp>
#include "../harness.hpp"

using namespace harness;

namespace {
constexpr std::uint64_t ec(std::uint64_t syndrome) { return syndrome >> 26; }
}  // namespace

GUEST(count_up, "mov x1, #1\nadd x1, x1, #1\nadd x1, x1, #1\nstr x1, [x0]\nldr x2, [x0]\n" REPORT);

TEST_CASE("single step: one exit for each instruction, emulated ones included, then the guest runs on", "[debug]") {
    Machine m(count_up, ram_base.value + 0x2'0000);
    REQUIRE(m.vcpu().set_debug({.step = true}));
    auto b = percpu().bind(m.vcpu());
    for (std::uint64_t n = 1; n <= 4; ++n) {
        const auto d = leaves<exit::Debug>(b);
        CHECK(ec(d.syndrome) == 0x32);
        CHECK(d.address == m.at(count_up).value + 4 * n);
        CHECK(get<"PC">(m) == d.address);
    }
    CHECK(get<"X">(m, 1) == 3);
    REQUIRE(m.vcpu().set_debug({}));
    CHECK(leaves<exit::Hypercall>(b).args[1] == 3);
}

TEST_CASE("a host's breakpoint stops before its instruction, until it is taken away", "[debug]") {
    Machine m(count_up, ram_base.value + 0x2'0000);
    auto b = percpu().bind(m.vcpu());
    // [debug]
    const std::uint64_t at[]{m.at(count_up).value + 8};
    REQUIRE(m.vcpu().set_debug({.breakpoints = at}));
    for (int again = 0; again < 2; ++again) {  // it stops before the instruction, each time
        const auto d = leaves<exit::Debug>(b);
        CHECK(ec(d.syndrome) == 0x30);
        CHECK(d.address == at[0]);
        CHECK(get<"X">(m, 1) == 2);
    }
    REQUIRE(m.vcpu().set_debug({}));           // taken away: the guest goes on
    // [end]
    CHECK(leaves<exit::Hypercall>(b).args[1] == 3);
}

TEST_CASE("what the host wants to see may change while the vCPU is not bound", "[debug]") {
    Machine m(count_up, ram_base.value + 0x2'0000);
    { auto b = percpu().bind(m.vcpu()); REQUIRE(b); }  // it has been found to fit here, as it was then
    REQUIRE(m.vcpu().set_debug({.step = true}));
    { auto b = percpu().bind(m.vcpu()); CHECK(leaves<exit::Debug>(b).address == m.at(count_up).value + 4); }
    REQUIRE(m.vcpu().set_debug({}));
    auto b = percpu().bind(m.vcpu());
    CHECK(leaves<exit::Hypercall>(b).args[1] == 3);
}

TEST_CASE("a host's watchpoint names the address, for the accesses it asks for", "[debug]") {
    Machine m(count_up, ram_base.value + 0x2'0000);
    const Watchpoint reads[]{{ram_base.value + 0x2'0000, 4, true, false}}, beside[]{{ram_base.value + 0x2'0008, 8, true, true}};
    auto b = percpu().bind(m.vcpu());
    REQUIRE(m.vcpu().set_debug({.watchpoints = reads}));
    const auto d = leaves<exit::Debug>(b);  // not the store before it
    CHECK(ec(d.syndrome) == 0x34);
    CHECK(d.address == ram_base.value + 0x2'0000);
    CHECK(get<"PC">(m) == m.at(count_up).value + 16);
    REQUIRE(m.vcpu().set_debug({.watchpoints = beside}));
    CHECK(leaves<exit::Hypercall>(b).args[1] == 3);
}

GUEST(breaks, VECTORS "brk #7\n");

TEST_CASE("a breakpoint instruction is the guest's own, or the host's where it asks for it", "[debug]") {
    SECTION("the guest's") {
        Machine m(breaks);
        auto b = percpu().bind(m.vcpu());
        CHECK(ec(leaves<exit::Hypercall>(b).args[0]) == 0x3C);
    }
    SECTION("the guest's, although the host debugs") {
        Machine m(breaks);
        const Watchpoint unrelated[]{{ram_base.value + 0x2'0008, 8, true, true}};
        REQUIRE(m.vcpu().set_debug({.watchpoints = unrelated}));
        auto b = percpu().bind(m.vcpu());
        const auto h = leaves<exit::Hypercall>(b);
        CHECK(ec(h.args[0]) == 0x3C);
        CHECK((h.args[0] & 0xFFFF) == 7);
        CHECK(h.args[2] == m.at(breaks).value + 16);  // ELR_EL1: the instruction itself
    }
    SECTION("the host's") {
        Machine m(breaks);
        REQUIRE(m.vcpu().set_debug({.software_breakpoints = true}));
        auto b = percpu().bind(m.vcpu());
        const auto d = leaves<exit::Debug>(b);
        CHECK(ec(d.syndrome) == 0x3C);
        CHECK(d.address == m.at(breaks).value + 16);
    }
}

// Its own breakpoint at `target`, for EL1: DBGBVR0, DBGBCR0, MDSCR.KDE and MDE, the OS lock opened, PSTATE.D cleared; a call; then the target.
GUEST(own_breakpoint, VECTORS "adr x10, 2f\nmsr DBGBVR0_EL1, x10\nmov x10, #0x1E7\nmsr DBGBCR0_EL1, x10\nmsr OSLAR_EL1, xzr\n"
                      "mov x10, #0xA000\nmsr MDSCR_EL1, x10\nisb\nmsr DAIFClr, #8\nmrs x1, DBGBCR0_EL1\nmrs x2, MDSCR_EL1\n" REPORT "2: nop\n");

TEST_CASE("a guest's own hardware breakpoint works, also when another vCPU and the host have run meanwhile", "[debug][canary]") {
    Machine m(own_breakpoint, 0, {.vcpus = 2});
    const auto host_mdscr = arch::read<"MDSCR">(), host_bcr = arch::read<"DBGBCR0_EL1">(), host_bvr = arch::read<"DBGBVR0_EL1">(), host_lock = arch::read<"OSLSR">();
    {
        auto b = percpu().bind(m.vcpu());
        const auto h = leaves<exit::Hypercall>(b);
        CHECK(h.args[0] == 0x1E7);
        CHECK(h.args[1] == 0xA000);
        REQUIRE(b.complete());
    }
    CHECK(arch::read<"MDSCR">() == host_mdscr);
    CHECK(arch::read<"DBGBCR0_EL1">() == host_bcr);
    CHECK(arch::read<"DBGBVR0_EL1">() == host_bvr);
    CHECK(arch::read<"OSLSR">() == host_lock);
    {
        REQUIRE(m.vcpu(1).reset(m.at(call_forever)));
        auto b = percpu().bind(m.vcpu(1));
        REQUIRE(b.run());
    }
    auto b = percpu().bind(m.vcpu());
    const auto h = leaves<exit::Hypercall>(b);
    CHECK(h.number == exception + 0x200);
    CHECK(ec(h.args[0]) == 0x31);
}

GUEST(greedy_breakpoint, "mov x10, #-1\nmsr DBGBCR0_EL1, x10\nmsr DBGWCR1_EL1, x10\nmov x10, #0x8000\nmsr MDSCR_EL1, x10\nisb\n" REPORT);

TEST_CASE("what a guest asks of its breakpoints never matches EL2", "[debug][hostile]") {
    Machine m(greedy_breakpoint);
    auto b = percpu().bind(m.vcpu());
    static_cast<void>(leaves<exit::Hypercall>(b));
    constexpr std::uint64_t hmc_and_ssc = 7 << 13;
    CHECK((arch::read<"DBGBCR0_EL1">() & hmc_and_ssc) == 0);
    CHECK((arch::read<"DBGWCR1_EL1">() & hmc_and_ssc) == 0);
}

TEST_CASE("set_debug refuses more than there is, odd addresses, and watchpoints that cross", "[misuse][debug]") {
    Machine m(call_forever);
    const std::uint64_t three[]{0, 4, 8}, odd[]{2};
    const Watchpoint crossing[]{{6, 4, true, true}}, nothing[]{{0, 4, false, false}};
    CHECK(m.vcpu().set_debug({.breakpoints = three}).error().code == Code::bad_value);
    CHECK(m.vcpu().set_debug({.breakpoints = odd}).error().code == Code::misaligned);
    CHECK(m.vcpu().set_debug({.watchpoints = crossing}).error().code == Code::bad_value);
    CHECK(m.vcpu().set_debug({.watchpoints = nothing}).error().code == Code::bad_value);
    auto b = percpu().bind(m.vcpu());
    CHECK(b.run());
}
