// A guest whose processes are AArch32: what leaves there is decoded, and what an instruction's end does there is done.
#include <catch2/catch_test_macros.hpp>
#include "../harness.hpp"

using namespace harness;

/// EL1 enters `code` at EL0 with this PSTATE; x0 = 0x55, x4 = device_base.
#define AT_EL0(pstate, code) VECTORS "adr x9, 1f\nmsr ELR_EL1, x9\nmov x9, #" #pstate "\nmsr SPSR_EL1, x9\nmov x0, #0x55\nmovz x4, #0x0A00, lsl #16\nmov x5, #0\nmov x6, #0\neret\n.balign 4\n1: " code ".balign 4\n"
// A32: str r0, [r4]; ldr r5, [r4, #4]; add r5, r5, #1; svc #0
GUEST(a32_process, AT_EL0(0x10, ".word 0xE5840000, 0xE5945004, 0xE2855001, 0xEF000000\n"));
// T32: cmp r0, r0; ite eq; streq r0, [r4]; strne r0, [r4, #4]; movs r6, #7; svc #0
GUEST(t32_process, AT_EL0(0x30, ".hword 0x4280, 0xBF0C, 0x6020, 0x6060, 0x2607, 0xDF00\n"));
// T32: cmp r0, r0; it eq; ldreq r5, [r4]; svc #0, and the load is refused
GUEST(t32_refused, AT_EL0(0x30, ".hword 0x4280, 0xBF08, 0x6825, 0xDF00\n"));

namespace {
constexpr std::uint64_t from_aarch32 = exception + 0x600, svc32 = 0x11, data_abort_lower = 0x24;
auto leave(Vcpu<Host>::Bound& b) -> Exit {
    const auto e = run_on(b);
    REQUIRE(e);
    return *e;
}
}  // namespace

TEST_CASE("AArch32 at EL0: a store and a load of a device, then its own call to its kernel", "[aarch32][mmio]") {
    Machine m(a32_process);
    auto b = percpu().bind(m.vcpu());
    auto e = leave(b);
    const auto w = e.get<exit::MmioWrite>();
    REQUIRE(w);
    CHECK(w->addr == device_base);
    CHECK(w->width == 4);
    CHECK(w->value == 0x55);
    REQUIRE(b.complete());
    e = leave(b);
    REQUIRE(e.get<exit::MmioRead>());
    CHECK(e.get<exit::MmioRead>()->addr == device_base + 4);
    REQUIRE(b.complete(0xFFFF'FFFF'0000'0041));
    e = leave(b);
    const auto h = e.get<exit::Hypercall>();
    REQUIRE(h);
    CHECK(h->number == from_aarch32);
    CHECK(h->args[0] >> 26 == svc32);
    CHECK(get<"X">(m, 5) == 0x42);  // 32 bits, and nothing above them
}

TEST_CASE("T32 at EL0: a completed instruction moves the IT block on", "[aarch32][mmio]") {
    Machine m(t32_process);
    auto b = percpu().bind(m.vcpu());
    auto e = leave(b);
    REQUIRE(e.get<exit::MmioWrite>());
    CHECK(e.get<exit::MmioWrite>()->addr == device_base);
    REQUIRE(b.complete());
    e = leave(b);  // the second store's condition does not hold
    const auto h = e.get<exit::Hypercall>();
    REQUIRE(h);
    CHECK(h->number == from_aarch32);
    CHECK(h->args[0] >> 26 == svc32);
    CHECK(get<"X">(m, 6) == 7);
}

TEST_CASE("T32 at EL0: a refused load is an external abort that its kernel takes", "[aarch32][mmio]") {
    Machine m(t32_refused);
    auto b = percpu().bind(m.vcpu());
    REQUIRE(leave(b).get<exit::MmioRead>());
    REQUIRE(b.fail());
    const auto e = leave(b);
    const auto h = e.get<exit::Hypercall>();
    REQUIRE(h);
    CHECK(h->number == from_aarch32);
    CHECK(h->args[0] >> 26 == data_abort_lower);
    CHECK((h->args[0] & 0x3F) == 0x10);
    CHECK(get<"X">(m, 5) == 0);
}
