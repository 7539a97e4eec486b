// Whether a vCPU fits a hart, and what is worked out once for the two of them.
module axvcpu.riscv64;
import std;
import axvcpu.result;
import axvcpu.hal;
import axvcpu.stage2;
import axvcpu.tlb_tag;
import axvcpu.vm;
import axvcpu.percpu;

namespace axvcpu::riscv64 {

/// Everything that a guest handles itself: misaligned, access and page faults, illegal instructions, its own calls; breakpoints where the
/// host does not want them.
auto delegated(const Vcpu& v) noexcept -> std::uint64_t {
    // While floating point is not loaded, its use is an illegal instruction.
    const std::uint64_t illegal = v.vm().policy().lazy_fp ? 0 : 1 << 2, breakpoint = v.host_breakpoints ? 0 : 1 << 3;
    return 1 << 0 | 1 << 1 | illegal | breakpoint | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 12 | 1 << 13 | 1 << 15;
}

namespace {
/// Whether this vCPU can run on this hart, which `leaves` may be about to leave. What is found holds until one of
/// them is changed: bind() comes here once for each pair.
auto fit(const Vcpu& v, const PerCpu& cpu, CpuId here, const Vcpu* leaves) noexcept -> Result<void> {
    if (auto ok = VcpuCore::fit_cpu(cpu.enabled, cpu.id, here, cpu.bound != leaves); !ok) return ok;
    const auto& vm = v.machine();
    if (vm.stage2 == nullptr) return Error{Code::no_stage2, "a VM with stage-2 tables"};
    const auto levels = vm.stage2->levels();
    if ((cpu.capabilities.levels_mask >> levels & 1) == 0 || vm.stage2->address_bits() > guest_address_bits(levels))
        return Error{Code::unsupported, "stage-2 tables of a depth that this hart walks (mask of levels)", cpu.capabilities.levels_mask, levels};
    if (vm.stage2->root().value % 0x4000 != 0) return Error{Code::misaligned, "a stage-2 root aligned to 16 KiB", 0x4000, vm.stage2->root().value};
    if (vm.imsic.size != 0 && !cpu.has(Feature::aia))
        return Error{Code::unsupported, "a hart with the AIA's registers (hvictl), for a VM with an IMSIC"};
    if (vm.imsic.size != 0 && !vm.stage2->has_maintenance())
        return Error{Code::no_stage2, "stage-2 tables with TLB maintenance (tlb_maintenance), for a VM with an IMSIC"};
    if (!v.vector_state.empty() && v.vector_state.size() < cpu.capabilities.vector_state)
        return Error{Code::too_small, "vector state as large as this hart's (Capabilities::vector_state)", cpu.capabilities.vector_state, v.vector_state.size()};
    return {};
}

/// What bind() has to know of a vCPU and a hart that the guest cannot change. Requires: they fit.
void work_out(Vcpu& v, const PerCpu& cpu) noexcept {
    const auto& vm = v.machine();
    const bool sstc = cpu.has(Feature::sstc) && vm.sstc;
    const auto when = [](bool is, std::uint32_t bits) { return is ? bits : 0; };
    v.usual_work = when(cpu.hal->host_fp == HostFp::per_exit, Vcpu::switch_fp) | when(vm.policy().lazy_fp, Vcpu::fp_out) |
                   when(!vm.policy().hypercalls || vm.sbi.exits != SbiExits{}, Vcpu::calls_by_policy) | when(sstc, Vcpu::has_sstc) |
                   when(cpu.has(Feature::sstc), Vcpu::hart_sstc) | when(cpu.capabilities.vector_state != 0 && !v.vector_state.empty(), Vcpu::has_vector) |
                   when(v.fast_exit != nullptr, Vcpu::fast_hook) | when(vm.imsic.size != 0, Vcpu::has_imsic) |
                   when(cpu.has(Feature::state_enable) || cpu.has(Feature::aia), Vcpu::more_registers) | when(v.host_breakpoints, Vcpu::host_debugs) |
                   when(!cpu.tagged(), Vcpu::untagged);
    v.hs.hedeleg = delegated(v);
    // Sstc where it is given; cache-block operations, where an invalidation also writes back; no Svpbmt, no hardware A/D.
    v.hs.henvcfg = (sstc ? std::uint64_t{1} << 63 : 0) | 0xD0;
    constexpr std::uint64_t envcfg = std::uint64_t{1} << 62, aia = std::uint64_t{7} << 58;  // with an IMSIC its registers, too
    v.hs.hstateen0 = envcfg | (vm.imsic.size != 0 ? aia : 0);
    v.hs.htimedelta = vm.time_delta;
    v.hs.hgatp = hgatp(vm.stage2->levels(), 0, vm.stage2->root().value);
}
}  // namespace

/// What the usual vCPU that comes to its usual hart does not need. What is found holds until one of them is changed.
[[gnu::noinline]] auto Arch::admit(Vcpu& v, PerCpu& cpu, CpuId here, const Vcpu* leaves, bool ready) noexcept -> Result<void> {
    return v.admit(ready, [&] { return fit(v, cpu, here, leaves); }, [&](GuestPhysAddr entry, std::uint64_t arg) { return reset(v, entry, arg); }, [&] {
        work_out(v, cpu);
        // What became pending before it was there, or while it was reset, was posted to nobody.
        if (v.vm().controller()) static_cast<void>(v.post(Event::interrupt));
        v.fits = cpu.epoch;
    });
}

}  // namespace axvcpu::riscv64
