// The guest's timers and its clock: on time while it runs, is halted, is not bound.
#include "gic.hpp"

using namespace harness;

namespace {
/// `late`: ticks of the guest's clock by which it has been told after the compare value. A busy machine is slow, but not this slow; where
/// the machine's clock counts instructions, `late=N` (microseconds) says what is in time.
void in_time(std::uint64_t late) {
    CHECK(static_cast<std::int64_t>(late) >= 0);
    CHECK(static_cast<std::int64_t>(late) < static_cast<std::int64_t>(wanted("late", 10'000'000) * runtime::frequency() / 1'000'000));
}
}  // namespace

GUEST(timer_guest, GIC_ON "mov x23, #1\nmrs x9, CNTVCT_EL0\nadd x9, x9, x0\nmsr CNTV_CVAL_EL0, x9\nmov x10, #1\nmsr CNTV_CTL_EL0, x10\nisb\n1: cbz x21, 1b\nmrs x1, CNTVCT_EL0\nsub x1, x1, x9\nmov x2, x21\n" REPORT);

TEST_CASE("the virtual timer fires on time in a running guest, once", "[timer][A15]") {
    Machine m(timer_guest, 100'000, {.controller = true});
    auto b = percpu().bind(m.vcpu());
    const auto r = run_to_report(b, false);
    in_time(r[0]);
    CHECK(r[1] == 1);
    CHECK(taken(m, 0) == 27);
}

GUEST(timer_wfi, GIC_ON "mov x23, #1\nmrs x9, CNTVCT_EL0\nadd x9, x9, x0\nmsr CNTV_CVAL_EL0, x9\nmov x10, #1\nmsr CNTV_CTL_EL0, x10\nisb\n1: wfi\ncbz x21, 1b\nmrs x1, CNTVCT_EL0\nsub x1, x1, x9\nmov x2, x21\n" REPORT);

TEST_CASE("the virtual timer fires on time in a halted guest, bound all the time", "[timer][A15]") {
    Machine m(timer_wfi, runtime::frequency() / 200, {.controller = true});
    auto b = percpu().bind(m.vcpu());
    const auto r = run_to_report(b, false);
    in_time(r[0]);
    CHECK(r[1] == 1);
    CHECK(taken(m, 0) == 27);
}

TEST_CASE("a halted, unbound vCPU names the time at which its timer fires, and the timer fires when it is back", "[timer][A15]") {
    Machine m(timer_wfi, runtime::frequency() / 4, {.controller = true});
    const auto start = runtime::now();
    {
        auto b = percpu().bind(m.vcpu());
        const auto e = b.run();
        REQUIRE(e);
        REQUIRE(e->is<exit::Halt>());
        REQUIRE(b.complete());
        CHECK(m.vcpu().deadline() == no_deadline);  // it is bound: the hardware sees to it
    }
    const auto deadline = m.vcpu().deadline();
    CHECK(deadline == get<"CNTV_CVAL_EL0">(m) + m.vm.core().counter_offset);
    CHECK(deadline > start);
    CHECK(deadline < start + 30 * runtime::frequency());
    while (runtime::now() < deadline) {}
    auto b = percpu().bind(m.vcpu());
    const auto r = run_to_report(b, false);
    in_time(r[0]);
    CHECK(r[1] == 1);
}

GUEST(physical_timer, GIC_ON "msr DAIFSet, #2\nmrs x9, CNTPCT_EL0\nadd x9, x9, x0\nmsr CNTP_CVAL_EL0, x9\nmov x10, #1\nmsr CNTP_CTL_EL0, x10\n1: mrs x1, CNTP_CTL_EL0\ntbz x1, #2, 1b\nmov x10, #3\nmsr CNTP_CTL_EL0, x10\nmrs x2, CNTVCT_EL0\nmrs x3, CNTPCT_EL0\nmrs x4, ISR_EL1\nmsr DAIFClr, #2\nisb\nmov x5, x21\n" REPORT);

TEST_CASE("EL1's physical timer is emulated, on the VM's own clock", "[timer][A16]") {
    Machine m(physical_timer, 200'000, {.controller = true});
    auto b = percpu().bind(m.vcpu());
    const auto r = run_to_report(b);
    CHECK((r[0] & 7) == 5);       // ENABLE, ISTATUS
    CHECK(r[3] == 0);             // masked again: its line is low
    CHECK(r[4] == 0);
    CHECK(r[2] >= r[1]);          // both counters show the same time
    CHECK(r[2] - r[1] < runtime::frequency());
}

GUEST(physical_taken, GIC_ON "mov x23, #1\nmrs x9, CNTPCT_EL0\nadd x9, x9, x0\nmsr CNTP_CVAL_EL0, x9\nmov x10, #1\nmsr CNTP_CTL_EL0, x10\n1: cbz x21, 1b\nmrs x1, CNTPCT_EL0\nsub x1, x1, x9\nmov x2, x21\n" REPORT);

TEST_CASE("the interrupt of EL1's physical timer is taken on time, once, in a running guest", "[timer][A16]") {
    Machine m(physical_taken, 100'000, {.controller = true});
    auto b = percpu().bind(m.vcpu());
    const auto r = run_to_report(b, false);
    in_time(r[0]);
    CHECK(r[1] == 1);
    CHECK(taken(m, 0) == 30);
}

GUEST(clock_guest, "mrs x1, CNTVCT_EL0\n" REPORT);

TEST_CASE("one clock for the VM: it starts near zero and its vCPUs agree", "[timer][A16]") {
    Machine m(clock_guest);
    auto b = percpu().bind(m.vcpu());
    const auto first = run_to_report(b)[0];
    CHECK(first < runtime::frequency() * 60);
    CHECK(m.vm.core().counter_offset + first <= runtime::now());
}

TEST_CASE("one clock for the VM: a vCPU made a second later shows the time of the first, and none goes back", "[timer][A16]") {
    Machine m(clock_guest, 0, {.vcpus = 2});
    std::uint64_t last = 0;
    for (int round = 0; round < 3; ++round) {
        for (unsigned i = 0; i < 2; ++i) {
            REQUIRE(m.vcpu(i).reset(m.at(clock_guest)));
            const auto before = runtime::now();
            auto b = percpu().bind(m.vcpu(i));
            const auto seen = run_to_report(b)[0];
            CHECK(seen >= last);
            CHECK(seen >= before - m.vm.core().counter_offset);
            CHECK(seen <= runtime::now() - m.vm.core().counter_offset);
            last = seen;
            while (runtime::now() < before + runtime::frequency() / 20) {}
        }
    }
}

TEST_CASE("a guest's timer does not run on in the host, nor where its vCPU has been", "[timer][A15]") {
    Machine m(timer_wfi, runtime::frequency(), {.controller = true});
    const bool e2h = (arch::read<"HCR_EL2">() >> 34 & 1) != 0;
    {
        auto b = percpu().bind(m.vcpu());
        const auto e = b.run();
        REQUIRE(e);
        REQUIRE(e->is<exit::Halt>());
        CHECK((arch::read_el1<"CNTV_CTL_EL0">(e2h) & 1) == 0);
    }
    CHECK((arch::read<"CNTV_CTL_EL0">() & 1) == 0);
}

GUEST(physical_wfi, GIC_ON "mrs x9, CNTPCT_EL0\nadd x9, x9, x0\nmsr CNTP_CVAL_EL0, x9\nmov x10, #1\nmsr CNTP_CTL_EL0, x10\nmsr DAIFSet, #2\n1: wfi\nmrs x11, ISR_EL1\ncbz x11, 1b\nmov x10, #3\nmsr CNTP_CTL_EL0, x10\nmov x1, #77\n" REPORT);

TEST_CASE("the emulated physical timer wakes a guest that waits for it, bound or not", "[timer]") {
    Machine m(physical_wfi, runtime::frequency() / 4, {.controller = true});
    {
        auto b = percpu().bind(m.vcpu());
        const auto e = b.run();
        REQUIRE(e);
        REQUIRE(e->is<exit::Halt>());
        REQUIRE(b.complete());
    }
    const auto deadline = m.vcpu().deadline();
    CHECK(deadline == get<"CNTP_CVAL_EL0">(m) + m.vm.core().counter_offset);
    while (runtime::now() < deadline) {}
    auto b = percpu().bind(m.vcpu());
    CHECK(run_to_report(b)[0] == 77);
}

GUEST(physical_ignored, GIC_ON "msr DAIFSet, #2\nmsr CNTP_CVAL_EL0, xzr\nmov x10, #1\nmsr CNTP_CTL_EL0, x10\n1: b 1b\n");

TEST_CASE("a guest that lets its physical timer fire for ever keeps no host interrupt away", "[timer][hostile]") {
    static unsigned count = 0;
    count = 0;
    runtime::set_handler(2, [](unsigned) { ++count; });
    Machine m(physical_ignored, 0, {.controller = true});
    auto b = percpu().bind(m.vcpu());
    auto e = b.run(runtime::now() + runtime::frequency() / 100);
    REQUIRE(e);
    REQUIRE(e->is<exit::TimerExpired>());
    runtime::mask_interrupts();
    runtime::send_interrupt(0, 2);
    e = b.run(runtime::now() + 10 * runtime::frequency());
    REQUIRE(e);
    CHECK(e->is<exit::ExternalInterrupt>());
    take_interrupts();
    CHECK(count == 1);
}
