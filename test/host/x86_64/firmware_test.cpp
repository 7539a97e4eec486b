#include <catch2/catch_test_macros.hpp>
import std;
import axvcpu.x86_64;

using namespace axvcpu::x86_64;

namespace {
/// A CPU that has everything.
auto everything(std::uint32_t, std::uint32_t) -> CpuidResult { return {~0u, ~0u, ~0u, ~0u}; }
}  // namespace

TEST_CASE("CPUID: no leaf shows what is not switched, on a CPU that has everything", "[cpuid][X7]") {
    const auto one = cpuid(1, 0, 3, everything);
    CHECK((one.ecx & (1u << 26 | 1u << 27 | 1u << 28 | 1u << 5 | 1u << 3)) == 0);  // XSAVE, OSXSAVE, AVX, VMX, MONITOR
    CHECK((one.edx & (1u << 7 | 1u << 9 | 1u << 12 | 1u << 14)) == 0);              // MCE, APIC, MTRR, MCA
    CHECK(one.ebx >> 24 == 3);
    CHECK((one.ecx >> 31) == 1);
    CHECK((cpuid(0x8000'0001, 0, 0, everything).ecx & 4) == 0);                      // SVM
    CHECK((cpuid(0x8000'0001, 0, 0, everything).edx & 1u << 27) == 0);               // RDTSCP
    CHECK((cpuid(7, 0, 0, everything).ecx & (1u << 3 | 1u << 22)) == 0);             // PKU, RDPID
    CHECK(cpuid(7, 1, 0, everything) == CpuidResult{});
    CHECK(cpuid(0, 0, 0, everything).eax == 7);
    CHECK(cpuid(0x8000'0000, 0, 0, everything).eax == 0x8000'0008);
}

TEST_CASE("CPUID: leaves outside the table are zero, and the machine is not asked", "[cpuid]") {
    unsigned asked = 0;
    const auto machine = [&](std::uint32_t, std::uint32_t) { ++asked; return CpuidResult{1, 1, 1, 1}; };
    for (const std::uint32_t leaf : {2u, 4u, 0xBu, 0xDu, 0x14u, 0x99u, 0x4000'0001u, 0x8000'000Au, 0x8000'001Fu, 0xFFFF'FFFFu}) CHECK(cpuid(leaf, 0, 0, machine) == CpuidResult{});
    CHECK(asked == 0);
    CHECK(cpuid(0x4000'0000, 0, 0, machine).ebx == 0x6376'7861);
}

TEST_CASE("EFER: reserved bits and a change of LME under paging are refused; LMA and SVME are not the guest's", "[msr][X11]") {
    CHECK_FALSE(efer_after(efer_svme, 1 << 13, 0));
    CHECK_FALSE(efer_after(efer_svme, efer_svme, 0));
    CHECK_FALSE(efer_after(efer_svme | efer_lme | efer_lma, 0, cr0_pg));
    CHECK(*efer_after(efer_svme, efer_lme | efer_sce, 0) == (efer_svme | efer_lme | efer_sce));
    CHECK(*efer_after(efer_svme | efer_lme | efer_lma, efer_lme | efer_lma | efer_nxe, cr0_pg) == (efer_svme | efer_lme | efer_lma | efer_nxe));
}

TEST_CASE("CR4: what is not switched cannot be set, PAE cannot go in long mode", "[cr][X12]") {
    for (unsigned bit = 0; bit < 64; ++bit) CHECK(cr4_allowed(std::uint64_t{1} << bit, 0) == ((cr4_settable >> bit & 1) != 0));
    CHECK_FALSE(cr4_allowed(0, efer_lma));
    CHECK(cr4_allowed(cr4_pae, efer_lma));
}

TEST_CASE("VMRUN's rules: each one broken alone is named", "[vmcb]") {
    static Vmcb good{};
    good.efer = efer_svme;
    good.intercepts2 = intercept::vmrun;
    good.asid = 1;
    good.cr0 = 0x11;
    good.dr7 = 0x400;
    good.dr6 = 0xFFFF'0FF0;
    REQUIRE(broken_rules(good) == 0);
    const auto broken = [&](auto change) {
        static Vmcb b;
        b = good;
        change(b);
        return broken_rules(b);
    };
    CHECK(broken([](Vmcb& b) { b.efer = 0; }) == 1u << 0);
    CHECK(broken([](Vmcb& b) { b.cr0 |= cr0_nw; }) == 1u << 1);
    CHECK(broken([](Vmcb& b) { b.cr0 |= std::uint64_t{1} << 40; }) == 1u << 2);
    CHECK(broken([](Vmcb& b) { b.cr3 = std::uint64_t{1} << 60; }) == 1u << 3);
    CHECK(broken([](Vmcb& b) { b.cr4 = std::uint64_t{1} << 40; }) == 1u << 4);
    CHECK(broken([](Vmcb& b) { b.dr6 |= std::uint64_t{1} << 32; }) == 1u << 5);
    CHECK(broken([](Vmcb& b) { b.dr7 |= std::uint64_t{1} << 32; }) == 1u << 6);
    CHECK(broken([](Vmcb& b) { b.efer |= 1 << 9; }) == 1u << 7);
    CHECK(broken([](Vmcb& b) { b.efer |= efer_lme; b.cr0 |= cr0_pg; }) == 1u << 8);
    CHECK(broken([](Vmcb& b) { b.efer |= efer_lme; b.cr0 = cr0_pg; b.cr4 = cr4_pae; }) == 1u << 9);
    CHECK(broken([](Vmcb& b) { b.efer |= efer_lme; b.cr0 |= cr0_pg; b.cr4 = cr4_pae; b.cs.attributes = 0x600; }) == 1u << 10);
    CHECK(broken([](Vmcb& b) { b.intercepts2 = 0; }) == 1u << 11);
    CHECK(broken([](Vmcb& b) { b.asid = 0; }) == 1u << 12);
    CHECK(broken([](Vmcb& b) { b.pat = 2; }) == 1u << 13);
    CHECK(broken([](Vmcb& b) { b.event_injection = 1u << 31 | 3u << 8 | 2; }) == 1u << 14);
    CHECK(broken([](Vmcb& b) { b.event_injection = event(13, true); }) == 0);
    CHECK(broken_rules([&] { Vmcb b = good; b.cr4 = 1 << 12; return b; }(), 1 << 12) == 1u << 4);
    CHECK(entry_rules.size() == 15);
}
