// The recipes of docs/recipes.md, as they stand there: each between its markers. Host, Machine and the payloads are the harness's.
#include <catch2/catch_test_macros.hpp>
#include "harness.hpp"

using namespace harness;

TEST_CASE("recipe: lazy stage 2", "[recipe]") {
    Machine m(touch, (ram_base + 0x2'0000).value, {.lazy = true});
    auto on_cpu = percpu().bind(m.vcpu());
    unsigned mapped = 0;
    bool called = false;
    while (!called) {
        // [lazy]
        auto e = on_cpu.run();
        if (!e) break;
        const bool known = e->match(
            [&](exit::NestedPageFault f) {
                if (f.present) return on_cpu.fail().has_value();             // mapped, and not for this: the guest's fault
                const GuestPhysAddr page{f.addr.value & ~std::uint64_t{0xFFF}};
                auto ok = m.stage2.map(page, Host::virt_to_phys(m.host(page)), 4096, {}, MemoryType::normal);
                if (!ok && ok.error().code != Code::exists) return false;    // `exists`: another vCPU came first
                return on_cpu.retry().has_value();                           // the instruction is done again
            },
            [&](auto) { return false; });
        // [end]
        if (known) ++mapped;
        else called = true;
    }
    CHECK(mapped == 2);  // the code's page and the data's
    CHECK(m.peek<std::uint64_t>(ram_base + 0x2'0000) == 1);
}

TEST_CASE("recipe: a device at an address", "[recipe]") {
    Machine m(touch, device_base.value);
    auto on_cpu = percpu().bind(m.vcpu());
    std::uint64_t reg = 41;
    for (bool on = true; on;) {
        // [device]
        auto e = on_cpu.run();
        if (!e) break;
        const auto answered = e->match(
            [&](exit::MmioRead r) { return r.addr == device_base ? on_cpu.complete(reg) : on_cpu.fail(); },
            [&](exit::MmioWrite w) {
                if (w.addr != device_base) return on_cpu.fail();             // the guest gets the architecture's own fault
                reg = w.value;                                               // nothing above its width
                return on_cpu.complete();
            },
            [&](auto) { on = false; return Result<void>{}; });
        // [end]
        REQUIRE(answered);
    }
    CHECK(reg == 42);
}

TEST_CASE("recipe: two vCPUs on one CPU", "[recipe]") {
    Machine m(call_forever, 0, {.vcpus = 2});
    REQUIRE(m.vcpu(1).reset(m.at(call_forever)));
    std::array<unsigned, 2> calls{};
    // [two]
    auto on_cpu = percpu().bind(m.vcpu(0));                                  // loads what is this vCPU's
    for (unsigned turn = 0; turn < 10; ++turn) {
        const auto slice_end = runtime::now() + runtime::frequency();
        auto e = on_cpu.run(slice_end);                                      // TimerExpired when its time is over
        if (e && e->is<exit::Hypercall>() && on_cpu.complete()) ++calls[on_cpu.vcpu().id()];
        auto& next = m.vcpu((turn + 1) % 2);
        if (!on_cpu.switch_to(next)) break;                                  // saves the one, loads the other
    }                                                                        // the destructor saves the last one
    // [end]
    CHECK(calls == std::array{5u, 5u});
}

TEST_CASE("recipe: make a vCPU leave", "[recipe]") {
    Machine m(spin);
    auto on_cpu = percpu().bind(m.vcpu());
    auto& vcpu = m.vcpu();
    // [kick]
    const Notice notice = vcpu.post(Event::kick);                            // any CPU, any context
    if (notice.kind == Notice::Kind::kick) Host::kick(notice.cpu);           // it is in the guest: an interrupt brings it out
    if (notice.kind == Notice::Kind::wake) Host::wake(0, vcpu.id());         // it had blocked: its thread has to bind it again
    // [end]
    const auto e = on_cpu.run();
    REQUIRE(e);
    CHECK(e->is<exit::Kicked>());
}

TEST_CASE("recipe: sleep while the guest waits", "[recipe]") {
    Machine m(wait_forever);
    auto& vcpu = m.vcpu();
    bool slept = false;
    {
        auto on_cpu = percpu().bind(vcpu);
        const auto e = on_cpu.run();
        REQUIRE(e);
        REQUIRE(e->is<exit::Halt>());
        REQUIRE(on_cpu.complete());                                          // it goes on behind the instruction
    }
    // [sleep]
    const auto until = vcpu.deadline();                                      // when its own timer wants to fire, if ever
    const auto blocked = vcpu.block();                                       // false: something was posted meanwhile
    if (blocked && *blocked) slept = true;                                   // here a thread would sleep until `until`, or until woken
    // [end]
    CHECK(slept);
    CHECK(until == no_deadline);
    REQUIRE(vcpu.unblock());
}

TEST_CASE("recipe: read and change a register", "[recipe]") {
    Machine m(call_forever);
    auto& vcpu = m.vcpu();
    // [register]
    constexpr reg::Id id = arch::registers[0].id(5);                         // element 5 of the first row: a general register
    const auto old = vcpu.get(id);                                           // unbound, or on the CPU where it is bound
    const auto set = vcpu.set(id, old ? *old + 1 : 0);
    // [end]
    REQUIRE(set);
    CHECK(*vcpu.get(id) == *old + 1);
}
