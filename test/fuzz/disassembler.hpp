// LLVM's disassembler as an oracle. Declares what it uses of llvm-c/Disassembler.h: the library is there with the compiler, the
// headers are not.
#pragma once
import std;

extern "C" {
void LLVMInitializeAArch64TargetInfo();
void LLVMInitializeAArch64TargetMC();
void LLVMInitializeAArch64Disassembler();
void LLVMInitializeRISCVTargetInfo();
void LLVMInitializeRISCVTargetMC();
void LLVMInitializeRISCVDisassembler();
void LLVMInitializeX86TargetInfo();
void LLVMInitializeX86TargetMC();
void LLVMInitializeX86Disassembler();
void LLVMParseCommandLineOptions(int count, const char* const* arguments, const char* overview);
void* LLVMCreateDisasmCPUFeatures(const char* triple, const char* cpu, const char* features, void*, int, void*, void*);
std::size_t LLVMDisasmInstruction(void*, std::uint8_t* bytes, std::uint64_t size, std::uint64_t pc, char* out, std::size_t out_size);
}

namespace fuzz {

/// One instruction as text, split: mnemonic, then operands without spaces. Empty mnemonic: not an instruction.
struct Text {
    std::string mnemonic;
    std::string operands;
    std::size_t length = 0;
};

class Disassembler {
public:
    /// `prefixes`: words before a mnemonic that are passed over.
    Disassembler(const char* triple, const char* features, std::set<std::string_view> prefixes = {})
        : context_(LLVMCreateDisasmCPUFeatures(triple, "", features, nullptr, 0, nullptr, nullptr)), prefixes_(std::move(prefixes)) {
        if (context_ == nullptr) std::abort();
    }
    auto operator()(std::uint32_t word) const -> Text { return (*this)(std::bit_cast<std::array<std::uint8_t, 4>>(word)); }
    /// The first instruction of these; at most 15 of them are looked at.
    auto operator()(std::span<const std::uint8_t> bytes) const -> Text {
        std::array<char, 256> out{};
        std::array<std::uint8_t, 15> copy{};  // LLVM wants to be able to write
        const auto size = std::min(bytes.size(), copy.size());
        std::ranges::copy(bytes.first(size), copy.begin());
        Text t;
        t.length = LLVMDisasmInstruction(context_, copy.data(), size, 0, out.data(), out.size());
        if (t.length == 0) return t;
        std::string_view s(out.data());
        std::size_t end = 0;
        do {
            s.remove_prefix(std::min(s.find_first_not_of(" \t", end), s.size()));
            end = std::min(s.find_first_of(" \t"), s.size());
            t.mnemonic = s.substr(0, end);
        } while (end != s.size() && prefixes_.contains(t.mnemonic));
        for (const char c : s.substr(end)) if (c != ' ' && c != '\t') t.operands.push_back(c);
        return t;
    }

private:
    void* context_;
    std::set<std::string_view> prefixes_;
};

/// A mismatch is what a fuzzer is for.
[[noreturn]] inline void differ(std::uint32_t word, const Text& t, const char* what) {
    std::fprintf(stderr, "%08x %s %s: %s\n", word, t.mnemonic.c_str(), t.operands.c_str(), what);
    std::abort();
}

}  // namespace fuzz
