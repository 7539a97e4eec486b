// The GIC model through the list registers: taken, acknowledged and ended by a guest.
#include <catch2/generators/catch_generators.hpp>
#include "gic.hpp"

using namespace harness;

// GIC_ON's vectors: an IRQ is acknowledged, noted at x20 and counted in x21, ended. x22: calls `report` after each when set.
asm(R"(
    .pushsection .guest_payload,"a"
    .balign 2048
    .globl irq_vectors
irq_vectors:
    .rept 5
    .balign 128
    b .
    .endr
    .balign 128
    mrs x10, S3_0_C12_C12_0         // ICC_IAR1_EL1
    str w10, [x20], #4
    add x21, x21, #1
    cbz x23, 1f
    msr CNTV_CTL_EL0, xzr           // a timer: silence both
    msr CNTP_CTL_EL0, xzr
    isb
1:  cbz x22, 2f
    mov x1, x10                     // a level: tell the host, which lowers the line
    movz w0, #0xC600, lsl #16
    hvc #0
2:  msr S3_0_C12_C12_1, x10         // ICC_EOIR1_EL1
    isb
    eret
    .balign 2048
    .popsection
)");
GUEST(self_sgi, GIC_ON "mov x1, #1\nmovk x1, #0x0700, lsl #16\nmov x12, #3\n1: msr S3_0_C12_C11_5, x1\nisb\nsubs x12, x12, #1\nb.ne 1b\nmov x1, x21\n" REPORT);

TEST_CASE("a software interrupt to oneself is taken at once, every time", "[gic]") {
    Machine m(self_sgi, 0, {.controller = true});
    auto b = percpu().bind(m.vcpu());
    CHECK(run_to_report(b)[0] == 3);
    for (unsigned i = 0; i < 3; ++i) CHECK(taken(m, i) == 7);
}

// 40 SPIs from 32 on: group 1, enabled; then IRQs unmasked after all are pending.
GUEST(many_spis, GIC_ON "msr DAIFSet, #2\nmovz x9, #0x0800, lsl #16\nmov w10, #-1\nstr w10, [x9, #0x84]\nstr w10, [x9, #0x88]\nstr w10, [x9, #0x104]\nstr w10, [x9, #0x108]\n"
                 REPORT "msr DAIFClr, #2\nisb\n1: cmp x21, #40\nb.ne 1b\nmov x1, x21\n" REPORT);

TEST_CASE("more pending than there are list registers: all are taken, by priority", "[gic][A21]") {
    Machine m(many_spis, 0, {.controller = true});
    auto b = percpu().bind(m.vcpu());
    static_cast<void>(run_to_report(b));
    for (std::uint32_t id = 32; id < 72; ++id) {
        DeviceAccess priority{gicd_base + 0x400 + id, (id & 7) << 4, 1, true};
        REQUIRE(m.controller.access(0, priority));
        DeviceAccess edge{gicd_base + 0xC00 + id / 16 * 4, 0xAAAA'AAAA, 4, true};
        REQUIRE(m.controller.access(0, edge));
    }
    for (std::uint32_t id = 32; id < 72; ++id) m.controller.set_line(id, true);
    REQUIRE(b.complete());
    CHECK(run_to_report(b)[0] == 40);
    std::set<std::uint32_t> seen;
    for (unsigned i = 0; i < 40; ++i) seen.insert(taken(m, i));
    CHECK(seen.size() == 40);
    for (unsigned i = 1; i < 40; ++i) CHECK((taken(m, i - 1) & 7) <= (taken(m, i) & 7));
}

GUEST(level_spi, GIC_ON "mov x22, #1\nmovz x9, #0x0800, lsl #16\nmov w10, #-1\nstr w10, [x9, #0x84]\nstr w10, [x9, #0x104]\n1: cmp x21, #3\nb.ne 1b\nmsr DAIFSet, #2\nmov x1, #99\n" REPORT "b .\n");

TEST_CASE("a level interrupt asserts again until its line is low", "[gic]") {
    Machine m(level_spi, 0, {.controller = true});
    auto b = percpu().bind(m.vcpu());
    m.controller.set_line(40, true);
    for (unsigned i = 0; i < 3; ++i) {
        CHECK(run_to_report(b)[0] == 40);
        if (i == 2) m.controller.set_line(40, false);
        REQUIRE(b.complete());
    }
    CHECK(run_to_report(b)[0] == 99);
    for (unsigned i = 0; i < 3; ++i) CHECK(taken(m, i) == 40);
}

TEST_CASE("the end of an interrupt, where it is asked for, is an exit, edge or level", "[gic][event]") {
    const bool edge = GENERATE(false, true);
    Machine m(level_spi, 0, {.controller = true});
    auto b = percpu().bind(m.vcpu());
    DeviceAccess kind{gicd_base + 0xC00 + 40 / 16 * 4, edge ? 0xAAAA'AAAAu : 0, 4, true};
    REQUIRE(m.controller.access(0, kind));
    m.controller.tell_end(40, true);
    for (unsigned i = 0; i < 3; ++i) {
        // [level]
        m.controller.set_line(40, true);             // any CPU, any context; of an edge-triggered one this is an edge
        const auto taken = run_to_report(b)[0];      // the guest's handler says which it took
        m.controller.set_line(40, false);            // its cause is gone: a level would come again else
        const auto done = b.complete();
        const auto e = b.run(runtime::now() + 30 * runtime::frequency());  // EndOfInterrupt, as tell_end(40, true) was said
        // [end]
        CHECK(taken == 40);
        REQUIRE(done);
        REQUIRE(e);
        INFO("left with " << exit_names[e->index()]);
        REQUIRE(e->is<exit::EndOfInterrupt>());
        CHECK(e->get<exit::EndOfInterrupt>()->vector == 40);
        CHECK_FALSE(b.complete());  // nothing is outstanding
    }
    CHECK(run_to_report(b)[0] == 99);  // and no fourth
}

TEST_CASE("a pending interrupt whose line falls before it is taken disappears", "[gic]") {
    Machine m(many_spis, 0, {.controller = true});
    auto b = percpu().bind(m.vcpu());
    static_cast<void>(run_to_report(b));
    for (std::uint32_t id = 33; id < 72; ++id) {
        DeviceAccess edge{gicd_base + 0xC00 + id / 16 * 4, 0xAAAA'AAA0 | (id >= 48 ? 0xA : 0), 4, true};
        REQUIRE(m.controller.access(0, edge));
    }
    m.controller.set_line(32, true);  // a level
    m.controller.set_line(32, false);
    for (std::uint32_t id = 34; id < 74; ++id) m.controller.set_line(id, id < 72);
    REQUIRE(b.complete());
    // 38 edges came, not 40 interrupts; however slow the machine is, no more follow them.
    for (unsigned i = 0; i < 500; ++i) {
        const auto e = b.run(runtime::now() + runtime::frequency() / 50);
        REQUIRE(e);
        REQUIRE(e->is<exit::TimerExpired>());
        if (get<"X">(m, 21) >= 38 && i >= 3) break;
    }
    CHECK(get<"X">(m, 21) == 38);
    for (unsigned i = 0; i < 38; ++i) CHECK(taken(m, i) != 32);
}

GUEST(sgi_in_handler, GIC_ON "mov x22, #1\n1: cmp x21, #2\nb.ne 1b\nmsr DAIFSet, #2\nmov x1, #99\n" REPORT);

TEST_CASE("a software interrupt that comes again while it is active is taken again, wherever its list register was meanwhile", "[gic][A21]") {
    Machine m(sgi_in_handler, 0, {.controller = true});
    const auto send = [&] {
        m.controller.send(0, {.cluster = 0, .targets = 1, .vector = 3, .others = false});
        static_cast<void>(m.vcpu().post(Event::interrupt));  // the sender itself, inside run(), looks without being told
    };
    {
        auto b = percpu().bind(m.vcpu());
        REQUIRE(b.run(runtime::now() + runtime::frequency() / 20));  // its GIC is on
    }
    send();
    {
        auto b = percpu().bind(m.vcpu());
        REQUIRE((run_to_report(b)[0] & 0x3FF) == 3);  // in the handler: active
        send();
    }
    for (int round = 0; round < 3; ++round) {
        auto b = percpu().bind(m.vcpu());  // active and pending: each bind looks again
        REQUIRE(b);
    }
    auto b = percpu().bind(m.vcpu());
    REQUIRE(b.complete());
    CHECK((run_to_report(b)[0] & 0x3FF) == 3);
    REQUIRE(b.complete());
    CHECK(run_to_report(b)[0] == 99);
}

// The CPU interface alone: who writes to the distributor makes the model look anyway.
GUEST(takes_alone, "adrp x9, irq_vectors\nadd x9, x9, :lo12:irq_vectors\nmsr VBAR_EL1, x9\nmov x9, #0xF0\nmsr S3_0_C4_C6_0, x9\nmov x9, #1\nmsr S3_0_C12_C12_7, x9\nisb\n"
                   "movz x20, #0x4002, lsl #16\nmov x21, #0\nmov x22, #0\nmov x23, #0\nmsr DAIFClr, #2\n1: b 1b\n");

TEST_CASE("what a list register held when its vCPU was reset is pending still, and comes to the one that starts anew", "[gic]") {
    Machine m(sgi_in_handler, 0, {.controller = true});
    {
        auto b = percpu().bind(m.vcpu());
        REQUIRE(b.run(runtime::now() + runtime::frequency() / 20));  // its GIC is on
    }
    REQUIRE(m.vcpu().reset(m.at(call_forever)));
    m.controller.send(0, {.cluster = 0, .targets = 1, .vector = 3, .others = false});
    static_cast<void>(m.vcpu().post(Event::interrupt));
    {
        auto b = percpu().bind(m.vcpu());
        const auto e = b.run();
        REQUIRE(e);
        REQUIRE(e->is<exit::Hypercall>());  // interrupts masked, the SGI listed
        CHECK(m.vcpu().core().lr_used != 0);
    }
    REQUIRE(m.vcpu().reset(m.at(takes_alone)));
    auto b = percpu().bind(m.vcpu());
    REQUIRE(b.run(runtime::now() + runtime::frequency() / 20));
    CHECK(get<"X">(m, 21) == 1);  // taken once, as soon as it was not masked
}

GUEST(wait_for_spi, GIC_ON "movz x9, #0x0800, lsl #16\nmov w10, #-1\nstr w10, [x9, #0x84]\nstr w10, [x9, #0x104]\n1: wfi\ncbz x21, 1b\nmov x1, x21\n" REPORT);

TEST_CASE("an interrupt posted to a halted, unbound, blocked vCPU wakes it and is delivered", "[gic][mailbox]") {
    Machine m(wait_for_spi, 0, {.controller = true});
    {
        auto b = percpu().bind(m.vcpu());
        const auto e = b.run();
        REQUIRE(e);
        REQUIRE(e->is<exit::Halt>());
        REQUIRE(b.complete());
    }
    const auto blocked = m.vcpu().block();
    REQUIRE(blocked);
    REQUIRE(*blocked);
    const auto before = wakes();
    DeviceAccess edge{gicd_base + 0xC08, 0xAAAA'AAAA, 4, true};
    REQUIRE(m.controller.access(0, edge));
    m.controller.set_line(40, true);
    CHECK(wakes() == before + 1);
    REQUIRE(m.vcpu().unblock());
    auto b = percpu().bind(m.vcpu());
    CHECK(run_to_report(b)[0] == 1);
    CHECK(taken(m, 0) == 40);
}

GUEST(pending_off, GIC_ON "msr DAIFSet, #2\nmov x1, #1\nmovk x1, #0x0700, lsl #16\nmsr S3_0_C12_C11_5, x1\nisb\n" REPORT "ldr w0, =0x84000002\nhvc #0\n.ltorg\n");

TEST_CASE("an interrupt that a vCPU held when it was turned off is not lost", "[gic]") {
    Machine m(pending_off, 0, {.controller = true});
    {
        auto b = percpu().bind(m.vcpu());
        static_cast<void>(run_to_report(b));
        REQUIRE(b.complete());
        const auto e = b.run();
        REQUIRE(e);
        REQUIRE(e->is<exit::CpuDown>());
    }
    REQUIRE(m.vcpu().reset(m.at(self_sgi)));
    auto b = percpu().bind(m.vcpu());
    CHECK(run_to_report(b)[0] >= 3);  // three of its own, and the one from before
}

GUEST(gic_pairs, "movz x9, #0x0800, lsl #16\nadd x9, x9, #0x400\nadd x9, x9, #64\nmovz x1, #0x3020\nmovk x1, #0x5040, lsl #16\nstp w1, w1, [x9]\nldp w2, w3, [x9], #8\nldr w4, [x9, #-8]!\nmov x1, x2\nmov x2, x3\nmov x3, x4\n" REPORT);

TEST_CASE("pairs and writeback reach the interrupt controller, too", "[gic][mmio][A1]") {
    Machine m(gic_pairs, 0, {.controller = true});
    auto b = percpu().bind(m.vcpu());
    const auto r = run_to_report(b);
    CHECK(r[0] == 0x5040'3020);
    CHECK(r[1] == 0x5040'3020);
    CHECK(r[2] == 0x5040'3020);
}

// SPI 40 (bit 8 of word 1), an edge by ICFGR2, made pending by the guest itself. The registers after each step go to x11 to x16.
#define ISPENDR1 "#0x204"
#define ICPENDR1 "#0x284"
#define ISACTIVER1 "#0x304"
#define ICACTIVER1 "#0x384"
GUEST(state_registers, GIC_ON "msr DAIFSet, #2\nmovz x9, #0x0800, lsl #16\nmov w10, #-1\nstr w10, [x9, #0x84]\nmov w10, #0x100\nstr w10, [x9, #0x104]\nmov w11, #2 << 16\nstr w11, [x9, #0xC08]\n"
      "str w10, [x9, " ISPENDR1 "]\nisb\nldr w11, [x9, " ISPENDR1 "]\n"             // in a list register, pending
      "mrs x12, S3_0_C12_C12_0\nldr w13, [x9, " ISACTIVER1 "]\nldr w14, [x9, " ISPENDR1 "]\n"  // acknowledged: active, not pending
      "str w10, [x9, " ICACTIVER1 "]\nldr w15, [x9, " ISACTIVER1 "]\n"              // not any more
      "msr S3_0_C12_C12_1, x12\nisb\n"
      "str w10, [x9, " ISPENDR1 "]\nisb\nstr w10, [x9, " ICPENDR1 "]\nisb\nldr w16, [x9, " ISPENDR1 "]\nmrs x17, S3_0_C12_C12_0\n"  // taken away before it was acknowledged
      "str w10, [x9, " ISPENDR1 "]\nisb\nmrs x18, S3_0_C12_C12_0\n"                // and it comes again as ever
      "mov x1, x11\nmov x2, x12\nmov x3, x13\norr x4, x14, x15\norr x4, x4, x16\nmov x5, x17\nmov x6, x18\n" REPORT);

TEST_CASE("pending and active bits of what a list register holds are seen, and taken away", "[gic]") {
    Machine m(state_registers, 0, {.controller = true});
    auto b = percpu().bind(m.vcpu());
    const auto r = run_to_report(b);
    CHECK(r[0] == 0x100);
    CHECK(r[1] == 40);
    CHECK(r[2] == 0x100);
    CHECK(r[3] == 0);
    CHECK(r[4] == 1023);
    CHECK(r[5] == 40);
}
