// The machine that an AArch64 guest sees: QEMU's `virt`.
#pragma once
import std;
import axvcpu;
import axvcpu.arch;
import axvcpu.device.gicv3;
import axvcpu.device.pl011;

namespace hypervisor {

using namespace axvcpu;
using Uart = device::Pl011;
using Controller = device::Gicv3;

inline constexpr GuestPhysAddr ram_base{0x4000'0000}, gicd_base{0x0800'0000}, gicr_base{0x080A'0000}, uart_base{0x0900'0000};
inline constexpr std::uint32_t uart_interrupt = 33, controller_phandle = 1;
inline constexpr std::uint64_t image_offset = 0x20'0000;        // of a Linux Image from the start of RAM, before its text_offset
inline constexpr std::uint32_t image_magic = 0x644D'5241;       // "ARM\x64"
inline constexpr std::uint64_t measuring_call = 0xC600'0001;      // a hypercall of our own: the sum of its arguments
inline constexpr bool controller_serves_all = true;              // every node, unless it says otherwise
inline constexpr const char *stdout_path = "/pl011@9000000", *machine_compatible = "linux,dummy-virt";

inline auto make_controller(VmCore& vm) noexcept -> Controller { return {vm, {gicd_base, gicr_base}}; }

}  // namespace hypervisor
