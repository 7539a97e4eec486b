#include <catch2/catch_test_macros.hpp>
import std;
import axvcpu;

using namespace axvcpu;

namespace {
unsigned kicks = 0, wakes = 0;
struct TestHal {
    static auto virt_to_phys(const void*) noexcept -> HostPhysAddr { return {}; }
    static auto phys_to_virt(HostPhysAddr) noexcept -> void* { return nullptr; }
    static auto this_cpu() noexcept -> CpuId { return CpuId{0}; }
    static void kick(CpuId) noexcept { ++kicks; }
    static void wake(std::uint32_t, std::uint32_t) noexcept { ++wakes; }
};
struct Core : VcpuCore {
    Core(VmCore& vm, std::uint32_t id, std::uint64_t hw, bool off = false) : VcpuCore(vm, id, hw) {
        state_ = off ? State::off : State::free;
        if (off) power_ = Power::off;
    }
    auto mail() -> Mailbox& { return mailbox_; }
};
struct Fixture {
    VcpuSlot<Core> slots[3];
    GuestRange ram[1]{{{0x4000'0000}, 0x1000}};
    VmCore vm{5, {}, ram, {}, slots, hal_table<TestHal>};
};
}  // namespace

TEST_CASE("the registry finds vCPUs by hardware id and refuses doubles", "[vm]") {
    Fixture f;
    Core a(f.vm, 0, 0x100), b(f.vm, 1, 0x101), same(f.vm, 2, 0x100), taken(f.vm, 0, 7), beyond(f.vm, 3, 8);
    REQUIRE(f.vm.add(a));
    REQUIRE(f.vm.add(b));
    CHECK(f.vm.find(0x101) == &b);
    CHECK(f.vm.find(0x102) == nullptr);
    CHECK(f.vm.add(same).error().code == Code::exists);
    CHECK(f.vm.add(taken).error().code == Code::exists);
    CHECK(f.vm.add(beyond).error().code == Code::bad_value);
}

TEST_CASE("one of two askers turns a vCPU on", "[vm][power]") {
    Fixture f;
    Core off(f.vm, 0, 0, true), on(f.vm, 1, 1);
    REQUIRE(off.request_power_on({0x4000'0000}, 3));
    const auto second = off.request_power_on({0x4000'0000}, 4);
    REQUIRE_FALSE(second);
    CHECK(second.error().found == static_cast<std::uint64_t>(Power::on_pending));
    CHECK(on.request_power_on({0}, 0).error().found == static_cast<std::uint64_t>(Power::on));
}

TEST_CASE("block refuses while an event waits, and a post to a blocked vCPU wakes it", "[vm][mailbox]") {
    Fixture f;
    Core v(f.vm, 0, 0);
    REQUIRE(f.vm.add(v));
    f.vm.notify(0, Event::interrupt);
    auto blocked = v.block();
    REQUIRE(blocked);
    CHECK_FALSE(*blocked);
    CHECK(v.state() == State::free);
    v.mail().take();
    blocked = v.block();
    REQUIRE(blocked);
    CHECK(*blocked);
    wakes = 0;
    f.vm.notify(0, Event::interrupt);
    f.vm.notify(0, Event::interrupt);
    CHECK(wakes == 1);
    CHECK(v.block().error().code == Code::bad_state);
    CHECK(v.unblock());
    CHECK(v.unblock().error().code == Code::bad_state);
}

TEST_CASE("memory is where the VM says, to the byte", "[vm]") {
    Fixture f;
    CHECK(f.vm.is_ram({0x4000'0000}));
    CHECK(f.vm.is_ram({0x4000'0FFF}));
    CHECK_FALSE(f.vm.is_ram({0x4000'1000}));
    CHECK_FALSE(f.vm.is_ram({0x3FFF'FFFF}));
}

TEST_CASE("what a VM and its vCPUs say of themselves", "[vm]") {
    Fixture f;
    Core a(f.vm, 0, 0x100, true);
    REQUIRE(f.vm.add(a));
    CHECK(&a.vm() == &f.vm);
    CHECK(f.vm.id() == 5);
    CHECK(f.vm.stage2_root().value == 0);
    CHECK(f.vm.hal().this_cpu() == CpuId{0});
    CHECK(f.vm.policy().hypercalls);
    CHECK(a.state() == State::off);
    CHECK(a.power() == Power::off);
    REQUIRE(a.request_power_on({0x4000'0000}, 1));
    CHECK(a.power() == Power::on_pending);
    a.cancel_power_on();
    CHECK(a.power() == Power::off);
    CHECK(a.last_exit().is<exit::Nothing>());
    CHECK(a.refusal().what == nullptr);
    f.vm.remove(a);
    CHECK(f.vm.vcpu(0) == nullptr);
    CHECK(f.vm.vcpu(77) == nullptr);
}

TEST_CASE("who unmaps waits for who reads", "[vm]") {
    Fixture f;
    Core a(f.vm, 0, 0x100);
    REQUIRE(f.vm.add(a));
    f.vm.await_readers();  // nobody reads: at once
    {
        const VcpuCore::Reading reading(a);
        CHECK(a.reading());
    }
    CHECK_FALSE(a.reading());
    f.vm.await_readers();
}

TEST_CASE("memory of several ranges, and of none", "[vm]") {
    VcpuSlot<Core> slots[1];
    const GuestRange ranges[]{{{0x1000}, 0x1000}, {{0x4000}, 0x1000}, {{0x8000}, 0x2000}};
    const VmCore several{1, {}, ranges, {}, slots, hal_table<TestHal>}, none{2, {}, {}, {}, slots, hal_table<TestHal>};
    for (const std::uint64_t inside : {0x1000, 0x1FFF, 0x4800, 0x9FFF}) CHECK(several.is_ram({inside}));
    for (const std::uint64_t outside : {0x0, 0xFFF, 0x2000, 0x5000, 0xA000}) CHECK_FALSE(several.is_ram({outside}));
    CHECK_FALSE(none.is_ram({0}));
}

TEST_CASE("a power-on request that is taken back does nothing to a vCPU that is on", "[vm]") {
    VcpuSlot<VcpuCore> slots[1];
    VmCore vm{1, {}, {}, {}, slots, hal_table<TestHal>};
    VcpuCore v{vm, 0, 0};
    REQUIRE(v.power() == Power::on);
    v.cancel_power_on();
    CHECK(v.power() == Power::on);
    v.power_down();
    CHECK(v.power() == Power::off);
    REQUIRE(v.request_power_on({0x1000}, 7));
    CHECK(v.start_requested());
    v.cancel_power_on();
    CHECK(v.power() == Power::off);
}

TEST_CASE("a refusal says what was expected and what was found; a kick is an exit", "[vm]") {
    struct Open : Core {
        using Core::Core, Core::refuse_elsewhere, Core::refuse_switch, Core::refuse_run, Core::fit_cpu, Core::leave_for;
    };
    Fixture f;
    Open a(f.vm, 0, 0x100);
    REQUIRE(f.vm.add(a));
    CHECK(a.at_hand());
    const auto elsewhere = CpuId{static_cast<std::uint32_t>(a.cpu()) + 1};
    CHECK_FALSE(a.refuse_elsewhere(elsewhere));
    CHECK(a.refusal() == Error{Code::wrong_cpu, nullptr, static_cast<std::uint64_t>(a.cpu()), static_cast<std::uint64_t>(elsewhere)});
    CHECK_FALSE(a.refuse_switch(elsewhere));
    CHECK(a.refusal().code == Code::wrong_cpu);
    CHECK_FALSE(a.refuse_switch(a.cpu()));
    CHECK(a.refusal().code == Code::bad_state);
    CHECK_FALSE(a.refuse_run(true));
    CHECK(a.refusal().code == Code::bad_state);
    CHECK(Open::fit_cpu(true, CpuId{1}, CpuId{1}, false));
    CHECK(Open::fit_cpu(false, CpuId{1}, CpuId{1}, false).error().code == Code::bad_state);
    CHECK(Open::fit_cpu(true, CpuId{1}, CpuId{2}, false).error() == Error{Code::wrong_cpu, nullptr, 1, 2});
    CHECK(Open::fit_cpu(true, CpuId{1}, CpuId{1}, true).error().code == Code::bad_state);
    CHECK_FALSE(a.leave_for(static_cast<std::uint32_t>(Event::interrupt)));
    CHECK(a.leave_for(static_cast<std::uint32_t>(Event::kick)));
}
