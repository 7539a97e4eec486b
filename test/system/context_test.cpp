// State: what belongs to a guest stays with it, what belongs to the host comes back, on this CPU and on another one.
#include <catch2/catch_test_macros.hpp>
#include "harness.hpp"

using namespace harness;

TEST_CASE("every general register survives the exit and the host's own work", "[canary]") {
    Machine m(call_forever);
    for (const auto r : kept_registers()) REQUIRE(m.vcpu().set(r, r.value ^ 0xC0DE'0000'0000'0000));
    auto b = percpu().bind(m.vcpu());
    for (int round = 0; round < 3; ++round) {
        REQUIRE(b.run());
        std::vector<double> work(100, 1.5);
        REQUIRE(std::accumulate(work.begin(), work.end(), 0.0) == 150.0);
        for (const auto r : kept_registers()) REQUIRE(*m.vcpu().get(r) == (r.value ^ 0xC0DE'0000'0000'0000));
        REQUIRE(b.complete());
    }
}

TEST_CASE("the guest finds every register behind an exit as it was", "[canary]") {
    Machine m(add_registers);
    auto b = percpu().bind(m.vcpu());
    for (int i = 0; i < 2; ++i) {
        const auto e = b.run();
        REQUIRE(e);
        const auto h = e->get<exit::Hypercall>();
        REQUIRE(h);
        if (i == 1) CHECK(h->args[0] == h->args[1]);
        std::vector<double> work(100, 1.5);
        REQUIRE(std::accumulate(work.begin(), work.end(), 0.0) == 150.0);
        REQUIRE(b.complete());
    }
}

TEST_CASE("a unique value in every register of the table survives a run and a switch of vCPUs", "[canary][A13][A14][A15][A22]") {
    Machine m(call_forever, 0, {.vcpus = 2});
    std::optional<Canary<Host>> mine;
    {
        auto b = percpu().bind(m.vcpu());
        mine.emplace(m.vcpu(), 0);
        CHECK(mine->size() > kept_registers().size() + 10);
        CHECK(mine->refused() == std::vector<std::string_view>{});
        CHECK(mine->changed(m.vcpu()) == 0);
        REQUIRE(b.run());
        CHECK(mine->changed(m.vcpu()) == 0);
        REQUIRE(b.complete());
    }
    CHECK(mine->changed(m.vcpu()) == 0);
    {   // another vCPU with other values on the same CPU
        REQUIRE(m.vcpu(1).reset(m.at(call_forever)));
        auto b = percpu().bind(m.vcpu(1));
        REQUIRE(b);
        const Canary<Host> others(m.vcpu(1), 1);
        CHECK(mine->changed(m.vcpu(1)) > others.size() / 2);
        REQUIRE(b.run());
        CHECK(others.changed(m.vcpu(1)) == 0);
    }
    auto b = percpu().bind(m.vcpu());
    CHECK(mine->changed(m.vcpu()) == 0);
    REQUIRE(b.run());
    CHECK(mine->changed(m.vcpu()) == 0);
}

TEST_CASE("floating-point registers belong to the guest, and the host's to the host", "[canary][A13]") {
    Machine m(keep_fp, 0x4045'0000'0000'1234);
    auto b = percpu().bind(m.vcpu());
    double sum = 1.25;
    for (int i = 0; i < 50; ++i) {
        const auto e = b.run();
        REQUIRE(e);
        REQUIRE(e->is<exit::Hypercall>());
        for (unsigned a = 0; a < 3; ++a) REQUIRE(e->get<exit::Hypercall>()->args[a] == 0x4045'0000'0000'1234);
        sum = std::sqrt(sum * sum) + 0.5;
        REQUIRE(b.complete());
    }
    CHECK(sum == 26.25);
}

TEST_CASE("a snapshot goes into another vCPU, which goes on where the first one stopped", "[canary]") {
    Machine m(keep_fp, 0x4045'0000'0000'4321, {.vcpus = 2});
    static std::array<reg::Value, Vcpu<Host>::snapshot_size> values;
    std::size_t count = 0;
    {
        auto b = percpu().bind(m.vcpu());
        REQUIRE(b.run());
        REQUIRE(b.complete());
        const auto taken = m.vcpu().snapshot(values);
        REQUIRE(taken);
        count = *taken;
        CHECK(m.vcpu().snapshot(std::span(values).first(3)).error().code == Code::too_small);
    }
    CHECK(count > 40);
    REQUIRE(m.vcpu(1).reset(m.at(spin)));
    {
        auto b = percpu().bind(m.vcpu(1));
        REQUIRE(m.vcpu(1).restore(std::span(values).first(count)));
        for (int i = 0; i < 3; ++i) {
            const auto e = b.run();
            REQUIRE(e);
            REQUIRE(e->is<exit::Hypercall>());
            for (unsigned a = 0; a < 3; ++a) REQUIRE(e->get<exit::Hypercall>()->args[a] == 0x4045'0000'0000'4321);
            REQUIRE(b.complete());
        }
    }
    // The same, unbound, and every value comes back as it was.
    REQUIRE(m.vcpu(1).reset(m.at(spin)));
    REQUIRE(m.vcpu(1).restore(std::span(values).first(count)));
    static std::array<reg::Value, Vcpu<Host>::snapshot_size> again;
    REQUIRE(m.vcpu(1).snapshot(again));
    std::size_t differ = 0;
    for (std::size_t i = 0, j = 0; i < count; ++i) {
        while (j < again.size() && again[j].id != values[i].id) ++j;  // unbound, there may be more
        REQUIRE(j < again.size());
        const auto settable = reg::facts<arch::registers>[reg::find<arch::registers>(values[i].id)->fact].writable;  // the rest follows what is switched
        differ += ((again[j].low ^ values[i].low) & settable) != 0 || again[j].high != values[i].high;
    }
    CHECK(differ == 0);
}

TEST_CASE("binding, running and unbinding leave the host's registers as they were", "[host][A17][A20]") {
    Machine m(call_forever, 0, {.controller = true});
    const auto before = host_state();
    {
        auto b = percpu().bind(m.vcpu());
        REQUIRE(b.run());
    }
    CHECK(host_state() == before);
}

TEST_CASE("disable gives back what enable found, and both refuse to be done twice", "[host][A20][A28]") {
    auto& cpu = percpu();
    CHECK(cpu.enable().error().code == Code::bad_state);
    const auto before = host_state();
    REQUIRE(cpu.disable());
    CHECK(host_state() == before);
    CHECK(cpu.disable().error().code == Code::bad_state);
    Machine m(call_forever, 0, {.controller = true});
    CHECK(percpu().bind(m.vcpu()).error().code == Code::bad_state);  // not enabled
    for (const std::uint64_t n : {3, 5, 0}) {
        plant_owned(n);
        const auto found = owned_state();
        REQUIRE(cpu.enable());
        {
            auto b = percpu().bind(m.vcpu());
            REQUIRE(b.run());
            REQUIRE(b.complete());
        }
        REQUIRE(cpu.disable());
        CHECK(owned_state() == found);
        CHECK(host_state() == before);
    }
    REQUIRE(cpu.enable());
    CHECK(percpu().bind(m.vcpu()));
}

TEST_CASE("what was found of a vCPU and a CPU holds until one of them is changed", "[host]") {
    auto& cpu = percpu();
    Machine m(call_forever, 0, {.vcpus = 2});
    const auto once = [&](std::uint32_t v) {
        auto b = cpu.bind(m.vcpu(v));
        REQUIRE(b);
        REQUIRE(b.run());
        REQUIRE(b.complete());
    };
    REQUIRE(m.vcpu(1).reset(m.at(call_forever)));
    for (int i = 0; i < 3; ++i) once(i % 2);
    {
        auto b = cpu.bind(m.vcpu(0));
        CHECK(cpu.bind(m.vcpu(1)).error().code == Code::bad_state);  // both fit, one at a time
        CHECK(cpu.bind(m.vcpu(0)).error().code == Code::bad_state);
    }
    REQUIRE(cpu.disable());
    CHECK(cpu.bind(m.vcpu(0)).error().code == Code::bad_state);  // it fitted while the CPU was enabled
    REQUIRE(cpu.enable());
    once(0);
    REQUIRE(m.vcpu(1).set_debug({.software_breakpoints = true}));
    once(1);
    REQUIRE(m.vcpu(1).set_debug({}));
    once(1);
    REQUIRE(m.vcpu(0).reset(m.at(call_forever)));
    once(0);
}

TEST_CASE("interrupts are masked or not after a run as before it", "[host][A19]") {
    Machine m(call_forever);
    auto b = percpu().bind(m.vcpu());
    for (const bool masked : {true, false}) {
        masked ? runtime::mask_interrupts() : runtime::unmask_interrupts();
        REQUIRE(b.run());
        CHECK(interrupts_masked() == masked);
    }
    runtime::mask_interrupts();
}

TEST_CASE("many VMs share few VMIDs: each vCPU sees its own page at the same address, through every roll-over", "[tlb][A11]") {
    constexpr auto page = ram_base + 0x2'0000;
    for (std::uint64_t round = 0; round < 700; ++round) {
        Machine m(read_once, page.value, {.lazy = true});
        const auto mine = page + round % 2 * 0x1000;  // the neighbour of what the VM before had there
        std::memcpy(m.host(mine), &round, sizeof round);
        REQUIRE(m.stage2.map(ram_base, Host::virt_to_phys(m.memory), 0x2'0000, {}, MemoryType::normal));
        REQUIRE(m.stage2.map(page, Host::virt_to_phys(m.host(mine)), 4096, {}, MemoryType::normal));
        auto b = percpu().bind(m.vcpu());
        const auto e = b.run();
        REQUIRE(e);
        REQUIRE(e->is<exit::Hypercall>());
        REQUIRE(e->get<exit::Hypercall>()->args[0] == round);
    }
}

// --- a host that takes its interrupts inside run() -----------------------------------------------------------------
namespace {
std::atomic<unsigned> host_interrupts{0};
struct InsideHost : Host {
    static void handle_host_irq() noexcept {
        host_interrupts.fetch_add(1);
        runtime::unmask_interrupts();
        runtime::mask_interrupts();
    }
};
}  // namespace

TEST_CASE("HandlesHostIrq: interrupts are taken inside run(), which goes on until its deadline", "[host][timer]") {
    static PerCpu<InsideHost> cpu;
    REQUIRE(percpu().disable());
    REQUIRE(cpu.enable());
    {
        Machine m(spin);
        Slot slot[1];
        Vm<InsideHost> vm{{.id = 8, .stage2 = &m.stage2, .vcpus = slot, .ram = m.ram}};
        auto made = Vcpu<InsideHost>::create(slot[0], vm, {.id = 0, .entry = m.at(spin)});
        REQUIRE(made);
        runtime::mask_interrupts();
        runtime::send_interrupt(runtime::this_cpu(), 0);
        const auto until = runtime::now() + runtime::frequency() / 50;
        auto b = cpu.bind(*made);
        REQUIRE(b);
        const auto e = b.run(until);
        REQUIRE(e);
        CHECK(e->is<exit::TimerExpired>());
        CHECK(runtime::now() >= until);
        CHECK(host_interrupts.load() >= 1);
        CHECK(host_interrupts.load() < 100);  // each once: the one that was sent has been taken
    }
    REQUIRE(cpu.disable());
    REQUIRE(percpu().enable());
}
