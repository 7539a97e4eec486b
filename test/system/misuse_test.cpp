// Every wrong call is refused with what was expected, changes nothing, and leaves the vCPU usable.
#include <catch2/catch_test_macros.hpp>
#include "harness.hpp"

using namespace harness;

GUEST(any_guest, "1: movz w0, #0xC600, lsl #16\nhvc #0\nb 1b\n");

TEST_CASE("binding twice is refused and the first binding goes on", "[misuse]") {
    Machine m(any_guest, 0, {.vcpus = 2});
    auto first = percpu().bind(m.vcpu());
    REQUIRE(first);
    {
        auto again = percpu().bind(m.vcpu());
        CHECK(again.error().code == Code::bad_state);
        CHECK(again.run().error().code == Code::bad_state);
        CHECK_FALSE(again.complete());
    }
    CHECK(m.vcpu().state() == State::ready);
    CHECK(first.run());
}

TEST_CASE("complete, fail and retry need an outstanding instruction", "[misuse]") {
    Machine m(any_guest);
    auto b = percpu().bind(m.vcpu());
    CHECK(b.complete().error().code == Code::no_exit);
    CHECK(b.fail().error().code == Code::no_exit);
    CHECK(b.retry().error().code == Code::no_exit);
    REQUIRE(b.run());
    REQUIRE(b.complete());
    CHECK(b.complete().error().code == Code::no_exit);
    CHECK(b.run());
}

TEST_CASE("a VM without stage-2 tables cannot be bound", "[misuse]") {
    Slot slot[1];
    Vm<Host> vm{{.id = 1, .vcpus = slot}};
    auto v = Vcpu<Host>::create(slot[0], vm, {.entry = ram_base});
    REQUIRE(v);
    auto b = percpu().bind(*v);
    CHECK(b.error().code == Code::no_stage2);
    CHECK(v->state() == State::free);
}

TEST_CASE("creation checks ids, slots, affinities and alignment", "[misuse]") {
    Slot slot[2];
    Vm<Host> vm{{.id = 1, .vcpus = slot}};
    CHECK(Vcpu<Host>::create(slot[0], vm, {.id = 2}).error().code == Code::bad_value);
    CHECK(Vcpu<Host>::create(slot[0], vm, {.entry = {0x4000'0002}}).error().code == Code::misaligned);
    CHECK(Vcpu<Host>::create(slot[0], vm, {.mpidr = 0x8000'0000}).error().code == Code::bad_value);
    REQUIRE(Vcpu<Host>::create(slot[0], vm, {.id = 0}));
    CHECK(Vcpu<Host>::create(slot[0], vm, {.id = 0}).error().code == Code::exists);
    CHECK(Vcpu<Host>::create(slot[1], vm, {.id = 1, .mpidr = 0}).error().code == Code::exists);
    CHECK(Vcpu<Host>::create(slot[1], vm, {.id = 1}));
}

TEST_CASE("a bound vCPU is neither reset nor destroyed nor blocked", "[misuse]") {
    Machine m(any_guest);
    {
        auto b = percpu().bind(m.vcpu());
        REQUIRE(b);
        CHECK(m.vcpu().reset(ram_base).error().code == Code::bad_state);
        CHECK(m.vcpu().destroy().error().code == Code::bad_state);
        CHECK(m.vcpu().block().error().code == Code::bad_state);
        CHECK(b.run());
    }
    CHECK(m.vcpu().reset(m.at(any_guest)));
    CHECK(m.vcpu().reset({1}).error().code == Code::misaligned);
}

TEST_CASE("registers: unknown ids, read-only ones and impossible modes are refused", "[misuse][A27]") {
    Machine m(any_guest);
    CHECK(m.vcpu().get(reg::Id{0}).error().code == Code::unknown_register);
    CHECK(m.vcpu().set(reg::Id{~std::uint64_t{0}}, 0).error().code == Code::unknown_register);
    CHECK(m.vcpu().get(aarch64::registers[aarch64::index<"HCR_EL2">].id()).error().code == Code::unknown_register);
    CHECK(m.vcpu().set(id<"ESR_EL2">(), 1).error().code == Code::read_only);
    CHECK(m.vcpu().set(id<"PSTATE">(), 0x3C9).error().code == Code::bad_value);  // EL2
    CHECK(m.vcpu().set(id<"PSTATE">(), 0x3CD).error().code == Code::bad_value);  // EL3
    CHECK(get<"PSTATE">(m) == 0x3C5);
    REQUIRE(m.vcpu().set(id<"X">(30), 5));
    CHECK(get<"X">(m, 30) == 5);
    auto b = percpu().bind(m.vcpu());
    CHECK(b.run());
}

TEST_CASE("the capabilities say what this CPU is", "[percpu][A25][A28]") {
    const auto& c = capabilities();
    CHECK(c.address_bits >= 40);
    CHECK(c.address_bits <= 48);
    CHECK((c.levels_mask & 1 << 3) != 0);
    CHECK(c.tag_bits >= 2);
    CHECK(c.list_registers >= 1);
    CHECK(c.host_extensions == ((aarch64::read<"HCR_EL2">() >> 34 & 1) != 0));
}
