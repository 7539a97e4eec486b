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

constexpr std::uint64_t store_bit = 0x20;  // of an opcode: STORE, not LOAD

/// What the hart says of a fault, kept because one on the way (reading the instruction) would overwrite it.
struct Syndrome { std::uint64_t cause, stval, htval, htinst; };
inline void keep(Vcpu& v, const Syndrome& s) noexcept {
    auto& c = v.context;
    c.raw<"scause">() = s.cause;
    c.raw<"stval">() = s.stval;
    c.raw<"htval">() = s.htval;
    c.raw<"htinst">() = s.htinst;
}

/// Of a fault that is kept. `write`: of the access, or of the walk. `length` 0: to be found out if it is needed.
[[gnu::noinline]] auto fault_exit(Vcpu& v, GuestPhysAddr addr, bool on_walk, bool write, std::uint8_t length) noexcept -> bool {
    auto& p = v.pending;
    p.addr = addr;
    p.length = length;
    const auto allowed = v.machine().stage2->allowed(addr);
    const auto cause = v.context.get<"scause">();
    if (allowed) {
        const bool executes = cause == cause::instruction_guest_page && !on_walk;
        if (executes ? allowed->execute : write ? allowed->write : allowed->read) {  // somebody has mapped it meanwhile: this hart need only look again
            hfence_gvma();
            return false;
        }
    }
    p.kind = Pending::Kind::fault;
    v.exit() = exit::NestedPageFault{.addr = p.addr, .virt = v.context.get<"stval">(), .syndrome = cause,
                                     .access = cause == cause::instruction_guest_page ? axvcpu::Access::execute : cause == cause::load_guest_page ? axvcpu::Access::read : axvcpu::Access::write,
                                     .present = allowed.has_value(), .on_table_walk = on_walk};
    return true;
}

auto answered_inside(Vcpu& v, DeviceAccess& d) noexcept -> bool {
    const auto& c = v.vm().controller();
    return c.window.contains(d.addr) ? c.access(c.self, v.id(), d) : file_access(v, d);
}

/// Whether the attached controller or an IMSIC answers. It posts Event::interrupt to every vCPU for which that has changed what it ought to take.
auto ask_controller(Vcpu& v, const Access& a, GuestPhysAddr addr, bool write, std::uint64_t stored, std::uint64_t& value) noexcept -> bool {
    DeviceAccess d{addr, stored, a.bytes, write};
    if (!answered_inside(v, d)) return false;
    value = d.value;
    return true;
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
    if (!v.has(Vcpu::fp_elsewhere)) with_fp([&] { axvcpu_fp_save(&v.context); });
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

namespace {

/// A fault that is not the usual one's.
[[gnu::noinline]] auto on_other_fault(Vcpu& v, std::uint64_t cause) noexcept -> bool {
    const auto htinst = read<"htinst">();
    keep(v, {cause, read<"stval">(), read<"htval">(), htinst});
    const auto kind = classify_htinst(htinst);
    const bool on_walk = kind == TrapInstruction::page_table_read || kind == TrapInstruction::page_table_write;
    const auto addr = fault_address(v.context.get<"htval">(), on_walk ? 0 : v.context.get<"stval">());
    const bool write = on_walk ? kind == TrapInstruction::page_table_write : cause == cause::store_guest_page;
    const auto length = kind == TrapInstruction::access ? static_cast<std::uint8_t>((htinst & 2) + 2) : std::uint8_t{0};
    if (on_walk || cause == cause::instruction_guest_page || v.machine().is_ram(addr)) return fault_exit(v, addr, on_walk, write, length);
    // The fault was not at the access's first byte: that one was memory.
    if (kind == TrapInstruction::access && (htinst >> 15 & 31) != 0) return fault_exit(v, addr, false, write, length);
    auto access = kind == TrapInstruction::access ? decode_transformed(htinst) : std::nullopt;
    if (!access) {
        const auto insn = fetch(v);
        if (!insn) return false;
        access = decode_instruction(*insn);
        if (!access) return fault_exit(v, addr, false, write, static_cast<std::uint8_t>(instruction_length(*insn)));
        // What was read must be what trapped: another vCPU may have rewritten it. Direction and address are all that the hart told us.
        const auto target = decode_target(*insn);
        const auto stval = v.context.get<"stval">();  // 0 where the hart does not tell
        const auto offset = stval == 0 ? 0 : stval - (v.x(target.base) + static_cast<std::uint64_t>(std::int64_t{target.offset}));
        if (access->write != (cause == cause::store_guest_page) || offset >= access->bytes) return false;
        if (offset != 0) return fault_exit(v, addr, false, write, access->length);  // its first byte was memory
    }
    if ((addr.value & 0xFFF) + access->bytes > 0x1000) return fault_exit(v, addr, false, write, access->length);
    auto& p = v.pending;
    p.access = *access;
    p.addr = addr;
    p.writing = false;
    p.csr = {};
    return next_part(v);
}

/// The usual access, to the controller. `htinst` as on_guest_page_fault() found it.
[[gnu::noinline]] auto controller_access(Vcpu& v, std::uint64_t cause, std::uint64_t htinst, GuestPhysAddr addr) noexcept -> bool {
    const bool write = (htinst & store_bit) != 0;
    const auto width = static_cast<std::uint8_t>(1u << (htinst >> 12 & 3));
    DeviceAccess d{addr, write ? narrow(v.x(htinst >> 20 & 31), width) : 0, width, write};
    if (!answered_inside(v, d)) return on_other_fault(v, cause);
    if (!write) v.set_x(htinst >> 7 & 31, (htinst >> 14 & 1) == 0 ? sign_extended(d.value, width) : narrow(d.value, width));
    v.advance((htinst & 2) + 2);
    return false;
}

}  // namespace

/// The usual ones come first, with all that htinst says of them: an aligned load or store of a general register.
auto on_guest_page_fault(Vcpu& v, std::uint64_t cause) noexcept -> bool {
    const Syndrome s{cause, read<"stval">(), read<"htval">(), read<"htinst">()};
    const auto htinst = s.htinst;
    const auto addr = fault_address(s.htval, s.stval);
    // LOAD or STORE, and its first byte's fault (Addr. Offset is zero); bit 1 tells the length.
    constexpr std::uint64_t address_offset = 31 << 15, opcode = 0x7D, load = 0x01;
    const std::uint64_t bytes = 1u << (htinst >> 12 & 3);
    if ((htinst & (address_offset | (opcode & ~store_bit))) != load || (addr.value & (bytes - 1)) != 0) return on_other_fault(v, cause);
    const auto length = static_cast<std::uint8_t>((htinst & 2) + 2);
    const auto& vm = v.machine();
    if (vm.is_ram(addr)) return keep(v, s), fault_exit(v, addr, false, (htinst & store_bit) != 0, length);
    if (vm.controller().window.contains(addr) || vm.imsic.contains(addr)) return controller_access(v, cause, htinst, addr);
    v.context.raw<"scause">() = cause;  // for fail()
    v.context.raw<"stval">() = s.stval;
    auto& p = v.pending;
    p.access.length = length;
    const auto width = static_cast<std::uint8_t>(bytes);
    if ((htinst & store_bit) != 0) {
        p.kind = Pending::Kind::store;
        v.exit() = exit::MmioWrite{addr, width, 0, 1, narrow(v.x(htinst >> 20 & 31), width)};
    } else {
        p.kind = Pending::Kind::load;
        p.access.bytes = width;
        p.access.reg = static_cast<std::uint8_t>(htinst >> 7 & 31);
        p.access.sign_extend = (htinst >> 14 & 1) == 0;
        v.exit() = exit::MmioRead{addr, width, 0, 1};
    }
    return true;
}

auto on_memory_fault(Vcpu& v, GuestPhysAddr addr, std::uint64_t virt, bool on_walk, bool write) noexcept -> bool {
    keep(v, {write && !on_walk ? cause::store_guest_page : cause::load_guest_page, virt, addr.value >> 2, 0});
    return fault_exit(v, addr, on_walk, write, 4);
}

auto on_fetch_fault(Vcpu& v) noexcept -> bool { return on_other_fault(v, cause::instruction_guest_page); }

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
