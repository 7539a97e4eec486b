// AArch64: the only place with MRS, MSR, TLBI and AT. Everything else names registers through the table.
export module axvcpu.aarch64:access;
import std;
import axvcpu.reg;
import :registers;

export namespace axvcpu::aarch64 {

/// Reads the register of row I. With E2h, names that the host extensions redirect are spelt with their alias.
template <std::size_t I, bool E2h = false>
[[gnu::always_inline]] inline auto read_row() noexcept -> std::uint64_t {
    constexpr Sysreg r = registers[I].encoding;
    std::uint64_t value;
    asm volatile("mrs %0, S%c1_%c2_C%c3_C%c4_%c5" : "=r"(value)
                 : "i"(r.op0), "i"(E2h ? r.op1_e2h : r.op1), "i"(r.crn), "i"(r.crm), "i"(r.op2));
    return value;
}
template <std::size_t I, bool E2h = false>
[[gnu::always_inline]] inline void write_row(std::uint64_t value) noexcept {
    constexpr Sysreg r = registers[I].encoding;
    asm volatile("msr S%c1_%c2_C%c3_C%c4_%c5, %0" :: "r"(value),
                 "i"(r.op0), "i"(E2h ? r.op1_e2h : r.op1), "i"(r.crn), "i"(r.crm), "i"(r.op2) : "memory");
}
/// The same for registers that nothing of EL2 depends on: the compiler may order memory around it as it likes.
template <std::size_t I, bool E2h = false>
[[gnu::always_inline]] inline void load_row(std::uint64_t value) noexcept {
    constexpr Sysreg r = registers[I].encoding;
    asm volatile("msr S%c1_%c2_C%c3_C%c4_%c5, %0" :: "r"(value),
                 "i"(r.op0), "i"(E2h ? r.op1_e2h : r.op1), "i"(r.crn), "i"(r.crm), "i"(r.op2));
}
template <reg::Name N, bool E2h = false>
[[gnu::always_inline]] inline auto read() noexcept -> std::uint64_t { return read_row<index<N>, E2h>(); }
template <reg::Name N, bool E2h = false>
[[gnu::always_inline]] inline void write(std::uint64_t value) noexcept { write_row<index<N>, E2h>(value); }

/// For registers with another name under E2H where the mode is known at run time only.
template <reg::Name N>
[[gnu::always_inline]] inline auto read_el1(bool e2h) noexcept -> std::uint64_t { return e2h ? read<N, true>() : read<N, false>(); }
template <reg::Name N>
[[gnu::always_inline]] inline void write_el1(bool e2h, std::uint64_t value) noexcept { e2h ? write<N, true>(value) : write<N, false>(value); }

/// ICH_LR<n>_EL2, n below 16.
auto read_other_list_register(unsigned n) noexcept -> std::uint64_t;
void write_other_list_register(unsigned n, std::uint64_t value) noexcept;
inline auto read_list_register(unsigned n) noexcept -> std::uint64_t { return n == 0 ? read<"ICH_LR0_EL2">() : read_other_list_register(n); }
inline void write_list_register(unsigned n, std::uint64_t value) noexcept {
    if (n == 0) write<"ICH_LR0_EL2">(value); else write_other_list_register(n, value);
}

/// An address in a register, not an offset from what it is in: what lies near it can be moved by pairs.
template <class T>
[[gnu::always_inline]] inline auto in_register(T* p) noexcept -> T* { asm("" : "+r"(p)); return p; }

[[gnu::always_inline]] inline void isb() noexcept { asm volatile("isb" ::: "memory"); }
[[gnu::always_inline]] inline void dsb() noexcept { asm volatile("dsb ish" ::: "memory"); }
/// Masks D, A, I and F; gives what was masked before.
[[gnu::always_inline]] inline auto mask_interrupts() noexcept -> std::uint64_t {
    const auto before = read<"DAIF">();
    asm volatile("msr daifset, #15" ::: "memory");
    return before;
}
[[gnu::always_inline]] inline void restore_interrupts(std::uint64_t daif) noexcept { write<"DAIF">(daif); }

/// Ends with an entry, as nothing else uses EL1's translations. No entry of the tables was changed: that has maintenance of its own.
inline void tlbi_vmalls12e1() noexcept { asm volatile("tlbi vmalls12e1\n dsb nsh" ::: "memory"); }
inline void tlbi_alle1() noexcept { asm volatile("dsb nshst\n tlbi alle1\n dsb nsh\n ic iallu\n dsb nsh\n isb" ::: "memory"); }
inline void tlbi_ipas2e1is(std::uint64_t page) noexcept { asm volatile("tlbi ipas2e1is, %0" :: "r"(page) : "memory"); }
inline void tlbi_vmalle1is() noexcept { asm volatile("dsb ish\n tlbi vmalle1is\n dsb ish\n isb" ::: "memory"); }
inline void tlbi_vmalls12e1is() noexcept { asm volatile("tlbi vmalls12e1is\n dsb ish\n isb" ::: "memory"); }

/// Stage-1 translation of a guest's address as EL1 or EL0 reads it: PAR_EL1. The guest's own PAR_EL1 is kept.
inline auto translate(std::uint64_t virt, bool el0) noexcept -> std::uint64_t {
    const auto keep = read<"PAR_EL1">();
    if (el0) asm volatile("at s1e0r, %0\n isb" :: "r"(virt) : "memory");
    else asm volatile("at s1e1r, %0\n isb" :: "r"(virt) : "memory");
    const auto par = read<"PAR_EL1">();
    write<"PAR_EL1">(keep);
    return par;
}

}  // namespace axvcpu::aarch64
