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

namespace {
using Vectors = std::array<std::uint64_t, vector_words>;
constexpr auto vector_parts = vector_words / 32;  // 64 bits each, of a register
auto own(unsigned n) -> Vectors {
    Vectors v;
    for (std::size_t i = 0; i < v.size(); ++i) v[i] = 0x4000'0000'0000'0000 | n << 16 | i;
    return v;
}
void give(Vcpu<BareHost>& vcpu, const Vectors& values) {
    for (std::size_t i = 0; i < values.size(); ++i) {
        const reg::Id which = arch::registers[vectors_row].id(static_cast<std::uint8_t>(i / vector_parts));
        REQUIRE(arch::Arch::set(vcpu.core(), which, values[i], i % vector_parts != 0));
    }
}
auto has(Vcpu<BareHost>& vcpu, const Vectors& values) -> bool {
    for (std::size_t i = 0; i < values.size(); ++i) {
        const reg::Id which = arch::registers[vectors_row].id(static_cast<std::uint8_t>(i / vector_parts));
        if (arch::Arch::get(vcpu.core(), which, i % vector_parts != 0).value_or(0) != values[i]) return false;
    }
    return true;
}
}  // namespace

TEST_CASE("every floating-point register is loaded at a bind and at a switch, and is in memory after an unbinding", "[switch][canary][fp]") {
    Enabled<BareHost> here;
    Two<BareHost> two(fill_fp, own(5)[0], own(6)[0]);
    for (unsigned i = 0; i < 2; ++i) give(*two.vcpu[i], own(i));
    // As they are in the CPU right behind a bind and a switch, which nothing in between uses; each guest changes its own when it runs.
    static std::array<Vectors, 3> seen;
    std::uint64_t control[2]{};
    const bool ran = [&] {
        asm volatile("" ::: CALLEE_SAVED_FP);
        auto b = here.cpu.bind(*two.vcpu[0]);
        read_vectors(seen[0].data());
        bool ok = b.run() && b.complete() && b.switch_to(*two.vcpu[1]);
        read_vectors(seen[1].data());
        control[0] = read_fp_control();
        ok = ok && b.run() && b.complete() && b.switch_to(*two.vcpu[0]);
        read_vectors(seen[2].data());
        control[1] = read_fp_control();
        return ok && b.run();
    }();
    CHECK(ran);
    CHECK(seen[0] == own(0));
    CHECK(seen[1] == own(1));
    CHECK(seen[2] == own(5));
    CHECK(control[0] == 0);
    CHECK(control[1] == fp_control);
    for (unsigned i = 0; i < 2; ++i) {
        CHECK(has(*two.vcpu[i], own(5 + i)));
        CHECK(fp_control_of(*two.vcpu[i]) == fp_control);
    }
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
