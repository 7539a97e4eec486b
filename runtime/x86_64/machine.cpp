// A PC as QEMU makes it, started by PVH: consoles, interrupts through the local APIC (x2APIC mode), time, the end. One CPU.
// Sources: AMD64 Architecture Programmer's Manual, volume 2, Advanced Programmable Interrupt Controller; 8254 and 16550 data sheets.
module runtime;
import std;

extern "C" {
extern unsigned char __image_end[];
extern const unsigned char runtime_vectors[];
int image_main() asm("main");
}

namespace runtime {

namespace {

constexpr std::uint16_t com1 = 0x3F8, com2 = 0x2F8, debug_exit = 0xF4;  // isa-debug-exit,iobase=0xf4
constexpr unsigned first_vector = 32, timer_vector = 0xF0, spurious_vector = 0xFF;

/// What QEMU's PVH loader leaves (struct hvm_start_info).
struct StartInfo {
    std::uint32_t magic, version, flags, modules;
    std::uint64_t module_list, command_line, rsdp, memory_map;
    std::uint32_t memory_map_entries, reserved;
};
struct MemoryMapEntry { std::uint64_t address, size; std::uint32_t type, reserved; };

constinit std::string_view boot_arguments{};
constinit Memory ram{};
constinit std::uint64_t tsc_hz = 0, timer_hz = 0;   // of the TSC, of the APIC timer divided by 16
constinit std::uint64_t timer_at = no_timer;

auto in8(std::uint16_t port) noexcept -> std::uint8_t {
    std::uint8_t v;
    asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
void out8(std::uint16_t port, std::uint8_t v) noexcept { asm volatile("outb %0, %1" ::"a"(v), "Nd"(port)); }
auto rdmsr(std::uint32_t msr) noexcept -> std::uint64_t {
    std::uint32_t low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return low | std::uint64_t{high} << 32;
}
void wrmsr(std::uint32_t msr, std::uint64_t v) noexcept {
    asm volatile("wrmsr" ::"a"(static_cast<std::uint32_t>(v)), "d"(static_cast<std::uint32_t>(v >> 32)), "c"(msr) : "memory");
}

namespace apic {  // MSRs of x2APIC mode
constexpr std::uint32_t base = 0x1B, eoi = 0x80B, spurious = 0x80F, command = 0x830, timer = 0x832, initial = 0x838, current = 0x839, divide = 0x83E;
}

void put(std::uint16_t uart, std::uint8_t byte) noexcept {
    while ((in8(uart + 5) & 0x20) == 0) {}  // LSR.THRE
    out8(uart, byte);
}

struct [[gnu::packed]] Gate { std::uint16_t low, selector, type; std::uint16_t middle; std::uint32_t high, reserved; };
constinit Gate idt[256]{};

void load_idt() noexcept {
    for (unsigned n = 0; n < 256; ++n) {
        const auto at = reinterpret_cast<std::uint64_t>(runtime_vectors) + 16 * n;
        idt[n] = {static_cast<std::uint16_t>(at), 8, 0x8E00, static_cast<std::uint16_t>(at >> 16), static_cast<std::uint32_t>(at >> 32), 0};
    }
    struct [[gnu::packed]] { std::uint16_t limit; std::uint64_t base; } pointer{sizeof idt - 1, reinterpret_cast<std::uint64_t>(idt)};
    asm volatile("lidt %0" ::"m"(pointer));
}

/// Counts both clocks for 10 ms of the PIT's channel 2.
void calibrate() noexcept {
    constexpr std::uint32_t pit_hz = 1'193'182, share = 100;
    wrmsr(apic::divide, 3);  // by 16
    wrmsr(apic::timer, 1 << 16 | timer_vector);
    out8(0x61, (in8(0x61) & ~2) | 1);  // gate on, speaker off
    out8(0x43, 0xB0);                  // channel 2, both bytes, mode 0
    out8(0x42, (pit_hz / share) & 0xFF);
    out8(0x42, (pit_hz / share) >> 8);
    const auto start = now();
    wrmsr(apic::initial, ~0u);
    while ((in8(0x61) & 0x20) == 0) {}
    tsc_hz = (now() - start) * share;
    timer_hz = (0xFFFF'FFFF - rdmsr(apic::current)) * share;
    wrmsr(apic::initial, 0);
    wrmsr(apic::timer, timer_vector);  // one shot, not masked any more
}

}  // namespace

auto cpus() noexcept -> unsigned { return 1; }
auto guest_interrupt_file(unsigned) noexcept -> InterruptFile { return {}; }
auto start_cpu(unsigned, void (*)(unsigned)) noexcept -> bool { return false; }
auto arguments() noexcept -> std::string_view { return boot_arguments; }
auto device_tree() noexcept -> const void* { return nullptr; }
auto memory() noexcept -> Memory { return ram; }

void detail::put_report_byte(std::uint8_t byte) noexcept { put(com2, byte); }
void put_guest_byte(std::uint8_t byte) noexcept { put(com1, byte); }
auto get_guest_byte() noexcept -> int { return (in8(com1 + 5) & 1) == 0 ? -1 : in8(com1); }
auto guest_console_interrupt() noexcept -> unsigned { return first_vector + 4; }
void start_guest_input() noexcept {}  // the IOAPIC is not set up: nothing on this machine reads the console yet

void enable_interrupt(unsigned) noexcept {}  // the local APIC lets every vector through
void enable_guest_interrupts() noexcept {}
void send_interrupt(unsigned, unsigned number) noexcept { wrmsr(apic::command, 1 << 18 | (first_vector + number)); }  // to self, fixed
auto local_interrupt_controller() noexcept -> volatile void* { return nullptr; }

void mask_interrupts() noexcept { asm volatile("cli" ::: "memory"); }
void unmask_interrupts() noexcept { asm volatile("sti\n nop" ::: "memory"); }
void wait_for_interrupt() noexcept { asm volatile("sti\n hlt\n cli" ::: "memory"); }

auto now() noexcept -> std::uint64_t {
    std::uint32_t low, high;
    asm volatile("rdtsc" : "=a"(low), "=d"(high));
    return low | std::uint64_t{high} << 32;
}
auto frequency() noexcept -> std::uint64_t { return tsc_hz; }
void set_timer(std::uint64_t at) noexcept {
    timer_at = at;
    if (at == no_timer) return wrmsr(apic::initial, 0);
    const auto t = now();
    // At most a second at a time: runtime_interrupt() sets it again.
    wrmsr(apic::initial, at <= t ? 1 : std::min(at - t, tsc_hz) * timer_hz / tsc_hz + 1);
}
auto timer() noexcept -> std::uint64_t { return timer_at; }

auto set_host_extensions(bool on) noexcept -> bool { return !on; }  // there are none

void detail::interrupts_start() noexcept {
    out8(0x21, 0xFF);  // both 8259s masked
    out8(0xA1, 0xFF);
    load_idt();
    wrmsr(apic::base, rdmsr(apic::base) | 3 << 10);  // x2APIC mode
    wrmsr(apic::spurious, 1 << 8 | spurious_vector);
    calibrate();
}

void detail::power_off() noexcept {
    out8(debug_exit, 0);
    for (;;) asm volatile("cli\n hlt");
}

/// `frame`: rax, rbx, rcx, rdx, rbp, rsi, rdi, r8-r15, vector, error code, rip, cs, rflags, rsp, ss as vectors.S left them.
extern "C" void runtime_interrupt(const std::uint64_t* frame) noexcept {
    const auto vector = static_cast<unsigned>(frame[15]);
    if (vector == spurious_vector) return;
    wrmsr(apic::eoi, 0);
    if (vector == timer_vector) {
        if (timer_at != no_timer && now() < timer_at) set_timer(timer_at);
        else timer_at = no_timer;
        return;
    }
    detail::run_handler(vector - first_vector);
}

extern "C" void runtime_fault(const std::uint64_t* frame) noexcept {
    std::uint64_t cr2;
    asm volatile("mov %%cr2, %0" : "=r"(cr2));
    detail::report_fault(frame[17], frame[4], {frame, 15}, 'r', {{": vector ", frame[15]}, {", error code ", frame[16]}, {", CR2 ", cr2}, {", RSP ", frame[20]}});
}

extern "C" void runtime_primary(const StartInfo* info) noexcept {
    const auto* text = reinterpret_cast<const char*>(info->command_line);
    boot_arguments = text != nullptr ? std::string_view(text) : std::string_view{};
    const auto* map = reinterpret_cast<const MemoryMapEntry*>(info->memory_map);
    for (unsigned i = 0; i < info->memory_map_entries; ++i)
        if (map[i].type == 1 && map[i].size > ram.size && map[i].address < 0x1'0000'0000) ram = {map[i].address, map[i].size, reinterpret_cast<std::uint64_t>(__image_end)};
    detail::interrupts_start();
    // What the firmware printed before is not the guest's: here begins what is.
    for (const char c : std::string_view("\n@start\n")) put_guest_byte(static_cast<std::uint8_t>(c));
    exit(image_main());
}

}  // namespace runtime
