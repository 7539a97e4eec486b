// QEMU's `virt` machine under the SBI firmware: start, consoles, interrupts, time, power. Addresses: hw/riscv/virt.c's memory map.
module runtime;
import std;

extern "C" {
extern unsigned char __image_end[];
void runtime_secondary() noexcept;
int image_main() asm("main");
}

// aia.cpp: where the machine has AIA, it has no PLIC.
namespace runtime::detail {
void aia_find(const void* tree) noexcept;
auto aia_there() noexcept -> bool;
void aia_start() noexcept;              ///< this CPU's own file
void aia_enable(unsigned source) noexcept;
auto aia_claim() noexcept -> unsigned;  ///< 0: none
void aia_end(unsigned source) noexcept;
}  // namespace runtime::detail

namespace runtime {

namespace {

constexpr std::uint64_t guest_uart = 0x1000'0000, plic = 0x0C00'0000, pci_ports = 0x0300'0000, pci_config = 0x3000'0000;
constexpr unsigned guest_uart_source = 10, first_device = 32;
constexpr std::uint64_t soft = 1 << 1, timer_bit = 1 << 5, external = 1 << 9;  // sie, sip
constinit std::uint64_t report_uart = guest_uart;
constinit std::atomic<void (*)(unsigned)> entries[64]{};
constinit std::atomic<std::uint32_t> sent[64]{};      // bit n: interrupt n was sent to this CPU
constinit std::uint64_t timers[64]{};                 // what set_timer() was last given; each CPU its own

auto reg8(std::uint64_t a) noexcept -> volatile std::uint8_t& { return *reinterpret_cast<volatile std::uint8_t*>(a); }
auto reg32(std::uint64_t a) noexcept -> volatile std::uint32_t& { return *reinterpret_cast<volatile std::uint32_t*>(a); }

void put(std::uint64_t uart, std::uint8_t byte) noexcept {
    while ((reg8(uart + 5) & 0x20) == 0) {}  // LSR.THRE
    reg8(uart) = byte;
}

auto sbi(std::uint64_t extension, std::uint64_t function, std::uint64_t a = 0, std::uint64_t b = 0, std::uint64_t c = 0) noexcept -> std::int64_t {
    register std::uint64_t a0 asm("a0") = a;
    register std::uint64_t a1 asm("a1") = b;
    register std::uint64_t a2 asm("a2") = c;
    register std::uint64_t a6 asm("a6") = function;
    register std::uint64_t a7 asm("a7") = extension;
    asm volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a2), "r"(a6), "r"(a7) : "memory");
    return static_cast<std::int64_t>(a0);
}
constexpr std::uint64_t sbi_time = 0x5449'4D45, sbi_ipi = 0x73'5049, sbi_hsm = 0x48'534D, sbi_reset = 0x5352'5354;

/// The console for reports is a second UART, on the PCI bus (QEMU's pci-serial): it is given its port here.
void find_report_uart() noexcept {
    constexpr std::uint32_t pci_serial = 0x0002'1B36;
    for (std::uint64_t device = 0; device < 32; ++device) {
        const auto config = pci_config + (device << 15);
        if (reg32(config) != pci_serial) continue;
        reg32(config + 0x10) = 0x1000;  // BAR 0: a port
        reg32(config + 0x04) = 1;       // command: I/O space
        report_uart = pci_ports + 0x1000;
        return;
    }
}

/// S-mode's context of a hart at the PLIC.
auto context(unsigned cpu) noexcept -> std::uint64_t { return 2 * detail::cpu_hardware_id(cpu) + 1; }

}  // namespace

auto start_cpu(unsigned cpu, void (*entry)(unsigned)) noexcept -> bool {
    if (cpu >= cpus() || cpu >= 64) return false;
    entries[cpu].store(entry);
    return sbi(sbi_hsm, 0, detail::cpu_hardware_id(cpu), reinterpret_cast<std::uint64_t>(&runtime_secondary), cpu) == 0;
}

void detail::put_report_byte(std::uint8_t byte) noexcept { put(report_uart, byte); }
void put_guest_byte(std::uint8_t byte) noexcept { put(guest_uart, byte); }

auto get_guest_byte() noexcept -> int {
    if ((reg8(guest_uart + 5) & 1) == 0) return -1;  // LSR.DR
    return reg8(guest_uart);
}

auto guest_console_interrupt() noexcept -> unsigned { return first_device + guest_uart_source; }
void start_guest_input() noexcept {
    reg8(guest_uart + 1) = 1;  // IER: received data
    enable_interrupt(guest_console_interrupt());
}

void enable_interrupt(unsigned interrupt) noexcept {
    if (interrupt < first_device) {
        asm volatile("csrs sie, %0" ::"r"(soft));
        return;
    }
    const auto source = interrupt - first_device;
    if (detail::aia_there()) {
        detail::aia_enable(source);
        asm volatile("csrs sie, %0" ::"r"(external));
        return;
    }
    reg32(plic + 4 * source) = 1;                                                    // priority
    auto& enabled = reg32(plic + 0x2000 + 0x80 * context(0) + source / 32 * 4);
    enabled = enabled | 1u << source % 32;
    reg32(plic + 0x20'0000 + 0x1000 * context(0)) = 0;                               // threshold
    asm volatile("csrs sie, %0" ::"r"(external));
}
void enable_guest_interrupts() noexcept { asm volatile("csrs sie, %0" ::"r"(soft | timer_bit | external)); }

void send_interrupt(unsigned cpu, unsigned number) noexcept {
    sent[cpu].fetch_or(1u << number);
    sbi(sbi_ipi, 0, 1, detail::cpu_hardware_id(cpu));
}

auto local_interrupt_controller() noexcept -> volatile void* { return nullptr; }

void mask_interrupts() noexcept { asm volatile("csrci sstatus, 2" ::: "memory"); }
void unmask_interrupts() noexcept { asm volatile("csrsi sstatus, 2" ::: "memory"); }
void wait_for_interrupt() noexcept { asm volatile("wfi" ::: "memory"); }

auto now() noexcept -> std::uint64_t {
    std::uint64_t v;
    asm volatile("rdtime %0" : "=r"(v));
    return v;
}
auto frequency() noexcept -> std::uint64_t { return detail::timebase(); }
void set_timer(std::uint64_t at) noexcept {
    timers[this_cpu()] = at;
    sbi(sbi_time, 0, at);
}
auto timer() noexcept -> std::uint64_t { return timers[this_cpu()]; }

auto set_host_extensions(bool on) noexcept -> bool { return !on; }  // there are none

void detail::interrupts_start() noexcept {
    set_timer(no_timer);
    if (aia_there()) aia_start();
}

void detail::power_off() noexcept {
    sbi(sbi_reset, 0);
    for (;;) wait_for_interrupt();
}

extern "C" void runtime_interrupt(const std::uint64_t*, std::uint64_t cause) noexcept {
    switch (cause & 0xFF) {
        case 1:
            asm volatile("csrc sip, %0" ::"r"(soft));
            for (auto bits = sent[this_cpu()].exchange(0); bits != 0; bits &= bits - 1) detail::run_handler(static_cast<unsigned>(std::countr_zero(bits)));
            break;
        case 5: set_timer(no_timer); break;
        case 9: {
            if (detail::aia_there()) {
                for (unsigned source = detail::aia_claim(); source != 0; source = detail::aia_claim()) {
                    detail::run_handler(first_device + source);
                    detail::aia_end(source);
                }
                break;
            }
            auto& claim = reg32(plic + 0x20'0004 + 0x1000 * context(this_cpu()));
            const auto source = claim;
            if (source == 0) break;
            detail::run_handler(first_device + source);
            claim = source;
            break;
        }
        default: break;
    }
}

/// `frame`: x0-x31, sepc, sstatus as vectors.S left them.
extern "C" void runtime_fault(const std::uint64_t* frame, std::uint64_t cause) noexcept {
    std::uint64_t stval;
    asm volatile("csrr %0, stval" : "=r"(stval));
    detail::report_fault(frame[32], frame[8], {frame, 32}, 'x', {{": scause ", cause}, {", stval ", stval}});
}

extern "C" void runtime_primary(std::uint64_t hart, const void* tree) noexcept {
    detail::parse_device_tree(tree);
    detail::aia_find(tree);
    detail::set_boot_cpu(hart);
    find_report_uart();
    detail::interrupts_start();
    // What the firmware printed before is not the guest's: here begins what is.
    for (const char c : std::string_view("\n@start\n")) put(guest_uart, static_cast<std::uint8_t>(c));
    exit(image_main());
}

extern "C" void runtime_secondary_main(unsigned cpu) noexcept {
    detail::interrupts_start();
    entries[cpu].load()(cpu);
    for (;;) wait_for_interrupt();
}

}  // namespace runtime
