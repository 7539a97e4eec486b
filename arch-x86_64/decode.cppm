// x86_64: lengths of system instructions, I/O and nested-page-fault syndromes. Pure; compiles on any host.
// Sources: APM 2, SVM Intercept Codes, IOIO Intercept, Nested versus Guest Page Faults; APM 3, Instruction Encoding.
export module axvcpu.x86_64:decode;
import std;

export namespace axvcpu::x86_64 {

/// A system instruction: what its prefixes and its opcode take, and the register fields of its ModRM byte, where it has one.
struct SystemInstruction {
    std::uint8_t length = 0;
    std::uint8_t opcode = 0;   ///< the byte behind 0F, or the only one
    bool two_byte = false;
    std::uint8_t reg = 0, rm = 0;
};

/// Decodes CPUID, HLT, RDMSR, WRMSR, VMMCALL, WBINVD, INVD, PAUSE, XSETBV and MOV to and from control registers. Nothing: it is something
/// else, or longer than what was read. `long_mode`: REX prefixes exist.
constexpr auto decode_system(std::span<const std::uint8_t> bytes, bool long_mode) noexcept -> std::optional<SystemInstruction> {
    constexpr std::array<std::uint8_t, 11> prefixes{0x66, 0x67, 0xF2, 0xF3, 0xF0, 0x2E, 0x36, 0x3E, 0x26, 0x64, 0x65};
    constexpr std::size_t longest = 15;
    SystemInstruction s;
    std::size_t n = 0;
    std::uint8_t rex = 0;
    const auto end = std::min(bytes.size(), longest);
    for (; n < end; ++n) {  // a REX prefix counts only right before the opcode
        if (long_mode && (bytes[n] & 0xF0) == 0x40) rex = bytes[n];
        else if (std::ranges::find(prefixes, bytes[n]) != prefixes.end()) rex = 0;
        else break;
    }
    if (n == end) return std::nullopt;
    s.opcode = bytes[n++];
    if (s.opcode == 0xF4 || s.opcode == 0x90) return s.length = static_cast<std::uint8_t>(n), s;  // HLT, PAUSE
    if (s.opcode != 0x0F || n == end) return std::nullopt;
    s.two_byte = true;
    s.opcode = bytes[n++];
    switch (s.opcode) {
        case 0x08: case 0x09: case 0x30: case 0x32: case 0xA2: break;  // INVD, WBINVD, WRMSR, RDMSR, CPUID
        case 0x01: case 0x20: case 0x22:                               // VMMCALL and XSETBV by their third byte; MOV from and to CRn
            if (n == end) return std::nullopt;
            s.reg = static_cast<std::uint8_t>((bytes[n] >> 3 & 7) | (rex & 4) << 1);
            s.rm = static_cast<std::uint8_t>((bytes[n] & 7) | (rex & 1) << 3);
            if (s.opcode == 0x01 && bytes[n] != 0xD9 && bytes[n] != 0xD1) return std::nullopt;
            ++n;
            break;
        default: return std::nullopt;
    }
    s.length = static_cast<std::uint8_t>(n);
    return s;
}

/// EXITINFO1 of an IOIO intercept.
struct PortAccess {
    std::uint64_t info;
    constexpr auto port() const noexcept -> std::uint16_t { return static_cast<std::uint16_t>(info >> 16); }
    constexpr auto in() const noexcept -> bool { return (info & 1) != 0; }
    constexpr auto string() const noexcept -> bool { return (info & 4) != 0; }
    constexpr auto width() const noexcept -> std::uint8_t { return (info & 0x10) != 0 ? 1 : (info & 0x20) != 0 ? 2 : 4; }
};

/// EXITINFO1 of a nested page fault: the page-fault error code, and which walk it was.
struct NestedFault {
    std::uint64_t info;
    constexpr auto present() const noexcept -> bool { return (info & 1) != 0; }
    constexpr auto write() const noexcept -> bool { return (info & 2) != 0; }
    constexpr auto execute() const noexcept -> bool { return (info & 0x10) != 0; }
    constexpr auto on_table_walk() const noexcept -> bool { return (info >> 33 & 1) != 0; }
};

/// A value as a store of `width` bytes leaves it.
constexpr auto narrow(std::uint64_t value, unsigned width) noexcept -> std::uint64_t {
    return width >= 8 ? value : value & ((std::uint64_t{1} << 8 * width) - 1);
}
/// What a general register of 64 bits holds after `width` bytes of it were written: 4 bytes clear the rest, fewer leave it.
constexpr auto merged(std::uint64_t old, std::uint64_t value, unsigned width) noexcept -> std::uint64_t {
    return width >= 4 ? narrow(value, width) : (old & ~((std::uint64_t{1} << 8 * width) - 1)) | narrow(value, width);
}
constexpr auto sign_extended(std::uint64_t value, unsigned width) noexcept -> std::uint64_t {
    const unsigned shift = 64 - 8 * width;
    return static_cast<std::uint64_t>(static_cast<std::int64_t>(value << shift) >> shift);
}

}  // namespace axvcpu::x86_64
