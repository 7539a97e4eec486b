// Calls on a CPU that a vCPU, or a PerCpu, does not belong to: each is refused with where it ought to be, and changes nothing.
#include <catch2/catch_test_macros.hpp>
#include "harness.hpp"

using namespace harness;

namespace {

using Bound = Vcpu<Host>::Bound;

/// What calls on another CPU were answered: never more than one job writes it.
struct Answers {
    std::array<std::pair<const char*, std::optional<Error>>, 12> all{};
    std::size_t n = 0;
    void add(const char* call, const auto& result) noexcept {
        all[n] = {call, {}};
        if (!result) all[n].second = result.error();
        ++n;
    }
    /// Each was refused: it has to be on CPU 0, and is on CPU 1.
    void check_wrong_cpu() const {
        for (std::size_t i = 0; i < n; ++i) {
            INFO(all[i].first);
            REQUIRE(all[i].second);
            CHECK(all[i].second->code == Code::wrong_cpu);
            CHECK(all[i].second->expected == 0);
            CHECK(all[i].second->found == 1);
        }
    }
};

}  // namespace

TEST_CASE("on another CPU than its own a vCPU takes no call, and goes on where it is", "[smp][misuse]") {
    if (!have_cpu(1)) SKIP("one CPU");
    Machine m(wait_forever, 0, {.vcpus = 2});
    REQUIRE(m.vcpu(1).reset(m.at(spin)));
    auto b = percpu().bind(m.vcpu());
    REQUIRE(b);
    for (int round = 0; round < 2; ++round) {
        const auto e = b.run();
        REQUIRE(e);
        REQUIRE(e->is<exit::Halt>());
        const auto pc = *m.vcpu().get(pc_id);
        static std::array<reg::Value, Vcpu<Host>::snapshot_size> values;
        values[0] = {argument_id, 5, 0};
        Answers refused;
        std::optional<Error> bound_again, disabled;
        auto elsewhere = [&]() noexcept {
            refused.add("run", b.run());
            refused.add("complete", b.complete(7));
            refused.add("fail", b.fail());
            refused.add("retry", b.retry());
            refused.add("switch_to", b.switch_to(m.vcpu(1)));
            refused.add("get", m.vcpu().get(pc_id));
            refused.add("get on bind", m.vcpu().get(on_bind_id));
            refused.add("set", m.vcpu().set(argument_id, 5));
            refused.add("set on bind", m.vcpu().set(on_bind_id, 5));
            refused.add("set_debug", m.vcpu().set_debug({.software_breakpoints = true}));
            refused.add("snapshot", m.vcpu().snapshot(values));
            refused.add("restore", m.vcpu().restore(std::span(values).first(1)));
            if (const auto again = percpu().bind(m.vcpu()); !again) bound_again = again.error();
            if (const auto off = percpu(0).disable(); !off) disabled = off.error();
        };
        OnCpu(1, elsewhere).wait();
        CHECK(refused.n == 12);
        refused.check_wrong_cpu();
        REQUIRE(bound_again);
        CHECK(*bound_again == Error{Code::bad_state, nullptr, static_cast<std::uint64_t>(State::free), static_cast<std::uint64_t>(State::ready)});
        REQUIRE(disabled);
        CHECK(disabled->code == Code::bad_state);  // a vCPU is bound there, whoever asks
        CHECK(*m.vcpu().get(pc_id) == pc);
        CHECK(*m.vcpu().get(argument_id) == 0);
        CHECK(*m.vcpu().get(on_bind_id) == 0);
        REQUIRE(b.complete(7));
        CHECK(*m.vcpu().get(pc_id) == pc + 4);
    }
}

TEST_CASE("unbinding on another CPU does nothing: the vCPU stays bound, and its own CPU can unbind it", "[smp][misuse]") {
    if (!have_cpu(1)) SKIP("one CPU");
    Machine m(call_forever);
    const auto before = host_state();
    alignas(Bound) unsigned char room[sizeof(Bound)];
    auto* b = new (room) Bound(percpu().bind(m.vcpu()));
    REQUIRE(b->run());
    auto elsewhere = [&]() noexcept { b->~Bound(); };
    OnCpu(1, elsewhere).wait();
    CHECK(m.vcpu().state() == State::ready);
    CHECK(host_state() != before);
    CHECK(percpu().bind(m.vcpu()).error().code == Code::bad_state);
    arch::Arch::unbind(m.vcpu().core(), Host::this_cpu());
    CHECK(m.vcpu().state() == State::free);
    CHECK(host_state() == before);
    auto again = percpu().bind(m.vcpu());
    REQUIRE(again.run());
}

TEST_CASE("a CPU is enabled, disabled and bound to by itself alone", "[smp][misuse][percpu]") {
    if (!have_cpu(1)) SKIP("one CPU");
    Machine m(call_forever);
    Answers refused;
    std::optional<Error> enabled;
    auto& first = percpu();
    auto elsewhere = [&]() noexcept {
        refused.add("disable", first.disable());
        refused.add("bind", first.bind(m.vcpu()));
        if (const auto on = first.enable(); !on) enabled = on.error();
    };
    OnCpu(1, elsewhere).wait();
    refused.check_wrong_cpu();
    REQUIRE(enabled);
    CHECK(enabled->code == Code::bad_state);
    CHECK(m.vcpu().state() == State::free);
    auto b = percpu().bind(m.vcpu());
    REQUIRE(b.run());
}
