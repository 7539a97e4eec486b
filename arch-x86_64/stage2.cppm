// x86_64: the entry format of nested page tables. Pure; compiles on any host.
// Source: APM 2, Nested Paging: the format of long-mode page tables, in which every entry is a user page.
export module axvcpu.x86_64:stage2;
import std;
import axvcpu.stage2;

export namespace axvcpu::x86_64 {

/// P, R/W, U/S, A, D, PS, NX. U/S is what lets a guest read: nested walks are user accesses. A and D are set at once.
inline constexpr Stage2Format stage2_format{
    .address_mask = 0x000F'FFFF'FFFF'F000,
    .address_shift = 0,
    .present_mask = 1,
    .table = 0b111,
    .page = 1 | 1 << 5 | 1 << 6,
    .block = 1 | 1 << 5 | 1 << 6 | 1 << 7,
    .leaf_mask = 1 << 7,
    .leaf_value = 1 << 7,
    .leaf_when_equal = true,
    .read = 1 << 2,
    .write = 1 << 1,
    .execute = 0,
    .no_execute = std::uint64_t{1} << 63,
    .normal = 0,
    .device = 1 << 4,  // PCD: uncached
    .root_pages = 1,
    .largest_block_level = 2,
};

}  // namespace axvcpu::x86_64
