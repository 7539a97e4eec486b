// What the suites have to know of AArch64.
#pragma once
#define AXVCPU_FAST_HOOK 1
#define CALLEE_SAVED_FP "d8", "d9", "d10", "d11", "d12", "d13", "d14", "d15"
import std;
import axvcpu;
import axvcpu.arch;
import axvcpu.device.gicv3;

namespace harness {

using namespace axvcpu;
using Controller = axvcpu::device::Gicv3;
inline constexpr GuestPhysAddr gicd_base{0x0800'0000}, gicr_base{0x080A'0000};
inline auto make_controller(VmCore& vm) noexcept -> Controller { return {vm, {gicd_base, gicr_base}}; }

/// What a payload's vectors report when the guest takes an exception: hypercall `exception + vector offset`, with ESR, FAR, ELR.
inline constexpr std::uint64_t report = 0xC600'0000, exception = 0xC600'1000;

inline void add_aia(VmConfig&) {}  // RISC-V's
inline void prepare(unsigned char*, GuestPhysAddr) {}
inline auto create_config(GuestPhysAddr, std::uint32_t id, GuestPhysAddr entry, std::uint64_t arg, bool off, std::span<std::byte> vectors = {}) -> CreateConfig {
    return {.id = id, .entry = entry, .arg = arg, .off = off, .vector_state = vectors};
}

/// Where the guest was when it left.
inline auto in_user_mode(auto& vcpu) -> bool { return (vcpu.core().context.template get<"PSTATE">() & 0xF) == 0; }

/// Whether its addresses were translated by its own tables when it left.
inline auto is_translated(auto& vcpu) -> bool { return (vcpu.get(arch::registers[arch::index<"SCTLR_EL1">].id()).value_or(0) & 1) != 0; }

inline constexpr bool instructions_are_aligned = true;
inline constexpr reg::Id on_bind_id = arch::registers[arch::index<"TPIDR_EL1">].id();
inline constexpr reg::Id pc_id = arch::registers[arch::index<"PC">].id(), argument_id = arch::registers[arch::index<"X">].id(0);
/// Whether a use of floating point by this bound vCPU's guest traps.
inline auto fp_traps(const arch::Vcpu& v) -> bool {
    const auto cptr = arch::read<"CPTR_EL2">();
    return v.percpu->e2h ? (cptr >> 20 & 3) == 0 : (cptr >> 10 & 1) != 0;
}
/// One of those that keep_fp keeps.
inline constexpr reg::Id fp_id = arch::registers[arch::index<"V">].id(8);
/// General registers that call_forever leaves alone.
inline auto kept_registers() -> std::vector<reg::Id> {
    std::vector<reg::Id> ids;
    for (std::uint8_t i = 1; i < 31; ++i) ids.push_back(arch::registers[arch::index<"X">].id(i));
    return ids;
}
/// A value for the `n`th canary: registers with side effects get harmless ones, of which there are two.
inline auto canary(std::size_t row, unsigned n) -> std::uint64_t {
    const auto& name = arch::registers[row].name;
    const auto either = [&](std::uint64_t a, std::uint64_t b) { return n % 2 == 0 ? a : b; };
    if (name == "SCTLR_EL1") return either(arch::sctlr_reset, arch::sctlr_reset | 1 << 1);  // A
    if (name == "CNTV_CTL_EL0" || name == "CNTP_CTL_EL0") return either(2, 0);               // they do not count
    if (name == "MDSCR_EL1") return either(1 << 12, 1 << 13);
    if (name == "CSSELR_EL1") return either(2, 0);
    if (name == "FPCR") return either(3 << 24, 1 << 22);  // DN, FZ; rounding
    if (name == "FPSR") return either(0x9F, 1);
    return (row * 0x0101'0101'0101'0101) & 0x0000'FFFF'FFFF'FFF0;
}
inline auto free_in_control_block(std::string_view) -> bool { return false; }
template <reg::Name... N>
auto host_registers() -> std::vector<std::uint64_t> { return {arch::read<N>()...}; }
/// Whether the CPU has what a 4-bit field of an ID register says.
template <reg::Name N> auto has(unsigned field) -> bool { return (arch::read<N>() >> field & 0xF) != 0; }
/// EL2's registers of which the SDK has no row: it never touches them.
inline auto untouched() -> std::vector<std::uint64_t> {
    std::vector<std::uint64_t> all;
    const auto add = [&](std::uint64_t value) { all.push_back(value); };
    std::uint64_t v;
    asm volatile("mrs %0, TTBR0_EL2" : "=r"(v)); add(v);
    asm volatile("mrs %0, TCR_EL2" : "=r"(v)); add(v);
    asm volatile("mrs %0, MAIR_EL2" : "=r"(v)); add(v);
    asm volatile("mrs %0, TPIDR_EL2" : "=r"(v)); add(v);
    asm volatile("mrs %0, CNTHP_CTL_EL2" : "=r"(v)); add(v & 3);
    asm volatile("mrs %0, CNTHP_CVAL_EL2" : "=r"(v)); add(v);
    asm volatile("mrs %0, S3_0_C4_C6_0" : "=r"(v)); add(v);    // ICC_PMR_EL1
    asm volatile("mrs %0, S3_0_C12_C12_7" : "=r"(v)); add(v);  // ICC_IGRPEN1_EL1
    return all;
}
/// The length of vectors that the host has, where there are any: SVE may be trapped at EL2.
inline auto host_vectors() -> std::uint64_t {
    if (!has<"ID_AA64PFR0_EL1">(32)) return 0;
    const auto cptr = arch::read<"CPTR_EL2">();
    arch::write<"CPTR_EL2">((arch::read<"HCR_EL2">() >> 34 & 1) != 0 ? cptr | 3 << 16 : cptr & ~std::uint64_t{1 << 8});
    arch::isb();
    const auto zcr = arch::read<"ZCR_EL2">();
    arch::write<"CPTR_EL2">(cptr);
    arch::isb();
    return zcr;
}
/// The host's registers that a bind overwrites, and those that it must not touch. EL1's timers are off.
inline auto host_state() {
    auto all = host_registers<"HCR_EL2", "VTTBR_EL2", "CPTR_EL2", "MDCR_EL2", "CNTHCTL_EL2", "CNTVOFF_EL2", "MDSCR", "ICH_HCR_EL2", "VBAR_EL2", "SCTLR_EL2", "FPCR", "DAIF">();
    const bool e2h = (arch::read<"HCR_EL2">() >> 34 & 1) != 0;
    all.push_back(arch::read_el1<"CNTV_CTL_EL0">(e2h) & 1);
    all.push_back(arch::read_el1<"CNTP_CTL">(e2h) & 1);
    all.push_back(host_vectors());
    if (has<"ID_AA64PFR0_EL1">(40)) all.push_back(arch::read<"MPAM2_EL2">());
    std::ranges::copy(untouched(), std::back_inserter(all));
    return all;
}
/// Those that are the SDK's from enable() to disable().
inline auto owned_state() {
    auto all = host_registers<"HSTR_EL2", "VTCR_EL2", "VPIDR_EL2", "VMPIDR_EL2", "ICH_VMCR_EL2", "ICH_AP0R0_EL2", "ICH_AP1R0_EL2">();
    const auto add = [&](const std::vector<std::uint64_t>& more) { std::ranges::copy(more, std::back_inserter(all)); };
    if (has<"ID_AA64MMFR1_EL1">(40)) add(host_registers<"HCRX_EL2">());
    if (has<"ID_AA64MMFR0_EL1">(56)) add(host_registers<"HFGRTR_EL2", "HFGWTR_EL2", "HFGITR_EL2", "HDFGRTR_EL2", "HDFGWTR_EL2">());
    return all;
}
inline void plant_owned(std::uint64_t n) {
    arch::write<"HSTR_EL2">(n & 0xF);
    arch::write<"VTCR_EL2">(1u << 31 | (25 + n % 4));
    arch::write<"VPIDR_EL2">(0x1000 + n);
    arch::write<"VMPIDR_EL2">(1u << 31 | n);
    arch::write<"ICH_VMCR_EL2">(std::uint64_t{n & 7} << 29);
    arch::write<"ICH_AP0R0_EL2">(n << 4);
    arch::write<"ICH_AP1R0_EL2">(n << 8);
    if (has<"ID_AA64MMFR1_EL1">(40)) arch::write<"HCRX_EL2">(n);
    if (!has<"ID_AA64MMFR0_EL1">(56)) return;
    arch::write<"HFGRTR_EL2">(n);
    arch::write<"HFGWTR_EL2">(n);
    arch::write<"HFGITR_EL2">(n);
    arch::write<"HDFGRTR_EL2">(n);
    arch::write<"HDFGWTR_EL2">(n);
}
inline auto interrupts_masked() -> bool { return (arch::read<"DAIF">() >> 7 & 1) != 0; }
/// An emulator that runs one CPU at a time goes on to the next.
inline void let_others_run() noexcept { asm volatile("yield" ::: "memory"); }
/// The VMID that is loaded.
inline auto loaded_tag() noexcept -> std::uint64_t { return arch::read<"VTTBR_EL2">() >> 48; }
/// What plugins of QEMU take for a marker (tools/plugin/); does nothing.
template <unsigned N> [[gnu::always_inline]] inline void marker() noexcept { asm volatile("movz xzr, #%c0, lsl #48" :: "i"(0xA400 | N) : "memory"); }
/// A trapped register that the tests' fast hook reads as 77: ID_AA64MMFR4_EL1.
[[gnu::always_inline]] inline auto answer_register(FastExit& e) noexcept -> bool {
    const auto access = fast::register_access(e);
    if (!access.read() || access.encoding() != arch::iss_of<"ID_AA64MMFR4_EL1">) return false;
    fast::answer_register(e, 77);
    return true;
}
inline constexpr reg::Id host_owned_id = arch::registers[arch::index<"HCR_EL2">].id(), read_only_id = arch::registers[arch::index<"ESR_EL2">].id();

// For "after an unbinding ...": a row of the table as the CPU has it, and what is there when no vCPU is bound.
template <std::size_t I> auto cold_register() -> std::uint64_t { return (arch::read<"HCR_EL2">() >> 34 & 1) != 0 ? arch::read_row<I, true>() : arch::read_row<I, false>(); }
inline auto given_back(std::string_view name) -> bool { return name == "ZCR_EL1"; }  // out of reach where the host has SVE trapped
inline auto after_unbind(std::string_view name) -> std::uint64_t {  // translation on, walks off
    return name == "SCTLR_EL1" ? arch::sctlr_reset | 1 : name == "TCR_EL1" ? 1 << 7 | 1 << 23 : 0;
}
inline constexpr std::size_t vector_words = 64;
/// FPCR and FPSR: as fill_fp sets them, as they are, and a vCPU's.
inline constexpr std::uint64_t fp_control = 1 << 22 | 0x9F;
inline auto read_fp_control() -> std::uint64_t { return arch::read<"FPCR">() | arch::read<"FPSR">(); }
inline constexpr auto vectors_row = arch::index<"V">;
inline auto fp_control_of(auto& vcpu) -> std::uint64_t { return vcpu.get(arch::registers[arch::index<"FPCR">].id()).value_or(0) | vcpu.get(arch::registers[arch::index<"FPSR">].id()).value_or(0); }
[[gnu::always_inline]] inline void read_vectors(std::uint64_t* to) {
    asm volatile(".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\nstr q\\n, [%0, #16 * \\n]\n.endr" ::"r"(to) : "memory");
}
inline void plant_priorities() { arch::write<"ICH_AP1R0_EL2">(1 << 3); }
inline auto left_priorities() -> std::uint64_t { return arch::read<"ICH_AP1R0_EL2">() | arch::read<"ICH_AP0R0_EL2">(); }

}  // namespace harness

/// A guest payload, beside its test. Starts with x0 = arg, MMU off, at EL1.
#define GUEST(name, text) \
    asm(".pushsection .guest_payload,\"a\"\n.balign 8\n.arch_extension sve\n.globl " #name "\n" #name ":\n" text "\n.popsection"); \
    extern "C" const unsigned char name[]
/// Sets the guest's vectors to the reporting ones. Clobbers x9.
#define VECTORS "adrp x9, guest_vectors\nadd x9, x9, :lo12:guest_vectors\nmsr VBAR_EL1, x9\nisb\n"
/// Hypercall `report`; arguments are x1 to x6.
#define REPORT "movz w0, #0xC600, lsl #16\nhvc #0\n"
/// Translation on, by the table at ram_base + 0x1'E000: 39 bits of address, blocks of 1 GiB. Clobbers x10.
#define MMU_ON "movz x10, #0x4001, lsl #16\nmovk x10, #0xE000\nmsr TTBR0_EL1, x10\nmov x10, #0xFF\nmsr MAIR_EL1, x10\nmovz x10, #0x3519\nmovk x10, #0x80, lsl #16\nmovk x10, #2, lsl #32\n" \
               "msr TCR_EL1, x10\nisb\nmrs x10, SCTLR_EL1\norr x10, x10, #1\norr x10, x10, #4\norr x10, x10, #0x1000\nmsr SCTLR_EL1, x10\nisb\n"
