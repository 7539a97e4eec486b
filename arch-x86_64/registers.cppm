// x86_64: the registers of a vCPU, each in one line. Layout and encodings only; compiles on any host.
// Source: AMD64 Architecture Programmer's Manual, volume 2 (APM 2 below), appendix "Layout of VMCB".
export module axvcpu.x86_64:registers;
import std;
import axvcpu.reg;

export namespace axvcpu::x86_64 {

/// Where a register is. `number`: the MSR's number, or one of ours for what no MSR names (group core). `field`: its place in the
/// control block, in bytes, where the hardware keeps it there; 0: it is not there.
struct Place {
    static constexpr std::uint8_t arch = 3;
    std::uint32_t number;
    std::uint16_t field = 0;
    constexpr auto packed() const noexcept -> std::uint32_t { return number; }
    friend constexpr bool operator==(const Place& a, const Place& b) noexcept { return a.number == b.number; }
};

/// What a CPU may lack. Bits of Capabilities::features.
enum class Feature : std::uint8_t { base, next_rip, flush_by_asid, gib_pages, count };

using reg::Policy;
using Register = reg::Register<Place, Feature>;

namespace detail {
consteval auto general(std::string_view name, std::uint8_t number) -> Register {
    return {name, {number}, Policy::every_entry, 0, ~std::uint64_t{0}, Feature::base, reg::Class::core};
}
/// The control block has it: the hardware itself moves it on every entry and exit.
consteval auto block(std::string_view name, std::uint32_t number, std::uint16_t field, std::uint64_t reset = 0, std::uint8_t log2_bytes = 3,
                     std::uint64_t writable = ~std::uint64_t{0}) -> Register {
    return {name, {number, field}, Policy::control_block, reset, writable, Feature::base, reg::Class::core, log2_bytes};
}
consteval auto msr(std::string_view name, std::uint32_t number, std::uint16_t field, std::uint64_t reset = 0) -> Register {
    return {name, {number, field}, Policy::control_block, reset};
}
consteval auto debug(std::string_view name, std::uint8_t number) -> Register {
    return {name, {number}, Policy::on_bind, 0, ~std::uint64_t{0}, Feature::base, reg::Class::core};
}
consteval auto host(std::string_view name, std::uint32_t number) -> Register { return {name, {number}, Policy::host_owned, 0, 0}; }
/// Selector, attributes (as the block packs them: type, S, DPL, P, AVL, L, D/B, G), limit, base. Numbers from `number` on.
#define AXVCPU_SEGMENT(name, number, field, attributes, limit) \
    detail::block(name ".selector", number, field, 0, 1), detail::block(name ".attributes", number + 1, field + 2, attributes, 1), \
    detail::block(name ".limit", number + 2, field + 4, limit, 2), detail::block(name ".base", number + 3, field + 8)
}  // namespace detail

/// Every register of the SDK. The first six are a hypercall's arguments, in order; the reset values are those of 32-bit protected mode
/// without paging, flat segments: what a vCPU starts in (multiboot's machine state).
inline constexpr std::array registers{
    detail::general("RDI", 7), detail::general("RSI", 6), detail::general("RDX", 2), detail::general("RCX", 1), detail::general("R8", 8),
    detail::general("R9", 9), detail::general("R10", 10), detail::general("R11", 11), detail::general("RBX", 3), detail::general("RBP", 5),
    detail::general("R12", 12), detail::general("R13", 13), detail::general("R14", 14), detail::general("R15", 15),
    detail::block("RAX", 0, 0x5F8), detail::block("RSP", 4, 0x5D8), detail::block("RIP", 16, 0x578), detail::block("RFLAGS", 17, 0x570, 2),
    detail::block("CPL", 24, 0x4CB, 0, 0, 3),
    // What is about to be delivered, and what holds interrupts back; CR8 is V_TPR. Numbers of our own.
    detail::block("EVENTINJ", 25, 0x0A8, 0, 3, 0xFFFF'FFFF'8000'0FFF), detail::block("INTERRUPT_SHADOW", 26, 0x068, 0, 3, 1), detail::block("V_TPR", 27, 0x060, 0, 0, 0xF),

    detail::block("CR0", 32, 0x558, 0x11), detail::block("CR2", 34, 0x640), detail::block("CR3", 35, 0x550), detail::block("CR4", 36, 0x548),
    detail::block("DR6", 54, 0x568, 0xFFFF'0FF0), detail::block("DR7", 55, 0x560, 0x400),
    AXVCPU_SEGMENT("ES", 64, 0x400, 0xC93, 0xFFFF'FFFF), AXVCPU_SEGMENT("CS", 68, 0x410, 0xC9B, 0xFFFF'FFFF),
    AXVCPU_SEGMENT("SS", 72, 0x420, 0xC93, 0xFFFF'FFFF), AXVCPU_SEGMENT("DS", 76, 0x430, 0xC93, 0xFFFF'FFFF),
    AXVCPU_SEGMENT("FS", 80, 0x440, 0xC93, 0xFFFF'FFFF), AXVCPU_SEGMENT("GS", 84, 0x450, 0xC93, 0xFFFF'FFFF),
    AXVCPU_SEGMENT("LDTR", 88, 0x470, 0x082, 0xFFFF), AXVCPU_SEGMENT("TR", 92, 0x490, 0x08B, 0xFFFF),
    detail::block("GDTR.limit", 96, 0x464, 0xFFFF, 2), detail::block("GDTR.base", 97, 0x468),
    detail::block("IDTR.limit", 98, 0x484, 0xFFFF, 2), detail::block("IDTR.base", 99, 0x488),

    detail::msr("EFER", 0xC000'0080, 0x4D0), detail::msr("STAR", 0xC000'0081, 0x600), detail::msr("LSTAR", 0xC000'0082, 0x608),
    detail::msr("CSTAR", 0xC000'0083, 0x610), detail::msr("SFMASK", 0xC000'0084, 0x618), detail::msr("KERNEL_GS_BASE", 0xC000'0102, 0x620),
    detail::msr("SYSENTER_CS", 0x174, 0x628), detail::msr("SYSENTER_ESP", 0x175, 0x630), detail::msr("SYSENTER_EIP", 0x176, 0x638),
    detail::msr("PAT", 0x277, 0x668, 0x0007'0406'0007'0406),

    // Only guests use these: switched at bind and unbind.
    detail::debug("DR0", 48), detail::debug("DR1", 49), detail::debug("DR2", 50), detail::debug("DR3", 51),

    // The x87 and SSE state as FXSAVE lays it out, in pieces of 16 bytes.
    Register{"FXSAVE", {256}, Policy::vector, 0, ~std::uint64_t{0}, Feature::base, reg::Class::vector, 4, 32},

    // The SDK's own.
    detail::host("VM_CR", 0xC001'0114), detail::host("VM_HSAVE_PA", 0xC001'0117), detail::host("HOST_EFER", 0xC000'0080),
    detail::host("TSC_AUX", 0xC000'0103),
};
#undef AXVCPU_SEGMENT

using Context = reg::Context<registers>;
template <reg::Name Wanted>
inline constexpr std::size_t index = reg::index<registers, Wanted>();
template <reg::Name Wanted>
inline constexpr std::uint32_t msr_of = registers[index<Wanted>].encoding.number;

static_assert(Context::offset<"RDI">() == 0 && Context::offset<"R9">() == 5 * 8, "a hypercall's arguments stand at the start, in order");

}  // namespace axvcpu::x86_64
