// The GICv3's distributor and redistributors as IHI 0069 has them, one interrupt at a time. What passes between them and a CPU's list
// registers (take, sync, retire) is the SDK's own: it is here as interrupt.cppm says it.
#pragma once
#include <cstdint>
import std;
import axvcpu;

namespace fuzz {

struct GicInterrupt {
    bool group = false, enabled = false, latched = false, high = false, edge = false, active = false, told = false;
    std::uint8_t priority = 0;
    std::uint64_t route = 0;
    // In a CPU's hands: what it has said of it last, and what the guest has asked for meanwhile.
    bool listed = false, drop_pending = false;
    std::optional<bool> ask_active;
    axvcpu::Held shown{};

    auto pending() const -> bool { return latched || (high && !edge); }
    auto reads_pending() const -> bool { return pending() || (listed && shown.pending); }
    auto reads_active() const -> bool { return active || (listed && shown.active); }
    void line(bool to) {
        if (to && !high && edge) latched = true;
        high = to;
    }
    void set_pending() { latched = true; }
    void clear_pending() {
        latched = false;
        if (listed) drop_pending = true;
    }
    void set_active(bool to) {
        if (listed) ask_active = to;
        if (!listed || !to) active = to;
    }
    void take() {
        listed = true;
        drop_pending = false;
        ask_active.reset();
        shown = {true, false};
        if (edge) latched = false;  // a level that software made pending stays so until it has become active
    }
    /// The CPU says what it has; gives what it ought to have. `mine`: it is still routed there.
    auto sync(axvcpu::Held held, bool mine) -> axvcpu::Held {
        if (ask_active) held.active = *ask_active;
        ask_active.reset();
        if (drop_pending) held.pending = false;
        const bool again = std::exchange(latched, latched && !edge && !held.active);  // read before what follows it
        if (held.active) {
            held.pending = held.pending || (again && edge);
        } else if (!enabled || !mine) {
            latched = again;
            held.pending = false;
        } else {
            held.pending = edge ? held.pending || again : high || again;
        }
        if (held.pending || held.active) drop_pending = false;
        return shown = held;
    }
    /// The CPU gives it back, pending or not. True: it has ended.
    auto retire(bool is_pending) -> bool {
        is_pending = is_pending && !std::exchange(drop_pending, false);
        drop_pending = listed = false;
        if (edge) latched = latched || is_pending;
        else latched = latched && is_pending;
        return !is_pending;
    }
};

struct GicModel {
    static constexpr unsigned vcpus = 2, spis = 256;
    std::array<std::array<GicInterrupt, 32>, vcpus> own{};
    std::array<GicInterrupt, spis> shared{};
    std::array<std::set<std::uint32_t>, vcpus> held, ended;
    std::uint32_t control = 0;

    GicModel() {
        for (auto& cpu : own)
            for (unsigned sgi = 0; sgi < 16; ++sgi) cpu[sgi].edge = true;
    }
    auto at(unsigned vcpu, std::uint32_t id) -> GicInterrupt& { return id < 32 ? own[vcpu][id] : shared[id - 32]; }
    auto is_for(unsigned vcpu, std::uint32_t id) -> bool { return id < 32 || at(vcpu, id).route == vcpu; }
    /// The number of the one that `vcpu` ought to take next.
    auto best(unsigned vcpu) -> std::optional<std::uint32_t> {
        std::optional<std::uint32_t> found;
        for (std::uint32_t id = 0; id < 32 + spis; ++id) {
            const auto& i = at(vcpu, id);
            if (!i.pending() || !i.enabled || i.active || i.listed || !is_for(vcpu, id) || (control >> i.group & 1) == 0) continue;
            if (!found || i.priority < at(vcpu, *found).priority) found = id;
        }
        return found;
    }
    /// A bit of each interrupt of a word of 32: `vcpu`'s own with word 0.
    template <class F> auto word(unsigned vcpu, unsigned n, F bit) -> std::uint32_t {
        std::uint32_t bits = 0;
        for (unsigned i = 0; i < 32; ++i) bits |= static_cast<std::uint32_t>(bit(at(vcpu, 32 * n + i))) << i;
        return bits;
    }
    template <class F> void each(unsigned vcpu, unsigned n, std::uint32_t bits, F act) {
        for (unsigned i = 0; i < 32; ++i)
            if ((bits >> i & 1) != 0) act(at(vcpu, 32 * n + i));
    }
    auto send(unsigned from, const axvcpu::exit::SendIpi& ipi) -> bool {
        bool self = false;
        for (unsigned v = 0; v < vcpus; ++v) {
            const bool target = ipi.others ? v != from : ipi.cluster == 0 && (ipi.targets >> v & 1) != 0;
            auto& i = own[v][ipi.vector & 15];
            if (!target || i.group != (ipi.group != 0)) continue;
            i.latched = true;
            self = self || v == from;
        }
        return self;
    }
};

}  // namespace fuzz
