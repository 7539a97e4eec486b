// Instruction exits: each produced by a guest that does the thing, checked field by field, then completed, retried, failed.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include "../harness.hpp"

using namespace harness;

GUEST(call_guest, "movz w0, #0xC600, lsl #16\nmov x1, #1\nmov x2, #2\nmov x6, #6\nhvc #0\nmov x1, x0\n" REPORT);

TEST_CASE("a hypercall carries its arguments, completes with a value, and moves on by one instruction", "[call]") {
    Machine m(call_guest);
    auto b = percpu().bind(m.vcpu());
    REQUIRE(b);
    const auto h = leaves<exit::Hypercall>(b);
    CHECK(h.number == 0xC600'0000);
    CHECK(h.args[0] == 1);
    CHECK(h.args[1] == 2);
    CHECK(h.args[5] == 6);
    CHECK_FALSE(h.secure);
    CHECK(get<"PC">(m) == m.at(call_guest).value + 16);  // the instruction's own address while it is outstanding
    REQUIRE(b.complete(0x1234'5678'9ABC'DEF0));
    CHECK(get<"PC">(m) == m.at(call_guest).value + 20);
    CHECK(leaves<exit::Hypercall>(b).args[0] == 0x1234'5678'9ABC'DEF0);
}

GUEST(narrow_call, "mov x0, #-1\nmovk x0, #0x8600, lsl #16\nmovk x0, #1\nmov x1, #-2\nmov x6, #-7\nhvc #0\nmov x1, x0\n" REPORT
                   "mov x0, #-1\nmovk x0, #0x8600, lsl #16\nmovk x0, #1\nmov x1, #-2\nhvc #1\nmovz w0, #0x9600, lsl #16\nmov x1, #-2\nsmc #0\nmov x1, x6\n" REPORT);

TEST_CASE("a fast 32-bit call is narrowed, whether or not it is tried again; the guest's registers are not", "[call][A10]") {
    Machine m(narrow_call, 0, {.policy = {.secure_calls = true}});
    auto b = percpu().bind(m.vcpu());
    for (int tries = 0; tries < 3; ++tries) {
        const auto h = leaves<exit::Hypercall>(b);
        CHECK(h.number == 0x8600'0001);
        CHECK(h.args[0] == 0xFFFF'FFFE);
        CHECK(h.args[5] == 0xFFFF'FFF9);
        CHECK_FALSE(h.secure);
        CHECK(get<"PC">(m) == m.at(narrow_call).value + 20);
        if (tries == 1) REQUIRE(b.retry());
    }
    REQUIRE(b.complete(0x1'0000'0005));
    CHECK(leaves<exit::Hypercall>(b).args[0] == 0x1'0000'0005);  // a 64-bit call again
    REQUIRE(b.complete());
    CHECK(leaves<exit::Hypercall>(b).args[0] == ~std::uint64_t{1});  // HVC #1 is none of SMCCC's
    REQUIRE(b.complete());
    const auto h = leaves<exit::Hypercall>(b);
    CHECK(h.secure);
    CHECK(h.args[0] == 0xFFFF'FFFE);
    REQUIRE(b.fail());
    CHECK(leaves<exit::Hypercall>(b).args[0] == ~std::uint64_t{6});
}

TEST_CASE("retry executes the instruction again, and so does run without an answer", "[call][A2]") {
    Machine m(call_guest);
    auto b = percpu().bind(m.vcpu());
    static_cast<void>(leaves<exit::Hypercall>(b));
    REQUIRE(b.retry());
    CHECK(leaves<exit::Hypercall>(b).args[1] == 2);
    CHECK(leaves<exit::Hypercall>(b).args[1] == 2);
    REQUIRE(b.complete(9));
    CHECK(leaves<exit::Hypercall>(b).args[0] == 9);
}

TEST_CASE("a failed hypercall answers not-supported", "[call]") {
    Machine m(call_guest);
    auto b = percpu().bind(m.vcpu());
    static_cast<void>(leaves<exit::Hypercall>(b));
    REQUIRE(b.fail());
    CHECK(leaves<exit::Hypercall>(b).args[0] == ~std::uint64_t{0});
}

// The number of QEMU's own PSCI 0.1 CPU_ON: the machine's firmware would answer it with ALREADY_ON (-4), not with -1.
GUEST(smc_guest, "movz w0, #0x95C1, lsl #16\nmovk w0, #0xBA60\nmov x1, #7\nsmc #0\nmov x1, x0\n" REPORT);

TEST_CASE("an SMC is never forwarded: refused inside, or an exit where the policy says so", "[call][A8]") {
    SECTION("refused") {
        Machine m(smc_guest);
        auto b = percpu().bind(m.vcpu());
        CHECK(leaves<exit::Hypercall>(b).args[0] == ~std::uint64_t{0});
    }
    SECTION("seen by the host") {
        Machine m(smc_guest, 0, {.policy = {.secure_calls = true}});
        auto b = percpu().bind(m.vcpu());
        // [smc]
        const auto h = leaves<exit::Hypercall>(b);                   // VmPolicy::secure_calls is set
        const bool known = h.secure && h.number == 0x95C1'BA60;
        const auto answered = known ? b.complete(h.args[0] - 2) : b.fail();  // the result of the call that the host makes itself, or "not supported"
        // [end]
        REQUIRE(answered);
        CHECK(h.args[0] == 7);
        CHECK(leaves<exit::Hypercall>(b).args[0] == 5);
    }
}

GUEST(load_b, "ldrb w1, [x0]\n" REPORT);
GUEST(load_h, "ldrh w1, [x0]\n" REPORT);
GUEST(load_w, "ldr w1, [x0]\n" REPORT);
GUEST(load_x, "ldr x1, [x0]\n" REPORT);
GUEST(load_sbw, "mov x1, #-1\nldrsb w1, [x0]\n" REPORT);
GUEST(load_sbx, "ldrsb x1, [x0]\n" REPORT);
GUEST(load_shx, "ldrsh x1, [x0]\n" REPORT);
GUEST(load_swx, "ldrsw x1, [x0]\n" REPORT);

TEST_CASE("an MMIO load gives the register what the instruction says, whatever the device returns", "[mmio][A3]") {
    struct Row { const unsigned char* payload; std::uint8_t width; std::uint64_t expected; };
    const auto row = GENERATE(Row{load_b, 1, 0x99}, Row{load_h, 2, 0x8899}, Row{load_w, 4, 0x8677'8899}, Row{load_x, 8, 0x8233'4455'8677'8899},
                              Row{load_sbw, 1, 0xFFFF'FF99}, Row{load_sbx, 1, 0xFFFF'FFFF'FFFF'FF99}, Row{load_shx, 2, 0xFFFF'FFFF'FFFF'8899},
                              Row{load_swx, 4, 0xFFFF'FFFF'8677'8899});
    Machine m(row.payload, device_base.value + 0x18);
    auto b = percpu().bind(m.vcpu());
    const auto r = leaves<exit::MmioRead>(b);
    CHECK(r.addr == device_base + 0x18);
    CHECK(r.width == row.width);
    CHECK(r.parts == 1);
    REQUIRE(b.complete(0x8233'4455'8677'8899));
    CHECK(leaves<exit::Hypercall>(b).args[0] == row.expected);
}

GUEST(store_all, "movz x1, #0x1122, lsl #48\nmovk x1, #0x3344, lsl #32\nmovk x1, #0x5566, lsl #16\nmovk x1, #0x7788\n"
                 "strb w1, [x0]\nstrh w1, [x0]\nstr w1, [x0]\nstr x1, [x0]\nstr wzr, [x0]\n" REPORT);

TEST_CASE("an MMIO store has its width and nothing above it; register 31 is zero", "[mmio][A4]") {
    Machine m(store_all, device_base.value);
    auto b = percpu().bind(m.vcpu());
    for (const auto& [width, value] : {std::pair{1u, 0x88ull}, {2u, 0x7788ull}, {4u, 0x5566'7788ull}, {8u, 0x1122'3344'5566'7788ull}, {4u, 0ull}}) {
        const auto w = leaves<exit::MmioWrite>(b);
        CHECK(w.width == width);
        CHECK(w.value == value);
        REQUIRE(b.complete());
    }
    CHECK(leaves<exit::Hypercall>(b).number == report);
}

GUEST(pair_load, "ldp x1, x2, [x0, #16]!\nmov x3, x0\n" REPORT);

TEST_CASE("a pair is two parts, its base is written back once at the end", "[mmio][A1]") {
    Machine m(pair_load, device_base.value);
    auto b = percpu().bind(m.vcpu());
    const auto first = leaves<exit::MmioRead>(b);
    CHECK(first.addr == device_base + 16);
    CHECK(first.width == 8);
    CHECK(first.part == 0);
    CHECK(first.parts == 2);
    REQUIRE(b.complete(11));
    const auto second = leaves<exit::MmioRead>(b);
    CHECK(second.addr == device_base + 24);
    CHECK(second.part == 1);
    REQUIRE(b.retry());  // a finished part is not asked for again
    CHECK(leaves<exit::MmioRead>(b).part == 1);
    REQUIRE(b.complete(22));
    const auto h = leaves<exit::Hypercall>(b);
    CHECK(h.args[0] == 11);
    CHECK(h.args[1] == 22);
    CHECK(h.args[2] == device_base.value + 16);
}

GUEST(post_store, "mov w1, #5\nstr w1, [x0], #4\nmov x2, x0\n" REPORT);

TEST_CASE("post-indexed stores write their base back", "[mmio][A1]") {
    Machine m(post_store, device_base.value);
    auto b = percpu().bind(m.vcpu());
    const auto w = leaves<exit::MmioWrite>(b);
    CHECK(w.addr == device_base);
    CHECK(w.value == 5);
    REQUIRE(b.complete());
    CHECK(leaves<exit::Hypercall>(b).args[1] == device_base.value + 4);
}

GUEST(vector_copy, "mov x9, #3 << 20\nmsr CPACR_EL1, x9\nisb\nldr q1, [x0]\nstp q1, q1, [x0, #32]\nfmov x1, d1\n" REPORT);

TEST_CASE("vector loads and stores come in parts of eight bytes", "[mmio][A1][A13]") {
    Machine m(vector_copy, device_base.value);
    auto b = percpu().bind(m.vcpu());
    for (const std::uint64_t v : {0xAAAA'0001ull, 0xBBBB'0002ull}) {
        const auto r = leaves<exit::MmioRead>(b);
        CHECK(r.width == 8);
        CHECK(r.parts == 2);
        REQUIRE(b.complete(v));
    }
    for (unsigned part = 0; part < 4; ++part) {
        const auto w = leaves<exit::MmioWrite>(b);
        CHECK(w.part == part);
        CHECK(w.addr == device_base + 32 + part * 8);
        CHECK(w.value == (part % 2 == 0 ? 0xAAAA'0001ull : 0xBBBB'0002ull));
        REQUIRE(b.complete());
    }
    CHECK(leaves<exit::Hypercall>(b).args[0] == 0xAAAA'0001);
}

GUEST(atomic_device, VECTORS "ldxr w1, [x0]\n" REPORT);
GUEST(dc_zva_device, VECTORS "mov x3, #0\nld1 {v0.16b}, [x0]\n" REPORT);

TEST_CASE("what cannot be decoded leaves with the raw syndrome, and fails with an external abort", "[mmio][A1]") {
    Machine m(atomic_device, device_base.value);
    auto b = percpu().bind(m.vcpu());
    const auto f = leaves<exit::NestedPageFault>(b);
    CHECK(f.addr == device_base);
    CHECK(f.virt == device_base.value);
    CHECK((f.syndrome >> 26) == 0x24);
    CHECK_FALSE(f.present);
    REQUIRE(b.fail());
    const auto h = leaves<exit::Hypercall>(b);
    CHECK(h.number == exception + 0x200);        // from EL1 with its own stack pointer, synchronous
    CHECK((h.args[0] >> 26) == 0x25);
    CHECK((h.args[0] & 0x3F) == 0x10);           // synchronous external abort
    CHECK(h.args[1] == device_base.value);
    CHECK(h.args[2] == m.at(atomic_device).value + 16);
}

GUEST(mmio_fault, VECTORS "str w1, [x0]\n" REPORT);

TEST_CASE("a device that refuses gives the guest an external abort at its own instruction", "[mmio]") {
    Machine m(mmio_fault, device_base.value + 4);
    auto b = percpu().bind(m.vcpu());
    static_cast<void>(leaves<exit::MmioWrite>(b));
    REQUIRE(b.fail());
    const auto h = leaves<exit::Hypercall>(b);
    CHECK(h.number == exception + 0x200);
    CHECK((h.args[0] & 0x7F) == (0x10 | 1 << 6));  // WnR
    CHECK(h.args[1] == device_base.value + 4);
    CHECK(h.args[2] == m.at(mmio_fault).value + 16);
}

GUEST(wait_guest, "wfi\nmov x1, #1\n" REPORT);

TEST_CASE("WFI is Halt, and completion goes on behind it", "[wait]") {
    Machine m(wait_guest);
    auto b = percpu().bind(m.vcpu());
    static_cast<void>(leaves<exit::Halt>(b));
    CHECK(get<"PC">(m) == m.at(wait_guest).value);
    REQUIRE(b.complete());
    CHECK(leaves<exit::Hypercall>(b).args[0] == 1);
}

GUEST(sysreg_guest, VECTORS "mrs x1, S3_1_C15_C2_0\n" REPORT);
GUEST(sysreg_write, VECTORS "mov x1, #0x77\nmsr S3_1_C15_C2_0, x1\n" REPORT);

TEST_CASE("an unknown system register is undefined, or an exit where the policy says so", "[sysreg]") {
    SECTION("undefined") {
        Machine m(sysreg_guest);
        auto b = percpu().bind(m.vcpu());
        const auto h = leaves<exit::Hypercall>(b);
        CHECK(h.number == exception + 0x200);
        CHECK((h.args[0] >> 26) == 0);
    }
    SECTION("read by the host") {
        Machine m(sysreg_guest, 0, {.policy = {.system_registers = true}});
        auto b = percpu().bind(m.vcpu());
        CHECK(leaves<exit::SysRegRead>(b).reg == aarch64::Sysreg{3, 1, 15, 2, 0}.packed());
        REQUIRE(b.complete(0x55));
        CHECK(leaves<exit::Hypercall>(b).args[0] == 0x55);
    }
    SECTION("written to the host") {
        Machine m(sysreg_write, 0, {.policy = {.system_registers = true}});
        auto b = percpu().bind(m.vcpu());
        CHECK(leaves<exit::SysRegWrite>(b).value == 0x77);
        REQUIRE(b.complete());
        CHECK(leaves<exit::Hypercall>(b).number == report);
    }
    SECTION("failed") {
        Machine m(sysreg_guest, 0, {.policy = {.system_registers = true}});
        auto b = percpu().bind(m.vcpu());
        static_cast<void>(leaves<exit::SysRegRead>(b));
        REQUIRE(b.fail());
        CHECK(leaves<exit::Hypercall>(b).number == exception + 0x200);
    }
}

GUEST(sgi_guest, "movz x1, #0x0103\nmovk x1, #0x0500, lsl #16\nmsr S3_0_C12_C11_5, x1\n" REPORT);

TEST_CASE("a software interrupt without a controller is SendIpi", "[sysreg][A24]") {
    Machine m(sgi_guest);
    auto b = percpu().bind(m.vcpu());
    const auto s = leaves<exit::SendIpi>(b);
    CHECK(s.vector == 5);
    CHECK(s.targets == 0x0103);
    CHECK_FALSE(s.others);
    REQUIRE(b.complete());
    CHECK(leaves<exit::Hypercall>(b).number == report);
}

GUEST(undefined_sve, VECTORS "mov x9, #-1\nmsr CPACR_EL1, x9\nisb\n.inst 0x04BF5001\n" REPORT);   // rdvl x1, #0
GUEST(undefined_pmu, VECTORS "mrs x1, PMCR_EL0\n" REPORT);
GUEST(undefined_key, VECTORS "mrs x1, S3_0_C10_C8_1\n" REPORT);
GUEST(undefined_write, VECTORS "mov x1, #0\nmsr S3_0_C0_C4_0, x1\n" REPORT);                     // ID_AA64PFR0_EL1
GUEST(undefined_lor, VECTORS "mrs x1, S3_0_C10_C4_7\n" REPORT);                                  // LORID_EL1
GUEST(guest_brk, VECTORS "brk #0x11\n" REPORT);

TEST_CASE("what the guest does not have is undefined for it", "[sysreg][A6][A23]") {
    const auto* payload = GENERATE(as<const unsigned char*>{}, undefined_sve, undefined_pmu, undefined_key, undefined_write, undefined_lor);
    Machine m(payload);
    auto b = percpu().bind(m.vcpu());
    const auto h = leaves<exit::Hypercall>(b);
    CHECK(h.number == exception + 0x200);
    CHECK((h.args[0] >> 26) == 0);
}

TEST_CASE("a guest's own breakpoint instruction is its own affair", "[debug][A6]") {
    Machine m(guest_brk);
    auto b = percpu().bind(m.vcpu());
    const auto h = leaves<exit::Hypercall>(b);
    CHECK(h.number == exception + 0x200);
    CHECK(h.args[0] == (std::uint64_t{0x3C} << 26 | 1 << 25 | 0x11));
}

GUEST(id_guest, "mrs x1, ID_AA64PFR0_EL1\nmrs x2, ID_AA64DFR0_EL1\nmrs x3, ID_AA64MMFR1_EL1\nmrs x4, MPIDR_EL1\nmrs x5, ID_AA64PFR1_EL1\nmrs x6, S3_0_C0_C7_7\n" REPORT);

TEST_CASE("ID registers show what is switched and no more", "[sysreg][A13][A23]") {
    Machine m(id_guest);
    auto b = percpu().bind(m.vcpu());
    const auto h = leaves<exit::Hypercall>(b);
    CHECK((h.args[0] >> 32 & 0xF) == 0);          // SVE
    CHECK((h.args[0] >> 8 & 0xF) == 0);           // EL2
    CHECK((h.args[0] >> 28 & 0xF) == 0);          // RAS
    CHECK((h.args[0] >> 4 & 0xF) == 1);           // EL1 is AArch64
    CHECK((h.args[0] >> 24 & 0xF) == 1);          // GICv3
    CHECK((h.args[1] >> 8 & 0xF) == 0);           // PMU
    CHECK((h.args[2] >> 8 & 0xF) == 0);           // VHE
    CHECK((h.args[3] & 0xFF'FFFF) == 0);
    CHECK((h.args[4] >> 8 & 0xF) == 0);           // MTE
    CHECK((h.args[4] >> 24 & 0xF) == 0);          // SME
    CHECK(h.args[5] == 0);                        // a reserved place of the ID space
}

GUEST(illegal_state, VECTORS "mov x1, #0x3CF\nmsr SPSR_EL1, x1\nadr x1, 1f\nmsr ELR_EL1, x1\neret\n1: nop\n" REPORT);

TEST_CASE("a corrupted SPSR ends in the guest's own illegal-state exception", "[hostile][A6]") {
    Machine m(illegal_state);
    auto b = percpu().bind(m.vcpu());
    const auto h = leaves<exit::Hypercall>(b);
    CHECK(h.number == exception + 0x200);
    CHECK((h.args[0] >> 26) == 0x0E);
}

GUEST(jump_away, VECTORS "br x0\n");

TEST_CASE("a jump into nowhere is a fetch fault, and the guest gets its abort", "[hostile][A6]") {
    Machine m(jump_away, 0x7000'0000);
    auto b = percpu().bind(m.vcpu());
    const auto f = leaves<exit::NestedPageFault>(b);
    CHECK(f.access == Access::execute);
    CHECK(f.addr.value == 0x7000'0000);
    REQUIRE(b.fail());
    const auto h = leaves<exit::Hypercall>(b);
    CHECK((h.args[0] >> 26) == 0x21);
    CHECK(h.args[1] == 0x7000'0000);
}

GUEST(set_way, "mov x1, #0\ndc isw, x1\ndc cisw, x1\n" REPORT);

TEST_CASE("cache maintenance by set and way is swallowed", "[sysreg][A23]") {
    Machine m(set_way);
    auto b = percpu().bind(m.vcpu());
    CHECK(leaves<exit::Hypercall>(b).number == report);
}

GUEST(spin_guest, "1: b 1b\n");

TEST_CASE("a kick posted before the run, and a deadline, end it", "[event]") {
    Machine m(spin_guest);
    auto b = percpu().bind(m.vcpu());
    CHECK(m.vcpu().post(Event::kick).kind == Notice::Kind::none);
    auto e = b.run();
    REQUIRE(e);
    CHECK(e->is<exit::Kicked>());
    e = b.run(runtime::now() + runtime::frequency() / 200);
    REQUIRE(e);
    CHECK(e->is<exit::TimerExpired>());
    e = b.run(0);  // long past
    REQUIRE(e);
    CHECK(e->is<exit::TimerExpired>());
}

TEST_CASE("a host interrupt ends the run, pending and not acknowledged", "[event]") {
    static unsigned taken = 0;
    taken = 0;
    runtime::set_handler(1, [](unsigned) { ++taken; });
    Machine m(spin_guest);
    auto b = percpu().bind(m.vcpu());
    runtime::mask_interrupts();
    runtime::send_interrupt(0, 1);
    const auto e = b.run();
    REQUIRE(e);
    CHECK(e->is<exit::ExternalInterrupt>());
    CHECK(taken == 0);
    runtime::unmask_interrupts();
    runtime::now();
    CHECK(taken == 1);
}
