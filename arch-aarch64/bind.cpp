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
/// CNTV_CTL_EL0 is apart: what the hardware gets depends on whether it counts.
constexpr auto is_el1(std::size_t row, Feature f) noexcept -> bool {
    return registers[row].policy == Policy::on_bind && registers[row].feature == f && row != index<"CNTV_CTL_EL0">;
}
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
    return el1_rows<F>.size() > 1 ? in_register(first) : first;
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
[[gnu::always_inline]] inline void load_el1(Vcpu& v) noexcept {
    auto& c = v.context;
    load_rows<Feature::base, E2h>(c);
    // A timer that counts waits for the entry. It is enabled after its compare value is there.
    const auto control = c.get<"CNTV_CTL_EL0">();
    if ((control & 1) != 0) {
        load_row<index<"CNTV_CTL_EL0">, E2h>(0);
        v.timer_control = control & 3;
        v.set(Vcpu::timer_paused, true);
    } else {
        load_row<index<"CNTV_CTL_EL0">, E2h>(control);
    }
    const auto features = v.el2.features;
    if (features == 0) return;
    if ((features & bit(Feature::pauth)) != 0) load_rows<Feature::pauth, E2h>(c);
    if ((features & bit(Feature::ras)) != 0) load_rows<Feature::ras, E2h>(c);
}
template <bool E2h>
[[gnu::always_inline]] inline void save_el1(Vcpu& v) noexcept {
    auto& c = v.context;
    save_rows<Feature::base, E2h>(c);
    if (v.has(Vcpu::timer_paused)) {
        c.set<"CNTV_CTL_EL0">(v.timer_control);
    } else {
        c.set<"CNTV_CTL_EL0">(read<"CNTV_CTL_EL0", E2h>());
        load_row<index<"CNTV_CTL_EL0">, E2h>(0);  // nothing of the guest fires on a CPU that it has left
    }
    const auto features = v.el2.features;
    if (features == 0) return;
    if ((features & bit(Feature::pauth)) != 0) save_rows<Feature::pauth, E2h>(c);
    if ((features & bit(Feature::ras)) != 0) save_rows<Feature::ras, E2h>(c);
    if ((features & bit(Feature::sve)) != 0) save_rows<Feature::sve, E2h>(c);
}
/// A guest's own timer goes on while the host runs.
void load_owned_timer(Vcpu& v) noexcept {
    v.set(Vcpu::timer_paused, false);
    write_el1<"CNTV_CTL_EL0">(v.has(Vcpu::host_extensions), v.context.get<"CNTV_CTL_EL0">());
}
}  // namespace

// EL1's registers of a bound vCPU, for those who need not hurry: one copy of what switch_to() has inlined.
[[gnu::noinline]] void load_el1(Vcpu& v) noexcept { v.has(Vcpu::host_extensions) ? load_el1<true>(v) : load_el1<false>(v); }
[[gnu::noinline]] void save_el1(Vcpu& v) noexcept { v.has(Vcpu::host_extensions) ? save_el1<true>(v) : save_el1<false>(v); }
void load_el1_again(Vcpu& v) noexcept {
    load_el1(v);
    if ((v.el2.features & bit(Feature::sve)) != 0) write_el1<"ZCR_EL1">(v.has(Vcpu::host_extensions), v.context.get<"ZCR_EL1">());
    if (v.has(Vcpu::guest_owns_timer)) load_owned_timer(v);
}

namespace {

/// What of EL2 is written for a vCPU; never read back. In effect after an ISB.
[[gnu::always_inline]] inline void write_host_owned(const Vcpu& v, TlbTag tag) noexcept {
    const HostOwned w = *in_register(&v.el2);
    write<"MDCR_EL2">(w.mdcr);
    write<"CPTR_EL2">(w.cptr);
    write<"CNTHCTL_EL2">(w.cnthctl);
    write<"VTCR_EL2">(w.vtcr);
    write<"VMPIDR_EL2">(w.vmpidr);
    write<"CNTVOFF_EL2">(w.cntvoff);
    write<"VTTBR_EL2">(w.vttbr | std::uint64_t{tag.value} << 48);
    write<"HCR_EL2">(w.hcr);
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

/// Requires: V has been loaded, as that clears the rest of Z.
[[gnu::noinline]] void load_rare(Vcpu& v) noexcept {
    if (v.has(Vcpu::partitioned)) write<"MPAM2_EL2">(std::uint64_t{3} << 48);  // TRAPMPAM0EL1, TRAPMPAM1EL1: one partition, the host's default
    if ((v.el2.features & bit(Feature::sve)) != 0) {
        write<"ZCR_EL2">(0xF);  // the longest: the guest's ZCR_EL1 chooses below it. Both trap until CPTR_EL2 is in effect
        write_el1<"ZCR_EL1">(v.has(Vcpu::host_extensions), v.context.get<"ZCR_EL1">());
        isb();
        if (!v.has(Vcpu::switch_fp)) axvcpu_sve_load(v.vector_state.data());
    }
    if (v.has(Vcpu::guest_owns_timer)) {
        load_owned_timer(v);
        move_physical_timer(v, true);
    }
    if (v.has(Vcpu::guest_owns_interrupts)) write<"ICH_HCR_EL2">(0);
    if (v.has(Vcpu::more_priorities)) move_more_priorities(v, true);
    if (v.has(Vcpu::host_debugs)) load_debug(v);
    if ((v.work & (Vcpu::list_registers | Vcpu::timer_linked)) != 0) load_list_registers(v);
}
[[gnu::noinline]] void save_rare(Vcpu& v) noexcept {
    if (v.has(Vcpu::deadline_armed)) disarm_deadline(v);
    put_fp_out(v);
    if ((v.el2.features & bit(Feature::sve)) != 0) {
        if (!v.has(Vcpu::switch_fp)) axvcpu_sve_save(v.vector_state.data());
        write<"ZCR_EL2">(v.percpu->host_zcr);
    }
    if (v.has(Vcpu::guest_owns_timer)) move_physical_timer(v, false);
    if (v.has(Vcpu::more_priorities)) move_more_priorities(v, false);
    if (v.has(Vcpu::debug_loaded)) unload_debug(v);
    if ((v.work & (Vcpu::list_registers | Vcpu::timer_linked)) != 0) save_list_registers(v);
}

/// The GIC's virtual CPU interface. What became pending while the vCPU was not bound was posted, too: run() looks at that.
[[gnu::always_inline]] inline void load_interrupts(const Vcpu& v) noexcept {
    write<"ICC_SRE_EL1">(7);  // a guest may have changed it where it can be changed
    const std::uint64_t vmcr = v.vmcr, ap0 = v.ap0[0], ap1 = v.ap1[0];
    write<"ICH_VMCR_EL2">(vmcr);
    write<"ICH_AP0R0_EL2">(ap0);
    write<"ICH_AP1R0_EL2">(ap1);
    write<"ICH_HCR_EL2">(ich_hcr_en);
}
[[gnu::always_inline]] inline void save_interrupts(Vcpu& v) noexcept {
    const auto vmcr = read<"ICH_VMCR_EL2">(), ap0 = read<"ICH_AP0R0_EL2">(), ap1 = read<"ICH_AP1R0_EL2">();
    v.vmcr = vmcr;
    v.ap0[0] = ap0;
    v.ap1[0] = ap1;
}

/// EL2's registers for a vCPU that comes, `from` going: most are alike where both are of one VM. Gives the flush that has to follow.
[[gnu::always_inline]] inline auto take_over(const Vcpu& v, const Vcpu* from, PerCpu& cpu) noexcept -> TlbTagDomain::Flush {
    auto& holder = v.vm().tag;
    if (from != nullptr && from->usual_work == v.usual_work && tags().hand_on(cpu.tags, holder, v.id())) {
        write<"VMPIDR_EL2">(v.el2.vmpidr);
        return TlbTagDomain::Flush::tag;
    }
    const auto assigned = tags().assign(cpu.tags, holder, v.id());
    write_host_owned(v, assigned.tag);
    return assigned.flush;
}

/// The cold context into this CPU, `from` going. `Quick`: all inlined. Requires: interrupts masked; the vCPU is ready and fits.
template <bool Quick>
[[gnu::always_inline]] inline void load_guest(Vcpu& v, const Vcpu* from, PerCpu& cpu) noexcept {
    v.percpu = &cpu;
    cpu.bound = &v;
    const auto work = v.usual_work | (v.work & Vcpu::lasting);
    v.work = work;
    const auto flush = take_over(v, from, cpu);
    if constexpr (!Quick) load_el1(v);
    else if ((work & Vcpu::host_extensions) != 0) load_el1<true>(v);
    else load_el1<false>(v);
    isb();
    // After EL1's registers, so that no walk of another guest's tables comes under this tag. The entry is the ISB that ends it.
    if (flush == TlbTagDomain::Flush::tag) tlbi_vmalls12e1();
    else if (flush == TlbTagDomain::Flush::all) [[unlikely]] tlbi_alle1();
    if ((work & Vcpu::fp_apart) == 0) axvcpu_fp_load(&v.context);
    load_interrupts(v);
    constexpr std::uint64_t ss_or_mde = 1 | 1 << 15;
    if (const auto guest = v.context.get<"MDSCR_EL1">(); (guest & ss_or_mde) != 0) [[unlikely]] load_debug(v);
    else write<"MDSCR">(guest);
    if ((work & Vcpu::rare_to_load) != 0) [[unlikely]] load_rare(v);
}

/// The cold context out of this CPU. Requires: interrupts masked. EL2's registers are the guest's still.
template <bool Quick>
[[gnu::always_inline]] inline void save_guest(Vcpu& v) noexcept {
    const auto work = v.work;
    if ((work & Vcpu::rare_to_save) != 0) [[unlikely]] save_rare(v);
    save_interrupts(v);
    if constexpr (!Quick) save_el1(v);
    else if ((work & Vcpu::host_extensions) != 0) save_el1<true>(v);
    else save_el1<false>(v);
    if ((work & Vcpu::fp_apart) == 0) axvcpu_fp_save(&v.context);
    dsb();  // maintenance that the guest has begun is over before it goes on elsewhere: its own DSB would wait for that CPU's alone
}

template <Feature F, bool E2h>
[[gnu::always_inline]] inline void clear_rows() noexcept {
    [&]<std::size_t... N>(std::index_sequence<N...>) __attribute__((always_inline)) {
        ((el1_rows<F>[N] == index<"SCTLR_EL1"> || el1_rows<F>[N] == index<"TCR_EL1"> ? void() : load_row<el1_rows<F>[N], E2h>(0)), ...);
    }(std::make_index_sequence<el1_rows<F>.size()>{});
}
template <bool E2h>
[[gnu::noinline]] void clear_el1(std::uint64_t features) noexcept {
    // Translation on and walks off: with it off, speculation could keep flat entries under the guest's VMID.
    constexpr std::uint64_t walks_off = 1 << 7 | 1 << 23;  // EPD0, EPD1
    load_row<index<"TCR_EL1">, E2h>(walks_off);
    isb();
    load_row<index<"SCTLR_EL1">, E2h>(sctlr_reset | 1);
    clear_rows<Feature::base, E2h>();
    if ((features & bit(Feature::pauth)) != 0) clear_rows<Feature::pauth, E2h>();
    if ((features & bit(Feature::ras)) != 0) clear_rows<Feature::ras, E2h>();
}

/// Nothing of a guest stays in a CPU that it has left: neither what is secret (keys, vectors) nor what would act (active priorities).
/// Requires: it has been saved, EL2's registers are its still. Nobody runs at EL1 or EL0 then, so 0 will do for nearly all.
void clear_guest(const Vcpu& v, const PerCpu& cpu) noexcept {
    v.has(Vcpu::host_extensions) ? clear_el1<true>(v.el2.features) : clear_el1<false>(v.el2.features);
    write<"ICH_VMCR_EL2">(0);
    write<"ICH_AP0R0_EL2">(0);
    write<"ICH_AP1R0_EL2">(0);
    if (v.has(Vcpu::more_priorities)) clear_more_priorities(cpu);
    // Also what another one has left that was here before, and whose vectors are not this one's to see.
    const bool e2h = v.has(Vcpu::host_extensions), sve = cpu.vector_length != 0;
    if (sve || v.has(Vcpu::fp_apart)) {
        write<"CPTR_EL2">(cptr(e2h, true, sve));
        isb();
    }
    std::array<std::uint64_t, 10> host;  // what of the host's a callee may not change
    if (v.has(Vcpu::switch_fp)) axvcpu_fp_save_host(host.data());
    const auto zcr = v.has(Vcpu::has_sve) || !sve ? cpu.host_zcr : read<"ZCR_EL2">();
    if (sve) {
        write<"ZCR_EL2">(0xF);  // all of them, however long
        write_el1<"ZCR_EL1">(e2h, 0);
        isb();
        axvcpu_sve_clear();
    }
    axvcpu_fp_clear();
    if (sve) write<"ZCR_EL2">(zcr);
    if (v.has(Vcpu::switch_fp)) axvcpu_fp_load_host(host.data());
}

/// A vCPU that has been saved is nobody's: after a terminal exit it is off.
[[gnu::always_inline]] inline auto let_go(Vcpu& v, PerCpu& cpu) noexcept -> State {
    v.percpu = nullptr;
    if (v.pending.kind != Pending::Kind::terminal) [[likely]] return State::free;
    drop_interrupts(v);     // it may never come back: what it held goes to whom it is routed now
    if (cpu.trusted == &v) cpu.trusted = nullptr;  // the CPU is free again
    v.fits = 0;
    return State::off;
}
}  // namespace

auto Arch::bind(Vcpu& v, PerCpu& cpu, CpuId here) noexcept -> Result<void> {
    const bool ready = v.move(State::free, State::ready);
    // After the state is won: whoever held it before may have been on another CPU.
    const bool fits = ready && v.fits == cpu.epoch && here == cpu.id && cpu.bound == nullptr && (!cpu.has(Feature::pauth) || (read<"SCTLR_EL2">() & host_signs) == 0);
    if (!fits) [[unlikely]]
        if (auto ok = admit(v, cpu, here, nullptr, ready); !ok) return ok;
    const auto daif = mask_interrupts();
    v.settle_on(here);
    load_guest<false>(v, nullptr, cpu);
    restore_interrupts(daif);
    return {};
}

/// On another CPU than its own nothing can be saved: the vCPU stays bound, and every further use of it is refused.
void Arch::unbind(Vcpu& v, CpuId here) noexcept {
    if (here != v.cpu()) [[unlikely]] return;
    auto& cpu = *v.percpu;
    const auto daif = mask_interrupts();
    save_guest<false>(v);
    clear_guest(v, cpu);
    const auto next = let_go(v, cpu);
    restore_host(cpu);
    cpu.bound = nullptr;
    v.state_.store(next, std::memory_order_release);  // nobody else moves it from ready
    restore_interrupts(daif);
}

/// unbind() and bind(), less what they would do for the host in between.
auto Arch::switch_to(Vcpu& from, Vcpu& to, CpuId here) noexcept -> bool {
    if (here != from.cpu() || from.pending.kind == Pending::Kind::host_irq) [[unlikely]] return from.refuse_switch(here);
    auto& cpu = *from.percpu;
    if (!to.move(State::free, State::ready)) [[unlikely]] {
        if (!admitted(from, to, cpu, here, false)) return false;
    } else if (to.fits != cpu.epoch) [[unlikely]] {
        if (!admitted(from, to, cpu, here, true)) return false;
    }
    const auto daif = mask_interrupts();
    save_guest<true>(from);
    const auto next = let_go(from, cpu);
    to.settle_on(here);
    load_guest<true>(to, &from, cpu);
    from.state_.store(next, std::memory_order_release);
    restore_interrupts(daif);
    return true;
}

}  // namespace axvcpu::aarch64
