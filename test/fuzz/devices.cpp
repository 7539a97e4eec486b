// The device models' register files: any sequence of accesses, lines and bytes, with small models beside them.
#include "uart_models.hpp"
import std;
import axvcpu;
import axvcpu.device.gicv3;
import axvcpu.device.plic;
import axvcpu.device.aplic;
import axvcpu.device.pl011;
import axvcpu.device.ns16550;

using namespace axvcpu;

namespace {

void check(bool good) { if (!good) std::abort(); }

struct TestHal {
    static auto virt_to_phys(const void*) noexcept -> HostPhysAddr { return {}; }
    static auto phys_to_virt(HostPhysAddr) noexcept -> void* { return nullptr; }
    static auto this_cpu() noexcept -> CpuId { return CpuId{0}; }
    static void kick(CpuId) noexcept {}
};
struct Core : VcpuCore {
    Core(VmCore& vm, std::uint32_t id) : VcpuCore(vm, id, id) {}
};

struct Input {
    const std::uint8_t* data;
    std::size_t size;
    auto empty() const -> bool { return size == 0; }
    auto take(std::size_t n) -> std::uint64_t {
        std::uint64_t v = 0;
        n = std::min(n, size);
        __builtin_memcpy(&v, data, n);
        data += n;
        size -= n;
        return v;
    }
};

/// The PLIC as the specification's text has it, one source at a time.
struct PlicModel {
    static constexpr unsigned sources = device::Plic::sources, harts = 2;
    std::array<std::uint8_t, sources> priority{};
    std::array<bool, sources> level{}, pending{}, claimed{};
    std::array<std::array<bool, sources>, harts> enabled{};
    std::array<std::uint8_t, harts> threshold{};
    auto best(unsigned h) const -> unsigned {
        unsigned found = 0;
        for (unsigned s = 1; s < sources; ++s)
            if (pending[s] && enabled[h][s] && priority[s] > threshold[h] && (found == 0 || priority[s] > priority[found])) found = s;
        return found;
    }
    auto claim(unsigned h) -> unsigned {
        const auto s = best(h);
        if (s != 0) pending[s] = false, claimed[s] = true;
        return s;
    }
    void complete(unsigned h, std::uint64_t s) {
        if (s == 0 || s >= sources || !enabled[h][s]) return;
        claimed[s] = false;
        if (level[s]) pending[s] = true;
    }
    void line(unsigned s, bool high) {
        if (s == 0 || s >= sources) return;
        level[s] = high;
        if (!high) pending[s] = false;
        else if (!claimed[s]) pending[s] = true;
    }
};

void plic(Input in) {
    VcpuSlot<Core> slots[2];
    VmCore vm{5, {}, {}, {}, slots, hal_table<TestHal>};
    Core harts[2]{{vm, 0}, {vm, 1}};
    for (auto& h : harts) check(vm.add(h).has_value());
    device::Plic real{vm, {0x1000}};
    PlicModel model;
    const auto access = [&](std::uint64_t offset, std::uint64_t value, bool write) {
        DeviceAccess a{{0x1000 + offset}, value, 4, write};
        check(real.access(0, a));
        return a.value;
    };
    while (!in.empty()) {
        const auto op = in.take(1), s = in.take(1) % (PlicModel::sources + 8), h = in.take(1) % 2;
        const auto value = static_cast<std::uint32_t>(in.take(4));
        switch (op % 8) {
            case 0: real.set_line(static_cast<std::uint32_t>(s), value % 2 != 0); model.line(static_cast<unsigned>(s), value % 2 != 0); break;
            case 1:
                if (s == 0 || s >= PlicModel::sources) break;
                access(4 * s, value, true);
                model.priority[s] = value & 7;
                break;
            case 2: {
                const auto w = s % 3;
                access(0x2000 + 0x80 * (2 * h + 1) + 4 * w, value, true);
                for (unsigned b = 0; b < 32; ++b) model.enabled[h][32 * w + b] = (value >> b & 1) != 0 && 32 * w + b != 0;
                break;
            }
            case 3: access(0x20'0000 + 0x1000 * (2 * h + 1), value, true); model.threshold[h] = value & 7; break;
            case 4: check(access(0x20'0004 + 0x1000 * (2 * h + 1), 0, false) == model.claim(static_cast<unsigned>(h))); break;
            case 5: access(0x20'0004 + 0x1000 * (2 * h + 1), s, true); model.complete(static_cast<unsigned>(h), s); break;
            default: {  // anywhere, any width: answers, and changes nothing that the model would not
                DeviceAccess a{{0x1000 + value % (2 * device::Plic::size)}, 0, static_cast<std::uint8_t>(1u << op / 8 % 4), false};
                const auto offset = a.addr.value - 0x1000;
                if (offset >= 0x20'0000 && offset % 0x1000 == 4) break;  // a claim has effects
                check(real.access(1, a) == (offset < device::Plic::size));
            }
        }
        for (unsigned hart = 0; hart < 2; ++hart) {
            Interrupt i;
            check((real.peek(hart, i) ? i.id : 0) == model.best(hart));
        }
        for (unsigned w = 0; w < 3; ++w) {
            std::uint32_t bits = 0;
            for (unsigned b = 0; b < 32; ++b) bits |= static_cast<std::uint32_t>(model.pending[32 * w + b]) << b;
            check(access(0x1000 + 4 * w, 0, false) == bits);
        }
    }
}

/// The GIC: what was enabled and not disabled reads so; what is taken was pending, enabled and not taken already.
void gicv3(Input in) {
    VcpuSlot<Core> slots[2];
    VmCore vm{5, {}, {}, {}, slots, hal_table<TestHal>};
    Core cores[2]{{vm, 0}, {vm, 1}};
    for (auto& c : cores) check(vm.add(c).has_value());
    auto gic = std::make_unique<device::Gicv3>(vm, device::Gicv3::Config{{0x0800'0000}, {0x080A'0000}});
    const auto access = [&](std::uint64_t at, std::uint64_t value, std::uint8_t width, bool write) {
        DeviceAccess a{{at}, value, width, write};
        check(gic->access(0, a));
        return a.value;
    };
    std::array<std::uint32_t, 9> enabled{};   // words 1 to 8: SPIs
    std::array<std::set<std::uint32_t>, 2> taken;
    while (!in.empty()) {
        const auto op = in.take(1);
        const auto word = 1 + static_cast<unsigned>(in.take(1) % 8);
        const auto value = static_cast<std::uint32_t>(in.take(4));
        const auto vcpu = static_cast<std::uint32_t>(value >> 31);
        switch (op % 10) {
            case 0: access(0x0800'0100 + 4 * word, value, 4, true); enabled[word] |= value; break;
            case 1: access(0x0800'0180 + 4 * word, value, 4, true); enabled[word] &= ~value; break;
            case 2: check(access(0x0800'0100 + 4 * word, 0, 4, false) == enabled[word]); break;
            case 3: gic->set_line(value % 300, op >= 128); break;
            case 4: {
                Interrupt i, next;
                const bool peeked = gic->peek(vcpu, next);
                if (!gic->take(vcpu, i)) {
                    check(!peeked);
                    break;
                }
                check(i.id < 288 && (i.id < 32 || (enabled[i.id / 32] >> i.id % 32 & 1) != 0));
                check(taken[vcpu].insert(i.id).second);                       // not given twice
                check(i.id < 32 || !taken[1 - vcpu].contains(i.id));          // an SPI not to two
                break;
            }
            case 5:
                if (taken[vcpu].empty()) break;
                gic->retire(vcpu, *taken[vcpu].begin(), op >= 128, false);
                taken[vcpu].erase(taken[vcpu].begin());
                break;
            case 6: static_cast<void>(gic->send(vcpu, {.cluster = 0, .targets = static_cast<std::uint16_t>(value), .vector = static_cast<std::uint8_t>(value >> 16), .others = op >= 128})); break;
            case 7: access(0x0800'0000, value & 3, 4, true); break;
            case 8: access(0x080A'0000 + 0x1'0000 + (value & 0xFFF), value, static_cast<std::uint8_t>(1u << op / 10 % 4), true); break;
            default: {
                const auto at = 0x0800'0000 + value % 0x10'0000;
                const bool write = op >= 128 && at >= 0x0800'4000 && at < 0x0801'0000;  // routes and reserved places
                DeviceAccess a{{at}, value, static_cast<std::uint8_t>(1u << op / 10 % 4), write};
                const bool inside = at < 0x0801'0000 || (at >= 0x080A'0000 && at < 0x080A'0000 + 2 * 0x2'0000);
                check(gic->access(vcpu, a) == inside);
            }
        }
    }
}

/// The APLIC: each source by its own little model, MSIs one by one.
void aplic(Input in) {
    struct Source { unsigned mode = 0; bool line = false, pending = false, enabled = false; std::uint32_t target = 0; };
    std::array<Source, device::Aplic::sources> model{};
    bool on = false;
    std::vector<std::uint32_t> sent, expected;
    device::Aplic real{{0x1000}, 2, {&sent, [](void* self, std::uint32_t hart, std::uint32_t id) noexcept { static_cast<std::vector<std::uint32_t>*>(self)->push_back(hart << 18 | id); }}};
    const auto high = [](const Source& s) { return s.mode == 4 || s.mode == 6 ? s.line : (s.mode == 5 || s.mode == 7) && !s.line; };
    const auto level = [](const Source& s) { return s.mode >= 6; };
    const auto due = [&](Source& s) {
        if (!on || !s.pending || !s.enabled) return;
        s.pending = false;
        if (s.target >> 18 < 2) expected.push_back(s.target);
    };
    const auto write = [&](std::uint64_t offset, std::uint32_t value) {
        DeviceAccess a{{0x1000 + offset}, value, 4, true};
        check(real.access(0, a));
    };
    while (!in.empty()) {
        const auto op = in.take(1);
        const auto n = static_cast<std::uint32_t>(in.take(1));
        const auto value = static_cast<std::uint32_t>(in.take(4));
        const bool there = n != 0 && n < device::Aplic::sources;
        auto& s = model[there ? n : 0];
        switch (op % 9) {
            case 0: {
                real.set_line(n, op >= 128);
                if (!there) break;
                const bool before = high(s);
                s.line = op >= 128;
                if (!before && high(s)) s.pending = true;
                if (level(s) && !high(s)) s.pending = false;
                due(s);
                break;
            }
            case 1:
                if (!there) break;
                write(4 * n, value);
                s.mode = (value & 1 << 10) != 0 || (value & 7) == 2 || (value & 7) == 3 ? 0 : value & 7;
                if (s.mode == 0) s.pending = s.enabled = false, s.target = 0;
                else if (high(s)) s.pending = true;
                else if (level(s)) s.pending = false;
                due(s);
                break;
            case 2: write(0x1EDC, n); if (there && s.mode != 0) s.enabled = true, due(s); break;
            case 3: write(0x1FDC, n); if (there) s.enabled = false; break;
            case 4: write(op >= 128 ? 0x1CDC : 0x2000, n); if (there && s.mode != 0 && (!level(s) || high(s))) s.pending = true, due(s); break;
            case 5: write(0x1DDC, n); if (there) s.pending = false; break;
            case 6: if (there) { write(0x3000 + 4 * n, value); if (s.mode != 0) s.target = value & 0xFFFC'07FF; } break;
            case 7: write(0, value); on = (value >> 8 & 1) != 0; for (auto& each : model) due(each); break;
            default: {
                DeviceAccess a{{0x1000 + value % (2 * device::Aplic::size)}, 0, static_cast<std::uint8_t>(1u << op / 16 % 4), false};
                check(real.access(1, a) == (a.addr.value - 0x1000 < device::Aplic::size));
            }
        }
        model[0] = {};
        check(sent == expected);
        for (unsigned w = 0; w < 4; ++w) {
            std::uint32_t pending = 0, enabled = 0, lines = 0;
            for (unsigned b = 0; b < 32 && 32 * w + b < device::Aplic::sources; ++b) {
                pending |= static_cast<std::uint32_t>(model[32 * w + b].pending) << b;
                enabled |= static_cast<std::uint32_t>(model[32 * w + b].enabled) << b;
                lines |= static_cast<std::uint32_t>(high(model[32 * w + b])) << b;
            }
            for (const auto [offset, bits] : {std::pair{0x1C00u, pending}, std::pair{0x1E00u, enabled}, std::pair{0x1D00u, lines}}) {
                DeviceAccess a{{0x1000 + offset + 4 * w}, 0, 4, false};
                check(real.access(0, a) && a.value == bits);
            }
        }
    }
}

void uarts(Input in) {
    std::string out, out2;
    const auto transmit = [](void* self, std::uint8_t b) noexcept { static_cast<std::string*>(self)->push_back(static_cast<char>(b)); };
    device::Pl011 pl011(&out, transmit);
    device::Ns16550 ns16550(&out2, transmit);
    fuzz::Pl011Model pl011_model;
    fuzz::Ns16550Model ns16550_model;
    while (!in.empty()) {
        const auto op = in.take(1);
        auto offset = in.take(2);
        const auto value = in.take(4);
        const auto width = 1u << op / 8 % 4;
        const bool near = op >= 128;  // a register that there is
        switch (op % 6) {
            case 0: {
                if (near) offset %= 0x50;
                offset %= device::Pl011::size;
                const auto got = pl011.read(offset, width);
                check(got >> 8 * std::min(width, 4u) == 0);
                if (const auto all = pl011_model.read(offset & 0xFFC)) check(got == (*all >> 8 * (offset & 3) & (width < 4 ? (1u << 8 * width) - 1 : ~0u)));
                break;
            }
            case 1:
                if (near) offset = offset % 0x50 & ~3u;
                offset %= device::Pl011::size;
                pl011.write(offset, width, value);
                pl011_model.write(offset, static_cast<std::uint32_t>(value));
                if (offset == 0x44) check((pl011.read(0x3C, 4) & value & 0x420) == 0);  // these go when they are told to
                break;
            case 2: {
                const auto b = static_cast<std::uint8_t>(value);
                const bool taken = pl011.receive(b);
                check(taken == pl011_model.receive(b));
                const auto raw = pl011.read(0x3C, 4);
                if (taken) check((raw & 0x40) != 0 && ((raw & 0x10) != 0) == (pl011_model.bytes.size() >= pl011_model.level()));
                else if ((pl011_model.held[0x30 / 4] & 0x201) == 0x201) check((raw & 0x400) != 0);
                break;
            }
            case 3: {
                offset = near ? offset % 8 : offset % device::Ns16550::size;
                check(ns16550.read(offset, width) == ns16550_model.read(offset));
                break;
            }
            case 4:
                offset = near ? offset % 8 : offset % device::Ns16550::size;
                ns16550.write(offset, width, value);
                ns16550_model.write(offset, static_cast<std::uint8_t>(value));
                break;
            default: check(ns16550.receive(static_cast<std::uint8_t>(value)) == ns16550_model.receive(static_cast<std::uint8_t>(value)));
        }
        const auto raw = pl011.read(0x3C, 4), masked = pl011.read(0x40, 4);
        check((raw & ~std::uint64_t{0x470}) == 0 && masked == (raw & pl011.read(0x38, 4)) && (masked != 0) == pl011.line());
        check((raw & 0x10) == 0 || pl011_model.bytes.size() >= pl011_model.level());  // no interrupt for bytes that are not there
        check((raw & 0x40) == 0 || !pl011_model.bytes.empty());
        check(((raw & 0x20) != 0) == pl011_model.transmitted);
        for (const auto at : {0x04u, 0x18u, 0x20u, 0x24u, 0x28u, 0x2Cu, 0x30u, 0x34u, 0x38u, 0x44u, 0x48u})  // those that reading leaves as they are
            check(pl011.read(at, 4) == pl011_model.read(at));
        for (const auto at : {3u, 4u, 6u, 7u}) check(ns16550.read(at, 1) == ns16550_model.read(at));
        check(ns16550.line() == (ns16550_model.cause() != 1));
        check(out == pl011_model.out && out2 == ns16550_model.out);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2) return 0;
    const Input in{data + 1, size - 1};
    switch (data[0] % 4) {
        case 0: plic(in); break;
        case 1: gicv3(in); break;
        case 2: aplic(in); break;
        default: uarts(in);
    }
    return 0;
}
