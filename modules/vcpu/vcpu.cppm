// The user's side: a VM, its vCPUs, and a vCPU bound to a CPU. Thin shells; the work is in the backend's compiled code.
export module axvcpu.vcpu;
import std;
export import axvcpu.percpu;
export import axvcpu.result;
export import axvcpu.hal;
export import axvcpu.exit;
export import axvcpu.mailbox;
export import axvcpu.vm;
import axvcpu.reg;
export import axvcpu.interrupt;

export namespace axvcpu {

template <Backend B, Hal H> class BasicVcpu;
template <Backend B, Hal H> class BasicBound;

/// What a guest's vCPUs share.
template <Backend B, Hal H>
class BasicVm {
public:
    explicit BasicVm(const typename B::VmConfig& config) noexcept : impl_(config, hal_table<H>) {}
    BasicVm(const BasicVm&) = delete;
    auto operator=(const BasicVm&) -> BasicVm& = delete;

    /// Before the first run.
    template <InterruptController T> void attach(T& controller) noexcept { impl_.attach(controller); }
    auto core() noexcept -> typename B::Vm& { return impl_; }

private:
    friend class BasicVcpu<B, H>;
    typename B::Vm impl_;
};

/// A virtual CPU. Neither copied nor moved; lives in memory of the user.
template <Backend B, Hal H>
class BasicVcpu {
public:
    using Slot = VcpuSlot<typename B::Vcpu>;
    using Bound = BasicBound<B, H>;

    /// Makes a vCPU in `slot`. Errors: exists (the id is taken), bad_value (id beyond the VM's vCPUs, or
    /// another id's slot), misaligned (entry).
    static auto create(Slot& slot, BasicVm<B, H>& vm, const typename B::CreateConfig& config) noexcept -> Result<BasicVcpu&> {
        static_assert(sizeof(BasicVcpu) == sizeof(slot.room) && alignof(BasicVcpu) <= 16);
        if (slot.entry != nullptr) return Error{Code::exists, "an empty slot"};
        if (vm.impl_.policy().lazy_fp && vm.impl_.hal().host_fp != HostFp::none)
            return Error{Code::unsupported, "a host without floating point of its own, for a VM that gets it at its first use"};
        if (auto ok = B::check(vm.impl_, config); !ok) return ok.error();
        if (!vm.impl_.owns(config.id, &slot.entry)) return Error{Code::bad_value, "the slot of this id, of the VM's own", config.id, 0};
        auto* vcpu = new (static_cast<void*>(slot.room)) BasicVcpu(vm.impl_, config);
        if constexpr (HasFrames<typename B::Vcpu>) vcpu->impl_.adopt(slot.frames);
        if (auto ok = vm.impl_.add(vcpu->impl_); !ok) return ok.error();
        return *vcpu;
    }
    /// Ends a vCPU's life. Errors: bad_state (it is bound).
    auto destroy() noexcept -> Result<void> {
        const auto s = state();
        if (s == State::ready || s == State::running) return Error{Code::bad_state, "a vCPU that is not bound", 0, static_cast<std::uint64_t>(s)};
        impl_.vm().remove(impl_);
        return {};
    }
    BasicVcpu(const BasicVcpu&) = delete;
    auto operator=(const BasicVcpu&) -> BasicVcpu& = delete;

    auto id() const noexcept -> std::uint32_t { return impl_.id(); }
    auto state() const noexcept -> State { return impl_.state(); }
    /// Any CPU, any context.
    auto post(Event e) noexcept -> Notice { return impl_.post(e); }
    auto block() noexcept -> Result<bool> { return impl_.block(); }
    auto unblock() noexcept -> Result<void> { return impl_.unblock(); }
    /// All registers as after power-on, then the program counter and the first argument. Errors: bad_state (running), misaligned.
    auto reset(GuestPhysAddr entry, std::uint64_t arg = 0) noexcept -> Result<void> { return B::reset(impl_, entry, arg); }
    /// The counter value (host time, ticks) at which a guest timer wants to fire; no_deadline when none does. Unbound only.
    auto deadline() noexcept -> std::uint64_t { return B::deadline(impl_); }
    /// One register by its published id. While bound: on the vCPU's own CPU. Errors: unknown_register, read_only, bad_state.
    auto get(reg::Id id) noexcept -> Result<std::uint64_t> { return B::get(impl_, id, false); }
    auto set(reg::Id id, std::uint64_t value) noexcept -> Result<void> { return B::set(impl_, id, value, false); }

    /// Room for a snapshot.
    static constexpr std::size_t snapshot_size = reg::settable<B::registers>;
    /// All registers that the host can set and this CPU has; gives how many. Where an instruction exit is outstanding, the snapshot stands
    /// before that instruction. Vectors of a size that the CPU decides stay in the user's memory, and interrupts in the controller's model.
    /// Errors: too_small, bad_state (running), wrong_cpu.
    auto snapshot(std::span<reg::Value> out) noexcept -> Result<std::size_t> {
        if (out.size() < snapshot_size) return Error{Code::too_small, "room for BasicVcpu::snapshot_size values", snapshot_size, out.size()};
        std::size_t n = 0;
        Result<void> refused;
        reg::each_settable<B::registers>([&](reg::Id id, bool wide) {
            const auto low = B::get(impl_, id, false);
            if (low) out[n++] = {id, *low, wide ? B::get(impl_, id, true).value_or(0) : 0};
            else if (low.error().code != Code::unknown_register) refused = low.error();
        });
        if (!refused) return refused.error();
        return n;
    }
    /// Gives the registers these values, in this order. Errors: as set(); what was set before it stays.
    auto restore(std::span<const reg::Value> values) noexcept -> Result<void> {
        for (const auto& v : values) {
            if (auto ok = B::set(impl_, v.id, v.low, false); !ok && ok.error().code == Code::read_only) continue;  // a zero register
            else if (!ok) return ok;
            if (const bool wide = (v.id.value >> 40 & 0xFF) > 3; !wide) continue;
            if (auto ok = B::set(impl_, v.id, v.high, true); !ok) return ok;
        }
        return {};
    }
    /// Replaces what the host wants to see; nothing asked for ends it. Errors: bad_value (more than the CPU has, see Capabilities),
    /// misaligned, unsupported, bad_state (running), wrong_cpu.
    auto set_debug(const DebugConfig& config) noexcept -> Result<void> { return B::set_debug(impl_, config); }
    auto core() noexcept -> typename B::Vcpu& { return impl_; }

private:
    friend class BasicPerCpu<B, H>;
    friend class BasicBound<B, H>;
    auto bind_on(typename B::PerCpu& cpu) noexcept -> Bound { return Bound(*this, cpu); }
    BasicVcpu(typename B::Vm& vm, const typename B::CreateConfig& config) noexcept : impl_(vm, config) {}
    typename B::Vcpu impl_;
};

/// A vCPU bound to this CPU, or the reason why it is not. The destructor saves its context. From bind to unbind the thread
/// stays on the CPU.
template <Backend B, Hal H>
class [[nodiscard]] BasicBound {
public:
    BasicBound(const BasicBound&) = delete;
    auto operator=(const BasicBound&) -> BasicBound& = delete;
    ~BasicBound() { if (vcpu_ != nullptr) B::unbind(vcpu_->impl_, H::this_cpu()); }

    auto has_value() const noexcept -> bool { return vcpu_ != nullptr; }
    explicit operator bool() const noexcept { return vcpu_ != nullptr; }
    auto error() const noexcept -> const Error& { return bound_.error(); }
    auto operator->() noexcept -> BasicBound* { return this; }

    /// Runs the guest until something happens that the host has to know, or until the counter reaches `deadline` (host ticks).
    /// The exit stays valid until the next run(). Errors: wrong_cpu, bad_state (turned off, or a terminal exit is outstanding).
    [[gnu::always_inline]] inline auto run(std::uint64_t deadline = no_deadline) noexcept -> Result<const Exit&> {
        if (vcpu_ == nullptr) [[unlikely]] return error();
        auto& v = vcpu_->impl_;
        if (!B::run(v, deadline, H::this_cpu())) [[unlikely]] return v.refusal();
        return v.last_exit();
    }
    /// Ends the outstanding instruction: `value` is what a read or call returns. Errors: no_exit.
    [[gnu::always_inline]] inline auto complete(std::uint64_t value = 0) noexcept -> Result<void> {
        if (vcpu_ == nullptr) [[unlikely]] return error();
        return B::complete(vcpu_->impl_, value);
    }
    /// Gives the guest the architecture's own fault for the outstanding instruction. Errors: no_exit.
    auto fail() noexcept -> Result<void> { return vcpu_ != nullptr ? B::fail(vcpu_->impl_) : error(); }
    /// Executes the outstanding instruction again. Errors: no_exit.
    auto retry() noexcept -> Result<void> { return vcpu_ != nullptr ? B::retry(vcpu_->impl_) : error(); }
    /// Unbinds this vCPU and binds `next` in its place, cheaper than one after the other. Errors: those of bind(), bad_state (called from
    /// inside run()); this vCPU stays bound then.
    [[gnu::always_inline]] inline auto switch_to(BasicVcpu<B, H>& next) noexcept -> Result<void> {
        if (vcpu_ == nullptr) [[unlikely]] return error();
        if (!B::switch_to(vcpu_->impl_, next.impl_, H::this_cpu())) [[unlikely]] return vcpu_->impl_.refusal();
        vcpu_ = &next;
        return {};
    }
    /// Requires: has_value().
    auto vcpu() noexcept -> BasicVcpu<B, H>& { return *vcpu_; }

private:
    friend class BasicVcpu<B, H>;
    BasicBound(BasicVcpu<B, H>& vcpu, typename B::PerCpu& cpu) noexcept : bound_(B::bind(vcpu.impl_, cpu, H::this_cpu())), vcpu_(bound_ ? &vcpu : nullptr) {}
    Result<void> bound_;     // or why not
    BasicVcpu<B, H>* vcpu_;  // nullptr: not bound
};

}  // namespace axvcpu
