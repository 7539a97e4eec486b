// Debugging has two sides: the guest's own breakpoints, and what the host wants to see of it (set_debug), which wins.
// Source: DDI 0487, AArch64 Self-hosted Debug.
module axvcpu.aarch64;
import std;
import axvcpu.result;
import axvcpu.hal;
import axvcpu.vm;

namespace axvcpu::aarch64 {

namespace {

constexpr std::uint64_t mdscr_ss = 1, mdscr_mde = 1 << 15;
// What a guest may ask of a breakpoint: E, PMC, BAS, LBN, BT without VMIDs; of a watchpoint: E, PAC, LSC, BAS, LBN, WT, MASK. Never HMC and
// SSC: those could match EL2.
constexpr std::uint64_t bcr_settable = 1 | 3 << 1 | 0xF << 5 | 0xF << 16 | 3 << 20, wcr_settable = 1 | 3 << 1 | 3 << 3 | 0xFF << 5 | 0xF << 16 | 1 << 20 | 0x1F << 24;
constexpr std::uint64_t at_el1_and_el0 = 3 << 1, enabled = 1;

template <class F>
void each_hardware_register(F f) noexcept {
    std::size_t n = 0;
    const auto all = [&]<reg::Name... N>() { (f.template operator()<N>(n++), ...); };
    all.template operator()<"DBGBVR0_EL1", "DBGBCR0_EL1", "DBGBVR1_EL1", "DBGBCR1_EL1", "DBGWVR0_EL1", "DBGWCR0_EL1", "DBGWVR1_EL1", "DBGWCR1_EL1">();
}

auto guest_values(const Context& c) noexcept -> DebugRegisters {
    DebugRegisters r{};
    each_hardware_register([&]<reg::Name N>(std::size_t n) { r[n] = c.get<N>(); });
    for (const std::size_t n : {1, 3}) r[n] &= bcr_settable;
    for (const std::size_t n : {5, 7}) r[n] &= wcr_settable;
    return r;
}

void write_debug_registers(const DebugRegisters& r) noexcept {
    each_hardware_register([&]<reg::Name N>(std::size_t n) { write<N>(r[n]); });
}

}  // namespace

/// The debug registers of this CPU as the vCPU needs them. Nothing but MDSCR_EL1 is written for one that has no use for them.
void load_debug(Vcpu& v) noexcept {
    const auto& d = v.debug;
    const auto guest = v.context.get<"MDSCR_EL1">();
    const bool needed = d.active || (guest & (mdscr_ss | mdscr_mde)) != 0;
    auto& cpu = *v.percpu;
    if (needed && !v.has(Vcpu::debug_loaded)) {
        each_hardware_register([&]<reg::Name N>(std::size_t n) { cpu.host_debug[n] = read<N>(); });
        cpu.host_os_lock = read<"OSLSR">() >> 1 & 1;
        v.set(Vcpu::debug_loaded, true);
    }
    if (v.has(Vcpu::debug_loaded)) {
        write_debug_registers(d.active ? d.registers : guest_values(v.context));
        write<"OSLAR_EL1">(d.active ? 0 : v.context.get<"OSLSR_EL1">() >> 1 & 1);
    }
    write<"MDSCR">(d.active ? (d.step ? mdscr_ss : 0) | mdscr_mde : guest);
    isb();
}

/// Requires: they are not the host's.
void unload_debug(Vcpu& v) noexcept {
    write_debug_registers(v.percpu->host_debug);
    write<"OSLAR_EL1">(v.percpu->host_os_lock);
    v.set(Vcpu::debug_loaded, false);
}

/// MDCR_EL2: TDCC, TTRF, TPMS, TDRA, TDOSA, TDA, TPM, TPMCR; HPMN as it is: all counters stay the host's. TDE where the host debugs.
auto debug_routing(const PerCpu& cpu, const HostDebug& d) noexcept -> std::uint64_t {
    return (cpu.host.mdcr & 0x1F) | 1u << 27 | 1u << 19 | 1u << 14 | 7u << 9 | 3u << 5 | (d.active ? 1u << 8 : 0);
}

auto Arch::set_debug(Vcpu& v, const DebugConfig& config) noexcept -> Result<void> {
    if (auto ok = v.at_hand(); !ok) return ok;
    constexpr std::size_t most = 2;
    if (config.breakpoints.size() > most || config.watchpoints.size() > most)
        return Error{Code::bad_value, "at most 2 breakpoints and 2 watchpoints", most, std::max(config.breakpoints.size(), config.watchpoints.size())};
    HostDebug next{.active = config.step || config.software_breakpoints || !config.breakpoints.empty() || !config.watchpoints.empty(),
                   .step = config.step, .software_breakpoints = config.software_breakpoints, .registers = {}};
    for (std::size_t i = 0; i < config.breakpoints.size(); ++i) {
        if (config.breakpoints[i] % 4 != 0) return Error{Code::misaligned, "a breakpoint at a multiple of 4", 4, config.breakpoints[i]};
        next.registers[2 * i] = config.breakpoints[i];
        next.registers[2 * i + 1] = 0xF << 5 | at_el1_and_el0 | enabled;
    }
    for (std::size_t i = 0; i < config.watchpoints.size(); ++i) {
        const auto& w = config.watchpoints[i];
        const auto first = w.address % 8;
        if (w.bytes == 0 || first + w.bytes > 8 || !(w.read || w.write)) return Error{Code::bad_value, "a watchpoint of 1 to 8 bytes within 8 aligned ones, for reads or writes", 8, first + w.bytes};
        next.registers[4 + 2 * i] = w.address - first;
        next.registers[5 + 2 * i] = ((std::uint64_t{1} << w.bytes) - 1) << first << 5 | (w.read ? 1u : 0u) << 3 | (w.write ? 1u : 0u) << 4 | at_el1_and_el0 | enabled;
    }
    v.debug = next;
    v.fits = 0;
    if (v.percpu == nullptr) return {};
    const auto daif = mask_interrupts();
    v.set(Vcpu::host_steps, next.step);
    v.set(Vcpu::host_debugs, next.active);
    constexpr auto asked = Vcpu::host_steps | Vcpu::host_debugs;
    v.usual_work = (v.usual_work & ~static_cast<std::uint32_t>(asked)) | (v.work & asked);  // MDCR_EL2 goes with it
    write<"MDCR_EL2">(debug_routing(*v.percpu, next));
    load_debug(v);
    restore_interrupts(daif);
    return {};
}

}  // namespace axvcpu::aarch64
