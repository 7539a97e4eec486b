// Stage-2 aborts: a page to map, or an access to a device.
module axvcpu.aarch64;
import std;
import axvcpu.hal;
import axvcpu.exit;
import axvcpu.interrupt;
import axvcpu.stage2;
import axvcpu.vm;

namespace axvcpu::aarch64 {

namespace {

auto in_el0(const Vcpu& v) noexcept -> bool {
    const auto pstate = v.context.get<"PSTATE">();
    return (pstate & 0xC) == 0 || (pstate & 0x10) != 0;
}

/// The guest-physical address of what a guest's address names, by its own tables. Nothing when they do not map it now.
auto translate_guest(const Vcpu& v, std::uint64_t virt) noexcept -> std::optional<GuestPhysAddr> {
    const auto par = translate(virt, in_el0(v));
    if ((par & 1) != 0) return std::nullopt;  // PAR_EL1.F
    return GuestPhysAddr{(par & 0x000F'FFFF'FFFF'F000) | (virt & 0xFFF)};
}

/// gone: its mapping went away meanwhile, so the guest meets the fault itself when it goes on. unreadable: it is there for the guest,
/// and not for us (execute-only, or memory that the host has not mapped).
enum class Fetched : std::uint8_t { word, gone, unreadable };

/// The instruction at the guest's PC.
auto fetch(Vcpu& v, std::uint32_t& word) noexcept -> Fetched {
    const VcpuCore::Reading reading(v);
    const auto pc = v.context.get<"PC">();
    if (pc % 4 != 0) return Fetched::gone;
    const auto par = translate(pc, in_el0(v));
    constexpr std::uint64_t failed = 1, permission_fault = 0b0011'00, kind = 0b1111'00;  // PAR_EL1.F and FST
    if ((par & failed) != 0) return (par >> 1 & kind) == permission_fault ? Fetched::unreadable : Fetched::gone;
    const auto mapping = v.machine().stage2->walk({(par & 0x000F'FFFF'FFFF'F000) | (pc & 0xFFF)});
    if (!mapping) return Fetched::gone;
    const auto* p = static_cast<const volatile std::uint32_t*>(v.hal->phys_to_virt(mapping->address));
    if (p == nullptr) return Fetched::unreadable;
    word = *p;
    return Fetched::word;
}

auto fault_exit(Vcpu& v, Esr esr, GuestPhysAddr addr, Exit& out) noexcept -> bool {
    const Abort abort{esr.iss()};
    const bool instruction = esr.ec() == Ec::instruction_abort;
    v.pending = {.kind = Pending::Kind::fault, .length = static_cast<std::uint8_t>(esr.length()), .addr = addr};
    out = exit::NestedPageFault{.addr = addr,
                                .virt = v.context.get<"FAR_EL2">(),
                                .syndrome = esr.value,
                                .access = instruction ? axvcpu::Access::execute : abort.write() ? axvcpu::Access::write : axvcpu::Access::read,
                                .present = abort.fault() == Fault::permission || abort.fault() == Fault::access_flag,
                                .on_table_walk = abort.on_table_walk()};
    return true;
}

auto store_value(Vcpu& v, const Access& a) noexcept -> std::uint64_t {
    if (a.vector) return narrow(v.context.raw<"V">(a.reg, a.high), a.bytes);
    return narrow(v.x(a.reg), a.bytes);
}

/// GICx_ISPENDR to ICACTIVER tell of what the list registers hold: the model has to know it first.
inline void show_list_registers(Vcpu& v, GuestPhysAddr addr) noexcept {
    if (v.lr_used != 0 && (addr.value & 0xFE00) == 0x200) [[unlikely]] refresh_interrupts(v);
}

/// Lets the attached controller answer; false: it is not its address.
auto ask_controller(Vcpu& v, const Access& a, GuestPhysAddr addr, std::uint64_t& value) noexcept -> bool {
    const auto& controller = v.machine().controller();
    if (!controller.window.contains(addr)) return false;
    show_list_registers(v, addr);
    DeviceAccess d{addr, a.write ? store_value(v, a) : 0, a.bytes, a.write};
    if (!controller.access(controller.self, v.id(), d)) return false;
    value = d.value;
    return true;
}

auto device_access(Vcpu& v, const Access& a, GuestPhysAddr addr, std::uint8_t part, std::uint8_t parts, Exit& out) noexcept -> bool {
    if (a.write) out = exit::MmioWrite{addr, a.bytes, part, parts, store_value(v, a)};
    else out = exit::MmioRead{addr, a.bytes, part, parts};
    return true;
}

/// An access without a valid syndrome: the instruction says what it is, if it agrees with what the hardware saw.
auto decode_from_memory(Vcpu& v, Esr esr, GuestPhysAddr addr, Exit& out) noexcept -> bool {
    const Abort abort{esr.iss()};
    if ((v.context.get<"PSTATE">() & 0x10) != 0) return fault_exit(v, esr, addr, out);
    std::uint32_t word = 0;
    if (const auto fetched = fetch(v, word); fetched != Fetched::word) return fetched == Fetched::unreadable && fault_exit(v, esr, addr, out);
    const auto insn = decode_instruction(word);
    if (!insn) return fault_exit(v, esr, addr, out);
    unsigned bytes = 0;
    for (unsigned i = 0; i < insn->count; ++i) bytes += insn->access[i].bytes;
    const auto far = v.context.get<"FAR_EL2">();
    if (insn->access[0].write != abort.write()) return false;
    if (insn->register_offset) {
        if (insn->count != 1) return fault_exit(v, esr, addr, out);
    } else {
        constexpr auto untagged = [](std::uint64_t a) { return a << 8; };  // a tag in the top byte need not agree
        const auto first = base_register(v, insn->base) + static_cast<std::uint64_t>(insn->offset);
        if (untagged(far - first) >= untagged(bytes)) return false;      // not this instruction's address
        if (untagged(far - first) != 0) return fault_exit(v, esr, addr, out);  // its first part was memory: not all of it is a device's
    }
    if ((addr.value & 0xFFF) + bytes > 0x1000) return fault_exit(v, esr, addr, out);
    if (insn->access[0].vector) fp_to_memory(v);
    v.pending = {.kind = Pending::Kind::mmio, .length = 4, .addr = addr, .insn = *insn};
    return next_part(v, out);
}

}  // namespace

/// The part of an instruction that is outstanding: answered by the controller, with those that follow, or an exit. False: the
/// instruction is over.
auto next_part(Vcpu& v, Exit& out) noexcept -> bool {
    auto& p = v.pending;
    p.kind = Pending::Kind::mmio;
    for (;;) {
        p.access = p.insn.access[p.part];
        std::uint64_t offset = 0, value = 0;
        for (unsigned i = 0; i < p.part; ++i) offset += p.insn.access[i].bytes;
        if (!ask_controller(v, p.access, p.addr + offset, value)) return device_access(v, p.access, p.addr + offset, p.part, p.insn.count, out);
        if (finish_part(v, value)) {
            p.kind = Pending::Kind::none;
            advance(v, p.length);
            return false;
        }
    }
}

namespace {
[[gnu::noinline]] auto controller_access(Vcpu& v, std::uint64_t esr, GuestPhysAddr addr) noexcept -> Plain {
    const auto access = *decode_access(esr);
    const auto& c = v.vm().controller();
    show_list_registers(v, addr);
    DeviceAccess d{addr, access.write ? narrow(v.x(access.reg), access.bytes) : 0, access.bytes, access.write};
    if (!c.access(c.self, v.id(), d)) return Plain::no;
    if (!access.write) v.set_x(access.reg, loaded_value(access, d.value));
    advance(v, Esr{esr}.length());
    return Plain::done;
}
}  // namespace

/// A plain load or store that no entry translates: all that is needed is in ESR_EL2, FAR_EL2 and HPFAR_EL2.
auto plain_access(Vcpu& v) noexcept -> Plain {
    const auto esr = v.context.get<"ESR_EL2">();
    if (!is_plain_access(esr)) return Plain::no;
    const auto far = read<"FAR_EL2">();
    const auto addr = fault_address(read<"HPFAR_EL2">(), far, false);
    const auto& vm = v.vm();
    if (vm.is_ram(addr)) {  // memory that nobody has touched yet
        v.context.raw<"FAR_EL2">() = far;
        v.pending.kind = Pending::Kind::fault;
        v.pending.length = static_cast<std::uint8_t>(Esr{esr}.length());
        v.exit() = exit::NestedPageFault{addr, far, esr, Abort{static_cast<std::uint32_t>(esr)}.write() ? axvcpu::Access::write : axvcpu::Access::read, false, false};
        return Plain::exit;
    }
    if (vm.controller().window.contains(addr)) return controller_access(v, esr, addr);
    v.context.raw<"FAR_EL2">() = far;
    v.pending.kind = Pending::Kind::device;
    device_access(v, *decode_access(esr), addr, 0, 1, v.exit());
    return Plain::exit;
}

auto on_abort(Vcpu& v, Esr esr, Exit& out) noexcept -> bool {
    const Abort abort{esr.iss()};
    const auto far = read<"FAR_EL2">();
    v.context.raw<"FAR_EL2">() = far;
    GuestPhysAddr addr;
    if (abort.hpfar_valid()) [[likely]] {
        addr = fault_address(read<"HPFAR_EL2">(), far, abort.on_table_walk());
    } else {
        const auto found = translate_guest(v, far);
        if (!found) return false;  // the guest changed its tables meanwhile: it faults again, or not (A26)
        addr = *found;
    }
    const auto kind = outside(esr);
    if (kind == Outside::fault || v.machine().is_ram(addr)) return fault_exit(v, esr, addr, out);
    if (kind == Outside::instruction) return decode_from_memory(v, esr, addr, out);
    const auto access = decode_access(esr.value);
    if (std::uint64_t value = 0; ask_controller(v, *access, addr, value)) {
        if (!access->write) v.set_x(access->reg, loaded_value(*access, value));
        advance(v, esr.length());
        return false;
    }
    v.pending.kind = Pending::Kind::device;
    return device_access(v, *access, addr, 0, 1, out);
}

}  // namespace axvcpu::aarch64
