// From one vCPU straight to another: all that a switch leaves out is the host's.
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include "harness.hpp"

using namespace harness;

namespace {

/// Without floating point of its own: a guest's stays in the CPU. The tests use it, so they look at other registers only.
struct BareHost : Host {
    static constexpr HostFp host_fp = HostFp::none;
};

/// This CPU, enabled with this HAL while this lives.
template <class H>
struct Enabled {
    Enabled() {
        REQUIRE(percpu().disable());
        REQUIRE(cpu.enable());
    }
    ~Enabled() {
        CHECK(cpu.disable());
        CHECK(percpu().enable());
    }
    static inline PerCpu<H> cpu;
};

/// A VM of two vCPUs with this HAL, on a Machine's memory.
template <class H>
struct Two {
    explicit Two(const void* payload, std::uint64_t first = 0, std::uint64_t second = 0)
        : m(payload), vm{{.id = 9, .stage2 = &m.stage2, .vcpus = slots, .ram = m.ram}} {
        for (std::uint32_t i = 0; i < 2; ++i) vcpu[i] = &*Vcpu<H>::create(slots[i], vm, create_config(ram_base, i, m.at(payload), i == 0 ? first : second, false));
    }
    Machine m;
    Slot slots[2];
    Vm<H> vm;
    Vcpu<H>* vcpu[2];
};

}  // namespace

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

#if defined(CALLEE_SAVED_FP)
TEST_CASE("without floating point in the host, a guest's goes with it through switches and bindings", "[switch][canary]") {
    const std::uint64_t values[]{0x4045'0000'0000'1234, 0x4055'0000'0000'4321};
    Enabled<BareHost> here;
    Two<BareHost> two(keep_fp, values[0], values[1]);
    // A callee-saved register of the three that the guests keep: the code in between leaves it alone, and its callers get theirs back.
    const auto differ = [&] {
        asm volatile("" ::: CALLEE_SAVED_FP);
        unsigned n = 0;
        for (unsigned round = 0; round < 20; ++round) {
            auto b = here.cpu.bind(*two.vcpu[0]);
            for (unsigned turn = 0; turn < 6; ++turn) {
                const auto e = b.run();
                n += !e || !e->template is<exit::Hypercall>() || e->template get<exit::Hypercall>()->args[1] != values[&b.vcpu() == two.vcpu[1]] || !b.complete();
                n += !b.switch_to(*two.vcpu[&b.vcpu() == two.vcpu[0]]);
            }
        }
        return n;
    };
    CHECK(differ() == 0);
}
#endif

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
