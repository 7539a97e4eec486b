// The example hypervisor's own types: what its files share.
#pragma once
import std;
import axvcpu;
import axvcpu.arch;
import runtime;
#include "machine.hpp"

namespace hypervisor {

using namespace axvcpu;

/// The HAL: the image runs with memory mapped one to one.
struct Host {
    static auto virt_to_phys(const void* p) noexcept -> HostPhysAddr { return {reinterpret_cast<std::uint64_t>(p)}; }
    static auto phys_to_virt(HostPhysAddr a) noexcept -> void* { return reinterpret_cast<void*>(a.value); }
    static auto this_cpu() noexcept -> CpuId { return CpuId{runtime::this_cpu()}; }
    static void kick(CpuId cpu) noexcept { runtime::send_interrupt(static_cast<unsigned>(cpu), 0); }
    static auto local_interrupt_controller() noexcept -> volatile void* { return runtime::local_interrupt_controller(); }
    static auto guest_message_page(std::uint32_t n) noexcept -> GuestMessagePage {
        const auto file = runtime::guest_interrupt_file(n);
        return {{file.page}, file.ids};
    }
    static void wake(std::uint32_t vm, std::uint32_t vcpu) noexcept;
    static auto timer() noexcept -> std::uint64_t { return runtime::timer(); }
    static void set_timer(std::uint64_t at) noexcept { runtime::set_timer(at); }
    /// The measuring call's twin, answered before run() comes back; for VMs that ask for it (option `fast`).
    static auto fast_exit(FastExit& e) noexcept -> bool {
        if (!fast::is_call(e) || fast::number(e) != measuring_call + 1) return false;
        fast::answer(e, fast::argument(e, 0) + fast::argument(e, 1));
        return true;
    }
};

/// A file that QEMU put into RAM.
struct Blob {
    std::uint64_t address = 0, size = 0;
    auto data() const noexcept -> const unsigned char* { return reinterpret_cast<const unsigned char*>(address); }
};

/// What the machine's command line asks for.
struct Options {
    unsigned vms = 1, vcpus = 1, cpus = 1;
    std::uint64_t memory = 512;  ///< MiB a VM
    Blob kernel, initrd, device_tree;
    std::optional<std::uint64_t> flat;
    bool passthrough_interrupts = false, passthrough_timer = false;
    bool aia = false;            ///< RISC-V: the guests have IMSICs and an APLIC, not a PLIC
    bool stats = false;          ///< the time of exits is measured
    bool fast = false;           ///< the VMs' calls are shown to Host::fast_exit first
    bool lazy_fp = false;        ///< floating point is loaded at a guest's first use
    std::uint64_t seed = 1;
    std::string_view guest_arguments;
    std::string_view host_extensions = "auto";
};
auto parse(std::string_view arguments) -> Options;

/// Pages for stage-2 tables and VMs, from the RAM behind the image. Freed pages are kept for the next taker.
auto take_page() noexcept -> HostPhysAddr;
void give_page(HostPhysAddr) noexcept;
auto take_region(std::uint64_t size, std::uint64_t alignment) noexcept -> HostPhysAddr;
void add_memory(std::uint64_t start, std::uint64_t end) noexcept;

inline constexpr unsigned max_vcpus = 64;

class Guest;

/// A vCPU as the scheduler sees it. All fields but `vcpu` belong to the scheduler's lock.
struct Thread {
    enum class Phase : std::uint8_t { off, ready, running, blocked };
    Guest* guest = nullptr;
    Vcpu<Host>* vcpu = nullptr;
    Phase phase = Phase::off;
    bool start = false;           ///< turned on by another vCPU while it was still leaving its CPU
    std::uint64_t deadline = no_deadline;
    Thread* next = nullptr;       ///< in the ready queue
    std::array<std::uint64_t, Exit::reasons> exits{};  ///< counted by whoever runs it
};

/// One virtual machine.
class Guest {
public:
    enum class End : std::uint8_t { none, off, reset, crashed };

    Guest(unsigned number, const Options&, HostPhysAddr ram) noexcept;
    /// Loads the image and writes the device tree. False with a report when the image does not fit.
    auto load() noexcept -> bool;
    auto thread(unsigned vcpu) noexcept -> Thread& { return threads_[vcpu]; }
    auto vcpus() const noexcept -> unsigned { return options_.vcpus; }
    auto number() const noexcept -> unsigned { return number_; }
    auto end() const noexcept -> End { return end_.load(std::memory_order_acquire); }
    auto passthrough() const noexcept -> bool { return options_.passthrough_interrupts; }
    /// Answers an exit. What the scheduler must do with the vCPU then.
    enum class Next : std::uint32_t { run, look, block, yield, stop };
    [[gnu::always_inline]] inline auto handle(Thread&, Vcpu<Host>::Bound&, const Exit&) noexcept -> Next;
    void receive(std::uint8_t byte) noexcept;
    /// A VM whose last vCPU has turned itself off has nobody who could turn one on again. Requires the scheduler's lock.
    void finish_if_off() noexcept;
    auto exits(std::size_t reason) const noexcept -> std::uint64_t;

private:
    struct Extent { std::uint64_t start, end; };
    auto load_image() noexcept -> std::optional<Extent>;
    auto place(GuestPhysAddr, const unsigned char* from, std::uint64_t size) noexcept -> bool;
    auto read_uart(std::uint64_t offset, unsigned width) noexcept -> std::uint64_t;
    void write_uart(std::uint64_t offset, unsigned width, std::uint64_t value) noexcept;
    auto fault(Vcpu<Host>::Bound&, GuestPhysAddr, bool present) noexcept -> Next;
    auto handle_other(Vcpu<Host>::Bound&, const Exit&) noexcept -> Next;
    auto power_on(Vcpu<Host>::Bound&, const exit::CpuUp&) noexcept -> Next;
    auto finish(End) noexcept -> Next;
    void crash(const char* what, const Exit&, Vcpu<Host>::Bound&) noexcept;
    void transmit(std::uint8_t byte) noexcept;
    void update_uart_line() noexcept;
    auto vm_config() noexcept -> VmConfig;
    auto vcpu_config(unsigned vcpu) noexcept -> std::optional<CreateConfig>;
    auto write_device_tree(std::uint64_t initrd_start, std::uint64_t initrd_end) noexcept -> bool;

    std::atomic<End> end_{End::none};  // first, as the scheduler looks at it often
    unsigned number_;
    const Options& options_;
    HostPhysAddr memory_;
    GuestRange ram_[1];
    runtime::Spinlock uart_lock_;    // with the UART before what is large: each access reaches them
    Uart uart_;
    bool uart_line_ = false;         // as the controller was told
    GuestPhysAddr entry_{}, tree_{};
    Stage2 stage2_;
    Slot slots_[max_vcpus];
    Vm<Host> vm_;
    Controller controller_;
    std::array<char, 256> line_{};   // of the console, where several VMs share it
    std::size_t line_length_ = 0;
    Thread threads_[max_vcpus];
};

/// The exits that come often; the rest is in guest.cpp.
inline auto Guest::handle(Thread& t, Vcpu<Host>::Bound& on_cpu, const Exit& e) noexcept -> Next {
    ++t.exits[e.index()];
    return e.match(
        [&](exit::Hypercall h) __attribute__((always_inline)) {
            // Calls of our own, for measuring: two give back the sum of their arguments, a third one leaves the CPU to whoever waits.
            // Everything else is not supported.
            const auto n = h.number - measuring_call;
            if (n < 2) [[likely]] return static_cast<void>(on_cpu.complete(h.args[0] + h.args[1])), Next::run;
            if (n == 2) return static_cast<void>(on_cpu.complete()), Next::yield;
            return static_cast<void>(on_cpu.fail()), Next::run;
        },
        [&](exit::MmioRead m) __attribute__((always_inline)) {
            const auto offset = m.addr.value - uart_base.value;
            static_cast<void>(offset < Uart::size ? on_cpu.complete(read_uart(offset, m.width)) : on_cpu.fail());
            return Next::run;
        },
        [&](exit::MmioWrite m) __attribute__((always_inline)) {
            const auto offset = m.addr.value - uart_base.value;
            if (offset >= Uart::size) return static_cast<void>(on_cpu.fail()), Next::run;
            write_uart(offset, m.width, m.value);
            static_cast<void>(on_cpu.complete());
            return Next::run;
        },
        [&](exit::NestedPageFault f) __attribute__((always_inline)) { return fault(on_cpu, f.addr, f.present); },
        [&](auto) __attribute__((always_inline)) { return handle_other(on_cpu, e); });
}

/// The scheduler: each CPU takes the next ready vCPU, for `slice` ticks while others wait.
[[noreturn]] void schedule_forever(unsigned cpu, bool measured) noexcept;
void print_cost() noexcept;  // "@cost TICKS-IN-THE-HOST TICKS-IN-GUESTS TICKS-A-SECOND"
void make_ready(Thread&) noexcept;
auto guest(unsigned number) noexcept -> Guest*;
auto guests() noexcept -> unsigned;
void guest_ended() noexcept;
auto enable_cpu() noexcept -> bool;
auto this_percpu() noexcept -> PerCpu<Host>&;
auto capabilities() noexcept -> const Capabilities&;  // of CPU 0; all are alike

// What differs by architecture: ARCH/machine.cpp.
class TreeWriter;
void map_passthrough(Stage2&, unsigned vcpus) noexcept;
void write_machine(TreeWriter&, const Options&) noexcept;
void print_state(const Vcpu<Host>&) noexcept;

void say(std::initializer_list<std::string_view> words) noexcept;

}  // namespace hypervisor
