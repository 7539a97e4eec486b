// The machine's Advanced Interrupt Architecture, where it has one: the IMSICs and the APLIC of supervisor level. Sources: RISC-V AIA;
// the device tree bindings riscv,imsics and riscv,aplic. libfdt does the reading.
module;
#include <libfdt.h>
module runtime;
import std;

namespace runtime::detail {

namespace {

struct {
    std::uint64_t imsic = 0, aplic = 0;          // 0: there is none
    unsigned guest_bits = 0;
    std::uint32_t ids = 0;
    std::array<std::uint64_t, 64> harts{};       // hart id at each index of the IMSICs
    unsigned count = 0;
} found;

auto reg32(std::uint64_t a) noexcept -> volatile std::uint32_t& { return *reinterpret_cast<volatile std::uint32_t*>(a); }

/// Cell `n` of a property; nothing where it is not that long.
auto cell(const void* tree, int node, const char* name, int n = 0) noexcept -> std::optional<std::uint32_t> {
    int length = 0;
    const auto* p = static_cast<const fdt32_t*>(fdt_getprop(tree, node, name, &length));
    if (p == nullptr || length < 4 * (n + 1)) return std::nullopt;
    return fdt32_to_cpu(p[n]);
}
auto address(const void* tree, int node) noexcept -> std::uint64_t {
    return std::uint64_t{cell(tree, node, "reg", 0).value_or(0)} << 32 | cell(tree, node, "reg", 1).value_or(0);
}

/// The hart whose interrupt controller has this handle.
auto hart_of(const void* tree, std::uint32_t phandle) noexcept -> std::uint64_t {
    const int cpu = fdt_parent_offset(tree, fdt_node_offset_by_phandle(tree, phandle));
    return cell(tree, cpu, "reg").value_or(~0u);
}

/// Index of a CPU's files among the IMSICs.
auto index_of(unsigned cpu) noexcept -> std::optional<unsigned> {
    for (unsigned i = 0; i < found.count; ++i)
        if (found.harts[i] == cpu_hardware_id(cpu)) return i;
    return std::nullopt;
}

constexpr std::uint32_t eidelivery = 0x70, eithreshold = 0x72, eie = 0xC0;
void write_file(std::uint32_t number, std::uint64_t value) noexcept { asm volatile("csrw 0x150, %0\ncsrw 0x151, %1" ::"r"(std::uint64_t{number}), "r"(value)); }

}  // namespace

void aia_find(const void* tree) noexcept {
    constexpr std::uint32_t supervisor_external = 9;
    for (int node = fdt_node_offset_by_compatible(tree, -1, "riscv,imsics"); node >= 0; node = fdt_node_offset_by_compatible(tree, node, "riscv,imsics")) {
        if (found.imsic != 0 || cell(tree, node, "interrupts-extended", 1) != supervisor_external) continue;  // of several sockets' the first
        found.imsic = address(tree, node);
        found.guest_bits = cell(tree, node, "riscv,guest-index-bits").value_or(0);
        found.ids = cell(tree, node, "riscv,num-ids").value_or(0);
        for (int i = 0; found.count < found.harts.size(); ++i) {
            const auto phandle = cell(tree, node, "interrupts-extended", 2 * i);
            if (!phandle) break;
            found.harts[found.count++] = hart_of(tree, *phandle);
        }
        const auto own = fdt_get_phandle(tree, node);
        for (int a = fdt_node_offset_by_compatible(tree, -1, "riscv,aplic"); a >= 0; a = fdt_node_offset_by_compatible(tree, a, "riscv,aplic"))
            if (cell(tree, a, "msi-parent") == own) found.aplic = address(tree, a);
    }
}

auto aia_there() noexcept -> bool { return found.imsic != 0; }

void aia_start() noexcept {
    write_file(eithreshold, 0);
    write_file(eidelivery, 1);
}

void aia_enable(unsigned source) noexcept {
    asm volatile("csrw 0x150, %0\ncsrs 0x151, %1" ::"r"(std::uint64_t{eie + 2 * (source / 64)}), "r"(std::uint64_t{1} << source % 64));
    if (found.aplic == 0) return;
    reg32(found.aplic + 4 * source) = 6;                                              // sourcecfg: level, high
    reg32(found.aplic + 0x3000 + 4 * source) = index_of(0).value_or(0) << 18 | source;  // target
    reg32(found.aplic + 0x1EDC) = source;                                               // setienum
    reg32(found.aplic) = 1 << 8 | 1 << 2;                                               // domaincfg: IE, DM
}

auto aia_claim() noexcept -> unsigned {
    std::uint64_t top;
    asm volatile("csrrw %0, 0x15C, zero" : "=r"(top));
    return static_cast<unsigned>(top >> 16);
}

/// A level-sensitive source that is high still is sent again.
void aia_end(unsigned source) noexcept {
    if (found.aplic != 0) reg32(found.aplic + 0x2000) = source;  // setipnum_le
}

}  // namespace runtime::detail

namespace runtime {

auto guest_interrupt_file(unsigned n) noexcept -> InterruptFile {
    using namespace detail;
    const auto index = index_of(this_cpu());
    if (!index || n == 0 || n >> found.guest_bits != 0) return {};
    return {found.imsic + (std::uint64_t{*index} << (12 + found.guest_bits)) + (std::uint64_t{n} << 12), found.ids};
}

}  // namespace runtime
