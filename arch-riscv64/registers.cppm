// RISC-V: the registers of a vCPU, each in one line. Layout and encodings only; compiles on any host.
export module axvcpu.riscv64:registers;
import std;
import axvcpu.reg;

export namespace axvcpu::riscv64 {

/// A CSR by its number (Privileged Architecture, CSR Listing). The registers that no CSR names (x, pc, f, v) have a number of ours
/// from 0x1000 on.
struct Csr {
    static constexpr std::uint8_t arch = 2;
    std::uint16_t number;
    constexpr auto packed() const noexcept -> std::uint32_t { return number; }
    friend constexpr bool operator==(Csr, Csr) = default;
};

/// What a hart may lack. Bits of Capabilities::features.
/// aia: the CSRs that the Advanced Interrupt Architecture gives a hypervisor.
enum class Feature : std::uint8_t { base, sstc, state_enable, vector, aia, count };
constexpr auto bit(Feature f) noexcept -> std::uint64_t { return std::uint64_t{1} << static_cast<unsigned>(f); }

using reg::Policy;
using Register = reg::Register<Csr, Feature>;

/// Fields of sstatus and vsstatus.
namespace sstatus {
inline constexpr std::uint64_t sie = 1 << 1, spie = 1 << 5, spp = 1 << 8, vs = 3 << 9, vs_initial = 1 << 9, vs_clean = 2 << 9, fs = 3 << 13,
                               fs_initial = 1 << 13, fs_clean = 2 << 13, uxl64 = std::uint64_t{2} << 32, sum = 1 << 18, mxr = 1 << 19,
                               settable = sie | spie | spp | vs | fs | sum | mxr;  // of a guest; UBE and UXL stay, SD follows
}
/// Fields of hstatus.
namespace hstatus {
inline constexpr std::uint64_t spv = 1 << 7, spvp = 1 << 8, hu = 1 << 9, vgein = 63 << 12, vtw = 1 << 21, vsxl64 = std::uint64_t{2} << 32;
}
/// Bits of hvip, hie and hip; those of vsip and vsie are one place lower.
namespace interrupt_bits {
inline constexpr std::uint64_t vs_software = 1 << 2, vs_timer = 1 << 6, vs_external = 1 << 10, all = vs_software | vs_timer | vs_external;
}

namespace detail {
inline constexpr std::uint64_t all = ~std::uint64_t{0};
consteval auto core(std::string_view name, std::uint16_t number, std::uint16_t count = 1, std::uint64_t writable = all) -> Register {
    return {name, {number}, Policy::every_entry, 0, writable, Feature::base, reg::Class::core, 3, count};
}
consteval auto entry(std::string_view name, std::uint16_t number, std::uint64_t reset, std::uint64_t writable) -> Register {
    return {name, {number}, Policy::every_entry, reset, writable};
}
consteval auto vs(std::string_view name, std::uint16_t number, std::uint64_t reset = 0, std::uint64_t writable = all, Feature f = Feature::base) -> Register {
    return {name, {number}, Policy::on_bind, reset, writable, f};
}
consteval auto vector(std::string_view name, std::uint16_t number, std::uint16_t count = 1, Feature f = Feature::base, std::uint64_t writable = all) -> Register {
    return {name, {number}, Policy::vector, 0, writable, f, count > 1 ? reg::Class::vector : reg::Class::system, 3, count};
}
consteval auto host(std::string_view name, std::uint16_t number) -> Register { return {name, {number}, Policy::host_owned, 0, 0}; }
}  // namespace detail

/// Every register of the SDK. The order is the order of restoring: what gives a timer its meaning comes before it.
inline constexpr std::array registers{
    // What switch.S moves on every entry and exit. x0 stands in its place and stays zero.
    detail::core("x", 0x1000, 32),
    detail::core("pc", 0x1020, 1, ~1ull),
    detail::entry("sstatus", 0x100, sstatus::spp | sstatus::uxl64, sstatus::spp),  // of HS-mode while the guest runs: FS and VS follow what is switched
    detail::entry("hstatus", 0x600, hstatus::spv | hstatus::spvp | hstatus::vtw | hstatus::vsxl64, 0),
    detail::entry("scause", 0x142, 0, 0),
    detail::entry("stval", 0x143, 0, 0),
    detail::entry("htval", 0x643, 0, 0),
    detail::entry("htinst", 0x64A, 0, 0),

    // Only guests use these: switched at bind and unbind.
    detail::vs("vsstatus", 0x200, sstatus::uxl64, sstatus::settable),
    detail::vs("vstvec", 0x205, 0, ~2ull),  // MODE: direct or vectored
    detail::vs("vsscratch", 0x240),
    detail::vs("vsepc", 0x241, 0, ~1ull),
    detail::vs("vscause", 0x242),
    detail::vs("vstval", 0x243),
    detail::vs("vsatp", 0x280),  // set() looks at MODE
    detail::vs("scounteren", 0x106, 0, 0xFFFF'FFFF),
    detail::vs("senvcfg", 0x10A, 0, 0xF1),  // FIOM, CBIE, CBCFE, CBZE
    detail::vs("sstateen0", 0x10C, 0, 0, Feature::state_enable),
    detail::vs("vstimecmp", 0x24D, ~std::uint64_t{0}, detail::all, Feature::sstc),
    detail::vs("vsiselect", 0x250, 0, 0x1FF, Feature::aia),
    detail::vs("hvip", 0x645, 0, interrupt_bits::all),
    detail::vs("vsie", 0x204, 0, 0x222),

    // The floating-point state; of the vector state what has a fixed size. The vector registers are in memory of the user.
    detail::vector("f", 0x1040, 32),
    detail::vector("fcsr", 0x003, 1, Feature::base, 0xFF),
    detail::vector("vstart", 0x008, 1, Feature::vector, 0xFFFF),  // VLEN is 65536 at most
    detail::vector("vcsr", 0x00F, 1, Feature::vector, 7),
    detail::vector("vl", 0xC20, 1, Feature::vector),
    detail::vector("vtype", 0xC21, 1, Feature::vector),

    // The SDK's own while a vCPU is bound.
    detail::host("hedeleg", 0x602), detail::host("hideleg", 0x603), detail::host("hie", 0x604), detail::host("hcounteren", 0x606),
    detail::host("hgeie", 0x607), detail::host("henvcfg", 0x60A), detail::host("htimedelta", 0x605), detail::host("hgatp", 0x680),
    detail::host("hstateen0", 0x60C), detail::host("hip", 0x644), detail::host("vsip", 0x244),
    detail::host("hvictl", 0x609), detail::host("hvien", 0x608), detail::host("hviprio1", 0x646), detail::host("hviprio2", 0x647),
    detail::host("vsireg", 0x251),  // a window on the guest interrupt file that hstatus.VGEIN selects
    // The host's, read or set for a moment.
    detail::host("sie", 0x104), detail::host("sip", 0x144), detail::host("stimecmp", 0x14D), detail::host("time", 0xC01), detail::host("vlenb", 0xC22),
    detail::host("sireg", 0x151), detail::host("stopei", 0x15C),  // as a guest's instructions name them
    detail::host("stvec", 0x105), detail::host("sscratch", 0x140), detail::host("sepc", 0x141),
};

using Context = reg::Context<registers>;

/// Index of a register in the table, by its name in the manual.
template <reg::Name Wanted>
inline constexpr std::size_t index = reg::index<registers, Wanted>();
/// Number of a CSR.
template <reg::Name Wanted>
inline constexpr std::uint16_t csr_of = registers[index<Wanted>].encoding.number;

static_assert(Context::offset<"x">() == 0, "switch.S finds the general registers at the start");
static_assert(Context::offset<"fcsr">() == Context::offset<"f">() + 256, "fp.S moves them together");
static_assert(index<"vstimecmp"> < index<"vsie">, "a timer is enabled after its compare value is there");

}  // namespace axvcpu::riscv64
