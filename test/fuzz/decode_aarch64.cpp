// AArch64's load and store decoder against LLVM's, both ways: what we decode is what the instruction says, and what it says is a plain
// load or store of general or SIMD registers we decode.
#include <cstdio>
#include "disassembler.hpp"
import axvcpu.aarch64;

using namespace axvcpu::aarch64;

namespace {

struct Shape { unsigned bytes; bool write, sign, pair; };

/// A load or store that we promise to decode, by its mnemonic; width 0: the register says it.
auto shape_of(std::string_view m) -> std::optional<Shape> {
    static const std::map<std::string_view, Shape> known{
        {"ldr", {0, false, false, false}}, {"str", {0, true, false, false}}, {"ldrb", {1, false, false, false}}, {"strb", {1, true, false, false}},
        {"ldrh", {2, false, false, false}}, {"strh", {2, true, false, false}}, {"ldrsb", {1, false, true, false}}, {"ldrsh", {2, false, true, false}},
        {"ldrsw", {4, false, true, false}}, {"ldur", {0, false, false, false}}, {"stur", {0, true, false, false}}, {"ldurb", {1, false, false, false}},
        {"sturb", {1, true, false, false}}, {"ldurh", {2, false, false, false}}, {"sturh", {2, true, false, false}}, {"ldursb", {1, false, true, false}},
        {"ldursh", {2, false, true, false}}, {"ldursw", {4, false, true, false}}, {"ldp", {0, false, false, true}}, {"stp", {0, true, false, true}},
        {"ldnp", {0, false, false, true}}, {"stnp", {0, true, false, true}}, {"ldpsw", {4, false, true, true}}, {"ldtr", {0, false, false, false}},
        {"sttr", {0, true, false, false}}, {"ldtrb", {1, false, false, false}}, {"sttrb", {1, true, false, false}}, {"ldtrh", {2, false, false, false}},
        {"sttrh", {2, true, false, false}}, {"ldtrsb", {1, false, true, false}}, {"ldtrsh", {2, false, true, false}}, {"ldtrsw", {4, false, true, false}}};
    const auto at = known.find(m);
    return at != known.end() ? std::optional(at->second) : std::nullopt;
}

/// A register as the disassembler writes it: bytes it has, number (31 for sp and zr), vector or not.
struct Register { unsigned bytes, number; bool vector; };
auto register_of(std::string_view s) -> std::optional<Register> {
    if (s == "sp" || s == "xzr") return Register{8, 31, false};
    if (s == "wsp" || s == "wzr") return Register{4, 31, false};
    if (s.size() < 2) return std::nullopt;
    unsigned n = 0;
    if (std::from_chars(s.data() + 1, s.data() + s.size(), n).ec != std::errc{}) return std::nullopt;
    switch (s[0]) {
        case 'x': return Register{8, n, false};
        case 'w': return Register{4, n, false};
        case 'b': return Register{1, n, true};
        case 'h': return Register{2, n, true};
        case 's': return Register{4, n, true};
        case 'd': return Register{8, n, true};
        case 'q': return Register{16, n, true};
        default: return std::nullopt;
    }
}

/// Whether it is CONSTRAINED UNPREDICTABLE, which we promise nothing of: writeback to a register that is loaded or stored, or one loaded
/// twice (DDI 0487, LDP and LDR, Operation). Of some of these LLVM warns, and then there is no text.
auto unpredictable(const fuzz::Text& text, const Shape& shape, std::size_t bracket) -> bool {
    const auto head = std::string_view(text.operands).substr(0, bracket), inside = std::string_view(text.operands).substr(bracket + 1);
    const auto base = register_of(inside.substr(0, inside.find_first_of(",]")));
    const bool writeback = inside.find("],#") != inside.npos || inside.find("]!") != inside.npos;
    const auto comma = head.find(','), rest = comma + 1;
    const auto first = register_of(head.substr(0, comma));
    const auto second = shape.pair ? register_of(head.substr(rest, head.find(',', rest) - rest)) : first;
    if (!base || !first || !second) fuzz::differ(0, text, "no registers");
    if (shape.pair && !shape.write && first->number == second->number) return true;
    return writeback && !first->vector && base->number != 31 && (first->number == base->number || second->number == base->number);
}

void compare(std::uint32_t word) {
    static const fuzz::Disassembler disassemble("aarch64", "+v8.2a");
    const auto text = disassemble(word);
    const auto ours = decode_instruction(word);
    const auto shape = shape_of(text.mnemonic);
    const auto bracket = text.operands.find('[');
    if (!ours) {
        // A literal has no base and no bracket.
        if (shape && bracket != std::string::npos && !unpredictable(text, *shape, bracket)) fuzz::differ(word, text, "a load or store that we do not decode");
        return;
    }
    // The library gives no text where LLVM only warns: of accesses whose register is the base, or a pair of one register.
    const bool warned = ours->access[0].reg == ours->base || ours->access[ours->count - 1].reg == ours->base || (ours->count > 1 && ours->access[0].reg == ours->access[ours->count - 1].reg);
    if (text.length == 0 && warned) return;
    if (!shape || bracket == std::string::npos) fuzz::differ(word, text, "decoded, and is no load or store of ours");
    // Operands: REG[,REG],[BASE...
    const std::string_view head = std::string_view(text.operands).substr(0, bracket);
    const auto first = register_of(head.substr(0, head.find(',')));
    if (!first) fuzz::differ(word, text, "its register is none");
    const unsigned bytes = shape->bytes != 0 ? shape->bytes : first->bytes;
    const unsigned parts = (bytes > 8 ? 2 : 1) * (shape->pair ? 2 : 1);
    if (ours->count != parts) fuzz::differ(word, text, "number of parts");
    const auto& a = ours->access[0];
    if (a.bytes != std::min(bytes, 8u)) fuzz::differ(word, text, "width");
    if (a.reg != first->number || a.vector != first->vector) fuzz::differ(word, text, "register");
    if (a.write != shape->write) fuzz::differ(word, text, "direction");
    if (a.sign_extend != shape->sign) fuzz::differ(word, text, "sign extension");
    if (!first->vector && !shape->write && a.reg_is_64_bit != (first->bytes == 8) && (shape->sign || bytes < 8)) {
        if (shape->sign) fuzz::differ(word, text, "size of the destination");  // zero-extended ones are the same either way
    }
    if (shape->pair) {
        const auto rest = head.substr(head.find(',') + 1);
        const auto second = register_of(rest.substr(0, rest.find(',')));
        if (!second || ours->access[parts / 2].reg != second->number) fuzz::differ(word, text, "second register");
    }
    const auto inside = std::string_view(text.operands).substr(bracket + 1);
    const auto base = register_of(inside.substr(0, inside.find_first_of(",]")));
    if (!base || base->number != ours->base) fuzz::differ(word, text, "base");
    const bool post = inside.find("],#") != inside.npos, pre = inside.find("]!") != inside.npos;
    if (ours->writeback != (post || pre)) fuzz::differ(word, text, "writeback");
    const auto second = inside.substr(0, inside.find(']')).find(',');
    const bool by_register = second != inside.npos && inside[second + 1] != '#';
    if (ours->register_offset != by_register) fuzz::differ(word, text, "whether the offset is in a register");
    if (!by_register) {
        std::int64_t offset = 0;  // where none is written
        if (const auto hash = inside.find('#'); hash != inside.npos) std::from_chars(inside.data() + hash + 1, inside.data() + inside.size(), offset);
        if ((post || pre) && ours->step != offset) fuzz::differ(word, text, "step");
        if (!post && ours->offset != offset) fuzz::differ(word, text, "offset");
    }
    if (post && ours->offset != 0) fuzz::differ(word, text, "a post-indexed access is at the base");
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
    LLVMInitializeAArch64TargetInfo();
    LLVMInitializeAArch64TargetMC();
    LLVMInitializeAArch64Disassembler();
    return 0;
}
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    for (; size >= 4; size -= 4, data += 4) {
        std::uint32_t word;
        __builtin_memcpy(&word, data, 4);
        compare(word);
        compare((word & 0xC7FF'FFFF) | 0x3800'0000);  // the same within the loads and stores
        compare((word & 0xC7FF'FFFF) | 0x2800'0000);
    }
    return 0;
}
