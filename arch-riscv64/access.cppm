// RISC-V: the only place with CSR instructions and fences of C++ code. Everything else names registers through the table.
export module axvcpu.riscv64:access;
import std;
import axvcpu.reg;
import :registers;

export namespace axvcpu::riscv64 {

template <std::size_t I>
[[gnu::always_inline]] inline auto read_row() noexcept -> std::uint64_t {
    std::uint64_t value;
    asm volatile("csrr %0, %1" : "=r"(value) : "i"(registers[I].encoding.number));
    return value;
}
template <std::size_t I>
[[gnu::always_inline]] inline void write_row(std::uint64_t value) noexcept {
    // Not csrw: a disassembler prints that with the CSR first, and who scans objects for vector stores takes vsepc for one.
    std::uint64_t old;
    asm volatile("csrrw %0, %2, %1" : "=r"(old) : "r"(value), "i"(registers[I].encoding.number) : "memory");
}
template <reg::Name N> [[gnu::always_inline]] inline auto read() noexcept -> std::uint64_t { return read_row<index<N>>(); }
template <reg::Name N> [[gnu::always_inline]] inline void write(std::uint64_t value) noexcept { write_row<index<N>>(value); }
template <reg::Name N> [[gnu::always_inline]] inline auto exchange(std::uint64_t value) noexcept -> std::uint64_t {
    std::uint64_t old;
    asm volatile("csrrw %0, %2, %1" : "=r"(old) : "r"(value), "i"(csr_of<N>) : "memory");
    return old;
}
template <reg::Name N> [[gnu::always_inline]] inline void set_bits(std::uint64_t bits) noexcept {
    asm volatile("csrs %1, %0" ::"r"(bits), "i"(csr_of<N>) : "memory");
}
/// The same; gives what was there before.
template <reg::Name N> [[gnu::always_inline]] inline auto exchange_bits(std::uint64_t bits) noexcept -> std::uint64_t {
    std::uint64_t before;
    asm volatile("csrrs %0, %2, %1" : "=r"(before) : "r"(bits), "i"(csr_of<N>) : "memory");
    return before;
}
template <reg::Name N> [[gnu::always_inline]] inline void clear_bits(std::uint64_t bits) noexcept {
    asm volatile("csrc %1, %0" ::"r"(bits), "i"(csr_of<N>) : "memory");
}

/// Clears sstatus.SIE; gives what it was.
[[gnu::always_inline]] inline auto mask_interrupts() noexcept -> std::uint64_t {
    std::uint64_t before;
    asm volatile("csrrci %0, sstatus, 2" : "=r"(before)::"memory");
    return before & sstatus::sie;
}
[[gnu::always_inline]] inline void restore_interrupts(std::uint64_t sie) noexcept { asm volatile("csrs sstatus, %0" ::"r"(sie) : "memory"); }

/// Runs f with floating point and vectors on, as they may be off for the host; what it had comes back.
template <class F>
[[gnu::always_inline]] inline void with_fp(F f) noexcept {
    const auto before = exchange_bits<"sstatus">(sstatus::fs_initial | sstatus::vs_initial);
    f();
    write<"sstatus">(before);
}

/// All VS-stage translations of the VMID in hgatp; all G-stage translations of every VMID. This hart's only.
inline void hfence_vvma() noexcept { asm volatile(".option push\n.option arch, +h\nhfence.vvma\n.option pop" ::: "memory"); }
inline void hfence_gvma() noexcept { asm volatile(".option push\n.option arch, +h\nhfence.gvma\n.option pop" ::: "memory"); }
/// Stores to devices are done before anything that follows.
inline void fence_io() noexcept { asm volatile("fence iorw, iorw" ::: "memory"); }
[[gnu::always_inline]] inline void pause_hint() noexcept { asm volatile(".4byte 0x0100000F" ::: "memory"); }  // PAUSE

}  // namespace axvcpu::riscv64
