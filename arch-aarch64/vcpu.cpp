// A vCPU's life: reset, bind, run, unbind.
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

void restore_host(PerCpu&) noexcept;

Vm::Vm(const VmConfig& c, const HalTable& hal) noexcept
    : VmCore(c.id, c.stage2 != nullptr ? c.stage2->root() : HostPhysAddr{}, c.ram, c.policy, c.vcpus, hal), stage2(c.stage2),
      passthrough_interrupts(c.passthrough_interrupts), passthrough_timer(c.passthrough_timer),
      counter_offset(c.passthrough_timer ? 0 : read<"CNTPCT_EL0">()) {}

namespace {
constexpr auto default_mpidr(std::uint32_t id) noexcept -> std::uint64_t { return (id & 15) | std::uint64_t{id >> 4} << 8; }

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
    if ((cpu.capabilities.features >> static_cast<unsigned>(Feature::pauth) & 1) != 0) v |= bit(40) | bit(41);  // APK, API: keys are switched
    return v;
}

/// What of EL2 is written for a vCPU; never read back.
void write_host_owned(const Vcpu& v, const PerCpu& cpu, TlbTag tag) noexcept {
    const auto& vm = v.machine();
    if (cpu.has_hcx) write<"HCRX_EL2">(0);
    if (cpu.has_fgt) {  // positive bits trap nothing, negative ones keep away what is not switched
        write<"HFGRTR_EL2">(0);
        write<"HFGWTR_EL2">(0);
        write<"HFGITR_EL2">(0);
        write<"HDFGRTR_EL2">(0);
        write<"HDFGWTR_EL2">(0);
    }
    if (cpu.has_fgt2) {  // all of what they know is newer than what is switched: bits of negative polarity alone
        write<"HFGRTR2_EL2">(0);
        write<"HFGWTR2_EL2">(0);
        write<"HFGITR2_EL2">(0);
        write<"HDFGRTR2_EL2">(0);
        write<"HDFGWTR2_EL2">(0);
    }
    if (cpu.has_mpam) write<"MPAM2_EL2">(std::uint64_t{3} << 48);  // TRAPMPAM0EL1, TRAPMPAM1EL1: one partition, the host's default
    write<"HSTR_EL2">(0);
    route_debug_exceptions(v);
    // SME, trace and the activity monitors trap, SVE where the guest has none; FP does not.
    const bool sve = v.has(Vcpu::has_sve);
    write<"CPTR_EL2">(cpu.e2h ? 1u << 30 | 1u << 28 | 3u << 20 | (sve ? 3u << 16 : 0) : 1u << 30 | 1u << 20 | (sve ? 0x32FF : 0x33FF));
    if (sve) {
        isb();
        write<"ZCR_EL2">(0xF);  // the longest: the guest's ZCR_EL1 chooses below it
    }
    write<"VPIDR_EL2">(read<"MIDR_EL1">());
    write<"VMPIDR_EL2">(v.hardware_id() | std::uint64_t{1} << 31);
    write<"CNTVOFF_EL2">(vm.counter_offset);
    // EL1's physical counter and timer: the guest's only when passed through. The fields move by 10 with E2H.
    write<"CNTHCTL_EL2">(vm.passthrough_timer ? (cpu.e2h ? std::uint64_t{3} << 10 : 3) : 0);
    write<"VTCR_EL2">(vtcr(vm.stage2->levels(), vm.stage2->address_bits(), cpu.parange, cpu.vmid_bits));
    write<"VTTBR_EL2">(vm.stage2->root().value | std::uint64_t{tag.value} << 48);
    write<"HCR_EL2">(hcr(vm, cpu));
}

template <bool E2h>
void load_el1(Context& c, std::uint64_t features) noexcept {
    c.for_each<Policy::on_bind>([&]<std::size_t I>(std::uint64_t value) {
        constexpr auto feature = registers[I].feature;
        if (feature == Feature::base || (features >> static_cast<unsigned>(feature) & 1) != 0) write_row<I, E2h>(value);
    });
}
template <bool E2h>
void save_el1(Context& c, std::uint64_t features) noexcept {
    c.for_each<Policy::on_bind>([&]<std::size_t I>(std::uint64_t& value) {
        constexpr auto feature = registers[I].feature;
        if (feature == Feature::base || (features >> static_cast<unsigned>(feature) & 1) != 0) value = read_row<I, E2h>();
    });
    write<"CNTV_CTL_EL0", E2h>(0);  // nothing of the guest fires on a CPU that it has left
}
}  // namespace

Vcpu::Vcpu(Vm& vm, const CreateConfig& c) noexcept
    : VcpuCore(vm, c.id, c.mpidr.value_or(default_mpidr(c.id)) & affinity_mask), hal(&vm.hal()), vector_state(c.vector_state) {
    std::ranges::fill(vector_state, std::byte{});
    if (vm.policy().fast_exit) fast_exit = hal->fast_exit;
    exit_.call_at(&context.raw<"X">(), &context.raw<"X">(1));
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
    drop_interrupts(v);
    v.vmcr = 0;
    v.ap0 = {};
    v.ap1 = {};
    v.mailbox_.unblock();
    v.power_.store(Power::on, std::memory_order_release);
    v.state_.store(State::free, std::memory_order_release);
    return {};
}

auto Arch::bind(Vcpu& v, PerCpu& cpu) noexcept -> Result<void> {
    if (!cpu.enabled) return Error{Code::bad_state, "an enabled CPU"};
    const auto here = cpu.hal->this_cpu();
    if (here != cpu.id) return Error{Code::wrong_cpu, "the CPU that this object enabled", static_cast<std::uint64_t>(cpu.id), static_cast<std::uint64_t>(here)};
    if (cpu.bound != nullptr) return Error{Code::bad_state, "a CPU on which no other vCPU is bound"};
    const auto& vm = v.machine();
    if (cpu.trusted != nullptr && cpu.trusted != &v)
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
    if (v.machine().controller() && !vm.passthrough_timer && cpu.hal->local_interrupt_controller == nullptr)
        return Error{Code::unsupported, "a HAL that models LinksGuestTimer, for a VM with an interrupt controller"};
    constexpr std::uint64_t signs = std::uint64_t{1} << 31 | std::uint64_t{1} << 30 | 1 << 27 | 1 << 13;  // EnIA, EnIB, EnDA, EnDB
    if (cpu.has(Feature::pauth) && (read<"SCTLR_EL2">() & signs) != 0)
        return Error{Code::unsupported, "a host that does not sign pointers while vCPUs are bound (SCTLR_EL2.EnIA, EnIB, EnDA, EnDB): the keys are the guest's", 0, read<"SCTLR_EL2">() & signs};
    if (v.state() == State::off && v.start_requested()) {
        if (auto ok = reset(v, v.start_entry_, v.start_arg_); !ok) return ok;
    }
    if (!v.move(State::free, State::ready)) return Vcpu::bad_state("a vCPU in state free", State::free, v.state());

    const auto daif = mask_interrupts();
    v.settle_on(here);
    v.armed_for = no_deadline;
    v.percpu = &cpu;
    v.work = (cpu.hal->host_fp == HostFp::per_exit ? Vcpu::switch_fp : 0) | (vm.policy().hypercalls ? 0 : Vcpu::calls_refused) |
             (cpu.e2h ? Vcpu::host_extensions : 0) | (vm.passthrough_timer ? Vcpu::guest_owns_timer : 0) |
             (!vm.passthrough_timer && (v.context.get<"CNTP_CTL_EL0">() & 3) == 1 ? Vcpu::physical_timer_on : 0) | (v.fast_exit != nullptr ? Vcpu::fast_hook : 0) |
             (v.debug.step ? Vcpu::host_steps : 0);
    if (cpu.vector_length != 0 && !v.vector_state.empty()) {
        v.work |= Vcpu::has_sve;
        v.vector_length = cpu.vector_length;
    }
    v.id_registers = cpu.id_registers[v.has(Vcpu::has_sve)].data();
    cpu.bound = &v;
    if (vm.passthrough_interrupts) cpu.trusted = &v;
    const auto tag = tags().assign(cpu.tags, v.machine().tag, v.id());
    write_host_owned(v, cpu, tag.tag);
    isb();
    if (tag.flush == TlbTagDomain::Flush::all) tlbi_alle1();
    else if (tag.flush == TlbTagDomain::Flush::tag) tlbi_vmalls12e1();
    const auto features = v.features();
    if (cpu.e2h) load_el1<true>(v.context, features);
    else load_el1<false>(v.context, features);
    if (!v.has(Vcpu::switch_fp)) load_fp(v);
    if (vm.passthrough_timer) move_physical_timer(v, true);
    load_debug(v);
    pause_guest_timer(v);
    load_interrupts(v);
    restore_interrupts(daif);
    return {};
}

/// On another CPU than its own nothing can be saved: the vCPU stays bound, and every further use of it is refused.
void Arch::unbind(Vcpu& v) noexcept {
    auto& cpu = *v.percpu;
    if (v.hal->this_cpu() != v.cpu()) [[unlikely]] return;
    const auto daif = mask_interrupts();
    resume_guest_timer(v);
    save_interrupts(v);
    const auto features = v.features();
    if (cpu.e2h) save_el1<true>(v.context, features);
    else save_el1<false>(v.context, features);
    if (!v.has(Vcpu::switch_fp)) save_fp(v);
    if (v.has(Vcpu::guest_owns_timer)) move_physical_timer(v, false);
    if (v.pending.kind == Pending::Kind::terminal) cpu.trusted = nullptr;  // its guest has ended: the CPU is free again
    unload_debug(v);
    if (v.has(Vcpu::has_sve)) write<"ZCR_EL2">(cpu.host_zcr);
    restore_host(cpu);
    tags().release(cpu.tags);
    cpu.bound = nullptr;
    v.percpu = nullptr;
    restore_interrupts(daif);
    v.move(State::ready, v.pending.kind == Pending::Kind::terminal ? State::off : State::free);
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
            if ((events & static_cast<std::uint32_t>(Event::kick)) != 0) {
                v.exit() = exit::Kicked{};
                return;
            }
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

/// Timers, before an entry. True: nothing else is special about it.
[[gnu::noinline]] auto prepare(Vcpu& v, std::uint64_t deadline) noexcept -> bool {
    v.run_deadline = deadline;
    if (deadline != no_deadline || v.has(Vcpu::physical_timer_on)) arm_deadline(v);
    resume_guest_timer(v);
    if (v.has(Vcpu::host_steps)) v.context.raw<"PSTATE">() |= std::uint64_t{1} << 21;  // SS: one instruction, then a Software Step exception
    return (v.work & (Vcpu::switch_fp | Vcpu::calls_refused | Vcpu::fast_hook)) == 0;
}

/// Before the guest goes on: what is outstanding is retried, what was completed in part is asked for again.
enum class Settled : std::uint8_t { go_on, refused, exit };
[[gnu::noinline]] auto settle(Vcpu& v) noexcept -> Settled {
    using Kind = Pending::Kind;
    if (v.pending.kind == Kind::terminal || v.pending.kind == Kind::host_irq) {
        const bool off = v.pending.kind == Kind::terminal;
        v.refuse({Code::bad_state, off ? "a reset after a terminal exit" : "a vCPU that is not inside run() already", static_cast<std::uint64_t>(State::ready),
                  static_cast<std::uint64_t>(off ? v.state() : State::running)});
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
    if (here != v.cpu()) [[unlikely]]
        return v.refuse({Code::wrong_cpu, "the CPU that the vCPU is bound to", static_cast<std::uint64_t>(v.cpu()), static_cast<std::uint64_t>(here)});
    if (v.pending.kind != Pending::Kind::none) [[unlikely]]
        if (const auto s = settle(v); s != Settled::go_on) return s == Settled::exit;
    const auto daif = mask_interrupts();
    constexpr auto before = Vcpu::switch_fp | Vcpu::calls_refused | Vcpu::timer_paused | Vcpu::physical_timer_on | Vcpu::fast_hook | Vcpu::host_steps;
    if (bool plain = (v.work & before) == 0 && deadline == no_deadline; (plain || prepare(v, deadline)) && v.mailbox_.enter(v.place_)) [[likely]] {
        const auto vector = axvcpu_enter(&v.context, read<"VBAR_EL2">());
        v.mailbox_.leave();
        if (vector != 0) [[unlikely]] {
            go_on(v, vector);
        } else if (v.context.get<"ESR_EL2">() == hvc_0 && smccc_owner(v.context.get<"X">()) > 4) {
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
    pause_guest_timer(v);
    if ((work & (Vcpu::deadline_armed | Vcpu::list_registers)) != 0) [[unlikely]] {
        disarm_deadline(v);
        if (v.lr_used != 0 && read<"ICH_MISR_EL2">() != 0) refresh_interrupts(v);
    }
    isb();  // VBAR_EL2 is the host's again before an interrupt can be taken
    restore_interrupts(daif);
    return true;
}

}  // namespace axvcpu::aarch64
