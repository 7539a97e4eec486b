// Nested page faults: a page to map, or an access to a device.
module axvcpu.x86_64;
import std;
import axvcpu.hal;
import axvcpu.exit;
import axvcpu.vm;

namespace axvcpu::x86_64 {

namespace {

auto fault_exit(Vcpu& v, NestedFault f, GuestPhysAddr addr, std::uint64_t linear) noexcept -> bool {
    v.pending = {.kind = Pending::Kind::fault};
    v.exit() = exit::NestedPageFault{.addr = addr, .virt = linear, .syndrome = f.info, .access = f.execute() ? Access::execute : f.write() ? Access::write : Access::read,
                                     .present = f.present(), .on_table_walk = f.on_table_walk()};
    return true;
}

auto store_value(Vcpu& v, const MemoryAccess& a) noexcept -> std::uint64_t {
    if (a.has_immediate) return narrow(a.immediate, a.width);
    return narrow(a.high_byte ? v.x(a.reg) >> 8 & 0xFF : v.x(a.reg), a.width);
}

}  // namespace

auto on_nested_page_fault(Vcpu& v) noexcept -> bool {
    const auto& b = *v.vmcb;
    const NestedFault f{b.exit_info1};
    const GuestPhysAddr addr{b.exit_info2};
    constexpr std::uint64_t valid = std::uint64_t{1} << 31;
    // In the delivery of an event it is not the instruction's own access.
    if (f.on_table_walk() || f.execute() || v.vm().is_ram(addr) || (b.exit_interrupt_info & valid) != 0) return fault_exit(v, f, addr, 0);
    std::array<std::uint8_t, 15> bytes{};
    const auto n = fetch(v, bytes);
    const auto a = decode_memory(v, std::span(bytes).first(n));
    if (!a) return fault_exit(v, f, addr, 0);
    // What was read must be what trapped: another vCPU may have rewritten it.
    const auto named = walk(v, a->linear);
    if (a->write != f.write()) return false;
    if (!named || named->value / 4096 != addr.value / 4096) return fault_exit(v, f, addr, a->linear);  // its first part was memory, or its tables say other things now
    if (*named != addr) return false;
    if ((addr.value & 0xFFF) + a->width > 0x1000) return fault_exit(v, f, addr, a->linear);
    v.pending = {.kind = Pending::Kind::mmio, .length = a->length, .width = a->width, .reg = a->reg, .to_width = a->to_width, .high_byte = a->high_byte, .sign_extend = a->sign_extend};
    if (a->write) v.exit() = exit::MmioWrite{addr, a->width, 0, 1, store_value(v, *a)};
    else v.exit() = exit::MmioRead{addr, a->width, 0, 1};
    return true;
}

}  // namespace axvcpu::x86_64
