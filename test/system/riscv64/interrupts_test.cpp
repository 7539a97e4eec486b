// Software, timer and external interrupts: of a guest that runs, waits, or is not bound.
#include <catch2/catch_test_macros.hpp>
#include "../harness.hpp"

using namespace harness;

// Takes interrupts for ever: s2 counts, s3 is the last cause; the vector silences what it took. a1: what to enable in sie.
asm(R"(
    .pushsection .guest_payload,"ax"
    .option push
    .option norvc
    .balign 4
take_one:
    csrr t0, scause
    addi s2, s2, 1
    mv   s3, t0
    li   t1, 0xFF
    and  t0, t0, t1
    li   t1, 1
    beq  t0, t1, 1f
    li   t1, 5
    beq  t0, t1, 2f
    li   t0, 0x0C201004          # PLIC: claim of hart 0, S-mode
    lw   s4, (t0)
    li   t1, 0x10000100          # the device's line falls before the end
    sw   s4, (t1)
    sw   s4, (t0)
    sret
1:  csrci sip, 2
    sret
2:  li   a7, 0x54494D45          # no timer any more
    li   a6, 0
    li   a0, -1
    ecall
    sret
    .option pop
    .popsection
)");
GUEST(interrupted, "la t0, take_one\ncsrw stvec, t0\nli s2, 0\nli s3, 0\ncsrw sie, a1\ncsrsi sstatus, 2\n1: mv a0, s2\nmv a1, s3\nmv a2, s4\n" REPORT "j 1b\n");

// The same, without a report before the first interrupt; waiting for it.
GUEST(interrupted_silent, "la t0, take_one\ncsrw stvec, t0\nli s2, 0\ncsrw sie, a1\ncsrsi sstatus, 2\n1: beqz s2, 1b\nmv a0, s2\nmv a1, s3\nmv a2, s4\n" REPORT);
GUEST(interrupted_halted, "la t0, take_one\ncsrw stvec, t0\nli s2, 0\ncsrw sie, a1\ncsrsi sstatus, 2\n1: wfi\nbeqz s2, 1b\nmv a0, s2\nmv a1, s3\nmv a2, s4\n" REPORT);

namespace {
struct Report { std::uint64_t count, cause, source, second; };  // cause: the code in the second word
/// Runs until the next report; device writes of the handler lower the PLIC's line.
auto next(Machine& m, Vcpu<Host>::Bound& b) -> Report {
    for (;;) {
        const auto e = b.run(runtime::now() + 30 * runtime::frequency());
        REQUIRE(e);
        if (e->is<exit::ExternalInterrupt>()) {
            take_interrupts();
            continue;
        }
        if (const auto w = e->get<exit::MmioWrite>()) {
            m.controller.set_line(static_cast<std::uint32_t>(w->value), false);
            REQUIRE(b.complete());
            continue;
        }
        INFO("left with " << exit_names[e->index()]);
        const auto h = e->get<exit::Hypercall>();
        REQUIRE(h);
        REQUIRE(b.complete());
        return {h->args[0], h->args[1] & 0xFF, h->args[2], h->args[1]};
    }
}
constexpr std::uint64_t soft = 2, timer = 0x20, external = 0x200;
}  // namespace

TEST_CASE("a software interrupt to oneself is taken at once, and once", "[interrupt]") {
    Machine m(interrupted, soft);
    auto b = percpu().bind(m.vcpu());
    CHECK(next(m, b).count == 0);
    m.vcpu().core().software_interrupt = true;
    m.vm.core().notify(0, Event::interrupt);
    const auto r = next(m, b);
    CHECK(r.count == 1);
    CHECK(r.cause == 1);
    CHECK(next(m, b).count == 1);
}

namespace {
void write(Machine& m, std::uint64_t offset, std::uint32_t value) {
    DeviceAccess a{plic_base + offset, value, 4, true};
    REQUIRE(m.controller.access(0, a));
}
}  // namespace

TEST_CASE("a device's line reaches the guest through the PLIC, and again while it is high", "[interrupt][plic]") {
    Machine m(interrupted, external, {.controller = true});
    write(m, 4 * 7, 3);               // priority of source 7
    write(m, 0x2080, 1 << 7);         // enabled for hart 0, S-mode
    auto b = percpu().bind(m.vcpu());
    CHECK(next(m, b).count == 0);
    m.controller.set_line(7, true);
    auto r = next(m, b);
    CHECK(r.count == 1);
    CHECK(r.cause == 9);
    CHECK(r.source == 7);
    CHECK(next(m, b).count == 1);
    m.controller.set_line(7, true);
    CHECK(next(m, b).count == 2);
    write(m, 4 * 7, 0);               // priority 0 is never delivered
    m.controller.set_line(7, true);
    CHECK(next(m, b).count == 2);
}

TEST_CASE("a device's line that another hart raises reaches the guest through the PLIC: running, halted, unbound", "[smp][interrupt][plic]") {
    if (!have_cpu(1)) SKIP("one hart");
    for (const auto place : {State::running, State::blocked, State::free}) {
        INFO("place " << static_cast<int>(place));
        Machine m(place == State::blocked ? interrupted_halted : interrupted_silent, external, {.controller = true});
        write(m, 4 * 7, 3);
        write(m, 0x2080, 1 << 7);
        auto raise = [&]() noexcept {
            if (place == State::running) while (m.vcpu().state() != State::running) {}
            m.controller.set_line(7, true);
        };
        std::optional<OnCpu> job;
        if (place != State::running) {
            {
                auto b = percpu().bind(m.vcpu());
                const auto e = run_on(b, place == State::blocked ? runtime::now() + 30 * runtime::frequency() : runtime::now() + runtime::frequency() / 1'000);
                REQUIRE(e);
                CHECK(e->is<exit::Halt>() == (place == State::blocked));
                if (e->kind() == ExitKind::instruction) REQUIRE(b.complete());
            }
            if (place == State::blocked) REQUIRE(m.vcpu().block().value_or(false));
            const auto before = wakes();
            OnCpu(1, raise).wait();
            CHECK(wakes() - before == (place == State::blocked));
            if (place == State::blocked) REQUIRE(m.vcpu().unblock());
        } else {
            job.emplace(1, raise);
        }
        auto b = percpu().bind(m.vcpu());
        const auto r = next(m, b);
        CHECK(r.count == 1);
        CHECK(r.cause == 9);
        CHECK(r.source == 7);
    }
}

TEST_CASE("the completion of an interrupt, where it is asked for, is an exit; a kick beside it is not lost", "[interrupt][plic][event]") {
    Machine m(interrupted, external, {.controller = true});
    write(m, 4 * 7, 3);
    write(m, 0x2080, 1 << 7);
    m.controller.tell_end(7, true);
    auto b = percpu().bind(m.vcpu());
    CHECK(next(m, b).count == 0);
    m.controller.set_line(7, true);
    auto e = b.run();
    REQUIRE(e);
    REQUIRE(e->is<exit::MmioWrite>());  // the guest's handler, before it ends it
    m.controller.set_line(7, false);
    REQUIRE(b.complete());
    e = b.run();
    REQUIRE(e);
    INFO("left with " << exit_names[e->index()]);
    REQUIRE(e->is<exit::EndOfInterrupt>());
    CHECK(e->get<exit::EndOfInterrupt>()->vector == 7);
    CHECK_FALSE(b.complete());  // nothing is outstanding
    static_cast<void>(m.vcpu().post(Event::kick));
    e = b.run();
    REQUIRE(e);
    CHECK(e->is<exit::Kicked>());
    CHECK(next(m, b).count == 1);
}

TEST_CASE("a line that goes down while the vCPU is not bound does not show when it is again", "[interrupt][plic]") {
    Machine m(wait_forever, 0, {.controller = true});
    write(m, 4 * 7, 3);
    write(m, 0x2080, 1 << 7);
    m.controller.set_line(7, true);
    {
        auto b = percpu().bind(m.vcpu());
        REQUIRE(b.run(runtime::now() + runtime::frequency() / 1000));
        CHECK((arch::read<"hvip">() & 1 << 10) != 0);
    }
    write(m, 0x2080, 0);  // as when another hart has claimed it
    auto b = percpu().bind(m.vcpu());
    CHECK((arch::read<"hvip">() & 1 << 10) == 0);
}

TEST_CASE("what is pending in the controller reaches a vCPU that starts anew, or is given another hvip", "[interrupt][plic]") {
    Machine m(wait_forever, 0, {.controller = true});
    write(m, 4 * 7, 3);
    write(m, 0x2080, 1 << 7);
    m.controller.set_line(7, true);
    const auto shows = [&] {
        auto b = percpu().bind(m.vcpu());
        REQUIRE(b.run(runtime::now() + runtime::frequency() / 1000));
        return (arch::read<"hvip">() & 1 << 10) != 0;
    };
    CHECK(shows());
    REQUIRE(m.vcpu().reset(m.at(wait_forever)));
    CHECK(shows());
    REQUIRE(m.vcpu().set(id<"hvip">(), 0));
    CHECK(shows());
}

TEST_CASE("nothing that a guest has enabled and pending keeps the host's hart awake", "[interrupt][host]") {
    Machine m(wait_forever);
    REQUIRE(m.vcpu().set(id<"vsie">(), soft));
    REQUIRE(m.vcpu().set(id<"hvip">(), 4));
    { auto b = percpu().bind(m.vcpu()); CHECK((arch::read<"hie">() & 4) != 0); }
    CHECK(arch::read<"hie">() == 0);
    CHECK(*m.vcpu().get(id<"vsie">()) == soft);
}

GUEST(sbi_timer, "la t0, take_one\ncsrw stvec, t0\nli s2, 0\nrdtime a0\nadd a0, a0, a1\nmv s5, a0\nli a7, 0x54494D45\nli a6, 0\necall\nli t0, 0x20\ncsrw sie, t0\ncsrsi sstatus, 2\n1: beqz s2, 1b\nrdtime a0\nmv a1, s5\nmv a2, s2\n" REPORT "j 1b\n");

TEST_CASE("a timer set through the SBI fires in a running guest, on time and once", "[timer][R6]") {
    for (const bool sstc : {true, false}) {
        Machine m(sbi_timer, runtime::frequency() / 200);
        Slot slot[1];
        Vm<Host> vm{{.id = 3, .stage2 = &m.stage2, .vcpus = slot, .ram = m.ram, .sstc = sstc}};
        auto v = Vcpu<Host>::create(slot[0], vm, {.entry = m.at(sbi_timer), .arg = runtime::frequency() / 200});
        REQUIRE(v);
        auto b = percpu().bind(*v);
        const auto r = next(m, b);
        CHECK(r.count >= r.second);  // time, and when it was set to
        CHECK(r.count < r.second + wanted("late", 10'000'000) * runtime::frequency() / 1'000'000);  // a busy machine is slow, one that counts instructions is not
        const auto e = v->get(arch::registers[arch::index<"x">].id(18));
        CHECK(*e == 1);
        REQUIRE(next(m, b).source == 1);
    }
}

TEST_CASE("a halted, unbound vCPU names the time at which its timer fires, and the timer fires when it is back", "[timer][R6][R7]") {
    for (const bool sstc : {true, false}) {
        Machine m(wait_forever);
        Slot slot[1];
        Vm<Host> vm{{.id = 3, .stage2 = &m.stage2, .vcpus = slot, .ram = m.ram, .sstc = sstc}};
        auto v = Vcpu<Host>::create(slot[0], vm, {.entry = m.at(wait_forever)});
        REQUIRE(v);
        {
            auto b = percpu().bind(*v);
            REQUIRE(v->set(id<"vsie">(), timer));
            const auto e = b.run();
            REQUIRE(e);
            REQUIRE(e->is<exit::Halt>());
        }
        CHECK(v->deadline() == no_deadline);
        const auto at = runtime::now() + runtime::frequency() / 100;
        const auto guest = at + vm.core().time_delta;
        if (v->core().has(arch::Vcpu::has_sstc)) {
            REQUIRE(v->set(id<"vstimecmp">(), guest));
        } else {  // as an SBI call would have
            v->core().timer_at = guest;
            v->core().set(arch::Vcpu::soft_timer, true);
        }
        CHECK(v->deadline() == at);
        while (runtime::now() < at) {}
        auto b = percpu().bind(*v);
        CHECK((arch::read<"vsip">() & timer) != 0);
    }
}

TEST_CASE("an interrupt posted to a halted, unbound, blocked vCPU wakes it and is delivered", "[interrupt][mailbox][R24b]") {
    Machine m(wait_forever);
    REQUIRE(m.vcpu().set(id<"vsie">(), soft));
    {
        auto b = percpu().bind(m.vcpu());
        const auto e = b.run();
        REQUIRE(e->is<exit::Halt>());
    }
    const auto blocked = m.vcpu().block();
    REQUIRE(blocked);
    REQUIRE(*blocked);
    const auto before = wakes();
    m.vcpu().core().software_interrupt = true;
    m.vm.core().notify(0, Event::interrupt);
    CHECK(wakes() == before + 1);
    REQUIRE(m.vcpu().unblock());
    CHECK((arch::read<"hvip">() & 4) == 0);  // nothing shows while it is not bound (R24b)
    auto b = percpu().bind(m.vcpu());
    REQUIRE(b.run(runtime::now() + runtime::frequency() / 1000));
    CHECK((arch::read<"hvip">() & 4) != 0);
}

TEST_CASE("what is pending for one vCPU does not show in the next", "[interrupt][R7]") {
    Machine m(wait_forever, 0, {.vcpus = 2});
    REQUIRE(m.vcpu().set(id<"hvip">(), 4));
    { auto b = percpu().bind(m.vcpu()); CHECK((arch::read<"hvip">() & 4) != 0); }
    REQUIRE(m.vcpu(1).reset(m.at(wait_forever)));
    { auto b = percpu().bind(m.vcpu(1)); REQUIRE(b); CHECK((arch::read<"hvip">() & 4) == 0); }
    { auto b = percpu().bind(m.vcpu()); CHECK((arch::read<"hvip">() & 4) != 0); }
}

GUEST(software_pending, "csrw sie, zero\nli a7, 0x735049\nli a6, 0\nli a0, 1\nli a1, 0\necall\n" REPORT "csrr a0, sip\n" REPORT);

TEST_CASE("an interrupt that the guest has not taken yet is still pending after another vCPU ran", "[interrupt][R7]") {
    Machine m(software_pending, 0, {.vcpus = 2});
    REQUIRE(m.vcpu(1).reset(m.at(call_forever)));
    {
        auto b = percpu().bind(m.vcpu());
        REQUIRE(b.run());
        REQUIRE(b.complete());
    }
    {
        auto b = percpu().bind(m.vcpu(1));
        REQUIRE(b.run());
    }
    auto b = percpu().bind(m.vcpu());
    const auto e = b.run();
    REQUIRE(e);
    REQUIRE(e->is<exit::Hypercall>());
    CHECK(e->get<exit::Hypercall>()->args[0] == 2);
}
