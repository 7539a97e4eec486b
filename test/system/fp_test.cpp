// A host without floating point: a guest's is in the CPU from bind to unbind, or from its first use there.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include "bare_host.hpp"

using namespace harness;

namespace {

constexpr std::uint64_t values[]{0x4045'0000'0000'1234, 0x4055'0000'0000'4321};

/// The second of the three registers that keep_fp reports: a callee-saved one, so that the code in between leaves it alone.
auto reports(Vcpu<BareHost>::Bound& b, std::uint64_t value) noexcept -> bool {
    const auto e = b.run();
    return e && e->is<exit::Hypercall>() && e->get<exit::Hypercall>()->args[1] == value && b.complete();
}

}  // namespace

TEST_CASE("a guest's floating point goes with it through switches and bindings, loaded at the bind or at its first use", "[switch][canary][fp]") {
    const bool lazy = GENERATE(false, true);
    Enabled<BareHost> here;
    Two<BareHost> two(keep_fp, values[0], values[1], {.lazy_fp = lazy});
    const auto differ = [&] {
        asm volatile("" ::: CALLEE_SAVED_FP);  // our callers get theirs back
        unsigned n = 0;
        for (unsigned round = 0; round < 20; ++round) {
            auto b = here.cpu.bind(*two.vcpu[0]);
            for (unsigned turn = 0; turn < 6; ++turn) {
                n += !reports(b, values[&b.vcpu() == two.vcpu[1]]);
                n += !b.switch_to(*two.vcpu[&b.vcpu() == two.vcpu[0]]);
            }
        }
        return n;
    };
    CHECK(differ() == 0);
}

TEST_CASE("floating point is loaded at the first use, and not before", "[fp]") {
    Enabled<BareHost> here;
    Two<BareHost> two(keep_fp, values[0], values[1], {.lazy_fp = true});
    Two<BareHost> without(call_forever, 0, 0, {.lazy_fp = true});
    bool traps[7]{}, right[5]{};
    std::uint64_t seen = 0;
    [&] {
        asm volatile("" ::: CALLEE_SAVED_FP);
        auto b = here.cpu.bind(*without.vcpu[0]);
        right[0] = b.run() && b.complete();
        traps[0] = fp_traps(without.vcpu[0]->core());
        right[1] = b.switch_to(*two.vcpu[0]).has_value();
        traps[1] = fp_traps(two.vcpu[0]->core());
        right[2] = reports(b, values[0]);
        traps[2] = fp_traps(two.vcpu[0]->core());
        right[3] = b.switch_to(*two.vcpu[1]).has_value();  // of one VM: most of the CPU's registers stay
        traps[3] = fp_traps(two.vcpu[1]->core());
        right[4] = reports(b, values[1]) && b.switch_to(*two.vcpu[0]);
        traps[4] = fp_traps(two.vcpu[0]->core());
    }();
    for (const auto ok : right) CHECK(ok);
    CHECK(traps[0]);
    CHECK(traps[1]);
    CHECK_FALSE(traps[2]);
    CHECK(traps[3]);
    CHECK(traps[4]);
    // Looked at and changed while it is bound, before the use and after it.
    constexpr std::uint64_t other = 0x4077'0000'0000'5678;
    [&] {
        asm volatile("" ::: CALLEE_SAVED_FP);
        auto b = here.cpu.bind(*two.vcpu[0]);
        seen = two.vcpu[0]->get(fp_id).value_or(0);
        right[0] = reports(b, values[0]) && two.vcpu[0]->get(fp_id).value_or(0) == values[0] && reports(b, values[0]);
        right[1] = two.vcpu[0]->set(fp_id, other) && reports(b, other);
        right[2] = two.vcpu[0]->set(fp_id, values[0]) && two.vcpu[0]->get(fp_id).value_or(0) == values[0];
        right[3] = b.switch_to(*two.vcpu[1]) && two.vcpu[1]->set(fp_id, other) && reports(b, other);
    }();
    CHECK(seen == values[0]);
    for (const auto ok : right) CHECK(ok);
    CHECK(two.vcpu[0]->get(fp_id).value_or(0) == values[0]);
    CHECK(two.vcpu[1]->get(fp_id).value_or(0) == other);
}

TEST_CASE("a host with floating point of its own switches it each time: it cannot wait for a first use", "[fp][misuse]") {
    Machine m(call_forever);
    Slot slot[1];
    Vm<Host> vm{{.id = 9, .stage2 = &m.stage2, .vcpus = slot, .ram = m.ram, .policy = {.lazy_fp = true}}};
    auto refused = Vcpu<Host>::create(slot[0], vm, create_config(ram_base, 0, m.at(call_forever), 0, false));
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == Code::unsupported);
}
