// The host's GICv3: distributor, this CPU's redistributor, and the dispatch of what it takes.
module runtime;
import std;

namespace runtime {

namespace {
constexpr std::uint64_t distributor = 0x0800'0000, redistributors = 0x080A'0000;

auto reg32(std::uint64_t address) noexcept -> volatile std::uint32_t& { return *reinterpret_cast<volatile std::uint32_t*>(address); }
auto local() noexcept -> std::uint64_t { return redistributors + 0x2'0000ull * this_cpu(); }

auto group1_registers(unsigned word) noexcept -> std::uint64_t { return word == 0 ? local() + 0x1'0000 : distributor; }
}  // namespace

namespace detail {
void interrupts_start() noexcept {
    std::uint64_t features;
    asm volatile("mrs %0, ID_AA64PFR0_EL1" : "=r"(features));
    if ((features >> 24 & 15) == 0) return;  // no GICv3: no interrupts here, and the SDK says why it will not run guests
    asm volatile("msr S3_4_C12_C9_5, %0\n isb" :: "r"(std::uint64_t{0xF}));  // ICC_SRE_EL2
    if (this_cpu() == 0) {
        reg32(distributor) = 0x12;  // GICD_CTLR: ARE_NS, EnableGrp1
        while ((reg32(distributor) & 1u << 31) != 0) {}
    }
    reg32(local() + 0x14) = 0;  // GICR_WAKER
    while ((reg32(local() + 0x14) & 4) != 0) {}
    reg32(local() + 0x1'0000 + 0x80) = ~0u;   // IGROUPR0: all group 1
    reg32(local() + 0x1'0000 + 0x180) = ~0u;  // ICENABLER0
    for (unsigned i = 0; i < 32; i += 4) reg32(local() + 0x1'0000 + 0x400 + i) = 0xA0A0'A0A0;
    reg32(local() + 0x1'0000 + 0x100) = 0xFFFF;  // SGIs
    asm volatile("msr S3_0_C12_C12_5, %0" :: "r"(std::uint64_t{7}));     // ICC_SRE_EL1
    asm volatile("isb\n msr S3_0_C4_C6_0, %0" :: "r"(std::uint64_t{0xF0}));   // ICC_PMR_EL1
    asm volatile("msr S3_0_C12_C12_7, %0\n isb" :: "r"(std::uint64_t{1}));    // ICC_IGRPEN1_EL1
}
}  // namespace detail

void enable_interrupt(unsigned interrupt) noexcept {
    const unsigned word = interrupt / 32;
    const auto base = group1_registers(word);
    if (word != 0) {
        reg32(base + 0x80 + 4 * word) = reg32(base + 0x80 + 4 * word) | 1u << interrupt % 32;
        *reinterpret_cast<volatile std::uint64_t*>(distributor + 0x6000 + 8 * interrupt) = 0;  // to CPU 0
    }
    reg32(base + 0x100 + 4 * word) = 1u << interrupt % 32;
}

void enable_guest_interrupts() noexcept {
    // Kicks; the deadline of run(); the guests' timers; the list registers' maintenance; this CPU's own timer.
    set_handler(26, [](unsigned) { set_timer(no_timer); });
    for (const unsigned id : {0u, 30u, 27u, 25u, 26u}) enable_interrupt(id);
}

void send_interrupt(unsigned cpu, unsigned number) noexcept {
    const std::uint64_t v = std::uint64_t{number} << 24 | std::uint64_t{cpu >> 4} << 16 | std::uint64_t{1} << (cpu & 15);
    asm volatile("dsb ishst\n msr S3_0_C12_C11_5, %0\n isb" :: "r"(v) : "memory");  // ICC_SGI1R_EL1
}

auto local_interrupt_controller() noexcept -> volatile void* { return reinterpret_cast<volatile void*>(local()); }

extern "C" void runtime_interrupt() noexcept {
    std::uint64_t id;
    asm volatile("mrs %0, S3_0_C12_C12_0" : "=r"(id));  // ICC_IAR1_EL1
    if (id >= 1020) return;
    detail::run_handler(static_cast<unsigned>(id));
    asm volatile("msr S3_0_C12_C12_1, %0" :: "r"(id));  // ICC_EOIR1_EL1
}

}  // namespace runtime
