// The least that uses the SDK from outside its tree: one vCPU, one hypercall.
import std;
import axvcpu;
import axvcpu.arch;
import runtime;

extern "C" const unsigned char guest[];

namespace {
struct Host {
    static auto virt_to_phys(const void* p) noexcept -> axvcpu::HostPhysAddr { return {reinterpret_cast<std::uint64_t>(p)}; }
    static auto phys_to_virt(axvcpu::HostPhysAddr a) noexcept -> void* { return reinterpret_cast<void*>(a.value); }
    static auto this_cpu() noexcept -> axvcpu::CpuId { return axvcpu::CpuId{runtime::this_cpu()}; }
    static void kick(axvcpu::CpuId cpu) noexcept { runtime::send_interrupt(static_cast<unsigned>(cpu), 0); }
};
constexpr axvcpu::GuestRange ram[]{{{0x4000'0000}, 4096}};
alignas(4096) unsigned char frames[4][4096];
unsigned used = 1;
axvcpu::PerCpu<Host> cpu;
axvcpu::Slot slots[1];
}  // namespace

extern "C" int main() {
    if (!cpu.enable()) return 1;
    const axvcpu::FrameSource source{nullptr, [](void*) noexcept { return used < 4 ? Host::virt_to_phys(frames[used++]) : axvcpu::HostPhysAddr{}; },
                                     [](void*, axvcpu::HostPhysAddr) noexcept {}};
    axvcpu::Stage2 stage2(axvcpu::stage2_format, Host::virt_to_phys(frames[0]), 3, 39, source, axvcpu::hal_table<Host>);
    if (!stage2.map(ram[0].start, Host::virt_to_phys(guest), 4096, {.write = false}, axvcpu::MemoryType::normal)) return 1;
    axvcpu::Vm<Host> vm{{.id = 1, .stage2 = &stage2, .vcpus = slots, .ram = ram}};
    auto vcpu = axvcpu::Vcpu<Host>::create(slots[0], vm, {.entry = ram[0].start});
    if (!vcpu) return 1;
    auto on_cpu = cpu.bind(*vcpu);
    if (!on_cpu) return 1;
    const auto e = on_cpu->run();
    const auto call = e ? e->get<axvcpu::exit::Hypercall>() : std::nullopt;
    const bool good = call && call->number == 0xC600'0000 && call->args[0] == 41;
    runtime::print(good ? "downstream: the guest called with 41\n" : "downstream: no call came\n");
    return good ? 0 : 1;
}
