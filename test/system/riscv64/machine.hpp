// What the suites have to know of RISC-V.
#pragma once
#define AXVCPU_FAST_HOOK 1
#define CALLEE_SAVED_FP "fs0", "fs1", "fs2", "fs3", "fs4", "fs5", "fs6", "fs7", "fs8", "fs9", "fs10", "fs11"
import std;
import axvcpu;
import axvcpu.arch;
import axvcpu.device.plic;

extern "C" auto axvcpu_probe_hvictl(std::uint64_t*) noexcept -> std::uint64_t;  // of the backend: 0 where the hart has it

namespace harness {

using namespace axvcpu;
using Controller = axvcpu::device::Plic;
inline constexpr GuestPhysAddr plic_base{0x0C00'0000};
inline auto make_controller(VmCore& vm) noexcept -> Controller { return {vm, plic_base}; }

/// An SBI extension of the hypervisor's own: function 0 reports a0 to a5; function 1 is what the payloads' trap vector reports, with
/// scause, stval, sepc, sstatus.
inline constexpr std::uint64_t report = std::uint64_t{0x0A00'0000} << 32, exception = report + 1;

inline constexpr GuestPhysAddr imsic_base{0x2800'0000};
inline void add_aia(VmConfig& c) { c.imsic = imsic_base; }
inline void prepare(unsigned char*, GuestPhysAddr) {}
inline auto create_config(GuestPhysAddr, std::uint32_t id, GuestPhysAddr entry, std::uint64_t arg, bool off, std::span<std::byte> vectors = {}) -> CreateConfig {
    return {.id = id, .entry = entry, .arg = arg, .off = off, .vector_state = vectors};
}

/// Where the guest was when it left.
inline auto in_user_mode(auto& vcpu) -> bool { return (vcpu.core().context.template get<"sstatus">() & arch::sstatus::spp) == 0; }

/// Whether its addresses were translated by its own tables when it left.
inline auto is_translated(auto& vcpu) -> bool { return vcpu.get(arch::registers[arch::index<"vsatp">].id()).value_or(0) >> 60 != 0; }

inline constexpr bool instructions_are_aligned = true;
inline constexpr reg::Id on_bind_id = arch::registers[arch::index<"vsscratch">].id();
inline constexpr reg::Id pc_id = arch::registers[arch::index<"pc">].id(), argument_id = arch::registers[arch::index<"x">].id(11);
/// Whether a use of floating point by this bound vCPU's guest traps.
inline auto fp_traps(const arch::Vcpu& v) -> bool { return (v.context.get<"sstatus">() & arch::sstatus::fs) == 0; }
/// One of those that keep_fp keeps.
inline constexpr reg::Id fp_id = arch::registers[arch::index<"f">].id(8);
/// General registers that call_forever leaves alone: not a0 and a1 (the answer), a6 and a7 (the call).
inline auto kept_registers() -> std::vector<reg::Id> {
    std::vector<reg::Id> ids;
    for (std::uint8_t i = 1; i < 32; ++i)
        if (i != 10 && i != 11 && i != 16 && i != 17) ids.push_back(arch::registers[arch::index<"x">].id(i));
    return ids;
}
/// A value for the `n`th canary: registers with side effects get harmless ones, of which there are two where there can be.
inline auto canary(std::size_t row, unsigned n) -> std::uint64_t {
    const auto& name = arch::registers[row].name;
    const auto either = [&](std::uint64_t a, std::uint64_t b) { return n % 2 == 0 ? a : b; };
    if (name == "vsatp" || name == "hvip" || name == "vl" || name == "vtype" || name == "vstart" || name == "vcsr") return 0;
    if (name == "vsie") return either(0, 0x222);                                     // nothing is taken with SIE = 0
    if (name == "vsstatus") return either(0, arch::sstatus::spp | arch::sstatus::fs);  // FS: dirty
    if (name == "fcsr") return either(0x25, 0x4A);
    if (name == "scounteren") return either(row % 8, 7 - row % 8);
    return (row * 0x0101'0101'0101'0101) & 0x0000'00FF'FFFF'FFF0;
}
inline auto free_in_control_block(std::string_view) -> bool { return false; }
template <reg::Name... N>
auto host_registers() -> std::vector<std::uint64_t> { return {arch::read<N>()...}; }
inline auto percpu_has_aia() -> bool {
    std::uint64_t value;
    return axvcpu_probe_hvictl(&value) == 0;
}
/// The host's registers that a bind overwrites, and those that it must not touch.
inline auto host_state() { return host_registers<"hstatus", "hgatp", "scounteren", "senvcfg", "stvec", "sscratch">(); }
/// Those that are the SDK's from enable() to disable().
inline auto owned_state() {
    auto all = host_registers<"hedeleg", "hideleg", "hie", "hcounteren", "hgeie", "henvcfg", "htimedelta", "hvip">();
    const auto aia = percpu_has_aia() ? host_registers<"hvictl", "hvien", "hviprio1", "hviprio2">() : std::vector<std::uint64_t>{};
    all.insert(all.end(), aia.begin(), aia.end());
    return all;
}
inline void plant_owned(std::uint64_t n) {
    arch::write<"hedeleg">(1 << 3 | (n & 1) << 8);
    arch::write<"hideleg">((n & 1) << 2);
    arch::write<"hcounteren">(n & 5);
    arch::write<"henvcfg">((n & 1) << 6);
    arch::write<"htimedelta">(n);
    if (percpu_has_aia()) arch::write<"hvictl">((n & 1) << 16);
}
inline auto interrupts_masked() -> bool { return (arch::read<"sstatus">() & arch::sstatus::sie) == 0; }
/// No instruction of RISC-V does that under QEMU.
inline void let_others_run() noexcept {}
/// The VMID that is loaded.
inline auto loaded_tag() noexcept -> std::uint64_t { return arch::read<"hgatp">() >> 44 & 0x3FFF; }
/// What plugins of QEMU take for a marker (tools/plugin/); does nothing.
template <unsigned N> [[gnu::always_inline]] inline void marker() noexcept { asm volatile("slti x0, x0, %c0" :: "i"(0x400 | N) : "memory"); }
/// A trapped register that the tests' fast hook reads as 77: hpmcounter3.
[[gnu::always_inline]] inline auto answer_register(FastExit& e) noexcept -> bool {
    const auto access = fast::register_access(e);
    if (!access || access->csr != 0xC03 || access->writes) return false;
    fast::answer_register(e, access->rd, 77);
    return true;
}
inline constexpr reg::Id host_owned_id = arch::registers[arch::index<"hgatp">].id(), read_only_id = arch::registers[arch::index<"scause">].id();

// For "after an unbinding ...": a row of the table as the hart has it, and what is there when no vCPU is bound.
template <std::size_t I> auto cold_register() -> std::uint64_t { return arch::read_row<I>(); }
inline auto given_back(std::string_view name) -> bool { return name == "scounteren" || name == "senvcfg" || name == "sstateen0"; }
inline auto after_unbind(std::string_view name) -> std::uint64_t { return name == "vstimecmp" ? no_deadline : name == "vsstatus" ? arch::sstatus::uxl64 : 0; }  // UXL has one value
inline constexpr std::size_t vector_words = 32;
/// fcsr: as fill_fp sets it, as it is, and a vCPU's.
inline constexpr std::uint64_t fp_control = 0x25;
inline auto read_fp_control() -> std::uint64_t { return arch::read<"fcsr">(); }
inline constexpr auto vectors_row = arch::index<"f">;
inline auto fp_control_of(auto& vcpu) -> std::uint64_t { return vcpu.get(arch::registers[arch::index<"fcsr">].id()).value_or(0); }
[[gnu::always_inline]] inline void read_vectors(std::uint64_t* to) {
    asm volatile(".option push\n.option arch, +d\n.irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\nfsd f\\n, 8*\\n(%0)\n.endr\n.option pop" ::"r"(to) : "memory");
}
inline void plant_priorities() {}
inline auto left_priorities() -> std::uint64_t { return 0; }

}  // namespace harness

/// A guest payload, beside its test. Starts with a0 = hart id, a1 = arg, translation off, in VS-mode.
#define GUEST(name, text) \
    asm(".pushsection .guest_payload,\"ax\"\n.balign 8\n.option push\n.option norvc\n.option arch, +v\n.globl " #name "\n" #name ":\n" text "\n.option pop\n.popsection"); \
    extern "C" const unsigned char name[]
/// Sets the guest's trap vector to the reporting one. Clobbers t0.
#define VECTORS "la t0, guest_vectors\ncsrw stvec, t0\n"
/// Hypercall `report`; arguments are a0 to a5. Clobbers a6, a7.
#define REPORT "li a7, 0x0A000000\nli a6, 0\necall\n"
