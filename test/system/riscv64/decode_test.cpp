// Instructions that the hart does not describe, waits on a reservation, and tables deeper and wider than the usual ones.
#include <catch2/catch_test_macros.hpp>
#include "../harness.hpp"

using namespace harness;

// c.lbu a0, 3(s0); c.lhu a1, 2(s0); c.lh a2, 0(s0); c.sb s1, 1(s0); c.sh s1, 2(s0): htinst has no form for them.
GUEST(zcb_accesses, VECTORS "li s0, 0x0A000000\nli s1, 0x55667788\n.2byte 0x8068, 0x842C, 0x8450, 0x8844, 0x8C24\nnop\n" REPORT);

TEST_CASE("compressed accesses of bytes and halves are decoded from memory", "[mmio][R19]") {
    Machine m(zcb_accesses);
    auto b = percpu().bind(m.vcpu());
    const auto first = b.run(runtime::now() + 30 * runtime::frequency());
    REQUIRE(first);
    if (const auto h = first->get<exit::Hypercall>()) {  // a hart without Zcb
        CHECK(h->number == exception);
        CHECK(h->args[0] == 2);
        return;
    }
    const auto read = [&](const exit::MmioRead& r, unsigned offset, unsigned width, std::uint64_t value) {
        CHECK(r.addr == device_base + offset);
        CHECK(r.width == width);
        const auto pc = get<"pc">(m);
        REQUIRE(b.complete(value));
        CHECK(get<"pc">(m) == pc + 2);
    };
    REQUIRE(first->is<exit::MmioRead>());
    read(*first->get<exit::MmioRead>(), 3, 1, 0xFF80);
    read(leaves<exit::MmioRead>(b), 2, 2, 0x1'8001);
    read(leaves<exit::MmioRead>(b), 0, 2, 0x8001);
    auto w = leaves<exit::MmioWrite>(b);
    CHECK(w.addr == device_base + 1);
    CHECK(w.width == 1);
    CHECK(w.value == 0x88);
    REQUIRE(b.complete());
    w = leaves<exit::MmioWrite>(b);
    CHECK(w.addr == device_base + 2);
    CHECK(w.width == 2);
    CHECK(w.value == 0x7788);
    REQUIRE(b.complete());
    const auto h = leaves<exit::Hypercall>(b);
    CHECK(h.args[0] == 0x80);
    CHECK(h.args[1] == 0x8001);
    CHECK(h.args[2] == 0xFFFF'FFFF'FFFF'8001);
}

// c.lhu a1, 0(s0) from the last byte of memory on.
GUEST(zcb_straddle, VECTORS "li s0, 0x4003FFFF\n.2byte 0x840C\nnop\n" REPORT);

TEST_CASE("one that begins in memory and ends in a device is not a device's", "[mmio][R19]") {
    Machine m(zcb_straddle);
    auto b = percpu().bind(m.vcpu());
    const auto e = b.run(runtime::now() + 30 * runtime::frequency());
    REQUIRE(e);
    if (const auto h = e->get<exit::Hypercall>()) {  // a hart without Zcb
        CHECK(h->number == exception);
        CHECK(h->args[0] == 2);
        return;
    }
    REQUIRE(e->is<exit::NestedPageFault>());
    CHECK(e->get<exit::NestedPageFault>()->addr == ram_base + ram_size);
    REQUIRE(b.fail());
    CHECK(leaves<exit::Hypercall>(b).number == exception);
}

GUEST(reservation_waits, VECTORS "lr.d a2, (a1)\n.4byte 0x00D00073, 0x01D00073\nli a0, 1\n" REPORT);

TEST_CASE("a wait on a reservation is Yield where the policy says so, else it is over at once", "[wait][policy]") {
    {
        Machine m(reservation_waits, ram_base.value + 0x2'0000, {.policy = {.yields = true}});
        auto b = percpu().bind(m.vcpu());
        leaves<exit::Yield>(b);
        const auto pc = get<"pc">(m);
        REQUIRE(b.retry());
        leaves<exit::Yield>(b);
        CHECK(get<"pc">(m) == pc);
        REQUIRE(b.complete());
        CHECK(get<"pc">(m) == pc + 4);
        // WRS.STO need not trap: what it waits for comes soon.
        const auto e = b.run(runtime::now() + 30 * runtime::frequency());
        REQUIRE(e);
        if (e->is<exit::Yield>()) REQUIRE(b.complete());
        CHECK((e->is<exit::Hypercall>() ? *e->get<exit::Hypercall>() : leaves<exit::Hypercall>(b)).args[0] == 1);
    }
    Machine m(reservation_waits, ram_base.value + 0x2'0000);
    auto b = percpu().bind(m.vcpu());
    CHECK(leaves<exit::Hypercall>(b).args[0] == 1);
}

namespace {
alignas(0x4000) unsigned char frames[24][4096];
unsigned used;
auto take_frame(void*) noexcept -> HostPhysAddr { return used < 24 ? Host::virt_to_phys(frames[used++]) : HostPhysAddr{}; }
}  // namespace

TEST_CASE("a guest reaches memory and devices at every height of the tables that its hart walks", "[stage2]") {
    struct { unsigned levels; std::uint64_t address; } const cases[]{
        {3, std::uint64_t{1} << 39}, {3, std::uint64_t{2} << 39}, {3, (std::uint64_t{4} << 39) - 0x20'0000},   // the root's pages 1 to 3
        {4, std::uint64_t{1} << 41}, {4, std::uint64_t{1} << 48}, {4, (std::uint64_t{1} << 50) - 0x20'0000}};
    for (const auto& x : cases) {
        if ((capabilities().levels_mask >> x.levels & 1) == 0) continue;
        INFO(x.levels << " levels, address " << std::hex << x.address);
        std::memset(frames, 0, sizeof frames);
        used = 4;
        const GuestPhysAddr high{x.address}, device{x.address + 0x10'0000};
        Machine m(touch);
        Stage2 stage2(stage2_format, Host::virt_to_phys(frames[0]), x.levels, arch::guest_address_bits(x.levels), {nullptr, take_frame, [](void*, HostPhysAddr) noexcept {}}, hal_table<Host>);
        const std::array ram{GuestRange{ram_base, ram_size}, GuestRange{high, 0x1000}};
        Slot slot[1];
        Vm<Host> vm{{.id = 4, .stage2 = &stage2, .vcpus = slot, .ram = ram}};
        stage2.set_maintenance(tlb_maintenance(vm.core()));
        REQUIRE(stage2.map(ram_base, Host::virt_to_phys(m.memory), 0x2'0000, {}, MemoryType::normal));
        auto v = Vcpu<Host>::create(slot[0], vm, {.entry = m.at(touch), .arg = high.value});
        REQUIRE(v);
        *reinterpret_cast<std::uint64_t*>(m.host(ram_base + 0x2'0000)) = 41;
        {
            auto b = percpu().bind(*v);
            REQUIRE(b);
            CHECK(leaves<exit::NestedPageFault>(b).addr == high);
            REQUIRE(stage2.map(high, Host::virt_to_phys(m.host(ram_base + 0x2'0000)), 0x1000, {}, MemoryType::normal));
            REQUIRE(b.retry());
            CHECK(leaves<exit::Hypercall>(b).args[0] == 42);
        }
        REQUIRE(v->reset(m.at(touch), device.value + 8));
        auto b = percpu().bind(*v);
        REQUIRE(b);
        CHECK(leaves<exit::MmioRead>(b).addr == device + 8);
    }
}
