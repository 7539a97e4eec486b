module axvcpu.device.plic;
import std;
import axvcpu.hal;
import axvcpu.interrupt;
import axvcpu.mailbox;
import axvcpu.vm;

namespace axvcpu::device {

/// The pending, enabled source of the highest priority above the threshold; of equals the lowest id. 0: none.
auto Plic::best(const Context& c) const noexcept -> std::uint32_t {
    std::uint32_t found = 0;
    std::uint8_t priority = c.threshold.load(std::memory_order_relaxed);
    for (std::uint32_t w = 0; w < words; ++w) {
        for (auto bits = pending_[w].load() & ~claimed_[w].load() & c.enabled[w].load(std::memory_order_relaxed); bits != 0; bits &= bits - 1) {
            const auto id = 32 * w + static_cast<std::uint32_t>(std::countr_zero(bits));
            if (const auto p = priority_[id].load(std::memory_order_relaxed); p > priority) {
                found = id;
                priority = p;
            }
        }
    }
    return found;
}

auto Plic::claim(Context& c) noexcept -> std::uint32_t {
    for (;;) {
        const auto id = best(c);
        if (id == 0) return 0;
        const auto bit = 1u << id % 32;
        // Claimed before it stops being pending: a line that goes up in between is not counted twice.
        const bool mine = (claimed_[id / 32].fetch_or(bit) & bit) == 0;
        if (mine && (pending_[id / 32].fetch_and(~bit) & bit) != 0) {
            changed(id);
            return id;
        }
        if (mine) let_go(id);
    }
}

void Plic::complete(Context& c, std::uint32_t source) noexcept {
    if (source == 0 || source >= sources) return;
    const auto bit = 1u << source % 32;
    if ((c.enabled[source / 32].load(std::memory_order_relaxed) & bit) == 0) return;  // the specification ignores such an end
    if (!let_go(source) || (told_[source / 32].load(std::memory_order_relaxed) & bit) == 0) return;
    c.ended[source / 32].fetch_or(bit);
    vm_->notify(static_cast<std::uint32_t>(&c - contexts_.data()), Event::ended);
}

void Plic::tell_end(std::uint32_t source, bool wanted) noexcept {
    if (source == 0 || source >= sources) return;
    auto& word = told_[source / 32];
    const auto bit = 1u << source % 32;
    if (wanted) word.fetch_or(bit);
    else word.fetch_and(~bit);
}

auto Plic::ended(std::uint32_t vcpu, std::uint32_t& id) noexcept -> bool {
    return vcpu < harts_ && take_lowest(contexts_[vcpu].ended, 0, id);
}

/// Nobody has claimed it any more: its line, if it is high, makes it pending. A line that went up while it was claimed is seen here.
auto Plic::let_go(std::uint32_t source) noexcept -> bool {
    const auto bit = 1u << source % 32;
    const bool claimed = (claimed_[source / 32].fetch_and(~bit) & bit) != 0;
    if ((level_[source / 32].load() & bit) != 0) pending_[source / 32].fetch_or(bit);
    if ((pending_[source / 32].load() & bit) != 0) changed(source);
    return claimed;
}

void Plic::set_line(std::uint32_t source, bool level) noexcept {
    if (source == 0 || source >= sources) return;
    const auto bit = 1u << source % 32;
    if (!level) {
        level_[source / 32].fetch_and(~bit);
        if ((pending_[source / 32].fetch_and(~bit) & bit) != 0) changed(source);  // who was about to take it must not
        return;
    }
    level_[source / 32].fetch_or(bit);
    if ((claimed_[source / 32].load() & bit) != 0) return;  // its end looks at the line again
    pending_[source / 32].fetch_or(bit);
    changed(source);
}

/// Whoever may have to take this source looks again.
void Plic::changed(std::uint32_t source) noexcept {
    const auto bit = 1u << source % 32;
    for (std::uint32_t h = 0; h < harts_; ++h)
        if ((contexts_[h].enabled[source / 32].load(std::memory_order_relaxed) & bit) != 0) vm_->notify(h, Event::interrupt);
}

auto Plic::peek(std::uint32_t vcpu, Interrupt& out) noexcept -> bool {
    if (vcpu >= harts_) return false;
    const auto id = best(contexts_[vcpu]);
    if (id == 0) return false;
    out = {.id = id, .priority = priority_[id].load(std::memory_order_relaxed), .level = true};
    return true;
}

auto Plic::enable_register(std::uint64_t offset, DeviceAccess& a) noexcept -> std::uint32_t {
    const auto context = offset / 0x80, word = offset % 0x80 / 4;
    if (context % 2 == 0 || context / 2 >= harts_ || word >= words) return 0;
    auto& enabled = contexts_[context / 2].enabled[word];
    if (!a.write) return enabled.load(std::memory_order_relaxed);
    enabled.store(static_cast<std::uint32_t>(a.value) & (word == 0 ? ~1u : ~0u), std::memory_order_relaxed);
    vm_->notify(static_cast<std::uint32_t>(context / 2), Event::interrupt);
    return 0;
}

auto Plic::context_register(std::uint64_t offset, DeviceAccess& a) noexcept -> std::uint32_t {
    const auto context = offset / 0x1000;
    if (context % 2 == 0 || context / 2 >= harts_) return 0;
    auto& c = contexts_[context / 2];
    switch (offset % 0x1000) {
        case 0:
            if (!a.write) return c.threshold.load(std::memory_order_relaxed);
            c.threshold.store(static_cast<std::uint8_t>(a.value & max_priority), std::memory_order_relaxed);
            vm_->notify(static_cast<std::uint32_t>(context / 2), Event::interrupt);
            return 0;
        case 4:
            if (!a.write) return claim(c);
            complete(c, static_cast<std::uint32_t>(a.value));
            return 0;
        default: return 0;
    }
}

/// Registers are 32 bits and are accessed so; other widths read zero and write nothing.
auto Plic::access(std::uint32_t, DeviceAccess& a) noexcept -> bool {
    const auto offset = a.addr.value - base_.value;
    if (offset >= size) return false;
    if (!a.write) a.value = 0;
    if (a.width != 4 || offset % 4 != 0) return true;
    if (offset >= 0x20'0000) a.value = context_register(offset - 0x20'0000, a);
    else if (offset >= 0x2000 && offset < 0x2000 + 0x80 * 2 * max_harts) a.value = enable_register(offset - 0x2000, a);
    else if (offset >= 0x1000 && offset < 0x1000 + 4 * words) a.value = a.write ? 0 : pending_[(offset - 0x1000) / 4].load();
    else if (offset < 4 * sources && offset != 0) {
        auto& p = priority_[offset / 4];
        if (a.write) {
            p.store(static_cast<std::uint8_t>(a.value & max_priority), std::memory_order_relaxed);
            changed(static_cast<std::uint32_t>(offset / 4));
        }
        a.value = p.load(std::memory_order_relaxed);
    }
    return true;
}

}  // namespace axvcpu::device
