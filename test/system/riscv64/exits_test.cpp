// Each exit reason, produced by a guest that does the thing; every field checked; then completed, retried and failed.
#include <catch2/catch_test_macros.hpp>
#include "../harness.hpp"

using namespace harness;

GUEST(two_calls, "li a7, 0x0A000000\nli a6, 7\nli a0, 1\nli a1, 2\nli a2, 3\nli a3, 4\nli a4, 5\nli a5, 6\necall\nmv a2, a1\nmv a1, a0\nli a0, 99\nli a6, 0\necall\n");

TEST_CASE("a hypercall carries its arguments, completes with a value, and moves on by one instruction", "[call]") {
    Machine m(two_calls);
    auto b = percpu().bind(m.vcpu());
    const auto h = leaves<exit::Hypercall>(b);
    CHECK(h.number == (std::uint64_t{0x0A00'0000} << 32 | 7));
    CHECK(h.args == std::array<std::uint64_t, 6>{1, 2, 3, 4, 5, 6});
    const auto pc = get<"pc">(m);
    REQUIRE(b.complete(0x1234));
    CHECK(get<"pc">(m) == pc + 4);
    const auto second = leaves<exit::Hypercall>(b);
    CHECK(second.args[0] == 99);
    CHECK(second.args[1] == 0);       // SBI_SUCCESS in a0
    CHECK(second.args[2] == 0x1234);  // the value in a1
}

TEST_CASE("retry executes the call again, and so does run without an answer; fail says not supported", "[call]") {
    Machine m(two_calls);
    auto b = percpu().bind(m.vcpu());
    for (int i = 0; i < 3; ++i) CHECK(leaves<exit::Hypercall>(b).args[5] == 6);
    REQUIRE(b.retry());
    CHECK(leaves<exit::Hypercall>(b).args[5] == 6);
    REQUIRE(b.fail());
    CHECK(leaves<exit::Hypercall>(b).args[1] == static_cast<std::uint64_t>(-2));
}

GUEST(loads, "li t0, 0x0A000000\nlb a0, 0(t0)\nlbu a1, 1(t0)\nlh a2, 2(t0)\nlhu a3, 4(t0)\nlw a4, 8(t0)\nlwu a5, 12(t0)\n" REPORT "ld a0, 16(t0)\nlw zero, 20(t0)\nmv a1, zero\n" REPORT);

TEST_CASE("an MMIO load gives the register what the instruction says, whatever the device returns", "[mmio][R19]") {
    Machine m(loads);
    auto b = percpu().bind(m.vcpu());
    const std::array<std::pair<unsigned, unsigned>, 6> expected{{{0, 1}, {1, 1}, {2, 2}, {4, 2}, {8, 4}, {12, 4}}};
    for (const auto [offset, width] : expected) {
        const auto r = leaves<exit::MmioRead>(b);
        CHECK(r.addr == device_base + offset);
        CHECK(r.width == width);
        CHECK(r.parts == 1);
        REQUIRE(b.complete(0xFFFF'FFFF'FFFF'FF80));
    }
    const auto h = leaves<exit::Hypercall>(b);
    CHECK(h.args == std::array<std::uint64_t, 6>{0xFFFF'FFFF'FFFF'FF80, 0x80, 0xFFFF'FFFF'FFFF'FF80, 0xFF80, 0xFFFF'FFFF'FFFF'FF80, 0xFFFF'FF80});
    REQUIRE(b.complete());
    CHECK(leaves<exit::MmioRead>(b).width == 8);
    REQUIRE(b.complete(0x0123'4567'89AB'CDEF));
    leaves<exit::MmioRead>(b);
    REQUIRE(b.complete(77));
    const auto second = leaves<exit::Hypercall>(b);
    CHECK(second.args[0] == 0x0123'4567'89AB'CDEF);
    CHECK(second.args[1] == 0);  // x0 stays zero
}

GUEST(stores, "li t0, 0x0A000000\nli t1, 0x8899AABBCCDDEEFF\nsb t1, 0(t0)\nsh t1, 2(t0)\nsw t1, 4(t0)\nsd t1, 8(t0)\nsw zero, 16(t0)\n" REPORT);

TEST_CASE("an MMIO store has its width and nothing above it", "[mmio][R21]") {
    Machine m(stores);
    auto b = percpu().bind(m.vcpu());
    constexpr std::uint64_t all = 0x8899'AABB'CCDD'EEFF;
    const std::array<std::tuple<unsigned, unsigned, std::uint64_t>, 5> expected{{{0, 1, 0xFF}, {2, 2, 0xEEFF}, {4, 4, 0xCCDD'EEFF}, {8, 8, all}, {16, 4, 0}}};
    for (const auto& [offset, width, value] : expected) {
        const auto w = leaves<exit::MmioWrite>(b);
        CHECK(w.addr == device_base + offset);
        CHECK(w.width == width);
        CHECK(w.value == value);
        REQUIRE(b.complete());
    }
    leaves<exit::Hypercall>(b);
}

GUEST(compressed, ".option rvc\nli s0, 0x0A000000\nli s1, 0x55667788\nc.sw s1, 4(s0)\nc.lw a0, 8(s0)\nc.sd s1, 16(s0)\nc.ld a1, 24(s0)\nmv t1, sp\nmv sp, s0\nc.swsp s1, 32(sp)\nc.lwsp a2, 36(sp)\nc.ldsp a3, 40(sp)\nc.sdsp s1, 48(sp)\nmv sp, t1\n.option norvc\n" REPORT);

TEST_CASE("compressed loads and stores: the right register, width and length", "[mmio][R19]") {
    Machine m(compressed);
    auto b = percpu().bind(m.vcpu());
    const auto store = [&](unsigned offset, unsigned width) {
        const auto w = leaves<exit::MmioWrite>(b);
        CHECK(w.addr == device_base + offset);
        CHECK(w.width == width);
        CHECK(w.value == 0x5566'7788);
        const auto pc = get<"pc">(m);
        REQUIRE(b.complete());
        CHECK(get<"pc">(m) == pc + 2);
    };
    const auto load = [&](unsigned offset, unsigned width, std::uint64_t value) {
        const auto r = leaves<exit::MmioRead>(b);
        CHECK(r.addr == device_base + offset);
        CHECK(r.width == width);
        REQUIRE(b.complete(value));
    };
    store(4, 4);
    load(8, 4, 0x8000'0001);
    store(16, 8);
    load(24, 8, 0x11);
    store(32, 4);
    load(36, 4, 0x22);
    load(40, 8, 0x33);
    store(48, 8);
    const auto h = leaves<exit::Hypercall>(b);
    CHECK(h.args[0] == 0xFFFF'FFFF'8000'0001);
    CHECK(h.args[1] == 0x11);
    CHECK(h.args[2] == 0x22);
    CHECK(h.args[3] == 0x33);
}

GUEST(fp_accesses, "li t0, 1 << 13\ncsrs sstatus, t0\nli t0, 0x0A000000\nflw f1, 0(t0)\nfld f2, 8(t0)\nfsw f1, 16(t0)\nfsd f2, 24(t0)\nfmv.x.d a0, f1\nfmv.x.d a1, f2\n" REPORT);

TEST_CASE("floating-point loads and stores reach devices; the narrow ones are NaN-boxed", "[mmio][R9][R19]") {
    Machine m(fp_accesses);
    auto b = percpu().bind(m.vcpu());
    CHECK(leaves<exit::MmioRead>(b).width == 4);
    REQUIRE(b.complete(0x3FC0'0000));
    CHECK(leaves<exit::MmioRead>(b).width == 8);
    REQUIRE(b.complete(0x4009'21FB'5444'2D18));
    const auto narrow = leaves<exit::MmioWrite>(b);
    CHECK(narrow.width == 4);
    CHECK(narrow.value == 0x3FC0'0000);
    REQUIRE(b.complete());
    CHECK(leaves<exit::MmioWrite>(b).value == 0x4009'21FB'5444'2D18);
    REQUIRE(b.complete());
    const auto h = leaves<exit::Hypercall>(b);
    CHECK(h.args[0] == 0xFFFF'FFFF'3FC0'0000);
    CHECK(h.args[1] == 0x4009'21FB'5444'2D18);
}

GUEST(atomics, "li t0, 0x0A000000\nli t1, 5\namoadd.w a0, t1, (t0)\namoswap.d a1, t1, (t0)\namomaxu.w a2, t1, (t0)\n" REPORT);

TEST_CASE("an atomic operation on a device is a read, then a write of what it computes", "[mmio][R19]") {
    Machine m(atomics);
    auto b = percpu().bind(m.vcpu());
    const auto operation = [&](unsigned width, std::uint64_t old, std::uint64_t stored) {
        const auto r = leaves<exit::MmioRead>(b);
        CHECK(r.width == width);
        CHECK(r.part == 0);
        CHECK(r.parts == 2);
        REQUIRE(b.complete(old));
        const auto w = leaves<exit::MmioWrite>(b);
        CHECK(w.addr == device_base);
        CHECK(w.part == 1);
        CHECK(w.value == stored);
        REQUIRE(b.retry());  // the read is not repeated
        CHECK(leaves<exit::MmioWrite>(b).value == stored);
        REQUIRE(b.complete());
    };
    operation(4, 0xFFFF'FFFE, 3);
    operation(8, 0x1122'3344'5566'7788, 5);
    operation(4, 9, 9);
    const auto h = leaves<exit::Hypercall>(b);
    CHECK(h.args[0] == 0xFFFF'FFFF'FFFF'FFFE);
    CHECK(h.args[1] == 0x1122'3344'5566'7788);
    CHECK(h.args[2] == 9);
}

GUEST(reserve, VECTORS "li t0, 0x0A000000\nlr.w a0, (t0)\n" REPORT);

TEST_CASE("what cannot be decoded leaves with the raw syndrome, and fails with an access fault", "[mmio][R19]") {
    Machine m(reserve);
    auto b = percpu().bind(m.vcpu());
    const auto f = leaves<exit::NestedPageFault>(b);
    CHECK(f.addr == device_base);
    CHECK(f.access == Access::read);
    CHECK(f.syndrome == 21);
    REQUIRE(b.fail());
    const auto h = leaves<exit::Hypercall>(b);
    CHECK(h.number == exception);
    CHECK(h.args[0] == 5);  // load access fault
    CHECK(h.args[1] == device_base.value);
}

GUEST(one_store, VECTORS "li t0, 0x0A000000\nsw t0, 4(t0)\n" REPORT);

TEST_CASE("a device that refuses gives the guest an access fault at its own instruction", "[mmio]") {
    Machine m(one_store);
    auto b = percpu().bind(m.vcpu());
    leaves<exit::MmioWrite>(b);
    const auto pc = get<"pc">(m);
    REQUIRE(b.fail());
    const auto h = leaves<exit::Hypercall>(b);
    CHECK(h.number == exception);
    CHECK(h.args[0] == 7);
    CHECK(h.args[1] == device_base.value + 4);
    CHECK(h.args[2] == pc);
}

GUEST(call_after_wait, "wfi\nli a0, 1\n" REPORT);

TEST_CASE("WFI is Halt, and completion goes on behind it", "[wait][R23]") {
    Machine m(call_after_wait);
    auto b = percpu().bind(m.vcpu());
    leaves<exit::Halt>(b);
    REQUIRE(b.complete());
    CHECK(leaves<exit::Hypercall>(b).args[0] == 1);
}

GUEST(absent_register, VECTORS "csrr a0, 0x680\n" REPORT "csrw 0x15C, a0\n" REPORT);
GUEST(absent_instruction, VECTORS ".4byte 0x22000073\n" REPORT);  // hfence.vvma

TEST_CASE("registers and instructions of a hypervisor are illegal for the guest, or an exit where the policy says so", "[sysreg][R4]") {
    {
        Machine m(absent_register);
        auto b = percpu().bind(m.vcpu());
        const auto h = leaves<exit::Hypercall>(b);
        CHECK(h.number == exception);
        CHECK(h.args[0] == 2);
        CHECK((h.args[1] == 0 || (h.args[1] >> 20) == 0x680));
    }
    {
        Machine m(absent_register, 0, {.policy = {.system_registers = true}});
        auto b = percpu().bind(m.vcpu());
        CHECK(leaves<exit::SysRegRead>(b).reg == 0x680);
        REQUIRE(b.complete(0xABCD));
        CHECK(leaves<exit::Hypercall>(b).args[0] == 0xABCD);
    }
    Machine m(absent_instruction);
    auto b = percpu().bind(m.vcpu());
    CHECK(leaves<exit::Hypercall>(b).args[0] == 2);
}

GUEST(modify_register, VECTORS "li t1, 6\ncsrrs a0, 0x680, t1\ncsrrc a1, 0x680, t1\ncsrrw a2, 0x680, t1\n" REPORT);
GUEST(user_register, VECTORS "la t0, 1f\ncsrw sepc, t0\nli t0, 0x100\ncsrc sstatus, t0\nsret\n1: csrr a0, 0x680\nj .\n");

TEST_CASE("a CSR that is read and written is two exits; a process of the guest gets none", "[sysreg]") {
    Machine m(modify_register, 0, {.policy = {.system_registers = true}});
    auto b = percpu().bind(m.vcpu());
    for (const auto& [old, stored] : {std::pair{0x10u, 0x16u}, std::pair{0x17u, 0x11u}, std::pair{0x20u, 6u}}) {
        CHECK(leaves<exit::SysRegRead>(b).reg == 0x680);
        REQUIRE(b.complete(old));
        CHECK(leaves<exit::SysRegWrite>(b).value == stored);
        REQUIRE(b.retry());
        CHECK(leaves<exit::SysRegWrite>(b).value == stored);
        REQUIRE(b.complete());
    }
    const auto h = leaves<exit::Hypercall>(b);
    CHECK(h.args[0] == 0x10);
    CHECK(h.args[1] == 0x17);
    CHECK(h.args[2] == 0x20);
}

TEST_CASE("a guest's process does not reach what its hypervisor emulates for its kernel", "[sysreg][hostile]") {
    Machine m(user_register, 0, {.policy = {.system_registers = true}});
    auto b = percpu().bind(m.vcpu());
    const auto h = leaves<exit::Hypercall>(b);
    CHECK(h.number == exception);
    CHECK(h.args[0] == 2);
}

GUEST(straddle, VECTORS "li t0, 0x40040000\nld a0, -4(t0)\n" REPORT);

TEST_CASE("an access that begins in memory and ends in a device is not a device's", "[mmio]") {
    Machine m(straddle);
    auto b = percpu().bind(m.vcpu());
    const auto f = leaves<exit::NestedPageFault>(b);
    CHECK(f.addr == ram_base + ram_size);
    REQUIRE(b.fail());
    CHECK(leaves<exit::Hypercall>(b).number == exception);
}

GUEST(counters, VECTORS "rdtime a0\nrdcycle a1\nrdinstret a2\ncsrr a3, 0xC03\n" REPORT);

TEST_CASE("the guest's time is its VM's, and no counter of the machine shows", "[sysreg][R16][R23]") {
    Machine m(counters);
    auto b = percpu().bind(m.vcpu());
    const auto h = leaves<exit::Hypercall>(b);
    REQUIRE(h.number == report);
    CHECK(h.args[0] < 60 * runtime::frequency());
    CHECK(h.args[1] == 0);
    CHECK(h.args[2] == 0);
    CHECK(h.args[3] == 0);
}

GUEST(breakpoint, VECTORS "ebreak\n" REPORT);

TEST_CASE("a guest's own exceptions are its own affair", "[debug][R4][R22]") {
    Machine m(breakpoint);
    auto b = percpu().bind(m.vcpu());
    const auto h = leaves<exit::Hypercall>(b);
    CHECK(h.number == exception);
    CHECK(h.args[0] == 3);
}

TEST_CASE("a kick posted before the run, and a deadline, end it", "[event]") {
    Machine m(spin);
    auto b = percpu().bind(m.vcpu());
    CHECK(m.vcpu().post(Event::kick).kind == Notice::Kind::none);
    auto e = b.run();
    REQUIRE(e);
    CHECK(e->is<exit::Kicked>());
    e = b.run(runtime::now() + runtime::frequency() / 200);
    REQUIRE(e);
    CHECK(e->is<exit::TimerExpired>());
}

TEST_CASE("a deadline leaves the host's own timer as it was", "[event][R6]") {
    Machine m(spin);
    const auto far = runtime::now() + 1000 * runtime::frequency();
    runtime::set_timer(far);
    auto b = percpu().bind(m.vcpu());
    const auto e = b.run(runtime::now() + runtime::frequency() / 500);
    REQUIRE(e);
    REQUIRE(e->is<exit::TimerExpired>());
    if ((capabilities().features >> static_cast<unsigned>(arch::Feature::sstc) & 1) != 0) CHECK(arch::read<"stimecmp">() == far);
    CHECK(runtime::timer() == far);
    runtime::set_timer(runtime::no_timer);
}

TEST_CASE("a host interrupt ends the run, pending and not acknowledged", "[event]") {
    static int taken = 0;
    taken = 0;
    runtime::set_handler(1, [](unsigned) { ++taken; });
    Machine m(spin);
    auto b = percpu().bind(m.vcpu());
    runtime::mask_interrupts();
    runtime::send_interrupt(0, 1);
    const auto e = b.run();
    REQUIRE(e);
    CHECK(e->is<exit::ExternalInterrupt>());
    CHECK(taken == 0);
    take_interrupts();
    CHECK(taken == 1);
}

// Sv39 with its root at a device: the walk itself faults. satp.MODE = 8, PPN = 0x0A000.
GUEST(walk_to_device, VECTORS "li t0, 8 << 60\nli t1, 0x0A000\nor t0, t0, t1\ncsrw satp, t0\nsfence.vma\nnop\n" REPORT);

TEST_CASE("page tables that point at a device: the fault says it was on the walk, and it ends in the guest", "[hostile][R18]") {
    Machine m(walk_to_device);
    auto b = percpu().bind(m.vcpu());
    const auto f = leaves<exit::NestedPageFault>(b);
    CHECK(f.on_table_walk);
    CHECK((f.addr.value & ~std::uint64_t{0xFFF}) == device_base.value);
    REQUIRE(b.fail());
    leaves<exit::NestedPageFault>(b);  // its vector cannot be fetched either: the next fault comes, and the host goes on
}

GUEST(vectors_kept, "li t0, 1 << 9\ncsrs sstatus, t0\nvsetvli t0, zero, e64, m1, ta, ma\nvmv.v.x v0, a1\nvmv.v.x v31, a1\n1: vmv.x.s a0, v0\nvmv.x.s a1, v31\ncsrr a2, vl\nli a7, 0x0A000000\nli a6, 0\necall\nj 1b\n");

TEST_CASE("vector registers belong to the guest, and go with it", "[canary][R9]") {
    const auto size = capabilities().vector_state;
    if (size == 0) SKIP("no vectors");
    Machine m(vectors_kept, 0x1111'0000, {.vcpus = 2, .vectors = true});
    REQUIRE(m.vcpu(1).reset(m.at(vectors_kept), 0x1111'0001));
    for (int round = 0; round < 10; ++round) {
        for (unsigned i = 0; i < 2; ++i) {
            if (round % 2 != 0 && have_cpu(1)) {  // it goes to another hart, looks at its vectors there, and comes back
                CHECK(RunsOn(1, m.vcpu(i)).wait() == Exit::index_of<exit::Hypercall>());
                REQUIRE(m.vcpu(i).get(id<"x">(10)).value_or(0) == 0x1111'0000 + i);
                REQUIRE(m.vcpu(i).get(id<"x">(11)).value_or(0) == 0x1111'0000 + i);
            }
            auto b = percpu().bind(m.vcpu(i));
            REQUIRE(b);
            if (round % 2 != 0 && have_cpu(1)) REQUIRE(b.complete());
            const auto h = leaves<exit::Hypercall>(b);
            REQUIRE(h.args[0] == 0x1111'0000 + i);
            REQUIRE(h.args[1] == 0x1111'0000 + i);
            CHECK(h.args[2] == size / 32 / 8);
            REQUIRE(b.complete());
        }
    }
}

GUEST(vectors_absent, VECTORS "li t0, 1 << 9\ncsrs sstatus, t0\nvsetvli t0, zero, e64, m1, ta, ma\n" REPORT);

TEST_CASE("without memory for them there are no vectors", "[canary][R9]") {
    Machine m(vectors_absent);
    auto b = percpu().bind(m.vcpu());
    const auto h = leaves<exit::Hypercall>(b);
    CHECK(h.number == exception);
    CHECK(h.args[0] == 2);
}
