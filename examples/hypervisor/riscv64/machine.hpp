// The machine that a RISC-V guest sees: QEMU's `virt`.
#pragma once
import std;
import axvcpu;
import axvcpu.arch;
import axvcpu.device.ns16550;
import axvcpu.device.plic;
import axvcpu.device.aplic;

namespace hypervisor {

using namespace axvcpu;
using Uart = device::Ns16550;

inline constexpr GuestPhysAddr ram_base{0x8000'0000}, plic_base{0x0C00'0000}, aplic_base{0x0D00'0000}, imsic_base{0x2800'0000}, uart_base{0x1000'0000};
inline constexpr std::uint32_t uart_interrupt = 10, controller_phandle = 1;
inline constexpr std::uint64_t image_offset = 0;                // of a Linux Image from the start of RAM, before its text_offset
inline constexpr std::uint32_t image_magic = 0x0543'5352;       // "RSC\x05"
inline constexpr std::uint64_t measuring_call = std::uint64_t{0x0A00'0000} << 32 | 1;  // a hypercall of our own: the sum of its arguments
inline constexpr bool controller_serves_all = false;             // the harts have controllers of their own
inline constexpr const char *stdout_path = "/soc/serial@10000000", *machine_compatible = "riscv-virtio";

/// What takes the devices' lines: a PLIC, or an APLIC before the vCPUs' IMSICs.
class Controller {
public:
    explicit Controller(riscv64::Vm& vm) noexcept
        : aia_(vm.imsic.size != 0), plic_(vm, plic_base), aplic_(aplic_base, vm.vcpus(), {&vm, riscv64::deliver_msi}) {}
    void set_line(std::uint32_t source, bool level) noexcept { aia_ ? aplic_.set_line(source, level) : plic_.set_line(source, level); }
    auto window() const noexcept -> GuestRange { return aia_ ? aplic_.window() : plic_.window(); }
    auto access(std::uint32_t vcpu, DeviceAccess& a) noexcept -> bool { return aia_ ? aplic_.access(vcpu, a) : plic_.access(vcpu, a); }
    auto peek(std::uint32_t vcpu, Interrupt& out) noexcept -> bool { return !aia_ && plic_.peek(vcpu, out); }

private:
    bool aia_;
    device::Plic plic_;
    device::Aplic aplic_;
};

inline auto make_controller(riscv64::Vm& vm) noexcept -> Controller { return Controller(vm); }

}  // namespace hypervisor
