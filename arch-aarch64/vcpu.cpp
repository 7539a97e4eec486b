// A vCPU's life: creation, reset, run. bind.cpp has the rest.
module axvcpu.aarch64;
import std;
import axvcpu.result;
import axvcpu.hal;
import axvcpu.exit;
import axvcpu.stage2;
import axvcpu.tlb_tag;
import axvcpu.vm;
import axvcpu.percpu;

namespace axvcpu::aarch64 {

Vm::Vm(const VmConfig& c, const HalTable& hal) noexcept
    : VmCore(c.id, c.stage2 != nullptr ? c.stage2->root() : HostPhysAddr{}, c.ram, c.policy, c.vcpus, hal), stage2(c.stage2),
      passthrough_interrupts(c.passthrough_interrupts), passthrough_timer(c.passthrough_timer),
      counter_offset(c.passthrough_timer ? 0 : read<"CNTPCT_EL0">()) {}

namespace {
constexpr auto default_mpidr(std::uint32_t id) noexcept -> std::uint64_t { return (id & 15) | std::uint64_t{id >> 4} << 8; }

}  // namespace

Vcpu::Vcpu(Vm& vm, const CreateConfig& c) noexcept
    : VcpuCore(vm, c.id, c.mpidr.value_or(default_mpidr(c.id)) & affinity_mask), hal(&vm.hal()), vector_state(c.vector_state) {
    std::ranges::fill(vector_state, std::byte{});
    if (vm.policy().fast_exit) fast_exit = hal->fast_exit;
    call_by_registers();
    if (c.off) {
        state_.store(State::off, std::memory_order_release);
        power_.store(Power::off, std::memory_order_release);
        return;
    }
    context.set<"PC">(c.entry.value);
    context.set<"X">(c.arg);
    state_.store(State::free, std::memory_order_release);
}

auto Arch::check(const Vm& vm, const CreateConfig& c) noexcept -> Result<void> {
    if (c.entry.value % 4 != 0) return Error{Code::misaligned, "an entry point that is a multiple of 4", 4, c.entry.value};
    if (vm.passthrough_timer && !vm.passthrough_interrupts)
        return Error{Code::bad_value, "a VM with the timer passed through to have its interrupts passed through, too"};
    if (c.id >= vm.vcpus()) return Error{Code::bad_value, "a vCPU id below the VM's number of slots", vm.vcpus(), c.id};
    if (reinterpret_cast<std::uintptr_t>(c.vector_state.data()) % 16 != 0)
        return Error{Code::misaligned, "vector state aligned to 16 bytes", 16, reinterpret_cast<std::uintptr_t>(c.vector_state.data())};
    if (c.mpidr && (*c.mpidr & ~affinity_mask) != 0) return Error{Code::bad_value, "affinity fields of MPIDR_EL1 only", affinity_mask, *c.mpidr};
    return {};
}

auto Arch::reset(Vcpu& v, GuestPhysAddr entry, std::uint64_t arg) noexcept -> Result<void> {
    const auto s = v.state();
    if (s == State::running || s == State::ready) return Vcpu::bad_state("a vCPU that is not bound", State::free, s);
    if (entry.value % 4 != 0) return Error{Code::misaligned, "an entry point that is a multiple of 4", 4, entry.value};
    v.context.reset();
    v.context.set<"PC">(entry.value);
    v.context.set<"X">(arg);
    std::ranges::fill(v.vector_state, std::byte{});
    v.pending = {};
    v.call_by_registers();
    drop_interrupts(v);
    v.work = 0;
    v.vmcr = 0;
    v.ap0 = {};
    v.ap1 = {};
    v.mailbox_.unblock();
    v.power_.store(Power::on, std::memory_order_release);
    v.state_.store(State::free, std::memory_order_release);
    return {};
}

namespace {
/// What an exit is: true: `v.exit()` goes to the host; false: back into the guest.
auto leave(Vcpu& v, std::uint64_t vector) noexcept -> bool {
    if (vector == 0) [[likely]] {
        if (const Esr esr{v.context.get<"ESR_EL2">()}; esr.ec() == Ec::sysreg) return on_sysreg(v, esr, v.exit());
        const auto plain = plain_access(v);
        return plain == Plain::no ? leave_synchronous(v, v.exit()) : plain == Plain::exit;
    }
    if (vector != 3) return on_interrupt(v, v.exit());
    v.exit() = exit::Exception{v.context.get<"ESR_EL2">(), 0};  // SError
    return true;
}

/// Enters until something has to leave.
[[gnu::noinline]] void run_loop(Vcpu& v) noexcept {
    const auto host_vbar = read<"VBAR_EL2">();
    const bool switch_fp = v.has(Vcpu::switch_fp);
    for (;;) {
        if (!v.mailbox().enter(v.place())) [[unlikely]] {
            const auto events = v.mailbox().take();
            if ((events & static_cast<std::uint32_t>(Event::interrupt)) != 0) refresh_interrupts(v);
            if (v.leave_for(events)) return;
            // Other vCPUs may post without end: what the host waits for is looked at even when the guest is not entered.
            constexpr std::uint64_t irq_or_fiq = 3 << 6;
            if ((read<"ISR_EL1">() & irq_or_fiq) != 0 && on_interrupt(v, v.exit())) return;
            continue;
        }
        if (switch_fp) [[unlikely]] {
            axvcpu_fp_save_host(v.host_fp.data());
            load_fp(v);
        }
        const auto vector = v.has(Vcpu::fast_hook) ? axvcpu_enter_fast(&v.context, host_vbar) : axvcpu_enter(&v.context, host_vbar);
        if (switch_fp) [[unlikely]] {
            save_fp(v);
            axvcpu_fp_load_host(v.host_fp.data());
        }
        v.mailbox().leave();
        if (leave(v, vector)) return;
    }
}

[[gnu::noinline]] void go_on(Vcpu& v, std::uint64_t vector) noexcept {
    if (!leave(v, vector)) run_loop(v);
}
[[gnu::noinline]] void go_on_after(Vcpu& v, Plain plain) noexcept {
    const Esr esr{v.context.get<"ESR_EL2">()};
    if (esr.ec() == Ec::sysreg ? !on_sysreg(v, esr, v.exit()) : plain == Plain::done || !leave_synchronous(v, v.exit())) run_loop(v);
}

/// What few entries need. True: nothing else is special about this one.
[[gnu::noinline]] auto prepare(Vcpu& v, std::uint64_t deadline) noexcept -> bool {
    v.run_deadline = deadline;
    if (deadline != no_deadline || v.has(Vcpu::physical_timer_on)) arm_deadline(v);
    if (v.has(Vcpu::host_steps)) v.context.raw<"PSTATE">() |= std::uint64_t{1} << 21;  // SS: one instruction, then a Software Step exception
    resume_guest_timer(v);
    return (v.work & (Vcpu::switch_fp | Vcpu::calls_refused | Vcpu::fast_hook)) == 0;
}

/// Requires: nothing but run() has a use for EL1's physical timer. `work` is the vCPU's.
[[gnu::always_inline]] inline void start_deadline(Vcpu& v, std::uint64_t deadline, std::uint32_t work) noexcept {
    v.run_deadline = deadline;
    write_deadline((work & Vcpu::host_extensions) != 0, deadline);
    v.work = work | Vcpu::deadline_armed;
}

/// Before the guest goes on: what is outstanding is retried, what was completed in part is asked for again.
enum class Settled : std::uint8_t { go_on, refused, exit };
[[gnu::noinline]] auto settle(Vcpu& v) noexcept -> Settled {
    using Kind = Pending::Kind;
    if (v.pending.kind == Kind::terminal || v.pending.kind == Kind::host_irq) {
        v.refuse_run(v.pending.kind == Kind::terminal);
        return Settled::refused;
    }
    if (v.pending.kind != Kind::more) static_cast<void>(Arch::retry(v));
    if (v.pending.kind != Kind::more) return Settled::go_on;
    const auto daif = mask_interrupts();
    const bool leaves = next_part(v, v.exit());
    restore_interrupts(daif);
    return leaves ? Settled::exit : Settled::go_on;
}

}  // namespace

/// The straight way, in and out once, is written for the hypercall: nothing that it does not need is on it.
auto Arch::run(Vcpu& v, std::uint64_t deadline, CpuId here) noexcept -> bool {
    if (here != v.cpu()) [[unlikely]] return v.refuse_elsewhere(here);
    if (v.pending.kind != Pending::Kind::none) [[unlikely]]
        if (const auto s = settle(v); s != Settled::go_on) return s == Settled::exit;
    const auto daif = mask_interrupts();
    constexpr auto unusual = Vcpu::switch_fp | Vcpu::calls_refused | Vcpu::physical_timer_on | Vcpu::guest_owns_timer | Vcpu::fast_hook | Vcpu::host_steps;
    const auto before = v.work;
    bool plain = (before & unusual) == 0;
    if (!plain) [[unlikely]] {
        plain = prepare(v, deadline);
    } else {
        if (deadline != no_deadline) start_deadline(v, deadline, before);
        if ((before & Vcpu::timer_paused) != 0) {
            write_el1<"CNTV_CTL_EL0">((before & Vcpu::host_extensions) != 0, v.timer_control);
            v.work &= ~static_cast<std::uint32_t>(Vcpu::timer_paused);
        }
    }
    if (plain && v.mailbox_.enter(v.place_)) [[likely]] {
        const auto vector = axvcpu_enter(&v.context, read<"VBAR_EL2">());
        v.mailbox_.leave();
        if (vector != 0) [[unlikely]] {
            go_on(v, vector);
        } else if (v.context.get<"ESR_EL2">() == hvc_0 && is_wide_hypervisor_call(v.context.get<"X">())) {
            // A call that is the hypervisor's, by SMCCC's owner number; on_call() is the same for all the others.
            v.pending.kind = Pending::Kind::hypercall;
            v.exit_.set_call(false);
        } else if (const auto plain = plain_access(v); plain != Plain::exit) {
            go_on_after(v, plain);
        }
    } else {
        run_loop(v);
    }
    // Nothing of the guest may interrupt the host: not its timers, nor a list register that wants attention.
    const auto work = v.work;
    if ((work & Vcpu::deadline_armed) != 0) stop_deadline(v, work);
    pause_guest_timer(v, work);
    if ((work & Vcpu::list_registers) != 0 && read<"ICH_MISR_EL2">() != 0) [[unlikely]] refresh_interrupts(v);
    isb();  // VBAR_EL2 is the host's again before an interrupt can be taken
    restore_interrupts(daif);
    return true;
}

}  // namespace axvcpu::aarch64
