// QEMU's `virt` machine: start, consoles, time, power. Addresses: hw/arm/virt.c's memory map, as its device tree says too.
module runtime;
import std;

extern "C" {
extern unsigned char __image_end[];
extern std::uint32_t runtime_host_extensions;
void runtime_set_mode(std::uint64_t vhe) noexcept;
void runtime_secondary() noexcept;
int image_main() asm("main");
}

namespace runtime {

namespace {

constexpr std::uint64_t guest_uart = 0x0900'0000, report_uart = 0x0904'0000, ram_start = 0x4000'0000;  // QEMU puts the device tree at the start of RAM
constinit std::atomic<void (*)(unsigned)> entries[64]{};

auto reg32(std::uint64_t address) noexcept -> volatile std::uint32_t& { return *reinterpret_cast<volatile std::uint32_t*>(address); }

void put(std::uint64_t uart, std::uint8_t byte) noexcept {
    while ((reg32(uart + 0x18) & 0x20) != 0) {}  // FR.TXFF
    reg32(uart) = byte;
}

auto smc(std::uint64_t function, std::uint64_t a = 0, std::uint64_t b = 0, std::uint64_t c = 0) noexcept -> std::uint64_t {
    register std::uint64_t x0 asm("x0") = function;
    register std::uint64_t x1 asm("x1") = a;
    register std::uint64_t x2 asm("x2") = b;
    register std::uint64_t x3 asm("x3") = c;
    asm volatile("smc #0" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3) :: "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13",
                 "x14", "x15", "x16", "x17", "memory");
    return x0;
}

}  // namespace

auto guest_interrupt_file(unsigned) noexcept -> InterruptFile { return {}; }

auto start_cpu(unsigned cpu, void (*entry)(unsigned)) noexcept -> bool {
    if (cpu >= cpus() || cpu >= 64) return false;
    entries[cpu].store(entry);
    return smc(0xC400'0003, detail::cpu_hardware_id(cpu), reinterpret_cast<std::uint64_t>(&runtime_secondary), cpu) == 0;  // PSCI CPU_ON
}

void detail::put_report_byte(std::uint8_t byte) noexcept { put(report_uart, byte); }
void put_guest_byte(std::uint8_t byte) noexcept { put(guest_uart, byte); }

auto get_guest_byte() noexcept -> int {
    if ((reg32(guest_uart + 0x18) & 0x10) != 0) return -1;  // FR.RXFE
    return static_cast<int>(reg32(guest_uart) & 0xFF);
}

auto guest_console_interrupt() noexcept -> unsigned { return 33; }
void start_guest_input() noexcept {
    reg32(guest_uart + 0x30) = 0x301;      // CR: on, both directions
    reg32(guest_uart + 0x38) = 0x50;       // IMSC: receive, receive timeout
    enable_interrupt(guest_console_interrupt());
}

void mask_interrupts() noexcept { asm volatile("msr daifset, #2" ::: "memory"); }
void unmask_interrupts() noexcept { asm volatile("msr daifclr, #2" ::: "memory"); }
void wait_for_interrupt() noexcept { asm volatile("dsb sy\n wfi" ::: "memory"); }

auto now() noexcept -> std::uint64_t {
    std::uint64_t v;
    asm volatile("isb\n mrs %0, CNTPCT_EL0" : "=r"(v));
    return v;
}
auto frequency() noexcept -> std::uint64_t {
    std::uint64_t v;
    asm volatile("mrs %0, CNTFRQ_EL0" : "=r"(v));
    return v;
}
void set_timer(std::uint64_t at) noexcept {
    if (at == no_timer) {
        asm volatile("msr CNTHP_CTL_EL2, xzr\n isb");
        return;
    }
    asm volatile("msr CNTHP_CVAL_EL2, %0\n msr CNTHP_CTL_EL2, %1\n isb" :: "r"(at), "r"(std::uint64_t{1}));
}

auto set_host_extensions(bool on) noexcept -> bool {
    std::uint64_t mmfr1;
    asm volatile("mrs %0, ID_AA64MMFR1_EL1" : "=r"(mmfr1));
    if (on && (mmfr1 >> 8 & 0xF) == 0) return false;
    runtime_host_extensions = on;
    runtime_set_mode(on);
    return true;
}

auto timer() noexcept -> std::uint64_t {
    std::uint64_t control, compare;
    asm volatile("mrs %0, CNTHP_CTL_EL2\n mrs %1, CNTHP_CVAL_EL2" : "=r"(control), "=r"(compare));
    return (control & 1) != 0 ? compare : no_timer;
}

void detail::power_off() noexcept {
    smc(0x8400'0008);  // PSCI SYSTEM_OFF
    for (;;) wait_for_interrupt();
}

extern "C" void runtime_primary() noexcept {
    detail::parse_device_tree(reinterpret_cast<const void*>(ram_start));
    detail::set_boot_cpu(0);
    detail::interrupts_start();
    exit(image_main());
}

extern "C" void runtime_secondary_main(unsigned cpu) noexcept {
    detail::interrupts_start();
    entries[cpu].load()(cpu);
    for (;;) wait_for_interrupt();
}

/// `frame`: x0-x30, ELR_EL2, SPSR_EL2 as vectors.S left them.
extern "C" void runtime_fault(const std::uint64_t* frame, std::uint64_t vector) noexcept {
    std::uint64_t esr, far;
    asm volatile("mrs %0, ESR_EL2\n mrs %1, FAR_EL2" : "=r"(esr), "=r"(far));
    detail::report_fault(frame[31], frame[29], {frame, 31}, 'x', {{": vector ", vector}, {", ESR_EL2 ", esr}, {", FAR_EL2 ", far}});
}

}  // namespace runtime
