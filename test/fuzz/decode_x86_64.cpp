// x86_64's decoder of system instructions against LLVM's, both ways: length, opcode and registers, whatever prefixes stand before it.
#include <cstdio>
#include "disassembler.hpp"
import axvcpu.x86_64;

using namespace axvcpu::x86_64;

namespace {

[[noreturn]] void differ(std::span<const std::uint8_t> bytes, bool long_mode, const fuzz::Text& t, const char* what) {
    for (const auto b : bytes) std::fprintf(stderr, "%02x ", b);
    std::uint32_t first = 0;
    __builtin_memcpy(&first, bytes.data(), std::min<std::size_t>(bytes.size(), 4));
    std::fprintf(stderr, "(%d bits)\n", long_mode ? 64 : 32);
    fuzz::differ(first, t, what);
}

/// LLVM's answer without the prefixes that it writes as words, be it before the instruction or as instructions of their own. It refuses
/// some of 66, 67, F2 and F3 together, and before WBINVD, where CPUs pass over them: what it refuses it is asked again without the first.
constexpr auto legacy(std::uint8_t b) -> bool { return (b & 0xE7) == 0x26 || (b >= 0x64 && b <= 0x67) || b == 0xF0 || b == 0xF2 || b == 0xF3; }
/// Behind APX's REX2 prefix, which LLVM always knows: no CPU with SVM has it, there it is undefined.
auto by_rex2(std::span<const std::uint8_t> bytes, bool long_mode) -> bool {
    const auto at = std::ranges::find_if(bytes, [](std::uint8_t b) { return !legacy(b) && (b & 0xF0) != 0x40; });
    return long_mode && at != bytes.end() && *at == 0xD5;
}
auto disassemble(std::span<const std::uint8_t> bytes, bool long_mode) -> fuzz::Text {
    const auto rex = [&](std::uint8_t b) { return long_mode && (b & 0xF0) == 0x40; };
    static const std::set<std::string_view> prefixes{"addr16", "addr32", "data16", "data32", "rep", "repne", "lock", "cs", "ds", "es", "fs", "gs", "ss",
        "rex64", "notrack", "xacquire", "xrelease"};
    static const fuzz::Disassembler wide("x86_64", "", prefixes), narrow("i386", "", prefixes);
    std::size_t before = 0;
    for (;;) {
        auto t = (long_mode ? wide : narrow)(bytes.subspan(before));
        if (t.length == 0) {
            const auto rest = bytes.subspan(before);
            if (rest.size() < 2 || !(legacy(rest[0]) || (rex(rest[0]) && (legacy(rest[1]) || rex(rest[1]))))) return t;
            ++before;
            continue;
        }
        t.length += before;
        if (!prefixes.contains(t.mnemonic)) return t;
        before = t.length;
    }
}

/// The opcode of what is promised to be decoded, by its mnemonic.
auto opcode_of(const fuzz::Text& t) -> std::optional<std::uint8_t> {
    static const std::map<std::string_view, std::uint8_t> known{{"cpuid", 0xA2}, {"rdmsr", 0x32}, {"wrmsr", 0x30}, {"invd", 0x08}, {"wbinvd", 0x09},
        {"wbnoinvd", 0x09}, {"vmmcall", 0x01}, {"vmgexit", 0x01}, {"xsetbv", 0x01}, {"hlt", 0xF4}, {"pause", 0x90}};
    if (t.mnemonic == "movq" || t.mnemonic == "movl") {
        if (t.operands.starts_with("%cr")) return 0x20;
        if (t.operands.find(",%cr") != std::string::npos) return 0x22;
        return std::nullopt;
    }
    const auto at = known.find(t.mnemonic);
    return at != known.end() && t.operands.empty() ? std::optional(at->second) : std::nullopt;  // with operands: RDMSR and WRMSR of an immediate
}
auto general(std::string_view name) -> int {
    static const std::array<std::string_view, 8> names{"ax", "cx", "dx", "bx", "sp", "bp", "si", "di"};
    name.remove_prefix(std::min<std::size_t>(name.size(), 2));  // %r or %e
    if (const auto at = std::ranges::find(names, name); at != names.end()) return static_cast<int>(at - names.begin());
    int n = -1;
    std::from_chars(name.data(), name.data() + name.size(), n);
    return n;
}

void compare(std::span<const std::uint8_t> bytes, bool long_mode) {
    bytes = bytes.first(std::min<std::size_t>(bytes.size(), 15));
    const auto text = disassemble(bytes, long_mode);
    const auto ours = decode_system(bytes, long_mode);
    const auto opcode = opcode_of(text);
    if (!ours) {
        if (opcode && !by_rex2(bytes, long_mode)) differ(bytes, long_mode, text, "a system instruction that we do not decode");
        return;
    }
    // What it says, it says from the instruction alone: a shorter reading is nothing, a longer one the same.
    if (ours->length == 0 || ours->length > bytes.size()) differ(bytes, long_mode, text, "length beyond what was read");
    for (std::size_t n = 0; n < bytes.size(); ++n) {
        const auto part = decode_system(bytes.first(n), long_mode);
        const auto fields = [](const SystemInstruction& i) { return std::tuple(i.length, i.opcode, i.two_byte, i.reg, i.rm); };
        if (part.has_value() != (n >= ours->length) || (part && fields(*part) != fields(*ours))) differ(bytes, long_mode, text, "what stands behind it matters");
    }
    const auto modrm = bytes[ours->length - 1u];
    if (text.length == 0) {  // LLVM wants MOD 3 of a control register's move; CPUs do not look at it
        if ((ours->opcode != 0x20 && ours->opcode != 0x22) || modrm >= 0xC0) differ(bytes, long_mode, text, "decoded, and is none");
        return;
    }
    if (ours->length != text.length) differ(bytes, long_mode, text, "length");
    if (ours->opcode == 0x90 && !ours->two_byte) {  // PAUSE by what the intercept says; without F3, or with REX.B, another of that length
        if (text.mnemonic != "pause" && text.mnemonic != "nop" && !text.mnemonic.starts_with("xchg")) differ(bytes, long_mode, text, "decoded, and is none");
        return;
    }
    if (!opcode) differ(bytes, long_mode, text, "decoded, and is none");
    if (ours->opcode != *opcode) differ(bytes, long_mode, text, "opcode");
    if (ours->two_byte != (text.mnemonic != "hlt")) differ(bytes, long_mode, text, "how many bytes of opcode");
    if (*opcode == 0x01 && (modrm == 0xD1) != (text.mnemonic == "xsetbv")) differ(bytes, long_mode, text, "third byte");
    if (*opcode != 0x20 && *opcode != 0x22) return;
    const auto comma = text.operands.find(',');
    const auto left = text.operands.substr(0, comma), right = text.operands.substr(comma + 1);
    const auto& control = *opcode == 0x20 ? left : right;
    const auto& other = *opcode == 0x20 ? right : left;
    if (control != "%cr" + std::to_string(ours->reg)) differ(bytes, long_mode, text, "control register");
    if (general(other) != ours->rm) differ(bytes, long_mode, text, "general register");
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86Disassembler();
    return 0;
}
/// Each sixteen bytes as they are, and as an instruction: prefixes, most of them some, before an opcode that is most likely ours.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    constexpr std::array<std::uint8_t, 16> before{0x66, 0x67, 0xF2, 0xF3, 0xF0, 0x2E, 0x36, 0x3E, 0x26, 0x64, 0x65, 0x40, 0x41, 0x44, 0x48, 0x4F};
    constexpr std::array<std::uint8_t, 8> second{0x08, 0x09, 0x30, 0x32, 0xA2, 0x01, 0x20, 0x22};
    for (; size >= 16; size -= 16, data += 16) {
        const bool long_mode = data[0] % 2 != 0;
        compare({data + 1, 15}, long_mode);
        std::vector<std::uint8_t> bytes;
        for (unsigned n = 0; n < (data[0] >> 1) % 15u; ++n) bytes.push_back(before[data[1 + n] % 16]);
        const auto kind = data[14] % 16;
        if (kind < 8) bytes.insert(bytes.end(), {0x0F, second[kind], data[15]});
        else if (kind < 12) bytes.insert(bytes.end(), {0x0F, 0x01, static_cast<std::uint8_t>(0xC0 | data[15])});
        else bytes.insert(bytes.end(), {kind == 12 ? std::uint8_t{0xF4} : kind == 13 ? std::uint8_t{0x90} : data[15]});
        compare(bytes, long_mode);
        if (bytes.size() > 1) compare(std::span(bytes).first(bytes.size() - 1), long_mode);
    }
    return 0;
}
