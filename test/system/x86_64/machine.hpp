// What the suites have to know of x86_64.
#pragma once
import std;
import axvcpu;
import axvcpu.arch;

namespace harness {

using namespace axvcpu;
/// There is no model of a local APIC yet: no test attaches a controller.
struct Controller {
    static auto window() noexcept -> GuestRange { return {}; }
    static auto access(std::uint32_t, DeviceAccess&) noexcept -> bool { return false; }
    static auto peek(std::uint32_t, Interrupt&) noexcept -> bool { return false; }
};
inline auto make_controller(VmCore&) noexcept -> Controller { return {}; }

/// Payloads run in 64-bit mode, memory mapped one to one up to 512 GiB by tables behind the payloads: a PML4, and a table of 1 GiB pages.
inline constexpr std::uint64_t tables = 0x1'E000;
inline void add_aia(VmConfig&) {}  // RISC-V's
inline void prepare(unsigned char* memory, GuestPhysAddr base) {
    auto* words = reinterpret_cast<std::uint64_t*>(memory + tables);
    constexpr std::uint64_t present_writable_user = 7, large = 1 << 7;
    words[0] = (base.value + tables + 4096) | present_writable_user;
    for (std::uint64_t i = 0; i < 512; ++i) words[512 + i] = i << 30 | present_writable_user | large;
}
inline auto create_config(GuestPhysAddr base, std::uint32_t id, GuestPhysAddr entry, std::uint64_t arg, bool off, std::span<std::byte> = {}) -> CreateConfig {
    return {.id = id, .entry = entry, .arg = arg, .off = off, .page_tables = base + tables};
}

/// RAX of a payload's calls: `report` reports rdi, rsi, rdx, rcx, r8, r9.
inline constexpr std::uint64_t report = 0xC0DE;

inline constexpr bool instructions_are_aligned = false;
inline constexpr reg::Id pc_id = arch::registers[arch::index<"RIP">].id(), argument_id = arch::registers[arch::index<"RSI">].id();
/// General registers that call_forever leaves alone.
inline auto kept_registers() -> std::vector<reg::Id> {
    std::vector<reg::Id> ids;
    for (std::size_t i = arch::index<"RDI">; i <= arch::index<"R15">; ++i) ids.push_back(arch::registers[i].id());
    return ids;
}
/// A value for the `n`th canary: registers with side effects get harmless ones.
inline auto canary(std::size_t row, unsigned) -> std::uint64_t { return (row * 0x0101'0101'0101'0101) & 0x0000'00FF'FFFF'FFF0; }
/// Registers of the control block that may hold anything: the rest says what mode the guest is in.
inline auto free_in_control_block(std::string_view name) -> bool {
    constexpr std::array names{"CR2", "FS.base", "GS.base", "GDTR.base", "IDTR.base", "STAR", "LSTAR", "CSTAR", "KERNEL_GS_BASE", "SYSENTER_ESP", "SYSENTER_EIP"};
    return std::ranges::find(names, name) != names.end();
}
/// The host's registers that a bind overwrites.
inline auto host_state() -> std::vector<std::uint64_t> {
    return {arch::read<"HOST_EFER">() & ~arch::efer_svme, arch::read_debug<0>(), arch::read_debug<3>(), arch::read_debug<7>(), arch::read_msr(0xC000'0100), arch::read_msr(0xC000'0101),
            arch::read_msr(0xC000'0102), arch::read_msr(arch::msr_of<"LSTAR">), arch::read_msr(arch::msr_of<"STAR">), arch::read_cr4(), arch::read_cr2()};
}
/// From enable() to disable() the SDK owns EFER.SVME and VM_HSAVE_PA alone, which "enable" has its own case for.
inline auto owned_state() -> std::vector<std::uint64_t> { return {}; }
inline void plant_owned(std::uint64_t) {}
inline auto interrupts_masked() -> bool {
    const auto flag = arch::mask_interrupts();
    arch::restore_interrupts(flag);
    return flag == 0;
}
inline constexpr reg::Id host_owned_id = arch::registers[arch::index<"VM_HSAVE_PA">].id(), read_only_id{};  // every register of the table can be set

}  // namespace harness

/// A guest payload, beside its test. Starts with rsi = arg, in 64-bit mode.
#define GUEST(name, text) \
    asm(".pushsection .guest_payload,\"a\"\n.balign 8\n.globl " #name "\n" #name ":\n" text "\n.popsection"); \
    extern "C" const unsigned char name[]
/// Hypercall `report`; arguments are rdi, rsi, rdx, rcx, r8, r9.
#define REPORT "mov $0xC0DE, %eax\nvmmcall\n"
