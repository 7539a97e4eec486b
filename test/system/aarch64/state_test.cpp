// What of a vCPU's state and of the machine is AArch64's own.
#include <catch2/catch_test_macros.hpp>
#include "../harness.hpp"

using namespace harness;

TEST_CASE("impossible modes and affinities are refused", "[misuse][A27]") {
    Machine m(call_forever);
    CHECK(m.vcpu().set(id<"PSTATE">(), 0x3C9).error().code == Code::bad_value);  // EL2
    CHECK(m.vcpu().set(id<"PSTATE">(), 0x3CD).error().code == Code::bad_value);  // EL3
    CHECK(get<"PSTATE">(m) == 0x3C5);
    Slot slot[2];
    Vm<Host> vm{{.id = 1, .vcpus = slot}};
    CHECK(Vcpu<Host>::create(slot[0], vm, {.mpidr = 0x8000'0000}).error().code == Code::bad_value);
    CHECK(Vcpu<Host>::create(slot[0], vm, {.entry = {0x4000'0002}}).error().code == Code::misaligned);
    REQUIRE(Vcpu<Host>::create(slot[0], vm, {.id = 0}));
    CHECK(Vcpu<Host>::create(slot[1], vm, {.id = 1, .mpidr = 0}).error().code == Code::exists);
}

TEST_CASE("the capabilities say what this CPU is", "[percpu][A25][A28]") {
    const auto& c = capabilities();
    CHECK(c.address_bits >= 40);
    CHECK(c.address_bits <= 48);
    CHECK((c.levels_mask & 1 << 3) != 0);
    CHECK(c.tag_bits >= 2);
    CHECK(c.list_registers >= 1);
    CHECK(c.host_extensions == ((arch::read<"HCR_EL2">() >> 34 & 1) != 0));
}

GUEST(walk_to_device, VECTORS "movz x9, #0x0A00, lsl #16\nmsr TTBR0_EL1, x9\nmov x9, #25\nmovk x9, #0x80, lsl #16\nmsr TCR_EL1, x9\nisb\n"
                      "mrs x9, SCTLR_EL1\norr x9, x9, #1\nmsr SCTLR_EL1, x9\nisb\nnop\n" REPORT);

TEST_CASE("page tables that point at a device: the fault says it was on the walk, and it ends in the guest", "[hostile]") {
    Machine m(walk_to_device);
    auto b = percpu().bind(m.vcpu());
    const auto e = b.run();
    REQUIRE(e);
    REQUIRE(e->is<exit::NestedPageFault>());
    const auto f = *e->get<exit::NestedPageFault>();
    CHECK(f.on_table_walk);
    CHECK((f.addr.value & ~std::uint64_t{0xFFF}) == device_base.value);
    REQUIRE(b.fail());
    const auto again = b.run();  // its vectors cannot be fetched either: the next fault comes, and the host goes on
    REQUIRE(again);
    CHECK(again->is<exit::NestedPageFault>());
}
