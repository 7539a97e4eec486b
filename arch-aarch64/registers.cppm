// AArch64: the registers of a vCPU, each in one line. Layout and encodings only; compiles on any host.
export module axvcpu.aarch64:registers;
import std;
import axvcpu.reg;

export namespace axvcpu::aarch64 {

/// The operands of MRS and MSR (DDI 0487, System instruction class encoding overview). With HCR_EL2.E2H the name with op1 = 5
/// reaches the EL1 register (the _EL12 and _EL02 aliases); `op1_e2h` is op1 then.
struct Sysreg {
    static constexpr std::uint8_t arch = 1;
    std::uint8_t op0, op1, crn, crm, op2;
    std::uint8_t op1_e2h = op1;
    /// As ISS holds it, without Rt and direction: op0 at 20, op2 at 17, op1 at 14, CRn at 10, CRm at 1.
    /// Registers that MRS does not name (X0-X30, PC, PSTATE, V) have op0 = 0 and a number of ours in op2.
    constexpr auto packed() const noexcept -> std::uint32_t {
        if (op0 == 0) return op2;
        return std::uint32_t{op0} << 20 | std::uint32_t{op2} << 17 | std::uint32_t{op1} << 14 | std::uint32_t{crn} << 10 | std::uint32_t{crm} << 1;
    }
    friend constexpr bool operator==(const Sysreg& a, const Sysreg& b) noexcept { return a.packed() == b.packed(); }
};

/// What a CPU may lack. Bits of Capabilities::features.
enum class Feature : std::uint8_t { base, aarch32_el0, pauth, vhe, gicv3_link, sve, ras, count };
constexpr auto bit(Feature f) noexcept -> std::uint64_t { return std::uint64_t{1} << static_cast<unsigned>(f); }

using reg::Policy;
using Register = reg::Register<Sysreg, Feature>;

inline constexpr std::uint64_t sctlr_reset = 0x30C5'0830;  // MMU and caches off, little endian, the ARMv8.0 RES1 bits set

namespace detail {
consteval auto core(std::string_view name, std::uint8_t number, std::uint64_t reset = 0, std::uint16_t count = 1) -> Register {
    return {name, {0, 0, 0, 0, number}, Policy::every_entry, reset, ~std::uint64_t{0}, Feature::base, reg::Class::core, 3, count};
}
consteval auto zero(std::string_view name, std::uint8_t number) -> Register {
    return {name, {0, 0, 0, 0, number}, Policy::every_entry, 0, 0, Feature::base, reg::Class::core};
}
consteval auto syndrome(std::string_view name, Sysreg s) -> Register { return {name, s, Policy::every_entry, 0, 0}; }
consteval auto el1(std::string_view name, Sysreg s, std::uint64_t reset = 0, Feature f = Feature::base) -> Register {
    return {name, s, Policy::on_bind, reset, ~std::uint64_t{0}, f};
}
consteval auto vector(std::string_view name, Sysreg s, std::uint8_t log2_bytes, std::uint16_t count) -> Register {
    return {name, s, Policy::vector, 0, ~std::uint64_t{0}, Feature::base, log2_bytes > 3 ? reg::Class::vector : reg::Class::system, log2_bytes, count};
}
consteval auto trapped(std::string_view name, Sysreg s, std::uint64_t reset = 0, std::uint64_t writable = ~std::uint64_t{0},
                       std::uint16_t count = 1) -> Register {
    return {name, s, Policy::trapped, reset, writable, Feature::base, reg::Class::system, 3, count};
}
/// A register whose reads are answered with (what the CPU has & shown) | always.
consteval auto fixed(std::string_view name, Sysreg s, std::uint64_t shown, std::uint64_t always = 0) -> Register {
    return {name, s, Policy::fixed, always, shown};
}
consteval auto host(std::string_view name, Sysreg s) -> Register { return {name, s, Policy::host_owned, 0, 0}; }

inline constexpr std::uint64_t all = ~std::uint64_t{0};
/// Whole 4-bit ID fields, named by their lowest bit.
consteval auto fields(std::initializer_list<unsigned> lowest) -> std::uint64_t {
    std::uint64_t mask = 0;
    for (auto bit : lowest) mask |= std::uint64_t{0xF} << bit;
    return mask;
}
}  // namespace detail

/// Every register of the SDK. The order is the order of restoring: a timer's compare value comes before its control.
/// In the ID registers a feature is shown only when what it adds is switched or needs no state.
inline constexpr std::array registers{
    // What switch.S moves on every entry and exit.
    detail::core("X", 0, 0, 31),
    detail::zero("XZR", 31),             // register 31 of a load or store reads as zero, and is never written
    detail::core("PC", 32),
    detail::core("PSTATE", 33, 0x3C5),  // EL1h, D, A, I and F masked
    detail::syndrome("ESR_EL2", {3, 4, 5, 2, 0}),
    detail::syndrome("FAR_EL2", {3, 4, 6, 0, 0}),
    detail::syndrome("HPFAR_EL2", {3, 4, 6, 0, 4}),

    // Only guests use these: switched at bind and unbind.
    detail::el1("SP_EL0", {3, 0, 4, 1, 0}),
    detail::el1("SP_EL1", {3, 4, 4, 1, 0}),
    detail::el1("ELR_EL1", {3, 0, 4, 0, 1, 5}),
    detail::el1("SPSR_EL1", {3, 0, 4, 0, 0, 5}),
    detail::el1("SCTLR_EL1", {3, 0, 1, 0, 0, 5}, sctlr_reset),
    detail::el1("CPACR_EL1", {3, 0, 1, 0, 2, 5}),
    detail::el1("TTBR0_EL1", {3, 0, 2, 0, 0, 5}),
    detail::el1("TTBR1_EL1", {3, 0, 2, 0, 1, 5}),
    detail::el1("TCR_EL1", {3, 0, 2, 0, 2, 5}),
    detail::el1("AFSR0_EL1", {3, 0, 5, 1, 0, 5}),
    detail::el1("AFSR1_EL1", {3, 0, 5, 1, 1, 5}),
    detail::el1("ESR_EL1", {3, 0, 5, 2, 0, 5}),
    detail::el1("FAR_EL1", {3, 0, 6, 0, 0, 5}),
    detail::el1("PAR_EL1", {3, 0, 7, 4, 0}),
    detail::el1("MAIR_EL1", {3, 0, 10, 2, 0, 5}),
    detail::el1("AMAIR_EL1", {3, 0, 10, 3, 0, 5}),
    detail::el1("VBAR_EL1", {3, 0, 12, 0, 0, 5}),
    detail::el1("CONTEXTIDR_EL1", {3, 0, 13, 0, 1, 5}),
    detail::el1("TPIDR_EL1", {3, 0, 13, 0, 4}),
    detail::el1("TPIDR_EL0", {3, 3, 13, 0, 2}),
    detail::el1("TPIDRRO_EL0", {3, 3, 13, 0, 3}),
    detail::el1("CSSELR_EL1", {3, 2, 0, 0, 0}),
    detail::el1("APIAKeyLo_EL1", {3, 0, 2, 1, 0}, 0, Feature::pauth),
    detail::el1("APIAKeyHi_EL1", {3, 0, 2, 1, 1}, 0, Feature::pauth),
    detail::el1("APIBKeyLo_EL1", {3, 0, 2, 1, 2}, 0, Feature::pauth),
    detail::el1("APIBKeyHi_EL1", {3, 0, 2, 1, 3}, 0, Feature::pauth),
    detail::el1("APDAKeyLo_EL1", {3, 0, 2, 2, 0}, 0, Feature::pauth),
    detail::el1("APDAKeyHi_EL1", {3, 0, 2, 2, 1}, 0, Feature::pauth),
    detail::el1("APDBKeyLo_EL1", {3, 0, 2, 2, 2}, 0, Feature::pauth),
    detail::el1("APDBKeyHi_EL1", {3, 0, 2, 2, 3}, 0, Feature::pauth),
    detail::el1("APGAKeyLo_EL1", {3, 0, 2, 3, 0}, 0, Feature::pauth),
    detail::el1("APGAKeyHi_EL1", {3, 0, 2, 3, 1}, 0, Feature::pauth),
    detail::el1("VDISR_EL2", {3, 4, 12, 1, 1}, 0, Feature::ras),  // with HCR_EL2.AMO, what the guest has for DISR_EL1
    detail::el1("ZCR_EL1", {3, 0, 1, 2, 0, 5}, 0, Feature::sve),
    detail::el1("CNTKCTL_EL1", {3, 0, 14, 1, 0, 5}),
    detail::el1("CNTV_CVAL_EL0", {3, 3, 14, 3, 2, 5}),
    detail::el1("CNTV_CTL_EL0", {3, 3, 14, 3, 1, 5}),

    // The floating-point and vector state.
    detail::vector("V", {0, 0, 0, 0, 64}, 4, 32),
    detail::vector("FPCR", {3, 3, 4, 4, 0}, 3, 1),
    detail::vector("FPSR", {3, 3, 4, 4, 1}, 3, 1),

    // Emulated in memory. The PMU and every register not named anywhere here is absent.
    detail::trapped("ACTLR_EL1", {3, 0, 1, 0, 1}, 0, 0),
    detail::trapped("CNTP_CVAL_EL0", {3, 3, 14, 2, 2}),
    detail::trapped("CNTP_CTL_EL0", {3, 3, 14, 2, 1}, 0, 3),
    detail::trapped("MDSCR_EL1", {2, 0, 0, 2, 2}, 0, 1 | 1 << 12 | 1 << 13 | 1 << 15),  // SS, TDCC, KDE, MDE
    detail::trapped("OSLSR_EL1", {2, 0, 1, 1, 4}, 0x8 | 0x2, 0x2),  // the OS lock is there, and locked after reset
    detail::trapped("OSDLR_EL1", {2, 0, 1, 3, 4}, 0, 1),
    detail::trapped("DBGPRCR_EL1", {2, 0, 1, 4, 4}, 0, 1),
    detail::trapped("OSECCR_EL1", {2, 0, 0, 6, 2}, 0, 0),
    detail::trapped("MDCCINT_EL1", {2, 0, 0, 2, 0}, 0, 0),
    detail::trapped("DBGCLAIMSET_EL1", {2, 0, 7, 8, 6}, 0xFF, 0),
    detail::trapped("DBGCLAIMCLR_EL1", {2, 0, 7, 9, 6}, 0, 0),
    detail::trapped("DBGAUTHSTATUS_EL1", {2, 0, 7, 14, 6}, 0, 0),
    detail::trapped("MDRAR_EL1", {2, 0, 1, 0, 0}, 0, 0),
    detail::trapped("MDCCSR_EL0", {2, 3, 0, 1, 0}, 0, 0),
    detail::trapped("DBGBVR0_EL1", {2, 0, 0, 0, 4}), detail::trapped("DBGBCR0_EL1", {2, 0, 0, 0, 5}),
    detail::trapped("DBGBVR1_EL1", {2, 0, 0, 1, 4}), detail::trapped("DBGBCR1_EL1", {2, 0, 0, 1, 5}),
    detail::trapped("DBGWVR0_EL1", {2, 0, 0, 0, 6}), detail::trapped("DBGWCR0_EL1", {2, 0, 0, 0, 7}),
    detail::trapped("DBGWVR1_EL1", {2, 0, 0, 1, 6}), detail::trapped("DBGWCR1_EL1", {2, 0, 0, 1, 7}),

    // Identification. AArch32 first (read by an AArch64 kernel for its 32-bit processes), without its PMU and trace.
    detail::fixed("ID_PFR0_EL1", {3, 0, 0, 1, 0}, detail::fields({0, 4, 8, 12, 16, 24})),
    detail::fixed("ID_PFR1_EL1", {3, 0, 0, 1, 1}, detail::fields({0, 4, 16})),
    detail::fixed("ID_DFR0_EL1", {3, 0, 0, 1, 2}, detail::fields({0, 4})),
    detail::fixed("ID_AFR0_EL1", {3, 0, 0, 1, 3}, 0),
    detail::fixed("ID_MMFR0_EL1", {3, 0, 0, 1, 4}, detail::all),
    detail::fixed("ID_MMFR1_EL1", {3, 0, 0, 1, 5}, detail::all),
    detail::fixed("ID_MMFR2_EL1", {3, 0, 0, 1, 6}, detail::all),
    detail::fixed("ID_MMFR3_EL1", {3, 0, 0, 1, 7}, detail::all),
    detail::fixed("ID_ISAR0_EL1", {3, 0, 0, 2, 0}, detail::all),
    detail::fixed("ID_ISAR1_EL1", {3, 0, 0, 2, 1}, detail::all),
    detail::fixed("ID_ISAR2_EL1", {3, 0, 0, 2, 2}, detail::all),
    detail::fixed("ID_ISAR3_EL1", {3, 0, 0, 2, 3}, detail::all),
    detail::fixed("ID_ISAR4_EL1", {3, 0, 0, 2, 4}, detail::all),
    detail::fixed("ID_ISAR5_EL1", {3, 0, 0, 2, 5}, detail::all),
    detail::fixed("ID_MMFR4_EL1", {3, 0, 0, 2, 6}, detail::fields({4, 8, 12, 16, 20, 24, 28})),
    detail::fixed("ID_ISAR6_EL1", {3, 0, 0, 2, 7}, detail::all),
    detail::fixed("MVFR0_EL1", {3, 0, 0, 3, 0}, detail::all),
    detail::fixed("MVFR1_EL1", {3, 0, 0, 3, 1}, detail::all),
    detail::fixed("MVFR2_EL1", {3, 0, 0, 3, 2}, detail::all),
    detail::fixed("ID_PFR2_EL1", {3, 0, 0, 3, 4}, detail::fields({0, 4})),
    detail::fixed("ID_DFR1_EL1", {3, 0, 0, 3, 5}, 0),
    detail::fixed("ID_MMFR5_EL1", {3, 0, 0, 3, 6}, detail::fields({0})),
    // EL0, FP, AdvSIMD, GIC, SVE (to vCPUs with memory for it), DIT, CSV2, CSV3; EL1 is AArch64 only, no EL2 and no EL3.
    detail::fixed("ID_AA64PFR0_EL1", {3, 0, 0, 4, 0}, detail::fields({0, 16, 20, 24, 32, 48, 56, 60}), 0x10),
    detail::fixed("ID_AA64PFR1_EL1", {3, 0, 0, 4, 1}, detail::fields({0, 4})),  // BT, SSBS: PSTATE bits
    detail::fixed("ID_AA64PFR2_EL1", {3, 0, 0, 4, 2}, 0),
    detail::fixed("ID_AA64ZFR0_EL1", {3, 0, 0, 4, 4}, detail::all),  // likewise
    detail::fixed("ID_AA64SMFR0_EL1", {3, 0, 0, 4, 5}, 0),
    detail::fixed("ID_AA64FPFR0_EL1", {3, 0, 0, 4, 7}, 0),
    // ARMv8 debug, two breakpoints and two watchpoints (the least there can be); no PMU, no trace.
    detail::fixed("ID_AA64DFR0_EL1", {3, 0, 0, 5, 0}, 0, 0x10'1006),
    detail::fixed("ID_AA64DFR1_EL1", {3, 0, 0, 5, 1}, 0),
    detail::fixed("ID_AA64AFR0_EL1", {3, 0, 0, 5, 4}, 0),
    detail::fixed("ID_AA64AFR1_EL1", {3, 0, 0, 5, 5}, 0),
    detail::fixed("ID_AA64ISAR0_EL1", {3, 0, 0, 6, 0}, detail::all & ~detail::fields({24})),  // all but TME
    detail::fixed("ID_AA64ISAR1_EL1", {3, 0, 0, 6, 1}, detail::all & ~detail::fields({60})),  // all but LS64
    // RPRES, GPA3, APA3, BC, PAC_frac, CLRBHB, RPRFM, CSSC
    detail::fixed("ID_AA64ISAR2_EL1", {3, 0, 0, 6, 2}, detail::fields({4, 8, 12, 20, 24, 28, 48, 52})),
    detail::fixed("ID_AA64ISAR3_EL1", {3, 0, 0, 6, 3}, 0),
    detail::fixed("ID_AA64MMFR0_EL1", {3, 0, 0, 7, 0}, 0xFFF0'F0FF),  // not the stage-2 granules, FGT and ECV; MMIO is little-endian: no BigEnd
    // HAFDBS, HPDS, PAN, ETS, AFP, nTLBPA, ECBHB
    detail::fixed("ID_AA64MMFR1_EL1", {3, 0, 0, 7, 1}, detail::fields({0, 12, 20, 36, 44, 48, 60})),
    // UAO, LSM, VARange, CCIDX, ST, AT, IDS, TTL, BBM, E0PD; no CnP: vCPUs of a VM may differ under one VMID
    detail::fixed("ID_AA64MMFR2_EL1", {3, 0, 0, 7, 2}, detail::fields({4, 8, 16, 20, 28, 32, 36, 48, 52, 60})),
    detail::fixed("ID_AA64MMFR3_EL1", {3, 0, 0, 7, 3}, 0),
    detail::fixed("ID_AA64MMFR4_EL1", {3, 0, 0, 7, 4}, 0),
    detail::fixed("REVIDR_EL1", {3, 0, 0, 0, 6}, 0),
    detail::fixed("AIDR_EL1", {3, 1, 0, 0, 7}, 0),

    // Trapped, with nothing behind them that is not in another row.
    detail::fixed("CNTP_TVAL_EL0", {3, 3, 14, 2, 0}, 0), detail::fixed("CNTPCTSS_EL0", {3, 3, 14, 0, 5}, 0),
    detail::fixed("DC ISW", {1, 0, 7, 6, 2}, 0), detail::fixed("DC CSW", {1, 0, 7, 10, 2}, 0), detail::fixed("DC CISW", {1, 0, 7, 14, 2}, 0),

    // The SDK's own while a vCPU is bound.
    detail::host("HCR_EL2", {3, 4, 1, 1, 0}), detail::host("HCRX_EL2", {3, 4, 1, 2, 2}), detail::host("HSTR_EL2", {3, 4, 1, 1, 3}),
    detail::host("MDCR_EL2", {3, 4, 1, 1, 1}), detail::host("CPTR_EL2", {3, 4, 1, 1, 2}), detail::host("ZCR_EL2", {3, 4, 1, 2, 0}),
    detail::host("HFGRTR_EL2", {3, 4, 1, 1, 4}), detail::host("HFGWTR_EL2", {3, 4, 1, 1, 5}), detail::host("HFGITR_EL2", {3, 4, 1, 1, 6}),
    detail::host("HDFGRTR_EL2", {3, 4, 3, 1, 4}), detail::host("HDFGWTR_EL2", {3, 4, 3, 1, 5}), detail::host("HAFGRTR_EL2", {3, 4, 3, 1, 6}),
    detail::host("HFGRTR2_EL2", {3, 4, 3, 1, 2}), detail::host("HFGWTR2_EL2", {3, 4, 3, 1, 3}), detail::host("HFGITR2_EL2", {3, 4, 3, 1, 7}),
    detail::host("HDFGRTR2_EL2", {3, 4, 3, 1, 0}), detail::host("HDFGWTR2_EL2", {3, 4, 3, 1, 1}),
    detail::host("MPAM2_EL2", {3, 4, 10, 5, 0}), detail::host("MPAMHCR_EL2", {3, 4, 10, 4, 0}), detail::host("MPAMIDR_EL1", {3, 0, 10, 4, 4}),
    detail::host("VTTBR_EL2", {3, 4, 2, 1, 0}), detail::host("VTCR_EL2", {3, 4, 2, 1, 2}),
    detail::host("VPIDR_EL2", {3, 4, 0, 0, 0}), detail::host("VMPIDR_EL2", {3, 4, 0, 0, 5}), detail::host("MIDR_EL1", {3, 0, 0, 0, 0}),
    detail::host("CNTVOFF_EL2", {3, 4, 14, 0, 3}), detail::host("CNTHCTL_EL2", {3, 4, 14, 1, 0}),
    detail::host("CNTP_CTL", {3, 3, 14, 2, 1, 5}), detail::host("CNTP_CVAL", {3, 3, 14, 2, 2, 5}),  // the hardware's, for run()'s deadline
    detail::host("CNTPCT_EL0", {3, 3, 14, 0, 1}), detail::host("CNTV_TVAL_EL0", {3, 3, 14, 3, 0, 5}),
    detail::host("VBAR_EL2", {3, 4, 12, 0, 0}), detail::host("SCTLR_EL2", {3, 4, 1, 0, 0}), detail::host("CurrentEL", {3, 0, 4, 2, 2}),
    detail::host("DAIF", {3, 3, 4, 2, 1}), detail::host("ISR_EL1", {3, 0, 12, 1, 0}), detail::host("OSLAR_EL1", {2, 0, 1, 0, 4}), detail::host("OSLSR", {2, 0, 1, 1, 4}),
    detail::host("MDSCR", {2, 0, 0, 2, 2}),  // the CPU's: the guest's or the host's
    detail::host("MPIDR_EL1", {3, 0, 0, 0, 5}), detail::host("PMCR_EL0", {3, 3, 9, 12, 0}),
    // GICv3 CPU interface of the host (the timer's link) and of the guest.
    detail::host("ICC_SRE_EL1", {3, 0, 12, 12, 5}), detail::host("ICC_SRE_EL2", {3, 4, 12, 9, 5}), detail::host("ICC_CTLR_EL1", {3, 0, 12, 12, 4}),
    detail::host("ICC_HPPIR1_EL1", {3, 0, 12, 12, 2}), detail::host("ICC_IAR1_EL1", {3, 0, 12, 12, 0}), detail::host("ICC_EOIR1_EL1", {3, 0, 12, 12, 1}),
    detail::host("ICC_DIR_EL1", {3, 0, 12, 11, 1}),
    detail::host("ICC_SGI1R_EL1", {3, 0, 12, 11, 5}), detail::host("ICC_ASGI1R_EL1", {3, 0, 12, 11, 6}), detail::host("ICC_SGI0R_EL1", {3, 0, 12, 11, 7}),
    detail::host("ICH_HCR_EL2", {3, 4, 12, 11, 0}), detail::host("ICH_VTR_EL2", {3, 4, 12, 11, 1}), detail::host("ICH_MISR_EL2", {3, 4, 12, 11, 2}),
    detail::host("ICH_EISR_EL2", {3, 4, 12, 11, 3}), detail::host("ICH_ELRSR_EL2", {3, 4, 12, 11, 5}), detail::host("ICH_VMCR_EL2", {3, 4, 12, 11, 7}),
    detail::host("ICH_AP0R0_EL2", {3, 4, 12, 8, 0}), detail::host("ICH_AP1R0_EL2", {3, 4, 12, 9, 0}),
    detail::host("ICH_AP0R1_EL2", {3, 4, 12, 8, 1}), detail::host("ICH_AP1R1_EL2", {3, 4, 12, 9, 1}),
    detail::host("ICH_AP0R2_EL2", {3, 4, 12, 8, 2}), detail::host("ICH_AP1R2_EL2", {3, 4, 12, 9, 2}),
    detail::host("ICH_AP0R3_EL2", {3, 4, 12, 8, 3}), detail::host("ICH_AP1R3_EL2", {3, 4, 12, 9, 3}),
    detail::host("ICH_LR0_EL2", {3, 4, 12, 12, 0}),
};

using Context = reg::Context<registers>;

/// Index of a register in the table, by its name in the manual.
template <reg::Name Wanted>
inline constexpr std::size_t index = reg::index<registers, Wanted>();
/// Encoding of a register as ISS gives it; for comparisons in decoders.
template <reg::Name Wanted>
inline constexpr std::uint32_t iss_of = registers[index<Wanted>].encoding.packed();

static_assert(Context::offset<"X">() == 0, "switch.S finds the general registers at the start");
static_assert(Context::offset<"XZR">() == 31 * 8, "register 31 of a load or store is found behind X30");
static_assert(Context::offset<"PSTATE">() == Context::offset<"PC">() + 8, "switch.S moves them as a pair");
static_assert(Context::offset<"FAR_EL2">() == Context::offset<"ESR_EL2">() + 8, "switch.S moves them as a pair");
static_assert(Context::offset<"FPSR">() == Context::offset<"FPCR">() + 8, "fp.S moves them as a pair");
static_assert(index<"CNTV_CVAL_EL0"> < index<"CNTV_CTL_EL0">, "a timer is enabled after its compare value is there");

}  // namespace axvcpu::aarch64
