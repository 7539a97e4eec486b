// AArch64: the stage-2 descriptor format for the 4 KiB granule, and VTCR_EL2. Pure; compiles on any host.
export module axvcpu.aarch64:stage2;
import std;
import axvcpu.stage2;

export namespace axvcpu::aarch64 {

/// DDI 0487, VMSAv8-64 stage 2 descriptors: S2AP at 6, SH at 8, AF at 10, XN at 53; MemAttr at 2: 1111 normal write-back, 0000 device.
inline constexpr Stage2Format stage2_format{
    .address_mask = 0x0000'FFFF'FFFF'F000,
    .address_shift = 0,
    .present_mask = 1,
    .table = 0b11,
    .page = 0b11 | 3 << 8 | 1 << 10,
    .block = 0b01 | 3 << 8 | 1 << 10,
    .leaf_mask = 0b11,
    .leaf_value = 0b01,
    .leaf_when_equal = true,
    .read = 1 << 6,
    .write = 1 << 7,
    .execute = 0,
    .no_execute = std::uint64_t{1} << 54,  // XN[1]; XN[0] at 53 stays 0: neither EL1 nor EL0 executes
    .normal = 0xF << 2,
    .device = 0,
    .root_pages = 1,
    .largest_block_level = 2,
};

/// Size of the physical address space for ID_AA64MMFR0_EL1.PARange, in bits; at most 48 without 52-bit descriptors (A25).
constexpr auto physical_bits(unsigned parange) noexcept -> unsigned {
    constexpr std::array<std::uint8_t, 6> bits{32, 36, 40, 42, 44, 48};
    return parange < bits.size() ? bits[parange] : 48;
}

/// VTCR_EL2 for tables of `levels` levels over `address_bits`, with the PS of `parange`; walks are write-back inner shareable.
constexpr auto vtcr(unsigned levels, unsigned address_bits, unsigned parange, unsigned vmid_bits) noexcept -> std::uint64_t {
    const std::uint64_t ps = std::min(parange, 5u), sl0 = levels == 4 ? 2 : 1;
    return std::uint64_t{1} << 31 | (vmid_bits == 16 ? std::uint64_t{1} << 19 : 0) | ps << 16 | std::uint64_t{3} << 12 |
           std::uint64_t{1} << 10 | std::uint64_t{1} << 8 | sl0 << 6 | (64 - address_bits);
}

/// Whether tables of this shape can be walked: 3 levels up to 43 bits (16 concatenated roots); 4 levels from 40 to 48, on CPUs with
/// at least 44 bits of physical address (DDI 0487, VTCR_EL2.SL0: level 0 is reserved below that).
constexpr auto stage2_shape_ok(unsigned levels, unsigned address_bits, unsigned physical) noexcept -> bool {
    if (address_bits > physical || address_bits < 32) return false;
    return levels == 3 ? address_bits <= 43 : levels == 4 && physical >= 44 && address_bits >= 40 && address_bits <= 48;
}

}  // namespace axvcpu::aarch64
