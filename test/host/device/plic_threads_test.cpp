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
    auto told() -> bool { return (mailbox_.take() & static_cast<std::uint32_t>(Event::interrupt)) != 0; }
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

TEST_CASE("two harts that claim and end while the line moves: nothing hangs and nothing is lost", "[plic]") {
    Fixture f;
    f.write(4 * 3, 1);
    f.write(enable(0), 1 << 3);
    f.write(enable(1), 1 << 3);
    std::atomic<unsigned> taken{0};
    std::atomic<bool> stop{false};
    const auto hart = [&](unsigned h) {
        while (!stop.load()) {
            DeviceAccess c{{0x0C00'0000 + claim(h)}, 0, 4, false};
            static_cast<void>(f.plic.access(h, c));
            if (c.value != 3) continue;
            taken.fetch_add(1);
            DeviceAccess e{{0x0C00'0000 + claim(h)}, 3, 4, true};
            static_cast<void>(f.plic.access(h, e));
        }
    };
    std::thread a(hart, 0u), b(hart, 1u);
    for (unsigned i = 0; i < 20'000; ++i) f.plic.set_line(3, i % 2 == 0);
    f.plic.set_line(3, true);
    const auto before = taken.load();
    while (taken.load() < before + 10) {}  // the line stays high: it is claimed again and again
    stop = true;
    a.join();
    b.join();
    CHECK(taken.load() >= 10);
}
