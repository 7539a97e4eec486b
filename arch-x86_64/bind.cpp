// A vCPU comes to a CPU and leaves it: its block, and what of the CPU is for the guest alone.
module axvcpu.x86_64;
import std;
import axvcpu.result;
import axvcpu.hal;
import axvcpu.stage2;
import axvcpu.tlb_tag;
import axvcpu.vm;
import axvcpu.percpu;

namespace axvcpu::x86_64 {

/// What of the block is the SDK's own and never changes.
void set_intercepts(Vmcb& b, const Vcpu& v) noexcept {
    b.cr_write = 1 << 4;
    b.exceptions = 1u << Vector::ac | 1u << Vector::db | 1u << 18 | (v.host_breakpoints ? 1u << 3 : 0);  // #AC and #DB can recur for ever in delivery; #MC is the host's
    b.intercepts1 = intercept::interrupt | intercept::nmi | intercept::init | intercept::rdpmc | intercept::cpuid | intercept::invd | intercept::hlt | intercept::invlpga |
                    intercept::io | intercept::msr | intercept::shutdown | (v.vm().policy().yields ? intercept::pause : 0);
    b.intercepts2 = intercept::vmrun | intercept::vmmcall | intercept::vmload | intercept::vmsave | intercept::stgi | intercept::clgi | intercept::skinit | intercept::rdtscp |
                    intercept::wbinvd | intercept::monitor | intercept::mwait | intercept::mwait_armed | intercept::xsetbv | intercept::rdpru;
    b.virtual_interrupt |= 1 << 24;  // V_INTR_MASKING: the guest's IF and TPR are its own
    b.nested_control = 1;           // NP_ENABLE
}

namespace {
template <bool ToCpu>
void move_debug(std::array<std::uint64_t, 6>& host, Context& c) noexcept {
    if constexpr (ToCpu) {
        host = {read_debug<0>(), read_debug<1>(), read_debug<2>(), read_debug<3>(), read_debug<6>(), read_debug<7>()};
        write_debug<7>(0x400);  // nothing of the host's matches while guest addresses are in the others
        write_debug<0>(c.get<"DR0">()), write_debug<1>(c.get<"DR1">()), write_debug<2>(c.get<"DR2">()), write_debug<3>(c.get<"DR3">());
    } else {
        c.raw<"DR0">() = read_debug<0>(), c.raw<"DR1">() = read_debug<1>(), c.raw<"DR2">() = read_debug<2>(), c.raw<"DR3">() = read_debug<3>();
        write_debug<0>(host[0]), write_debug<1>(host[1]), write_debug<2>(host[2]), write_debug<3>(host[3]), write_debug<6>(host[4]), write_debug<7>(host[5]);
    }
}
}  // namespace

/// Requires: it is ready, and no other one is bound here.
void Arch::load(Vcpu& v, PerCpu& cpu) noexcept {
    const auto flag = mask_interrupts();
    v.settle_on(cpu.id);
    v.percpu = &cpu;
    v.switch_fp = cpu.hal->host_fp == HostFp::per_exit;
    cpu.bound = &v;
    if (v.last_epoch != cpu.epoch) v.tag = {};  // an ASID of another CPU, or of this one's life before, means nothing here
    v.last_epoch = cpu.epoch;
    const auto assigned = cpu.asids.assign(cpu.tags, v.tag, v.id());
    if (assigned.flush != TlbTagDomain::Flush::none) v.flush.store(true);
    auto& b = *v.vmcb;
    set_intercepts(b, v);
    b.iopm_base = b.msrpm_base = cpu.hal->virt_to_phys(cpu.intercept_all.data()).value;
    b.tsc_offset = v.machine().tsc_offset;
    b.asid = assigned.tag.value;
    b.nested_cr3 = v.machine().stage2->root().value;
    b.clean = 0;
    v.broken = broken_rules(b, cpu.cr4_absent);
    v.host_block = cpu.hal->virt_to_phys(&cpu.host_block).value;
    axvcpu_vmsave(v.host_block);
    cpu.host_cr2 = read_cr2();
    if (cpu.has_tsc_aux) cpu.host_tsc_aux = read<"TSC_AUX">();
    if (cpu.has_tsc_aux) write<"TSC_AUX">(0);  // RDTSCP is intercepted, where the machine can (QEMU cannot): it shows nothing of the host
    move_debug<true>(cpu.host_debug, v.context);
    if (!v.switch_fp) axvcpu_fp_load(&v.context);
    restore_interrupts(flag);
}

auto Arch::bind(Vcpu& v, PerCpu& cpu, CpuId here) noexcept -> Result<void> {
    if (auto ok = admit(v, cpu, here, nullptr); !ok) return ok;
    load(v, cpu);
    return {};
}

/// On another CPU than its own nothing can be saved: the vCPU stays bound, and every further use of it is refused.
void Arch::unbind(Vcpu& v, CpuId here) noexcept {
    auto& cpu = *v.percpu;
    if (here != v.cpu()) [[unlikely]] return;
    const auto flag = mask_interrupts();
    // Nothing of a guest stays in a CPU that it has left.
    if (v.switch_fp) axvcpu_fp_save_host(&v.host_fp);
    else axvcpu_fp_save(&v.context);
    axvcpu_fp_clear();
    if (v.switch_fp) axvcpu_fp_load_host(&v.host_fp);
    move_debug<false>(cpu.host_debug, v.context);
    write_cr2(cpu.host_cr2);
    if (cpu.has_tsc_aux) write<"TSC_AUX">(cpu.host_tsc_aux);
    cpu.bound = nullptr;
    v.percpu = nullptr;
    restore_interrupts(flag);
    v.move(State::ready, v.pending.kind == Pending::Kind::terminal ? State::off : State::free);
}

auto Arch::switch_to(Vcpu& from, Vcpu& to, CpuId here) noexcept -> bool {
    if (here != from.cpu() || from.pending.kind == Pending::Kind::host_irq) return from.refuse_switch(here);
    auto& cpu = *from.percpu;
    if (auto ok = admit(to, cpu, here, &from); !ok) return from.refuse(ok.error());
    unbind(from, here);
    load(to, cpu);
    return true;
}

}  // namespace axvcpu::x86_64
