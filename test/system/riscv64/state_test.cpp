// Registers as a host sets and reads them, bound and unbound.
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include "../bare_host.hpp"

using namespace harness;

TEST_CASE("a register keeps what a hart would keep: set before a bind, it is the same after it", "[registers]") {
    Machine m(spin, 0, {.vectors = true});
    auto* made = &m.vcpu();
    const auto has = [](arch::Feature f) { return f == arch::Feature::base || (capabilities().features >> static_cast<unsigned>(f) & 1) != 0; };
    for (std::size_t row = 0; row < arch::registers.size(); ++row) {
        const auto& r = arch::registers[row];
        // FS and VS follow what is switched; which counters there are, what vector configurations, and external interrupts are the hart's
        // and the controller's to say.
        const bool others = r.name == "sstatus" || r.name == "scounteren" || r.name == "vl" || r.name == "vtype" || r.name == "vstart" || r.name == "hvip";
        if (!reg::stored(r.policy) || r.writable == 0 || !has(r.feature) || others) continue;
        INFO(r.name);
        for (const auto value : {~std::uint64_t{0}, std::uint64_t{0x5555'5555'5555'5555}, std::uint64_t{0}}) {
            const auto which = r.id(r.count > 1 ? 1 : 0);
            REQUIRE(made->set(which, value));
            const auto before = made->get(which).value_or(0xDEAD);
            { auto b = percpu().bind(*made); REQUIRE(b); }
            CHECK(made->get(which).value_or(0xBEEF) == before);
        }
        REQUIRE(made->reset(m.at(spin)));
    }
    const auto satp = id<"vsatp">();
    for (std::uint64_t mode = 0; mode < 16; ++mode) {
        REQUIRE(made->set(satp, 0));
        REQUIRE(made->set(satp, mode << 60 | 5));
        const bool known = mode == 0 || (mode >= 8 && mode <= 10);
        CHECK(made->get(satp).value_or(0xDEAD) == (known ? mode << 60 | 5 : 0));
    }
}

TEST_CASE("a vector instruction that was interrupted goes on where it was, whoever has looked at it", "[registers][canary][R9]") {
    const auto size = capabilities().vector_state;
    if (size == 0) return;  // a hart without vectors
    static std::array<std::byte, 65536> state alignas(64);
    static PerCpu<BareHost> cpu;
    REQUIRE(percpu().disable());
    REQUIRE(cpu.enable());
    Machine m(spin);
    Slot slot[1];
    Vm<BareHost> vm{{.id = 5, .stage2 = &m.stage2, .vcpus = slot, .ram = m.ram}};
    auto v = Vcpu<BareHost>::create(slot[0], vm, {.entry = m.at(spin), .vector_state = {state.data(), size}});
    REQUIRE(v);
    bool stands = false;
    std::uint64_t seen[2]{};
    {
        auto b = cpu.bind(*v);
        stands = b && v->set(id<"vstart">(), 3);
        for (auto& s : seen) s = v->get(id<"vstart">()).value_or(99);
    }
    CHECK(cpu.disable());
    CHECK(percpu().enable());
    CHECK(stands);
    CHECK(seen[0] == 3);
    CHECK(seen[1] == 3);
}

TEST_CASE("vectors: too little memory is an error, and so is memory that is not aligned", "[misuse][R9]") {
    const auto size = capabilities().vector_state;
    if (size == 0) SKIP("no vectors");
    static std::array<std::byte, 65536> state alignas(64);
    Machine m(spin);
    Slot slot[2];
    Vm<Host> vm{{.id = 5, .stage2 = &m.stage2, .vcpus = slot, .ram = m.ram}};
    const auto misaligned = Vcpu<Host>::create(slot[0], vm, {.id = 0, .entry = m.at(spin), .vector_state = {state.data() + 8, size}});
    REQUIRE_FALSE(misaligned);
    CHECK(misaligned.error().code == Code::misaligned);
    auto made = Vcpu<Host>::create(slot[0], vm, {.id = 0, .entry = m.at(spin), .vector_state = {state.data(), size - 16}});
    REQUIRE(made);
    CHECK(percpu().bind(*made).error() == Error{Code::too_small, nullptr, size, size - 16});
    CHECK(made->state() == State::free);
}

TEST_CASE("stage-2 tables that this hart cannot walk, or whose root is misaligned, and debug means that it has not, are refused", "[misuse][stage2]") {
    alignas(0x4000) static unsigned char zeroes[0x8000];
    const FrameSource no_frames{nullptr, [](void*) noexcept { return HostPhysAddr{}; }, [](void*, HostPhysAddr) noexcept {}};
    const auto refusal = [&](std::uint64_t offset, unsigned levels, unsigned bits) {
        Stage2 tables(stage2_format, Host::virt_to_phys(zeroes + offset), levels, bits, no_frames, hal_table<Host>);
        Slot slot[1];
        Vm<Host> vm{{.id = 1, .stage2 = &tables, .vcpus = slot}};
        auto v = Vcpu<Host>::create(slot[0], vm, {.entry = ram_base});
        REQUIRE(v);
        const auto b = percpu().bind(*v);
        REQUIRE_FALSE(b);
        CHECK(v->state() == State::free);
        return b.error();
    };
    CHECK(refusal(0, 6, 41) == Error{Code::unsupported, nullptr, capabilities().levels_mask, 6});
    CHECK(refusal(0, 3, 42).code == Code::unsupported);
    CHECK(refusal(0x1000, 3, 41) == Error{Code::misaligned, nullptr, 0x4000, reinterpret_cast<std::uint64_t>(zeroes) + 0x1000});
    Machine m(spin);
    CHECK(m.vcpu().set_debug({.step = true}).error().code == Code::unsupported);
    auto b = percpu().bind(m.vcpu());
    CHECK(b);
}

// Fills v0 to v31 with ones; reports, for ever.
GUEST(fill_vectors, "li t0, 3 << 9\ncsrs sstatus, t0\nvsetvli t0, x0, e8, m8, ta, ma\nvmv.v.i v0, -1\nvmv.v.i v8, -1\nvmv.v.i v16, -1\nvmv.v.i v24, -1\n1:\n" REPORT "j 1b\n");

TEMPLATE_TEST_CASE("what one guest has left in the vectors is gone when the next one, which has none, is unbound", "[canary][bind][R9]", Host, BareHost) {
    const auto size = capabilities().vector_state;
    if (size == 0) return;  // a hart without vectors
    static std::array<std::byte, 65536> state alignas(64), left alignas(64);
    left.fill(std::byte{0xFF});
    Enabled<TestType> here;
    Machine m(fill_vectors);
    Slot slots[2];
    Vm<TestType> vm{{.id = 5, .stage2 = &m.stage2, .vcpus = slots, .ram = m.ram}};
    auto first = Vcpu<TestType>::create(slots[0], vm, {.id = 0, .entry = m.at(fill_vectors), .vector_state = {state.data(), size}});
    auto second = Vcpu<TestType>::create(slots[1], vm, {.id = 1, .entry = m.at(fill_vectors)});
    REQUIRE(first);
    REQUIRE(second);
    bool ran = false, switched = false;
    {
        auto b = here.cpu.bind(*first);
        const auto e = b.run();
        ran = e && e->template is<exit::Hypercall>() && b.complete();
        switched = b.switch_to(*second).has_value();
    }
    asm volatile(".option push\n.option arch, +v\nli t0, 3 << 9\ncsrrs t1, sstatus, t0\nvsetvli t0, x0, e8, m8, ta, ma\nmv t2, %0\n"
                 "vse8.v v0, (t2)\nadd t2, t2, t0\nvse8.v v8, (t2)\nadd t2, t2, t0\nvse8.v v16, (t2)\nadd t2, t2, t0\nvse8.v v24, (t2)\ncsrw sstatus, t1\n.option pop"
                 ::"r"(left.data()) : "t0", "t1", "t2", "memory");
    CHECK(ran);
    CHECK(switched);
    CHECK(std::ranges::all_of(std::span(left).first(size), [](std::byte b) { return b == std::byte{0}; }));
}

// Everything of the floating-point state gets another value; a call, for ever.
GUEST(change_fp, "li t0, 3 << 13\ncsrs sstatus, t0\nli t1, 0x5A5A\n.irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\nfmv.d.x f\\n, t1\n.endr\nli t1, 0x4A\nfscsr t1\n1: " REPORT "j 1b\n");
// auto host_fp_lost(void (*f)(void*), void* arg) -> bits: calls f with values of its own in fs0 to fs11 and fcsr; bit n: fs<n> came back as
// another one, bit 12: fcsr.
asm(R"(
    .pushsection .text.host_fp_lost,"ax"
    .option push
    .option arch, +d
    .globl host_fp_lost
host_fp_lost:
    addi sp, sp, -128
    sd   ra, 0(sp)
    sd   s1, 8(sp)
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11
    fsd  fs\n, 16 + 8 * \n(sp)
    li   t0, 0x4000 + \n
    fmv.d.x fs\n, t0
    .endr
    frcsr s1
    li   t0, 0x25
    fscsr t0
    mv   t1, a0
    mv   a0, a1
    jalr t1
    li   a0, 0
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11
    fmv.x.d t0, fs\n
    li   t1, 0x4000 + \n
    xor  t0, t0, t1
    snez t0, t0
    slli t0, t0, \n
    or   a0, a0, t0
    fld  fs\n, 16 + 8 * \n(sp)
    .endr
    frcsr t0
    addi t0, t0, -0x25
    snez t0, t0
    slli t0, t0, 12
    or   a0, a0, t0
    fscsr s1
    ld   ra, 0(sp)
    ld   s1, 8(sp)
    addi sp, sp, 128
    ret
    .option pop
    .popsection
)");
extern "C" auto host_fp_lost(void (*f)(void*), void* arg) -> std::uint64_t;

TEST_CASE("a host that uses floating point finds behind run() what its callers rely on: fs0 to fs11, fcsr", "[canary][R9]") {
    Machine m(change_fp);
    auto b = percpu().bind(m.vcpu());
    const auto once = [](void* bound) noexcept {
        auto& vcpu = *static_cast<Vcpu<Host>::Bound*>(bound);
        static_cast<void>(vcpu.run());
        static_cast<void>(vcpu.complete());
    };
    for (int i = 0; i < 3; ++i) {
        CHECK(host_fp_lost(once, &b) == 0);
        CHECK(get<"fcsr">(m) == 0x4A);
        for (std::uint8_t n = 0; n < 32; ++n) CHECK(get<"f">(m, n) == 0x5A5A);
    }
}
