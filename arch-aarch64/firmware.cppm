// AArch64: PSCI 1.1 and SMCCC 1.1 as pure functions: from a function id to what has to happen. Compiles on any host.
// Sources: DEN 0022, Power State Coordination Interface; DEN 0028, SMC Calling Convention.
export module axvcpu.aarch64:firmware;
import std;

export namespace axvcpu::aarch64 {

/// Return codes that both specifications share (signed, sign-extended to the register).
enum class FirmwareResult : std::int32_t {
    success = 0, not_supported = -1, invalid_parameters = -2, denied = -3, already_on = -4, on_pending = -5,
    internal_failure = -6, not_present = -7, disabled = -8, invalid_address = -9,
};
constexpr auto reg(FirmwareResult r) noexcept -> std::uint64_t { return static_cast<std::uint64_t>(static_cast<std::int64_t>(r)); }

/// What a call asks for. `answer` is complete in itself; the others need the VM.
struct FirmwareCall {
    enum class Kind : std::uint8_t { unknown, answer, cpu_on, cpu_off, cpu_suspend, system_suspend, affinity_info, system_off, system_reset };
    Kind kind = Kind::unknown;
    std::uint64_t value = 0;   ///< answer: for x0; system_reset: the kind (0 cold); cpu_suspend: the power state
    std::uint64_t target = 0;  ///< cpu_on, affinity_info: MPIDR affinity
    std::uint64_t entry = 0;   ///< cpu_on, suspends: where to start
    std::uint64_t arg = 0;     ///< context id; affinity_info: the lowest affinity level
    friend constexpr bool operator==(const FirmwareCall&, const FirmwareCall&) = default;
};

/// Affinity fields of MPIDR_EL1.
inline constexpr std::uint64_t affinity_mask = 0xFF'00FF'FFFF;

namespace detail {
constexpr auto answer(std::uint64_t value) noexcept -> FirmwareCall { return {.kind = FirmwareCall::Kind::answer, .value = value}; }
constexpr auto answer(FirmwareResult r) noexcept -> FirmwareCall { return answer(aarch64::reg(r)); }
inline constexpr std::uint32_t smc64 = 0x4000'0000;

/// PSCI_FEATURES: which functions are there, and with which flags. `function` as the guest gave it.
constexpr auto psci_features(std::uint32_t function) noexcept -> FirmwareCall {
    switch (function) {
        case 0x8400'0000: case 0x8400'0001: case 0xC400'0001: case 0x8400'0002: case 0x8400'0003: case 0xC400'0003:
        case 0x8400'0004: case 0xC400'0004: case 0x8400'0006: case 0x8400'0008: case 0x8400'0009: case 0x8400'000A:
        case 0x8400'000E: case 0xC400'000E: case 0x8400'0012: case 0xC400'0012: case 0x8000'0000:
            return answer(std::uint64_t{0});
        default: return answer(FirmwareResult::not_supported);
    }
}
}  // namespace detail

/// Whether a fast call (bit 31) lies in the Arm architecture or standard-service range: ours to answer or to refuse. What lies
/// beyond is the hypervisor's.
constexpr auto is_firmware_call(std::uint64_t x0) noexcept -> bool {
    return (static_cast<std::uint32_t>(x0) & 0xBB00'0000) == 0x8000'0000;  // owners 0 and 4, 32- or 64-bit
}

/// A 64-bit call (bit 30) to an owner (bits 29:24) above 4: a hypervisor's, OEM's or application's. Nothing of it has to be narrowed.
constexpr auto is_wide_hypervisor_call(std::uint64_t x0) noexcept -> bool { return (x0 >> 24 & ~std::uint64_t{0x80}) - 0x45 < 0x3B; }
/// A 32-bit call: its arguments are W1 to W7, and W0 names it. Below are the numbers that are left to conventions of their own.
constexpr auto is_narrow_call(std::uint64_t x0) noexcept -> bool {
    const auto w0 = static_cast<std::uint32_t>(x0);
    return (w0 >> 30 & 1) == 0 && w0 >= 0x0200'0000;
}

/// Decodes a PSCI or SMCCC architecture call. `x0` to `x3` as the guest left them: the 32-bit forms use the low halves (A10).
constexpr auto decode_call(std::uint64_t x0, std::uint64_t x1, std::uint64_t x2, std::uint64_t x3) noexcept -> FirmwareCall {
    using Kind = FirmwareCall::Kind;
    const auto function = static_cast<std::uint32_t>(x0);  // W0: the upper half of X0 means nothing
    if (!is_firmware_call(x0)) return {};
    if ((function & detail::smc64) == 0) {
        x1 = static_cast<std::uint32_t>(x1);
        x2 = static_cast<std::uint32_t>(x2);
        x3 = static_cast<std::uint32_t>(x3);
    }
    switch (function) {
        case 0x8400'0000: return detail::answer(0x1'0001);  // PSCI_VERSION 1.1
        case 0x8400'0001: case 0xC400'0001: return {.kind = Kind::cpu_suspend, .value = x1 & 0xFFFF'FFFF, .entry = x2, .arg = x3};
        case 0x8400'0002: return {.kind = Kind::cpu_off};
        case 0x8400'0003: case 0xC400'0003: return {.kind = Kind::cpu_on, .target = x1, .entry = x2, .arg = x3};
        case 0x8400'0004: case 0xC400'0004: return {.kind = Kind::affinity_info, .target = x1, .arg = x2};
        case 0x8400'0006: return detail::answer(2);         // MIGRATE_INFO_TYPE: no Trusted OS
        case 0x8400'0008: return {.kind = Kind::system_off};
        case 0x8400'0009: return {.kind = Kind::system_reset};
        case 0x8400'000A: return detail::psci_features(static_cast<std::uint32_t>(x1));
        case 0x8400'000E: case 0xC400'000E: return {.kind = Kind::system_suspend, .entry = x1, .arg = x2};
        case 0x8400'0012: case 0xC400'0012:                 // SYSTEM_RESET2: 0 is the one architectural type, bit 31 vendors' own
            x1 &= 0xFFFF'FFFF;                              // reset_type has 32 bits in both forms
            if (x1 != 0 && (x1 >> 31 & 1) == 0) return detail::answer(FirmwareResult::invalid_parameters);
            return {.kind = Kind::system_reset, .value = x1 == 0 ? 1 : x1, .arg = x2};
        case 0x8000'0000: return detail::answer(0x1'0001);  // SMCCC_VERSION 1.1
        case 0x8000'0001:                                   // SMCCC_ARCH_FEATURES
            return detail::answer(static_cast<std::uint32_t>(x1) <= 0x8000'0001 && static_cast<std::uint32_t>(x1) >= 0x8000'0000
                                      ? FirmwareResult::success : FirmwareResult::not_supported);
        default: break;
    }
    return detail::answer(FirmwareResult::not_supported);
}

/// ICC_SGI1R_EL1 and its siblings (IHI 0069, ICC_SGI1R_EL1): the affinity 3.2.1 group, 16 targets from 16 * RS upwards.
struct SgiRequest {
    std::uint64_t cluster;  ///< Aff3.Aff2.Aff1 in the places of MPIDR_EL1, with RS * 16 as affinity 0
    std::uint16_t targets;
    std::uint8_t id;
    bool others;            ///< IRM
    friend constexpr bool operator==(const SgiRequest&, const SgiRequest&) = default;
};
constexpr auto decode_sgi(std::uint64_t value) noexcept -> SgiRequest {
    const auto field = [value](unsigned low) { return value >> low & 0xFF; };
    return {.cluster = field(48) << 32 | field(32) << 16 | field(16) << 8 | (value >> 44 & 0xF) << 4,
            .targets = static_cast<std::uint16_t>(value),
            .id = static_cast<std::uint8_t>(value >> 24 & 0xF),
            .others = (value >> 40 & 1) != 0};
}

}  // namespace axvcpu::aarch64
