// Trapped system registers and instructions; and every register of a vCPU by its published id.
module axvcpu.aarch64;
import std;
import axvcpu.result;
import axvcpu.hal;
import axvcpu.exit;
import axvcpu.reg;
import axvcpu.interrupt;
import axvcpu.vm;

namespace axvcpu::aarch64 {

namespace {

auto done(Vcpu& v) noexcept -> bool {
    advance(v, 4);
    return false;
}
auto undefined(Vcpu& v) noexcept -> bool {
    inject_undefined(v);
    return false;
}

auto on_sgi(Vcpu& v, std::uint64_t value, bool group0, Exit& out) noexcept -> bool {
    const auto sgi = decode_sgi(value);
    const auto me = v.hardware_id();
    if (sgi.cluster == (me & ~std::uint64_t{0xF}) && sgi.targets == 1u << (me & 0xF) && !sgi.others && !group0 && v.lr_used != 0 && repeat_sgi(v, sgi.id)) return done(v);
    const exit::SendIpi ipi{sgi.cluster, sgi.targets, sgi.id, sgi.others, static_cast<std::uint8_t>(!group0)};
    if (const auto& c = v.vm().controller(); c) {
        if (c.send(c.self, v.id(), ipi)) refresh_interrupts(v);  // to itself, too: no need to go through the mailbox
        return done(v);
    }
    v.pending.kind = Pending::Kind::register_write;
    v.pending.length = 4;
    out = ipi;
    return true;
}

/// EL1's physical timer, emulated: the hardware's is the SDK's. CTL: ENABLE, IMASK, ISTATUS.
auto on_physical_timer(Vcpu& v, SysregTrap t) noexcept -> bool {
    auto& c = v.context;
    const auto now = guest_counter(v);
    const auto e = t.encoding();
    if (t.read()) {
        std::uint64_t value = now;  // CNTPCT_EL0, CNTPCTSS_EL0
        if (e == iss_of<"CNTP_CTL_EL0">) {
            value = c.get<"CNTP_CTL_EL0">();
            if ((value & 1) != 0 && now >= c.get<"CNTP_CVAL_EL0">()) value |= 4;
        } else if (e == iss_of<"CNTP_CVAL_EL0">) {
            value = c.get<"CNTP_CVAL_EL0">();
        } else if (e == iss_of<"CNTP_TVAL_EL0">) {
            value = static_cast<std::uint32_t>(c.get<"CNTP_CVAL_EL0">() - now);
        }
        v.set_x(t.reg(), value);
        return done(v);
    }
    const auto value = v.x(t.reg());
    if (e == iss_of<"CNTP_CTL_EL0">) c.set<"CNTP_CTL_EL0">(value);
    else if (e == iss_of<"CNTP_CVAL_EL0">) c.set<"CNTP_CVAL_EL0">(value);
    else if (e == iss_of<"CNTP_TVAL_EL0">) c.set<"CNTP_CVAL_EL0">(now + static_cast<std::uint64_t>(static_cast<std::int64_t>(static_cast<std::int32_t>(value))));
    else return undefined(v);  // the counter is read-only
    v.set(Vcpu::physical_timer_on, (c.get<"CNTP_CTL_EL0">() & 3) == 1);
    arm_deadline(v);
    return done(v);
}

/// Rows whose value lives in the context, found by encoding.
auto on_table(Vcpu& v, SysregTrap t) noexcept -> std::optional<bool> {
    for (std::uint16_t i = 0; i < reg::facts<registers>.size(); ++i) {
        const auto& r = reg::facts<registers>[i];
        if (r.policy != Policy::trapped || static_cast<std::uint32_t>(r.first.value) != t.encoding()) continue;
        auto& value = v.context.at({r.row, 0, i});
        if (t.read()) v.set_x(t.reg(), value);
        else value = (v.x(t.reg()) & r.writable) | (r.reset & ~r.writable);
        return done(v);
    }
    return std::nullopt;
}

/// The guest's debug registers are in its context; the CPU has what load_debug() makes of them.
auto on_debug(Vcpu& v, SysregTrap t) noexcept -> bool {
    if (t.encoding() == iss_of<"OSLAR_EL1"> && !t.read()) v.context.raw<"OSLSR_EL1">() = (v.context.get<"OSLSR_EL1">() & ~std::uint64_t{2}) | (v.x(t.reg()) & 1) << 1;
    else if (const auto known = on_table(v, t); !known) return undefined(v);
    else if (t.read()) return *known;
    else return load_debug(v), false;
    load_debug(v);
    return done(v);
}

}  // namespace

auto on_sysreg(Vcpu& v, Esr esr, Exit& out) noexcept -> bool {
    const SysregTrap t{esr.iss()};
    const auto e = t.encoding();
    if (e == iss_of<"ICC_SGI1R_EL1"> && !t.read()) return on_sgi(v, v.x(t.reg()), false, out);
    // ID space: op0 3, op1 0, CRn 0, CRm 1 to 7: reserved places read as zero.
    constexpr std::uint32_t crm_op2 = 0xFu << 1 | 7u << 17;
    if ((e & ~crm_op2) == 3u << 20 && (e & 0xFu << 1) != 0 && (e >> 1 & 0xF) < 8) [[likely]] {
        if (!t.read()) return undefined(v);
        v.set_x(t.reg(), v.id_registers[(e >> 1 & 0xF) * 8 + (e >> 17 & 7)]);
        return done(v);
    }
    if (!t.read() && (e == iss_of<"ICC_ASGI1R_EL1"> || e == iss_of<"ICC_SGI0R_EL1">))
        return on_sgi(v, v.x(t.reg()), true, out);  // with one security state both are group 0's
    if (e == iss_of<"CNTPCT_EL0"> || e == iss_of<"CNTPCTSS_EL0"> || e == iss_of<"CNTP_TVAL_EL0"> || e == iss_of<"CNTP_CTL_EL0"> || e == iss_of<"CNTP_CVAL_EL0">)
        return on_physical_timer(v, t);
    if (e == iss_of<"REVIDR_EL1"> || e == iss_of<"AIDR_EL1">) {
        if (!t.read()) return undefined(v);
        v.set_x(t.reg(), 0);
        return done(v);
    }
    if ((e >> 20) == 2) return on_debug(v, t);
    if (const auto known = on_table(v, t)) return *known;
    // DC ISW, CSW, CISW: memory is coherent and normal under stage 2, so there is nothing to clean by set and way.
    if (e == iss_of<"DC ISW"> || e == iss_of<"DC CSW"> || e == iss_of<"DC CISW">) return done(v);
    if (!v.vm().policy().system_registers) return undefined(v);
    v.pending.kind = t.read() ? Pending::Kind::register_read : Pending::Kind::register_write;
    v.pending.length = 4;
    v.pending.reg = static_cast<std::uint8_t>(t.reg());
    if (t.read()) out = exit::SysRegRead{e};
    else out = exit::SysRegWrite{e, v.x(t.reg())};
    return true;
}

namespace {
/// A register of a bound vCPU's that this CPU holds: all of EL1's go through memory, as at a switch. `value`: what it becomes.
void through_memory(Vcpu& v, std::uint64_t& in_context, const std::uint64_t* value) noexcept {
    const auto daif = mask_interrupts();
    put_fp_out(v);  // ZCR_EL1 goes with the vectors
    resume_guest_timer(v);  // so that CNTV_CTL_EL0.ISTATUS is the hardware's
    save_el1(v);
    if (value != nullptr) in_context = *value;
    load_el1_again(v);
    isb();
    restore_interrupts(daif);
}

auto find_for(const Vcpu& v, reg::Id id) noexcept -> Result<reg::Position> {
    const auto at = reg::find<registers>(id);
    if (!at) return Error{Code::unknown_register, "a register of the table", 0, id.value};
    if (auto ok = v.at_hand(); !ok) return ok.error();
    const auto feature = reg::facts<registers>[at->fact].feature;
    if (feature != Feature::base && v.percpu != nullptr &&
        (v.features() >> static_cast<unsigned>(feature) & 1) == 0)
        return Error{Code::unknown_register, "a register that this guest has on this CPU", 0, id.value};
    return *at;
}
}  // namespace

auto Arch::get(Vcpu& v, reg::Id id, bool high) noexcept -> Result<std::uint64_t> {
    const auto at = find_for(v, id);
    if (!at) return at.error();
    if (v.percpu != nullptr) {
        const auto policy = reg::facts<registers>[at->fact].policy;
        if (policy == Policy::on_bind) through_memory(v, v.context.at(*at), nullptr);
        if (policy == Policy::vector) fp_to_memory(v);
    }
    // While an exit is outstanding the program counter is the instruction's own.
    return v.context.at(*at, high) - (at->row == index<"PC"> ? moved(v) : 0);
}

auto Arch::set(Vcpu& v, reg::Id id, std::uint64_t value, bool high) noexcept -> Result<void> {
    const auto at = find_for(v, id);
    if (!at) return at.error();
    const auto& r = reg::facts<registers>[at->fact];
    if (high && r.log2_bytes <= 3) return Error{Code::bad_value, "a register of more than 8 bytes", 16, std::uint64_t{1} << r.log2_bytes};
    if (r.writable == 0) return Error{Code::read_only, "a register that can be set", 0, id.value};
    // A guest is at EL1 or EL0, in AArch64, or at EL0 in AArch32; nowhere else.
    if (at->row == index<"PSTATE">) {
        const auto mode = value & 0x1F;
        if (mode != 0 && mode != 4 && mode != 5 && mode != 0x10)
            return Error{Code::bad_value, "PSTATE.M of EL0 or EL1", 5, mode};
        v.fits = 0;  // bind() looks at it
        if (mode == 0x10 && v.percpu != nullptr && !v.percpu->has(Feature::aarch32_el0))
            return Error{Code::bad_value, "PSTATE.M of a state that this CPU has: no AArch32", 0, mode};
    }
    if (v.percpu != nullptr && r.policy == Policy::vector) fp_to_memory(v);
    if (at->row == index<"PC">) value += moved(v);
    if (at->row == index<"V">) set_vector(v, at->element, high ? v.context.raw<"V">(at->element) : value, high ? value : v.context.raw<"V">(at->element, true));
    else if (value = (value & r.writable) | (r.reset & ~r.writable); v.percpu != nullptr && r.policy == Policy::on_bind) through_memory(v, v.context.at(*at), &value);
    else v.context.at(*at) = value;
    if (at->row == index<"CNTP_CTL_EL0">) v.set(Vcpu::physical_timer_on, (value & 3) == 1 || v.physical_line);  // a line that is up comes down at the next entry
    if (v.percpu == nullptr) return {};
    if (r.policy == Policy::trapped) {  // it may be one of those of debugging
        const auto daif = mask_interrupts();
        load_debug(v);
        restore_interrupts(daif);
    }
    if (r.policy == Policy::vector) fp_from_memory(v);
    return {};
}

}  // namespace axvcpu::aarch64
