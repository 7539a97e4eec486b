// The SBI as a guest meets it: every function of every extension, with good and bad arguments.
#include "caller.hpp"

using namespace harness;

#define CALL_OF_TABLE "ld a0, 0(s1)\nld a1, 8(s1)\nld a2, 16(s1)\nld a3, 24(s1)\nld a4, 32(s1)\nld a5, 40(s1)\nld a6, 48(s1)\nld a7, 56(s1)\necall\n"
GUEST(sbi_caller, VECTORS "mv s1, a1\n1: " CALL_OF_TABLE REPORT "j 1b\n");
GUEST(sbi_storer, "mv s1, a1\n1: " CALL_OF_TABLE "li t0, 0x0A000000\nsd a0, (t0)\nj 1b\n");  // for a guest that has no hypercall

TEST_CASE("BASE says who we are and what is there, and nothing of the machine", "[sbi][R16]") {
    Caller call;
    CHECK(call({base, 0}).value == 0x0200'0000);
    CHECK(call({base, 1}).value == 0x6178);
    for (const auto id : {base, timer, ipi, rfence, hsm, srst, pmu}) CHECK(call({base, 3, {id}}).value == 1);
    CHECK(call({base, 3, {dbcn}}).value == 0);  // this VM has no console
    CHECK(call({base, 3, {0x1234'5678}}).value == 0);
    for (std::uint64_t f = 4; f <= 6; ++f) CHECK(call({base, f}).value == 0);
    CHECK(call({base, 7}).error == not_supported);
}

TEST_CASE("unknown extensions and functions are not supported, and none reaches the machine", "[sbi][R24]") {
    Caller call;
    for (const std::uint64_t id : {std::uint64_t{0x9}, std::uint64_t{0xF}, std::uint64_t{0x4E41'434C}, std::uint64_t{0x53'5441}, std::uint64_t{0x5355'5350}, ~std::uint64_t{0}})
        CHECK(call({id, 0}).error == not_supported);
    for (const auto id : {timer, ipi, rfence, hsm, srst, pmu}) CHECK(call({id, 99}).error == not_supported);
}

TEST_CASE("PMU has no counters", "[sbi][R16]") {
    Caller call;
    const auto n = call({pmu, 0});
    CHECK(n.error == 0);
    CHECK(n.value == 0);
    for (std::uint64_t f = 1; f <= 6; ++f) CHECK(call({pmu, f}).error == invalid_param);
}

TEST_CASE("hart masks are of the VM's harts, and one that names no hart is wrong", "[sbi][R15]") {
    Caller call({.vcpus = 2});
    for (const auto& [extension, function] : {std::pair{ipi, 0}, std::pair{rfence, 0}, std::pair{rfence, 1}, std::pair{rfence, 2}}) {
        const auto f = static_cast<std::uint64_t>(function);
        CHECK(call({extension, f, {1, 0}}).error == 0);
        CHECK(call({extension, f, {0, ~std::uint64_t{0}}}).error == 0);
        CHECK(call({extension, f, {4, 0}}).error == invalid_param);
        CHECK(call({extension, f, {1, 2}}).error == invalid_param);
        CHECK(call({extension, f, {2, ~std::uint64_t{0} - 1}}).error == invalid_param);
    }
    for (std::uint64_t f = 3; f <= 6; ++f) CHECK(call({rfence, f, {1, 0}}).error == not_supported);
}

TEST_CASE("HSM: start names its target, a started hart is there already, status follows", "[sbi][power][R3]") {
    Caller c({.vcpus = 2});
    CHECK(c({hsm, 2, {0}}).value == 0);
    CHECK(c({hsm, 2, {1}}).value == 1);
    CHECK(c({hsm, 2, {7}}).error == invalid_param);
    CHECK(c({hsm, 0, {7, ram_base.value, 0}}).error == invalid_param);
    CHECK(c({hsm, 0, {0, ram_base.value, 0}}).error == already_available);
    CHECK(c({hsm, 0, {1, 0x1000, 0}}).error == invalid_address);
    CHECK(c({hsm, 0, {1, ram_base.value + 1, 0}}).error == invalid_address);
    const Call start{hsm, 0, {1, c.m.at(keep_fp).value, 0x77}};
    c.write(start);
    auto e = c.run();
    const auto up = e.get<exit::CpuUp>();
    REQUIRE(up);
    CHECK(up->target == 1);
    CHECK(up->entry == c.m.at(keep_fp));
    CHECK(up->arg == 0x77);
    REQUIRE(c.b.fail());  // refused by the host: it stays off
    CHECK(c.run().get<exit::Hypercall>()->args[0] == failed);
    REQUIRE(c.b.complete());
    CHECK(c({hsm, 2, {1}}).value == 1);
    c.write(start);
    REQUIRE(c.run().is<exit::CpuUp>());
    REQUIRE(c.b.complete());
    CHECK(c.run().get<exit::Hypercall>()->args[0] == 0);
    REQUIRE(c.b.complete());
    CHECK(c({hsm, 2, {1}}).value == 2);  // START_PENDING until it is bound
    CHECK(c({hsm, 0, {1, ram_base.value, 0}}).error == already_available);
}

GUEST(started, "mv a2, a1\nmv a1, a0\ncsrr a3, satp\nli a0, 1\n" REPORT);

TEST_CASE("a started hart begins at its address with its id and its argument", "[sbi][power]") {
    Machine m(spin, 0, {.vcpus = 2});
    REQUIRE(m.vcpu(1).core().request_power_on(m.at(started), 0x55));
    auto b = percpu().bind(m.vcpu(1));
    REQUIRE(b);
    const auto e = b.run();
    REQUIRE(e);
    const auto h = *e->get<exit::Hypercall>();
    CHECK(h.args[1] == 1);
    CHECK(h.args[2] == 0x55);
    CHECK(h.args[3] == 0);
}

TEST_CASE("stop and reset are terminal; types that are none are refused", "[sbi][power][R3][R5]") {
    for (const auto& [call, reason] : std::initializer_list<std::pair<Call, std::size_t>>{
             {{hsm, 1}, Exit::index_of<exit::CpuDown>()}, {{srst, 0, {0, 0}}, Exit::index_of<exit::SystemDown>()}, {{srst, 0, {1, 0}}, Exit::index_of<exit::SystemReset>()},
             {{srst, 0, {2, 1}}, Exit::index_of<exit::SystemReset>()}, {{8, 0}, Exit::index_of<exit::SystemDown>()}}) {
        Caller c;
        c.write(call);
        CHECK(c.run().index() == reason);
        CHECK(c.b.run().error().code == Code::bad_state);
        CHECK(c.vcpu().reset(ram_base).error().code == Code::bad_state);  // still bound
        CHECK(c.vcpu().destroy().error().code == Code::bad_state);
    }
    Caller c;
    CHECK(c({srst, 0, {3, 0}}).error == invalid_param);
    CHECK(c({srst, 0, {0, 2}}).error == invalid_param);
    CHECK(c.leaves<exit::SystemReset>({srst, 0, {std::uint64_t{1} << 32 | 1, std::uint64_t{1} << 63}}).kind == 0);  // both have 32 bits
}

// a1: the type of the suspend; either way it goes on with its report.
GUEST(suspender, "mv a0, a1\nla a1, 1f\nli a2, 0\nli a7, 0x48534D\nli a6, 3\necall\n1: " REPORT);

TEST_CASE("a suspended hart is SUSPENDED to the others until it runs again", "[sbi][power]") {
    for (const std::uint64_t type : {std::uint64_t{0}, std::uint64_t{0x8000'0000}}) {
        INFO("suspend type " << type);
        Machine m(sbi_caller, table.value, {.vcpus = 2});
        const auto status = [&] {
            REQUIRE(m.vcpu().reset(m.at(sbi_caller), table.value));
            const std::array<std::uint64_t, 8> ask{1, 0, 0, 0, 0, 0, 2, hsm};
            std::memcpy(m.host(table), &ask, sizeof ask);
            auto b = percpu().bind(m.vcpu());
            const auto e = b.run();
            REQUIRE(e);
            REQUIRE(e->is<exit::Hypercall>());
            return e->get<exit::Hypercall>()->args[1];
        };
        const auto left = [&] {
            auto b = percpu().bind(m.vcpu(1));
            const auto e = b.run();
            REQUIRE(e);
            return e->index();
        };
        REQUIRE(m.vcpu(1).reset(m.at(suspender), type));
        CHECK(status() == 0);
        CHECK(left() == Exit::index_of<exit::CpuSuspend>());
        CHECK(status() == 4);
        { auto b = percpu().bind(m.vcpu(1)); REQUIRE(b.complete()); }
        CHECK(status() == 4);
        CHECK(left() == Exit::index_of<exit::Hypercall>());
        CHECK(status() == 0);
    }
}

TEST_CASE("suspend: retentive goes on behind the call, non-retentive starts again", "[sbi][R5]") {
    Caller c;
    const Call retentive{hsm, 3, {0}};
    c.write(retentive);
    const auto e = c.run();
    const auto s = e.get<exit::CpuSuspend>();
    REQUIRE(s);
    CHECK_FALSE(s->power_down);
    REQUIRE(c.b.complete());
    CHECK(c.run().get<exit::Hypercall>()->args[0] == 0);
    REQUIRE(c.b.complete());
    const Call deep{hsm, 3, {0x8000'0000, c.m.at(started).value, 0x99}};
    c.write(deep);
    const auto d = c.run();
    REQUIRE(d.is<exit::CpuSuspend>());
    CHECK(d.get<exit::CpuSuspend>()->power_down);
    REQUIRE(c.b.complete());
    const auto h = *c.run().get<exit::Hypercall>();
    CHECK(h.args[1] == 0);
    CHECK(h.args[2] == 0x99);
}

TEST_CASE("a suspend that is over at once starts again inside run(), whose deadline leaves the host's timer as it was", "[sbi][event]") {
    Caller c;
    REQUIRE(c.vcpu().set(id<"vsie">(), 2));
    REQUIRE(c.vcpu().set(id<"hvip">(), 4));
    const Call deep{hsm, 3, {0x8000'0000, c.m.at(started).value, 0x99}};
    c.write(deep);
    const auto far = runtime::now() + 1000 * runtime::frequency();
    runtime::set_timer(far);
    const auto e = c.b.run(runtime::now() + 10 * runtime::frequency());
    REQUIRE(e);
    REQUIRE(e->is<exit::Hypercall>());
    CHECK(e->get<exit::Hypercall>()->args[2] == 0x99);
    if ((capabilities().features >> static_cast<unsigned>(arch::Feature::sstc) & 1) != 0) CHECK(arch::read<"stimecmp">() == far);
    CHECK(runtime::timer() == far);
    runtime::set_timer(runtime::no_timer);
}

TEST_CASE("a VM whose policy keeps power calls out has none: they are calls like others, or refused", "[sbi][policy]") {
    const std::array power{Call{hsm, 0, {0, ram_base.value}}, Call{hsm, 1}, Call{hsm, 2}, Call{hsm, 3}, Call{srst, 0}, Call{8, 0}};
    {
        Caller c({.payload = sbi_storer, .policy = {.hypercalls = false, .power = false}});
        for (const auto& call : power) {
            CHECK(c.leaves<exit::MmioWrite>(call).value == not_supported);
            REQUIRE(c.b.complete());
        }
    }
    Caller c({.policy = {.power = false}});
    for (const auto& call : power) {
        CHECK(c.leaves<exit::Hypercall>(call).number == (call.extension << 32 | call.function));
        REQUIRE(c.b.fail());
        CHECK(c.reported().args[0] == not_supported);
    }
}

TEST_CASE("suspend types that are none are refused", "[sbi]") {
    Caller c;
    CHECK(c({hsm, 3, {1}}).error == invalid_param);
    for (const std::uint64_t type : {0x0FFF'FFFFu, 0x1000'0000u, 0x7FFF'FFFFu, 0x8000'0001u, 0x8FFF'FFFFu, 0x9000'0000u, 0xFFFF'FFFFu})
        CHECK(c({hsm, 3, {type}}).error == invalid_param);
    CHECK(c({hsm, 3, {0x8000'0000, 0x100, 0}}).error == invalid_address);
    CHECK_FALSE(c.leaves<exit::CpuSuspend>({hsm, 3, {std::uint64_t{1} << 40}}).power_down);  // the type has 32 bits
}

TEST_CASE("a legacy mask is read from the guest's memory, and a fault of reading it is the guest's", "[sbi][legacy][R11]") {
    Caller c({.vcpus = 2});
    *reinterpret_cast<std::uint64_t*>(c.m.host(table + 0x100)) = 1;
    CHECK(c({4, 0, {table.value + 0x100}}).error == 0);
    CHECK(c({5, 0, {0}}).error == 0);
    CHECK(c({6, 0, {0, 0, 0x1000}}).error == 0);
    const Call bad{4, 0, {0x1234'0000}};
    c.write(bad);
    const auto h = c.run().get<exit::Hypercall>();
    REQUIRE(h);
    CHECK(h->number == exception);
    CHECK(h->args[0] == 5);
    CHECK(h->args[1] == 0x1234'0000);
}

TEST_CASE("any function number is answered: none reaches the machine, none stops the host", "[sbi][hostile]") {
    std::optional<Caller> c;
    c.emplace();
    std::mt19937_64 random(1);
    const std::array<std::uint64_t, 9> known{base, timer, ipi, rfence, hsm, srst, pmu, dbcn, 0};
    unsigned ended = 0;
    for (int i = 0; i < 3000; ++i) {
        Call call{random() % 4 != 0 ? known[random() % known.size()] : random() % 16, random() % 9, {}};
        for (auto& a : call.a) a = random() % 3 == 0 ? random() : random() % 8;
        c->write(call);
        const auto e = c->run();
        const auto suspend = e.get<exit::CpuSuspend>();
        const auto call_made = e.get<exit::Hypercall>();
        if (e.kind() == ExitKind::terminal || (suspend && suspend->power_down) || (call_made && call_made->number == exception)) {
            ++ended;
            c.reset();
            c.emplace();
        } else if (e.kind() == ExitKind::instruction) {
            REQUIRE(c->b.complete());
        }
    }
    CHECK(ended > 10);
}
