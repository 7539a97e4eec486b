// AArch64: ESR_EL2, FAR_EL2 and HPFAR_EL2 as fields. Pure; compiles on any host.
export module axvcpu.aarch64:syndrome;
import std;
import axvcpu.hal;

export namespace axvcpu::aarch64 {

/// Exception classes that reach EL2 (DDI 0487, ESR_EL2, EC).
enum class Ec : std::uint8_t {
    unknown = 0x00, wfx = 0x01, cp15_mcr = 0x03, cp15_mcrr = 0x04, cp14_mcr = 0x05, cp14_ldc = 0x06, fp = 0x07, vmrs = 0x08,
    pauth = 0x09, ls64 = 0x0A, cp14_mcrr = 0x0C, illegal_state = 0x0E, svc32 = 0x11, hvc32 = 0x12, smc32 = 0x13, svc64 = 0x15,
    hvc64 = 0x16, smc64 = 0x17, sysreg = 0x18, sve = 0x19, eret = 0x1A, pauth_fail = 0x1C, sme = 0x1D, instruction_abort = 0x20,
    pc_alignment = 0x22, data_abort = 0x24, sp_alignment = 0x26, fp_exception = 0x2C, serror = 0x2F, breakpoint = 0x30,
    step = 0x32, watchpoint = 0x34, bkpt32 = 0x38, brk = 0x3C,
};

/// ESR_EL2.
struct Esr {
    std::uint64_t value;
    constexpr auto ec() const noexcept -> Ec { return static_cast<Ec>(value >> 26 & 0x3F); }
    constexpr auto iss() const noexcept -> std::uint32_t { return static_cast<std::uint32_t>(value & 0x1FF'FFFF); }
    /// Bytes of the instruction: IL.
    constexpr auto length() const noexcept -> unsigned { return (value >> 25 & 1) != 0 ? 4 : 2; }
};

/// ESR_EL2 after HVC #0 from AArch64: the immediate that SMCCC asks for.
inline constexpr std::uint64_t hvc_0 = std::uint64_t{0x16} << 26 | 1 << 25;

/// Fault classes of an abort (DDI 0487, ESR_EL2, ISS encoding for an exception from a Data Abort, DFSC).
enum class Fault : std::uint8_t { address_size, translation, access_flag, permission, external, alignment, tlb_conflict, unsupported, other };

constexpr auto fault_of(std::uint32_t iss) noexcept -> Fault {
    const auto code = iss & 0x3F;
    if (code >= 0x29 && code <= 0x2C) return code == 0x2A || code == 0x2B ? Fault::translation : Fault::address_size;  // levels -1 and -2
    if (code == 0x10 || (code >= 0x12 && code <= 0x17) || code == 0x18 || (code >= 0x1A && code <= 0x1F)) return Fault::external;
    if (code == 0x21) return Fault::alignment;
    if (code == 0x30) return Fault::tlb_conflict;
    if (code == 0x34 || code == 0x35) return Fault::unsupported;  // IMPLEMENTATION DEFINED: lockdown, unsupported exclusive or atomic
    switch (code >> 2) {
        case 0: return Fault::address_size;
        case 1: return Fault::translation;
        case 2: return Fault::access_flag;
        case 3: return Fault::permission;
        default: return Fault::other;
    }
}

/// ISS of an instruction or data abort.
struct Abort {
    std::uint32_t iss;
    constexpr auto fault() const noexcept -> Fault { return fault_of(iss); }
    constexpr auto write() const noexcept -> bool { return (iss >> 6 & 1) != 0; }         // WnR
    constexpr auto on_table_walk() const noexcept -> bool { return (iss >> 7 & 1) != 0; }  // S1PTW
    constexpr auto cache_maintenance() const noexcept -> bool { return (iss >> 8 & 1) != 0; }  // CM
    constexpr auto far_valid() const noexcept -> bool { return (iss >> 10 & 1) == 0; }     // FnV
    /// HPFAR_EL2 holds the page: not after a permission fault, unless the fault was on the stage-1 walk.
    constexpr auto hpfar_valid() const noexcept -> bool { return on_table_walk() || fault() != Fault::permission; }
};

/// What a synchronous exception of a guest is to the SDK.
enum class Cause : std::uint8_t {
    call, secure_call, abort, register_access, wait, yield,
    absent,       ///< what the guest does not have: undefined for it
    vectors,      ///< floating point, Advanced SIMD or SVE: not loaded yet, or absent
    watchpoint, breakpoint,
    own_breakpoint,  ///< a breakpoint instruction: the host's where it has asked for those
    unknown,
};

constexpr auto cause_of(Esr esr) noexcept -> Cause {
    switch (esr.ec()) {
        case Ec::hvc64: return Cause::call;
        case Ec::smc64: return Cause::secure_call;
        case Ec::data_abort: case Ec::instruction_abort: return Cause::abort;
        case Ec::sysreg: return Cause::register_access;
        case Ec::wfx: return (esr.iss() & 1) != 0 ? Cause::yield : Cause::wait;  // TI: WFE and WFET, or WFI and WFIT
        case Ec::unknown: case Ec::cp15_mcr: case Ec::cp15_mcrr: case Ec::cp14_mcr: case Ec::cp14_ldc: case Ec::cp14_mcrr:
        case Ec::vmrs: case Ec::sme: case Ec::pauth: case Ec::ls64: case Ec::eret: case Ec::hvc32:
        case Ec::smc32: return Cause::absent;
        case Ec::fp: case Ec::sve: return Cause::vectors;
        case Ec::watchpoint: return Cause::watchpoint;
        case Ec::breakpoint: case Ec::step: return Cause::breakpoint;
        case Ec::bkpt32: case Ec::brk: return Cause::own_breakpoint;
        default: return Cause::unknown;
    }
}

/// What an abort becomes where its address is not the VM's memory.
enum class Outside : std::uint8_t {
    fault,        ///< NestedPageFault: no load or store that an entry has refused
    access,       ///< the syndrome says all of it
    instruction,  ///< the instruction has to be read
};

/// Requires: an abort.
constexpr auto outside(Esr esr) noexcept -> Outside {
    const Abort abort{esr.iss()};
    const auto fault = abort.fault();
    if (esr.ec() != Ec::data_abort || abort.on_table_walk() || (fault != Fault::translation && fault != Fault::permission)) return Outside::fault;
    if ((esr.iss() >> 24 & 1) != 0) return Outside::access;  // ISV
    return abort.cache_maintenance() ? Outside::fault : Outside::instruction;
}

/// A load or store whose syndrome says all of it, and that no entry translates: the commonest abort, by one comparison.
constexpr auto is_plain_access(std::uint64_t esr) noexcept -> bool {
    constexpr std::uint64_t shape = std::uint64_t{0x3F} << 26 | 1 << 24 | 1 << 7 | 0x3C, plain = std::uint64_t{0x24} << 26 | 1 << 24 | 0x04;
    return (esr & shape) == plain;
}

/// The guest-physical address of a page, from HPFAR_EL2.FIPA, with the page offset of FAR_EL2.
constexpr auto fault_address(std::uint64_t hpfar, std::uint64_t far, bool on_table_walk) noexcept -> GuestPhysAddr {
    return {(hpfar & 0xFFF'FFFF'FFF0) << 8 | (on_table_walk ? 0 : far & 0xFFF)};
}

/// ISS of a trapped MSR, MRS or system instruction.
struct SysregTrap {
    std::uint32_t iss;
    constexpr auto encoding() const noexcept -> std::uint32_t { return iss & 0x3F'FC1E; }  // as Sysreg::packed()
    constexpr auto reg() const noexcept -> unsigned { return iss >> 5 & 31; }
    constexpr auto read() const noexcept -> bool { return (iss & 1) != 0; }
};

}  // namespace axvcpu::aarch64
