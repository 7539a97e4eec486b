// From one vCPU straight to another: all that a switch leaves out is the host's.
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include "bare_host.hpp"

using namespace harness;

TEMPLATE_TEST_CASE("a unique value in every register of the table survives switches from one vCPU straight to another", "[switch][canary]", Host, BareHost) {
    Enabled<TestType> here;
    Two<TestType> two(call_forever);
    const auto before = host_state();
    std::optional<Canary<TestType>> planted[2];
    {
        auto b = here.cpu.bind(*two.vcpu[0]);
        planted[0].emplace(*two.vcpu[0], 0);
        REQUIRE(b.switch_to(*two.vcpu[1]));
        planted[1].emplace(*two.vcpu[1], 1);
        CHECK(planted[0]->size() > kept_registers().size());
        CHECK(planted[0]->changed(*two.vcpu[1]) > planted[1]->size() / 2);
        for (unsigned round = 0; round < 6; ++round) {
            const auto n = round % 2;
            REQUIRE(b.switch_to(*two.vcpu[n]));
            CHECK(&b.vcpu() == two.vcpu[n]);
            CHECK(two.vcpu[1 - n]->state() == State::free);
            REQUIRE(b.run());
            REQUIRE(b.complete());
            INFO("vCPU " << n);
            CHECK(planted[n]->changed(*two.vcpu[n]) == 0);
            CHECK(planted[1 - n]->changed(*two.vcpu[1 - n]) == 0);
        }
    }
    CHECK(host_state() == before);
    CHECK(two.vcpu[0]->state() == State::free);
    CHECK(two.vcpu[1]->state() == State::free);
}

TEMPLATE_TEST_CASE("vCPUs of two VMs see their own memory at the same address through switches", "[switch][tlb]", Host, BareHost) {
    constexpr auto page = ram_base + 0x2'0000;
    Enabled<TestType> here;
    Two<TestType> one(read_forever, page.value, page.value + 8), other(read_forever, page.value, page.value + 8);
    const std::uint64_t values[]{11, 12, 21, 22};
    std::memcpy(one.m.host(page), values, 16);
    std::memcpy(other.m.host(page), values + 2, 16);
    Vcpu<TestType>* const vcpus[]{one.vcpu[0], one.vcpu[1], other.vcpu[0], other.vcpu[1]};
    auto b = here.cpu.bind(*vcpus[0]);
    for (unsigned n = 0, i = 0; i < 60; ++i, n = (n + 1 + i % 3) % 4) {
        if (&b.vcpu() != vcpus[n]) REQUIRE(b.switch_to(*vcpus[n]));
        const auto e = b.run();
        REQUIRE(e);
        REQUIRE(e->template is<exit::Hypercall>());
        CHECK(e->template get<exit::Hypercall>()->args[0] == values[n]);
        REQUIRE(b.complete());
    }
}

TEST_CASE("an instruction exit stays outstanding while another vCPU has the CPU", "[switch]") {
    Machine m(call_forever, 0, {.vcpus = 2});
    REQUIRE(m.vcpu(1).reset(m.at(call_forever)));
    auto b = percpu().bind(m.vcpu(0));
    REQUIRE(b.run());
    const auto pc = *m.vcpu(0).get(pc_id);
    REQUIRE(b.switch_to(m.vcpu(1)));
    CHECK(b.complete().error().code == Code::no_exit);
    REQUIRE(b.run());
    REQUIRE(b.switch_to(m.vcpu(0)));
    CHECK(*m.vcpu(0).get(pc_id) == pc);
    CHECK(b.complete());
    CHECK(*m.vcpu(0).get(pc_id) > pc);
    REQUIRE(b.run());
    CHECK(b.retry());
}

TEST_CASE("a switch that cannot be leaves the vCPU bound and usable", "[switch][misuse]") {
    Machine m(call_forever, 0, {.vcpus = 2});
    Slot slot[1];
    Vm<Host> bare{{.id = 1, .vcpus = slot}};
    auto without_tables = Vcpu<Host>::create(slot[0], bare, {.entry = ram_base});
    REQUIRE(without_tables);
    auto b = percpu().bind(m.vcpu(0));
    CHECK(b.switch_to(m.vcpu(0)).error().code == Code::bad_state);  // it is bound
    CHECK(b.switch_to(m.vcpu(1)).error().code == Code::bad_state);  // it is off
    CHECK(b.switch_to(*without_tables).error().code == Code::no_stage2);
    CHECK(without_tables->state() == State::free);
    auto refused = percpu().bind(m.vcpu(0));
    CHECK(refused.switch_to(m.vcpu(1)).error().code == Code::bad_state);
    REQUIRE(m.vcpu(1).reset(m.at(call_forever)));
    const auto blocked = m.vcpu(1).block();
    REQUIRE(blocked);
    REQUIRE(*blocked);
    CHECK(b.switch_to(m.vcpu(1)).error().code == Code::bad_state);
    CHECK(&b.vcpu() == &m.vcpu(0));
    REQUIRE(m.vcpu(1).unblock());
    REQUIRE(b.run());
    REQUIRE(b.complete());
    CHECK(b.switch_to(m.vcpu(1)));
    REQUIRE(b.run());
    CHECK(m.vcpu(0).state() == State::free);
    CHECK(m.vcpu(0).reset(m.at(call_forever)));
}
