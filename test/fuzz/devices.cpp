// The device models' register files: any sequence of accesses, lines and bytes, with small models beside them.
#include "gic_model.hpp"
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

/// The GIC: every register of it, lines, software interrupts, and two CPUs with interrupts in their hands.
class GicRun {
public:
    GicRun() { check(added_); }
    void step(Input& in) {
        const auto op = in.take(1), which = in.take(1);
        const auto value = static_cast<std::uint32_t>(in.take(4));
        const auto vcpu = static_cast<std::uint32_t>(op >> 7);
        const auto id = static_cast<std::uint32_t>(which + (value & 1) * 32) % (32 + fuzz::GicModel::spis + 8);
        switch (op % 16) {
            case 0: case 1: case 2: case 3: case 4: case 5: case 6: bits(vcpu, static_cast<unsigned>(op % 16), static_cast<unsigned>(which % 9), value); break;
            case 7: priorities(vcpu, id, 1u << (which & 3), value); break;
            case 8: configuration(vcpu, static_cast<unsigned>(which % 18), value); break;
            case 9: route(which, value, (op & 0x40) != 0); break;
            case 10: access(0x0800'0000, value, 4, true); model_.control = value & 3; break;
            case 11: line(vcpu, id, (op & 0x40) != 0); break;
            case 12: {
                const exit::SendIpi ipi{.cluster = which == 0 ? 16u : 0u, .targets = static_cast<std::uint16_t>(value), .vector = static_cast<std::uint8_t>(value >> 16),
                                        .others = (op & 0x40) != 0, .group = static_cast<std::uint8_t>(value >> 24 & 1)};
                check(gic_.send(vcpu, ipi) == model_.send(vcpu, ipi));
                break;
            }
            case 13: take(vcpu); break;
            case 14: give(vcpu, which, static_cast<unsigned>(value)); break;
            default: wild(vcpu, value, 1u << which % 4, (which & 0x80) != 0); break;
        }
        compare();
    }

private:
    auto access(std::uint64_t at, std::uint64_t value, unsigned width, bool write) -> std::uint64_t {
        DeviceAccess a{{at}, value, static_cast<std::uint8_t>(width), write};
        check(gic_.access(0, a));
        return a.value;
    }
    /// Of the frame that has word `n`'s registers: the distributor, or the redistributor of `vcpu`.
    static auto frame(unsigned vcpu, unsigned n) -> std::uint64_t { return n != 0 ? 0x0800'0000 : 0x080B'0000 + vcpu * 0x2'0000ull; }
    void bits(unsigned vcpu, unsigned kind, unsigned n, std::uint32_t value) {
        access(frame(vcpu, n) + 0x80 + 0x80 * kind + 4 * n, value, 4, true);
        if (kind == 0) return model_.each(vcpu, n, ~0u, [&, k = 0u](auto& i) mutable { i.group = (value >> k++ & 1) != 0; });
        model_.each(vcpu, n, value, [&](auto& i) {
            switch (kind) {
                case 1: case 2: i.enabled = kind == 1; break;
                case 3: i.set_pending(); break;
                case 4: i.clear_pending(); break;
                default: i.set_active(kind == 5);
            }
        });
    }
    void priorities(unsigned vcpu, std::uint32_t id, unsigned width, std::uint32_t value) {
        const bool own = id < 32;
        access(frame(vcpu, own ? 0 : 1) + 0x400 + id, std::uint64_t{value} << 32 | value, width, true);
        for (unsigned i = 0; i < width; ++i) {
            if (id + i >= (own ? 32u : 32u + fuzz::GicModel::spis)) break;
            auto& p = model_.at(vcpu, id + i).priority;
            p = static_cast<std::uint8_t>((std::uint64_t{value} << 32 | value) >> 8 * i & 0xF8);
            check((access(frame(vcpu, own ? 0 : 1) + 0x400 + id + i, 0, 1, false) & 0xFF) == p);
        }
    }
    void configuration(unsigned vcpu, unsigned n, std::uint32_t value) {  // 16 interrupts a register
        access(frame(vcpu, n / 2) + 0xC00 + 4 * n, value, 4, true);
        if (n == 0) return;  // SGIs are edges
        std::uint32_t reads = 0;
        for (unsigned i = 0; i < 16; ++i) {
            auto& edge = model_.at(vcpu, 16 * n + i).edge;
            edge = (value >> (2 * i + 1) & 1) != 0;
            reads |= static_cast<std::uint32_t>(edge) << (2 * i + 1);
        }
        check(static_cast<std::uint32_t>(access(frame(vcpu, n / 2) + 0xC00 + 4 * n, 0, 4, false)) == reads);
    }
    void route(std::uint64_t spi, std::uint32_t value, bool whole) {
        const auto at = 0x0800'6100 + 8 * (spi % fuzz::GicModel::spis);
        auto& r = model_.shared[spi % fuzz::GicModel::spis].route;
        access(at, value & 0x8000'0003, whole ? 8 : 4, true);
        r = (whole ? 0 : r & ~std::uint64_t{0xFFFF'FFFF}) | (value & 3);
        check(access(at, 0, 8, false) == r);
    }
    void line(unsigned vcpu, std::uint32_t id, bool high) {
        if (id < 32) gic_.line(vcpu, id, high);
        else gic_.set_line(id, high);
        if (id < 32 + fuzz::GicModel::spis) model_.at(vcpu, id).line(high);
    }
    void take(unsigned vcpu) {
        Interrupt i;
        const auto expected = model_.best(vcpu);
        check(gic_.take(vcpu, i) == expected.has_value());
        if (!expected) return;
        const auto& e = model_.at(vcpu, *expected);
        check(i.id == *expected && i.priority == e.priority && i.level == !e.edge && i.group == e.group && i.tell_end == e.told);
        model_.at(vcpu, *expected).take();
        model_.held[vcpu].insert(*expected);
    }
    /// A CPU has made one that it holds active, and says so; or has ended it, and gives it back. As the backend does it (interrupt.cpp).
    void give(unsigned vcpu, std::uint64_t which, unsigned value) {
        if (which >= 0xF0) {
            const auto spi = 32 + value % fuzz::GicModel::spis;
            gic_.tell_end(spi, (which & 1) != 0);
            model_.shared[spi - 32].told = (which & 1) != 0;
        }
        if (which >= 0xE0) {
            std::uint32_t id = 0;
            check(gic_.ended(vcpu, id) == !model_.ended[vcpu].empty());
            if (!model_.ended[vcpu].empty()) check(model_.ended[vcpu].extract(model_.ended[vcpu].begin()).value() == id);
            return;
        }
        auto& held = model_.held[vcpu];
        if (held.empty()) return;
        const auto id = *std::next(held.begin(), static_cast<std::ptrdiff_t>(which % held.size()));
        auto& e = model_.at(vcpu, id);
        const Held now{(value & 1) != 0, (value & 2) != 0};
        if (now.pending || now.active) {
            const auto expected = e.sync(now, model_.is_for(vcpu, id));
            check(gic_.sync(vcpu, id, now) == expected);
            if (expected.pending || expected.active) return;
        }
        if (e.retire(now.pending) && e.told) model_.ended[vcpu].insert(id);
        gic_.retire(vcpu, id, now.pending, false);
        held.erase(id);
    }
    /// Anywhere, any width: answered inside of the frames alone. Written are places without a register, and registers by a width they do not take.
    void wild(unsigned vcpu, std::uint32_t value, unsigned width, bool write) {
        const auto offset = value % 0x10'0000;
        const bool banked = offset >= 0x80 && offset < 0x400, nothing = (offset >= 0x10 && offset < 0x80) || (offset >= 0x800 && offset < 0xBF8) || (offset >= 0xD00 && offset < 0x60F8);
        DeviceAccess a{{0x0800'0000 + offset}, value, static_cast<std::uint8_t>(width), write && (nothing || (banked && width != 4))};
        check(gic_.access(vcpu, a) == (offset < 0x1'0000 || (offset >= 0xA'0000 && offset < 0xE'0000)));
    }
    void compare() {
        for (unsigned vcpu = 0; vcpu < 2; ++vcpu) {
            Interrupt i;
            const auto expected = model_.best(vcpu);
            check(gic_.peek(vcpu, i) == expected.has_value() && (!expected || i.id == *expected));
            for (unsigned n = vcpu == 0 ? 0 : 9; n < 10; ++n) {  // the other's own are the tenth word
                const unsigned w = n % 9;
                const auto reads = [&](unsigned kind) { return static_cast<std::uint32_t>(access(frame(vcpu, w) + 0x80 + 0x80 * kind + 4 * w, 0, 4, false)); };
                check(reads(0) == model_.word(vcpu, w, [](const auto& e) { return e.group; }));
                for (const unsigned kind : {1, 2}) check(reads(kind) == model_.word(vcpu, w, [](const auto& e) { return e.enabled; }));
                for (const unsigned kind : {3, 4}) check(reads(kind) == model_.word(vcpu, w, [](const auto& e) { return e.reads_pending(); }));
                for (const unsigned kind : {5, 6}) check(reads(kind) == model_.word(vcpu, w, [](const auto& e) { return e.reads_active(); }));
            }
        }
    }
    VcpuSlot<Core> slots_[2];
    VmCore vm_{5, {}, {}, {}, slots_, hal_table<TestHal>};
    Core cores_[2]{{vm_, 0}, {vm_, 1}};
    const bool added_ = vm_.add(cores_[0]) && vm_.add(cores_[1]);
    device::Gicv3 gic_{vm_, {{0x0800'0000}, {0x080A'0000}}};
    fuzz::GicModel model_;
};

void gicv3(Input in) {
    const auto run = std::make_unique<GicRun>();
    while (!in.empty()) run->step(in);
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
