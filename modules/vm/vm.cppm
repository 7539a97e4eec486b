// What is portable of a VM and of its vCPUs: identity, registry, states, power.
export module axvcpu.vm;
import std;
import axvcpu.result;
import axvcpu.hal;
import axvcpu.exit;
import axvcpu.mailbox;
import axvcpu.interrupt;
import axvcpu.tlb_tag;

export namespace axvcpu {

class VmCore;

/// Where a vCPU is in its life. Only its owner's calls move it.
enum class State : std::uint32_t {  // a word: one atomic instruction where bytes have none
    created,  ///< exists; needs reset() to get an entry point
    free,     ///< can be bound
    ready,    ///< bound to a CPU
    running,  ///< inside run(); known by what its CPU has published, not stored
    blocked,  ///< waits unbound for a post
    off,      ///< turned off; needs reset() or another vCPU's power-on request
};

/// Power as guests see it. Off -> on_pending -> on; each step is one atomic exchange. `claimed` is on_pending while who won writes down
/// where to start; guests see no difference.
enum class Power : std::uint8_t { off, on_pending, on, claimed };

// In a module a function defined in its class is not inline by itself: what lies on the path of every exit says so.

/// The part of a vCPU that is the same on every architecture.
/// state: changed by compare-and-exchange, read by anyone. power, mailbox: any CPU. The rest: the owner.
class VcpuCore {
public:
    VcpuCore(VmCore& vm, std::uint32_t id, std::uint64_t hardware_id) noexcept : vm_(&vm), id_(id), hardware_id_(hardware_id) {}
    VcpuCore(const VcpuCore&) = delete;
    auto operator=(const VcpuCore&) -> VcpuCore& = delete;

    inline auto vm() const noexcept -> VmCore& { return *vm_; }
    /// Index in its VM, from 0.
    inline auto id() const noexcept -> std::uint32_t { return id_; }
    /// What the guest knows its CPU by.
    inline auto hardware_id() const noexcept -> std::uint64_t { return hardware_id_; }
    inline auto state() const noexcept -> State {
        const auto s = state_.load(std::memory_order_acquire);
        return s == State::ready && mailbox_.in_guest() ? State::running : s;
    }
    inline auto power() const noexcept -> Power {
        const auto p = power_.load(std::memory_order_acquire);
        return p == Power::claimed ? Power::on_pending : p;
    }
    /// It was turned on, and where it starts is written down.
    inline auto start_requested() const noexcept -> bool { return power_.load(std::memory_order_acquire) == Power::on_pending; }
    /// The CPU it is bound to, while it is bound.
    inline auto cpu() const noexcept -> CpuId { return cpu_.load(std::memory_order_relaxed); }
    /// The same, as the mailbox publishes it.
    inline auto place() const noexcept -> Mailbox::Place { return place_; }
    /// Any CPU, any context. See Notice for what the caller has to do then.
    inline auto post(Event e) noexcept -> Notice { return mailbox_.post(e); }

    /// The owner, vCPU unbound: Free -> Blocked. False when an event is waiting already. Errors: bad_state.
    auto block() noexcept -> Result<bool>;
    /// The owner: Blocked -> Free. Errors: bad_state.
    auto unblock() noexcept -> Result<void>;

    /// Held while the SDK itself reads or writes the guest's memory for this vCPU, outside the guest: who unmaps waits for it.
    class [[nodiscard]] Reading {
    public:
        inline explicit Reading(VcpuCore& v) noexcept : v_(&v) {
            v.reading_.store(true, std::memory_order_relaxed);
            std::atomic_thread_fence(std::memory_order_seq_cst);  // before the tables are looked at
        }
        inline ~Reading() { v_->reading_.store(false, std::memory_order_release); }
        Reading(const Reading&) = delete;
        auto operator=(const Reading&) -> Reading& = delete;

    private:
        VcpuCore* v_;
    };
    inline auto reading() const noexcept -> bool { return reading_.load(std::memory_order_acquire); }

    /// Why run() came back, when it answered true; valid until it is called again.
    inline auto last_exit() const noexcept -> const Exit& { return exit_; }
    /// Why run() refused, when it answered false; likewise switch_to().
    inline auto refusal() const noexcept -> const Error& { return refusal_; }
    /// Says why; false.
    inline auto refuse(const Error& e) noexcept -> bool { return refusal_ = e, false; }

    /// What every backend asks before a vCPU may be bound: the CPU is enabled, is this one (`here`), and has no other vCPU on it (`taken`).
    static auto fit_cpu(bool enabled, CpuId cpu, CpuId here, bool taken) noexcept -> Result<void>;
    /// Whether its registers can be looked at and changed: it is not running, and where it is bound, this is its CPU.
    auto at_hand() const noexcept -> Result<void>;
    /// run() with no way to go on: after a terminal exit (`off`), or inside another run(), from a handler of the host's. False.
    auto refuse_run(bool off) noexcept -> bool;
    /// Of events that were taken, what run() leaves with; false: nothing. One of two waits for the next run().
    auto leave_for(std::uint32_t events) noexcept -> bool;

    /// Another vCPU asks for this one to start. Exactly one asker wins. Errors: bad_state with the power found.
    auto request_power_on(GuestPhysAddr entry, std::uint64_t arg) noexcept -> Result<void>;
    /// Who asked takes it back; one that has started meanwhile stays on.
    inline void cancel_power_on() noexcept {
        auto asked = Power::on_pending;
        power_.compare_exchange_strong(asked, Power::off, std::memory_order_acq_rel);
    }
    /// The vCPU turns itself off: from here on another one may turn it on again.
    inline void power_down() noexcept { power_.store(Power::off, std::memory_order_release); }

protected:
    auto refuse_elsewhere(CpuId here) noexcept -> bool;  ///< this CPU is not the vCPU's
    auto refuse_switch(CpuId here) noexcept -> bool;     ///< it is not, or the vCPU is inside run()
    /// The part of a bind that is not done at each: whether the vCPU fits this CPU, `reset` where another vCPU has turned it on, and
    /// `settle` when all is well. `ready`: its state has been won already; else that is done here.
    template <class Fit, class Reset, class Settle>
    auto admit(bool ready, Fit fit, Reset reset, Settle settle) noexcept -> Result<void> {
        if (!ready) {
            if (auto ok = fit(); !ok) return ok;
            if (state() == State::off && start_requested())
                if (auto ok = reset(start_entry_, start_arg_); !ok) return ok;
            if (!move(State::free, State::ready)) return bad_state("a vCPU in state free", State::free, state());
        }
        if (auto ok = fit(); !ok) {  // now that nobody else changes it
            state_.store(State::free, std::memory_order_release);
            return ok;
        }
        settle();
        return {};
    }
    /// bind(): this is its CPU from now on.
    inline void settle_on(CpuId cpu) noexcept {
        cpu_.store(cpu, std::memory_order_relaxed);
        place_ = Mailbox::place(cpu);
    }
    inline auto move(State from, State to) noexcept -> bool { return state_.compare_exchange_strong(from, to, std::memory_order_acq_rel); }
    static auto bad_state(const char* what, State expected, State found) noexcept -> Error {
        return {Code::bad_state, what, static_cast<std::uint64_t>(expected), static_cast<std::uint64_t>(found)};
    }

    Mailbox mailbox_;                // first, as each entry and exit writes it with an order: no address has to be made for that
    VmCore* vm_;
    std::uint32_t id_;
    std::atomic<CpuId> cpu_{};       // written by the CPU that binds
    Mailbox::Place place_{};
    std::uint64_t hardware_id_;
    std::atomic<State> state_{State::created};
    std::atomic<Power> power_{Power::on};
    Exit exit_{exit::Nothing{}};     // why run() came back
    Error refusal_{};                // or why it refused
    std::atomic<bool> reading_{false};  // written by the vCPU's own CPU
    GuestPhysAddr start_entry_{};    // written by who wins Off -> claimed, read by who sees on_pending
    std::uint64_t start_arg_ = 0;
};

/// What leaves as an exit instead of being refused inside. Everything not named here is refused: deny by default.
struct VmPolicy {
    bool hypercalls = true;         ///< calls that the SDK does not know: exit::Hypercall; else refused with "not supported"
    bool secure_calls = false;      ///< the same for calls to the secure side
    bool system_registers = false;  ///< registers that the SDK does not know: exit::SysReg*; else the fault of an instruction that does not exist
    bool yields = false;            ///< exit::Yield when a vCPU spins; else it just spins
    bool fast_exit = false;         ///< the HAL's fast hook is asked first (AnswersFast)
    bool power = true;              ///< the firmware's power calls are emulated; else they are calls like others
    bool lazy_fp = false;           ///< floating-point and vector registers are loaded at a guest's first use of them after a bind, not at the bind;
                                    ///< for a host without floating point of its own (HostFp::none)
};

/// An access that the host wants to see.
struct Watchpoint { std::uint64_t address; std::uint8_t bytes; bool read, write; };

/// What the host wants to see of a guest's instructions, as exit::Debug. The guest's own debugging is hidden meanwhile.
struct DebugConfig {
    bool step = false;                             ///< every instruction
    bool software_breakpoints = false;             ///< breakpoint instructions; else they stay the guest's own
    std::span<const std::uint64_t> breakpoints{};  ///< virtual addresses of instructions; a guest that is to pass one needs it taken away
    std::span<const Watchpoint> watchpoints{};     ///< by virtual address
};

/// Room for one vCPU: memory of the user.
template <class Vcpu>
struct VcpuSlot {
    VcpuCore* entry = nullptr;
    alignas(16) unsigned char room[sizeof(Vcpu)];
};

/// A vCPU for which the hardware wants frames of its own says how many by `static constexpr std::size_t frames`: they are part of its slot.
template <class Vcpu>
concept HasFrames = requires { { Vcpu::frames } -> std::convertible_to<std::size_t>; };
template <HasFrames Vcpu>
struct VcpuSlot<Vcpu> {
    VcpuCore* entry = nullptr;
    alignas(16) unsigned char room[sizeof(Vcpu)];
    alignas(4096) unsigned char frames[Vcpu::frames][4096];
};

/// A VM's slots, whatever the size of their vCPUs.
class Registry {
public:
    constexpr Registry() = default;
    template <class Vcpu> Registry(std::span<VcpuSlot<Vcpu>> slots) noexcept
        : first_(reinterpret_cast<unsigned char*>(slots.data())), stride_(sizeof(VcpuSlot<Vcpu>)), count_(static_cast<std::uint32_t>(slots.size())) {}
    template <class Vcpu, std::size_t N> Registry(VcpuSlot<Vcpu> (&slots)[N]) noexcept : Registry(std::span<VcpuSlot<Vcpu>>(slots)) {}
    inline auto size() const noexcept -> std::uint32_t { return count_; }
    inline auto operator[](std::uint32_t i) const noexcept -> VcpuCore*& { return *reinterpret_cast<VcpuCore**>(first_ + i * stride_); }

private:
    unsigned char* first_ = nullptr;
    std::size_t stride_ = 0;
    std::uint32_t count_ = 0;
};

/// The part of a VM that is the same on every architecture. Outlives its vCPUs.
class VmCore {
public:
    VmCore(std::uint32_t id, HostPhysAddr stage2_root, std::span<const GuestRange> ram, VmPolicy policy, Registry registry,
           const HalTable& hal) noexcept
        : id_(id), root_(stage2_root), first_ram_(ram.empty() ? GuestRange{} : ram.front()), more_ram_(ram.empty() ? ram : ram.subspan(1)),
          policy_(policy), registry_(registry), hal_(&hal) {}
    VmCore(const VmCore&) = delete;
    auto operator=(const VmCore&) -> VmCore& = delete;

    inline auto id() const noexcept -> std::uint32_t { return id_; }
    inline auto policy() const noexcept -> const VmPolicy& { return policy_; }
    inline auto hal() const noexcept -> const HalTable& { return *hal_; }
    inline auto stage2_root() const noexcept -> HostPhysAddr { return root_; }
    /// Whether an address is the VM's memory, mapped or not: faults there are NestedPageFault, elsewhere Mmio.
    inline auto is_ram(GuestPhysAddr a) const noexcept -> bool {
        if (first_ram_.contains(a)) return true;
        for (const auto& r : more_ram_) if (r.contains(a)) return true;
        return false;
    }
    /// The vCPU with this index, or nullptr.
    inline auto vcpu(std::uint32_t id) const noexcept -> VcpuCore* { return id < registry_.size() ? registry_[id] : nullptr; }
    inline auto vcpus() const noexcept -> std::uint32_t { return registry_.size(); }
    /// The vCPU with this hardware id, or nullptr.
    auto find(std::uint64_t hardware_id) const noexcept -> VcpuCore*;
    /// Posts and does what the notice asks for: kicks the CPU, or tells the host's `wake`.
    void notify(std::uint32_t vcpu, Event) const noexcept;

    /// After entries were taken away: until no vCPU's CPU still uses what it found through them.
    void await_readers() const noexcept;

    /// Before the first run.
    template <InterruptController T> void attach(T& controller) noexcept { controller_ = table_of(controller); }
    inline auto controller() const noexcept -> const InterruptControllerTable& { return controller_; }

    /// Whether this is where the vCPU with this index has to be. Requires: id < vcpus().
    inline auto owns(std::uint32_t id, VcpuCore* const* entry) const noexcept -> bool { return &registry_[id] == entry; }
    auto add(VcpuCore&) noexcept -> Result<void>;
    inline void remove(VcpuCore& v) noexcept { registry_[v.id()] = nullptr; }

    TlbTag tag;  ///< changed by the tag domain under its lock

private:
    std::uint32_t id_;
    HostPhysAddr root_;
    GuestRange first_ram_;                   // a copy: most VMs have one range
    std::span<const GuestRange> more_ram_;
    VmPolicy policy_;
    Registry registry_;
    const HalTable* hal_;
    InterruptControllerTable controller_;
};

}  // namespace axvcpu
