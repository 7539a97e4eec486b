// Every wrong call is refused with what was expected, changes nothing, and leaves the vCPU usable.
#include <catch2/catch_test_macros.hpp>
#include "harness.hpp"

using namespace harness;

TEST_CASE("binding twice is refused and the first binding goes on", "[misuse]") {
    Machine m(call_forever, 0, {.vcpus = 2});
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
    Machine m(call_forever);
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
    if (instructions_are_aligned) CHECK(Vcpu<Host>::create(slot[0], vm, {.entry = {0x4000'0001}}).error().code == Code::misaligned);
    REQUIRE(Vcpu<Host>::create(slot[0], vm, {.id = 0}));
    CHECK(Vcpu<Host>::create(slot[0], vm, {.id = 0}).error().code == Code::exists);
    CHECK(Vcpu<Host>::create(slot[1], vm, {.id = 0}).error().code == Code::bad_value);  // another id's slot
    Slot stranger[1];
    CHECK(Vcpu<Host>::create(stranger[0], vm, {.id = 1}).error().code == Code::bad_value);
    CHECK(Vcpu<Host>::create(slot[1], vm, {.id = 1}));
}

TEST_CASE("a bound vCPU is neither reset nor destroyed nor blocked", "[misuse]") {
    Machine m(call_forever);
    {
        auto b = percpu().bind(m.vcpu());
        REQUIRE(b);
        CHECK(m.vcpu().reset(ram_base).error().code == Code::bad_state);
        CHECK(m.vcpu().destroy().error().code == Code::bad_state);
        CHECK(m.vcpu().block().error().code == Code::bad_state);
        CHECK(b.run());
    }
    CHECK(m.vcpu().reset(m.at(call_forever)));
    if (instructions_are_aligned) CHECK(m.vcpu().reset({1}).error().code == Code::misaligned);
}

TEST_CASE("registers: unknown ids and read-only ones are refused, the others keep what they are given", "[misuse][A27]") {
    Machine m(call_forever);
    CHECK(m.vcpu().get(reg::Id{0}).error().code == Code::unknown_register);
    CHECK(m.vcpu().set(reg::Id{~std::uint64_t{0}}, 0).error().code == Code::unknown_register);
    CHECK(m.vcpu().get(host_owned_id).error().code == Code::unknown_register);
    if (read_only_id != reg::Id{}) CHECK(m.vcpu().set(read_only_id, 1).error().code == Code::read_only);
    for (const auto r : kept_registers()) {
        REQUIRE(m.vcpu().set(r, r.value));
        CHECK(*m.vcpu().get(r) == r.value);
    }
    auto b = percpu().bind(m.vcpu());
    CHECK(b.run());
}

TEST_CASE("a blocked vCPU that is reset runs at once", "[misuse]") {
    Machine m(call_forever);
    const auto blocked = m.vcpu().block();
    REQUIRE(blocked);
    REQUIRE(*blocked);
    REQUIRE(m.vcpu().reset(m.at(call_forever)));
    auto b = percpu().bind(m.vcpu());
    REQUIRE(b);
    const auto e = b.run(runtime::now() + 5 * runtime::frequency());
    REQUIRE(e);
    CHECK(e->is<exit::Hypercall>());
}

TEST_CASE("a CPU on which a vCPU is bound stays enabled", "[misuse]") {
    Machine m(call_forever);
    auto b = percpu().bind(m.vcpu());
    CHECK(percpu().is_enabled());
    CHECK(percpu().disable().error().code == Code::bad_state);
    CHECK(m.vcpu().state() == State::ready);
    CHECK(b.run());
}
