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
    auto e = b.run();
    REQUIRE(e);
    REQUIRE(e->is<exit::NestedPageFault>());
    // Where the guest starts with its translation on, its tables come first.
    while (e->get<exit::NestedPageFault>()->on_table_walk) {
        const GuestPhysAddr page{e->get<exit::NestedPageFault>()->addr.value & ~std::uint64_t{0xFFF}};
        REQUIRE(m.stage2.map(page, Host::virt_to_phys(m.host(page)), 4096, {}, MemoryType::normal));
        e = b.run();
        REQUIRE(e);
        REQUIRE(e->is<exit::NestedPageFault>());
    }
    CHECK(e->get<exit::NestedPageFault>()->access == Access::execute);
    CHECK(e->get<exit::NestedPageFault>()->addr == m.at(touch));
}

TEST_CASE("the dirty log: each page faults once, is named once, and faults again after it was taken", "[stage2][A2][A5]") {
    Machine m(touch_pages, data.value);
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
    REQUIRE(m.vcpu().set(pc_id, m.at(touch).value));
    REQUIRE(m.vcpu().set(argument_id, data.value));
    e = b.run();
    REQUIRE(e);
    CHECK(e->is<exit::NestedPageFault>());
}

TEST_CASE("a remapped page shows its new contents", "[stage2]") {
    Machine m(read_forever, data.value, {.lazy = true});
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

TEST_CASE("a jump into nowhere is a fetch fault that the host may fail", "[hostile][A6][R4]") {
    Machine m(fetch_nowhere);
    auto b = percpu().bind(m.vcpu());
    const auto e = b.run();
    REQUIRE(e);
    REQUIRE(e->is<exit::NestedPageFault>());
    CHECK(e->get<exit::NestedPageFault>()->access == Access::execute);
    CHECK(e->get<exit::NestedPageFault>()->addr == device_base);
    REQUIRE(b.fail());
    REQUIRE(b.run());  // its vector is nowhere, either: the next fault comes, and the host goes on
}
