// x86_64: the SVM control block as typed fields, and the rules that VMRUN checks. Layout only; compiles on any host.
// Source: APM 2, appendix "Layout of VMCB", and Canonicalization and Consistency Checks (VMRUN).
export module axvcpu.x86_64:vmcb;
import std;
import :firmware;

export namespace axvcpu::x86_64 {

struct Segment { std::uint16_t selector, attributes; std::uint32_t limit; std::uint64_t base; };

/// The fields that are used; the gaps between them must be zero.
struct Vmcb {
    std::uint16_t cr_read, cr_write, dr_read, dr_write;   // one bit for each register
    std::uint32_t exceptions, intercepts1, intercepts2, intercepts3;
    std::uint8_t reserved1[0x3C - 0x18];
    std::uint16_t pause_threshold, pause_count;
    std::uint64_t iopm_base, msrpm_base, tsc_offset;
    std::uint32_t asid;
    std::uint8_t tlb_control, reserved2[3];
    std::uint64_t virtual_interrupt, interrupt_shadow, exit_code, exit_info1, exit_info2, exit_interrupt_info, nested_control;
    std::uint8_t reserved3[0xA8 - 0x98];
    std::uint64_t event_injection, nested_cr3, lbr_control, clean, next_rip;
    std::uint8_t fetched, instruction[15];
    std::uint8_t reserved4[0x400 - 0xE0];
    Segment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
    std::uint8_t reserved5[0x4CB - 0x4A0];
    std::uint8_t cpl;
    std::uint32_t reserved6;
    std::uint64_t efer;
    std::uint8_t reserved7[0x548 - 0x4D8];
    std::uint64_t cr4, cr3, cr0, dr7, dr6, rflags, rip;
    std::uint8_t reserved8[0x5D8 - 0x580];
    std::uint64_t rsp;
    std::uint8_t reserved9[0x5F8 - 0x5E0];
    std::uint64_t rax, star, lstar, cstar, sfmask, kernel_gs_base, sysenter_cs, sysenter_esp, sysenter_eip, cr2;
    std::uint8_t reserved10[0x668 - 0x648];
    std::uint64_t pat;
    std::uint8_t reserved11[0x1000 - 0x670];
};
static_assert(sizeof(Vmcb) == 0x1000);
static_assert(__builtin_offsetof(Vmcb, exceptions) == 0x008 && __builtin_offsetof(Vmcb, iopm_base) == 0x040 && __builtin_offsetof(Vmcb, asid) == 0x058);
static_assert(__builtin_offsetof(Vmcb, virtual_interrupt) == 0x060 && __builtin_offsetof(Vmcb, exit_code) == 0x070 && __builtin_offsetof(Vmcb, nested_control) == 0x090);
static_assert(__builtin_offsetof(Vmcb, event_injection) == 0x0A8 && __builtin_offsetof(Vmcb, next_rip) == 0x0C8 && __builtin_offsetof(Vmcb, es) == 0x400);
static_assert(__builtin_offsetof(Vmcb, cpl) == 0x4CB && __builtin_offsetof(Vmcb, efer) == 0x4D0 && __builtin_offsetof(Vmcb, cr4) == 0x548);
static_assert(__builtin_offsetof(Vmcb, rip) == 0x578 && __builtin_offsetof(Vmcb, rsp) == 0x5D8 && __builtin_offsetof(Vmcb, rax) == 0x5F8 && __builtin_offsetof(Vmcb, pat) == 0x668);

/// Exit codes (APM 2, appendix "SVM Intercept Exit Codes").
namespace exit_code {
inline constexpr std::uint64_t write_cr4 = 0x14, debug = 0x41, alignment = 0x51, machine_check = 0x52, interrupt = 0x60, nmi = 0x61, init = 0x63, rdpmc = 0x6F,
                               cpuid = 0x72, invd = 0x76, pause = 0x77, hlt = 0x78, invlpga = 0x7A, io = 0x7B, msr = 0x7C, shutdown = 0x7F, vmrun = 0x80,
                               vmmcall = 0x81, vmload = 0x82, rdtscp = 0x87, wbinvd = 0x89, monitor = 0x8A, rdpru = 0x8E, nested_page_fault = 0x400,
                               invalid = ~std::uint64_t{0};
}

/// Bits of intercepts1 and intercepts2.
namespace intercept {
inline constexpr std::uint32_t interrupt = 1, nmi = 1 << 1, init = 1 << 3, rdpmc = 1 << 15, cpuid = 1 << 18, invd = 1 << 22, pause = 1 << 23, hlt = 1 << 24,
                               invlpga = 1 << 26, io = 1 << 27, msr = 1 << 28, shutdown = 1u << 31;
inline constexpr std::uint32_t vmrun = 1, vmmcall = 1 << 1, vmload = 1 << 2, vmsave = 1 << 3, stgi = 1 << 4, clgi = 1 << 5, skinit = 1 << 6, rdtscp = 1 << 7,
                               icebp = 1 << 8, wbinvd = 1 << 9, monitor = 1 << 10, mwait = 1 << 11, mwait_armed = 1 << 12, xsetbv = 1 << 13, rdpru = 1 << 14;
}

/// An event for EVENTINJ.
constexpr auto event(std::uint8_t vector, bool has_error, std::uint32_t error = 0) noexcept -> std::uint64_t {
    constexpr std::uint64_t valid = std::uint64_t{1} << 31, exception = 3 << 8;
    return valid | exception | vector | (has_error ? std::uint64_t{1} << 11 : 0) | std::uint64_t{error} << 32;
}

/// IA32_PAT: eight memory types, of which 2, 3 and those above 7 are none.
constexpr auto pat_types_ok(std::uint64_t pat) noexcept -> bool {
    for (unsigned i = 0; i < 64; i += 8)
        if (const auto t = pat >> i & 0xFF; t > 7 || t == 2 || t == 3) return false;
    return true;
}
/// EVENTINJ: nothing, an interrupt, NMI, an exception that there is, or a software interrupt.
constexpr auto injection_ok(std::uint64_t e) noexcept -> bool {
    const auto type = e >> 8 & 7, vector = e & 0xFF;
    return (e >> 31 & 1) == 0 || type == 0 || type == 2 || type == 4 || (type == 3 && vector < 32 && vector != 2);
}

/// The rules that a guest's state must keep for VMRUN, by the bit that FailEntry::broken has for each.
inline constexpr std::array<std::string_view, 15> entry_rules{
    "EFER.SVME is 1", "CR0.NW is 0 where CR0.CD is 0", "CR0[63:32] are 0", "CR3 has no reserved bit set", "CR4 has no bit set that is reserved on this CPU",
    "DR6[63:32] are 0", "DR7[63:32] are 0", "EFER has no reserved bit set", "with EFER.LME and CR0.PG, CR4.PAE is 1", "with EFER.LME and CR0.PG, CR0.PE is 1",
    "in long mode CS.L and CS.D are not both 1", "VMRUN is intercepted", "the ASID is not 0",
    "the PAT has memory types only", "the event to inject is one"};

/// The rules of entry_rules that the state breaks, one bit for each. `cr4_absent`: what this CPU has not.
constexpr auto broken_rules(const Vmcb& b, std::uint64_t cr4_absent = 0) noexcept -> std::uint64_t {
    std::uint64_t broken = 0;
    auto rule = [&, n = 0u](bool kept) mutable { broken |= std::uint64_t{!kept} << n++; };
    const bool long_paging = (b.efer & efer_lme) != 0 && (b.cr0 & cr0_pg) != 0;
    constexpr std::uint64_t high = 0xFFFF'FFFF'0000'0000, cr3_reserved = 0xFFF0'0000'0000'0000, cr4_reserved = ~std::uint64_t{0x00F7'1FFF}, efer_reserved = ~std::uint64_t{0x0020'FD01};
    rule((b.efer & efer_svme) != 0);
    rule((b.cr0 & cr0_cd) != 0 || (b.cr0 & cr0_nw) == 0);
    rule((b.cr0 & high) == 0);
    rule((b.cr3 & cr3_reserved) == 0);
    rule((b.cr4 & (cr4_reserved | cr4_absent)) == 0);
    rule((b.dr6 & high) == 0);
    rule((b.dr7 & high) == 0);
    rule((b.efer & efer_reserved) == 0);
    rule(!long_paging || (b.cr4 & cr4_pae) != 0);
    rule(!long_paging || (b.cr0 & cr0_pe) != 0);
    rule(!long_paging || (b.cr4 & cr4_pae) == 0 || (b.cs.attributes & 0x600) != 0x600);
    rule((b.intercepts2 & intercept::vmrun) != 0);
    rule(b.asid != 0);
    rule(pat_types_ok(b.pat));
    rule(injection_ok(b.event_injection));
    return broken;
}

}  // namespace axvcpu::x86_64
