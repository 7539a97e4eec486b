// The AArch64 backend's public face. What describes the machine compiles on any host; what needs it, only there.
export module axvcpu.aarch64;
export import :registers;
export import :syndrome;
export import :decode;
export import :firmware;
export import :stage2;
#if defined(__aarch64__) && !defined(__linux__)
export import :access;
export import :backend;
import axvcpu.percpu;
static_assert(axvcpu::Backend<axvcpu::aarch64::Arch>);
#endif
