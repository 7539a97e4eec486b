// Guests that take interrupts, and what the suites do with them.
#pragma once
#include <catch2/catch_test_macros.hpp>
#include "../harness.hpp"

namespace harness {

inline constexpr std::uint64_t taken_base = 0x2'0000;  // where the guest notes what it took

inline auto run_to_report(Vcpu<Host>::Bound& b, bool host_interrupts = true) -> std::array<std::uint64_t, 6> {
    for (unsigned i = 0; i < 10'000; ++i) {
        const auto e = b.run(runtime::now() + 30 * runtime::frequency());  // a busy machine is slow
        REQUIRE(e);
        INFO("exit " << exit_names[e->index()]);
        REQUIRE_FALSE(e->is<exit::TimerExpired>());
        if (e->is<exit::Hypercall>()) {
            REQUIRE(e->get<exit::Hypercall>()->number == report);
            return e->get<exit::Hypercall>()->args;
        }
        if (e->is<exit::Halt>()) {
            REQUIRE(b.complete());
            continue;
        }
        REQUIRE(host_interrupts);
        REQUIRE(e->is<exit::ExternalInterrupt>());
        take_interrupts();
    }
    FAIL("no report");
    return {};
}
inline auto taken(Machine& m, unsigned n) -> std::uint32_t { return m.peek<std::uint32_t>(ram_base + taken_base + n * 4); }

}  // namespace harness

/// CPU interface on, distributor on, private interrupts enabled, x20 and x21 set up, IRQs unmasked.
#define GIC_ON GIC_ON_OF("0x080B")
/// The same for the vCPU whose SGI_base frame begins at `frame` << 16.
#define GIC_ON_OF(frame) \
    "adrp x9, irq_vectors\nadd x9, x9, :lo12:irq_vectors\nmsr VBAR_EL1, x9\n" \
    "mov x9, #7\nmsr S3_0_C12_C12_5, x9\nisb\nmov x9, #0xF0\nmsr S3_0_C4_C6_0, x9\nmov x9, #1\nmsr S3_0_C12_C12_7, x9\nisb\n" \
    "movz x9, #0x0800, lsl #16\nmov w10, #2\nstr w10, [x9]\n" \
    "movz x9, #" frame ", lsl #16\nmov w10, #-1\nstr w10, [x9, #0x80]\nstr w10, [x9, #0x100]\n" \
    "movz x20, #0x4002, lsl #16\nmov x21, #0\nmov x22, #0\nmov x23, #0\nmsr DAIFClr, #2\n"
