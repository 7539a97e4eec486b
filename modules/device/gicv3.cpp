// Pending state and delivery. The register files are in gicv3_registers.cpp.
module axvcpu.device.gicv3;
import std;
import axvcpu.hal;
import axvcpu.exit;
import axvcpu.interrupt;
import axvcpu.mailbox;
import axvcpu.vm;

namespace axvcpu::device {

namespace {
constexpr auto relaxed = std::memory_order_relaxed;

void put(std::atomic<std::uint32_t>& word, std::uint32_t bit, bool value) noexcept {
    if (((word.load(relaxed) & bit) != 0) == value) return;
    if (value) word.fetch_or(bit);
    else word.fetch_and(~bit);
}
}

Gicv3::Gicv3(VmCore& vm, Config config) noexcept : vm_(&vm), config_(config), vcpus_(std::min(vm.vcpus(), max_vcpus)) {
    for (auto& c : cpus_) {
        c.bank.edge.store(0xFFFF, relaxed);  // SGIs
        c.waker.store(2, relaxed);
    }
    for (auto& word : cpus_[0].routed) word.store(~0u, relaxed);  // GICD_IROUTER resets to affinity 0
}

auto Gicv3::window() const noexcept -> GuestRange {
    const auto first = std::min(config_.distributor, config_.redistributors);
    const auto end = std::max(config_.distributor + distributor_size, config_.redistributors + redistributor_size * vcpus_);
    return {first, end.value - first.value};
}

/// Pending, enabled and not in anybody's hands. Groups that the distributor does not forward are left out.
auto Gicv3::deliverable(const Bank& b) const noexcept -> std::uint32_t {
    const auto control = control_.load(relaxed);
    const auto group = b.group.load(relaxed);
    const auto forwarded = ((control & 2) != 0 ? group : 0) | ((control & 1) != 0 ? ~group : 0);
    return (b.latched.load() | (b.high.load() & ~b.edge.load(relaxed))) & b.enabled.load(relaxed) & ~b.listed.load() & ~b.active.load(relaxed) & forwarded;
}

void Gicv3::raise(std::uint32_t vcpu, std::uint32_t work) noexcept {
    cpus_[vcpu].work.fetch_or(work);
    vm_->notify(vcpu, Event::interrupt);
}

/// Something about these interrupts of a word changed: whoever may have to take them, or give them back, looks again.
void Gicv3::changed(std::uint32_t vcpu, std::uint32_t word, std::uint32_t mask) noexcept {
    if (word == 0) return raise(vcpu, 1);
    for (std::uint32_t v = 0; v < vcpus_; ++v)
        if ((cpus_[v].routed[word - 1].load() & mask) != 0) raise(v, 1u << word);  // after the change: who is routed to now sees it, or is seen here
    if ((spis_[word - 1].moved.load() & mask) != 0) [[unlikely]]
        for (std::uint32_t v = 0; v < vcpus_; ++v) vm_->notify(v, Event::interrupt);  // one of them has it, and may have ended it
}

void Gicv3::set_line(std::uint32_t spi, bool level) noexcept {
    if (spi < first_spi || spi > last_spi) return;
    auto& b = spis_[spi / 32 - 1];
    const auto bit = 1u << spi % 32;
    const auto before = level ? b.high.fetch_or(bit) : b.high.fetch_and(~bit);
    if (((before & bit) != 0) == level) return;
    if ((b.edge.load(relaxed) & bit) != 0) {
        if (!level) return;
        b.latched.fetch_or(bit);
    }
    changed(0, spi / 32, bit);
}

void Gicv3::tell_end(std::uint32_t spi, bool wanted) noexcept {
    if (spi >= first_spi && spi <= last_spi) put(spis_[spi / 32 - 1].told, 1u << spi % 32, wanted);
}

auto Gicv3::ended(std::uint32_t vcpu, std::uint32_t& id) noexcept -> bool {
    return vcpu < vcpus_ && take_lowest(cpus_[vcpu].ended, first_spi, id);
}

void Gicv3::line(std::uint32_t vcpu, std::uint32_t id, bool high) noexcept {
    if (id >= 32 || vcpu >= vcpus_) return;
    auto& b = cpus_[vcpu].bank;
    const auto bit = 1u << id;
    const auto before = high ? b.high.fetch_or(bit) : b.high.fetch_and(~bit);
    if (!high) return;
    if ((b.edge.load(relaxed) & bit) != 0 && (before & bit) == 0) b.latched.fetch_or(bit);
    cpus_[vcpu].work.fetch_or(1);
}

auto Gicv3::send(std::uint32_t from, const exit::SendIpi& ipi) noexcept -> bool {
    bool self = false;
    const auto post = [&](std::uint32_t v) {
        if (((cpus_[v].bank.group.load(relaxed) >> (ipi.vector & 15) & 1) == 0) == (ipi.group != 0)) return;
        cpus_[v].bank.latched.fetch_or(1u << (ipi.vector & 15));
        cpus_[v].work.fetch_or(1);
        if (v == from) self = true; else vm_->notify(v, Event::interrupt);
    };
    if (ipi.others) {
        for (std::uint32_t v = 0; v < vcpus_; ++v) if (v != from) post(v);
        return false;
    }
    for (std::uint32_t targets = ipi.targets; targets != 0; targets &= targets - 1) {
        const auto affinity = ipi.cluster + static_cast<std::uint32_t>(std::countr_zero(targets));
        // Most VMs number their vCPUs so that the first guess is right.
        const auto guess = static_cast<std::uint32_t>((affinity & 15) | (affinity >> 8 & 0xF) << 4);
        const auto* v = vm_->vcpu(guess);
        if (v == nullptr || v->hardware_id() != affinity) v = vm_->find(affinity);
        if (v != nullptr && v->id() < vcpus_) post(v->id());
    }
    return self;
}

/// The most urgent interrupt for a vCPU, and its bank. `taking`: a word with a single candidate needs no second look.
auto Gicv3::best(std::uint32_t vcpu, Interrupt& out, bool taking) noexcept -> Bank* {
    if (vcpu >= vcpus_) return nullptr;
    auto& cpu = cpus_[vcpu];
    Bank* found = nullptr;
    const auto all = cpu.work.load();
    for (auto work = all; work != 0; work &= work - 1) {
        const auto word = static_cast<std::uint32_t>(std::countr_zero(work));
        cpu.work.fetch_and(~(1u << word));  // before looking: what comes later sets it again
        auto& b = word == 0 ? cpu.bank : spis_[word - 1];
        auto candidates = deliverable(b) & (word == 0 ? ~0u : cpu.routed[word - 1].load(relaxed));
        if (candidates == 0) continue;
        if (!taking || all != (1u << word) || !std::has_single_bit(candidates)) cpu.work.fetch_or(1u << word);
        for (; candidates != 0; candidates &= candidates - 1) {
            const auto n = static_cast<std::uint32_t>(std::countr_zero(candidates));
            const auto priority = b.priority[n].load(relaxed);
            if (found != nullptr && priority >= out.priority) continue;
            out = {.id = 32 * word + n, .priority = priority, .level = (b.edge.load(relaxed) >> n & 1) == 0, .group = static_cast<std::uint8_t>(b.group.load(relaxed) >> n & 1),
                   .tell_end = (b.told.load(relaxed) >> n & 1) != 0};
            found = &b;
        }
    }
    return found;
}

auto Gicv3::peek(std::uint32_t vcpu, Interrupt& out) noexcept -> bool { return best(vcpu, out, false) != nullptr; }

namespace {
/// Nothing of an earlier stay in the CPU's hands holds for this one.
template <class Bank>
void hand_over(Bank& b, std::uint32_t bit) noexcept {
    for (auto* old : {&b.shown_active, &b.drop_pending, &b.drop_active, &b.make_active})
        if ((old->load(relaxed) & bit) != 0) old->fetch_and(~bit);
    if ((b.shown_pending.load(relaxed) & bit) == 0) b.shown_pending.fetch_or(bit);
}
}  // namespace

auto Gicv3::take(std::uint32_t vcpu, Interrupt& out) noexcept -> bool {
    if (vcpu >= vcpus_) return false;
    auto& cpu = cpus_[vcpu];
    const auto work = cpu.work.load();
    if (work == 0) return false;
    if (work == 1) {  // of its own only: nobody else takes those
        cpu.work.fetch_and(~1u);
        auto& b = cpu.bank;
        const auto candidates = deliverable(b);
        if (candidates == 0) return false;
        if (std::has_single_bit(candidates)) {
            const auto n = static_cast<std::uint32_t>(std::countr_zero(candidates));
            const bool edge = (b.edge.load(relaxed) & candidates) != 0;
            out = {.id = n, .priority = b.priority[n].load(relaxed), .level = !edge, .group = static_cast<std::uint8_t>((b.group.load(relaxed) & candidates) != 0)};
            b.listed.fetch_or(candidates);
            hand_over(b, candidates);
            if (edge) b.latched.fetch_and(~candidates);
            return true;
        }
        cpu.work.fetch_or(1);
    }
    for (;;) {
        auto* b = best(vcpu, out, true);
        if (b == nullptr) return false;
        const auto bit = 1u << out.id % 32;
        if ((b->listed.fetch_or(bit) & bit) != 0) continue;  // another vCPU has just taken this SPI
        if (out.id >= first_spi && (cpu.routed[out.id / 32 - 1].load() & bit) == 0) [[unlikely]] {  // routed elsewhere, which did not see it listed
            b->moved.fetch_and(~bit);  // route() may have taken it for listed
            b->listed.fetch_and(~bit);
            changed(vcpu, out.id / 32, bit);
            continue;
        }
        hand_over(*b, bit);
        // An edge is with the CPU now. A level that software made pending stays so until it has become active.
        if (!out.level) b->latched.fetch_and(~bit);
        return true;
    }
}

auto Gicv3::sync(std::uint32_t vcpu, std::uint32_t id, Held held) noexcept -> Held {
    auto* b = bank_of(vcpu, id);
    if (b == nullptr) return {};
    const auto bit = 1u << id % 32;
    const auto asked = [&](Word& w) { return (w.load() & bit) != 0 && (w.fetch_and(~bit) & bit) != 0; };
    if (asked(b->make_active)) held.active = true;
    if (asked(b->drop_active)) held.active = false;
    const bool dropped = (b->drop_pending.load() & bit) != 0;
    if (dropped) held.pending = false;
    const bool edge = (b->edge.load(relaxed) & bit) != 0;
    if (held.active) {
        if ((b->latched.fetch_and(~bit) & bit) != 0 && edge) held.pending = true;  // a level is looked at again when it has been ended
    } else if ((b->enabled.load(relaxed) & bit) == 0 || (id >= 32 && (cpus_[vcpu].routed[id / 32 - 1].load(relaxed) & bit) == 0)) {
        held.pending = false;  // retired next, as pending as it was
    } else if (edge) {
        if ((b->latched.fetch_and(~bit) & bit) != 0) held.pending = true;  // pending once already: a second edge adds nothing
    } else {
        held.pending = ((b->high.load() | b->latched.load()) & bit) != 0;
    }
    if (dropped && (held.pending || held.active)) b->drop_pending.fetch_and(~bit);  // done; else retire() has to know of it
    put(b->shown_pending, bit, held.pending);
    put(b->shown_active, bit, held.active);
    return held;
}

void Gicv3::retire(std::uint32_t vcpu, std::uint32_t id, bool pending, bool active) noexcept {
    auto* b = bank_of(vcpu, id);
    if (b == nullptr) return;
    const auto bit = 1u << id % 32;
    const bool edge = (b->edge.load(relaxed) & bit) != 0;
    if ((b->drop_pending.load() & bit) != 0) b->drop_pending.fetch_and(~bit), pending = false;
    if (pending && edge) b->latched.fetch_or(bit);
    if (!pending && !edge) b->latched.fetch_and(~bit);
    if (active) b->active.fetch_or(bit);
    if ((b->moved.load(relaxed) & bit) != 0) b->moved.fetch_and(~bit);
    b->listed.fetch_and(~bit);
    if (!pending && !active && (b->told.load(relaxed) & bit) != 0) [[unlikely]] {
        cpus_[vcpu].ended[id / 32 - 1].fetch_or(bit);
        if (auto* v = vm_->vcpu(vcpu); v != nullptr) static_cast<void>(v->post(Event::ended));  // itself: nobody to kick or to wake
    }
    // It may be deliverable at once: by this vCPU, or by the one that it has been routed to meanwhile. Who made it pending while it
    // was listed did so before this look, or has set the work bit after it.
    if (((b->latched.load() | b->high.load()) & bit) == 0) return;
    cpus_[vcpu].work.fetch_or(1u << id / 32);
    if (id >= 32 && (cpus_[vcpu].routed[id / 32 - 1].load(relaxed) & bit) == 0) changed(vcpu, id / 32, bit);
}

}  // namespace axvcpu::device
