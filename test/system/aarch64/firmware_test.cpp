// PSCI and SMCCC, called by a guest with good and bad arguments, by HVC and by SMC.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include "../harness.hpp"

using namespace harness;

GUEST(hvc_guest, "mov x10, x0\nldp x0, x1, [x10]\nldp x2, x3, [x10, #16]\nhvc #0\nmov x1, x0\n" REPORT);
GUEST(smc_call_guest, "mov x10, x0\nldp x0, x1, [x10]\nldp x2, x3, [x10, #16]\nsmc #0\nmov x1, x0\n" REPORT);

namespace {
constexpr GuestPhysAddr arguments = ram_base + 0x3'0000;
/// Runs one call of the guest and gives what leaves first: the report of x0, or the call's own exit.
struct Call {
    Machine m;
    Vcpu<Host>::Bound b;
    Call(const unsigned char* payload, std::array<std::uint64_t, 4> args, Config c = {}) : m(payload, arguments.value, c), b(percpu().bind(m.vcpu())) {
        std::memcpy(m.host(arguments), args.data(), sizeof args);
    }
    auto run() -> Exit {
        const auto e = b.run(runtime::now() + 30 * runtime::frequency());  // a guest that never leaves fails, and does not hang
        REQUIRE(e);
        return *e;
    }
    auto result() -> std::int64_t {
        const auto e = run();
        INFO("exit " << exit_names[e.index()]);
        REQUIRE(e.is<exit::Hypercall>());
        REQUIRE(e.get<exit::Hypercall>()->number == report);
        return static_cast<std::int64_t>(e.get<exit::Hypercall>()->args[0]);
    }
};
}  // namespace

TEST_CASE("calls that are answered inside, by HVC and by SMC alike", "[psci][A7][A8]") {
    const auto* payload = GENERATE(as<const unsigned char*>{}, hvc_guest, smc_call_guest);
    struct Row { std::uint64_t function, x1, x2; std::int64_t expected; };
    const auto row = GENERATE(Row{0x8400'0000, 0, 0, 0x1'0001}, Row{0x8000'0000, 0, 0, 0x1'0001}, Row{0x8400'000A, 0x8400'0008, 0, 0},
                              Row{0x8400'000A, 0xC400'0010, 0, -1}, Row{0x8400'0006, 0, 0, 2}, Row{0x8400'0005, 0, 0, -1},
                              Row{0xC400'0004, 0, 0, 0}, Row{0xC400'0004, 1, 0, 1}, Row{0xC400'0004, 0x99, 0, -2}, Row{0xC400'0004, 0, 4, -2}, Row{0xC400'0004, 1 << 30, 0, -2},
                              Row{0xC400'0003, 0, ram_base.value, -4}, Row{0xC400'0003, 0x55, ram_base.value, -2},
                              Row{0xC400'0003, 1, 0x1000, -9}, Row{0xC400'0003, 1, ram_base.value + 2, -9}, Row{0x8400'0013, 0, 0, -1},
                              Row{0xC400'0012, 5, 0, -2}, Row{0xC400'0001, 0x8000'0000, 0, -2}, Row{0x8000'0001, 0x8000'0000, 0, 0},
                              Row{0x8000'0001, 0x8000'8000, 0, -1});
    CAPTURE(row.function, row.x1, row.x2);
    Call c(payload, {row.function, row.x1, row.x2, 0}, {.vcpus = 2});
    CHECK(c.result() == row.expected);
}

TEST_CASE("CPU_ON names its target; completed it starts, failed it stays off", "[psci][power]") {
    const std::array<std::uint64_t, 4> on{0xC400'0003, 1, ram_base.value + 0x40, 77};
    SECTION("completed") {
        Call c(hvc_guest, on, {.vcpus = 2});
        const auto up = c.run().get<exit::CpuUp>();
        REQUIRE(up);
        CHECK(up->target == 1);
        CHECK(up->entry == ram_base + 0x40);
        CHECK(up->arg == 77);
        CHECK(c.m.vcpu(1).core().power() == Power::on_pending);
        REQUIRE(c.b.complete());
        CHECK(c.result() == 0);
    }
    SECTION("failed") {
        Call c(hvc_guest, on, {.vcpus = 2});
        REQUIRE(c.run().is<exit::CpuUp>());
        REQUIRE(c.b.fail());
        CHECK(c.result() == -6);
        CHECK(c.m.vcpu(1).core().power() == Power::off);
    }
}

GUEST(second_cpu, "mov x1, x0\nmrs x2, MPIDR_EL1\n" REPORT);

TEST_CASE("a vCPU that was turned on starts at its entry with its argument", "[psci][power]") {
    Machine probe(second_cpu);
    const auto entry = probe.at(second_cpu);
    Call c(hvc_guest, {0xC400'0003, 1, entry.value, 77}, {.vcpus = 2});
    REQUIRE(c.run().is<exit::CpuUp>());
    REQUIRE(c.b.complete());
    CHECK(c.result() == 0);
    c.b.~BasicBound();  // give the CPU to the other one
    {
        auto b = percpu().bind(c.m.vcpu(1));
        REQUIRE(b);
        const auto e = b.run();
        REQUIRE(e);
        REQUIRE(e->is<exit::Hypercall>());
        CHECK(e->get<exit::Hypercall>()->args[0] == 77);
        CHECK((e->get<exit::Hypercall>()->args[1] & 0xFF) == 1);
    }
    new (&c.b) Vcpu<Host>::Bound(percpu().bind(c.m.vcpu()));
    CHECK(c.b);
}

TEST_CASE("a vCPU that is off cannot be bound", "[psci][misuse]") {
    Machine m(hvc_guest, 0, {.vcpus = 2});
    auto b = percpu().bind(m.vcpu(1));
    CHECK_FALSE(b);
    CHECK(b.error().code == Code::bad_state);
}

TEST_CASE("power calls that end the vCPU or the system are terminal", "[psci][power]") {
    struct Row { std::uint64_t function; std::size_t reason; };
    const auto row = GENERATE(Row{0x8400'0002, Exit::index_of<exit::CpuDown>()}, Row{0x8400'0008, Exit::index_of<exit::SystemDown>()},
                              Row{0x8400'0009, Exit::index_of<exit::SystemReset>()}, Row{0xC400'0012, Exit::index_of<exit::SystemReset>()});
    Call c(hvc_guest, {row.function, 0, 0, 0});
    const auto e = c.run();
    CHECK(e.index() == row.reason);
    CHECK(e.kind() == ExitKind::terminal);
    CHECK(c.b.run().error().code == Code::bad_state);
    CHECK(c.b.complete().error().code == Code::no_exit);
}

TEST_CASE("CPU_SUSPEND: standby goes on behind the call, power-down restarts at the entry point", "[psci]") {
    SECTION("standby") {
        Call c(hvc_guest, {0xC400'0001, 0, 0, 0});
        const auto s = c.run().get<exit::CpuSuspend>();
        REQUIRE(s);
        CHECK_FALSE(s->power_down);
        REQUIRE(c.b.complete());
        CHECK(c.result() == 0);
    }
    SECTION("power-down") {
        Machine probe(second_cpu);
        const auto entry = probe.at(second_cpu);
        Call c(hvc_guest, {0xC400'0001, 0x1'0000, entry.value, 33});
        const auto s = c.run().get<exit::CpuSuspend>();
        REQUIRE(s);
        CHECK(s->power_down);
        REQUIRE(c.b.complete());
        CHECK(c.result() == 33);  // second_cpu reports its argument
    }
    SECTION("system suspend needs the others off") {
        Call c(hvc_guest, {0xC400'000E, ram_base.value, 0, 0}, {.vcpus = 2});
        const auto s = c.run().get<exit::CpuSuspend>();
        REQUIRE(s);
        CHECK(s->system);
    }
}

TEST_CASE("any function number is answered: none reaches the machine, none stops the host", "[psci][hostile]") {
    std::mt19937 random(5);
    for (int i = 0; i < 300; ++i) {
        const std::uint64_t function = 0x8000'0000 | (random() & 0x7F00'FFFF);
        Call c(i % 2 == 0 ? hvc_guest : smc_call_guest, {function, random(), random(), random()}, {.policy = {.hypercalls = false}, .vcpus = 2});
        const auto e = c.b.run();
        REQUIRE(e);
    }
}
