// What a guest may try, as rows: each gets the architecture's answer, and a second vCPU and a second VM compute what they always do.
#include <catch2/catch_test_macros.hpp>
#include "../harness.hpp"

using namespace harness;

GUEST(bad_jump, VECTORS "br x0\n");
// One load or store, which the host writes there, by translations that make everything Normal memory, or without: Device memory.
GUEST(bad_access, VECTORS "mov x2, #1\n.globl bad_access_at\nbad_access_at: nop\n" REPORT);
GUEST(bad_access_normal, VECTORS MMU_ON "mov x2, #1\n.globl bad_access_normal_at\nbad_access_normal_at: nop\n" REPORT);
extern "C" const unsigned char bad_access_at[], bad_access_normal_at[];
GUEST(bad_spsr, VECTORS "msr SPSR_EL1, x0\nadr x1, 1f\nmsr ELR_EL1, x1\neret\n.globl bad_spsr_at\nbad_spsr_at: 1: nop\n" REPORT);
extern "C" const unsigned char bad_spsr_at[];
GUEST(bad_table, VECTORS "msr TTBR0_EL1, x0\nmov x9, #25\nmovk x9, #0x80, lsl #16\nmsr TCR_EL1, x9\nisb\nmrs x9, SCTLR_EL1\norr x9, x9, #1\nmsr SCTLR_EL1, x9\nisb\nnop\n" REPORT);
// Stores x2 to x1 words from x0 on.
GUEST(store_everywhere, "1: str w2, [x0]\nadd x0, x0, #4\nsubs x1, x1, #1\nb.ne 1b\n" REPORT "b .\n");
GUEST(any_hvc, "hvc #0\nmov x1, x0\n" REPORT);
GUEST(any_smc, "smc #0\nmov x1, x0\n" REPORT);
extern "C" const unsigned char self_sgi[];  // interrupts_test.cpp: takes three of its own SGIs, and reports how many

namespace {

constexpr auto unmapped = ram_base + 0x2'0000;
constexpr std::uint64_t ec(std::uint64_t syndrome) { return syndrome >> 26; }

auto leaves(Vcpu<Host>::Bound& b) -> Exit {
    const auto e = run_on(b, runtime::now() + 30 * runtime::frequency());
    REQUIRE(e);
    return *e;
}
/// What the guest's own vectors report: the exception, ESR_EL1, FAR_EL1, ELR_EL1.
auto own_exception(Vcpu<Host>::Bound& b) -> std::array<std::uint64_t, 6> {
    const auto e = leaves(b);
    INFO("left with " << exit_names[e.index()]);
    const auto h = e.get<exit::Hypercall>();
    REQUIRE(h);
    CHECK(h->number == exception + 0x200);
    return h->args;
}

void computes(Vcpu<Host>& v) {
    auto b = percpu().bind(v);
    REQUIRE(b);
    static_cast<void>(leaves(b));
    REQUIRE(b.complete());
    const auto h = leaves(b).get<exit::Hypercall>();
    REQUIRE(h);
    CHECK(h->args[0] == 464);
    CHECK(h->args[1] == 464);
}
/// vCPU 1, and another VM. Requires: nothing is bound, vCPU 1's code is mapped.
void others_go_on(Machine& m) {
    REQUIRE(m.vcpu(1).reset(m.at(add_registers)));
    computes(m.vcpu(1));
    Machine other(add_registers);
    computes(other.vcpu());
}

void map_code(Machine& m) { REQUIRE(m.stage2.map(ram_base, Host::virt_to_phys(m.memory), 0x2'0000, {}, MemoryType::normal)); }

}  // namespace

TEST_CASE("hostile table: jumps to where nothing can be executed", "[hostile][table][A6]") {
    constexpr std::uint64_t odd = 0x4000'0002, far_away = std::uint64_t{1} << 39, no_address = ~std::uint64_t{3};
    struct { std::uint64_t to; bool leaves; std::uint64_t own_class; } rows[]{
        {0, true, 0x21}, {0x7000'0000, true, 0x21}, {device_base.value, true, 0x21}, {gicd_base.value, true, 0x21}, {unmapped.value, true, 0x21},
        {far_away, true, 0x21}, {odd, false, 0x22}, {no_address, false, 0x21},
    };
    for (const auto& row : rows) {
        INFO("to " << std::hex << row.to);
        Machine m(bad_jump, row.to, {.vcpus = 2, .controller = true, .lazy = true});
        map_code(m);
        {
            auto b = percpu().bind(m.vcpu());
            if (row.leaves) {
                const auto f = leaves(b).get<exit::NestedPageFault>();
                REQUIRE(f);
                CHECK(f->access == Access::execute);
                CHECK(f->addr.value == row.to);
                REQUIRE(b.fail());
            }
            const auto x = own_exception(b);
            CHECK(ec(x[0]) == row.own_class);
            CHECK(x[1] == row.to);
            CHECK(x[2] == row.to);
        }
        others_go_on(m);
    }
}

TEST_CASE("hostile table: accesses of every width, aligned and not, to a device, to memory that is not there, to memory", "[hostile][table][mmio]") {
    struct { std::uint32_t load, store; std::uint8_t width, parts; } accesses[]{
        {0x3940'0001, 0x3900'0001, 1, 1}, {0x7940'0001, 0x7900'0001, 2, 1}, {0xB940'0001, 0xB900'0001, 4, 1}, {0xF940'0001, 0xF900'0001, 8, 1},
        {0xA940'0801, 0xA900'0801, 8, 2},
    };
    constexpr auto memory = ram_base + 0x1'D000;
    for (const bool normal : {false, true})
        for (const auto& access : accesses)
            for (const bool write : {false, true})
                for (const auto place : {device_base, unmapped, memory})
                    for (const unsigned offset : {0u, 1u}) {
                        const auto addr = place + offset;
                        INFO((normal ? "Normal" : "Device") << (write ? " store of " : " load of ") << unsigned{access.width} << " bytes, address " << std::hex << addr.value);
                        Machine m(normal ? bad_access_normal : bad_access, addr.value, {.vcpus = 2, .lazy = true});
                        map_code(m);
                        const auto at = m.at(normal ? bad_access_normal_at : bad_access_at);
                        __builtin_memcpy(m.host(at), write ? &access.store : &access.load, 4);
                        auto* table = reinterpret_cast<std::uint64_t*>(m.host(ram_base + 0x1'E000));  // MMU_ON's: all of it Normal
                        for (const std::uint64_t n : {0, 1}) table[n] = n << 30 | 1 | 3 << 8 | 1 << 10;
                        auto b = percpu().bind(m.vcpu());
                        const auto e = leaves(b);
                        if (place == memory) {
                            // Between the guest and its CPU: QEMU looks at no alignment here, others give it an Alignment fault of its own.
                            const auto h = e.get<exit::Hypercall>();
                            REQUIRE(h);
                            const bool faults = !normal && offset % access.width != 0 && h->number == exception + 0x200;
                            CHECK((faults ? (h->args[0] & 0x3F) == 0x21 : h->number == report));
                            continue;
                        }
                        if (place == unmapped) {
                            const auto f = e.get<exit::NestedPageFault>();
                            REQUIRE(f);
                            CHECK(f->addr == addr);
                            CHECK(f->access == (write ? Access::write : Access::read));
                            CHECK_FALSE(f->present);
                        } else if (write) {
                            const auto w = e.get<exit::MmioWrite>();
                            REQUIRE(w);
                            CHECK((w->addr == addr && w->width == access.width && w->part == 0 && w->parts == access.parts));
                        } else {
                            const auto r = e.get<exit::MmioRead>();
                            REQUIRE(r);
                            CHECK((r->addr == addr && r->width == access.width && r->part == 0 && r->parts == access.parts));
                        }
                        REQUIRE(b.fail());
                        const auto x = own_exception(b);
                        CHECK(x[0] == (std::uint64_t{0x25} << 26 | 1 << 25 | (write ? 1u << 6 : 0) | 0x10));
                        CHECK(x[1] == addr.value);
                        CHECK(x[2] == at.value);
                    }
    Machine m(spin, 0, {.vcpus = 2});
    others_go_on(m);
}

TEST_CASE("hostile table: saved states that there are not", "[hostile][table][A6]") {
    // EL1t with a reserved bit, EL2, EL3, unallocated ones, and the modes of AArch32 above EL0.
    for (const std::uint64_t spsr : {0x3C1, 0x3C2, 0x3C3, 0x3C6, 0x3C7, 0x3C8, 0x3C9, 0x3CB, 0x3CC, 0x3CD, 0x3CF, 0x1D1, 0x1D2, 0x1D3, 0x1D6, 0x1D7, 0x1DA, 0x1DB, 0x1DF, 0x1D4}) {
        INFO("SPSR_EL1 " << std::hex << spsr);
        Machine m(bad_spsr, spsr, {.vcpus = 2});
        {
            auto b = percpu().bind(m.vcpu());
            const auto x = own_exception(b);
            CHECK(ec(x[0]) == 0x0E);
            CHECK(x[2] == m.at(bad_spsr_at).value);
        }
        others_go_on(m);
    }
}

TEST_CASE("hostile table: page tables in the interrupt controller", "[hostile][table][gic]") {
    for (const auto base : {gicd_base, gicr_base, gicr_base + 0x1'0000, device_base}) {
        Machine m(bad_table, base.value, {.vcpus = 2, .controller = true});
        {
            auto b = percpu().bind(m.vcpu());
            for (int again = 0; again < 3; ++again) {  // its vectors cannot be fetched, either
                const auto f = leaves(b).get<exit::NestedPageFault>();
                REQUIRE(f);
                CHECK(f->on_table_walk);
                CHECK(f->access == Access::execute);
                CHECK((f->addr.value & ~std::uint64_t{0xFFF}) == base.value);
                REQUIRE(b.fail());
            }
        }
        others_go_on(m);
    }
}

TEST_CASE("hostile table: WFI with everything masked leaves each time, and with something pending the host keeps the CPU", "[hostile][table][wait]") {
    Machine m(wait_forever, 0, {.vcpus = 2, .controller = true});
    {
        auto b = percpu().bind(m.vcpu());
        for (int i = 0; i < 50; ++i) {
            REQUIRE(leaves(b).is<exit::Halt>());
            REQUIRE(b.complete());
        }
        const auto control = [&](std::uint64_t offset, GuestPhysAddr base, std::uint64_t value) {
            DeviceAccess a{base + offset, value, 4, true};
            REQUIRE(m.controller.access(0, a));
        };
        control(0, gicd_base, 2);
        control(0x84, gicd_base, ~0u);
        control(0x104, gicd_base, ~0u);
        m.controller.set_line(40, true);
        for (int i = 0; i < 3; ++i) {
            const auto e = run_on(b, runtime::now() + runtime::frequency() / 100);
            REQUIRE(e);
            CHECK(e->is<exit::TimerExpired>());
        }
    }
    others_go_on(m);
}

TEST_CASE("hostile table: CPU_ON of itself, of one that runs, of none, and to nowhere", "[hostile][table][psci]") {
    struct { std::uint64_t target, entry; std::int64_t expected; } rows[]{
        {0, ram_base.value, -4}, {1, ram_base.value, -4}, {2, ram_base.value, -2}, {0x55, ram_base.value, -2}, {~std::uint64_t{0}, ram_base.value, -2},
        {std::uint64_t{1} << 31, ram_base.value, -2}, {1, ram_base.value + 2, -9}, {1, device_base.value, -9}, {1, gicd_base.value, -9}, {1, ~std::uint64_t{3}, -9},
    };
    for (const auto* payload : {any_hvc, any_smc})
        for (const auto& row : rows) {
            INFO("target " << std::hex << row.target << ", entry " << row.entry);
            Machine m(payload, 0xC400'0003, {.vcpus = 2});
            REQUIRE(m.vcpu(1).reset(m.at(spin)));  // it is on
            REQUIRE(m.vcpu().set(id<"X">(1), row.target));
            REQUIRE(m.vcpu().set(id<"X">(2), row.entry));
            auto b = percpu().bind(m.vcpu());
            CHECK(static_cast<std::int64_t>(leaves(b).get<exit::Hypercall>()->args[0]) == row.expected);
            CHECK(m.vcpu(1).core().power() == Power::on);
        }
}

TEST_CASE("hostile table: stores to every word of the interrupt controller stay in its model, which works on", "[hostile][table][gic]") {
    Machine m(store_everywhere, 0, {.vcpus = 2, .controller = true});
    {
        auto b = percpu().bind(m.vcpu());
        struct { GuestPhysAddr from; std::uint64_t words; } frames[]{{gicd_base, 0x4000}, {gicr_base, 0x8000}, {gicr_base + 0x2'0000, 0x8000}};
        for (const std::uint64_t value : {~std::uint64_t{0}, std::uint64_t{0}})
            for (const auto& [from, words] : frames) {
                REQUIRE(m.vcpu().set(pc_id, m.at(store_everywhere).value));
                REQUIRE(m.vcpu().set(id<"X">(0), from.value));
                REQUIRE(m.vcpu().set(id<"X">(1), words));
                REQUIRE(m.vcpu().set(id<"X">(2), value));
                const auto e = leaves(b);
                INFO("left with " << exit_names[e.index()] << " at " << std::hex << get<"X">(m));
                REQUIRE(e.is<exit::Hypercall>());
                REQUIRE(b.complete());
            }
    }
    others_go_on(m);
    REQUIRE(m.vcpu().reset(m.at(self_sgi)));
    auto b = percpu().bind(m.vcpu());
    const auto h = leaves(b).get<exit::Hypercall>();
    REQUIRE(h);
    CHECK(h->args[0] == 3);
}

namespace {

constexpr std::size_t none = Exit::reasons;
struct Answer { std::size_t exit; std::int64_t value; };
/// What a function number asks for when all its arguments are 0, in a VM whose two vCPUs are on: an exit, and what X0 is after it has
/// been failed; or X0 alone.
auto answer_to(std::uint32_t function) -> Answer {
    const auto owner = function >> 24 & 0x3F;
    const bool fast = function >> 31 != 0;
    if (!fast || (owner != 0 && owner != 4)) return {Exit::index_of<exit::Hypercall>(), -1};
    switch (function) {
        case 0x8000'0000: case 0x8400'0000: return {none, 0x1'0001};
        case 0x8400'0001: case 0xC400'0001: return {Exit::index_of<exit::CpuSuspend>(), -3};
        case 0x8400'0002: return {Exit::index_of<exit::CpuDown>(), 0};
        case 0x8400'0003: case 0xC400'0003: case 0x8400'000E: case 0xC400'000E: return {none, -9};  // to start at 0
        case 0x8400'0004: case 0xC400'0004: return {none, 0};
        case 0x8400'0006: return {none, 2};
        case 0x8400'0008: return {Exit::index_of<exit::SystemDown>(), 0};
        case 0x8400'0009: case 0x8400'0012: case 0xC400'0012: return {Exit::index_of<exit::SystemReset>(), 0};
        default: return {none, -1};
    }
}

/// Calls by `payload`, whose first instruction that is; gives how many were answered otherwise.
struct Caller {
    Machine& m;
    const unsigned char* payload;
    std::unique_ptr<Vcpu<Host>::Bound> b{};
    std::uint32_t last_wrong = 0;
    unsigned wrong = 0, exits = 0;

    auto leaves_as(std::size_t reason) -> bool {
        const auto e = run_on(*b);
        return e && e->index() == reason;
    }
    void call(std::uint32_t function, std::uint64_t above) {
        if (!b) b.reset(new Vcpu<Host>::Bound(percpu().bind(m.vcpu())));
        auto& v = m.vcpu();
        bool ok = v.set(pc_id, m.at(payload).value) && v.set(id<"X">(0), function | above << 32);
        for (std::uint8_t n = 1; n < 4; ++n) ok = ok && v.set(id<"X">(n), 0);
        const auto expected = answer_to(function);
        const auto& e = v.core().last_exit();
        if (expected.exit != none) {
            ++exits;
            ok = ok && leaves_as(expected.exit);
            if (const auto h = e.get<exit::Hypercall>()) ok = ok && (h->number & 0xFFFF'FFFF) == function && h->secure == (payload == any_smc) && *v.get(pc_id) == m.at(payload).value;
        }
        if (ok && e.kind() == ExitKind::terminal && expected.exit != none) {
            b.reset();
            ok = v.reset(m.at(payload)).has_value();
        } else {
            ok = ok && (expected.exit == none || b->fail()) && leaves_as(Exit::index_of<exit::Hypercall>());
            ok = ok && static_cast<std::int64_t>(e.get<exit::Hypercall>()->args[0]) == expected.value && b->complete();
        }
        if (ok) return;
        ++wrong;
        last_wrong = function;
    }
};

}  // namespace

TEST_CASE("hostile table: every class of function numbers, by HVC and by SMC, is answered, refused or the host's", "[hostile][table][psci]") {
    for (const auto* payload : {any_hvc, any_smc}) {
        Machine m(payload, 0, {.policy = {.secure_calls = true}, .vcpus = 2});
        REQUIRE(m.vcpu(1).reset(m.at(spin)));
        Caller caller{m, payload};
        for (std::uint32_t owner = 0; owner < 64; ++owner)
            for (const std::uint32_t kind : {0u, 1u, 2u, 3u})  // yielding and fast, 32- and 64-bit
                for (std::uint32_t n = 0; n < 0x40; ++n) caller.call(kind << 30 | owner << 24 | n, n % 5 == 0 ? 0xFFFF'FFFFu : 0);
        std::mt19937 random(3);
        for (int i = 0; i < 2'000; ++i) caller.call(static_cast<std::uint32_t>(i % 2 == 0 ? random() : 0x8400'0000 | (random() & 0x40FF'FFFF)), random());
        CHECK(caller.exits > 15'000);
        INFO("the last one of them: " << std::hex << caller.last_wrong);
        CHECK(caller.wrong == 0);
        caller.b.reset();
        others_go_on(m);
    }
}
