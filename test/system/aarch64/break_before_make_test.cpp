// Stage 2 under a guest on another CPU that uses what is changed.
#include <catch2/catch_test_macros.hpp>
#include "../harness.hpp"

using namespace harness;

// Counts at x0, and in x2, for ever.
GUEST(keep_count, "mov x2, #0\n1: ldr x1, [x0]\nadd x1, x1, #1\nstr x1, [x0]\nadd x2, x2, #1\nb 1b\n");

namespace {

constexpr GuestPhysAddr block{0x4020'0000}, page = block + 0x3000;
constexpr std::uint64_t block_size = 0x20'0000;
alignas(0x20'0000) unsigned char block_memory[block_size];
alignas(4096) unsigned char other_frame[4096];

auto counter(const unsigned char* frame) -> std::uint64_t { return *reinterpret_cast<const volatile std::uint64_t*>(frame); }

}  // namespace

TEST_CASE("no count is lost in a page that is protected, split off its block, moved, and mapped anew while a vCPU on another CPU counts in it", "[smp][stage2]") {
    if (!have_cpu(1)) SKIP("one CPU");
    Machine m(keep_count, page.value, {.lazy = true, .ram = 0x40'0000});
    std::memset(block_memory, 0, sizeof block_memory);
    REQUIRE(m.stage2.map(ram_base, Host::virt_to_phys(m.memory), 0x2'0000, {}, MemoryType::normal));
    REQUIRE(m.stage2.map(block, Host::virt_to_phys(block_memory), block_size, {}, MemoryType::normal));
    std::uint64_t counted = 0, strange = 0;
    std::atomic<std::uint64_t> faults{0};
    auto count = [&]() noexcept {
        auto b = percpu().bind(m.vcpu());
        for (;;) {
            const auto e = run_on(b);
            if (!e) return;
            if (e->is<exit::Kicked>()) break;
            const auto f = e->get<exit::NestedPageFault>();
            strange += !f || f->addr != page || f->on_table_walk;
            ++faults;
            static_cast<void>(b.retry());
        }
        counted = m.vcpu().get(id<"X">(2)).value_or(0);
    };
    OnCpu job(1, count);
    auto* own = block_memory + (page.value - block.value);
    auto* frame = own;
    unsigned refused = 0, wrote = 0, stands = 0;
    const auto until = [&](auto done) {
        const auto end = runtime::now() + 10 * runtime::frequency();
        while (!done() && runtime::now() < end) {}
        stands += !done();
    };
    const auto goes_on = [&] { until([&, before = counter(frame)] { return counter(frame) != before; }); };
    const auto move = [&](unsigned char* to, bool waits) {
        const auto faulted = faults.load();
        refused += !m.stage2.protect(page, 4096, {true, false, true});  // the first time this splits the block
        const auto before = counter(frame);
        __builtin_memcpy(to, frame, 4096);
        if (waits) until([&] { return faults != faulted; });
        wrote += counter(frame) != before;
        refused += !m.stage2.unmap(page, 4096);
        refused += !m.stage2.map(page, Host::virt_to_phys(to), 4096, {}, MemoryType::normal);
        frame = to;
    };
    for (unsigned round = 0; round < 25; ++round) {
        goes_on();
        for (unsigned n = 0; n < 4; ++n) {
            move(frame == own ? other_frame : own, n % 2 == 0);
            if (n == round % 4) goes_on();
        }
        for (const bool write : {false, true}) refused += !m.stage2.protect(page, 4096, {true, write, true});
        refused += m.stage2.walk(page)->size != 4096;
        refused += !m.stage2.unmap(block, block_size);
        refused += !m.stage2.map(block, Host::virt_to_phys(block_memory), block_size, {}, MemoryType::normal);
        refused += m.stage2.walk(page)->address != Host::virt_to_phys(own);
    }
    m.vm.core().notify(0, Event::kick);
    job.wait();
    CHECK(refused == 0);
    CHECK(wrote == 0);    // not while it was mapped for reads alone
    CHECK(stands == 0);
    CHECK(strange == 0);
    CHECK(faults >= 50);
    CHECK(counted > 25);
    CHECK(counter(frame) - counted <= 1);  // it may have left between the store and its own count
}
