// Synchronous exits that are no aborts and no registers: dispatch, calls of the firmware and of the hypervisor, waiting.
module axvcpu.aarch64;
import std;
import axvcpu.hal;
import axvcpu.exit;
import axvcpu.interrupt;
import axvcpu.mailbox;
import axvcpu.vm;

namespace axvcpu::aarch64 {

namespace {

auto answer(Vcpu& v, std::uint64_t value) noexcept -> bool {
    v.set_x(0, value);
    if (v.pending.moved == 0) advance(v, v.pending.length);
    return false;
}

auto affinity_info(const Vcpu& v, std::uint64_t affinity, std::uint64_t lowest_level) noexcept -> std::uint64_t {
    if (lowest_level > 3 || (affinity & ~affinity_mask) != 0) return reg(FirmwareResult::invalid_parameters);
    constexpr std::array<std::uint64_t, 4> ignored{0, 0xFF, 0xFFFF, 0xFF'FFFF};
    const auto mask = affinity_mask & ~ignored[lowest_level];
    bool any = false, on = false, pending = false;
    for (std::uint32_t i = 0; i < v.vm().vcpus(); ++i) {
        const auto* other = v.vm().vcpu(i);
        if (other == nullptr || (other->hardware_id() & mask) != (affinity & mask)) continue;
        any = true;
        on |= other->power() == Power::on;
        pending |= other->power() == Power::on_pending;
    }
    if (!any) return reg(FirmwareResult::invalid_parameters);
    return on ? 0 : pending ? 2 : 1;  // ON, ON_PENDING, OFF
}

auto power_on(Vcpu& v, const FirmwareCall& call, Exit& out) noexcept -> bool {
    auto* target = (call.target & ~affinity_mask) == 0 ? v.vm().find(call.target) : nullptr;
    if (target == nullptr) return answer(v, reg(FirmwareResult::invalid_parameters));
    if (call.entry % 4 != 0 || !v.vm().is_ram({call.entry})) return answer(v, reg(FirmwareResult::invalid_address));
    if (auto ok = target->request_power_on({call.entry}, call.arg); !ok)
        return answer(v, reg(ok.error().found == static_cast<std::uint64_t>(Power::on) ? FirmwareResult::already_on : FirmwareResult::on_pending));
    v.pending.kind = Pending::Kind::power_on;
    v.pending.target = target;
    out = exit::CpuUp{target->id(), {call.entry}, call.arg};
    return true;
}

auto suspend(Vcpu& v, const FirmwareCall& call, Exit& out) noexcept -> bool {
    const bool system = call.kind == FirmwareCall::Kind::system_suspend;
    const bool power_down = system || (call.value >> 16 & 1) != 0;  // StateType in the original power-state format
    if (!system && (call.value & 0xFCFE'0000) != 0) return answer(v, reg(FirmwareResult::invalid_parameters));
    if (power_down && (call.entry % 4 != 0 || !v.vm().is_ram({call.entry}))) return answer(v, reg(FirmwareResult::invalid_address));
    if (system)
        for (std::uint32_t i = 0; i < v.vm().vcpus(); ++i)
            if (const auto* o = v.vm().vcpu(i); o != nullptr && o != &v && o->power() != Power::off) return answer(v, reg(FirmwareResult::denied));
    if (interrupt_waits(v)) {  // what would wake it up is there already
        refresh_interrupts(v);
        return answer(v, reg(FirmwareResult::success));
    }
    v.pending.kind = Pending::Kind::suspend;
    v.pending.power_down = power_down;
    v.pending.addr = {call.entry};
    v.pending.arg = call.arg;
    out = exit::CpuSuspend{call.value, {call.entry}, call.arg, power_down, system};
    return true;
}

[[gnu::noinline]] auto firmware(Vcpu& v, const FirmwareCall& call, Exit& out) noexcept -> bool {
    using Kind = FirmwareCall::Kind;
    switch (call.kind) {
        case Kind::answer: return answer(v, call.value);
        case Kind::affinity_info: return answer(v, affinity_info(v, call.target, call.arg));
        case Kind::cpu_on: return power_on(v, call, out);
        case Kind::cpu_suspend: case Kind::system_suspend: return suspend(v, call, out);
        case Kind::cpu_off:
            v.power_down();  // from here on another vCPU may turn this one on again; it starts when it is bound the next time
            v.end();
            out = exit::CpuDown{};
            return true;
        case Kind::system_off: v.end(); out = exit::SystemDown{}; return true;
        case Kind::system_reset: v.end(); out = exit::SystemReset{call.value}; return true;
        case Kind::unknown: break;
    }
    return answer(v, reg(FirmwareResult::not_supported));
}

auto on_wait(Vcpu& v, Exit& out) noexcept -> bool {
    if (interrupt_waits(v)) {
        refresh_interrupts(v);
        advance(v, v.pending.length);
        return false;
    }
    v.pending.kind = Pending::Kind::wait;
    out = exit::Halt{};
    return true;
}

}  // namespace

/// HVC returns behind itself, SMC at itself. The exit shows the instruction's own address either way: see Pending::moved.
/// The common case of HVC does not come here: run() answers it itself.
auto on_call(Vcpu& v, bool secure, Exit& out) noexcept -> bool {
    auto& p = v.pending;
    p.length = 4;
    p.moved = secure ? 0 : 4;
    const auto& policy = v.vm().policy();
    const auto number = v.context.get<"X">();
    if (is_firmware_call(number) && policy.power) return firmware(v, decode_call(number, v.x(1), v.x(2), v.x(3)), out);
    if (!(secure ? policy.secure_calls : policy.hypercalls)) return answer(v, reg(FirmwareResult::not_supported));
    if (const bool by_smccc = secure || (v.context.get<"ESR_EL2">() & 0xFFFF) == 0; by_smccc && is_narrow_call(number)) {
        exit::Hypercall call{static_cast<std::uint32_t>(number), {}, secure};
        for (unsigned n = 0; n < call.args.size(); ++n) call.args[n] = static_cast<std::uint32_t>(v.x(1 + n));
        p.kind = Pending::Kind::call;
        out = call;
        return true;
    }
    p.kind = secure ? Pending::Kind::call : Pending::Kind::hypercall;
    out.set_call(secure);
    return true;
}

auto leave_synchronous(Vcpu& v, Exit& out) noexcept -> bool {
    const Esr esr{v.context.get<"ESR_EL2">()};
    switch (cause_of(esr)) {
        case Cause::call: return on_call(v, false, out);
        case Cause::secure_call: return on_call(v, true, out);
        case Cause::abort: return on_abort(v, esr, out);
        case Cause::register_access: return on_sysreg(v, esr, out);
        case Cause::wait:
            v.pending.length = static_cast<std::uint8_t>(esr.length());
            return on_wait(v, out);
        case Cause::yield:
            v.pending.kind = Pending::Kind::wait;
            v.pending.length = static_cast<std::uint8_t>(esr.length());
            out = exit::Yield{};
            return true;
        case Cause::vectors:
            if (lazy_fp_traps(v)) return load_fp_at_first_use(v), false;
            [[fallthrough]];
        case Cause::absent: inject_undefined(v); return false;
        case Cause::watchpoint: out = exit::Debug{esr.value, read<"FAR_EL2">()}; return true;
        case Cause::own_breakpoint:
            if (!v.debug.software_breakpoints) return inject_breakpoint(v), false;
            [[fallthrough]];
        case Cause::breakpoint: out = exit::Debug{esr.value, v.context.get<"PC">()}; return true;
        case Cause::unknown: break;
    }
    out = exit::Unknown{esr.value};
    return true;
}

}  // namespace axvcpu::aarch64
