// Exits that are no page faults and no register accesses: calls, ports, waiting, the end.
module axvcpu.x86_64;
import std;
import axvcpu.hal;
import axvcpu.exit;
import axvcpu.vm;

namespace axvcpu::x86_64 {

/// The instruction is over. Back into the guest; where its length cannot be found it is executed again.
auto done(Vcpu& v) noexcept -> bool {
    const auto length = instruction_length(v);
    if (!length) return lost(v);
    advance(v, *length);
    return false;
}
auto lost(Vcpu& v) noexcept -> bool {
    if (readable(v)) return false;
    v.exit() = exit::Unknown{v.vmcb->exit_code};
    return true;
}
auto fault(Vcpu& v, std::uint8_t vector, std::optional<std::uint32_t> error) noexcept -> bool { return inject(v, vector, error), false; }

namespace {

auto on_hypercall(Vcpu& v) noexcept -> bool {
    if (!v.vm().policy().hypercalls || v.vmcb->cpl != 0) return fault(v, Vector::ud);  // a process of the guest has no hypercalls
    v.pending = {.kind = Pending::Kind::hypercall};
    v.exit().set_call(false);
    return true;
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
