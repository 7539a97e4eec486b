// How much of the host's stack the SDK uses: docs/host-contract.md has the figures.
#include <catch2/catch_test_macros.hpp>
#include "harness.hpp"

using namespace harness;

namespace {
constexpr std::size_t room = 8192;
constexpr unsigned char paint = 0xA5;

/// Bytes of stack that `f` reaches below this frame. Host interrupts are masked: their handlers use it, too.
template <class F>
[[gnu::noinline]] auto stack_used(F f) -> std::size_t {
    const bool masked = interrupts_masked();
    runtime::mask_interrupts();
    auto* const frame = static_cast<volatile unsigned char*>(__builtin_frame_address(0));
    constexpr std::size_t own = 256;  // this function's and the painter's
    for (std::size_t i = own; i < room; ++i) *(frame - i) = paint;
    f();
    std::size_t deepest = room - 1;
    while (deepest > own && *(frame - deepest) == paint) --deepest;
    if (!masked) runtime::unmask_interrupts();
    return deepest;
}
}  // namespace

TEST_CASE("run(), complete() and a switch use little of the host's stack", "[stack]") {
    Machine m(call_forever, 0, {.vcpus = 2});
    REQUIRE(m.vcpu(1).reset(m.at(call_forever)));
    auto b = percpu().bind(m.vcpu());
    bool ran = true;
    const auto run = stack_used([&] { ran = ran && b.run() && b.complete(); });
    const auto moved = stack_used([&] { ran = ran && b.switch_to(m.vcpu(1)) && b.run(); });
    CHECK(ran);
    runtime::print("# stack: run " + std::to_string(run) + " bytes, switch " + std::to_string(moved) + "\n");
    CHECK(run < 1024);
    CHECK(moved < 1024);
}
