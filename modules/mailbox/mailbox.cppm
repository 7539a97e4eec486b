// How other CPUs reach a vCPU: post an event, and learn whether its CPU must be kicked or its thread woken.
export module axvcpu.mailbox;
import std;
import axvcpu.hal;

export namespace axvcpu {

/// What can be waiting for a vCPU. Bits of one word.
enum class Event : std::uint32_t {
    interrupt = 1,  ///< its interrupt controller has something new for it
    kick = 2,       ///< leave the guest with exit::Kicked
    power = 4,      ///< it was turned on
    fence = 8,      ///< translations have to be dropped before its next entry
    ended = 16,     ///< it has ended an interrupt of which the user wants to hear: leave with exit::EndOfInterrupt
};

/// What the poster must do so that the event is acted on.
struct Notice {
    enum class Kind : std::uint8_t { none, kick, wake } kind;
    CpuId cpu{};  ///< with kick: the CPU on which the vCPU runs
    friend constexpr bool operator==(Notice, Notice) = default;
};

/// How a mailbox reaches memory: the machine's atomics, or those of a checker that tries every order.
struct MachineAtomics {
    template <class T> using Atomic = std::atomic<T>;
    [[gnu::always_inline]] static inline void fence() noexcept { std::atomic_thread_fence(std::memory_order_seq_cst); }
};

/// One word of events and a word that says where the vCPU is.
///
/// post() stores an event and then looks whether the vCPU is in the guest; enter() says "in guest" and then looks for events.
/// Both are sequentially consistent (enter() by a fence between the two, which is the cheaper way on every machine): at least one
/// side sees the other, so no event is lost. Blocking is a bit of the event word itself: block() and post() are each one atomic
/// step, so exactly one poster gets Wake.
template <class Atomics>
class BasicMailbox {
public:
    /// A CPU as enter() publishes it: its number + 1; 0 is nowhere.
    enum class Place : std::uint32_t { nowhere };
    static constexpr auto place(CpuId cpu) noexcept -> Place { return Place{static_cast<std::uint32_t>(cpu) + 1}; }

    /// Any CPU, any context.
    inline auto post(Event e) noexcept -> Notice {
        const auto old = word_.fetch_or(static_cast<std::uint64_t>(e), std::memory_order_seq_cst);
        if ((old & events_mask) != 0) return {Notice::Kind::none};  // an earlier poster has seen to it
        if ((old & blocked) != 0) return {Notice::Kind::wake};
        const auto where = in_guest_.load(std::memory_order_seq_cst);
        if (where == Place::nowhere) return {Notice::Kind::none};
        return {Notice::Kind::kick, CpuId{static_cast<std::uint32_t>(where) - 1}};
    }

    /// The vCPU's own CPU, host interrupts masked. True: go; false: an event is waiting, the vCPU is not in the guest.
    [[gnu::always_inline]] inline auto enter(Place cpu) noexcept -> bool {
        in_guest_.store(cpu, std::memory_order_relaxed);
        Atomics::fence();
        if (word_.load(std::memory_order_relaxed) == 0) [[likely]] return true;
        in_guest_.store(Place::nowhere, std::memory_order_relaxed);
        return false;
    }
    /// The vCPU's own CPU, after the guest was left. Release: whoever sees this sees the guest's accesses done, which matters to
    /// who waits for them to be (see owes()).
    [[gnu::always_inline]] inline void leave() noexcept { in_guest_.store(Place::nowhere, std::memory_order_release); }
    /// After a post of `e`: whether the guest may still run without having seen it. Whoever needs it done, not only delivered,
    /// kicks and waits until this is false: the vCPU has then left the guest, and acts on `e` before it enters again.
    inline auto owes(Event e) const noexcept -> bool {
        return in_guest_.load(std::memory_order_acquire) != Place::nowhere && (word_.load(std::memory_order_acquire) & static_cast<std::uint64_t>(e)) != 0;
    }
    inline auto in_guest() const noexcept -> bool { return in_guest_.load(std::memory_order_relaxed) != Place::nowhere; }

    /// The vCPU's owner: takes all events away.
    inline auto take() noexcept -> std::uint32_t {
        return static_cast<std::uint32_t>(word_.fetch_and(~events_mask, std::memory_order_acquire));
    }
    /// The vCPU's owner: takes one event away, whose work is done otherwise.
    inline void drop(Event e) noexcept { word_.fetch_and(~static_cast<std::uint64_t>(e), std::memory_order_acquire); }
    inline auto empty() const noexcept -> bool { return (word_.load(std::memory_order_seq_cst) & events_mask) == 0; }

    /// The owner of an unbound vCPU: from now on the first post answers Wake. False when an event is there already.
    inline auto block() noexcept -> bool {
        std::uint64_t none = 0;
        return word_.compare_exchange_strong(none, blocked, std::memory_order_seq_cst);
    }
    inline void unblock() noexcept { word_.fetch_and(~blocked, std::memory_order_acq_rel); }

private:
    static constexpr std::uint64_t events_mask = 0xFFFF'FFFF, blocked = std::uint64_t{1} << 32;
    typename Atomics::template Atomic<Place> in_guest_{Place::nowhere};  // written by the vCPU's own CPU only
    typename Atomics::template Atomic<std::uint64_t> word_{0};
};

using Mailbox = BasicMailbox<MachineAtomics>;

}  // namespace axvcpu
