// AArch64: from a data abort to the accesses that the guest made, by syndrome or by instruction. Pure; compiles on any host.
export module axvcpu.aarch64:decode;
import std;

export namespace axvcpu::aarch64 {

/// One register's part of a load or store (DDI 0487, ESR_EL2, ISS encoding for an exception from a Data Abort).
struct Access {
    std::uint8_t bytes;      ///< 1, 2, 4 or 8
    std::uint8_t reg;        ///< 0..30, or 31 for the zero register; a vector register's number where `vector`
    bool write;
    bool sign_extend;        ///< loads only
    bool reg_is_64_bit;      ///< a 32-bit destination clears its upper half
    bool vector = false;     ///< the register is V<reg>
    bool high = false;       ///< the upper 8 bytes of V<reg>
    friend constexpr bool operator==(Access, Access) = default;
};

/// What the syndrome says of the access; nothing where ISV is 0, and then the instruction itself must be read.
constexpr auto decode_access(std::uint64_t esr) noexcept -> std::optional<Access> {
    constexpr auto bit = [](unsigned n) { return std::uint64_t{1} << n; };
    if ((esr & bit(24)) == 0) return std::nullopt;  // ISV
    return Access{
        .bytes = static_cast<std::uint8_t>(1u << (esr >> 22 & 3)),  // SAS
        .reg = static_cast<std::uint8_t>(esr >> 16 & 31),           // SRT
        .write = (esr & bit(6)) != 0,                               // WnR
        .sign_extend = (esr & bit(21)) != 0,                        // SSE
        .reg_is_64_bit = (esr & bit(15)) != 0,                      // SF
    };
}

/// The low `bytes`, 1 to 8, of a value.
constexpr auto narrow(std::uint64_t value, unsigned bytes) noexcept -> std::uint64_t {
    const unsigned unused = 64 - 8 * bytes;
    return value << unused >> unused;
}

/// The register's value after a load that returned `data`. `data` may have any bits above the access's width.
constexpr auto loaded_value(Access a, std::uint64_t data) noexcept -> std::uint64_t {
    const unsigned unused = 64 - 8u * a.bytes;
    const auto widened = a.sign_extend ? static_cast<std::uint64_t>(static_cast<std::int64_t>(data << unused) >> unused)
                                       : data << unused >> unused;
    return a.reg_is_64_bit ? widened : static_cast<std::uint32_t>(widened);
}

/// A whole load or store instruction: up to four accesses of 8 bytes or less, at consecutive addresses.
struct MemoryInstruction {
    std::array<Access, 4> access{};
    std::uint8_t count = 0;
    std::uint8_t base = 0;        ///< 0..30, or 31 for the stack pointer
    bool writeback = false;       ///< the base register changes by `step` at the end
    std::int64_t step = 0;        ///< of the writeback
    std::int64_t offset = 0;      ///< from the base register to the first access, where it is a constant
    bool register_offset = false; ///< the offset is in a register: the address comes from the hardware alone
};

/// Decodes the loads and stores that leave ISV 0: pairs, writeback, vector registers; and those that do not, too. Nothing for
/// exclusives, atomics, structures, SVE, MTE and everything that is not a load or store: those are never guessed.
constexpr auto decode_instruction(std::uint32_t insn) noexcept -> std::optional<MemoryInstruction> {
    const auto bits = [insn](unsigned high, unsigned low) { return insn >> low & ((1u << (high - low + 1)) - 1); };
    const auto signed_bits = [](std::uint32_t v, unsigned width) {
        return static_cast<std::int64_t>(static_cast<std::uint64_t>(v) << (64 - width)) >> (64 - width);
    };
    MemoryInstruction m;
    m.base = static_cast<std::uint8_t>(bits(9, 5));
    const bool vector = bits(26, 26) != 0;
    const auto add = [&](std::uint32_t reg, unsigned bytes, bool write, bool sign, bool wide) {
        for (unsigned part = 0; part * 8 < bytes; ++part)
            m.access[m.count++] = {static_cast<std::uint8_t>(std::min(bytes, 8u)), static_cast<std::uint8_t>(reg), write, sign, wide, vector, part != 0};
    };

    // Load/store pair (all of them: no-allocate, post-indexed, offset, pre-indexed).
    if (bits(29, 27) == 0b101 && bits(25, 25) == 0) {
        const auto opc = bits(31, 30), mode = bits(24, 23);
        const bool load = bits(22, 22) != 0;
        if (opc == 3) return std::nullopt;
        unsigned bytes = vector ? 4u << opc : (opc == 2 ? 8 : 4);
        const bool sign = !vector && opc == 1;
        if (sign && (!load || mode == 0)) return std::nullopt;  // STGP, unallocated
        m.writeback = mode == 1 || mode == 3;
        const auto imm = signed_bits(bits(21, 15), 7) * bytes;
        m.step = imm;
        m.offset = mode == 1 ? 0 : imm;
        // Loading one register twice, or a base that is also loaded and written back, is CONSTRAINED UNPREDICTABLE.
        const auto rt = bits(4, 0), rt2 = bits(14, 10);
        if (load && rt == rt2) return std::nullopt;
        if (m.writeback && !vector && m.base != 31 && (rt == m.base || rt2 == m.base)) return std::nullopt;
        add(rt, bytes, !load, sign, vector || opc != 0);
        add(rt2, bytes, !load, sign, vector || opc != 0);
        return m;
    }

    // Load/store register: unscaled, post-indexed, unprivileged, pre-indexed, register offset, unsigned immediate.
    if (bits(29, 27) != 0b111) return std::nullopt;
    const auto size = bits(31, 30), opc = bits(23, 22);
    unsigned bytes = 1u << size;
    bool load = opc != 0, sign = false, wide = size == 3;
    if (vector) {
        if ((opc & 2) != 0) {
            if (size != 0) return std::nullopt;
            bytes = 16;
        }
        load = (opc & 1) != 0;
        wide = true;
    } else if (opc >= 2) {
        if (size == 3 || (size == 2 && opc == 3)) return std::nullopt;  // PRFM, unallocated
        sign = true;
        wide = opc == 2;
    }
    if (bits(25, 24) == 1) {
        m.offset = static_cast<std::int64_t>(bits(21, 10)) * bytes;
    } else if (bits(25, 24) == 0 && bits(21, 21) == 0) {
        const auto mode = bits(11, 10);
        if (mode == 2 && vector) return std::nullopt;
        const auto imm = signed_bits(bits(20, 12), 9);
        m.writeback = mode == 1 || mode == 3;
        m.step = imm;
        m.offset = mode == 1 ? 0 : imm;
    } else if (bits(25, 24) == 0 && bits(21, 21) == 1 && bits(11, 10) == 2) {
        if (bits(14, 14) == 0) return std::nullopt;  // option: sub-word index, unallocated
        m.register_offset = true;
    } else {
        return std::nullopt;  // atomics, pointer-authenticated loads
    }
    const auto rt = bits(4, 0);
    if (m.writeback && !vector && m.base != 31 && rt == m.base) return std::nullopt;  // CONSTRAINED UNPREDICTABLE
    add(rt, bytes, !load, sign, wide);
    return m;
}

}  // namespace axvcpu::aarch64
