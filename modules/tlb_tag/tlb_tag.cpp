module axvcpu.tlb_tag;
import std;

namespace axvcpu {

struct TlbTagDomain::Guard {
    std::atomic_flag& lock;
    explicit Guard(std::atomic_flag& l) noexcept : lock(l) { while (lock.test_and_set(std::memory_order_acquire)) {} }
    ~Guard() { lock.clear(std::memory_order_release); }
    Guard(const Guard&) = delete;
    auto operator=(const Guard&) -> Guard& = delete;
};

auto TlbTagDomain::add(TlbTagCpu& cpu, unsigned bits) noexcept -> bool {
    const Guard guard(lock_);
    const std::uint32_t limit = std::uint32_t{1} << bits;
    if (limit_ == 0 || limit < limit_) limit_ = limit;
    // A roll-over reserves one tag for each CPU but the one that rolls over; at least one must be left.
    if (count_ + 1 >= limit_) return false;
    ++count_;
    cpu = {};
    cpu.next_ = cpus_;
    cpus_ = &cpu;
    return true;
}

void TlbTagDomain::remove(TlbTagCpu& cpu) noexcept {
    const Guard guard(lock_);
    for (auto** p = &cpus_; *p != nullptr; p = &(*p)->next_)
        if (*p == &cpu) { *p = cpu.next_; --count_; return; }
}

auto TlbTagDomain::taken(std::uint16_t value) const noexcept -> bool {
    for (const auto* c = cpus_; c != nullptr; c = c->next_)
        if (c->reserved_.value == value) return true;
    return false;
}

void TlbTagDomain::roll_over() noexcept {
    ++generation_;
    next_value_ = 1;
    for (auto* c = cpus_; c != nullptr; c = c->next_) c->reserved_ = c->active_;
}

void TlbTagDomain::renew(TlbTag& current) noexcept {
    // A number that a CPU went on using through the roll-over stays its holder's.
    bool kept = false;
    for (auto* c = cpus_; c != nullptr; c = c->next_) kept |= current.value != 0 && c->reserved_ == current;
    if (kept) {
        const TlbTag old = current;
        current.generation = generation_;
        for (auto* c = cpus_; c != nullptr; c = c->next_) {
            if (c->reserved_ == old) c->reserved_ = current;
            if (c->active_ == old) c->active_ = current;
        }
        return;
    }
    const auto skip_taken = [&] { while (next_value_ < limit_ && taken(static_cast<std::uint16_t>(next_value_))) ++next_value_; };
    skip_taken();
    if (next_value_ >= limit_) {
        roll_over();
        skip_taken();
    }
    current = {generation_, static_cast<std::uint16_t>(next_value_++)};
}

auto TlbTagDomain::assign(TlbTagCpu& cpu, TlbTag& current, std::uint32_t runner) noexcept -> Assigned {
    const Guard guard(lock_);
    cpu.active_ = {};  // what ran here before has left: its number need not be kept
    if (current.generation != generation_) renew(current);
    cpu.active_ = current;
    auto& last = cpu.last_[current.value % cpu.last_.size()];
    const bool same = last.tag == current && last.runner == runner;
    last = {current, runner};
    if (cpu.flushed_ != generation_) {
        cpu.flushed_ = generation_;
        for (auto& l : cpu.last_) if (&l != &last) l = {};
        return {current, Flush::all};
    }
    // Nothing can be held under a tag that no one has used here since the last full flush, but a slot may have been
    // overwritten by a collision: only an exact match proves that the translations are this runner's own.
    return {current, same ? Flush::none : Flush::tag};
}

void TlbTagDomain::renounce(TlbTag& current) noexcept {
    const Guard guard(lock_);
    current = {};
}

auto TlbTagDomain::look(const TlbTag& current) noexcept -> TlbTag {
    const Guard guard(lock_);
    return current;
}

void TlbTagDomain::release(TlbTagCpu& cpu) noexcept {
    const Guard guard(lock_);
    cpu.active_ = {};
}

}  // namespace axvcpu
