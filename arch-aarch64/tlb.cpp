// TLB maintenance for stage 2.
module axvcpu.aarch64;
import std;
import axvcpu.hal;
import axvcpu.stage2;
import axvcpu.tlb_tag;

namespace axvcpu::aarch64 {

namespace {

/// Broadcast: when it returns no guest uses the old translations. May be called on any CPU, whatever is bound there.
void invalidate(void* self, GuestPhysAddr from, std::uint64_t size) noexcept {
    const auto& vm = *static_cast<Vm*>(self);
    const auto daif = mask_interrupts();
    dsb();  // the changed entries are visible before anything walks again, and before the tag is looked at: a bind after this sees them
    const auto tag = tags().look(vm.tag);
    if (tag.value == 0) return restore_interrupts(daif);  // never ran: nothing is cached
    // The maintenance works on the VMID in VTTBR_EL2, as wide as VTCR_EL2 says, and with HCR_EL2.TGE clear on EL1's regime.
    const auto hcr = read<"HCR_EL2">(), vttbr = read<"VTTBR_EL2">(), vtcr_before = read<"VTCR_EL2">();
    write<"HCR_EL2">(hcr & ~(std::uint64_t{1} << 27));
    write<"VTCR_EL2">(vtcr(vm.stage2->levels(), vm.stage2->address_bits(), read<"ID_AA64MMFR0_EL1">() & 0xF, (read<"ID_AA64MMFR1_EL1">() >> 4 & 0xF) == 2 ? 16 : 8));
    write<"VTTBR_EL2">(vm.stage2->root().value | std::uint64_t{tag.value} << 48);
    isb();
    constexpr std::uint64_t most = 512;
    if (size == 0 || size / Stage2::page_size > most) {
        tlbi_vmalls12e1is();
    } else {
        for (std::uint64_t at = 0; at < size; at += Stage2::page_size) tlbi_ipas2e1is((from.value + at) >> 12);
        tlbi_vmalle1is();  // combined translations may be cached by virtual address alone
    }
    write<"VTTBR_EL2">(vttbr);
    write<"VTCR_EL2">(vtcr_before);
    write<"HCR_EL2">(hcr);
    isb();
    restore_interrupts(daif);
}
/// The SDK may read guest memory still, for a vCPU.
void wait(void* self) noexcept { static_cast<const Vm*>(self)->await_readers(); }

}  // namespace

auto tlb_maintenance(Vm& vm) noexcept -> TlbMaintenance { return {.self = &vm, .invalidate = invalidate, .wait = wait}; }

}  // namespace axvcpu::aarch64
