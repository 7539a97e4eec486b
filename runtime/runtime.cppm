// What a bare-metal image needs besides the SDK: start, consoles, memory, other CPUs, interrupts, time, and an end.
// Knows nothing of virtual machines.
export module runtime;
import std;

export namespace runtime {

/// Number of the calling CPU, from 0.
[[gnu::always_inline]] inline auto this_cpu() noexcept -> unsigned {
    std::uint64_t v;
    asm volatile("mrs %0, TPIDR_EL2" : "=r"(v));
    return static_cast<unsigned>(v);
}
/// CPUs of the machine.
auto cpus() noexcept -> unsigned;
/// Starts CPU `cpu` in `entry(cpu)`, with interrupts masked. False: there is no such CPU, or it runs already.
auto start_cpu(unsigned cpu, void (*entry)(unsigned)) noexcept -> bool;

/// What stands in /chosen/bootargs of the machine's device tree.
auto arguments() noexcept -> std::string_view;
/// The machine's device tree.
auto device_tree() noexcept -> const void*;
/// RAM as the device tree gives it; what the image itself occupies ends at `image_end`.
struct Memory { std::uint64_t start, size, image_end; };
auto memory() noexcept -> Memory;

/// The console for reports; whole strings come out unmixed when several CPUs write.
void print(std::string_view) noexcept;
void print_hex(std::uint64_t) noexcept;
void print_decimal(std::uint64_t) noexcept;
/// The console that a guest's output goes to, and what arrives on it (-1: nothing).
void put_guest_byte(std::uint8_t) noexcept;
auto get_guest_byte() noexcept -> int;
/// Interrupt of the guest console's receiver.
auto guest_console_interrupt() noexcept -> unsigned;
/// Lets the receiver interrupt CPU 0.
void start_guest_input() noexcept;

/// Interrupts of the host. A handler runs with interrupts masked and must silence its source. Interrupts without one are ended
/// and forgotten.
void set_handler(unsigned interrupt, void (*handler)(unsigned)) noexcept;
/// Lets an interrupt through to this CPU (SGI, PPI) or to CPU 0 (SPI).
void enable_interrupt(unsigned interrupt) noexcept;
void send_interrupt(unsigned cpu, unsigned sgi) noexcept;
void mask_interrupts() noexcept;
void unmask_interrupts() noexcept;
/// Waits for an interrupt; call with interrupts masked, take it by unmasking.
void wait_for_interrupt() noexcept;
/// Where this CPU's part of the interrupt controller is mapped (GICv3: RD_base).
auto local_interrupt_controller() noexcept -> volatile void*;

/// Counter ticks, and ticks a second.
auto now() noexcept -> std::uint64_t;
auto frequency() noexcept -> std::uint64_t;
/// The host's own timer of this CPU: interrupts once `now() >= at`; no_timer turns it off.
inline constexpr std::uint64_t no_timer = ~std::uint64_t{0};
void set_timer(std::uint64_t at) noexcept;

/// Changes between running with and without the virtualization host extensions. On CPU 0, before others start. False: not there.
auto set_host_extensions(bool on) noexcept -> bool;

/// Says `status` to whoever started the machine and turns it off.
[[noreturn]] void exit(int status) noexcept;

/// A lock for short sections; masks nothing.
class Spinlock {
public:
    inline void lock() noexcept { while (!try_lock()) {} }
    inline auto try_lock() noexcept -> bool { return !held_.test_and_set(std::memory_order_acquire); }
    inline void unlock() noexcept { held_.clear(std::memory_order_release); }

private:
    std::atomic_flag held_{};
};

/// Holds a lock for a scope.
class [[nodiscard]] Guard {
public:
    inline explicit Guard(Spinlock& lock) noexcept : lock_(lock) { lock_.lock(); }
    inline ~Guard() { lock_.unlock(); }
    Guard(const Guard&) = delete;
    auto operator=(const Guard&) -> Guard& = delete;

private:
    Spinlock& lock_;
};

}  // namespace runtime
