// A guest's interrupt file, in memory: what the hart's own guest interrupt files are while the vCPU has none of them. Source: RISC-V
// Advanced Interrupt Architecture, Incoming MSI Controller. Pure: compiles on any host.
export module axvcpu.riscv64:imsic;
import std;
import :decode;

export namespace axvcpu::riscv64 {

/// What siselect selects of an interrupt file (RV64: eip and eie at even numbers).
namespace file_register {
inline constexpr std::uint32_t iprio = 0x30, last_iprio = 0x3F, first = 0x70, eidelivery = 0x70, eithreshold = 0x72, eip = 0x80, eie = 0xC0, last = 0xFF;
}

/// Any CPU may deliver; the rest is the vCPU's own hart's.
class InterruptFile {
public:
    static constexpr std::uint32_t ids = 255, words = 4;  ///< interrupt identities 1 to `ids`

    /// An MSI; identities that are none of the file's are dropped.
    inline void deliver(std::uint32_t id) noexcept {
        if (id != 0 && id <= ids) pending_[id / 64].fetch_or(std::uint64_t{1} << id % 64);
    }
    /// The identity that stopei names: the lowest one pending, enabled and below the threshold; 0: none.
    inline auto top() const noexcept -> std::uint32_t {
        for (std::uint32_t w = 0; w < words; ++w) {
            const auto bits = pending_[w].load() & enabled_[w];
            if (bits == 0) continue;
            const auto id = 64 * w + static_cast<std::uint32_t>(std::countr_zero(bits));
            return threshold_ == 0 || id < threshold_ ? id : 0;
        }
        return 0;
    }
    /// Whether the hart is interrupted.
    inline auto signals() const noexcept -> bool { return delivery_ != 0 && top() != 0; }
    /// A CSR instruction on stopei. Gives what it reads; one that writes claims that identity.
    inline auto stopei(bool writes) noexcept -> std::uint64_t {
        const auto id = top();
        if (writes && id != 0) pending_[id / 64].fetch_and(~(std::uint64_t{1} << id % 64));
        return std::uint64_t{id} << 16 | id;
    }
    /// A CSR instruction on sireg: gives what it reads; nothing: it is an illegal instruction.
    inline auto sireg(std::uint64_t select, CsrAccess::Op op, bool writes, std::uint64_t operand) noexcept -> std::optional<std::uint64_t> {
        using namespace file_register;
        if (select >= iprio && select <= last_iprio) return reads_zero(select);  // no priorities: they read zero
        if (select < first || select > last) return std::nullopt;
        if (select == eidelivery) return change(delivery_, op, writes, operand, 1);
        if (select == eithreshold) return change(threshold_, op, writes, operand, threshold_bits);
        if (select < eip) return 0;
        const auto word = (select - eip) % (eie - eip) / 2;
        if (!reads_zero(select)) return std::nullopt;
        if (word >= words) return 0;
        const auto implemented = ~std::uint64_t{word == 0};
        if (select >= eie) return change(enabled_[word], op, writes, operand, implemented);
        if (!writes) return pending_[word].load();
        switch (op) {  // others deliver meanwhile: each is one atomic step
            case CsrAccess::Op::set: return pending_[word].fetch_or(operand & implemented);
            case CsrAccess::Op::clear: return pending_[word].fetch_and(~(operand & implemented));
            default: return pending_[word].exchange(operand & implemented);
        }
    }
    /// As after a reset.
    inline void clear() noexcept {
        delivery_ = threshold_ = 0;
        enabled_ = {};
        for (auto& p : pending_) p = 0;
    }

    // Moving between this and a file of a hart.
    inline auto delivery() const noexcept -> std::uint64_t { return delivery_; }
    inline auto threshold() const noexcept -> std::uint64_t { return threshold_; }
    inline auto enabled(std::uint32_t word) const noexcept -> std::uint64_t { return enabled_[word]; }
    inline auto take_pending(std::uint32_t word) noexcept -> std::uint64_t { return pending_[word].exchange(0); }
    inline void put_back(std::uint64_t delivery, std::uint64_t threshold) noexcept { delivery_ = delivery & 1, threshold_ = threshold & threshold_bits; }
    inline void put_back(std::uint32_t word, std::uint64_t pending, std::uint64_t enabled) noexcept {
        pending_[word].fetch_or(pending);
        enabled_[word] = enabled;
    }

private:
    static constexpr std::uint64_t threshold_bits = 0x7FF;
    /// An odd number is none of RV64's.
    static auto reads_zero(std::uint64_t select) noexcept -> std::optional<std::uint64_t> {
        return select % 2 == 0 ? std::optional<std::uint64_t>(0) : std::nullopt;
    }
    static auto change(std::uint64_t& value, CsrAccess::Op op, bool writes, std::uint64_t operand, std::uint64_t writable) noexcept -> std::uint64_t {
        const auto old = value;
        if (writes) value = (op == CsrAccess::Op::set ? old | operand : op == CsrAccess::Op::clear ? old & ~operand : operand) & writable;
        return old;
    }

    std::uint64_t delivery_ = 0, threshold_ = 0;
    std::array<std::uint64_t, words> enabled_{};
    std::array<std::atomic<std::uint64_t>, words> pending_{};
};

}  // namespace axvcpu::riscv64
