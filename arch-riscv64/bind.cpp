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

/// Everything that a guest handles itself: misaligned, access and page faults, illegal instructions, its own calls; breakpoints where the
/// host does not want them.
auto delegated(const Vcpu& v) noexcept -> std::uint64_t {
    return 1 << 0 | 1 << 1 | 1 << 2 | (v.host_breakpoints ? 0 : 1 << 3) | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 12 | 1 << 13 | 1 << 15;
}

namespace {
/// Whether this vCPU can run on this hart. What is found holds until one of them is changed: bind() comes here once for each pair.
auto fit(Vcpu& v, PerCpu& cpu, CpuId here) noexcept -> Result<void> {
    if (!cpu.enabled) return Error{Code::bad_state, "an enabled CPU"};
    if (here != cpu.id) return Error{Code::wrong_cpu, "the CPU that this object enabled", static_cast<std::uint64_t>(cpu.id), static_cast<std::uint64_t>(here)};
    if (cpu.bound != nullptr) return Error{Code::bad_state, "a CPU on which no other vCPU is bound"};
    const auto& vm = v.machine();
    if (vm.stage2 == nullptr) return Error{Code::no_stage2, "a VM with stage-2 tables"};
    const auto levels = vm.stage2->levels();
    if ((cpu.capabilities.levels_mask >> levels & 1) == 0 || vm.stage2->address_bits() > guest_address_bits(levels))
        return Error{Code::unsupported, "stage-2 tables of a depth that this hart walks (mask of levels)", cpu.capabilities.levels_mask, levels};
    if (vm.stage2->root().value % 0x4000 != 0) return Error{Code::misaligned, "a stage-2 root aligned to 16 KiB", 0x4000, vm.stage2->root().value};
    if (vm.imsic.size != 0 && !cpu.has(Feature::aia))
        return Error{Code::unsupported, "a hart with the AIA's registers (hvictl), for a VM with an IMSIC"};
    if (vm.imsic.size != 0 && !vm.stage2->has_maintenance())
        return Error{Code::no_stage2, "stage-2 tables with TLB maintenance (tlb_maintenance), for a VM with an IMSIC"};
    if (!v.vector_state.empty() && v.vector_state.size() < cpu.capabilities.vector_state)
        return Error{Code::too_small, "vector state as large as this hart's (Capabilities::vector_state)", cpu.capabilities.vector_state, v.vector_state.size()};
    return {};
}

/// What bind() has to know of a vCPU and a hart that the guest cannot change. Requires: they fit.
void work_out(Vcpu& v, const PerCpu& cpu) noexcept {
    const auto& vm = v.machine();
    const bool sstc = cpu.has(Feature::sstc) && vm.sstc;
    v.usual_work = (cpu.hal->host_fp == HostFp::per_exit ? Vcpu::switch_fp : 0) | (vm.policy().hypercalls ? 0 : Vcpu::calls_refused) | (sstc ? Vcpu::has_sstc : 0) |
                   (cpu.has(Feature::sstc) ? Vcpu::hart_sstc : 0) |
                   (cpu.capabilities.vector_state != 0 && !v.vector_state.empty() ? Vcpu::has_vector : 0) | (v.fast_exit != nullptr ? Vcpu::fast_hook : 0);
    v.hs.hedeleg = delegated(v);
    // Sstc where it is given; cache-block operations, where an invalidation also writes back; no Svpbmt, no hardware A/D.
    v.hs.henvcfg = (sstc ? std::uint64_t{1} << 63 : 0) | 0xD0;
    constexpr std::uint64_t envcfg = std::uint64_t{1} << 62, aia = std::uint64_t{7} << 58;  // with an IMSIC its registers, too
    v.hs.hstateen0 = envcfg | (vm.imsic.size != 0 ? aia : 0);
    v.hs.htimedelta = vm.time_delta;
    v.hs.hgatp = hgatp(vm.stage2->levels(), 0, vm.stage2->root().value);
    v.hs.features = cpu.capabilities.features & (bit(Feature::state_enable) | bit(Feature::aia) | (sstc ? bit(Feature::sstc) : 0));
}

/// Calls move.operator()<Row>(value) for the registers of VS-mode that need this feature, in table order.
template <Feature F, class Move>
[[gnu::always_inline]] inline void each_row(Context& c, Move move) noexcept {
    c.for_each<Policy::on_bind>([&]<std::size_t I>(std::uint64_t& value) __attribute__((always_inline)) {
        if constexpr (registers[I].feature == F) move.template operator()<I>(value);
    });
}
template <class Move>
[[gnu::always_inline]] inline void each_guest_register(Vcpu& v, Move move) noexcept {
    const auto features = v.hs.features;
    each_row<Feature::base>(v.context, move);
    if ((features & bit(Feature::sstc)) != 0) each_row<Feature::sstc>(v.context, move);
    if ((features & bit(Feature::state_enable)) != 0) each_row<Feature::state_enable>(v.context, move);
    if ((features & bit(Feature::aia)) != 0) each_row<Feature::aia>(v.context, move);
}

/// What of HS-mode is written for a vCPU; never read back.
[[gnu::always_inline]] inline void write_host_owned(const HostOwned& w, TlbTag tag) noexcept {
    write<"hedeleg">(w.hedeleg);
    write<"henvcfg">(w.henvcfg);
    if ((w.features & bit(Feature::state_enable)) != 0) write<"hstateen0">(w.hstateen0);
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
void clean_fp(Vcpu& v) noexcept {
    auto& s = v.context.raw<"sstatus">();
    s = (s & ~(sstatus::fs | sstatus::vs)) | sstatus::fs_clean | (v.has(Vcpu::has_vector) ? sstatus::vs_clean : 0);
}
void load_fp(Vcpu& v) noexcept {
    with_fp([&] {
        axvcpu_fp_load(&v.context);
        if (v.has(Vcpu::has_vector)) axvcpu_vector_load(&v.context, v.vector_state.data());
    });
    clean_fp(v);
}
void save_fp(Vcpu& v) noexcept {
    const auto s = v.context.get<"sstatus">();
    if ((s & sstatus::fs) != sstatus::fs && (s & sstatus::vs) != sstatus::vs) return;
    with_fp([&] {
        if ((s & sstatus::fs) == sstatus::fs) axvcpu_fp_save(&v.context);
        if ((s & sstatus::vs) == sstatus::vs) axvcpu_vector_save(&v.context, v.vector_state.data());
    });
}

/// A vCPU that is not free: one that another has turned on starts here.
auto Arch::start(Vcpu& v, PerCpu& cpu, CpuId here) noexcept -> Result<void> {
    if (auto ok = fit(v, cpu, here); !ok) return ok;
    if (v.state() == State::off && v.start_requested())
        if (auto ok = reset(v, v.start_entry_, v.start_arg_); !ok) return ok;
    if (!v.move(State::free, State::ready)) return Vcpu::bad_state("a vCPU in state free", State::free, v.state());
    return {};
}

/// What has to be looked at and worked out before a vCPU's first time on this hart. Requires: it is ready, so nobody else does the same.
auto Arch::settle_in(Vcpu& v, PerCpu& cpu, CpuId here) noexcept -> Result<void> {
    if (auto ok = fit(v, cpu, here); !ok) {
        v.state_.store(State::free, std::memory_order_release);
        return ok;
    }
    work_out(v, cpu);
    // What became pending before it was there, or while it was reset, was posted to nobody.
    if (v.vm().controller()) static_cast<void>(v.post(Event::interrupt));
    v.fits = cpu.epoch;
    return {};
}

auto Arch::bind(Vcpu& v, PerCpu& cpu, CpuId here) noexcept -> Result<void> {
    if (!v.move(State::free, State::ready)) [[unlikely]]
        if (auto ok = start(v, cpu, here); !ok) return ok;
    // After the state is won: whoever held it before may have been on another hart.
    if (v.fits != cpu.epoch || here != cpu.id || cpu.bound != nullptr) [[unlikely]]
        if (auto ok = settle_in(v, cpu, here); !ok) return ok;

    const auto sie = mask_interrupts();
    v.settle_on(here);
    v.wakes_by_any = false;
    v.percpu = &cpu;
    cpu.bound = &v;
    auto work = v.usual_work;
    if (v.timer_at != no_deadline) work |= Vcpu::soft_timer;
    if (v.suspended.load(std::memory_order_relaxed)) work |= Vcpu::resumes;
    v.work = work;
    v.host_sscratch = read<"sscratch">();
    const auto tag = tags().assign(cpu.tags, v.vm().tag, v.id());
    write<"vsatp">(0);  // no walk of one guest's tables under another's VMID (Memory-Management Fences)
    write_host_owned(v.hs, tag.tag);
    // The guest's own fences work on its hart alone: what it dropped elsewhere may still be here.
    if (tag.flush == TlbTagDomain::Flush::all) hfence_gvma();
    if (tag.flush != TlbTagDomain::Flush::none || v.last_cpu != here) {
        hfence_vvma();
        axvcpu_fence_i();
    }
    v.last_cpu = here;
    each_guest_register(v, [&]<std::size_t I>(std::uint64_t value) __attribute__((always_inline)) { write_row<I>(value); });
    if ((work & Vcpu::switch_fp) == 0) load_fp(v);
    else clean_fp(v);
    if (v.fences.load(std::memory_order_relaxed) != 0) execute_fences(v);  // asked for while it was unbound
    const bool imsic = v.machine().imsic.size != 0;
    if (imsic) [[unlikely]] install_file(v);
    // What has come since it was bound last was posted, too: run() looks at that. A level may have gone, time has passed.
    if ((work & Vcpu::soft_timer) != 0 || (v.context.get<"hvip">() & interrupt_bits::vs_external) != 0 || imsic) refresh_interrupts(v);
    else if (cpu.has(Feature::aia)) write<"hvictl">(hvictl_none);
    restore_interrupts(sie);
    return {};
}

/// On another hart than its own nothing can be saved: the vCPU stays bound, and every further use of it is refused.
void Arch::unbind(Vcpu& v, CpuId here) noexcept {
    auto& cpu = *v.percpu;
    if (here != v.cpu()) [[unlikely]] return;
    const auto sie = mask_interrupts();
    if (v.file_page != nullptr) [[unlikely]] evict_file(v);
    each_guest_register(v, [&]<std::size_t I>(std::uint64_t& value) __attribute__((always_inline)) { value = read_row<I>(); });
    if (v.has(Vcpu::has_sstc)) write<"vstimecmp">(no_deadline);
    write<"vsatp">(0);
    write<"vsie">(0);  // hie, too: the host's WFI would not wait while what is enabled there is pending
    if (!v.has(Vcpu::switch_fp)) save_fp(v);
    restore_host(cpu);
    cpu.bound = nullptr;
    v.percpu = nullptr;
    v.mailbox_.drop(Event::fence);  // the next bind sees to it: nothing to stay awake for
    // Nobody else moves it from ready.
    v.state_.store(v.pending.kind == Pending::Kind::terminal ? State::off : State::free, std::memory_order_release);
    restore_interrupts(sie);
}

}  // namespace axvcpu::riscv64
