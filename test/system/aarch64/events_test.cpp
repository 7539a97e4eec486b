// Exits after which nothing is outstanding, and those that end a vCPU: no answer is taken, and none changes anything.
#include <catch2/catch_test_macros.hpp>
#include "../harness.hpp"
#include "../fields.hpp"

using namespace harness;

GUEST(psci_then_report, VECTORS "mov x1, x0\nlsr x1, x1, #32\nhvc #0\nmov x1, x0\n" REPORT);  // x0: the function, and above it the first argument
GUEST(breaks_once, "mov x1, #1\nbrk #9\nmov x1, #2\n" REPORT);

namespace {

/// Every register that can be read.
struct Snapshot {
    explicit Snapshot(Machine& m) : values(Vcpu<Host>::snapshot_size) {
        const auto n = m.vcpu().snapshot(values);
        REQUIRE(n);
        values.resize(*n);
    }
    friend auto operator==(const Snapshot& a, const Snapshot& b) -> bool {
        return std::ranges::equal(a.values, b.values, [](const reg::Value& x, const reg::Value& y) { return x.id == y.id && x.low == y.low && x.high == y.high; });
    }
    std::vector<reg::Value> values;
};

/// After an exit: nothing can be answered, and asking has changed no register.
void refuses_answers(Machine& m, Vcpu<Host>::Bound& b) {
    const Snapshot before(m);
    CHECK(b.complete(5).error().code == Code::no_exit);
    CHECK(b.fail().error().code == Code::no_exit);
    CHECK(b.retry().error().code == Code::no_exit);
    CHECK(before == Snapshot(m));
}

auto leaves(Vcpu<Host>::Bound& b, std::uint64_t deadline = runtime::now() + 30 * runtime::frequency()) -> Exit {
    const auto e = b.run(deadline);
    REQUIRE(e);
    return *e;
}

}  // namespace

TEST_CASE("the exit table: what ends a vCPU takes no answer, and a reset begins anew", "[table][power]") {
    struct { std::uint64_t function; Exit expected; } rows[]{
        {0x8400'0002, exit::CpuDown{}},
        {0x8400'0008, exit::SystemDown{}},
        {0x8400'0009, exit::SystemReset{0}},
        {0xC400'0012, exit::SystemReset{1}},
        {0x8400'0012 | std::uint64_t{0x8000'0005} << 32, exit::SystemReset{0x8000'0005}},
    };
    for (const auto& row : rows) {
        INFO(std::hex << row.function);
        Machine m(psci_then_report, row.function);
        {
            auto b = percpu().bind(m.vcpu());
            const auto e = leaves(b);
            CHECK(e.index() == row.expected.index());
            CHECK(e.kind() == ExitKind::terminal);
            CHECK(fields(e) == fields(row.expected));
            refuses_answers(m, b);
            const auto refused = b.run();
            CHECK(refused.error().code == Code::bad_state);
            CHECK(refused.error().expected == static_cast<std::uint64_t>(State::ready));
            refuses_answers(m, b);
        }
        CHECK(m.vcpu().state() == State::off);
        CHECK(percpu().bind(m.vcpu()).error().code == Code::bad_state);
        REQUIRE(m.vcpu().reset(m.at(psci_then_report), 0x8400'0000));
        auto b = percpu().bind(m.vcpu());
        CHECK(leaves(b).get<exit::Hypercall>()->args[0] == 0x1'0001);  // PSCI_VERSION
    }
}

TEST_CASE("the exit table: events leave nothing outstanding", "[table][event]") {
    Machine m(spin);
    auto b = percpu().bind(m.vcpu());
    for (int i = 0; i < 2; ++i) {
        static_cast<void>(m.vcpu().post(Event::kick));
        CHECK(leaves(b).is<exit::Kicked>());
        refuses_answers(m, b);
        const auto until = runtime::now() + runtime::frequency() / 200;
        CHECK(leaves(b, until).is<exit::TimerExpired>());
        CHECK(runtime::now() >= until);
        refuses_answers(m, b);
        runtime::mask_interrupts();
        runtime::send_interrupt(0, 1);
        CHECK(leaves(b).is<exit::ExternalInterrupt>());
        refuses_answers(m, b);
        CHECK(leaves(b).is<exit::ExternalInterrupt>());  // pending until the host takes it
        take_interrupts();
    }
}

TEST_CASE("the exit table: Debug has the syndrome and the instruction, and takes no answer", "[table][debug]") {
    Machine m(breaks_once);
    REQUIRE(m.vcpu().set_debug({.software_breakpoints = true}));
    auto b = percpu().bind(m.vcpu());
    for (int again = 0; again < 2; ++again) {
        const auto e = leaves(b);
        REQUIRE(e.is<exit::Debug>());
        CHECK(fields(e) == std::vector<std::uint64_t>{std::uint64_t{0x3C} << 26 | 1 << 25 | 9, m.at(breaks_once).value + 4});
        refuses_answers(m, b);
    }
    REQUIRE(m.vcpu().set(pc_id, m.at(breaks_once).value + 8));
    CHECK(leaves(b).get<exit::Hypercall>()->args[0] == 2);
}

// --- an interrupt of group 0, which comes to EL2 as an FIQ ----------------------------------------------------------
namespace {

constexpr unsigned fiq = 9;  // an SGI that nothing else uses
volatile std::uint32_t& redistributor(std::uint64_t offset) {
    return *reinterpret_cast<volatile std::uint32_t*>(reinterpret_cast<std::uint64_t>(runtime::local_interrupt_controller()) + offset);
}
void send_group0() noexcept {  // to CPU 0: ICC_SGI0R_EL1
    asm volatile("dsb ishst\n msr S3_0_C12_C11_7, %0\n isb" :: "r"(std::uint64_t{fiq} << 24 | 1) : "memory");
}
auto highest_pending() -> std::uint64_t {  // ICC_HPPIR0_EL1
    std::uint64_t id;
    asm volatile("mrs %0, S3_0_C12_C8_2" : "=r"(id));
    return id & 0xFF'FFFF;
}
/// Group 0 is forwarded to this CPU, and the SGI is of it, while this lives. FIQs are masked at EL2 all the time.
struct Group0 {
    Group0() {
        distributor() = distributor() | 1;                              // GICD_CTLR.EnableGrp0
        redistributor(0x1'0080) = redistributor(0x1'0080) & ~(1u << fiq);  // GICR_IGROUPR0
        asm volatile("msr S3_0_C12_C12_6, %0\n isb" :: "r"(std::uint64_t{1}));  // ICC_IGRPEN0_EL1
    }
    ~Group0() {
        asm volatile("msr S3_0_C12_C12_6, %0\n isb" :: "r"(std::uint64_t{0}));
        redistributor(0x1'0080) = redistributor(0x1'0080) | 1u << fiq;
        distributor() = distributor() & ~1u;
    }
    static auto distributor() -> volatile std::uint32_t& { return *reinterpret_cast<volatile std::uint32_t*>(0x0800'0000); }
    /// Acknowledges and ends it: ICC_IAR0_EL1, ICC_EOIR0_EL1.
    static auto take() -> std::uint64_t {
        std::uint64_t id;
        asm volatile("mrs %0, S3_0_C12_C8_0\n msr S3_0_C12_C8_1, %0\n isb" : "=r"(id) :: "memory");
        return id;
    }
};

}  // namespace

TEST_CASE("an FIQ ends the run as ExternalInterrupt, pending and not acknowledged", "[event][A18]") {
    Group0 on;
    Machine m(spin);
    auto b = percpu().bind(m.vcpu());
    for (int i = 0; i < 3; ++i) {
        CHECK(highest_pending() == 1023);
        send_group0();
        for (int again = 0; again < 2; ++again) {
            CHECK(leaves(b).is<exit::ExternalInterrupt>());
            CHECK(highest_pending() == fiq);
        }
        CHECK(Group0::take() == fiq);
        CHECK(leaves(b, runtime::now() + runtime::frequency() / 200).is<exit::TimerExpired>());
    }
}

TEST_CASE("an FIQ that comes while the guest runs ends the run", "[event][smp][A18]") {
    if (!have_cpu(1)) SKIP("one CPU");
    Group0 on;
    Machine m(spin);
    auto b = percpu().bind(m.vcpu());
    for (int i = 0; i < 20; ++i) {
        auto work = [&]() noexcept {
            while (m.vcpu().state() != State::running) {}
            for (volatile int wait = i * 97; wait > 0; wait = wait - 1) {}
            send_group0();
        };
        OnCpu other(1, work);
        CHECK(leaves(b).is<exit::ExternalInterrupt>());
        other.wait();
        CHECK(highest_pending() == fiq);
        CHECK(Group0::take() == fiq);
    }
}
