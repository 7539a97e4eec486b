// The end of an instruction, faults given to the guest, and what ends an exit: complete, fail, retry.
module axvcpu.aarch64;
import std;
import axvcpu.result;
import axvcpu.hal;
import axvcpu.exit;
import axvcpu.vm;

namespace axvcpu::aarch64 {

namespace {
constexpr std::uint64_t aarch32 = 1 << 4;
}  // namespace

/// PSTATE.IT after one more instruction of an IT block (DDI 0487, AArch32 ITAdvance): IT[7:2] at 15..10, IT[1:0] at 26..25.
void advance_aarch32(Vcpu& v, unsigned length) noexcept {
    const auto pstate = v.context.get<"PSTATE">();
    auto it = (pstate >> 10 & 0x3F) << 2 | (pstate >> 25 & 3);
    it = (it & 7) == 0 ? 0 : (it & 0xE0) | (it << 1 & 0x1F);
    constexpr std::uint64_t it_mask = std::uint64_t{0x3F} << 10 | std::uint64_t{3} << 25, single_step = std::uint64_t{1} << 21;
    v.context.set<"PSTATE">((pstate & ~(it_mask | single_step)) | (it >> 2) << 10 | (it & 3) << 25);
    v.context.set<"PC">(v.context.get<"PC">() + length);
}

namespace {

/// Takes an exception to EL1 (DDI 0487, AArch64.TakeException): return state, syndrome, vector, new PSTATE.
void inject(Vcpu& v, std::uint64_t esr, std::optional<std::uint64_t> far) noexcept {
    const bool e2h = v.percpu->e2h;
    auto& c = v.context;
    const auto pstate = c.get<"PSTATE">();
    write_el1<"ELR_EL1">(e2h, c.get<"PC">());
    write_el1<"SPSR_EL1">(e2h, pstate);
    write_el1<"ESR_EL1">(e2h, esr);
    if (far) write_el1<"FAR_EL1">(e2h, *far);
    const auto from = (pstate & aarch32) != 0 ? 0x600u : (pstate & 0xC) == 0 ? 0x400u : (pstate & 1) != 0 ? 0x200u : 0u;
    c.set<"PC">((read_el1<"VBAR_EL1">(e2h) & ~std::uint64_t{0x7FF}) + from);
    const auto sctlr = read_el1<"SCTLR_EL1">(e2h);
    // NZCV, PAN and DIT stay; EL1h with DAIF masked; SSBS as SCTLR_EL1.DSSBS says; PAN is set unless SPAN. The hardware drops
    // bits of features that it lacks when ERET takes SPSR_EL2.
    std::uint64_t next = (pstate & (std::uint64_t{0xF} << 28)) | 0x3C5;
    const bool has_pan = (v.id_registers[7 * 8 + 1] >> 20 & 0xF) != 0;
    if ((pstate & aarch32) == 0) next |= pstate & (std::uint64_t{1} << 24);
    if (has_pan) next |= (sctlr >> 23 & 1) == 0 ? std::uint64_t{1} << 22 : pstate & (std::uint64_t{1} << 22);
    if ((v.id_registers[4 * 8 + 1] >> 4 & 0xF) != 0 && (sctlr >> 44 & 1) != 0) next |= 1 << 12;
    c.set<"PSTATE">(next);
}
}  // namespace

void inject_undefined(Vcpu& v) noexcept {
    const bool wide = Esr{v.context.get<"ESR_EL2">()}.length() == 4;
    inject(v, std::uint64_t{wide} << 25, {});  // EC 0: unknown reason
}

void inject_breakpoint(Vcpu& v) noexcept { inject(v, v.context.get<"ESR_EL2">(), {}); }

void inject_abort(Vcpu& v, bool instruction, std::uint32_t fault_code, std::uint64_t address) noexcept {
    const bool from_el0 = (v.context.get<"PSTATE">() & 0xC) == 0 || (v.context.get<"PSTATE">() & aarch32) != 0;
    const Esr old{v.context.get<"ESR_EL2">()};
    const std::uint64_t ec = (instruction ? 0x20u : 0x24u) + (from_el0 ? 0u : 1u);
    const std::uint64_t wnr = instruction ? 0 : old.value & (1 << 6);
    inject(v, ec << 26 | (old.value & (1 << 25)) | wnr | fault_code, address);
}

auto base_register(Vcpu& v, unsigned n) noexcept -> std::uint64_t {
    if (n != 31) return v.x(n);
    return (v.context.get<"PSTATE">() & 0xF) == 5 ? read<"SP_EL1">() : read<"SP_EL0">();
}

void set_base_register(Vcpu& v, unsigned n, std::uint64_t value) noexcept {
    if (n != 31) v.set_x(n, value);
    else if ((v.context.get<"PSTATE">() & 0xF) == 5) write<"SP_EL1">(value);
    else write<"SP_EL0">(value);
}

auto finish_part(Vcpu& v, std::uint64_t value) noexcept -> bool {
    auto& p = v.pending;
    if (!p.access.write) {
        if (p.access.vector) {
            const auto part = narrow(value, p.access.bytes);
            if (p.access.high) set_vector(v, p.access.reg, v.context.raw<"V">(p.access.reg), part);
            else set_vector(v, p.access.reg, part, 0);
            fp_from_memory(v);
        } else {
            v.set_x(p.access.reg, loaded_value(p.access, value));
        }
    }
    if (++p.part < p.insn.count) return false;
    if (p.insn.writeback) set_base_register(v, p.insn.base, base_register(v, p.insn.base) + static_cast<std::uint64_t>(p.insn.step));
    return true;
}

/// Powers a suspended, still bound vCPU up again: the context after reset, loaded into this CPU.
void Arch::power_up(Vcpu& v) noexcept {
    auto& cpu = *v.percpu;
    const auto entry = v.pending.addr;
    const auto arg = v.pending.arg;
    unbind(v, cpu.id);
    // The timers go on while the CPU is off: one of them may be what is to wake it.
    const auto keep = std::array{v.context.get<"CNTV_CVAL_EL0">(), v.context.get<"CNTV_CTL_EL0">(), v.context.get<"CNTP_CVAL_EL0">(), v.context.get<"CNTP_CTL_EL0">()};
    static_cast<void>(reset(v, entry, arg));
    v.context.set<"CNTV_CVAL_EL0">(keep[0]);
    v.context.set<"CNTV_CTL_EL0">(keep[1]);
    v.context.set<"CNTP_CVAL_EL0">(keep[2]);
    v.context.set<"CNTP_CTL_EL0">(keep[3]);
    v.set(Vcpu::physical_timer_on, (keep[3] & 3) == 1);
    static_cast<void>(bind(v, cpu, cpu.id));
}

namespace {
constexpr Error nothing_outstanding{Code::no_exit, "an instruction exit that is outstanding"};

auto outstanding(const Vcpu& v) noexcept -> bool {
    return v.pending.kind != Pending::Kind::none && v.pending.kind < Pending::Kind::more;
}
/// A call's answer, and the end of its instruction.
void answer_call(Vcpu& v, Pending::Kind kind, std::uint64_t value) noexcept {
    v.set_x(0, value);
    v.call_by_registers();
    if (kind != Pending::Kind::hypercall && v.pending.moved == 0) advance(v, v.pending.length);
}
}  // namespace

auto moved(const Vcpu& v) noexcept -> std::uint64_t {
    using Kind = Pending::Kind;
    const auto k = v.pending.kind;
    if (k == Kind::hypercall) return 4;
    return k == Kind::call || k == Kind::power_on || k == Kind::suspend ? v.pending.moved : 0;
}

auto Arch::complete_other(Vcpu& v, std::uint64_t value) noexcept -> const Error* {
    if (v.pending.kind != Pending::Kind::device) return complete_rare(v, value);
    v.pending.kind = Pending::Kind::none;
    const Esr esr{v.context.get<"ESR_EL2">()};
    if (const auto access = *decode_access(esr.value); !access.write) v.set_x(access.reg, loaded_value(access, value));
    advance(v, esr.length());
    return nullptr;
}

[[gnu::noinline]] auto Arch::complete_rare(Vcpu& v, std::uint64_t value) noexcept -> const Error* {
    if (!outstanding(v)) return &nothing_outstanding;
    if (const auto here = v.hal->this_cpu(); here != v.cpu()) return v.refuse_elsewhere(here), &v.refusal();
    auto& p = v.pending;
    const auto kind = std::exchange(p.kind, Pending::Kind::none);
    switch (kind) {
        case Pending::Kind::mmio:
            if (!finish_part(v, value)) {
                p.kind = Pending::Kind::more;
                return nullptr;
            }
            break;
        case Pending::Kind::hypercall: case Pending::Kind::call: return answer_call(v, kind, value), nullptr;
        case Pending::Kind::power_on: return answer_call(v, kind, reg(FirmwareResult::success)), nullptr;
        case Pending::Kind::suspend:
            if (!p.power_down) return answer_call(v, kind, reg(FirmwareResult::success)), nullptr;
            power_up(v);  // starts again at its entry point; EL1's system registers are as after a reset
            return nullptr;
        case Pending::Kind::register_read: v.set_x(p.reg, value); break;
        default: break;  // a fault that is completed: the host has done the instruction's work
    }
    advance(v, p.length);
    return nullptr;
}

auto Arch::fail(Vcpu& v) noexcept -> Result<void> {
    if (!outstanding(v)) return nothing_outstanding;
    if (auto ok = v.at_hand(); !ok) return ok;
    const auto kind = std::exchange(v.pending.kind, Pending::Kind::none);
    const Esr esr{v.context.get<"ESR_EL2">()};
    switch (kind) {
        case Pending::Kind::hypercall: case Pending::Kind::call: answer_call(v, kind, reg(FirmwareResult::not_supported)); break;
        case Pending::Kind::power_on:
            v.pending.target->cancel_power_on();
            answer_call(v, kind, reg(FirmwareResult::internal_failure));
            break;
        case Pending::Kind::suspend: answer_call(v, kind, reg(FirmwareResult::denied)); break;
        case Pending::Kind::device: case Pending::Kind::mmio: case Pending::Kind::fault: {
            const Abort abort{esr.iss()};
            // A synchronous external abort: on the walk when the walk was refused (level 3 stands for the level unknown).
            inject_abort(v, esr.ec() == Ec::instruction_abort, abort.on_table_walk() ? 0x17 : 0x10, v.context.get<"FAR_EL2">());
            break;
        }
        default: inject_undefined(v); break;
    }
    return {};
}

auto Arch::retry(Vcpu& v) noexcept -> Result<void> {
    if (!outstanding(v)) return nothing_outstanding;
    if (auto ok = v.at_hand(); !ok) return ok;
    auto& p = v.pending;
    if (p.kind == Pending::Kind::power_on) p.target->cancel_power_on();
    v.call_by_registers();
    v.context.set<"PC">(v.context.get<"PC">() - moved(v));
    // Finished parts of an instruction are kept: a retry asks for the outstanding part again.
    const bool parts = p.kind == Pending::Kind::mmio && p.part != 0;
    p.kind = parts ? Pending::Kind::more : Pending::Kind::none;
    return {};
}

}  // namespace axvcpu::aarch64
