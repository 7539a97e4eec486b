module axvcpu.tlb_tag;
import std;

namespace axvcpu {

struct TlbTagDomain::Guard {
    TlbTagDomain& domain;
    explicit Guard(TlbTagDomain& d) noexcept : domain(d) { domain.lock(); }
    ~Guard() { domain.unlock(); }
    Guard(const Guard&) = delete;
    auto operator=(const Guard&) -> Guard& = delete;
};

auto TlbTagDomain::add(TlbTagCpu& cpu, unsigned bits) noexcept -> bool {
    const Guard guard(*this);
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
    const Guard guard(*this);
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
    current.generation = generation_;
    current.value = next_value_++;
}

/// assign() where the numbers have rolled over since one of them was here. Requires the lock; gives it back.
[[gnu::noinline]] auto TlbTagDomain::assign_anew(TlbTagCpu& cpu, TlbTag& current, std::uint32_t runner) noexcept -> Assigned {
    cpu.active_ = {};  // what ran here before has left: its number need not be kept
    if (current.generation != generation_) renew(current);
    cpu.active_ = current;
    auto flush = Flush::tag;
    if (cpu.flushed_ != generation_) {
        cpu.flushed_ = generation_;
        cpu.last_ = {};
        flush = Flush::all;
    }
    cpu.last_[current.value % cpu.last_.size()] = {current, runner};
    unlock();
    return {current, flush};
}

void TlbTagDomain::renounce(TlbTag& current) noexcept {
    const Guard guard(*this);
    current = {};
}

auto TlbTagDomain::look(const TlbTag& current) noexcept -> TlbTag {
    const Guard guard(*this);
    return current;
}

}  // namespace axvcpu
