// Faults given to the guest, and what ends an exit: complete, fail, retry.
module axvcpu.riscv64;
import std;
import axvcpu.result;
import axvcpu.exit;
import axvcpu.vm;

namespace axvcpu::riscv64 {

/// Takes a trap to VS-mode (Privileged Architecture, Trap Entry): the vs registers are the hart's while bound.
void inject(Vcpu& v, std::uint64_t cause, std::uint64_t value) noexcept {
    auto& c = v.context;
    write<"vsepc">(c.get<"pc">());
    write<"vscause">(cause);
    write<"vstval">(value);
    const auto status = read<"vsstatus">();
    const bool from_vs = (c.get<"sstatus">() & sstatus::spp) != 0;
    write<"vsstatus">((status & ~(sstatus::spp | sstatus::spie | sstatus::sie)) | (from_vs ? sstatus::spp : 0) | ((status & sstatus::sie) != 0 ? sstatus::spie : 0));
    c.raw<"sstatus">() |= sstatus::spp;
    c.raw<"pc">() = read<"vstvec">() & ~std::uint64_t{3};
}

namespace {

constexpr Error nothing_outstanding{Code::no_exit, "an instruction exit that is outstanding"};

auto outstanding(const Vcpu& v) noexcept -> bool { return v.pending.kind != Pending::Kind::none && v.pending.kind < Pending::Kind::more; }

/// A register of the guest that is in the hart while bound, unless the host uses floating point.
void set_fp(Vcpu& v, unsigned n, std::uint64_t value) noexcept {
    if (v.has(Vcpu::fp_elsewhere)) v.context.raw<"f">(n) = value;
    else with_fp([&] {
        axvcpu_fp_save(&v.context);
        v.context.raw<"f">(n) = value;
        axvcpu_fp_load(&v.context);
    });
    if (!v.has(Vcpu::fp_out)) v.context.raw<"sstatus">() |= sstatus::fs;  // dirty
    write<"vsstatus">(read<"vsstatus">() | sstatus::fs);
}

}  // namespace

auto finish_access(Vcpu& v, std::uint64_t value) noexcept -> bool {
    auto& p = v.pending;
    const auto& a = p.access;
    if (a.amo != Amo::none) {
        if (!p.writing) {
            p.old = value;
            p.writing = true;
            return false;
        }
        v.set_x(a.reg, sign_extended(p.old, a.bytes));
        return true;
    }
    if (!a.write) {
        if (a.fp) set_fp(v, a.reg, loaded_value(a, value));
        else v.set_x(a.reg, loaded_value(a, value));
    }
    return true;
}

/// Powers a suspended, still bound vCPU up again: the context after reset, loaded into this hart. The timer and the interrupt file go on.
void Arch::power_up(Vcpu& v) noexcept {
    auto& cpu = *v.percpu;
    const auto entry = v.pending.addr;
    const auto arg = v.pending.arg;
    const bool armed = v.has(Vcpu::deadline_armed);  // inside run(); what is bound starts without
    if (armed) disarm_deadline(v);
    unbind(v, cpu.id);
    const auto compare = v.context.get<"vstimecmp">(), soft = v.timer_at, pending = v.context.get<"hvip">();
    const bool suspended = v.suspended;
    const auto fits = v.fits;
    static_cast<void>(restart(v, entry, arg, false));
    v.fits = fits;  // hvip is kept, so nothing has to be looked at anew
    v.suspended = suspended;  // until it runs
    v.set(Vcpu::resumes, suspended);
    v.context.set<"vstimecmp">(compare);
    v.context.set<"hvip">(pending);
    v.timer_at = soft;
    v.set(Vcpu::soft_timer, soft != no_deadline);
    static_cast<void>(bind(v, cpu, cpu.id));
    if (armed) arm_deadline(v);
    v.wakes_by_any = true;  // nothing is enabled after a reset, and yet its timer has to wake it
}

void suspend_now(Vcpu& v) noexcept { Arch::power_up(v); }

namespace {
void answer_call(Vcpu& v, SbiError error) noexcept {
    v.set_x(10, reg(error));
    v.set_x(11, 0);
    v.advance(4);
}
}  // namespace

/// A leaf, so that the usual access to a device saves no register.
auto Arch::complete_other(Vcpu& v, std::uint64_t value) noexcept -> const Error* {
    auto& p = v.pending;
    if (p.kind != Pending::Kind::load && p.kind != Pending::Kind::store) return complete_rare(v, value);
    if (p.kind == Pending::Kind::load) {
        const auto& a = p.access;
        v.set_x(a.reg & 31, a.sign_extend ? sign_extended(value, a.bytes) : narrow(value, a.bytes));
    }
    p.kind = Pending::Kind::none;
    v.advance(p.access.length);
    return nullptr;
}

[[gnu::noinline]] auto Arch::complete_rare(Vcpu& v, std::uint64_t value) noexcept -> const Error* {
    auto& p = v.pending;
    if (!outstanding(v)) return &nothing_outstanding;
    if (const auto here = v.hal->this_cpu(); here != v.cpu()) return v.refuse_elsewhere(here), &v.refusal();
    const auto kind = std::exchange(p.kind, Pending::Kind::none);
    switch (kind) {
        case Pending::Kind::device:
            if (finish_access(v, value)) v.advance(p.access.length);
            else p.kind = Pending::Kind::more;
            return nullptr;
        case Pending::Kind::power_on: answer_call(v, SbiError::success); return nullptr;
        case Pending::Kind::legacy_call:
            v.set_x(10, value);
            v.advance(4);
            return nullptr;
        case Pending::Kind::buffer:  // the host has done the call's work
            answer_call(v, SbiError::success);
            v.set_x(11, value);
            return nullptr;
        case Pending::Kind::suspend:
            if (!p.power_down) answer_call(v, SbiError::success);
            else power_up(v);  // starts again at its entry point
            return nullptr;
        case Pending::Kind::register_read:
            if (p.writing) {  // read-modify-write: the new value is a write of its own
                p.old = value;
                p.kind = Pending::Kind::more;
                return nullptr;
            }
            v.set_x(p.reg, value);
            break;
        case Pending::Kind::register_write: v.set_x(p.reg, p.old); break;
        default:  // a fault that is completed: the host has done the instruction's work
            if (p.length == 0) {
                const auto sie = mask_interrupts();
                const auto insn = fetch(v);
                restore_interrupts(sie);
                if (!insn) return nullptr;  // it has gone: the guest meets that itself
                p.length = static_cast<std::uint8_t>(instruction_length(*insn));
            }
            break;
    }
    v.advance(p.length);
    return nullptr;
}

auto Arch::fail(Vcpu& v) noexcept -> Result<void> {
    if (!outstanding(v)) return nothing_outstanding;
    if (auto ok = v.at_hand(); !ok) return ok;
    auto& p = v.pending;
    const auto kind = std::exchange(p.kind, Pending::Kind::none);
    switch (kind) {
        case Pending::Kind::hypercall: answer_call(v, SbiError::not_supported); break;
        case Pending::Kind::power_on:
            p.target->cancel_power_on();
            answer_call(v, SbiError::failed);
            break;
        case Pending::Kind::legacy_call:
            v.set_x(10, reg(SbiError::not_supported));
            v.advance(4);
            break;
        case Pending::Kind::suspend: case Pending::Kind::buffer: answer_call(v, SbiError::failed); break;
        case Pending::Kind::load: case Pending::Kind::store: case Pending::Kind::device: case Pending::Kind::fault: {
            const auto trap = v.context.get<"scause">();
            inject(v, trap == cause::instruction_guest_page ? cause::instruction_access : trap == cause::load_guest_page ? cause::load_access : cause::store_access,
                   v.context.get<"stval">());
            break;
        }
        default: inject(v, cause::illegal, v.context.get<"stval">()); break;
    }
    return {};
}

auto Arch::retry_other(Vcpu& v) noexcept -> const Error* {
    if (!outstanding(v)) return &nothing_outstanding;
    if (const auto here = v.hal->this_cpu(); here != v.cpu()) return v.refuse_elsewhere(here), &v.refusal();
    auto& p = v.pending;
    if (p.kind == Pending::Kind::power_on) p.target->cancel_power_on();
    // The read of an atomic operation is kept: a retry asks for its write again.
    const bool second = p.kind == Pending::Kind::device && p.access.amo != Amo::none && p.writing;
    p.kind = second || (p.kind == Pending::Kind::register_write && p.writing) ? Pending::Kind::more : Pending::Kind::none;
    return nullptr;
}

}  // namespace axvcpu::riscv64
