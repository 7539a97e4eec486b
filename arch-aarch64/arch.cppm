// The backend of the target this is compiled for, under the names that user code has.
export module axvcpu.arch;
export import axvcpu.aarch64;
export import axvcpu.vcpu;
import axvcpu.stage2;
import axvcpu.vm;
import axvcpu.hal;
import axvcpu.percpu;

export namespace axvcpu {
namespace arch = aarch64;
using Arch = aarch64::Arch;
using VmConfig = aarch64::VmConfig;
using CreateConfig = aarch64::CreateConfig;
template <Hal H> using Vm = BasicVm<Arch, H>;
template <Hal H> using Vcpu = BasicVcpu<Arch, H>;
template <Hal H> using PerCpu = BasicPerCpu<Arch, H>;
using Slot = VcpuSlot<aarch64::Vcpu>;
/// A shape of tables that every machine of this architecture has: levels, and bits of guest-physical address.
inline constexpr unsigned stage2_levels = 3, stage2_address_bits = 39;
inline constexpr const Stage2Format& stage2_format = aarch64::stage2_format;
using aarch64::tlb_maintenance;
namespace fast = aarch64::fast;
}  // namespace axvcpu
