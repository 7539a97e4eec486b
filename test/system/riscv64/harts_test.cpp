// What one hart does to another through the SBI: interrupts and fences that arrive, wherever the target is, and none that outlives it.
#include "caller.hpp"

using namespace harness;

namespace {

enum class Place { running, halted, unbound };
constexpr auto call_exit = Exit::index_of<exit::Hypercall>(), halt_exit = Exit::index_of<exit::Halt>();
constexpr std::uint64_t seconds = 30;  // a guest that never leaves fails, and does not hang

/// Runs a vCPU here until an exit, and unbinds it. `answer`: the exit is an instruction's, and is completed.
auto run_here(Vcpu<Host>& v, bool answer = true) -> std::size_t {
    auto b = percpu().bind(v);
    REQUIRE(b);
    const auto e = run_on(b, runtime::now() + seconds * runtime::frequency());
    REQUIRE(e);
    const auto index = e->index();
    if (answer) REQUIRE(b.complete());
    return index;
}
/// What a0 says where the vCPU stands at its report.
auto reported(Vcpu<Host>& v) -> std::uint64_t {
    REQUIRE(run_here(v, false) == call_exit);
    const auto a0 = v.get(id<"x">(10)).value_or(0xDEAD);
    auto b = percpu().bind(v);
    REQUIRE(b.complete());
    return a0;
}
/// A VM whose vCPU 0 makes calls here, while vCPU 1 is somewhere.
struct Pair {
    Machine m{sbi_caller, table.value, {.vcpus = 2}};
    auto call(const Call& c) -> std::uint64_t {
        auto* at = reinterpret_cast<std::uint64_t*>(m.host(table));
        std::ranges::copy(c.a, at);
        at[6] = c.function;
        at[7] = c.extension;
        return reported(m.vcpu());
    }
    /// `act` while vCPU 1, which has been reset, is there; then it runs on until it leaves. On one CPU none runs meanwhile: nothing is done.
    template <class F> auto meets(Place place, F act) -> bool {
        auto& target = m.vcpu(1);
        if (place == Place::running) {
            if (!have_cpu(1)) return false;
            RunsOn other(1, target, runtime::now() + seconds * runtime::frequency());
            while (target.state() != State::running) {}
            act();
            REQUIRE(other.wait() == call_exit);
            return true;
        }
        if (place == Place::halted) {
            REQUIRE(run_here(target) == halt_exit);
            REQUIRE(target.block().value_or(false));
        }
        act();
        if (place == Place::halted) REQUIRE(target.unblock());
        REQUIRE(run_here(target, false) == call_exit);
        return true;
    }
    auto x10() -> std::uint64_t { return m.vcpu(1).get(id<"x">(10)).value_or(0xDEAD); }
};
constexpr std::array places{Place::running, Place::halted, Place::unbound};

}  // namespace

// Looks until its software interrupt is there; with a1 it waits before that.
GUEST(ipi_target, "csrwi sie, 2\nbeqz a1, 1f\nwfi\n1: csrr a0, sip\nandi a0, a0, 2\nbeqz a0, 1b\n" REPORT);

TEST_CASE("an IPI reaches its target: running, halted, unbound", "[smp][sbi][ipi]") {
    for (const auto place : places) {
        for (const auto& call : {Call{ipi, 0, {2, 0}}, Call{ipi, 0, {1, 1}}, Call{ipi, 0, {0, ~std::uint64_t{0}}}, Call{4, 0, {table.value + 0x100}}}) {
            INFO("place " << static_cast<int>(place) << ", extension " << std::hex << call.extension);
            Pair p;
            *reinterpret_cast<std::uint64_t*>(p.m.host(table + 0x100)) = 2;
            REQUIRE(p.m.vcpu(1).reset(p.m.at(ipi_target), place == Place::halted));
            const auto woken = wakes();
            if (!p.meets(place, [&] { CHECK(p.call(call) == 0); })) continue;
            CHECK(p.x10() == 2);
            if (place == Place::halted) CHECK(wakes() > woken);
        }
    }
}

GUEST(sip_reader, "csrr a0, sip\n" REPORT);
// a1: the type of the suspend; goes on at sip_reader.
GUEST(sip_suspender, "mv a0, a1\nla a1, sip_reader\nli a2, 0\nli a7, 0x48534D\nli a6, 3\necall\ncsrr a0, sip\n" REPORT);

TEST_CASE("an IPI for what a vCPU was before a reset is not taken after it; one for a suspended hart is", "[sbi][ipi][power]") {
    Pair p;
    auto& target = p.m.vcpu(1);
    CHECK(p.call({ipi, 0, {2, 0}}) == 0);  // it is off
    REQUIRE(target.core().request_power_on(p.m.at(sip_reader), 0));
    CHECK(reported(target) == 0);
    CHECK(p.call({ipi, 0, {2, 0}}) == 0);
    REQUIRE(target.reset(p.m.at(sip_reader), 0));
    CHECK(reported(target) == 0);
    for (const std::uint64_t type : {std::uint64_t{0}, std::uint64_t{0x8000'0000}}) {
        REQUIRE(target.reset(p.m.at(sip_suspender), type));
        REQUIRE(run_here(target, false) == Exit::index_of<exit::CpuSuspend>());
        CHECK(p.call({ipi, 0, {2, 0}}) == 0);
        { auto b = percpu().bind(target); REQUIRE(b.complete()); }
        CHECK(reported(target) == 2);
    }
}

// Sv39 by a1: reads a virtual address once, waits, then looks until it reads something else there.
GUEST(translated_reader, "csrw satp, a1\nsfence.vma\nli s1, 0x80000000\nld s2, (s1)\nbeqz s2, 2f\nwfi\n1: ld a0, (s1)\nbeq a0, s2, 1b\n2: " REPORT);
// a1: an entry of a page table. Takes the one behind it in its place, tells the others by a RFENCE (a6 = a word further), reports.
GUEST(translation_changer, "ld t0, 8(a1)\nsd t0, (a1)\nld a6, 16(a1)\nli a0, 2\nli a1, 0\nli a2, 0\nli a3, 0\nli a4, 0\nli a7, 0x52464E43\necall\n" REPORT);

TEST_CASE("a RFENCE drops the target's translation: running, halted, unbound", "[smp][sbi][tlb]") {
    constexpr auto root = ram_base + 0x2'1000, middle = root + 0x1000, leaf = middle + 0x1000, before = leaf + 0x1000, after = before + 0x1000;
    constexpr std::uint64_t pointer = 0x01, data = 0xC7, code = 0xCF;  // V; V R W A D; and X
    const auto entry = [](GuestPhysAddr a, std::uint64_t bits) { return a.value >> 12 << 10 | bits; };
    for (const auto place : places) {
        for (const std::uint64_t function : {1, 2}) {
            INFO("place " << static_cast<int>(place) << ", function " << function);
            Pair p;
            auto& target = p.m.vcpu(1);
            const auto word = [&](GuestPhysAddr a) -> volatile std::uint64_t& { return *reinterpret_cast<volatile std::uint64_t*>(p.m.host(a)); };
            word(root + 8) = entry(ram_base, code);  // a gigabyte where it is
            word(root + 16) = entry(middle, pointer);
            word(middle) = entry(leaf, pointer);
            word(leaf) = entry(before, data);
            word(leaf + 8) = entry(after, data);
            word(leaf + 16) = function;
            word(before) = 0x11;
            word(after) = 0x22;
            REQUIRE(target.reset(p.m.at(translated_reader), std::uint64_t{8} << 60 | root.value >> 12));
            REQUIRE(p.m.vcpu().reset(p.m.at(translation_changer), leaf.value));
            // It has read, and so holds the translation, when it waits.
            if (place != Place::halted) REQUIRE(run_here(target) == halt_exit);
            if (!p.meets(place, [&] { CHECK(reported(p.m.vcpu()) == 0); })) continue;
            CHECK(p.x10() == 0x22);
        }
    }
}
