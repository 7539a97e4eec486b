// Stage 2 with a guest on it: lazy mapping, write protection, unmapping under a running guest.
#include <catch2/catch_test_macros.hpp>
#include "harness.hpp"

using namespace harness;

namespace {
constexpr GuestPhysAddr data = ram_base + 0x2'0000;
auto map_code(Machine& m) -> bool {  // everything but the data pages
    return m.stage2.map(ram_base, Host::virt_to_phys(m.memory), 0x2'0000, {}, MemoryType::normal).has_value();
}
}  // namespace

GUEST(touch, "ldr x1, [x0]\nadd x1, x1, #1\nstr x1, [x0]\nldr x1, [x0]\n" REPORT);

TEST_CASE("memory that is mapped on its first touch: the instruction is done again, once", "[stage2][A2]") {
    Machine m(touch, data.value, {.lazy = true});
    REQUIRE(map_code(m));
    *reinterpret_cast<std::uint64_t*>(m.host(data)) = 41;
    auto b = percpu().bind(m.vcpu());
    auto e = b.run();
    REQUIRE(e);
    REQUIRE(e->is<exit::NestedPageFault>());
    const auto f = *e->get<exit::NestedPageFault>();
    CHECK(f.addr == data);
    CHECK(f.access == Access::read);
    CHECK_FALSE(f.present);
    CHECK_FALSE(f.on_table_walk);
    REQUIRE(m.stage2.map(data, Host::virt_to_phys(m.host(data)), 4096, {}, MemoryType::normal));
    REQUIRE(b.retry());
    e = b.run();
    REQUIRE(e);
    REQUIRE(e->is<exit::Hypercall>());
    CHECK(e->get<exit::Hypercall>()->args[0] == 42);
    CHECK(m.peek<std::uint64_t>(data) == 42);
}

TEST_CASE("code that is mapped on its first touch", "[stage2][A6]") {
    Machine m(touch, data.value, {.lazy = true});
    auto b = percpu().bind(m.vcpu());
    const auto e = b.run();
    REQUIRE(e);
    REQUIRE(e->is<exit::NestedPageFault>());
    CHECK(e->get<exit::NestedPageFault>()->access == Access::execute);
    CHECK(e->get<exit::NestedPageFault>()->addr == m.at(touch));
}

GUEST(dirty_guest, "mov x19, x0\n1: str x1, [x19]\nstr x1, [x19, #8]\nadd x19, x19, #0x2000\nadd x1, x1, #1\ncmp x1, #3\nb.ne 1b\n" REPORT
                   "mov x1, #9\nsub x19, x19, #0x2000\nstr x1, [x19]\n" REPORT);

TEST_CASE("the dirty log: each page faults once, is named once, and faults again after it was taken", "[stage2][A2][A5]") {
    Machine m(dirty_guest, data.value);
    REQUIRE(m.stage2.log_dirty(data, 0x8000));
    auto b = percpu().bind(m.vcpu());
    unsigned faults = 0;
    const auto run_to_call = [&] {
        for (;;) {
            const auto e = b.run();
            REQUIRE(e);
            if (e->is<exit::Hypercall>()) return;
            REQUIRE(e->is<exit::NestedPageFault>());
            const auto f = *e->get<exit::NestedPageFault>();
            CHECK(f.present);
            CHECK(f.access == Access::write);
            ++faults;
            REQUIRE(m.stage2.mark_dirty(f.addr));
            REQUIRE(b.retry());
        }
    };
    run_to_call();
    CHECK(faults == 3);
    std::vector<std::uint64_t> pages;
    const auto collect = [](void* self, GuestPhysAddr a) noexcept { static_cast<std::vector<std::uint64_t>*>(self)->push_back(a.value); };
    REQUIRE(m.stage2.take_dirty(data, 0x8000, &pages, collect));
    CHECK(pages == std::vector<std::uint64_t>{data.value, data.value + 0x2000, data.value + 0x4000});
    REQUIRE(b.complete());
    run_to_call();
    CHECK(faults == 4);
}

TEST_CASE("an unmapped page is gone at once, with the vCPU bound", "[stage2]") {
    Machine m(touch, data.value);
    auto b = percpu().bind(m.vcpu());
    auto e = b.run();
    REQUIRE(e);
    REQUIRE(e->is<exit::Hypercall>());
    REQUIRE(m.stage2.unmap(data, 4096));
    REQUIRE(m.vcpu().set(id<"PC">(), m.at(touch).value));
    REQUIRE(m.vcpu().set(id<"X">(0), data.value));
    e = b.run();
    REQUIRE(e);
    CHECK(e->is<exit::NestedPageFault>());
}

GUEST(remap_guest, "1: ldr x1, [x0]\nmov x9, x0\n" REPORT "mov x0, x9\nb 1b\n");

TEST_CASE("a remapped page shows its new contents", "[stage2]") {
    Machine m(remap_guest, data.value, {.lazy = true});
    REQUIRE(map_code(m));
    *reinterpret_cast<std::uint64_t*>(m.host(data)) = 1;
    *reinterpret_cast<std::uint64_t*>(m.host(data + 0x1000)) = 2;
    auto b = percpu().bind(m.vcpu());
    for (unsigned i = 0; i < 20; ++i) {
        const auto to = data + (i % 2) * 0x1000;
        REQUIRE(m.stage2.unmap(data, 4096));
        REQUIRE(m.stage2.map(data, Host::virt_to_phys(m.host(to)), 4096, {}, MemoryType::normal));
        const auto e = b.run();
        REQUIRE(e);
        REQUIRE(e->is<exit::Hypercall>());
        REQUIRE(e->get<exit::Hypercall>()->args[0] == 1 + i % 2);
        REQUIRE(b.complete());
    }
}

GUEST(walk_to_device, VECTORS "movz x9, #0x0A00, lsl #16\nmsr TTBR0_EL1, x9\nmov x9, #25\nmovk x9, #0x80, lsl #16\nmsr TCR_EL1, x9\nisb\n"
                      "mrs x9, SCTLR_EL1\norr x9, x9, #1\nmsr SCTLR_EL1, x9\nisb\nnop\n" REPORT);

TEST_CASE("page tables that point at a device: the fault says it was on the walk, and it ends in the guest", "[hostile]") {
    Machine m(walk_to_device);
    auto b = percpu().bind(m.vcpu());
    const auto e = b.run();
    REQUIRE(e);
    REQUIRE(e->is<exit::NestedPageFault>());
    const auto f = *e->get<exit::NestedPageFault>();
    CHECK(f.on_table_walk);
    CHECK((f.addr.value & ~std::uint64_t{0xFFF}) == device_base.value);
    REQUIRE(b.fail());
    const auto again = b.run();  // its vectors cannot be fetched either: the next fault comes, and the host goes on
    REQUIRE(again);
    CHECK(again->is<exit::NestedPageFault>());
}
