// TLB maintenance, watched from outside: QEMU drops translations on its own when a VMID changes, so that a forgotten flush shows in no
// guest. A plugin logs the instructions between markers, tools/maintenance.py has what they ought to be, by the numbers here. Hidden:
// without the plugin these cases show little.
#include <catch2/catch_test_macros.hpp>
#include "harness.hpp"

using namespace harness;

namespace {
enum Section : unsigned {
    run_again, bind_again, other_vcpu, first_vcpu_back, other_vm, first_vm_back, moved, moved_back,      // 0 to 7
    new_vms, cpu_after_roll_over, cpu_again, vm_after_roll_over, vm_again,                               // 8 to 12
    unmap, unmap_elsewhere, unmap_never_ran, unmap_unbound, bind_after_unmap, unmap_much,                // 13 to 18
    protect_pages, split_block, allow_more,                                                              // 19 to 21
    switched, switched_vm,                                                                               // 22, 23
};
constexpr auto data = ram_base + 0x2'0000, blocks = ram_base + 0x4000'0000;

template <unsigned Number, class F> void watched(F f) {
    marker<Number>();
    f();
    marker<0x100 | Number>();
}
/// Until the guest calls; the call is answered.
auto calls(Vcpu<Host>::Bound& b) noexcept -> bool {
    const auto e = run_on(b);
    return e && e->is<exit::Hypercall>() && b.complete();
}
/// On this CPU: bound, run, unbound.
auto once(Vcpu<Host>& v) noexcept -> bool {
    auto b = percpu().bind(v);
    return b && calls(b);
}
template <unsigned Number> auto once_watched(Vcpu<Host>& v) noexcept -> bool {
    bool ok = false;
    watched<Number>([&] { ok = once(v); });
    return ok;
}
template <unsigned Number> auto once_on_cpu_1(Vcpu<Host>& v) -> bool {
    bool ok = false;
    auto there = [&]() noexcept { ok = once_watched<Number>(v); };
    OnCpu(1, there).wait();
    return ok;
}
}  // namespace

TEST_CASE("maintenance: vCPUs come and go", "[.maintenance]") {
    REQUIRE(have_cpu(1));
    Machine m(call_forever, 0, {.vcpus = 2}), other(call_forever);
    REQUIRE(m.vcpu(1).reset(m.at(call_forever)));
    bool ok = true;
    {
        auto b = percpu().bind(m.vcpu());
        REQUIRE(b);
        REQUIRE(calls(b));
        watched<run_again>([&] { ok = calls(b); });
    }
    CHECK(ok);
    CHECK(once_watched<bind_again>(m.vcpu()));
    CHECK(once_watched<other_vcpu>(m.vcpu(1)));
    CHECK(once_watched<first_vcpu_back>(m.vcpu()));
    CHECK(once_watched<other_vm>(other.vcpu()));
    CHECK(once_watched<first_vm_back>(m.vcpu()));
    CHECK(once_on_cpu_1<moved>(m.vcpu()));
    CHECK(once_watched<moved_back>(m.vcpu()));
    CHECK(once(m.vcpu(1)));
    auto b = percpu().bind(m.vcpu());
    REQUIRE(calls(b));
    watched<switched>([&] { ok = b.switch_to(m.vcpu(1)) && calls(b); });
    CHECK(ok);
    watched<switched_vm>([&] { ok = b.switch_to(other.vcpu()) && calls(b); });
    CHECK(ok);
}

TEST_CASE("maintenance: the tags roll over", "[.maintenance]") {
    REQUIRE(have_cpu(1));
    Machine m(call_forever), there(call_forever);
    REQUIRE(once(m.vcpu()));
    bool ok = true;
    auto go_there = [&]() noexcept { ok = once(there.vcpu()); };
    OnCpu(1, go_there).wait();
    std::uint64_t last = 0, now = 0;
    do {  // a new VM at a time, until the numbers begin again
        last = now;
        Slot slot[1];
        Vm<Host> vm{{.id = 8, .stage2 = &m.stage2, .vcpus = slot, .ram = m.ram}};
        auto made = Vcpu<Host>::create(slot[0], vm, create_config(ram_base, 0, m.at(call_forever), 0, false));
        ok = ok && made;
        watched<new_vms>([&] {
            auto b = percpu().bind(*made);
            now = loaded_tag();
            ok = ok && b && calls(b);
        });
    } while (ok && now > last);
    REQUIRE(ok);
    CHECK(last >= (std::uint64_t{1} << capabilities().tag_bits) - 2);
    CHECK(once_on_cpu_1<cpu_after_roll_over>(there.vcpu()));
    CHECK(once_on_cpu_1<cpu_again>(there.vcpu()));
    CHECK(once_watched<vm_after_roll_over>(m.vcpu()));
    CHECK(once_watched<vm_again>(m.vcpu()));
}

TEST_CASE("maintenance: mappings are taken away", "[.maintenance]") {
    REQUIRE(have_cpu(1));
    Machine m(call_forever), unused(call_forever);
    bool ok = false;
    watched<unmap_never_ran>([&] { ok = unused.stage2.unmap(data, 0x2000).has_value(); });
    CHECK(ok);
    REQUIRE(m.stage2.map(blocks, Host::virt_to_phys(reinterpret_cast<void*>(0x8000'0000)), 0x60'0000, {}, MemoryType::normal));
    {
        auto b = percpu().bind(m.vcpu());
        REQUIRE(b);
        REQUIRE(calls(b));
        watched<unmap>([&] { ok = m.stage2.unmap(data, 0x3000).has_value() && calls(b); });
        CHECK(ok);
        watched<protect_pages>([&] { ok = m.stage2.protect(data + 0x4000, 0x2000, {.write = false}) && calls(b); });
        CHECK(ok);
        watched<allow_more>([&] { ok = m.stage2.mark_dirty(data + 0x4000) && calls(b); });
        CHECK(ok);
        watched<split_block>([&] { ok = m.stage2.unmap(blocks, 0x1000) && calls(b); });
        CHECK(ok);
        watched<unmap_much>([&] { ok = m.stage2.unmap(blocks + 0x20'0000, 0x40'0000) && calls(b); });
        CHECK(ok);
    }
    watched<unmap_unbound>([&] { ok = m.stage2.unmap(data + 0x8000, 0x1000).has_value(); });
    CHECK(ok);
    CHECK(once_watched<bind_after_unmap>(m.vcpu()));
}

TEST_CASE("maintenance: a mapping of a guest on another CPU is taken away", "[.maintenance]") {
    REQUIRE(have_cpu(1));
    Machine m(read_forever, data.value);
    std::atomic<int> step{0};
    unsigned faults = 0;
    auto other = [&]() noexcept {
        auto b = percpu().bind(m.vcpu());
        if (!b || !calls(b)) return;
        step = 1;
        while (calls(b)) {}  // until its page is gone
        ++faults;
        while (step != 2) {}
        const auto e = run_on(b);  // whatever ended it the first time: this entry comes after the unmapping
        faults += e && e->is<exit::NestedPageFault>();
    };
    bool ok = false;
    OnCpu job(1, other);
    while (step != 1) {}
    watched<unmap_elsewhere>([&] {
        ok = m.stage2.unmap(data, 0x1000).has_value();
        step = 2;
        job.wait();
    });
    CHECK(ok);
    CHECK(faults == 2);
}
