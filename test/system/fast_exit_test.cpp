// The fast hook: what it answers never reaches run(); what it does not answer comes as ever; every register is the guest's after both.
#include <catch2/catch_test_macros.hpp>
#include "harness.hpp"

using namespace harness;

TEST_CASE("a fast hook answers calls between two instructions, and passes the rest on with every register in place", "[fast]") {
    Machine m(call_forever, 0, {.policy = {.fast_exit = true}});
    for (const auto r : kept_registers()) REQUIRE(m.vcpu().set(r, r.value ^ 0xFA57'0000'0000'0000));
    auto b = percpu().bind(m.vcpu());
    for (const std::uint64_t answered : {0, 1, 1000}) {
        Host::fast_answers = answered;
        const auto e = b.run();
        REQUIRE(e);
        REQUIRE(e->is<exit::Hypercall>());
        CHECK(e->get<exit::Hypercall>()->number == report);
        CHECK(Host::fast_answers == 0);
        for (const auto r : kept_registers()) REQUIRE(*m.vcpu().get(r) == (r.value ^ 0xFA57'0000'0000'0000));
        REQUIRE(b.complete());
    }
}

TEST_CASE("the guest finds every register behind a call that the hook has answered", "[fast]") {
    Machine m(add_registers, 0, {.policy = {.fast_exit = true}});
    Host::fast_answers = 1;
    auto b = percpu().bind(m.vcpu());
    const auto e = b.run();
    REQUIRE(e);
    REQUIRE(e->is<exit::Hypercall>());
    CHECK(Host::fast_answers == 0);
    CHECK(e->get<exit::Hypercall>()->args[0] == e->get<exit::Hypercall>()->args[1]);
}

TEST_CASE("a VM whose policy does not ask for it never meets the hook", "[fast]") {
    Machine m(call_forever);
    Host::fast_answers = 5;
    auto b = percpu().bind(m.vcpu());
    const auto e = b.run();
    REQUIRE(e);
    CHECK(e->is<exit::Hypercall>());
    CHECK(Host::fast_answers == 5);
    Host::fast_answers = 0;
}

TEST_CASE("a fast hook answers a trapped register, into a register that it need not save, and the instruction is over", "[fast]") {
    Machine m(read_register, 0, {.policy = {.fast_exit = true}});
    auto b = percpu().bind(m.vcpu());
    const auto e = b.run();
    REQUIRE(e);
    REQUIRE(e->is<exit::Hypercall>());
    CHECK(e->get<exit::Hypercall>()->args[0] == 77);   // the hook's
    CHECK(e->get<exit::Hypercall>()->args[1] != 77);   // one that it passed on
    CHECK(e->get<exit::Hypercall>()->args[2] == 77);
}

TEST_CASE("a kick ends a guest that calls without end, also where the hook answers every call", "[fast][A22]") {
    Machine m(call_forever, 0, {.policy = {.fast_exit = true}});
    Host::fast_answers = ~std::uint64_t{0};
    auto b = percpu().bind(m.vcpu());
    const auto e = b.run(runtime::now() + runtime::frequency() / 100);
    REQUIRE(e);
    CHECK(e->is<exit::TimerExpired>());
    CHECK(Host::fast_answers < ~std::uint64_t{0} - 100);
    Host::fast_answers = 0;
}
