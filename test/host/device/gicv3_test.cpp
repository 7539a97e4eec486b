#include <catch2/catch_test_macros.hpp>
import std;
import axvcpu;
import axvcpu.device.gicv3;

using namespace axvcpu;
using device::Gicv3;

namespace {
struct TestHal {
    static auto virt_to_phys(const void*) noexcept -> HostPhysAddr { return {}; }
    static auto phys_to_virt(HostPhysAddr) noexcept -> void* { return nullptr; }
    static auto this_cpu() noexcept -> CpuId { return CpuId{0}; }
    static void kick(CpuId) noexcept {}
};
constexpr std::uint64_t gicd = 0x0800'0000, gicr = 0x080A'0000;
struct Core : VcpuCore {
    using VcpuCore::VcpuCore;
    /// Whether it has been told since the last time that there is something for it.
    auto told() -> bool { return (events() & static_cast<std::uint32_t>(Event::interrupt)) != 0; }
    auto events() -> std::uint32_t { return mailbox_.take(); }
};
struct Fixture {
    VcpuSlot<VcpuCore> slots[3];
    VmCore vm{1, {}, {}, {}, slots, hal_table<TestHal>};
    Core a{vm, 0, 0}, b{vm, 1, 1}, c{vm, 2, 0x100};
    Gicv3 gic{vm, {{gicd}, {gicr}}};
    Fixture() {
        for (auto* v : {&a, &b, &c}) REQUIRE(vm.add(*v));
        write(gicd, 2);  // EnableGrp1
    }
    void write(std::uint64_t address, std::uint64_t value, std::uint8_t width = 4) {
        DeviceAccess d{{address}, value, width, true};
        REQUIRE(gic.access(0, d));
    }
    auto read(std::uint64_t address, std::uint8_t width = 4) -> std::uint64_t {
        DeviceAccess d{{address}, 0, width, false};
        REQUIRE(gic.access(0, d));
        return d.value;
    }
    void enable_spi(std::uint32_t id, std::uint8_t priority, bool edge = false) {
        write(gicd + 0x80 + 4 * (id / 32), read(gicd + 0x80 + 4 * (id / 32)) | 1u << id % 32);
        write(gicd + 0x400 + id, priority, 1);
        const auto config = gicd + 0xC00 + id / 16 * 4;
        write(config, (read(config) & ~(3u << id % 16 * 2)) | (edge ? 2u : 0u) << id % 16 * 2);
        write(gicd + 0x100 + 4 * (id / 32), 1u << id % 32);
    }
    void enable_private(unsigned vcpu, std::uint32_t mask) {
        const auto sgi = gicr + 0x2'0000 * vcpu + 0x1'0000;
        write(sgi + 0x80, ~0u);
        write(sgi + 0x100, mask);
    }
    auto take(std::uint32_t vcpu) -> std::optional<std::uint32_t> {
        Interrupt i;
        if (!gic.take(vcpu, i)) return std::nullopt;
        return i.id;
    }
};
}  // namespace

TEST_CASE("a level interrupt comes back until its line is low", "[gicv3]") {
    Fixture f;
    f.enable_spi(40, 0x80);
    f.gic.set_line(40, true);
    CHECK(f.take(0) == 40);
    CHECK_FALSE(f.take(0));            // in the CPU's hands
    f.gic.retire(0, 40, false, false); // ended, the line still high
    CHECK(f.take(0) == 40);
    f.gic.set_line(40, false);
    CHECK_FALSE(f.gic.sync(0, 40, {.pending = true}).pending);
    f.gic.retire(0, 40, true, false);
    CHECK_FALSE(f.take(0));
}

TEST_CASE("an end that is asked for is told to the vCPU that brought it about, once; what was not handled has no end", "[gicv3]") {
    Fixture f;
    f.enable_spi(40, 0x80);
    f.enable_spi(70, 0x80, true);
    f.gic.tell_end(40, true);
    f.gic.tell_end(70, true);
    f.gic.tell_end(31, true);   // no SPIs: nothing happens
    f.gic.tell_end(1020, true);
    const auto ended = [&](std::uint32_t vcpu) -> std::uint32_t {
        std::uint32_t id = 0;
        return f.gic.ended(vcpu, id) ? id : 0;
    };
    const auto asked_to_leave = [&] { return (f.a.events() & static_cast<std::uint32_t>(Event::ended)) != 0; };
    f.gic.set_line(40, true);
    f.gic.set_line(70, true);
    Interrupt i;
    for (int n = 0; n < 2; ++n) {
        REQUIRE(f.gic.take(0, i));
        CHECK(i.tell_end);
    }
    f.a.events();
    f.gic.retire(0, 40, true, false);  // given back, not ended
    CHECK_FALSE(asked_to_leave());
    CHECK(ended(0) == 0);
    REQUIRE(f.gic.take(0, i));
    f.gic.set_line(40, false);
    f.gic.retire(0, 70, false, false);
    f.gic.retire(0, 40, false, false);
    CHECK(asked_to_leave());
    CHECK(ended(1) == 0);
    CHECK(ended(0) == 40);
    CHECK(ended(0) == 70);
    CHECK(ended(0) == 0);
    CHECK(ended(64) == 0);
    f.gic.tell_end(40, false);
    f.gic.set_line(40, true);
    REQUIRE(f.gic.take(0, i));
    CHECK_FALSE(i.tell_end);
    f.gic.retire(0, 40, false, false);
    CHECK(ended(0) == 0);
}

TEST_CASE("an edge is delivered once, a second one after the first was taken", "[gicv3]") {
    Fixture f;
    f.enable_spi(41, 0x80, true);
    f.gic.set_line(41, true);
    CHECK(f.take(0) == 41);
    f.gic.set_line(41, false);
    f.gic.set_line(41, true);
    CHECK(f.gic.sync(0, 41, {.active = true}).pending);  // active in the CPU: pending once more
    f.gic.retire(0, 41, false, false);
    CHECK_FALSE(f.take(0));
}

TEST_CASE("the most urgent goes first, by priority and then by number", "[gicv3][A21]") {
    Fixture f;
    for (std::uint32_t id = 64; id < 96; ++id) f.enable_spi(id, static_cast<std::uint8_t>((95 - id) % 4 << 4));
    for (std::uint32_t id = 64; id < 96; ++id) f.gic.set_line(id, true);
    std::vector<std::uint32_t> order;
    while (auto id = f.take(0)) order.push_back(*id);
    REQUIRE(order.size() == 32);
    std::vector<std::uint32_t> expected(32);
    std::iota(expected.begin(), expected.end(), 64u);
    std::ranges::stable_sort(expected, {}, [](std::uint32_t id) { return (95 - id) % 4; });
    CHECK(order == expected);
}

TEST_CASE("software interrupts reach the targets of the group, and all others with IRM", "[gicv3][A24]") {
    Fixture f;
    for (unsigned v = 0; v < 3; ++v) f.enable_private(v, 0xFFFF);
    f.gic.send(0, {.cluster = 0, .targets = 0b11, .vector = 3, .others = false});
    CHECK(f.take(0) == 3);
    CHECK(f.take(1) == 3);
    CHECK_FALSE(f.take(2));
    f.gic.send(0, {.cluster = 0x100, .targets = 1, .vector = 4, .others = false});
    CHECK(f.take(2) == 4);
    f.gic.send(1, {.cluster = 0, .targets = 0, .vector = 5, .others = true});
    CHECK(f.take(0) == 5);
    CHECK_FALSE(f.take(1));
    CHECK(f.take(2) == 5);
    f.gic.send(0, {.cluster = 0xFF00'0000, .targets = 0xFFFF, .vector = 1, .others = false});  // nobody
    CHECK_FALSE(f.take(0));
}

TEST_CASE("an edge reaches the vCPU that its SPI is routed to now, though the one before has handled the last edge and not looked since", "[gicv3]") {
    Fixture f;
    f.enable_spi(50, 0x80, true);
    f.gic.set_line(50, true);
    REQUIRE(f.take(0) == 50);
    REQUIRE(f.gic.sync(0, 50, {.active = true}).active);  // its handler runs
    f.write(gicd + 0x6000 + 8 * 50, 1, 8);
    REQUIRE(f.gic.sync(0, 50, {.active = true}).active);
    static_cast<void>(f.a.told());
    // It ends the interrupt: nobody is told of that. The next edge comes.
    f.gic.set_line(50, false);
    f.gic.set_line(50, true);
    CHECK_FALSE(f.take(1));  // in the hands of the one before, as far as anybody knows
    CHECK(f.a.told());
    static_cast<void>(f.b.told());
    f.gic.retire(0, 50, false, false);
    CHECK(f.b.told());
    CHECK_FALSE(f.take(0));
    CHECK(f.take(1) == 50);
    // From here on it is like any other.
    f.gic.retire(1, 50, false, false);
    static_cast<void>(f.a.told());
    f.gic.set_line(50, false);
    f.gic.set_line(50, true);
    CHECK_FALSE(f.a.told());
    CHECK(f.take(1) == 50);
}

TEST_CASE("an SPI goes where it is routed, also when the route changes while it is pending", "[gicv3]") {
    Fixture f;
    f.enable_spi(50, 0x80);
    f.write(gicd + 0x6000 + 8 * 50, 1, 8);
    f.gic.set_line(50, true);
    CHECK_FALSE(f.take(0));
    f.write(gicd + 0x6000 + 8 * 50, 0x100, 8);
    CHECK_FALSE(f.take(1));
    CHECK(f.take(2) == 50);
    CHECK(f.read(gicd + 0x6000 + 8 * 50, 8) == 0x100);
}

TEST_CASE("a disabled or unforwarded interrupt waits", "[gicv3]") {
    Fixture f;
    f.enable_spi(33, 0x80);
    f.gic.set_line(33, true);
    f.write(gicd + 0x184, 1u << 1);
    CHECK_FALSE(f.take(0));
    f.write(gicd + 0x104, 1u << 1);
    f.write(gicd, 0);
    CHECK_FALSE(f.take(0));
    f.write(gicd, 2);
    CHECK(f.take(0) == 33);
}

TEST_CASE("the register file says what it is", "[gicv3]") {
    Fixture f;
    CHECK((f.read(gicd + 0xFFE8) >> 4) == 3);              // ArchRev
    CHECK((f.read(gicd + 4) & 0x1F) == Gicv3::spi_words);  // ITLinesNumber
    CHECK((f.read(gicd + 4) >> 17 & 1) == 0);              // no LPIs
    CHECK(f.read(gicr + 2 * 0x2'0000 + 8, 8) == (std::uint64_t{0x100} << 32 | 2 << 8 | 1 << 4));  // affinity, number, Last
    CHECK((f.read(gicr + 8) & 0x10) == 0);
    CHECK((f.read(gicd) & 0x50) == 0x50);                  // DS, ARE
}

TEST_CASE("every register of the file answers every access without harm", "[gicv3]") {
    Fixture f;
    for (const std::uint8_t width : {1, 2, 4, 8}) {
        for (std::uint64_t o = 0; o < 0x1'0000; o += width) f.write(gicd + o, ~std::uint64_t{0}, width);
        for (std::uint64_t o = 0; o < 3 * 0x2'0000; o += width) f.write(gicr + o, ~std::uint64_t{0}, width);
        for (std::uint64_t o = 0; o < 0x1'0000; o += width) static_cast<void>(f.read(gicd + o, width));
        for (std::uint64_t o = 0; o < 3 * 0x2'0000; o += width) static_cast<void>(f.read(gicr + o, width));
    }
    CHECK((f.read(gicd) & ~std::uint64_t{0x53}) == 0);
    DeviceAccess beyond{{gicr + 3 * 0x2'0000}, 0, 4, false};
    CHECK_FALSE(f.gic.access(0, beyond));
}

TEST_CASE("a level interrupt that software made pending stays pending until it is active", "[gicv3]") {
    Fixture f;
    f.enable_spi(44, 0x80);
    f.write(gicd + 0x204, 1u << 12);        // GICD_ISPENDR1
    CHECK(f.take(0) == 44);
    CHECK(f.gic.sync(0, 44, {.pending = true}).pending);      // looked at again before the guest took it
    CHECK_FALSE(f.gic.sync(0, 44, {.active = true}).pending); // taken
    f.gic.retire(0, 44, false, false);
    CHECK_FALSE(f.take(0));
}

TEST_CASE("one candidate in each of several words: all are taken", "[gicv3][A21]") {
    Fixture f;
    f.enable_private(0, 0xFFFF);
    for (const std::uint32_t id : {40u, 70u, 200u}) f.enable_spi(id, static_cast<std::uint8_t>(id & 0xF8), true);
    f.gic.send(1, {.cluster = 0, .targets = 1, .vector = 2, .others = false});
    for (const std::uint32_t id : {200u, 70u, 40u}) f.gic.set_line(id, true);
    std::set<std::uint32_t> seen;
    while (auto id = f.take(0)) seen.insert(*id);
    CHECK(seen == std::set<std::uint32_t>{2, 40, 70, 200});
}

TEST_CASE("attached to a VM: its window, its private lines, what is most urgent", "[gicv3]") {
    Fixture f;
    f.vm.attach(f.gic);
    const auto& c = f.vm.controller();
    REQUIRE(c);
    CHECK(c.window.contains({gicd}));
    CHECK(c.window.contains({gicr + 3 * 0x2'0000 - 1}));
    CHECK_FALSE(c.window.contains({gicr + 3 * 0x2'0000}));
    CHECK_FALSE(c.window.contains({gicd - 1}));
    const auto sgi_base = gicr + 0x1'0000;
    f.write(sgi_base + 0x80, ~0u);
    f.write(sgi_base + 0x100, ~0u);
    for (unsigned i = 0; i < 32; i += 4) f.write(sgi_base + 0x400 + i, 0xA0A0'A0A0);
    Interrupt next;
    CHECK_FALSE(c.peek(c.self, 0, next));
    c.line(c.self, 0, 27, true);
    REQUIRE(c.peek(c.self, 0, next));
    CHECK(next.id == 27);
    CHECK(next.level);
    c.line(c.self, 0, 27, false);
    CHECK_FALSE(c.peek(c.self, 0, next));
    c.line(c.self, 0, 99, true);   // no private line
    c.line(c.self, 77, 27, true);  // no such vCPU
    CHECK_FALSE(c.peek(c.self, 0, next));
    CHECK(c.send(c.self, 0, {.cluster = 0, .targets = 1, .vector = 4, .others = false}));
    CHECK_FALSE(c.send(c.self, 0, {.cluster = 0, .targets = 2, .vector = 4, .others = false}));
    // Two at once: the one with the lower priority value first, the other stays.
    f.write(sgi_base + 0x400 + 5, 0x20, 1);
    CHECK(c.send(c.self, 0, {.cluster = 0, .targets = 1, .vector = 5, .others = false}));
    REQUIRE(c.take(c.self, 0, next));
    CHECK(next.id == 5);
    REQUIRE(c.take(c.self, 0, next));
    CHECK(next.id == 4);
    CHECK_FALSE(c.take(c.self, 0, next));
    CHECK(c.sync(c.self, 0, 4, {.pending = true}).pending);
    c.retire(c.self, 0, 4, true, false);
    REQUIRE(c.take(c.self, 0, next));
    CHECK(next.id == 4);
    DeviceAccess d{{gicd}, 0, 4, false};
    CHECK(c.access(c.self, 0, d));
}

TEST_CASE("a software interrupt reaches those alone that have it in the group it was sent for", "[gicv3]") {
    Fixture f;
    f.write(gicd, 3);
    f.enable_private(0, 0xFFFF);
    f.enable_private(1, 0xFFFF);
    f.write(gicr + 0x2'0000 + 0x1'0000 + 0x80, 0);  // vCPU 1 has all of them in group 0
    f.gic.send(2, {.cluster = 0, .targets = 3, .vector = 5, .others = false});
    CHECK(f.take(0) == 5);
    CHECK_FALSE(f.take(1));
    f.gic.send(2, {.cluster = 0, .targets = 3, .vector = 6, .others = false, .group = 0});
    CHECK_FALSE(f.take(0));
    CHECK(f.take(1) == 6);
}

TEST_CASE("a private line that is configured as edge is latched when it rises, once", "[gicv3]") {
    Fixture f;
    f.enable_private(0, 1u << 27);
    f.write(gicr + 0x1'0000 + 0xC04, 2u << (27 - 16) * 2);
    f.gic.line(0, 27, true);
    f.gic.line(0, 27, true);
    f.gic.line(0, 27, false);
    CHECK(f.take(0) == 27);
    f.gic.retire(0, 27, false, false);
    CHECK_FALSE(f.take(0));
}

TEST_CASE("what is in a CPU's hands shows in the pending and active registers, and both can be taken away there", "[gicv3]") {
    Fixture f;
    f.enable_spi(41, 0x80, true);
    const auto ispendr = gicd + 0x204, icpendr = gicd + 0x284, isactiver = gicd + 0x304, icactiver = gicd + 0x384;
    constexpr std::uint32_t bit = 1u << 9;
    f.gic.set_line(41, true);
    CHECK(f.read(ispendr) == bit);
    CHECK(f.take(0) == 41);
    CHECK(f.read(ispendr) == bit);
    CHECK(f.read(isactiver) == 0);
    CHECK(f.gic.sync(0, 41, {.active = true}) == Held{.active = true});
    CHECK(f.read(ispendr) == 0);
    CHECK(f.read(icactiver) == bit);
    f.write(icactiver, bit);
    CHECK(f.gic.sync(0, 41, {.active = true}) == Held{});
    f.gic.retire(0, 41, false, false);
    CHECK(f.read(isactiver) == 0);
    f.gic.set_line(41, false);
    f.gic.set_line(41, true);                      // it comes again
    CHECK(f.take(0) == 41);
    f.write(icpendr, bit);                         // and is taken away before the guest has it
    CHECK(f.gic.sync(0, 41, {.pending = true}) == Held{});
    f.gic.retire(0, 41, true, false);
    CHECK_FALSE(f.take(0));
    CHECK(f.read(ispendr) == 0);
    // Pending and active: only the first goes.
    f.write(ispendr, bit);
    CHECK(f.take(0) == 41);
    f.write(icpendr, bit);
    CHECK(f.gic.sync(0, 41, {.pending = true, .active = true}) == Held{.active = true});
    f.write(ispendr, bit);
    CHECK(f.gic.sync(0, 41, {.active = true}) == Held{.pending = true, .active = true});
    f.gic.retire(0, 41, false, false);
    // Made active where it is, and where it is nowhere.
    f.write(ispendr, bit);
    CHECK(f.take(0) == 41);
    f.write(isactiver, bit);
    CHECK(f.gic.sync(0, 41, {.pending = true}) == Held{.pending = true, .active = true});
    f.gic.retire(0, 41, false, false);
    f.write(isactiver, bit);
    f.write(ispendr, bit);
    CHECK_FALSE(f.take(0));                        // active: not before it has been ended
    CHECK(f.read(isactiver) == bit);
    f.write(icactiver, bit);
    CHECK(f.take(0) == 41);
    // What was asked of one stay does not hold for the next.
    f.write(icpendr, bit);
    f.gic.retire(0, 41, false, false);
    f.write(ispendr, bit);
    CHECK(f.take(0) == 41);
    CHECK(f.gic.sync(0, 41, {.pending = true}) == Held{.pending = true});
}

TEST_CASE("what ICPENDR asked of an interrupt in a CPU's hands is asked once", "[gicv3]") {
    Fixture f;
    const auto ispendr = gicd + 0x204, icpendr = gicd + 0x284;
    constexpr std::uint32_t bit = 1u << 9;
    f.enable_spi(41, 0x80, true);
    f.write(ispendr, bit);
    CHECK(f.take(0) == 41);
    f.write(icpendr, bit);                                              // the guest has acknowledged it in the same moment
    CHECK(f.gic.sync(0, 41, {.active = true}) == Held{.active = true});
    f.write(ispendr, bit);
    CHECK(f.gic.sync(0, 41, {.active = true}) == Held{.pending = true, .active = true});
    CHECK(f.gic.sync(0, 41, {.pending = true, .active = true}) == Held{.pending = true, .active = true});  // the next one stays
    f.gic.retire(0, 41, false, false);
    // An edge that came after it, and a line that is high still.
    f.write(ispendr, bit);
    CHECK(f.take(0) == 41);
    f.write(icpendr, bit);
    f.write(ispendr, bit);
    CHECK(f.gic.sync(0, 41, {.pending = true}) == Held{.pending = true});
    CHECK(f.gic.sync(0, 41, {.pending = true}) == Held{.pending = true});
    f.enable_spi(44, 0x80);
    f.gic.set_line(44, true);
    CHECK(f.take(0) == 44);
    f.write(icpendr, 1u << 12);
    CHECK(f.gic.sync(0, 44, {.pending = true}) == Held{.pending = true});
    CHECK(f.gic.sync(0, 44, {.active = true}) == Held{.active = true});
    f.write(ispendr, 1u << 12);
    f.gic.set_line(44, false);
    f.gic.retire(0, 44, true, false);
    CHECK((f.read(ispendr) & 1u << 12) != 0);
}
