// Text for people: addresses, errors, states and exits as fmt's formatters. Optional: nothing else of the SDK knows it. For compiled
// formats, FMT_COMPILE of <fmt/compile.h>, which allocate nothing: fmt::format_to_n(buffer, size, FMT_COMPILE("{}"), exit).
module;
#include <fmt/compile.h>
export module axvcpu.fmt;
import std;
import axvcpu.hal;
import axvcpu.result;
import axvcpu.exit;
import axvcpu.reg;
import axvcpu.vm;

export namespace axvcpu {

/// Names of the refusals, by Code.
inline constexpr std::array<std::string_view, 14> code_names{"bad_state", "wrong_cpu", "no_exit", "bad_value", "misaligned", "no_stage2", "unknown_register",
    "read_only", "unsupported", "too_small", "no_frame", "exists", "absent", "not_owner"};
static_assert(static_cast<std::size_t>(Code::not_owner) + 1 == code_names.size());

/// Names of the states, by State.
inline constexpr std::array<std::string_view, 6> state_names{"created", "free", "ready", "running", "blocked", "off"};
static_assert(static_cast<std::size_t>(State::off) + 1 == state_names.size());

/// The facts of each reason: what format_to() prints behind its name.
namespace facts {
template <class Out> auto write(Out out, const exit::Hypercall& h) -> Out {
    return fmt::format_to(out, FMT_COMPILE(" {:#x}({:#x}, {:#x}, {:#x}, {:#x}, {:#x}, {:#x}){}"), h.number, h.args[0], h.args[1], h.args[2], h.args[3], h.args[4], h.args[5], h.secure ? " to the secure side" : "");
}
template <class Out> auto write(Out out, const exit::MmioRead& m) -> Out { return fmt::format_to(out, FMT_COMPILE(" {} bytes at {:#x}, part {} of {}"), m.width, m.addr.value, m.part + 1, m.parts); }
template <class Out> auto write(Out out, const exit::MmioWrite& m) -> Out {
    return fmt::format_to(out, FMT_COMPILE(" {} bytes at {:#x}, part {} of {}: {:#x}"), m.width, m.addr.value, m.part + 1, m.parts, m.value);
}
template <class Out> auto write(Out out, const exit::SysRegRead& r) -> Out { return fmt::format_to(out, FMT_COMPILE(" {:#x}"), r.reg); }
template <class Out> auto write(Out out, const exit::SysRegWrite& r) -> Out { return fmt::format_to(out, FMT_COMPILE(" {:#x}: {:#x}"), r.reg, r.value); }
template <class Out> auto write(Out out, const exit::IoRead& r) -> Out { return fmt::format_to(out, FMT_COMPILE(" {} bytes at port {:#x}"), r.width, r.port); }
template <class Out> auto write(Out out, const exit::IoWrite& w) -> Out { return fmt::format_to(out, FMT_COMPILE(" {} bytes at port {:#x}: {:#x}"), w.width, w.port, w.value); }
template <class Out> auto write(Out out, const exit::NestedPageFault& f) -> Out {
    constexpr std::array<std::string_view, 3> what{"read", "write", "execute"};
    return fmt::format_to(out, FMT_COMPILE(" {} {:#x}, virtual {:#x}, syndrome {:#x}{}{}"), what[static_cast<std::size_t>(f.access)], f.addr.value, f.virt, f.syndrome,
                          f.present ? ", not permitted" : ", not mapped", f.on_table_walk ? ", on the guest's table walk" : "");
}
template <class Out> auto write(Out out, const exit::CpuUp& c) -> Out { return fmt::format_to(out, FMT_COMPILE(" vCPU {} at {:#x} with {:#x}"), c.target, c.entry.value, c.arg); }
template <class Out> auto write(Out out, const exit::CpuSuspend& s) -> Out {
    return fmt::format_to(out, FMT_COMPILE(" state {:#x}{}{}"), s.state, s.power_down ? ", power off" : "", s.system ? ", the system" : "");
}
template <class Out> auto write(Out out, const exit::SendIpi& i) -> Out {
    return fmt::format_to(out, FMT_COMPILE(" {} to {} {:#x}, cluster {:#x}"), i.vector, i.others ? "all but" : "targets", i.targets, i.cluster);
}
template <class Out> auto write(Out out, const exit::EndOfInterrupt& e) -> Out { return fmt::format_to(out, FMT_COMPILE(" {}"), e.vector); }
template <class Out> auto write(Out out, const exit::Debug& d) -> Out { return fmt::format_to(out, FMT_COMPILE(" at {:#x}, syndrome {:#x}"), d.address, d.syndrome); }
template <class Out> auto write(Out out, const exit::Exception& e) -> Out { return fmt::format_to(out, FMT_COMPILE(" at {:#x}, syndrome {:#x}"), e.address, e.syndrome); }
template <class Out> auto write(Out out, const exit::Unknown& u) -> Out { return fmt::format_to(out, FMT_COMPILE(" syndrome {:#x}"), u.syndrome); }
template <class Out> auto write(Out out, const exit::SystemReset& r) -> Out { return fmt::format_to(out, FMT_COMPILE(" kind {}"), r.kind); }
template <class Out> auto write(Out out, const exit::FailEntry& f) -> Out { return fmt::format_to(out, FMT_COMPILE(" reason {:#x}, rules broken {:#x}"), f.reason, f.broken); }
template <class Out, class Reason> auto write(Out out, const Reason&) -> Out { return out; }  // a name says it all
}  // namespace facts

/// What a FailEntry says, rule by rule: `rules` are the backend's (its `entry_rules`).
struct FailEntryReport {
    exit::FailEntry entry;
    std::span<const std::string_view> rules;
};

/// One register of a dump.
struct RegisterValue { std::string_view name; std::uint64_t value; };

/// A snapshot in lines of four, by the names of `Table`: a backend's `registers`. Elements have their numbers; of 128 bits the high half
/// is first.
template <const auto& Table>
struct RegisterDump { std::span<const reg::Value> values; };

}  // namespace axvcpu

export namespace fmt {

/// No format of their own: "{}" alone.
struct AxvcpuPlain {
    template <class Context> constexpr auto parse(Context& c) { return c.begin(); }
};
template <> struct formatter<axvcpu::HostPhysAddr> : AxvcpuPlain {
    template <class C> auto format(axvcpu::HostPhysAddr a, C& c) const { return fmt::format_to(c.out(), FMT_COMPILE("{:#x}"), a.value); }
};
template <> struct formatter<axvcpu::GuestPhysAddr> : AxvcpuPlain {
    template <class C> auto format(axvcpu::GuestPhysAddr a, C& c) const { return fmt::format_to(c.out(), FMT_COMPILE("{:#x}"), a.value); }
};
template <> struct formatter<axvcpu::CpuId> : AxvcpuPlain {
    template <class C> auto format(axvcpu::CpuId n, C& c) const { return fmt::format_to(c.out(), FMT_COMPILE("CPU {}"), static_cast<std::uint32_t>(n)); }
};
template <> struct formatter<axvcpu::State> : AxvcpuPlain {
    template <class C> auto format(axvcpu::State s, C& c) const { return fmt::format_to(c.out(), FMT_COMPILE("{}"), axvcpu::state_names[static_cast<std::size_t>(s)]); }
};
template <> struct formatter<axvcpu::Error> : AxvcpuPlain {
    template <class C> auto format(const axvcpu::Error& e, C& c) const {
        auto out = fmt::format_to(c.out(), FMT_COMPILE("{}: needed {}"), axvcpu::code_names[static_cast<std::size_t>(e.code)], e.what);
        return e.expected == 0 && e.found == 0 ? out : fmt::format_to(out, FMT_COMPILE(" (expected {:#x}, found {:#x})"), e.expected, e.found);
    }
};
template <> struct formatter<axvcpu::Exit> : AxvcpuPlain {
    template <class C> auto format(const axvcpu::Exit& e, C& c) const {
        auto out = fmt::format_to(c.out(), FMT_COMPILE("{}"), axvcpu::exit_names[e.index()]);
        return e.match([&](const auto& reason) { return axvcpu::facts::write(out, reason); });
    }
};
template <> struct formatter<axvcpu::FailEntryReport> : AxvcpuPlain {
    template <class C> auto format(const axvcpu::FailEntryReport& r, C& c) const {
        auto out = fmt::format_to(c.out(), FMT_COMPILE("the hardware refused to enter the guest, reason {:#x}"), r.entry.reason);
        for (std::size_t i = 0; i < r.rules.size(); ++i)
            if ((r.entry.broken >> i & 1) != 0) out = fmt::format_to(out, FMT_COMPILE("; not kept: {}"), r.rules[i]);
        return r.entry.broken != 0 ? out : fmt::format_to(out, FMT_COMPILE("; no rule is known to be broken"));
    }
};
template <> struct formatter<axvcpu::RegisterValue> : AxvcpuPlain {
    template <class C> auto format(const axvcpu::RegisterValue& r, C& c) const { return fmt::format_to(c.out(), FMT_COMPILE("{} {:#x}"), r.name, r.value); }
};
template <const auto& Table> struct formatter<axvcpu::RegisterDump<Table>> : AxvcpuPlain {
    template <class C> auto format(const axvcpu::RegisterDump<Table>& dump, C& c) const {
        auto out = c.out();
        unsigned n = 0;
        for (const auto& v : dump.values) {
            const auto at = axvcpu::reg::find<Table>(v.id);
            if (!at) continue;
            out = fmt::format_to(out, FMT_COMPILE("{}{}"), n == 0 ? "" : n % 4 == 0 ? "\n" : "  ", Table[at->row].name);
            if (Table[at->row].count > 1) out = fmt::format_to(out, FMT_COMPILE("{}"), at->element);
            out = v.high != 0 ? fmt::format_to(out, FMT_COMPILE(" {:#x}'{:016x}"), v.high, v.low) : fmt::format_to(out, FMT_COMPILE(" {:#x}"), v.low);
            ++n;
        }
        return out;
    }
};

}  // namespace fmt
