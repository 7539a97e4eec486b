// The register files of distributor and redistributors (IHI 0069, the GICD_ and GICR_ registers), as seen with GICD_CTLR.DS = 1.
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
constexpr std::uint32_t implementer = 0x43B;  // Arm, as JEP106; revision 0
constexpr std::uint32_t control_ds = 1 << 6, control_are = 1 << 4, control_groups = 3;

/// Identification registers at the end of each 64 KiB frame.
constexpr auto identification(std::uint64_t offset) noexcept -> std::uint32_t {
    switch (offset & 0xFFFF) {
        case 0xFFE8: return 3 << 4;  // PIDR2.ArchRev: GICv3
        case 0xFFF0: return 0x0D;    // CIDR0-3
        case 0xFFF4: return 0xF0;
        case 0xFFF8: return 0x05;
        case 0xFFFC: return 0xB1;
        default: return 0;
    }
}

/// The bytes of a 32-bit register that an access of `width` at `offset` covers.
constexpr auto merge(std::uint32_t old, const DeviceAccess& a, std::uint64_t offset) noexcept -> std::uint32_t {
    const unsigned shift = 8 * (offset & 3);
    const std::uint32_t mask = a.width >= 4 ? ~0u : ((1u << 8 * a.width) - 1) << shift;
    return (old & ~mask) | (static_cast<std::uint32_t>(a.value << shift) & mask);
}

/// Two bits for each of 16 interrupts in GICx_ICFGR; the lower one is reserved.
constexpr auto spread(std::uint32_t bits16) noexcept -> std::uint32_t {
    std::uint32_t out = 0;
    for (unsigned i = 0; i < 16; ++i) out |= (bits16 >> i & 1) << (2 * i + 1);
    return out;
}
constexpr auto gather(std::uint32_t pairs) noexcept -> std::uint32_t {
    std::uint32_t out = 0;
    for (unsigned i = 0; i < 16; ++i) out |= (pairs >> (2 * i + 1) & 1) << i;
    return out;
}

}  // namespace

/// Registers with one bit, two bits or a byte for each interrupt: the same places in GICD and in GICR's SGI_base frame.
auto Gicv3::banked(std::uint32_t vcpu, std::uint32_t word, std::uint64_t offset, DeviceAccess& a) noexcept -> std::uint64_t {
    auto& b = word == 0 ? cpus_[vcpu].bank : spis_[word - 1];
    const auto set = static_cast<std::uint32_t>(a.value);
    const auto update = [&](Word& w, bool value) {  // set-enable and clear-enable style
        if (!a.write) return w.load();
        if (value) w.fetch_or(set); else w.fetch_and(~set);
        changed(vcpu, word, set);
        return 0u;
    };
    switch (offset >> 7 & 0x1F) {
        case 0x01:  // IGROUPR
            if (!a.write) return b.group.load();
            b.group.store(set);
            changed(vcpu, word, ~0u);
            return 0;
        case 0x02: return update(b.enabled, true);   // ISENABLER
        case 0x03: return update(b.enabled, false);  // ICENABLER
        case 0x04: case 0x05:                        // ISPENDR, ICPENDR
            if (!a.write) return b.latched.load() | (b.high.load() & ~b.edge.load()) | (b.listed.load() & b.shown_pending.load());
            if ((offset >> 7 & 0x1F) == 5) b.drop_pending.fetch_or(set & b.listed.load());
            return update(b.latched, (offset >> 7 & 0x1F) == 4);
        case 0x06: case 0x07: {                      // ISACTIVER, ICACTIVER
            const bool active = (offset >> 7 & 0x1F) == 6;
            const auto listed = b.listed.load();
            if (!a.write) return b.active.load() | (listed & b.shown_active.load());
            (active ? b.make_active : b.drop_active).fetch_or(set & listed);  // the CPU that has it does that
            (active ? b.drop_active : b.make_active).fetch_and(~set);
            if (active) b.active.fetch_or(set & ~listed); else b.active.fetch_and(~set);
            changed(vcpu, word, set);
            return 0;
        }
        default: return 0;
    }
}

auto Gicv3::route(std::uint32_t spi, DeviceAccess& a, unsigned shift) noexcept -> std::uint64_t {
    constexpr std::uint64_t fields = 0xFF'00FF'FFFF;  // no 1-of-N (GICD_TYPER.No1N)
    auto& r = routes_[spi - first_spi];
    const auto old = r.load();
    if (!a.write) return old >> shift;
    const std::uint64_t mask = a.width >= 8 ? ~std::uint64_t{0} : std::uint64_t{0xFFFF'FFFF} << shift;
    const auto next = ((old & ~mask) | (a.value << shift & mask)) & fields;
    r.store(next);
    const auto bit = 1u << spi % 32;
    for (std::uint32_t v = 0; v < vcpus_; ++v) cpus_[v].routed[spi / 32 - 1].fetch_and(~bit);
    auto& b = spis_[spi / 32 - 1];
    if (old != next && (b.listed.load() & bit) != 0) b.moved.fetch_or(bit);  // after the route: who takes it meanwhile sees that, or is seen here
    if (const auto* v = vm_->find(old); v != nullptr && v->id() < vcpus_) raise(v->id(), 1u << spi / 32);  // gives it back
    if (const auto* v = vm_->find(next); v != nullptr && v->id() < vcpus_) {
        cpus_[v->id()].routed[spi / 32 - 1].fetch_or(bit);
        raise(v->id(), 1u << spi / 32);
    }
    return 0;
}

auto Gicv3::distributor(std::uint64_t offset, DeviceAccess& a) noexcept -> std::uint64_t {
    const auto byte_range = [&](std::uint64_t from, std::uint64_t to) { return offset >= from && offset < to; };
    if (byte_range(0x0080, 0x0400)) {  // one bit for each interrupt; word 0 is the redistributors' with affinity routing
        const auto word = static_cast<std::uint32_t>(offset >> 2 & 31);
        return a.width == 4 && offset % 4 == 0 && word >= 1 && word <= spi_words ? banked(0, word, offset, a) : 0;
    }
    if (byte_range(0x0400, 0x0800)) {  // IPRIORITYR, byte-accessible; 5 bits of priority as the CPU interface has
        std::uint64_t value = 0;
        for (unsigned i = 0; i < a.width; ++i) {
            const auto id = static_cast<std::uint32_t>(offset - 0x400 + i);
            if (id < first_spi || id > last_spi) continue;
            auto& p = spis_[id / 32 - 1].priority[id % 32];
            if (a.write) p.store(static_cast<std::uint8_t>(a.value >> 8 * i & 0xF8), relaxed);
            value |= std::uint64_t{p.load(relaxed)} << 8 * i;
        }
        if (const auto id = static_cast<std::uint32_t>(offset - 0x400); a.write && id >= first_spi && id <= last_spi) changed(0, id / 32, ~0u);
        return value;
    }
    if (byte_range(0x0C00, 0x0D00)) {  // ICFGR
        const auto id = static_cast<std::uint32_t>((offset - 0xC00) & ~std::uint64_t{3}) * 4;
        if (a.width != 4 || id < first_spi || id > last_spi) return 0;
        auto& edge = spis_[id / 32 - 1].edge;
        const unsigned half = id % 32;
        if (!a.write) return spread(edge.load() >> half & 0xFFFF);
        const auto bits = gather(static_cast<std::uint32_t>(a.value)) << half;
        edge.store((edge.load() & ~(0xFFFFu << half)) | bits);
        changed(0, id / 32, 0xFFFFu << half);
        return 0;
    }
    if (byte_range(0x6100, 0x6100 + 8 * 32 * spi_words)) {
        if (a.width < 4 || offset % a.width != 0) return 0;
        return route(first_spi + static_cast<std::uint32_t>(offset - 0x6100) / 8, a, 8 * (offset & 4));
    }
    switch (offset & ~std::uint64_t{3}) {
        case 0x0000:  // CTLR: EnableGrp0, EnableGrp1; ARE and DS read as one; RWP never set
            if (a.write) {
                control_.store(merge(control_.load(), a, offset) & control_groups);
                for (std::uint32_t v = 0; v < vcpus_; ++v) raise(v, (1u << (spi_words + 1)) - 1);
                return 0;
            }
            return control_.load() | control_ds | control_are;
        case 0x0004: return spi_words | 9u << 19 | 1u << 25;  // TYPER: ITLinesNumber, IDbits 10, No1N
        case 0x0008: return implementer;
        case 0x0040: case 0x0050:  // SETSPI_NSR, CLRSPI_NSR would need TYPER.MBIS
        default: return identification(offset);
    }
}

auto Gicv3::redistributor(std::uint32_t owner, std::uint64_t offset, DeviceAccess& a) noexcept -> std::uint64_t {
    auto& cpu = cpus_[owner];
    if (offset < 0x1'0000) {  // RD_base
        const auto* v = vm_->vcpu(owner);
        const auto affinity = v != nullptr ? v->hardware_id() : 0;
        const std::uint64_t typer = ((affinity & 0xFF'FFFF) | (affinity >> 8 & 0xFF00'0000)) << 32 | std::uint64_t{owner} << 8 |
                                    (owner + 1 == vcpus_ ? 1u << 4 : 0);  // Affinity_Value, Processor_Number, Last
        switch (offset & ~std::uint64_t{3}) {
            case 0x0000: return 0;  // CTLR: no LPIs
            case 0x0004: return implementer;
            case 0x0008: return typer;
            case 0x000C: return typer >> 32;
            case 0x0014:  // WAKER: ChildrenAsleep follows ProcessorSleep
                if (a.write) cpu.waker.store(merge(cpu.waker.load(), a, offset) & 2);
                return cpu.waker.load() * 3;
            default: return identification(offset);
        }
    }
    offset -= 0x1'0000;  // SGI_base
    if (offset >= 0x0080 && offset < 0x0400) return a.width == 4 && (offset & 0x7F) == 0 ? banked(owner, 0, offset, a) : 0;
    if (offset >= 0x0400 && offset < 0x0420) {
        std::uint64_t value = 0;
        for (unsigned i = 0; i < a.width && offset - 0x400 + i < 32; ++i) {
            auto& p = cpu.bank.priority[offset - 0x400 + i];
            if (a.write) p.store(static_cast<std::uint8_t>(a.value >> 8 * i & 0xF8), relaxed);
            value |= std::uint64_t{p.load(relaxed)} << 8 * i;
        }
        if (a.write) changed(owner, 0, ~0u);  // one that is in the CPU's hands has its old priority there
        return value;
    }
    if (offset == 0xC00) return 0xAAAA'AAAA;  // ICFGR0: SGIs are edges
    if (offset == 0xC04 && a.width == 4) {    // ICFGR1
        if (!a.write) return spread(cpu.bank.edge.load() >> 16);
        cpu.bank.edge.store(0xFFFF | gather(static_cast<std::uint32_t>(a.value)) << 16);
        changed(owner, 0, ~0u);
        return 0;
    }
    return identification(offset);
}

auto Gicv3::access(std::uint32_t vcpu, DeviceAccess& a) noexcept -> bool {
    static_cast<void>(vcpu);
    if (const auto offset = a.addr.value - config_.distributor.value; offset < distributor_size) {
        a.value = distributor(offset, a);
        return true;
    }
    if (const auto offset = a.addr.value - config_.redistributors.value; offset < redistributor_size * vcpus_) {
        a.value = redistributor(static_cast<std::uint32_t>(offset / redistributor_size), offset % redistributor_size, a);
        return true;
    }
    return false;
}

}  // namespace axvcpu::device
