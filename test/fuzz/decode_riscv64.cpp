// RISC-V's decoders of loads, stores, AMOs and CSR instructions against LLVM's, both ways: what we decode is what it says, and what it
// says we decode. And against themselves: a decoded access, encoded again, is the instruction that it came from.
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

/// The 32-bit instruction of this access, its address operands zero: what htinst holds of it.
auto encode(const Access& a) -> std::uint32_t {
    constexpr std::array<std::uint32_t, 10> funct5{0, 0x01, 0x00, 0x04, 0x0C, 0x08, 0x10, 0x14, 0x18, 0x1C};
    const auto width = static_cast<std::uint32_t>(std::countr_zero(a.bytes));
    const auto funct3 = width + (a.write || a.fp || a.sign_extend || a.bytes == 8 ? 0 : 4);
    const auto opcode = a.amo != Amo::none ? 0x2Fu : 0x03u | (a.write ? 0x20u : 0) | (a.fp ? 4u : 0);
    const bool store = a.write && a.amo == Amo::none;
    return opcode | std::uint32_t{a.reg} << (store ? 20 : 7) | (a.amo != Amo::none ? width : funct3) << 12 | std::uint32_t{a.source} << 20 |
           (a.amo != Amo::none ? funct5[static_cast<unsigned>(a.amo)] << 27 : 0);
}
/// What of an instruction such an encoding says: not rs1, the offset, and an AMO's ordering bits.
auto encoded_bits(const Access& a) -> std::uint32_t { return a.amo != Amo::none ? 0xF9F0'7FFF : a.write ? 0x01F0'707F : 0x0000'7FFF; }

/// An access's way through htinst: transformed, with the length in bit 1.
void transform(std::uint32_t word, const fuzz::Text& text, const Access& ours) {
    const auto again = encode(ours);
    if (ours.length == 4 && ((again ^ word) & encoded_bits(ours)) != 0) fuzz::differ(word, text, "encoded again, it is another");
    const auto htinst = again & (ours.length == 4 ? ~0u : ~2u);
    if (classify_htinst(htinst) != TrapInstruction::access) fuzz::differ(word, text, "its transformed form is said to be no access");
    if (decode_transformed(htinst) != ours) fuzz::differ(word, text, "its transformed form differs");
    if (ours.length == 4 && decode_transformed(word) != ours) fuzz::differ(word, text, "its own bits as a transformed form differ");
}

/// A value of htinst: what it is said to be, it decodes as.
void classify(std::uint64_t htinst) {
    const fuzz::Text text{"htinst", {}};
    const auto word = static_cast<std::uint32_t>(htinst);
    const auto kind = classify_htinst(htinst);
    const bool implicit = htinst == 0x2000 || htinst == 0x2020 || htinst == 0x3000 || htinst == 0x3020;  // the Privileged Architecture's pseudoinstructions
    if ((kind == TrapInstruction::page_table_read || kind == TrapInstruction::page_table_write) != implicit) fuzz::differ(word, text, "pseudoinstruction");
    if (implicit && (kind == TrapInstruction::page_table_write) != ((htinst & 0x20) != 0)) fuzz::differ(word, text, "direction of the walk's access");
    if ((kind == TrapInstruction::access) != (htinst % 2 != 0)) fuzz::differ(word, text, "access");
    const auto access = decode_transformed(htinst);
    if (!access) return;
    if (kind != TrapInstruction::access) fuzz::differ(word, text, "decoded, and is no access");
    if (access->length != ((htinst & 2) != 0 ? 4 : 2)) fuzz::differ(word, text, "length");
    if ((((encode(*access) ^ word) & encoded_bits(*access)) | 2) != 2) fuzz::differ(word, text, "encoded again, it is another");
}

auto disassemble(std::uint32_t word) -> fuzz::Text {
    static const fuzz::Disassembler disassembler("riscv64", "+m,+a,+f,+d,+c,+zfh,+zcb,+zba,+h");
    return disassembler(word);
}

/// The name that LLVM has for each CSR, or its number where it has none.
auto csr_names() -> const std::vector<std::string>& {
    static const auto names = [] {
        std::vector<std::string> all;
        for (std::uint32_t csr = 0; csr < 4096; ++csr) {
            const auto text = disassemble(csr << 20 | 0x2073);  // CSRRS zero, CSR, zero: CSRRW has one number that is UNIMP
            const auto first = text.operands.find(','), last = text.operands.rfind(',');
            if (text.mnemonic != "csrrs" || first == last) fuzz::differ(csr, text, "LLVM's name of a CSR");
            all.push_back(text.operands.substr(first + 1, last - first - 1));
        }
        const auto pinned = [&](std::uint32_t csr, std::string_view name) { if (all[csr] != name) fuzz::differ(csr, {all[csr], {}}, "CSR's number"); };
        pinned(csr_of<"sstatus">, "sstatus"), pinned(csr_of<"hstatus">, "hstatus"), pinned(csr_of<"htinst">, "htinst"), pinned(csr_of<"vstimecmp">, "vstimecmp");
        pinned(csr_of<"vsiselect">, "vsiselect"), pinned(csr_of<"sireg">, "sireg"), pinned(csr_of<"stopei">, "stopei"), pinned(csr_of<"time">, "time");
        pinned(0x800, "2048"), pinned(0x7FF, "2047");
        if (std::set<std::string>(all.begin(), all.end()).size() != all.size()) fuzz::differ(0, {}, "two CSRs of one name");
        return all;
    }();
    return names;
}

void compare_csr(std::uint32_t word) {
    static const std::map<std::string_view, std::pair<CsrAccess::Op, bool>> known{
        {"csrrw", {CsrAccess::Op::write, false}}, {"csrrs", {CsrAccess::Op::set, false}}, {"csrrc", {CsrAccess::Op::clear, false}},
        {"csrrwi", {CsrAccess::Op::write, true}}, {"csrrsi", {CsrAccess::Op::set, true}}, {"csrrci", {CsrAccess::Op::clear, true}}};
    const auto text = disassemble(word);
    const auto ours = decode_csr(word);
    const auto at = known.find(text.mnemonic);
    if (at == known.end()) {
        if (ours && text.mnemonic != "unimp") fuzz::differ(word, text, "decoded, and is no CSR instruction");  // UNIMP is a CSRRW to cycle
        return;
    }
    if (!ours) fuzz::differ(word, text, "a CSR instruction that we do not decode");
    const auto [op, immediate] = at->second;
    if (ours->op != op || ours->immediate != immediate) fuzz::differ(word, text, "operation");
    const std::string_view all = text.operands;
    const auto first = all.find(','), last = all.rfind(',');
    if (number_of(all.substr(0, first)) != ours->rd) fuzz::differ(word, text, "destination");
    if (all.substr(first + 1, last - first - 1) != csr_names()[ours->csr]) fuzz::differ(word, text, "CSR");
    const auto source = all.substr(last + 1);
    if (immediate ? source != std::to_string(ours->source) : number_of(source) != ours->source) fuzz::differ(word, text, "source");
    // Zicsr's table: a write to nowhere does not read; setting or clearing by x0, or by zero, does not write.
    const bool write = op == CsrAccess::Op::write, nothing = source == (immediate ? "0" : "zero");
    if (ours->reads != (!write || !all.starts_with("zero,"))) fuzz::differ(word, text, "whether it reads");
    if (ours->writes != (write || !nothing)) fuzz::differ(word, text, "whether it writes");
}

void compare(std::uint32_t word) {
    const auto text = disassemble(word);
    const auto ours = decode_instruction(word);
    const auto shape = shape_of(text.mnemonic);
    const auto amo = amo_of(text.mnemonic);
    if (!ours) {
        if (shape || amo) fuzz::differ(word, text, "a load, store or AMO that we do not decode");
        return;
    }
    if (!shape && !amo) {
        if (text.mnemonic.empty()) fuzz::differ(word, text, "decoded, and is reserved");
        fuzz::differ(word, text, "decoded, and is none");
    }
    if (ours->length != text.length) fuzz::differ(word, text, "length");
    transform(word, text, *ours);
    // ..., OFFSET(BASE)
    const auto address = std::string_view(text.operands).substr(text.operands.rfind(',') + 1);
    const auto bracket = address.find('(');
    int offset = 0;
    if (bracket == address.npos || address.back() != ')') fuzz::differ(word, text, "no address");
    std::from_chars(address.data(), address.data() + bracket, offset);
    const auto target = decode_target(word);
    if (target.offset != offset || target.base != number_of(address.substr(bracket + 1, address.size() - bracket - 2))) fuzz::differ(word, text, "where it goes");
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
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
    LLVMInitializeRISCVTargetInfo();
    LLVMInitializeRISCVTargetMC();
    LLVMInitializeRISCVDisassembler();
    constexpr std::array arguments{"fuzz", "-riscv-no-aliases"};  // CSRRS and not RDTIME
    LLVMParseCommandLineOptions(arguments.size(), arguments.data(), nullptr);
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
        compare_csr(word);
        compare_csr((word & 0xFFFF'FF80) | 0x73);
        classify(word);
        classify(word & 0x3020);  // the pseudoinstructions, and what is near them
        if (size >= 8) {
            std::uint64_t wide;
            __builtin_memcpy(&wide, data, 8);
            classify(wide);
        }
    }
    return 0;
}
