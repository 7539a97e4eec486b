// RISC-V's interrupt file in memory against the specification's text, one identity at a time. Source: RISC-V Advanced Interrupt
// Architecture, Incoming MSI Controller.
#include <cstdlib>
import std;
import axvcpu.riscv64;

using namespace axvcpu::riscv64;

namespace {

void check(bool good) { if (!good) std::abort(); }

struct Model {
    static constexpr unsigned identities = 256;  // 0 is none
    std::array<bool, identities> pending{}, enabled{};
    std::uint64_t delivery = 0, threshold = 0;

    auto top() const -> unsigned {
        for (unsigned id = 1; id < identities; ++id)
            if (pending[id] && enabled[id] && (threshold == 0 || id < threshold)) return id;
        return 0;
    }
    static auto word(const std::array<bool, identities>& bits, unsigned n) -> std::uint64_t {
        std::uint64_t v = 0;
        for (unsigned b = 0; b < 64; ++b) v |= std::uint64_t{bits[64 * n + b]} << b;
        return v;
    }
    static void set_word(std::array<bool, identities>& bits, unsigned n, std::uint64_t v) {
        for (unsigned b = 0; b < 64; ++b) bits[64 * n + b] = (v >> b & 1) != 0 && 64 * n + b != 0;
    }
    /// A register as it reads: nothing is an illegal instruction.
    auto read(std::uint64_t select) const -> std::optional<std::uint64_t> {
        if (select < 0x30 || (select >= 0x40 && select < 0x70) || select > 0xFF) return std::nullopt;
        const bool array = select < 0x40 || select >= 0x80;  // of registers that RV64 has at even numbers alone
        if (array && select % 2 != 0) return std::nullopt;
        if (select == 0x70) return delivery;
        if (select == 0x72) return threshold;
        if (select >= 0x80 && select < 0x88) return word(pending, static_cast<unsigned>(select - 0x80) / 2);
        if (select >= 0xC0 && select < 0xC8) return word(enabled, static_cast<unsigned>(select - 0xC0) / 2);
        return 0;
    }
    void write(std::uint64_t select, std::uint64_t v) {
        if (select == 0x70) delivery = v & 1;
        else if (select == 0x72) threshold = v & 0x7FF;
        else if (select >= 0x80 && select < 0x88 && select % 2 == 0) set_word(pending, static_cast<unsigned>(select - 0x80) / 2, v);
        else if (select >= 0xC0 && select < 0xC8 && select % 2 == 0) set_word(enabled, static_cast<unsigned>(select - 0xC0) / 2, v);
    }
};

/// What every register reads, and what the hart is told.
void same(InterruptFile& real, const Model& model) {
    check(real.top() == model.top());
    check(real.signals() == (model.delivery != 0 && model.top() != 0));
    check(real.stopei(false) == (std::uint64_t{model.top()} << 16 | model.top()));
    check(real.delivery() == model.delivery && real.threshold() == model.threshold);
    for (unsigned w = 0; w < InterruptFile::words; ++w) {
        check(real.enabled(w) == Model::word(model.enabled, w));
        check(real.sireg(0x80 + 2 * w, CsrAccess::Op::set, false, ~std::uint64_t{0}) == Model::word(model.pending, w));  // one that does not write
        check(real.sireg(0xC0 + 2 * w, CsrAccess::Op::clear, false, ~std::uint64_t{0}) == Model::word(model.enabled, w));
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    constexpr std::array<std::uint8_t, 12> written{0x70, 0x72, 0x80, 0x82, 0x84, 0x86, 0xC0, 0xC2, 0xC4, 0xC6, 0x88, 0xC8};
    InterruptFile real;
    Model model;
    same(real, model);
    for (; size >= 10; size -= 10, data += 10) {
        const auto op = data[0], n = data[1];
        std::uint64_t value = 0;
        __builtin_memcpy(&value, data + 2, 8);
        switch (op % 8) {
            case 0: {  // an MSI: mostly to an identity that the file has
                const auto id = op < 128 ? n : static_cast<std::uint32_t>(value);
                real.deliver(id);
                if (id != 0 && id < Model::identities) model.pending[id] = true;
                break;
            }
            case 1: case 2: case 3: {  // sireg, mostly of a register that holds something
                const auto select = op >= 240 ? value : op >= 200 ? n : written[n % written.size()];
                const auto what = static_cast<CsrAccess::Op>(op / 8 % 3);
                const bool writes = what == CsrAccess::Op::write || op / 24 % 4 != 0;
                const auto operand = (select == 0x72 || select == 0x70) && op % 2 != 0 ? value & 0x1FF : value;
                const auto before = model.read(select);
                check(real.sireg(select, what, writes, operand) == before);
                if (!before || !writes) break;
                model.write(select, what == CsrAccess::Op::set ? *before | operand : what == CsrAccess::Op::clear ? *before & ~operand : operand);
                break;
            }
            case 4: case 5: {  // stopei
                const auto top = model.top();
                const bool writes = op % 8 == 5;
                check(real.stopei(writes) == (std::uint64_t{top} << 16 | top));
                if (writes) model.pending[top] = false;
                break;
            }
            case 6: {  // into a hart, where the guest and others go on, and back; what was delivered to memory meanwhile stays
                std::array<std::uint64_t, InterruptFile::words> pending{};
                for (unsigned w = 0; w < InterruptFile::words; ++w) {
                    check((pending[w] = real.take_pending(w)) == Model::word(model.pending, w));
                    check(real.take_pending(w) == 0);
                }
                model.pending = {};
                same(real, model);
                real.deliver(n);
                model.pending[n] = n != 0;
                for (unsigned w = 0; w < InterruptFile::words; ++w) {
                    const auto enabled = std::rotl(value, static_cast<int>(w)) & ~std::uint64_t{w == 0};
                    real.put_back(w, pending[w], enabled);
                    Model::set_word(model.pending, w, Model::word(model.pending, w) | pending[w]);
                    Model::set_word(model.enabled, w, enabled);
                }
                real.put_back(value, value >> 8);
                model.delivery = value & 1, model.threshold = value >> 8 & 0x7FF;
                break;
            }
            default:
                if (op < 240) break;
                real.clear();
                model = {};
        }
        same(real, model);
    }
    return 0;
}
