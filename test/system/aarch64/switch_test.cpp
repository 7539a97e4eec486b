// What a switch must not take along from one vCPU of a VM to the next.
#include <catch2/catch_test_macros.hpp>
#include "../harness.hpp"

using namespace harness;

namespace {
auto leaves(Vcpu<Host>::Bound& b, std::uint64_t deadline = no_deadline) -> Exit {
    const auto e = b.run(deadline);
    REQUIRE(e);
    return *e;
}
}  // namespace

GUEST(report_mpidr, "1: mrs x1, MPIDR_EL1\n" REPORT "b 1b\n");

TEST_CASE("each vCPU has its own MPIDR after a switch", "[switch]") {
    Machine m(report_mpidr, 0, {.vcpus = 2});
    REQUIRE(m.vcpu(1).reset(m.at(report_mpidr)));
    auto b = percpu().bind(m.vcpu(0));
    for (std::uint64_t n : {0, 1, 0, 1}) {
        if (&b.vcpu() != &m.vcpu(static_cast<unsigned>(n))) REQUIRE(b.switch_to(m.vcpu(static_cast<unsigned>(n))));
        CHECK((leaves(b).get<exit::Hypercall>()->args[0] & 0xFF) == n);
        REQUIRE(b.complete());
    }
}

// The CPU interface on, one SGI to itself with interrupts masked: it stays in its list register. Reports ICC_HPPIR1_EL1, for ever.
GUEST(hold_an_sgi, "mov x9, #0xF0\nmsr S3_0_C4_C6_0, x9\nmov x9, #1\nmsr S3_0_C12_C12_7, x9\nisb\nmovz x9, #0x0800, lsl #16\nmov w10, #2\nstr w10, [x9]\n"
                   "movz x9, #0x080B, lsl #16\nmov w10, #0xFFFF\nstr w10, [x9, #0x80]\nstr w10, [x9, #0x100]\n"
                   "mov x9, #1\nmovk x9, #0x0500, lsl #16\nmsr S3_0_C12_C11_5, x9\nisb\n1: mrs x1, S3_0_C12_C12_2\n" REPORT "b 1b\n");
// The CPU interface on; reports ICC_HPPIR1_EL1, for ever.
GUEST(hold_nothing, "mov x9, #0xF0\nmsr S3_0_C4_C6_0, x9\nmov x9, #1\nmsr S3_0_C12_C12_7, x9\nisb\n1: mrs x1, S3_0_C12_C12_2\n" REPORT "b 1b\n");

TEST_CASE("what a list register holds stays with its vCPU through switches", "[switch][gic]") {
    Machine m(hold_an_sgi, 0, {.vcpus = 2, .controller = true});
    REQUIRE(m.vcpu(1).reset(m.at(hold_nothing)));
    auto b = percpu().bind(m.vcpu(0));
    for (unsigned round = 0; round < 4; ++round) {
        const auto n = round % 2;
        if (&b.vcpu() != &m.vcpu(n)) REQUIRE(b.switch_to(m.vcpu(n)));
        CHECK(leaves(b).get<exit::Hypercall>()->args[0] == (n == 0 ? 5 : 1023));
        REQUIRE(b.complete());
    }
    CHECK(m.vcpu(0).core().lr_used != 0);
}

GUEST(turn_off, "movz x0, #0x8400, lsl #16\nmovk x0, #2\nhvc #0\nb .\n");

TEST_CASE("a vCPU that has turned itself off is off after a switch, and can be turned on", "[switch]") {
    Machine m(turn_off, 0, {.vcpus = 2, .controller = true});
    REQUIRE(m.vcpu(1).reset(m.at(call_forever)));
    auto b = percpu().bind(m.vcpu(0));
    CHECK(leaves(b).is<exit::CpuDown>());
    CHECK(b.run().error().code == Code::bad_state);
    REQUIRE(b.switch_to(m.vcpu(1)));
    CHECK(m.vcpu(0).state() == State::off);
    CHECK(leaves(b).is<exit::Hypercall>());
    CHECK(b.switch_to(m.vcpu(0)).error().code == Code::bad_state);
    REQUIRE(m.vcpu(0).reset(m.at(call_forever)));
    REQUIRE(b.switch_to(m.vcpu(0)));
    CHECK(leaves(b).is<exit::Hypercall>());
}

GUEST(four_nops, "nop\nnop\nnop\nnop\n" REPORT);

TEST_CASE("what the host debugs is one vCPU, though it asks while that is bound, and switches then", "[switch][debug]") {
    Machine m(four_nops, 0, {.vcpus = 2});
    REQUIRE(m.vcpu(1).reset(m.at(call_forever)));
    auto b = percpu().bind(m.vcpu(0));
    REQUIRE(b.switch_to(m.vcpu(1)));  // both are at home here
    REQUIRE(b.switch_to(m.vcpu(0)));
    REQUIRE(m.vcpu(0).set_debug({.step = true}));
    CHECK(leaves(b).is<exit::Debug>());
    REQUIRE(b.switch_to(m.vcpu(1)));
    CHECK((arch::read<"MDCR_EL2">() >> 8 & 1) == 0);  // TDE
    CHECK((arch::read<"MDSCR">() & 1) == 0);
    CHECK(leaves(b).is<exit::Hypercall>());
    REQUIRE(b.complete());
    REQUIRE(b.switch_to(m.vcpu(0)));
    CHECK(leaves(b).is<exit::Debug>());
    REQUIRE(m.vcpu(0).set_debug({}));
    REQUIRE(b.switch_to(m.vcpu(1)));
    REQUIRE(b.switch_to(m.vcpu(0)));
    CHECK(leaves(b).is<exit::Hypercall>());
}

// Its physical timer fires far in the future, and counts.
GUEST(arm_physical, "mov x9, #-1\nlsr x9, x9, #1\nmsr CNTP_CVAL_EL0, x9\nmov x9, #1\nmsr CNTP_CTL_EL0, x9\nisb\n" REPORT "1: mrs x1, CNTP_CTL_EL0\n" REPORT "b 1b\n");

TEST_CASE("a physical timer that counts goes on counting for its vCPU after switches and bindings", "[switch][timer]") {
    Machine m(arm_physical, 0, {.vcpus = 2, .controller = true});
    REQUIRE(m.vcpu(1).reset(m.at(call_forever)));
    {
        auto b = percpu().bind(m.vcpu(0));
        CHECK(leaves(b).is<exit::Hypercall>());
        REQUIRE(b.complete());
        REQUIRE(b.switch_to(m.vcpu(1)));
        CHECK_FALSE(m.vcpu(1).core().has(arch::Vcpu::physical_timer_on));
        REQUIRE(b.switch_to(m.vcpu(0)));
        CHECK(m.vcpu(0).core().has(arch::Vcpu::physical_timer_on));
    }
    CHECK(m.vcpu(0).deadline() != no_deadline);
    REQUIRE(m.vcpu(0).set(id<"CNTP_CTL_EL0">(), 0));
    auto b = percpu().bind(m.vcpu(0));
    CHECK_FALSE(m.vcpu(0).core().has(arch::Vcpu::physical_timer_on));
    REQUIRE(m.vcpu(0).set(id<"CNTP_CTL_EL0">(), 1));
    CHECK(m.vcpu(0).core().has(arch::Vcpu::physical_timer_on));
    CHECK(leaves(b).get<exit::Hypercall>()->args[0] == 1);
}
