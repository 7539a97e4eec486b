// A vCPU's life: creation, reset, run. bind.cpp has the rest.
module axvcpu.riscv64;
import std;
import axvcpu.result;
import axvcpu.hal;
import axvcpu.exit;
import axvcpu.stage2;
import axvcpu.tlb_tag;
import axvcpu.vm;
import axvcpu.percpu;

namespace axvcpu::riscv64 {

Vm::Vm(const VmConfig& c, const HalTable& hal) noexcept
    : VmCore(c.id, c.stage2 != nullptr ? c.stage2->root() : HostPhysAddr{}, c.ram, c.policy, c.vcpus, hal), stage2(c.stage2),
      imsic{c.imsic.value_or(GuestPhysAddr{}), c.imsic ? Stage2::page_size * c.vcpus.size() : 0},
      console(c.console), sbi{.console = c.console.write != nullptr, .power = c.policy.power, .exits = c.sbi_exits}, sstc(c.sstc), time_delta(-read<"time">()) {
    if (!c.policy.power && c.policy.hypercalls) sbi.exits.hsm = sbi.exits.srst = sbi.exits.shutdown = true;  // calls like others
}

Vcpu::Vcpu(Vm& vm, const CreateConfig& c) noexcept : VcpuCore(vm, c.id, c.hart.value_or(c.id)), hal(&vm.hal()), vector_state(c.vector_state) {
    std::ranges::fill(vector_state, std::byte{});
    if (vm.policy().fast_exit) fast_exit = hal->fast_exit;
    exit_.call_at(&call_number, &context.raw<"x">(10));
    if (c.off) {
        state_.store(State::off, std::memory_order_release);
        power_.store(Power::off, std::memory_order_release);
        return;
    }
    context.set<"pc">(c.entry.value);
    set_x(10, hardware_id());
    set_x(11, c.arg);
    state_.store(State::free, std::memory_order_release);
}

auto Arch::check(const Vm& vm, const CreateConfig& c) noexcept -> Result<void> {
    if (c.entry.value % 2 != 0) return Error{Code::misaligned, "an entry point that is a multiple of 2", 2, c.entry.value};
    if (vm.imsic.start.value % Stage2::page_size != 0)
        return Error{Code::misaligned, "an IMSIC's address that is a multiple of 4096", Stage2::page_size, vm.imsic.start.value};
    if (vm.imsic.size != 0 && vm.is_ram(vm.imsic.start)) return Error{Code::bad_value, "IMSICs outside the VM's memory", 0, vm.imsic.start.value};
    if (c.id >= vm.vcpus()) return Error{Code::bad_value, "a vCPU id below the VM's number of slots", vm.vcpus(), c.id};
    if (reinterpret_cast<std::uintptr_t>(c.vector_state.data()) % 16 != 0)
        return Error{Code::misaligned, "vector state aligned to 16 bytes", 16, reinterpret_cast<std::uintptr_t>(c.vector_state.data())};
    return {};
}

auto Arch::restart(Vcpu& v, GuestPhysAddr entry, std::uint64_t arg, bool forget) noexcept -> Result<void> {
    const auto s = v.state();
    if (s == State::running || s == State::ready) return Vcpu::bad_state("a vCPU that is not bound", State::free, s);
    if (entry.value % 2 != 0) return Error{Code::misaligned, "an entry point that is a multiple of 2", 2, entry.value};
    v.context.reset();
    v.context.set<"pc">(entry.value);
    v.set_x(10, v.hardware_id());
    v.set_x(11, arg);
    v.pending = {};
    v.fits = 0;  // the next bind looks at what is pending
    v.timer_at = no_deadline;
    v.suspended = false;
    v.work = 0;
    v.last_cpu = CpuId{~0u};  // it finds no translations and no instructions of before
    std::ranges::fill(v.vector_state, std::byte{});
    if (forget) {  // before anybody can see that it is on: what comes then is for what it is now
        v.file.clear();
        v.software_interrupt = false;
    }
    v.mailbox_.unblock();
    v.power_.store(Power::on, std::memory_order_release);
    v.state_.store(State::free, std::memory_order_release);
    return {};
}

auto Arch::reset(Vcpu& v, GuestPhysAddr entry, std::uint64_t arg) noexcept -> Result<void> {
    return restart(v, entry, arg, !v.start_requested());  // a hart that another one starts has been sent interrupts since, perhaps
}

/// The triggers of a hart are its firmware's: of debugging there are breakpoint instructions alone.
auto Arch::set_debug(Vcpu& v, const DebugConfig& config) noexcept -> Result<void> {
    if (auto ok = v.at_hand(); !ok) return ok;
    if (config.step || !config.breakpoints.empty() || !config.watchpoints.empty())
        return Error{Code::unsupported, "breakpoint instructions alone: this hart's triggers belong to its firmware"};
    v.host_breakpoints = config.software_breakpoints;
    v.fits = 0;
    if (v.percpu == nullptr) return {};
    v.usual_work = v.host_breakpoints ? v.usual_work | Vcpu::host_debugs : v.usual_work & ~static_cast<std::uint32_t>(Vcpu::host_debugs);
    write<"hedeleg">(delegated(v));
    return {};
}

namespace {

/// What the guest left for. True: `v.exit()` goes to the host; false: back into the guest.
[[gnu::noinline]] auto leave(Vcpu& v, std::uint64_t cause) noexcept -> bool {
    if (cause == cause::guest_call) return on_call(v);
    if (cause == cause::load_guest_page || cause == cause::store_guest_page) return on_guest_page_fault(v, cause);
    if (cause == cause::virtual_instruction) return on_virtual_instruction(v);
    if ((cause & cause::interrupt) != 0) return on_interrupt(v, cause);
    if (cause == cause::instruction_guest_page) return on_fetch_fault(v);
    if (cause == cause::illegal && v.has(Vcpu::fp_out)) return load_fp_at_first_use(v);
    if (cause == 3 && v.host_breakpoints) return v.exit() = exit::Debug{cause, v.context.get<"pc">()}, true;
    // Everything else is the guest's own; one that the hart did not delegate it gets from us.
    if (cause < 16 && cause != 9 && cause != 11) return inject(v, cause, read<"stval">()), false;
    v.exit() = exit::Unknown{cause};
    return true;
}

/// Events that wait for a vCPU. True: it leaves.
[[gnu::noinline]] auto take_events(Vcpu& v) noexcept -> bool {
    const auto events = v.mailbox().take();
    if ((events & static_cast<std::uint32_t>(Event::fence)) != 0) execute_fences(v);
    if ((events & static_cast<std::uint32_t>(Event::interrupt)) != 0) refresh_interrupts(v);
    if (v.leave_for(events)) return true;
    // Other vCPUs may post without end: what the host waits for is looked at even when the guest is not entered.
    const auto pending = read<"sip">() & read<"sie">();
    constexpr std::uint64_t timer = 1 << 5;
    return pending != 0 && on_interrupt(v, (pending & timer) != 0 ? cause::supervisor_timer : cause::interrupt);
}

void enter(Vcpu& v) noexcept { static_cast<void>(v.has(Vcpu::fast_hook) ? axvcpu_enter_fast(&v) : axvcpu_enter(&v)); }
/// With HostFp::per_exit: the guest's registers around one entry.
[[gnu::noinline]] void enter_with_fp(Vcpu& v) noexcept {
    axvcpu_fp_save_host(v.host_fp.data());
    load_fp(v);
    enter(v);
    save_fp(v);
    if (v.has(Vcpu::has_vector)) with_fp([] { write<"vstart">(0); });  // where the calling convention has it
    axvcpu_fp_load_host(v.host_fp.data());
}

/// Whether a deadline is armed: not, by the hart's stimecmp unless it has fired, or anything.
enum class Timed : std::uint8_t { no, by_stimecmp, maybe };

/// The end of run(), when an exit is there: the host's timer and interrupts as they were.
template <Timed T = Timed::maybe>
[[gnu::always_inline]] inline auto end_run(Vcpu& v) noexcept -> bool {
    if (T != Timed::no && v.has(Vcpu::deadline_armed)) {
        if constexpr (T == Timed::by_stimecmp) {
            v.set(Vcpu::deadline_armed, false);
            write<"stimecmp">(v.host_timer);
        } else {
            disarm_deadline(v);
        }
        v.run_deadline = no_deadline;
    }
    restore_interrupts(v.host_sie);
    return true;
}

/// Enters until something has to leave, and ends run().
template <bool ByPolicy = false>
[[gnu::noinline]] auto run_loop(Vcpu& v) noexcept -> bool {
    for (;;) {
        while (!v.mailbox().enter(v.place())) [[unlikely]]
            if (take_events(v)) return end_run(v);
        if (v.has(Vcpu::switch_fp)) [[unlikely]] enter_with_fp(v);
        else enter(v);
        v.mailbox().leave();
        const auto cause = read<"scause">();
        if (ByPolicy && cause == cause::guest_call ? on_call_by_policy(v) : leave(v, cause)) return end_run(v);
    }
}
[[gnu::noinline]] auto go_on(Vcpu& v, std::uint64_t cause) noexcept -> bool { return leave(v, cause) ? end_run(v) : run_loop(v); }

/// In and out once. What a hypercall or an access to a device does not need is not on this way: axvcpu_enter() gives its argument
/// back, and what has to be known after it is in the vCPU, so that hardly a register is saved for them.
template <Timed T>
[[gnu::always_inline]] inline auto straight(Vcpu& before) noexcept -> bool {
    if (!before.mailbox().enter(before.place())) [[unlikely]] return run_loop(before);
    auto& v = static_cast<Vcpu&>(*axvcpu_enter(&before));
    const auto cause = read<"scause">();
    v.mailbox().leave();
    if (cause == cause::guest_call && is_hypervisor_call(v.x(17))) {
        v.pending.kind = Pending::Kind::hypercall;
        v.call_number = v.x(17) << 32 | static_cast<std::uint32_t>(v.x(16));
        v.exit().set_call(false);
        return end_run<T>(v);
    }
    if (cause == cause::load_guest_page || cause == cause::store_guest_page) return on_guest_page_fault(v, cause) ? end_run<T>(v) : run_loop(v);
    return go_on(v, cause);
}

/// An entry with something beside it.
[[gnu::noinline]] auto run_unusual(Vcpu& v, std::uint64_t deadline) noexcept -> bool {
    v.run_deadline = deadline;
    arm_deadline(v);
    if (v.has(Vcpu::resumes)) {
        v.suspended = false;
        v.set(Vcpu::resumes, false);
    }
    if (v.has(Vcpu::calls_by_policy)) return run_loop<true>(v);
    return (v.work & (Vcpu::switch_fp | Vcpu::fast_hook)) != 0 ? run_loop(v) : straight<Timed::maybe>(v);
}

/// An entry that has nothing special but a deadline.
[[gnu::noinline]] auto run_until(Vcpu& v, std::uint64_t deadline) noexcept -> bool {
    const auto work = v.work;
    if ((work & Vcpu::hart_sstc) == 0) [[unlikely]] return run_unusual(v, deadline);
    v.run_deadline = deadline;
    v.work = work | Vcpu::deadline_armed;
    if (const auto host = v.host_timer = read<"stimecmp">(); deadline < host) write<"stimecmp">(deadline);
    return straight<Timed::by_stimecmp>(v);
}

/// Before the guest goes on: what is outstanding is retried, what was completed in part is asked for again.
[[gnu::noinline]] auto settle_and_run(Vcpu& v, std::uint64_t deadline) noexcept -> bool {
    using Kind = Pending::Kind;
    if (v.pending.kind == Kind::terminal || v.pending.kind == Kind::host_irq) return v.refuse_run(v.pending.kind == Kind::terminal);
    if (v.pending.kind != Kind::more) static_cast<void>(Arch::retry(v));
    if (v.pending.kind == Kind::more) {
        const auto sie = mask_interrupts();
        const bool leaves = next_part(v);
        restore_interrupts(sie);
        if (leaves) return true;
    }
    return Arch::run(v, deadline, v.cpu());
}

}  // namespace

/// Leaves at once to a function of its own for all that is not usual.
auto Arch::run(Vcpu& v, std::uint64_t deadline, CpuId here) noexcept -> bool {
    if (here != v.cpu()) [[unlikely]] return v.refuse_elsewhere(here);
    if (v.pending.kind != Pending::Kind::none) [[unlikely]] return settle_and_run(v, deadline);
    v.host_sie = mask_interrupts();
    constexpr auto unusual = Vcpu::switch_fp | Vcpu::calls_by_policy | Vcpu::soft_timer | Vcpu::fast_hook | Vcpu::resumes;
    if ((v.work & unusual) != 0) [[unlikely]] return run_unusual(v, deadline);
    if (deadline != no_deadline) return run_until(v, deadline);
    return straight<Timed::no>(v);
}

}  // namespace axvcpu::riscv64
