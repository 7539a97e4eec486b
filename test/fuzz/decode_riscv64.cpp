// RISC-V's load, store and AMO decoder against LLVM's, both ways: what we decode is what it says, and what it says we decode.
#include <cstdio>
#include "disassembler.hpp"
import axvcpu.riscv64;

using namespace axvcpu::riscv64;

namespace {

struct Shape { unsigned bytes; bool write, sign, fp; };
auto shape_of(std::string_view m) -> std::optional<Shape> {
    static const std::map<std::string_view, Shape> known{
        {"lb", {1, false, true, false}}, {"lbu", {1, false, false, false}}, {"lh", {2, false, true, false}}, {"lhu", {2, false, false, false}},
        {"lw", {4, false, true, false}}, {"lwu", {4, false, false, false}}, {"ld", {8, false, true, false}}, {"sb", {1, true, false, false}},
        {"sh", {2, true, false, false}}, {"sw", {4, true, false, false}}, {"sd", {8, true, false, false}}, {"flh", {2, false, false, true}},
        {"flw", {4, false, false, true}}, {"fld", {8, false, false, true}}, {"fsh", {2, true, false, true}}, {"fsw", {4, true, false, true}},
        {"fsd", {8, true, false, true}}};
    if (m.starts_with("c.")) m.remove_prefix(2);
    if (m.ends_with("sp")) m.remove_suffix(2);
    const auto at = known.find(m);
    return at != known.end() ? std::optional(at->second) : std::nullopt;
}
auto amo_of(std::string_view m) -> std::optional<Amo> {
    static const std::map<std::string_view, Amo> known{{"amoswap", Amo::swap}, {"amoadd", Amo::add}, {"amoxor", Amo::exclusive_or}, {"amoand", Amo::bit_and},
        {"amoor", Amo::bit_or}, {"amomin", Amo::min}, {"amomax", Amo::max}, {"amominu", Amo::min_unsigned}, {"amomaxu", Amo::max_unsigned}};
    const auto dot = m.find('.');
    if (dot == m.npos || (m[dot + 1] != 'w' && m[dot + 1] != 'd')) return std::nullopt;
    const auto at = known.find(m.substr(0, dot));
    return at != known.end() ? std::optional(at->second) : std::nullopt;
}
auto number_of(std::string_view name) -> int {
    static const std::vector<std::string_view> integer{"zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5", "a6",
        "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6"};
    static const std::vector<std::string_view> floating{"ft0", "ft1", "ft2", "ft3", "ft4", "ft5", "ft6", "ft7", "fs0", "fs1", "fa0", "fa1", "fa2", "fa3", "fa4",
        "fa5", "fa6", "fa7", "fs2", "fs3", "fs4", "fs5", "fs6", "fs7", "fs8", "fs9", "fs10", "fs11", "ft8", "ft9", "ft10", "ft11"};
    for (const auto* names : {&integer, &floating})
        if (const auto at = std::ranges::find(*names, name); at != names->end()) return static_cast<int>(at - names->begin());
    return -1;
}

void compare(std::uint32_t word) {
    static const fuzz::Disassembler disassemble("riscv64", "+m,+a,+f,+d,+c,+zfh,+zcb,+zba");
    const auto text = disassemble(word);
    const auto ours = decode_instruction(word);
    const auto shape = shape_of(text.mnemonic);
    const auto amo = amo_of(text.mnemonic);
    if (!ours) {
        if (shape || amo) fuzz::differ(word, text, "a load, store or AMO that we do not decode");
        return;
    }
    if (!shape && !amo) {
        if (text.mnemonic.empty()) return;  // reserved: LLVM is stricter about hints and reserved forms
        fuzz::differ(word, text, "decoded, and is none");
    }
    if (ours->length != text.length) fuzz::differ(word, text, "length");
    const auto first = number_of(std::string_view(text.operands).substr(0, text.operands.find(',')));
    if (first != ours->reg) fuzz::differ(word, text, "register");
    if (amo) {
        if (ours->amo != *amo) fuzz::differ(word, text, "operation");
        if (ours->bytes != (text.mnemonic[text.mnemonic.find('.') + 1] == 'w' ? 4 : 8)) fuzz::differ(word, text, "width");
        const auto rest = std::string_view(text.operands).substr(text.operands.find(',') + 1);
        if (number_of(rest.substr(0, rest.find(','))) != ours->source) fuzz::differ(word, text, "operand");
        return;
    }
    if (ours->amo != Amo::none || ours->bytes != shape->bytes || ours->write != shape->write || ours->fp != shape->fp) fuzz::differ(word, text, "shape");
    if (!shape->write && !shape->fp && ours->sign_extend != shape->sign) fuzz::differ(word, text, "sign extension");
    // What htinst would hold: the same access, with the length in bit 1.
    if (ours->length == 4 && *decode_transformed(word) != *ours) fuzz::differ(word, text, "its transformed form differs");
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
    LLVMInitializeRISCVTargetInfo();
    LLVMInitializeRISCVTargetMC();
    LLVMInitializeRISCVDisassembler();
    return 0;
}
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    for (; size >= 4; size -= 4, data += 4) {
        std::uint32_t word;
        __builtin_memcpy(&word, data, 4);
        compare(word);
        compare((word & 0xFFFF'FF80) | 0x03);
        compare((word & 0xFFFF'FF80) | 0x23);
        compare((word & 0xFFFF'FF80) | 0x2F);
        static_cast<void>(classify_htinst(word));
        static_cast<void>(decode_csr(word));
    }
    return 0;
}
