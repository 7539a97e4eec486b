#include <catch2/catch_test_macros.hpp>
#include "harness.hpp"

extern "C" const unsigned char __guest_begin[], __guest_end[];

namespace harness {

namespace {
PerCpu<Host> cpus[8];
Capabilities found[8];
bool enabled[8];
alignas(0x1'0000) unsigned char guest_memory[ram_size];
constexpr unsigned root_frames = 4;  // RISC-V's root is 16 KiB
alignas(4096 * root_frames) unsigned char frames[64][4096];
unsigned frames_used = 0;
std::atomic<unsigned> wake_count{0};

auto take_frame(void*) noexcept -> HostPhysAddr {
    if (frames_used == std::size(frames)) return {};
    __builtin_memset(frames[frames_used], 0, 4096);
    return Host::virt_to_phys(frames[frames_used++]);
}
auto fresh_root() noexcept -> HostPhysAddr {
    std::memset(frames, 0, 4096 * root_frames);
    frames_used = root_frames;
    return Host::virt_to_phys(frames[0]);
}
}  // namespace

void Host::wake(std::uint32_t, std::uint32_t) noexcept { wake_count.fetch_add(1); }
unsigned wakes() { return wake_count.load(); }

auto percpu(unsigned cpu) -> PerCpu<Host>& {
    if (!enabled[cpu]) {
        runtime::enable_guest_interrupts();
        const auto caps = cpus[cpu].enable();
        if (!caps) runtime::exit(97);
        found[cpu] = *caps;
        enabled[cpu] = true;
    }
    return cpus[cpu];
}
auto capabilities() -> const Capabilities& {
    static_cast<void>(percpu());
    return found[runtime::this_cpu()];
}

Machine::Machine(const void* payload, std::uint64_t arg, Config c)
    : config(c), memory(guest_memory), ram{{ram_base, c.ram}},
      stage2(stage2_format, fresh_root(), stage2_levels, stage2_address_bits, {nullptr, take_frame, [](void*, HostPhysAddr) noexcept {}}, hal_table<Host>),
      vm({.id = 7, .stage2 = &stage2, .vcpus = std::span<Slot>(slots, c.vcpus), .ram = ram, .policy = c.policy}),
      controller(make_controller(vm.core())) {
    static_cast<void>(percpu());
    runtime::unmask_interrupts();  // what the test before has left pending, a timer of run()'s where it is one of the host's
    runtime::mask_interrupts();
    stage2.set_maintenance(tlb_maintenance(vm.core()));
    std::memset(memory, 0, ram_size);
    std::memcpy(memory, __guest_begin, static_cast<std::size_t>(__guest_end - __guest_begin));
    prepare(memory, ram_base);
    if (c.controller) vm.attach(controller);
    if (!c.lazy) REQUIRE(stage2.map(ram_base, Host::virt_to_phys(memory), c.ram, {}, MemoryType::normal));
    for (unsigned i = 0; i < c.vcpus; ++i) {
        auto made = Vcpu<Host>::create(slots[i], vm, create_config(ram_base, i, at(payload), arg, i != 0));
        REQUIRE(made);
        vcpus[i] = &*made;
    }
}

Machine::~Machine() = default;

auto Machine::at(const void* payload) const -> GuestPhysAddr {
    return ram_base + static_cast<std::uint64_t>(static_cast<const unsigned char*>(payload) - __guest_begin);
}

}  // namespace harness
