// A guest that makes SBI calls and reports after each.
#pragma once
#include <catch2/catch_test_macros.hpp>
#include "../harness.hpp"

extern "C" const unsigned char sbi_caller[];  // firmware_test.cpp

namespace harness {

inline constexpr auto table = ram_base + 0x2'0000;  // eight double words: a0-a5, a6, a7
inline constexpr std::uint64_t failed = static_cast<std::uint64_t>(-1), not_supported = static_cast<std::uint64_t>(-2), invalid_param = static_cast<std::uint64_t>(-3),
                               invalid_address = static_cast<std::uint64_t>(-5), already_available = static_cast<std::uint64_t>(-6);
inline constexpr std::uint64_t base = 0x10, timer = 0x5449'4D45, ipi = 0x73'5049, rfence = 0x5246'4E43, hsm = 0x48'534D, srst = 0x5352'5354, pmu = 0x50'4D55,
                               dbcn = 0x4442'434E;

struct Call { std::uint64_t extension, function; std::array<std::uint64_t, 6> a{}; };
struct Answer { std::uint64_t error, value; };

/// The VM, and vCPU 0 bound here. The other vCPUs are off.
class Caller {
public:
    struct Options { const void* payload = sbi_caller; unsigned vcpus = 1; VmPolicy policy{}; arch::Console console{}; arch::SbiExits exits{}; bool lazy = false; };
    Caller() : Caller(Options{}) {}
    explicit Caller(const Options& o)
        : m(o.payload, table.value, {.vcpus = 1, .lazy = o.lazy}),
          vm({.id = 3, .stage2 = &m.stage2, .vcpus = std::span<Slot>(slots, o.vcpus), .ram = m.ram, .policy = o.policy, .console = o.console, .sbi_exits = o.exits}),
          b(percpu().bind(create(o))) {
        m.stage2.set_maintenance(tlb_maintenance(vm.core()));
    }
    auto vcpu(unsigned id = 0) -> Vcpu<Host>& { return *vcpus[id]; }
    void write(const Call& c) {
        auto* at = reinterpret_cast<std::uint64_t*>(m.host(table));
        std::ranges::copy(c.a, at);
        at[6] = c.function;
        at[7] = c.extension;
    }
    auto run() -> Exit {
        const auto e = run_on(b, runtime::now() + 30 * runtime::frequency());  // a guest that never leaves fails, and does not hang
        REQUIRE(e);
        return *e;
    }
    /// The guest's report; goes on behind it.
    auto reported() -> exit::Hypercall {
        const auto e = run();
        INFO("left with " << exit_names[e.index()]);
        const auto h = e.get<exit::Hypercall>();
        REQUIRE(h);
        REQUIRE(h->number == report);
        REQUIRE(b.complete());
        return *h;
    }
    /// Runs into a call that leaves as a T.
    template <class T> auto leaves(const Call& c) -> T {
        write(c);
        const auto e = run();
        INFO("left with " << exit_names[e.index()]);
        REQUIRE(e.is<T>());
        return *e.get<T>();
    }
    /// The answer to one call that stays inside.
    auto operator()(const Call& c) -> Answer {
        write(c);
        const auto h = reported();
        return {h.args[0], h.args[1]};
    }

    Machine m;
    Slot slots[2];
    Vm<Host> vm;
    Vcpu<Host>* vcpus[2]{};
    Vcpu<Host>::Bound b;

private:
    auto create(const Options& o) -> Vcpu<Host>& {
        for (unsigned i = 0; i < o.vcpus; ++i) {
            auto made = Vcpu<Host>::create(slots[i], vm, {.id = i, .entry = m.at(o.payload), .arg = table.value, .off = i != 0});
            REQUIRE(made);
            vcpus[i] = &*made;
        }
        return *vcpus[0];
    }
};

}  // namespace harness
