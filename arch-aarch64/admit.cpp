// Whether a vCPU fits a CPU, and what is worked out once for the two of them.
module axvcpu.aarch64;
import std;
import axvcpu.result;
import axvcpu.hal;
import axvcpu.stage2;
import axvcpu.tlb_tag;
import axvcpu.vm;
import axvcpu.percpu;

namespace axvcpu::aarch64 {

namespace {
/// HCR_EL2 (DDI 0487, HCR_EL2), by the field names there.
auto hcr(const Vm& vm, const PerCpu& cpu) noexcept -> std::uint64_t {
    const auto bit = [](unsigned n) { return std::uint64_t{1} << n; };
    std::uint64_t v = bit(0) | bit(1) | bit(2)        // VM, SWIO, PTW
                    | bit(9) | bit(10)                // FB, BSU inner shareable: the guest's own maintenance reaches every CPU
                    | bit(13) | bit(14)               // TWI, TWE
                    | bit(16) | bit(18) | bit(19)     // TID1, TID3, TSC
                    | bit(20) | bit(21) | bit(22)     // TIDCP, TACR, TSW
                    | bit(31) | bit(35) | bit(36) | bit(58)  // RW, TLOR, TERR, TID5
                    | bit(5);                         // AMO: the machine's errors are the host's
    if (vm.passthrough_interrupts) v &= ~(bit(13) | bit(14));       // it waits on its own CPU
    else v |= bit(3) | bit(4);                                      // FMO, IMO
    if (!vm.policy().yields) v &= ~bit(14);
    if (cpu.e2h) v |= bit(34);
    if (cpu.has(Feature::pauth)) v |= bit(40) | bit(41);  // APK, API: keys are switched
    return v;
}

/// What bind() has to know of a vCPU and a CPU that the guest cannot change. Requires: they fit.
void work_out(Vcpu& v, const PerCpu& cpu) noexcept {
    const auto& vm = v.machine();
    const auto when = [](bool is, std::uint32_t bits) { return is ? bits : 0; };
    v.usual_work = when(cpu.hal->host_fp == HostFp::per_exit, Vcpu::switch_fp | Vcpu::fp_apart) | when(vm.policy().lazy_fp, Vcpu::fp_apart) |
                   when(!vm.policy().hypercalls, Vcpu::calls_refused) | when(cpu.e2h, Vcpu::host_extensions) | when(vm.passthrough_timer, Vcpu::guest_owns_timer) |
                   when(vm.passthrough_interrupts, Vcpu::guest_owns_interrupts) | when(v.fast_exit != nullptr, Vcpu::fast_hook) |
                   when(v.debug.step, Vcpu::host_steps) | when(v.debug.active, Vcpu::host_debugs) | when(cpu.has_mpam, Vcpu::partitioned) |
                   when(cpu.priority_words > 1, Vcpu::more_priorities);
    const bool sve = cpu.vector_length != 0 && !v.vector_state.empty(), lazy = vm.policy().lazy_fp;
    if (sve) {
        v.usual_work |= Vcpu::has_sve;
        settle_vectors(v, cpu.vector_length);
    }
    v.id_registers = cpu.id_registers[sve].data();
    v.el2.mdcr = debug_routing(cpu, v.debug);
    v.el2.cptr = cptr(cpu.e2h, !lazy, sve && !lazy);
    // EL1's physical counter and timer: the guest's only when passed through. The fields move by 10 with E2H.
    v.el2.cnthctl = vm.passthrough_timer ? (cpu.e2h ? std::uint64_t{3} << 10 : 3) : 0;
    v.el2.vtcr = vtcr(vm.stage2->levels(), vm.stage2->address_bits(), cpu.parange, cpu.vmid_bits);
    v.el2.vmpidr = v.hardware_id() | std::uint64_t{1} << 31;
    v.el2.cntvoff = vm.counter_offset;
    v.el2.vttbr = vm.stage2->root().value;
    v.el2.hcr = hcr(vm, cpu);
    v.el2.features = cpu.capabilities.features & (bit(Feature::pauth) | bit(Feature::ras) | (sve && !lazy ? bit(Feature::sve) : 0));
}

/// Whether this vCPU can run on this CPU, which `leaves` may be about to leave. What is found holds until one of
/// them is changed: bind() comes here once for each pair.
auto fit(const Vcpu& v, const PerCpu& cpu, CpuId here, const Vcpu* leaves) noexcept -> Result<void> {
    if (auto ok = VcpuCore::fit_cpu(cpu.enabled, cpu.id, here, cpu.bound != leaves); !ok) return ok;
    const auto& vm = v.machine();
    const bool ended = leaves != nullptr && leaves->pending.kind == Pending::Kind::terminal;  // it owns nothing any more
    if (cpu.trusted != nullptr && cpu.trusted != &v && !(ended && cpu.trusted == leaves))
        return Error{Code::not_owner, "a CPU whose interrupts no other guest owns"};
    if (vm.stage2 == nullptr) return Error{Code::no_stage2, "a VM with stage-2 tables"};
    if (!stage2_shape_ok(vm.stage2->levels(), vm.stage2->address_bits(), cpu.capabilities.address_bits))
        return Error{Code::unsupported, "stage-2 tables within this CPU's physical addresses", cpu.capabilities.address_bits, vm.stage2->address_bits()};
    if (vm.stage2->root().value % Stage2::root_size(stage2_format, vm.stage2->levels(), vm.stage2->address_bits()) != 0)
        return Error{Code::misaligned, "a stage-2 root aligned to its size", 4096, vm.stage2->root().value};
    if (!v.vector_state.empty() && v.vector_state.size() < cpu.capabilities.vector_state)
        return Error{Code::too_small, "vector state as large as this CPU's (Capabilities::vector_state)", cpu.capabilities.vector_state, v.vector_state.size()};
    if (v.vector_length != 0 && v.vector_length != cpu.vector_length)
        return Error{Code::unsupported, "a CPU whose vectors are as long as those of the vCPU's first one", v.vector_length, cpu.vector_length};
    if ((v.context.get<"PSTATE">() & 0x10) != 0 && !cpu.has(Feature::aarch32_el0))
        return Error{Code::unsupported, "a CPU with AArch32 at EL0, as the vCPU's PSTATE has it (ID_AA64PFR0_EL1.EL0)", 2, 1};
    const bool links = cpu.hal->local_interrupt_controller != nullptr;
    if (v.vm().controller() && !vm.passthrough_timer && !links)
        return Error{Code::unsupported, "a HAL that models LinksGuestTimer, for a VM with an interrupt controller"};
    if (cpu.has(Feature::pauth) && (read<"SCTLR_EL2">() & host_signs) != 0)
        return Error{Code::unsupported, "a host that does not sign pointers while vCPUs are bound (SCTLR_EL2.EnIA, EnIB, EnDA, EnDB)", 0, read<"SCTLR_EL2">() & host_signs};
    return {};
}
}  // namespace

/// What the usual vCPU that comes to its usual CPU does not need. What is found holds until one of them is changed.
[[gnu::noinline]] auto Arch::admit(Vcpu& v, PerCpu& cpu, CpuId here, const Vcpu* leaves, bool ready) noexcept -> Result<void> {
    return v.admit(ready, [&] { return fit(v, cpu, here, leaves); }, [&](GuestPhysAddr entry, std::uint64_t arg) { return reset(v, entry, arg); }, [&] {
        work_out(v, cpu);
        // What became pending before it was there, or while it was reset, was posted to nobody.
        if (v.vm().controller()) static_cast<void>(v.post(Event::interrupt));
        if (v.machine().passthrough_interrupts) {
            cpu.trusted = &v;
            cpu.epoch = next_epoch();  // nobody else fits any more
        }
        if (v.hal->local_interrupt_controller != nullptr) v.fits = cpu.epoch;  // without one it is looked at again: a controller may be attached
    });
}

[[gnu::noinline]] auto Arch::admitted(Vcpu& from, Vcpu& to, PerCpu& cpu, CpuId here, bool ready) noexcept -> bool {
    const auto ok = admit(to, cpu, here, &from, ready);
    return ok ? true : from.refuse(ok.error());
}

}  // namespace axvcpu::aarch64
