// A vCPU's life: reset, bind, run, unbind.
module axvcpu.x86_64;
import std;
import axvcpu.result;
import axvcpu.hal;
import axvcpu.exit;
import axvcpu.stage2;
import axvcpu.tlb_tag;
import axvcpu.vm;
import axvcpu.percpu;

namespace axvcpu::x86_64 {

Vm::Vm(const VmConfig& c, const HalTable& hal) noexcept
    : VmCore(c.id, c.stage2 != nullptr ? c.stage2->root() : HostPhysAddr{}, c.ram, c.policy, c.vcpus, hal), stage2(c.stage2), tsc_offset(-read_tsc()) {}

Vcpu::Vcpu(Vm& vm, const CreateConfig& c) noexcept : VcpuCore(vm, c.id, c.apic_id.value_or(c.id)), hal(&vm.hal()), page_tables(c.page_tables) {
    start_entry_ = c.entry;
    start_arg_ = c.arg;
    state_.store(c.off ? State::off : State::free, std::memory_order_release);
    if (c.off) power_.store(Power::off, std::memory_order_release);
}

namespace {

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

/// All registers as the table resets them.
void reset_registers(Vcpu& v, GuestPhysAddr entry, std::uint64_t arg) noexcept {
    auto& b = *v.vmcb;
    __builtin_memset(&b, 0, sizeof b);
    v.flush.store(true);  // a reset leaves no translations
    v.context.reset();
    v.context.raw<"FXSAVE">() = 0x37F;                                        // FCW
    v.context.raw<"FXSAVE">(1, true) = 0x1F80;                                 // MXCSR, at byte 24
    for (const auto& r : registers)
        if (r.policy == Policy::control_block) __builtin_memcpy(reinterpret_cast<unsigned char*>(&b) + r.encoding.field, &r.reset, r.bytes());
    b.efer = efer_svme;  // the hardware wants it; guests do not see it
    if (v.page_tables) {
        b.cr3 = v.page_tables->value;
        b.cr4 = cr4_pae;
        b.cr0 |= cr0_pg;
        b.efer |= efer_lme | efer_lma | efer_nxe;
        b.cs.attributes = 0xA9B;  // L instead of D
    }
    b.rip = entry.value;
    v.context.raw<"RSI">() = arg;
    v.pending = {};
}

}  // namespace

void Vcpu::adopt(unsigned char (*slot_frames)[4096]) noexcept {
    vmcb = new (static_cast<void*>(slot_frames)) Vmcb;
    guest_block = hal->virt_to_phys(vmcb).value;
    exit_.call_at(&vmcb->rax, &context.raw<"RDI">());
    reset_registers(*this, start_entry_, start_arg_);
}

auto Arch::check(const Vm& vm, const CreateConfig& c) noexcept -> Result<void> {
    if (c.id >= vm.vcpus()) return Error{Code::bad_value, "a vCPU id below the VM's number of slots", vm.vcpus(), c.id};
    if (c.page_tables && c.page_tables->value % 4096 != 0) return Error{Code::misaligned, "page tables that start at a page", 4096, c.page_tables->value};
    if (!c.page_tables && c.entry.value > 0xFFFF'FFFF) return Error{Code::bad_value, "an entry point below 4 GiB for 32-bit mode", 0xFFFF'FFFF, c.entry.value};
    return {};
}

auto Arch::reset(Vcpu& v, GuestPhysAddr entry, std::uint64_t arg) noexcept -> Result<void> {
    const auto s = v.state();
    if (s == State::running || s == State::ready) return Vcpu::bad_state("a vCPU that is not bound", State::free, s);
    if (!v.page_tables && entry.value > 0xFFFF'FFFF) return Error{Code::bad_value, "an entry point below 4 GiB for 32-bit mode", 0xFFFF'FFFF, entry.value};
    reset_registers(v, entry, arg);
    v.mailbox_.unblock();
    v.power_.store(Power::on, std::memory_order_release);
    v.state_.store(State::free, std::memory_order_release);
    return {};
}

namespace {

/// Whether this vCPU can run on this CPU, which `leaves` may be about to leave.
auto fit(const Vcpu& v, const PerCpu& cpu, CpuId here, const Vcpu* leaves) noexcept -> Result<void> {
    if (!cpu.enabled) return Error{Code::bad_state, "an enabled CPU"};
    if (here != cpu.id) return Error{Code::wrong_cpu, "the CPU that this object enabled", static_cast<std::uint64_t>(cpu.id), static_cast<std::uint64_t>(here)};
    if (cpu.bound != leaves) return Error{Code::bad_state, "a CPU on which no other vCPU is bound"};
    const auto& vm = v.machine();
    if (vm.stage2 == nullptr) return Error{Code::no_stage2, "a VM with stage-2 tables"};
    if ((cpu.capabilities.levels_mask >> vm.stage2->levels() & 1) == 0)
        return Error{Code::unsupported, "stage-2 tables as deep as the host's own (mask of levels)", cpu.capabilities.levels_mask, vm.stage2->levels()};
    if (vm.stage2->root().value % 4096 != 0) return Error{Code::misaligned, "a stage-2 root aligned to 4096", 4096, vm.stage2->root().value};
    return {};
}

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

auto Arch::admit(Vcpu& v, PerCpu& cpu, CpuId here, const Vcpu* leaves) noexcept -> Result<void> {
    return v.admit(false, [&] { return fit(v, cpu, here, leaves); }, [&](GuestPhysAddr entry, std::uint64_t arg) { return reset(v, entry, arg); }, [] {});
}

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
    v.broken = broken_rules(b);
    v.host_block = cpu.hal->virt_to_phys(&cpu.host_block).value;
    axvcpu_vmsave(v.host_block);
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
    if (!v.switch_fp) {
        axvcpu_fp_save(&v.context);
        axvcpu_fp_clear();  // nothing of a guest stays in a CPU that it has left
    }
    move_debug<false>(cpu.host_debug, v.context);
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

namespace {

void arm_deadline(Vcpu& v) noexcept {
    if (v.run_deadline == no_deadline) return;
    v.host_timer = v.hal->timer();
    if (v.run_deadline < v.host_timer) v.hal->set_timer(v.run_deadline);
    v.deadline_armed = true;
}
void disarm_deadline(Vcpu& v) noexcept {
    if (std::exchange(v.deadline_armed, false)) v.hal->set_timer(v.host_timer);
}

/// One entry and exit.
void enter(Vcpu& v) noexcept {
    auto& b = *v.vmcb;
    const bool flush = v.flush.load(std::memory_order_relaxed) && v.flush.exchange(false);
    if (flush) b.tlb_control = v.percpu->flush_by_asid ? 3 : 1;
    if (v.switch_fp) {
        axvcpu_fp_save_host(&v.host_fp);
        axvcpu_fp_load(&v.context);
    }
    axvcpu_enter(&v);
    if (v.switch_fp) {
        axvcpu_fp_save(&v.context);
        axvcpu_fp_load_host(&v.host_fp);
    }
    if (flush) b.tlb_control = 0;
    // An event whose delivery was cut short is delivered again; a software interrupt (type 4) by executing it again.
    constexpr std::uint64_t valid = std::uint64_t{1} << 31, type = 7 << 8, software = 4 << 8;
    const auto cut_short = b.exit_interrupt_info;
    const auto vector = cut_short & 0xFF;
    const bool by_instruction = (cut_short & type) == software || ((cut_short & type) == 3 << 8 && (vector == 3 || vector == 4));  // INT n; INT3, INTO
    b.event_injection = (cut_short & valid) != 0 && !by_instruction ? cut_short : 0;
}

/// A host interrupt has ended the guest; it is pending still. True: the host has to know.
auto on_interrupt(Vcpu& v) noexcept -> bool {
    if (v.deadline_armed && read_tsc() >= v.run_deadline) {
        v.run_deadline = no_deadline;
        v.exit() = exit::TimerExpired{};
        return true;
    }
    if (v.hal->handle_host_irq == nullptr) return v.exit() = exit::ExternalInterrupt{}, true;
    disarm_deadline(v);
    v.pending.kind = Pending::Kind::host_irq;
    v.hal->handle_host_irq();
    v.pending.kind = Pending::Kind::none;
    static_cast<void>(mask_interrupts());
    arm_deadline(v);
    return false;
}

void run_loop(Vcpu& v) noexcept {
    for (;;) {
        if (!v.mailbox().enter(v.place())) {
            if (v.leave_for(v.mailbox().take())) return;
            continue;
        }
        const bool injected = (v.vmcb->event_injection >> 31 & 1) != 0;
        enter(v);
        v.mailbox().leave();
        const auto code = v.vmcb->exit_code;
        if (code == exit_code::interrupt || code == exit_code::nmi || code == exit_code::init ? on_interrupt(v) : on_exit(v)) return;
        if (injected && (code == exit_code::debug || code == exit_code::alignment)) {  // its delivery can bring the next one for ever: the host gets its turn
            v.exit() = exit::Nothing{};
            return;
        }
    }
}

}  // namespace

auto Arch::run(Vcpu& v, std::uint64_t deadline, CpuId here) noexcept -> bool {
    if (here != v.cpu())
        return v.refuse_elsewhere(here);
    if (v.pending.kind == Pending::Kind::terminal || v.pending.kind == Pending::Kind::host_irq)
        return v.refuse({Code::bad_state, v.pending.kind == Pending::Kind::terminal ? "a reset after a terminal exit" : "a vCPU that is not inside run() already",
                         static_cast<std::uint64_t>(State::ready), static_cast<std::uint64_t>(v.state())});
    if (deadline != no_deadline && v.hal->set_timer == nullptr)
        return v.refuse({Code::unsupported, "a host that lends its timer (LendsTimer) for a deadline", 0, deadline});
    v.pending.kind = Pending::Kind::none;  // what is outstanding is retried
    const auto flag = mask_interrupts();
    v.run_deadline = deadline;
    arm_deadline(v);
    run_loop(v);
    disarm_deadline(v);
    restore_interrupts(flag);
    return true;
}

auto Arch::deadline(const Vcpu&) noexcept -> std::uint64_t { return no_deadline; }  // guests have no timer of their own yet

/// Breakpoint instructions alone: DR0 to DR3 are the guest's.
auto Arch::set_debug(Vcpu& v, const DebugConfig& config) noexcept -> Result<void> {
    const auto s = v.state();
    if (s == State::running) return Vcpu::bad_state("a vCPU that is not running", State::free, s);
    if (s == State::ready && v.hal->this_cpu() != v.cpu()) return Error{Code::wrong_cpu, "the CPU that the vCPU is bound to"};
    if (config.step || !config.breakpoints.empty() || !config.watchpoints.empty())
        return Error{Code::unsupported, "breakpoint instructions alone, on this architecture so far"};
    v.host_breakpoints = config.software_breakpoints;
    if (v.percpu != nullptr) set_intercepts(*v.vmcb, v);
    return {};
}

}  // namespace axvcpu::x86_64
