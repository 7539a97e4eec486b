// Several CPUs: vCPUs that move, kicks, one clock.
#include <catch2/catch_test_macros.hpp>
#include "harness.hpp"

using namespace harness;

TEST_CASE("a vCPU that moves to another CPU takes all its state along", "[smp][canary]") {
    if (!have_cpu(1)) SKIP("one CPU");
    Machine m(keep_fp, 0x4045'0000'0000'9876);
    auto& vcpu = m.vcpu();
    for (int i = 0; i < 20; ++i) {
        // [move]
        {
            auto b = percpu().bind(vcpu);                                // on this CPU
            const auto e = b.run();
            REQUIRE(e);
            REQUIRE(e->is<exit::Hypercall>());
            REQUIRE(e->get<exit::Hypercall>()->args[1] == 0x4045'0000'0000'9876);
            REQUIRE(b.complete());
        }                                                                // out of scope: it is nowhere
        const auto left = RunsOn(1, vcpu).wait();                        // CPU 1 binds and runs it
        // [end]
        REQUIRE(left == Exit::index_of<exit::Hypercall>());
    }
}

TEST_CASE("a unique value in every register of the table survives moves from CPU to CPU", "[smp][canary]") {
    if (!have_cpu(1)) SKIP("one CPU");
    Machine m(call_forever);
    std::optional<Canary<Host>> mine;
    unsigned changed = 0, runs = 0;
    auto once = [&]() noexcept {
        auto b = percpu().bind(m.vcpu());
        if (mine) changed += mine->changed(m.vcpu());
        const auto e = run_on(b);
        runs += e && e->is<exit::Hypercall>();
        if (mine) changed += mine->changed(m.vcpu());
        static_cast<void>(b.complete());
    };
    once();
    {
        auto b = percpu().bind(m.vcpu());
        mine.emplace(m.vcpu(), 2);
    }
    for (int round = 0; round < 4; ++round) {
        OnCpu(1, once).wait();
        once();
    }
    CHECK(mine->size() > kept_registers().size() + 10);
    CHECK(runs == 9);
    CHECK(changed == 0);
}

TEST_CASE("a kick from another CPU ends a guest that does nothing", "[smp][mailbox]") {
    if (!have_cpu(1)) SKIP("one CPU");
    Machine m(spin);
    for (int i = 0; i < 200; ++i) {
        RunsOn other(1, m.vcpu());
        // At any moment: before the bind, between publishing and entry, in the guest.
        for (volatile int wait = i * 37 % 1000; wait > 0; wait = wait - 1) {}
        m.vm.core().notify(0, Event::kick);
        REQUIRE(other.wait() == Exit::index_of<exit::Kicked>());
    }
}

TEST_CASE("a vCPU bound on one CPU is refused on another", "[smp][misuse]") {
    if (!have_cpu(1)) SKIP("one CPU");
    Machine m(spin);
    RunsOn other(1, m.vcpu());
    while (m.vcpu().state() != State::running) {}
    auto b = percpu().bind(m.vcpu());
    CHECK_FALSE(b);
    CHECK(b.error().code == Code::bad_state);
    const auto refused = m.vcpu().get(pc_id).error().code;  // it may have left for a moment, and is another CPU's even so
    CHECK((refused == Code::bad_state || refused == Code::wrong_cpu));
    m.vm.core().notify(0, Event::kick);
    CHECK(other.wait() == Exit::index_of<exit::Kicked>());
}

namespace {
/// A kick goes round: each vCPU, when it is kicked, kicks the next one and enters again. One that is lost ends the round.
struct Ring {
    Machine& m;
    unsigned cpus;
    std::uint64_t wanted;
    std::atomic<std::uint64_t> kicks{0};
    std::atomic<unsigned> ready{0};
    std::atomic<bool> over{false}, lost{false};
    void go(unsigned id) noexcept {
        auto b = percpu().bind(m.vcpu(id));
        ++ready;
        while (b && !over) {
            const auto e = run_on(b, runtime::now() + 30 * runtime::frequency());
            if (!e || e->is<exit::TimerExpired>()) { lost = true; break; }
            if (!e->is<exit::Kicked>()) continue;
            if (++kicks == wanted) break;
            m.vm.core().notify((id + 1) % cpus, Event::kick);
            // Where the emulator runs one CPU at a time: half of the kicks come back before it enters, half when it has entered.
            if (kicks / cpus % 2 == 0) let_others_run();
        }
        over = true;
        m.vm.core().notify((id + 1) % cpus, Event::kick);
    }
};
}  // namespace

TEST_CASE("no kick is lost, of many that are sent while their target enters", "[smp][mailbox][A22]") {
    if (!have_cpu(1)) SKIP("one CPU");
    const unsigned cpus = have_cpu(2) && have_cpu(3) ? 4 : 2;
    Machine m(spin, 0, {.vcpus = cpus});
    for (unsigned i = 1; i < cpus; ++i) REQUIRE(m.vcpu(i).reset(m.at(spin)));
    Ring ring{m, cpus, wanted("kicks", 5'000)};
    const auto on = [&](unsigned id) { return [&ring, id] { ring.go(id); }; };
    auto one = on(1), two = on(2), three = on(3);
    std::optional<OnCpu> first(std::in_place, 1, one), second, third;
    if (cpus == 4) { second.emplace(2, two); third.emplace(3, three); }
    while (ring.ready != cpus - 1) {}
    m.vm.core().notify(1, Event::kick);
    ring.go(0);
    first->wait();
    if (cpus == 4) { second->wait(); third->wait(); }
    CHECK_FALSE(ring.lost);
    CHECK(ring.kicks >= ring.wanted);
}

TEST_CASE("one clock for the VM: no vCPU ever shows less than another has shown, on whatever CPU", "[smp][timer][A16]") {
    if (!have_cpu(1)) SKIP("one CPU");
    Machine m(report_clock, 0, {.vcpus = 2});
    REQUIRE(m.vcpu(1).reset(m.at(report_clock)));
    std::uint64_t last = 0, went_back = 0, seen = 0;
    auto look = [&](unsigned id) noexcept {
        auto b = percpu().bind(m.vcpu(id));
        for (unsigned i = 0; b && i < 4;) {
            const auto e = run_on(b);
            if (!e) return;
            const auto h = e->get<exit::Hypercall>();
            if (!h) continue;
            went_back += h->args[0] < last;
            last = h->args[0];
            ++seen;
            ++i;
            static_cast<void>(b.complete());
        }
    };
    for (unsigned i = 0; i < 200; ++i) {
        auto there = [&]() noexcept { look(i / 2 % 2); };
        if (i % 2 == 0) look(i / 2 % 2);
        else OnCpu(1, there).wait();
    }
    CHECK(seen == 800);
    CHECK(went_back == 0);
}
