// Registers: CPUID, MSRs and CR4 as the guest reaches them, and every register by its id.
module axvcpu.x86_64;
import std;
import axvcpu.result;
import axvcpu.hal;
import axvcpu.exit;
import axvcpu.reg;
import axvcpu.vm;

namespace axvcpu::x86_64 {

auto on_cpuid(Vcpu& v) noexcept -> bool {
    auto& b = *v.vmcb;
    const auto leaf = static_cast<std::uint32_t>(b.rax), subleaf = static_cast<std::uint32_t>(v.x(1));
    const auto length = instruction_length(v);
    if (!length) return lost(v);
    const auto r = cpuid(leaf, subleaf, static_cast<std::uint32_t>(v.hardware_id()), machine_cpuid);
    b.rax = r.eax;
    v.x(3) = r.ebx;
    v.x(1) = r.ecx;
    v.x(2) = r.edx;
    advance(v, *length);
    return false;
}

namespace {
/// MSRs that the block has, FS and GS bases, and the counter; the rest is the host's to answer, or #GP.
auto msr_field(Vcpu& v, std::uint32_t msr) noexcept -> std::uint64_t* {
    auto& b = *v.vmcb;
    constexpr std::uint32_t fs_base = 0xC000'0100, gs_base = 0xC000'0101;
    if (msr == fs_base) return &b.fs.base;
    if (msr == gs_base) return &b.gs.base;
    for (std::size_t i = index<"STAR">; i <= index<"PAT">; ++i)
        if (registers[i].encoding.number == msr) return reinterpret_cast<std::uint64_t*>(reinterpret_cast<unsigned char*>(&b) + registers[i].encoding.field);
    return nullptr;
}
auto is_address(std::uint32_t msr) noexcept -> bool {
    return msr == msr_of<"LSTAR"> || msr == msr_of<"CSTAR"> || msr == msr_of<"KERNEL_GS_BASE"> || msr == msr_of<"SYSENTER_ESP"> || msr == msr_of<"SYSENTER_EIP"> || msr == 0xC000'0100 || msr == 0xC000'0101;
}
auto canonical(std::uint64_t a) noexcept -> bool { return static_cast<std::uint64_t>(static_cast<std::int64_t>(a << 16) >> 16) == a; }
}  // namespace

auto on_msr(Vcpu& v) noexcept -> bool {
    auto& b = *v.vmcb;
    const auto msr = static_cast<std::uint32_t>(v.x(1));
    const bool write = b.exit_info1 != 0;
    constexpr std::uint32_t tsc = 0x10;
    const auto value = (b.rax & 0xFFFF'FFFF) | v.x(2) << 32;
    const auto give = [&](std::uint64_t r) {
        b.rax = r & 0xFFFF'FFFF;
        v.x(2) = r >> 32;
        return done(v);
    };
    if (msr == msr_of<"EFER">) {
        if (!write) return give(b.efer & ~efer_svme);
        const auto next = efer_after(b.efer, value, b.cr0);
        if (!next) return fault(v, Vector::gp, 0);
        b.efer = *next;
        return done(v);
    }
    if (msr == tsc && !write) return give(read_tsc() + b.tsc_offset);
    if (auto* field = msr_field(v, msr)) {
        if (!write) return give(*field);
        if ((is_address(msr) && !canonical(value)) || (msr == msr_of<"PAT"> && !pat_types_ok(value))) return fault(v, Vector::gp, 0);
        *field = value;
        return done(v);
    }
    if (!v.vm().policy().system_registers) return fault(v, Vector::gp, 0);
    v.pending = {.kind = write ? Pending::Kind::register_write : Pending::Kind::register_read};
    if (write) v.exit() = exit::SysRegWrite{msr, value};
    else v.exit() = exit::SysRegRead{msr};
    return true;
}

/// MOV to CR4: only what is switched may be set. Changes of paging bits drop the guest's translations, as the instruction would.
auto on_write_cr4(Vcpu& v) noexcept -> bool {
    auto& b = *v.vmcb;
    SystemInstruction insn;
    if (!instruction_length(v, &insn) || insn.opcode != 0x22 || insn.reg != 4) return lost(v);
    const auto value = v.in_long_mode() ? v.x(insn.rm) : v.x(insn.rm) & 0xFFFF'FFFF;
    if (!cr4_allowed(value, b.efer) || (value & v.percpu->cr4_absent) != 0) return fault(v, Vector::gp, 0);
    if (b.cr4 != value) v.flush.store(true);
    b.cr4 = value;
    advance(v, insn.length);
    return false;
}

namespace {

auto find_for(const Vcpu& v, reg::Id id) noexcept -> Result<reg::Position> {
    const auto at = reg::find<registers>(id);
    if (!at) return Error{Code::unknown_register, "a register of the table", 0, id.value};
    if (auto ok = v.at_hand(); !ok) return ok.error();
    return *at;
}

/// DR0 to DR3 of a bound vCPU are in the CPU.
auto debug_register(std::size_t row, const std::uint64_t* value) noexcept -> std::uint64_t {
    const auto one = [&]<unsigned N>() {
        if (value != nullptr) write_debug<N>(*value);
        return read_debug<N>();
    };
    switch (row - index<"DR0">) {
        case 0: return one.template operator()<0>();
        case 1: return one.template operator()<1>();
        case 2: return one.template operator()<2>();
        default: return one.template operator()<3>();
    }
}

}  // namespace

auto Arch::get(Vcpu& v, reg::Id id, bool high) noexcept -> Result<std::uint64_t> {
    const auto at = find_for(v, id);
    if (!at) return at.error();
    const auto& r = registers[at->row];
    if (r.policy == Policy::control_block) {
        std::uint64_t value = 0;
        __builtin_memcpy(&value, reinterpret_cast<const unsigned char*>(v.vmcb) + r.encoding.field, r.bytes());
        return at->row == index<"EFER"> ? value & ~efer_svme : value;
    }
    if (v.percpu != nullptr && r.policy == Policy::on_bind) return debug_register(at->row, nullptr);
    if (v.percpu != nullptr && r.policy == Policy::vector && !v.switch_fp) axvcpu_fp_save(&v.context);
    return v.context.at(*at, high);
}

auto Arch::set(Vcpu& v, reg::Id id, std::uint64_t value, bool high) noexcept -> Result<void> {
    const auto at = find_for(v, id);
    if (!at) return at.error();
    const auto& r = registers[at->row];
    if (high && r.log2_bytes <= 3) return Error{Code::bad_value, "a register of more than 8 bytes", 16, r.bytes()};
    if (at->row == index<"FXSAVE"> && at->element == 1 && high) {
        const std::uint64_t mxcsr = (machine_cpuid(0x8000'0001, 0).ecx >> 7 & 1) != 0 ? 0x2'FFFF : 0xFFFF;  // MM, where there are misaligned accesses
        if ((value & 0xFFFF'FFFF & ~mxcsr) != 0) return Error{Code::bad_value, "MXCSR without reserved bits: FXRSTOR would fault", mxcsr, value & 0xFFFF'FFFF};
    }
    if (r.policy == Policy::control_block) {
        if (at->row == index<"CR0"> || at->row == index<"CR3"> || at->row == index<"CR4"> || at->row == index<"EFER">) v.flush.store(true);
        if (at->row == index<"EFER">) value |= efer_svme;
        if (at->row == index<"EVENTINJ">) v.triple_fault = false;
        value &= r.writable;
        __builtin_memcpy(reinterpret_cast<unsigned char*>(v.vmcb) + r.encoding.field, &value, r.bytes());
        if (v.percpu != nullptr) v.broken = broken_rules(*v.vmcb, v.percpu->cr4_absent);
        return {};
    }
    if (v.percpu != nullptr && r.policy == Policy::on_bind) return debug_register(at->row, &value), Result<void>{};
    const bool loaded = v.percpu != nullptr && r.policy == Policy::vector && !v.switch_fp;
    if (loaded) axvcpu_fp_save(&v.context);
    v.context.at(*at, high) = value;
    if (loaded) axvcpu_fp_load(&v.context);
    return {};
}

}  // namespace axvcpu::x86_64
