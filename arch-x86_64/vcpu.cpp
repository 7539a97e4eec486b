// A vCPU's life: made, reset, run.
module axvcpu.x86_64;
import std;
import axvcpu.result;
import axvcpu.hal;
import axvcpu.exit;
import axvcpu.stage2;
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
    // Never here: what another guest left in the registers could be read by speculation before the trap.
    if (vm.policy().lazy_fp) return Error{Code::unsupported, "a VM whose floating point is switched with its vCPUs"};
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
    v.triple_fault = false;
    v.mailbox_.unblock();
    v.power_.store(Power::on, std::memory_order_release);
    v.state_.store(State::free, std::memory_order_release);
    return {};
}

namespace {

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

void run_loop(Vcpu& v) noexcept {
    for (;;) {
        if (std::exchange(v.triple_fault, false)) {
            v.end();
            v.exit() = exit::Shutdown{};
            return;
        }
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
        return v.refuse_run(v.pending.kind == Pending::Kind::terminal);
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

/// Breakpoint instructions alone: DR0 to DR3 are the guest's.
auto Arch::set_debug(Vcpu& v, const DebugConfig& config) noexcept -> Result<void> {
    if (auto ok = v.at_hand(); !ok) return ok;
    if (config.step || !config.breakpoints.empty() || !config.watchpoints.empty())
        return Error{Code::unsupported, "breakpoint instructions alone, on this architecture so far"};
    v.host_breakpoints = config.software_breakpoints;
    if (v.percpu != nullptr) set_intercepts(*v.vmcb, v);
    return {};
}

}  // namespace axvcpu::x86_64
