// Loads and stores of a guest, decoded by Zydis: which register, how wide, from where.
module;
#include <Zydis/Zydis.h>
module axvcpu.x86_64;
import std;
import axvcpu.hal;

namespace axvcpu::x86_64 {

namespace {

struct General { std::uint8_t number; bool high; };

/// Number of a general register in instructions. Zydis lists the bytes as AL to BL, AH to BH, SPL to DIL, R8B to R15B.
auto general(ZydisRegister r) noexcept -> std::optional<General> {
    const auto id = static_cast<std::uint8_t>(ZydisRegisterGetId(r));
    switch (ZydisRegisterGetClass(r)) {
        case ZYDIS_REGCLASS_GPR16: case ZYDIS_REGCLASS_GPR32: case ZYDIS_REGCLASS_GPR64: return General{id, false};
        case ZYDIS_REGCLASS_GPR8:
            if (id < 4) return General{id, false};
            return id < 8 ? General{static_cast<std::uint8_t>(id - 4), true} : General{static_cast<std::uint8_t>(id - 4), false};
        default: return std::nullopt;
    }
}

auto segment_base(const Vcpu& v, ZydisRegister segment) noexcept -> std::uint64_t {
    const auto& b = *v.vmcb;
    switch (segment) {
        case ZYDIS_REGISTER_FS: return b.fs.base;
        case ZYDIS_REGISTER_GS: return b.gs.base;
        case ZYDIS_REGISTER_CS: return v.in_long_mode() ? 0 : b.cs.base;
        case ZYDIS_REGISTER_SS: return v.in_long_mode() ? 0 : b.ss.base;
        case ZYDIS_REGISTER_ES: return v.in_long_mode() ? 0 : b.es.base;
        default: return v.in_long_mode() ? 0 : b.ds.base;
    }
}

auto linear_address(Vcpu& v, const ZydisDecodedInstruction& insn, const ZydisDecodedOperandMem& m) noexcept -> std::optional<std::uint64_t> {
    auto offset = static_cast<std::uint64_t>(m.disp.value);
    if (m.base == ZYDIS_REGISTER_RIP || m.base == ZYDIS_REGISTER_EIP) {
        offset += v.vmcb->rip + insn.length;
    } else if (m.base != ZYDIS_REGISTER_NONE) {
        const auto base = general(m.base);
        if (!base) return std::nullopt;
        offset += v.x(base->number);
    }
    if (m.index != ZYDIS_REGISTER_NONE) {
        const auto i = general(m.index);
        if (!i) return std::nullopt;
        offset += v.x(i->number) * m.scale;
    }
    const auto linear = segment_base(v, m.segment) + narrow(offset, insn.address_width / 8);
    return v.in_long_mode() ? linear : linear & 0xFFFF'FFFF;
}

auto decoder_for(const Vcpu& v) noexcept -> ZydisDecoder {
    ZydisDecoder d;
    const bool wide = (v.vmcb->cs.attributes & 1 << 10) != 0;  // CS.D
    if (v.in_long_mode()) ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    else if (wide) ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
    else ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
    return d;
}

}  // namespace

auto any_length(Vcpu& v) noexcept -> std::optional<std::uint8_t> {
    std::array<std::uint8_t, 15> bytes{};
    const auto n = fetch(v, bytes);
    const auto decoder = decoder_for(v);
    ZydisDecodedInstruction insn;
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder, nullptr, bytes.data(), n, &insn))) return std::nullopt;
    return insn.length;
}

/// MOV, MOVZX, MOVSX and MOVSXD between a general register or a value, and memory. Everything else is nothing.
auto decode_memory(Vcpu& v, std::span<const std::uint8_t> bytes) noexcept -> std::optional<MemoryAccess> {
    const auto decoder = decoder_for(v);
    ZydisDecodedInstruction insn;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes.data(), bytes.size(), &insn, operands))) return std::nullopt;
    const bool extends = insn.mnemonic == ZYDIS_MNEMONIC_MOVZX || insn.mnemonic == ZYDIS_MNEMONIC_MOVSX || insn.mnemonic == ZYDIS_MNEMONIC_MOVSXD;
    if (insn.mnemonic != ZYDIS_MNEMONIC_MOV && !extends) return std::nullopt;
    const bool write = operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY;
    const auto& memory = operands[write ? 0 : 1];
    const auto& other = operands[write ? 1 : 0];
    if (memory.type != ZYDIS_OPERAND_TYPE_MEMORY) return std::nullopt;
    MemoryAccess a{.width = static_cast<std::uint8_t>(memory.size / 8), .length = insn.length, .write = write,
                   .sign_extend = insn.mnemonic == ZYDIS_MNEMONIC_MOVSX || insn.mnemonic == ZYDIS_MNEMONIC_MOVSXD};
    if (other.type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
        a.has_immediate = true;
        a.immediate = other.imm.value.u;
    } else {
        const auto g = other.type == ZYDIS_OPERAND_TYPE_REGISTER ? general(other.reg.value) : std::nullopt;
        if (!g) return std::nullopt;  // a segment register
        a.reg = g->number;
        a.high_byte = g->high;
        a.to_width = write ? 0 : static_cast<std::uint8_t>(other.size / 8);
    }
    const auto linear = linear_address(v, insn, memory.mem);
    if (!linear) return std::nullopt;
    a.linear = *linear;
    return a;
}

}  // namespace axvcpu::x86_64
