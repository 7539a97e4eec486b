// The machine that a RISC-V guest sees: QEMU's `virt`.
#pragma once
import std;
import axvcpu;
import axvcpu.arch;
import axvcpu.device.ns16550;
import axvcpu.device.plic;

namespace hypervisor {

using namespace axvcpu;
using Uart = device::Ns16550;
using Controller = device::Plic;

inline constexpr GuestPhysAddr ram_base{0x8000'0000}, plic_base{0x0C00'0000}, uart_base{0x1000'0000};
inline constexpr std::uint32_t uart_interrupt = 10, controller_phandle = 1;
inline constexpr std::uint64_t image_offset = 0;                // of a Linux Image from the start of RAM, before its text_offset
inline constexpr std::uint32_t image_magic = 0x0543'5352;       // "RSC\x05"
inline constexpr std::uint64_t measuring_call = std::uint64_t{0x0A00'0000} << 32 | 1;  // a hypercall of our own: the sum of its arguments
inline constexpr bool controller_serves_all = false;             // the harts have controllers of their own
inline constexpr const char *stdout_path = "/soc/serial@10000000", *machine_compatible = "riscv-virtio";

inline auto make_controller(VmCore& vm) noexcept -> Controller { return {vm, plic_base}; }

}  // namespace hypervisor
