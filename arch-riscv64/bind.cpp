// A vCPU comes to a hart and leaves it: its cold context, and HS-mode's registers for it.
module axvcpu.riscv64;
import std;
import axvcpu.result;
import axvcpu.hal;
import axvcpu.stage2;
import axvcpu.tlb_tag;
import axvcpu.vm;
import axvcpu.percpu;

namespace axvcpu::riscv64 {

namespace {
/// Calls move.operator()<Row>(value) for the registers of VS-mode that need this feature, in table order.
template <Feature F, class Move>
[[gnu::always_inline]] inline void each_row(Context& c, Move move) noexcept {
    c.for_each<Policy::on_bind>([&]<std::size_t I>(std::uint64_t& value) __attribute__((always_inline)) {
        if constexpr (registers[I].feature == F) move.template operator()<I>(value);
    });
}
constexpr auto load = []<std::size_t I>(std::uint64_t value) __attribute__((always_inline)) { write_row<I>(value); };
constexpr auto save = []<std::size_t I>(std::uint64_t& value) __attribute__((always_inline)) { value = read_row<I>(); };

/// What every guest has.
[[gnu::always_inline]] inline void load_registers(Vcpu& v, std::uint32_t work) noexcept {
    each_row<Feature::base>(v.context, load);
    if ((work & Vcpu::has_sstc) != 0) each_row<Feature::sstc>(v.context, load);
}
[[gnu::always_inline]] inline void save_registers(Vcpu& v, std::uint32_t work) noexcept {
    each_row<Feature::base>(v.context, save);
    if ((work & Vcpu::has_sstc) != 0) each_row<Feature::sstc>(v.context, save);
}

/// What of HS-mode is written for a vCPU; never read back.
[[gnu::always_inline]] inline void write_host_owned(const HostOwned& w, const PerCpu& cpu, TlbTag tag) noexcept {
    write<"hedeleg">(w.hedeleg);
    write<"henvcfg">(w.henvcfg);
    if (cpu.has(Feature::state_enable)) write<"hstateen0">(w.hstateen0);
    write<"htimedelta">(w.htimedelta);
    write<"hgatp">(w.hgatp | std::uint64_t{tag.value} << 44);
}

/// Back to what means something to the host, too; everything of the guest has been saved before.
[[gnu::always_inline]] inline void restore_host(const PerCpu& cpu) noexcept {
    const auto& h = cpu.host;
    write<"hgatp">(h.hgatp);
    write<"hstatus">(h.hstatus);
    write<"scounteren">(h.scounteren);
    write<"senvcfg">(h.senvcfg);
    if (cpu.has(Feature::state_enable)) write<"sstateen0">(h.sstateen0);
}
}  // namespace

// Clean: the hardware says Dirty when the guest has written something that has to be saved.
[[gnu::always_inline]] inline void clean_fp(Vcpu& v) noexcept {
    const auto s = (v.context.get<"sstatus">() & ~(sstatus::fs | sstatus::vs)) | sstatus::fs_clean;
    v.context.raw<"sstatus">() = v.has(Vcpu::has_vector) ? s | sstatus::vs_clean : s;
}
void load_fp(Vcpu& v) noexcept {
    with_fp([&] {
        axvcpu_fp_load(&v.context);
        if (v.has(Vcpu::has_vector)) axvcpu_vector_load(&v.context, v.vector_state.data());
    });
    clean_fp(v);
}
[[gnu::always_inline]] inline void trap_fp(Vcpu& v) noexcept { v.context.raw<"sstatus">() &= ~(sstatus::fs | sstatus::vs); }
auto load_fp_at_first_use(Vcpu& v) noexcept -> bool {
    v.set(Vcpu::fp_out, false);
    load_fp(v);
    return false;
}
/// What the hart calls dirty; nothing of what is not loaded.
void save_fp(Vcpu& v) noexcept {
    const auto s = v.context.get<"sstatus">();
    if ((s & sstatus::fs) != sstatus::fs && (s & sstatus::vs) != sstatus::vs) return;
    with_fp([&] {
        if ((s & sstatus::fs) == sstatus::fs) axvcpu_fp_save(&v.context);
        if ((s & sstatus::vs) == sstatus::vs) axvcpu_vector_save(&v.context, v.vector_state.data());
    });
}

namespace {
/// What few harts or guests have. Interrupts that have come since the vCPU was bound last were posted, too: run() looks at that. But a level
/// may have gone, and time has passed.
[[gnu::noinline]] void load_rare(Vcpu& v, const PerCpu& cpu) noexcept {
    if (v.has(Vcpu::untagged)) {
        hfence_gvma();
        hfence_vvma();
    }
    if (cpu.has(Feature::state_enable)) each_row<Feature::state_enable>(v.context, load);
    if (cpu.has(Feature::aia)) {
        each_row<Feature::aia>(v.context, load);
        write<"hvictl">(hvictl_none);
    }
    if (v.has(Vcpu::has_imsic)) install_file(v);
    if (v.has(Vcpu::soft_timer) || v.has(Vcpu::has_imsic) || (v.context.get<"hvip">() & interrupt_bits::vs_external) != 0) refresh_interrupts(v);
}

/// The cold context into this hart, `from` going. Requires: interrupts masked; the vCPU is ready and fits.
[[gnu::always_inline]] inline void load_guest(Vcpu& v, const Vcpu* from, PerCpu& cpu, CpuId here) noexcept {
    v.wakes_by_any = false;
    v.percpu = &cpu;
    cpu.bound = &v;
    const auto work = v.usual_work | (v.work & Vcpu::lasting);
    v.work = work;
    v.host_sscratch = read<"sscratch">();
    const bool stale = v.last_cpu != here;  // the guest's own fences work on its hart alone: what it dropped elsewhere may still be here
    bool drops = true;
    // HS-mode's registers are alike where both are of one VM.
    auto& holder = v.vm().tag;
    const bool alike = from != nullptr && from->usual_work == v.usual_work;
    if (!alike || !tags().hand_on(cpu.tags, holder, v.id())) {
        const auto tag = tags().assign(cpu.tags, holder, v.id());
        write<"vsatp">(0);  // no walk of one guest's tables under another's VMID (Memory-Management Fences)
        if (from != nullptr && from->has(Vcpu::has_sstc)) write<"vstimecmp">(no_deadline);
        write_host_owned(v.hs, cpu, tag.tag);
        if (tag.flush == TlbTagDomain::Flush::all) hfence_gvma();
        drops = tag.flush != TlbTagDomain::Flush::none || stale;
    }
    load_registers(v, work);
    if (drops) hfence_vvma();  // after vsatp: nothing comes from another vCPU's tables any more
    if (stale) [[unlikely]] {
        axvcpu_fence_i();
        v.last_cpu = here;
    }
    if ((work & Vcpu::fp_elsewhere) == 0) load_fp(v);
    else if ((work & Vcpu::fp_out) != 0) trap_fp(v);
    else clean_fp(v);
    if (v.fences.load(std::memory_order_relaxed) != 0) [[unlikely]] execute_fences(v);  // asked for while it was unbound
    if ((work & Vcpu::rare_to_load) != 0) [[unlikely]] load_rare(v, cpu);
    else if ((v.context.get<"hvip">() & interrupt_bits::vs_external) != 0) [[unlikely]] refresh_interrupts(v);
}

/// The cold context out of this hart. Requires: interrupts masked. HS-mode's registers are the guest's still.
[[gnu::always_inline]] inline void save_guest(Vcpu& v) noexcept {
    const auto work = v.work;
    if ((work & Vcpu::rare_to_save) != 0) [[unlikely]] {
        if (v.file_page != nullptr) evict_file(v);
        const auto& cpu = *v.percpu;
        if (cpu.has(Feature::state_enable)) each_row<Feature::state_enable>(v.context, save);
        if (cpu.has(Feature::aia)) each_row<Feature::aia>(v.context, save);
    }
    save_registers(v, work);
    if ((work & Vcpu::switch_fp) == 0) save_fp(v);
}

/// Nothing of a guest stays in a hart that it has left. Requires: it has been saved, HS-mode's registers are its still.
void clear_guest(const Vcpu& v, const PerCpu& cpu) noexcept {
    constexpr auto clear = []<std::size_t I>(std::uint64_t&) __attribute__((always_inline)) { write_row<I>(0); };
    auto& context = const_cast<Vcpu&>(v).context;  // each_row() wants one; nothing is written there
    each_row<Feature::base>(context, clear);
    if (cpu.has(Feature::aia)) each_row<Feature::aia>(context, clear);
    if (v.has(Vcpu::has_sstc)) write<"vstimecmp">(no_deadline);
    with_fp([&] {
        std::array<std::uint64_t, 13> host;  // what of the host's a callee may not change
        if (v.has(Vcpu::switch_fp)) axvcpu_fp_save_host(host.data());
        axvcpu_fp_clear();
        if (cpu.capabilities.vector_state != 0) axvcpu_vector_clear();  // also what another one has left that was here before
        if (v.has(Vcpu::switch_fp)) axvcpu_fp_load_host(host.data());
    });
}
}  // namespace

/// A vCPU that has been saved is nobody's: after a terminal exit it is off.
[[gnu::always_inline]] inline auto Arch::let_go(Vcpu& v) noexcept -> State {
    v.percpu = nullptr;
    v.mailbox_.drop(Event::fence);  // the next bind sees to it: nothing to stay awake for
    return v.pending.kind == Pending::Kind::terminal ? State::off : State::free;
}

auto Arch::bind(Vcpu& v, PerCpu& cpu, CpuId here) noexcept -> Result<void> {
    const bool ready = v.move(State::free, State::ready);
    // After the state is won: whoever held it before may have been on another hart.
    if (!ready || v.fits != cpu.epoch || here != cpu.id || cpu.bound != nullptr) [[unlikely]]
        if (auto ok = admit(v, cpu, here, nullptr, ready); !ok) return ok;
    const auto sie = mask_interrupts();
    v.settle_on(here);
    load_guest(v, nullptr, cpu, here);
    restore_interrupts(sie);
    return {};
}

/// On another hart than its own nothing can be saved: the vCPU stays bound, and every further use of it is refused.
void Arch::unbind(Vcpu& v, CpuId here) noexcept {
    if (here != v.cpu()) [[unlikely]] return;
    auto& cpu = *v.percpu;
    const auto sie = mask_interrupts();
    save_guest(v);
    clear_guest(v, cpu);  // vsie, and with it hie, too: the host's WFI would not wait while what is enabled there is pending
    restore_host(cpu);
    const auto next = let_go(v);
    cpu.bound = nullptr;
    v.state_.store(next, std::memory_order_release);  // nobody else moves it from ready
    restore_interrupts(sie);
}

/// switch_to() for any two. `ready`: the state of `to` has been won.
[[gnu::noinline]] auto Arch::switch_any(Vcpu& from, Vcpu& to, CpuId here, bool ready) noexcept -> bool {
    if (here != from.cpu() || from.pending.kind == Pending::Kind::host_irq) return from.refuse_switch(here);
    auto& cpu = *from.percpu;
    ready = ready || to.move(State::free, State::ready);
    if (!ready || to.fits != cpu.epoch) {
        const auto ok = admit(to, cpu, here, &from, ready);
        if (!ok) return from.refuse(ok.error());
    }
    const auto sie = mask_interrupts();
    save_guest(from);
    const auto next = let_go(from);
    to.settle_on(here);
    load_guest(to, &from, cpu, here);
    from.state_.store(next, std::memory_order_release);
    restore_interrupts(sie);
    return true;
}

/// Two of one VM that are at home on this hart. `Lazy`: floating point goes out where it was used, and the next guest gets it when it does.
template <bool Lazy>
[[gnu::always_inline]] inline auto Arch::hand_over(Vcpu& from, Vcpu& to, CpuId here) noexcept -> bool {
    auto& cpu = *from.percpu;
    const auto usual = to.usual_work;
    const auto sie = mask_interrupts();
    to.settle_on(here);
    if (!tags().hand_on(cpu.tags, to.vm().tag, to.id())) [[unlikely]] {
        restore_interrupts(sie);
        return switch_any(from, to, here, true);
    }
    save_registers(from, usual);
    from.percpu = nullptr;
    from.mailbox_.drop(Event::fence);
    to.wakes_by_any = false;
    to.percpu = &cpu;
    cpu.bound = &to;
    to.work = usual | (to.work & Vcpu::lasting);
    to.host_sscratch = read<"sscratch">();
    load_registers(to, usual);
    hfence_vvma();
    if constexpr (Lazy) {
        save_fp(from);
        trap_fp(to);
        from.state_.store(State::free, std::memory_order_release);
        restore_interrupts(sie);
        return true;
    }
    clean_fp(to);
    return axvcpu_fp_switch(&from.context, &to.context, &from.state_, static_cast<std::uint32_t>(State::free), sie);
}
[[gnu::noinline]] auto Arch::hand_over_lazily(Vcpu& from, Vcpu& to, CpuId here) noexcept -> bool {
    return to.fits == from.percpu->epoch && to.last_cpu == here ? hand_over<true>(from, to, here) : switch_any(from, to, here, true);
}

/// unbind() and bind(), less what they would do for the host in between. Here for two of one VM that are at home on this hart and have
/// nothing special about them: no call is on this way, and so hardly a register is saved.
auto Arch::switch_to(Vcpu& from, Vcpu& to, CpuId here) noexcept -> bool {
    if (here != from.cpu() || from.pending.kind >= Pending::Kind::terminal || !to.move(State::free, State::ready)) [[unlikely]]
        return switch_any(from, to, here, false);
    const auto usual = to.usual_work, work = usual | (to.work & Vcpu::lasting);
    const auto unusual = ((from.work | work) & (Vcpu::rare_to_load | Vcpu::rare_to_save | Vcpu::fp_elsewhere)) | (from.usual_work ^ usual) |
                         to.fences.load(std::memory_order_relaxed) | (to.context.get<"hvip">() & interrupt_bits::vs_external);
    if (unusual != 0 || to.fits != from.percpu->epoch || to.last_cpu != here) [[unlikely]]
        return unusual == Vcpu::fp_out ? hand_over_lazily(from, to, here) : switch_any(from, to, here, true);
    return hand_over<false>(from, to, here);
}

}  // namespace axvcpu::riscv64
