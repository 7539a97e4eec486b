// The x86_64 backend's public face. What describes the machine compiles on any host; what needs it, only there.
export module axvcpu.x86_64;
export import :registers;
export import :decode;
export import :firmware;
export import :vmcb;
export import :stage2;
#if defined(__x86_64__) && !defined(__linux__)
export import :access;
export import :backend;
import axvcpu.percpu;
static_assert(axvcpu::Backend<axvcpu::x86_64::Arch>);
#endif
