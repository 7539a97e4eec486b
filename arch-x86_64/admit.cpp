// Whether a vCPU fits a CPU.
module axvcpu.x86_64;
import std;
import axvcpu.result;
import axvcpu.hal;
import axvcpu.stage2;
import axvcpu.vm;
import axvcpu.percpu;

namespace axvcpu::x86_64 {

namespace {

/// Whether this vCPU can run on this CPU, which `leaves` may be about to leave.
auto fit(const Vcpu& v, const PerCpu& cpu, CpuId here, const Vcpu* leaves) noexcept -> Result<void> {
    if (auto ok = VcpuCore::fit_cpu(cpu.enabled, cpu.id, here, cpu.bound != leaves); !ok) return ok;
    const auto& vm = v.machine();
    if (vm.stage2 == nullptr) return Error{Code::no_stage2, "a VM with stage-2 tables"};
    if ((cpu.capabilities.levels_mask >> vm.stage2->levels() & 1) == 0)
        return Error{Code::unsupported, "stage-2 tables as deep as the host's own (mask of levels)", cpu.capabilities.levels_mask, vm.stage2->levels()};
    if (const auto most = 12 + 9 * vm.stage2->levels(); vm.stage2->address_bits() > most)  // a root of several tables, of which the hardware uses one
        return Error{Code::unsupported, "stage-2 tables for as many address bits as their levels have", most, vm.stage2->address_bits()};
    if (vm.stage2->root().value % 4096 != 0) return Error{Code::misaligned, "a stage-2 root aligned to 4096", 4096, vm.stage2->root().value};
    return {};
}

}  // namespace

auto Arch::admit(Vcpu& v, PerCpu& cpu, CpuId here, const Vcpu* leaves) noexcept -> Result<void> {
    return v.admit(false, [&] { return fit(v, cpu, here, leaves); }, [&](GuestPhysAddr entry, std::uint64_t arg) { return reset(v, entry, arg); }, [] {});
}

}  // namespace axvcpu::x86_64
