// Guest-page faults: a page to map, or an access to a device.
module axvcpu.riscv64;
import std;
import axvcpu.hal;
import axvcpu.exit;
import axvcpu.interrupt;
import axvcpu.vm;

namespace axvcpu::riscv64 {

namespace {

/// htval holds the address's bits above the lowest two; those two are stval's, but for a fault on the guest's own tables.
auto fault_address(std::uint64_t htval, std::uint64_t stval) noexcept -> GuestPhysAddr { return {htval << 2 | (stval & 3)}; }

/// Keeps what a fault on the way (reading the instruction) would overwrite.
void keep_syndrome(Vcpu& v, std::uint64_t cause) noexcept {
    auto& c = v.context;
    c.raw<"scause">() = cause;
    c.raw<"stval">() = read<"stval">();
    c.raw<"htval">() = read<"htval">();
    c.raw<"htinst">() = read<"htinst">();
}

/// `write`: of the access, or of the walk. `length` 0: to be found out if it is needed.
auto fault_exit(Vcpu& v, std::uint64_t cause, GuestPhysAddr addr, bool on_walk, bool write, std::uint8_t length) noexcept -> bool {
    const auto mapping = v.machine().stage2->walk(addr);
    if (mapping) {
        const auto& m = mapping->permissions;
        const bool executes = cause == cause::instruction_guest_page && !on_walk;
        if (executes ? m.execute : write ? m.write : m.read) {  // somebody has mapped it meanwhile: this hart need only look again
            hfence_gvma();
            return false;
        }
    }
    auto& p = v.pending;
    p.kind = Pending::Kind::fault;
    p.length = length;
    v.exit() = exit::NestedPageFault{.addr = addr, .virt = v.context.get<"stval">(), .syndrome = cause,
                                     .access = cause == cause::instruction_guest_page ? axvcpu::Access::execute : cause == cause::load_guest_page ? axvcpu::Access::read : axvcpu::Access::write,
                                     .present = mapping.has_value(), .on_table_walk = on_walk};
    return true;
}

auto ask_controller(Vcpu& v, const Access& a, GuestPhysAddr addr, bool write, std::uint64_t stored, std::uint64_t& value) noexcept -> bool {
    const auto& c = v.vm().controller();
    if (!c.window.contains(addr)) return false;
    DeviceAccess d{addr, stored, a.bytes, write};
    if (!c.access(c.self, v.id(), d)) return false;
    refresh_interrupts(v);  // a claim or an end changes what is pending
    value = d.value;
    return true;
}

[[gnu::noinline]] auto controller_access(Vcpu& v, Access a, GuestPhysAddr addr) noexcept -> Plain {
    std::uint64_t value = 0;
    if (!ask_controller(v, a, addr, a.write, a.write ? narrow(v.x(a.reg), a.bytes) : 0, value)) return Plain::no;
    if (!a.write) v.set_x(a.reg, loaded_value(a, value));
    v.advance(a.length);
    return Plain::done;
}

auto device_exit(Vcpu& v, const Access& a, GuestPhysAddr addr) noexcept -> bool {
    auto& p = v.pending;
    p.kind = Pending::Kind::device;
    const std::uint8_t parts = a.amo == Amo::none ? 1 : 2;
    if (a.amo == Amo::none ? a.write : p.writing) v.exit() = exit::MmioWrite{addr, a.bytes, static_cast<std::uint8_t>(parts - 1), parts, store_value(v, a)};
    else v.exit() = exit::MmioRead{addr, a.bytes, 0, parts};
    return true;
}

}  // namespace

auto store_value(Vcpu& v, const Access& a) noexcept -> std::uint64_t {
    if (a.amo != Amo::none) return amo_result(a, v.pending.old, v.x(a.source));
    if (!a.fp) return narrow(v.x(a.reg), a.bytes);
    if (!v.has(Vcpu::switch_fp)) {
        std::uint64_t before;
        asm volatile("csrr %0, sstatus" : "=r"(before));
        asm volatile("csrs sstatus, %0" ::"r"(sstatus::fs_initial));
        axvcpu_fp_save(&v.context);
        asm volatile("csrw sstatus, %0" ::"r"(before));
    }
    return narrow(v.context.get<"f">(a.reg), a.bytes);
}

auto fetch(Vcpu& v) noexcept -> std::optional<std::uint32_t> {
    const auto pc = v.context.get<"pc">();
    // HLVX works with the privilege that SPVP says: that of the guest when it trapped.
    write<"hstatus">((v.context.get<"hstatus">() & ~hstatus::spvp) | ((v.context.get<"sstatus">() & sstatus::spp) != 0 ? hstatus::spvp : 0));
    const VcpuCore::Reading reading(v);
    execute_fences(v);  // what was unmapped before that must not be read through an old translation
    std::uint32_t insn = 0;
    for (unsigned i = 0; i < 2; ++i) {
        std::uint64_t half = 0;
        // Another vCPU has unmapped the page meanwhile: the guest meets the fault itself when it goes on.
        if (axvcpu_fetch_half(pc + 2 * i, &half) != 0) return std::nullopt;
        insn |= static_cast<std::uint32_t>(half & 0xFFFF) << 16 * i;
        if (i == 0 && instruction_length(insn) == 2) break;
    }
    return insn;
}

/// A load or store of a general register that htinst describes, to what is not memory.
auto plain_access(Vcpu& v, std::uint64_t cause) noexcept -> Plain {
    if (cause == cause::instruction_guest_page) return Plain::no;
    const auto htinst = read<"htinst">();
    const auto stval = read<"stval">();
    const auto addr = fault_address(read<"htval">(), stval);
    const auto opcode = htinst & 0x7D;  // bit 1 tells the length
    const bool write = opcode == 0x21;
    constexpr std::uint64_t address_offset = 31 << 15;
    if ((opcode != 0x01 && !write) || (htinst & address_offset) != 0) return Plain::no;
    const auto& vm = v.vm();
    if (vm.is_ram(addr)) return Plain::no;
    const auto funct3 = htinst >> 12 & 7;
    const Access a{.bytes = static_cast<std::uint8_t>(1u << (funct3 & 3)), .reg = static_cast<std::uint8_t>(htinst >> (write ? 20 : 7) & 31), .write = write,
                   .sign_extend = funct3 < 4, .length = static_cast<std::uint8_t>((htinst & 2) + 2)};
    if ((addr.value & 0xFFF) + a.bytes > 0x1000) return Plain::no;
    if (vm.controller().window.contains(addr)) return controller_access(v, a, addr);
    v.context.raw<"scause">() = cause;
    v.context.raw<"stval">() = stval;
    auto& p = v.pending;
    p.kind = Pending::Kind::device;
    p.access = a;
    p.addr = addr;
    if (write) v.exit() = exit::MmioWrite{addr, a.bytes, 0, 1, narrow(v.x(a.reg), a.bytes)};
    else v.exit() = exit::MmioRead{addr, a.bytes, 0, 1};
    return Plain::exit;
}

auto on_guest_page_fault(Vcpu& v, std::uint64_t cause) noexcept -> bool {
    keep_syndrome(v, cause);
    const auto htinst = v.context.get<"htinst">();
    const auto kind = classify_htinst(htinst);
    const bool on_walk = kind == TrapInstruction::page_table_read || kind == TrapInstruction::page_table_write;
    const auto addr = fault_address(v.context.get<"htval">(), on_walk ? 0 : v.context.get<"stval">());
    const bool write = on_walk ? kind == TrapInstruction::page_table_write : cause == cause::store_guest_page;
    if (on_walk || cause == cause::instruction_guest_page || v.machine().is_ram(addr))
        return fault_exit(v, cause, addr, on_walk, write, kind == TrapInstruction::access ? static_cast<std::uint8_t>((htinst & 2) + 2) : 0);
    // The fault was not at the access's first byte: that one was memory.
    if (kind == TrapInstruction::access && (htinst >> 15 & 31) != 0) return fault_exit(v, cause, addr, false, write, static_cast<std::uint8_t>((htinst & 2) + 2));
    auto access = kind == TrapInstruction::access ? decode_transformed(htinst) : std::nullopt;
    if (!access) {
        const auto insn = fetch(v);
        if (!insn) return false;
        access = decode_instruction(*insn);
        if (!access) return fault_exit(v, cause, addr, false, write, static_cast<std::uint8_t>(instruction_length(*insn)));
        // What was read must be what trapped: another vCPU may have rewritten it (the direction is all that the hart told us).
        if (access->write != (cause == cause::store_guest_page)) return false;
    }
    if ((addr.value & 0xFFF) + access->bytes > 0x1000) return fault_exit(v, cause, addr, false, write, access->length);
    auto& p = v.pending;
    p.access = *access;
    p.addr = addr;
    p.writing = false;
    p.csr = {};
    return next_part(v);
}

/// The outstanding access: answered by the controller, or an exit. False: the instruction is over.
auto next_part(Vcpu& v) noexcept -> bool {
    auto& p = v.pending;
    if (v.csr_outstanding()) {
        p.kind = Pending::Kind::register_write;
        v.exit() = exit::SysRegWrite{p.csr.csr, csr_result(v)};
        return true;
    }
    for (;;) {
        const bool write = p.access.amo == Amo::none ? p.access.write : p.writing;
        std::uint64_t value = 0;
        if (!ask_controller(v, p.access, p.addr, write, write ? store_value(v, p.access) : 0, value)) return device_exit(v, p.access, p.addr);
        if (finish_access(v, value)) {
            p.kind = Pending::Kind::none;
            v.advance(p.access.length);
            return false;
        }
    }
}

}  // namespace axvcpu::riscv64
