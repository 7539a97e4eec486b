// RISC-V: the G-stage entry format and hgatp. Pure; compiles on any host.
// Source: Privileged Architecture, Hypervisor Guest Address Translation and Protection Register, and Two-Stage Address Translation.
export module axvcpu.riscv64:stage2;
import std;
import axvcpu.stage2;

export namespace axvcpu::riscv64 {

/// V, R, W, X, U, A, D. Every G-stage leaf has U; A and D are set at once, so that no hart has to.
inline constexpr Stage2Format stage2_format{
    .address_mask = 0x003F'FFFF'FFFF'FC00,
    .address_shift = 2,
    .present_mask = 1,
    .table = 1,
    .page = 1 | 1 << 4 | 1 << 6 | 1 << 7,
    .block = 1 | 1 << 4 | 1 << 6 | 1 << 7,
    .leaf_mask = 0b1110,
    .leaf_value = 0,
    .leaf_when_equal = false,
    .read = 1 << 1,
    .write = 1 << 2 | 1 << 1,  // writable and not readable is reserved
    .execute = 1 << 3,
    .no_execute = 0,
    .normal = 0,
    .device = 0,
    .root_pages = 4,
    .largest_block_level = 2,
};

/// hgatp.MODE for tables of this many levels: Sv39x4, Sv48x4, Sv57x4; 0 for any other number.
constexpr auto hgatp_mode(unsigned levels) noexcept -> std::uint64_t { return levels >= 3 && levels <= 5 ? levels + 5 : 0; }
/// Address bits that the mode translates: two more than the same mode of satp.
constexpr auto guest_address_bits(unsigned levels) noexcept -> unsigned { return 12 + 9 * levels + 2; }
constexpr auto hgatp(unsigned levels, std::uint64_t vmid, std::uint64_t root) noexcept -> std::uint64_t {
    return hgatp_mode(levels) << 60 | (vmid & 0x3FFF) << 44 | root >> 12;
}

}  // namespace axvcpu::riscv64
