// Exits that are no page faults: calls, CPUID, MSRs, control registers, ports, waiting, the end.
module axvcpu.x86_64;
import std;
import axvcpu.hal;
import axvcpu.exit;
import axvcpu.vm;

namespace axvcpu::x86_64 {

namespace {

/// The instruction is over. Back into the guest; where its length cannot be found it is executed again.
auto done(Vcpu& v) noexcept -> bool {
    if (const auto length = instruction_length(v)) advance(v, *length);
    return false;
}
auto fault(Vcpu& v, std::uint8_t vector, std::optional<std::uint32_t> error = {}) noexcept -> bool { return inject(v, vector, error), false; }

auto on_hypercall(Vcpu& v) noexcept -> bool {
    if (!v.vm().policy().hypercalls || v.vmcb->cpl != 0) return fault(v, Vector::ud);  // a process of the guest has no hypercalls
    v.pending = {.kind = Pending::Kind::hypercall};
    v.exit().set_call(false);
    return true;
}

auto on_cpuid(Vcpu& v) noexcept -> bool {
    auto& b = *v.vmcb;
    const auto leaf = static_cast<std::uint32_t>(b.rax), subleaf = static_cast<std::uint32_t>(v.x(1));
    const auto length = instruction_length(v);
    if (!length) return false;
    const auto r = cpuid(leaf, subleaf, static_cast<std::uint32_t>(v.hardware_id()), machine_cpuid);
    b.rax = r.eax;
    v.x(3) = r.ebx;
    v.x(1) = r.ecx;
    v.x(2) = r.edx;
    advance(v, *length);
    return false;
}

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
auto pat_types_ok(std::uint64_t pat) noexcept -> bool {
    for (unsigned i = 0; i < 64; i += 8)
        if (const auto t = pat >> i & 0xFF; t > 7 || t == 2 || t == 3) return false;
    return true;
}

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
    if (!instruction_length(v, &insn) || insn.opcode != 0x22 || insn.reg != 4) return false;  // rewritten meanwhile
    const auto value = v.in_long_mode() ? v.x(insn.rm) : v.x(insn.rm) & 0xFFFF'FFFF;
    if (!cr4_allowed(value, b.efer) || (value & v.percpu->cr4_absent) != 0) return fault(v, Vector::gp, 0);
    if (b.cr4 != value) v.flush.store(true);
    b.cr4 = value;
    advance(v, insn.length);
    return false;
}

auto on_port(Vcpu& v) noexcept -> bool {
    const auto& b = *v.vmcb;
    const PortAccess a{b.exit_info1};
    if (a.string()) return v.exit() = exit::Unknown{b.exit_info1}, true;  // INS and OUTS are not decoded yet; running on executes it again
    v.pending = {.kind = a.in() ? Pending::Kind::port_read : Pending::Kind::port_write, .length = static_cast<std::uint8_t>(b.exit_info2 - b.rip),
                 .width = a.width(), .reg = 0, .to_width = a.in() ? a.width() : std::uint8_t{0}};
    if (a.in()) v.exit() = exit::IoRead{a.port(), a.width()};
    else v.exit() = exit::IoWrite{a.port(), a.width(), static_cast<std::uint32_t>(narrow(b.rax, a.width()))};
    return true;
}

auto wait(Vcpu& v, const Exit& e) noexcept -> bool {
    v.pending = {.kind = Pending::Kind::wait};
    v.exit() = e;
    return true;
}
auto terminal(Vcpu& v, const Exit& e) noexcept -> bool {
    v.end();
    v.exit() = e;
    return true;
}

}  // namespace

auto on_exit(Vcpu& v) noexcept -> bool {
    const auto& b = *v.vmcb;
    switch (b.exit_code) {
        case exit_code::vmmcall: return on_hypercall(v);
        case exit_code::nested_page_fault: return on_nested_page_fault(v);
        case exit_code::cpuid: return on_cpuid(v);
        case exit_code::msr: return on_msr(v);
        case exit_code::io: return on_port(v);
        case exit_code::hlt: return wait(v, exit::Halt{});
        case exit_code::pause: return wait(v, exit::Yield{});
        case exit_code::write_cr4: return on_write_cr4(v);
        case exit_code::wbinvd: case exit_code::invd: return done(v);  // memory is coherent: nothing of it may be thrown away
        case exit_code::rdpmc: return fault(v, Vector::gp, 0);
        case exit_code::debug: return fault(v, Vector::db);             // DR6 is in the block
        case exit_code::alignment: return fault(v, Vector::ac, 0);
        case 0x43: return v.exit() = exit::Debug{b.exit_code, b.rip}, true;  // #BP: set_debug() has asked for it
        case exit_code::machine_check: return v.exit() = exit::Exception{b.exit_code, 0}, true;
        case exit_code::shutdown: return terminal(v, exit::Shutdown{});
        case exit_code::invalid: case exit_code::invalid & 0xFFFF'FFFF:  // QEMU 10.0 writes 32 bits of it
            return terminal(v, exit::FailEntry{b.exit_code, v.broken});
        case exit_code::invlpga: case exit_code::rdtscp: case exit_code::rdpru: return fault(v, Vector::ud);
        default: break;
    }
    if (b.exit_code >= exit_code::vmrun && b.exit_code <= exit_code::rdpru) return fault(v, Vector::ud);  // of a hypervisor, or hidden in CPUID
    v.exit() = exit::Unknown{b.exit_code};
    return true;
}

}  // namespace axvcpu::x86_64
