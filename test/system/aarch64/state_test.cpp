// What of a vCPU's state and of the machine is AArch64's own.
#include <catch2/catch_test_macros.hpp>
#include "../harness.hpp"

using namespace harness;

TEST_CASE("impossible modes and affinities are refused", "[misuse][A27]") {
    Machine m(call_forever);
    CHECK(m.vcpu().set(id<"PSTATE">(), 0x3C9).error().code == Code::bad_value);  // EL2
    CHECK(m.vcpu().set(id<"PSTATE">(), 0x3CD).error().code == Code::bad_value);  // EL3
    CHECK(get<"PSTATE">(m) == 0x3C5);
    Slot slot[2];
    Vm<Host> vm{{.id = 1, .vcpus = slot}};
    CHECK(Vcpu<Host>::create(slot[0], vm, {.mpidr = 0x8000'0000}).error().code == Code::bad_value);
    CHECK(Vcpu<Host>::create(slot[0], vm, {.entry = {0x4000'0002}}).error().code == Code::misaligned);
    REQUIRE(Vcpu<Host>::create(slot[0], vm, {.id = 0}));
    CHECK(Vcpu<Host>::create(slot[1], vm, {.id = 1, .mpidr = 0}).error().code == Code::exists);
}

TEST_CASE("the capabilities say what this CPU is", "[percpu][A25][A28]") {
    const auto& c = capabilities();
    CHECK(c.address_bits >= 40);
    CHECK(c.address_bits <= 48);
    CHECK((c.levels_mask & 1 << 3) != 0);
    CHECK(c.tag_bits >= 2);
    CHECK(c.interrupt_slots >= 1);
    CHECK(c.host_redirection == ((arch::read<"HCR_EL2">() >> 34 & 1) != 0));
}

// Everything of the floating-point state gets another value; a call, for ever.
GUEST(change_fp, "mov x9, #3 << 20\nmsr CPACR_EL1, x9\nisb\nmov x9, #0x5A5A\n.irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\ndup v\\n\\().2d, x9\n.endr\n"
                 "mov x9, #3 << 24\nmsr FPCR, x9\nmov x9, #0x9F\nmsr FPSR, x9\n1: " REPORT "b 1b\n");
// auto host_fp_lost(void (*f)(void*), void* arg) -> bits: calls f with values of its own in D8 to D15, FPCR (rounding) and FPSR; bit n: D<8+n>
// came back as another one, bit 8: FPCR, bit 9: FPSR.
asm(R"(
    .pushsection .text.host_fp_lost,"ax"
    .globl host_fp_lost
host_fp_lost:
    stp x29, x30, [sp, #-96]!
    mov x29, sp
    stp d8, d9, [sp, #16]
    stp d10, d11, [sp, #32]
    stp d12, d13, [sp, #48]
    stp d14, d15, [sp, #64]
    str x19, [sp, #80]
    mov x2, x0
    mov x0, x1
    .irp n, 8,9,10,11,12,13,14,15
    mov x3, #0x4000 + \n
    fmov d\n, x3
    .endr
    mrs x19, FPCR
    mov x3, #1 << 22
    msr FPCR, x3
    mov x3, #1
    msr FPSR, x3
    blr x2
    mov x0, #0
    .irp n, 8,9,10,11,12,13,14,15
    fmov x3, d\n
    sub x3, x3, #4, lsl #12
    cmp x3, #\n
    cset x3, ne
    orr x0, x0, x3, lsl #(\n - 8)
    .endr
    mrs x3, FPCR
    cmp x3, #1 << 22
    cset x3, ne
    orr x0, x0, x3, lsl #8
    mrs x3, FPSR
    cmp x3, #1
    cset x3, ne
    orr x0, x0, x3, lsl #9
    msr FPCR, x19
    ldr x19, [sp, #80]
    ldp d8, d9, [sp, #16]
    ldp d10, d11, [sp, #32]
    ldp d12, d13, [sp, #48]
    ldp d14, d15, [sp, #64]
    ldp x29, x30, [sp], #96
    ret
    .popsection
)");
extern "C" auto host_fp_lost(void (*f)(void*), void* arg) -> std::uint64_t;

TEST_CASE("a host that uses floating point finds behind run() what its callers rely on: D8 to D15, FPCR, FPSR", "[canary][A13]") {
    Machine m(change_fp);
    auto b = percpu().bind(m.vcpu());
    const auto once = [](void* bound) noexcept {
        auto& vcpu = *static_cast<Vcpu<Host>::Bound*>(bound);
        static_cast<void>(vcpu.run());
        static_cast<void>(vcpu.complete());
    };
    for (int i = 0; i < 3; ++i) {
        CHECK(host_fp_lost(once, &b) == 0);
        CHECK(get<"FPCR">(m) == 3 << 24);
        CHECK((get<"FPSR">(m) & 0x9F) == 0x9F);
        for (std::uint8_t n = 0; n < 32; ++n) CHECK(get<"V">(m, n) == 0x5A5A);
    }
}

GUEST(walk_to_device, VECTORS "movz x9, #0x0A00, lsl #16\nmsr TTBR0_EL1, x9\nmov x9, #25\nmovk x9, #0x80, lsl #16\nmsr TCR_EL1, x9\nisb\n"
                      "mrs x9, SCTLR_EL1\norr x9, x9, #1\nmsr SCTLR_EL1, x9\nisb\nnop\n" REPORT);

TEST_CASE("page tables that point at a device: the fault says it was on the walk, and it ends in the guest", "[hostile]") {
    Machine m(walk_to_device);
    auto b = percpu().bind(m.vcpu());
    const auto e = b.run();
    REQUIRE(e);
    REQUIRE(e->is<exit::NestedPageFault>());
    const auto f = *e->get<exit::NestedPageFault>();
    CHECK(f.on_table_walk);
    CHECK((f.addr.value & ~std::uint64_t{0xFFF}) == device_base.value);
    REQUIRE(b.fail());
    const auto again = b.run();  // its vectors cannot be fetched either: the next fault comes, and the host goes on
    REQUIRE(again);
    CHECK(again->is<exit::NestedPageFault>());
}

// Stores to 0xC002'0000 for ever, which the fourth block of its table may translate. Its vectors go on behind the
// instruction that faulted.
asm(".pushsection .guest_payload,\"a\"\n.balign 2048\nskipping_vectors:\n.rept 16\n.balign 128\nmrs x9, ELR_EL1\nadd x9, x9, #4\nmsr ELR_EL1, x9\neret\n.endr\n.balign 2048\n.popsection");
GUEST(store_through_table, "adrp x9, skipping_vectors\nadd x9, x9, :lo12:skipping_vectors\nmsr VBAR_EL1, x9\n" MMU_ON "movz x11, #0xC002, lsl #16\n1: str x0, [x11]\nb 1b\n");
// Takes that block away and puts it back, for ever. x0: the block.
GUEST(change_table, "movz x10, #0x4001, lsl #16\nmovk x10, #0xE018\n1: str xzr, [x10]\ndsb ish\ntlbi vmalle1is\ndsb ish\nisb\nstr x0, [x10]\ndsb ish\nmov x12, #20000\n2: subs x12, x12, #1\nb.ne 2b\nb 1b\n");

TEST_CASE("a guest that takes a translation away while the host looks it up goes on by itself", "[smp][hostile][A26]") {
    if (!have_cpu(1)) SKIP("one CPU");
    constexpr auto page = ram_base + 0x2'0000;
    constexpr std::uint64_t block = ram_base.value | 1 | 3 << 8 | 1 << 10;  // of memory, inner shareable, accessed
    Machine m(store_through_table, 0, {.vcpus = 2});
    auto* table = reinterpret_cast<std::uint64_t*>(m.host(ram_base + 0x1'E000));
    table[1] = table[3] = block;
    REQUIRE(m.stage2.protect(page, 4096, {true, false, false}));  // a permission fault does not say where: the host walks the guest's table
    REQUIRE(m.vcpu(1).reset(m.at(change_table), block));
    RunsOn other(1, m.vcpu(1));
    auto b = percpu().bind(m.vcpu());
    unsigned faults = 0, late = 0;
    while (faults < 1'000 && late < 200) {
        const auto e = run_on(b, runtime::now() + runtime::frequency() / 20);
        REQUIRE(e);
        if (e->is<exit::TimerExpired>()) ++late;
        else {
            const auto f = e->get<exit::NestedPageFault>();
            INFO("left with " << exit_names[e->index()]);
            REQUIRE(f);
            REQUIRE(f->addr == page);
            REQUIRE(f->access == Access::write);
            ++faults;
        }
    }
    CHECK(faults == 1'000);
    m.vm.core().notify(1, Event::kick);
    CHECK(other.wait() == Exit::index_of<exit::Kicked>());
}
