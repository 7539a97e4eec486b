// x86_64: what CPUID shows, and which bits of control registers and EFER a guest may set. Pure; compiles on any host.
// Sources: APM 3, Obtaining Processor Information via CPUID; APM 2, CR4 Register, Extended Feature Enable Register.
export module axvcpu.x86_64:firmware;
import std;

export namespace axvcpu::x86_64 {

struct CpuidResult { std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0; friend constexpr bool operator==(const CpuidResult&, const CpuidResult&) = default; };

namespace detail {
consteval auto bits(std::initializer_list<unsigned> numbers) -> std::uint32_t {
    std::uint32_t mask = 0;
    for (const auto n : numbers) mask |= 1u << n;
    return mask;
}
}  // namespace detail

/// A leaf as guests see it: what the CPU says, less what is not switched or not emulated. Everything that is not named here is absent.
struct CpuidRow { std::uint32_t leaf, subleaf, eax, ebx, ecx, edx; };
inline constexpr std::array cpuid_rows{
    // SSE3, PCLMULQDQ, SSSE3, CX16, SSE4.1, SSE4.2, MOVBE, POPCNT, AES, RDRAND; FPU, VME, DE, PSE, TSC, MSR, PAE, CX8, SEP, PGE, CMOV, PAT,
    // PSE36, CLFSH, MMX, FXSR, SSE, SSE2. Not: XSAVE and what needs it, the APIC, MTRRs, machine checks.
    CpuidRow{1, 0, ~0u, 0x0000'FF00, detail::bits({0, 1, 9, 13, 19, 20, 22, 23, 25, 30}),
             detail::bits({0, 1, 2, 3, 4, 5, 6, 8, 11, 13, 15, 16, 17, 19, 23, 24, 25, 26})},
    // FSGSBASE, BMI1, SMEP, BMI2, ERMS, RDSEED, ADX, SMAP, CLFLUSHOPT, SHA; UMIP.
    CpuidRow{7, 0, 0, detail::bits({0, 3, 7, 8, 9, 18, 19, 20, 23, 29}), detail::bits({2}), 0},
    // LAHF, ABM, SSE4A, misaligned SSE, PREFETCHW; SYSCALL, NX, MMX extensions, 1 GiB pages, long mode. Not: SVM, RDTSCP.
    CpuidRow{0x8000'0001, 0, ~0u, 0, detail::bits({0, 5, 6, 7, 8}), detail::bits({0, 1, 2, 3, 4, 5, 6, 8, 11, 13, 15, 16, 17, 20, 22, 23, 24, 26, 29})},
    CpuidRow{0x8000'0002, 0, ~0u, ~0u, ~0u, ~0u}, CpuidRow{0x8000'0003, 0, ~0u, ~0u, ~0u, ~0u}, CpuidRow{0x8000'0004, 0, ~0u, ~0u, ~0u, ~0u},
    CpuidRow{0x8000'0008, 0, 0xFFFF, 0, 0, 0},  // sizes of addresses
};

/// What a guest's CPUID gives. `machine(leaf, subleaf)`: the CPU's own; asked for leaves of the table alone.
template <class F>
constexpr auto cpuid(std::uint32_t leaf, std::uint32_t subleaf, std::uint32_t apic_id, F machine) noexcept -> CpuidResult {
    constexpr std::uint32_t last_basic = 7, last_extended = 0x8000'0008, hypervisor = 0x4000'0000;
    if (leaf == 0 || leaf == 0x8000'0000) {  // the vendor is the machine's: kernels choose their work-arounds by it
        auto r = machine(leaf, 0);
        r.eax = leaf == 0 ? last_basic : last_extended;
        return r;
    }
    if (leaf == hypervisor) return {hypervisor, 0x6376'7861, 0x2020'7570, 0x2020'2020};  // "axvcpu      "
    for (const auto& row : cpuid_rows) {
        if (row.leaf != leaf || (leaf == 7 && row.subleaf != subleaf)) continue;
        auto r = machine(leaf, row.subleaf);
        r = {r.eax & row.eax, r.ebx & row.ebx, r.ecx & row.ecx, r.edx & row.edx};
        if (leaf == 1) {
            r.ebx |= apic_id << 24 | 1u << 16;  // one logical processor a package
            r.ecx |= 1u << 31;                  // a hypervisor is present
        }
        return r;
    }
    return {};
}

/// CR4 as a guest may set it: VME, PVI, TSD, DE, PSE, PAE, PGE, OSFXSR, OSXMMEXCPT, UMIP, FSGSBASE, SMEP, SMAP. Anything else is #GP.
inline constexpr std::uint64_t cr4_settable = detail::bits({0, 1, 2, 3, 4, 5, 7, 9, 10, 11, 16, 20, 21});
inline constexpr std::uint64_t efer_sce = 1, efer_lme = 1 << 8, efer_lma = 1 << 10, efer_nxe = 1 << 11, efer_svme = 1 << 12;
inline constexpr std::uint64_t cr0_pe = 1, cr0_nw = 1 << 29, cr0_cd = 1 << 30, cr0_pg = std::uint64_t{1} << 31, cr4_pae = 1 << 5;

/// EFER after a guest's write. Nothing: #GP (a reserved bit, or LME changed while paging is on).
constexpr auto efer_after(std::uint64_t now, std::uint64_t written, std::uint64_t cr0) noexcept -> std::optional<std::uint64_t> {
    constexpr auto settable = efer_sce | efer_lme | efer_nxe;
    if ((written & ~(settable | efer_lma)) != 0) return std::nullopt;
    if (((written ^ now) & efer_lme) != 0 && (cr0 & cr0_pg) != 0) return std::nullopt;
    return (written & settable) | (now & (efer_lma | efer_svme));
}

/// Whether a guest's write of CR4 is allowed, in its present mode.
constexpr auto cr4_allowed(std::uint64_t written, std::uint64_t efer) noexcept -> bool {
    return (written & ~cr4_settable) == 0 && ((efer & efer_lma) == 0 || (written & cr4_pae) != 0);
}

}  // namespace axvcpu::x86_64
