// The backend of the target this is compiled for, under the names that user code has.
export module axvcpu.arch;
export import axvcpu.riscv64;
export import axvcpu.vcpu;
import axvcpu.stage2;
import axvcpu.vm;
import axvcpu.hal;
import axvcpu.percpu;

export namespace axvcpu {
namespace arch = riscv64;
using Arch = riscv64::Arch;
using VmConfig = riscv64::VmConfig;
using CreateConfig = riscv64::CreateConfig;
template <Hal H> using Vm = BasicVm<Arch, H>;
template <Hal H> using Vcpu = BasicVcpu<Arch, H>;
template <Hal H> using PerCpu = BasicPerCpu<Arch, H>;
using Slot = VcpuSlot<riscv64::Vcpu>;
/// A shape of tables that every machine of this architecture has: levels, and bits of guest-physical address.
inline constexpr unsigned stage2_levels = 3, stage2_address_bits = 39;
inline constexpr const Stage2Format& stage2_format = riscv64::stage2_format;
using riscv64::tlb_maintenance;
namespace fast = riscv64::fast;
}  // namespace axvcpu
