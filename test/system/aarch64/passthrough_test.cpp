// A guest that owns its CPU's interrupts is trusted with that CPU, and with no other's guests beside it.
#include <catch2/catch_test_macros.hpp>
#include "../harness.hpp"

using namespace harness;

TEST_CASE("a CPU whose interrupts a guest owns takes no other vCPU, though that had been bound there", "[host][passthrough]") {
    Machine m(call_forever);
    { auto b = percpu().bind(m.vcpu()); REQUIRE(b.run()); REQUIRE(b.complete()); }
    Slot slots[1];
    Vm<Host> trusted{{.id = 9, .stage2 = &m.stage2, .vcpus = slots, .ram = m.ram, .passthrough_interrupts = true}};
    auto v = Vcpu<Host>::create(slots[0], trusted, {.entry = m.at(call_forever)});
    REQUIRE(v);
    for (int i = 0; i < 2; ++i) {
        auto b = percpu().bind(*v);
        REQUIRE(b);
        const auto e = b.run();
        REQUIRE(e);
        CHECK(e->is<exit::Hypercall>());
        REQUIRE(b.complete());
    }
    CHECK(percpu().bind(m.vcpu()).error().code == Code::not_owner);
    REQUIRE(percpu().disable());  // the CPU is given up
    REQUIRE(percpu().enable());
    CHECK(percpu().bind(m.vcpu()));
    REQUIRE(v->destroy());
}
