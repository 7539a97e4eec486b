// What a bare-metal image needs besides the SDK: start, consoles, memory, other CPUs, interrupts, time, and an end.
// Knows nothing of virtual machines.
export module runtime;
import std;

export namespace runtime {

/// Number of the calling CPU, from 0.
[[gnu::always_inline]] inline auto this_cpu() noexcept -> unsigned {
    std::uint64_t v;
#if defined(__aarch64__)
    asm volatile("mrs %0, TPIDR_EL2" : "=r"(v));
#elif defined(__riscv)
    asm volatile("mv %0, tp" : "=r"(v));
#else
    v = 0;  // one CPU is started
#endif
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

/// Interrupts of the host: 0 to 15 are sent by CPUs, 32 and up come from devices. A handler runs with interrupts masked and must
/// silence its source. Interrupts without one are ended and forgotten.
void set_handler(unsigned interrupt, void (*handler)(unsigned)) noexcept;
/// Lets an interrupt through: one sent by CPUs to this CPU, a device's to CPU 0.
void enable_interrupt(unsigned interrupt) noexcept;
/// Lets through to this CPU all that ends or follows a guest's run: kicks (0), timers, what the interrupt controller reports. They
/// wake the CPU, and nothing else is done about them; the host's own timer is turned off.
void enable_guest_interrupts() noexcept;
void send_interrupt(unsigned cpu, unsigned number) noexcept;
void mask_interrupts() noexcept;
void unmask_interrupts() noexcept;
/// Waits for an interrupt; call with interrupts masked, take it by unmasking.
void wait_for_interrupt() noexcept;
/// Where this CPU's part of the interrupt controller is mapped (GICv3: RD_base); nullptr where there is none.
auto local_interrupt_controller() noexcept -> volatile void*;
/// This CPU's interrupt file for guests number `n`, from 1 on (RISC-V IMSIC): its page, and how many identities it has. {} where there
/// is none.
struct InterruptFile { std::uint64_t page = 0; std::uint32_t ids = 0; };
auto guest_interrupt_file(unsigned n) noexcept -> InterruptFile;

/// Counter ticks, and ticks a second.
auto now() noexcept -> std::uint64_t;
auto frequency() noexcept -> std::uint64_t;
/// The host's own timer of this CPU: interrupts once `now() >= at`; no_timer turns it off. timer() is what it was set to.
inline constexpr std::uint64_t no_timer = ~std::uint64_t{0};
void set_timer(std::uint64_t at) noexcept;
auto timer() noexcept -> std::uint64_t;

/// Changes between running with and without the virtualization host extensions. On CPU 0, before others start. False: not there.
auto set_host_extensions(bool on) noexcept -> bool;

/// Says `status` to whoever started the machine and turns it off.
[[noreturn]] void exit(int status) noexcept;

/// A lock for short sections; masks nothing.
class Spinlock {
public:
    inline void lock() noexcept { while (!try_lock()) {} }
    inline auto try_lock() noexcept -> bool { return held_.exchange(1, std::memory_order_acquire) == 0; }
    inline void unlock() noexcept { held_.store(0, std::memory_order_release); }

private:
    std::atomic<std::uint32_t> held_{0};  // a word: one AMO where bytes have none (RISC-V)
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

// Between the runtime's own files.
namespace runtime::detail {
void parse_device_tree(const void*) noexcept;
/// What the device tree calls CPU n: MPIDR affinity or hart id. CPU 0 is the one that started.
auto cpu_hardware_id(unsigned cpu) noexcept -> std::uint64_t;
void set_boot_cpu(std::uint64_t hardware_id) noexcept;
auto timebase() noexcept -> std::uint64_t;   ///< /cpus/timebase-frequency
void put_report_byte(std::uint8_t) noexcept;
[[noreturn]] void power_off() noexcept;
void interrupts_start() noexcept;
void run_handler(unsigned interrupt) noexcept;
/// A fault of the host itself: one line of where, the callers by frame pointer, the registers, the end.
[[noreturn]] void report_fault(std::uint64_t pc, std::uint64_t frame_pointer, std::span<const std::uint64_t> registers, char letter,
                               std::initializer_list<std::pair<std::string_view, std::uint64_t>> facts) noexcept;
}  // namespace runtime::detail
