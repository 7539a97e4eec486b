// A vCPU comes to a CPU and leaves it: its cold context, and EL2's registers for it.
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
constexpr std::uint64_t signs = std::uint64_t{1} << 31 | std::uint64_t{1} << 30 | 1 << 27 | 1 << 13;  // SCTLR_EL2.EnIA, EnIB, EnDA, EnDB

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
    v.usual_work = (cpu.hal->host_fp == HostFp::per_exit ? Vcpu::switch_fp : 0) | (vm.policy().hypercalls ? 0 : Vcpu::calls_refused) |
                   (cpu.e2h ? Vcpu::host_extensions : 0) | (vm.passthrough_timer ? Vcpu::guest_owns_timer : 0) | (vm.passthrough_interrupts ? Vcpu::guest_owns_interrupts : 0) |
                   (v.fast_exit != nullptr ? Vcpu::fast_hook : 0) | (v.debug.step ? Vcpu::host_steps : 0);
    const bool sve = cpu.vector_length != 0 && !v.vector_state.empty();
    if (sve) {
        v.usual_work |= Vcpu::has_sve;
        v.vector_length = cpu.vector_length;
    }
    v.id_registers = cpu.id_registers[sve].data();
    v.el2.mdcr = debug_routing(cpu, v.debug);
    // SME, trace and the activity monitors trap, SVE where the guest has none; FP does not.
    v.el2.cptr = cpu.e2h ? 1u << 30 | 1u << 28 | 3u << 20 | (sve ? 3u << 16 : 0) : 1u << 30 | 1u << 20 | (sve ? 0x32FF : 0x33FF);
    // EL1's physical counter and timer: the guest's only when passed through. The fields move by 10 with E2H.
    v.el2.cnthctl = vm.passthrough_timer ? (cpu.e2h ? std::uint64_t{3} << 10 : 3) : 0;
    v.el2.vtcr = vtcr(vm.stage2->levels(), vm.stage2->address_bits(), cpu.parange, cpu.vmid_bits);
    v.el2.vmpidr = v.hardware_id() | std::uint64_t{1} << 31;
    v.el2.cntvoff = vm.counter_offset;
    v.el2.vttbr = vm.stage2->root().value;
    v.el2.hcr = hcr(vm, cpu);
    v.el2.features = cpu.capabilities.features & (bit(Feature::pauth) | bit(Feature::ras) | (sve ? bit(Feature::sve) : 0));
}

/// Whether this vCPU can run on this CPU. What is found holds until one of them is changed: bind() comes here once for each pair.
auto fit(Vcpu& v, PerCpu& cpu, CpuId here) noexcept -> Result<void> {
    if (!cpu.enabled) return Error{Code::bad_state, "an enabled CPU"};
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
    const bool links = cpu.hal->local_interrupt_controller != nullptr;
    if (v.machine().controller() && !vm.passthrough_timer && !links)
        return Error{Code::unsupported, "a HAL that models LinksGuestTimer, for a VM with an interrupt controller"};
    if (cpu.has(Feature::pauth) && (read<"SCTLR_EL2">() & signs) != 0)
        return Error{Code::unsupported, "a host that does not sign pointers while vCPUs are bound (SCTLR_EL2.EnIA, EnIB, EnDA, EnDB): the keys are the guest's", 0, read<"SCTLR_EL2">() & signs};
    return {};
}

constexpr auto is_el1(std::size_t row, Feature f) noexcept -> bool { return registers[row].policy == Policy::on_bind && registers[row].feature == f; }
/// The rows of EL1's registers that need this feature, in table order.
template <Feature F>
constexpr auto el1_rows = [] {
    constexpr auto count = [] { std::size_t n = 0; for (std::size_t i = 0; i < registers.size(); ++i) n += is_el1(i, F); return n; }();
    std::array<std::size_t, count> rows{};
    for (std::size_t i = 0, n = 0; i < registers.size(); ++i) if (is_el1(i, F)) rows[n++] = i;
    return rows;
}();

/// Calls f.operator()<Row...>(value of Row...) for a few rows after the other: what is moved together takes one load or store for two,
/// near enough to a pointer of its own.
template <Feature F, class Move, std::size_t First = 0>
[[gnu::always_inline]] inline void in_groups(std::uint64_t* first, Move f) noexcept {
    constexpr std::size_t most = 8, n = std::min(most, el1_rows<F>.size() - First);
    constexpr auto word = [](std::size_t i) { return (reg::layout<registers>[el1_rows<F>[i]] - reg::layout<registers>[el1_rows<F>[0]]) / 8; };
    [&]<std::size_t... N>(std::index_sequence<N...>) __attribute__((always_inline)) {
        f.template operator()<el1_rows<F>[First + N]...>(first[word(First + N)]...);
    }(std::make_index_sequence<n>{});
    if constexpr (First + n < el1_rows<F>.size()) in_groups<F, Move, First + n>(first, f);
}
template <Feature F>
[[gnu::always_inline]] inline auto first_of(Context& c) noexcept -> std::uint64_t* {
    auto* first = &c.row<el1_rows<F>[0]>();
    asm("" : "+r"(first));  // an address in a register, not an offset from the context
    return first;
}
template <Feature F, bool E2h>
[[gnu::always_inline]] inline void load_rows(Context& c) noexcept {
    in_groups<F>(first_of<F>(c), []<std::size_t... Row>(auto... value) __attribute__((always_inline)) { (load_row<Row, E2h>(value), ...); });
}
template <Feature F, bool E2h>
[[gnu::always_inline]] inline void save_rows(Context& c) noexcept {
    in_groups<F>(first_of<F>(c), []<std::size_t... Row>(auto&... value) __attribute__((always_inline)) {
        const std::uint64_t values[]{read_row<Row, E2h>()...};
        std::size_t n = 0;
        ((value = values[n++]), ...);
    });
}

template <bool E2h>
[[gnu::always_inline]] inline void load_el1(Context& c, std::uint64_t features) noexcept {
    load_rows<Feature::base, E2h>(c);
    if (features == 0) return;
    if ((features & bit(Feature::pauth)) != 0) load_rows<Feature::pauth, E2h>(c);
    if ((features & bit(Feature::ras)) != 0) load_rows<Feature::ras, E2h>(c);
    if ((features & bit(Feature::sve)) != 0) load_rows<Feature::sve, E2h>(c);
}
template <bool E2h>
[[gnu::always_inline]] inline void save_el1(Context& c, std::uint64_t features) noexcept {
    save_rows<Feature::base, E2h>(c);
    load_row<index<"CNTV_CTL_EL0">, E2h>(0);  // nothing of the guest fires on a CPU that it has left
    if (features == 0) return;
    if ((features & bit(Feature::pauth)) != 0) save_rows<Feature::pauth, E2h>(c);
    if ((features & bit(Feature::ras)) != 0) save_rows<Feature::ras, E2h>(c);
    if ((features & bit(Feature::sve)) != 0) save_rows<Feature::sve, E2h>(c);
}

/// What of EL2 is written for a vCPU; never read back.
[[gnu::always_inline]] inline void write_host_owned(const Vcpu& v, const PerCpu& cpu, TlbTag tag) noexcept {
    const auto* wanted = &v.el2;
    asm("" : "+r"(wanted));  // as in first_of()
    const HostOwned w = *wanted;
    write<"MDCR_EL2">(w.mdcr);
    write<"CPTR_EL2">(w.cptr);
    write<"CNTHCTL_EL2">(w.cnthctl);
    write<"VTCR_EL2">(w.vtcr);
    write<"VMPIDR_EL2">(w.vmpidr);
    write<"CNTVOFF_EL2">(w.cntvoff);
    write<"VTTBR_EL2">(w.vttbr | std::uint64_t{tag.value} << 48);
    write<"HCR_EL2">(w.hcr);
    if (cpu.has_mpam) [[unlikely]] write<"MPAM2_EL2">(std::uint64_t{3} << 48);  // TRAPMPAM0EL1, TRAPMPAM1EL1: one partition, the host's default
    isb();
    if (v.has(Vcpu::has_sve)) [[unlikely]] {
        write<"ZCR_EL2">(0xF);  // the longest: the guest's ZCR_EL1 chooses below it
        isb();
    }
}

/// Back to what the host had; everything of the guest has been saved before.
[[gnu::always_inline]] inline void restore_host(const PerCpu& cpu) noexcept {
    const HostRegisters h = cpu.host;
    write<"MDCR_EL2">(h.mdcr);
    write<"CPTR_EL2">(h.cptr);
    write<"CNTHCTL_EL2">(h.cnthctl);
    write<"CNTVOFF_EL2">(h.cntvoff);
    write<"VTTBR_EL2">(h.vttbr);
    write<"MDSCR">(h.mdscr);
    write<"ICH_HCR_EL2">(h.ich_hcr);
    if (cpu.has_mpam) [[unlikely]] write<"MPAM2_EL2">(h.mpam2);
    write<"HCR_EL2">(h.hcr);  // last: it gives the others their meaning
    isb();
}

/// MDSCR_EL1, and the rest where guest or host debug.
[[gnu::always_inline]] inline void bring_debug(Vcpu& v) noexcept {
    constexpr std::uint64_t ss_or_mde = 1 | 1 << 15;
    if (const auto guest = v.context.get<"MDSCR_EL1">(); v.debug.active || (guest & ss_or_mde) != 0) [[unlikely]] load_debug(v);
    else write<"MDSCR">(guest);
}

/// The GIC's virtual CPU interface. What became pending while the vCPU was not bound was posted, too: run() looks at that.
[[gnu::always_inline]] inline void load_interrupts(Vcpu& v, const PerCpu& cpu) noexcept {
    write<"ICC_SRE_EL1">(7);  // a guest may have changed it where it can be changed
    if (v.has(Vcpu::guest_owns_interrupts)) [[unlikely]] return write<"ICH_HCR_EL2">(0);
    write<"ICH_VMCR_EL2">(v.vmcr);
    write<"ICH_AP0R0_EL2">(v.ap0[0]);
    write<"ICH_AP1R0_EL2">(v.ap1[0]);
    write<"ICH_HCR_EL2">(ich_hcr_en);
    if (cpu.priority_words > 1) [[unlikely]] move_more_priorities(v, true);
    if (v.lr_used != 0 || v.timer_linked) load_list_registers(v);
}
[[gnu::always_inline]] inline void save_interrupts(Vcpu& v, const PerCpu& cpu) noexcept {
    if (v.has(Vcpu::guest_owns_interrupts)) [[unlikely]] return;
    v.vmcr = read<"ICH_VMCR_EL2">();
    v.ap0[0] = read<"ICH_AP0R0_EL2">();
    v.ap1[0] = read<"ICH_AP1R0_EL2">();
    if (cpu.priority_words > 1) [[unlikely]] move_more_priorities(v, false);
    if (v.lr_used != 0 || v.timer_linked) save_list_registers(v);
}
}  // namespace

/// A vCPU that is not free: one that another has turned on starts here.
auto Arch::start(Vcpu& v, PerCpu& cpu, CpuId here) noexcept -> Result<void> {
    if (auto ok = fit(v, cpu, here); !ok) return ok;
    if (v.state() == State::off && v.start_requested())
        if (auto ok = reset(v, v.start_entry_, v.start_arg_); !ok) return ok;
    if (!v.move(State::free, State::ready)) return Vcpu::bad_state("a vCPU in state free", State::free, v.state());
    return {};
}

/// What has to be looked at and worked out before a vCPU's first time on this CPU. Requires: it is ready, so nobody else does the same.
auto Arch::settle_in(Vcpu& v, PerCpu& cpu, CpuId here) noexcept -> Result<void> {
    if (auto ok = fit(v, cpu, here); !ok) {
        v.state_.store(State::free, std::memory_order_release);
        return ok;
    }
    work_out(v, cpu);
    // What became pending before it was there, or while it was reset, was posted to nobody.
    if (v.vm().controller()) static_cast<void>(v.post(Event::interrupt));
    if (v.machine().passthrough_interrupts) {
        cpu.trusted = &v;
        cpu.epoch = next_epoch();  // nobody else fits any more
    }
    if (v.hal->local_interrupt_controller != nullptr) v.fits = cpu.epoch;  // without one it is looked at again: a controller may be attached
    return {};
}

auto Arch::bind(Vcpu& v, PerCpu& cpu, CpuId here) noexcept -> Result<void> {
    if (!v.move(State::free, State::ready)) [[unlikely]]
        if (auto ok = start(v, cpu, here); !ok) return ok;
    // After the state is won: whoever held it before may have been on another CPU.
    const bool fits = v.fits == cpu.epoch && here == cpu.id && cpu.bound == nullptr && (!cpu.has(Feature::pauth) || (read<"SCTLR_EL2">() & signs) == 0);
    if (!fits) [[unlikely]]
        if (auto ok = settle_in(v, cpu, here); !ok) return ok;

    const auto daif = mask_interrupts();
    v.settle_on(here);
    v.percpu = &cpu;
    cpu.bound = &v;
    auto work = v.usual_work;
    if (((v.context.get<"CNTP_CTL_EL0">() & 3) == 1 || v.physical_line) && (work & Vcpu::guest_owns_timer) == 0) work |= Vcpu::physical_timer_on;
    v.work = work;
    const auto tag = tags().assign(cpu.tags, v.vm().tag, v.id());
    write_host_owned(v, cpu, tag.tag);
    if (tag.flush == TlbTagDomain::Flush::all) tlbi_alle1();
    else if (tag.flush == TlbTagDomain::Flush::tag) tlbi_vmalls12e1();
    if ((work & Vcpu::host_extensions) != 0) load_el1<true>(v.context, v.el2.features);
    else load_el1<false>(v.context, v.el2.features);
    if ((work & Vcpu::switch_fp) == 0) load_fp(v);
    if ((work & Vcpu::guest_owns_timer) != 0) [[unlikely]] move_physical_timer(v, true);
    bring_debug(v);
    pause_guest_timer(v);
    load_interrupts(v, cpu);
    restore_interrupts(daif);
    return {};
}

/// On another CPU than its own nothing can be saved: the vCPU stays bound, and every further use of it is refused.
void Arch::unbind(Vcpu& v, CpuId here) noexcept {
    auto& cpu = *v.percpu;
    if (here != v.cpu()) [[unlikely]] return;
    const auto daif = mask_interrupts();
    resume_guest_timer(v);
    const auto work = v.work;
    if ((work & Vcpu::deadline_armed) != 0) [[unlikely]] disarm_deadline(v);
    save_interrupts(v, cpu);
    if ((work & Vcpu::host_extensions) != 0) save_el1<true>(v.context, v.el2.features);
    else save_el1<false>(v.context, v.el2.features);
    if ((work & Vcpu::switch_fp) == 0) save_fp(v);
    if ((work & Vcpu::guest_owns_timer) != 0) [[unlikely]] move_physical_timer(v, false);
    auto next = State::free;
    if (v.pending.kind == Pending::Kind::terminal) [[unlikely]] {
        next = State::off;
        drop_interrupts(v);     // it may never come back: what it held goes to whom it is routed now
        cpu.trusted = nullptr;  // the CPU is free again
        v.fits = 0;
    }
    if ((work & Vcpu::debug_loaded) != 0) [[unlikely]] unload_debug(v);
    if ((work & Vcpu::has_sve) != 0) [[unlikely]] write<"ZCR_EL2">(cpu.host_zcr);
    restore_host(cpu);
    cpu.bound = nullptr;
    v.percpu = nullptr;
    v.state_.store(next, std::memory_order_release);  // nobody else moves it from ready
    restore_interrupts(daif);
}

}  // namespace axvcpu::aarch64
