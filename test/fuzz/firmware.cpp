// PSCI, SMCCC and SBI: whatever the registers hold, a call is decoded into something that the specification allows. x86_64's CPUID, EFER
// and CR4: whatever the machine has and the guest writes, no more is shown or set than is switched.
import std;
import axvcpu.aarch64;
import axvcpu.riscv64;
import axvcpu.x86_64;

namespace {

void check(bool good) { if (!good) std::abort(); }

void psci(const std::array<std::uint64_t, 8>& r) {
    using namespace axvcpu::aarch64;
    const auto c = decode_call(r[0], r[1], r[2], r[3]);
    const bool ours = is_firmware_call(r[0]);
    check(ours == (c.kind != FirmwareCall::Kind::unknown));
    const bool wide = (r[0] & 0x4000'0000) != 0;
    if (c.kind == FirmwareCall::Kind::answer) {
        const auto signed_value = static_cast<std::int64_t>(c.value);
        check((signed_value >= -9 && signed_value <= 2) || c.value == 0x1'0001);
    } else if (!wide && ours) {
        check(c.entry >> 32 == 0 && c.arg >> 32 == 0 && c.target >> 32 == 0);  // 32-bit calls look at 32 bits (A10)
    }
    const auto sgi = decode_sgi(r[4]);
    check(sgi.id < 16 && (sgi.cluster & ~std::uint64_t{0xFF'00FF'FFF0}) == 0);
    static_cast<void>(fault_of(static_cast<std::uint32_t>(r[5])));
}

void sbi(const std::array<std::uint64_t, 8>& r) {
    using namespace axvcpu::riscv64;
    const bool console = r[7] % 2 != 0;
    constexpr std::array<std::uint64_t, 8> known{eid::base, eid::time, eid::ipi, eid::rfence, eid::hsm, eid::srst, eid::pmu, eid::dbcn};
    const auto extension = r[0] % 3 == 0 ? r[0] : r[0] % 3 == 1 ? known[r[0] / 3 % known.size()] : r[0] / 3 % 16;
    const auto c = decode_call({extension, r[1] % 12, {r[2], r[3], r[4], r[5], r[6]}}, {.console = console});
    const auto error = static_cast<std::int64_t>(c.error);
    check(error <= 0 && error >= -8);
    if (c.kind == SbiCall::Kind::answer && error != 0) check(c.value == 0);
    if (c.kind == SbiCall::Kind::unknown) check(extension > 15 && std::ranges::find(known, extension) == known.end());
    if (c.kind == SbiCall::Kind::reset) check(c.value <= 2);
    if (c.kind == SbiCall::Kind::hart_suspend) check(c.value == 0 || c.value == 0x8000'0000);
    using Kind = SbiCall::Kind;
    if (c.kind == Kind::console_write || c.kind == Kind::console_read || c.kind == Kind::console_byte || c.kind == Kind::console_get) check(console);
    check(!c.legacy || extension <= 15);
}

/// A CPU of any features: its answers depend on leaf and register alone.
struct Machine {
    std::uint64_t seed;
    auto operator()(std::uint32_t leaf, std::uint32_t subleaf) const -> axvcpu::x86_64::CpuidResult {
        const auto known = [](std::uint32_t l) { return l == 0 || l == 1 || l == 7 || l == 0x8000'0000 || (l >= 0x8000'0001 && l <= 0x8000'0004) || l == 0x8000'0008; };
        check(known(leaf) && subleaf == 0);  // what CPUs say elsewhere is nobody's business
        const auto word = [&](std::uint64_t n) {
            if (seed % 4 == 0) return ~0u;  // one that has everything
            auto x = (seed ^ leaf * 0x9E37'79B9'7F4A'7C15 ^ n << 56) * 0xBF58'476D'1CE4'E5B9;
            return static_cast<std::uint32_t>((x ^ x >> 29) * 0x94D0'49BB'1331'11EB >> 32);
        };
        return {word(1), word(2), word(3), word(4)};
    }
};

void cpuid(std::uint32_t leaf, std::uint32_t subleaf, std::uint32_t apic_id, std::uint64_t seed) {
    using namespace axvcpu::x86_64;
    const Machine machine{seed};
    const auto shown = axvcpu::x86_64::cpuid(leaf, subleaf, apic_id, machine);
    const auto has = [](std::uint32_t word, unsigned bit) { return (word >> bit & 1) != 0; };
    const auto none = [&](std::uint32_t word, std::initializer_list<unsigned> bits) { for (const auto b : bits) check(!has(word, b)); };
    constexpr CpuidResult nothing{};
    switch (leaf) {
        case 0: case 0x8000'0000: {
            auto vendor = machine(leaf, 0);
            vendor.eax = leaf == 0 ? 7 : 0x8000'0008;
            check(shown == vendor);
            return;
        }
        case 0x4000'0000: {
            std::array<char, 12> name{};
            __builtin_memcpy(name.data(), &shown.ebx, 4), __builtin_memcpy(name.data() + 4, &shown.ecx, 4), __builtin_memcpy(name.data() + 8, &shown.edx, 4);
            check(shown.eax == leaf && std::string_view(name.data(), name.size()) == "axvcpu      ");
            return;
        }
        case 1: {
            const auto real = machine(1, 0);
            check(shown.eax == real.eax && (shown.edx & ~real.edx) == 0 && (shown.ecx & ~(real.ecx | 1u << 31)) == 0 && has(shown.ecx, 31));
            check(shown.ebx >> 24 == (apic_id & 0xFF) && (shown.ebx >> 16 & 0xFF) == 1 && ((shown.ebx ^ real.ebx) & 0xFF00) == 0 && (shown.ebx & 0xFF) == 0);
            none(shown.ecx, {2, 3, 5, 12, 17, 21, 24, 26, 27, 28, 29});  // DTES64, MONITOR, VMX, FMA, PCID, x2APIC, TSC deadline, XSAVE, OSXSAVE, AVX, F16C
            none(shown.edx, {7, 9, 12, 14, 18, 21, 22, 28, 29});         // MCE, APIC, MTRR, MCA, PSN, DS, ACPI, HTT, TM
            return;
        }
        case 7: {
            if (subleaf != 0) return check(shown == nothing);
            const auto real = machine(7, 0);
            check(shown.eax == 0 && shown.edx == 0 && (shown.ebx & ~real.ebx) == 0 && (shown.ecx & ~real.ecx) == 0);
            // TSC_ADJUST, SGX, HLE, AVX2, INVPCID, RTM, PQM, MPX, PQE, AVX512, CLWB, PT; of ECX: PKU, WAITPKG, CET, LA57, RDPID
            none(shown.ebx, {1, 2, 4, 5, 10, 11, 12, 14, 15, 16, 17, 21, 22, 24, 25, 26, 27, 28, 30, 31});
            check((shown.ecx & ~4u) == 0);
            return;
        }
        case 0x8000'0001: {
            const auto real = machine(leaf, 0);
            check(shown.ebx == 0 && (shown.ecx & ~real.ecx) == 0 && (shown.edx & ~real.edx) == 0);
            // SVM, APIC, CR8 by LOCK, OSVW, IBS, XOP, SKINIT, WDT, LWP, FMA4, TCE, TBM, topology, counters, MONITORX
            none(shown.ecx, {1, 2, 3, 4, 9, 10, 11, 12, 13, 15, 16, 17, 19, 21, 22, 23, 24, 26, 27, 28, 29});
            none(shown.edx, {7, 9, 12, 14, 27});  // MCE, APIC, MTRR, MCA, RDTSCP
            return;
        }
        case 0x8000'0002: case 0x8000'0003: case 0x8000'0004: return check(shown == machine(leaf, 0));
        case 0x8000'0008: return check(shown == CpuidResult{machine(leaf, 0).eax & 0xFFFF, 0, 0, 0});
        default: check(shown == nothing);
    }
}

/// Bits of control registers by their names' numbers, one at a time.
void control(std::uint64_t now, std::uint64_t written, std::uint64_t cr0) {
    using namespace axvcpu::x86_64;
    const auto has = [](std::uint64_t word, unsigned bit) { return (word >> bit & 1) != 0; };
    constexpr unsigned lme = 8, lma = 10, svme = 12, pae = 5, pg = 31;
    bool refused = has(now, lme) != has(written, lme) && has(cr0, pg);
    for (unsigned b = 0; b < 64; ++b)
        if (has(written, b) && b != 0 && b != lme && b != lma && b != 11) refused = true;  // SCE, LME, LMA, NXE
    const auto after = efer_after(now, written, cr0);
    check(after.has_value() == !refused);
    if (after) {
        for (unsigned b = 0; b < 64; ++b) check(has(*after, b) == has(b == lma || b == svme ? now : written, b));  // those two are the CPU's and ours
        check(efer_after(*after, *after & ~(std::uint64_t{1} << svme), cr0) == after);                              // what it reads it may write
    }
    // VME, PVI, TSD, DE, PSE, PAE, PGE, OSFXSR, OSXMMEXCPT, UMIP, FSGSBASE, SMEP, SMAP. Not MCE, PCE, LA57, VMXE, PCIDE, OSXSAVE, PKE, CET.
    constexpr std::array<unsigned, 13> settable{0, 1, 2, 3, 4, 5, 7, 9, 10, 11, 16, 20, 21};
    bool allowed = !has(now, lma) || has(written, pae);
    for (unsigned b = 0; b < 64; ++b)
        if (has(written, b) && std::ranges::find(settable, b) == settable.end()) allowed = false;
    check(cr4_allowed(written, now) == allowed);
}

void x86_64(const std::array<std::uint64_t, 8>& r) {
    constexpr std::array<std::uint32_t, 12> leaves{0, 1, 7, 0xD, 0x4000'0000, 0x8000'0000, 0x8000'0001, 0x8000'0002, 0x8000'0004, 0x8000'0008, 0x8000'000A, 0x4000'0001};
    cpuid(static_cast<std::uint32_t>(r[0]), static_cast<std::uint32_t>(r[1]), static_cast<std::uint32_t>(r[2]), r[3]);
    cpuid(leaves[r[0] % leaves.size()], static_cast<std::uint32_t>(r[1] % 3), static_cast<std::uint32_t>(r[2]), r[3]);
    control(r[4], r[5], r[6]);
    control(r[4] & 0x1D01, r[5] & 0x0D01, r[6] & 0x8000'0000);       // mostly allowed
    control(r[4] & 0x1D01, r[5] & 0x0031'0EBF, r[6] & 0x8000'0000);  // the same of CR4
    control(r[4] & 0x1D01, (r[5] & 0x0D01) ^ (std::uint64_t{1} << r[7] % 64), r[6] & 0x8000'0000);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::array<std::uint64_t, 8> r{};
    for (; size >= sizeof r; size -= sizeof r, data += sizeof r) {
        __builtin_memcpy(r.data(), data, sizeof r);
        psci(r);
        sbi(r);
        x86_64(r);
    }
    return 0;
}
