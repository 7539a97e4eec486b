// Registers as a host sets and reads them, bound and unbound.
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include "../bare_host.hpp"

using namespace harness;

TEST_CASE("a register keeps what a hart would keep: set before a bind, it is the same after it", "[registers]") {
    Machine m(spin, 0, {.vectors = true});
    auto* made = &m.vcpu();
    const auto has = [](arch::Feature f) { return f == arch::Feature::base || (capabilities().features >> static_cast<unsigned>(f) & 1) != 0; };
    for (std::size_t row = 0; row < arch::registers.size(); ++row) {
        const auto& r = arch::registers[row];
        // FS and VS follow what is switched; which counters there are, what vector configurations, and external interrupts are the hart's
        // and the controller's to say.
        const bool others = r.name == "sstatus" || r.name == "scounteren" || r.name == "vl" || r.name == "vtype" || r.name == "vstart" || r.name == "hvip";
        if (!reg::stored(r.policy) || r.writable == 0 || !has(r.feature) || others) continue;
        INFO(r.name);
        for (const auto value : {~std::uint64_t{0}, std::uint64_t{0x5555'5555'5555'5555}, std::uint64_t{0}}) {
            const auto which = r.id(r.count > 1 ? 1 : 0);
            REQUIRE(made->set(which, value));
            const auto before = made->get(which).value_or(0xDEAD);
            { auto b = percpu().bind(*made); REQUIRE(b); }
            CHECK(made->get(which).value_or(0xBEEF) == before);
        }
        REQUIRE(made->reset(m.at(spin)));
    }
    const auto satp = id<"vsatp">();
    for (std::uint64_t mode = 0; mode < 16; ++mode) {
        REQUIRE(made->set(satp, 0));
        REQUIRE(made->set(satp, mode << 60 | 5));
        const bool known = mode == 0 || (mode >= 8 && mode <= 10);
        CHECK(made->get(satp).value_or(0xDEAD) == (known ? mode << 60 | 5 : 0));
    }
}

TEST_CASE("a vector instruction that was interrupted goes on where it was, whoever has looked at it", "[registers][canary][R9]") {
    const auto size = capabilities().vector_state;
    if (size == 0) return;  // a hart without vectors
    static std::array<std::byte, 65536> state alignas(64);
    static PerCpu<BareHost> cpu;
    REQUIRE(percpu().disable());
    REQUIRE(cpu.enable());
    Machine m(spin);
    Slot slot[1];
    Vm<BareHost> vm{{.id = 5, .stage2 = &m.stage2, .vcpus = slot, .ram = m.ram}};
    auto v = Vcpu<BareHost>::create(slot[0], vm, {.entry = m.at(spin), .vector_state = {state.data(), size}});
    REQUIRE(v);
    bool stands = false;
    std::uint64_t seen[2]{};
    {
        auto b = cpu.bind(*v);
        stands = b && v->set(id<"vstart">(), 3);
        for (auto& s : seen) s = v->get(id<"vstart">()).value_or(99);
    }
    CHECK(cpu.disable());
    CHECK(percpu().enable());
    CHECK(stands);
    CHECK(seen[0] == 3);
    CHECK(seen[1] == 3);
}

// Fills v0 to v31 with ones; reports, for ever.
GUEST(fill_vectors, "li t0, 3 << 9\ncsrs sstatus, t0\nvsetvli t0, x0, e8, m8, ta, ma\nvmv.v.i v0, -1\nvmv.v.i v8, -1\nvmv.v.i v16, -1\nvmv.v.i v24, -1\n1:\n" REPORT "j 1b\n");

TEMPLATE_TEST_CASE("what one guest has left in the vectors is gone when the next one, which has none, is unbound", "[canary][bind][R9]", Host, BareHost) {
    const auto size = capabilities().vector_state;
    if (size == 0) return;  // a hart without vectors
    static std::array<std::byte, 65536> state alignas(64), left alignas(64);
    left.fill(std::byte{0xFF});
    Enabled<TestType> here;
    Machine m(fill_vectors);
    Slot slots[2];
    Vm<TestType> vm{{.id = 5, .stage2 = &m.stage2, .vcpus = slots, .ram = m.ram}};
    auto first = Vcpu<TestType>::create(slots[0], vm, {.id = 0, .entry = m.at(fill_vectors), .vector_state = {state.data(), size}});
    auto second = Vcpu<TestType>::create(slots[1], vm, {.id = 1, .entry = m.at(fill_vectors)});
    REQUIRE(first);
    REQUIRE(second);
    bool ran = false, switched = false;
    {
        auto b = here.cpu.bind(*first);
        const auto e = b.run();
        ran = e && e->template is<exit::Hypercall>() && b.complete();
        switched = b.switch_to(*second).has_value();
    }
    asm volatile(".option push\n.option arch, +v\nli t0, 3 << 9\ncsrrs t1, sstatus, t0\nvsetvli t0, x0, e8, m8, ta, ma\nmv t2, %0\n"
                 "vse8.v v0, (t2)\nadd t2, t2, t0\nvse8.v v8, (t2)\nadd t2, t2, t0\nvse8.v v16, (t2)\nadd t2, t2, t0\nvse8.v v24, (t2)\ncsrw sstatus, t1\n.option pop"
                 ::"r"(left.data()) : "t0", "t1", "t2", "memory");
    CHECK(ran);
    CHECK(switched);
    CHECK(std::ranges::all_of(std::span(left).first(size), [](std::byte b) { return b == std::byte{0}; }));
}
