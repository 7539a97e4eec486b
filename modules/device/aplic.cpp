module axvcpu.device.aplic;
import std;
import axvcpu.hal;
import axvcpu.interrupt;

namespace axvcpu::device {

namespace {
// Offsets of the interrupt domain's registers.
constexpr std::uint32_t domaincfg = 0x0000, sourcecfg = 0x0004, setip = 0x1C00, setipnum = 0x1CDC, clrip = 0x1D00, clripnum = 0x1DDC, setie = 0x1E00,
                        setienum = 0x1EDC, clrie = 0x1F00, clrienum = 0x1FDC, setipnum_le = 0x2000, genmsi = 0x3000, target = 0x3004;
constexpr std::uint32_t hart_index = 0x3FFF << 18, identity = 0x7FF;  // of target and genmsi; the guest index is zero
constexpr auto within(std::uint32_t offset, std::uint32_t first, std::uint32_t registers) noexcept -> bool { return offset - first < 4 * registers; }
}  // namespace

/// The lock, and the MSIs to send when it has been let go.
class Aplic::Sending {
public:
    explicit Sending(Aplic& a) noexcept : a_(a) { while (a_.locked_.exchange(true, std::memory_order_acquire)) {} }
    ~Sending() {
        a_.locked_.store(false, std::memory_order_release);
        for (std::uint32_t i = 0; i < count_; ++i)
            if (msis_[i].hart < a_.harts_) a_.sink_.send(a_.sink_.self, msis_[i].hart, msis_[i].id);
    }
    Sending(const Sending&) = delete;
    auto operator=(const Sending&) -> Sending& = delete;
    void add(std::uint32_t t) noexcept { msis_[count_++] = {t >> 18, t & identity}; }

private:
    Aplic& a_;
    std::array<Msi, sources> msis_;  // one write can make every source due
    std::uint32_t count_ = 0;
};

/// A pending source that may be forwarded becomes an MSI; a level-sensitive one is silent then until its line has fallen, or software
/// asks again by setipnum.
void Aplic::forward(Source& s, Sending& sending) noexcept {
    if (!enabled_ || !s.pending || !s.enabled) return;
    s.pending = false;
    sending.add(s.target);
}

/// Software's way, and the line's: a level-sensitive source is pending only while its input is high.
void Aplic::set_pending(Source& s) noexcept {
    if (s.active() && (!s.level_sensitive() || s.input())) s.pending = true;
}

void Aplic::set_line(std::uint32_t number, bool level) noexcept {
    if (number == 0 || number >= sources) return;
    Sending sending(*this);
    auto& s = source_[number];
    const bool before = s.input();
    s.line = level;
    if (!before && s.input()) s.pending = true;  // a rectified edge, whatever the mode
    if (s.level_sensitive() && !s.input()) s.pending = false;
    forward(s, sending);
}

void Aplic::configure(Source& s, std::uint32_t value) noexcept {
    constexpr std::uint32_t delegate = 1 << 10;  // there is no child
    const auto mode = value & 7;
    s.mode = (value & delegate) != 0 || mode == 2 || mode == 3 ? Mode::inactive : static_cast<Mode>(mode);
    if (!s.active()) {
        s.pending = s.enabled = false;
        s.target = 0;
        return;
    }
    if (s.input()) s.pending = true;
    else if (s.level_sensitive()) s.pending = false;
}

/// The sources that a write to a register of the four groups names: by bits, or by number.
template <class F>
void Aplic::for_each_named(std::uint32_t offset, std::uint32_t value, F f) noexcept {
    const auto in_group = offset & 0xFF;
    if (in_group == 0xDC) {
        if (value != 0 && value < sources) f(source_[value]);
        return;
    }
    for (std::uint32_t bit = 0; bit < 32; ++bit) {
        const auto n = in_group * 8 + bit;
        if ((value >> bit & 1) != 0 && n != 0 && n < sources) f(source_[n]);
    }
}

void Aplic::write(std::uint32_t offset, std::uint32_t value, Sending& sending) noexcept {
    if (offset == domaincfg) {
        enabled_ = (value >> 8 & 1) != 0;
        for (auto& s : source_) forward(s, sending);
    } else if (within(offset, sourcecfg, sources - 1)) {
        auto& s = source_[offset / 4];
        configure(s, value);
        forward(s, sending);
    } else if (within(offset, target, sources - 1)) {
        auto& s = source_[(offset - target) / 4 + 1];
        if (s.active()) s.target = value & (hart_index | identity);
    } else if (offset == genmsi) {  // sent at once, whatever domaincfg says
        genmsi_ = value & (hart_index | identity);
        sending.add(genmsi_);
    } else if (offset == setipnum_le || offset == setipnum || within(offset, setip, 4)) {
        for_each_named(offset == setipnum_le ? setipnum : offset, value, [&](Source& s) { set_pending(s); forward(s, sending); });
    } else if (offset == clripnum || within(offset, clrip, 4)) {
        for_each_named(offset, value, [](Source& s) { s.pending = false; });
    } else if (offset == setienum || within(offset, setie, 4)) {
        for_each_named(offset, value, [&](Source& s) { s.enabled = s.active(); forward(s, sending); });
    } else if (offset == clrienum || within(offset, clrie, 4)) {
        for_each_named(offset, value, [](Source& s) { s.enabled = false; });
    }
}

auto Aplic::read(std::uint32_t offset) const noexcept -> std::uint32_t {
    const auto bits = [&](std::uint32_t group, auto of) {
        std::uint32_t word = 0;
        for (std::uint32_t bit = 0; bit < 32; ++bit)
            if (const auto n = (offset - group) * 8 + bit; n != 0 && n < sources && of(source_[n])) word |= 1u << bit;
        return word;
    };
    if (offset == domaincfg) return 0x8000'0000 | (enabled_ ? 1u << 8 : 0) | 1u << 2;  // DM: MSIs, and nothing else
    if (within(offset, sourcecfg, sources - 1)) return static_cast<std::uint32_t>(source_[offset / 4].mode);
    if (within(offset, target, sources - 1)) return source_[(offset - target) / 4 + 1].target;
    if (offset == genmsi) return genmsi_;
    if (within(offset, setip, 4)) return bits(setip, [](const Source& s) { return s.pending; });
    if (within(offset, clrip, 4)) return bits(clrip, [](const Source& s) { return s.input(); });  // in_clrip reads the rectified inputs
    if (within(offset, setie, 4)) return bits(setie, [](const Source& s) { return s.enabled; });
    return 0;
}

/// Registers are 32 bits and are accessed so; other widths read zero and write nothing.
auto Aplic::access(std::uint32_t, DeviceAccess& a) noexcept -> bool {
    const auto offset = a.addr.value - base_.value;
    if (offset >= size) return false;
    if (!a.write) a.value = 0;
    if (a.width != 4 || offset % 4 != 0) return true;
    Sending sending(*this);
    if (a.write) write(static_cast<std::uint32_t>(offset), static_cast<std::uint32_t>(a.value), sending);
    else a.value = read(static_cast<std::uint32_t>(offset));
    return true;
}

}  // namespace axvcpu::device
