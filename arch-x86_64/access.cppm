// x86_64: the only place with instructions of C++ code that name system registers. Everything else names them through the table.
export module axvcpu.x86_64:access;
import std;
import axvcpu.reg;
import :registers;
import :firmware;

export namespace axvcpu::x86_64 {

[[gnu::always_inline]] inline auto read_msr(std::uint32_t msr) noexcept -> std::uint64_t {
    std::uint32_t low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return low | std::uint64_t{high} << 32;
}
[[gnu::always_inline]] inline void write_msr(std::uint32_t msr, std::uint64_t v) noexcept {
    asm volatile("wrmsr" ::"a"(static_cast<std::uint32_t>(v)), "d"(static_cast<std::uint32_t>(v >> 32)), "c"(msr) : "memory");
}
template <reg::Name N> [[gnu::always_inline]] inline auto read() noexcept -> std::uint64_t { return read_msr(msr_of<N>); }
template <reg::Name N> [[gnu::always_inline]] inline void write(std::uint64_t v) noexcept { write_msr(msr_of<N>, v); }

inline auto machine_cpuid(std::uint32_t leaf, std::uint32_t subleaf) noexcept -> CpuidResult {
    CpuidResult r;
    asm volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
    return r;
}
[[gnu::always_inline]] inline auto read_tsc() noexcept -> std::uint64_t {
    std::uint32_t low, high;
    asm volatile("rdtsc" : "=a"(low), "=d"(high));
    return low | std::uint64_t{high} << 32;
}
inline auto read_cr2() noexcept -> std::uint64_t {
    std::uint64_t v;
    asm volatile("mov %%cr2, %0" : "=r"(v));
    return v;
}
inline void write_cr2(std::uint64_t v) noexcept { asm volatile("mov %0, %%cr2" ::"r"(v)); }
inline auto read_cr4() noexcept -> std::uint64_t {
    std::uint64_t v;
    asm volatile("mov %%cr4, %0" : "=r"(v));
    return v;
}

/// DR0 to DR3, DR6, DR7.
template <unsigned N> [[gnu::always_inline]] inline auto read_debug() noexcept -> std::uint64_t {
    std::uint64_t v;
    asm volatile("mov %%db%c1, %0" : "=r"(v) : "i"(N));
    return v;
}
template <unsigned N> [[gnu::always_inline]] inline void write_debug(std::uint64_t v) noexcept { asm volatile("mov %0, %%db%c1" ::"r"(v), "i"(N)); }

/// Clears RFLAGS.IF; gives what it was.
[[gnu::always_inline]] inline auto mask_interrupts() noexcept -> std::uint64_t {
    std::uint64_t flags;
    asm volatile("pushf\n pop %0\n cli" : "=r"(flags)::"memory");
    return flags & 1 << 9;
}
[[gnu::always_inline]] inline void restore_interrupts(std::uint64_t flag) noexcept { if (flag != 0) asm volatile("sti" ::: "memory"); }
[[gnu::always_inline]] inline void pause_hint() noexcept { asm volatile("pause" ::: "memory"); }

}  // namespace axvcpu::x86_64
