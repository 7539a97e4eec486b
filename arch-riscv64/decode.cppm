// RISC-V: from an instruction's bits, or from what htinst says of it, to the memory access that the guest made. Pure.
// Source: the Unprivileged Architecture's instruction listings; Privileged Architecture, Transformed Instruction or Pseudoinstruction.
export module axvcpu.riscv64:decode;
import std;

export namespace axvcpu::riscv64 {

/// What an atomic memory operation computes from the old value and rs2.
enum class Amo : std::uint8_t { none, swap, add, exclusive_or, bit_and, bit_or, min, max, min_unsigned, max_unsigned };

/// One load, store or atomic operation.
struct Access {
    std::uint8_t bytes = 0;      ///< 1, 2, 4 or 8
    std::uint8_t reg = 0;        ///< rd of a load, rs2 of a store
    bool write = false;
    bool sign_extend = false;    ///< loads only
    bool fp = false;             ///< the register is f<reg>; a narrower load is NaN-boxed
    std::uint8_t length = 4;     ///< bytes of the instruction
    Amo amo = Amo::none;         ///< not none: a read, then a write; `source` is rs2
    std::uint8_t source = 0;
    friend constexpr bool operator==(Access, Access) = default;
};

/// The low `bytes`, 1 to 8, of a value.
constexpr auto narrow(std::uint64_t value, unsigned bytes) noexcept -> std::uint64_t {
    const unsigned unused = 64 - 8 * bytes;
    return value << unused >> unused;
}
constexpr auto sign_extended(std::uint64_t value, unsigned bytes) noexcept -> std::uint64_t {
    const unsigned unused = 64 - 8 * bytes;
    return static_cast<std::uint64_t>(static_cast<std::int64_t>(value << unused) >> unused);
}
/// The register's value after a load that returned `data`; bits of `data` above the access's width mean nothing.
constexpr auto loaded_value(Access a, std::uint64_t data) noexcept -> std::uint64_t {
    if (a.fp) return a.bytes == 8 ? data : narrow(data, a.bytes) | ~std::uint64_t{0} << 8 * a.bytes;  // NaN-boxing
    return a.sign_extend ? sign_extended(data, a.bytes) : narrow(data, a.bytes);
}
/// What an atomic operation stores.
constexpr auto amo_result(Access a, std::uint64_t old, std::uint64_t operand) noexcept -> std::uint64_t {
    const auto s = [&](std::uint64_t v) { return static_cast<std::int64_t>(sign_extended(v, a.bytes)); };
    const auto u = [&](std::uint64_t v) { return narrow(v, a.bytes); };
    switch (a.amo) {
        case Amo::swap: return u(operand);
        case Amo::add: return u(old + operand);
        case Amo::exclusive_or: return u(old ^ operand);
        case Amo::bit_and: return u(old & operand);
        case Amo::bit_or: return u(old | operand);
        case Amo::min: return u(s(old) < s(operand) ? old : operand);
        case Amo::max: return u(s(old) > s(operand) ? old : operand);
        case Amo::min_unsigned: return std::min(u(old), u(operand));
        case Amo::max_unsigned: return std::max(u(old), u(operand));
        case Amo::none: break;
    }
    return 0;
}

namespace detail {
constexpr auto integer(unsigned bytes, unsigned reg, bool write, bool sign, unsigned length) noexcept -> Access {
    return {.bytes = static_cast<std::uint8_t>(bytes), .reg = static_cast<std::uint8_t>(reg), .write = write, .sign_extend = sign,
            .length = static_cast<std::uint8_t>(length)};
}
constexpr auto floating(unsigned bytes, unsigned reg, bool write, unsigned length) noexcept -> Access {
    return {.bytes = static_cast<std::uint8_t>(bytes), .reg = static_cast<std::uint8_t>(reg), .write = write, .fp = true, .length = static_cast<std::uint8_t>(length)};
}

constexpr auto decode_amo(std::uint32_t insn) noexcept -> std::optional<Access> {
    const auto width = insn >> 12 & 7;
    if (width != 2 && width != 3) return std::nullopt;
    auto op = Amo::none;
    switch (insn >> 27) {
        case 0x01: op = Amo::swap; break;
        case 0x00: op = Amo::add; break;
        case 0x04: op = Amo::exclusive_or; break;
        case 0x0C: op = Amo::bit_and; break;
        case 0x08: op = Amo::bit_or; break;
        case 0x10: op = Amo::min; break;
        case 0x14: op = Amo::max; break;
        case 0x18: op = Amo::min_unsigned; break;
        case 0x1C: op = Amo::max_unsigned; break;
        default: return std::nullopt;  // LR and SC need a reservation; Zacas needs two registers
    }
    Access a = integer(width == 2 ? 4 : 8, insn >> 7 & 31, true, true, 4);
    a.amo = op;
    a.source = static_cast<std::uint8_t>(insn >> 20 & 31);
    return a;
}

/// A 32-bit load, store or AMO; `length` as the original's. The address operands are not looked at.
constexpr auto decode_wide(std::uint32_t insn, unsigned length) noexcept -> std::optional<Access> {
    const auto funct3 = insn >> 12 & 7, rd = insn >> 7 & 31, rs2 = insn >> 20 & 31;
    switch (insn & 0x7C) {
        case 0x00:  // LOAD: LB LH LW LD LBU LHU LWU
            if (funct3 == 7) return std::nullopt;
            return integer(1u << (funct3 & 3), rd, false, funct3 < 4, length);
        case 0x20:  // STORE
            if (funct3 > 3) return std::nullopt;
            return integer(1u << funct3, rs2, true, false, length);
        case 0x04:  // LOAD-FP: FLH FLW FLD; the other widths are vectors and quads
            if (funct3 < 1 || funct3 > 3) return std::nullopt;
            return floating(1u << funct3, rd, false, length);
        case 0x24:  // STORE-FP
            if (funct3 < 1 || funct3 > 3) return std::nullopt;
            return floating(1u << funct3, rs2, true, length);
        case 0x2C: return length == 4 ? decode_amo(insn) : std::nullopt;
        default: return std::nullopt;
    }
}

constexpr auto decode_compressed(std::uint32_t insn) noexcept -> std::optional<Access> {
    const auto small = [&](unsigned low) { return (insn >> low & 7) + 8; };
    const auto rd = insn >> 7 & 31, rs2 = insn >> 2 & 31;
    switch ((insn & 3) << 3 | (insn >> 13 & 7)) {
        case 0 << 3 | 1: return floating(8, small(2), false, 2);        // C.FLD
        case 0 << 3 | 2: return integer(4, small(2), false, true, 2);   // C.LW
        case 0 << 3 | 3: return integer(8, small(2), false, true, 2);   // C.LD
        case 0 << 3 | 5: return floating(8, small(2), true, 2);         // C.FSD
        case 0 << 3 | 6: return integer(4, small(2), true, false, 2);   // C.SW
        case 0 << 3 | 7: return integer(8, small(2), true, false, 2);   // C.SD
        case 0 << 3 | 4:                                                // Zcb
            switch (insn >> 10 & 7) {
                case 0: return integer(1, small(2), false, false, 2);                       // C.LBU
                case 1: return integer(2, small(2), false, (insn >> 6 & 1) != 0, 2);        // C.LHU, C.LH
                case 2: return integer(1, small(2), true, false, 2);                        // C.SB
                case 3: return (insn >> 6 & 1) == 0 ? std::optional(integer(2, small(2), true, false, 2)) : std::nullopt;  // C.SH
                default: return std::nullopt;
            }
        case 2 << 3 | 1: return floating(8, rd, false, 2);              // C.FLDSP
        case 2 << 3 | 2: return rd != 0 ? std::optional(integer(4, rd, false, true, 2)) : std::nullopt;  // C.LWSP
        case 2 << 3 | 3: return rd != 0 ? std::optional(integer(8, rd, false, true, 2)) : std::nullopt;  // C.LDSP
        case 2 << 3 | 5: return floating(8, rs2, true, 2);              // C.FSDSP
        case 2 << 3 | 6: return integer(4, rs2, true, false, 2);        // C.SWSP
        case 2 << 3 | 7: return integer(8, rs2, true, false, 2);        // C.SDSP
        default: return std::nullopt;
    }
}
}  // namespace detail

/// Bytes of the instruction that starts with these bits; 0 for those longer than 4.
constexpr auto instruction_length(std::uint32_t insn) noexcept -> unsigned {
    if ((insn & 3) != 3) return 2;
    return (insn & 0x1C) != 0x1C ? 4 : 0;
}

/// A load, store or AMO by its own bits. Nothing for what is none, and for LR, SC, vectors and cache operations: never guessed.
constexpr auto decode_instruction(std::uint32_t insn) noexcept -> std::optional<Access> {
    switch (instruction_length(insn)) {
        case 2: return detail::decode_compressed(insn & 0xFFFF);
        case 4: return detail::decode_wide(insn, 4);
        default: return std::nullopt;
    }
}

/// Where an access goes: x(base) + offset.
struct Target {
    std::uint8_t base;
    std::int16_t offset;
    friend constexpr bool operator==(Target, Target) = default;
};
/// Of an instruction that decode_instruction() knows, by its own bits.
constexpr auto decode_target(std::uint32_t insn) noexcept -> Target {
    const auto bits = [&](unsigned high, unsigned low, unsigned to) { return (insn >> low & ((1u << (high - low + 1)) - 1)) << to; };
    const auto at = [](std::uint32_t base, std::uint32_t offset) { return Target{static_cast<std::uint8_t>(base), static_cast<std::int16_t>(offset)}; };
    constexpr std::uint32_t sp = 2;
    if (instruction_length(insn) == 4) {
        const auto base = bits(19, 15, 0), opcode = insn & 0x7C;
        if (opcode == 0x2C) return at(base, 0);  // AMO
        const auto offset = (opcode & 0x20) != 0 ? bits(31, 25, 5) | bits(11, 7, 0) : bits(31, 20, 0);
        return at(base, (offset ^ 0x800) - 0x800);
    }
    const bool is_double = (bits(13, 13, 0) & 1) != 0;  // C.LD, C.FLD and their stores: funct3 is odd; else words
    const bool is_store = bits(15, 15, 0) != 0;
    if ((insn & 3) == 2) {
        if (is_store) return at(sp, is_double ? bits(12, 10, 3) | bits(9, 7, 6) : bits(12, 9, 2) | bits(8, 7, 6));
        return at(sp, bits(12, 12, 5) | (is_double ? bits(6, 5, 3) | bits(4, 2, 6) : bits(6, 4, 2) | bits(3, 2, 6)));
    }
    const auto base = bits(9, 7, 0) + 8;
    if (bits(15, 13, 0) == 4) return at(base, bits(5, 5, 1) | (bits(10, 10, 0) == 0 ? bits(6, 6, 0) : 0));  // Zcb: bytes, then halves
    return at(base, bits(12, 10, 3) | (is_double ? bits(6, 5, 6) : bits(6, 6, 2) | bits(5, 5, 6)));
}

/// htinst after a guest-page fault (R18).
enum class TrapInstruction : std::uint8_t { unknown, access, page_table_read, page_table_write };
constexpr auto classify_htinst(std::uint64_t htinst) noexcept -> TrapInstruction {
    switch (htinst) {
        case 0: return TrapInstruction::unknown;
        case 0x2000: case 0x3000: return TrapInstruction::page_table_read;
        case 0x2020: case 0x3020: return TrapInstruction::page_table_write;
        default: return (htinst & 1) != 0 ? TrapInstruction::access : TrapInstruction::unknown;
    }
}
/// A transformed instruction: expanded to 32 bits; bit 1 is 0 where the original was compressed.
constexpr auto decode_transformed(std::uint64_t htinst) noexcept -> std::optional<Access> {
    if ((htinst & 1) == 0) return std::nullopt;
    return detail::decode_wide(static_cast<std::uint32_t>(htinst) | 2, (htinst & 2) != 0 ? 4 : 2);
}

/// A CSR instruction (Zicsr).
struct CsrAccess {
    std::uint16_t csr;
    std::uint8_t rd, source;     ///< source: rs1, or the immediate
    bool immediate, reads, writes;
    enum class Op : std::uint8_t { write, set, clear } op;
    friend constexpr bool operator==(CsrAccess, CsrAccess) = default;
};
constexpr auto decode_csr(std::uint32_t insn) noexcept -> std::optional<CsrAccess> {
    const auto funct3 = insn >> 12 & 7;
    if ((insn & 0x7F) != 0x73 || (funct3 & 3) == 0) return std::nullopt;
    CsrAccess a{};
    a.csr = static_cast<std::uint16_t>(insn >> 20);
    a.rd = static_cast<std::uint8_t>(insn >> 7 & 31);
    a.source = static_cast<std::uint8_t>(insn >> 15 & 31);
    a.immediate = funct3 >= 4;
    a.op = static_cast<CsrAccess::Op>((funct3 & 3) - 1);
    a.reads = a.op != CsrAccess::Op::write || a.rd != 0;
    a.writes = a.op == CsrAccess::Op::write || a.source != 0;
    return a;
}
inline constexpr std::uint32_t wfi_instruction = 0x1050'0073;
/// Zawrs: waits until a reservation is lost; WRS.STO not for long.
constexpr auto is_wait_on_reservation(std::uint32_t insn) noexcept -> bool { return insn == 0x00D0'0073 || insn == 0x01D0'0073; }

}  // namespace axvcpu::riscv64
