// The backend of the target this is compiled for, under the names that user code has.
export module axvcpu.arch;
export import axvcpu.x86_64;
export import axvcpu.vcpu;
import axvcpu.stage2;
import axvcpu.vm;
import axvcpu.hal;
import axvcpu.percpu;

export namespace axvcpu {
namespace arch = x86_64;
using Arch = x86_64::Arch;
using VmConfig = x86_64::VmConfig;
using CreateConfig = x86_64::CreateConfig;
template <Hal H> using Vm = BasicVm<Arch, H>;
template <Hal H> using Vcpu = BasicVcpu<Arch, H>;
template <Hal H> using PerCpu = BasicPerCpu<Arch, H>;
using Slot = VcpuSlot<x86_64::Vcpu>;
/// A shape of tables that every machine of this architecture has: levels, and bits of guest-physical address.
inline constexpr unsigned stage2_levels = 4, stage2_address_bits = 48;
inline constexpr const Stage2Format& stage2_format = x86_64::stage2_format;
using x86_64::tlb_maintenance;
}  // namespace axvcpu
