// The guest's own page tables, walked in software: for reading instructions, and for checking what they name.
// Source: APM 2, Page-Translation Mechanism: legacy, PAE and long-mode tables.
module axvcpu.x86_64;
import std;
import axvcpu.hal;
import axvcpu.vm;

namespace axvcpu::x86_64 {

namespace {

constexpr std::uint64_t present = 1, large = 1 << 7, cr4_pse = 1 << 4, address = 0x000F'FFFF'FFFF'F000;

/// A value in the guest's memory that does not cross a page. Nothing: no memory is mapped there.
template <class T>
auto read_guest(const Vcpu& v, GuestPhysAddr at) noexcept -> std::optional<T> {
    const auto mapping = v.machine().stage2->walk(at);
    if (!mapping) return std::nullopt;
    const auto* p = static_cast<const volatile T*>(v.hal->phys_to_virt(mapping->address));
    if (p == nullptr) return std::nullopt;
    return *p;
}

/// Tables of 8-byte entries, from `level` (the last one is 0) down. `table`: of that level, `index_bits` of it used.
auto walk_wide(const Vcpu& v, std::uint64_t linear, std::uint64_t table, unsigned level, unsigned index_bits) noexcept -> std::optional<GuestPhysAddr> {
    for (;; --level) {
        const unsigned shift = 12 + 9 * level;
        const auto entry = read_guest<std::uint64_t>(v, {table + (linear >> shift & ((1u << index_bits) - 1)) * 8});
        if (!entry || (*entry & present) == 0) return std::nullopt;
        const auto within = (std::uint64_t{1} << shift) - 1;
        if (level == 0 || ((*entry & large) != 0 && level <= 2)) return GuestPhysAddr{(*entry & address & ~within) | (linear & within)};
        table = *entry & address;
        index_bits = 9;
    }
}

auto walk_narrow(const Vcpu& v, std::uint64_t linear, std::uint64_t table) noexcept -> std::optional<GuestPhysAddr> {
    const auto top = read_guest<std::uint32_t>(v, {(table & 0xFFFF'F000) + (linear >> 22 & 1023) * 4});
    if (!top || (*top & present) == 0) return std::nullopt;
    if ((*top & large) != 0 && (v.vmcb->cr4 & cr4_pse) != 0)  // 4 MiB, with bits 39 to 32 of the address at 20 to 13
        return GuestPhysAddr{(*top & 0xFFC0'0000) | std::uint64_t{*top >> 13 & 0xFF} << 32 | (linear & 0x3F'FFFF)};
    const auto entry = read_guest<std::uint32_t>(v, {(*top & 0xFFFF'F000) + (linear >> 12 & 1023) * 4});
    if (!entry || (*entry & present) == 0) return std::nullopt;
    return GuestPhysAddr{(*entry & 0xFFFF'F000) | (linear & 0xFFF)};
}

}  // namespace

auto walk(Vcpu& v, std::uint64_t linear) noexcept -> std::optional<GuestPhysAddr> {
    const auto& b = *v.vmcb;
    if ((b.efer & efer_lma) == 0) linear &= 0xFFFF'FFFF;
    if ((b.cr0 & cr0_pg) == 0) return GuestPhysAddr{linear};
    const VcpuCore::Reading reading(v);
    if ((b.efer & efer_lma) != 0) return walk_wide(v, linear, b.cr3 & address, 3, 9);
    if ((b.cr4 & cr4_pae) != 0) return walk_wide(v, linear, b.cr3 & 0xFFFF'FFE0, 2, 2);
    return walk_narrow(v, linear, b.cr3);
}

auto fetch(Vcpu& v, std::array<std::uint8_t, 15>& bytes) noexcept -> std::size_t {
    const auto& b = *v.vmcb;
    const bool wide = v.in_long_mode();
    const auto start = wide ? b.rip : b.cs.base + b.rip;
    std::optional<GuestPhysAddr> at;
    for (std::size_t n = 0; n < bytes.size(); ++n) {
        if (n == 0 || (start + n) % 4096 == 0) at = walk(v, wide ? start + n : (start + n) & 0xFFFF'FFFF);
        else at = *at + 1;
        if (!at) return n;
        const VcpuCore::Reading reading(v);
        const auto byte = read_guest<std::uint8_t>(v, *at);
        if (!byte) return n;
        bytes[n] = *byte;
    }
    return bytes.size();
}

auto readable(Vcpu& v) noexcept -> bool {
    std::array<std::uint8_t, 15> bytes{};
    return fetch(v, bytes) == bytes.size() || any_length(v);
}

auto instruction_length(Vcpu& v, SystemInstruction* out) noexcept -> std::optional<std::uint8_t> {
    const auto& b = *v.vmcb;
    if (v.percpu->next_rip && out == nullptr && b.next_rip > b.rip && b.next_rip - b.rip <= 15) return static_cast<std::uint8_t>(b.next_rip - b.rip);
    std::array<std::uint8_t, 15> bytes{};
    const auto n = fetch(v, bytes);
    const auto s = decode_system(std::span(bytes).first(n), v.in_long_mode());
    if (!s) return std::nullopt;
    if (out != nullptr) *out = *s;
    return s->length;
}

}  // namespace axvcpu::x86_64
