// Virtual-instruction exceptions: waiting, and registers that the guest does not have; and every register of a vCPU by its id.
module axvcpu.riscv64;
import std;
import axvcpu.result;
import axvcpu.hal;
import axvcpu.exit;
import axvcpu.reg;
import axvcpu.vm;

namespace axvcpu::riscv64 {

namespace {

auto illegal(Vcpu& v, std::uint32_t insn) noexcept -> bool {
    inject(v, cause::illegal, insn);
    return false;
}

auto on_wait(Vcpu& v) noexcept -> bool {
    if (interrupt_waits(v)) {
        v.advance(4);
        return false;
    }
    v.pending.kind = Pending::Kind::wait;
    v.pending.length = 4;
    v.exit() = exit::Halt{};
    return true;
}

/// Another vCPU is waited for: a host that wants to know runs that one meanwhile; else this one looks again.
auto on_spin(Vcpu& v) noexcept -> bool {
    if (!v.vm().policy().yields) {
        v.advance(4);
        return false;
    }
    v.pending.kind = Pending::Kind::wait;
    v.pending.length = 4;
    v.exit() = exit::Yield{};
    return true;
}

/// The counters beside `time` read as zero where the guest may look at them: there is no PMU, and some guests look.
auto read_zero(Vcpu& v, unsigned rd) noexcept -> bool {
    v.set_x(rd, 0);
    v.advance(4);
    return false;
}

auto on_csr(Vcpu& v, const CsrAccess& a, std::uint32_t insn, bool from_vs) noexcept -> bool {
    constexpr std::uint16_t cycle = 0xC00, last_counter = 0xC1F;
    // A process of the guest reaches what its kernel lets it: user registers, and counters by scounteren.
    if (!from_vs && ((a.csr >> 8 & 3) != 0 || (a.csr >= cycle && a.csr <= last_counter && (read<"scounteren">() >> (a.csr & 31) & 1) == 0))) return illegal(v, insn);
    if ((a.csr == csr_of<"sireg"> || a.csr == csr_of<"stopei">) && v.machine().imsic.size != 0) return on_file_register(v, a, insn);
    if (a.csr >= cycle && a.csr <= last_counter && a.csr != csr_of<"time"> && !a.writes) return read_zero(v, a.rd);
    if (!v.vm().policy().system_registers) return illegal(v, insn);
    v.context.raw<"stval">() = insn;  // for fail()
    auto& p = v.pending;
    p.length = 4;
    // One that reads and writes is a read, then a write of what it computes; rd is written at the end.
    p.csr = a;
    p.reg = a.reads ? a.rd : 0;
    p.old = 0;
    p.writing = a.reads && a.writes;
    if (a.reads) {
        p.kind = Pending::Kind::register_read;
        v.exit() = exit::SysRegRead{a.csr};
    } else {
        p.kind = Pending::Kind::register_write;
        v.exit() = exit::SysRegWrite{a.csr, csr_result(v)};
    }
    return true;
}

}  // namespace

/// What a CSR instruction writes, given what was there.
auto csr_result(const Vcpu& v) noexcept -> std::uint64_t {
    const auto& p = v.pending;
    const auto operand = p.csr.immediate ? p.csr.source : v.x(p.csr.source);
    switch (p.csr.op) {
        case CsrAccess::Op::set: return p.old | operand;
        case CsrAccess::Op::clear: return p.old & ~operand;
        default: return operand;
    }
}

auto on_virtual_instruction(Vcpu& v) noexcept -> bool {
    auto insn = static_cast<std::uint32_t>(read<"stval">());
    constexpr std::uint32_t counter_mask = 0xFE0F'F07F, read_counter = 0xC000'2073;  // csrrs rd, 0xC00 to 0xC1F, x0
    if ((insn & counter_mask) == read_counter && (v.context.get<"sstatus">() & sstatus::spp) != 0) return read_zero(v, insn >> 7 & 31);
    if (insn == 0) {
        const auto read_back = fetch(v);
        if (!read_back) return false;
        insn = *read_back;
    }
    const bool from_vs = (v.context.get<"sstatus">() & sstatus::spp) != 0;
    if (insn == wfi_instruction && from_vs) return on_wait(v);
    if (const auto a = decode_csr(insn)) return on_csr(v, *a, insn, from_vs);
    if (is_wait_on_reservation(insn)) return on_spin(v);
    return illegal(v, insn);  // hfence, hlv, sret of a hypervisor that the guest does not have
}

namespace {

/// Moves one register of a bound vCPU between this hart and the context.
void transfer(Vcpu& v, std::size_t row, bool to_hart) noexcept {
    v.context.for_each<Policy::on_bind>([&]<std::size_t I>(std::uint64_t& value) {
        if (I != row) return;
        if (to_hart) write_row<I>(value);
        else value = read_row<I>();
    });
}

/// The floating-point registers between hart and context, where the host does not use them.
void transfer_fp(Vcpu& v, bool to_hart) noexcept {
    if (v.has(Vcpu::fp_elsewhere)) return;
    const bool vectors = v.has(Vcpu::has_vector);
    with_fp([&] {
        if (to_hart) {
            axvcpu_fp_load(&v.context);
            if (vectors) axvcpu_vector_load(&v.context, v.vector_state.data());
        } else {
            axvcpu_fp_save(&v.context);
            if (vectors) {
                axvcpu_vector_save(&v.context, v.vector_state.data());
                write<"vstart">(v.context.get<"vstart">());  // the guest stays in the hart and goes on where it was
            }
        }
    });
    if (to_hart) v.context.raw<"sstatus">() |= sstatus::fs | (vectors ? sstatus::vs : 0);
}

auto find_for(const Vcpu& v, reg::Id id) noexcept -> Result<reg::Position> {
    const auto at = reg::find<registers>(id);
    if (!at) return Error{Code::unknown_register, "a register of the table", 0, id.value};
    if (auto ok = v.at_hand(); !ok) return ok.error();
    const auto feature = reg::facts<registers>[at->fact].feature;
    if (feature != Feature::base && v.percpu != nullptr && (v.percpu->capabilities.features >> static_cast<unsigned>(feature) & 1) == 0)
        return Error{Code::unknown_register, "a register that this hart has", 0, id.value};
    return *at;
}

}  // namespace

auto Arch::get(Vcpu& v, reg::Id id, bool) noexcept -> Result<std::uint64_t> {
    const auto at = find_for(v, id);
    if (!at) return at.error();
    if (v.percpu != nullptr) {
        const auto sie = mask_interrupts();
        const auto policy = reg::facts<registers>[at->fact].policy;
        if (policy == Policy::on_bind) transfer(v, at->row, false);
        if (policy == Policy::vector) transfer_fp(v, false);
        restore_interrupts(sie);
    }
    return v.context.at(*at);
}

auto Arch::set(Vcpu& v, reg::Id id, std::uint64_t value, bool high) noexcept -> Result<void> {
    const auto at = find_for(v, id);
    if (!at) return at.error();
    const auto& r = reg::facts<registers>[at->fact];
    if (high && r.log2_bytes <= 3) return Error{Code::bad_value, "a register of more than 8 bytes", 16, std::uint64_t{1} << r.log2_bytes};
    if (r.writable == 0 || (at->row == index<"x"> && at->element == 0)) return Error{Code::read_only, "a register that can be set", 0, id.value};
    // A MODE that is none: the write has no effect (vsatp). One that the hart lacks has none when it is bound.
    if (const auto mode = value >> 60; at->row == index<"vsatp"> && mode != 0 && (mode < 8 || mode > 10)) return {};
    const auto sie = mask_interrupts();
    if (v.percpu != nullptr && r.policy == Policy::vector) transfer_fp(v, false);
    auto& stored = v.context.at(*at);
    stored = (value & r.writable) | ((at->row == index<"sstatus"> ? stored : r.reset) & ~r.writable);
    if (v.percpu != nullptr && r.policy == Policy::on_bind) {
        transfer(v, at->row, true);
        if (at->row == index<"hvip">) refresh_interrupts(v);  // external interrupts are the controller's to say
    }
    if (v.percpu == nullptr && at->row == index<"hvip">) v.fits = 0;  // likewise, at the next bind
    if (v.percpu != nullptr && r.policy == Policy::vector) transfer_fp(v, true);
    restore_interrupts(sie);
    return {};
}

}  // namespace axvcpu::riscv64
