#include <catch2/catch_test_macros.hpp>
#include "harness.hpp"

extern "C" const unsigned char __guest_begin[], __guest_end[];

namespace harness {

struct Pool {
    alignas(0x1'0000) unsigned char memory[ram_size];
    static constexpr unsigned root_frames = 4;  // RISC-V's root is 16 KiB
    alignas(4096 * root_frames) unsigned char frames[64][4096];
    alignas(64) std::byte vectors[4][16384];
    unsigned used;
    bool taken;

    auto root() noexcept -> HostPhysAddr {
        std::memset(frames, 0, 4096 * root_frames);
        used = root_frames;
        return Host::virt_to_phys(frames[0]);
    }
    static auto take_frame(void* self) noexcept -> HostPhysAddr {
        auto& p = *static_cast<Pool*>(self);
        if (p.used == std::size(p.frames)) return {};
        __builtin_memset(p.frames[p.used], 0, 4096);
        return Host::virt_to_phys(p.frames[p.used++]);
    }
};

namespace {
PerCpu<Host> cpus[8];
Capabilities found[8];
bool enabled[8];
Pool pools[2];
std::atomic<unsigned> wake_count{0};

auto free_pool() -> Pool& {
    for (auto& p : pools)
        if (!p.taken) return p.taken = true, p;
    FAIL("more than two VMs at a time");
    runtime::exit(96);
}

struct Order {
    void (*work)(void*) noexcept;
    void* arg;
    std::atomic<bool> waits, ready;  // a job waits for its CPU; the CPU waits for jobs
};
Order orders[8];

void other_cpu(unsigned cpu) {
    static_cast<void>(percpu());
    auto& o = orders[cpu];
    for (o.ready = true;;) {
        while (!o.waits.load()) {}
        o.work(o.arg);
        o.waits = false;
    }
}
}  // namespace

auto have_cpu(unsigned cpu) -> bool {
    if (cpu >= runtime::cpus()) return false;
    if (!orders[cpu].ready && !runtime::start_cpu(cpu, other_cpu)) return false;
    while (!orders[cpu].ready) {}
    return true;
}
OnCpu::OnCpu(unsigned cpu, void (*work)(void*) noexcept, void* arg) : cpu_(cpu) {
    auto& o = orders[cpu];
    o.work = work;
    o.arg = arg;
    o.waits = true;
}
void OnCpu::wait() { while (orders[cpu_].waits.load()) {} }
void take_interrupts() {
    runtime::unmask_interrupts();
    runtime::mask_interrupts();
}
auto run_on(Vcpu<Host>::Bound& b, std::uint64_t deadline) noexcept -> Result<const Exit&> {
    for (;;) {
        const auto e = b.run(deadline);
        if (!e || !e->is<exit::ExternalInterrupt>()) return e;
        take_interrupts();
    }
}
void RunsOn::Work::operator()() noexcept {
    auto b = percpu().bind(vcpu);
    if (const auto e = run_on(b, deadline)) reason = e->index();
}

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

namespace {
auto vm_config(Machine& m) -> VmConfig {
    VmConfig c{.id = 7, .stage2 = &m.stage2, .vcpus = std::span<Slot>(m.slots, m.config.vcpus), .ram = m.ram, .policy = m.config.policy};
    if (m.config.aia) add_aia(c);
    return c;
}
}  // namespace

Machine::Machine(const void* payload, std::uint64_t arg, Config c)
    : config(c), pool(free_pool()), memory(pool.memory), ram{{ram_base, c.ram}},
      stage2(stage2_format, pool.root(), stage2_levels, stage2_address_bits, {&pool, Pool::take_frame, [](void*, HostPhysAddr) noexcept {}}, hal_table<Host>),
      vm(vm_config(*this)),
      controller(make_controller(vm.core())) {
    static_cast<void>(percpu());
    take_interrupts();  // what the test before has left pending, a timer of run()'s where it is one of the host's
    stage2.set_maintenance(tlb_maintenance(vm.core()));
    fill();
    std::memset(pool.vectors, 0, sizeof pool.vectors);
    if (c.controller) vm.attach(controller);
    if (!c.lazy) REQUIRE(stage2.map(ram_base, Host::virt_to_phys(memory), c.ram, {}, MemoryType::normal));
    for (unsigned i = 0; i < c.vcpus; ++i) {
        auto made = Vcpu<Host>::create(slots[i], vm, create_config(ram_base, i, at(payload), arg, i != 0, vectors(i)));
        REQUIRE(made);
        vcpus[i] = &*made;
    }
}

void Machine::fill() {
    std::memset(memory, 0, ram_size);
    std::memcpy(memory, __guest_begin, static_cast<std::size_t>(__guest_end - __guest_begin));
    prepare(memory, ram_base);
}

auto Machine::vectors(unsigned id) -> std::span<std::byte> {
    const auto size = config.vectors ? capabilities().vector_state : 0;
    if (size > sizeof pool.vectors[id]) FAIL("vectors longer than the harness has room for");
    return std::span(pool.vectors[id]).first(size);
}

Machine::~Machine() { pool.taken = false; }

auto Machine::at(const void* payload) const -> GuestPhysAddr {
    return ram_base + static_cast<std::uint64_t>(static_cast<const unsigned char*>(payload) - __guest_begin);
}

}  // namespace harness
