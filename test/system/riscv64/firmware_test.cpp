// The SBI as a guest meets it: every function of every extension, with good and bad arguments.
#include <catch2/catch_test_macros.hpp>
#include "../harness.hpp"

using namespace harness;

namespace {

constexpr auto table = ram_base + 0x2'0000;  // eight double words a call: a0-a5, a6, a7; results in a0 and a1 of the entry
constexpr std::uint64_t not_supported = static_cast<std::uint64_t>(-2), invalid_param = static_cast<std::uint64_t>(-3), invalid_address = static_cast<std::uint64_t>(-5),
                        already_available = static_cast<std::uint64_t>(-6), failed = static_cast<std::uint64_t>(-1);
constexpr std::uint64_t base = 0x10, timer = 0x5449'4D45, ipi = 0x73'5049, rfence = 0x5246'4E43, hsm = 0x48'534D, srst = 0x5352'5354, pmu = 0x50'4D55, dbcn = 0x4442'434E;

struct Call { std::uint64_t extension, function; std::array<std::uint64_t, 6> a{}; };
struct Answer { std::uint64_t error, value; };

/// A guest that makes the calls of a table and reports after each.
struct Caller {
    Machine m;
    Vcpu<Host>::Bound b;
    explicit Caller(const void* payload, unsigned vcpus = 1) : m(payload, table.value, {.vcpus = vcpus}), b(percpu().bind(m.vcpu())) {}
    void write(std::span<const Call> calls) {
        auto* at = reinterpret_cast<std::uint64_t*>(m.host(table));
        for (const auto& c : calls) {
            std::ranges::copy(c.a, at);
            at[6] = c.function;
            at[7] = c.extension;
            at += 8;
        }
    }
    auto run() -> Exit {
        const auto e = run_on(b, runtime::now() + 30 * runtime::frequency());  // a guest that never leaves fails, and does not hang
        REQUIRE(e);
        return *e;
    }
    /// The answer to one call that stays inside.
    auto operator()(const Call& c) -> Answer {
        write({&c, 1});
        const auto e = run();
        INFO("left with " << exit_names[e.index()]);
        const auto h = e.get<exit::Hypercall>();
        REQUIRE(h);
        REQUIRE(h->number == report);
        REQUIRE(b.complete());
        return {h->args[0], h->args[1]};
    }
};

}  // namespace

GUEST(sbi_caller, VECTORS "mv s1, a1\n1: ld a0, 0(s1)\nld a1, 8(s1)\nld a2, 16(s1)\nld a3, 24(s1)\nld a4, 32(s1)\nld a5, 40(s1)\nld a6, 48(s1)\nld a7, 56(s1)\necall\n" REPORT "j 1b\n");

TEST_CASE("BASE says who we are and what is there, and nothing of the machine", "[sbi][R16]") {
    Caller call(sbi_caller);
    CHECK(call({base, 0}).value == 0x0200'0000);
    CHECK(call({base, 1}).value == 0x6178);
    for (const auto id : {base, timer, ipi, rfence, hsm, srst, pmu}) CHECK(call({base, 3, {id}}).value == 1);
    CHECK(call({base, 3, {dbcn}}).value == 0);  // this VM has no console
    CHECK(call({base, 3, {0x1234'5678}}).value == 0);
    for (std::uint64_t f = 4; f <= 6; ++f) CHECK(call({base, f}).value == 0);
    CHECK(call({base, 7}).error == not_supported);
}

TEST_CASE("unknown extensions and functions are not supported, and none reaches the machine", "[sbi][R24]") {
    Caller call(sbi_caller);
    for (const std::uint64_t id : {std::uint64_t{0x9}, std::uint64_t{0xF}, std::uint64_t{0x4E41'434C}, std::uint64_t{0x53'5441}, std::uint64_t{0x5355'5350}, ~std::uint64_t{0}})
        CHECK(call({id, 0}).error == not_supported);
    for (const auto id : {timer, ipi, rfence, hsm, srst, pmu}) CHECK(call({id, 99}).error == not_supported);
}

TEST_CASE("PMU has no counters", "[sbi][R16]") {
    Caller call(sbi_caller);
    const auto n = call({pmu, 0});
    CHECK(n.error == 0);
    CHECK(n.value == 0);
    for (std::uint64_t f = 1; f <= 6; ++f) CHECK(call({pmu, f}).error == invalid_param);
}

TEST_CASE("hart masks are of the VM's harts, and one that names no hart is wrong", "[sbi][R15]") {
    Caller call(sbi_caller, 2);
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
    Caller c(sbi_caller, 2);
    CHECK(c({hsm, 2, {0}}).value == 0);
    CHECK(c({hsm, 2, {1}}).value == 1);
    CHECK(c({hsm, 2, {7}}).error == invalid_param);
    CHECK(c({hsm, 0, {7, ram_base.value, 0}}).error == invalid_param);
    CHECK(c({hsm, 0, {0, ram_base.value, 0}}).error == already_available);
    CHECK(c({hsm, 0, {1, 0x1000, 0}}).error == invalid_address);
    CHECK(c({hsm, 0, {1, ram_base.value + 1, 0}}).error == invalid_address);
    const Call start{hsm, 0, {1, c.m.at(keep_fp).value, 0x77}};
    c.write({&start, 1});
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
    c.write({&start, 1});
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
        Caller c(sbi_caller);
        c.write({&call, 1});
        CHECK(c.run().index() == reason);
        CHECK(c.b.run().error().code == Code::bad_state);
        CHECK(c.m.vcpu().reset(ram_base).error().code == Code::bad_state);  // still bound
        CHECK(c.m.vcpu().destroy().error().code == Code::bad_state);
    }
    Caller c(sbi_caller);
    CHECK(c({srst, 0, {3, 0}}).error == invalid_param);
    CHECK(c({srst, 0, {0, 2}}).error == invalid_param);
    CHECK(c({srst, 0, {std::uint64_t{1} << 32, 0}}).error == invalid_param);
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
    Caller c(sbi_caller);
    const Call retentive{hsm, 3, {0}};
    c.write({&retentive, 1});
    const auto e = c.run();
    const auto s = e.get<exit::CpuSuspend>();
    REQUIRE(s);
    CHECK_FALSE(s->power_down);
    REQUIRE(c.b.complete());
    CHECK(c.run().get<exit::Hypercall>()->args[0] == 0);
    REQUIRE(c.b.complete());
    const Call deep{hsm, 3, {0x8000'0000, c.m.at(started).value, 0x99}};
    c.write({&deep, 1});
    const auto d = c.run();
    REQUIRE(d.is<exit::CpuSuspend>());
    CHECK(d.get<exit::CpuSuspend>()->power_down);
    REQUIRE(c.b.complete());
    const auto h = *c.run().get<exit::Hypercall>();
    CHECK(h.args[1] == 0);
    CHECK(h.args[2] == 0x99);
}

TEST_CASE("a suspend that is over at once starts again inside run(), whose deadline leaves the host's timer as it was", "[sbi][event]") {
    Caller c(sbi_caller);
    REQUIRE(c.m.vcpu().set(id<"vsie">(), 2));
    REQUIRE(c.m.vcpu().set(id<"hvip">(), 4));
    const Call deep{hsm, 3, {0x8000'0000, c.m.at(started).value, 0x99}};
    c.write({&deep, 1});
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

TEST_CASE("a VM whose policy keeps power calls out has none", "[sbi][policy]") {
    Machine m(sbi_caller, table.value, {.policy = {.power = false}});
    auto b = percpu().bind(m.vcpu());
    for (const Call& c : {Call{hsm, 0, {0, ram_base.value}}, Call{hsm, 1}, Call{hsm, 2}, Call{hsm, 3}, Call{srst, 0}}) {
        auto* at = reinterpret_cast<std::uint64_t*>(m.host(table));
        std::ranges::copy(c.a, at);
        at[6] = c.function;
        at[7] = c.extension;
        const auto e = b.run();
        REQUIRE(e);
        const auto h = e->get<exit::Hypercall>();
        REQUIRE(h);
        CHECK(h->args[0] == not_supported);
        REQUIRE(b.complete());
    }
}

TEST_CASE("suspend types that are none are refused", "[sbi]") {
    Caller c(sbi_caller);
    CHECK(c({hsm, 3, {1}}).error == invalid_param);
    CHECK(c({hsm, 3, {0x1000'0000}}).error == not_supported);
    CHECK(c({hsm, 3, {0x8000'0000, 0x100, 0}}).error == invalid_address);
    CHECK(c({hsm, 3, {std::uint64_t{1} << 40}}).error == invalid_param);
}

TEST_CASE("a legacy mask is read from the guest's memory, and a fault of reading it is the guest's", "[sbi][legacy][R11]") {
    Caller c(sbi_caller, 2);
    *reinterpret_cast<std::uint64_t*>(c.m.host(table + 0x100)) = 1;
    CHECK(c({4, 0, {table.value + 0x100}}).error == 0);
    CHECK(c({5, 0, {0}}).error == 0);
    CHECK(c({6, 0, {0, 0, 0x1000}}).error == 0);
    const Call bad{4, 0, {0x1234'0000}};
    c.write({&bad, 1});
    const auto h = c.run().get<exit::Hypercall>();
    REQUIRE(h);
    CHECK(h->number == exception);
    CHECK(h->args[0] == 5);
    CHECK(h->args[1] == 0x1234'0000);
}

TEST_CASE("any function number is answered: none reaches the machine, none stops the host", "[sbi][hostile]") {
    std::optional<Caller> c;
    c.emplace(sbi_caller);
    std::mt19937_64 random(1);
    const std::array<std::uint64_t, 9> known{base, timer, ipi, rfence, hsm, srst, pmu, dbcn, 0};
    unsigned ended = 0;
    for (int i = 0; i < 3000; ++i) {
        Call call{random() % 4 != 0 ? known[random() % known.size()] : random() % 16, random() % 9, {}};
        for (auto& a : call.a) a = random() % 3 == 0 ? random() : random() % 8;
        c->write({&call, 1});
        const auto e = c->run();
        const auto suspend = e.get<exit::CpuSuspend>();
        const auto call_made = e.get<exit::Hypercall>();
        if (e.kind() == ExitKind::terminal || (suspend && suspend->power_down) || (call_made && call_made->number == exception)) {
            ++ended;
            c.reset();
            c.emplace(sbi_caller);
        } else if (e.kind() == ExitKind::instruction) {
            REQUIRE(c->b.complete());
        }
    }
    CHECK(ended > 10);
}

namespace {
std::string printed;
constexpr arch::Console recorder{nullptr, [](void*, std::uint8_t byte) noexcept { printed.push_back(static_cast<char>(byte)); }, [](void*) noexcept -> int { return printed.size() % 2 != 0 ? 'x' : -1; }};
}  // namespace

TEST_CASE("the debug console writes from the guest's memory and from nowhere else", "[sbi][R11][R12][R13][R14]") {
    Machine m(sbi_caller, table.value);
    Slot slot[1];
    Vm<Host> vm{{.id = 3, .stage2 = &m.stage2, .vcpus = slot, .ram = m.ram, .console = recorder}};
    auto v = Vcpu<Host>::create(slot[0], vm, {.entry = m.at(sbi_caller), .arg = table.value});
    REQUIRE(v);
    auto b = percpu().bind(*v);
    const auto call = [&](const Call& c) -> Answer {
        auto* at = reinterpret_cast<std::uint64_t*>(m.host(table));
        std::ranges::copy(c.a, at);
        at[6] = c.function;
        at[7] = c.extension;
        const auto e = b.run();
        REQUIRE(e);
        const auto h = e->get<exit::Hypercall>();
        REQUIRE(h);
        REQUIRE(b.complete());
        return {h->args[0], h->args[1]};
    };
    printed.clear();
    std::memcpy(m.host(table + 0x200), "hello", 5);
    auto a = call({dbcn, 0, {5, table.value + 0x200, 0}});
    CHECK(a.error == 0);
    CHECK(a.value == 5);
    CHECK(printed == "hello");
    CHECK(call({dbcn, 2, {'!'}}).error == 0);
    CHECK(printed == "hello!");
    CHECK(call({1, 0, {'?'}}).error == 0);
    CHECK(printed == "hello!?");
    CHECK(call({base, 3, {dbcn}}).value == 1);
    CHECK(call({dbcn, 0, {5, 0x10, 0}}).error == invalid_param);                     // no memory
    CHECK(call({dbcn, 0, {5, device_base.value, 0}}).error == invalid_param);        // a device
    CHECK(call({dbcn, 0, {~std::uint64_t{0}, ram_base.value, 0}}).error == invalid_param);  // huge
    CHECK(call({dbcn, 0, {5, ram_base.value, 1}}).error == invalid_param);           // above 64 bits
    CHECK(call({dbcn, 0, {5, ram_base.value + ram_size - 2, 0}}).error == invalid_param);   // over the end
    CHECK(call({dbcn, 0, {0x2000, ram_base.value + 0xF00, 0}}).value == 0x100);      // a page at a time
    CHECK(call({dbcn, 1, {4, table.value + 0x300, 0}}).error == 0);
    CHECK(call({dbcn, 3, {0}}).error == not_supported);
}
