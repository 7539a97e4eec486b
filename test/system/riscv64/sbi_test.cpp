// Every function of every SBI extension, with good and bad arguments: error and value as the specification (2.0) says; and calls that
// the VM's host answers.
#include "caller.hpp"

using namespace harness;

namespace {

std::string printed, typed;
constexpr arch::Console console{nullptr, [](void*, std::uint8_t byte) noexcept { printed.push_back(static_cast<char>(byte)); },
    [](void*) noexcept -> int {
        if (typed.empty()) return -1;
        const auto byte = static_cast<unsigned char>(typed.front());
        typed.erase(0, 1);
        return byte;
    }};

constexpr std::uint64_t all = ~std::uint64_t{0}, buffer = table.value + 0x1000, mask = table.value + 0x200, end_of_ram = ram_base.value + ram_size;

struct Row { Call call; std::uint64_t error = 0, value = 0; };

/// The rows' calls, in order; a2 to a5 come back as they were, and a1 of a legacy call, too.
void check(Caller& c, std::span<const Row> rows) {
    for (const auto& r : rows) {
        INFO("extension " << std::hex << r.call.extension << ", function " << r.call.function << ", a0 " << r.call.a[0] << ", a1 " << r.call.a[1] << ", a2 " << r.call.a[2]);
        c.write(r.call);
        const auto h = c.reported();
        CHECK(h.args[0] == r.error);
        CHECK(h.args[1] == (r.call.extension <= 0xF ? r.call.a[1] : r.value));
        for (unsigned i = 2; i < 6; ++i) CHECK(h.args[i] == r.call.a[i]);
    }
}

}  // namespace

TEST_CASE("BASE and PMU: every function", "[sbi][table]") {
    Caller c({.console = console});
    check(c, std::array{
        Row{{base, 0, {7, 7}}, 0, 0x0200'0000}, Row{{base, 1}, 0, 0x6178}, Row{{base, 2}, 0, 1}, Row{{base, 3, {dbcn}}, 0, 1}, Row{{base, 3, {0xF}}}, Row{{base, 3, {all}}},
        Row{{base, 4}}, Row{{base, 5}}, Row{{base, 6}}, Row{{base, 7}, not_supported}, Row{{base, all}, not_supported},
        // No counter: none can be named, none is found, and there is no snapshot.
        Row{{pmu, 0}}, Row{{pmu, 1, {0}}, invalid_param}, Row{{pmu, 1, {all}}, invalid_param}, Row{{pmu, 2, {0, 1, 0, 1}}, invalid_param}, Row{{pmu, 3, {0, 1}}, invalid_param},
        Row{{pmu, 4, {0, 1}}, invalid_param}, Row{{pmu, 5, {0}}, invalid_param}, Row{{pmu, 6, {0}}, invalid_param}, Row{{pmu, 7, {buffer, 0, 0}}, not_supported},
        Row{{pmu, 7, {all, all, 0}}, not_supported}, Row{{pmu, 8}, not_supported}});
}

TEST_CASE("TIME, IPI and RFENCE: every function", "[sbi][table]") {
    Caller c({.vcpus = 2});
    check(c, std::array{
        Row{{timer, 0, {all}}}, Row{{timer, 0, {0}}}, Row{{timer, 0, {all}}}, Row{{timer, 1, {0}}, not_supported},
        Row{{ipi, 0, {1, 0}}}, Row{{ipi, 0, {3, 0}}}, Row{{ipi, 0, {1, 1}}}, Row{{ipi, 0, {0, 0}}}, Row{{ipi, 0, {all, all}}}, Row{{ipi, 0, {4, 0}}, invalid_param},
        Row{{ipi, 0, {2, 1}}, invalid_param}, Row{{ipi, 0, {1, 64}}, invalid_param}, Row{{ipi, 0, {2, all - 1}}, invalid_param}, Row{{ipi, 1, {1, 0}}, not_supported}});
    for (std::uint64_t f = 0; f <= 2; ++f)
        check(c, std::array{
            Row{{rfence, f, {1, 0, 0, 0, 5}}}, Row{{rfence, f, {3, 0, 0x1000, 0x1000}}}, Row{{rfence, f, {0, all, 0, all, all}}}, Row{{rfence, f, {0, 0, all, all, all}}},
            Row{{rfence, f, {4, 0}}, invalid_param}, Row{{rfence, f, {1, 2, 0, 0, 1}}, invalid_param}, Row{{rfence, f, {all, 0}}, invalid_param}});
    for (std::uint64_t f = 3; f <= 7; ++f)  // the guest has no H extension
        check(c, std::array{Row{{rfence, f, {1, 0, 0, 0, 1}}, not_supported}, Row{{rfence, f, {4, 0}}, not_supported}});
}

TEST_CASE("HSM and SRST: every function that comes back", "[sbi][table][power]") {
    Caller c({.vcpus = 2});
    check(c, std::array{
        Row{{hsm, 0, {0, ram_base.value, 1}}, already_available}, Row{{hsm, 0, {0, 0x1001, 1}}, already_available},  // it runs, wherever it was to start
        Row{{hsm, 0, {1, ram_base.value + 1}}, invalid_address}, Row{{hsm, 0, {1, device_base.value}}, invalid_address}, Row{{hsm, 0, {1, end_of_ram}}, invalid_address},
        Row{{hsm, 0, {2, ram_base.value}}, invalid_param}, Row{{hsm, 0, {all, ram_base.value}}, invalid_param},
        Row{{hsm, 2, {0}}, 0, 0}, Row{{hsm, 2, {1}}, 0, 1}, Row{{hsm, 2, {2}}, invalid_param}, Row{{hsm, 2, {all}}, invalid_param},
        Row{{hsm, 3, {1}}, invalid_param}, Row{{hsm, 3, {0x1000'0000}}, invalid_param}, Row{{hsm, 3, {0x8000'0001}}, invalid_param}, Row{{hsm, 3, {0x9000'0000}}, invalid_param},
        Row{{hsm, 3, {all}}, invalid_param}, Row{{hsm, 3, {0x8000'0000, device_base.value}}, invalid_address}, Row{{hsm, 3, {0x8000'0000, ram_base.value + 1}}, invalid_address},
        Row{{hsm, 4}, not_supported},
        Row{{srst, 0, {3, 0}}, invalid_param}, Row{{srst, 0, {0xEFFF'FFFF, 0}}, invalid_param}, Row{{srst, 0, {0xF000'0000, 0}}, invalid_param}, Row{{srst, 0, {all, 0}}, invalid_param},
        Row{{srst, 0, {0, 2}}, invalid_param}, Row{{srst, 0, {0, 0xDFFF'FFFF}}, invalid_param}, Row{{srst, 0, {0, 0xE000'0000}}, invalid_param},
        Row{{srst, 0, {1, 0xF000'0000}}, invalid_param}, Row{{srst, 0, {2, 0xFFFF'FFFF}}, invalid_param}, Row{{srst, 1}, not_supported}});
    CHECK_FALSE(c.leaves<exit::CpuSuspend>({hsm, 3, {std::uint64_t{7} << 32, 1}}).power_down);  // its address is not looked at
    REQUIRE(c.b.complete());
    CHECK(c.reported().args[0] == 0);
}

TEST_CASE("DBCN: every function, its bytes, and buffers that are none", "[sbi][table][R11][R12][R13][R14]") {
    Caller c({.console = console});
    std::memcpy(c.m.host({buffer}), "hello", 5);
    printed.clear();
    typed.clear();
    const auto* read_back = reinterpret_cast<const char*>(c.m.host({buffer + 0x80}));
    check(c, std::array{Row{{dbcn, 0, {5, buffer, 0}}, 0, 5}, Row{{dbcn, 0, {0, buffer, 0}}, 0, 0}, Row{{dbcn, 2, {0x1'21}}, 0, 0}, Row{{dbcn, 3}, not_supported}});
    CHECK(printed == "hello!");
    check(c, std::array{Row{{dbcn, 1, {8, buffer + 0x80, 0}}, 0, 0}});
    CHECK(read_back[0] == 0);
    typed = "abcdef";
    check(c, std::array{Row{{dbcn, 1, {4, buffer + 0x80, 0}}, 0, 4}, Row{{dbcn, 1, {0, buffer + 0x84, 0}}, 0, 0}});
    CHECK(std::string_view(read_back, 5) == std::string_view("abcd\0", 5));
    check(c, std::array{Row{{dbcn, 1, {4, buffer + 0x80, 0}}, 0, 2}});
    CHECK(std::string_view(read_back, 5) == std::string_view("efcd\0", 5));
    typed = std::string(0x200, 'x');
    check(c, std::array{Row{{dbcn, 1, {0x2000, buffer + 0xF00, 0}}, 0, 0x100}, Row{{dbcn, 0, {0x2000, buffer + 0xF00, 0}}, 0, 0x100}});  // a page at a time
    for (std::uint64_t f = 0; f <= 1; ++f)
        check(c, std::array{
            Row{{dbcn, f, {5, 0x10, 0}}, invalid_param},                     // no memory
            Row{{dbcn, f, {5, device_base.value, 0}}, invalid_param},        // a device
            Row{{dbcn, f, {5, end_of_ram - 2, 0}}, invalid_param},           // over the end
            Row{{dbcn, f, {5, end_of_ram, 0}}, invalid_param},
            Row{{dbcn, f, {all, ram_base.value, 0}}, invalid_param},         // huge
            Row{{dbcn, f, {0x100, all - 0x10, 0}}, invalid_param},           // wraps around
            Row{{dbcn, f, {all - ram_base.value + 2, ram_base.value, 0}}, invalid_param},
            Row{{dbcn, f, {5, buffer, 1}}, invalid_param}});                 // above 64 bits
    CHECK(typed.size() == 0x100);  // nothing was read for those
}

TEST_CASE("legacy calls: every one, its answer in a0 alone", "[sbi][table][legacy][R24]") {
    constexpr std::uint64_t a1 = 0xA1A1;
    {
        Caller none;
        check(none, std::array{Row{{1, 0, {'p', a1}}, 0}, Row{{2, 0, {5, a1}}, all}, Row{{dbcn, 0, {1, buffer, 0}}, not_supported}, Row{{base, 3, {1}}, 0, 0}});
    }
    Caller c({.vcpus = 2, .console = console});
    *reinterpret_cast<std::uint64_t*>(c.m.host({mask})) = 1;
    *reinterpret_cast<std::uint64_t*>(c.m.host({mask + 8})) = 4;  // no hart
    printed.clear();
    typed = "k";
    check(c, std::array{
        Row{{0, 9, {all, a1}}}, Row{{1, 9, {'p', a1}}}, Row{{2, 9, {5, a1}}, 'k'}, Row{{2, 0, {5, a1}}, all},
        Row{{3, 0, {5, a1}}, 0}, Row{{4, 0, {mask, a1}}}, Row{{3, 0, {5, a1}}, 1}, Row{{3, 0, {5, a1}}, 0},  // clear_ipi says whether there was one
        Row{{4, 0, {0, a1}}}, Row{{3, 0, {5, a1}}, 1}, Row{{4, 0, {mask + 8, a1}}, invalid_param},
        Row{{5, 0, {0, a1}}}, Row{{5, 0, {mask, a1}}}, Row{{5, 0, {mask + 8, a1}}, invalid_param},
        Row{{6, 0, {0, a1, 0x1000}}}, Row{{6, 0, {mask, a1, all}}}, Row{{6, 0, {mask + 8, a1}}, invalid_param},
        Row{{7, 0, {0, a1, 0x1000, 3}}}, Row{{7, 0, {mask, a1, all, all}}}, Row{{7, 0, {mask + 8, a1}}, invalid_param}});
    CHECK(printed == "p");
    for (std::uint64_t id = 9; id <= 15; ++id) check(c, std::array{Row{{id, 0, {1, a1}}, not_supported}});
}

TEST_CASE("a legacy timer fires", "[sbi][table][legacy]") {
    Caller c;
    REQUIRE(c.vcpu().set(id<"vsie">(), 0x20));
    check(c, std::array{Row{{0, 0, {0}}}});
    CHECK((c.vcpu().get(id<"hvip">()).value_or(0) | arch::read<"hip">() & 0x40) != 0);
    check(c, std::array{Row{{0, 0, {all}}}});
    CHECK((arch::read<"hip">() & 0x40) == 0);
}

namespace {
void map(Caller& c, std::uint64_t from, std::uint64_t size, Permissions p = {}) {
    REQUIRE(c.m.stage2.map({from}, Host::virt_to_phys(c.m.host({from})), size, p, MemoryType::normal));
}
}  // namespace

TEST_CASE("a buffer in memory that is not mapped yet, or not for this, leaves as a fault, and the call is made again", "[sbi][stage2][R11]") {
    Caller c({.console = console, .lazy = true});
    map(c, ram_base.value, buffer - ram_base.value);
    std::memcpy(c.m.host({buffer + 4}), "later", 5);
    printed.clear();
    const Call out{dbcn, 0, {5, buffer + 4, 0}}, in{dbcn, 1, {5, buffer + 4, 0}};
    for (int i = 0; i < 2; ++i) {
        const auto f = c.leaves<exit::NestedPageFault>(out);
        CHECK(f.addr.value == buffer + 4);
        CHECK(f.access == Access::read);
        CHECK_FALSE(f.present);
        CHECK_FALSE(f.on_table_walk);
        if (i == 0) REQUIRE(c.b.retry());
    }
    map(c, buffer, 0x1000, {.write = false});
    auto h = c.reported();
    CHECK(h.args[0] == 0);
    CHECK(h.args[1] == 5);
    CHECK(printed == "later");
    typed = "typed";
    const auto f = c.leaves<exit::NestedPageFault>(in);
    CHECK(f.access == Access::write);
    CHECK(f.present);
    REQUIRE(c.b.fail());
    CHECK(c.reported().args[0] == failed);
    c.leaves<exit::NestedPageFault>(in);
    REQUIRE(c.b.complete(3));  // the host has done it
    h = c.reported();
    CHECK(h.args[0] == 0);
    CHECK(h.args[1] == 3);
    // A dirty log takes the write permission away for a while.
    REQUIRE(c.m.stage2.protect({buffer}, 0x1000, {}));
    REQUIRE(c.m.stage2.log_dirty({buffer}, 0x1000));
    CHECK(c.leaves<exit::NestedPageFault>(in).present);
    REQUIRE(c.m.stage2.mark_dirty({buffer}));
    CHECK(c.reported().args[1] == 5);
    CHECK(std::memcmp(c.m.host({buffer + 4}), "typed", 5) == 0);
}

TEST_CASE("a legacy hart mask in memory that is not mapped yet leaves as a fault, and the call is made again", "[sbi][stage2][legacy][R11]") {
    Caller c({.lazy = true});
    map(c, ram_base.value, buffer - ram_base.value);
    *reinterpret_cast<std::uint64_t*>(c.m.host({buffer + 0x10})) = 1;
    const auto f = c.leaves<exit::NestedPageFault>({4, 0, {buffer + 0x10}});
    CHECK(f.addr.value == buffer + 0x10);
    CHECK(f.virt == buffer + 0x10);
    CHECK(f.access == Access::read);
    CHECK_FALSE(f.on_table_walk);
    map(c, buffer, 0x1000);
    CHECK(c.reported().args[0] == 0);
    c.leaves<exit::NestedPageFault>({4, 0, {buffer + 0x1010}});
    REQUIRE(c.b.fail());
    const auto h = c.run().get<exit::Hypercall>();
    REQUIRE(h);
    CHECK(h->number == exception);
    CHECK(h->args[0] == 5);
    CHECK(h->args[1] == buffer + 0x1010);
}

TEST_CASE("a VM's host answers the extensions that it wants to", "[sbi][policy]") {
    struct { arch::SbiExits exits; Call call; } const cases[]{
        {{.base = true}, {base, 3, {dbcn}}}, {{.time = true}, {timer, 0, {77}}}, {{.ipi = true}, {ipi, 0, {1, 0}}}, {{.rfence = true}, {rfence, 1, {0, all}}},
        {{.hsm = true}, {hsm, 1}}, {{.srst = true}, {srst, 0, {0, 0}}}, {{.dbcn = true}, {dbcn, 2, {'x'}}}, {{.pmu = true}, {pmu, 0}}, {{.unknown = true}, {0x5355'5350, 5, {1, 2}}}};
    for (const auto& x : cases) {
        INFO("extension " << std::hex << x.call.extension);
        Caller c({.exits = x.exits});
        const auto h = c.leaves<exit::Hypercall>(x.call);
        CHECK(h.number == (x.call.extension << 32 | x.call.function));
        CHECK(h.args == x.call.a);
        REQUIRE(c.b.complete(0x1234));
        auto r = c.reported();
        CHECK(r.args[0] == 0);
        CHECK(r.args[1] == 0x1234);
        REQUIRE((c.leaves<exit::Hypercall>(x.call), c.b.fail()));
        CHECK(c.reported().args[0] == not_supported);
        // Any other error: the registers, and the pc behind the call.
        c.leaves<exit::Hypercall>(x.call);
        REQUIRE(c.vcpu().set(id<"x">(10), invalid_param));
        REQUIRE(c.vcpu().set(id<"x">(11), 9));
        REQUIRE(c.vcpu().set(id<"pc">(), c.vcpu().get(id<"pc">()).value_or(0) + 4));
        REQUIRE(c.b.retry());
        r = c.reported();
        CHECK(r.args[0] == invalid_param);
        CHECK(r.args[1] == 9);
        // The others are answered inside as before.
        if (!x.exits.base) CHECK(c({base, 3, {timer}}).value == 1);
        if (!x.exits.time) CHECK(c({timer, 0, {all}}).error == 0);
        if (!x.exits.ipi) CHECK(c({ipi, 0, {1, 0}}).error == 0);
        if (!x.exits.unknown) CHECK(c({0x5355'5350, 0}).error == not_supported);
        if (x.exits.dbcn) CHECK(c({base, 3, {dbcn}}).value == 1);
    }
}

TEST_CASE("a legacy call that a VM's host answers has its answer in a0 alone", "[sbi][policy][legacy]") {
    Caller legacy({.exits = {.legacy = true}});
    for (std::uint64_t n = 0; n <= 15; ++n) {
        CHECK(legacy.leaves<exit::Hypercall>({n, 3, {5, 6}}).number == n << 32);
        REQUIRE(legacy.b.complete(0x77));
        const auto h = legacy.reported();
        CHECK(h.args[0] == 0x77);
        CHECK(h.args[1] == 6);
    }
}

TEST_CASE("unknown calls leave where they have an id of 32 bits", "[sbi][policy]") {
    Caller wide({.exits = {.unknown = true}});
    CHECK(wide({std::uint64_t{1} << 32 | base, 0}).error == not_supported);  // no id at all
    CHECK(wide.leaves<exit::Hypercall>({static_cast<std::uint64_t>(-5), 1}).number == (std::uint64_t{0xFFFF'FFFB} << 32 | 1));
}
