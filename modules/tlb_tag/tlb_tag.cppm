// TLB tags, which tell whose an entry is: handed out by generations, so that a flush happens on roll-over and not before.
export module axvcpu.tlb_tag;
import std;

export namespace axvcpu {

/// A tag together with the generation in which it was handed out. 0 is never handed out.
struct TlbTag {
    std::uint64_t value : 16 = 0, generation : 48 = 0;
    friend constexpr bool operator==(TlbTag a, TlbTag b) noexcept { return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b); }
};

/// What one CPU knows of the tags. Changed under the domain's lock.
class TlbTagCpu {
    friend class TlbTagDomain;
    TlbTag active_{};            // in use on this CPU now, or the last one that was
    TlbTag reserved_{};          // was in use at the last roll-over: not handed out again before the next
    std::uint64_t flushed_ = 0;  // generation for which this CPU's TLB holds nothing old
    TlbTagCpu* next_ = nullptr;
    // Which runner (vCPU) last used a tag here. Direct-mapped by the tag's low bits: a collision costs a flush, never a stale entry.
    struct Last { TlbTag tag; std::uint32_t runner = 0; };
    std::array<Last, 64> last_{};
};

/// Tags that share one number space: the whole machine, or one CPU.
///
/// A VM that runs on one CPU while the numbers roll over keeps its number: its vCPUs on other CPUs must go on sharing it, or
/// the guest's own broadcast maintenance would miss them. Functions are called with host interrupts masked.
class TlbTagDomain {
public:
    enum class Flush : std::uint32_t {
        none,
        tag,  ///< this CPU must drop what it holds under this tag: another vCPU of the VM ran here last
        all,  ///< this CPU must drop all guest translations: the numbers have rolled over
    };
    struct Assigned { TlbTag tag; Flush flush; };

    /// `bits`: width of the tag, up to 16; the narrowest of all CPUs counts. False when the domain has not more tags than CPUs.
    auto add(TlbTagCpu& cpu, unsigned bits) noexcept -> bool;
    void remove(TlbTagCpu& cpu) noexcept;
    /// The tag under which `runner` of the holder of `current` runs on `cpu` from now on. Renews `current` when it is out of date.
    [[gnu::always_inline]] inline auto assign(TlbTagCpu& cpu, TlbTag& current, std::uint32_t runner) noexcept -> Assigned {
        lock();
        const auto now = current;
        if (now.generation != generation_ || cpu.flushed_ != generation_) [[unlikely]] return assign_anew(cpu, current, runner);
        cpu.active_ = now;
        auto& last = cpu.last_[now.value % cpu.last_.size()];
        // Nothing can be held under a tag that no one has used here since the last full flush, but a slot may have been
        // overwritten by a collision: only an exact match proves that the translations are this runner's own.
        const bool same = last.tag == now && last.runner == runner;
        last = {now, runner};
        unlock();
        return {now, same ? Flush::none : Flush::tag};
    }
    /// The same where another runner of `current`'s holder has this CPU still: what that one leaves under the tag has to be dropped.
    /// The runner's CPU is to be seen before: who renounces the tag asks whoever is there to drop what it has. False: nothing is done, as
    /// another holder's tag is in use here, or this one has been renounced or renewed since.
    [[gnu::always_inline]] inline auto hand_on(TlbTagCpu& cpu, const TlbTag& current, std::uint32_t runner) noexcept -> bool {
        lock();
        const bool same = cpu.active_ == current;
        if (same) [[likely]] cpu.last_[current.value % cpu.last_.size()] = {current, runner};
        unlock();
        return same;
    }
    /// The holder of `current` gets another tag when it is assigned one the next time: nothing is cached under that.
    void renounce(TlbTag& current) noexcept;
    /// A VM's tag, as the last assignment left it.
    auto look(const TlbTag& current) noexcept -> TlbTag;
    auto generation() const noexcept -> std::uint64_t { return generation_; }

private:
    auto assign_anew(TlbTagCpu&, TlbTag& current, std::uint32_t runner) noexcept -> Assigned;
    auto taken(std::uint16_t value) const noexcept -> bool;
    void roll_over() noexcept;
    void renew(TlbTag& current) noexcept;
    struct Guard;
    inline void lock() noexcept { while (lock_.exchange(1, std::memory_order_acquire) != 0) {} }
    inline void unlock() noexcept { lock_.store(0, std::memory_order_release); }
    std::atomic<std::uint32_t> lock_{0};  // a word: one atomic instruction where bytes have none
    std::uint64_t generation_ = 1;
    std::uint32_t next_value_ = 1;
    std::uint32_t limit_ = 0;  // one above the highest tag
    std::uint32_t count_ = 0;  // CPUs
    TlbTagCpu* cpus_ = nullptr;
};

}  // namespace axvcpu
