#include <catch2/catch_test_macros.hpp>
import std;
import axvcpu;
import axvcpu.device.plic;

using namespace axvcpu;
using axvcpu::device::Plic;

namespace {
struct TestHal {
    static auto virt_to_phys(const void*) noexcept -> HostPhysAddr { return {}; }
    static auto phys_to_virt(HostPhysAddr) noexcept -> void* { return nullptr; }
    static auto this_cpu() noexcept -> CpuId { return CpuId{0}; }
    static void kick(CpuId) noexcept {}
};
struct Core : VcpuCore {
    Core(VmCore& vm, std::uint32_t id) : VcpuCore(vm, id, id) {}
    auto told() -> bool { return (events() & static_cast<std::uint32_t>(Event::interrupt)) != 0; }
    auto events() -> std::uint32_t { return mailbox_.take(); }
};
struct Fixture {
    VcpuSlot<Core> slots[2];
    VmCore vm{5, {}, {}, {}, slots, hal_table<TestHal>};
    Core harts[2]{{vm, 0}, {vm, 1}};
    Plic plic{vm, {0x0C00'0000}};
    Fixture() { for (auto& h : harts) REQUIRE(vm.add(h)); }
    auto read(std::uint64_t offset, std::uint8_t width = 4) -> std::uint64_t {
        DeviceAccess a{{0x0C00'0000 + offset}, 0xDEAD, width, false};
        REQUIRE(plic.access(0, a));
        return a.value;
    }
    void write(std::uint64_t offset, std::uint64_t value, std::uint8_t width = 4) {
        DeviceAccess a{{0x0C00'0000 + offset}, value, width, true};
        REQUIRE(plic.access(0, a));
    }
    [[maybe_unused]] auto pending(std::uint32_t hart) -> std::uint32_t {
        Interrupt i;
        return plic.peek(hart, i) ? i.id : 0;
    }
};
[[maybe_unused]] constexpr std::uint64_t enable(unsigned hart) { return 0x2000 + 0x80 * (2 * hart + 1); }
[[maybe_unused]] constexpr std::uint64_t threshold(unsigned hart) { return 0x20'0000 + 0x1000 * (2 * hart + 1); }
[[maybe_unused]] constexpr std::uint64_t claim(unsigned hart) { return threshold(hart) + 4; }
}  // namespace

TEST_CASE("a completion that is asked for is told to the hart that made it, once; one without a claim is none", "[plic]") {
    Fixture f;
    f.plic.tell_end(10, true);
    f.plic.tell_end(0, true);     // no sources: nothing happens
    f.plic.tell_end(4000, true);
    f.write(4 * 10, 1);
    f.write(4 * 11, 1);
    f.write(enable(1), 3 << 10);
    f.plic.set_line(10, true);
    f.plic.set_line(11, true);
    const auto ended = [&](std::uint32_t hart) -> std::uint32_t {
        std::uint32_t id = 0;
        return f.plic.ended(hart, id) ? id : 0;
    };
    f.write(claim(1), 10);
    CHECK(ended(1) == 0);         // it has not been claimed
    CHECK(f.read(claim(1)) == 10);
    CHECK(f.read(claim(1)) == 11);
    f.harts[1].events();
    f.write(claim(0), 10);        // not enabled for that hart: ignored
    CHECK(ended(0) == 0);
    f.write(claim(1), 11);        // not asked for
    CHECK((f.harts[1].events() & static_cast<std::uint32_t>(Event::ended)) == 0);
    f.plic.set_line(10, false);
    f.write(claim(1), 10);
    CHECK((f.harts[1].events() & static_cast<std::uint32_t>(Event::ended)) != 0);
    CHECK(ended(0) == 0);
    CHECK(ended(1) == 10);
    CHECK(ended(1) == 0);
    CHECK(ended(64) == 0);
}

TEST_CASE("a source needs a line, a priority, an enable bit, and to be above the threshold", "[plic]") {
    Fixture f;
    f.plic.set_line(10, true);
    CHECK(f.pending(0) == 0);
    f.write(4 * 10, 2);
    CHECK(f.pending(0) == 0);
    f.write(enable(0), 1 << 10);
    CHECK(f.pending(0) == 10);
    CHECK(f.harts[0].told());
    CHECK(f.pending(1) == 0);
    f.write(threshold(0), 2);
    CHECK(f.pending(0) == 0);
    f.write(threshold(0), 1);
    CHECK(f.pending(0) == 10);
    f.plic.set_line(10, false);
    CHECK(f.pending(0) == 0);
}

TEST_CASE("claiming takes it, ending looks at the line again", "[plic]") {
    Fixture f;
    f.write(4 * 3, 1);
    f.write(enable(0), 1 << 3);
    f.write(enable(1), 1 << 3);
    f.plic.set_line(3, true);
    CHECK(f.read(0x1000) == 1 << 3);
    CHECK(f.read(claim(1)) == 3);
    CHECK(f.read(0x1000) == 0);
    CHECK(f.pending(0) == 0);
    CHECK(f.read(claim(0)) == 0);
    f.plic.set_line(3, true);         // high all the time: not pending again before it was ended
    CHECK(f.pending(0) == 0);
    f.write(claim(1), 3);
    CHECK(f.pending(0) == 3);
    CHECK(f.read(claim(0)) == 3);
    f.plic.set_line(3, false);
    f.write(claim(0), 3);
    CHECK(f.pending(0) == 0);
}

TEST_CASE("a claimed source is nobody's, whatever its line does, until it is ended", "[plic]") {
    Fixture f;
    f.write(4 * 3, 1);
    f.write(enable(0), 1 << 3);
    f.write(enable(1), 1 << 3);
    f.plic.set_line(3, true);
    CHECK(f.read(claim(0)) == 3);
    for (int i = 0; i < 3; ++i) {
        f.plic.set_line(3, false);
        f.plic.set_line(3, true);
        CHECK(f.read(claim(1)) == 0);
        CHECK(f.pending(1) == 0);
    }
    static_cast<void>(f.harts[1].told());
    f.write(claim(0), 3);
    CHECK(f.harts[1].told());
    CHECK(f.read(claim(1)) == 3);
}

TEST_CASE("the highest priority first, of equals the lowest number", "[plic]") {
    Fixture f;
    for (const unsigned s : {40u, 5u, 70u, 6u}) {
        f.write(4 * s, s == 70 ? 7 : 3);
        f.plic.set_line(s, true);
    }
    for (unsigned w = 0; w < 3; ++w) f.write(enable(0) + 4 * w, ~0u);
    for (const unsigned expected : {70u, 5u, 6u, 40u, 0u}) CHECK(f.read(claim(0)) == expected);
}

TEST_CASE("an end of what a context has not enabled is ignored", "[plic]") {
    Fixture f;
    f.write(4 * 3, 1);
    f.write(enable(0), 1 << 3);
    f.plic.set_line(3, true);
    CHECK(f.read(claim(0)) == 3);
    f.write(claim(1), 3);
    f.plic.set_line(3, true);
    CHECK(f.pending(0) == 0);
    f.write(claim(0), 0);
    f.write(claim(0), 0xFFFF'FFFF);
    CHECK(f.pending(0) == 0);
}

TEST_CASE("a hart is told whenever what it ought to take comes or goes, also by an access of its own", "[plic]") {
    Fixture f;
    std::mt19937_64 random(2);
    for (int i = 0; i < 100'000; ++i) {
        const bool before[2]{f.pending(0) != 0, f.pending(1) != 0};
        for (auto& h : f.harts) static_cast<void>(h.told());
        const auto source = 1 + random() % 40;
        const auto hart = static_cast<unsigned>(random() % 2);
        switch (random() % 7) {
            case 0: case 1: f.plic.set_line(static_cast<std::uint32_t>(source), random() % 2 != 0); break;
            case 2: f.write(4 * source, random() % 4); break;
            case 3: f.write(enable(hart) + random() % 2 * 4, random()); break;
            case 4: f.write(threshold(hart), random() % 3); break;
            case 5: static_cast<void>(f.read(claim(hart))); break;
            default: f.write(claim(hart), source); break;
        }
        for (unsigned h = 0; h < 2; ++h) {
            INFO("step " << i << ", hart " << h);
            const bool told = f.harts[h].told();
            if ((f.pending(h) != 0) != before[h]) REQUIRE(told);
        }
    }
}

TEST_CASE("every offset and width answers; M-mode's contexts, source 0 and reserved places stay zero", "[plic]") {
    Fixture f;
    std::mt19937_64 random(1);
    for (int i = 0; i < 50'000; ++i) {
        const auto offset = random() % Plic::size;
        const auto width = static_cast<std::uint8_t>(1u << random() % 4);
        if (random() % 2 != 0) f.write(offset, random(), width);
        else static_cast<void>(f.read(offset, width));
        f.plic.set_line(static_cast<std::uint32_t>(random() % 128), random() % 2 != 0);
    }
    CHECK(f.read(0) == 0);
    CHECK(f.read(0x2000) == 0);
    CHECK(f.read(0x20'0000) == 0);
    CHECK((f.read(enable(0)) & 1) == 0);
    for (unsigned s = 1; s < Plic::sources; ++s) CHECK(f.read(4 * s) <= Plic::max_priority);
    DeviceAccess outside{{0x0C00'0000 + Plic::size}, 0, 4, false};
    CHECK_FALSE(f.plic.access(0, outside));
}
