// The RISC-V backend's public face. What describes the machine compiles on any host; what needs it, only there.
export module axvcpu.riscv64;
export import :registers;
export import :decode;
export import :firmware;
export import :stage2;
export import :imsic;
#if defined(__riscv) && !defined(__linux__)
export import :access;
export import :backend;
import axvcpu.percpu;
static_assert(axvcpu::Backend<axvcpu::riscv64::Arch>);
#endif
