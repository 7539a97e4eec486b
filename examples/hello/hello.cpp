// A whole hypervisor: one CPU, one VM of one vCPU and one page of memory, a UART, a hypercall.
import std;
import axvcpu;
import axvcpu.arch;
import runtime;

using namespace axvcpu;
extern "C" const unsigned char guest[];  // its code, one page

namespace {
struct Host {  // the image runs with memory mapped one to one
    static auto virt_to_phys(const void* p) noexcept -> HostPhysAddr { return {reinterpret_cast<std::uint64_t>(p)}; }
    static auto phys_to_virt(HostPhysAddr a) noexcept -> void* { return reinterpret_cast<void*>(a.value); }
    static auto this_cpu() noexcept -> CpuId { return CpuId{runtime::this_cpu()}; }
    static void kick(CpuId cpu) noexcept { runtime::send_interrupt(static_cast<unsigned>(cpu), 0); }
};

constexpr GuestRange ram[]{{{0x4000'0000}, 4096}};
constexpr GuestPhysAddr uart{0x0900'0000};

alignas(16384) unsigned char frames[8][4096];  // stage-2 tables: the root, of up to four, and what hangs below it
unsigned used = 4;
auto take_frame(void*) noexcept -> HostPhysAddr { return used < 8 ? Host::virt_to_phys(frames[used++]) : HostPhysAddr{}; }

PerCpu<Host> cpu;
Slot slots[1];

auto report(const Error& e) -> int {
    for (const char* text : {"hello: needed ", e.what, "\n"}) runtime::print(text);
    return 1;
}
}  // namespace

extern "C" int main() {
    if (auto found = cpu.enable(); !found) return report(found.error());
    Stage2 stage2(stage2_format, Host::virt_to_phys(frames[0]), stage2_levels, stage2_address_bits, {nullptr, take_frame, [](void*, HostPhysAddr) noexcept {}}, hal_table<Host>);
    auto mapped = stage2.map(ram[0].start, Host::virt_to_phys(guest), 4096, {.write = false}, MemoryType::normal);
    if (!mapped) return report(mapped.error());

    Vm<Host> vm{{.id = 1, .stage2 = &stage2, .vcpus = slots, .ram = ram}};
    auto vcpu = Vcpu<Host>::create(slots[0], vm, {.id = 0, .entry = ram[0].start});
    if (!vcpu) return report(vcpu.error());

    auto on_cpu = cpu.bind(*vcpu);
    if (!on_cpu) return report(on_cpu.error());
    for (;;) {
        auto e = on_cpu->run();
        if (!e) return report(e.error());
        if (e->is<exit::SystemDown>() || e->is<exit::Shutdown>()) break;
        const auto done = e->match(
            [&](exit::MmioWrite m) {
                if (m.addr == uart) runtime::put_guest_byte(static_cast<std::uint8_t>(m.value));
                return on_cpu->complete();
            },
            [&](exit::Hypercall h) { return on_cpu->complete(h.args[0] * 2); },
            [&](auto) { return Result<void>{Error{Code::unsupported, "a guest that only says hello"}}; });
        if (!done) return report(done.error());
    }
    runtime::put_guest_byte('\n');
    return 0;
}
