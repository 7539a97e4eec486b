// An exit's fields, one after the other: what tables compare.
#pragma once
#include "harness.hpp"

namespace harness {

inline auto fields(const Exit& e) -> std::vector<std::uint64_t> {
    using All = std::vector<std::uint64_t>;
    return e.match([](const exit::Hypercall& h) { return All{h.number, h.args[0], h.args[1], h.args[2], h.args[3], h.args[4], h.args[5], h.secure}; },
                   [](const exit::MmioRead& r) { return All{r.addr.value, r.width, r.part, r.parts}; },
                   [](const exit::MmioWrite& w) { return All{w.addr.value, w.width, w.part, w.parts, w.value}; },
                   [](const exit::SysRegRead& r) { return All{r.reg}; },
                   [](const exit::SysRegWrite& w) { return All{w.reg, w.value}; },
                   [](const exit::NestedPageFault& f) { return All{f.addr.value, f.virt, f.syndrome, static_cast<std::uint64_t>(f.access), f.present, f.on_table_walk}; },
                   [](const exit::CpuUp& u) { return All{u.target, u.entry.value, u.arg}; },
                   [](const exit::CpuSuspend& s) { return All{s.state, s.entry.value, s.arg, s.power_down, s.system}; },
                   [](const exit::SendIpi& s) { return All{s.cluster, s.targets, s.vector, s.others, s.group}; },
                   [](const exit::SystemReset& r) { return All{r.kind}; },
                   [](const exit::Debug& d) { return All{d.syndrome, d.address}; },
                   [](const auto&) { return All{}; });
}

}  // namespace harness
