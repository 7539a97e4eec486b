// Wrong calls that take AArch64's own means: each is refused with what was expected, and changes nothing.
#include <catch2/catch_test_macros.hpp>
#include "../harness.hpp"

using namespace harness;

TEST_CASE("stage-2 tables that this CPU cannot walk, or whose root is misaligned, are refused", "[misuse][stage2][A25]") {
    alignas(0x2000) static unsigned char zeroes[0x1'2000];
    const FrameSource no_frames{nullptr, [](void*) noexcept { return HostPhysAddr{}; }, [](void*, HostPhysAddr) noexcept {}};
    const auto refusal = [&](std::uint64_t offset, unsigned levels, unsigned bits) {
        const Stage2 tables(stage2_format, Host::virt_to_phys(zeroes + offset), levels, bits, no_frames, hal_table<Host>);
        Slot slot[1];
        Vm<Host> vm{{.id = 1, .stage2 = &tables, .vcpus = slot}};
        auto v = Vcpu<Host>::create(slot[0], vm, {.entry = ram_base});
        REQUIRE(v);
        const auto b = percpu().bind(*v);
        REQUIRE_FALSE(b);
        CHECK(v->state() == State::free);
        return b.error();
    };
    const std::uint64_t widest = capabilities().address_bits;
    CHECK(refusal(0, 4, 52) == Error{Code::unsupported, nullptr, widest, 52});
    CHECK(refusal(0, 3, 44) == Error{Code::unsupported, nullptr, widest, 44});  // more than 16 tables side by side
    CHECK(refusal(0, 3, 31) == Error{Code::unsupported, nullptr, widest, 31});
    CHECK(refusal(8, 3, 39).code == Code::misaligned);
    CHECK(refusal(4096, 3, 40).code == Code::misaligned);  // two tables side by side
    CHECK(refusal(4096, 3, 40).found == reinterpret_cast<std::uint64_t>(zeroes) + 4096);
}

TEST_CASE("the upper half of a register of 64 bits, and a timer without its interrupts, are refused", "[misuse]") {
    Machine m(call_forever);
    REQUIRE(m.vcpu().set(id<"X">(3), 3));
    CHECK(arch::Arch::set(m.vcpu().core(), id<"X">(2), 1, true).error() == Error{Code::bad_value, nullptr, 16, 8});
    CHECK(get<"X">(m, 3) == 3);
    REQUIRE(arch::Arch::set(m.vcpu().core(), id<"V">(2), 5, true));
    CHECK(*arch::Arch::get(m.vcpu().core(), id<"V">(2), true) == 5);
    CHECK(get<"V">(m, 2) == 0);
    Slot slot[1];
    Vm<Host> vm{{.id = 1, .stage2 = &m.stage2, .vcpus = slot, .passthrough_timer = true}};
    CHECK(Vcpu<Host>::create(slot[0], vm, {.entry = ram_base}).error().code == Code::bad_value);
}

TEST_CASE("SVE: a CPU with vectors of another length than the vCPU's state has is refused", "[misuse][A13]") {
    if (capabilities().vector_state == 0) SKIP("no SVE");
    Machine m(call_forever, 0, {.vectors = true});
    auto* made = &m.vcpu();
    { auto b = percpu().bind(*made); REQUIRE(b.run()); REQUIRE(b.complete()); }
    auto& v = made->core();
    const auto length = v.vector_length;
    v.vector_length = 2 * length;  // as if it had come from such a CPU
    v.fits = 0;
    CHECK(percpu().bind(*made).error() == Error{Code::unsupported, nullptr, 2 * length, length});
    CHECK(made->state() == State::free);
    v.vector_length = length;
    auto b = percpu().bind(*made);
    CHECK(b.run());
}

namespace {
/// Calls the SDK for the vCPU inside whose run() it is.
struct NestingHost : Host {
    static void handle_host_irq() noexcept {
        if (inside != nullptr) inside();
        runtime::unmask_interrupts();
        runtime::mask_interrupts();
    }
    static inline void (*inside)() noexcept = nullptr;
};
Vcpu<NestingHost>::Bound* nested;
Vcpu<NestingHost>* other_vcpu;
std::array<std::optional<Error>, 6> nested_answers;
}  // namespace

TEST_CASE("what is called for a vCPU from inside its run() is refused, and the run goes on", "[misuse][host]") {
    static PerCpu<NestingHost> cpu;
    REQUIRE(percpu().disable());
    REQUIRE(cpu.enable());
    {
        Machine m(spin);
        Slot slots[2];
        Vm<NestingHost> vm{{.id = 8, .stage2 = &m.stage2, .vcpus = slots, .ram = m.ram}};
        auto one = Vcpu<NestingHost>::create(slots[0], vm, {.id = 0, .entry = m.at(spin)}), two = Vcpu<NestingHost>::create(slots[1], vm, {.id = 1, .entry = m.at(spin)});
        REQUIRE((one && two));
        auto b = cpu.bind(*one);
        REQUIRE(b);
        nested = &b;
        other_vcpu = &*two;
        NestingHost::inside = []() noexcept {
            auto record = [n = std::size_t{0}](const auto& r) mutable { if (!r) nested_answers[n] = r.error(); ++n; };
            record(nested->run());
            record(nested->switch_to(*other_vcpu));
            record(nested->complete());
            record(nested->retry());
            record(nested->vcpu().reset(ram_base));
            record(cpu.disable());
            static_cast<void>(nested->vcpu().post(Event::kick));  // the run has gone on, and ends
        };
        runtime::mask_interrupts();
        runtime::send_interrupt(runtime::this_cpu(), 0);
        const auto e = b.run(runtime::now() + 30 * runtime::frequency());
        REQUIRE(e);
        CHECK(e->is<exit::Kicked>());
        const auto running = static_cast<std::uint64_t>(State::running), ready = static_cast<std::uint64_t>(State::ready);
        for (const auto n : {0u, 1u}) {
            REQUIRE(nested_answers[n]);
            CHECK(*nested_answers[n] == Error{Code::bad_state, nullptr, ready, running});
        }
        for (const auto n : {2u, 3u}) {
            REQUIRE(nested_answers[n]);
            CHECK(nested_answers[n]->code == Code::no_exit);
        }
        for (const auto n : {4u, 5u}) {
            REQUIRE(nested_answers[n]);
            CHECK(nested_answers[n]->code == Code::bad_state);
        }
        CHECK(two->state() == State::free);
        NestingHost::inside = nullptr;
    }
    REQUIRE(cpu.disable());
    REQUIRE(percpu().enable());
}
