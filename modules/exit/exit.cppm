// Why a vCPU left: one type for each reason, and the tagged union of them all.
export module axvcpu.exit;
import std;
import axvcpu.hal;

export namespace axvcpu {

/// What a guest was doing to memory.
enum class Access : std::uint8_t { read, write, execute };

namespace exit {

// Instruction exits: end in exactly one of complete(), fail(), retry(); running again without one of them retries.

/// The guest called the hypervisor. `number` and `args` are the calling convention's registers, narrowed where it says so.
struct Hypercall { std::uint64_t number; std::array<std::uint64_t, 6> args; bool secure; };  // secure: by the call to the secure side
/// A load from an address outside the VM's memory. `width`: bytes (1, 2, 4, 8). An instruction of several accesses gives one
/// exit for each: this is number `part` (from 0) of `parts`.
struct MmioRead { GuestPhysAddr addr; std::uint8_t width, part, parts; };
/// A store to an address outside the VM's memory; `value` has no bits above `width`.
struct MmioWrite { GuestPhysAddr addr; std::uint8_t width, part, parts; std::uint64_t value; };
/// A read of a system register that the SDK does not emulate. `reg`: the encoding in the architecture's own form.
struct SysRegRead { std::uint32_t reg; };
struct SysRegWrite { std::uint32_t reg; std::uint64_t value; };
struct IoRead { std::uint16_t port; std::uint8_t width; };
struct IoWrite { std::uint16_t port; std::uint8_t width; std::uint32_t value; };
/// An access the stage-2 tables do not allow: in the VM's memory (map the page and retry), or one that cannot be decoded.
struct NestedPageFault {
    GuestPhysAddr addr;      ///< the byte accessed
    std::uint64_t virt;      ///< the guest's virtual address, where the hardware gave one
    std::uint64_t syndrome;  ///< as the hardware gave it
    Access access;
    bool present;            ///< a mapping is there that does not permit the access
    bool on_table_walk;      ///< the guest's own page-table walk was refused, not the access itself
};
/// The guest waits for an interrupt.
struct Halt {};
/// The guest spins: another vCPU might use the CPU better.
struct Yield {};
/// vCPU `target` (its id) is to start at `entry` with `arg`. complete(): it starts when next bound; fail(): it stays off.
struct CpuUp { std::uint32_t target; GuestPhysAddr entry; std::uint64_t arg; };
/// The guest suspends this vCPU. `power_down`: it restarts at `entry` with `arg` (complete() resets it), else it goes on.
struct CpuSuspend { std::uint64_t state; GuestPhysAddr entry; std::uint64_t arg; bool power_down; bool system; };
/// A software interrupt for other vCPUs, where no interrupt controller is attached. `targets`: bit n is number n of
/// the group of vCPUs `cluster`; `others`: every vCPU but this one.
/// `group`: it is for those targets alone that have it in this group of the controller's.
struct SendIpi { std::uint64_t cluster; std::uint16_t targets; std::uint8_t vector; bool others; std::uint8_t group = 1; };

// Event exits: nothing is outstanding after them.

/// A host interrupt is pending, not acknowledged.
struct ExternalInterrupt {};
/// Somebody asked for this vCPU to leave (Event::kick).
struct Kicked {};
/// The deadline given to run() has passed.
struct TimerExpired {};
/// The guest has ended an interrupt for which a notice was asked.
struct EndOfInterrupt { std::uint32_t vector; };
/// A debug event that the host asked for (set_debug). `address`: the instruction, or the data watched.
struct Debug { std::uint64_t syndrome, address; };
/// A fault or trap of the guest that the policy lets the host see.
struct Exception { std::uint64_t syndrome, address; };
struct Nothing {};
/// A hardware event that has no other name.
struct Unknown { std::uint64_t syndrome; };

// Terminal exits: the vCPU needs a reset before it runs again.

/// The vCPU turned itself off.
struct CpuDown {};
struct SystemDown {};
/// `kind`: 0 cold, 1 warm, else the guest's own code.
struct SystemReset { std::uint64_t kind; };
/// The CPU stopped by itself: not even a fault could be delivered.
struct Shutdown {};
/// The hardware refused to enter the guest. `reason`: as the hardware gave it; `broken`: bits numbering the violated rules.
struct FailEntry { std::uint64_t reason, broken; };

}  // namespace exit

/// How an exit may be answered.
enum class ExitKind : std::uint8_t { instruction, event, terminal };

namespace detail {
template <class... T>
struct Types {
    template <std::size_t I> using at = std::tuple_element_t<I, std::tuple<T...>>;
    static constexpr std::size_t count = sizeof...(T);
    template <class U> static consteval auto index_of() -> std::size_t {
        constexpr std::array same{std::is_same_v<T, U>...};
        static_assert(std::ranges::count(same, true) == 1, "not an exit reason");
        return static_cast<std::size_t>(std::ranges::find(same, true) - same.begin());
    }
};
template <class... F>
struct Overloaded : F... { using F::operator()...; };
template <class... F> Overloaded(F...) -> Overloaded<F...>;

using Reasons = Types<exit::Hypercall, exit::MmioRead, exit::MmioWrite, exit::SysRegRead, exit::SysRegWrite, exit::IoRead,
    exit::IoWrite, exit::NestedPageFault, exit::Halt, exit::Yield, exit::CpuUp, exit::CpuSuspend, exit::SendIpi,
    exit::ExternalInterrupt, exit::Kicked, exit::TimerExpired, exit::EndOfInterrupt, exit::Debug, exit::Exception, exit::Nothing,
    exit::Unknown, exit::CpuDown, exit::SystemDown, exit::SystemReset, exit::Shutdown, exit::FailEntry>;
}  // namespace detail

/// Names of the reasons, by index.
inline constexpr std::array<std::string_view, 26> exit_names{"Hypercall", "MmioRead", "MmioWrite", "SysRegRead", "SysRegWrite", "IoRead",
    "IoWrite", "NestedPageFault", "Halt", "Yield", "CpuUp", "CpuSuspend", "SendIpi", "ExternalInterrupt", "Kicked", "TimerExpired",
    "EndOfInterrupt", "Debug", "Exception", "Nothing", "Unknown", "CpuDown", "SystemDown", "SystemReset", "Shutdown", "FailEntry"};
static_assert(exit_names.size() == detail::Reasons::count);

/// The reason for which run() returned. A closed union: match() calls the one handler that fits.
///
/// The registers of a call are read where they are, by the handler that wants them: run() copies none. A copy of an Exit holds
/// values of its own.
class Exit {
public:
    static constexpr std::size_t reasons = detail::Reasons::count;

    template <class T>
        requires(!std::is_same_v<T, Exit>)
    constexpr Exit(const T& reason) noexcept { *this = reason; }
    constexpr Exit(const Exit& other) noexcept { *this = other; }
    constexpr auto operator=(const Exit& other) noexcept -> Exit& {
        if (this == &other) return *this;
        if (other.is<exit::Hypercall>()) return *this = other.as<exit::Hypercall>();
        __builtin_memcpy(bytes_, other.bytes_, sizeof bytes_);
        index_ = other.index_;
        return *this;
    }
    template <class T>
        requires(!std::is_same_v<T, Exit>)
    [[gnu::always_inline]] constexpr auto operator=(const T& reason) noexcept -> Exit& {
        index_ = detail::Reasons::index_of<T>();
        if constexpr (std::is_same_v<T, exit::Hypercall>) {
            std::ranges::copy(reason.args, call_.begin());
            call_[6] = reason.number;
            call_at(&call_[6], call_.data());
            secure_ = reason.secure;
        } else if constexpr (!std::is_empty_v<T>) {
            static_assert(sizeof(T) <= sizeof bytes_ && std::is_trivially_copyable_v<T>);
            __builtin_memcpy(bytes_, &reason, sizeof(T));
        }
        return *this;
    }
    /// Where a call's number and six arguments stand: for set_call().
    constexpr void call_at(const std::uint64_t* number, const std::uint64_t* args) noexcept {
        number_ = number;
        args_ = args;
    }
    /// A Hypercall whose registers are read from where call_at() said, until the exit is answered.
    [[gnu::always_inline]] inline void set_call(bool secure) noexcept {
        index_ = detail::Reasons::index_of<exit::Hypercall>();
        secure_ = secure;
    }

    /// Number of the reason, below `reasons`; stable within a version of the SDK. For tables and statistics.
    constexpr auto index() const noexcept -> std::size_t {
        __builtin_assume(index_ < reasons);
        return index_;
    }
    template <class T> constexpr auto is() const noexcept -> bool { return index_ == detail::Reasons::index_of<T>(); }
    template <class T> static consteval auto index_of() -> std::size_t { return detail::Reasons::index_of<T>(); }
    /// The reason as a T, where it is one.
    template <class T> auto get() const noexcept -> std::optional<T> {
        if (!is<T>()) return std::nullopt;
        return as<T>();
    }
    constexpr auto kind() const noexcept -> ExitKind {
        return index_ < detail::Reasons::index_of<exit::ExternalInterrupt>() ? ExitKind::instruction
             : index_ < detail::Reasons::index_of<exit::CpuDown>()           ? ExitKind::event
                                                                             : ExitKind::terminal;
    }
    /// Calls the handler that takes this reason; a handler that takes `auto` gets all that no other takes.
    template <class... F> [[gnu::always_inline]] auto match(F&&... handlers) const -> decltype(auto) {
        return dispatch<0>(detail::Overloaded{std::forward<F>(handlers)...});
    }

private:
    template <class T> [[gnu::always_inline]] auto as() const noexcept -> T {
        if constexpr (std::is_same_v<T, exit::Hypercall>) {
            return {*number_, {args_[0], args_[1], args_[2], args_[3], args_[4], args_[5]}, secure_};
        } else {
            T reason;
            __builtin_memcpy(&reason, bytes_, sizeof(T));
            return reason;
        }
    }
    // A chain of comparisons that the compiler makes into one jump: no table of pointers, everything inlined. The first reason, the
    // hypercall, is said to be the likely one: it is then compared before the jump, which costs as much as a short handler.
    template <std::size_t I, class F> [[gnu::always_inline]] auto dispatch(const F& f) const -> decltype(auto) {
        if constexpr (I + 1 == reasons) {
            return f(as<detail::Reasons::at<I>>());
        } else {
            if (__builtin_expect(index_ == I, I == 0)) return f(as<detail::Reasons::at<I>>());
            return dispatch<I + 1>(f);
        }
    }
    std::uint8_t index_ = 0;
    bool secure_ = false;
    alignas(8) unsigned char bytes_[56];
    const std::uint64_t* number_ = nullptr;
    const std::uint64_t* args_ = nullptr;
    std::array<std::uint64_t, 7> call_{};  // of a copy
};

}  // namespace axvcpu
