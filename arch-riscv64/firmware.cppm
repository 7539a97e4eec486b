// RISC-V: the Supervisor Binary Interface 2.0 as pure functions: from a call's registers to what has to happen.
export module axvcpu.riscv64:firmware;
import std;

export namespace axvcpu::riscv64 {

/// Error codes (SBI, Binary Encoding).
enum class SbiError : std::int64_t {
    success = 0, failed = -1, not_supported = -2, invalid_param = -3, denied = -4, invalid_address = -5, already_available = -6,
    already_started = -7, already_stopped = -8,
};
constexpr auto reg(SbiError e) noexcept -> std::uint64_t { return static_cast<std::uint64_t>(static_cast<std::int64_t>(e)); }

/// Extension ids.
namespace eid {
inline constexpr std::uint64_t base = 0x10, time = 0x5449'4D45, ipi = 0x73'5049, rfence = 0x5246'4E43, hsm = 0x48'534D, srst = 0x5352'5354,
                               pmu = 0x50'4D55, dbcn = 0x4442'434E;
}
inline constexpr std::uint64_t sbi_version = 2 << 24;      // 2.0
inline constexpr std::uint64_t implementation_id = 0x6178;  // none that the specification lists
inline constexpr std::uint64_t implementation_version = 1;

/// What a call asks for. `answer` is complete in itself; the others need the VM.
struct SbiCall {
    enum class Kind : std::uint8_t {
        answer, set_timer, send_ipi, clear_ipi, fence_instruction, fence_translations, hart_start, hart_stop, hart_status, hart_suspend, reset,
        console_write, console_read, console_byte, console_get, unknown,
    };
    Kind kind = Kind::unknown;
    bool legacy = false;             ///< a0 alone is the result; a1 stays
    bool mask_in_memory = false;     ///< legacy: `mask` is the virtual address of the mask, 0 for all
    SbiError error = SbiError::success;
    std::uint64_t value = 0;         ///< answer: a1; set_timer: when; console_byte: the byte; reset: type; hart_suspend: type
    std::uint64_t mask = 0, mask_base = 0;  ///< harts; base all ones: every one
    std::uint64_t target = 0;        ///< a hart id
    std::uint64_t address = 0, size = 0;  ///< hart_start, hart_suspend: where to start; console: the buffer
    std::uint64_t arg = 0;           ///< hart_start, hart_suspend: opaque; reset: reason
    friend constexpr bool operator==(const SbiCall&, const SbiCall&) = default;
};

/// A call's registers.
struct SbiRegisters { std::uint64_t eid, fid; std::array<std::uint64_t, 5> a; };

/// Whether an extension id lies in the ranges left to whoever makes the hypervisor: experimental, vendor, firmware.
constexpr auto is_hypervisor_call(std::uint64_t id) noexcept -> bool { return id >= 0x0800'0000 && id <= 0x0AFF'FFFF; }

/// Extensions that the VM's host answers itself: their calls leave as exit::Hypercall, with the extension id << 32 | function id, of a
/// legacy call the id alone. complete(value) is SBI_SUCCESS in a0 and the value in a1, of a legacy call the value in a0; fail() is
/// SBI_ERR_NOT_SUPPORTED. For another error set a0, a1 and the pc behind the call, then retry().
struct SbiExits {
    bool base = false, time = false, ipi = false, rfence = false, hsm = false, srst = false, dbcn = false, pmu = false;
    bool legacy = false;    ///< ids 0 to 15
    bool shutdown = false;  ///< of those number 8 alone
    bool unknown = false;   ///< those that the SDK does not know and that are not the hypervisor's own (is_hypervisor_call())
    constexpr auto has(std::uint64_t id) const noexcept -> bool {
        switch (id) {
            case eid::base: return base;
            case eid::time: return time;
            case eid::ipi: return ipi;
            case eid::rfence: return rfence;
            case eid::hsm: return hsm;
            case eid::srst: return srst;
            case eid::dbcn: return dbcn;
            case eid::pmu: return pmu;
            default: break;
        }
        if (id <= 0xF) return legacy || (shutdown && id == 8);
        const bool fits = static_cast<std::uint64_t>(static_cast<std::int32_t>(id)) == id;  // ids have 32 bits: an exit says no more
        return unknown && fits && !is_hypervisor_call(id);
    }
    friend constexpr bool operator==(const SbiExits&, const SbiExits&) = default;
};

/// What the VM has besides what every VM has.
struct SbiFeatures {
    bool console = false;
    bool power = true;   ///< HSM, SRST and the legacy shutdown
    SbiExits exits{};
};

namespace detail {
using Kind = SbiCall::Kind;
constexpr auto answer(SbiError e, std::uint64_t value = 0) noexcept -> SbiCall { return {.kind = Kind::answer, .error = e, .value = value}; }
constexpr auto unsupported() noexcept -> SbiCall { return answer(SbiError::not_supported); }

constexpr auto probe(std::uint64_t id, const SbiFeatures& f) noexcept -> bool {
    switch (id) {
        case eid::base: case eid::time: case eid::ipi: case eid::rfence: case eid::pmu: return true;
        case eid::hsm: case eid::srst: case 8: return f.power || f.exits.has(id);
        case eid::dbcn: case 1: case 2: return f.console || f.exits.has(id);
        default: return id == 0 || (id >= 3 && id <= 7);
    }
}
constexpr auto decode_base(const SbiRegisters& r, const SbiFeatures& f) noexcept -> SbiCall {
    switch (r.fid) {
        case 0: return answer(SbiError::success, sbi_version);
        case 1: return answer(SbiError::success, implementation_id);
        case 2: return answer(SbiError::success, implementation_version);
        case 3: return answer(SbiError::success, probe(r.a[0], f));
        case 4: case 5: case 6: return answer(SbiError::success);  // mvendorid, marchid, mimpid: not given
        default: return unsupported();
    }
}
constexpr auto decode_legacy(const SbiRegisters& r, const SbiFeatures& f) noexcept -> SbiCall {
    switch (r.eid) {
        case 0: return {.kind = Kind::set_timer, .legacy = true, .value = r.a[0]};
        // Without a console what is written is thrown away, and there is nothing to read (-1).
        case 1: return {.kind = f.console ? Kind::console_byte : Kind::answer, .legacy = true, .value = f.console ? r.a[0] & 0xFF : 0};
        case 2: return {.kind = f.console ? Kind::console_get : Kind::answer, .legacy = true, .error = f.console ? SbiError::success : SbiError::failed};
        case 3: return {.kind = Kind::clear_ipi, .legacy = true};
        case 4: return {.kind = Kind::send_ipi, .legacy = true, .mask_in_memory = true, .mask = r.a[0]};
        case 5: return {.kind = Kind::fence_instruction, .legacy = true, .mask_in_memory = true, .mask = r.a[0]};
        case 6: case 7: return {.kind = Kind::fence_translations, .legacy = true, .mask_in_memory = true, .mask = r.a[0]};
        case 8: return {.kind = Kind::reset, .legacy = true};
        default: return {.kind = Kind::answer, .legacy = true, .error = SbiError::not_supported};
    }
}
constexpr auto decode_rfence(const SbiRegisters& r) noexcept -> SbiCall {
    switch (r.fid) {
        case 0: return {.kind = Kind::fence_instruction, .mask = r.a[0], .mask_base = r.a[1]};
        // A range or an ASID may be fenced by more than was asked: everything of the target.
        case 1: case 2: return {.kind = Kind::fence_translations, .mask = r.a[0], .mask_base = r.a[1]};
        default: return unsupported();  // hfence: the guest has no H extension
    }
}
constexpr auto decode_hsm(const SbiRegisters& r) noexcept -> SbiCall {
    switch (r.fid) {
        case 0: return {.kind = Kind::hart_start, .target = r.a[0], .address = r.a[1], .arg = r.a[2]};
        case 1: return {.kind = Kind::hart_stop};
        case 2: return {.kind = Kind::hart_status, .target = r.a[0]};
        case 3: {  // 0: default retentive, 0x8000'0000: default non-retentive; the rest is reserved, or a platform's that this one does not have
            const auto type = static_cast<std::uint32_t>(r.a[0]);
            if (type != 0 && type != 0x8000'0000) return answer(SbiError::invalid_param);
            return {.kind = Kind::hart_suspend, .value = type, .address = r.a[1], .arg = r.a[2]};
        }
        default: return unsupported();
    }
}
constexpr auto decode_srst(const SbiRegisters& r) noexcept -> SbiCall {
    if (r.fid != 0) return unsupported();
    // Shutdown, cold and warm reboot; no reason, system failure. The rest is reserved, or somebody's that is not implemented here.
    const auto type = static_cast<std::uint32_t>(r.a[0]), reason = static_cast<std::uint32_t>(r.a[1]);
    if (type > 2 || reason > 1) return answer(SbiError::invalid_param);
    return {.kind = Kind::reset, .value = type, .arg = reason};
}
constexpr auto decode_pmu(const SbiRegisters& r) noexcept -> SbiCall {
    if (r.fid == 0) return answer(SbiError::success, 0);        // no counters
    return r.fid <= 6 ? answer(SbiError::invalid_param) : unsupported();
}
constexpr auto decode_dbcn(const SbiRegisters& r) noexcept -> SbiCall {
    switch (r.fid) {
        case 0: case 1:
            if (r.a[2] != 0) return answer(SbiError::invalid_param);  // above 64 bits (R14)
            return {.kind = r.fid == 0 ? Kind::console_write : Kind::console_read, .address = r.a[1], .size = r.a[0]};
        case 2: return {.kind = Kind::console_byte, .value = r.a[0] & 0xFF};
        default: return unsupported();
    }
}
}  // namespace detail

constexpr auto decode_call(const SbiRegisters& r, const SbiFeatures& f) noexcept -> SbiCall {
    if (r.eid <= 0xF) return detail::decode_legacy(r, f);
    switch (r.eid) {
        case eid::base: return detail::decode_base(r, f);
        case eid::time: return r.fid == 0 ? SbiCall{.kind = SbiCall::Kind::set_timer, .value = r.a[0]} : detail::unsupported();
        case eid::ipi: return r.fid == 0 ? SbiCall{.kind = SbiCall::Kind::send_ipi, .mask = r.a[0], .mask_base = r.a[1]} : detail::unsupported();
        case eid::rfence: return detail::decode_rfence(r);
        case eid::hsm: return detail::decode_hsm(r);
        case eid::srst: return detail::decode_srst(r);
        case eid::pmu: return detail::decode_pmu(r);
        case eid::dbcn: return f.console ? detail::decode_dbcn(r) : detail::unsupported();
        default: return {.kind = SbiCall::Kind::unknown, .error = SbiError::not_supported};
    }
}

}  // namespace axvcpu::riscv64
